package witness

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

var database = sqlite.Owned{
	ID: 0x63726c77, Version: 1, Schema: schema, Journal: "wal", Conns: 1,
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

// A store is the witness's durable memory: one SQLite database that is on the
// disk when a commit returns. Its one connection serializes all access; nothing slow
// runs while it is held.
type store struct {
	db *sql.DB
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

// openStore opens the database at path. If create is set it makes a new one and
// refuses an existing file, otherwise it refuses a missing file: a witness that
// starts with an empty memory would sign a second history.
func openStore(ctx context.Context, path, name string, create bool) (*store, error) {
	if path == "" {
		return nil, errors.New("witness: no database file is configured")
	}
	db, err := database.Open(ctx, path, create, name)
	if err != nil {
		return nil, fmt.Errorf("witness: %w", err)
	}
	s := &store{db: db}
	if err := s.checkOwner(ctx, name); err != nil {
		return nil, errors.Join(fmt.Errorf("witness: database %s: %w", path, err), db.Close())
	}
	return s, nil
}

func (s *store) checkOwner(ctx context.Context, name string) error {
	var owner string
	if err := s.db.QueryRowContext(ctx, "SELECT name FROM witness").Scan(&owner); err != nil {
		return fmt.Errorf("reading its owner: %w", err)
	}
	if owner != name {
		return fmt.Errorf("it belongs to the witness %q, not to %q; a witness with a new name starts with a new database", owner, name)
	}
	return nil
}

// alive reads from the database.
func (s *store) alive(ctx context.Context) error {
	return s.db.QueryRowContext(ctx, "SELECT name FROM witness").Scan(new(string))
}

// addLog makes sure that the log and its keys are on record and returns the
// keys that are new to a log known before.
func (s *store) addLog(ctx context.Context, origin string, vkeys []string, now time.Time) (added []string, err error) {
	err = sqlite.Tx(ctx, s.db, func(tx *sql.Tx) error {
		added = nil
		res, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO log (origin, size, root, time, text, signatures, cosignatures)
			VALUES (?, 0, ?, 0, '', '', '')`, origin, emptyRoot[:])
		if err != nil {
			return err
		}
		fresh, err := res.RowsAffected()
		if err != nil {
			return err
		}
		for _, vkey := range vkeys {
			res, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO key (origin, vkey, added) VALUES (?, ?, ?)", origin, vkey, now.Unix())
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n > 0 && fresh == 0 {
				added = append(added, vkey)
			}
		}
		return nil
	})
	return added, err
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
func (s *store) advance(ctx context.Context, origin string, old, next state) error {
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
	if s.testingOnlyCommit != nil {
		return s.testingOnlyCommit(tx.Commit)
	}
	return tx.Commit()
}

// formatProof writes proof hashes as a request has them.
func formatProof(proof []tlog.Hash) string {
	var b strings.Builder
	for _, h := range proof {
		b.WriteString(h.String() + "\n")
	}
	return b.String()
}
