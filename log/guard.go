package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	tclient "github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/log/storage"
)

// ErrRollback says that the tree is not a continuation of what this log has
// signed. Nothing is signed or written after it. There is no way back under
// the same origin: a witness would refuse it too.
var ErrRollback = errors.New("the tree is not the one that this log has signed")

// Key is one of the keys that sign a log's checkpoints.
type Key struct {
	note.Signer        // of the log's origin
	VKey        string // its verifier key
}

// guard is the log's checkpoint signer. It remembers, in a database that is
// apart from the tree, the largest tree head that it signed, and
// signs only heads that are proved to extend it. It is the signer of the first
// key; those of the others, from [guard.others], hand out what it has signed
// with them.
//
// SPEC (tlog-checkpoint): "A log MUST NOT sign a checkpoint inconsistent with
// any it signed before." Tessera has no such check in any driver.
type guard struct {
	keys   []Key
	origin string
	tiles  tclient.TileFetcherFunc
	halt   func(error)             // called with every ErrRollback; may be nil
	permit func(size uint64) error // whether the witnesses were asked; may be nil
	signed func(head string)       // called with every text that was signed, before the signatures leave; may be nil
	store  *guardStore             // nil: nothing is signed

	seal  func(size uint64) ([]byte, error) // the seal that a tree must end in, computed anew; nil: any tree is signed
	pace  time.Duration                     // the least time to pass before a tree is signed again
	meter *meter                            // may be nil

	signing sync.Mutex // held while Sign is under way, which a key elsewhere may make long

	unsure []mark // owned by signing; heads of which it is not known whether they were written

	mu      sync.Mutex
	head    mark      // owned by mu, written with signing held too; equal to the database's row
	grew    time.Time // owned by mu; when head was first signed; zero: before the start
	tried   time.Time // owned by mu; when head was signed last
	refusal error     // owned by mu; of the latest Sign that was not too early, nil when it signed or a key could not
	ailing  error     // owned by mu; why a key could not sign in the latest Sign
	asked   time.Time // owned by mu; since when the keys are asked; zero while they are not
	last    released  // owned by mu
	frozen  []byte    // owned by mu, written with signing held too; the last word, after which nothing is signed
}

// released are the signatures of the latest text, by the key's place.
type released struct {
	text string
	sigs [][]byte
}

// errKey is wrapped by the error for a key that cannot sign.
var errKey = errors.New("the log's key cannot sign")

// slowKey is how long keys may take for a checkpoint before the log says that it is not well.
const slowKey = 2 * time.Second

// mark is a signed tree head. Note is nil before the first signature.
type mark struct {
	Size uint64
	Root tlog.Hash
	Note []byte
}

func (m mark) same(o mark) bool { return m.Size == o.Size && m.Root == o.Root }

var _ note.Signer = &guard{}

// openGuard compares what is remembered with the tree, before anything may write there. The first mark is made only
// together with the tree. It returns what changed about the keys, in words. The store is closed with the guard.
func openGuard(ctx context.Context, store *guardStore, tree storage.Tree, keys []Key, tiles tclient.TileFetcherFunc) (*guard,
	[]string, error) {
	g := &guard{keys: keys, origin: keys[0].Name(), tiles: tiles, store: store}
	changed, err := g.load(ctx, tree)
	if err != nil {
		store.close()
		return nil, nil, err
	}
	return g, changed, nil
}

func (g *guard) load(ctx context.Context, tree storage.Tree) (changed []string, err error) {
	state, err := tree.State(ctx)
	if err != nil {
		return nil, err
	}
	known, err := g.store.load(ctx)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return nil, g.inception(ctx, tree, state)
	}
	added, ended, err := g.compareKeys(known)
	if err != nil {
		return nil, err
	}
	g.head, g.frozen = known.head, known.frozen
	if err := g.checkTree(ctx, tree, state); err != nil {
		return nil, err
	}
	for _, vkey := range added {
		changed = append(changed, "signs from now on: "+vkey)
	}
	for _, vkey := range ended {
		changed = append(changed, "signs no more: "+vkey)
	}
	return changed, g.store.changeKeys(ctx, added, ended)
}

// compareKeys tells which keys of the settings are new, and which were taken out. At least one must be
// a key that signs already: keys change one after the other, and the memory of another log is refused.
func (g *guard) compareKeys(known *remembered) (added, ended []string, err error) {
	for _, k := range g.keys {
		if !slices.Contains(known.keys, k.VKey) {
			added = append(added, k.VKey)
		}
	}
	for _, vkey := range known.keys {
		if !slices.ContainsFunc(g.keys, func(k Key) bool { return k.VKey == vkey }) {
			ended = append(ended, vkey)
		}
	}
	if known.origin != g.origin || len(ended) == len(known.keys) {
		return nil, nil, fmt.Errorf("%s belongs to the log %q with the keys %s, and the settings name %q with none of "+
			"them: %s. To change a log's key, let the old and the new one sign for a while",
			g.store.name, known.origin, strings.Join(known.keys, " "), g.origin, g.store.find)
	}
	return added, ended, nil
}

// inception writes the first mark, of the empty tree. A tree with entries and
// no memory of signing is refused: it is a copy, or the state was lost.
func (g *guard) inception(ctx context.Context, tree storage.Tree, state storage.State) error {
	if state.Size > 0 {
		return g.store.forgot(tree, state)
	}
	g.head = mark{Root: tlog.Hash(rfc6962.DefaultHasher.EmptyRoot())}
	return g.store.begin(ctx, g.origin, g.head, g.keys)
}

// checkTree compares the mark with the tree on the disk.
func (g *guard) checkTree(ctx context.Context, tree storage.Tree, state storage.State) error {
	if !state.Found && g.head.Size > 0 {
		return fmt.Errorf("%w: %v is not there, but this log has signed a checkpoint of %d entries: give it the right place; "+
			"if the tree is lost, start a new log under a new origin", ErrRollback, tree, g.head.Size)
	}
	if state.Size < g.head.Size {
		return fmt.Errorf("%w: %v was rolled back to %d entries, but this log has signed a checkpoint of %d: put the newer "+
			"tree back; if it is lost, start a new log under a new origin", ErrRollback, tree, state.Size, g.head.Size)
	}
	if !state.Found {
		return nil
	}
	for _, want := range []mark{{Size: state.Size, Root: state.Root}, g.head} {
		got, err := rootAt(ctx, want.Size, g.tiles)
		if err != nil {
			return fmt.Errorf("%v is damaged: %w; \"logd fsck -repair\" makes tiles of the entries", tree, err)
		}
		if got != want.Root {
			return fmt.Errorf("%w: in %v the first %d entries have the root %s, but %s is on record: it is another log's "+
				"tree, or it was changed; give this log its own directory, or if it is that, run \"logd fsck -repair\"",
				ErrRollback, tree, want.Size, got, want.Root)
		}
	}
	return nil
}

// Name implements note.Signer.
func (g *guard) Name() string { return g.origin }

// KeyHash implements note.Signer.
func (g *guard) KeyHash() uint32 { return g.keys[0].KeyHash() }

// others returns the signers of all keys but the first, for what the guard has signed.
func (g *guard) others() []note.Signer {
	var others []note.Signer
	for i, k := range g.keys[1:] {
		others = append(others, guarded{k, g, i + 1})
	}
	return others
}

// guarded is a further key. It signs nothing by itself.
type guarded struct {
	Key
	guard *guard
	place int
}

// Sign implements note.Signer: it returns the signature of the text that the guard signed last.
func (k guarded) Sign(msg []byte) ([]byte, error) {
	k.guard.mu.Lock()
	defer k.guard.mu.Unlock()
	if last := k.guard.last; last.text == string(msg) && last.text != "" {
		return bytes.Clone(last.sigs[k.place]), nil
	}
	return nil, errors.New("guard: refusing to sign with a further key what was not just signed with the first")
}

// Sign signs a checkpoint that extends the last one signed, with every key, after that fact
// is on the disk. Every other message is refused.
func (g *guard) Sign(msg []byte) ([]byte, error) {
	g.signing.Lock()
	defer g.signing.Unlock()
	sigs, err := g.sign(context.Background(), msg)
	g.mu.Lock()
	if errors.Is(err, ErrEarly) {
		g.mu.Unlock()
		return nil, err
	}
	g.refusal, g.ailing, g.asked, g.last = err, nil, time.Time{}, released{}
	if errors.Is(err, errKey) {
		g.refusal, g.ailing = nil, err
	}
	if err == nil {
		g.last = released{string(msg), sigs}
	}
	g.mu.Unlock()
	if errors.Is(err, ErrRollback) && g.halt != nil {
		g.halt(err)
	}
	if err != nil {
		return nil, err
	}
	if g.signed != nil {
		g.signed(string(msg))
	}
	return sigs[0], nil
}

// sign is called with signing held. The order is: check, sign, remember, release.
func (g *guard) sign(ctx context.Context, msg []byte) ([][]byte, error) {
	if g.frozen != nil {
		return nil, fmt.Errorf("guard: %w: it signs nothing more", ErrFrozen)
	}
	c, err := torchwood.ParseCheckpoint(string(msg))
	if err != nil {
		return nil, fmt.Errorf("guard: refusing to sign what is not a checkpoint: %w", err)
	}
	if c.Origin != g.origin || c.Extension != "" || c.N < 0 {
		return nil, fmt.Errorf("guard: refusing to sign a checkpoint of %q", c.Origin)
	}
	next := mark{Size: uint64(c.N), Root: c.Hash}
	if g.permit != nil {
		if err := g.permit(next.Size); err != nil {
			return nil, fmt.Errorf("guard: %w", err)
		}
	}
	if err := g.checkNext(ctx, next); err != nil {
		return nil, err
	}
	if err := g.checkSeal(ctx, next); err != nil {
		return nil, err
	}
	sigs, signers, err := g.signWithAll(msg)
	if err != nil {
		return nil, err
	}
	next.Note, err = note.Sign(&note.Note{Text: string(msg)}, signers...)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := g.remember(ctx, next); err != nil {
		return nil, err
	}
	return sigs, nil
}

// signWithAll asks every key. All must sign: readers may know only one of them.
func (g *guard) signWithAll(msg []byte) (sigs [][]byte, signers []note.Signer, err error) {
	g.mu.Lock()
	g.asked = time.Now()
	g.mu.Unlock()
	for _, k := range g.keys {
		sig, err := k.Sign(msg)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errKey, err)
		}
		sigs, signers = append(sigs, sig), append(signers, signed{k, sig})
	}
	return sigs, signers, nil
}

// problems says what is wrong with the keys, for /healthz.
func (g *guard) problems() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch wait := time.Since(g.asked); {
	case g.ailing != nil:
		return []string{g.ailing.Error()}
	case !g.asked.IsZero() && wait > slowKey:
		return []string{fmt.Sprintf("%v: it was asked %v ago and has not answered yet", errKey, wait.Round(time.Second))}
	}
	return nil
}

// ErrEarly is wrapped by the refusals that are part of every day: Tessera asks for a signature of whatever tree
// there is, and asks again. Its messages by klog have this text, and are of no use to anybody.
var ErrEarly = errors.New("it is too early to sign")

// checkSeal demands that the tree ends in a seal of its other leaves' map, and that it was not signed a moment ago.
func (g *guard) checkSeal(ctx context.Context, next mark) error {
	if next.Size == 0 || g.seal == nil {
		return nil
	}
	if next.Size == g.head.Size && time.Since(g.tried) < g.pace {
		return fmt.Errorf("guard: %w a second time", ErrEarly)
	}
	if g.meter != nil {
		defer g.meter.measure()()
	}
	leaf, err := g.seal(next.Size)
	if errors.Is(err, errUnsealed) {
		return fmt.Errorf("guard: %w: %w", ErrEarly, err)
	}
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	pb, err := tclient.NewProofBuilder(ctx, next.Size, g.tiles)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	p, err := pb.InclusionProof(ctx, next.Size-1)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	hash := rfc6962.DefaultHasher.HashLeaf(leaf)
	if proof.VerifyInclusion(rfc6962.DefaultHasher, next.Size-1, next.Size, hash, p, next.Root[:]) != nil {
		return fmt.Errorf("guard: %w: %w", ErrEarly, errUnsealed) // another leaf stands where the seal was to be
	}
	return nil
}

// checkNext demands a proof that next extends the mark.
func (g *guard) checkNext(ctx context.Context, next mark) error {
	switch old := g.head; {
	case next.Size < old.Size:
		return fmt.Errorf("%w: refusing to sign a checkpoint of %d entries after one of %d", ErrRollback, next.Size, old.Size)
	case next.Size == old.Size && next.Root != old.Root:
		return fmt.Errorf("%w: refusing to sign a second root for %d entries", ErrRollback, next.Size)
	case next.Size == old.Size:
		return nil
	case old.Size == 0:
		// Every tree extends the empty one; the root must still be the tiles'.
		root, err := rootAt(ctx, next.Size, g.tiles)
		if err != nil {
			return fmt.Errorf("guard: %w", err)
		}
		if root != next.Root {
			return fmt.Errorf("%w: refusing to sign a root for %d entries that the tiles do not have", ErrRollback, next.Size)
		}
		return nil
	default:
		return g.checkConsistency(ctx, old, next)
	}
}

func (g *guard) checkConsistency(ctx context.Context, old, next mark) error {
	pb, err := tclient.NewProofBuilder(ctx, next.Size, g.tiles)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	p, err := pb.ConsistencyProof(ctx, old.Size, next.Size)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	err = proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, next.Size, p, old.Root[:], next.Root[:])
	if err != nil {
		return fmt.Errorf("%w: refusing to sign %d entries that do not extend the %d signed before: %w",
			ErrRollback, next.Size, old.Size, err)
	}
	return nil
}

// remember writes the mark as a compare-and-swap on the one that is in memory. Only what is known to be written is
// signed. An answer of a database that got lost says nothing: the mark may be there, or may still come to be there.
func (g *guard) remember(ctx context.Context, next mark) error {
	if l := g.store.lease; l != nil {
		if err := l.valid(); err != nil {
			return fmt.Errorf("guard: %w", err)
		}
	}
	old := g.head
	for range 2 {
		written, err := g.store.swap(ctx, old, next)
		if err == nil && written {
			g.advance(next)
			return nil
		}
		if err != nil {
			g.unsure = append(slices.DeleteFunc(g.unsure, next.same), next)
			err = fmt.Errorf("guard: cannot remember what is to be signed: %w", err)
			if !g.store.shared {
				return err
			}
		}
		if err == nil {
			if lost := g.store.dispossessed(ctx); lost != nil {
				return fmt.Errorf("guard: %w", lost)
			}
		}
		now, readErr := g.store.load(ctx)
		switch {
		case readErr != nil:
			return errors.Join(err, readErr)
		case now == nil:
			return fmt.Errorf("guard: %s has lost what it remembered", g.store.name)
		case err != nil && now.head.same(next): // it is there; but the next statement says whether it is ours to sign
			old = next
			continue
		case err != nil && now.head.same(g.head):
			return err
		case slices.ContainsFunc(g.unsure, now.head.same):
			g.advance(now.head)
			return fmt.Errorf("guard: %w: an earlier mark, of which nobody knew, is there", ErrEarly)
		}
		return fmt.Errorf("guard: another process changed %s: it has a mark of %d entries, and %d were signed here last",
			g.store.name, now.head.Size, g.head.Size)
	}
	return fmt.Errorf("guard: %s does not say what it remembers", g.store.name)
}

// advance takes note of what is written.
func (g *guard) advance(next mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tried = time.Now(); g.head.Size != next.Size {
		g.grew, g.unsure = g.tried, nil
	}
	g.head = next
}

// signed is a signer that already has the signature.
type signed struct {
	note.Signer
	sig []byte
}

func (s signed) Sign([]byte) ([]byte, error) { return bytes.Clone(s.sig), nil }

// mark returns the last signed head and the refusal of the latest attempt.
func (g *guard) mark() (mark, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.head, g.refusal
}

// latest returns the size that was signed last, and when that was first done.
func (g *guard) latest() (size uint64, grew time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.head.Size, g.grew
}

func (g *guard) close() error {
	g.signing.Lock()
	defer g.signing.Unlock()
	if g.store == nil { // of a copy for reading
		return nil
	}
	return g.store.close()
}
