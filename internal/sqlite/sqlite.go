// Package sqlite opens the SQLite databases of the daemons.
package sqlite

import (
	"database/sql"
	"net/url"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite", without cgo
)

// Durable are the pragmas under which a commit is on the disk when it returns.
var Durable = []string{"synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)"}

// Open opens an existing file with at most so many connections, which stay open, and
// with pragmas on each. The transactions of a single connection are immediate: they wait
// for other writers at their begin, and not half-way. Several connections are for reading.
func Open(path string, conns int, pragmas ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{
		"mode":    {"rw"}, // never create
		"_txlock": {"immediate"},
		"_pragma": append([]string{"busy_timeout(10000)", "foreign_keys(1)", "trusted_schema(0)"}, pragmas...),
	}
	if conns > 1 {
		q.Set("_txlock", "deferred")
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: abs}).EscapedPath()+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}
