package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cratelog/monitor/store"
)

// Delivery is one alert that waits for one channel.
type Delivery struct {
	ID       int64 // in the outbox
	Attempts int   // that have failed so far
	Alert    Alert // with an ID that does not change between attempts
}

// Outbox holds deliveries durably. The monitor's store is one.
type Outbox interface {
	// Pending returns at most limit deliveries for a channel whose time has come, those of
	// the gravest class first.
	Pending(ctx context.Context, channel string, now time.Time, limit int) ([]Delivery, error)
	// Delivered notes that the channel has taken it. It is never pending again.
	Delivered(ctx context.Context, id int64, now time.Time) error
	// Failed notes an attempt that failed, and when to try again.
	Failed(ctx context.Context, id int64, reason string, next time.Time) error
}

// DispatcherConfig says what to deliver. Outbox and Channels are required.
type DispatcherConfig struct {
	Outbox   Outbox
	Channels []Channel

	// Heartbeats are the intervals of those channels that want one, by name.
	Heartbeats map[string]time.Duration
	// Status returns what a heartbeat says: a sentence, and more lines. It is required if
	// there are heartbeats.
	Status func(ctx context.Context) (summary, text string, err error)

	// Broken is called when a channel has failed BrokenAfter times in a row, and Working when
	// it has worked for the first time, or for the first time after that. They let the monitor
	// say so through the other channels. They may be nil. An error is logged.
	Broken  func(ctx context.Context, channel string, cause error) error
	Working func(ctx context.Context, channel string) error

	Poll        time.Duration // how often to look into the outbox without a Wake; 0 for 15 s
	First       time.Duration // wait after a first failure, doubled each time; 0 for 10 s
	BrokenAfter int           // 0 for 5
	Logger      *slog.Logger  // nil for none
}

// slowest is the longest wait between two attempts.
const slowest = time.Hour

// batch is how many deliveries are taken from the outbox at once.
const batch = 16

// A Dispatcher delivers what is in the outbox. Its methods may be called concurrently.
type Dispatcher struct {
	cfg   DispatcherConfig
	lanes []*lane
}

// lane is one channel with its state. Hold mu for the fields below it.
type lane struct {
	d       *Dispatcher
	channel Channel
	wake    chan struct{} // of capacity 1

	mu       sync.Mutex
	sent     map[int64]bool // sent, but the outbox could not note it
	failures int            // in a row
	reported string         // "": nothing yet; "broken", "working": what was reported last
}

// New checks the configuration.
func New(cfg DispatcherConfig) (*Dispatcher, error) {
	if cfg.Outbox == nil {
		return nil, errors.New("alert: an outbox is needed")
	}
	if len(cfg.Heartbeats) > 0 && cfg.Status == nil {
		return nil, errors.New("alert: heartbeats need a status to send")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&cfg.Poll, 15 * time.Second}, {&cfg.First, 10 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if cfg.BrokenAfter <= 0 {
		cfg.BrokenAfter = 5
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Dispatcher{cfg: cfg}
	for _, c := range cfg.Channels {
		d.lanes = append(d.lanes, &lane{d: d, channel: c, wake: make(chan struct{}, 1), sent: make(map[int64]bool)})
	}
	return d, nil
}

// Wake says that there is something new in the outbox. It never blocks.
func (d *Dispatcher) Wake() {
	for _, l := range d.lanes {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Run delivers until ctx ends. Nothing that goes wrong with a channel or the outbox ends it.
func (d *Dispatcher) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range d.lanes {
		wg.Go(func() { l.run(ctx) })
		if every := d.cfg.Heartbeats[l.channel.Name()]; every > 0 {
			wg.Go(func() { l.beat(ctx, every) })
		}
	}
	wg.Wait()
}

// Drain tries everything that is due now once, on all channels at a time, and returns
// what failed. It is for a monitor that runs once.
func (d *Dispatcher) Drain(ctx context.Context) error {
	errs := make([]error, len(d.lanes))
	var wg sync.WaitGroup
	for i, l := range d.lanes {
		wg.Go(func() { errs[i] = l.drain(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// run delivers what is due, then waits: for a wake or the poll after success, ever longer
// after failures.
func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.drain(ctx)
		wait, wake := l.d.cfg.Poll, l.wake
		if err != nil && ctx.Err() == nil {
			l.d.cfg.Logger.Warn("alerts wait", "channel", l.channel.Name(), "error", err)
			wait, wake = l.pause(), nil // a wake makes nothing better
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-time.After(wait):
		}
	}
}

// drain sends until nothing is due any more, or an attempt fails.
func (l *lane) drain(ctx context.Context) error {
	for {
		l.mu.Lock()
		due, err := l.d.cfg.Outbox.Pending(ctx, l.channel.Name(), time.Now(), batch)
		// What has failed comes last, so that one alert that the other side refuses does not
		// delay the others.
		slices.SortStableFunc(due, func(a, b Delivery) int { return a.Attempts - b.Attempts })
		for i := 0; err == nil && i < len(due); i++ {
			err = l.deliver(ctx, due[i])
		}
		l.mu.Unlock()
		if err != nil || len(due) == 0 {
			return err
		}
	}
}

// deliver sends one alert, then notes what came of it. The order matters: were it noted
// first, a crash between the two would lose the alert.
func (l *lane) deliver(ctx context.Context, x Delivery) error {
	if !l.sent[x.ID] {
		if err := l.channel.Send(ctx, x.Alert); err != nil {
			if ctx.Err() != nil {
				return ctx.Err() // the monitor stops; that is no failure of the channel
			}
			l.failed(ctx, err)
			next := time.Now().Add(l.d.wait(x.Attempts, err))
			return errors.Join(fmt.Errorf("alert %s: %w", x.Alert.ID, err),
				l.d.cfg.Outbox.Failed(ctx, x.ID, clip(oneLine(err.Error()), 500), next))
		}
		l.sent[x.ID] = true
		l.worked(ctx)
	}
	// The alert is out, so this is noted even if the monitor stops.
	if err := l.d.cfg.Outbox.Delivered(context.WithoutCancel(ctx), x.ID, time.Now()); err != nil {
		return fmt.Errorf("alert %s was sent, but that could not be noted: %w", x.Alert.ID, err)
	}
	delete(l.sent, x.ID)
	return nil
}

// failed counts a failure, and reports once that the channel is broken.
func (l *lane) failed(ctx context.Context, cause error) {
	l.failures++
	if l.failures < l.d.cfg.BrokenAfter || l.reported == "broken" || l.d.cfg.Broken == nil {
		return
	}
	if err := l.d.cfg.Broken(ctx, l.channel.Name(), cause); err != nil {
		l.d.cfg.Logger.Error("cannot record that a channel is broken", "channel", l.channel.Name(), "error", err)
		return
	}
	l.reported = "broken"
}

// worked reports that the channel works, if it did not before, or nothing was reported since
// the start.
func (l *lane) worked(ctx context.Context) {
	l.failures = 0
	if l.reported == "working" || l.d.cfg.Working == nil {
		return
	}
	if err := l.d.cfg.Working(ctx, l.channel.Name()); err != nil {
		l.d.cfg.Logger.Error("cannot record that a channel works", "channel", l.channel.Name(), "error", err)
		return
	}
	l.reported = "working"
}

// pause is how long a channel rests after a failure.
func (l *lane) pause() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return min(l.d.wait(max(l.failures-1, 0), nil), 5*time.Minute)
}

// wait is how long to leave a delivery alone after attempts failures before this one: it
// doubles each time, up to an hour, with up to a quarter more at random; or what the other
// side asked for.
func (d *Dispatcher) wait(attempts int, cause error) time.Duration {
	var later *LaterError
	if errors.As(cause, &later) {
		return later.After
	}
	w := slowest
	if attempts < 16 {
		w = min(d.cfg.First<<attempts, slowest)
	}
	return w + rand.N(w/4+1)
}

// beat sends a heartbeat at once, and then at each interval. A heartbeat that fails is not
// tried again: its absence is what it says.
func (l *lane) beat(ctx context.Context, every time.Duration) {
	for {
		if err := l.heartbeat(ctx); err != nil && ctx.Err() == nil {
			l.d.cfg.Logger.Warn("no heartbeat", "channel", l.channel.Name(), "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}

func (l *lane) heartbeat(ctx context.Context) error {
	summary, text, err := l.d.cfg.Status(ctx)
	if err != nil {
		return err
	}
	return l.channel.Send(ctx, aside(Heartbeat, l.channel, time.Now(), summary, text))
}

// aside is an alert about no finding.
func aside(event string, c Channel, now time.Time, summary, text string) Alert {
	return Alert{ID: fmt.Sprintf("%s-%s-%d", event, c.Name(), now.UnixMilli()), Event: event, Kind: event,
		Class: store.Info, Time: now, Summary: summary, Text: text}
}

// Result is what came of a test of one channel.
type Result struct {
	Channel string
	Took    time.Duration
	Err     error // nil: the other side has taken it
}

// SendTest sends a test alert to every channel at once and reports on each, in their order.
func SendTest(ctx context.Context, channels []Channel, now time.Time) []Result {
	results := make([]Result, len(channels))
	var wg sync.WaitGroup
	for i, c := range channels {
		wg.Go(func() {
			start := time.Now()
			err := c.Send(ctx, aside(Test, c, now,
				"This is a test of the alerts of a cratelog monitor. Nothing has happened.",
				"If you can read this, the channel "+c.Name()+" works."))
			results[i] = Result{c.Name(), time.Since(start), err}
		})
	}
	wg.Wait()
	return results
}
