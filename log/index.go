package log

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/sqlite"
)

// index answers three questions about the entries of the tree: where does this claim stand
// with a proof of this program, what stands for this crate version, and which programs do
// entries name. It is derived state: everything in it can be read from the tree again, and
// it is rebuilt when its file is missing.
//
// Rows are appended in the order of the tree and without gaps, so its size is
// the number of entries that it knows.
type index struct {
	db *sql.DB

	proven, claim, version, num *sql.Stmt // select the row of a proven claim, of a claim, of a version, of an index
}

// versionKey names a crate version.
type versionKey struct{ registry, name, version string }

func keyOf(s entry.Subject) versionKey { return versionKey{s.Registry, s.Name, s.Version} }

func (k versionKey) String() string {
	if k.registry == entry.DefaultRegistry {
		return k.name + " " + k.version
	}
	return fmt.Sprintf("%s %s of the registry %s", k.name, k.version, k.registry)
}

// proven names a claim with a proof of one program. A log holds it once: the same claim can
// be proven again under another program.
type proven struct{ identity, program [32]byte }

// row is what the index keeps of one entry.
type row struct {
	idx uint64
	proven
	versionKey
	sha256   [32]byte
	commit   [20]byte
	path     string
	unproven int // files that the claim leaves out
	crlf     int // files whose line ends are not the commit's
}

var indexDatabase = sqlite.Owned{
	ID: 0x63726c69, Version: 2, Schema: indexSchema, Journal: "wal", Conns: 4,
	Upgrades: []string{"DROP TABLE entries;" + indexSchema}, // empty: openIndex fills it from the tree
	What:     "a log's index.db", Advice: "delete it while the log is stopped, and the next start makes it again",
}

const indexSchema = `
CREATE TABLE entries (
	idx        INTEGER PRIMARY KEY,
	identity   BLOB NOT NULL,
	program    BLOB NOT NULL,
	registry   TEXT NOT NULL,
	name       TEXT NOT NULL,
	version    TEXT NOT NULL,
	sha256     BLOB NOT NULL,
	git_commit BLOB NOT NULL,
	path       TEXT NOT NULL,
	unproven   INTEGER NOT NULL,
	crlf       INTEGER NOT NULL,
	UNIQUE (identity, program)
) STRICT;
CREATE INDEX entries_by_version ON entries (name, version, registry, unproven, crlf, idx);
CREATE TABLE programs (id BLOB PRIMARY KEY) STRICT;
`

const (
	columns   = "idx, identity, program, registry, name, version, sha256, git_commit, path, unproven, crlf"
	ofVersion = "WHERE name = ? AND version = ? AND registry = ?"
	fullest   = " ORDER BY unproven, crlf, idx LIMIT " // as client.Query says
)

func openIndex(ctx context.Context, path string) (*index, error) {
	db, err := indexDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, err
	}
	x := &index{db: db}
	for stmt, where := range map[**sql.Stmt]string{
		&x.proven:  "WHERE identity = ? AND program = ?",
		&x.claim:   "WHERE identity = ? ORDER BY idx LIMIT 1",
		&x.version: ofVersion + fullest + "1",
		&x.num:     "WHERE idx = ?",
	} {
		if *stmt, err = db.PrepareContext(ctx, "SELECT "+columns+" FROM entries "+where); err != nil {
			return nil, errors.Join(fmt.Errorf("index: %w", err), db.Close())
		}
	}
	return x, nil
}

// newRow parses an entry as it stands in the tree.
func newRow(idx uint64, data []byte) (row, error) {
	r := row{idx: idx}
	e, err := entry.Parse(data)
	if err == nil {
		r.identity, err = e.Identity()
	}
	if err != nil {
		return row{}, fmt.Errorf("entry %d of the tree: %w", idx, err)
	}
	r.program, r.versionKey, r.sha256 = e.Proof.Program, keyOf(e.Subject), e.Subject.SHA256
	if src, ok := e.Claim.(*entry.Source); ok {
		r.commit, r.path, r.unproven = src.Commit, src.Path, len(src.Unproven)
		r.crlf = len(src.CRLF)
	}
	return r, nil
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

// byProven returns the row of a claim with a proof of a program, and whether there is one.
func (x *index) byProven(ctx context.Context, p proven) (row, bool, error) {
	return one(ctx, x.proven, p.identity[:], p.program[:])
}

// byIdentity returns the earliest row of a claim, whatever its program, and whether there
// is one.
func (x *index) byIdentity(ctx context.Context, id [32]byte) (row, bool, error) {
	return one(ctx, x.claim, id[:])
}

// byVersion returns the row of a crate version's fullest claim, and whether there is one.
func (x *index) byVersion(ctx context.Context, k versionKey) (row, bool, error) {
	return one(ctx, x.version, k.name, k.version, k.registry)
}

// at returns the row of an entry, and whether there is one.
func (x *index) at(ctx context.Context, idx uint64) (row, bool, error) {
	return one(ctx, x.num, int64(idx))
}

// programs returns the ids of all programs that entries name.
func (x *index) programs(ctx context.Context) ([][32]byte, error) {
	return sqlite.All(ctx, x.db, func(s sqlite.Scanner) (id [32]byte, err error) {
		var b []byte
		if err = s.Scan(&b); err == nil && copy(id[:], b) != len(id) {
			err = errors.New("index: a program's id is damaged")
		}
		return id, err
	}, "SELECT id FROM programs ORDER BY id")
}

// count returns how many claims about a version have a proof of a program, up to most.
func (x *index) count(ctx context.Context, k versionKey, program [32]byte, most int) (n int, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries "+ofVersion+" AND program = ? LIMIT ?)",
		k.name, k.version, k.registry, program[:], most).Scan(&n)
	return n, err
}

// query returns the rows below size of the claims that a reader asks for: the fullest
// first, at most limit.
func (x *index) query(ctx context.Context, q client.Query, size uint64, limit int) ([]row, error) {
	where, args := ofVersion+" AND idx < ?", []any{q.Name, q.Version, cmp.Or(q.Registry, entry.DefaultRegistry), int64(size)}
	anyOf := func(column string, n int, value func(i int) []byte) {
		if n == 0 {
			return
		}
		where += " AND " + column + " IN (?" + strings.Repeat(", ?", n-1) + ")"
		for i := range n {
			args = append(args, value(i))
		}
	}
	anyOf("program", len(q.Programs), func(i int) []byte { return q.Programs[i][:] })
	anyOf("git_commit", len(q.Commits), func(i int) []byte { return q.Commits[i][:] })
	if q.Path != nil {
		where, args = where+" AND path = ?", append(args, *q.Path)
	}
	rows, err := sqlite.All(ctx, x.db, scanRow, "SELECT "+columns+" FROM entries "+where+fullest+"?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return rows, nil
}

func one(ctx context.Context, query *sql.Stmt, args ...any) (row, bool, error) {
	r, found, err := sqlite.Found(scanRow(query.QueryRowContext(ctx, args...)))
	if err != nil {
		return row{}, false, fmt.Errorf("index: %w", err)
	}
	return r, found, nil
}

func scanRow(s sqlite.Scanner) (row, error) {
	var r row
	var idx int64
	var id, program, sum, commit []byte
	err := s.Scan(&idx, &id, &program, &r.registry, &r.name, &r.version, &sum, &commit, &r.path, &r.unproven, &r.crlf)
	if err != nil {
		return row{}, err
	}
	if idx < 0 || copy(r.identity[:], id) != 32 || copy(r.program[:], program) != 32 ||
		copy(r.sha256[:], sum) != 32 || copy(r.commit[:], commit) != 20 {
		return row{}, fmt.Errorf("row %d is damaged", idx)
	}
	r.idx = uint64(idx)
	return r, nil
}

// append adds the next rows of the tree, all or none, durably. A row that repeats a claim
// with a proof of the same program, or that gives a crate version a second checksum, is an
// error: admission must have stopped it.
func (x *index) append(ctx context.Context, rows []row) error {
	err := sqlite.Tx(ctx, x.db, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT INTO entries ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer insert.Close()
		version, same := tx.StmtContext(ctx, x.version), tx.StmtContext(ctx, x.proven)
		programs := map[[32]byte]bool{}
		for _, r := range rows {
			if err := appendRow(ctx, version, same, insert, r); err != nil {
				return err
			}
			programs[r.program] = true
		}
		for id := range programs {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO programs (id) VALUES (?)", id[:]); err != nil {
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

func appendRow(ctx context.Context, version, same, insert *sql.Stmt, r row) error {
	first, found, err := sqlite.Found(scanRow(version.QueryRowContext(ctx, r.name, r.version, r.registry)))
	if err == nil && found && first.sha256 != r.sha256 {
		err = fmt.Errorf("%w: entries %d and %d give %v two checksums", errContradiction, first.idx, r.idx, r.versionKey)
	}
	if err != nil {
		return err
	}
	again, found, err := sqlite.Found(scanRow(same.QueryRowContext(ctx, r.identity[:], r.program[:])))
	if err == nil && found {
		err = fmt.Errorf("%w: entry %d repeats entry %d (%v)", errContradiction, r.idx, again.idx, r.versionKey)
	}
	if err != nil {
		return err
	}
	_, err = insert.ExecContext(ctx, int64(r.idx), r.identity[:], r.program[:], r.registry, r.name, r.version,
		r.sha256[:], r.commit[:], r.path, r.unproven, r.crlf)
	return err
}

func (x *index) close() error { return x.db.Close() }
