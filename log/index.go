package log

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/sqlite"
)

// rowStore answers questions about the entries of the tree: where does this claim stand with a proof of this
// program, which claims are there about this crate version, what do builders say of a build or a binary,
// and which programs and sets of builders do entries name. What keeps an entry out for its version's
// checksum says the map (leafMap), which each start makes of the rows. It is derived state: everything
// in it can be read from the tree again. Each row has a checksum; if one is wrong, or if the map is not
// the one that the tree's last seal names, all rows are made again, as of a file that is missing, or that
// SQLite finds damaged.
//
// Rows are appended in the order of the tree and without gaps, so their number is that of the leaves that
// are known. A tree that breaks the log's own rules has all of its rows too: they are for readers.
type rowStore struct {
	db *sql.DB

	// They select the row of a proven claim, of a claim, of a leaf, and of what a member said else of a build.
	proven, claim, leaf, tag *sql.Stmt
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
	idx  uint64
	leaf [32]byte // RFC 6962 hash of the entry
	proven
	versionKey
	sha256   [32]byte
	commit   [20]byte
	path     string
	unproven int // files that the claim leaves out
	crlf     int // files whose line ends are not the commit's
	built        // of a build claim; zero of a source claim
	kind     string
}

// built is what the index keeps of a build claim.
type built struct {
	binary, target                                 string // "" if it is none
	request, result, artifact, compiled, root, tag [32]byte
}

// The kinds of leaves: of entries that of the claim, as entry.Claim names it. The row of what is no entry has
// its hash and, of a seal or a start, the root that it names as sha256; the rest of it is empty.
const (
	kindSource = "source"
	kindBuild  = "build"
	kindSeal   = "seal"  // at its place
	kindStart  = "start" // at index 0
	kindVoid   = "void"  // a seal or a start anywhere else
	kindNone   = "none"  // no leaf
)

// isEntry says whether a row is that of an entry.
func (r row) isEntry() bool { return r.kind == kindSource || r.kind == kindBuild }

// facts are what the map takes of an entry.
func (r row) facts() index.Facts {
	f := index.Facts{Registry: r.registry, Name: r.name, Version: r.version, SHA256: r.sha256,
		Identity: r.identity, Program: r.program}
	if r.kind == kindBuild {
		f.Build = &index.Build{Binary: r.binary, Target: r.target, Request: r.request, Result: r.result,
			Root: r.root, Tag: r.tag}
	}
	return f
}

var indexDatabase = sqlite.Owned{
	ID: 0x63726c69, Version: 6, Schema: indexSchema, Journal: "wal", Conns: 4,
	// Empty: openIndex fills it from the tree.
	Upgrades: []string{"", "", "", "", "DROP TABLE entries; DROP TABLE IF EXISTS programs;" + indexSchema},
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
	kind       TEXT NOT NULL, -- see kindSource; what follows is empty but of a build claim
	binary     TEXT NOT NULL,
	target     TEXT NOT NULL,
	request    BLOB NOT NULL,
	result     BLOB NOT NULL,
	artifact   BLOB NOT NULL,
	compiled   BLOB NOT NULL,
	root       BLOB NOT NULL,
	tag        BLOB NOT NULL,
	leaf       BLOB NOT NULL,
	checksum   BLOB NOT NULL -- of all that stands before
) STRICT;
CREATE INDEX entries_by_claim   ON entries (identity, program, idx);
CREATE INDEX entries_by_version ON entries (name, version, registry, kind DESC, unproven, crlf, idx);
CREATE INDEX entries_by_leaf    ON entries (leaf);
CREATE INDEX entries_by_name    ON entries (replace(lower(name), '_', '-'), registry, name, version, idx);
CREATE INDEX builds_by_tag      ON entries (request, tag, idx) WHERE kind = 'build';
CREATE INDEX builds_by_root     ON entries (root, name, version, registry, request, program) WHERE kind = 'build';
CREATE INDEX builds_by_artifact ON entries (artifact, idx) WHERE kind = 'build';
CREATE INDEX builds_by_list     ON entries (compiled) WHERE kind = 'build';
CREATE TABLE programs (id BLOB PRIMARY KEY) STRICT;
`

const (
	columns = "idx, identity, program, registry, name, version, sha256, git_commit, path, unproven, crlf, " +
		"kind, binary, target, request, result, artifact, compiled, root, tag, leaf, checksum"
	ofVersion = "WHERE name = ? AND version = ? AND registry = ?"
	ofSources = ofVersion + " AND kind = 'source'"
	ofBuilds  = "WHERE kind = 'build'"
	fullest   = " ORDER BY unproven, crlf, idx LIMIT " // as client.Query says
)

func openIndex(ctx context.Context, path string) (*rowStore, error) {
	db, err := indexDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, err
	}
	return newIndex(ctx, db)
}

func newIndex(ctx context.Context, db *sql.DB) (*rowStore, error) {
	x, err := &rowStore{db: db}, error(nil)
	for stmt, where := range map[**sql.Stmt]string{
		&x.proven: "WHERE " + ofEntries + " AND identity = ? AND program = ? ORDER BY idx LIMIT 1",
		&x.claim:  "WHERE " + ofEntries + " AND identity = ? ORDER BY idx LIMIT 1",
		&x.leaf:   "WHERE idx = ?",
		&x.tag:    ofBuilds + " AND request = ? AND tag = ? AND result != ? ORDER BY idx LIMIT 1",
	} {
		if *stmt, err = db.PrepareContext(ctx, "SELECT "+columns+" FROM entries "+where); err != nil {
			return nil, errors.Join(fmt.Errorf("index: %w", err), db.Close())
		}
	}
	return x, nil
}

// newRow parses a leaf as it stands in the tree. With an error, which is errContradiction, the row is
// that of what is none.
func newRow(idx uint64, data []byte) (row, error) {
	r := row{idx: idx, leaf: tlog.RecordHash(data), kind: kindVoid}
	leaf, err := entry.ParseLeaf(data)
	switch x := leaf.(type) {
	case *entry.Seal:
		if r.sha256 = x.Root; x.Size == idx {
			r.kind = kindSeal
		}
	case *entry.Start:
		if r.sha256 = x.Root; idx == 0 {
			r.kind = kindStart
		}
	case *entry.Entry:
		err = r.ofEntry(x)
	}
	if err != nil {
		return row{idx: idx, leaf: r.leaf, kind: kindNone}, fmt.Errorf("%w: entry %d of the tree: %w", errContradiction, idx, err)
	}
	return r, nil
}

// rowAt is newRow, and costs less of what was admitted a moment ago.
func (l *Log) rowAt(idx uint64, data []byte) (r row, admitted bool, err error) {
	if r, admitted = l.recent.Get(tlog.RecordHash(data)); admitted {
		r.idx = idx
		return r, true, nil
	}
	r, err = newRow(idx, data)
	return r, false, err
}

func (r *row) ofEntry(e *entry.Entry) (err error) {
	r.program, r.versionKey, r.sha256, r.kind = e.Proof.Program, keyOf(e.Subject), e.Subject.SHA256, e.Claim.Kind()
	r.identity, err = e.Identity()
	switch c := e.Claim.(type) {
	case *entry.Source:
		r.commit, r.path, r.unproven, r.crlf = c.Commit, c.Path, len(c.Unproven), len(c.CRLF)
	case *entry.Build:
		if err == nil {
			r.built, err = newBuilt(e.Subject, c)
		}
	}
	return err
}

func newBuilt(s entry.Subject, c *entry.Build) (built, error) {
	request, err := c.Request(s)
	return built{c.Binary, c.Target, request, c.Result(), c.Artifact, c.Compiled, c.Root, c.Tag}, err
}

// byProven returns the row of a claim with a proof of a program, and whether there is one.
func (x *rowStore) byProven(ctx context.Context, p proven) (row, bool, error) {
	return one(ctx, x.proven, p.identity[:], p.program[:])
}

// byIdentity returns the earliest row of a claim, whatever its program, and whether there
// is one.
func (x *rowStore) byIdentity(ctx context.Context, id [32]byte) (row, bool, error) {
	return one(ctx, x.claim, id[:])
}

// at returns the row of a leaf, and whether there is one.
func (x *rowStore) at(ctx context.Context, idx uint64) (row, bool, error) {
	return one(ctx, x.leaf, int64(idx))
}

// programs returns the ids of all programs that entries name.
func (x *rowStore) programs(ctx context.Context) ([][32]byte, error) {
	return sqlite.All(ctx, x.db, func(s sqlite.Scanner) (id [32]byte, err error) {
		var b []byte
		if err = s.Scan(&b); err == nil && copy(id[:], b) != len(id) {
			err = errors.New("index: a program's id is damaged")
		}
		return id, err
	}, "SELECT id FROM programs ORDER BY id")
}

// count returns how many source claims about a version have a proof of a program, up to most.
func (x *rowStore) count(ctx context.Context, k versionKey, program [32]byte, most int) (n int, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries "+ofSources+" AND program = ? LIMIT ?)",
		k.name, k.version, k.registry, program[:], most).Scan(&n)
	return n, err
}

// query returns the rows below size of the source claims that a reader asks for, about the .crate with this
// SHA-256: the fullest first, at most limit.
func (x *rowStore) query(ctx context.Context, q client.Query, sum [32]byte, size uint64, limit int) ([]row, error) {
	where, args := ofSources+" AND sha256 = ? AND idx < ?",
		[]any{q.Name, q.Version, cmp.Or(q.Registry, entry.DefaultRegistry), sum[:], int64(size)}
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
	var id, program, sum, commit, leaf, checksum []byte
	var of [6][]byte // of a build
	err := s.Scan(&idx, &id, &program, &r.registry, &r.name, &r.version, &sum, &commit, &r.path, &r.unproven, &r.crlf,
		&r.kind, &r.binary, &r.target, &of[0], &of[1], &of[2], &of[3], &of[4], &of[5],
		&leaf, &checksum)
	if err != nil {
		return row{}, err
	}
	if sum := sumOf([]any{idx, id, program, r.registry, r.name, r.version, sum, commit, r.path, int64(r.unproven),
		int64(r.crlf), r.kind, r.binary, r.target, of[0], of[1], of[2], of[3], of[4], of[5], leaf}); !bytes.Equal(sum, checksum) {
		return row{}, fmt.Errorf("%w: row %d", errRotten, idx)
	}
	r.idx = uint64(idx)
	copy(r.identity[:], id)
	copy(r.program[:], program)
	copy(r.sha256[:], sum)
	copy(r.commit[:], commit)
	copy(r.leaf[:], leaf)
	for i, to := range r.built.hashes() {
		copy(to[:], of[i])
	}
	return r, nil
}

// errRotten says that a row is not as it was written.
var errRotten = errors.New("a row of index.db is damaged")

// values are all columns of a row.
func (r *row) values() []any {
	out := append([]any{int64(r.idx), r.identity[:], r.program[:], r.registry, r.name, r.version, r.sha256[:], r.commit[:],
		r.path, int64(r.unproven), int64(r.crlf), r.kind}, r.built.values()...)
	out = append(out, r.leaf[:])
	return append(out, sumOf(out))
}

// sumOf returns the checksum of columns.
func sumOf(columns []any) []byte {
	b := make([]byte, 0, 1024)
	for _, c := range columns {
		switch c := c.(type) {
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(c))
		case string:
			b = append(binary.AppendUvarint(append(b, 's'), uint64(len(c))), c...)
		case []byte:
			b = append(binary.AppendUvarint(append(b, 'b'), uint64(len(c))), c...)
		default:
			panic(fmt.Sprintf("a column is a %T", c)) // values makes them
		}
	}
	sum := sha256.Sum256(b)
	return sum[:8]
}

// hashes are the hashes of a build in the order of their columns.
func (b *built) hashes() [6]*[32]byte {
	return [6]*[32]byte{&b.request, &b.result, &b.artifact, &b.compiled, &b.root, &b.tag}
}

// values are the columns of a build.
func (b *built) values() []any {
	out := []any{b.binary, b.target}
	for _, h := range b.hashes() {
		if b.binary == "" {
			out = append(out, []byte{})
		} else {
			out = append(out, h[:])
		}
	}
	return out
}

func (x *rowStore) close() error { return x.db.Close() }

// otherResult returns the earliest row in which the member with a tag says something else of the same
// build, and whether there is one.
func (x *rowStore) otherResult(ctx context.Context, b built) (row, bool, error) {
	return one(ctx, x.tag, b.request[:], b.tag[:], b.result[:])
}

// countBuilds returns how many entries under a root with proofs of a program are about a request, which
// is one of the version, up to most.
func (x *rowStore) countBuilds(ctx context.Context, k versionKey, b built, program [32]byte, most int) (int, error) {
	return x.countOf(ctx, k, b.root, most, " AND request = ? AND program = ?", b.request[:], program[:])
}

// countOf returns how many build entries under a root are about a version, up to most.
func (x *rowStore) countOf(ctx context.Context, k versionKey, root [32]byte, most int, where string, args ...any) (
	n int, err error) {
	args = append([]any{root[:], k.name, k.version, k.registry}, append(args, most)...)
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries INDEXED BY builds_by_root "+ofBuilds+
		" AND root = ? AND name = ? AND version = ? AND registry = ?"+where+" LIMIT ?)", args...).Scan(&n)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return n, err
}

// hasSource says whether a source claim about a subject is in the tree.
func (x *rowStore) hasSource(ctx context.Context, s entry.Subject) (bool, error) {
	return x.exists(ctx, ofSources+" AND sha256 = ?", s.Name, s.Version, s.Registry, s.SHA256[:])
}

// hasList says whether a build claim names a list of compiled crates.
func (x *rowStore) hasList(ctx context.Context, compiled [32]byte) (bool, error) {
	return x.exists(ctx, ofBuilds+" AND compiled = ?", compiled[:])
}

func (x *rowStore) exists(ctx context.Context, where string, args ...any) (is bool, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entries "+where+")", args...).Scan(&is)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return is, err
}

// builds returns the rows below size, from an index on, of the build claims about a version's .crate with this
// SHA-256: at most limit, in the order of the tree.
func (x *rowStore) builds(ctx context.Context, k versionKey, sum [32]byte, from, size uint64, limit int) ([]row, error) {
	return x.rows(ctx, ofVersion+" AND kind = 'build' AND sha256 = ? AND idx >= ? AND idx < ? ORDER BY idx LIMIT ?",
		k.name, k.version, k.registry, sum[:], int64(from), int64(size), limit)
}

// artifact returns the earliest row below size of each subject and binary that build claims give an
// artifact: at most limit.
func (x *rowStore) artifact(ctx context.Context, sum [32]byte, size uint64, limit int) ([]row, error) {
	return x.rows(ctx, "WHERE idx IN (SELECT min(idx) FROM entries "+ofBuilds+" AND artifact = ? AND idx < ? "+
		"GROUP BY registry, name, version, binary, target ORDER BY min(idx) LIMIT ?) ORDER BY idx", sum[:], int64(size), limit)
}

func (x *rowStore) rows(ctx context.Context, where string, args ...any) ([]row, error) {
	rows, err := sqlite.All(ctx, x.db, scanRow, "SELECT "+columns+" FROM entries "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return rows, nil
}

// roots returns the roots of all sets that build claims name.
func (x *rowStore) roots(ctx context.Context) ([][32]byte, error) {
	return sqlite.All(ctx, x.db, func(s sqlite.Scanner) (root [32]byte, err error) {
		var b []byte
		if err = s.Scan(&b); err == nil && copy(root[:], b) != len(root) {
			err = errors.New("index: a root is damaged")
		}
		return root, err
	}, "SELECT DISTINCT root FROM entries "+ofBuilds+" ORDER BY root")
}
