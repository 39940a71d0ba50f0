package log

import (
	"context"
	"errors"
	"sync"
	"time"
)

// turns hands out n places for work, to those clients first that have had least: start-time fair
// queuing. Clients who wait are served in turn, however much one of them asks for, and one who comes
// after a while stands with those who have had nothing, not before them.
//
// Work that takes long is asked again and again to Pause: it then gives its place to a client who has
// had less, and all such work together leaves one place to short work, if there are several.
type turns struct {
	most   int           // places
	paused int           // work that may have begun and wait; more of it does not pause
	wait   time.Duration // the longest wait for a place
	flat   bool          // a turn takes what its cost says, whatever the clock says
	now    func() time.Time

	mu      sync.Mutex
	lines   map[string]*line // owned by mu; of clients who wait, or had more than others
	served  time.Duration    // owned by mu; what the client who was served last had had before
	running int              // owned by mu
	long    int              // owned by mu; of these, how many are long work
	waiting int              // owned by mu
	stopped int              // owned by mu; of these, how many have begun
}

// line is what one client waits for.
type line struct {
	had    time.Duration // virtual: what it has had, and at least what others had when it came
	queue  []*turn
	active int // its turns that run
}

// turn is one place, or the wait for it.
type turn struct {
	turns  *turns
	ctx    context.Context
	client string
	cost   time.Duration // charged when it begins, and made good at the end
	long   bool          // counts as long work
	since  time.Time     // begin of what is not charged yet
	used   time.Duration // what is charged, by the clock
	ready  chan struct{} // closed when it has its place
	gone   bool          // given up
}

var errBusy = errors.New("no place was free in time")

// quantum is how long work may take before it counts as long, and between two times that it is charged.
const quantum = 50 * time.Millisecond

func newTurns(places, paused int, wait time.Duration) *turns {
	return &turns{most: places, paused: paused, wait: wait, now: time.Now, lines: make(map[string]*line)}
}

// begin waits for a place. The error is errBusy, or that of ctx. done must be called at the end. cost is
// what the work may take; where it is known only at the end, the clock says.
func (t *turns) begin(ctx context.Context, client string, cost time.Duration, long bool) (*turn, error) {
	w := &turn{turns: t, ctx: ctx, client: client, cost: cost, long: long}
	t.mu.Lock()
	t.enqueue(w, false)
	t.mu.Unlock()
	if err := w.await(); err != nil {
		return nil, err
	}
	return w, nil
}

// enqueue puts a turn at the end, or at the front, of its client's line. The caller holds mu.
func (t *turns) enqueue(w *turn, front bool) {
	w.ready = make(chan struct{})
	ln := t.lines[w.client]
	if ln == nil {
		ln = &line{}
		t.lines[w.client] = ln
	}
	if len(ln.queue) == 0 && ln.active == 0 {
		ln.had = max(ln.had, t.served)
	}
	if front {
		ln.queue = append([]*turn{w}, ln.queue...)
	} else {
		ln.queue = append(ln.queue, w)
	}
	t.waiting++
	t.dispatch()
}

// dispatch gives away what is free. The caller holds mu.
func (t *turns) dispatch() {
	for t.running < t.most {
		var next *line
		for _, ln := range t.lines {
			if t.ready(ln) && (next == nil || ln.had < next.had) {
				next = ln
			}
		}
		if next == nil {
			return
		}
		w := next.queue[0]
		next.queue = next.queue[1:]
		t.served = max(t.served, next.had)
		next.had += w.cost
		next.active++
		t.running++
		t.waiting--
		if w.long {
			t.long++
		}
		w.since = t.now()
		close(w.ready)
	}
}

// ready says whether the first turn of a line may begin now. What stands behind work that has begun waits
// for it, so that one client has little work that has begun.
func (t *turns) ready(ln *line) bool {
	return len(ln.queue) > 0 && (!ln.queue[0].long || t.long < max(1, t.most-1))
}

// await waits until the turn has its place.
func (w *turn) await() error {
	select {
	case <-w.ready:
		return nil
	default:
	}
	timer := time.NewTimer(w.turns.wait)
	defer timer.Stop()
	err := errBusy
	select {
	case <-w.ready:
		if w.ctx.Err() == nil {
			return nil
		}
		w.done()
		return w.ctx.Err()
	case <-timer.C:
	case <-w.ctx.Done():
		err = w.ctx.Err()
	}
	t := w.turns
	t.mu.Lock()
	for ln, i := t.lines[w.client], 0; ln != nil && i < len(ln.queue); i++ {
		if ln.queue[i] == w {
			ln.queue = append(ln.queue[:i:i], ln.queue[i+1:]...)
			t.waiting--
			w.gone = true
			t.forget(w.client)
			break
		}
	}
	t.mu.Unlock()
	if !w.gone { // it was given its place in the meantime
		w.done()
	}
	return err
}

// charge takes the time since it was charged last. The caller holds mu.
func (w *turn) charge() {
	now := w.turns.now()
	w.used += now.Sub(w.since)
	if ln := w.turns.lines[w.client]; ln != nil && !w.turns.flat {
		ln.had += max(now.Sub(w.since)-w.cost, -w.cost)
	}
	w.cost, w.since = 0, now
}

// stop gives the place back. The caller holds mu.
func (w *turn) stop() {
	t := w.turns
	w.charge()
	t.running--
	if w.long {
		t.long--
	}
	if ln := t.lines[w.client]; ln != nil {
		ln.active--
	}
}

// done gives the place back.
func (w *turn) done() {
	t := w.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	w.stop()
	t.forget(w.client)
	t.dispatch()
}

// forget drops a line that says nothing: its client waits for nothing, and has had no more than others.
// Now and then it looks at all of them. The caller holds mu.
func (t *turns) forget(client string) {
	if ln := t.lines[client]; ln != nil && ln.idle(t.served) {
		delete(t.lines, client)
	}
	const many = 4096
	if len(t.lines) < many {
		return
	}
	for name, ln := range t.lines {
		if ln.idle(t.served) || len(t.lines) > 4*many && len(ln.queue) == 0 && ln.active == 0 {
			delete(t.lines, name)
		}
	}
}

func (ln *line) idle(served time.Duration) bool {
	return len(ln.queue) == 0 && ln.active == 0 && ln.had <= served
}

// Pause is called by long work, often. It returns at once unless the quantum is over and there is
// somebody who should have the place; then it waits for the next. The error is errBusy, or that of the
// context.
func (w *turn) Pause() error {
	if w.turns.now().Sub(w.since) < quantum {
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	stay, err := w.yield()
	if stay || err != nil {
		return err
	}
	err = w.await()
	t := w.turns
	t.mu.Lock()
	t.stopped--
	t.mu.Unlock()
	if err != nil {
		w.gone = true // its place is given back
	}
	return err
}

// yield charges the work, and gives its place back if another should have it.
func (w *turn) yield() (stay bool, err error) {
	t := w.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	w.charge()
	if !w.long {
		if t.long < max(1, t.most-1) {
			w.long = true
			t.long++
		}
	}
	if w.long && !t.wanted(w) {
		return true, nil
	}
	if t.stopped >= t.paused {
		return true, nil // it goes on: what has begun takes memory, and a refusal would help nobody
	}
	t.stopped++
	w.stop()
	w.long = true
	t.enqueue(w, true)
	return false, nil
}

// wanted says whether a client waits who has had less than this one. The caller holds mu.
func (t *turns) wanted(w *turn) bool {
	own := t.lines[w.client]
	for _, ln := range t.lines {
		if ln != own && own != nil && ln.had < own.had && len(ln.queue) > 0 {
			return true
		}
	}
	return false
}

// end is done, also after a Pause that failed.
func (w *turn) end() {
	if !w.gone {
		w.done()
	}
}

// queued returns how much waits.
func (t *turns) queued() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}
