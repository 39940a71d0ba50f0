package logsite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	crateBytes = 3000             // about the size of a .crate
	patience   = 30 * time.Second // for one answer
	comeAgain  = 500 * time.Millisecond
	addresses  = 10 // of clients: one would be told to wait
	lookEvery  = 200 * time.Millisecond
	endOfAll   = 3 * time.Minute
)

// Load is clients that submit to a cluster all the time, through all its nodes, until Finish, and that look at every
// checkpoint that a node or the store shows.
type Load struct {
	Ledger *Ledger

	cluster *Cluster
	clients []*http.Client
	stop    context.CancelFunc // of new submissions
	begun   sync.WaitGroup     // whoever begins submissions
	waiting sync.WaitGroup     // submissions
	looking context.CancelFunc
	looks   sync.WaitGroup

	mu     sync.Mutex // protects what follows
	failed []error    // the first that must not happen to a submission, or in a checkpoint
	fails  int        // of them, all
	count  int        // submissions
}

// StartLoad begins so many submissions a second. Each comes again, to the next node, while it is asked to or gets no
// answer.
func StartLoad(ctx context.Context, c *Cluster, rate int) *Load {
	l := &Load{cluster: c, Ledger: NewLedger(c.Policy)}
	for i := range addresses {
		client := Client(fmt.Sprintf("127.0.1.%d", 1+i), 1000)
		client.Timeout = patience
		l.clients = append(l.clients, client)
	}
	made := make(chan Submission, 2*rate)
	begin, stop := context.WithCancel(ctx)
	l.stop = stop
	l.begun.Go(func() { l.make(begin, made) })
	l.begun.Go(func() { l.submitAll(begin, ctx, made, rate) })
	look, end := context.WithCancel(ctx)
	l.looking = end
	for _, n := range c.Nodes {
		l.looks.Go(func() { l.look(look, n.Checkpoint) })
	}
	l.looks.Go(func() {
		l.look(look, func(ctx context.Context) ([]byte, error) { return c.Store.Get(ctx, "checkpoint") })
	})
	return l
}

// make makes submissions until ctx ends.
func (l *Load) make(ctx context.Context, made chan<- Submission) {
	defer close(made)
	const batch = 50
	for i := 0; ctx.Err() == nil; i++ {
		subs, err := Make(fmt.Sprintf("bench-%d", i), batch, crateBytes)
		if err != nil {
			l.fail(err)
			return
		}
		for _, s := range subs {
			select {
			case made <- s:
			case <-ctx.Done():
				return
			}
		}
	}
}

// submitAll begins so many submissions a second, whatever comes of them, until begin ends.
func (l *Load) submitAll(begin, ctx context.Context, made <-chan Submission, rate int) {
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-begin.Done():
			return
		case <-tick.C:
		}
		s, more := <-made
		if !more {
			return
		}
		l.mu.Lock()
		l.count++
		l.mu.Unlock()
		l.waiting.Go(func() {
			if err := l.submit(ctx, i, s); err != nil {
				l.fail(fmt.Errorf("submission %d: %w", i, err))
			}
		})
	}
}

// submit submits to one front end after the other until one of them has a bundle.
func (l *Load) submit(ctx context.Context, i int, s Submission) error {
	asked := time.Now()
	for try := i; ; try++ {
		n := l.cluster.Nodes[try%len(l.cluster.Nodes)]
		status, body, err := SubmitFor(ctx, l.clients[i%addresses], n.URL, s)
		switch {
		case err == nil && status == http.StatusOK:
			return l.Ledger.Acknowledged(s, asked, body)
		case err == nil && status == http.StatusInternalServerError: // it may come again, and should not have to hear that
			l.fail(fmt.Errorf("submission %d: %s answered %d %.300s", i, n.Name, status, body))
		case err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests:
			return fmt.Errorf("%s answered %d %.300s", n.Name, status, body)
		}
		if err := sleep(ctx, comeAgain); err != nil {
			return err
		}
	}
}

// look takes every checkpoint that stands somewhere, until ctx ends.
func (l *Load) look(ctx context.Context, read func(context.Context) ([]byte, error)) {
	last := ""
	for ctx.Err() == nil {
		soon, cancel := context.WithTimeout(ctx, time.Second)
		signed, err := read(soon)
		cancel()
		if err == nil && string(signed) != last {
			last = string(signed)
			if err := l.Ledger.Saw(signed); err != nil {
				l.fail(err)
			}
		}
		if sleep(ctx, lookEvery) != nil {
			return
		}
	}
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails++; len(l.failed) < 5 {
		l.failed = append(l.failed, err)
	}
}

// Calm waits until all nodes serve, and what was submitted after that has a bundle.
func (l *Load) Calm(ctx context.Context) error {
	if err := l.cluster.Ready(ctx); err != nil {
		return err
	}
	return l.fresh(ctx, time.Now())
}

// Outage waits until a fault is over and all is calm again, and returns the longest time without any bundle since it began.
func (l *Load) Outage(ctx context.Context, begin time.Time) (longest time.Duration, err error) {
	if err := l.Calm(ctx); err != nil {
		return 0, err
	}
	last := begin
	for _, a := range l.Ledger.Since(begin) {
		longest, last = max(longest, a.Given.Sub(last)), a.Given
	}
	return max(longest, time.Since(last)), nil
}

// fresh waits until a submission that began after a moment has a bundle: one from before may have been in the tree.
func (l *Load) fresh(ctx context.Context, t time.Time) error {
	for range 10 * 120 {
		if slices.ContainsFunc(l.Ledger.Since(t), func(a Answer) bool { return a.Asked.After(t) }) {
			return nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("nothing that was submitted in the last two minutes has a bundle")
}

// Finish begins no more submissions, and brings those that have begun to their end.
func (l *Load) Finish() error {
	l.stop()
	l.begun.Wait()
	done := make(chan struct{})
	go func() {
		l.waiting.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-time.After(endOfAll):
		err = fmt.Errorf("not all submissions have a bundle %v after the last fault", endOfAll)
	}
	l.looking()
	l.looks.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.Ledger.Acknowledgements(); err == nil && n != l.count {
		err = fmt.Errorf("%d entries were submitted, and %d have a bundle", l.count, n)
	}
	if l.fails > 0 {
		err = errors.Join(err, fmt.Errorf("%d times what must not happen: %w", l.fails, errors.Join(l.failed...)))
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
