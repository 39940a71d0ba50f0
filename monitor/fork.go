package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/evidence"
	"cratelog/monitor/store"
)

// reportFork records that a checkpoint is not of the tree that is verified, which
// reaches its size.
func (f *follower) reportFork(ctx context.Context, bad store.Checkpoint) error {
	s := f.store
	same, err := s.CheckpointsOfSize(ctx, f.id, bad.Size)
	if err != nil {
		return err
	}
	tree := s.Hashes(ctx, f.id)
	var good store.Checkpoint
	for _, c := range same {
		if c.ID != bad.ID && c.Verdict == store.Consistent {
			good = c
		}
	}
	if good.ID == 0 {
		var ok bool
		if good, ok, err = s.Covering(ctx, f.id, bad.Size); err != nil || !ok {
			return errors.Join(err, fmt.Errorf("no checkpoint covers the verified entry %d", bad.Size))
		}
	}
	if err := f.reportForkOf(ctx, bad, good, tree); err != nil {
		return err
	}
	for _, g := range bad.Cosignatures {
		other, ok, err := s.CosignedBy(ctx, f.id, g.KeyName, g.KeyID, bad.Size)
		if err != nil {
			return err
		}
		if ok {
			if err := f.reportCosigner(ctx, g, bad, other, tree); err != nil {
				return err
			}
		}
	}
	return nil
}

// forkFinding is one for each log, for a log that forked goes on with both trees.
func (f *follower) forkFinding(kind string, a, b store.Checkpoint) store.Finding {
	if a.Size > b.Size {
		a, b = b, a
	}
	x := store.Finding{Key: "fork/" + f.origin, Kind: kind, Index: -1, FirstSeen: f.cfg.Now(),
		Detail: fmt.Sprintf("One checkpoint, of %d entries with the root %v, was first shown by: %s. The other, of "+
			"%d entries with the root %v, by: %s. Every further checkpoint that contradicts the verified "+
			"tree is kept, and no new finding is made of it.",
			a.Size, a.Root, a.Source, b.Size, b.Root, b.Source)}
	if kind == kindForkSameSize {
		x.Summary = fmt.Sprintf("The log %s signed two different trees of %d entries.", f.origin, a.Size)
	} else {
		x.Summary = fmt.Sprintf("The log %s signed a tree of %d entries that does not begin with the tree of %d "+
			"entries that it signed.", f.origin, b.Size, a.Size)
	}
	return x
}

// reportForkOf records a fork of two checkpoints. tree is that of the larger one; it
// is not needed for equal sizes.
func (f *follower) reportForkOf(ctx context.Context, a, b store.Checkpoint, tree tlog.HashReader) error {
	kind := kindForkPrefix
	if a.Size == b.Size {
		kind = kindForkSameSize
	}
	err := f.report(ctx, f.forkFinding(kind, a, b), nil, func() (*evidence.Evidence, error) {
		return evidence.NewFork(a.Signed, b.Signed, tree, f.meta(a, b))
	})
	if err != nil || a.Size != b.Size {
		return err
	}
	for _, g := range cosignedBoth(a, b) {
		if err := f.reportCosigner(ctx, g, a, b, nil); err != nil {
			return err
		}
	}
	return nil
}

// cosignedBoth returns the cosignatures of a whose keys cosigned b as well.
func cosignedBoth(a, b store.Checkpoint) []store.Cosignature {
	return slices.DeleteFunc(slices.Clone(a.Cosignatures), func(g store.Cosignature) bool {
		return !slices.ContainsFunc(b.Cosignatures,
			func(h store.Cosignature) bool { return g.KeyName == h.KeyName && g.KeyID == h.KeyID })
	})
}

func (f *follower) reportCosigner(ctx context.Context, g store.Cosignature, a, b store.Checkpoint,
	tree tlog.HashReader) error {
	return f.report(ctx, f.cosignerFinding(g, a, b), nil, func() (*evidence.Evidence, error) {
		return evidence.NewCosignerFork(keyOf(g), a.Signed, b.Signed, tree, f.meta(a, b))
	})
}

func keyOf(g store.Cosignature) string { return fmt.Sprintf("%s+%08x", g.KeyName, g.KeyID) }

func (f *follower) cosignerFinding(g store.Cosignature, a, b store.Checkpoint) store.Finding {
	return store.Finding{Key: "cosigner-fork/" + f.origin + "/" + keyOf(g), Kind: kindCosignerFork,
		Index: -1, FirstSeen: f.cfg.Now(),
		Summary: fmt.Sprintf("The witness %s cosigned two trees of %s that contradict each other, of %d and %d entries.",
			g.Witness, f.origin, min(a.Size, b.Size), max(a.Size, b.Size)),
		Detail: fmt.Sprintf("It did so with the key %s.", keyOf(g))}
}

// reportLargerFork records that a checkpoint larger than the verified tree does not
// begin with it: at the verified size its tree has another root, which the proof
// shows. Its own entries are not known.
func (f *follower) reportLargerFork(ctx context.Context, bad store.Checkpoint, size int64,
	root tlog.Hash, proof [][32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.store
	good, ok, err := s.Covering(ctx, f.id, size)
	if err != nil || !ok || good.Size != size {
		return errors.Join(err, fmt.Errorf("there is no checkpoint of the %d verified entries", size))
	}
	arrange := func(kind evidence.Kind, witness string) maker {
		return func() (*evidence.Evidence, error) {
			m := f.meta(good, bad)
			e := &evidence.Evidence{Kind: kind, Observed: m.Observed.UTC().Truncate(time.Second),
				Sources: m.Sources, Witness: witness,
				Notes: [][]byte{good.Signed, bad.Signed}, Root: &root}
			for _, h := range proof {
				e.Hashes = append(e.Hashes, h)
			}
			return e, nil
		}
	}
	if err := f.report(ctx, f.forkFinding(kindForkPrefix, good, bad), nil,
		arrange(evidence.ForkPrefix, "")); err != nil {
		return err
	}
	for _, g := range cosignedBoth(bad, good) {
		if err := f.report(ctx, f.cosignerFinding(g, good, bad), nil,
			arrange(evidence.CosignerFork, keyOf(g))); err != nil {
			return err
		}
	}
	return s.SetVerdict(ctx, bad.ID, store.Inconsistent)
}

// accuseRoot decides about entries that were fetched several times and do not give a
// signed root. If they were the same each time, and the log's own, the log serves them so; else something
// damages them on their way, or a mirror serves others.
func (f *follower) accuseRoot(ctx context.Context, x *mismatch, roots []tlog.Hash) error {
	c := x.checkpoint
	why := ""
	if slices.ContainsFunc(roots, func(r tlog.Hash) bool { return r != x.local }) {
		why = "were not the same twice"
	} else if f.mirrored.Load() {
		why = "came in part from a mirror, since the log did not hand them out"
	}
	if why != "" {
		if err := f.store.RewindEntries(ctx, f.id); err != nil {
			return err
		}
		return f.entriesFailing(ctx, fmt.Errorf("%w: fetched %d times, the entries up to %d %s, and never gave the signed "+
			"root", errGarbled, len(roots), c.Size, why))
	}
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	err = f.report(ctx, store.Finding{Key: fmt.Sprintf("root-mismatch/%s/%d", f.origin, p.Verified),
		Kind: kindRootMismatch, Index: -1,
		Summary: fmt.Sprintf("The entries that the log %s serves do not give the root that it signed for %d entries.",
			f.origin, c.Size),
		Detail: fmt.Sprintf("Fetched %d times, they were the same each time. They give the root %v; the log signed "+
			"%v. The first %d entries are verified. It is tried again every %v.",
			len(roots), x.local, c.Root, p.Verified, f.cfg.MismatchRetry.Duration)}, nil,
		func() (*evidence.Evidence, error) {
			leaves, err := f.store.LeafHashes(ctx, f.id, 0, c.Size)
			if err != nil {
				return nil, err
			}
			return evidence.NewEntryRootMismatch(c.Signed, evidence.Compress(leaves), f.meta(c))
		})
	if err != nil {
		return err
	}
	f.trouble.add("%s: the entries do not give the signed root of %d entries", f.origin, c.Size)
	f.retryAt = f.cfg.Now().Add(f.cfg.MismatchRetry.Duration)
	return f.store.RewindEntries(ctx, f.id)
}

// meta says when and from whom the notes of evidence came.
func (f *follower) meta(all ...store.Checkpoint) evidence.Meta {
	var m evidence.Meta
	for _, c := range all {
		if c.FirstSeen.After(m.Observed) {
			m.Observed = c.FirstSeen
		}
		what := fmt.Sprintf("%d entries: %s", c.Size, c.Source)
		if c.Source == sourceLog {
			what += " " + f.bases[0]
		}
		m.Sources = append(m.Sources, printable(what))
	}
	return m
}

// printable makes text of bytes that an attacker may have chosen.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
	if len(s) > 500 {
		s = s[:500]
	}
	return strings.ToValidUTF8(strings.TrimSpace(s), "?")
}
