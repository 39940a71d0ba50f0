package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"cratelog/internal/clustertest"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	origin = "log.example/a"
	soon   = 5 * time.Second
)

var owned = Owned{Purpose: "test", Version: 2, Conns: 2, What: "a test's database", Advice: "use another", Schema: []string{
	"CREATE TABLE IF NOT EXISTS a (x VARBINARY(9) PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB",
	"INSERT IGNORE INTO a VALUES ('made', 0)"}}

// opened is a database that was used.
func opened(t *testing.T, o *Owned, dsn string) *sql.DB {
	t.Helper()
	db, err := o.Open(dsn, origin, soon)
	fatalIf(t, err)
	t.Cleanup(func() { db.Close() })
	fatalIf(t, db.PingContext(t.Context()))
	return db
}

func exec(t *testing.T, db *sql.DB, stmts ...string) {
	t.Helper()
	for _, stmt := range stmts {
		_, err := db.ExecContext(t.Context(), stmt)
		fatalIf(t, err)
	}
}

func count(t *testing.T, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	fatalIf(t, db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func TestTablesAreMadeOnceByHoweverManyAtATime(t *testing.T) {
	dsn := clustertest.Database(t)
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			db, err := owned.Open(dsn, origin, time.Minute)
			if err == nil {
				err = db.PingContext(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
			db.Close()
		})
	}
	all.Wait()
	db := opened(t, &owned, dsn)
	if n := count(t, db, "SELECT count(*) FROM cratelog WHERE purpose = 'test' AND origin = ? AND version = 2", origin); n != 1 {
		t.Errorf("%d marks", n)
	}
	exec(t, db, "DELETE FROM a")
	if n := count(t, opened(t, &owned, dsn), "SELECT count(*) FROM a"); n != 0 {
		t.Error("the tables were made again")
	}
}

// TestWhatAnInterruptedStartLeftIsCompleted: the mark is written last.
func TestWhatAnInterruptedStartLeftIsCompleted(t *testing.T) {
	for _, left := range [][]string{{markSchema}, {markSchema, owned.Schema[0]}, {markSchema, owned.Schema[0], owned.Schema[1]}} {
		dsn := clustertest.Database(t)
		raw, err := sql.Open("mysql", dsn)
		fatalIf(t, err)
		exec(t, raw, left...)
		fatalIf(t, raw.Close())
		if n := count(t, opened(t, &owned, dsn), "SELECT count(*) FROM a, cratelog"); n != 1 {
			t.Errorf("after %d statements: %d rows", len(left), n)
		}
	}
}

func TestWhatIsNotOnesOwnIsRefusedAndLeftAsItIs(t *testing.T) {
	shared := owned
	shared.Shared = true
	for change, want := range map[string]string{
		"DROP TABLE cratelog":                           "it has tables of another program, and is not a test's database; use another",
		"UPDATE cratelog SET purpose = 'Test'":          `it is marked "Test", and is not a test's database; use another`,
		"UPDATE cratelog SET origin = 'log.example/a '": `it belongs to the log "log.example/a ", not to "log.example/a"; use another`,
		"UPDATE cratelog SET origin = 'log.example/A'":  `it belongs to the log "log.example/A"`,
		"UPDATE cratelog SET version = 3":               "it has schema 3, and this program knows schemas up to 2",
		"UPDATE cratelog SET version = 0":               "it has schema 0, which no version of this program wrote",
	} {
		dsn := clustertest.Database(t)
		db := opened(t, &owned, dsn)
		exec(t, db, "DELETE FROM a", change)
		other, err := owned.Open(dsn, origin, soon)
		fatalIf(t, err)
		if err := other.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", change, err)
		}
		if _, err := other.ExecContext(t.Context(), "INSERT INTO a VALUES ('x', 1)"); err == nil {
			t.Errorf("%s: it was written", change)
		}
		fatalIf(t, other.Close())
		if _, err := owned.Peek(t.Context(), dsn, origin, soon); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: looked at: %v", change, err)
		}
		if n := count(t, db, "SELECT count(*) FROM a"); n != 0 {
			t.Errorf("%s: the tables were made again", change)
		}
		if strings.HasPrefix(change, "DROP") {
			opened(t, &shared, dsn)
		}
	}
}

func TestAServerThatForgetsCommitsIsRefused(t *testing.T) {
	dsn := clustertest.Database(t)
	root, err := sql.Open("mysql", dsn)
	fatalIf(t, err)
	defer root.Close()
	exec(t, root, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
	defer exec(t, root, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")
	db, err := owned.Open(dsn, origin, soon)
	fatalIf(t, err)
	defer db.Close()
	if err := db.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "innodb_flush_log_at_trx_commit = 2") {
		t.Error(err)
	}
}

func TestALookMakesNothing(t *testing.T) {
	dsn := clustertest.Database(t)
	db, err := owned.Peek(t.Context(), dsn, origin, soon)
	if db != nil || err != nil {
		t.Fatalf("%v, %v", db, err)
	}
	raw, err := sql.Open("mysql", dsn)
	fatalIf(t, err)
	defer raw.Close()
	if n := count(t, raw, "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()"); n != 0 {
		t.Errorf("%d tables", n)
	}
	opened(t, &owned, dsn)
	db, err = owned.Peek(t.Context(), dsn, origin, soon)
	fatalIf(t, err)
	defer db.Close()
	if n := count(t, db, "SELECT count(*) FROM a"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestADatabaseThatIsAwayIsReachedWhenItIsBack(t *testing.T) {
	cfg, err := driver.ParseDSN(clustertest.Database(t))
	fatalIf(t, err)
	link, err := clustertest.NewLink(cfg.Addr)
	fatalIf(t, err)
	defer link.Close()
	cfg.Addr = link.Address
	db, err := owned.Open(cfg.FormatDSN(), origin, 500*time.Millisecond)
	fatalIf(t, err)
	defer db.Close()
	for name, away := range map[string]func(){"cut": link.Cut, "black hole": link.Blackhole} {
		away()
		var all sync.WaitGroup
		for range 8 { // those that wait for the one who prepares do not wait one after the other
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := db.PingContext(ctx); err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "the database "+link.Address) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		all.Wait()
	}
	link.Heal()
	for try := 0; ; try++ { // a busy machine may take longer than the timeout
		if err = db.PingContext(t.Context()); err == nil || try == 20 {
			break
		}
	}
	fatalIf(t, err)
}

// TestEverySessionIsSet: also those that are made later.
func TestEverySessionIsSet(t *testing.T) {
	db := opened(t, &owned, clustertest.Database(t))
	for range owned.Conns {
		c, err := db.Conn(t.Context())
		fatalIf(t, err)
		defer c.Close()
		for name, want := range map[string]string{"sql_mode": "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "autocommit": "1",
			"wait_timeout": "15", "net_read_timeout": "15", "net_write_timeout": "15", "innodb_lock_wait_timeout": "3",
			"collation_connection": "utf8mb4_bin"} {
			var got string
			if err := c.QueryRowContext(t.Context(), "SELECT @@SESSION."+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s = %q, %v; want %s", name, got, err, want)
			}
		}
	}
}

func TestTextIsComparedByteByByte(t *testing.T) {
	db := opened(t, &owned, clustertest.Database(t))
	for _, x := range []string{"a", "A", "a ", "ä", "a\x00", ""} {
		if _, err := db.ExecContext(t.Context(), "INSERT INTO a VALUES (?, 1)", x); err != nil {
			t.Errorf("%q: %v", x, err)
		}
		if n := count(t, db, "SELECT count(*) FROM a WHERE x = ?", x); n != 1 {
			t.Errorf("%q is the key of %d rows", x, n)
		}
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO a VALUES ('a', 2)"); !IsDuplicate(err) {
		t.Errorf("a second row: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO a VALUES ('longer than nine', 2)"); err == nil || IsDuplicate(err) {
		t.Errorf("what does not fit: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), "SELECT 1; DELETE FROM a"); err == nil {
		t.Error("two statements at once")
	}
}

// TestAnUpdateCountsTheRowThatItFinds: on this, compare-and-swap rests.
func TestAnUpdateCountsTheRowThatItFinds(t *testing.T) {
	db := opened(t, &owned, clustertest.Database(t))
	for stmt, want := range map[string]int64{"UPDATE a SET n = 0 WHERE x = 'made'": 1, "UPDATE a SET n = 0 WHERE x = 'none'": 0} {
		res, err := db.ExecContext(t.Context(), stmt)
		fatalIf(t, err)
		if n, err := res.RowsAffected(); n != want || err != nil {
			t.Errorf("%s: %d, %v", stmt, n, err)
		}
	}
}

func TestATransactionIsWholeAndSeesWhatOthersCommit(t *testing.T) {
	db := opened(t, &owned, clustertest.Database(t))
	refused := fmt.Errorf("refused")
	if err := Tx(t.Context(), db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(t.Context(), "UPDATE a SET n = 7"); err != nil {
			return err
		}
		return refused
	}); err != refused {
		t.Error(err)
	}
	fatalIf(t, Tx(t.Context(), db, func(tx *sql.Tx) error {
		for want := range 2 {
			var n int
			fatalIf(t, tx.QueryRowContext(t.Context(), "SELECT n FROM a").Scan(&n))
			if n != want {
				t.Errorf("%d; want %d", n, want)
			}
			exec(t, db, "UPDATE a SET n = n + 1")
		}
		return nil
	}))
}

// TestATransactionThatIsGivenUpIsRunAgain: two wait for each other's rows, and both get them.
func TestATransactionThatIsGivenUpIsRunAgain(t *testing.T) {
	db := opened(t, &owned, clustertest.Database(t))
	exec(t, db, "INSERT INTO a VALUES ('other', 0)")
	rows := []string{"made", "other"}
	var both, all sync.WaitGroup
	both.Add(2)
	var runs atomic.Int32
	for i := range 2 {
		all.Go(func() {
			first := true
			if err := Tx(t.Context(), db, func(tx *sql.Tx) error {
				runs.Add(1)
				for j := range 2 {
					if _, err := tx.ExecContext(t.Context(), "UPDATE a SET n = n + 1 WHERE x = ?", rows[(i+j)%2]); err != nil {
						return err
					}
					if j == 0 && first {
						first = false
						both.Done()
						both.Wait()
					}
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if runs.Load() != 3 {
		t.Errorf("%d runs: nobody waited for another", runs.Load())
	}
	var least, most int
	fatalIf(t, db.QueryRowContext(t.Context(), "SELECT min(n), max(n) FROM a").Scan(&least, &most))
	if least != 2 || most != 2 {
		t.Errorf("%d and %d; want 2", least, most)
	}
}

func TestOneServerIsToldFromAnother(t *testing.T) {
	a, b := opened(t, &owned, clustertest.Database(t)), opened(t, &owned, clustertest.Database(t))
	c := opened(t, &owned, clustertest.Memory(t))
	for _, x := range []struct {
		name string
		a, b *sql.DB
		same bool
	}{{"one database", a, a, true}, {"two databases", a, b, true}, {"two servers", a, c, false}, {"two servers", c, a, false}} {
		for range 2 {
			if same, err := Same(t.Context(), x.a, x.b); same != x.same || err != nil {
				t.Errorf("%s: same %v, %v", x.name, same, err)
			}
		}
	}
	fatalIf(t, c.Close())
	if _, err := Same(t.Context(), a, c); err == nil {
		t.Error("a server that cannot be asked is told from another")
	}
}

// TestNoErrorShowsThePassword: it is in every data source name here.
func TestNoErrorShowsThePassword(t *testing.T) {
	const password = "s3cr3t"
	cfg, err := driver.ParseDSN(clustertest.Database(t))
	fatalIf(t, err)
	address, user := cfg.Addr, cfg.User
	for _, dsn := range []string{
		"", "/", password, "x:" + password, "x:" + password + "@", "x:" + password + "/y", "x:" + password + "@tcp(" + address + ")",
		"x:" + password + "@tcp(" + address + ")/", "x:" + password + "@tcp(" + address + "/y", "x:" + password + "@tcp " + address + "/y",
		"x:" + password + "@udp/y", "x:s3@cr3t@nothing/y", "x:" + password + "@tcp(127.0.0.1:1)/y?strict=true", "x@/y?loc=" + password,
		"x@/y?tls=" + password, "x@/y?timeout=" + password, "x@/y?a=%" + password, "x:" + password + "@/y?multiStatements=true",
		"x:" + password + "@/y?" + password + "=1", "x:" + password + "@/%z" + password,
		"x:" + password + "@tcp(" + address + ")/log1", user + ":" + password + "@tcp(" + address + ")/log1",
		"x:" + password + "@tcp(127.0.0.1:1)/y", "x:" + password + "@tcp(localhost:port)/y", "x:" + password + "@unix(/nowhere)/y",
		user + ":" + cfg.Passwd + "@tcp(" + address + ")/nothing",
	} {
		db, err := owned.Open(dsn, origin, soon)
		if err == nil {
			err = db.PingContext(t.Context())
			db.Close()
		}
		_, look := owned.Peek(t.Context(), dsn, origin, soon)
		for _, err := range []error{err, look} {
			if err == nil {
				t.Errorf("%q was opened", dsn)
			} else if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), cfg.Passwd) || strings.Contains(err.Error(), "cr3t") {
				t.Errorf("%q: %v", dsn, err)
			}
		}
	}
}
