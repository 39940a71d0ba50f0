package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/testlog"
)

// entriesOf returns every entry of the tree, without the seals.
func entriesOf(t *testing.T, l *Log) (entries [][]byte) {
	t.Helper()
	for _, leaf := range leavesOf(t, l) {
		if x, err := entry.ParseLeaf(leaf); err == nil {
			if _, is := x.(*entry.Entry); is {
				entries = append(entries, leaf)
			}
		}
	}
	return entries
}

// leavesOf returns every leaf of the tree, read from the tree.
func leavesOf(t *testing.T, l *Log) [][]byte {
	t.Helper()
	size := testlog.Must(l.tree.State(t.Context())).Size
	var all [][]byte
	for i := range size {
		b := testlog.Must(entryAt(t.Context(), i, size, l.tree.ReadEntryBundle))
		all = append(all, b)
	}
	return all
}

func wantSize(t *testing.T, l *Log, want int) {
	t.Helper()
	if got := len(entriesOf(t, l)); got != want {
		t.Errorf("the tree has %d entries, want %d", got, want)
	}
}

func TestAnAcceptedEntryComesBackInABundle(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	wantSize(t, l, 1)
	b := testlog.Must(l.Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.0"}))
	w.checkBundle(b, e)
	_, err := l.Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.1"})
	wantRefusal(t, err, NotFound, "no published entry")
}

func TestTheSameClaimIsLoggedOnce(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)

	// Anyone can re-randomise a proof: the entry is the same, whatever its proof.
	again := testlog.Must(entry.Parse(e))
	again.Proof.Parts = [][]byte{{9, 9, 9}}
	b := testlog.Must(l.Submit(t.Context(), marshal(again), failingReader{t}, nil))
	w.checkBundle(b, e)
	wantSize(t, l, 1)
}

type failingReader struct{ t *testing.T }

func (r failingReader) Read([]byte) (int, error) {
	r.t.Error("the .crate was read")
	return 0, io.EOF
}

func TestAVersionHasOneChecksum(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	other := testCrate(t, "alpha", "1.0.0", "fn other() {}")
	o := testEntry(t, other, "alpha", "1.0.0", 1)
	w.proofs.believe(o)
	_, err := l.Submit(t.Context(), marshal(o), bytes.NewReader(other), nil)
	r := wantRefusal(t, err, VersionConflict, "alpha 1.0.0 is in the log with another checksum, as entry 0")
	if r.Index == nil || *r.Index != 0 {
		t.Error("the conflict does not say which entry stands")
	}
	w.checkBundle(r.Bundle, e)
	wantSize(t, l, 1)

	// Another claim about the same .crate is another entry.
	second := testEntry(t, c, "alpha", "1.0.0", 2)
	w.proofs.believe(second)
	w.submit(l, marshal(second), c)
	wantSize(t, l, 2)
	b := testlog.Must(l.Bundle(t.Context(), client.Query{Name: "alpha", Version: "1.0.0"}))
	w.checkBundle(b, e) // the earliest of equally full ones
}

func TestEqualSubmissionsAtOnceBecomeOneEntry(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	other := testCrate(t, "alpha", "1.0.0", "fn other() {}")
	o := testEntry(t, other, "alpha", "1.0.0", 1)
	w.proofs.believe(o)
	second := testEntry(t, c, "alpha", "1.0.0", 2)
	w.proofs.believe(second)
	oBytes, sBytes := marshal(o), marshal(second)

	var mu sync.Mutex
	won := make(map[string]int)
	conflicts := 0
	var g sync.WaitGroup
	for i := range 24 {
		g.Go(func() {
			eb, cb := e, c
			switch i % 3 {
			case 1:
				eb, cb = oBytes, other
			case 2:
				eb = sBytes
			}
			b, err := l.Submit(t.Context(), eb, bytes.NewReader(cb), nil)
			mu.Lock()
			defer mu.Unlock()
			var r *Refusal
			if errors.As(err, &r) && r.Reason == VersionConflict {
				conflicts++
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			w.checkBundle(b, eb)
			won[string(eb)]++
		})
	}
	g.Wait()
	all := entriesOf(t, l)
	seen := make(map[string]bool)
	for _, b := range all {
		if seen[string(b)] {
			t.Error("an entry is in the tree twice")
		}
		seen[string(b)] = true
		if won[string(b)] != 8 {
			t.Errorf("an entry of the tree was acknowledged %d times, want 8", won[string(b)])
		}
	}
	if seen[string(oBytes)] == seen[string(e)] || seen[string(oBytes)] == seen[string(sBytes)] {
		t.Errorf("both checksums are in the tree, or neither")
	}
	if want := 24 - 8*len(all); conflicts != want {
		t.Errorf("%d conflicts, want %d", conflicts, want)
	}
}

// TestWhatFailsLeavesNoTrace is the probe list: every corruption of a valid
// submission, with the reason and words of its refusal.
func TestWhatFailsLeavesNoTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Crate.Compressed = 1 << 20
	w.cfg.Limits.Crate.Inflated = 1 << 20
	w.cfg.Limits.Crate.Files = 100
	l := w.open()
	good, crateBytes := w.good("alpha", "1.0.0")
	edit := func(f func(*entry.Entry)) []byte {
		e := testlog.Must(entry.Parse(good))
		f(e)
		return marshal(e)
	}
	source := func(e *entry.Entry) *entry.Source { return e.Claim.(*entry.Source) }
	believed := func(f func(*entry.Entry)) []byte {
		return edit(func(e *entry.Entry) { f(e); w.proofs.believe(e) })
	}
	notCanonical := bytes.Clone(good)
	notCanonical = append([]byte{0xb8, 4}, notCanonical[1:]...) // the map's length in two bytes
	for _, tt := range []struct {
		name   string
		entry  []byte
		crate  []byte
		reason Reason
		words  string
	}{
		{"empty entry", nil, crateBytes, MalformedEntry, "not a canonical cratelog entry"},
		{"truncated entry", good[:len(good)-1], crateBytes, MalformedEntry, "not a canonical cratelog entry"},
		{"trailing byte", append(bytes.Clone(good), 0), crateBytes, MalformedEntry, "not a canonical cratelog entry"},
		{"not canonical", notCanonical, crateBytes, MalformedEntry, "not a canonical cratelog entry"},
		{"oversized entry", make([]byte, entry.MaxSize+1), crateBytes, EntryTooLarge, "more than 65535 bytes"},
		{"unknown program", edit(func(e *entry.Entry) { e.Proof.Program[0] ^= 1 }), crateBytes, UnknownProgram, "does not accept"},
		{"empty crate", good, nil, CrateMismatch, "but the entry is about"},
		{"truncated crate", good, crateBytes[:len(crateBytes)-1], CrateMismatch, "but the entry is about"},
		{"trailing byte in crate", good, append(bytes.Clone(crateBytes), 0), CrateMismatch, "but the entry is about"},
		{"oversized crate", good, make([]byte, 1<<20+1), CrateTooLarge, "more than 1048576 bytes"},
		{"another crate's bytes", good, testCrate(t, "beta", "1.0.0", "x"), CrateMismatch, "but the entry is about"},
		{"another name", believed(func(e *entry.Entry) { e.Subject.Name = "beta" }), crateBytes, CrateRefused, `does not lie below "beta-1.0.0/"`},
		{"another version", believed(func(e *entry.Entry) { e.Subject.Version = "1.0.1" }), crateBytes, CrateRefused, `does not lie below "alpha-1.0.1/"`},
		{"another file list", believed(func(e *entry.Entry) { source(e).Files[31] ^= 1 }), crateBytes, CrateRefused, "does not bear out"},
		{"another path", believed(func(e *entry.Entry) { source(e).Path = "elsewhere" }), crateBytes, CrateRefused, "does not bear out"},
		{"a file left unproven", believed(func(e *entry.Entry) { source(e).Unproven = []string{"src/lib.rs"} }), crateBytes, CrateRefused, `"src/lib.rs" is listed as unproven; only`},
		{"an unproven file that is not there", believed(func(e *entry.Entry) { source(e).Unproven = []string{"Cargo.lock"} }), crateBytes, CrateRefused, `"Cargo.lock" is listed as unproven, but is not in the crate`},
		{"another proof", edit(func(e *entry.Entry) { e.Proof.Parts[0][0] ^= 1 }), crateBytes, ProofInvalid, "does not verify"},
		{"two proofs", edit(func(e *entry.Entry) { e.Proof.Parts = append(e.Proof.Parts, e.Proof.Parts[0]) }), crateBytes, ProofInvalid, "does not verify"},
		{"a proof moved to another claim", edit(func(e *entry.Entry) { source(e).Commit[0] ^= 1 }), crateBytes, ProofInvalid, "does not verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := l.Submit(t.Context(), tt.entry, bytes.NewReader(tt.crate), nil)
			wantRefusal(t, err, tt.reason, tt.words)
			wantSize(t, l, 0)
			if n, _, err := l.index.extent(t.Context()); n != 0 || err != nil {
				t.Errorf("the index has %d rows (%v)", n, err)
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.reserved) != 0 {
				t.Error("a reservation was left")
			}
		})
	}
	w.submit(l, good, crateBytes) // and nothing of it stands in the way
}

// TestWhatNoProofStandsForIsNotRead: a hostile .crate costs nothing before there is a proof.
func TestWhatNoProofStandsForIsNotRead(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	raw := testCrate(t, "alpha", "1.0.0", "")
	e := testEntry(t, raw, "alpha", "1.0.0", 1)
	_, err := l.Submit(t.Context(), marshal(e), failingReader{t}, nil)
	wantRefusal(t, err, ProofInvalid, "does not verify")
	e.Proof.Parts[0][0]++ // a false proof is remembered
	w.proofs.believe(e)
	w.submit(l, marshal(e), raw)
}

// TestNothingIsUnpackedForAClientWhoLeft: the .crate is none, which the log would find out.
func TestNothingIsUnpackedForAClientWhoLeft(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e := testEntry(t, testCrate(t, "alpha", "1.0.0", ""), "alpha", "1.0.0", 1)
	junk := []byte("no archive")
	e.Subject.SHA256 = sha256.Sum256(junk)
	w.proofs.believe(e)
	_, err := l.Submit(t.Context(), marshal(e), bytes.NewReader(junk), nil)
	wantRefusal(t, err, CrateRefused, "is refused")

	ctx, leave := context.WithCancel(t.Context())
	w.proofs.mu.Lock()
	w.proofs.checking = leave
	w.proofs.mu.Unlock()
	e.Claim.(*entry.Source).Commit[0]++ // another proof, which the log has not seen
	w.proofs.believe(e)
	if _, err := l.Submit(ctx, marshal(e), bytes.NewReader(junk), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the client left: %v", err)
	}
}

func TestAFailedReaderIsNotAnEmptyCrate(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	_, err := l.Submit(t.Context(), e, io.MultiReader(bytes.NewReader(c), brokenReader{}), nil)
	wantRefusal(t, err, MalformedRequest, "could not be read to its end")
	wantSize(t, l, 0)
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWithoutAQuorumNothingIsPublishedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.WitnessTimeout.Duration = time.Second
	l := w.open()
	first, c0 := w.good("alpha", "1.0.0")
	w.submit(l, first, c0)
	before := l.published.head()

	w.witnesses[0].setDown(true)
	second, c1 := w.good("beta", "1.0.0")
	w.submit(l, second, c1) // two of three are enough

	w.witnesses[1].setDown(true)
	l.cfg.PublishWait.Duration = 300 * time.Millisecond
	third, c2 := w.good("gamma", "1.0.0")
	for range 2 { // the second time it is in the tree already
		_, err := l.Submit(t.Context(), third, bytes.NewReader(c2), nil)
		r := wantRefusal(t, err, NotPublished, "submit it again to get the bundle")
		if r.RetryAfter < time.Second {
			t.Errorf("retry after %v", r.RetryAfter)
		}
	}
	if head := l.published.head(); head.size != before.size+2 {
		t.Errorf("published %d entries without a quorum", head.size)
	}
	_, err := l.Bundle(t.Context(), client.Query{Name: "gamma", Version: "1.0.0"})
	wantRefusal(t, err, NotFound, "no published entry")
	eventually(t, "the trouble shows", func() bool { return !l.health().OK })

	w.witnesses[0].setDown(false)
	l.cfg.PublishWait.Duration = time.Minute
	w.submit(l, third, c2)
	wantSize(t, l, 3)
	eventually(t, "the trouble is over", func() bool { return l.health().OK })
}

func TestALogStartsWhileItsWitnessesAreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range w.witnesses {
		c.setDown(true)
	}
	l := w.open()
	if h := l.health(); h.OK || len(h.Problems) == 0 || !strings.Contains(h.Problems[0], "nothing is published yet") {
		t.Errorf("health: %+v", h)
	}
	for _, c := range w.witnesses {
		c.setDown(false)
	}
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
}

func TestASubmitterWhoLeavesDoesNotBreakHisEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	started, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
		return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
			once.Do(func() { close(started); <-release })
			return add(ctx, e)
		}
	}
	l := w.open()
	e, c := w.good("alpha", "1.0.0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := l.Submit(ctx, e, bytes.NewReader(c), nil)
		done <- err
	}()
	<-started
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	w.submit(l, e, c)
	wantSize(t, l, 1)
}

// TestFaultsInPairs: Tessera fails and nothing happened; Tessera fails and it
// happened all the same. Either way the entry is in the tree at most once,
// and the next submission gets a bundle.
func TestFaultsInPairs(t *testing.T) {
	t.Parallel()
	for _, happened := range []bool{false, true} {
		t.Run(fmt.Sprintf("happened=%v", happened), func(t *testing.T) {
			w := newWorld(t)
			faults := 1
			w.cfg.testingOnlyAppender = func(add tessera.AddFn) tessera.AddFn {
				return func(ctx context.Context, e *tessera.Entry) tessera.IndexFuture {
					if faults == 0 {
						return add(ctx, e)
					}
					faults--
					return func() (tessera.Index, error) {
						if happened {
							if _, err := add(ctx, e)(); err != nil {
								return tessera.Index{}, err
							}
						}
						return tessera.Index{}, errors.New("the disk is on fire")
					}
				}
			}
			l := w.open()
			e, c := w.good("alpha", "1.0.0")
			_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
			if happened {
				fatalIf(t, err)
			} else {
				wantRefusal(t, err, StorageFailed, "Nothing of it was kept")
				if h := l.health(); !strings.Contains(strings.Join(h.Problems, " "), "the disk is on fire") {
					t.Errorf("health: %+v", h.Problems)
				}
			}
			w.submit(l, e, c)
			wantSize(t, l, 1)
			eventually(t, "the log is well again", func() bool { return l.health().OK })
		})
	}
}

// TestNothingIsAcceptedWhileARowCannotBeWritten: an entry in the tree without its
// row could be added again, so nothing may be added until the row is there.
func TestNothingIsAcceptedWhileARowCannotBeWritten(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	testlog.Must(l.index.db.ExecContext(t.Context(), "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'disk full'); END"))
	e, c := w.good("alpha", "1.0.0")
	if _, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); err == nil || !strings.Contains(errors.Unwrap(err).Error(), "disk full") {
		t.Fatalf("got %v", err)
	}
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	r := wantRefusal(t, err, StorageFailed, "An entry that it has accepted stays accepted")
	if r.RetryAfter == 0 {
		t.Error("nobody is told to come again")
	}
	if h := l.health(); h.OK || !strings.Contains(strings.Join(h.Problems, " "), "disk full") {
		t.Errorf("health: %+v", h)
	}
	testlog.Must(l.index.db.ExecContext(t.Context(), "DROP TRIGGER full"))
	eventually(t, "the log accepts entries again", func() bool { return l.health().OK })
	w.submit(l, e, c)
	wantSize(t, l, 1)
}

// TestOverloadIsQueuedForAWhile, and then refused with the time to come back.
func TestOverloadIsQueuedForAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Cores = 1
	w.cfg.Door.QueueWait.Duration = 50 * time.Millisecond
	l := w.open()
	other := testlog.Must(l.door.cores.begin(t.Context(), "other", 0, false))
	e, c := w.good("beta", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	if r := wantRefusal(t, err, Overloaded, "try again later"); r.RetryAfter < l.retry || r.RetryAfter > 2*l.retry {
		t.Errorf("retry after %v", r.RetryAfter)
	}
	if h := l.health(); h.OK || !strings.Contains(strings.Join(h.Problems, " "), "the door is full") {
		t.Errorf("health: %+v", h)
	}
	l.door.cores.wait = time.Minute
	time.AfterFunc(20*time.Millisecond, other.end)
	w.submit(l, e, c)
}

func TestAClosedLogAcceptsNothing(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	e, c := w.good("alpha", "1.0.0")
	w.closeLog(l)
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	if r := wantRefusal(t, err, ShuttingDown, "shutting down"); r.RetryAfter == 0 {
		t.Error("it does not say when to come back")
	}
}

// TestCloseLooksAtWhatWasPublishedLast: whoever waits for a bundle gets it, though nobody
// looked at the checkpoint between its publication and the end.
func TestCloseLooksAtWhatWasPublishedLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.testingOnlyPoll = time.Hour
	l := w.open()
	e, c := w.good("last", "1.0.0")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if b, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); err != nil {
			t.Error(err)
		} else {
			w.checkBundle(b, e)
		}
	})
	eventually(t, "it is in the tree", func() bool { l.indexing.Lock(); defer l.indexing.Unlock(); return l.indexed == 2 })
	w.closeLog(l)
	waiting.Wait()
}

// TestCloseKeepsItsDeadlineWithoutAQuorum, and leaves nothing of the log at work.
func TestCloseKeepsItsDeadlineWithoutAQuorum(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	for _, c := range w.witnesses[:2] {
		c.setDown(true)
	}
	l.cfg.PublishWait.Duration = 300 * time.Millisecond
	e, c := w.good("alpha", "1.0.0")
	_, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
	wantRefusal(t, err, NotPublished, "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "they will be after the next start") {
		t.Errorf("Close: %v", err)
	}
	l.watcher.Wait()
	if _, err := l.guard.Sign([]byte(testlog.Head(testOrigin, 1, tlog.RecordHash(e)))); err == nil {
		t.Error("the guard of a closed log signs")
	}
}

func TestCloseWaitsForWhatWasAccepted(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	const n = 20
	bundles := make(chan []byte, n)
	var accepted sync.WaitGroup
	entries := make(map[string]bool)
	for i := range n {
		e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
		entries[string(e)] = true
		accepted.Go(func() {
			b, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil)
			var r *Refusal
			if errors.As(err, &r) && r.Reason == ShuttingDown {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			bundles <- b
		})
	}
	eventually(t, "something is in the tree", func() bool {
		l.indexing.Lock()
		defer l.indexing.Unlock()
		return l.indexed > 0
	})
	w.closeLog(l)
	accepted.Wait()
	close(bundles)
	policy := testlog.Must(torchwood.ParsePolicy(w.cfg.Policy))
	_, _, err := torchwood.VerifyCheckpoint(l.published.head().raw, policy)
	fatalIf(t, err)
	if size := l.published.head().size; size != l.indexed {
		t.Errorf("closed with %d entries in the tree and %d published", l.indexed, size)
	}
	if in := entriesOf(t, l); len(bundles) != len(in) {
		t.Errorf("%d bundles for %d entries", len(bundles), len(in))
	}
}

// TestABadWitnessSpoilsNothing: one of three answers as it should not. The
// other two are the quorum, and what is published verifies.
func TestABadWitnessSpoilsNothing(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"hangs":      func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
		"endless":    func(w http.ResponseWriter, r *http.Request) { endless(w) },
		"not a line": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") },
		"empty":      func(w http.ResponseWriter, r *http.Request) {},
		"bad signature": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "— witness.test/0 %s\n", strings.Repeat("A", 100))
		},
		"larger size": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, "1000000\n")
		},
		"changing size": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(http.StatusConflict)
			io.WriteString(w, "0\n")
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
		"aborts": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.witnesses[0].answer(answer)
			l := w.open()
			for i := range 3 {
				e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
				w.submit(l, e, c)
			}
			head := l.published.head()
			if bytes.Contains(head.raw, []byte("— witness.test/0 ")) {
				t.Error("the checkpoint carries a line of the bad witness")
			}
		})
	}
}

func endless(w io.Writer) {
	line := bytes.Repeat([]byte("x"), 1<<16)
	for range 1 << 12 {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}
