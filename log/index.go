package log

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/sqlite"
)

// index answers four questions about the entries of the tree: where does this claim stand
// with a proof of this program, what stands for this crate version, what do builders say of a
// build or a binary, and which programs and sets of builders do entries name. It is derived state:
// everything in it can be read from the tree again. Its file has no checksums, so every start compares
// every row with the tree, and repairs what differs; a file that is missing, or that SQLite finds
// damaged, is made again.
//
// Rows are appended in the order of the tree and without gaps, so its size is
// the number of entries that it knows. A tree that breaks the log's own rules has all of its rows too:
// they are for readers.
type index struct {
	db *sql.DB

	// They select the row of a proven claim, of a claim, of a version's fullest claim (a source's, if
	// there is one), of an index, and of what a member said else of a build.
	proven, claim, version, tag *sql.Stmt
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
}

// built is what the index keeps of a build claim.
type built struct {
	binary, target                                 string // "" if it is none
	request, result, artifact, compiled, root, tag [32]byte
}

func (r row) kind() string {
	switch {
	case r.name == "":
		return kindNone
	case r.binary == "":
		return kindSource
	}
	return kindBuild
}

// The kinds of claims, as entry.Claim names them.
const (
	kindSource = "source"
	kindBuild  = "build"
	kindNone   = "none" // the row of what is no entry; all of it is empty
)

var indexDatabase = sqlite.Owned{
	ID: 0x63726c69, Version: 5, Schema: indexSchema, Journal: "wal", Conns: 4,
	// Empty: openIndex fills it from the tree.
	Upgrades: []string{"", "", "", "DROP TABLE entries; DROP TABLE IF EXISTS programs;" + indexSchema},
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
	kind       TEXT NOT NULL, -- 'source', 'build' or 'none'; what follows is empty but of a build claim
	binary     TEXT NOT NULL,
	target     TEXT NOT NULL,
	request    BLOB NOT NULL,
	result     BLOB NOT NULL,
	artifact   BLOB NOT NULL,
	compiled   BLOB NOT NULL,
	root       BLOB NOT NULL,
	tag        BLOB NOT NULL,
	leaf       BLOB NOT NULL
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
		"kind, binary, target, request, result, artifact, compiled, root, tag, leaf"
	ofVersion  = "WHERE name = ? AND version = ? AND registry = ?"
	ofSources  = ofVersion + " AND kind = 'source'"
	ofBuilds   = "WHERE kind = 'build'"
	fullest    = " ORDER BY unproven, crlf, idx LIMIT " // as client.Query says
	onAnyClaim = " ORDER BY kind DESC, unproven, crlf, idx LIMIT 1"
)

func openIndex(ctx context.Context, path string) (*index, error) {
	db, err := indexDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, err
	}
	return newIndex(ctx, db)
}

func newIndex(ctx context.Context, db *sql.DB) (*index, error) {
	x, err := &index{db: db}, error(nil)
	for stmt, where := range map[**sql.Stmt]string{
		&x.proven:  "WHERE identity = ? AND program = ? ORDER BY idx LIMIT 1",
		&x.claim:   "WHERE identity = ? ORDER BY idx LIMIT 1",
		&x.version: ofVersion + onAnyClaim,
		&x.tag:     ofBuilds + " AND request = ? AND tag = ? AND result != ? ORDER BY idx LIMIT 1",
	} {
		if *stmt, err = db.PrepareContext(ctx, "SELECT "+columns+" FROM entries "+where); err != nil {
			return nil, errors.Join(fmt.Errorf("index: %w", err), db.Close())
		}
	}
	return x, nil
}

// newRow parses an entry as it stands in the tree. With an error, which is errContradiction, the row is
// that of what is no entry.
func newRow(idx uint64, data []byte) (row, error) {
	r := row{idx: idx, leaf: tlog.RecordHash(data)}
	e, err := entry.Parse(data)
	if err == nil {
		r.identity, err = e.Identity()
	}
	if err != nil {
		return row{idx: idx}, fmt.Errorf("%w: entry %d of the tree: %w", errContradiction, idx, err)
	}
	r.program, r.versionKey, r.sha256 = e.Proof.Program, keyOf(e.Subject), e.Subject.SHA256
	switch c := e.Claim.(type) {
	case *entry.Source:
		r.commit, r.path, r.unproven = c.Commit, c.Path, len(c.Unproven)
		r.crlf = len(c.CRLF)
	case *entry.Build:
		if r.built, err = newBuilt(e.Subject, c); err != nil {
			return row{idx: idx}, fmt.Errorf("%w: entry %d of the tree: %w", errContradiction, idx, err)
		}
	}
	return r, nil
}

func newBuilt(s entry.Subject, c *entry.Build) (built, error) {
	request, err := c.Request(s)
	return built{c.Binary, c.Target, request, c.Result(), c.Artifact, c.Compiled, c.Root, c.Tag}, err
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

// byVersion returns the row of a crate version's fullest claim, of a build if there is no other, and
// whether there is one.
func (x *index) byVersion(ctx context.Context, k versionKey) (row, bool, error) {
	return one(ctx, x.version, k.name, k.version, k.registry)
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

// count returns how many source claims about a version have a proof of a program, up to most.
func (x *index) count(ctx context.Context, k versionKey, program [32]byte, most int) (n int, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries "+ofSources+" AND program = ? LIMIT ?)",
		k.name, k.version, k.registry, program[:], most).Scan(&n)
	return n, err
}

// query returns the rows below size of the source claims that a reader asks for: the fullest
// first, at most limit.
func (x *index) query(ctx context.Context, q client.Query, size uint64, limit int) ([]row, error) {
	where, args := ofSources+" AND idx < ?", []any{q.Name, q.Version, cmp.Or(q.Registry, entry.DefaultRegistry), int64(size)}
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
	var kind string
	var id, program, sum, commit, leaf []byte
	var of [6][]byte // of a build
	err := s.Scan(&idx, &id, &program, &r.registry, &r.name, &r.version, &sum, &commit, &r.path, &r.unproven, &r.crlf,
		&kind, &r.binary, &r.target, &of[0], &of[1], &of[2], &of[3], &of[4], &of[5],
		&leaf)
	if err != nil {
		return row{}, err
	}
	if idx < 0 || copy(r.identity[:], id) != 32 || copy(r.program[:], program) != 32 ||
		copy(r.sha256[:], sum) != 32 || copy(r.commit[:], commit) != 20 || copy(r.leaf[:], leaf) != 32 || kind != r.kind() {
		return row{}, fmt.Errorf("row %d is damaged", idx)
	}
	for i, to := range r.built.hashes() {
		if copy(to[:], of[i]) != len(of[i]) || (len(of[i]) == 32) != (kind == kindBuild) {
			return row{}, fmt.Errorf("row %d is damaged", idx)
		}
	}
	r.idx = uint64(idx)
	return r, nil
}

// hashes are the hashes of a build in the order of their columns.
func (b *built) hashes() [6]*[32]byte {
	return [6]*[32]byte{&b.request, &b.result, &b.artifact, &b.compiled, &b.root, &b.tag}
}

// values are the columns of a build.
func (b *built) values() []any {
	out := []any{b.binary, b.target}
	for _, h := range b.hashes() {
		if b.binary == "" { // as in the row of what is no entry
			out = append(out, []byte{})
		} else {
			out = append(out, h[:])
		}
	}
	return out
}

func (x *index) close() error { return x.db.Close() }

// otherResult returns the earliest row in which the member with a tag says something else of the same
// build, and whether there is one.
func (x *index) otherResult(ctx context.Context, b built) (row, bool, error) {
	return one(ctx, x.tag, b.request[:], b.tag[:], b.result[:])
}

// countBuilds returns how many entries under a root with proofs of a program are about a request, which
// is one of the version, up to most.
func (x *index) countBuilds(ctx context.Context, k versionKey, b built, program [32]byte, most int) (int, error) {
	return x.countOf(ctx, k, b.root, most, " AND request = ? AND program = ?", b.request[:], program[:])
}

// countOf returns how many build entries under a root are about a version, up to most.
func (x *index) countOf(ctx context.Context, k versionKey, root [32]byte, most int, where string, args ...any) (n int, err error) {
	args = append([]any{root[:], k.name, k.version, k.registry}, append(args, most)...)
	err = x.db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries INDEXED BY builds_by_root "+ofBuilds+
		" AND root = ? AND name = ? AND version = ? AND registry = ?"+where+" LIMIT ?)", args...).Scan(&n)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return n, err
}

// hasSource says whether a source claim about a subject is in the tree.
func (x *index) hasSource(ctx context.Context, s entry.Subject) (bool, error) {
	return x.exists(ctx, ofSources+" AND sha256 = ?", s.Name, s.Version, s.Registry, s.SHA256[:])
}

// hasList says whether a build claim names a list of compiled crates.
func (x *index) hasList(ctx context.Context, compiled [32]byte) (bool, error) {
	return x.exists(ctx, ofBuilds+" AND compiled = ?", compiled[:])
}

func (x *index) exists(ctx context.Context, where string, args ...any) (is bool, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entries "+where+")", args...).Scan(&is)
	if err != nil {
		err = fmt.Errorf("index: %w", err)
	}
	return is, err
}

// builds returns the rows below size, from an index on, of the build claims about a version: at most
// limit, in the order of the tree.
func (x *index) builds(ctx context.Context, k versionKey, from, size uint64, limit int) ([]row, error) {
	return x.rows(ctx, ofVersion+" AND kind = 'build' AND idx >= ? AND idx < ? ORDER BY idx LIMIT ?",
		k.name, k.version, k.registry, int64(from), int64(size), limit)
}

// artifact returns the earliest row below size of each subject and binary that build claims give an
// artifact: at most limit.
func (x *index) artifact(ctx context.Context, sum [32]byte, size uint64, limit int) ([]row, error) {
	return x.rows(ctx, "WHERE idx IN (SELECT min(idx) FROM entries "+ofBuilds+" AND artifact = ? AND idx < ? "+
		"GROUP BY registry, name, version, binary, target ORDER BY min(idx) LIMIT ?) ORDER BY idx", sum[:], int64(size), limit)
}

func (x *index) rows(ctx context.Context, where string, args ...any) ([]row, error) {
	rows, err := sqlite.All(ctx, x.db, scanRow, "SELECT "+columns+" FROM entries "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return rows, nil
}

// roots returns the roots of all sets that build claims name.
func (x *index) roots(ctx context.Context) ([][32]byte, error) {
	return sqlite.All(ctx, x.db, func(s sqlite.Scanner) (root [32]byte, err error) {
		var b []byte
		if err = s.Scan(&b); err == nil && copy(root[:], b) != len(root) {
			err = errors.New("index: a root is damaged")
		}
		return root, err
	}, "SELECT DISTINCT root FROM entries "+ofBuilds+" ORDER BY root")
}
