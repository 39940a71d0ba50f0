package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

// Reader answers questions out of a database, and cannot write to it. Its methods may be
// called concurrently, also while a monitor writes.
type Reader struct {
	path string
	read *sql.DB // read-only connections
}

// OpenReader opens a database for reading only. A missing file is fs.ErrNotExist.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	db, err := database.OpenReader(ctx, path, readers, "name the database of a monitor that has run")
	if err != nil {
		return nil, err
	}
	return &Reader{path, db}, nil
}

// Close closes what OpenReader opened.
func (r *Reader) Close() error { return r.read.Close() }

// EntryQuery says which entries are asked for. Its zero value asks for all, the
// oldest first. Entries are ordered by when this database first held them; within a
// log that is the order of the log.
type EntryQuery struct {
	Log      int64    // 0 for every log
	Registry string   // of the crate, as entries name it; "" for any
	Name     string   // of the crate, exactly
	Names    []string // one of these; nil for any
	Version  string
	SHA256   []byte // of the .crate; nil for any, as the next three
	Leaf     []byte // leaf hash
	Commit   []byte
	Program  []byte
	Programs [][32]byte // one of these; nil for any
	Kind     string     // of the claim
	Crates   bool       // no seals and starts
	Path     *string    // of the package in the repository
	From, To time.Time  // From <= FirstSeen < To; zero for no bound

	After  int64 // the Entry.Place after which to go on, 0 for the beginning
	Newest bool  // the newest first
	Limit  int   // at most so many; 0 is none
}

// Entries returns the entries that a query asks for.
func (r *Reader) Entries(ctx context.Context, q EntryQuery) ([]Entry, error) {
	w := q.where()
	return sqlite.All(ctx, r.read, scanEntry, selectEntry+w.sql()+" ORDER BY id"+direction(q.Newest)+" LIMIT ?",
		append(w.args, q.Limit)...)
}

// AllEntries walks everything that a query asks for, whatever its Limit. No
// connection is held while the caller works on an entry.
func (r *Reader) AllEntries(ctx context.Context, q EntryQuery) iter.Seq2[Entry, error] {
	q.Limit = entryPage
	return pages(func() ([]Entry, error) { return r.Entries(ctx, q) }, func(last Entry) { q.After = last.Place })
}

func (q *EntryQuery) where() *conditions {
	var w conditions
	if q.Name != "" {
		w.add("name = ?", q.Name)
	}
	if q.Version != "" {
		w.add("version = ?", q.Version)
	}
	if q.Names != nil {
		w.in("name", q.Names)
	}
	if q.Registry != "" {
		w.add("registry = ?", q.Registry)
	}
	for _, c := range []struct {
		column string
		hash   []byte
	}{{"leaf_hash", q.Leaf}, {"sha256", q.SHA256}, {"commit_id", q.Commit}, {"program", q.Program}} {
		if c.hash != nil {
			w.add(c.column+" = ?", c.hash)
		}
	}
	if q.Kind != "" {
		w.add("kind = ?", q.Kind)
	}
	if q.Crates {
		w.add("kind NOT IN ('seal', 'void-seal', 'start', 'void-start')")
	}
	if q.Programs != nil {
		w.add("id IN (SELECT id FROM entries INDEXED BY entries_by_program WHERE program IN (" +
			strings.TrimSuffix(strings.Repeat("?,", len(q.Programs)), ",") + "))")
		for i := range q.Programs {
			w.args = append(w.args, q.Programs[i][:])
		}
	}
	if q.SHA256 != nil || q.Programs != nil || q.Program != nil || q.Commit != nil || q.Path != nil {
		w.add("name != ''") // an entry that does not parse says nothing
	}
	if q.Path != nil {
		w.add("path = ?", *q.Path)
	}
	q.seen(&w)
	w.after("", q.Log, q.After, q.Newest)
	return &w
}

// seen restricts to a time. Entries are almost in the order of their times, so the
// bounds on ids, which come from an index, keep a question about a day from reading
// years; that they need not be quite in order is why the times are compared as well.
func (q *EntryQuery) seen(w *conditions) {
	if !q.From.IsZero() {
		w.add("id >= (SELECT min(id) FROM entries INDEXED BY entries_by_time WHERE first_seen >= ?) "+
			"AND +first_seen >= ?", millis(q.From), millis(q.From))
	}
	if !q.To.IsZero() {
		w.add("id <= (SELECT max(id) FROM entries INDEXED BY entries_by_time WHERE first_seen < ?) "+
			"AND +first_seen < ?", millis(q.To), millis(q.To))
	}
}

// Tally counts the entries of a log by what was found out about them.
type Tally struct {
	Verified int64 // below the verified position, and not bad
	Failed   int64 // bad, wherever they stand
	Pending  int64 // above the verified position, and not bad so far; and all that are Unchecked
}

// Tally counts the entries of a log at a position.
func (r *Reader) Tally(ctx context.Context, log int64, p Position) (Tally, error) {
	var below, above, unchecked int64 // a bad entry has a reason, and those have an index
	err := r.read.QueryRowContext(ctx,
		"SELECT coalesce(sum(idx < ?1), 0), coalesce(sum(idx >= ?1), 0), coalesce(sum(reason IN (?4, ?5)), 0) FROM entries "+
			"WHERE log = ?2 AND reason != '' AND verdict = 'bad' AND idx < ?3",
		p.Verified, log, p.Downloaded, UnknownProgram, UnknownClaim).Scan(&below, &above, &unchecked)
	return Tally{p.Verified - below, below + above - unchecked, p.Downloaded - p.Verified - above + unchecked}, err
}

// Programs counts, by program, the entries with from <= index < to that parse.
func (r *Reader) Programs(ctx context.Context, log, from, to int64) (map[[32]byte]int64, error) {
	found, err := counts[string](ctx, r.read,
		"SELECT program, count(*) FROM entries WHERE log = ? AND idx >= ? AND idx < ? AND name != '' GROUP BY program",
		log, from, to)
	out := make(map[[32]byte]int64, len(found))
	for id, n := range found {
		var key [32]byte
		if err := fixed(key[:]).Scan([]byte(id)); err != nil {
			return nil, err
		}
		out[key] = n
	}
	return out, err
}

// Prove returns the RFC 6962 inclusion proof of an entry in the tree of the first
// size entries of a log, the leaf's sibling first, with the tree's root. Both are
// made of this monitor's own hashes.
func (r *Reader) Prove(ctx context.Context, log, size, index int64) (tlog.RecordProof, tlog.Hash, error) {
	if index < 0 || index >= size {
		return nil, tlog.Hash{}, fmt.Errorf("there is no entry %d in a tree of %d", index, size)
	}
	hashes := r.Hashes(ctx, log)
	proof, err := tlog.ProveRecord(size, index, hashes)
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	root, err := tlog.TreeHash(size, hashes)
	return proof, root, err
}
