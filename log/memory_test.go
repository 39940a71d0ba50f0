package log

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/clustertest"
	"cratelog/internal/testlog"
)

// pausing is a key at which a process stops: between what it has checked and what it remembers.
type pausing struct {
	note.Signer
	meanwhile func()
}

func (p *pausing) Sign(msg []byte) ([]byte, error) {
	if f := p.meanwhile; f != nil {
		p.meanwhile = nil
		f()
	}
	return p.Signer.Sign(msg)
}

// TestAPausedSequencerSignsNothing: its lease ran out while it stood still, and by its own clock it has it yet.
func TestAPausedSequencerSignsNothing(t *testing.T) {
	t.Parallel()
	tree := newMemoryTree(20)
	for name, signs := range map[string]int64{"the next has signed nothing": 0, "the next has signed the same": 9,
		"the next has signed more": 12, "the next has signed less": 7} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			dsn := clustertest.Memory(t)
			old := leads(t, dsn)
			key := &pausing{Signer: w.cfg.Signer}
			g := guardOn(t, memoryStore(t, dsn, old), []Key{{key, w.cfg.VKey}}, tree)
			defer g.close()
			g.halt = func(err error) { t.Error("it halts:", err) }
			testlog.Must(g.Sign([]byte(tree.Head(testOrigin, 5))))
			key.meanwhile = func() {
				runOut(t, old.db)
				store := memoryStore(t, dsn, leads(t, dsn))
				known := testlog.Must(store.load(t.Context()))
				next := &guard{keys: w.cfg.keys(), origin: testOrigin, tiles: tree.readTile, store: store, head: known.head}
				defer next.close()
				if known.head.Size != 5 {
					t.Errorf("the next sequencer knows %d entries", known.head.Size)
				}
				if signs > 0 {
					testlog.Must(next.Sign([]byte(tree.Head(testOrigin, signs))))
				}
			}
			fatalIf(t, old.valid())
			sig, err := g.Sign([]byte(tree.Head(testOrigin, 9)))
			if sig != nil || !errors.Is(err, errLeaseLost) || !strings.Contains(err.Error(), "it had the epoch 1, and now ") {
				t.Errorf("signed %x, %v", sig, err)
			}
			wantLease(t, old, false) // and the process ends
			if sig, err := g.Sign([]byte(tree.Head(testOrigin, 13))); sig != nil || !errors.Is(err, errLeaseLost) {
				t.Errorf("signed %x, %v", sig, err)
			}
			known := testlog.Must(g.store.load(t.Context()))
			if want := max(5, uint64(signs)); known.head.Size != want {
				t.Errorf("%d entries are remembered; want %d", known.head.Size, want)
			}
		})
	}
}

// TestAnEpochOfAnotherDaySignsNothing: the memory was put back from an older copy, and gives an epoch again.
func TestAnEpochOfAnotherDaySignsNothing(t *testing.T) {
	t.Parallel()
	w, dsn := newWorld(t), clustertest.Memory(t)
	old := leads(t, dsn)
	tree := newMemoryTree(20)
	g := guardOn(t, memoryStore(t, dsn, old), w.cfg.keys(), tree)
	defer g.close()
	testlog.Must(g.Sign([]byte(tree.Head(testOrigin, 5))))
	testlog.Must(old.db.ExecContext(t.Context(), "UPDATE lease SET epoch = epoch - 1, released = TRUE"))
	if next := leads(t, dsn); next.own().epoch != old.own().epoch {
		t.Fatalf("the epochs are %d and %d", old.own().epoch, next.own().epoch)
	}
	fatalIf(t, old.valid())
	if sig, err := g.Sign([]byte(tree.Head(testOrigin, 9))); sig != nil || !errors.Is(err, errLeaseLost) {
		t.Errorf("signed %x, %v", sig, err)
	}
}

// TestALostAnswerIsNeitherSignedNorAHalt: the connection ended before the answer came, which says nothing.
func TestALostAnswerIsNeitherSignedNorAHalt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree := newMemoryTree(20)
	lost := errors.New("the connection is lost")
	for name, c := range map[string]struct {
		first  int64 // signed before
		late   bool  // it happens after the process has looked
		happen bool  // what was asked for happens
		taken  bool  // another process gets the lease then
		signed bool
		then   uint64 // remembered then
	}{
		"it did not happen":             {first: 5, then: 5},
		"it happened":                   {first: 5, happen: true, signed: true, then: 9},
		"it happens later":              {first: 5, happen: true, late: true, then: 5},
		"the same again, not done":      {first: 9, signed: true, then: 9},
		"the same again, done":          {first: 9, happen: true, signed: true, then: 9},
		"it happened, and another came": {first: 5, happen: true, taken: true, then: 9},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := clustertest.Memory(t)
			l := leads(t, dsn)
			g := guardOn(t, memoryStore(t, dsn, l), w.cfg.keys(), tree)
			defer g.close()
			g.halt = func(err error) { t.Error("it halts:", err) }
			testlog.Must(g.Sign([]byte(tree.Head(testOrigin, c.first))))
			var later func() (bool, error)
			g.store.testingOnlySwap = func(swap func() (bool, error)) (bool, error) {
				g.store.testingOnlySwap = nil
				if c.late {
					later = swap
				} else if c.happen {
					if done, err := swap(); !done || err != nil {
						t.Errorf("%v, %v", done, err)
					}
				}
				if c.taken {
					runOut(t, l.db)
					leads(t, dsn)
				}
				return false, lost
			}
			sig, err := g.Sign([]byte(tree.Head(testOrigin, 9)))
			if (sig != nil) != c.signed || (err == nil) != c.signed || errors.Is(err, ErrRollback) {
				t.Errorf("signed %x, %v", sig, err)
			}
			if known := testlog.Must(g.store.load(t.Context())); known.head.Size != c.then {
				t.Errorf("%d entries are remembered; want %d", known.head.Size, c.then)
			}
			if later != nil {
				testlog.Must(later())
				if sig, err := g.Sign([]byte(tree.Head(testOrigin, 12))); sig != nil || !errors.Is(err, ErrEarly) {
					t.Errorf("signed %x before the mark of 9 was taken over, %v", sig, err)
				}
				if m, _ := g.mark(); m.Size != 9 {
					t.Errorf("the mark is of %d entries", m.Size)
				}
			}
			if _, err := g.Sign([]byte(tree.Head(testOrigin, 12))); (err == nil) == c.taken {
				t.Errorf("the next: %v", err)
			}
		})
	}
}

// TestAMemoryThatIsNotTheTreesIsRefused: an empty one, one of another log, one on the tree's server.
func TestAMemoryThatIsNotTheTreesIsRefused(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	tree := treeIn(w.cfg.TreeDir)
	dsn := clustertest.Memory(t)
	holder := leads(t, dsn)
	if _, _, err := openGuard(t.Context(), memoryStore(t, dsn, holder), tree, w.cfg.keys(), tree.ReadTile); !errors.Is(err, ErrRollback) ||
		!strings.Contains(err.Error(), "has 4 entries, but the memory remembers no checkpoint: use the memory of this log") {
		t.Errorf("an empty one: %v", err)
	}
	other := newWorld(t)
	guardOn(t, memoryStore(t, dsn, holder), other.cfg.keys(), newMemoryTree(1)).close()
	if _, _, err := openGuard(t.Context(), memoryStore(t, dsn, holder), tree, w.cfg.keys(), tree.ReadTile); err == nil ||
		!strings.Contains(err.Error(), "the memory belongs to the log") {
		t.Errorf("another's: %v", err)
	}
	cfg := w.cfg
	cfg.Cluster = &Cluster{Memory: clustertest.Memory(t), Lease: patient}
	cfg.Cluster.Tree.Database, cfg.Cluster.Tree.AddDeadline = clustertest.Memory(t), patient
	if _, err := openGuardStore(t.Context(), &cfg); !errors.Is(err, errOneServer) {
		t.Errorf("on the tree's server: %v", err)
	}
	cfg.Cluster.Tree.Database = clustertest.Database(t)
	store := testlog.Must(openGuardStore(t.Context(), &cfg))
	fatalIf(t, store.close())
}

// TestKeysChangeAndAFreezeIsRemembered in each kind of memory.
func TestKeysChangeAndAFreezeIsRemembered(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	a, b := w.cfg.keys()[0], Key{other.cfg.Signer, other.cfg.VKey}
	for name, stores := range guardStores {
		t.Run(name, func(t *testing.T) {
			store := stores(t)
			open := func(keys ...Key) (changed []string, err error) {
				g, changed, err := openGuard(t.Context(), store(), treeIn(filepath.Join(t.TempDir(), "none")), keys, newMemoryTree(1).readTile)
				if err == nil {
					err = g.close()
				}
				return changed, err
			}
			for i, step := range []struct {
				keys []Key
				want string
			}{
				{[]Key{a}, ""}, {[]Key{a, b}, "signs from now on: " + b.VKey}, {[]Key{b}, "signs no more: " + a.VKey},
				{[]Key{b, a}, "signs from now on: " + a.VKey}, {[]Key{a}, "signs no more: " + b.VKey}, {[]Key{a}, ""},
			} {
				if changed, err := open(step.keys...); strings.Join(changed, " ") != step.want || err != nil {
					t.Errorf("%d: %q, %v", i, changed, err)
				}
			}
			if _, err := open(b); err == nil || !strings.Contains(err.Error(), "let the old and the new one sign for a while") {
				t.Errorf("no key that signs: %v", err)
			}
			s := store()
			defer s.close()
			fatalIf(t, s.freeze(t.Context(), []byte("word")))
			if err := s.freeze(t.Context(), []byte("another word")); err == nil {
				t.Error("frozen twice")
			}
			if known := testlog.Must(s.load(t.Context())); string(known.frozen) != "word" {
				t.Errorf("%+v", known)
			}
		})
	}
}

// TestAMemoryOfAnotherDayIsRefused: one that was restored from a copy, or lost, while the tree went on.
func TestAMemoryOfAnotherDayIsRefused(t *testing.T) {
	t.Parallel()
	m := newMachines(t)
	first := m.leads()
	e, c := m.good("alpha", "1.0.0")
	m.submit(first.log(), e, c)
	first.end()
	old := testlog.Must(memoryStore(t, m.memory, nil).load(t.Context())).head
	second := m.leads()
	e, c = m.good("beta", "1.0.0")
	m.submit(second.log(), e, c)
	second.end()
	now := testlog.Must(memoryStore(t, m.memory, nil).load(t.Context())).head
	if now.Size <= old.Size {
		t.Fatalf("%d entries after %d", now.Size, old.Size)
	}

	m.exec("UPDATE guard SET size = ?, root = ?, note = ?", old.Size, old.Root[:], old.Note)
	findings := testlog.Must(Fsck(t.Context(), second.cfg, false, nil))
	if places(findings) != "memory" || !strings.Contains(findings[0].What, "it is an old copy") {
		t.Errorf("fsck: %v", findings)
	}
	third := m.leads() // the tree has all that was signed, so it may go on
	e, c = m.good("gamma", "1.0.0")
	m.submit(third.log(), e, c)
	third.end()
	m.noFork(t)
	if findings := testlog.Must(Fsck(t.Context(), third.cfg, false, nil)); len(findings) > 0 {
		t.Errorf("fsck: %v", findings)
	}

	m.exec("DELETE FROM guard")
	m.exec("DELETE FROM `key`")
	fourth := m.start(true)
	eventually(t, "it says why it does not lead", func() bool {
		return strings.Contains(strings.Join(fourth.log().health().Problems, " "), "remembers no checkpoint")
	})
	if role := fourth.log().role(); role != roleFrontEnd {
		t.Errorf("it is the %s", role)
	}
	fourth.end()
	if _, err := Freeze(t.Context(), fourth.cfg, Successor{}); !errors.Is(err, ErrRollback) {
		t.Errorf("frozen: %v", err)
	}
}
