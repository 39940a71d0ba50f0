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
	"submodules, outside, workspace, program, logged, covered, first_seen, verdict, reason, detail, data"

// selectEntry selects the columns that scanEntry reads.
const selectEntry = "SELECT id, " + entryColumns + " FROM entries "

func scanEntry(r scanner) (Entry, error) {
	var e Entry
	var leaf, identity, sum, commit, program []byte
	var unproven string
	var logged, seen int64
	err := r.Scan(&e.Place, &e.Log, &e.Index, &leaf, &identity, &e.Name, &e.Version, &sum, &e.Kind,
		&commit, &e.Path, &unproven,
		&e.Links, &e.Submodules, &e.Outside, &e.Workspace, &program, &logged, &e.Covered, &seen, &e.Verdict,
		&e.Reason, &e.Detail, &e.Data)
	if err != nil {
		return e, err
	}
	for _, c := range []struct {
		dst, src []byte
		name     string
	}{
		{e.LeafHash[:], leaf, "leaf_hash"}, {e.Identity[:], identity, "identity"}, {e.SHA256[:], sum, "sha256"},
		{e.Commit[:], commit, "commit_id"}, {e.Program[:], program, "program"},
	} {
		if err := fill(c.dst, c.src, c.name); err != nil {
			return e, err
		}
	}
	if unproven != "" {
		if err := json.Unmarshal([]byte(unproven), &e.Unproven); err != nil {
			return e, fmt.Errorf("the database is damaged: unproven files of entry %d: %w", e.Index, err)
		}
	}
	e.Logged, e.FirstSeen = fromMillis(logged), fromMillis(seen)
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
		_, err = tx.ExecContext(ctx, "UPDATE logs SET downloaded = ? WHERE id = ?",
			p.Downloaded+int64(len(entries)), log)
		return err
	})
}

func insertEntries(ctx context.Context, tx *sql.Tx, entries []Entry) error {
	insert, err := tx.PrepareContext(ctx,
		"INSERT INTO entries ("+entryColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
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
			e.Links, e.Submodules, e.Outside, flag(e.Workspace), e.Program[:], millis(e.Logged), e.Covered,
			millis(e.FirstSeen), e.Verdict, e.Reason, e.Detail, nonNil(e.Data))
		if err != nil {
			return fmt.Errorf("storing entry %d: %w", e.Index, err)
		}
	}
	return nil
}

// nonNil keeps an empty leaf from becoming NULL.
func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// RewindEntries forgets the entries of a log above the verified position, so that
// they can be downloaded again.
func (s *Store) RewindEntries(ctx context.Context, log int64) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		p, err := position(ctx, tx, log)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM entries WHERE log = ? AND idx >= ?",
			log, p.Verified); err != nil {
			return err
		}
		if err := truncateTiles(ctx, tx, log, p.Verified); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE logs SET downloaded = verified WHERE id = ?", log)
		return err
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

// walk holds no connection while the caller works on an entry.
func (r *Reader) walk(ctx context.Context, where string, log, from, to int64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			page, err := sqlite.All(ctx, r.read, scanEntry,
				selectEntry+"WHERE "+where+"log = ? AND idx >= ? AND idx < ? ORDER BY idx LIMIT ?",
				log, from, to, entryPage)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if len(page) < entryPage {
				return
			}
			from = page[len(page)-1].Index + 1
		}
	}
}

// Pair is two entries of a log that contradict, or repeat, each other.
type Pair struct{ First, Second Entry }

// Duplicates returns the pairs whose second entry has from <= index < to, and whose
// first is the earliest entry of the same log, name and version; only where the two
// have different checksums. At most limit pairs.
func (r *Reader) Duplicates(ctx context.Context, log, from, to int64, limit int) ([]Pair, error) {
	return r.pairs(ctx, `SELECT f.idx, e.idx FROM entries e JOIN entries f ON f.id =
		(SELECT g.id FROM entries g INDEXED BY entries_by_version WHERE g.name = e.name AND g.version = e.version AND g.log = e.log ORDER BY g.idx LIMIT 1)
		WHERE e.log = ? AND e.idx >= ? AND e.idx < ? AND e.name != '' AND f.idx < e.idx AND f.sha256 != e.sha256
		ORDER BY e.idx LIMIT ?`, log, from, to, limit)
}

// Repeats is Duplicates for entries of one identity: the same subject and claim.
func (r *Reader) Repeats(ctx context.Context, log, from, to int64, limit int) ([]Pair, error) {
	return r.pairs(ctx, `SELECT f.idx, e.idx FROM entries e JOIN entries f ON f.id =
		(SELECT g.id FROM entries g INDEXED BY entries_by_identity WHERE g.identity = e.identity AND g.log = e.log ORDER BY g.idx LIMIT 1)
		WHERE e.log = ? AND e.idx >= ? AND e.idx < ? AND e.name != '' AND f.idx < e.idx
		ORDER BY e.idx LIMIT ?`, log, from, to, limit)
}

func (r *Reader) pairs(ctx context.Context, query string, log, from, to int64, limit int) ([]Pair, error) {
	type indexes struct{ first, second int64 }
	found, err := sqlite.All(ctx, r.read, func(r scanner) (x indexes, err error) { return x, r.Scan(&x.first, &x.second) },
		query, log, from, to, limit)
	if err != nil {
		return nil, err
	}
	var out []Pair
	for _, x := range found {
		first, ok1, err1 := r.EntryAt(ctx, log, x.first)
		second, ok2, err2 := r.EntryAt(ctx, log, x.second)
		if err1 != nil || err2 != nil || !ok1 || !ok2 {
			return nil, fmt.Errorf("entries %d and %d of log %d cannot be read: %w", x.first,
				x.second, log, firstOf(err1, err2))
		}
		out = append(out, Pair{first, second})
	}
	return out, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return sql.ErrNoRows
}
