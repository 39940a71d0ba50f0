package clustertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cratelog/internal/fixture"
)

// DB is a MariaDB server of its own, at a port of loopback, with its files in a directory. Killed and started again it
// has what it had, at the same address.
type DB struct {
	*Program
	Address string // host:port

	dir   string
	named atomic.Int64 // databases so far
}

const (
	dbUser     = "log"
	dbPassword = "only-for-tests"
)

// MariaDB starts a server for one test. Where two tests need not have two, [Database] takes less time.
func MariaDB(t testing.TB) *DB {
	t.Helper()
	fixture.Need(t, "mariadbd", "mariadb-install-db")
	d, err := StartMariaDB(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Kill(); err != nil { // nobody wants its files
			t.Error(err)
		}
	})
	return d
}

// StartMariaDB starts a server whose files are in dir, which exists and is empty. It must be stopped or killed.
func StartMariaDB(ctx context.Context, dir string) (*DB, error) {
	d := &DB{dir: filepath.Join(dir, "data")}
	if err := d.install(ctx); err != nil {
		return nil, err
	}
	address, err := Port()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d.Address = address
	d.Program = NewProgram("mariadbd", func() *exec.Cmd { return exec.Command("mariadbd", d.options(port)...) }, d.serves)
	return d, d.Start(ctx)
}

// install makes the system's tables.
func (d *DB) install(ctx context.Context) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--datadir="+d.dir, "--user="+me.Username,
		"--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=32M")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	text := fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s';\nGRANT ALL ON *.* TO '%[1]s'@'%%';\n",
		dbUser, dbPassword)
	return os.WriteFile(filepath.Join(d.dir, "start.sql"), []byte(text), 0o600)
}

// options are of a server that keeps every commit on the disk, and takes little memory.
func (d *DB) options(port string) []string {
	options := []string{"--no-defaults", "--datadir=" + d.dir, "--bind-address=127.0.0.1", "--port=" + port,
		"--server-id=" + port, "--socket=sock", "--pid-file=pid", "--log-error=error.log", "--init-file=start.sql",
		"--skip-name-resolve", "--max-connections=300", "--max-allowed-packet=64M", "--innodb-log-file-size=32M",
		"--innodb-buffer-pool-size=32M", "--aria-pagecache-buffer-size=8M"}
	if os.Geteuid() == 0 {
		options = append(options, "--user=root") // it asks to be told
	}
	return options
}

// serves says whether it answers.
func (d *DB) serves(ctx context.Context) error {
	db, err := sql.Open("mysql", d.DSN(d.Address, ""))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(d.dir, "error.log"))
	}
	return nil
}

// DSN is the data source name of a database at an address: the server's, or of a [Link] to it.
func (d *DB) DSN(address, database string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = dbUser, dbPassword, "tcp", address, database
	return c.FormatDSN()
}

// Database makes an empty database, and returns its name.
func (d *DB) Database(ctx context.Context) (name string, err error) {
	db, err := sql.Open("mysql", d.DSN(d.Address, ""))
	if err != nil {
		return "", err
	}
	defer db.Close()
	name = fmt.Sprintf("log%d", d.named.Add(1))
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+name)
	return name, err
}

// The servers that the tests of a package share.
var shared struct {
	mu      sync.Mutex // protects what follows
	servers [2]*DB
	dirs    []string
}

// Database returns the data source name of an empty database on a server that all tests of a package share.
func Database(t testing.TB) (dsn string) { t.Helper(); return sharedDatabase(t, 0) }

// Memory is Database on a second server.
func Memory(t testing.TB) (dsn string) { t.Helper(); return sharedDatabase(t, 1) }

func sharedDatabase(t testing.TB, which int) string {
	t.Helper()
	fixture.Need(t, "mariadbd", "mariadb-install-db")
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.servers[which] == nil {
		dir, err := os.MkdirTemp("", "cratelog-mariadb-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dirs = append(shared.dirs, dir)
		d, err := StartMariaDB(context.Background(), dir) // the test's own ends with the test
		if err != nil {
			t.Fatal(err)
		}
		shared.servers[which] = d
	}
	d := shared.servers[which]
	name, err := d.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d.DSN(d.Address, name)
}

// Main runs the tests of a package, and then ends the servers that they share. It is for TestMain.
func Main(m *testing.M) int {
	code := m.Run()
	if err := endShared(); err != nil {
		fmt.Fprintln(os.Stderr, "ending the tests' databases:", err)
		return 1
	}
	return code
}

func endShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var errs []error
	for i, d := range shared.servers {
		if d != nil {
			errs = append(errs, d.Kill())
		}
		shared.servers[i] = nil
	}
	for _, dir := range shared.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	shared.dirs = nil
	return errors.Join(errs...)
}
