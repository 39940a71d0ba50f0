package log

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"cratelog/internal/mysql"
	"cratelog/internal/sqlite"
)

// keptDatabase is where the processes of one log keep what is not in the tree, and need not outlive it: in the tree's
// database, beside Tessera's tables.
var keptDatabase = mysql.Owned{
	Purpose: "kept", Version: 1, Conns: 8, Shared: true,
	Schema: []string{`CREATE TABLE IF NOT EXISTS openings (
	identity VARBINARY(32) PRIMARY KEY,
	sha256   VARBINARY(32) NOT NULL,
	stored   BIGINT NOT NULL,
	gzipped  LONGBLOB,
	INDEX openings_by_size (stored)
) ENGINE=InnoDB`, `CREATE TABLE IF NOT EXISTS lists (
	sha256 VARBINARY(32) PRIMARY KEY,
	bytes  LONGBLOB NOT NULL
) ENGINE=InnoDB`, `CREATE TABLE IF NOT EXISTS contradictions (
	n       BIGINT PRIMARY KEY,
	request VARBINARY(32) NOT NULL,
	tag     VARBINARY(32) NOT NULL,
	file    LONGBLOB NOT NULL,
	UNIQUE (request, tag)
) ENGINE=InnoDB`},
	What:   "the database of a log's tree",
	Advice: "give the log the database that belongs to its bucket",
}

// openDatabase opens the tree's database. It is reached when it is first asked.
func openDatabase(c *Cluster, origin string) (*sql.DB, error) {
	return keptDatabase.Open(c.Tree.Database, origin, c.Tree.AddDeadline)
}

// kept is a database of what is kept beside the tree.
type kept struct {
	*sql.DB
	shared bool // by several processes, on a server
}

// openKeptIn opens a file in the state directory, or the tree's database.
func openKeptIn(ctx context.Context, cfg *Config, of *sqlite.Owned, file string) (kept, error) {
	if cfg.Cluster != nil {
		db, err := openDatabase(cfg.Cluster, cfg.Origin)
		return kept{db, true}, err
	}
	db, err := of.Open(ctx, filepath.Join(cfg.StateDir, file), false)
	return kept{db, false}, err
}

// openKept opens what is kept beside the tree.
func (l *Log) openKept(ctx context.Context) (err error) {
	if l.openings, err = openOpenings(ctx, &l.cfg); err == nil {
		l.builds, err = openBuildStore(ctx, &l.cfg)
	}
	return err
}

// tx is a transaction that is whole, and sees what others have committed.
func (k kept) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	if k.shared {
		return mysql.Tx(ctx, k.DB, f)
	}
	return sqlite.Tx(ctx, k.DB, f)
}

// insertNew inserts a row unless there is one with its key, and says whether it did.
func insertNew(ctx context.Context, tx *sql.Tx, stmt string, args ...any) (isNew bool, err error) {
	_, err = tx.ExecContext(ctx, stmt, args...)
	if sqlite.IsDuplicate(err) || mysql.IsDuplicate(err) {
		return false, nil
	}
	return err == nil, err
}

// failed is what becomes of an error: a server that is away is asked for again.
func (k kept) failed(what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	if !k.shared || errors.Is(err, context.Canceled) {
		return err
	}
	return later(StorageFailed, 2*time.Second, err, "The log's database, which has that, does not answer: try again later.")
}
