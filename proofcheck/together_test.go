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

func (p *told) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs := make([]error, len(entries))
	for i, e := range entries {
		p.checks++
		if want := p.believed[e.Subject.Version]; want == nil || !bytes.Equal(want, e.Proof.Parts[0]) {
			errs[i] = errors.New("not told")
		}
	}
	return make([]entry.Chain, len(entries)), errs
}

// holds says what a verifier has against a proof.
func holds(v entry.Verifier, e *entry.Entry) error {
	_, err := v.Chain(e)
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
		if holds(v, e) == nil {
			t.Error("a false proof was accepted")
		}
		told.believe(e)
		if err := holds(v, e); err != nil {
			t.Error(err)
		}
		before := told.checks
		if err := holds(v, e); err != nil || told.checks != before {
			t.Errorf("a proof was verified twice: %v", err)
		}
		other := *e
		other.Proof.Parts = [][]byte{{5}}
		if holds(v, &other) == nil {
			t.Error("another proof of the same claim was taken for verified")
		}
	}
	if n := v.known.Len(); n > 2 {
		t.Errorf("%d entries are remembered, at most 2 should", n)
	}
	for i := range 3 {
		if err := holds(v, numbered(i)); err != nil {
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
	check := func(i int) {
		e := numbered(i)
		if i%7 != 0 {
			g.believe(e)
		}
		verdicts[i] = make(chan error, 1)
		go func() { verdicts[i] <- holds(v, e) }()
	}
	check(0) // nobody is at work: it does not wait for company
	if size := <-g.began; size != 1 {
		t.Fatalf("the first batch has %d proofs", size)
	}
	for i := 1; i < n; i++ {
		check(i)
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
