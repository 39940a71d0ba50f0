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
	"golang.org/x/sync/errgroup"

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
	known map[string]map[int64]tlog.Hash // by origin and size: root that was shown to be consistent; owned by mu
}

// treeHead is what a log commits to.
type treeHead struct {
	size int64
	root tlog.Hash
}

func headOf(c client.Checkpoint) treeHead { return treeHead{c.Size, c.Root} }

// maxKnown bounds the noted tree heads of a log.
const maxKnown = 100_000

func newHeads(cfg Config, state *client.State, sources []*source) *heads {
	h := &heads{cfg: cfg, state: state, sources: map[string]*source{}, known: map[string]map[int64]tlog.Hash{}}
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
		head := headOf(c)
		byOrigin[c.Origin][head] = append(byOrigin[c.Origin][head], it)
	}
	for origin, heads := range byOrigin {
		run := &settling{heads: h, origin: origin, source: h.sources[origin], errs: map[treeHead]error{},
			notes: map[treeHead]string{}}
		if run.source != nil {
			run.log = run.source.log
		}
		run.places = placesOf(heads)
		if g := items[0].given; g != nil && g.From != nil { // it comes alone
			run.log = g.From
		}
		fatal := run.compare(ctx, heads)
		for head, its := range heads {
			for _, it := range its {
				err := cmp.Or(fatal, run.errs[head])
				switch note := cmp.Or(run.notes[head], run.open); {
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
		return client.Checkpoint{}, refuse(ErrUnreadable, "Remove the cache directory",
			"a remembered verdict is damaged")
	}
	return client.Checkpoint{Origin: it.facts.Log.Origin, Size: it.facts.Log.Size, Root: tlog.Hash(root)}, nil
}

// signed returns the checkpoint with its note.
func (it *item) signed() (client.Checkpoint, error) {
	c, err := it.checkpoint()
	if err == nil && c.Signed == nil {
		var p *client.Bundle
		if p, err = client.ParseBundle(it.bundle); err == nil {
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
	log    *client.Log // to fetch tiles from; nil for none
	places []*keeper   // that may have a mirror of them, and are asked first
	errs   map[treeHead]error
	notes  map[treeHead]string
	open   string // a note for all: a remembered checkpoint could not be compared
}

// compare fills errs and notes. An error that it returns is about all of the log.
func (s *settling) compare(ctx context.Context, all map[treeHead][]*item) error {
	if path, err := s.oldEvidence(); err != nil || path != "" {
		return cmp.Or(err, forked(s.origin, "it did so before", path))
	}
	for range maxRounds {
		if again, err := s.round(ctx, all); err != nil || !again {
			return err
		}
	}
	return refuse(ErrState, "Try again", "other processes do not cease to remember checkpoints of the log %s", s.origin)
}

// maxRounds bounds how often other processes may remember checkpoints during one comparison.
const maxRounds = 16

// round is one comparison, of all that is not settled yet. It must be made again if another
// process remembered something meanwhile. Of two processes that remember at the same time,
// one at least finds the other's checkpoint when it looks again, and compares it.
func (s *settling) round(ctx context.Context, all map[treeHead][]*item) (again bool, err error) {
	unknown := func(err error) error {
		return refuse(both(ErrState, err), "", "what the log %s showed before is not known: %v",
			s.origin, err)
	}
	sizes, err := s.state.Sizes(s.origin)
	if err != nil {
		return false, unknown(err)
	}
	var latest client.Checkpoint
	known := len(sizes) > 0
	var open []client.Checkpoint
	for i, size := range sizes {
		newest := i == len(sizes)-1
		if _, shown := s.load(s.origin)[size]; shown && !newest {
			continue
		}
		c, err := s.state.At(s.origin, size)
		switch {
		case err != nil:
			return false, unknown(err)
		case newest:
			latest = c
		default:
			open = append(open, c) // it was remembered, and not compared to the end
		}
	}
	clear(s.errs) // what is not compared now is said again
	clear(s.notes)
	for head, its := range all {
		if known && (head == headOf(latest) || head.size < latest.Size && s.shown(head)) {
			continue
		}
		c, err := its[0].signed()
		if err != nil {
			return false, err
		}
		open = append(open, c)
	}
	if len(open) == 0 {
		return false, nil
	}
	if known {
		open = append(open, latest)
	}
	slices.SortFunc(open, func(a, b client.Checkpoint) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), bytes.Compare(a.Root[:], b.Root[:]))
	})
	for i := 1; i < len(open); i++ {
		if open[i-1].Size == open[i].Size && open[i-1].Root != open[i].Root {
			return false, s.accuse(open[i-1], open[i], nil)
		}
	}
	latest, settled, err := s.advance(ctx, latest, known, open)
	if err != nil || !settled {
		return !settled, err
	}
	if err := s.compareOlder(ctx, latest, open, sizes); err != nil {
		return false, err
	}
	now, err := s.state.Sizes(s.origin)
	if err != nil {
		return false, unknown(err)
	}
	return slices.ContainsFunc(now, func(n int64) bool { return n != latest.Size && !slices.Contains(sizes, n) }), nil
}

// advance makes the newest checkpoint of open the remembered one, if it can be shown to
// continue that, and returns the one that is remembered then. If it cannot, nothing that is
// larger than the remembered one was compared. settled is false if another process has
// remembered one meanwhile.
func (s *settling) advance(ctx context.Context, latest client.Checkpoint, known bool,
	open []client.Checkpoint) (_ client.Checkpoint, settled bool, err error) {
	next := open[len(open)-1]
	switch {
	case !known:
		settled, err = s.observe(next, nil)
		return next, settled, err
	case next.Size == latest.Size:
		return latest, true, nil
	}
	var larger []client.Checkpoint
	for _, c := range open {
		if c.Size > latest.Size && !s.cannotAsk(headOf(c), c.Size, latest.Size) {
			larger = append(larger, c)
		}
	}
	if len(larger) == 0 {
		return latest, true, nil
	}
	var root tlog.Hash
	var proof [][32]byte
	tiles, err := s.tiles(ctx, next, func(tiles *client.Tiles) (err error) {
		if root, err = tiles.Root(ctx, latest.Size); err == nil {
			proof, err = tiles.Consistency(ctx, latest.Size)
		}
		return err
	})
	switch {
	case err != nil:
		for _, c := range larger {
			s.errs[headOf(c)] = s.unshown(c.Size, latest.Size, err)
		}
		return latest, true, nil
	case root != latest.Root:
		return latest, true, s.accuse(latest, next, tiles.HashReader(ctx))
	}
	if settled, err = s.observe(next, proof); settled && err == nil {
		s.note(headOf(latest))
	}
	return next, settled, err
}

// observe has a checkpoint remembered that is shown to be consistent. It returns false if
// another process has remembered one meanwhile, with which it must be compared.
func (s *settling) observe(c client.Checkpoint, proof [][32]byte) (bool, error) {
	standing, err := s.state.Observe(c, proof)
	var fork *client.ForkError
	switch {
	case errors.As(err, &fork): // another process was faster, with another tree
		return true, s.accuse(fork.Old, fork.New, nil)
	case errors.Is(err, client.ErrConsistency): // the proof is from another one
		return false, nil
	case err != nil:
		return true, refuse(both(ErrState, err), "", "the checkpoint of %s with %d "+
			"entries cannot be remembered: %v", s.origin, c.Size, err)
	case standing == client.Older || standing == client.NewerUnproven:
		return false, nil
	}
	return true, nil
}

// compareOlder shows that the remembered tree continues each smaller one. If it cannot be
// shown of one that was remembered, of one of sizes, nothing of the log is believed; if it
// cannot be asked for, every verdict has a note.
func (s *settling) compareOlder(ctx context.Context, latest client.Checkpoint, open []client.Checkpoint,
	sizes []int64) error {
	var older []client.Checkpoint
	for _, c := range open {
		switch head := headOf(c); {
		case c.Size >= latest.Size || s.shown(head):
		case !s.cannotAsk(head, latest.Size, c.Size):
			older = append(older, c)
		case slices.Contains(sizes, c.Size):
			s.open = s.notes[head]
		}
	}
	if len(older) == 0 {
		return nil
	}
	roots, errs := make([]tlog.Hash, len(older)), make([]error, len(older))
	tiles, _ := s.tiles(ctx, latest, func(tiles *client.Tiles) error {
		var g errgroup.Group
		g.SetLimit(inFlight)
		for i, c := range older {
			g.Go(func() error {
				roots[i], errs[i] = tiles.Root(ctx, c.Size)
				return nil
			})
		}
		g.Wait()
		return errors.Join(errs...)
	})
	for i, c := range older {
		head := headOf(c)
		switch {
		case errs[i] != nil:
			s.errs[head] = s.unshown(latest.Size, c.Size, errs[i])
			if slices.Contains(sizes, c.Size) {
				return s.errs[head]
			}
		case roots[i] != c.Root:
			return s.accuse(c, latest, tiles.HashReader(ctx))
		default:
			s.note(head)
		}
	}
	return nil
}

// tiles has the tree of a checkpoint read from the mirrors that places have of it, or else from the
// log, and returns what it was read from. Whoever serves the tiles, what is read leads to the root.
func (s *settling) tiles(ctx context.Context, c client.Checkpoint,
	read func(*client.Tiles) error) (*client.Tiles, error) {
	for _, at := range s.places {
		short, cancel := context.WithTimeout(ctx, requestTimeout)
		log := at.tiles(short, s.origin, s.cfg.UserAgent)
		cancel()
		if log == nil {
			continue
		}
		if tiles := log.Tiles(c); read(tiles) == nil {
			return tiles, nil
		}
	}
	tiles := s.log.Tiles(c)
	return tiles, read(tiles)
}

// placesOf returns where the evidence about some items may lie, each place once.
func placesOf(heads map[treeHead][]*item) (all []*keeper) {
	for _, its := range heads {
		for _, it := range its {
			for _, at := range it.c.placesOf(it.want) {
				if !slices.Contains(all, at) {
					all = append(all, at)
				}
			}
		}
	}
	return all
}

// cannotAsk notes that nothing can be fetched to compare two sizes.
func (s *settling) cannotAsk(head treeHead, larger, smaller int64) bool {
	if !s.cfg.Offline && s.log != nil {
		return false
	}
	why := "nothing is fetched offline"
	if !s.cfg.Offline {
		why = "the trust file has no URL of it"
	}
	s.notes[head] = fmt.Sprintf("it was not compared whether the tree of %s with %d entries continues "+
		"the one with %d: %s", s.origin, larger, smaller, why)
	return true
}

// unshown is not knowing whether two trees agree.
func (s *settling) unshown(larger, smaller int64, err error) error {
	if errors.Is(err, client.ErrConsistency) {
		return err
	}
	return refuse(both(both(client.ErrConsistency, errUnshown), err), "Try again when the log answers",
		"it could not be shown that the tree of %s with %d entries continues the one with %d: %v", s.origin, larger, smaller, err)
}

// knownPath is where tree heads are noted: lines of size and root.
func (h *heads) knownPath(origin string) string {
	return filepath.Join(h.dir(origin), "consistent")
}

// load reads the noted tree heads. A line that is damaged is one that was not noted.
func (h *heads) load(origin string) map[int64]tlog.Hash {
	if m := h.known[origin]; m != nil {
		return m
	}
	m := map[int64]tlog.Hash{}
	h.known[origin] = m
	f, err := os.Open(h.knownPath(origin))
	if err != nil {
		return m
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for len(m) < maxKnown && lines.Scan() {
		size, root, _ := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(root)
		if i, err2 := strconv.ParseInt(size, 10, 64); err == nil && err2 == nil && len(b) == tlog.HashSize {
			m[i] = tlog.Hash(b)
		}
	}
	return m
}

// shown says that a tree head was noted.
func (s *settling) shown(head treeHead) bool {
	root, ok := s.load(s.origin)[head.size]
	return ok && root == head.root
}

// note writes down that a larger checkpoint that is remembered continues a tree head. The
// newest is never noted: another process may be remembering a larger one, and must compare it.
// Notes save requests: if one cannot be written, nothing is lost.
func (s *settling) note(head treeHead) {
	m := s.load(s.origin)
	if s.shown(head) || len(m) >= maxKnown {
		return
	}
	m[head.size] = head.root
	f, err := os.OpenFile(s.knownPath(s.origin), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, err = fmt.Fprintf(f, "\n%d %x\n", head.size, head.root[:]) // first end what a crash cut off
	if err = errors.Join(err, f.Close()); err != nil {
		s.cfg.Log.Warn("cannot note a tree head", "err", err)
	}
}
