package store

import (
	"context"
	"time"

	"cratelog/internal/sqlite"
)

const selectOpening = "SELECT log, idx, state, sha256, since, next_try, why FROM openings WHERE log = ? "

func scanOpening(r scanner) (Opening, error) {
	var o Opening
	err := r.Scan(&o.Log, &o.Index, &o.State, fixed(o.SHA256[:]), moment{&o.Since}, moment{&o.NextTry}, &o.Why)
	return o, err
}

// PutOpening replaces what is known of an entry's opening. Since is kept while the state is the same.
func (s *Store) PutOpening(ctx context.Context, o Opening) error {
	return exec(ctx, s.write,
		"INSERT INTO openings (log, idx, state, sha256, since, next_try, why) VALUES (?,?,?,?,?,?,?) ON CONFLICT (log, idx) "+
			"DO UPDATE SET since = CASE WHEN state = excluded.state THEN since ELSE excluded.since END, "+
			"state = excluded.state, sha256 = excluded.sha256, next_try = excluded.next_try, why = excluded.why",
		o.Log, o.Index, o.State, o.SHA256[:], millis(o.Since), millis(o.NextTry), o.Why)
}

// DropOpening forgets an entry's opening.
func (s *Store) DropOpening(ctx context.Context, log, index int64) error {
	return exec(ctx, s.write, "DELETE FROM openings WHERE log = ? AND idx = ?", log, index)
}

// Opening returns what is known of an entry's opening, and whether anything is.
func (r *Reader) Opening(ctx context.Context, log, index int64) (Opening, bool, error) {
	return sqlite.One(ctx, r.read, scanOpening, selectOpening+"AND idx = ?", log, index)
}

// DueOpenings returns at most limit openings that are to be asked for again.
func (r *Reader) DueOpenings(ctx context.Context, log int64, now time.Time, limit int) ([]Opening, error) {
	return sqlite.All(ctx, r.read, scanOpening,
		selectOpening+"AND next_try != 0 AND next_try <= ? ORDER BY next_try LIMIT ?", log, millis(now), limit)
}

// UnusableOpenings returns how many openings cannot be used, and at most limit of them, the oldest first.
func (r *Reader) UnusableOpenings(ctx context.Context, log int64, limit int) (n int64, oldest []Opening, err error) {
	err = r.read.QueryRowContext(ctx, "SELECT count(*) FROM openings WHERE log = ? AND next_try != 0 AND state = ?", log,
		OpeningUnusable).Scan(&n)
	if err == nil && n > 0 {
		oldest, err = sqlite.All(ctx, r.read, scanOpening,
			selectOpening+"AND next_try != 0 AND state = ? ORDER BY since, idx LIMIT ?", log, OpeningUnusable, limit)
	}
	return n, oldest, err
}

// SetOpenings moves the position up to which the log was asked for openings.
func (s *Store) SetOpenings(ctx context.Context, log, next int64) error {
	return exec(ctx, s.write, "UPDATE logs SET openings = ?1 WHERE id = ?2 AND openings <= ?1", next, log)
}

// SetReopen moves the position up to which the log was asked for openings again, since a time.
func (s *Store) SetReopen(ctx context.Context, log, next int64, began time.Time) error {
	return exec(ctx, s.write, "UPDATE logs SET reopen = ?, reopen_began = ? WHERE id = ?", next, millis(began), log)
}

// PutCrate replaces what is known of an entry's .crate.
func (s *Store) PutCrate(ctx context.Context, c Crate) error {
	return exec(ctx, s.write, "INSERT OR REPLACE INTO crates (log, idx, repository, names_commit) VALUES (?,?,?,?)",
		c.Log, c.Index, c.Repository, c.NamesCommit)
}

// Crate returns what is known of an entry's .crate, and whether anything is.
func (r *Reader) Crate(ctx context.Context, log, index int64) (Crate, bool, error) {
	return sqlite.One(ctx, r.read, func(r scanner) (Crate, error) {
		var c Crate
		err := r.Scan(&c.Log, &c.Index, &c.Repository, &c.NamesCommit)
		return c, err
	}, "SELECT log, idx, repository, names_commit FROM crates WHERE log = ? AND idx = ?", log, index)
}
