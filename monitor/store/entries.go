package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

const entryColumns = "log, idx, leaf_hash, identity, name, version, sha256, kind, commit_id, path, unproven, links, " +
	"submodules, outside, workspace, program, logged, covered, first_seen, verdict, reason, detail, registry, data"

// selectEntry selects the columns that scanEntry reads.
const selectEntry = "SELECT id, " + entryColumns + " FROM entries "

func scanEntry(r scanner) (Entry, error) {
	var e Entry
	var unproven string
	err := r.Scan(&e.Place, &e.Log, &e.Index, fixed(e.LeafHash[:]), fixed(e.Identity[:]), &e.Name, &e.Version,
		fixed(e.SHA256[:]), &e.Kind, fixed(e.Commit[:]), &e.Path, &unproven, &e.Links, &e.Submodules, &e.Outside,
		&e.Workspace, fixed(e.Program[:]), moment{&e.Logged}, &e.Covered, moment{&e.FirstSeen}, &e.Verdict,
		&e.Reason, &e.Detail, &e.Registry, &e.Data)
	if err != nil {
		return e, err
	}
	if unproven != "" {
		if err := json.Unmarshal([]byte(unproven), &e.Unproven); err != nil {
			return e, fmt.Errorf("the database is damaged: unproven files of entry %d: %w", e.Index, err)
		}
	}
	return e, nil
}

// AppendEntries stores the next entries of a log, all or none: rows, tiles and the
// downloaded position. The first one must have the index that is the position.
func (s *Store) AppendEntries(ctx context.Context, log int64, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		p, err := position(ctx, tx, log)
		if err != nil {
			return err
		}
		leaves := make([]tlog.Hash, len(entries))
		for i, e := range entries {
			if e.Log != log || e.Index != p.Downloaded+int64(i) {
				return fmt.Errorf("entry %d of log %d is stored out of order, %d entries are stored: does another "+
					"monitor write to this database?", e.Index, e.Log, p.Downloaded+int64(i))
			}
			leaves[i] = e.LeafHash
		}
		if err := insertEntries(ctx, tx, entries); err != nil {
			return err
		}
		if err := appendTiles(ctx, tx, log, p.Downloaded, leaves); err != nil {
			return err
		}
		return exec(ctx, tx, "UPDATE logs SET downloaded = ? WHERE id = ?", p.Downloaded+int64(len(entries)), log)
	})
}

func insertEntries(ctx context.Context, tx *sql.Tx, entries []Entry) error {
	insert, err := tx.PrepareContext(ctx,
		"INSERT INTO entries ("+entryColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range entries {
		e := &entries[i]
		unproven := ""
		if len(e.Unproven) > 0 {
			b, err := json.Marshal(e.Unproven)
			if err != nil {
				return err
			}
			unproven = string(b)
		}
		_, err := insert.ExecContext(ctx, e.Log, e.Index, e.LeafHash[:], e.Identity[:], e.Name, e.Version,
			e.SHA256[:], e.Kind, e.Commit[:], e.Path, unproven,
			e.Links, e.Submodules, e.Outside, e.Workspace, e.Program[:], millis(e.Logged), e.Covered,
			millis(e.FirstSeen), e.Verdict, e.Reason, e.Detail, e.Registry,
			append([]byte{}, e.Data...)) // an empty leaf is not NULL
		if err != nil {
			return fmt.Errorf("storing entry %d: %w", e.Index, err)
		}
		if err := insertBuild(ctx, tx, e); err != nil {
			return err
		}
	}
	return nil
}

// RewindEntries forgets the entries of a log above the verified position, so that
// they can be downloaded again.
func (s *Store) RewindEntries(ctx context.Context, log int64) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		p, err := position(ctx, tx, log)
		if err != nil {
			return err
		}
		if err := exec(ctx, tx, "DELETE FROM entries WHERE log = ? AND idx >= ?", log, p.Verified); err != nil {
			return err
		}
		if err := exec(ctx, tx, "DELETE FROM builds WHERE log = ? AND idx >= ?", log, p.Verified); err != nil {
			return err
		}
		if err := truncateTiles(ctx, tx, log, p.Verified); err != nil {
			return err
		}
		return exec(ctx, tx, "UPDATE logs SET downloaded = verified WHERE id = ?", log)
	})
}

// EntryAt returns an entry of a log, and whether it is stored.
func (r *Reader) EntryAt(ctx context.Context, log, index int64) (Entry, bool, error) {
	return sqlite.One(ctx, r.read, scanEntry, selectEntry+"WHERE log = ? AND idx = ?", log, index)
}

// entryPage is how many entries a walk reads at once.
const entryPage = 1000

// EntriesIn walks the entries with from <= index < to in order.
func (r *Reader) EntriesIn(ctx context.Context, log, from, to int64) iter.Seq2[Entry, error] {
	return r.walk(ctx, "", log, from, to)
}

// EntriesWithReason walks those of EntriesIn that have a Reason.
func (r *Reader) EntriesWithReason(ctx context.Context, log, from, to int64) iter.Seq2[Entry, error] {
	return r.walk(ctx, "reason != '' AND ", log, from, to)
}

func (r *Reader) walk(ctx context.Context, where string, log, from, to int64) iter.Seq2[Entry, error] {
	return pages(func() ([]Entry, error) {
		return sqlite.All(ctx, r.read, scanEntry,
			selectEntry+"WHERE "+where+"log = ? AND idx >= ? AND idx < ? ORDER BY idx LIMIT ?", log, from, to, entryPage)
	}, func(last Entry) { from = last.Index + 1 })
}

// pages walks what read returns, up to entryPage at once; after moves it past one.
// No connection is held while the caller works on an entry.
func pages[T any](read func() ([]T, error), after func(last T)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			page, err := read()
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after(e)
			}
			if len(page) < entryPage {
				return
			}
		}
	}
}

// Pair is two entries of a log that repeat each other.
type Pair struct{ First, Second Entry }

// Repeats returns the pairs whose second entry has from <= index < to, and whose first is the earliest of
// the same log, identity and program: the same subject and claim, proven in the same way. At most limit pairs.
func (r *Reader) Repeats(ctx context.Context, log, from, to int64, limit int) ([]Pair, error) {
	out, err := sqlite.All(ctx, r.read, func(r scanner) (p Pair, err error) {
		err = r.Scan(&p.First.Index, &p.Second.Index)
		return p, err
	}, `SELECT f.idx, e.idx FROM entries e JOIN entries f ON f.id =
		(SELECT g.id FROM entries g INDEXED BY entries_by_identity
			WHERE g.identity = e.identity AND g.log = e.log AND g.program = e.program ORDER BY g.idx LIMIT 1)
		WHERE e.log = ? AND e.idx >= ? AND e.idx < ? AND e.name != '' AND f.idx < e.idx
		ORDER BY e.idx LIMIT ?`, log, from, to, limit)
	if err != nil {
		return nil, err
	}
	for i := range out {
		for _, e := range []*Entry{&out[i].First, &out[i].Second} {
			*e, err = scanEntry(r.read.QueryRowContext(ctx, selectEntry+"WHERE log = ? AND idx = ?", log, e.Index))
			if err != nil {
				return nil, fmt.Errorf("an entry of a pair in log %d cannot be read: %w", log, err)
			}
		}
	}
	return out, nil
}
