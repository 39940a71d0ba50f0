package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/monitor/store"
)

// mismatchTries is how often entries that do not give the root are fetched before the
// log is accused.
const mismatchTries = 3

// maxRounds bounds the work of one look at the log, whatever it does.
const maxRounds = 20

// maxTargets is how many checkpoints above the verified entries are looked at.
const maxTargets = 100

// catchUp downloads and verifies what is signed.
func (f *follower) catchUp(ctx context.Context) error {
	roots := make(map[int64][]tlog.Hash) // that entries gave, by checkpoint
	for range maxRounds {
		if ctx.Err() != nil {
			return nil
		}
		if done, err := f.round(ctx, roots); err != nil || done {
			return err
		}
	}
	return nil
}

// round takes one step towards what is signed. done says that there is no further one for
// now.
func (f *follower) round(ctx context.Context, roots map[int64][]tlog.Hash) (done bool, err error) {
	targets, view, err := f.targets(ctx)
	if err != nil {
		return false, err
	}
	if len(targets) == 0 {
		return true, f.entriesFailing(ctx, nil)
	}
	if f.cfg.Now().Before(f.retryAt) {
		return true, nil
	}
	if forked, err := f.checkExtends(ctx, targets[0]); err != nil || forked {
		return false, err
	}
	failed, err := f.downloadSome(ctx, targets, view)
	if err != nil {
		return false, err
	}
	x, err := f.verify(ctx, targets)
	switch {
	case err != nil:
		return false, err
	case x != nil:
		return f.tryAgain(ctx, x, roots)
	case failed != nil:
		return true, f.entriesFailing(ctx, failed)
	}
	return false, nil
}

// tryAgain forgets entries that do not give the root of a checkpoint, so that they are
// fetched again, or accuses the log if that was done often enough.
func (f *follower) tryAgain(ctx context.Context, x *mismatch, roots map[int64][]tlog.Hash) (accused bool, err error) {
	id := x.checkpoint.ID
	forked, err := f.checkExtends(ctx, x.checkpoint)
	if err != nil {
		return false, err
	}
	if !forked {
		roots[id] = append(roots[id], x.local)
	}
	if len(roots[id]) == mismatchTries {
		return true, f.accuseRoot(ctx, x, roots[id])
	}
	f.mirrored.Store(false)
	return false, f.store.RewindEntries(ctx, f.id)
}

// downloadSome downloads the entries of the largest target, or if those cannot be
// had, of the one that the log itself shows: another may have been shown to others
// only. failed is an error of the log or the network, err one of the store.
func (f *follower) downloadSome(ctx context.Context, targets []store.Checkpoint, view store.View) (failed, err error) {
	try := targets[:1]
	for _, t := range targets[1:] {
		if t.Size == view.Size && t.Root == view.Root {
			try = append(slices.Clone(try), t)
		}
	}
	for _, t := range try {
		err := f.download(ctx, t)
		var remote *remoteError
		switch {
		case err == nil:
			return failed, nil
		case !errors.As(err, &remote):
			return nil, err
		case failed == nil:
			failed = err
		}
	}
	return failed, nil
}

// targets returns the pending checkpoints to reach, the largest first: those that
// satisfy the trust file, from whatever source, and those that the log itself shows, whose
// view it returns. Others were perhaps never published.
func (f *follower) targets(ctx context.Context) ([]store.Checkpoint, store.View, error) {
	if err := f.settle(ctx); err != nil {
		return nil, store.View{}, err
	}
	// Another goroutine may have seen more meanwhile.
	view, _, err := f.store.View(ctx, f.id, sourceLog)
	if err != nil {
		return nil, view, err
	}
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return nil, view, err
	}
	targets, err := f.store.LargestPending(ctx, f.id, p.Verified, view, maxTargets)
	return targets, view, err
}

// checkExtends asks the log's tiles whether a tree begins with the verified entries.
// That it does not is a fork, known before a single entry is downloaded. Tiles that
// are missing or wrong say nothing here: the entries will.
func (f *follower) checkExtends(ctx context.Context, t store.Checkpoint) (forked bool, err error) {
	p, err := f.store.Position(ctx, f.id)
	if err != nil || p.Verified == 0 {
		return false, err
	}
	for _, base := range f.bases {
		tiles := f.m.client(base).Tiles(client.Checkpoint{Origin: f.origin, Size: t.Size, Root: t.Root})
		root, err := tiles.Root(ctx, p.Verified)
		if err != nil {
			continue
		}
		if root == p.Root {
			return false, nil
		}
		proof, err := tiles.Consistency(ctx, p.Verified)
		if err != nil {
			continue
		}
		return true, f.reportLargerFork(ctx, t, p.Verified, root, proof)
	}
	return false, nil
}

// mismatch is a checkpoint whose root our entries do not give.
type mismatch struct {
	checkpoint store.Checkpoint
	local      tlog.Hash
}

// verify compares the downloaded entries with the checkpoints that they reach. The
// largest one that agrees moves the verified position; if none does, the largest is
// returned.
func (f *follower) verify(ctx context.Context, targets []store.Checkpoint) (*mismatch, error) {
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return nil, err
	}
	var first *mismatch
	for _, t := range targets {
		if t.Size > p.Downloaded {
			continue
		}
		root, err := f.store.Root(ctx, f.id, t.Size)
		if err != nil {
			return nil, err
		}
		if root == t.Root {
			return nil, f.advance(ctx, p.Verified, t)
		}
		if first == nil {
			first = &mismatch{t, root}
		}
	}
	return first, nil
}

// advance moves the verified position to a checkpoint that the entries agree with,
// after all findings about them are recorded.
func (f *follower) advance(ctx context.Context, from int64, t store.Checkpoint) error {
	if err := f.reportEntries(ctx, from, t); err != nil {
		return err
	}
	hashes, err := f.compactRange(ctx, t.Size)
	if err != nil {
		return err
	}
	if err := f.store.SetVerified(ctx, f.id, t.Size, t.Root, hashes); err != nil {
		return err
	}
	f.cfg.Logger.Info("verified", "log", f.origin, "entries", t.Size, "new", t.Size-from)
	return f.settle(ctx)
}

// entriesFailing notes that entries of a signed tree cannot be had, or that they can.
func (f *follower) entriesFailing(ctx context.Context, failed error) error {
	if ctx.Err() != nil {
		return nil
	}
	view, _, err := f.store.View(ctx, f.id, sourceLog)
	if err != nil || failed != nil && !view.Failing.IsZero() {
		return err // that it does not answer at all is another finding
	}
	c := condition{kind: kindEntriesUnavailable, active: failed != nil, since: f.begins("entries", failed != nil),
		limit: f.cfg.Unreachable.Duration}
	if failed != nil {
		f.trouble.add("%s: entries: %v", f.origin, failed)
		f.cfg.Logger.Log(ctx, slog.LevelWarn, "entries cannot be had", "log", f.origin, "err", failed)
		c.summary = fmt.Sprintf("The log %s signed a tree of which it does not serve all entries.", f.origin)
		c.detail = errorText(failed)
	}
	return f.apply(ctx, c)
}
