package monitor

import (
	"context"
	"fmt"

	"cratelog/evidence"
	"cratelog/monitor/store"
)

// reportEntries records what was found about the entries from an index up to a
// checkpoint with which they agree.
func (f *follower) reportEntries(ctx context.Context, from int64, t store.Checkpoint) error {
	for e, err := range f.store.EntriesWithReason(ctx, f.id, from, t.Size) {
		if err != nil {
			return err
		}
		if err := f.reportEntry(ctx, e, t); err != nil {
			return err
		}
	}
	if err := f.reportRepeats(ctx, from, t); err != nil {
		return err
	}
	if err := f.reportBuilds(ctx, from, t.Size); err != nil {
		return err
	}
	return f.reportWatched(ctx, from, t)
}

// entryFinding is a finding about one entry.
func (f *follower) entryFinding(kind string, e store.Entry) store.Finding {
	return store.Finding{Key: fmt.Sprintf("%s/%s/%d", kind, f.origin, e.Index), Kind: kind, Index: e.Index,
		Name: e.Name, Version: e.Version,
		Detail: e.Detail, FirstSeen: f.cfg.Now()}
}

// what names an entry in a sentence.
func what(e store.Entry) string {
	if e.Name == "" {
		return fmt.Sprintf("entry %d", e.Index)
	}
	return fmt.Sprintf("entry %d (%s %s)", e.Index, e.Name, e.Version)
}

func (f *follower) reportEntry(ctx context.Context, e store.Entry, t store.Checkpoint) error {
	x := f.entryFinding(e.Reason, e)
	build := func(reason evidence.Reason, attached evidence.Attached) maker {
		return func() (*evidence.Evidence, error) {
			l, err := f.leaf(ctx, e, t)
			if err != nil {
				return nil, err
			}
			return evidence.NewFalseEntry(reason, t.Signed, l, attached, f.meta(t))
		}
	}
	var proof maker
	switch e.Reason {
	case kindMalformed:
		x.Summary = fmt.Sprintf("Entry %d of %s is not an entry.", e.Index, f.origin)
		proof = build(evidence.Malformed, evidence.Attached{})
	case kindFalseEntry:
		x.Summary = fmt.Sprintf("The proof of %s of %s does not hold.", what(e), f.origin)
		proof = build(evidence.ProofInvalid, evidence.Attached{Program: f.program(e.Program)})
	case kindUnknownProgram:
		x.Summary = fmt.Sprintf("The proof of %s of %s is of the program %x, which this monitor does not accept.",
			what(e), f.origin, e.Program[:8])
		proof = build(evidence.UnknownProgram, evidence.Attached{})
	case kindUnknownClaim:
		x.Summary = fmt.Sprintf("The claim of entry %d of %s is of a kind that this monitor does not know; a newer "+
			"version may.", e.Index, f.origin)
	case kindUnproven:
		x.Summary = fmt.Sprintf("The claim of %s of %s leaves files out.", what(e), f.origin)
	default:
		return fmt.Errorf("entry %d has the unknown reason %q", e.Index, e.Reason)
	}
	return f.report(ctx, x, nil, proof)
}

// leaf is an entry with its way to the root of a checkpoint.
func (f *follower) leaf(ctx context.Context, e store.Entry, t store.Checkpoint) (evidence.Leaf, error) {
	return evidence.NewLeaf(f.store.Hashes(ctx, f.id), t.Size, e.Index, e.Data)
}

func (f *follower) program(id [32]byte) []byte {
	if f.cfg.ProgramFile == nil {
		return nil
	}
	return f.cfg.ProgramFile(id)
}

// reportRepeats records entries that stand twice.
func (f *follower) reportRepeats(ctx context.Context, from int64, t store.Checkpoint) error {
	repeats, err := f.store.Repeats(ctx, f.id, from, t.Size, maxPerKind+1)
	if err != nil {
		return err
	}
	for _, d := range repeats {
		x := f.entryFinding(kindRepeat, d.Second)
		x.Summary = fmt.Sprintf("The log %s says the same in the entries %d and %d (%s %s).", f.origin, d.First.Index,
			d.Second.Index, d.Second.Name, d.Second.Version)
		if err := f.report(ctx, x, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// reportWatched records entries that match a watch and were not announced.
func (f *follower) reportWatched(ctx context.Context, from int64, t store.Checkpoint) error {
	s := f.store
	watches, err := s.Watches(ctx)
	if err != nil || len(watches) == 0 {
		return err
	}
	for e, err := range s.EntriesIn(ctx, f.id, from, t.Size) {
		if err != nil {
			return err
		}
		for _, w := range watches {
			if !w.Matches(&e) {
				continue
			}
			if announced, err := s.Authorized(ctx, &e, f.cfg.Now()); err != nil {
				return err
			} else if announced {
				continue
			}
			x := f.entryFinding(kindWatch, e)
			x.Key, x.Watch = fmt.Sprintf("watch/%d/%s/%d", w.ID, f.origin, e.Index), w.ID
			x.Summary = fmt.Sprintf("%s %s was logged in %s, as entry %d.", e.Name, e.Version, f.origin, e.Index)
			x.Detail = fmt.Sprintf("It matches the watch of the %s %q and was not announced. Checksum %x, commit "+
				"%x, path %q.", w.Kind, w.Value, e.SHA256, e.Commit, e.Path)
			if err := f.report(ctx, x, &w, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
