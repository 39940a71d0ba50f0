package proofcheck

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"cratelog/entry"
)

// Together has a method Chain, like Verifier, that checks in batches what is asked for at
// the same time, and each entry, to the byte, once. It is safe for concurrent use.
//
// Nothing waits for a batch to fill: a check that finds no other under way begins at
// once, and what comes meanwhile is the next batch, up to 64 segments.
type Together struct {
	next  entry.BatchVerifier
	known *lru.Cache[[32]byte, entry.Chain] // by the leaf hashes of entries whose proof holds

	mu    sync.Mutex
	queue []*pending // owned by mu
	busy  bool       // a batch is being checked; owned by mu
}

var _ entry.Verifier = &Together{}

// pending is a proof that waits for its check.
type pending struct {
	entry    *entry.Entry
	leaf     [32]byte
	segments int           // as the sizes of its parts say
	done     chan struct{} // closed when chain and err are set
	chain    entry.Chain
	err      error
}

// NewTogether returns a Together that remembers what up to size proofs show that hold.
func NewTogether(next entry.BatchVerifier, size int) *Together {
	known, _ := lru.New[[32]byte, entry.Chain](max(size, 1)) // it refuses nothing but a size below 1
	return &Together{next: next, known: known}
}

// Chain returns what the entry's proof shows, and otherwise the error of the batch.
func (t *Together) Chain(e *entry.Entry) (entry.Chain, error) {
	b, err := e.Marshal()
	if err != nil {
		return nil, err
	}
	return t.ChainOf(e, entry.LeafHash(b))
}

// ChainOf is Chain of an entry whose leaf hash the caller has computed, of the bytes of which entry.Parse made it.
func (t *Together) ChainOf(e *entry.Entry, leaf [32]byte) (chain entry.Chain, err error) {
	p, chain := t.look(e, leaf)
	if p == nil {
		return chain, nil
	}
	if p.segments, err = segments(e.Proof.Parts); err != nil {
		p.segments = 1 // next says what is wrong, or that it does not know the program
	}
	t.mu.Lock()
	t.queue = append(t.queue, p)
	leads := !t.busy
	t.busy = true
	t.mu.Unlock()
	if leads {
		go t.lead()
	}
	<-p.done
	return p.chain, p.err
}

// Alone is ChainOf for one entry that is checked by itself, beside any batch: for proofs that are likely to be
// false, which would make a batch dear.
func (t *Together) Alone(e *entry.Entry, leaf [32]byte) (entry.Chain, error) {
	p, chain := t.look(e, leaf)
	if p == nil {
		return chain, nil
	}
	t.check([]*pending{p})
	return p.chain, p.err
}

// look returns what is known of an entry's proof, or, if nothing is, what is to be checked.
func (t *Together) look(e *entry.Entry, leaf [32]byte) (*pending, entry.Chain) {
	if chain, holds := t.known.Get(leaf); holds {
		return nil, chain
	}
	return &pending{entry: e, leaf: leaf, done: make(chan struct{})}, nil
}

// lead checks batches until nothing waits.
func (t *Together) lead() {
	for {
		t.mu.Lock()
		n := fits(t.queue)
		batch := t.queue[:n:n]
		t.queue = t.queue[n:]
		if n == 0 {
			t.queue, t.busy = nil, false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		t.check(batch)
	}
}

// fits returns how many of the queue's proofs make one batch: all that have at most maxBatch
// segments, or one.
func fits(queue []*pending) (n int) {
	for sum := 0; n < len(queue); n++ {
		if sum += queue[n].segments; sum > maxBatch {
			return max(n, 1)
		}
	}
	return n
}

func (t *Together) check(batch []*pending) {
	entries := make([]*entry.Entry, len(batch))
	for i, p := range batch {
		entries[i] = p.entry
	}
	chains, errs := t.next.Chains(entries)
	for i, p := range batch {
		if p.chain, p.err = chains[i], errs[i]; p.err == nil {
			t.known.Add(p.leaf, p.chain)
		}
		close(p.done)
	}
}
