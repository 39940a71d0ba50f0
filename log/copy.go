package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	tclient "github.com/transparency-dev/tessera/client"
)

// copied reads a tree that this program does not write: a copy that somebody else brings up to date, or a log
// that has ended. What counts is the checkpoint, not what else lies there.
type copied struct {
	tclient.FileFetcher
	size atomic.Uint64 // of the latest checkpoint that was found good
}

var _ tessera.LogReader = &copied{}

// IntegratedSize implements tessera.LogReader.
func (c *copied) IntegratedSize(context.Context) (uint64, error) { return c.size.Load(), nil }

// NextIndex implements tessera.LogReader.
func (c *copied) NextIndex(context.Context) (uint64, error) { return c.size.Load(), nil }

// openCopyState is openState where nothing is signed: it needs no key and no memory of what was signed, and
// touches the tree's directory not at all.
func (l *Log) openCopyState(ctx context.Context) error {
	if _, err := os.Stat(l.cfg.TreeDir); err != nil {
		return fmt.Errorf("the copy of the tree: %w", err)
	}
	state, err := filepath.Abs(l.cfg.StateDir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	lock, err := lockDir(state)
	if err != nil {
		return err
	}
	l.locks = append(l.locks, lock)
	l.guard = &guard{origin: l.cfg.Origin}
	if err := l.openIndexFile(ctx); err != nil {
		return err
	}
	if l.openings, err = openOpenings(ctx, state, l.cfg.OpeningsBytes); err != nil {
		return err
	}
	l.builds, err = openBuildStore(ctx, state)
	return err
}

// openCopy is openTree where nothing is written.
func (l *Log) openCopy(ctx context.Context) error {
	l.copied = &copied{FileFetcher: tclient.FileFetcher{Root: l.cfg.TreeDir}}
	l.reader = l.copied
	l.verified = newVerified(l.reader, l.damages.report)
	l.prover = newProver(l.verified)
	var err error
	if l.transport, err = newGathering(l.ctx, l.policy, l.cfg.WitnessTimeout.Duration, l.cfg.CosignatureGrace.Duration,
		func(string, string) {}); err != nil { // it is given nothing to gather for
		return err
	}
	l.shutdown = func(context.Context) error { return nil }
	l.appender = func(context.Context, *tessera.Entry) tessera.IndexFuture {
		return func() (tessera.Index, error) { return tessera.Index{}, errors.New("this log is read-only") }
	}
	next, err := l.readCopy(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the tree in %s has no checkpoint: nothing is there to be served", l.cfg.TreeDir)
	}
	if err != nil {
		return err
	}
	if f := l.frozen; f != nil && (uint64(f.Size) != next.size || f.Root != next.root) {
		return fmt.Errorf("%w: the log was frozen with %d entries and the root %v, but its checkpoint has %d and %v",
			errContradiction, f.Size, f.Root, next.size, next.root)
	}
	l.copied.size.Store(next.size)
	return nil
}

// readCopy reads the checkpoint of a copy, and compares it with policy and tiles.
func (l *Log) readCopy(ctx context.Context) (published, error) {
	raw, err := l.reader.ReadCheckpoint(ctx)
	if err != nil {
		return published{}, err
	}
	if old := l.published.head(); bytes.Equal(raw, old.raw) {
		return old, nil
	}
	c, err := l.policy.CheckCheckpoint(raw)
	if err == nil && c.Origin != l.cfg.Origin {
		err = fmt.Errorf("it is of another log, %q", c.Origin)
	}
	if err != nil {
		return published{}, fmt.Errorf("the checkpoint in the tree's directory: %w", err)
	}
	next := published{size: uint64(c.Size), root: c.Root, raw: bytes.Clone(raw), at: time.Now()}
	root, err := rootAt(ctx, next.size, l.tilesOf(next))
	if err == nil && root != next.root {
		err = fmt.Errorf("they give the root %v, not %v", root, next.root)
	}
	if err != nil {
		return published{}, fmt.Errorf("the tiles are not those of the checkpoint of %d entries: %w", next.size, err)
	}
	return next, nil
}

// refreshCopy is refreshCheckpoint of a copy: what is new is indexed before it is shown, and must continue
// what was shown before.
func (l *Log) refreshCopy(ctx context.Context) error {
	old := l.published.head()
	next, err := l.readCopy(ctx)
	if err != nil || old.raw != nil && bytes.Equal(next.raw, old.raw) {
		return err
	}
	if next.size < old.size {
		return fmt.Errorf("the copy's checkpoint went back from %d entries to %d; the newer one is served further",
			old.size, next.size)
	}
	if old.raw != nil {
		root, err := rootAt(ctx, old.size, l.tilesOf(next))
		if err != nil {
			return err
		}
		if root != old.root {
			return fmt.Errorf("%w: the tree of %d entries does not continue the %d that were shown", errContradiction,
				next.size, old.size)
		}
	}
	if err := l.indexCopy(ctx, next.tree()); err != nil {
		return err
	}
	l.copied.size.Store(next.size)
	l.published.set(next)
	l.metrics.published.Set(float64(next.size))
	return nil
}

// indexCopy is indexUpTo of a copy, whose entries may be others than its tiles say while it is written.
func (l *Log) indexCopy(ctx context.Context, tree treeHead) error {
	l.indexing.Lock()
	defer l.indexing.Unlock()
	for l.indexed < tree.size {
		err := l.indexBatch(ctx, tree.size, func(ctx context.Context, n uint64) ([][]byte, error) {
			return l.verified.entries(ctx, tree, n)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
