package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cratelog/client"
	"cratelog/internal/web"
	"cratelog/log/storage"
)

// Cluster says how several processes are one log. Each is a front end: it checks what is submitted, and answers
// readers from the published tree. One of them, which holds the lease, is the sequencer too: it alone adds
// entries, seals and signs, and gets what the others have checked.
type Cluster struct {
	Tree storage.S3 // Fence is the log's

	// Memory is the data source name of a second database server, which is never restored together with Tree's:
	// it remembers what was signed (compare-and-swap), and who holds the lease.
	Memory string

	Address string        // URL at which other processes of this log reach this one's [Live.Peers]
	Secret  []byte        // at least 32 bytes, known to all processes of this log and nobody else
	Lead    bool          // this process may hold the lease, and has the keys
	Lease   time.Duration // 0: 10 s

	// Lost is called once, when this process was sequencer and cannot be it any longer, or has no log any more: the
	// program must end, since what it has begun may go on in the background. Its supervisor starts it again, as a
	// front end.
	Lost func(error)

	origin string // the log's
}

// leastSecret is how many bytes the processes' shared secret has at least.
const leastSecret = 32

// complete fills in the defaults and checks what needs no connection. Who only reads knows no secret.
func (c *Cluster) complete(reads bool) error {
	setDefault(&c.Lease, 10*time.Second)
	setDefault(&c.Tree.AddDeadline, 5*time.Second)
	setDefault(&c.Tree.LockWait, c.Lease+c.Tree.AddDeadline)
	switch {
	case c.Tree.Bucket == "" || c.Tree.Database == "" || c.Memory == "":
		return errors.New("a log on several machines needs a bucket, a database, and a memory on another server")
	case len(c.Secret) < leastSecret && !reads:
		return fmt.Errorf("the secret of the processes has %d bytes: at least %d are needed; make it with "+
			"\"openssl rand -hex 32\"", len(c.Secret), leastSecret)
	case c.Lease < 2*time.Second || c.Tree.AddDeadline < 500*time.Millisecond || c.Tree.AddDeadline > c.Lease:
		return fmt.Errorf("the lease is of %v and the add deadline of %v: a lease has at least 2s, and the deadline at least "+
			"500ms and at most the lease", c.Lease, c.Tree.AddDeadline)
	case c.Address == "" && !c.Lead || reads:
		return nil
	}
	if err := web.CheckAddress(c.Address); err != nil {
		return fmt.Errorf("the address at which other processes reach this one: %w", err)
	}
	return nil
}

// same says whether the settings of another configuration are of the same processes. What they are about cannot
// change while they run.
func (c *Cluster) same(o *Cluster) bool {
	if c == nil || o == nil {
		return c == o
	}
	a, b := *c, *o
	for _, x := range []*Cluster{&a, &b} {
		if x.complete(len(x.Secret) == 0) != nil {
			return false
		}
		x.Lost, x.Tree.Fence, x.Tree.LockWait, x.origin = nil, nil, 0, ""
	}
	return reflect.DeepEqual(a, b)
}

// What a process of a log on several machines is.
const (
	roleFrontEnd  = "front-end"
	roleSequencer = "sequencer"
)

// front says whether this log is one process of several, and not the one that writes: what it has checked it
// forwards.
func (l *Log) front() bool { return l.cfg.Cluster != nil && l.cfg.lease == nil && !l.cfg.ReadOnly }

// follows says whether the tree is not this log's to write: it reads what is published.
func (l *Log) follows() bool { return l.readOnly() || l.front() }

// role is what this log is among the processes of its log; "": it is alone, or only reads.
func (l *Log) role() string {
	switch {
	case l.cfg.Cluster == nil || l.cfg.ReadOnly:
		return ""
	case l.front():
		return roleFrontEnd
	}
	return roleSequencer
}

// unbegun says that this front end was opened before the log had its first leaf, which may take over versions of a log
// before it: then it is opened again (followTree).
func (l *Log) unbegun(size uint64) bool {
	if leaves, _ := l.leaves.open(); l.front() && size > 0 && leaves == 0 && l.begun == nil && len(l.cfg.Predecessors) > 0 {
		l.begins.Store(true)
	}
	return l.begins.Load()
}

// showAgain shows what this process has shown before it became the sequencer, in case that something older stands in
// its place now.
func (l *Log) showAgain(ctx context.Context) {
	if c, err := l.policy.CheckCheckpoint(l.cfg.shown); err == nil {
		err = l.show(published{size: uint64(c.Size), root: c.Root, raw: l.cfg.shown, at: time.Now(), written: c.Witnessed})
		if err != nil {
			l.log.Warn("what this process showed last is not shown before another checkpoint is published", "err", err)
		}
	}
}

// healthCluster is what /healthz says of a process among several.
type healthCluster struct {
	Role      string  `json:"role"`
	Sequencer bool    `json:"sequencer_known"` // some process holds the lease
	Epoch     uint64  `json:"lease_epoch"`     // of the lease, as this process last saw it; each holder has a larger one
	Left      float64 `json:"lease_seconds"`   // for which it holds yet, if nobody renews it; 0: it has ended
}

func (l *Log) healthCluster(now time.Time) *healthCluster {
	if l.role() == "" {
		return nil
	}
	var h holding
	if l.front() {
		h = l.sequencer.seen()
	} else {
		h = l.cfg.lease.own()
	}
	left := max(0, h.until.Sub(now).Seconds())
	return &healthCluster{Role: l.role(), Sequencer: left > 0, Epoch: h.epoch, Left: left}
}

// clusterMetrics are those of a process among several.
func (l *Log) clusterMetrics() []prometheus.Collector {
	gauge := func(name, help string, of func(*healthCluster) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return of(l.healthCluster(time.Now())) })
	}
	return []prometheus.Collector{
		gauge("cratelog_sequencer", "1 when this process is the sequencer, 0 when it is a front end.",
			func(h *healthCluster) float64 { return zeroOrOne(h.Role == roleSequencer) }),
		gauge("cratelog_lease_epoch", "Epoch of the lease, as this process last saw it: it grows with each new sequencer.",
			func(h *healthCluster) float64 { return float64(h.Epoch) }),
		gauge("cratelog_lease_seconds", "Time for which the sequencer's lease holds yet; 0: there is no sequencer.",
			func(h *healthCluster) float64 { return h.Left }),
	}
}

// ErrLost says that this process cannot be the sequencer any longer. The program must end.
var ErrLost = errors.New("log: this process is not the sequencer any longer, and must end")

const (
	drainForwards = 2 * time.Second // of submissions under way when a front end becomes the sequencer
	drainShort    = time.Second     // of reads, then
	wedgedAfter   = 15 * time.Second
	giveBack      = 2 * time.Second
	lookForFrozen = 20 * time.Second
)

// join begins what a process among several does beside serving.
func (v *Live) join(ctx context.Context, cfg Config) error {
	ctx, v.leave = context.WithCancel(context.WithoutCancel(ctx))
	v.joined.Go(func() { v.followTree(ctx) })
	if !cfg.Cluster.Lead || cfg.ReadOnly {
		return nil
	}
	var err error
	if v.lease, err = openLease(cfg.Cluster, cfg.Origin, cfg.Cluster.Address); err != nil {
		return err
	}
	v.joined.Go(func() { v.campaign(ctx) })
	return nil
}

// campaign tries to get the lease until it has it, and then is the sequencer until that is lost or ctx ends.
func (v *Live) campaign(ctx context.Context) {
	c := v.current.Load().log.cfg.Cluster
	often := c.Lease / 10
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = often
		l := v.current.Load().log
		won, released, err := v.lease.acquire(ctx)
		if err != nil || !won {
			v.failing("the lease cannot be asked for: %v", err)
			continue
		}
		l.log.Info("this process has the lease, and becomes the sequencer", "epoch", v.lease.own().epoch,
			"released", released)
		watched, cancel := context.WithCancel(ctx)
		v.joined.Go(func() { v.watchLease(watched) }) // what follows may take long
		if err = v.lease.settle(ctx, c.Tree.AddDeadline); err == nil {
			err = v.lead(ctx)
		}
		if err == nil {
			v.failing("", nil)
			v.watch(watched)
		}
		cancel()
		if errors.Is(err, ErrDead) {
			v.lose(err)
		}
		if err == nil || ctx.Err() != nil || v.gone.Load() {
			return
		}
		l.log.Error("this process cannot be the sequencer; it gives the lease back, and stays a front end", "err", err)
		v.failing("this process had the lease and could not be the sequencer: %v", err)
		if err := v.lease.release(context.WithoutCancel(ctx)); err != nil { // also if this process ends now
			l.log.Warn("the lease is not given back, and runs out", "err", err)
		}
		wait = c.Lease // another's turn
	}
}

// failing keeps a sentence for /healthz; of no error, none.
func (v *Live) failing(format string, err error) {
	sentence := ""
	if err != nil {
		sentence = fmt.Sprintf(format, err)
	}
	v.ailing.Store(&sentence)
}

func (v *Live) problems() []string {
	if s := v.ailing.Load(); s != nil && *s != "" {
		return []string{*s}
	}
	return nil
}

// lead makes the front end the sequencer.
func (v *Live) lead(ctx context.Context) error {
	v.turn.Lock()
	defer v.turn.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	old := v.current.Load().log
	if err := old.mayLead(ctx); err != nil {
		return err
	}
	cfg := old.cfg
	cfg.lease, cfg.shown = v.lease, old.published.head().raw
	cfg.wedged = func(err error) { v.dog.report(err, time.Now()) }
	return v.renew(ctx, old, cfg, drainForwards, drainShort)
}

// mayLead looks at what the sequencer cannot do without, before readers have to wait for it.
func (l *Log) mayLead(ctx context.Context) error {
	if p, ok := l.tree.(prober); ok {
		if err := errors.Join(p.Probe(ctx)); err != nil {
			return err
		}
	}
	return l.checkGuard(ctx)
}

// watchLease ends the process when the lease is lost.
func (v *Live) watchLease(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-v.lease.lost():
		v.lose(v.lease.why())
	}
}

// watch ends the process when it cannot be the sequencer any longer, though it has the lease.
func (v *Live) watch(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for !v.gone.Load() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := v.dog.look(ctx, v.current.Load().log.tree, time.Now()); err != nil {
			v.lose(err)
			return
		}
	}
}

// watchdog notices that nothing gets into the tree although database and store answer.
type watchdog struct {
	size  uint64    // of the tree, when it was last seen
	moved time.Time // when it was last seen to do what it should

	mu    sync.Mutex
	err   error     // owned by mu; what the writer waits for in vain; nil: nothing
	since time.Time // owned by mu
}

// report takes what the writer has waited for in vain, or nil when it waits no longer.
func (d *watchdog) report(err error, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && err != nil {
		d.since = now
	}
	d.err = err
}

// look returns an error when entries that have their index have not been integrated for wedgedAfter, or when the
// writer, which was patient before it said so, has waited for a third of that.
func (d *watchdog) look(ctx context.Context, tree storage.Tree, now time.Time) error {
	next, err := tree.Next(ctx)
	state, stateErr := tree.State(ctx)
	if err = errors.Join(err, stateErr); err != nil || state.Size != d.size || next <= state.Size || d.moved.IsZero() {
		d.moved = now
	}
	if err == nil {
		d.size = state.Size
	}
	d.mu.Lock()
	waits, since := d.err, d.since
	d.mu.Unlock()
	if now.Sub(d.moved) < wedgedAfter && (waits == nil || now.Sub(since) < wedgedAfter/3) {
		return nil
	}
	if p, ok := tree.(prober); ok {
		if database, store := p.Probe(ctx); database != nil || store != nil { // that is why
			d.moved = now
			d.mu.Lock()
			d.since = now
			d.mu.Unlock()
			return nil
		}
	}
	if waits == nil {
		waits = fmt.Errorf("%d entries have their places and %d are in the tree, for %v", next, state.Size,
			now.Sub(d.moved).Round(time.Second))
	}
	return fmt.Errorf("the tree is wedged, although database and store answer: %w", waits)
}

// prober is a tree that says whether database and store answer right now.
type prober interface {
	Probe(ctx context.Context) (database, store error)
}

// lose ends this process's part in the log at once, and tells the program. What is under way in Tessera ends with
// the process; the fence keeps it from writing until then.
func (v *Live) lose(why error) {
	v.lost.Do(func() {
		l := v.current.Load().log
		why = fmt.Errorf("%w: %w", ErrLost, why)
		l.log.Error("the process ends", "err", why)
		v.gone.Store(true)
		l.cancel()
		// It ends what this process may do before it asks the memory. A wedged sequencer's successor need not wait: what
		// comes in late is void.
		ctx, cancel := context.WithTimeout(context.Background(), giveBack)
		defer cancel()
		if v.lease != nil {
			_ = v.lease.release(ctx)
		}
		if l.cfg.Cluster.Lost != nil {
			l.cfg.Cluster.Lost(why)
		}
	})
}

// followTree opens the log again when another process has begun it, or has frozen it.
func (v *Live) followTree(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		l := v.current.Load().log
		if l.frozen != nil {
			return
		}
		again := l.begins.Load()
		if l.follows() && !again && time.Since(last) >= lookForFrozen {
			var err error
			if again, err = l.hasFrozen(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("the log's last word is not taken over", "err", err)
			}
			last = time.Now()
		}
		if again {
			err := v.openAgain(ctx, l)
			if err != nil && ctx.Err() == nil {
				l.log.Error("the log is not opened again", "err", err)
			}
			if errors.Is(err, ErrDead) {
				v.lose(err)
				return
			}
		}
	}
}

// hasFrozen says whether another process has ended the log.
func (l *Log) hasFrozen(ctx context.Context) (bool, error) {
	raw, _, err := l.tree.Read(ctx, storage.Frozen, client.MaxFrozenSize)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		_, err = l.checkFrozen(raw)
	}
	return err == nil, err
}

func (v *Live) openAgain(ctx context.Context, l *Log) error {
	v.turn.Lock()
	defer v.turn.Unlock()
	if ctx.Err() != nil || v.current.Load().log != l {
		return ctx.Err() // it is another by now; the next look finds out
	}
	return v.renew(ctx, l, l.cfg, drainForwards, drainShort)
}

// inspectCluster looks at what this process shares with others.
func (l *Log) inspectCluster(ctx context.Context) []inspection {
	c := l.cfg.Cluster
	var holds holding
	var database, bucket error
	if t, ok := l.tree.(inspector); ok {
		database, bucket = t.Inspect(ctx, l.cfg.BatchSize)
	}
	return []inspection{
		{"bucket", func(ctx context.Context) error {
			if bucket != nil || database != nil {
				return bucket
			}
			return l.checkBegun(ctx)
		}},
		{"database", func(context.Context) error { return database }},
		{"memory", func(ctx context.Context) error {
			if err := c.checkServers(ctx); err != nil {
				return err
			}
			memory, err := memoryDatabase.Peek(ctx, c.Memory, l.cfg.Origin, c.Tree.AddDeadline)
			if err != nil || memory == nil {
				return err
			}
			defer memory.Close()
			holds, err = leaseHolder(ctx, memory)
			return err
		}},
		{"sequencer, if there is one", func(ctx context.Context) error {
			if holds.address == "" || l.cfg.ReadOnly {
				return nil
			}
			if err := c.checkPeer(ctx, holds.address, l.cfg.Origin); err != nil {
				return fmt.Errorf("the process at %s, which has the lease: %w", holds.address, err)
			}
			return nil
		}},
		{"address, if something answers there", func(ctx context.Context) error {
			if c.Address == "" || l.cfg.ReadOnly {
				return nil
			}
			err := c.checkPeer(ctx, c.Address, l.cfg.Origin)
			if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" { // this process does not run yet
				return nil
			}
			return err
		}},
	}
}

// inspector is a tree that says whether database and store are such as it needs.
type inspector interface {
	Inspect(ctx context.Context, batch uint) (database, store error)
}

// checkBegun refuses a bucket with a tree of which the database knows nothing: nothing there is ever overwritten.
func (l *Log) checkBegun(ctx context.Context) error {
	state, err := l.tree.State(ctx)
	if err != nil || state.Found {
		return err
	}
	_, _, err = l.tree.Read(ctx, storage.Checkpoint, client.MaxCheckpointSize)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the log has yet to begin
		return nil
	case err == nil:
		err = errors.New("the bucket has the checkpoint of a tree, and the database knows no tree: use the database that " +
			"belongs to it, or for a new log an empty bucket")
	}
	return err
}

// checkServers refuses what the sequencer would: a memory that forgets commits, or that is on the database's server.
func (c *Cluster) checkServers(ctx context.Context) error {
	memory, err := memoryDatabase.Server(c.Memory, c.Tree.AddDeadline)
	if err != nil {
		return fmt.Errorf("the memory: %w", err)
	}
	defer memory.Close()
	if err := memory.PingContext(ctx); err != nil {
		return fmt.Errorf("the memory: %w", err)
	}
	database, err := keptDatabase.Server(c.Tree.Database, c.Tree.AddDeadline)
	if err != nil {
		return err
	}
	defer database.Close()
	if database.PingContext(ctx) != nil { // that is said of the database
		return nil
	}
	return otherServer(ctx, memory, database)
}

// checkPeer asks another process what it is.
func (c *Cluster) checkPeer(ctx context.Context, address, origin string) error {
	ctx, cancel := context.WithTimeout(ctx, c.Tree.AddDeadline)
	defer cancel()
	client := c.client()
	defer client.CloseIdleConnections()
	status, _, answer, err := c.peer(ctx, client, http.MethodGet, address, nil)
	var about aboutPeer
	if err == nil && (status != http.StatusOK || strict(answer, &about) != nil || about.Origin != origin) {
		return fmt.Errorf("it is no process of this log: %d %q", status, answer)
	}
	for _, s := range []struct{ name, here, there string }{{"lease", c.Lease.String(), about.Lease},
		{"add_deadline", c.Tree.AddDeadline.String(), about.AddDeadline}} {
		if err == nil && s.here != s.there {
			err = fmt.Errorf("it has %s = %q, and these settings %q: set the same for all processes of a log", s.name,
				s.there, s.here)
		}
	}
	return err
}
