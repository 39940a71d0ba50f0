package store

import (
	"context"
	"time"

	"cratelog/internal/sqlite"
)

const selectRetry = "SELECT log, idx, since, next_try, why FROM registry_retries WHERE log = ? "

func scanRetry(r scanner) (Retry, error) {
	var t Retry
	err := r.Scan(&t.Log, &t.Index, moment{&t.Since}, moment{&t.NextTry}, &t.Why)
	return t, err
}

// PutRetry notes that the registry did not know an entry, or did not answer, and when to ask
// again. Since is kept while it is the same of the two.
func (s *Store) PutRetry(ctx context.Context, r Retry) error {
	return exec(ctx, s.write,
		"INSERT INTO registry_retries (log, idx, since, next_try, why) VALUES (?,?,?,?,?) ON CONFLICT (log, idx) DO UPDATE "+
			"SET since = CASE WHEN (why = '') = (excluded.why = '') THEN since ELSE excluded.since END, "+
			"next_try = excluded.next_try, why = excluded.why",
		r.Log, r.Index, millis(r.Since), millis(r.NextTry), r.Why)
}

// DropRetry forgets a retry.
func (s *Store) DropRetry(ctx context.Context, log, index int64) error {
	return exec(ctx, s.write, "DELETE FROM registry_retries WHERE log = ? AND idx = ?", log, index)
}

// DueRetries returns at most limit retries whose time has come.
func (r *Reader) DueRetries(ctx context.Context, log int64, now time.Time, limit int) ([]Retry, error) {
	return sqlite.All(ctx, r.read, scanRetry, selectRetry+"AND next_try <= ? ORDER BY next_try LIMIT ?",
		log, millis(now), limit)
}

// Unanswered returns how many entries the registry did not answer about, and at most limit
// of them, the oldest first.
func (r *Reader) Unanswered(ctx context.Context, log int64, limit int) (n int64, oldest []Retry, err error) {
	err = r.read.QueryRowContext(ctx, "SELECT count(*) FROM registry_retries WHERE log = ? AND why != ''", log).Scan(&n)
	if err == nil && n > 0 {
		oldest, err = sqlite.All(ctx, r.read, scanRetry, selectRetry+"AND why != '' ORDER BY since, idx LIMIT ?", log, limit)
	}
	return n, oldest, err
}

// PutRelease replaces what is known of a release.
func (s *Store) PutRelease(ctx context.Context, r Release) error {
	proven := r.Proven
	if proven == nil {
		proven = []byte{} // NULL would be refused
	}
	return exec(ctx, s.write, "INSERT OR REPLACE INTO releases (log, idx, proven, yanked) VALUES (?,?,?,?)",
		r.Log, r.Index, proven, r.Yanked)
}

// Release returns what is known of an entry's release; of most there is nothing.
func (r *Reader) Release(ctx context.Context, log, index int64) (Release, error) {
	got, _, err := sqlite.One(ctx, r.read, func(r scanner) (Release, error) {
		var v Release
		err := r.Scan(&v.Log, &v.Index, &v.Proven, &v.Yanked)
		return v, err
	}, "SELECT log, idx, proven, yanked FROM releases WHERE log = ? AND idx = ?", log, index)
	return got, err
}

// PutPublication replaces what is known of how a release was published.
func (s *Store) PutPublication(ctx context.Context, p Publication) error {
	return exec(ctx, s.write, "INSERT OR REPLACE INTO publications (log, idx, asked, provider, repository, run, commit_id) "+
		"VALUES (?,?,?,?,?,?,?)", p.Log, p.Index, millis(p.Asked), p.Provider, p.Repository, p.Run, p.Commit)
}

// Publication returns how an entry's release was published, and whether the registry was asked.
func (r *Reader) Publication(ctx context.Context, log, index int64) (Publication, bool, error) {
	return sqlite.One(ctx, r.read, func(r scanner) (Publication, error) {
		var p Publication
		err := r.Scan(&p.Log, &p.Index, moment{&p.Asked}, &p.Provider, &p.Repository, &p.Run, &p.Commit)
		return p, err
	}, "SELECT log, idx, asked, provider, repository, run, commit_id FROM publications WHERE log = ? AND idx = ?", log,
		index)
}
