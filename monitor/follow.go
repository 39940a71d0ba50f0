package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/monitor/store"
)

// follower follows one log. Entries above the verified position are written by one
// goroutine only, that of follow; checkpoints may come from any.
type follower struct {
	m      *Monitor
	cfg    *Config // of m
	store  *store.Store
	id     int64
	origin string
	policy *client.Policy
	log    *client.Log
	bases  []string // the log's URL and its mirrors', each ending in a slash
	views  []source // witnesses and mirrors

	// What the log signed counts against it, with or without cosignatures.
	noQuorum, logKeys *client.Policy // policy, asking for less
	// The signature lines that are kept: of the log, and of its witnesses.
	logLines, lines map[lineKey]bool

	wakeup  chan struct{}
	trouble troubles
	flooded sync.Map // kinds of which there are too many findings

	mu      sync.Mutex // one checkpoint is judged at a time
	waiting map[string]time.Time
	sealed  []store.Sealed
	retryAt time.Time // after a root mismatch; used by follow's goroutine only

	mirrored atomic.Bool // entries that are fetched again came from a mirror

	ledger *ledger // nil until it is needed; used by follow's goroutine only
	search search  // used by follow's goroutine only

	contradictions int64 // the number of the evidence to ask for next; used by compareLoop's goroutine only
}

// lineKey is what a signature line says about its key.
type lineKey struct {
	name string
	id   uint32
}

func (m *Monitor) newFollower(ctx context.Context, l LogConfig) (*follower, error) {
	if l.Policy == nil {
		return nil, errors.New("it has no trust file")
	}
	f := &follower{
		m: m, cfg: &m.cfg, store: m.cfg.Store, origin: l.Origin, policy: l.Policy, noQuorum: l.Policy.WithoutQuorum(),
		logKeys:  l.Policy.LogKeysOnly(),
		logLines: make(map[lineKey]bool), wakeup: make(chan struct{}, 1), waiting: make(map[string]time.Time),
	}
	url := l.URL
	var vkeys []string
	for _, k := range l.Policy.Logs() {
		if k.Origin == l.Origin {
			vkeys = append(vkeys, k.VKey)
			f.logLines[lineKey{k.Origin, k.KeyID}] = true
			if url == "" {
				url = k.URL
			}
		}
	}
	f.lines = maps.Clone(f.logLines)
	for _, w := range l.Policy.Witnesses() {
		f.lines[lineKey{w.KeyName, w.KeyID}] = true
	}
	if len(vkeys) == 0 {
		return nil, errors.New("the trust file does not list it")
	}
	if url == "" {
		return nil, errors.New("neither the trust file nor the settings say where it is")
	}
	f.log = m.client(url)
	for _, u := range append([]string{url}, l.Mirrors...) {
		if err := m.checkURL(u); err != nil {
			return nil, err
		}
		f.bases = append(f.bases, strings.TrimSuffix(u, "/")+"/")
	}
	if err := f.makeSources(l); err != nil {
		return nil, err
	}
	known, err := m.cfg.Store.AddLog(ctx, l.Origin, vkeys, url, m.cfg.Now())
	if err != nil {
		return nil, err
	}
	f.id = known.ID
	// The first answer shows whether a finding of an earlier run is over.
	f.waiting[sourceRegistry] = m.cfg.Now()
	return f, f.checkStore(ctx)
}

func (m *Monitor) client(url string) *client.Log {
	return &client.Log{URL: url, HTTP: m.cfg.HTTP, UserAgent: UserAgent, AllowHTTP: m.cfg.AllowHTTP}
}

// checkStore compares the stored position with the stored tree.
func (f *follower) checkStore(ctx context.Context) error {
	s := f.store
	p, err := s.Position(ctx, f.id)
	if err != nil {
		return err
	}
	if p.Verified == 0 {
		return nil
	}
	root, err := s.Root(ctx, f.id, p.Verified)
	if err != nil {
		return err
	}
	hashes, err := f.compactRange(ctx, p.Verified)
	if err != nil {
		return err
	}
	if root != p.Root || !slices.Equal(hashes, p.Range) {
		return fmt.Errorf("the database is damaged: its entries do not give the root of the %d that it says are "+
			"verified; keep it, and start a new one", p.Verified)
	}
	return nil
}

// compactRange returns the roots of the perfect subtrees of the first size entries.
func (f *follower) compactRange(ctx context.Context, size int64) ([]tlog.Hash, error) {
	var indexes []int64
	start := int64(0)
	for level := 62; level >= 0; level-- {
		if size&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, start>>level))
			start += 1 << level
		}
	}
	return f.store.Hashes(ctx, f.id).ReadHashes(indexes)
}

func (f *follower) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

// followLoop looks at the log until ctx ends.
func (f *follower) followLoop(ctx context.Context) error {
	return again(ctx, f.cfg.Poll.Duration, f.wakeup, f.follow)
}

// again does something until ctx ends, with a pause that a wake ends. An error ends it too.
func again(ctx context.Context, pause time.Duration, wake <-chan struct{}, do func(context.Context) error) error {
	for {
		if err := do(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		case <-wake:
		}
	}
}

// follow looks at the log once and verifies all that can be. An error is one of the
// store or the disk.
func (f *follower) follow(ctx context.Context) error {
	return steps(ctx, f.pollLog, f.catchUp, f.replay, f.findDifference, f.checkViews, f.checkEnd)
}

func (f *follower) once(ctx context.Context) error {
	return steps(ctx, f.pollLog, f.pollViews, f.catchUp, f.replay, f.findDifference, f.checkViews, f.checkEnd,
		f.registryOnce, f.openingsOnce, f.contradictionsOnce)
}

// steps does one thing after the other, up to the first error.
func steps(ctx context.Context, all ...func(context.Context) error) error {
	for _, step := range all {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sleep waits, and returns the error of a context that ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// begins remembers since when something lasts.
func (f *follower) begins(what string, active bool) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !active {
		delete(f.waiting, what)
		return time.Time{}
	}
	if _, ok := f.waiting[what]; !ok {
		f.waiting[what] = f.cfg.Now()
	}
	return f.waiting[what]
}

// waits says whether something lasts that begins has noted.
func (f *follower) waits(what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.waiting[what]
	return ok
}

func levelOf(c store.Class) slog.Level {
	switch c {
	case store.Security:
		return slog.LevelError
	case store.Operational:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// noteText is what a signed note's signatures are over.
func noteText(signed []byte) []byte {
	return signed[:bytes.LastIndex(signed, []byte("\n\n"))+1]
}
