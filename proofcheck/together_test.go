package proofcheck

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cratelog/entry"
)

// told is a BatchVerifier that accepts the proofs that it was told of.
type told struct {
	mu       sync.Mutex
	believed map[string][]byte // proof by version
	checks   int
}

func newTold() *told { return &told{believed: make(map[string][]byte)} }

func (p *told) believe(e *entry.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.believed[e.Subject.Version] = e.Proof.Parts[0]
}

// chainOf is the chain of an entry.
type chainOf struct {
	entry.Chain
	version string
}

func (p *told) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	chains, errs := make([]entry.Chain, len(entries)), make([]error, len(entries))
	for i, e := range entries {
		p.checks++
		if want := p.believed[e.Subject.Version]; want == nil || !bytes.Equal(want, e.Proof.Parts[0]) {
			errs[i] = errors.New("not told")
			continue
		}
		chains[i] = chainOf{version: e.Subject.Version}
	}
	return chains, errs
}

// check asks for an entry's chain, and fails if it is another one's.
func check(t *testing.T, v *Together, e *entry.Entry) error {
	t.Helper()
	c, err := v.Chain(e)
	if err == nil && c.(chainOf).version != e.Subject.Version || err != nil && c != nil {
		t.Errorf("%s: the chain %v", e.Subject.Version, c)
	}
	return err
}

func numbered(i int) *entry.Entry {
	return &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "c", Version: fmt.Sprintf("1.0.%d", i)},
		Claim:   &entry.Source{}, Proof: entry.Proof{Parts: [][]byte{{1, 2, 3}}},
	}
}

func TestAProofIsVerifiedOnceAndOnlyThat(t *testing.T) {
	told := newTold()
	v := NewTogether(told, 2)
	for i := range 3 {
		e := numbered(i)
		if check(t, v, e) == nil {
			t.Error("a false proof was accepted")
		}
		told.believe(e)
		if err := check(t, v, e); err != nil {
			t.Error(err)
		}
		before := told.checks
		if err := check(t, v, e); err != nil || told.checks != before {
			t.Errorf("a proof was verified twice: %v", err)
		}
		other := *e
		other.Proof.Parts = [][]byte{{5}}
		if check(t, v, &other) == nil {
			t.Error("another proof of the same claim was taken for verified")
		}
	}
	if n := v.known.Len(); n > 2 {
		t.Errorf("%d entries are remembered, at most 2 should", n)
	}
	for i := range 3 {
		if err := check(t, v, numbered(i)); err != nil {
			t.Error(err)
		}
	}
}

// gate is a BatchVerifier that lets a batch begin only when it is told to, and records the
// sizes of the batches.
type gate struct {
	*told
	began chan int
	open  chan struct{}
}

func (g *gate) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	g.began <- len(entries)
	<-g.open
	return g.told.Chains(entries)
}

func TestProofsThatComeTogetherAreCheckedTogetherAndJudgedAlone(t *testing.T) {
	const n = 2*maxBatch + 10
	g := &gate{newTold(), make(chan int), make(chan struct{})}
	v := NewTogether(g, 1<<10)
	verdicts := make([]chan error, n)
	start := func(i int) {
		e := numbered(i)
		if i%7 != 0 {
			g.believe(e)
		}
		verdicts[i] = make(chan error, 1)
		go func() { verdicts[i] <- check(t, v, e) }()
	}
	start(0) // nobody is at work: it does not wait for company
	if size := <-g.began; size != 1 {
		t.Fatalf("the first batch has %d proofs", size)
	}
	for i := 1; i < n; i++ {
		start(i)
	}
	waiting := func() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.queue) }
	for deadline := time.Now().Add(time.Minute); waiting() < n-1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d wait", waiting())
		}
	}
	g.open <- struct{}{}
	for _, want := range []int{maxBatch, maxBatch, n - 1 - 2*maxBatch} {
		if size := <-g.began; size != want {
			t.Errorf("a batch of %d proofs, want %d", size, want)
		}
		g.open <- struct{}{}
	}
	for i, c := range verdicts {
		if err := <-c; (err != nil) != (i%7 == 0) {
			t.Errorf("proof %d: %v", i, err)
		}
	}
}

// TestABatchIsAtMostSixtyFourSegments counts them by the sizes of the parts.
func TestABatchIsAtMostSixtyFourSegments(t *testing.T) {
	queue := func(sizes ...int) (out []*pending) {
		for _, n := range sizes {
			out = append(out, &pending{segments: n})
		}
		return out
	}
	for _, c := range []struct {
		queue []*pending
		want  int
	}{
		{nil, 0}, {queue(1), 1}, {queue(288), 1}, {queue(288, 1), 1}, {queue(1, 288), 1},
		{queue(63, 1, 1), 2}, {queue(32, 32, 1), 2}, {queue(32, 33), 1}, {queue(1, 2, 3), 3},
	} {
		if n := fits(c.queue); n != c.want {
			t.Errorf("%d of %d, want %d", n, len(c.queue), c.want)
		}
	}
	g := &gate{newTold(), make(chan int), make(chan struct{})}
	v := NewTogether(g, 1<<10)
	done := make(chan error)
	start := func(i int, e *entry.Entry) {
		g.believe(e)
		go func() { _, err := v.Chain(e); done <- err }()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			v.mu.Lock()
			n := len(v.queue)
			v.mu.Unlock()
			if n == i {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d wait, want %d", n, i)
			}
		}
	}
	large := func(i int) *entry.Entry { // of 40 segments
		e := numbered(i)
		e.Proof.Parts = [][]byte{make([]byte, partSize), make([]byte, partSize), make([]byte, lastPartSize(4))}
		e.Proof.Parts[0][0] = byte(i)
		return e
	}
	start(0, numbered(0))
	if n := <-g.began; n != 1 {
		t.Fatalf("a batch of %d", n)
	}
	for i := range 3 {
		start(i+1, large(i+1))
	}
	for range 3 {
		g.open <- struct{}{}
		if n := <-g.began; n != 1 {
			t.Errorf("a batch of %d proofs of 40 segments", n)
		}
	}
	g.open <- struct{}{}
	for range 4 {
		fatalIf(t, <-done)
	}
}
