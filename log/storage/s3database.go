package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/mod/sumdb/tlog"

	sessions "cratelog/internal/mysql"
)

// database is what Tessera's driver keeps beside the bucket: IntCoord is what is integrated, SeqCoord the next
// index, Seq the entries between, PubCoord what was published when.
type database struct {
	pool     *sql.DB
	deadline time.Duration // of a statement
	wait     time.Duration // for the locks of a process that was stopped
	config   *mysql.Config
	network  *network

	mu    sync.Mutex // held while asking
	asked time.Time  // when answered was; owned by mu
	said  error      // owned by mu
}

func newDatabase(cfg S3) (*database, error) {
	c, err := sessions.Config(cfg.Database, cfg.AddDeadline, cfg.LockWait)
	if err != nil {
		return nil, err
	}
	c.Params["default_storage_engine"] = "InnoDB" // Tessera's tables do not say it, and others have no transactions
	own, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	d := &database{deadline: cfg.AddDeadline, wait: cfg.LockWait, config: c, network: newNetwork(c.Net, cfg.Fence)}
	const connections = 8
	d.pool = sql.OpenDB(own)
	d.pool.SetMaxOpenConns(connections)
	d.pool.SetMaxIdleConns(connections)
	d.pool.SetConnMaxIdleTime(cfg.LockWait / 2)
	return d, nil
}

// name is the data source name for Tessera, whose connections go through network.
func (d *database) name() string {
	c := d.config.Clone()
	c.Net = d.network.name
	return c.FormatDSN()
}

// network makes connections that can be ended, since Tessera never closes its own, and by which nothing is sent behind
// the fence: of a process that stood still, what it had begun to add does not come in after others have gone on.
type network struct {
	name  string
	fence func() error
	mu    sync.Mutex
	conns map[*conn]bool // those that are open, nil after close; owned by mu
}

// conn is a connection of a network. It is a syscall.Conn, by which go-sql-driver sees that the server has ended it.
type conn struct {
	net.Conn
	raw     syscall.Conn
	network *network
}

func (c *conn) SyscallConn() (syscall.RawConn, error) { return c.raw.SyscallConn() }

func (c *conn) Write(b []byte) (int, error) {
	if err := c.network.fence(); err != nil {
		return 0, fmt.Errorf("nothing is sent to the database: %w", err)
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.network.mu.Lock()
	delete(c.network.conns, c)
	c.network.mu.Unlock()
	return c.Conn.Close()
}

var networks atomic.Uint64

func newNetwork(of string, fence func() error) *network {
	n := &network{name: fmt.Sprintf("cratelog%d", networks.Add(1)), fence: fence, conns: map[*conn]bool{}}
	mysql.RegisterDialContext(n.name, func(ctx context.Context, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, of, address)
		if err != nil {
			return nil, err
		}
		raw, _ := c.(syscall.Conn)
		n.mu.Lock()
		defer n.mu.Unlock()
		if raw == nil || n.conns == nil {
			return nil, errors.Join(net.ErrClosed, c.Close())
		}
		k := &conn{Conn: c, raw: raw, network: n}
		n.conns[k] = true
		return k, nil
	})
	return n
}

func (n *network) close() {
	mysql.DeregisterDialContext(n.name)
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Conn.Close()
	}
	n.conns = nil
}

func (d *database) close() error {
	d.network.close()
	return d.pool.Close()
}

// bounded returns a context that ends when a statement is to have ended.
func (d *database) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d.deadline)
}

// Numbers of the server's errors.
const (
	tooManyConnections = 1040
	noSuchDatabase     = 1049
	forbidden          = 1142
	noSuchTable        = 1146
	lockWaited         = 1205
)

func number(err error) uint16 {
	var x *mysql.MySQLError
	if errors.As(err, &x) {
		return x.Number
	}
	return 0
}

// missing says that Tessera has made nothing in the database yet.
func missing(err error) bool { return errors.Is(err, sql.ErrNoRows) || number(err) == noSuchTable }

// String says where it is.
func (d *database) String() string { return d.config.Addr + "/" + d.config.DBName }

// told says what an operator can do about an error of the database.
func (d *database) told(err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch number(err) {
	case noSuchDatabase:
		hint = "make it first, empty, for this log alone: "
	case forbidden:
		hint = "its user needs SELECT, INSERT, UPDATE, DELETE, CREATE and ALTER there: "
	case tooManyConnections:
		hint = "raise its server's max_connections: each process of the log takes up to 40: "
	case lockWaited:
		hint = "another process holds a lock, if it was stopped then for at most " + d.wait.String() + ": "
	}
	if errors.Is(err, context.DeadlineExceeded) {
		hint = "it has not answered within " + d.deadline.String() + ": "
	}
	return fmt.Errorf("the database %v: %s%w", d, hint, err)
}

func (d *database) state(ctx context.Context) (State, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	s, root := State{Found: true}, []byte(nil)
	err := d.pool.QueryRowContext(ctx, "SELECT seq, rootHash FROM IntCoord WHERE id = 0").Scan(&s.Size, &root)
	switch {
	case missing(err):
		return State{}, nil
	case err != nil:
		return State{}, d.told(err)
	case len(root) != tlog.HashSize:
		return State{}, d.told(fmt.Errorf("what is integrated %w: the root has %d bytes, want %d", ErrDamaged, len(root),
			tlog.HashSize))
	}
	s.Root = tlog.Hash(root)
	return s, nil
}

// next waits for the lock that Tessera holds while it gives entries their indexes. So an addition that failed
// without an answer has come about when it returns, or never will.
func (d *database) next(ctx context.Context) (next uint64, err error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	err = d.pool.QueryRowContext(ctx, "SELECT next FROM SeqCoord WHERE id = 0 LOCK IN SHARE MODE").Scan(&next)
	if missing(err) {
		return 0, nil
	}
	return next, d.told(err)
}

func (d *database) published(ctx context.Context) (time.Time, error) {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var at int64
	err := d.pool.QueryRowContext(ctx, "SELECT publishedAt FROM PubCoord WHERE id = 0").Scan(&at)
	if missing(err) || err == nil && at == 0 {
		return time.Time{}, nil
	}
	return time.Unix(at, 0), d.told(err)
}

// setPublished also forgets the size that was published, without which Tessera publishes what did not grow too.
func (d *database) setPublished(ctx context.Context, at time.Time) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	_, err := d.pool.ExecContext(ctx, "UPDATE PubCoord SET publishedAt = ?, size = NULL WHERE id = 0", at.Unix())
	if missing(err) {
		return nil
	}
	return d.told(err)
}

// tx runs f in a transaction, and commits what it did if it returns nil.
func (d *database) tx(ctx context.Context, f func(ctx context.Context, tx *sql.Tx) error) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	tx, err := d.pool.BeginTx(ctx, nil)
	if err != nil {
		return d.told(err)
	}
	defer tx.Rollback()
	if err := f(ctx, tx); err != nil {
		return d.told(err)
	}
	return d.told(tx.Commit())
}

// setState writes what is integrated, unless another process has gone on with the tree since. Of the entries behind it those stay that have their indexes without a gap.
func (d *database) setState(ctx context.Context, s State) error {
	return d.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var next, size uint64
		var root []byte
		var first sql.Null[uint64]
		err := tx.QueryRowContext(ctx, "SELECT next FROM SeqCoord WHERE id = 0 FOR UPDATE").Scan(&next)
		if err == nil {
			err = tx.QueryRowContext(ctx, "SELECT seq, rootHash FROM IntCoord WHERE id = 0 FOR UPDATE").Scan(&size, &root)
		}
		if err == nil && size != s.Size && len(root) == tlog.HashSize {
			err = fmt.Errorf("it has %d entries by now, and its state was to be written for %d: another process has gone on "+
				"with the tree; run the command again", size, s.Size)
		}
		if err == nil {
			err = tx.QueryRowContext(ctx, "SELECT MIN(seq) FROM Seq WHERE id = 0 AND seq >= ?", s.Size).Scan(&first)
		}
		if err != nil {
			return err
		}
		if first.V != s.Size || !first.Valid {
			next = s.Size
		}
		for _, step := range []struct {
			stmt string
			args []any
		}{
			{"DELETE FROM Seq WHERE id = 0 AND (seq < ? OR seq >= ?)", []any{s.Size, next}},
			{"UPDATE SeqCoord SET next = ? WHERE id = 0", []any{next}},
			{"UPDATE IntCoord SET seq = ?, rootHash = ? WHERE id = 0", []any{s.Size, s.Root[:]}},
		} {
			if _, err := tx.ExecContext(ctx, step.stmt, step.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *database) ping(ctx context.Context) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	return d.told(d.pool.PingContext(ctx))
}

// lately says whether the database answered when it was last asked, which was a moment ago.
func (d *database) lately(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.asked) > 2*time.Second {
		d.said = d.ping(context.WithoutCancel(ctx))
		d.asked = time.Now()
	}
	return d.said
}

// errUndone ends a transaction that must not come about.
var errUndone = errors.New("undone")

// try writes so many bytes where Tessera writes entries, and undoes it.
func (d *database) try(ctx context.Context, n int) error {
	err := d.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		const id = 1 // Tessera's is 0
		if _, err := tx.ExecContext(ctx, "INSERT INTO Seq(id, seq, v) VALUES (?, 0, ?)", id, make([]byte, n)); err != nil {
			return err
		}
		return errUndone
	})
	if errors.Is(err, errUndone) {
		return nil
	}
	return err
}

// packetOf is what a batch of so many entries takes at most: each with its leaf hash and gob's lengths.
func packetOf(batch uint) uint64 { return uint64(batch)*(2+maxEntry+tlog.HashSize+16) + 1<<10 }

var versionNumber = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})\.`)

// check makes sure that the database does what a tree relies on, for batches of so many entries.
func (d *database) check(ctx context.Context, batch uint) error {
	ctx, cancel := d.bounded(ctx)
	defer cancel()
	var version string
	var packet, flush uint64
	err := d.pool.QueryRowContext(ctx, "SELECT VERSION(), @@GLOBAL.max_allowed_packet, "+
		"@@GLOBAL.innodb_flush_log_at_trx_commit").Scan(&version, &packet, &flush)
	if err != nil {
		return d.told(err)
	}
	need := packetOf(batch)
	maria := strings.Contains(strings.ToLower(version), "mariadb")
	switch {
	case !known(version, maria):
		return d.told(fmt.Errorf("its server is of version %q: MySQL 8.0 or MariaDB 10.6 is needed, or a later one", version))
	case packet < need:
		return d.told(fmt.Errorf("its server takes packets of %d bytes, and %d entries can have %d: "+
			"set max_allowed_packet = %dM there", packet, batch, need, 4*(need>>22)+4))
	case flush != 1:
		return d.told(fmt.Errorf("its server has innodb_flush_log_at_trx_commit = %d, so a power failure could undo "+
			"what the log has answered: set it to 1", flush))
	}
	// Whoever gives entries their indexes would else wait for whoever integrates: the gap behind the last entry is
	// locked then. Each reads what it changes with a lock.
	isolation := "transaction_isolation"
	if maria {
		isolation = "tx_isolation" // before 11.1
	}
	d.config.Params[isolation] = "'READ-COMMITTED'"
	return nil
}

func known(version string, maria bool) bool {
	m := versionNumber.FindStringSubmatch(version)
	if m == nil {
		return false
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if maria {
		return major > 10 || major == 10 && minor >= 6
	}
	return major >= 8
}

// unlocked waits until no process holds the rows that Tessera writes at its start: one that was stopped while it did
// so holds them for a while.
func (d *database) unlocked(ctx context.Context) error {
	until := time.Now().Add(d.wait + d.deadline)
	for {
		err := d.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			for _, table := range []string{"SeqCoord", "IntCoord", "PubCoord", "GCCoord"} {
				var id int
				err := tx.QueryRowContext(ctx, "SELECT id FROM "+table+" WHERE id = 0 FOR UPDATE").Scan(&id)
				if err != nil && !missing(err) {
					return err
				}
			}
			return nil
		})
		if number(err) != lockWaited || time.Now().After(until) {
			return err
		}
	}
}
