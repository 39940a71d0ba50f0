package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cratelog/entry"
)

// index answers two questions about the entries of the tree: where does this
// identity stand, and what stands first for this name and version. It is
// derived state: everything in it can be read from the tree again, and it is
// rebuilt when its file is missing.
//
// Rows are appended in the order of the tree and without gaps, so its size is
// the number of entries that it knows.
type index struct {
	db *sql.DB
}

// row is what the index keeps of one entry.
type row struct {
	idx      uint64
	identity [32]byte
	name     string
	version  string
	sha256   [32]byte
}

const indexSchema = `
CREATE TABLE IF NOT EXISTS entries (
	idx      INTEGER PRIMARY KEY,
	identity BLOB NOT NULL UNIQUE,
	name     TEXT NOT NULL,
	version  TEXT NOT NULL,
	sha256   BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS entries_by_version ON entries (name, version, idx);
`

func openIndex(ctx context.Context, path string) (*index, error) {
	db, err := openSQLite(ctx, path, "WAL", indexSchema, 4)
	if err != nil {
		return nil, err
	}
	return &index{db: db}, nil
}

// newRow parses an entry as it stands in the tree.
func newRow(idx uint64, data []byte) (row, error) {
	e, err := entry.Parse(data)
	if err != nil {
		return row{}, fmt.Errorf("entry %d of the tree: %w", idx, err)
	}
	id, err := e.Identity()
	if err != nil {
		return row{}, fmt.Errorf("entry %d of the tree: %w", idx, err)
	}
	return row{idx: idx, identity: id, name: e.Subject.Name, version: e.Subject.Version, sha256: e.Subject.SHA256}, nil
}

// size returns the number of indexed entries.
func (x *index) size(ctx context.Context) (uint64, error) {
	var n, count int64
	err := x.db.QueryRowContext(ctx, "SELECT coalesce(max(idx)+1, 0), count(*) FROM entries").Scan(&n, &count)
	if err != nil {
		return 0, fmt.Errorf("index: %w", err)
	}
	if n != count {
		return 0, fmt.Errorf("index: has gaps (%d rows, the last is %d): stop the log, delete index.db and start again to rebuild it", count, n-1)
	}
	return uint64(n), nil
}

const selectRow = "SELECT idx, identity, name, version, sha256 FROM entries "

// byIdentity returns the row of an identity, and whether there is one.
func (x *index) byIdentity(ctx context.Context, id [32]byte) (row, bool, error) {
	return x.one(ctx, selectRow+"WHERE identity = ?", id[:])
}

// byVersion returns the earliest row of a crate version, and whether there is one.
func (x *index) byVersion(ctx context.Context, name, version string) (row, bool, error) {
	return x.one(ctx, selectRow+"WHERE name = ? AND version = ? ORDER BY idx LIMIT 1", name, version)
}

// at returns the row of an entry, and whether there is one.
func (x *index) at(ctx context.Context, idx uint64) (row, bool, error) {
	return x.one(ctx, selectRow+"WHERE idx = ?", int64(idx))
}

func (x *index) one(ctx context.Context, query string, args ...any) (row, bool, error) {
	r, err := scanRow(x.db.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return row{}, false, nil
	}
	if err != nil {
		return row{}, false, fmt.Errorf("index: %w", err)
	}
	return r, true, nil
}

func scanRow(s *sql.Row) (row, error) {
	var r row
	var idx int64
	var id, sum []byte
	if err := s.Scan(&idx, &id, &r.name, &r.version, &sum); err != nil {
		return row{}, err
	}
	if idx < 0 || copy(r.identity[:], id) != 32 || copy(r.sha256[:], sum) != 32 {
		return row{}, fmt.Errorf("row %d is damaged", idx)
	}
	r.idx = uint64(idx)
	return r, nil
}

// append adds the next rows of the tree, all or none, durably. A row that
// repeats an identity, or that gives a crate version a second checksum, is an
// error: admission must have stopped it.
func (x *index) append(ctx context.Context, rows []row) error {
	tx, err := x.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer tx.Rollback()
	for _, r := range rows {
		if err := appendRow(ctx, tx, r); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// errContradiction marks a tree that breaks the log's own rules.
var errContradiction = errors.New("the tree contradicts itself")

func appendRow(ctx context.Context, tx *sql.Tx, r row) error {
	first, err := scanRow(tx.QueryRowContext(ctx, selectRow+"WHERE name = ? AND version = ? ORDER BY idx LIMIT 1", r.name, r.version))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("index: %w", err)
	}
	if err == nil && first.sha256 != r.sha256 {
		return fmt.Errorf("%w: entries %d and %d give %s %s two checksums", errContradiction, first.idx, r.idx, r.name, r.version)
	}
	same, err := scanRow(tx.QueryRowContext(ctx, selectRow+"WHERE identity = ?", r.identity[:]))
	if err == nil {
		return fmt.Errorf("%w: entry %d repeats entry %d (%s %s)", errContradiction, r.idx, same.idx, r.name, r.version)
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("index: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO entries (idx, identity, name, version, sha256) VALUES (?, ?, ?, ?, ?)",
		int64(r.idx), r.identity[:], r.name, r.version, r.sha256[:])
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

func (x *index) close() error { return x.db.Close() }
