package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"cratelog/entry"
	"cratelog/internal/sqlite"
)

// index answers two questions about the entries of the tree: where does this
// identity stand, and what stands first for this name and version. It is
// derived state: everything in it can be read from the tree again, and it is
// rebuilt when its file is missing.
//
// Rows are appended in the order of the tree and without gaps, so its size is
// the number of entries that it knows.
type index struct {
	db                     *sql.DB
	identity, version, num *sql.Stmt // select the row of an identity, of a version, of an index
}

// row is what the index keeps of one entry.
type row struct {
	idx      uint64
	identity [32]byte
	name     string
	version  string
	sha256   [32]byte
}

var indexDatabase = sqlite.Owned{
	ID: 0x63726c69, Version: 1, Schema: indexSchema, Journal: "wal", Conns: 4,
	What: "a log's index.db", Advice: "delete it while the log is stopped, and the next start makes it again",
}

const indexSchema = `
CREATE TABLE entries (
	idx      INTEGER PRIMARY KEY,
	identity BLOB NOT NULL UNIQUE,
	name     TEXT NOT NULL,
	version  TEXT NOT NULL,
	sha256   BLOB NOT NULL
) STRICT;
CREATE INDEX entries_by_version ON entries (name, version, idx);
`

func openIndex(ctx context.Context, path string) (*index, error) {
	db, err := indexDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, err
	}
	x := &index{db: db}
	for stmt, where := range map[**sql.Stmt]string{
		&x.identity: "WHERE identity = ?",
		&x.version:  "WHERE name = ? AND version = ? ORDER BY idx LIMIT 1",
		&x.num:      "WHERE idx = ?",
	} {
		if *stmt, err = db.PrepareContext(ctx, "SELECT idx, identity, name, version, sha256 FROM entries "+where); err != nil {
			return nil, errors.Join(fmt.Errorf("index: %w", err), db.Close())
		}
	}
	return x, nil
}

// newRow parses an entry as it stands in the tree.
func newRow(idx uint64, data []byte) (row, error) {
	var id [32]byte
	e, err := entry.Parse(data)
	if err == nil {
		id, err = e.Identity()
	}
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
		return 0, fmt.Errorf("index: has gaps (%d rows, the last is %d): "+
			"stop the log, delete index.db and start again to rebuild it", count, n-1)
	}
	return uint64(n), nil
}

// byIdentity returns the row of an identity, and whether there is one.
func (x *index) byIdentity(ctx context.Context, id [32]byte) (row, bool, error) {
	return one(ctx, x.identity, id[:])
}

// byVersion returns the earliest row of a crate version, and whether there is one.
func (x *index) byVersion(ctx context.Context, name, version string) (row, bool, error) {
	return one(ctx, x.version, name, version)
}

// at returns the row of an entry, and whether there is one.
func (x *index) at(ctx context.Context, idx uint64) (row, bool, error) {
	return one(ctx, x.num, int64(idx))
}

func one(ctx context.Context, query *sql.Stmt, args ...any) (row, bool, error) {
	r, found, err := sqlite.Found(scanRow(query.QueryRowContext(ctx, args...)))
	if err != nil {
		return row{}, false, fmt.Errorf("index: %w", err)
	}
	return r, found, nil
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
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx,
			"INSERT INTO entries (idx, identity, name, version, sha256) VALUES (?, ?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		version, identity := tx.StmtContext(ctx, x.version), tx.StmtContext(ctx, x.identity)
		for _, r := range rows {
			if err := appendRow(ctx, version, identity, insert, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// errContradiction marks a tree that breaks the log's own rules.
var errContradiction = errors.New("the tree contradicts itself")

func appendRow(ctx context.Context, version, identity, insert *sql.Stmt, r row) error {
	first, found, err := sqlite.Found(scanRow(version.QueryRowContext(ctx, r.name, r.version)))
	if err == nil && found && first.sha256 != r.sha256 {
		err = fmt.Errorf("%w: entries %d and %d give %s %s two checksums",
			errContradiction, first.idx, r.idx, r.name, r.version)
	}
	if err != nil {
		return err
	}
	same, found, err := sqlite.Found(scanRow(identity.QueryRowContext(ctx, r.identity[:])))
	if err == nil && found {
		err = fmt.Errorf("%w: entry %d repeats entry %d (%s %s)", errContradiction, r.idx, same.idx, r.name, r.version)
	}
	if err != nil {
		return err
	}
	_, err = insert.ExecContext(ctx, int64(r.idx), r.identity[:], r.name, r.version, r.sha256[:])
	return err
}

func (x *index) close() error { return x.db.Close() }
