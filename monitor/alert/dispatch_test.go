package alert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// memory is an outbox with teeth: it objects to what a dispatcher must not do.
type memory struct {
	t   testing.TB
	cfg DispatcherConfig // for dispatcher
	mu  sync.Mutex

	next      int64
	pending   map[int64]*waiting
	delivered map[int64]int
	reasons   []string
	waits     []time.Duration
	refuse    int // so many calls of Delivered fail
}

type waiting struct {
	channel string
	due     time.Time
	d       Delivery
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, pending: map[int64]*waiting{}, delivered: map[int64]int{}}
}

func (m *memory) add(id string, channels ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range channels {
		m.next++
		m.pending[m.next] = &waiting{c, time.Now(), Delivery{ID: m.next, Alert: Alert{ID: id, Event: Found, Class: store.Security, Summary: "s"}}}
	}
}

func (m *memory) Pending(_ context.Context, channel string, now time.Time, limit int) ([]Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Delivery
	for _, w := range m.pending {
		if w.channel == channel && !w.due.After(now) {
			all = append(all, w.d)
		}
	}
	slices.SortFunc(all, func(a, b Delivery) int { return int(a.ID - b.ID) })
	return all[:min(len(all), limit)], nil
}

var errDisk = errors.New("the disk is full")

func (m *memory) Delivered(_ context.Context, id int64, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse > 0 {
		m.refuse--
		return errDisk
	}
	if m.pending[id] == nil {
		m.t.Errorf("delivery %d is noted, but was not pending", id)
	}
	delete(m.pending, id)
	m.delivered[id]++
	return nil
}

func (m *memory) Failed(_ context.Context, id int64, reason string, next time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.pending[id]
	if w == nil {
		m.t.Errorf("delivery %d failed, but was not pending", id)
		return nil
	}
	w.d.Attempts++
	w.due = next
	m.reasons, m.waits = append(m.reasons, reason), append(m.waits, time.Until(next))
	return nil
}

func (m *memory) left() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pending)
}

// fake is a channel that does what the test wants.
type fake struct {
	name string
	do   func(ctx context.Context, a Alert) error
	mu   sync.Mutex
	got  []Alert
}

func (f *fake) Name() string { return f.name }

func (f *fake) Send(ctx context.Context, a Alert) error {
	if f.do != nil {
		if err := f.do(ctx, a); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = append(f.got, a)
	return nil
}

// failing is a channel that always fails.
func failing(name string, err error) *fake {
	return &fake{name: name, do: func(context.Context, Alert) error { return err }}
}

func (f *fake) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, a := range f.got {
		all = append(all, a.ID)
	}
	return all
}

func (m *memory) dispatcher(channels ...Channel) *Dispatcher {
	m.cfg.Outbox, m.cfg.Channels = m, channels
	return testlog.Must(New(m.cfg))
}

// start runs a dispatcher until the returned function is called.
func start(d *Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { d.Run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestOneBrokenChannelBlocksNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		stuck := &fake{name: "stuck", do: func(ctx context.Context, _ Alert) error { <-ctx.Done(); return ctx.Err() }}
		broken := failing("broken", errors.New("no"))
		good := &fake{name: "good"}
		d := m.dispatcher(stuck, broken, good)
		stop := start(d)
		var want []string
		for i := range 40 {
			id := fmt.Sprint("f", i)
			m.add(id, "stuck", "broken", "good")
			want = append(want, id)
		}
		d.Wake()
		synctest.Wait()
		if got := good.ids(); !slices.Equal(got, want) {
			t.Errorf("the good channel got %q", got)
		}
		time.Sleep(24 * time.Hour) // in the bubble's time
		stop()
		if got := good.ids(); len(got) != 40 || m.left() != 80 {
			t.Errorf("the good channel got %d, %d are left", len(got), m.left())
		}
		for _, r := range m.reasons {
			if r != "no" {
				t.Errorf("a failure was noted as %q", r)
			}
		}
	})
}

func TestAnAlertIsSentOnceToEachChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		a, b := &fake{name: "a"}, &fake{name: "b"}
		d := m.dispatcher(a, b)
		stop := start(d)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				m.add(fmt.Sprint("f", i), "a", "b")
				d.Wake()
				if i%5 == 0 {
					if err := d.Drain(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Hour)
		stop()
		for _, c := range []*fake{a, b} {
			got := c.ids()
			slices.Sort(got)
			if len(got) != 50 || len(slices.Compact(got)) != 50 {
				t.Errorf("%s got %d alerts", c.name, len(got))
			}
		}
		if m.left() != 0 {
			t.Errorf("%d are left", m.left())
		}
	})
}

// TestACrashBetweenSendingAndNotingRepeatsOnceWithTheSameID is the one case in which an
// alert is sent twice; the receiver can tell by its ID.
func TestACrashBetweenSendingAndNotingRepeatsOnceWithTheSameID(t *testing.T) {
	m := newMemory(t)
	m.add("f1-found", "a")
	m.refuse = 1
	a := &fake{name: "a"}
	if err := m.dispatcher(a).Drain(t.Context()); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	for range 3 { // the monitor starts again
		fatalIf(t, m.dispatcher(a).Drain(t.Context()))
	}
	if got := a.ids(); !slices.Equal(got, []string{"f1-found", "f1-found"}) {
		t.Errorf("got %q", got)
	}
}

// TestAStoreThatCannotNoteItDoesNotRepeatTheAlert: as long as the process lives, it remembers.
func TestAStoreThatCannotNoteItDoesNotRepeatTheAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.add("f1-found", "a")
		m.refuse = 7
		a := &fake{name: "a"}
		stop := start(m.dispatcher(a))
		time.Sleep(24 * time.Hour)
		stop()
		if got := a.ids(); len(got) != 1 || m.left() != 0 {
			t.Errorf("got %q, %d are left", got, m.left())
		}
	})
}

func TestFailuresAreTriedAgainEverMoreSlowlyAndForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.add("f1-found", "a")
		fails := 20
		a := &fake{name: "a", do: func(context.Context, Alert) error {
			if fails--; fails >= 0 {
				return errors.New("busy\x1b[2J")
			}
			return nil
		}}
		m.cfg.First = time.Second
		stop := start(m.dispatcher(a))
		time.Sleep(48 * time.Hour)
		stop()
		if len(a.ids()) != 1 || m.left() != 0 || len(m.waits) != 20 {
			t.Fatalf("sent %d times, %d left, %d failures", len(a.ids()), m.left(), len(m.waits))
		}
		for i, w := range m.waits {
			least := min(time.Second<<i, time.Hour)
			if w < least || w > least+least/4+1 {
				t.Errorf("wait %d is %v", i, w)
			}
		}
		if strings.Contains(m.reasons[0], "\x1b") {
			t.Errorf("%q", m.reasons[0])
		}
	})
}

func TestAChannelThatAsksToWaitIsLeftAlone(t *testing.T) {
	m := newMemory(t)
	m.add("f1-found", "a")
	a := failing("a", &LaterError{42 * time.Minute, errors.New("429")})
	if err := m.dispatcher(a).Drain(t.Context()); err == nil {
		t.Error("no error")
	}
	if w := m.waits[0].Round(time.Minute); w != 42*time.Minute {
		t.Errorf("tried again after %v", w)
	}
}

// TestAPoisonedAlertDoesNotHoldUpTheOthers of its channel.
func TestAPoisonedAlertDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		a := &fake{name: "a", do: func(_ context.Context, a Alert) error {
			if a.ID == "bad" {
				return errors.New("400")
			}
			return nil
		}}
		m.add("bad", "a")
		for i := range 30 {
			m.add(fmt.Sprint("f", i), "a")
		}
		stop := start(m.dispatcher(a))
		time.Sleep(time.Minute)
		stop()
		if len(a.ids()) != 30 || m.left() != 1 {
			t.Errorf("%d sent, %d left", len(a.ids()), m.left())
		}
	})
}

func TestABrokenChannelIsToldOnceAndSoIsItsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		m.add("f1-found", "a")
		var said []string
		var down atomic.Bool
		down.Store(true)
		a := &fake{name: "a", do: func(context.Context, Alert) error {
			if down.Load() {
				return errors.New("down")
			}
			return nil
		}}
		m.cfg.BrokenAfter = 3
		m.cfg.Broken = func(_ context.Context, c string, cause error) error {
			said = append(said, c+" "+cause.Error())
			return nil
		}
		m.cfg.Working = func(_ context.Context, c string) error { said = append(said, c+" works"); return nil }
		stop := start(m.dispatcher(a))
		time.Sleep(24 * time.Hour)
		down.Store(false)
		time.Sleep(24 * time.Hour)
		m.add("f2-found", "a")
		time.Sleep(24 * time.Hour)
		stop()
		if !slices.Equal(said, []string{"a down", "a works"}) {
			t.Errorf("said %q", said)
		}
	})
}

func TestHeartbeatsComeAtTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		a, b := &fake{name: "a"}, &fake{name: "b"}
		n := 0
		m.cfg.Heartbeats = map[string]time.Duration{"a": time.Hour}
		m.cfg.Status = func(context.Context) (string, string, error) {
			if n++; n == 2 {
				return "", "", errDisk
			}
			return "All is well.", "log.example: 7 of 7", nil
		}
		stop := start(m.dispatcher(a, b))
		time.Sleep(5*time.Hour + time.Minute)
		stop()
		ids := a.ids()
		slices.Sort(ids)
		if len(b.ids()) != 0 || len(slices.Compact(ids)) != 5 {
			t.Errorf("%d and %d heartbeats", len(ids), len(b.ids()))
		}
		if h := a.got[0]; h.Event != Heartbeat || h.Class != store.Info || h.Summary != "All is well." || h.Text == "" {
			t.Errorf("%+v", h)
		}
	})
	if _, err := New(DispatcherConfig{Outbox: newMemory(t), Heartbeats: map[string]time.Duration{"a": 1}}); err == nil {
		t.Error("heartbeats without a status")
	}
	if _, err := New(DispatcherConfig{}); err == nil {
		t.Error("no outbox")
	}
}

func TestATestReportsOnEachChannel(t *testing.T) {
	a := &fake{name: "a"}
	b := failing("b", errors.New("no"))
	r := SendTest(t.Context(), []Channel{a, b}, time.Now())
	if len(r) != 2 || r[0].Channel != "a" || r[0].Err != nil || r[1].Channel != "b" || r[1].Err == nil {
		t.Errorf("%+v", r)
	}
	if len(a.got) != 1 || a.got[0].Event != Test || a.got[0].ID == "" {
		t.Errorf("%+v", a.got)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
