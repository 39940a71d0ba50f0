package proofcheck

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"cratelog/entry"
)

// maxBatch is the number of proofs that are checked together. Beyond it the cost of
// each hardly falls, and a bad one among them costs more.
const maxBatch = 64

// Together is an entry.Verifier that checks in batches what is asked for at the same time, and
// each entry, to the byte, once. It is safe for concurrent use.
//
// Nothing waits for a batch to fill: a check that finds no other under way begins at
// once, and what comes meanwhile is the next batch.
type Together struct {
	next  entry.BatchVerifier
	known *lru.Cache[[32]byte, entry.Chain] // by the leaf hash, what proofs show that hold

	mu    sync.Mutex
	queue []*pending // owned by mu
	busy  bool       // a batch is being checked; owned by mu
}

// pending is a proof that waits for its check.
type pending struct {
	entry *entry.Entry
	leaf  [32]byte
	done  chan struct{} // closed when chain and err are set
	chain entry.Chain
	err   error
}

// NewTogether returns a Together that remembers up to size entries whose proof
// holds.
func NewTogether(next entry.BatchVerifier, size int) *Together {
	known, _ := lru.New[[32]byte, entry.Chain](max(size, 1)) // it refuses nothing but a size below 1
	return &Together{next: next, known: known}
}

// Chain returns what the batch has for the entry.
func (t *Together) Chain(e *entry.Entry) (entry.Chain, error) {
	b, err := e.Marshal()
	if err != nil {
		return nil, err
	}
	p := &pending{entry: e, leaf: entry.LeafHash(b), done: make(chan struct{})}
	if chain, holds := t.known.Get(p.leaf); holds {
		return chain, nil
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

// lead checks batches until nothing waits.
func (t *Together) lead() {
	for {
		t.mu.Lock()
		n := min(len(t.queue), maxBatch)
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
