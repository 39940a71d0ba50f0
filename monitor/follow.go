package monitor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/monitor/store"
)

// follower follows one log. Entries above the verified position are written by one
// goroutine only, that of follow; checkpoints may come from any.
type follower struct {
	m      *Monitor
	id     int64
	origin string
	policy *client.Policy
	any    *client.Policy // the same keys, without a quorum
	bare   *client.Policy // the log's keys alone
	lines  map[lineKey]bool
	log    *client.Log
	bases  []string // the log's URL and its mirrors', each ending in a slash
	views  []source // witnesses and mirrors

	wakeup  chan struct{}
	trouble troubles
	flooded sync.Map // kinds of which there are too many findings

	mu      sync.Mutex // one checkpoint is judged at a time
	waiting map[string]time.Time
	retryAt time.Time // after a root mismatch; used by follow's goroutine only
}

// lineKey is what a signature line says about its key.
type lineKey struct {
	name string
	id   uint32
}

func (m *Monitor) newFollower(ctx context.Context, l LogConfig) (*follower, error) {
	f := &follower{m: m, origin: l.Origin, policy: l.Policy, lines: make(map[lineKey]bool),
		wakeup: make(chan struct{}, 1), waiting: make(map[string]time.Time)}
	if l.Policy == nil {
		return nil, errors.New("it has no policy")
	}
	url := l.URL
	var vkeys []string
	for _, k := range l.Policy.Logs() {
		if k.Origin == l.Origin {
			vkeys = append(vkeys, k.VKey)
			f.lines[lineKey{k.Origin, k.KeyID}] = true
			if url == "" {
				url = k.URL
			}
		}
	}
	if len(vkeys) == 0 {
		return nil, errors.New("the policy does not list it")
	}
	if url == "" {
		return nil, errors.New("neither the policy nor the settings say where it is")
	}
	f.log = m.client(url)
	for _, u := range append([]string{url}, l.Mirrors...) {
		if err := m.checkURL(u); err != nil {
			return nil, err
		}
		f.bases = append(f.bases, strings.TrimSuffix(u, "/")+"/")
	}
	if err := f.makePolicies(vkeys); err != nil {
		return nil, err
	}
	if err := f.makeSources(l); err != nil {
		return nil, err
	}
	known, err := m.cfg.Store.AddLog(ctx, l.Origin, vkeys, url, m.cfg.Now())
	if err != nil {
		return nil, err
	}
	f.id = known.ID
	// Whether a finding of another time stands, the first answer tells.
	f.waiting[sourceRegistry] = m.cfg.Now()
	return f, f.checkStore(ctx)
}

func (m *Monitor) client(url string) *client.Log {
	return &client.Log{URL: url, HTTP: m.cfg.HTTP, UserAgent: UserAgent, AllowHTTP: m.cfg.AllowHTTP}
}

// makePolicies makes the two policies that ask for less: what the log signed counts
// against it, whoever else signed it.
func (f *follower) makePolicies(vkeys []string) error {
	var text strings.Builder
	for _, k := range vkeys {
		fmt.Fprintf(&text, "log %s\n", k)
	}
	var err error
	if f.bare, err = client.ParsePolicy([]byte(text.String() + "quorum none\n")); err != nil {
		return err
	}
	for _, w := range f.policy.Witnesses() {
		fmt.Fprintf(&text, "witness %s %s\n", w.Name, w.VKey)
		f.lines[lineKey{w.KeyName, w.KeyID}] = true
	}
	f.any, err = client.ParsePolicy([]byte(text.String() + "quorum none\n"))
	return err
}

// checkStore compares the stored position with the stored tree.
func (f *follower) checkStore(ctx context.Context) error {
	s := f.m.cfg.Store
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
		return fmt.Errorf("the database is damaged: its entries do not give the root of the %d that it says are verified; keep it, and start a new one", p.Verified)
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
	return f.m.cfg.Store.Hashes(ctx, f.id).ReadHashes(indexes)
}

func (f *follower) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

// followLoop looks at the log until ctx ends.
func (f *follower) followLoop(ctx context.Context) error {
	for {
		if err := f.follow(ctx); err != nil {
			return err
		}
		if !f.sleep(ctx, f.m.cfg.Poll) {
			return nil
		}
	}
}

// sleep waits for the time, or for something to do. It is false when ctx ends.
func (f *follower) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-f.wakeup:
	}
	return true
}

// follow looks at the log once and verifies all that can be. An error is one of the
// store or the disk.
func (f *follower) follow(ctx context.Context) error {
	if err := f.pollLog(ctx); err != nil {
		return err
	}
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	return f.checkViews(ctx)
}

func (f *follower) once(ctx context.Context) error {
	if err := f.pollLog(ctx); err != nil {
		return err
	}
	if err := f.pollViews(ctx); err != nil {
		return err
	}
	if err := f.catchUp(ctx); err != nil {
		return err
	}
	if err := f.checkViews(ctx); err != nil {
		return err
	}
	return f.registryOnce(ctx)
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
		f.waiting[what] = f.m.cfg.Now()
	}
	return f.waiting[what]
}

// waits says whether begins was told that something lasts.
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
