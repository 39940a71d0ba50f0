package verdict

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
)

// heads compares the checkpoints of bundles with what each log showed before. The
// newest checkpoint of a log is remembered; every other one must be of a tree that
// the remembered one continues, or that continues it. Bundles carry no proof of that,
// so it is made from the log's tiles, and what was shown once is noted.
type heads struct {
	cfg     Config
	state   *client.State
	sources map[string]*source // by origin

	mu    sync.Mutex
	known map[string]map[treeHead]bool // by origin, shown to be consistent; owned by mu
}

// treeHead is what a log commits to.
type treeHead struct {
	size int64
	root tlog.Hash
}

// maxKnown bounds the noted tree heads of a log.
const maxKnown = 100_000

func newHeads(cfg Config, state *client.State, sources []*source) *heads {
	h := &heads{cfg: cfg, state: state, sources: map[string]*source{}, known: map[string]map[treeHead]bool{}}
	for _, s := range sources {
		h.sources[s.origin] = s
	}
	return h
}

// settle compares the checkpoints of items whose bundles are verified, and decides
// about the items of those that do not hold.
func (h *heads) settle(ctx context.Context, items []*item) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byOrigin := map[string]map[treeHead][]*item{}
	for _, it := range items {
		c, err := it.checkpoint()
		if err != nil {
			it.decide(Unchecked, err) // the bundle was verified, so it does not happen
			continue
		}
		if byOrigin[c.Origin] == nil {
			byOrigin[c.Origin] = map[treeHead][]*item{}
		}
		head := treeHead{c.Size, c.Root}
		byOrigin[c.Origin][head] = append(byOrigin[c.Origin][head], it)
	}
	for origin, heads := range byOrigin {
		run := &settling{heads: h, origin: origin, source: h.sources[origin], errs: map[treeHead]error{}, notes: map[treeHead]string{}}
		fatal := run.compare(ctx, heads)
		for head, its := range heads {
			for _, it := range its {
				err := first(fatal, run.errs[head])
				switch note := run.notes[head]; {
				case errors.Is(err, client.ErrFork):
					it.decide(Violation, err)
				case err != nil:
					it.decide(Unchecked, err)
				case note != "":
					it.verdict.Notes = append(it.verdict.Notes, note)
				}
			}
		}
	}
}

// checkpoint returns that of the item's bundle, which was verified, now or before.
func (it *item) checkpoint() (client.Checkpoint, error) {
	if it.result != nil {
		return it.result.Checkpoint, nil
	}
	root, err := hex.DecodeString(it.facts.Log.Root)
	if err != nil || len(root) != tlog.HashSize {
		return client.Checkpoint{}, refuse(ErrUnreadable, "Remove the cache directory", "a remembered verdict is damaged")
	}
	return client.Checkpoint{Origin: it.facts.Log.Origin, Size: it.facts.Log.Size, Root: tlog.Hash(root)}, nil
}

// signed returns the checkpoint with its note.
func (it *item) signed() (client.Checkpoint, error) {
	c, err := it.checkpoint()
	if err == nil && c.Signed == nil {
		var p *client.Proof
		if p, err = client.ParseProof(it.bundle); err == nil {
			c.Signed = p.Checkpoint
		}
	}
	return c, err
}

// settling is the comparison of one log's tree heads.
type settling struct {
	*heads
	origin string
	source *source
	errs   map[treeHead]error
	notes  map[treeHead]string
}

// compare fills errs and notes. An error that it returns is about all of the log.
func (s *settling) compare(ctx context.Context, all map[treeHead][]*item) error {
	if path, err := s.oldEvidence(); err != nil || path != "" {
		return first(err, forked(s.origin, "it did so before", path))
	}
	latest, known, err := s.state.Latest(s.origin)
	if err != nil {
		return refuse(fmt.Errorf("%w: %w", ErrState, err), "", "what the log %s showed before is not known: %v", s.origin, err)
	}
	shown := s.load(s.origin)
	var open []client.Checkpoint
	for head, its := range all {
		if known && shown[head] && head.size <= latest.Size {
			continue
		}
		c, err := its[0].signed()
		if err != nil {
			return err
		}
		open = append(open, c)
	}
	if len(open) == 0 {
		return nil
	}
	slices.SortFunc(open, func(a, b client.Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), bytes.Compare(a.Root[:], b.Root[:]))
	})
	for i := 1; i < len(open); i++ {
		if open[i-1].Size == open[i].Size {
			return s.accuse(open[i-1], open[i], nil)
		}
	}
	if latest, err = s.advance(ctx, latest, known, open[len(open)-1]); err != nil {
		return err
	}
	return s.compareOlder(ctx, latest, open)
}

// advance makes the newest checkpoint the remembered one, if it can be shown to
// continue that, and returns the one that is remembered then.
func (s *settling) advance(ctx context.Context, latest client.Checkpoint, known bool, next client.Checkpoint) (client.Checkpoint, error) {
	head := treeHead{next.Size, next.Root}
	switch {
	case !known:
		return next, s.observe(next, nil)
	case next.Size < latest.Size:
		return latest, nil
	case next.Size == latest.Size && next.Root != latest.Root:
		return latest, s.accuse(latest, next, nil)
	case next.Size == latest.Size:
		s.note(head)
		return latest, nil
	}
	if s.cannotAsk(head, next.Size, latest.Size) {
		return latest, nil
	}
	tiles := s.source.log.Tiles(next)
	root, err := tiles.Root(ctx, latest.Size)
	var proof [][32]byte
	if err == nil {
		proof, err = tiles.Consistency(ctx, latest.Size)
	}
	switch {
	case err != nil:
		s.errs[head] = s.unshown(next.Size, latest.Size, err)
		return latest, nil
	case root != latest.Root:
		return latest, s.accuse(latest, next, tiles.HashReader(ctx))
	}
	return next, s.observe(next, proof)
}

// observe has a checkpoint remembered that is shown to be consistent.
func (s *settling) observe(c client.Checkpoint, proof [][32]byte) error {
	standing, err := s.state.Observe(c, proof)
	var fork *client.ForkError
	switch {
	case errors.As(err, &fork): // another process was faster, with another tree
		return s.accuse(fork.Old, fork.New, nil)
	case err != nil:
		return refuse(fmt.Errorf("%w: %w", ErrState, err), "", "the checkpoint of %s with %d entries cannot be remembered: %v", s.origin, c.Size, err)
	case standing == client.Older || standing == client.NewerUnproven:
		// Another process remembered one in between; the next run compares with it.
		return nil
	}
	s.note(treeHead{c.Size, c.Root})
	return nil
}

// compareOlder shows that the remembered tree continues each smaller one.
func (s *settling) compareOlder(ctx context.Context, latest client.Checkpoint, open []client.Checkpoint) error {
	var older []client.Checkpoint
	for _, c := range open {
		if head := (treeHead{c.Size, c.Root}); c.Size < latest.Size && !s.cannotAsk(head, latest.Size, c.Size) {
			older = append(older, c)
		}
	}
	if len(older) == 0 {
		return nil
	}
	tiles := s.source.log.Tiles(latest)
	var mu sync.Mutex
	roots, errs := map[int64]tlog.Hash{}, map[int64]error{}
	each(inFlight, older, func(c client.Checkpoint) {
		root, err := tiles.Root(ctx, c.Size)
		mu.Lock()
		defer mu.Unlock()
		roots[c.Size], errs[c.Size] = root, err
	})
	for _, c := range older {
		head := treeHead{c.Size, c.Root}
		switch err := errs[c.Size]; {
		case err != nil:
			s.errs[head] = s.unshown(latest.Size, c.Size, err)
		case roots[c.Size] != c.Root:
			return s.accuse(c, latest, tiles.HashReader(ctx))
		default:
			s.note(head)
		}
	}
	return nil
}

// cannotAsk notes that nothing can be fetched to compare two sizes.
func (s *settling) cannotAsk(head treeHead, larger, smaller int64) bool {
	if !s.cfg.Offline && s.source != nil && s.source.log != nil {
		return false
	}
	why := "nothing is fetched offline"
	if !s.cfg.Offline {
		why = "the trust file has no URL of it"
	}
	s.notes[head] = fmt.Sprintf("it was not compared whether the tree of %s with %d entries continues the one with %d: %s", s.origin, larger, smaller, why)
	return true
}

// unshown is not knowing whether two trees agree.
func (s *settling) unshown(larger, smaller int64, err error) error {
	if errors.Is(err, client.ErrConsistency) {
		return err
	}
	return refuse(fmt.Errorf("%w: %w", client.ErrConsistency, err), "Try again when the log answers",
		"it could not be shown that the tree of %s with %d entries continues the one with %d: %v", s.origin, larger, smaller, err)
}

// knownPath is where tree heads are noted: lines of size and root.
func (h *heads) knownPath(origin string) string {
	return filepath.Join(h.dir(origin), "consistent")
}

// load reads the noted tree heads. A line that is damaged is one that was not noted.
func (h *heads) load(origin string) map[treeHead]bool {
	if m := h.known[origin]; m != nil {
		return m
	}
	m := map[treeHead]bool{}
	h.known[origin] = m
	f, err := os.Open(h.knownPath(origin))
	if err != nil {
		return m
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan() && n < maxKnown; n++ {
		size, root, _ := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(root)
		if i, err2 := strconv.ParseInt(size, 10, 64); err == nil && err2 == nil && len(b) == tlog.HashSize {
			m[treeHead{i, tlog.Hash(b)}] = true
		}
	}
	return m
}

// note writes down that a tree head is consistent with the remembered one. Notes
// save requests: if one cannot be written, nothing is lost.
func (s *settling) note(head treeHead) {
	m := s.load(s.origin)
	if m[head] || len(m) >= maxKnown {
		return
	}
	m[head] = true
	path := s.knownPath(s.origin)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, err = fmt.Fprintf(f, "\n%d %x\n", head.size, head.root[:]) // first end what a crash cut off
	if err = errors.Join(err, f.Close()); err != nil {
		s.cfg.Log.Warn("cannot note a tree head", "err", err)
	}
}
