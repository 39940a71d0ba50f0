package monitor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/monitor/store"
)

// sourceLog is the source of what the log itself shows.
const sourceLog = "log"

// maxKept bounds the inconsistent checkpoints, and the pending ones, that are kept
// of a log. Only its key can make them.
const maxKept = 10000

// errFull: the log's key signs checkpoints without end.
var errFull = errors.New("so many checkpoints of this log are on record that no more are kept")

// errAbsurd: the log's key signed something that cannot be.
var errAbsurd = errors.New("absurd checkpoint")

// maxSize is far above what any log reaches, and far below what the libraries can
// calculate with.
const maxSize = 1 << 48

var lenient = client.Rules{AllowNoWitnesses: true}

// open verifies a signed checkpoint: the log's signature must be good; cosignatures
// that are not, and lines of keys that nobody knows, are left out.
func (f *follower) open(signed []byte, source string) (store.Checkpoint, error) {
	lines := f.lines
	c, err := f.any.CheckCheckpointRules(signed, lenient)
	if errors.Is(err, client.ErrCosignature) {
		// A stranger may have spoilt a cosignature to make us look away.
		lines = make(map[lineKey]bool)
		for _, l := range f.bare.Logs() {
			lines[lineKey{l.Origin, l.KeyID}] = true
		}
		c, err = f.bare.CheckCheckpointRules(signed, lenient)
	}
	if err != nil {
		return store.Checkpoint{}, err
	}
	if c.Size > maxSize {
		// It is signed, but nobody can calculate with it.
		return store.Checkpoint{}, fmt.Errorf("%w: a tree of %d entries, which nobody can have", errAbsurd, c.Size)
	}
	now := f.m.cfg.Now()
	out := store.Checkpoint{Log: f.id, Size: c.Size, Root: c.Root, Signed: keepLines(signed, lines), Source: source,
		FirstSeen: now, LastSeen: now, Verdict: store.Pending}
	for _, g := range c.Cosignatures {
		out.Cosignatures = append(out.Cosignatures, store.Cosignature{Witness: g.Witness, KeyName: g.KeyName, KeyID: g.KeyID, Time: g.Time})
	}
	return out, nil
}

// keepLines keeps the signature lines of some keys. The note was verified.
func keepLines(signed []byte, keep map[lineKey]bool) []byte {
	text := noteText(signed)
	out := append(bytes.Clone(text), '\n')
	for line := range strings.Lines(string(signed[len(text)+1:])) {
		name, b64, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		sig, err := base64.StdEncoding.DecodeString(b64)
		if err == nil && len(sig) >= 4 && keep[lineKey{name, binary.BigEndian.Uint32(sig)}] {
			out = append(out, line...)
		}
	}
	return out
}

// accepted says whether the signature lines of a note satisfy the policy.
func (f *follower) accepted(signed []byte) (bool, time.Time) {
	c, err := f.policy.CheckCheckpointRules(signed, lenient)
	return err == nil, c.Witnessed
}

// observe takes a signed checkpoint from any source, remembers it, and judges it. An
// error says that the log did not sign it, or is one of the store.
func (f *follower) observe(ctx context.Context, signed []byte, source string) (store.Checkpoint, error) {
	c, err := f.open(signed, source)
	if err != nil {
		return c, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.m.cfg.Store
	if _, known, err := s.CheckpointOf(ctx, f.id, c.Size, c.Root); err != nil {
		return c, err
	} else if !known {
		for _, verdict := range []string{store.Inconsistent, store.Pending} {
			if n, err := s.CountCheckpoints(ctx, f.id, verdict); err != nil {
				return c, err
			} else if n >= maxKept {
				return c, fmt.Errorf("%w: %d %s ones", errFull, n, verdict)
			}
		}
	}
	c, _, err = s.PutCheckpoint(ctx, c, f.accepted)
	if err != nil {
		return c, err
	}
	if c.Verdict == store.Pending {
		if c.Verdict, err = f.judge(ctx, c); err != nil {
			return c, err
		}
	}
	return c, nil
}

// settle judges every pending checkpoint again that can be.
func (f *follower) settle(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	pending, err := f.m.cfg.Store.CheckpointsWithVerdict(ctx, f.id, store.Pending, 0, math.MaxInt64, maxKept)
	for _, c := range pending {
		if err != nil {
			return err
		}
		_, err = f.judge(ctx, c)
	}
	return err
}

// judge compares a pending checkpoint with the verified entries, if they reach so
// far, else with others of its size. What it finds is recorded before the verdict, so
// that it is found again if the monitor dies in between.
func (f *follower) judge(ctx context.Context, c store.Checkpoint) (string, error) {
	s := f.m.cfg.Store
	p, err := s.Position(ctx, f.id)
	if err != nil {
		return c.Verdict, err
	}
	if c.Size > p.Verified {
		return c.Verdict, f.compareSameSize(ctx, c)
	}
	root, err := s.Root(ctx, f.id, c.Size)
	if err != nil {
		return c.Verdict, err
	}
	verdict := store.Consistent
	if root != c.Root {
		verdict = store.Inconsistent
		if err := f.reportFork(ctx, c); err != nil {
			return c.Verdict, err
		}
	}
	return verdict, s.SetVerdict(ctx, c.ID, verdict)
}

// compareSameSize finds forks above the verified entries: nobody knows yet which of
// two trees is the right one, but the log signed both.
func (f *follower) compareSameSize(ctx context.Context, c store.Checkpoint) error {
	same, err := f.m.cfg.Store.CheckpointsOfSize(ctx, f.id, c.Size)
	if err != nil {
		return err
	}
	for _, other := range same {
		if other.Root != c.Root {
			return f.reportForkOf(ctx, c, other, nil)
		}
	}
	return nil
}

// reportFork records that a checkpoint is not of the tree that is verified, which
// reaches its size.
func (f *follower) reportFork(ctx context.Context, bad store.Checkpoint) error {
	s := f.m.cfg.Store
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
	x := store.Finding{Key: "fork/" + f.origin, Kind: kind, Index: -1, FirstSeen: f.m.cfg.Now(),
		Detail: fmt.Sprintf("One checkpoint, of %d entries with the root %v, was first shown by: %s. The other, of %d entries with the root %v, by: %s. Every further checkpoint that contradicts the verified tree is kept, and no new finding is made of it.",
			a.Size, a.Root, a.Source, b.Size, b.Root, b.Source)}
	if kind == kindForkSameSize {
		x.Summary = fmt.Sprintf("The log %s signed two different trees of %d entries.", f.origin, a.Size)
	} else {
		x.Summary = fmt.Sprintf("The log %s signed a tree of %d entries that does not begin with the tree of %d entries that it signed.", f.origin, b.Size, a.Size)
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
	for _, g := range a.Cosignatures {
		for _, h := range b.Cosignatures {
			if g.KeyName == h.KeyName && g.KeyID == h.KeyID {
				if err := f.reportCosigner(ctx, g, a, b, nil); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *follower) reportCosigner(ctx context.Context, g store.Cosignature, a, b store.Checkpoint, tree tlog.HashReader) error {
	return f.report(ctx, f.cosignerFinding(g, a, b), nil, func() (*evidence.Evidence, error) {
		return evidence.NewCosignerFork(keyOf(g), a.Signed, b.Signed, tree, f.meta(a, b))
	})
}

func keyOf(g store.Cosignature) string { return fmt.Sprintf("%s+%08x", g.KeyName, g.KeyID) }

func (f *follower) cosignerFinding(g store.Cosignature, a, b store.Checkpoint) store.Finding {
	return store.Finding{Key: "cosigner-fork/" + f.origin + "/" + keyOf(g), Kind: kindCosignerFork, Index: -1, FirstSeen: f.m.cfg.Now(),
		Summary: fmt.Sprintf("The witness %s cosigned two trees of %s that contradict each other, of %d and %d entries.", g.Witness, f.origin, min(a.Size, b.Size), max(a.Size, b.Size)),
		Detail:  fmt.Sprintf("It did so with the key %s.", keyOf(g))}
}

// reportLargerFork records that a checkpoint larger than the verified tree does not
// begin with it: at the verified size its tree has another root, which the proof
// shows. Its own entries are not known.
func (f *follower) reportLargerFork(ctx context.Context, bad store.Checkpoint, size int64, root tlog.Hash, proof [][32]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.m.cfg.Store
	good, ok, err := s.Covering(ctx, f.id, size)
	if err != nil || !ok || good.Size != size {
		return errors.Join(err, fmt.Errorf("there is no checkpoint of the %d verified entries", size))
	}
	arrange := func(kind evidence.Kind, witness string) func() (*evidence.Evidence, error) {
		return func() (*evidence.Evidence, error) {
			m := f.meta(good, bad)
			e := &evidence.Evidence{Kind: kind, Observed: m.Observed.UTC().Truncate(time.Second), Sources: m.Sources, Witness: witness,
				Notes: [][]byte{good.Signed, bad.Signed}, Root: &root}
			for _, h := range proof {
				e.Hashes = append(e.Hashes, h)
			}
			return e, nil
		}
	}
	if err := f.report(ctx, f.forkFinding(kindForkPrefix, good, bad), nil, arrange(evidence.ForkPrefix, "")); err != nil {
		return err
	}
	for _, g := range bad.Cosignatures {
		for _, h := range good.Cosignatures {
			if g.KeyName == h.KeyName && g.KeyID == h.KeyID {
				if err := f.report(ctx, f.cosignerFinding(g, good, bad), nil, arrange(evidence.CosignerFork, keyOf(g))); err != nil {
					return err
				}
			}
		}
	}
	return s.SetVerdict(ctx, bad.ID, store.Inconsistent)
}

// accuseRoot deals with entries that do not give a signed root though they were
// fetched several times. If they were the same each time, the log serves them so;
// else something damages them on their way.
func (f *follower) accuseRoot(ctx context.Context, x *mismatch, roots []tlog.Hash) error {
	c := x.checkpoint
	for _, r := range roots {
		if r != x.local {
			if err := f.m.cfg.Store.RewindEntries(ctx, f.id); err != nil {
				return err
			}
			return f.entriesFailing(ctx, fmt.Errorf("%w: fetched %d times, the entries up to %d were not the same twice, and never gave the signed root", errGarbled, len(roots), c.Size))
		}
	}
	p, err := f.m.cfg.Store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	err = f.report(ctx, store.Finding{Key: fmt.Sprintf("root-mismatch/%s/%d", f.origin, p.Verified), Kind: kindRootMismatch, Index: -1,
		Summary: fmt.Sprintf("The entries that the log %s serves do not give the root that it signed for %d entries.", f.origin, c.Size),
		Detail: fmt.Sprintf("Fetched %d times, they were the same each time. They give the root %v; the log signed %v. The first %d entries are verified. It is tried again every %v.",
			len(roots), x.local, c.Root, p.Verified, f.m.cfg.MismatchRetry)}, nil,
		func() (*evidence.Evidence, error) {
			leaves, err := f.m.cfg.Store.LeafHashes(ctx, f.id, 0, c.Size)
			if err != nil {
				return nil, err
			}
			return evidence.NewEntryRootMismatch(c.Signed, evidence.Compress(leaves), f.meta(c))
		})
	if err != nil {
		return err
	}
	f.trouble.add("%s: the entries do not give the signed root of %d entries", f.origin, c.Size)
	f.retryAt = f.m.cfg.Now().Add(f.m.cfg.MismatchRetry)
	return f.m.cfg.Store.RewindEntries(ctx, f.id)
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

// printable makes text of what a stranger may have called himself.
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
