package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"

	"cratelog/internal/testlog"
	"cratelog/log/storage"
)

// farTree is a tree behind a network: what is integrated shows late, and all of it can be away.
type farTree struct {
	storage.Tree
	lag time.Duration

	refused atomic.Int32 // files that were asked for while it was away

	mu    sync.Mutex
	gone  error         // owned by mu; why it is away
	shown storage.State // owned by mu
	next  storage.State // owned by mu; what shows after lag
	since time.Time     // owned by mu; of next
}

// behindNetwork lets a world's log see its tree so.
func (w *world) behindNetwork(lag time.Duration) *farTree {
	f := &farTree{lag: lag}
	w.cfg.testingOnlyPatience = 10 * time.Second
	w.cfg.testingOnlyTree = func(t storage.Tree) storage.Tree { f.Tree = t; return f }
	return f
}

func (f *farTree) setGone(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = err
}

func (f *farTree) away() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.gone
}

func (f *farTree) State(ctx context.Context) (storage.State, error) {
	s, err := f.Tree.State(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err = errors.Join(f.gone, err); err != nil {
		return storage.State{}, err
	}
	if s != f.next {
		f.next, f.since = s, time.Now()
	}
	if !f.shown.Found || time.Since(f.since) >= f.lag {
		f.shown = f.next
	}
	return f.shown, nil
}

func (f *farTree) Next(ctx context.Context) (uint64, error) {
	n, err := f.Tree.Next(ctx)
	return n, errors.Join(f.away(), err)
}

func (f *farTree) Read(ctx context.Context, name string, most int64) ([]byte, time.Time, error) {
	if err := f.away(); err != nil {
		f.refused.Add(1)
		return nil, time.Time{}, err
	}
	return f.Tree.Read(ctx, name, most)
}

func (f *farTree) Published(ctx context.Context) (time.Time, error) {
	at, err := f.Tree.Published(ctx)
	return at, errors.Join(f.away(), err)
}

func (f *farTree) ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	if err := f.away(); err != nil {
		return nil, err
	}
	return f.Tree.ReadTile(ctx, level, index, p)
}

func (f *farTree) ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error) {
	if err := f.away(); err != nil {
		return nil, err
	}
	return f.Tree.ReadEntryBundle(ctx, index, p)
}

// TestAnEntryThatIsIntegratedLateIsWaitedFor: it has its index before it is in the tree. That is no rollback, and
// no seal is made of what does not count yet.
func TestAnEntryThatIsIntegratedLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behindNetwork(150 * time.Millisecond)
	l := w.open()
	for i := range 3 {
		e, c := w.good(fmt.Sprintf("late%d", i), "1.0.0")
		w.submit(l, e, c)
	}
	wantSize(t, l, 3)
	if got := gauge(t, l, "cratelog_void_seals_total"); got != 0 {
		t.Errorf("%v seals are void", got)
	}
	w.closeLog(l)
	l = w.open() // and so is what a start finds
	wantSize(t, l, 3)
	wantWell(t, l)
}

// TestWhatIsAwayIsNoContradiction: nothing is accepted while database and store do not answer, and the log goes on
// by itself, without an entry twice.
func TestWhatIsAwayIsNoContradiction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	far := w.behindNetwork(0)
	l := w.open()
	w.fill(l, "a", 1)
	e, c := w.good("b", "1.0.0")
	far.setGone(errors.New("nobody answers"))
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, StorageFailed, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	signed := l.published.head().raw
	for name, f := range map[string]func() error{
		"judge":          func() error { return l.ask.judge(ctx, l.witnesses[0], signed) },
		"compareSize":    func() error { return l.ask.compareSize(ctx, "1000000") },
		"dropCheckpoint": func() error { return l.dropCheckpoint(ctx) },
		"indexUpTo":      func() error { return l.indexUpTo(ctx, 0) },
		"integrated":     func() error { _, err := l.integrated(ctx, 1000000, 1000000); return err },
		"refresh":        func() error { return l.refreshCheckpoint(ctx) },
	} {
		if err := f(); !errors.Is(err, far.away()) || errors.Is(err, ErrRollback) || errors.Is(err, errContradiction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.clock.mend(ctx, l); len(l.clock.problems()) > 0 {
		t.Errorf("%q", l.clock.problems())
	}
	refused := far.refused.Load()
	eventually(t, "the checkpoint is looked for, and /healthz says so", func() bool {
		return far.refused.Load() > refused+4 && !l.health().OK
	})
	if _, err := l.verified.readEntries(ctx, l.published.head().tree(), 0); errors.Is(err, errDamaged) {
		t.Errorf("what cannot be read is damaged: %v", err)
	}
	if l.halt.reason() != nil || len(l.damages.problems()) > 0 {
		t.Errorf("%v, %q", l.halt.reason(), l.damages.problems())
	}
	far.setGone(nil)
	eventually(t, "the log is well by itself", func() bool { return l.health().OK })
	w.submit(l, e, c)
	wantSize(t, l, 2)
}

// TestAnAdditionWithoutAnAnswer may have happened: nothing else is added before it is known, the watchdog is told,
// and the entry stands once.
func TestAnAdditionWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.testingOnlyPatience = 200 * time.Millisecond
	var silent atomic.Bool
	var adding atomic.Int32
	answer := make(chan struct{})
	w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
		return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			adding.Add(1)
			f := add(ctx, e)
			if !silent.Load() {
				return f
			}
			return func() (tessera.Index, error) { <-answer; return f() }
		}
	}
	told := make(chan error, 100)
	w.cfg.wedged = func(err error) { told <- err }
	l := w.open()
	w.fill(l, "a", 1)
	silent.Store(true)
	before := adding.Load()
	e, c := w.good("b", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, StorageFailed, "")
	if err := <-told; err == nil {
		t.Error("the watchdog is told that all is well")
	}
	time.Sleep(1500 * time.Millisecond) // the storage is looked at meanwhile
	_, err = l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, StorageFailed, "")
	if got := adding.Load() - before; got != 1 {
		t.Errorf("%d leaves were added before the first was answered", got)
	}
	silent.Store(false)
	close(answer)
	for err := range told {
		if err == nil {
			break
		}
	}
	eventually(t, "the log is well by itself", func() bool { return l.health().OK })
	w.submit(l, e, c)
	wantSize(t, l, 2)
	if l.halt.reason() != nil {
		t.Error(l.halt.reason())
	}
}

// TestAnOlderCheckpointIsPublishedOver: whoever was sequencer before may be late with what it published.
func TestAnOlderCheckpointIsPublishedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.behindNetwork(0)
	l := w.open()
	w.fill(l, "a", 1)
	old := l.published.head()
	w.fill(l, "b", 1)
	newer := l.published.head()
	path := filepath.Join(w.cfg.TreeDir, storage.Checkpoint)
	fatalIf(t, l.tree.Write(t.Context(), storage.Checkpoint, old.raw))
	eventually(t, "the newer one stands there again", func() bool {
		c, err := l.ownCheckpoint(testlog.Must(os.ReadFile(path)))
		return err == nil && uint64(c.Size) == newer.size
	})
	if got := l.published.head(); got.size != newer.size || l.halt.reason() != nil {
		t.Errorf("%d are published: %v", got.size, l.halt.reason())
	}
	// One of another tree is what it always was.
	tree := newMemoryTree(1)
	forged := published{size: 1, root: tree.Root(1)}
	if err := l.publishAgain(t.Context(), forged); !errors.Is(err, errContradiction) {
		t.Errorf("a second history: %v", err)
	}
}
