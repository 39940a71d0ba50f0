package monitor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/monitor/store"
)

const (
	// maxQuestions bounds what a log is asked for in one search.
	maxQuestions = 200
	// searchTimeouts is how many times as long as one question a search may take.
	searchTimeouts = 5
	// maxDifferences is how many differences of one page are findings.
	maxDifferences = 16
)

// Words at the end of the detail of a finding about a wrong seal.
const (
	otherIndex  = "The log shows other readers another index than its own entries make."
	notAskedYet = "What differs, the log's own index must show, or nothing: it is asked for it now."
	shown       = "Its own index shows what differs: see the findings of the kinds index-omission and index-phantom."
)

// search is for what differs between a wrong seal's map and the log's leaves.
type search struct {
	done    int64     // 1 + the index of the wrong seal for which it is over
	retryAt time.Time // it is not tried before
}

// findDifference asks a log whose seals are wrong for the part of its index in which the difference is. A page of rows
// verifies under the wrong root only if it is of the map that has this root; so either the log shows what differs, or
// it refuses somewhere. What it shows convicts it without a replay.
func (f *follower) findDifference(ctx context.Context) error {
	l, now := f.ledger, f.cfg.Now()
	if l == nil || l.wrong < 0 || f.search.done == l.wrong+1 || now.Before(f.search.retryAt) {
		return nil
	}
	key, done := f.mismatchKey(), l.wrong+1
	x, standing, err := f.store.StandingFinding(ctx, key)
	if err != nil || !standing {
		return err // there are too many of its kind
	}
	f.search.retryAt = now.Add(f.cfg.MismatchRetry.Duration)
	look, cancel := context.WithTimeout(ctx, searchTimeouts*f.cfg.RequestTimeout.Duration)
	defer cancel()
	refused, err := f.searchFrom(ctx, look, index.Prefix{})
	if err != nil || ctx.Err() != nil {
		return err
	}
	words := shown
	if refused != nil {
		f.cfg.Logger.Warn("the log does not show in what its index differs", "log", f.origin, "err", refused)
		words = fmt.Sprintf("The log was asked for the part of its index that differs, and did not show it (%s). It is asked again "+
			"every %v; without an answer there is no evidence but the leaves themselves.", printable(refused.Error()),
			f.cfg.MismatchRetry.Duration)
	} else {
		f.search.done = done
	}
	roots, _, _ := strings.Cut(x.Detail, otherIndex)
	return f.store.SetDetail(ctx, key, roots+otherIndex+" "+words)
}

// shownPage is a page that the log showed, with its checkpoint.
type shownPage struct {
	*client.Page
	under      index.Prefix
	checkpoint store.Checkpoint
	seal       *entry.Seal
}

// searchFrom looks for a difference under a prefix, with questions until look ends. refused says why the log did not
// show one.
func (f *follower) searchFrom(ctx, look context.Context, root index.Prefix) (refused, err error) {
	under := root
	var own *index.Snapshot
	for range maxQuestions {
		p, refused, err := f.page(ctx, look, under)
		if errors.Is(refused, client.ErrManyRows) {
			if own == nil {
				own = f.ledger.m.Snapshot()
			}
			if under, refused = narrower(own, under); refused == nil {
				continue
			}
		}
		if err != nil || refused != nil {
			return refused, err
		}
		if own, refused, err = f.mapOf(ctx, p); err != nil || refused != nil {
			return refused, err
		}
		if p.seal.Root == own.Root() {
			return fmt.Errorf("the index is right again in the tree of %d entries that it shows", p.checkpoint.Size), nil
		}
		if all := p.differences(own); len(all) > 0 {
			return nil, f.reportDifferences(ctx, look, p, all)
		}
		if root, err = p.next(own, root); err != nil {
			return err, nil
		}
		under = root
	}
	return fmt.Errorf("%d questions were not enough", maxQuestions), nil
}

// page asks for a page, and verifies it. refused says what the log does not show.
func (f *follower) page(ctx, look context.Context, under index.Prefix) (p *shownPage, refused, err error) {
	raw, refused := f.log.Page(look, under)
	if refused != nil {
		return nil, refused, nil
	}
	p = &shownPage{under: under}
	if p.Page, refused = client.ParsePage(raw); refused != nil {
		return nil, refused, nil
	}
	// The log's own key is what counts against it, with or without witnesses.
	if _, refused = p.Check(f.logKeys, lenient, under); refused != nil {
		return nil, refused, nil
	}
	if p.checkpoint, err = f.observe(ctx, p.Checkpoint, sourceLog); err != nil {
		if isLocal(err) {
			return nil, nil, err
		}
		return nil, err, nil
	}
	p.seal, refused = entry.SealOf(p.checkpoint.Size, p.Seal.Leaf)
	return p, refused, nil
}

// mapOf returns the map of the leaves before a page's seal, which must be verified, if need be now.
func (f *follower) mapOf(ctx context.Context, p *shownPage) (own *index.Snapshot, refused, err error) {
	if p.checkpoint.Size > f.ledger.size {
		if err := steps(ctx, f.catchUp, f.replay); err != nil {
			return nil, nil, err
		}
	}
	c, ok, err := f.store.CheckpointOf(ctx, f.id, p.checkpoint.Size, p.checkpoint.Root)
	switch {
	case err != nil:
		return nil, nil, err
	case f.ledger == nil || !ok || c.Verdict != store.Consistent || c.Size > f.ledger.size:
		return nil, fmt.Errorf("its page is of a tree of %d entries that is not verified here", p.checkpoint.Size), nil
	}
	p.checkpoint, own = c, f.ledger.m.Snapshot()
	if c.Size == f.ledger.size {
		return own, nil, nil // the last leaf is the seal, which inserts nothing
	}
	var m index.Map
	for r := range own.Rows(index.Prefix{}) {
		if n, before := number(r.Value); before || n < p.seal.Size {
			m.Insert(r.Key, r.Value)
		}
	}
	return m.Snapshot(), nil, nil
}

// number returns the number in a value, with which each kind ends, and whether it counts in a log before this one. A
// value without one has the largest that there is.
func number(value []byte) (n uint64, inherited bool) {
	if len(value) < 8 {
		return math.MaxInt64, false
	}
	n = binary.BigEndian.Uint64(value[len(value)-8:])
	return n &^ (1 << 63), n>>63 != 0
}

// narrower returns a prefix of one bit more: towards a key of the own map, if it has one there.
func narrower(own *index.Snapshot, under index.Prefix) (index.Prefix, error) {
	for r := range own.Rows(under) {
		return index.NewPrefix(r.Key, under.Bits()+1)
	}
	zero, _, err := under.Halves()
	return zero, err
}

// difference is a key with the value that the leaves give it, and the one that the log's index has; one may be nil.
type difference struct {
	key          index.Key
	ours, theirs []byte
}

// differences compares the rows of a page with those of the own map.
func (p *shownPage) differences(own *index.Snapshot) (all []difference) {
	theirs := p.Rows
	for r := range own.Rows(p.under) {
		for len(theirs) > 0 && theirs[0].Compare(r) < 0 {
			all, theirs = append(all, difference{theirs[0].Key, nil, theirs[0].Value}), theirs[1:]
		}
		d := difference{key: r.Key, ours: r.Value}
		if len(theirs) > 0 && theirs[0].Key == r.Key {
			d.theirs, theirs = theirs[0].Value, theirs[1:]
		}
		if !bytes.Equal(d.ours, d.theirs) {
			all = append(all, d)
		}
		if len(all) >= maxDifferences {
			return all
		}
	}
	for _, r := range theirs[:min(len(theirs), maxDifferences)] {
		all = append(all, difference{r.Key, nil, r.Value})
	}
	return all
}

// step is an inner node on the way from the root to a subtree: the bit, and the hash of the side that is not taken.
type step struct {
	bit     int
	sibling index.Hash
}

// none is no step: below all.
var none = step{bit: 8 * index.KeySize}

// waysteps takes the way of a prefix's proof apart, from a bit on, the root first. The proof holds.
func waysteps(path []byte, from int) (all []step) {
	for len(path) > 0 {
		bit, n := binary.Uvarint(path)
		if n <= 0 || len(path) < n+len(index.Hash{}) {
			break
		}
		if int(bit) >= from {
			all = append(all, step{int(bit), index.Hash(path[n:])})
		}
		path = path[n+len(index.Hash{}):]
	}
	slices.Reverse(all)
	return all
}

// next returns a prefix under root, where there is a difference, in which there is one, given a page under root in which
// there is none. The two ways from root to the page part at it: a sibling is another one, or an inner node stands in one
// of the maps only.
func (p *shownPage) next(own *index.Snapshot, root index.Prefix) (index.Prefix, error) {
	if len(p.Rows) == 0 { // in neither; so it is narrower, and the other half of what was asked before has the difference
		k := index.Key{}
		copy(k[:], p.under.Bytes())
		return flipped(k, p.under.Bits()-1)
	}
	_, way := own.Prefix(p.under)
	ours, theirs := waysteps(way, root.Bits()), waysteps(p.Proof, root.Bits())
	for i := range max(len(ours), len(theirs)) {
		a, b := none, none
		if i < len(ours) {
			a = ours[i]
		}
		if i < len(theirs) {
			b = theirs[i]
		}
		if a != b {
			return flipped(p.Rows[0].Key, min(a.bit, b.bit))
		}
	}
	return root, errors.New("its pages are of different trees, and each agrees with what was verified")
}

// flipped is the prefix that ends in a bit of a key, the other way.
func flipped(k index.Key, bit int) (index.Prefix, error) {
	if bit < 0 || bit >= 8*index.KeySize {
		return index.Prefix{}, errors.New("its pages leave no place for a difference")
	}
	k[bit/8] ^= 0x80 >> (bit % 8)
	return index.NewPrefix(k, bit+1)
}

// reportDifferences accuses a log of what its index lacks, or has too much.
func (f *follower) reportDifferences(ctx, look context.Context, p *shownPage, all []difference) error {
	for _, d := range all {
		if err := f.reportDifference(ctx, look, p, d); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) reportDifference(ctx, look context.Context, p *shownPage, d difference) error {
	mine, before := number(d.ours)
	named, inherited := d.named()
	x := store.Finding{Kind: kindIndexPhantom, Index: -1}
	at := named // the leaf that shows it
	switch {
	case d.ours != nil && before:
		x.Kind, at = kindIndexOmission, 0 // the start takes it over
	case d.ours != nil && (d.theirs == nil || !inherited && named > mine && named < math.MaxInt64):
		x.Kind, at = kindIndexOmission, mine
	case inherited:
		at = 0
	}
	known := at < p.seal.Size
	var e store.Entry
	if known {
		var err error
		if e, _, err = f.store.EntryAt(ctx, f.id, int64(at)); err != nil {
			return err
		}
		x.Index, x.Name, x.Version = e.Index, e.Name, e.Version
	}
	x.Key = fmt.Sprintf("%s/%s/%x", x.Kind, f.origin, d.key)
	x.Summary = fmt.Sprintf("The index that %s sealed has a row that no entry makes.", f.origin)
	if x.Kind == kindIndexOmission {
		x.Summary = fmt.Sprintf("The index that %s sealed lacks what %s makes.", f.origin, what(e))
	}
	x.Detail = fmt.Sprintf("Key %x, in the tree of %d entries: the leaves make %s, and the log shows %s.", d.key, p.checkpoint.Size,
		valueText(d.ours), valueText(d.theirs))
	return f.report(ctx, x, nil, func() (*evidence.Evidence, error) {
		s, err := f.sealedEvidence(ctx, look, p, d)
		if err != nil {
			return nil, err
		}
		var l *evidence.Leaf
		if known {
			leaf, err := f.leaf(ctx, e, p.checkpoint)
			if err != nil {
				return nil, err
			}
			l = &leaf
		}
		if x.Kind == kindIndexOmission {
			return evidence.NewIndexOmission(s, *l, f.meta(p.checkpoint))
		}
		return evidence.NewIndexPhantom(s, l, f.meta(p.checkpoint))
	})
}

// named returns the number in the log's value, as number does; of a value that has not the form of one, the largest.
func (d difference) named() (n uint64, inherited bool) {
	n, inherited, err := index.Row{Key: d.key, Value: d.theirs}.Names()
	if err != nil {
		return math.MaxInt64, false
	}
	return n, inherited
}

func valueText(v []byte) string {
	if v == nil {
		return "nothing"
	}
	return fmt.Sprintf("%x", v)
}

// sealedEvidence is what the log's index shows of a key, with the seal; and what its start shows, if that is where the
// value must come from.
func (f *follower) sealedEvidence(ctx, look context.Context, p *shownPage, d difference) (s evidence.Sealed, err error) {
	under, err := index.NewPrefix(d.key, 8*index.KeySize)
	if err != nil {
		return s, err
	}
	one := *p.Page
	one.Narrow(under)
	s.Note, s.Index = p.checkpoint.Signed, evidence.Lookup{Key: d.key, Value: d.theirs, Proof: one.Proof}
	if d.theirs == nil && index.VerifyLookup(p.seal.Root, d.key, nil, s.Index.Proof) != nil {
		// The proof that nothing stands under a shorter prefix need not show it of the key: that must be asked for.
		narrow, refused, err := f.page(ctx, look, under)
		if err != nil {
			return s, err
		}
		if refused != nil || narrow.checkpoint.Root != p.checkpoint.Root || len(narrow.Rows) > 0 {
			return s, fmt.Errorf("%w: the log does not show under the same checkpoint that the key is missing", evidence.ErrNotProven)
		}
		s.Index.Proof = narrow.Proof
	}
	last := store.Entry{Index: p.checkpoint.Size - 1, Data: p.Seal.Leaf}
	if s.Seal, err = f.leaf(ctx, last, p.checkpoint); err != nil {
		return s, err
	}
	_, ours := number(d.ours)
	_, theirs := d.named()
	start, err := f.store.Start(ctx, f.id)
	if err != nil || start == nil || !ours && !theirs {
		return s, err
	}
	m, err := f.store.Inherited(ctx, start, f.store.Leaves)
	if err != nil {
		return s, err
	}
	value, proof := m.Snapshot().Lookup(d.key)
	s.Start = &evidence.Lookup{Key: d.key, Value: value, Proof: proof}
	return s, nil
}
