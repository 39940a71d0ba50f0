package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// checkSealed replays the tree by the rules of package index, apart from the log's own map: each seal at its
// place names the root of the leaves before it, what is signed and published ends in one, and no entry is
// there twice. It returns how many seals are void.
func checkSealed(t *testing.T, l *Log) (void int) {
	t.Helper()
	var m index.Map
	sealed := map[uint64]bool{0: true}
	seen := map[string]bool{}
	for i, raw := range leavesOf(t, l) {
		leaf, err := entry.ParseLeaf(raw)
		fatalIf(t, err)
		switch x := leaf.(type) {
		case *entry.Seal:
			switch {
			case x.Size != uint64(i):
				void++
			case x.Rules != entry.Rules || x.Root != m.Snapshot().Root():
				t.Errorf("the seal at %d is wrong", i)
			default:
				sealed[x.Size+1] = true
			}
		case *entry.Entry:
			if seen[string(raw)] {
				t.Errorf("entry %d is there twice", i)
			}
			seen[string(raw)] = true
		}
		fatalIf(t, m.AddLeaf(uint64(i), leaf))
	}
	if signed, _ := l.guard.mark(); !sealed[signed.Size] {
		t.Errorf("%d leaves were signed, which do not end in a seal", signed.Size)
	}
	if head := l.published.head(); !sealed[head.size] {
		t.Errorf("%d leaves are published, which do not end in a seal", head.size)
	}
	return void
}

// TestARoundThatIsInterruptedIsGoneOnWith, at every step and in the middle of a batch: the process ends there, and
// the next one, with its witnesses away at first, seals what is in the tree before anything else.
func TestARoundThatIsInterruptedIsGoneOnWith(t *testing.T) {
	t.Parallel()
	for _, crash := range []struct {
		step string
		nth  int  // of these steps
		half bool // of the entries that are added together, only some get into the tree
	}{{"wave", 1, false}, {"added", 1, false}, {"added", 1, true}, {"indexed", 1, false}, {"prepared", 1, false},
		{"added", 2, false}, {"sealed", 1, false}, {"wave", 2, false}, {"added", 3, true}, {"prepared", 2, false}} {
		t.Run(fmt.Sprintf("%s %d half=%v", crash.step, crash.nth, crash.half), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			dead := make(chan struct{})
			var once sync.Once
			die := func() func() { // as kill -9: nothing more is done, and the disk is as it is
				var restore func()
				once.Do(func() {
					for _, c := range w.witnesses {
						c.setDown(true)
					}
					restore = w.snapshot()
					close(dead)
				})
				return restore
			}
			var restore func()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			n := 0
			w.cfg.testingOnlyStep = func(step string) {
				if step == crash.step {
					n++
				}
				if step == crash.step && n >= crash.nth {
					if r := die(); r != nil {
						restore = r
					}
					<-ctx.Done()
				}
			}
			adds := 0
			if crash.half {
				w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
					return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
						if adds++; adds%2 == 0 {
							return func() (tessera.Index, error) { return tessera.Index{}, errors.New("killed") }
						}
						return add(ctx, e)
					}
				}
			}
			w.cfg.BatchAge.Duration = 50 * time.Millisecond
			l := w.openUnclosed()
			var all, crates [][]byte
			var clients sync.WaitGroup
			acknowledged := make([][]byte, 12)
			submit := func(i int) {
				clients.Go(func() { acknowledged[i], _ = l.Submit(ctx, all[i], bytes.NewReader(crates[i]), nil) })
			}
			for i := range 12 {
				e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
				all, crates = append(all, e), append(crates, c)
			}
			for i := range 6 {
				submit(i)
			}
			for i := 6; i < 12; i++ {
				select {
				case <-dead:
				case <-time.After(50 * time.Millisecond):
				}
				submit(i)
			}
			select {
			case <-dead:
			case <-time.After(time.Minute):
				t.Fatal("the step never came")
			}
			end()
			clients.Wait()
			l.Close(expired())
			restore()
			w.cfg.testingOnlyStep, w.cfg.testingOnlyAppender = nil, nil

			l = w.open() // its witnesses are away
			eventually(t, "the tree is sealed", func() bool { _, open := l.leaves.open(); return !open })
			if signed, _ := l.guard.mark(); signed.Size > 0 {
				if _, err := l.leaves.at(signed.Size, signed.Size); err != nil {
					t.Error(err)
				}
			}
			for _, c := range w.witnesses {
				c.setDown(false)
			}
			for i := range all {
				w.submit(l, all[i], crates[i])
			}
			wantSize(t, l, 12)
			for i, b := range acknowledged {
				if b != nil {
					if p := testlog.Must(client.ParseBundle(b)); !bytes.Equal(leavesOf(t, l)[p.Index], all[i]) {
						t.Errorf("%d was acknowledged at %d, where something else stands", i, p.Index)
					}
				}
			}
			if checkSealed(t, l) > 0 {
				t.Error("a seal is void, though nothing else wrote to the tree")
			}
		})
	}
}

// openUnclosed opens a log that a test closes itself.
func (w *world) openUnclosed() *Log {
	w.t.Helper()
	l, err := Open(w.t.Context(), w.cfg)
	fatalIf(w.t, err)
	return l
}

// TestASealAtAWrongPlaceIsVoid: something else adds to the tree between the last wave and its seal. Another
// seal is made, and nobody is told anything wrong.
func TestASealAtAWrongPlaceIsVoid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var l *Log
	intruder, _ := w.good("intruder", "1.0.0")
	intrusions := 2
	w.cfg.testingOnlyStep = func(step string) {
		if step == "prepared" && intrusions > 0 {
			intrusions--
			e := testlog.Must(entry.Parse(intruder))
			e.Subject.Version = fmt.Sprintf("1.0.%d", intrusions)
			w.proofs.believe(e)
			testlog.Must(l.appender(t.Context(), tessera.NewEntry(marshal(e)))())
		}
	}
	l = w.open()
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	wantSize(t, l, 3)
	if n := checkSealed(t, l); n != 2 {
		t.Errorf("%d seals are void, want 2", n)
	}
	w.closeLog(l)
	w.removeIndex()
	w.cfg.testingOnlyStep = nil
	l = w.open() // made again, it is the same
	w.submit(l, e, failingBytes)
	if void, repeated := l.leaves.idle(); void+repeated > 0 {
		t.Errorf("%d entries are void, %d repeat another", void, repeated)
	}
	if findings := w.fsck(false); len(findings) > 0 {
		t.Errorf("fsck: %v", findings)
	}
}

// TestASecondChecksumInTheTreeIsVoid: it comes past the door, before, after or while the log adds the first. The
// log goes on, its operator is told, and who is second is told so.
func TestASecondChecksumInTheTreeIsVoid(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("the other is first=%v", first), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			said := &lines{}
			w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
			other := testCrate(t, "alpha", "1.0.0", "other")
			o := testEntry(t, other, "alpha", "1.0.0", 1)
			w.proofs.believe(o)
			var l *Log
			var once sync.Once
			step := map[bool]string{true: "wave", false: "added"}[first]
			w.cfg.testingOnlyStep = func(at string) {
				if at == step { // a second front end, at the same time
					once.Do(func() { testlog.Must(l.appender(t.Context(), tessera.NewEntry(marshal(o)))()) })
				}
			}
			l = w.open()
			e, c := w.good("alpha", "1.0.0")
			b, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
			stands, standsCrate, void := e, c, uint64(1)
			if first {
				r := wantRefusal(t, err, VersionConflict, "as entry 0")
				w.checkBundle(r.Bundle, marshal(o))
				stands, standsCrate, void = marshal(o), other, 1
			} else {
				fatalIf(t, err)
				w.checkBundle(b, e)
				_, err = l.Submit(t.Context(), marshal(o), bytes.NewReader(other), nil)
				wantRefusal(t, err, VersionConflict, "as entry 0")
			}
			testlog.Must(l.appender(t.Context(), tessera.NewEntry(stands))()) // an exact repeat
			w.fill(l, "b", 1)
			if said.count("it gives its version another checksum than entry 0") != 1 || said.count("it repeats an entry") != 1 {
				t.Error("the operator is not told")
			}
			for range 2 {
				if n, repeated := l.leaves.idle(); n != void || repeated != 1 {
					t.Errorf("%d void, %d repeated", n, repeated)
				}
				if h := l.health(); !h.OK {
					t.Errorf("health: %+v", h.Problems)
				}
				w.checkBundle(testlog.Must(l.Submit(t.Context(), stands, bytes.NewReader(standsCrate), nil)), stands)
				if code, _, b := get(t, serve(t, l).URL+"/v1/entries/1"); code == 200 {
					t.Errorf("the void entry has a bundle: %s", b)
				}
				w.closeLog(l)
				w.removeIndex()
				w.cfg.testingOnlyStep = nil
				l = w.open()
			}
		})
	}
}

// TestAnotherSpellingIsTheSameVersion: case, "-" and "_", and build metadata make no other one.
func TestAnotherSpellingIsTheSameVersion(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("foo-bar", "1.0.0+y")
	w.submit(l, e, c)
	for _, other := range [][2]string{{"foo_bar", "1.0.0+y"}, {"Foo-Bar", "1.0.0+y"}, {"foo-bar", "1.0.0+x"}, {"FOO_bar", "1.0.0"}} {
		e, c := w.good(other[0], other[1])
		_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
		r := wantRefusal(t, err, VersionConflict, "which spells it foo-bar 1.0.0+y")
		if r.Index == nil || *r.Index != 0 || !strings.HasPrefix(r.Message, other[0]+" "+other[1]+" is in the log") {
			t.Errorf("%+v", r)
		}
	}
	next, nc := w.good("foo-bar", "1.0.1")
	w.submit(l, next, nc)

	// At the same time: one of them stands.
	var g sync.WaitGroup
	for i, name := range []string{"a_b", "a-b", "A_B", "A-b"} {
		e, c := w.good(name, fmt.Sprintf("2.0.0+%d", i))
		g.Go(func() {
			if _, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); err != nil {
				wantRefusal(t, err, VersionConflict, "which spells it")
			}
		})
	}
	g.Wait()
	wantSize(t, l, 3)
	checkSealed(t, l)
}

// TestAVersionHasAnyNumberOfClaims, and names that agree in all but their ends are apart.
func TestAVersionHasAnyNumberOfClaims(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	raw := testlog.Must(forge.Pack("alpha", "1.0.0", forge.File{Path: ".cargo_vcs_info.json", // so it may have many
		Content: fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\"\n  }\n}\n", [20]byte{1})},
		forge.Manifest("alpha", "1.0.0"), forge.File{Path: "src/lib.rs"}))
	var g sync.WaitGroup
	for i := range 129 {
		e := w.about(raw, "alpha", func(_ *entry.Entry, s *entry.Source) { s.Path = fmt.Sprint(i) })
		g.Go(func() {
			b, err := l.Submit(t.Context(), e, bytes.NewReader(raw), nil)
			if err != nil {
				t.Error(err)
				return
			}
			w.checkBundle(b, e)
		})
	}
	g.Wait()
	deep := strings.Repeat("a", 63)
	for _, end := range []string{"", "a", "b"} {
		e, c := w.good(deep+end, "1.0.0")
		w.submit(l, e, c)
		if b := testlog.Must(client.ParseBundle(testlog.Must(l.Bundle(t.Context(), client.Query{Name: deep + end, Version: "1.0.0"})))); len(b.Version.Proof) > 1024 {
			t.Errorf("the look-up proof of a deep name has %d bytes", len(b.Version.Proof))
		}
	}
	wantSize(t, l, 132)
	checkSealed(t, l)
}

// TestRoundsGoOnWithoutAQuorum: what is accepted is sealed and signed, and published when the quorum is back.
// Before witnesses were asked once it is one round, and then the queue is bounded.
func TestRoundsGoOnWithoutAQuorum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.WitnessTimeout.Duration = 200 * time.Millisecond
	l := w.open()
	w.fill(l, "a", 1)
	for _, c := range w.witnesses {
		c.setDown(true)
	}
	l.cfg.PublishWait.Duration = 300 * time.Millisecond
	submit := func(name string, reason Reason) {
		t.Helper()
		e, c := w.good(name, "1.0.0")
		_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
		wantRefusal(t, err, reason, "")
	}
	for i := range 3 {
		submit(fmt.Sprintf("b%d", i), NotPublished)
		eventually(t, "it is signed", func() bool {
			signed, _ := l.guard.mark()
			leaves, open := l.leaves.open()
			return !open && signed.Size == leaves && len(entriesOf(t, l)) == 2+i
		})
	}
	if size := l.published.head().size; size != 2 {
		t.Errorf("%d leaves are published without a quorum", size)
	}
	l.Close(expired())

	w.cfg.Limits.Waiting, w.cfg.PublishWait.Duration = 2, 300*time.Millisecond
	l = w.open()
	shown, _ := w.good("a0", "1.0.0") // what was published before is served, though more is signed
	w.checkBundle(testlog.Must(l.bundle(t.Context(), 0, l.published.head())), shown)
	submit("c0", NotPublished)
	eventually(t, "a round is sealed", func() bool { _, open := l.leaves.open(); return !open && len(entriesOf(t, l)) == 5 })
	submit("c1", NotPublished) // these wait
	submit("c2", NotPublished)
	submit("c3", Overloaded)
	wantSize(t, l, 5)
	for _, c := range w.witnesses {
		c.setDown(false)
	}
	l.cfg.PublishWait.Duration = time.Minute
	e, c := w.good("c2", "1.0.0")
	w.submit(l, e, c)
	eventually(t, "all are in", func() bool { return len(entriesOf(t, l)) == 7 })
	eventually(t, "all is published", func() bool {
		leaves, open := l.leaves.open()
		return !open && l.published.head().size == leaves
	})
	checkSealed(t, l)
}

// TestAWrongSealInTheTailHaltsTheLog at the next start: it is there, was never signed, and is this log's own.
func TestAWrongSealInTheTailHaltsTheLog(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 2)
	w.closeLog(l)
	wrong := testlog.Must((&entry.Seal{Rules: entry.Rules, Size: 4, Root: sha256.Sum256(nil)}).Marshal())
	growWith(t, w.cfg.TreeDir, wrong)
	l, err := Open(t.Context(), w.cfg)
	fatalIf(t, err)
	defer l.Close(expired())
	if !errors.Is(l.halt.reason(), errContradiction) || !strings.Contains(l.halt.reason().Error(), "the seal at 4 names the root") {
		t.Errorf("%v", l.halt.reason())
	}
	e, c := w.good("new", "1.0.0")
	_, err = l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, Halted, "")
	if signed, _ := l.guard.mark(); signed.Size != 4 {
		t.Errorf("%d leaves were signed", signed.Size)
	}
	findings := fmt.Sprint(w.fsck(false))
	if !strings.Contains(findings, "entry 4: ") || !strings.Contains(findings, "the seal at 4 names the root") {
		t.Errorf("fsck: %s", findings)
	}
	standing, _ := w.good("a0", "1.0.0")
	w.checkBundle(testlog.Must(l.bundle(t.Context(), 0, l.published.head())), standing)
}

// TestAFalseProofInTheTailHaltsTheLog: whatever wrote the entry there, it is not signed. One that is true is.
func TestAFalseProofInTheTailHaltsTheLog(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{"true": true, "false": false, "of no program": false} {
		w, l := openWorld(t)
		w.fill(l, "a", 2)
		w.closeLog(l)
		raw, c := w.good("stranger", "1.0.0")
		e := testlog.Must(entry.Parse(raw))
		switch name {
		case "false":
			e.Proof.Parts[0][0]++
		case "of no program":
			e.Proof.Program[0]++
		}
		growWith(t, w.cfg.TreeDir, marshal(e))
		l, err := Open(t.Context(), w.cfg)
		if name == "of no program" {
			if err == nil || !strings.Contains(err.Error(), "put its file back") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		fatalIf(t, err)
		if good {
			w.submit(l, raw, c)
			w.closeLog(l)
			continue
		}
		if why := l.halt.reason(); !errors.Is(why, errContradiction) || !strings.Contains(why.Error(), "entry 4 of the tree") ||
			!strings.Contains(why.Error(), "its proof does not verify") {
			t.Errorf("%s: %v", name, why)
		}
		other, c := w.good("new", "1.0.0")
		_, err = l.Submit(t.Context(), other, bytes.NewReader(c), nil)
		wantRefusal(t, err, Halted, "")
		if signed, _ := l.guard.mark(); signed.Size != 4 {
			t.Errorf("%s: %d leaves were signed", name, signed.Size)
		}
		_ = l.Close(expired())
	}
}

// TestNothingIsSignedBehindAContradiction, though whoever wrote it there has sealed it as the log would.
func TestNothingIsSignedBehindAContradiction(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a false proof", "no entry"} {
		w, l := openWorld(t)
		w.fill(l, "a", 2)
		var m index.Map
		leaves := leavesOf(t, l)
		w.closeLog(l)
		stranger := []byte("no entry")
		if name == "a false proof" {
			raw, _ := w.good("stranger", "1.0.0")
			e := testlog.Must(entry.Parse(raw))
			e.Proof.Parts[0][0]++
			stranger = marshal(e)
		}
		for i, raw := range append(leaves, stranger) {
			if leaf, err := entry.ParseLeaf(raw); err == nil {
				fatalIf(t, m.AddLeaf(uint64(i), leaf))
			}
		}
		size := uint64(len(leaves) + 1)
		seal := testlog.Must((&entry.Seal{Rules: entry.Rules, Size: size, Root: m.Snapshot().Root()}).Marshal())
		growWith(t, w.cfg.TreeDir, stranger, seal)
		l, err := Open(t.Context(), w.cfg)
		fatalIf(t, err)
		if !errors.Is(l.halt.reason(), errContradiction) {
			t.Errorf("%s: %v", name, l.halt.reason())
		}
		if _, err := l.guard.seal(size + 1); !errors.Is(err, errUnsealed) {
			t.Errorf("%s: the guard would sign it: %v", name, err)
		}
		if _, err := l.guard.seal(size - 1); err != nil {
			t.Errorf("%s: what was signed before: %v", name, err)
		}
		_ = l.Close(expired())
		if signed, _ := l.guard.mark(); signed.Size != size-1 {
			t.Errorf("%s: %d leaves were signed", name, signed.Size)
		}
	}
}

// growWith adds a leaf behind the log's back, and publishes nothing.
func growWith(t *testing.T, dir string, leaves ...[]byte) {
	t.Helper()
	checkpoint := dir + "/checkpoint"
	kept := testlog.Must(os.ReadFile(checkpoint))
	growTree(t, dir, leaves)
	fatalIf(t, os.WriteFile(checkpoint, kept, 0o644))
}

// TestTheGuardSignsSealedTreesOnly, and computes for itself what the seal must be.
func TestTheGuardSignsSealedTreesOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var m leafMap
	m.reset()
	var tree testlog.Tree
	add := func(leaf []byte) {
		r, err := newRow(uint64(tree.Size()), leaf)
		fatalIf(t, err)
		tree.Append(leaf)
		_, err = m.add(r)
		fatalIf(t, err)
	}
	g := openedGuard(t, w.cfg.keys(), memoryTree{&tree})
	defer g.close()
	g.seal = func(size uint64) ([]byte, error) {
		s, err := m.at(size, size-1)
		return s.leaf, err
	}
	sign := func() error {
		_, err := g.Sign([]byte(tree.Head(testOrigin, tree.Size())))
		return err
	}
	one, _ := w.good("alpha", "1.0.0")
	add(one)
	if err := sign(); !errors.Is(err, ErrEarly) || !errors.Is(err, errUnsealed) {
		t.Errorf("an unsealed tree: %v", err)
	}
	if _, refusal := g.mark(); refusal != nil {
		t.Errorf("that is told as if something were wrong: %v", refusal)
	}
	seal := m.prepare().leaf
	tree.Append(testlog.Must((&entry.Seal{Rules: entry.Rules, Size: 1, Root: [32]byte{1}}).Marshal()))
	if err := sign(); !errors.Is(err, errUnsealed) {
		t.Errorf("with another seal than the map's: %v", err)
	}
	tree = testlog.Tree{}
	tree.Append(one)
	tree.Append(seal)
	fatalIf(t, sign()) // before the map has it: it was computed
	_, err := m.add(testlog.Must(newRow(1, seal)))
	fatalIf(t, err)
	g.pace = time.Hour
	if err := sign(); !errors.Is(err, ErrEarly) {
		t.Errorf("again, at once: %v", err)
	}
	g.pace = 0
	fatalIf(t, sign())
	m.reset() // as after a start that has not read the tree
	if err := sign(); !errors.Is(err, errUnsealed) {
		t.Errorf("from memory: %v", err)
	}
	if root := tlog.Hash(tree.Root(2)); g.head.Root != root {
		t.Errorf("the mark is %v", g.head)
	}
}

// TestTheFirstAddWhileASealIsUnderWay goes into the next round.
func TestTheFirstAddWhileASealIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var l *Log
	var late sync.WaitGroup
	var once sync.Once
	w.cfg.testingOnlyStep = func(step string) {
		if step != "prepared" {
			return
		}
		once.Do(func() {
			late.Go(func() {
				e, c := w.good("late", "1.0.0")
				w.submit(l, e, c)
			})
			eventually(t, "it waits", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.queue) == 1 })
		})
	}
	l = w.open()
	w.fill(l, "a", 1)
	late.Wait()
	if all := leavesOf(t, l); len(all) != 4 {
		t.Errorf("the tree has %d leaves", len(all))
	}
	if checkSealed(t, l) != 0 {
		t.Error("a seal is void")
	}
}

// TestFewTreesAreKept, among them the published one, however long the witnesses are away.
func TestFewTreesAreKept(t *testing.T) {
	t.Parallel()
	m := newLeafMap()
	seal := func() uint64 {
		s := m.prepare()
		_, err := m.add(testlog.Must(newRow(s.seal.Size, s.leaf)))
		fatalIf(t, err)
		return s.size()
	}
	for range 30 {
		seal()
	}
	shown := seal()
	m.publish(shown)
	var last uint64
	for range 30 {
		last = seal()
	}
	for size, want := range map[uint64]bool{shown: true, shown - 1: true, shown - 20: false, shown + 1: false, last: true, last - 7: true} {
		if _, err := m.at(size, size); (err == nil) != want {
			t.Errorf("the tree of %d leaves, of which %d are published and %d are there: %v", size, shown, last, err)
		}
	}
	if len(m.kept) > 2*moreSeals {
		t.Errorf("%d trees are kept", len(m.kept))
	}
}

// TestACheckpointIsShownOnceItsSealHasARow: the witnesses may be faster than the index. Nobody is told anything
// wrong.
func TestACheckpointIsShownOnceItsSealHasARow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	said := &lines{}
	w.cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	w.cfg.testingOnlyPoll = 5 * time.Millisecond
	published := make(chan struct{})
	added := 0
	w.cfg.testingOnlyStep = func(step string) {
		if step != "added" {
			return
		}
		if added++; added == 2 { // the seal
			eventually(t, "the checkpoint is there", func() bool {
				raw, err := os.ReadFile(w.cfg.TreeDir + "/checkpoint")
				return err == nil && strings.Contains(string(raw), "\n2\n")
			})
			time.Sleep(100 * time.Millisecond) // for the log to read it
			close(published)
		}
	}
	l := w.open()
	w.fill(l, "a", 1)
	<-published
	w.closeLog(l)
	if said.count("level=ERROR") > 0 {
		t.Error(said.buf.String())
	}
}

// TestATreeFromBeforeSealsIsRefused: what was signed last does not end in a seal.
func TestATreeFromBeforeSealsIsRefused(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 1)
	w.closeLog(l)
	e, _ := w.good("old", "1.0.0")
	growWith(t, w.cfg.TreeDir, e)
	tree := treeIn(w.cfg.TreeDir)
	state := testlog.Must(tree.State(t.Context()))
	g, _, err := openGuard(t.Context(), fileStore(t, w.cfg.StateDir), tree, w.cfg.keys(), tree.ReadTile)
	fatalIf(t, err)
	testlog.Must(g.Sign(fmt.Appendf(nil, "%s\n%d\n%s\n", testOrigin, state.Size, state.Root)))
	fatalIf(t, g.close())
	if l, err := Open(t.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "a new log under a new origin") {
		t.Errorf("%v", err)
		if err == nil {
			l.Close(expired())
		}
	}
}

// TestWhoeverIsCutShortIsToldToComeAgain: the log ends at once, as a sequencer does that has lost its lease, and
// does not know what became of what it was adding.
func TestWhoeverIsCutShortIsToldToComeAgain(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"wave", "added"} {
		w := newWorld(t)
		var l *Log
		w.cfg.testingOnlyStep = func(at string) {
			if at == step {
				l.cancel()
			}
		}
		l = w.open()
		e, c := w.good("cut", "1.0.0")
		_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
		var r *Refusal
		if !errors.As(err, &r) || r.RetryAfter == 0 || status(r.Reason) != 503 {
			t.Errorf("cut short at %q: %v", step, err)
		}
		w.cfg.testingOnlyStep = nil
		_ = l.Close(expired()) // what is in the tree is published by the next one
		w.submit(w.open(), e, c)
	}
}

// TestALogEndsWhileTesseraTakesNothing: its database does not answer, and its queue is full.
func TestALogEndsWhileTesseraTakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stuck, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	w.cfg.testingOnlyAppender = func(tessera.AddFn) tessera.AddFn {
		return func(context.Context, *tessera.Entry) tessera.IndexFuture {
			close(stuck)
			<-release
			return func() (tessera.Index, error) { return tessera.Index{}, context.Canceled }
		}
	}
	l := w.open()
	e, c := w.good("stuck", "1.0.0")
	answered := make(chan error, 1)
	go func() {
		_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
		answered <- err
	}()
	<-stuck
	ended := make(chan struct{})
	go func() { defer close(ended); _ = l.Close(expired()) }()
	for range 2 {
		select {
		case <-ended:
			ended = nil
		case err := <-answered:
			wantRefusal(t, err, NotPublished, "may be in it or not")
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
		}
	}
}

// TestWhatWaitsForItsPlaceIsBounded in bytes too: openings and lists are large.
func TestWhatWaitsForItsPlaceIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	w.cfg.testingOnlyStep = func(string) { <-release }
	l := w.open()
	big := make([]byte, maxWaiting/8)
	admitted := 0
	for i := range 12 {
		raw, _ := w.good(fmt.Sprintf("c%d", i), "1.0.0")
		s := testlog.Must(l.parse(raw))
		s.crates = big // of a source claim, nobody writes it
		_, mine, err := l.reserve(t.Context(), s)
		if err != nil {
			wantRefusal(t, err, Overloaded, "")
			continue
		}
		if admitted++; !mine {
			t.Error("the reservation is another's")
		}
	}
	if admitted != 7 {
		t.Errorf("%d were admitted", admitted)
	}
	close(release)
	eventually(t, "all have a place", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.held == 0 && len(l.reserved) == 0 })
}
