package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/mysql"
	"cratelog/internal/sqlite"
	"cratelog/log/storage"
)

// guardStore is where the guard's memory lies: in guard.db, or in the memory of a log on several machines. The
// statements are the same, but for the one that counts.
type guardStore struct {
	db     *sql.DB
	name   string // in sentences
	find   string // what to do if it is another log's
	shared bool   // it is a memory
	lease  *lease // of a memory that is written, not only looked at

	testingOnlySwap func(swap func() (bool, error)) (bool, error)
}

// A rollback journal leaves one file when the log is stopped. Each commit is one
// transaction a checkpoint: speed does not matter here.
var guardDatabase = sqlite.Owned{
	ID: 0x63726c67, Version: 2, Schema: guardSchema + frozenSchema, Journal: "delete", Conns: 1,
	What: "a log's guard.db",
	Advice: "use the state directory of this log; a log of an earlier build cannot go on with this one: finish it " +
		"with that build, or start a new log under a new origin",
	Damaged: "this log cannot know what it has signed, and must go on under a new origin",
}

const guardFile = "guard.db" // in the state directory

const guardSchema = `
CREATE TABLE guard (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	origin TEXT NOT NULL,
	size   INTEGER NOT NULL,
	root   BLOB NOT NULL,
	note   BLOB
) STRICT;
CREATE TABLE key (
	vkey  TEXT PRIMARY KEY,
	added INTEGER NOT NULL, -- POSIX seconds
	ended INTEGER           -- when it was taken out of the settings; NULL while it signs
) STRICT;
`

const frozenSchema = "CREATE TABLE frozen (id INTEGER PRIMARY KEY CHECK (id = 1), note BLOB NOT NULL) STRICT;\n"

// remembered is all that a guard remembers.
type remembered struct {
	origin string
	head   mark
	keys   []string // that sign
	frozen []byte   // the last word; nil: the log goes on
}

// openGuardStore opens what the log remembers of its signatures, and makes it if there is nothing.
func openGuardStore(ctx context.Context, cfg *Config) (*guardStore, error) {
	if cfg.Cluster == nil {
		path := filepath.Join(cfg.StateDir, guardFile)
		db, err := guardDatabase.Open(ctx, path, false)
		if err != nil {
			return nil, err
		}
		return guardOf(db, path), nil
	}
	db, err := openMemory(cfg.Cluster, cfg.Origin)
	if err != nil {
		return nil, err
	}
	database, err := openDatabase(cfg.Cluster, cfg.Origin)
	if err == nil {
		err = errors.Join(otherServer(ctx, db, database), database.Close())
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return memoryOf(db, cfg.lease), nil
}

// readGuardStore opens it for looking, also while the log runs. It returns nil if there is none.
func readGuardStore(ctx context.Context, cfg *Config) (*guardStore, error) {
	if cfg.Cluster == nil {
		path := filepath.Join(cfg.StateDir, guardFile)
		db, err := guardDatabase.Peek(ctx, path)
		if db == nil {
			return nil, err
		}
		return guardOf(db, path), nil
	}
	db, err := memoryDatabase.Peek(ctx, cfg.Cluster.Memory, cfg.Origin, cfg.Cluster.Lease/4)
	if err != nil {
		err = fmt.Errorf("the memory: %w", err)
	}
	if db == nil {
		return nil, err
	}
	return memoryOf(db, nil), nil
}

func guardOf(db *sql.DB, path string) *guardStore {
	return &guardStore{db: db, name: path, find: "use the state directory of this log"}
}

func memoryOf(db *sql.DB, l *lease) *guardStore {
	return &guardStore{db: db, name: "the memory", find: "use the memory of this log", shared: true, lease: l}
}

// load returns what is remembered; nil if nothing was ever signed.
func (s *guardStore) load(ctx context.Context) (*remembered, error) {
	var g remembered
	var size int64
	var root []byte
	err := s.db.QueryRowContext(ctx, "SELECT origin, size, root, note FROM guard").Scan(&g.origin, &size, &root, &g.head.Note)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err == nil && (size < 0 || copy(g.head.Root[:], root) != tlog.HashSize):
		return nil, fmt.Errorf("%s is damaged: %s", s.name, guardDatabase.Damaged)
	}
	g.head.Size = uint64(size)
	if err == nil {
		g.keys, err = sqlite.All(ctx, s.db, func(r sqlite.Scanner) (vkey string, err error) { return vkey, r.Scan(&vkey) },
			"SELECT vkey FROM `key` WHERE ended IS NULL ORDER BY added, vkey")
	}
	if err == nil {
		err = s.db.QueryRowContext(ctx, "SELECT note FROM frozen").Scan(&g.frozen)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return &g, nil
}

// forgot is the error of a tree that has entries, of which nothing is remembered.
func (s *guardStore) forgot(tree storage.Tree, state storage.State) error {
	return fmt.Errorf("%w: %v has %d entries, but %s remembers no checkpoint: %s; if it is lost, start a new log under a "+
		"new origin", ErrRollback, tree, state.Size, s.name, s.find)
}

// begin remembers the first mark and the keys.
func (s *guardStore) begin(ctx context.Context, origin string, first mark, keys []Key) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO guard (id, origin, size, root, note) VALUES (1, ?, ?, ?, NULL)",
			origin, int64(first.Size), first.Root[:])
		for _, k := range keys {
			if err == nil {
				_, err = tx.ExecContext(ctx, "INSERT INTO `key` (vkey, added, ended) VALUES (?, ?, NULL)", k.VKey,
					time.Now().Unix())
			}
		}
		return err
	})
}

// changeKeys remembers which keys sign from now on, and which no more.
func (s *guardStore) changeKeys(ctx context.Context, added, ended []string) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		now := time.Now().Unix()
		for _, vkey := range added {
			res, err := tx.ExecContext(ctx, "UPDATE `key` SET ended = NULL WHERE vkey = ?", vkey)
			if err != nil {
				return err
			}
			if n, err := res.RowsAffected(); err != nil {
				return err
			} else if n > 0 {
				continue
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO `key` (vkey, added, ended) VALUES (?, ?, NULL)", vkey, now); err != nil {
				return err
			}
		}
		for _, vkey := range ended {
			if _, err := tx.ExecContext(ctx, "UPDATE `key` SET ended = ? WHERE vkey = ?", now, vkey); err != nil {
				return err
			}
		}
		return nil
	})
}

// swap replaces the mark old by next, and says whether old was there. In a memory it also demands the epoch of the
// lease: whoever had the lease before changes nothing. An older copy of a memory gives an epoch again, to another
// holder. After an error nobody knows whether next is there.
func (s *guardStore) swap(ctx context.Context, old, next mark) (bool, error) {
	swap := func() (bool, error) { return s.swapNow(ctx, old, next) }
	if s.testingOnlySwap != nil {
		return s.testingOnlySwap(swap)
	}
	return swap()
}

func (s *guardStore) swapNow(ctx context.Context, old, next mark) (bool, error) {
	stmt := "UPDATE guard SET size = ?, root = ?, note = ? WHERE id = 1 AND size = ? AND root = ?"
	args := []any{int64(next.Size), next.Root[:], next.Note, int64(old.Size), old.Root[:]}
	if s.shared {
		// The row of the lease is assigned too, so that it is locked until the commit, and the epoch cannot change before.
		stmt = `UPDATE guard, lease SET guard.size = ?, guard.root = ?, guard.note = ?, lease.epoch = lease.epoch
			WHERE guard.id = 1 AND guard.size = ? AND guard.root = ? AND lease.id = 1 AND lease.epoch = ?
			AND lease.holder = ?`
		own := s.lease.own()
		args = append(args, own.epoch, own.holder)
	}
	res, err := s.db.ExecContext(ctx, stmt, args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// freeze remembers the last word.
func (s *guardStore) freeze(ctx context.Context, note []byte) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO frozen (id, note) VALUES (1, ?)", note)
		return err
	})
}

// tx is a transaction of whoever has the lease.
func (s *guardStore) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if !s.shared {
		return sqlite.Tx(ctx, s.db, f)
	}
	return mysql.Tx(ctx, s.db, func(tx *sql.Tx) error {
		// Nobody is stopped in here with the holder's row locked for longer than the server waits for the next statement.
		var now holding
		err := tx.QueryRowContext(ctx, "SELECT epoch, holder FROM lease WHERE id = 1 FOR UPDATE").Scan(&now.epoch, &now.holder)
		if own := s.lease.own(); err == nil && !own.sameTerm(now) {
			err = fmt.Errorf("%w: it had the epoch %d, and now another process has %d", errLeaseLost, own.epoch, now.epoch)
		}
		if err != nil {
			return err
		}
		return f(tx)
	})
}

func (s *guardStore) close() error { return s.db.Close() }

// dispossessed returns an error, and ends what this process may do, if the lease has another epoch.
func (s *guardStore) dispossessed(ctx context.Context) error {
	if !s.shared {
		return nil
	}
	h, err := leaseHolder(ctx, s.db)
	if own := s.lease.own(); err == nil && !own.sameTerm(h) {
		err = fmt.Errorf("%w: it had the epoch %d, and now %v", errLeaseLost, own.epoch, h)
		s.lease.drop(err)
	}
	return err
}
