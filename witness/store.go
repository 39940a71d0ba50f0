package witness

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/flock"
	"cratelog/internal/sqlite"
)

var database = sqlite.Owned{
	ID: 0x63726c77, Version: 2, Schema: schema + schema2, Upgrades: []string{schema2}, Journal: "wal", Conns: 1,
	What: "a witness's database", Init: "witness init",
	Advice: "if this witness has never signed, create it with: witness init; " +
		"otherwise find it, because a witness without its memory signs split views",
	Damaged: "do not restore an older copy, but give the witness a new name, key and database",
}

// schema has the witness's name as its parameter.
const schema = `
CREATE TABLE witness (name TEXT NOT NULL) STRICT;
INSERT INTO witness (name) VALUES (?);

-- One row for each log ever configured; rows are never deleted.
CREATE TABLE log (
	origin       TEXT PRIMARY KEY,
	size         INTEGER NOT NULL,
	root         BLOB NOT NULL,
	time         INTEGER NOT NULL, -- of the last cosignature, 0 if there is none
	text         TEXT NOT NULL,    -- the checkpoint, empty if never cosigned
	signatures   TEXT NOT NULL,    -- the log's verified signature lines
	cosignatures TEXT NOT NULL     -- ours
) STRICT;

-- Every key ever trusted, for the operator's audit. Trust comes from the settings.
CREATE TABLE key (
	origin TEXT NOT NULL REFERENCES log(origin),
	vkey   TEXT NOT NULL,
	added  INTEGER NOT NULL,
	PRIMARY KEY (origin, vkey)
) STRICT;

CREATE TABLE rejected (
	id     INTEGER PRIMARY KEY,
	origin TEXT NOT NULL REFERENCES log(origin),
	size   INTEGER NOT NULL,
	root   BLOB NOT NULL,
	reason TEXT NOT NULL,
	old    INTEGER NOT NULL,
	proof  TEXT NOT NULL,
	signed TEXT NOT NULL, -- checkpoint with the log's verified signatures
	held   TEXT NOT NULL, -- cosigned checkpoint that it was compared with
	time   INTEGER NOT NULL,
	UNIQUE (origin, size, root)
) STRICT;

-- Two checkpoints of one size and two roots, each signed by the log.
CREATE TABLE fork (
	id     INTEGER PRIMARY KEY,
	origin TEXT NOT NULL REFERENCES log(origin),
	size   INTEGER NOT NULL,
	root_a BLOB NOT NULL,
	root_b BLOB NOT NULL,
	a      TEXT NOT NULL,
	b      TEXT NOT NULL,
	time   INTEGER NOT NULL,
	UNIQUE (origin, size, root_a, root_b),
	CHECK (root_a < root_b)
) STRICT;
`

// schema2 is what schema 2 has more than schema 1.
const schema2 = `
-- The logs that came from a list, each with the key that it had then. Rows are never deleted, and
-- the key never changes: a list adds, and no more.
CREATE TABLE listed (
	origin TEXT PRIMARY KEY REFERENCES log(origin),
	vkey   TEXT NOT NULL,
	list   TEXT NOT NULL, -- URL or file
	added  INTEGER NOT NULL
) STRICT;

-- Written now and then to see whether it can be.
CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), pad BLOB NOT NULL) STRICT;

-- The number of states ever stored; see mark.
ALTER TABLE witness ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
`

// A store is the witness's durable memory: one SQLite database that is on the
// disk when a commit returns. Its one connection serializes all access; nothing slow
// runs while it is held.
type store struct {
	db   *sql.DB
	path string
	file os.FileInfo // of the database that is open
	lock *os.File    // held while this store may write; nil for a reader
	name string      // of the witness

	marking sync.Mutex // protects marked
	marked  int64      // the generation in the lock file
	// written is told of each attempt to write.
	written func(err error)
	// testingOnlyCommit, if not nil, is called instead of each commit of a new
	// state and may or may not commit.
	testingOnlyCommit func(commit func() error) error
}

// A state is what the witness remembers of one log. The zero value but for
// Root is that of a log of which nothing was cosigned.
type state struct {
	Size         int64
	Root         tlog.Hash
	Time         int64 // POSIX seconds of the last cosignature, 0 if there is none
	Text         string
	Signatures   string
	Cosignatures string
}

// note returns the cosigned checkpoint, or "" if there is none.
func (s state) note() string {
	if s.Text == "" {
		return ""
	}
	return s.Text + "\n" + s.Signatures + s.Cosignatures
}

func newState(c torchwood.Checkpoint, t int64, sigs, cosigs []note.Signature) state {
	return state{c.N, c.Hash, t, c.String(), formatSignatures(sigs), formatSignatures(cosigs)}
}

// check compares the columns with the checkpoint beside them.
func (s state) check(origin string) error {
	if s.Text == "" {
		if s.Size != 0 || s.Root != emptyRoot || s.Time != 0 {
			return errors.New("it has a size but no checkpoint")
		}
		return nil
	}
	c, _, err := parseNote(s.note())
	if err != nil {
		return err
	}
	if c.Origin != origin || c.N != s.Size || c.Hash != s.Root || s.Time <= 0 {
		return errors.New("its checkpoint is another one than its size and root hash say")
	}
	return nil
}

// openStore opens the database of cfg. If Create is set it makes a new one and
// refuses an existing file, otherwise it refuses a missing file: a witness that
// starts with an empty memory would sign a second history.
func openStore(ctx context.Context, cfg Config) (*store, error) {
	if cfg.DBPath == "" {
		return nil, errors.New("witness: no database file is configured")
	}
	s := &store{path: cfg.DBPath, name: cfg.Name, written: func(error) {}}
	err := s.open(ctx, cfg)
	if err == nil {
		if err = s.checkOwner(ctx, cfg.Name); err != nil {
			err = fmt.Errorf("database %s: %w", cfg.DBPath, err)
		}
	}
	if err == nil && s.lock != nil {
		err = s.checkMark(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("witness: %w", err), s.close())
	}
	return s, nil
}

func (s *store) open(ctx context.Context, cfg Config) (err error) {
	if cfg.ReadOnly {
		s.db, err = database.OpenReader(ctx, cfg.DBPath, 1, database.Advice)
		return err
	}
	if !cfg.testingOnlyNoLock {
		if s.lock, err = lockBeside(cfg.DBPath); err != nil {
			return err
		}
	}
	if cfg.Create {
		if marked := s.readMark(); marked > 0 {
			return fmt.Errorf("a witness of the name %s has signed %d times with a database at %s; one that begins without "+
				"that memory signs split views: find the database, or take a new name and key", s.name, marked, s.path)
		}
	}
	if s.db, err = database.Open(ctx, cfg.DBPath, cfg.Create, cfg.Name); err != nil {
		return err
	}
	s.file, err = os.Stat(cfg.DBPath)
	return err
}

// The mark is the generation of the database, in the lock file beside it: the number of states stored so
// far. It is written after each commit and never synced, so it is never ahead of the database, unless
// that is an older copy. It is no protection against one that brings its own lock file along.
func (s *store) readMark() int64 {
	text := make([]byte, 512)
	n, _ := s.lock.ReadAt(text, 0) // what cannot be read is no mark
	var generation int64
	var name string
	if _, err := fmt.Sscanf(string(text[:n]), "%020d %s\n", &generation, &name); err != nil || name != s.name {
		return 0
	}
	return generation
}

// checkMark refuses a database that is older than the mark.
func (s *store) checkMark(ctx context.Context) error {
	var generation int64
	if err := s.db.QueryRowContext(ctx, "SELECT generation FROM witness").Scan(&generation); err != nil {
		return fmt.Errorf("database %s: %w", s.path, err)
	}
	if marked := s.readMark(); generation < marked {
		return fmt.Errorf("the database %s is an older copy: it remembers %d signed checkpoints, and %d were signed; "+
			"a witness that forgets signs split views: put the newer one back, or take a new name, key and database",
			s.path, generation, marked)
	}
	s.mark(generation)
	return nil
}

// mark writes the mark. It may be left behind.
func (s *store) mark(generation int64) {
	s.marking.Lock()
	defer s.marking.Unlock()
	if s.lock == nil || generation <= s.marked {
		return
	}
	s.marked = generation
	_, _ = fmt.Fprintf(io.NewOffsetWriter(s.lock, 0), "%020d %s\n", generation, s.name)
}

// inPlace checks that the database that is open is the one at its path: what is written to one that
// was removed or replaced is lost at the next start.
func (s *store) inPlace() error {
	if s.file == nil {
		return nil // a reader
	}
	now, err := os.Stat(s.path)
	switch {
	case err != nil:
		return fmt.Errorf("the database that is open is not at its place any more: %w", err)
	case !os.SameFile(s.file, now):
		return fmt.Errorf("the database that is open was replaced by another file at %s", s.path)
	}
	return nil
}

// lockBeside takes the lock of a database, which no two processes hold. It is a file of its own:
// to close the database's own file would end the locks that SQLite has on it.
func lockBeside(path string) (*os.File, error) {
	f, err := flock.Take(path + ".lock")
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("another process has the database %s open; stop that witness first: "+
			"a key never runs in two places", path)
	}
	return f, err
}

func (s *store) close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func (s *store) checkOwner(ctx context.Context, name string) error {
	var owner string
	if err := s.db.QueryRowContext(ctx, "SELECT name FROM witness").Scan(&owner); err != nil {
		return fmt.Errorf("reading its owner: %w", err)
	}
	if owner != name {
		return fmt.Errorf("it belongs to the witness %q, not to %q; a witness with a new name starts with a new database",
			owner, name)
	}
	return nil
}

// alive reads from the database.
func (s *store) alive(ctx context.Context) error {
	if err := s.inPlace(); err != nil {
		return err
	}
	return s.db.QueryRowContext(ctx, "SELECT name FROM witness").Scan(new(string))
}

// probe writes to the database what two states or so would take.
func (s *store) probe(ctx context.Context) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO probe (id, pad) VALUES (1, randomblob(16384))")
		return err
	})
}

// tx runs f in a transaction, and tells how that went.
func (s *store) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	err := sqlite.Tx(ctx, s.db, f)
	s.written(err)
	return err
}

// addLogs makes sure that the logs and their keys are on record, and returns the
// keys that are new to a log known before.
func (s *store) addLogs(ctx context.Context, vkeys map[string][]string, now time.Time) (added []Log, err error) {
	err = s.tx(ctx, func(tx *sql.Tx) error {
		added = nil
		for origin, keys := range vkeys {
			fresh, err := addLog(ctx, tx, origin)
			if err != nil {
				return err
			}
			for _, vkey := range keys {
				n, err := addKey(ctx, tx, origin, vkey, now)
				if err != nil {
					return err
				}
				if n && !fresh {
					added = append(added, Log{origin, vkey})
				}
			}
		}
		return nil
	})
	return added, err
}

// addLog says whether the log was not on record.
func addLog(ctx context.Context, tx *sql.Tx, origin string) (fresh bool, err error) {
	return inserted(tx.ExecContext(ctx, `INSERT OR IGNORE INTO log (origin, size, root, time, text, signatures, cosignatures)
		VALUES (?, 0, ?, 0, '', '', '')`, origin, emptyRoot[:]))
}

func addKey(ctx context.Context, tx *sql.Tx, origin, vkey string, now time.Time) (fresh bool, err error) {
	return inserted(tx.ExecContext(ctx, "INSERT OR IGNORE INTO key (origin, vkey, added) VALUES (?, ?, ?)",
		origin, vkey, now.Unix()))
}

func inserted(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// take puts logs of a list on record, those only that are not yet.
func (s *store) take(ctx context.Context, list string, logs []Log, now time.Time) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		for _, l := range logs {
			if fresh, err := addLog(ctx, tx, l.Origin); err != nil || !fresh {
				return cmp.Or(err, fmt.Errorf("the log %s was added meanwhile", l.Origin))
			}
			if _, err := addKey(ctx, tx, l.Origin, l.VKey, now); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO listed (origin, vkey, list, added) VALUES (?, ?, ?, ?)",
				l.Origin, l.VKey, list, now.Unix()); err != nil {
				return err
			}
		}
		return nil
	})
}

// listed returns the logs that came from lists.
func (s *store) listed(ctx context.Context) ([]Log, error) {
	return sqlite.All(ctx, s.db, func(r sqlite.Scanner) (l Log, err error) {
		return l, r.Scan(&l.Origin, &l.VKey)
	}, "SELECT origin, vkey FROM listed ORDER BY origin")
}

// keys returns the keys on record of every log ever known.
func (s *store) keys(ctx context.Context) (map[string][]string, error) {
	keys := make(map[string][]string)
	_, err := sqlite.All(ctx, s.db, func(r sqlite.Scanner) (Log, error) {
		var l Log
		err := r.Scan(&l.Origin, &l.VKey)
		keys[l.Origin] = append(keys[l.Origin], l.VKey)
		return l, err
	}, "SELECT origin, vkey FROM key")
	return keys, err
}

// forkCounts returns the number of forks on record of each log that has any.
func (s *store) forkCounts(ctx context.Context) (map[string]int, error) {
	counts := make(map[string]int)
	_, err := sqlite.All(ctx, s.db, func(r sqlite.Scanner) (n int, err error) {
		var origin string
		err = r.Scan(&origin, &n)
		counts[origin] = n
		return n, err
	}, "SELECT origin, COUNT(*) FROM fork GROUP BY origin")
	return counts, err
}

// later returns the logs whose last cosignature has a time after t, latest first.
func (s *store) later(ctx context.Context, t int64) (origins []string, latest int64, err error) {
	_, err = sqlite.All(ctx, s.db, func(r sqlite.Scanner) (at int64, err error) {
		var origin string
		err = r.Scan(&origin, &at)
		origins, latest = append(origins, origin), max(latest, at)
		return at, err
	}, "SELECT origin, time FROM log WHERE time > ? ORDER BY time DESC", t)
	return origins, latest, err
}

const selectState = "SELECT origin, size, root, time, text, signatures, cosignatures FROM log"

// states returns the state of every log ever configured.
func (s *store) states(ctx context.Context) (map[string]state, error) {
	all := make(map[string]state)
	_, err := sqlite.All(ctx, s.db, func(r sqlite.Scanner) (st state, err error) {
		var origin string
		st, err = scanState(r, &origin)
		all[origin] = st
		return st, err
	}, selectState)
	return all, err
}

func (s *store) state(ctx context.Context, origin string) (state, error) {
	return scanState(s.db.QueryRowContext(ctx, selectState+" WHERE origin = ?", origin), new(string))
}

func scanState(r sqlite.Scanner, origin *string) (state, error) {
	var st state
	var root []byte
	if err := r.Scan(origin, &st.Size, &root, &st.Time, &st.Text, &st.Signatures, &st.Cosignatures); err != nil {
		return state{}, fmt.Errorf("witness: reading a log's state: %w", err)
	}
	if len(root) != tlog.HashSize {
		return state{}, fmt.Errorf("witness: the stored state of %s has a root of %d bytes", *origin, len(root))
	}
	st.Root = tlog.Hash(root)
	if err := st.check(*origin); err != nil {
		return state{}, fmt.Errorf("witness: the stored state of %s is damaged: %w", *origin, err)
	}
	return st, nil
}

// errMoved says that another process has changed the state since it was read.
var errMoved = errors.New("witness: the log's state has changed meanwhile")

// advance replaces the state old of the log by next, durably, if it is still
// the one on record; otherwise it changes nothing and returns errMoved.
func (s *store) advance(ctx context.Context, origin string, old, next state) (err error) {
	defer func() {
		if !errors.Is(err, errMoved) {
			s.written(err)
		}
	}()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// The comparison repeats what the caller has checked, so that no race, and
	// no second process on the same file, can roll the log back.
	res, err := tx.ExecContext(ctx, `UPDATE log SET size = ?, root = ?, time = ?, text = ?, signatures = ?, cosignatures = ?
		WHERE origin = ? AND size = ? AND root = ? AND time = ? AND ? >= size AND ? >= time`,
		next.Size, next.Root[:], next.Time, next.Text, next.Signatures, next.Cosignatures,
		origin, old.Size, old.Root[:], old.Time, next.Size, next.Time)
	if err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return errMoved
	}
	var generation int64
	if err := tx.QueryRowContext(ctx, "UPDATE witness SET generation = generation + 1 RETURNING generation").
		Scan(&generation); err != nil {
		return err
	}
	commit := tx.Commit
	if s.testingOnlyCommit != nil {
		commit = func() error { return s.testingOnlyCommit(tx.Commit) }
	}
	if err := s.inPlace(); err != nil {
		return err
	}
	if err := commit(); err != nil {
		return err
	}
	s.mark(generation)
	return nil
}

// formatProof writes proof hashes as a request has them.
func formatProof(proof []tlog.Hash) string {
	var b strings.Builder
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	return b.String()
}

// Check looks at what Open would, and changes nothing. The witness may be running.
func Check(ctx context.Context, cfg Config) (err error) {
	w := &Witness{}
	if err := w.addSigners(cfg.Name, cfg.Signers); err != nil {
		return err
	}
	if _, err := watch(cfg.Logs); err != nil {
		return err
	}
	s := &store{path: cfg.DBPath, name: cfg.Name, marked: math.MaxInt64} // it marks nothing
	if s.db, err = database.Peek(ctx, cfg.DBPath); err != nil {
		return fmt.Errorf("witness: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.checkOwner(ctx, cfg.Name); err != nil {
		return fmt.Errorf("witness: database %s: %w", cfg.DBPath, err)
	}
	if _, err := s.states(ctx); err != nil {
		return err
	}
	lock, err := os.Open(cfg.DBPath + ".lock")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("witness: the lock beside the database: %w", err)
	}
	s.lock = lock
	if s.readMark() > 0 {
		if err := s.checkMark(ctx); err != nil {
			return fmt.Errorf("witness: %w", err)
		}
	}
	return nil
}
