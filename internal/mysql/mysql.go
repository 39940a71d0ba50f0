// Package mysql opens the databases of MySQL or MariaDB that several processes of one log share.
package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// Owned describes the tables that the processes of one log keep in a database, and mark as theirs.
type Owned struct {
	Purpose string   // what the mark says that they are for
	Version int      // the schema that this program reads and writes
	Schema  []string // statements that are run once, and do no harm after an interrupted run
	Conns   int
	Shared  bool // others have tables in the same database

	What   string // in refusals, such as "a log's memory"
	Advice string // what to do if it is another's
}

// The driver speaks to standard error through connections whose settings are only text, as Tessera's are. What it
// would say is in the errors.
func init() { _ = driver.SetLogger(&driver.NopLogger{}) } // only nil is refused

// idle is how long a process that was stopped holds its locks.
const idle = 15 * time.Second

// markSchema is without padding and without letters that are equal to others, as every text here.
const markSchema = `CREATE TABLE IF NOT EXISTS cratelog (
	id      TINYINT PRIMARY KEY CHECK (id = 1),
	purpose VARBINARY(64) NOT NULL,
	origin  BLOB NOT NULL,
	version INT NOT NULL
) ENGINE=InnoDB`

// Open returns a database by its data source name, user:password@tcp(host:port)/name, in which the tables of the
// log with an origin are. It connects when it is first used, and then makes the tables if they are missing. It
// refuses those of another log or program, a newer schema, and a server that does not have a commit on its disk
// when it answers. timeout bounds each step: to connect, to send, to wait for an answer.
//
// A data source name has a password: no error shows it.
func (o *Owned) Open(dsn, origin string, timeout time.Duration) (*sql.DB, error) {
	return o.open(dsn, timeout, func(ctx context.Context, db *sql.DB) error { return o.prepare(ctx, db, origin, timeout) })
}

// Peek opens a database for looking at it: nothing is made there. It returns nil if it does not have the tables.
func (o *Owned) Peek(ctx context.Context, dsn, origin string, timeout time.Duration) (*sql.DB, error) {
	none := errors.New("none")
	db, err := o.open(dsn, timeout, func(ctx context.Context, db *sql.DB) error {
		found, err := o.identify(ctx, db, origin)
		if err == nil && !found {
			err = none
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err = db.PingContext(ctx); err == nil {
		return db, nil
	}
	if db.Close(); errors.Is(err, none) {
		err = nil
	}
	return nil, err
}

// Server opens a database for asking what its server is, whatever is in it. It refuses a server that does not have a
// commit on its disk when it answers.
func (o *Owned) Server(dsn string, timeout time.Duration) (*sql.DB, error) {
	return o.open(dsn, timeout, func(ctx context.Context, db *sql.DB) error { return durable(ctx, db) })
}

func (o *Owned) open(dsn string, timeout time.Duration, prepare func(context.Context, *sql.DB) error) (*sql.DB, error) {
	cfg, err := Config(dsn, timeout, idle)
	if err != nil {
		return nil, err
	}
	next, err := driver.NewConnector(cfg)
	if err != nil {
		return nil, errDSN
	}
	c := &connector{Connector: next, where: cfg.Addr + "/" + cfg.DBName, timeout: timeout, prepare: prepare,
		turn: make(chan struct{}, 1)}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(o.Conns)
	db.SetMaxIdleConns(o.Conns)
	db.SetConnMaxIdleTime(idle / 2)
	return db, nil
}

// errDSN has none of the driver's words, which may have parts of the name in them.
var errDSN = errors.New("the data source name of the database is not user:password@tcp(host:port)/name, " +
	"perhaps with ?tls=true behind it")

// Config returns what connects to a database by its data source name, of which it takes who, where, and by TLS or not.
// timeout is that of [Owned.Open]. A process that is stopped in the middle of a transaction, or cut off, holds its
// locks no longer than wait.
func Config(dsn string, timeout, wait time.Duration) (*driver.Config, error) {
	_, options, _ := strings.Cut(dsn[strings.LastIndexByte(dsn, '/')+1:], "?")
	for option := range strings.SplitSeq(options, "&") {
		if name, _, _ := strings.Cut(option, "="); name != "tls" && name != "" {
			return nil, errDSN
		}
	}
	cfg, err := driver.ParseDSN(dsn)
	if err != nil || cfg.DBName == "" {
		return nil, errDSN
	}
	if err := cfg.Apply(driver.Charset("utf8mb4", "utf8mb4_bin")); err != nil {
		return nil, errDSN
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = timeout, timeout, timeout
	cfg.ClientFoundRows = true // an UPDATE that finds its row counts it, whether it changed or not
	cfg.Logger = &driver.NopLogger{}
	seconds := func(d time.Duration) string { return fmt.Sprint(max(1, int(math.Ceil(d.Seconds())))) }
	cfg.Params = map[string]string{
		"sql_mode":   "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
		"autocommit": "1",
		// How long the server waits: for the next statement, within one, within an answer.
		"wait_timeout": seconds(wait), "net_read_timeout": seconds(wait), "net_write_timeout": seconds(wait),
		// Whoever waits for a lock is told so, before the connection is given up.
		"innodb_lock_wait_timeout": seconds(timeout / 2),
	}
	return cfg, nil
}

// connector prepares the database before the first connection is handed out.
type connector struct {
	sqldriver.Connector
	where   string
	timeout time.Duration
	prepare func(context.Context, *sql.DB) error

	turn     chan struct{} // whoever has put something into it has prepared
	prepared bool          // owned by turn
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	err := c.once(ctx)
	var conn sqldriver.Conn
	if err == nil {
		conn, err = c.Connector.Connect(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("the database %s: %w", c.where, err)
	}
	return conn, nil
}

func (c *connector) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	if c.prepared {
		return nil
	}
	db := sql.OpenDB(c.Connector)
	defer db.Close()
	err := c.prepare(ctx, db)
	c.prepared = err == nil
	return err
}

// prepare checks server and database, and makes the tables, which only one process does at a time.
func (o *Owned) prepare(ctx context.Context, db *sql.DB, origin string, timeout time.Duration) error {
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := durable(ctx, c); err != nil {
		return err
	}
	if found, err := o.identify(ctx, c, origin); err != nil || found {
		return err
	}
	const name = "CONCAT('cratelog ', SHA1(DATABASE()))" // locks are of the whole server
	var locked sql.NullBool
	if err := c.QueryRowContext(ctx, "SELECT GET_LOCK("+name+", ?)", timeout.Seconds()/2).Scan(&locked); err != nil {
		return err
	}
	if !locked.Bool {
		return errors.New("another process has been making its tables for a while: try again")
	}
	defer c.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK("+name+")")
	if found, err := o.identify(ctx, c, origin); err != nil || found {
		return err
	}
	for _, stmt := range slices.Concat([]string{markSchema}, o.Schema) {
		if _, err := c.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("making its tables: %w", err)
		}
	}
	_, err = c.ExecContext(ctx, "INSERT INTO cratelog (id, purpose, origin, version) VALUES (1, ?, ?, ?)",
		o.Purpose, []byte(origin), o.Version)
	return err
}

// durable refuses a server that does not have a commit on its disk when it answers.
func durable(ctx context.Context, db querier) error {
	var flush int
	err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit").Scan(&flush)
	if err == nil && flush != 1 {
		err = fmt.Errorf("its server has innodb_flush_log_at_trx_commit = %d, so a power failure could undo a commit: set it to 1",
			flush)
	}
	return err
}

// querier is *sql.DB or *sql.Conn.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// identify reads whose database it is, and whether it has the tables: the mark is written when all are there.
func (o *Owned) identify(ctx context.Context, db querier, origin string) (found bool, err error) {
	var tables, marks int
	err = db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(table_name = 'cratelog'), 0)
		FROM information_schema.tables WHERE table_schema = DATABASE()`).Scan(&tables, &marks)
	switch {
	case err != nil:
		return false, err
	case marks == 0 && tables > 0 && !o.Shared:
		return false, fmt.Errorf("it has tables of another program, and is not %s; %s", o.What, o.Advice)
	case marks == 0:
		return false, nil
	}
	var purpose, whose string
	var version int
	err = db.QueryRowContext(ctx, "SELECT purpose, origin, version FROM cratelog").Scan(&purpose, &whose, &version)
	switch {
	case errors.Is(err, sql.ErrNoRows): // whoever was making the tables was interrupted
		return false, nil
	case err != nil:
		return false, err
	case purpose != o.Purpose:
		return false, fmt.Errorf("it is marked %q, and is not %s; %s", purpose, o.What, o.Advice)
	case whose != origin:
		return false, fmt.Errorf("it belongs to the log %q, not to %q; %s", whose, origin, o.Advice)
	case version > o.Version:
		return false, fmt.Errorf("it has schema %d, and this program knows schemas up to %d; "+
			"use the newer version of the program that wrote it", version, o.Version)
	case version < 1:
		return false, fmt.Errorf("it has schema %d, which no version of this program wrote", version)
	}
	return true, nil
}

// Same says whether two databases are on one server: a lock that is taken there is seen here.
func Same(ctx context.Context, a, b *sql.DB) (same bool, err error) {
	c, err := a.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	name := "cratelog " + rand.Text()
	var locked, user sql.NullInt64
	if err := c.QueryRowContext(ctx, "SELECT GET_LOCK(?, 0)", name).Scan(&locked); err != nil {
		return false, err
	}
	defer c.ExecContext(context.WithoutCancel(ctx), "DO RELEASE_LOCK(?)", name)
	if locked.Int64 != 1 {
		return false, errors.New("the server does not lock names, by which one server is told from another")
	}
	err = b.QueryRowContext(ctx, "SELECT IS_USED_LOCK(?)", name).Scan(&user)
	return user.Valid, err
}

// Tx runs f in a transaction that sees what others have committed, and commits what it did if it returns nil. One that
// the server gives up, because it and another wait for each other, is run again: f must not mind.
func Tx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) (err error) {
	for range 10 {
		if err = once(ctx, db, f); !isNumber(err, deadlock) {
			break
		}
	}
	return err
}

func once(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Numbers of errors.
const (
	duplicateEntry = 1062
	deadlock       = 1213
)

// IsDuplicate says whether a row was not inserted because there is one with its key.
func IsDuplicate(err error) bool { return isNumber(err, duplicateEntry) }

func isNumber(err error, n uint16) bool {
	var x *driver.MySQLError
	return errors.As(err, &x) && x.Number == n
}
