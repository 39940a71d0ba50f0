package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"

	"cratelog/client"
	"cratelog/log/storage"
)

// copied reads a tree that this program does not write: a copy that somebody else brings up to date, or a log
// that has ended. What counts is the checkpoint, not what else lies there.
type copied struct {
	head atomic.Pointer[treeHead] // of the latest checkpoint that was found good
}

// openCopyState is openState where nothing is signed: it needs no key and no memory of what was signed, and
// touches the tree's directory not at all.
func (l *Log) openCopyState(ctx context.Context) error {
	if err := l.lockState(); err != nil {
		return err
	}
	l.guard = &guard{origin: l.cfg.Origin}
	if err := l.openIndexFile(ctx); err != nil {
		return err
	}
	return l.openKept(ctx)
}

// openCopy is openTree where nothing is written.
func (l *Log) openCopy(ctx context.Context) error {
	l.copied = &copied{}
	l.verified = newVerified(l.tree, l.damages.report)
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
	if errors.Is(err, fs.ErrNotExist) && l.front() && l.frozen == nil {
		next.root, err = rootAt(ctx, 0, nil) // the sequencer has not begun yet
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%v has no checkpoint: nothing is there to be served", l.tree)
	}
	if err != nil {
		return err
	}
	if f := l.frozen; f != nil && (uint64(f.Size) != next.size || f.Root != next.root) {
		return fmt.Errorf("%w: the log was frozen with %d entries and the root %v, but its checkpoint has %d and %v",
			errContradiction, f.Size, f.Root, next.size, next.root)
	}
	l.copied.head.Store(&treeHead{next.size, next.root})
	return nil
}

// readCopy reads the checkpoint of a copy, and compares it with policy and tiles.
func (l *Log) readCopy(ctx context.Context) (published, error) {
	raw, written, err := l.tree.Read(ctx, storage.Checkpoint, client.MaxCheckpointSize)
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
	next := published{size: uint64(c.Size), root: c.Root, raw: raw, at: time.Now(), written: written}
	root, err := rootAt(ctx, next.size, l.tilesOf(next))
	if err == nil && root != next.root {
		err = fmt.Errorf("they give the root %v, not %v", root, next.root)
	}
	if err != nil {
		return published{}, fmt.Errorf("the tiles are not those of the checkpoint of %d entries: %w", next.size, err)
	}
	return next, nil
}

// refreshCopy is refreshCheckpoint of a copy: what is new is indexed before it is shown, must continue
// what was shown before, and end in a seal of its map.
func (l *Log) refreshCopy(ctx context.Context) error {
	old := l.published.head()
	next, err := l.readCopy(ctx)
	if old.raw == nil && errors.Is(err, fs.ErrNotExist) && l.front() || err == nil && l.unbegun(next.size) {
		return nil
	}
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
	if err := l.show(next); err != nil {
		return err
	}
	l.copied.head.Store(&treeHead{next.size, next.root})
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
