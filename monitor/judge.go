package monitor

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/client"
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
// that are not, and lines of unknown keys, are left out.
func (f *follower) open(signed []byte, source string) (store.Checkpoint, error) {
	lines := f.lines
	c, err := f.noQuorum.CheckCheckpointRules(signed, lenient)
	if errors.Is(err, client.ErrCosignature) {
		// An attacker may have damaged a cosignature to make us look away.
		lines = f.logLines
		c, err = f.logKeys.CheckCheckpointRules(signed, lenient)
	}
	if err != nil {
		return store.Checkpoint{}, err
	}
	if c.Origin != f.origin {
		return store.Checkpoint{}, fmt.Errorf("%w: it is of the log %q", errAbsurd, c.Origin)
	}
	if c.Size > maxSize {
		// It is signed, but the libraries cannot calculate with it.
		return store.Checkpoint{}, fmt.Errorf("%w: a tree of %d entries, which cannot exist", errAbsurd, c.Size)
	}
	now := f.cfg.Now()
	out := store.Checkpoint{Log: f.id, Size: c.Size, Root: c.Root, Signed: keepLines(signed, lines), Source: source,
		FirstSeen: now, LastSeen: now, Verdict: store.Pending}
	for _, g := range c.Cosignatures {
		out.Cosignatures = append(out.Cosignatures, store.Cosignature{Witness: g.Witness, KeyName: g.KeyName,
			KeyID: g.KeyID, Time: g.Time})
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

// accepted says whether the signature lines of a note satisfy the trust file.
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
	s := f.store
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
	pending, err := f.store.PendingCheckpoints(ctx, f.id, maxKept)
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
	s := f.store
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
	verdict, report := store.Consistent, f.reportUnsealed
	if root != c.Root {
		verdict, report = store.Inconsistent, f.reportFork
	}
	if err := report(ctx, c); err != nil {
		return c.Verdict, err
	}
	return verdict, s.SetVerdict(ctx, c.ID, verdict)
}

// compareSameSize finds forks above the verified entries: which of the two trees is the
// right one is not known yet, but the log signed both.
func (f *follower) compareSameSize(ctx context.Context, c store.Checkpoint) error {
	same, err := f.store.CheckpointsOfSize(ctx, f.id, c.Size)
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
