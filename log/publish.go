package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// published is the latest checkpoint that the world may see. The raw bytes
// have been checked against the policy and must not be changed.
type published struct {
	size uint64
	root tlog.Hash
	raw  []byte    // nil before the first
	at   time.Time // when this server first saw it
}

func (p published) tree() treeHead { return treeHead{p.size, p.root} }

// head returns the latest published checkpoint. Before there is one nothing can be said of what is
// in the log: the error is a *Refusal that asks to come again.
func (l *Log) head() (published, error) {
	if head := l.published.head(); head.raw != nil {
		return head, nil
	}
	return published{}, later(Starting, l.retry, nil,
		"The log has published no checkpoint since it was started, so it cannot say what it holds: try again in a moment.")
}

// publication follows the checkpoint that Tessera writes. Reads and bundles
// are gated by it, never by the file.
type publication struct {
	mu      sync.Mutex
	current published     // owned by mu
	changed chan struct{} // owned by mu; closed and replaced at every change
}

func newPublication() *publication { return &publication{changed: make(chan struct{})} }

// head returns the latest checkpoint; its raw is nil when there is none yet.
func (p *publication) head() published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

func (p *publication) set(next published) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current = next
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait returns the first checkpoint seen that covers so many entries, of 0 any.
func (p *publication) wait(ctx context.Context, size uint64) (published, error) {
	for {
		p.mu.Lock()
		head, changed := p.current, p.changed
		p.mu.Unlock()
		if head.raw != nil && head.size >= size {
			return head, nil
		}
		select {
		case <-ctx.Done():
			return published{}, ctx.Err()
		case <-changed:
		}
	}
}

// followCheckpoint looks at the checkpoint file until ctx ends, and then once more: what
// was published last has waiters too. A read that fails is tried again; it releases no
// waiter, unlike tessera.PublicationAwaiter.
func (l *Log) followCheckpoint(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	var said string
	var ail ailment
	storage := time.Now()
	for last := false; ; {
		if l.copied == nil { // else the file is another's
			l.clock.mend(l)
		}
		err := l.refreshCheckpoint(context.WithoutCancel(ctx))
		switch {
		case err == nil:
			said = ""
		case errors.Is(err, errContradiction):
			l.halt.now(err)
		case err.Error() != said:
			said = err.Error()
			l.log.Error("cannot read the published checkpoint; trying again", "err", err)
			if l.copied != nil {
				break // whoever makes the copy mends it
			}
			if err := l.dropCheckpoint(); err != nil {
				l.halt.now(err)
			}
		}
		if time.Since(storage) >= time.Second {
			l.tryStorage(context.WithoutCancel(ctx))
			storage = time.Now()
		}
		ail.observe(l, time.Now())
		if last {
			return
		}
		select {
		case <-ctx.Done():
			last = true
		case <-t.C:
		}
	}
}

// ailment tells the operator once when the log has not been well for a while, and
// once when it is again. What is wrong is what /healthz says.
type ailment struct {
	since time.Time // zero while the log is well
	told  bool
}

func (a *ailment) observe(l *Log, now time.Time) {
	problems := l.health().Problems
	switch {
	case len(problems) == 0:
		if a.told {
			l.log.Info("the log is well again")
		}
		*a = ailment{}
	case a.since.IsZero():
		a.since = now
	case !a.told && now.Sub(a.since) > 3*l.cfg.CheckpointInterval.Duration+l.cfg.WitnessTimeout.Duration:
		a.told = true
		l.log.Error("the log is not well", "problems", problems)
	}
}

// refreshCheckpoint reads the checkpoint file once, and takes it over if the
// policy accepts it.
func (l *Log) refreshCheckpoint(ctx context.Context) error {
	if l.copied != nil {
		return l.refreshCopy(ctx)
	}
	raw, err := l.reader.ReadCheckpoint(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	old := l.published.head()
	if bytes.Equal(raw, old.raw) {
		return nil
	}
	c, err := l.policy.CheckCheckpoint(raw)
	if err == nil && c.Origin != l.cfg.Origin {
		err = fmt.Errorf("it is of another log, %q", c.Origin)
	}
	if err != nil {
		return fmt.Errorf("the checkpoint in the tree's directory: %w", err)
	}
	next := published{size: uint64(c.Size), root: c.Root, raw: bytes.Clone(raw), at: time.Now()}
	if next.size < old.size || (next.size == old.size && old.raw != nil && next.root != old.root) {
		return fmt.Errorf("%w: its checkpoint went from %d entries to %d", errContradiction, old.size, next.size)
	}
	l.published.set(next)
	l.metrics.published.Set(float64(next.size))
	l.log.Debug("published", "size", next.size, "root", next.root)
	return nil
}
