package log

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// lease is the right to write into the tree and to sign, which one process of a log has at a time. It is a row in
// the memory, and ends unless it is renewed: for others by the clock of the database, for its holder by the time
// that has passed since *before* the renewal was sent, suspended or not, and a bit earlier. So no machine's clock has to be right, and
// the holder knows first. Who gets it next has a larger epoch.
//
// A process that stood still may go on in the middle of a write that it had the right to begin. What it signs is
// refused by the epoch (guardStore.remember), and what it adds comes too late to count.
//
// Each statement about the row is a transaction by itself, so that nobody who is stopped in the middle of one
// keeps the holder from its renewal.
type lease struct {
	db      *sql.DB
	address string
	length  time.Duration
	clock   func() time.Duration // the own one, which counts while the machine is suspended too

	mu   sync.Mutex
	next string // owned by mu; the holder of the next term, which the memory may know already; "": none yet
	term *term  // owned by mu; nil before acquire, and after release
}

// term is one process's time with the lease.
type term struct {
	lease  *lease
	holder string // random
	epoch  uint64
	lost   chan struct{}      // closed when it ended and was not released
	stop   context.CancelFunc // of renewing
	done   sync.WaitGroup     // of renewing

	mu    sync.Mutex
	until time.Duration // owned by mu; by the lease's clock
	alone bool          // owned by mu; nothing is under way that a former holder has begun
	ended error         // owned by mu; why it ended, once and for all
	last  error         // owned by mu; of the latest renewal
}

var (
	errNoLease   = errors.New("this process does not have the lease")
	errReleased  = fmt.Errorf("%w: it has released it", errNoLease)
	errLeaseLost = errors.New("the lease is lost")
)

// processStart is where clocks begin that count from the start.
var processStart = time.Now()

// holding is what is known of a lease.
type holding struct {
	held    bool
	holder  string // random
	address string // of the holder; "": it is a command, and not to be reached
	epoch   uint64
	until   time.Time // by the own clock, if nobody renews it
}

// sameTerm says whether it is of the same acquisition.
func (h holding) sameTerm(o holding) bool { return h.epoch == o.epoch && h.holder == o.holder }

func (h holding) String() string {
	who := "the process at " + h.address
	switch {
	case !h.held:
		return "nobody has the lease"
	case h.address == "":
		who = "a command"
	}
	return fmt.Sprintf("%s has the lease (epoch %d), for %v more unless it is renewed", who, h.epoch,
		time.Until(h.until).Round(time.Second/10))
}

// leaseHolder asks the memory who has the lease.
func leaseHolder(ctx context.Context, memory *sql.DB) (h holding, err error) {
	var left int64
	var released bool
	asked := time.Now()
	err = memory.QueryRowContext(ctx, `SELECT holder, address, epoch, released, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires)
		FROM lease WHERE id = 1`).Scan(&h.holder, &h.address, &h.epoch, &released, &left)
	if err != nil {
		return holding{}, fmt.Errorf("the memory does not say who has the lease: %w", err)
	}
	if released || left < 0 {
		return holding{holder: h.holder, epoch: h.epoch}, nil
	}
	h.held, h.until = true, asked.Add(time.Duration(left)*time.Microsecond)
	return h, nil
}

// openLease returns the lease of a log for the process at an address, which may acquire it.
func openLease(c *Cluster, origin, address string) (*lease, error) {
	db, err := openMemory(c, origin)
	if err != nil {
		return nil, err
	}
	return &lease{db: db, address: address, length: c.Lease, clock: uptime}, nil
}

// acquire takes the lease if nobody has it, renews it from then on, and says whether the former holder, if there was
// one, has released it: else that one may have begun what it has not ended. An error does not say that the lease is
// free; the next call finds out.
func (l *lease) acquire(ctx context.Context) (got, released bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != nil {
		return false, false, errors.New("this process has or had the lease, and has not released it")
	}
	l.next = cmp.Or(l.next, rand.Text())
	t := &term{lease: l, holder: l.next, lost: make(chan struct{})}
	asked := l.clock()
	// Assignments are made from the left to the right.
	n, err := l.exec(ctx, `UPDATE lease SET epoch = epoch + 1, handed = released, released = FALSE, holder = ?, address = ?,
		expires = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND
		WHERE id = 1 AND (released OR expires < UTC_TIMESTAMP(6) OR holder = ?)`,
		t.holder, l.address, l.length.Microseconds(), t.holder)
	if err != nil || n == 0 {
		return false, false, err
	}
	err = l.db.QueryRowContext(ctx, "SELECT epoch, handed FROM lease WHERE id = 1 AND holder = ?", t.holder).
		Scan(&t.epoch, &released)
	if err != nil {
		return false, false, fmt.Errorf("the memory, asked for the lease: %w", err)
	}
	t.until, t.alone = t.deadline(asked), released
	ctx, t.stop = context.WithCancel(context.WithoutCancel(ctx))
	t.done.Go(func() { t.keep(ctx) })
	l.term, l.next = t, ""
	return true, released, nil
}

// settle waits until what the former holder has begun to add, which had so long for it, has an end. Whoever gives the
// lease back before that leaves the wait to the next.
func (l *lease) settle(ctx context.Context, deadline time.Duration) error {
	t := l.now()
	if t == nil {
		return errNoLease
	}
	t.mu.Lock()
	alone := t.alone
	t.mu.Unlock()
	if alone {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(deadline):
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alone = true
	return t.current()
}

// now returns the term that acquire began, or nil.
func (l *lease) now() *term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// valid returns an error unless this process may write and sign now. It asks nobody.
func (l *lease) valid() error {
	if t := l.now(); t != nil {
		return t.valid()
	}
	return errNoLease
}

// own returns what this process has of the lease.
func (l *lease) own() holding {
	t := l.now()
	if t == nil {
		return holding{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return holding{t.current() == nil, t.holder, l.address, t.epoch, time.Now().Add(t.left())}
}

// lost is closed when the lease that was acquired ended without being released; why says how.
func (l *lease) lost() <-chan struct{} {
	if t := l.now(); t != nil {
		return t.lost
	}
	return nil
}

func (l *lease) why() error { return l.valid() }

// drop ends what this process may do, at once, and asks nobody.
func (l *lease) drop(why error) {
	if t := l.now(); t != nil {
		t.end(why)
	}
}

// release gives the lease back. After drop, or when it was lost, or before settle, something that was begun with it or
// before it may still be under way, and whoever gets it next waits for that; else all must have ended.
func (l *lease) release(ctx context.Context) error {
	l.mu.Lock()
	t := l.term
	l.term = nil
	l.mu.Unlock()
	if t == nil {
		return nil
	}
	clean := t.end(errReleased)
	t.stop()
	t.done.Wait()
	_, err := l.exec(ctx, "UPDATE lease SET released = ?, expires = UTC_TIMESTAMP(6) WHERE id = 1 AND holder = ? AND epoch = ?",
		clean, t.holder, t.epoch)
	return err
}

// close releases the lease, if this process has it, and closes the memory.
func (l *lease) close(ctx context.Context) error { return errors.Join(l.release(ctx), l.db.Close()) }

// exec changes the row, and says how many it found.
func (l *lease) exec(ctx context.Context, stmt string, args ...any) (int64, error) {
	var n int64
	res, err := l.db.ExecContext(ctx, stmt, args...)
	if err == nil {
		n, err = res.RowsAffected()
	}
	if err != nil {
		return 0, fmt.Errorf("the memory, asked for the lease: %w", err)
	}
	return n, nil
}

// deadline is when the holder takes a lease for ended that was asked for at a time: before others can, by a tenth,
// in which what was begun may end, and clocks may run apart.
func (t *term) deadline(asked time.Duration) time.Duration {
	return asked + t.lease.length - t.lease.length/10
}

// left is the time until the deadline. The caller holds mu.
func (t *term) left() time.Duration { return t.until - t.lease.clock() }

// keep renews the lease until it ends.
func (t *term) keep(ctx context.Context) {
	next := time.Now().Add(t.lease.length / 4)
	for t.valid() == nil {
		t.mu.Lock()
		wait := min(time.Until(next), t.left())
		t.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(t.lease.length / 4)
		if t.renew(ctx) != nil {
			next = time.Now().Add(t.lease.length / 16)
		}
	}
}

// renew asks once, and not longer than until the lease ends.
func (t *term) renew(ctx context.Context) error {
	asked := t.lease.clock()
	t.mu.Lock()
	bounded, cancel := context.WithTimeout(ctx, min(t.left(), t.lease.length/4))
	t.mu.Unlock()
	defer cancel()
	n, err := t.lease.exec(bounded, `UPDATE lease SET expires = UTC_TIMESTAMP(6) + INTERVAL ? MICROSECOND
		WHERE id = 1 AND holder = ? AND epoch = ? AND NOT released`, t.lease.length.Microseconds(), t.holder, t.epoch)
	if err == nil && n == 0 {
		t.taken(bounded)
		return errLeaseLost
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last = err; err == nil && t.current() == nil {
		t.until = t.deadline(asked)
	}
	return err
}

// taken ends the term when the memory knows another one.
func (t *term) taken(ctx context.Context) {
	now := "the memory has no lease"
	if h, err := leaseHolder(ctx, t.lease.db); err == nil {
		now = h.String()
	}
	t.end(fmt.Errorf("%w: it had the epoch %d, and now %s", errLeaseLost, t.epoch, now))
}

func (t *term) valid() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current()
}

// current is valid with mu held.
func (t *term) current() error {
	if t.ended == nil && t.left() <= 0 {
		why := fmt.Errorf("%w: this process stood still, or was kept from renewing it", errLeaseLost)
		if t.last != nil {
			why = fmt.Errorf("%w: it could not be renewed: %w", errLeaseLost, t.last)
		}
		t.close(why)
	}
	return t.ended
}

// end ends the term, and says whether it lasted until then, with nothing of a former holder's under way.
func (t *term) end(why error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	clean := t.current() == nil && t.alone
	t.close(why)
	return clean
}

// close is end with mu held.
func (t *term) close(why error) {
	if t.ended != nil {
		return
	}
	t.ended = why
	if !errors.Is(why, errReleased) {
		close(t.lost)
	}
}

// holdLease acquires the lease for a command that writes while no process of the log does, or says who has it. It is
// cfg's until done is called.
func holdLease(ctx context.Context, cfg *Config) (done func(context.Context) error, err error) {
	l, err := openLease(cfg.Cluster, cfg.Origin, "")
	if err != nil {
		return nil, err
	}
	got, _, err := l.acquire(ctx)
	if err == nil && !got {
		var h holding
		if h, err = leaseHolder(ctx, l.db); err == nil {
			err = fmt.Errorf("%v: stop the processes that may lead this log first", h)
		}
	}
	if err == nil {
		err = l.settle(ctx, cfg.Cluster.Tree.AddDeadline)
	}
	if err != nil {
		return nil, errors.Join(err, l.close(context.WithoutCancel(ctx)))
	}
	cfg.lease = l
	return l.close, nil
}
