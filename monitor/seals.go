package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/monitor/store"
)

// ledger is this monitor's own map of a log's verified leaves (package index), which every seal of the log is
// compared with. It is in memory, and made again out of the store at the start. It is follow's goroutine's.
type ledger struct {
	m       *index.Map
	size    int64 // leaves that it was made of
	wrong   int64 // as store.Position.WrongSeal
	unknown int64 // index of the last seal, if it is of rules that are not known here; else -1
}

// replay makes the map of what was verified since it last looked, and compares the seals.
func (f *follower) replay(ctx context.Context) error {
	p, err := f.store.Position(ctx, f.id)
	if err != nil || p.Verified == 0 || f.ledger != nil && f.ledger.size == p.Verified {
		return err
	}
	if err = f.openLedger(ctx, p); err == nil {
		err = f.compareSeals(ctx, p.Verified)
	}
	if err != nil {
		f.ledger = nil // it may be ahead of what is recorded
	}
	if err != nil && !errors.Is(err, store.ErrPredecessor) {
		return err
	}
	return f.checkPredecessor(ctx, err)
}

// checkPredecessor notes that the seals of a log cannot be compared, because the versions of the log before it are not
// known here, or with nil, that they can.
func (f *follower) checkPredecessor(ctx context.Context, unknown error) error {
	c := condition{kind: kindPredecessor, active: unknown != nil, since: f.begins("predecessor", unknown != nil)}
	if unknown == nil {
		return f.apply(ctx, c)
	}
	start, err := f.store.Start(ctx, f.id)
	if err != nil {
		return err
	}
	var other *store.OtherTreeError
	if errors.As(unknown, &other) && other.Start == *start { // and not that of the log before
		return f.reportStart(ctx, *start, fmt.Sprintf("Here the root of those leaves is %v, and there %v. Until that is settled, no "+
			"seal of this log can be compared with anything.", other.Root, tlog.Hash(start.Tree)))
	}
	f.trouble.add("%s: %v", f.origin, unknown)
	if f.m.follows(start.Origin) {
		c.limit = f.cfg.Unreachable.Duration // it catches up
	}
	c.summary = fmt.Sprintf("The log %s goes on for %s, so its seals cannot be compared with anything yet.", f.origin, start.Origin)
	c.detail = fmt.Sprintf("%v. Give the monitor a [[log]] of that origin, and its trust file.", unknown)
	return f.apply(ctx, c)
}

func (m *Monitor) follows(origin string) bool {
	return slices.ContainsFunc(m.followers, func(f *follower) bool { return f.origin == origin })
}

// openLedger makes the map of the leaves up to where seals were compared, unless there is one. Its root was kept. If
// what was kept of the entries does not give it, their bytes are read again.
func (f *follower) openLedger(ctx context.Context, p store.Position) error {
	if f.ledger != nil {
		return nil
	}
	sizes, err := f.store.SealedSizes(ctx, f.id, p.Sealed)
	if err != nil {
		return err
	}
	m, sealed, err := f.store.SealedMaps(ctx, f.id, p.Sealed, sizes, f.store.Leaves)
	if err == nil && p.Sealed > 0 && m.Snapshot().Root() != p.MapRoot {
		f.trouble.add("%s: the database's rows do not give the map of the %d leaves that it was made of", f.origin, p.Sealed)
		f.cfg.Logger.Error("the database's rows do not give the map that they gave before: its entries' own bytes are read "+
			"again; copy the database, and look for what damaged it", "log", f.origin, "leaves", p.Sealed)
		m, sealed, err = f.store.SealedMaps(ctx, f.id, p.Sealed, sizes, f.store.LeavesFromBytes)
		if err == nil && m.Snapshot().Root() != p.MapRoot {
			err = fmt.Errorf("the database is damaged: its entries do not give the map of the %d that it says their seals were "+
				"compared with; keep it, and start a new one", p.Sealed)
		}
	}
	if err != nil {
		return err
	}
	f.ledger = &ledger{m: m, size: p.Sealed, wrong: p.WrongSeal, unknown: -1}
	f.keep(sealed, sizes)
	return nil
}

// keep keeps maps of these sizes, of those that there are and of further ones, for whoever asks for bundles.
func (f *follower) keep(more []store.Sealed, sizes []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sealed = slices.DeleteFunc(append(more, f.sealed...), func(s store.Sealed) bool { return !slices.Contains(sizes, s.Size) })
	slices.SortFunc(f.sealed, func(a, b store.Sealed) int { return int(b.Size - a.Size) })
}

// Sealed returns this monitor's own maps of a log for the seals of its largest checkpoint and of the largest that
// satisfies the trust file, where the seals say the same: the larger first.
func (m *Monitor) Sealed(origin string) []store.Sealed {
	for _, f := range m.followers {
		if f.origin == origin {
			f.mu.Lock()
			defer f.mu.Unlock()
			return slices.Clone(f.sealed)
		}
	}
	return nil
}

// voidBatch is how many void entries are recorded in one transaction.
const voidBatch = 1000

// compareSeals makes the map of leaves up to an index, and compares the seals among them.
func (f *follower) compareSeals(ctx context.Context, to int64) error {
	l := f.ledger
	sizes, err := f.store.SealedSizes(ctx, f.id, to)
	if err != nil {
		return err
	}
	var sealed []store.Sealed
	var voids []store.Void
	reported := false
	for leaf, err := range f.store.Leaves(ctx, f.id, l.size, to) {
		switch {
		case err != nil:
		case leaf.Kind == store.KindStart:
			err = f.inherit(ctx)
		case leaf.Kind == store.KindSeal:
			var s *store.Sealed
			s, reported, err = f.compareSeal(ctx, leaf, reported)
			if s != nil && slices.Contains(sizes, s.Size) {
				sealed = append(sealed, *s)
			}
		case leaf.Facts.Name != "":
			var v *store.Void
			if v, err = f.insert(ctx, leaf); v != nil {
				voids = append(voids, *v)
			}
		}
		if err == nil && len(voids) >= voidBatch {
			voids, err = nil, f.store.PutVoids(ctx, voids)
		}
		if err != nil {
			return err
		}
		l.size = leaf.Index + 1
	}
	if err := f.store.PutVoids(ctx, voids); err != nil {
		return err
	}
	if err := f.store.SetSealed(ctx, f.id, l.size, l.m.Snapshot().Root(), l.wrong); err != nil {
		return err
	}
	f.keep(sealed, sizes)
	c := condition{kind: kindUnknownRules, active: l.unknown >= 0,
		summary: fmt.Sprintf("The last seal of %s is of rules that this monitor does not know: it must be updated.", f.origin),
		detail: fmt.Sprintf("It is entry %d. This version knows the rules %d only. Nobody did anything wrong; until there is a newer "+
			"version here, what the log's index says is not checked.", l.unknown, entry.Rules)}
	return f.apply(ctx, c)
}

// compareSeal compares a seal at its place with the map of all leaves before it. It returns the map if they agree. One
// call of compareSeals reports one wrong seal.
func (f *follower) compareSeal(ctx context.Context, leaf store.Leaf, reported bool) (*store.Sealed, bool, error) {
	l := f.ledger
	x, err := entry.ParseLeaf(leaf.Data)
	seal, ok := x.(*entry.Seal)
	if err != nil || !ok {
		return nil, reported, fmt.Errorf("the database is damaged: entry %d is no seal: %w", leaf.Index, err)
	}
	if l.unknown = -1; seal.Rules != entry.Rules {
		l.unknown = leaf.Index
		return nil, reported, nil
	}
	own := l.m.Snapshot()
	if seal.Root == own.Root() {
		l.wrong = -1
		return &store.Sealed{Size: leaf.Index + 1, Map: own}, reported, nil
	}
	if l.wrong < 0 {
		l.wrong, reported = leaf.Index, false
	}
	if reported {
		return nil, true, nil
	}
	return nil, true, f.report(ctx, store.Finding{Key: f.mismatchKey(), Kind: kindSealMismatch, Index: leaf.Index,
		Summary: fmt.Sprintf("The seal of %s at entry %d is not of the index that the entries before it make.", f.origin, leaf.Index),
		Detail: fmt.Sprintf("It has the root %x, and they give %x: whoever replays them sees it. %s %s", seal.Root, own.Root(),
			otherIndex, notAskedYet)}, nil, nil)
}

func (f *follower) mismatchKey() string {
	return fmt.Sprintf("%s/%s/%d", kindSealMismatch, f.origin, f.ledger.wrong)
}

// inherit begins the map with the versions of the log before this one.
func (f *follower) inherit(ctx context.Context) error {
	start, err := f.store.Start(ctx, f.id)
	if err != nil {
		return err
	}
	var root index.Hash
	for _, leaves := range []store.Walk{f.store.Leaves, f.store.LeavesFromBytes} {
		if f.ledger.m, err = f.store.Inherited(ctx, start, leaves); err != nil {
			return err
		}
		root = f.ledger.m.Snapshot().Root()
		if start.Rules != entry.Rules || root == start.Root {
			return nil // of other rules the first seal will say so
		}
	}
	return f.reportStart(ctx, *start, fmt.Sprintf("Its leaves are the same here, and the versions in them give an index with the root "+
		"%x, and not %x. The seals are compared with what those leaves give.", root, start.Root))
}

func (f *follower) reportStart(ctx context.Context, s entry.Start, detail string) error {
	return f.report(ctx, store.Finding{Key: kindStartMismatch + "/" + f.origin, Kind: kindStartMismatch, Index: 0, Detail: detail,
		Summary: fmt.Sprintf("The log %s goes on for %s with %d leaves, and says of it what is not so here.", f.origin, s.Origin,
			s.Size)}, nil, nil)
}

// insert adds an entry to the map, and says whether it is void.
func (f *follower) insert(ctx context.Context, leaf store.Leaf) (*store.Void, error) {
	m, facts := f.ledger.m, leaf.Facts
	m.Add(uint64(leaf.Index), facts)
	value, _ := m.Get(index.VersionKey(facts.Registry, facts.Name, facts.Version))
	v, err := index.ParseVersion(value)
	if err != nil || v.SHA256 == facts.SHA256 {
		return nil, err
	}
	void := &store.Void{Log: f.id, Index: leaf.Index, First: int64(v.First), SHA256: v.SHA256}
	if v.Inherited {
		void.First = -1
	}
	e := store.Entry{Index: leaf.Index, Name: facts.Name, Version: facts.Version, Kind: leaf.Kind}
	x := f.entryFinding(kindVoid, e)
	x.Summary = fmt.Sprintf("Entry %d of %s is void: it gives %s %s another checksum than it has there.", leaf.Index, f.origin,
		facts.Name, facts.Version)
	x.Detail = fmt.Sprintf("By %s, which was first, it has %x; this one says %x. No reader takes it. Somebody has logged another .crate "+
		"under that name and version.", v.By(), v.SHA256, facts.SHA256)
	if err := f.report(ctx, x, nil, nil); err != nil {
		return nil, err
	}
	return void, f.reportVoidWatched(ctx, x)
}

// reportVoidWatched tells whoever watches a crate of a void entry about it, announced or not.
func (f *follower) reportVoidWatched(ctx context.Context, x store.Finding) error {
	watches, err := f.store.Watches(ctx)
	if err != nil || len(watches) == 0 {
		return err
	}
	e, _, err := f.store.EntryAt(ctx, f.id, x.Index)
	for _, w := range watches {
		if err == nil && w.Matches(&e) {
			x.Kind, x.Watch = kindWatch, w.ID
			x.Key = fmt.Sprintf("watch/%d/%s/%d/void", w.ID, f.origin, x.Index)
			err = f.report(ctx, x, &w, nil)
		}
	}
	return err
}

// reportUnsealed accuses a log of a checkpoint, of verified entries, that does not end in a seal.
func (f *follower) reportUnsealed(ctx context.Context, c store.Checkpoint) error {
	if c.Size == 0 {
		return nil
	}
	e, ok, err := f.store.EntryAt(ctx, f.id, c.Size-1)
	if err == nil && !ok {
		err = fmt.Errorf("the database is damaged: entry %d is missing", c.Size-1)
	}
	if err != nil {
		return err
	}
	if _, err := entry.SealOf(c.Size, e.Data); !errors.Is(err, entry.ErrUnsealed) {
		return nil
	}
	return f.report(ctx, store.Finding{Key: kindUnsealed + "/" + f.origin, Kind: kindUnsealed, Index: -1,
		Summary: fmt.Sprintf("The log %s signed a tree of %d entries that does not end in a seal.", f.origin, c.Size),
		Detail: fmt.Sprintf("It was first shown by %s. Nobody can see by it that a version has one checksum. Further ones are counted "+
			"here, and no new finding is made of them.", c.Source)}, nil, func() (*evidence.Evidence, error) {
		l, err := f.leaf(ctx, e, c)
		if err != nil {
			return nil, err
		}
		return evidence.NewUnsealed(c.Signed, l, f.meta(c))
	})
}
