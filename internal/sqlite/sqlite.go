// Package sqlite opens the SQLite databases of the daemons.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	driver "modernc.org/sqlite" // "sqlite", without cgo
	lib "modernc.org/sqlite/lib"

	"cratelog/internal/durable"
)

// demanded are the pragmas under which a commit is on the disk when it returns: EXTRA is
// FULL for a WAL, and with a rollback journal it also makes the end of the journal durable,
// without which a power failure rolls the commit back. The others are for macOS.
var demanded = []struct {
	pragma string
	value  int
}{{"synchronous", 3}, {"fullfsync", 1}, {"checkpoint_fullfsync", 1}}

// Owned describes the databases that one program writes, and marks as its own.
type Owned struct {
	ID      int    // application_id
	Version int    // user_version: the schema that this program reads and writes
	Schema  string // run once, with Open's args as its parameters
	// Upgrades are run on a database of an older schema: the first makes schema 2 of
	// schema 1. Schema and all of them come to the same.
	Upgrades []string
	Journal  string // wal, or delete, which leaves one file when it is closed
	Conns    int    // connections that may write; their transactions are immediate
	Cache    int    // KiB of the file that each connection keeps; 0 for SQLite's default

	What    string // in refusals, such as "a witness's database"
	Init    string // the command that makes one; "" if Open does where none is
	Advice  string // what to do if it is missing or, without Init, another's
	Damaged string // what to do if it is damaged; "" does not look, which takes as long as reading it all
}

// Open opens a database, or makes it, readable by its owner only. With create it refuses
// an existing file, without it a missing one, unless Init is empty. It refuses another
// program's file and a newer schema before it writes anything, and a file system on which a
// commit is not durable.
func (o *Owned) Open(ctx context.Context, path string, create bool, args ...any) (*sql.DB, error) {
	if _, err := os.Stat(path); create || o.Init == "" && errors.Is(err, fs.ErrNotExist) {
		if err := durable.WriteNew(path, nil, 0o600); errors.Is(err, fs.ErrExist) && create {
			return nil, fmt.Errorf("the database %s already exists and is left alone: %w", path, fs.ErrExist)
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("creating the database: %w", err)
		}
	} else if err := o.mustExist(path, o.Advice); err != nil {
		return nil, err
	}
	var pragmas []string
	for _, d := range demanded {
		pragmas = append(pragmas, fmt.Sprintf("%s(%d)", d.pragma, d.value))
	}
	db, err := o.open(path, "immediate", o.Conns, pragmas...)
	if err != nil {
		return nil, err
	}
	if err := o.prepare(ctx, db, create, args); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, o.advise(err)), db.Close())
	}
	return db, nil
}

// advise adds what to do about a damaged file.
func (o *Owned) advise(err error) error {
	if !IsDamaged(err) {
		return err
	}
	return fmt.Errorf("%w; %s", err, cmp.Or(o.Damaged, o.Advice))
}

// OpenReader opens an existing database for reading only, with so many connections.
// missing says what to do if there is none.
func (o *Owned) OpenReader(ctx context.Context, path string, conns int, missing string) (*sql.DB, error) {
	if err := o.mustExist(path, missing); err != nil {
		return nil, err
	}
	db, err := o.open(path, "deferred", conns, "query_only(1)")
	if err != nil {
		return nil, err
	}
	_, version, err := o.identify(ctx, db, false)
	if err == nil && version < o.Version {
		err = fmt.Errorf("it has schema %d; the program that writes it brings it to %d when it next starts",
			version, o.Version)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, o.advise(err)), db.Close())
	}
	return db, nil
}

// Peek opens a database for reading only and without a trace: no file is made beside it, and nothing
// of an interrupted transaction is undone. Another process may have it open. It refuses what Open refuses
// of another program's file and of a newer schema, and returns nil where there is no database yet,
// unless Init makes one.
func (o *Owned) Peek(ctx context.Context, path string) (*sql.DB, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.Init == "":
		return nil, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, o.mustExist(path, o.Advice)
	case err != nil:
		return nil, err
	case info.Size() == 0 && o.Init == "":
		return nil, nil
	}
	q := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "trusted_schema(0)", "query_only(1)"}}
	if _, err := os.Stat(path + "-wal"); o.Journal == "wal" && errors.Is(err, fs.ErrNotExist) {
		q.Set("immutable", "1") // else a reader makes the log's files
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	if _, _, err := o.identify(ctx, db, false); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), db.Close())
	}
	return db, nil
}

func (o *Owned) mustExist(path, advice string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the database %s does not exist; %s: %w", path, advice, err)
	}
	return nil
}

// open never creates a file. Immediate transactions wait for other writers at their
// begin, and not half-way.
func (o *Owned) open(path, lock string, conns int, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	pragmas = slices.Concat([]string{"busy_timeout(10000)", "foreign_keys(1)", "trusted_schema(0)"}, pragmas)
	if o.Cache > 0 {
		pragmas = append(pragmas, fmt.Sprintf("cache_size(-%d)", o.Cache))
	}
	q := url.Values{"mode": {"rw"}, "_txlock": {lock}, "_pragma": pragmas}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// identify reads whose file it is, its schema, and whether it is new: empty, with the
// schema to come.
func (o *Owned) identify(ctx context.Context, db *sql.DB, create bool) (isNew bool, version int, err error) {
	var application, objects int
	row := db.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`)
	if err := row.Scan(&application, &version, &objects); err != nil {
		return false, 0, err
	}
	switch {
	case create || o.Init == "" && application == 0 && version == 0 && objects == 0:
		return true, o.Version, nil
	case application != o.ID && o.Init == "":
		return false, version, fmt.Errorf("it is not %s; %s", o.What, o.Advice)
	case application != o.ID:
		return false, version, fmt.Errorf("it is not %s; if it is an empty file that an interrupted %q left, remove it "+
			"and run that again", o.What, o.Init)
	case version > o.Version:
		return false, version, fmt.Errorf("it has schema %d, and this program knows schemas up to %d; "+
			"use the newer version of the program that wrote it", version, o.Version)
	case version < 1:
		return false, version, fmt.Errorf("it has schema %d, which no version of this program wrote", version)
	}
	return false, version, nil
}

// prepare checks the database, and makes the schema of a new one.
func (o *Owned) prepare(ctx context.Context, db *sql.DB, create bool, args []any) error {
	isNew, version, err := o.identify(ctx, db, create)
	if err != nil {
		return err
	}
	var journal, answer string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = "+o.Journal).Scan(&journal); err != nil {
		return err
	}
	if journal != o.Journal {
		return fmt.Errorf("SQLite answered journal mode %q instead of %s; put the file on a local disk", journal, o.Journal)
	}
	for _, d := range demanded {
		var got int
		if err := db.QueryRowContext(ctx, "PRAGMA "+d.pragma).Scan(&got); err != nil {
			return err
		}
		if got != d.value {
			return fmt.Errorf("SQLite answered %s = %d instead of %d, so a power failure could undo a commit",
				d.pragma, got, d.value)
		}
	}
	if isNew {
		return o.create(ctx, db, args)
	}
	if o.Damaged != "" {
		if err := db.QueryRowContext(ctx, "PRAGMA quick_check").Scan(&answer); err != nil {
			return err
		}
		if answer != "ok" {
			return fmt.Errorf("SQLite finds it damaged (%s); %s", answer, o.Damaged)
		}
	}
	return o.upgrade(ctx, db, version)
}

// upgrade brings the schema up to date, step by step.
func (o *Owned) upgrade(ctx context.Context, db *sql.DB, version int) error {
	for ; version < o.Version; version++ {
		err := Tx(ctx, db, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf("%s; PRAGMA user_version = %d", o.Upgrades[version-1], version+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("from schema %d to %d: %w", version, version+1, err)
		}
	}
	return nil
}

func (o *Owned) create(ctx context.Context, db *sql.DB, args []any) error {
	return Tx(ctx, db, func(tx *sql.Tx) error {
		id := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", o.ID, o.Version)
		_, err := tx.ExecContext(ctx, id+o.Schema, args...)
		return err
	})
}

// IsDamaged says whether SQLite found a file that is no database, or a damaged one.
func IsDamaged(err error) bool {
	var x *driver.Error
	// The low byte is the result code, the rest says more.
	return errors.As(err, &x) && (x.Code()&0xff == lib.SQLITE_CORRUPT || x.Code()&0xff == lib.SQLITE_NOTADB)
}

// IsDuplicate says whether a row was not inserted because there is one with its key.
func IsDuplicate(err error) bool {
	var x *driver.Error
	return errors.As(err, &x) &&
		(x.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY || x.Code() == lib.SQLITE_CONSTRAINT_UNIQUE)
}

// Tx runs f in a transaction, and commits what it did if it returns nil.
func Tx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Querier is *sql.DB or *sql.Tx.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Scanner is *sql.Row or *sql.Rows.
type Scanner interface{ Scan(into ...any) error }

// All reads every row of a query.
func All[T any](ctx context.Context, q Querier, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// One reads the row of a query, and says whether there is one.
func One[T any](ctx context.Context, q Querier, scan func(Scanner) (T, error), query string,
	args ...any) (v T, found bool, err error) {
	return Found(scan(q.QueryRowContext(ctx, query, args...)))
}

// Found turns sql.ErrNoRows into the answer that there is no row.
func Found[T any](v T, err error) (T, bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		var zero T
		return zero, false, nil
	}
	return v, err == nil, err
}
