package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// turnsWorld is turns under a clock that only the test moves. What begins, begins in order.
type turnsWorld struct {
	t     *testing.T
	turns *turns
	mu    sync.Mutex
	clock time.Time
}

func newTurnsWorld(t *testing.T, places int) *turnsWorld {
	w := &turnsWorld{t: t, turns: newTurns(places, 4, time.Minute), clock: time.Unix(0, 0)}
	w.turns.now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock }
	return w
}

func (w *turnsWorld) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// ask puts a turn into its client's line, and does not wait.
func (w *turnsWorld) ask(client string, long bool) *turn {
	x := &turn{turns: w.turns, ctx: w.t.Context(), client: client, long: long}
	w.turns.mu.Lock()
	defer w.turns.mu.Unlock()
	w.turns.enqueue(x, false)
	return x
}

func (x *turn) runs() bool {
	select {
	case <-x.ready:
		return true
	default:
		return false
	}
}

// TestClientsTakeTurns, however much one of them asks for.
func TestClientsTakeTurns(t *testing.T) {
	t.Parallel()
	w := newTurnsWorld(t, 1)
	waits := map[string][]*turn{}
	for range 100 {
		waits["greedy"] = append(waits["greedy"], w.ask("greedy", false))
	}
	for i := range 3 {
		waits[fmt.Sprint(i)] = []*turn{w.ask(fmt.Sprint(i), false)}
	}
	var order []string
	for range 8 {
		for client, all := range waits {
			if len(all) > 0 && all[0].runs() {
				order = append(order, client)
				waits[client] = all[1:]
				w.pass(10 * time.Millisecond)
				all[0].done()
				break
			}
		}
	}
	slices.Sort(order[1:4])
	if got := fmt.Sprint(order); got != "[greedy 0 1 2 greedy greedy greedy greedy]" {
		t.Errorf("the order is %s", got)
	}
}

// TestWhoeverTookLongWaitsLonger: turns are of time, not of numbers.
func TestWhoeverTookLongWaitsLonger(t *testing.T) {
	t.Parallel()
	w := newTurnsWorld(t, 1)
	bombs := []*turn{w.ask("bomber", false), w.ask("bomber", false)}
	short := w.ask("short", false)
	w.pass(time.Second)
	bombs[0].done()
	for i := range 20 {
		if !short.runs() {
			t.Fatalf("short work %d waits behind the second bomb", i)
		}
		next := w.ask("short", false)
		w.pass(10 * time.Millisecond)
		short.done()
		short = next
	}
	if bombs[1].runs() {
		t.Error("the bomb has a turn already")
	}
	// A client who comes new has had no less than those who wait.
	late := w.ask("late", false)
	w.pass(10 * time.Millisecond)
	short.done()
	if !late.runs() {
		t.Error("a newcomer does not come in")
	}
}

// TestLongWorkPausesForShort, and leaves a place to it.
func TestLongWorkPausesForShort(t *testing.T) {
	t.Parallel()
	w := newTurnsWorld(t, 1)
	bomb := w.ask("bomber", false)
	w.pass(quantum / 2)
	fatalIf(t, bomb.Pause())
	w.pass(quantum)
	fatalIf(t, bomb.Pause()) // nobody else is there
	short := w.ask("short", false)
	w.pass(quantum)
	paused := make(chan error)
	go func() { paused <- bomb.Pause() }()
	eventually(t, "the short work begins", short.runs)
	select {
	case err := <-paused:
		t.Fatalf("both are at work: %v", err)
	default:
	}
	w.pass(time.Millisecond)
	short.done()
	fatalIf(t, <-paused)
	bomb.end()

	w = newTurnsWorld(t, 2)
	one, two, short := w.ask("a", true), w.ask("b", true), w.ask("c", false)
	if !one.runs() || two.runs() || !short.runs() {
		t.Error("long work takes all places")
	}
	one.done()
	if !two.runs() {
		t.Error("long work never begins")
	}
	if w.turns.running != 2 || w.turns.long != 1 {
		t.Errorf("%d run, %d long", w.turns.running, w.turns.long)
	}
}

// TestWorkThatHasBegunIsBounded: more of it than that goes on, and is neither kept nor refused.
func TestWorkThatHasBegunIsBounded(t *testing.T) {
	t.Parallel()
	w := newTurnsWorld(t, 1)
	w.turns.paused = 0
	bomb, short := w.ask("bomber", false), w.ask("short", false)
	w.pass(quantum)
	fatalIf(t, bomb.Pause())
	if short.runs() || w.turns.stopped != 0 {
		t.Error("it gave its place away")
	}
	bomb.end()
	if !short.runs() || w.turns.running != 1 {
		t.Errorf("%d run", w.turns.running)
	}
}

// TestAWaitEndsWithItsTimeOrItsClient, and leaves nothing behind.
func TestAWaitEndsWithItsTimeOrItsClient(t *testing.T) {
	t.Parallel()
	w := newTurnsWorld(t, 1)
	first := w.ask("first", false)
	w.turns.wait = time.Millisecond
	if _, err := w.turns.begin(t.Context(), "other", 0, false); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
	w.turns.wait = time.Minute
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := w.turns.begin(ctx, "other", 0, false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	first.done()
	if x := w.turns; x.running != 0 || x.waiting != 0 || len(x.lines) != 0 && x.lines["first"] == nil {
		t.Errorf("%+v", x)
	}
	for i := range 10_000 { // clients who never come again
		w.ask(fmt.Sprint(i), false).done()
	}
	if n := len(w.turns.lines); n > 5000 {
		t.Errorf("%d clients are remembered", n)
	}
}

// TestTurnsUnderMany runs many at once, for the race detector, and counts the places.
func TestTurnsUnderMany(t *testing.T) {
	t.Parallel()
	turns := newTurns(3, 100, time.Minute)
	var mu sync.Mutex
	at, most := 0, 0
	var g sync.WaitGroup
	for i := range 300 {
		g.Go(func() {
			x, err := turns.begin(t.Context(), fmt.Sprint(i%7), 0, i%11 == 0)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			if i%5 == 0 {
				time.Sleep(time.Millisecond)
			}
			mu.Lock()
			at--
			mu.Unlock()
			x.end()
		})
	}
	g.Wait()
	if most > 3 || turns.running != 0 || turns.waiting != 0 || turns.long != 0 {
		t.Errorf("%d at once of 3; after it %+v", most, turns)
	}
}
