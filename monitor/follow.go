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

// mismatchTries is how often entries that do not give the root are fetched before
// somebody is accused.
const mismatchTries = 3

// maxRounds bounds the work of one look at the log, whatever it does.
const maxRounds = 20

// catchUp downloads and verifies what is signed.
func (f *follower) catchUp(ctx context.Context) error {
	roots := make(map[int64][]tlog.Hash) // that entries gave, by checkpoint
	for round := 0; round < maxRounds && ctx.Err() == nil; round++ {
		if err := f.settle(ctx); err != nil {
			return err
		}
		targets, err := f.targets(ctx)
		if err != nil || len(targets) == 0 {
			return errors.Join(err, f.entriesFailing(ctx, nil))
		}
		if f.m.cfg.Now().Before(f.retryAt) {
			return nil
		}
		if forked, err := f.checkExtends(ctx, targets[0]); err != nil {
			return err
		} else if forked {
			continue
		}
		failed, err := f.downloadSome(ctx, targets)
		if err != nil {
			return err
		}
		advanced, x, err := f.verify(ctx, targets)
		switch {
		case err != nil || advanced && failed == nil:
		case x != nil:
			id := x.checkpoint.ID
			if forked, err := f.checkExtends(ctx, x.checkpoint); err != nil {
				return err
			} else if !forked {
				roots[id] = append(roots[id], x.local)
			}
			if len(roots[id]) == mismatchTries {
				return f.accuseRoot(ctx, x, roots[id])
			}
			err = f.m.cfg.Store.RewindEntries(ctx, f.id)
		case failed != nil:
			return f.entriesFailing(ctx, failed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// downloadSome downloads the entries of the largest target, or if those cannot be
// had, of the one that the log itself shows: another may have been shown to others
// only. failed is what a stranger is to blame for.
func (f *follower) downloadSome(ctx context.Context, targets []store.Checkpoint) (failed, err error) {
	view, _, err := f.m.cfg.Store.View(ctx, f.id, sourceLog)
	if err != nil {
		return nil, err
	}
	try := targets[:1]
	for _, t := range targets[1:] {
		if t.Size == view.Size && t.Root == view.Root {
			try = append(slices.Clone(try), t)
		}
	}
	for _, t := range try {
		err := f.download(ctx, t)
		var remote *remoteError
		switch {
		case err == nil:
			return failed, nil
		case !errors.As(err, &remote):
			return nil, err
		case failed == nil:
			failed = err
		}
	}
	return failed, nil
}

// targets returns the pending checkpoints to reach, the largest first: those that
// satisfy the policy, from whatever source, and those that the log itself shows.
// Others were perhaps never published.
func (f *follower) targets(ctx context.Context) ([]store.Checkpoint, error) {
	p, err := f.m.cfg.Store.Position(ctx, f.id)
	if err != nil {
		return nil, err
	}
	pending, err := f.m.cfg.Store.LargestPending(ctx, f.id, p.Verified, 100)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pending, func(c store.Checkpoint) bool { return !c.Accepted && c.Source != sourceLog }), nil
}

// checkExtends asks the log's tiles whether a tree begins with the verified entries.
// That it does not is a fork, known before a single entry is downloaded. Tiles that
// are missing or wrong say nothing here: the entries will.
func (f *follower) checkExtends(ctx context.Context, t store.Checkpoint) (forked bool, err error) {
	p, err := f.m.cfg.Store.Position(ctx, f.id)
	if err != nil || p.Verified == 0 {
		return false, err
	}
	for _, base := range f.bases {
		tiles := f.m.client(base).Tiles(client.Checkpoint{Origin: f.origin, Size: t.Size, Root: t.Root})
		root, err := tiles.Root(ctx, p.Verified)
		if err != nil {
			continue
		}
		if root == p.Root {
			return false, nil
		}
		proof, err := tiles.Consistency(ctx, p.Verified)
		if err != nil {
			continue
		}
		return true, f.reportLargerFork(ctx, t, p.Verified, root, proof)
	}
	return false, nil
}

// mismatch is a checkpoint whose root our entries do not give.
type mismatch struct {
	checkpoint store.Checkpoint
	local      tlog.Hash
}

// verify compares the downloaded entries with the checkpoints that they reach. The
// largest one that agrees moves the verified position; if none does, the largest is
// returned.
func (f *follower) verify(ctx context.Context, targets []store.Checkpoint) (bool, *mismatch, error) {
	p, err := f.m.cfg.Store.Position(ctx, f.id)
	if err != nil {
		return false, nil, err
	}
	var first *mismatch
	for _, t := range targets {
		if t.Size > p.Downloaded {
			continue
		}
		root, err := f.m.cfg.Store.Root(ctx, f.id, t.Size)
		if err != nil {
			return false, nil, err
		}
		if root == t.Root {
			return true, nil, f.advance(ctx, p.Verified, t)
		}
		if first == nil {
			first = &mismatch{t, root}
		}
	}
	return false, first, nil
}

// advance moves the verified position to a checkpoint that the entries agree with,
// after all findings about them are recorded.
func (f *follower) advance(ctx context.Context, from int64, t store.Checkpoint) error {
	if err := f.reportEntries(ctx, from, t); err != nil {
		return err
	}
	hashes, err := f.compactRange(ctx, t.Size)
	if err != nil {
		return err
	}
	if err := f.m.cfg.Store.SetVerified(ctx, f.id, t.Size, t.Root, hashes); err != nil {
		return err
	}
	f.m.cfg.Logger.Info("verified", "log", f.origin, "entries", t.Size, "new", t.Size-from)
	return f.settle(ctx)
}

// entriesFailing notes that entries of a signed tree cannot be had, or that they can.
func (f *follower) entriesFailing(ctx context.Context, failed error) error {
	if ctx.Err() != nil {
		return nil
	}
	view, _, err := f.m.cfg.Store.View(ctx, f.id, sourceLog)
	if err != nil || failed != nil && !view.Failing.IsZero() {
		return err // that it does not answer at all is another finding
	}
	c := condition{kind: kindEntriesUnavailable, active: failed != nil, since: f.begins("entries", failed != nil), limit: f.m.cfg.Unreachable}
	if failed != nil {
		f.trouble.add("%s: entries: %v", f.origin, failed)
		f.m.cfg.Logger.Log(ctx, slog.LevelWarn, "entries cannot be had", "log", f.origin, "err", failed)
		c.summary = fmt.Sprintf("The log %s signed a tree of which it does not serve all entries.", f.origin)
		c.detail = failed.Error()
	}
	return f.apply(ctx, c)
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
