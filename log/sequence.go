package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/transparency-dev/tessera"
)

// reservation is an entry between the end of its checks and its durable row
// in the index. While it stands no other submission can add anything about the same crate
// version: so two statements of one builder about one build cannot both get in.
type reservation struct {
	*submission
	done chan struct{} // closed when idx and err are set
	idx  uint64
	err  error
}

// sequence puts a checked entry into the tree, once, and returns its index.
// Equal entries that come at the same time share one reservation.
func (l *Log) sequence(ctx context.Context, s *submission) (uint64, error) {
	wait, cancel := context.WithTimeout(ctx, l.cfg.PublishWait.Duration)
	defer cancel()
	for {
		r, mine, err := l.reserve(ctx, s)
		if err != nil {
			return 0, l.conflict(ctx, s, err)
		}
		select {
		case <-r.done:
		case <-wait.Done():
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			return 0, later(NotPublished, l.retry, wait.Err(),
				"The entry was accepted, but it has no place in the log yet: submit it again to get the bundle.")
		}
		same := r.proven == s.proven
		switch {
		case mine || (same && r.err == nil):
			return r.idx, r.err
		case same && !errors.Is(r.err, errNotAdded):
			return 0, r.err
		}
		// Another entry of this version was in the way, or the other's attempt
		// came to nothing: what stands now is decided by asking again.
	}
}

// errNotAdded says that an attempt left no entry in the tree.
var errNotAdded = errors.New("the entry was not added to the tree")

// reserve returns a reservation to wait for: a new one for s, whose
// sequencing it starts, or the one that is in the way.
func (l *Log) reserve(ctx context.Context, s *submission) (r *reservation, mine bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.acceptingLocked(); err != nil {
		return nil, false, err
	}
	// A version with the same checksum may get several claims, and a claim several proofs,
	// one after the other.
	if r := l.reserved[keyOf(s.entry.Subject)]; r != nil {
		return r, false, nil
	}
	// The reservations were looked at first: one leaves only after its row is
	// in the index, so what is not there is found here.
	idx, known, err := l.standing(ctx, s)
	if err != nil {
		return nil, false, err
	}
	r = &reservation{submission: s, idx: idx, done: make(chan struct{})}
	if known {
		close(r.done)
		return r, false, nil
	}
	if len(l.reserved) >= l.limits.Waiting {
		return nil, false, later(Overloaded, l.retry, nil,
			"The log has too many entries waiting for their place: try again later.")
	}
	l.reserved[keyOf(s.entry.Subject)] = r
	l.metrics.waiting.Set(float64(len(l.reserved)))
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		r.idx, r.err = l.add(l.ctx, s)
		l.release(r)
	}()
	return r, true, nil
}

// release ends a reservation. Its row must be in the index, or its entry must
// not be in the tree.
func (l *Log) release(r *reservation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.reserved, keyOf(r.entry.Subject))
	l.metrics.waiting.Set(float64(len(l.reserved)))
	close(r.done)
}

// add gives the entry to Tessera and waits until it has a durable index and a
// durable row. Nothing of it depends on the submitter's patience.
func (l *Log) add(ctx context.Context, s *submission) (uint64, error) {
	// Before the entry: whoever sees it there, sees its opening.
	isNew, err := l.keepOpening(ctx, s.identity, s.opening)
	if err == nil && s.build != nil {
		// Not dropped if it comes to nothing: another entry may have the same list.
		_, err = l.builds.putList(ctx, s.crates)
	}
	if err != nil {
		return 0, l.notAdded(err)
	}
	addErr := l.writable()
	var at tessera.Index
	want := uint64(0)
	if addErr == nil {
		at, addErr = l.appender(ctx, tessera.NewEntry(s.raw))()
	}
	if addErr == nil {
		want = at.Index + 1
	}
	l.treeWritten(addErr)
	// If it failed, it may have happened all the same. The tree decides.
	row, found, err := l.indexAndFind(ctx, want, s.proven)
	switch {
	case errors.Is(err, errContradiction):
		l.halt.now(err)
		return 0, err
	case err != nil:
		return 0, l.fallBehind(err)
	case addErr != nil && !found:
		if isNew { // else it would be served once another submits the entry without it
			err = l.openings.drop(ctx, s.identity)
		}
		return 0, l.notAdded(errors.Join(addErr, err))
	case addErr == nil && (!found || row.idx != at.Index):
		err = fmt.Errorf("%w: an entry was added as number %d, but is not there: "+
			"was the tree's directory exchanged while the log was running?", ErrRollback, at.Index)
		l.halt.now(err)
		return 0, err
	}
	return row.idx, nil
}

func (l *Log) indexAndFind(ctx context.Context, want uint64, p proven) (row, bool, error) {
	if err := l.indexUpTo(ctx, want); err != nil {
		return row{}, false, err
	}
	return l.index.byProven(ctx, p)
}
