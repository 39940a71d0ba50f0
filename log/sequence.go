package log

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
)

// The tree grows in rounds, by one goroutine, write. A round is waves of entries, and then a seal, which stands
// alone: a wave's entries are added, have their places, are read again out of the tree into index.db and the
// map, and only then the map's root is known that a seal names. The guard signs no tree that does not end in a
// seal, so a round is what a checkpoint shows at once. A round ends when a checkpoint is due, or at maxRound; the next
// one opens when the guard has signed it. Where witnesses are away it is signed and waits, and rounds go on.
//
// Nothing of a round is in memory alone: whatever is interrupted, the next start reads the leaves that stand there,
// and seals them before it adds others. A seal that does not stand at the place that it names is void; that
// happens only if something else writes to the tree, and then another one is made.

// reservation is an entry between the end of its checks and its place in the map. While it stands no other
// submission can add anything about the same crate version: so two checksums of it, or two statements of one
// builder about one build, do not both get in.
type reservation struct {
	*submission
	since time.Time
	done  chan struct{} // closed when idx and err are set
	idx   uint64
	err   error

	fresh bool // its opening was not there before; the writer's
}

const (
	maxRound   = 16 << 20             // bytes of the entries of a round
	maxWaiting = 128 << 20            // bytes of what waits for its place
	flush      = 5 * time.Millisecond // in which Tessera writes what it has been given
	moment     = 100 * time.Millisecond

	// A wave of a log on several machines waits a second to be integrated, so it may be of more batches. Tessera refuses
	// what comes while more than 4096 wait for that.
	inBucket     = 4
	mostInBucket = 2048
)

// sequence puts a checked entry into the tree, once, and returns its index.
func (l *Log) sequence(ctx context.Context, s *submission) (idx uint64, err error) {
	if l.front() {
		idx, err = l.forward(ctx, s)
	} else {
		idx, err = l.place(ctx, s)
	}
	return idx, l.conflict(ctx, s, err)
}

// place is sequence where the tree is this process's to write. Equal entries that come at the same time share one
// reservation. What stands in its way is an error as standing returns it.
func (l *Log) place(ctx context.Context, s *submission) (uint64, error) {
	wait, cancel := context.WithTimeout(ctx, l.cfg.PublishWait.Duration)
	defer cancel()
	for {
		r, mine, err := l.reserve(ctx, s)
		if err != nil {
			return 0, err
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

// reserve returns a reservation to wait for: a new one for s, which waits for the writer, or the one that is
// in the way.
func (l *Log) reserve(ctx context.Context, s *submission) (r *reservation, mine bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.acceptingLocked(); err != nil {
		return nil, false, err
	}
	// A version with the same checksum may get several claims, and a claim several proofs,
	// one after the other.
	if r := l.reserved[s.version]; r != nil {
		return r, false, nil
	}
	// The reservations were looked at first: one leaves only after its entry is
	// in the map, so what is not there is found here.
	idx, known, err := l.standing(ctx, s)
	if err != nil {
		return nil, false, err
	}
	r = &reservation{submission: s, since: time.Now(), idx: idx, done: make(chan struct{})}
	if known {
		close(r.done)
		return r, false, nil
	}
	if len(l.reserved) >= l.limits.Waiting || l.held+s.held() > maxWaiting {
		return nil, false, later(Overloaded, l.retry, nil,
			"The log has too many entries waiting for their place: try again later.")
	}
	l.reserved[s.version] = r
	l.held += s.held()
	l.queue = append(l.queue, r)
	l.metrics.waiting.Set(float64(len(l.reserved)))
	l.running.Add(1)
	l.poke()
	return r, true, nil
}

// release ends a reservation. Its entry must be in the map, or must not be in the tree, or nothing more may be
// accepted.
func (l *Log) release(r *reservation, idx uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.reserved, r.version)
	l.held -= r.held()
	l.metrics.waiting.Set(float64(len(l.reserved)))
	r.idx, r.err = idx, err
	close(r.done)
	l.running.Done()
}

// poke makes the writer look again at what it waits for.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// pause waits until there may be something new, at most so long.
func (l *Log) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-t.C:
	}
}

// write lets the tree grow until ctx ends.
func (l *Log) write(ctx context.Context) {
	for ctx.Err() == nil {
		if why := l.stuck(); why != nil {
			l.refuseWaiting(why)
			l.pause(ctx, moment)
			continue
		}
		if l.catchUp(ctx, 0) != nil {
			continue
		}
		if leaves, open := l.leaves.open(); open {
			l.seal(ctx)
		} else if signed, _ := l.guard.mark(); signed.Size < leaves {
			l.pause(ctx, moment)
		} else {
			l.round(ctx)
		}
	}
	l.refuseWaiting(later(ShuttingDown, l.retry, errNotAdded, "The log is shutting down: try again later."))
}

// awaitSealed waits until all that is in the tree is sealed, if that can be.
func (l *Log) awaitSealed(ctx context.Context) error {
	for !l.follows() && l.stuck() == nil {
		state, err := l.tree.State(ctx)
		if leaves, open := l.leaves.open(); err == nil && !open && leaves >= state.Size {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(moment / 10):
		}
	}
	return nil
}

// stuck returns the refusal of what waits while nothing may be added.
func (l *Log) stuck() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.halt.reason() == nil && l.behind == nil {
		return nil
	}
	return l.acceptingLocked()
}

func (l *Log) refuseWaiting(why error) {
	l.mu.Lock()
	waiting := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, r := range waiting {
		l.release(r, 0, why)
	}
}

// round adds waves until the tree is to be sealed.
func (l *Log) round(ctx context.Context) {
	began, size := false, 0
	for ctx.Err() == nil && l.stuck() == nil {
		_, open := l.leaves.open()
		wave, wait := l.nextWave(maxRound-size, open)
		if wave == nil && wait <= 0 {
			break
		}
		if wave == nil {
			l.pause(ctx, min(wait, moment))
			if began {
				continue
			}
			return // to look at the tree
		}
		if !began { // while the reservations of the wave are counted
			l.running.Add(1)
			defer l.running.Done()
			began = true
			l.metrics.rounds.Inc()
		}
		for _, r := range wave {
			size += len(r.raw)
		}
		l.addWave(ctx, wave)
	}
	for began && ctx.Err() == nil && l.stuck() == nil {
		if _, open := l.leaves.open(); !open {
			break
		}
		l.seal(ctx)
	}
}

// nextWave takes the entries that are to be added next, of at most room bytes. If there are none it says how long
// to wait; 0: the tree, which is open, is to be sealed now.
func (l *Log) nextWave(room int, open bool) (wave []*reservation, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = time.Minute
	if open {
		if wait = time.Until(l.sealDue()); wait <= 0 || l.closing && len(l.queue) == 0 {
			return nil, 0
		}
	}
	if len(l.queue) == 0 {
		return nil, wait
	}
	age := l.cfg.BatchAge.Duration - time.Since(l.queue[0].since)
	if age > 0 && uint(len(l.queue)) < l.cfg.BatchSize && !l.closing {
		return nil, min(wait, age)
	}
	n, most := 0, int(l.cfg.BatchSize)
	if l.cfg.Cluster != nil {
		most = max(most, min(inBucket*most, mostInBucket))
	}
	for n < min(len(l.queue), most) && len(l.queue[n].raw) <= room {
		room -= len(l.queue[n].raw)
		n++
	}
	if n == 0 {
		return nil, 0
	}
	wave, l.queue = l.queue[:n:n], l.queue[n:]
	return wave, 0
}

// sealDue is when the next checkpoint can be published: an interval after the last one was signed, and when the
// witnesses have answered.
func (l *Log) sealDue() time.Time {
	signed, grew := l.guard.latest()
	wait := l.cfg.CheckpointInterval.Duration
	if l.published.head().size < signed {
		wait = max(wait, l.cfg.WitnessTimeout.Duration)
	}
	return grew.Add(wait)
}

// addWave adds entries to the tree, and releases their reservations when they have a place in the map.
// Nothing of it depends on the submitters' patience.
func (l *Log) addWave(ctx context.Context, wave []*reservation) {
	l.step("wave")
	var leaves [][]byte
	var ready []*reservation
	for _, r := range wave {
		// Before the entry: whoever sees it there, sees its opening.
		var err error
		r.fresh, err = l.keepOpening(ctx, r.identity, r.opening)
		if err == nil && r.build != nil {
			// Not dropped if it comes to nothing: another entry may have the same list.
			_, err = l.builds.putList(ctx, r.crates)
		}
		if err != nil {
			l.release(r, 0, l.notAdded(err))
			continue
		}
		l.recent.Add(r.row.leaf, r.row)
		leaves, ready = append(leaves, r.raw), append(ready, r)
	}
	if len(ready) == 0 {
		return
	}
	at, errs, err := l.addLeaves(ctx, leaves)
	l.step("indexed")
	for i, r := range ready {
		switch {
		case err != nil:
			l.release(r, 0, err)
		default:
			idx, err := l.placed(ctx, r, at[i], errs[i])
			l.release(r, idx, err)
		}
	}
}

// addLeaves gives leaves to Tessera and waits until each has a durable place, and all leaves of the tree their
// rows. The error is of what is not known then, so that nothing may be added before it is.
func (l *Log) addLeaves(ctx context.Context, leaves [][]byte) (at []uint64, errs []error, err error) {
	results, failures := make([]uint64, len(leaves)), make([]error, len(leaves))
	if err := l.tree.Writable(ctx); err != nil {
		for i := range failures {
			failures[i] = err
		}
		l.treeWritten(err)
		return results, failures, nil
	}
	done := make(chan struct{})
	go func() { // Tessera may not even take them
		defer close(done)
		futures := make([]tessera.IndexFuture, len(leaves))
		for i, leaf := range leaves {
			futures[i] = l.appender(ctx, tessera.NewEntry(leaf))
		}
		for i, f := range futures {
			var x tessera.Index
			x, failures[i] = f()
			results[i] = x.Index
		}
	}()
	var late <-chan time.Time
	if d := l.patience(); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-done:
		at, errs = results, failures
	case <-late:
		l.mu.Lock()
		l.unanswered = done
		l.mu.Unlock()
		err := fmt.Errorf("the database has not answered for %v whether entries were added", l.patience())
		l.wedge(err)
		return nil, nil, l.fallBehind(err)
	case <-ctx.Done(): // Tessera has ended with it, and answers no more
		return nil, nil, l.cutShort(ctx.Err())
	}
	l.step("added")
	want := uint64(0)
	for i := range at {
		if errs[i] == nil {
			want = max(want, at[i]+1)
		}
	}
	l.treeWritten(errors.Join(errs...))
	// What failed may have happened all the same. The tree decides.
	return at, errs, l.catchUp(ctx, want)
}

// catchUp takes what is in the tree into index and map: want leaves at least.
func (l *Log) catchUp(ctx context.Context, want uint64) error {
	err := l.indexUpTo(ctx, want)
	switch {
	case err == nil:
	case errors.Is(err, errContradiction), errors.Is(err, ErrRollback):
		l.halt.now(err)
		err = l.isHalted()
	case ctx.Err() != nil:
		err = l.cutShort(err)
	default:
		err = l.fallBehind(err)
	}
	return err
}

// cutShort is the refusal of what is in the tree or not, when the log ends.
func (l *Log) cutShort(err error) error {
	return later(NotPublished, l.retry, err,
		"The log shuts down, and the entry may be in it or not: submit it again to get the bundle.")
}

// placed returns the place of an entry that was added, or, where addErr says that it was not, of one that says
// the same.
func (l *Log) placed(ctx context.Context, r *reservation, at uint64, addErr error) (uint64, error) {
	version, same := l.leaves.standing(r.facts)
	if addErr == nil && (same == nil || *same != at) {
		row, found, err := l.index.at(ctx, at)
		if err != nil && ctx.Err() != nil {
			return 0, l.cutShort(err)
		}
		if err != nil {
			return 0, l.fallBehind(err)
		}
		if !found || row.leaf != r.row.leaf {
			err = fmt.Errorf("%w: an entry was added as number %d, but is not there: "+
				"was the tree's directory exchanged while the log was running?", ErrRollback, at)
			l.halt.now(err)
			return 0, l.isHalted()
		}
	}
	if same == nil {
		var err error
		if r.fresh { // else it would be served once another submits the entry without it
			err = l.openings.drop(ctx, r.identity)
		}
		return 0, l.notAdded(errors.Join(addErr, err))
	}
	if version.SHA256 != r.entry.Subject.SHA256 { // something else writes to the tree, and was first
		return 0, &conflictError{*version}
	}
	return *same, nil
}

// seal adds a seal of the leaves that are in the map.
func (l *Log) seal(ctx context.Context) {
	stop := l.sealing.measure()
	s := l.leaves.prepare()
	stop()
	l.step("prepared")
	at, errs, err := l.addLeaves(ctx, [][]byte{s.leaf})
	l.step("sealed")
	switch {
	case err != nil:
	case errs[0] != nil:
		l.pause(ctx, time.Second) // the disk
	case at[0] != s.seal.Size:
		l.metrics.voidSeals.Inc()
		l.log.Warn("a seal is void: something else writes to the tree; another is made", "of", s.seal.Size, "at", at[0])
	default:
		l.metrics.seals.Inc()
		l.log.Debug("sealed", "leaves", s.seal.Size, "root", fmt.Sprintf("%x", s.seal.Root[:8]))
	}
}

func (l *Log) step(name string) {
	if l.cfg.testingOnlyStep != nil {
		l.cfg.testingOnlyStep(name)
	}
}

// meter adds up processor time, in nanoseconds.
type meter struct{ atomic.Int64 }

// measure begins to measure what the calling goroutine takes, until the function that it returns is called.
func (m *meter) measure() (stop func()) {
	runtime.LockOSThread()
	begin := threadTime()
	return func() {
		m.Add(threadTime() - begin)
		runtime.UnlockOSThread()
	}
}
