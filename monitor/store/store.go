// Package store is a monitor's memory: one SQLite file with every entry of every
// log it follows, every signed checkpoint it ever saw, its findings, and the alerts
// that wait.
//
// Every commit is on the disk when it returns. Writes go
// through one connection, one transaction at a time; reads go through others and
// never wait for them.
//
// The order that nothing may change: a finding's evidence file is on the disk
// before its row is; its row, with its deliveries, before the first alert; and
// the verified position moves past an entry only after the findings about it.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"cratelog/internal/sqlite"
)

// Store is a database that is open for writing, too. Its methods may be called
// concurrently. The Reader lives as long as the store.
type Store struct {
	*Reader
	write *sql.DB // one connection
}

// readers is the number of connections for reading.
const readers = 4

var database = sqlite.Owned{
	ID: 0x63726d32, Version: 1, Schema: schema, Journal: "wal", Conns: 1, Cache: 64 << 10,
	What: "a monitor's database", Init: "monitor init",
	Advice: "if this monitor has never run, create it with: monitor init; " +
		"otherwise find it, because without its memory a monitor believes whatever it is shown next",
}

// Create makes a new database and refuses an existing file.
func Create(ctx context.Context, path string) (*Store, error) { return open(ctx, path, true) }

// Open opens a database that Create made. A missing file is fs.ErrNotExist. It refuses
// another program's file and a newer schema.
func Open(ctx context.Context, path string) (*Store, error) { return open(ctx, path, false) }

// Check looks whether the database at path is a monitor's, and changes nothing.
func Check(ctx context.Context, path string) error {
	db, err := database.Peek(ctx, path)
	if err != nil {
		return err
	}
	return db.Close()
}

func open(ctx context.Context, path string, create bool) (*Store, error) {
	write, err := database.Open(ctx, path, create)
	if err != nil {
		return nil, err
	}
	read, err := database.OpenReader(ctx, path, readers, "")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	return &Store{&Reader{path, read}, write}, nil
}

// Path is the file's name, as it was opened.
func (r *Reader) Path() string { return r.path }

// FileSize is the number of bytes that the database takes, without its journal.
func (r *Reader) FileSize(ctx context.Context) (int64, error) {
	var pages, size int64
	err := r.read.QueryRowContext(ctx,
		"SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size)
	return pages * size, err
}

// Close closes the database.
func (s *Store) Close() error { return errors.Join(s.read.Close(), s.write.Close()) }

// tx runs f in the one write transaction, and commits what it did if it returns
// nil.
func (s *Store) tx(ctx context.Context, f func(tx *sql.Tx) error) error {
	return sqlite.Tx(ctx, s.write, f)
}

type (
	querier = sqlite.Querier
	scanner = sqlite.Scanner
	writer  interface { // *sql.DB or *sql.Tx
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
)

// change runs a statement, and returns how many rows it changed.
func change(ctx context.Context, w writer, query string, args ...any) (int64, error) {
	r, err := w.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// exec runs a statement.
func exec(ctx context.Context, w writer, query string, args ...any) error {
	_, err := w.ExecContext(ctx, query, args...)
	return err
}

// counts reads the rows of a query as a map.
func counts[K comparable](ctx context.Context, q querier, query string, args ...any) (map[K]int64, error) {
	out := make(map[K]int64)
	_, err := sqlite.All(ctx, q, func(r scanner) (k K, err error) {
		var n int64
		err = r.Scan(&k, &n)
		out[k] = n
		return k, err
	}, query, args...)
	return out, err
}

// longestWait is longer than any wait for another attempt: a clock that was wrong has written what is later.
const longestWait = 12 * time.Hour

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// moment is where a column of milliseconds is read into: 0 and NULL are the zero time.
type moment struct{ t *time.Time }

// Scan implements sql.Scanner.
func (m moment) Scan(v any) error {
	var ms sql.NullInt64
	err := ms.Scan(v)
	if *m.t = (time.Time{}); ms.Int64 != 0 {
		*m.t = time.UnixMilli(ms.Int64).UTC()
	}
	return err
}

// fixed is where a column of its length is read into.
type fixed []byte

// Scan implements sql.Scanner.
func (dst fixed) Scan(v any) error {
	src, _ := v.([]byte)
	if len(src) != len(dst) {
		return fmt.Errorf("the database is damaged: a column has %d bytes, not %d", len(src), len(dst))
	}
	copy(dst, src)
	return nil
}
