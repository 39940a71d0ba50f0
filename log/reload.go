package log

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/vitals"
	"cratelog/internal/web"
	"cratelog/log/storage"
)

// How long Reload waits for what is under way.
const (
	drainSubmissions = 20 * time.Second // that came before it
	drainPublication = 20 * time.Second // of what they added
	drainReads       = 5 * time.Second
	firstCheckpoint  = 10 * time.Second // under the new configuration
	gatePatience     = 30 * time.Second // of a request that comes meanwhile
)

// Live is a log whose configuration can be exchanged while it serves.
//
// Reload closes the log and opens it again, since Tessera keeps a publisher and its witnesses
// together. Submissions that come meanwhile wait; readers wait only while the state is reopened.
type Live struct {
	current atomic.Pointer[serving]
	writes  gate // of submissions
	reads   gate // of all that changes nothing

	turn sync.Mutex // of Reload, Close, and changes of the role
	dead error      // owned by turn; why there is no log any more

	// Of a process among several.
	lease  *lease             // nil: it does not lead
	leave  context.CancelFunc // ends what join began; nil: nothing
	joined sync.WaitGroup
	dog    watchdog
	ailing atomic.Pointer[string] // why it cannot be the sequencer, for /healthz
	lost   sync.Once
	gone   atomic.Bool // it was sequencer, and must end
}

// serving is a log with its handler.
type serving struct {
	log     *Log
	handler http.Handler
}

// OpenLive is Open of a log that can be reloaded.
func OpenLive(ctx context.Context, cfg Config) (*Live, error) {
	v := &Live{}
	v.more(&cfg)
	l, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	v.current.Store(&serving{l, l.Handler()})
	if l.cfg.Cluster != nil {
		if err := v.join(ctx, l.cfg); err != nil {
			return nil, errors.Join(err, v.Close(ctx))
		}
	}
	return v, nil
}

// more lets the log say in /healthz what is wrong with its role.
func (v *Live) more(cfg *Config) {
	others := cfg.Problems
	cfg.Problems = func() []string {
		all := v.problems()
		if others != nil {
			all = append(all, others()...)
		}
		return all
	}
}

// ErrDead says that Reload left no log: neither the new configuration nor the old one could be
// opened. The program must end.
var ErrDead = errors.New("log: it could not be opened again")

// Reload exchanges the configuration: the new one holds when it returns nil, else the old one, unless
// errors.Is(err, ErrDead). Origin and directories cannot change.
func (v *Live) Reload(ctx context.Context, cfg Config) error {
	v.turn.Lock()
	defer v.turn.Unlock()
	if v.dead != nil {
		return v.dead
	}
	old := v.current.Load().log
	if runtime.GOOS != "linux" && !old.follows() {
		return errors.New("log: taking over settings without a restart works on Linux only; restart")
	}
	v.more(&cfg)
	if cfg.lease, cfg.wedged = old.cfg.lease, old.cfg.wedged; cfg.lease != nil {
		cfg.shown = old.published.head().raw
	}
	if err := errors.Join(sameLog(&old.cfg, &cfg), check(ctx, cfg, func(string, error) {}, false)); err != nil {
		return err
	}
	return v.renew(ctx, old, cfg, drainSubmissions, drainReads)
}

// renew exchanges the log for one with another configuration. The caller holds turn, and what is under way has so
// long to end.
func (v *Live) renew(ctx context.Context, old *Log, cfg Config, submissions, reads time.Duration) error {
	defer v.writes.open()
	if old.front() {
		old.retire() // forwards would wait for what this process may have to do itself
	}
	if !v.writes.shut(ctx, submissions) {
		old.log.Warn("submissions under way did not end in time and are refused: they may be sent again")
	}
	end, cancel := context.WithTimeout(ctx, drainPublication)
	defer cancel()
	if _, err := old.finish(end); err != nil {
		old.log.Warn("reloading before all entries are published", "err", err)
	}
	defer v.reads.open()
	v.reads.shut(ctx, reads) // what is still read is in memory, or fails alone
	return v.exchange(context.WithoutCancel(ctx), old, cfg)
}

// exchange closes the old log, of which nothing is under way, and opens the new one, or the old one again.
func (v *Live) exchange(ctx context.Context, old *Log, cfg Config) error {
	err := old.end()
	if errors.Is(err, storage.ErrBusy) { // two may never write in one tree
		v.dead = fmt.Errorf("%w: %w", ErrDead, err)
		return v.dead
	}
	if err != nil {
		old.log.Warn("closing the log's state", "err", err)
	}
	settling, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := waitFor(settling, &old.running); err != nil {
		v.dead = fmt.Errorf("%w: entries are still being written after a minute", ErrDead)
		return v.dead
	}
	next, err := Open(ctx, cfg)
	if err != nil {
		var again error
		if next, again = Open(ctx, old.cfg); again != nil {
			v.dead = fmt.Errorf("%w: %w", ErrDead, errors.Join(err, again))
			return v.dead
		}
	}
	if !next.front() { // what that shows is another's to publish
		// Readers are not to be told that nothing is published, only because the trust file is new.
		wait, stop := context.WithTimeout(ctx, firstCheckpoint)
		defer stop()
		if _, late := next.published.wait(wait, 0); late != nil {
			next.log.Warn("the witnesses have not cosigned a checkpoint under the new settings yet")
		}
	}
	v.dog.report(nil, time.Now()) // what the old one waited for, nobody waits for any longer
	v.current.Store(&serving{next, next.Handler()})
	return err
}

// renewCheckpoint makes Tessera publish again, at once, a checkpoint that was cosigned for another
// trust file, or that not all keys of the settings signed: one of an unchanged tree would wait for the
// republish interval, and meanwhile nothing would be published for those who have the new trust file. It
// comes before Tessera looks. So it does of one that is older than what was signed: another process may have put it
// over that late.
func (l *Log) renewCheckpoint(ctx context.Context) error {
	if l.follows() {
		return nil
	}
	raw, _, err := l.tree.Read(ctx, storage.Checkpoint, client.MaxCheckpointSize)
	if err != nil {
		return nil // there is none, or followCheckpoint will say what is wrong with it
	}
	signed, _ := l.guard.mark()
	if c, err := l.policy.CheckCheckpoint(raw); err == nil && l.allSigned(raw) && uint64(c.Size) == signed.Size {
		return nil
	}
	return l.tree.SetPublished(ctx, time.Now().Add(-l.cfg.RepublishInterval.Duration))
}

// allSigned says whether a checkpoint has a line of every key, whatever stands in it.
func (l *Log) allSigned(raw []byte) bool {
	_, err := note.Open(raw, note.VerifierList())
	var unverified *note.UnverifiedNoteError
	return errors.As(err, &unverified) && !slices.ContainsFunc(l.cfg.keys(), func(k Key) bool {
		return !slices.ContainsFunc(unverified.Note.UnverifiedSigs, func(s note.Signature) bool {
			return s.Name == k.Name() && s.Hash == k.KeyHash()
		})
	})
}

// sameLog refuses what needs a restart.
func sameLog(old, next *Config) error {
	for _, c := range []struct {
		name      string
		old, next string
	}{
		{"origin", old.Origin, next.Origin},
		{"the tree's directory", old.TreeDir, next.TreeDir}, {"the state directory", old.StateDir, next.StateDir},
	} {
		if c.old != c.next {
			return fmt.Errorf("%s changed from %s to %s: that needs a restart", c.name, c.old, c.next)
		}
	}
	if !old.Cluster.same(next.Cluster) {
		return errors.New("the settings of a log on several machines changed: that needs a restart")
	}
	return nil
}

// Close closes the log that serves; see [Log.Close]. A sequencer gives its lease back when all that it has accepted
// is published.
func (v *Live) Close(ctx context.Context) error {
	if v.leave != nil {
		v.leave()
		if err := waitFor(ctx, &v.joined); err != nil {
			return err
		}
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	var err error
	switch l := v.current.Load().log; {
	case v.dead != nil: // it is closed
	case v.gone.Load():
		v.dead, err = ErrLost, l.end()
	default:
		err = l.Close(ctx)
	}
	if v.lease != nil {
		if err != nil { // something may be under way
			v.lease.drop(err)
		}
		err = errors.Join(err, v.lease.close(ctx))
	}
	return err
}

// Handler returns the log's web surface. Its probes are never held up.
func (v *Live) Handler() http.Handler {
	probes := (&web.Server{Name: "log", Log: v.current.Load().log.log}).Handler(vitals.Probes{
		Ready: func(ctx context.Context) []string {
			if v.writes.isShut() {
				return []string{reloadingNow}
			}
			return v.current.Load().log.probes().Ready(ctx)
		},
		Health: func(ctx context.Context) (any, vitals.Health) {
			if v.reads.isShut() {
				h := vitals.Of([]string{reloadingNow})
				return h, h
			}
			return v.current.Load().log.probes().Health(ctx)
		},
	}.Routes())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through := &v.writes
		switch {
		case r.URL.Path == "/livez" || r.URL.Path == "/readyz" || r.URL.Path == "/healthz":
			probes.ServeHTTP(w, r)
			return
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			through = &v.reads
		}
		if v.gone.Load() || !through.enter(r.Context(), gatePatience) {
			w.Header().Set("Retry-After", "5")
			w.Header().Set("Cache-Control", "no-store")
			web.WriteJSON(w, http.StatusServiceUnavailable, refusalBody{Reason: ShuttingDown,
				Message: "The log takes over new settings, or another role: try again later."})
			return
		}
		defer through.leave()
		v.current.Load().handler.ServeHTTP(w, r)
	})
}

const reloadingNow = "the log takes over new settings"

// gate counts who is inside, and can be shut.
type gate struct {
	mu     sync.Mutex
	inside int           // owned by mu
	opened chan struct{} // owned by mu; nil while it is open, else closed when it opens again
	empty  chan struct{} // owned by mu; if not nil, closed when nobody is inside
}

// enter waits until the gate is open, and says whether it was in time. Who entered must leave.
func (g *gate) enter(ctx context.Context, patience time.Duration) bool {
	var late <-chan time.Time
	for {
		g.mu.Lock()
		opened := g.opened
		if opened == nil {
			g.inside++
			g.mu.Unlock()
			return true
		}
		g.mu.Unlock()
		if late == nil {
			late = time.After(patience)
		}
		select {
		case <-opened:
		case <-late:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// shut lets nobody in, and waits until all have left. It says whether they have in time.
func (g *gate) shut(ctx context.Context, patience time.Duration) bool {
	g.mu.Lock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	if g.inside == 0 {
		g.mu.Unlock()
		return true
	}
	empty := make(chan struct{})
	g.empty = empty
	g.mu.Unlock()
	select {
	case <-empty:
		return true
	case <-time.After(patience):
	case <-ctx.Done():
	}
	return false
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened != nil
}

// Check looks at all that Open looks at before it writes, and writes nothing: a log may be running
// with this configuration, or with another on the same directories. say hears each outcome.
func Check(ctx context.Context, cfg Config, say func(name string, err error)) {
	check(ctx, cfg, say, true)
}

// inspection is a look at something that may be wrong.
type inspection struct {
	name string
	look func(context.Context) error
}

// check returns all that is wrong. state says whether to look at the directories too.
func check(ctx context.Context, cfg Config, say func(name string, err error), state bool) error {
	l, err := newLog(ctx, cfg)
	say("programs and limits", err)
	if err != nil {
		return err
	}
	defer l.cancel()
	defer l.closeState()
	if l.tree, err = openPlace(ctx, &cfg, false); err != nil {
		say("tree", err)
		return err
	}
	var all []error
	looks := []inspection{
		{"trust file", l.openPolicy},
		{"sets of builders", l.openBuilds},
		{"proving keys", l.openKeys},
		{"registries", func(context.Context) error { return l.SetRegistries(cfg.Registries, cfg.RegistryRequests) }},
		{"mirrors", l.openMirrors},
		{"tree and guard", func(ctx context.Context) error {
			if !state || cfg.ReadOnly { // a copy's guard remembers nothing
				return nil
			}
			return l.checkGuard(ctx)
		}},
		{"predecessors", func(ctx context.Context) error {
			if !state {
				return nil
			}
			tree, err := l.tree.State(ctx)
			if err == nil && tree.Size == 0 { // else they are not needed
				_, _, err = loadAll(ctx, cfg.Predecessors)
			}
			return err
		}},
	}
	if state && l.cfg.Cluster != nil {
		looks = append(looks, l.inspectCluster(ctx)...)
	}
	for _, c := range looks {
		err := c.look(ctx)
		say(c.name, err)
		all = append(all, err)
	}
	return errors.Join(all...)
}

// checkGuard says whether tree and memory are this log's, as far as can be told without writing.
func (l *Log) checkGuard(ctx context.Context) error {
	state, err := l.tree.State(ctx)
	if err != nil {
		return err
	}
	store, err := readGuardStore(ctx, &l.cfg)
	if err != nil {
		return err
	}
	var known *remembered
	if store != nil {
		defer store.close()
		if known, err = store.load(ctx); err != nil {
			return err
		}
	}
	switch {
	case store != nil && known == nil && state.Size > 0:
		return store.forgot(l.tree, state)
	case known == nil && state.Size > 0:
		return fmt.Errorf("%v has %d entries, and nothing remembers what was signed: use the guard.db, or the memory, that "+
			"belongs to this tree", l.tree, state.Size)
	case known == nil:
		return nil
	}
	g := &guard{keys: l.cfg.keys(), origin: l.cfg.Origin, store: store}
	if _, _, err := g.compareKeys(known); err != nil {
		return err
	}
	if state.Size < known.head.Size {
		return fmt.Errorf("%w: %v has %d entries, but this log has signed a checkpoint of %d: put the newer tree back",
			ErrRollback, l.tree, state.Size, known.head.Size)
	}
	return nil
}
