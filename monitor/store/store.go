// Package store is a monitor's memory: one SQLite file with every entry of every
// log it follows, every signed checkpoint it ever saw, what it found, and what it
// has still to tell.
//
// Every commit is on the disk when it returns (WAL, synchronous FULL). Writes go
// through one connection, one transaction at a time; reads go through others and
// never wait for them.
//
// The order that nothing may change: a finding's evidence file is on the disk
// before its row is; its row, with its deliveries, before anybody is alerted; and
// the verified position moves past an entry only after the findings about it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/sqlite"
)

// Store is an open database. Its methods may be called concurrently.
type Store struct {
	path  string
	write *sql.DB // one connection
	read  *sql.DB // read-only connections
}

// readers is the number of connections for reading.
const readers = 4

// cache is how much of the file a connection keeps: 64 MiB.
const cache = "cache_size(-65536)"

// ErrNoStore: the file does not exist. A monitor that starts with an empty memory
// would believe the next thing that it is shown, so somebody must ask for it.
var ErrNoStore = errors.New("the monitor's database does not exist")

// Create makes a new database and refuses an existing file.
func Create(ctx context.Context, path string) (*Store, error) {
	if err := createFile(path); err != nil {
		return nil, err
	}
	return open(ctx, path, true)
}

// Open opens a database that Create made. A missing file is ErrNoStore. It refuses
// another program's file, a newer schema, and a damaged one.
func Open(ctx context.Context, path string) (*Store, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s; if this monitor has never run, create it with: monitor init; otherwise find it, because without its memory a monitor believes whatever it is shown next", ErrNoStore, path)
	}
	return open(ctx, path, false)
}

func createFile(path string) error {
	err := durable.WriteNew(path, nil, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("the database %s already exists and is left alone: %w", path, err)
	}
	if err != nil {
		return fmt.Errorf("creating the monitor's database: %w", err)
	}
	return nil
}

func open(ctx context.Context, path string, create bool) (_ *Store, err error) {
	s := &Store{path: path}
	defer func() {
		if err != nil {
			s.Close()
			err = fmt.Errorf("database %s: %w", path, err)
		}
	}()
	if s.write, err = sqlite.Open(path, 1, append(sqlite.Durable, cache)...); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, create); err != nil {
		return nil, err
	}
	if s.read, err = sqlite.Open(path, readers, "query_only(1)", cache); err != nil {
		return nil, err
	}
	return s, s.read.PingContext(ctx)
}

// prepare makes or checks the schema, and that commits are durable. It reads who
// wrote the file before it writes anything.
func (s *Store) prepare(ctx context.Context, create bool) error {
	var application, version int
	if err := s.pragma(ctx, "application_id", &application); err != nil {
		return err
	}
	if err := s.pragma(ctx, "user_version", &version); err != nil {
		return err
	}
	switch {
	case create:
	case application != applicationID:
		return errors.New("it is not a monitor's database; if it is an empty file that an interrupted \"monitor init\" left, remove it and run that again")
	case version > schemaVersion:
		return fmt.Errorf("it has schema %d, and this program knows schemas up to %d; use the newer version of the program that wrote it", version, schemaVersion)
	case version < 1:
		return fmt.Errorf("it has schema %d, which no version of this program wrote", version)
	}
	var mode string
	var sync int
	if err := errors.Join(s.pragma(ctx, "journal_mode = WAL", &mode), s.pragma(ctx, "synchronous", &sync)); err != nil {
		return err
	}
	if mode != "wal" || sync != 2 {
		return fmt.Errorf("SQLite answered journal mode %q and synchronous %d instead of wal and 2 (FULL); put the file on a local disk", mode, sync)
	}
	if !create {
		return nil
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)+schema)
		return err
	})
}

func (s *Store) pragma(ctx context.Context, name string, into any) error {
	return s.write.QueryRowContext(ctx, "PRAGMA "+name).Scan(into)
}

// Path is the file's name, as it was opened.
func (s *Store) Path() string { return s.path }

// FileSize is the number of bytes that the database takes, without its journal.
func (s *Store) FileSize(ctx context.Context) (int64, error) {
	var pages, size int64
	err := s.read.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size)
	return pages * size, err
}

// Close closes the database.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// tx runs f in the one write transaction, and commits what it did if it returns
// nil.
func (s *Store) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// querier is *sql.DB or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(into ...any) error }

// all reads every row of a query.
func all[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
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

// one reads the row of a query, and whether there is one.
func one[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) (T, bool, error) {
	v, err := scan(q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		var zero T
		return zero, false, nil
	}
	return v, err == nil, err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// fill copies a column of a fixed length.
func fill(dst, src []byte, column string) error {
	if len(src) != len(dst) {
		return fmt.Errorf("the database is damaged: %s has %d bytes, not %d", column, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
