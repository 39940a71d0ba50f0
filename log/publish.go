package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/log/storage"
)

// published is the latest checkpoint that the world may see. The raw bytes
// have been checked against the policy and must not be changed.
type published struct {
	size uint64
	root tlog.Hash
	raw  []byte    // nil before the first
	at   time.Time // when this server first saw it

	written time.Time // when it was put there
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
		if err := ctx.Err(); err != nil {
			return published{}, err
		}
		select {
		case <-ctx.Done():
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
	for last := false; ; {
		err := l.refreshCheckpoint(context.WithoutCancel(ctx))
		l.condition.mu.Lock()
		l.condition.reading = err
		l.condition.mu.Unlock()
		switch {
		case err == nil:
			said = ""
		case errors.Is(err, errContradiction):
			l.halt.now(err)
		default:
			if err.Error() != said {
				said = err.Error()
				l.log.Error("cannot read the published checkpoint; trying again", "err", err)
			}
			if l.copied != nil {
				break // whoever makes the copy mends it
			}
			if err := l.dropCheckpoint(context.WithoutCancel(ctx)); errors.Is(err, ErrRollback) {
				l.halt.now(err)
			}
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
		l.log.Error("the log is not well", "problems", strings.Join(problems, "; "))
	}
}

// refreshCheckpoint reads the checkpoint file once, and takes it over if the
// policy accepts it.
func (l *Log) refreshCheckpoint(ctx context.Context) error {
	if l.copied != nil {
		return l.refreshCopy(ctx)
	}
	raw, written, err := l.tree.Read(ctx, storage.Checkpoint, client.MaxCheckpointSize)
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
	next := published{size: uint64(c.Size), root: c.Root, raw: raw, at: time.Now(), written: written}
	if next.size < old.size && l.patience() > 0 {
		return l.publishAgain(ctx, next)
	}
	if next.size < old.size || (next.size == old.size && old.raw != nil && next.root != old.root) {
		return fmt.Errorf("%w: its checkpoint went from %d entries to %d", errContradiction, old.size, next.size)
	}
	if leaves, _ := l.leaves.open(); next.size > leaves && !l.blind {
		return nil // the witnesses were faster than the index: its seal has no row yet
	}
	if err := l.show(next); err != nil {
		return err
	}
	l.poke()
	l.log.Debug("published", "size", next.size, "root", next.root)
	return nil
}

// publishAgain has Tessera replace the checkpoint that an earlier sequencer, which was stopped for a while, has put
// there over a newer one.
func (l *Log) publishAgain(ctx context.Context, late published) error {
	root, err := rootAt(ctx, late.size, l.tilesOf(l.published.head()))
	if err != nil {
		return err
	}
	if root != late.root {
		return fmt.Errorf("%w: the checkpoint of %d entries is of another tree", errContradiction, late.size)
	}
	err = l.tree.SetPublished(ctx, time.Now().Add(-l.cfg.RepublishInterval.Duration))
	return errors.Join(fmt.Errorf("an older one, of %d entries, was put over it, and it is published again", late.size), err)
}

// publishNewer has Tessera publish again what it takes for published, where that never was seen: an older checkpoint
// was put over it at once.
func (l *Log) publishNewer(ctx context.Context) {
	signed, grew := l.guard.latest()
	if l.cfg.Cluster == nil || l.published.head().size >= signed {
		l.unseen = time.Time{}
		return
	}
	if wait := l.cfg.WitnessTimeout.Duration + 2*l.tree.Pace(); time.Since(grew) < wait || time.Since(l.unseen) < wait {
		return
	}
	l.unseen = time.Now()
	if err := l.tree.SetPublished(ctx, l.unseen.Add(-l.cfg.RepublishInterval.Duration)); err != nil {
		l.log.Warn("the checkpoint that was signed last cannot be published again", "err", err)
	}
}

// show lets readers see a checkpoint, which must be of a tree that ends in a seal: else it is not to be believed,
// whoever cosigned it.
func (l *Log) show(next published) error {
	if next.size > 0 && !l.blind {
		if _, err := l.sealedAt(next.size); err != nil {
			return fmt.Errorf("the checkpoint in the tree's directory: %w: it is not to be believed, whoever cosigned it", err)
		}
	}
	l.published.set(next)
	l.leaves.publish(next.size)
	l.metrics.published.Set(float64(next.size))
	return nil
}
