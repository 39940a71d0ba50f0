package log

import (
	"bytes"
	"context"
	"database/sql"
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

	"cratelog/internal/sqlite"
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
// not in the tree's directory, the largest tree head that it signed, and
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
	db     *sql.DB

	signing sync.Mutex // held while Sign is under way, which a key elsewhere may make long

	mu      sync.Mutex
	head    mark      // owned by mu, written with signing held too; equal to the database's row
	refusal error     // owned by mu; of the latest Sign, nil when it signed or a key could not
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

var _ note.Signer = &guard{}

// A rollback journal leaves one file when the log is stopped. Each commit is one
// transaction a checkpoint: speed does not matter here.
var guardDatabase = sqlite.Owned{
	ID: 0x63726c67, Version: 2, Schema: guardSchema + frozenSchema, Journal: "delete", Conns: 1,
	What: "a log's guard.db",
	Advice: "use the state directory of this log; a log of an earlier build cannot go on with this one: finish it " +
		"with that build, or start a new log under a new origin",
	Damaged: "this log cannot know what it has signed, and must go on under a new origin",
}

const guardSchema = `
CREATE TABLE guard (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	origin TEXT NOT NULL,
	size   INTEGER NOT NULL,
	root   BLOB NOT NULL,
	note   BLOB
) STRICT;
CREATE TABLE key (
	vkey  TEXT PRIMARY KEY,
	added INTEGER NOT NULL, -- POSIX seconds
	ended INTEGER           -- when it was taken out of the settings; NULL while it signs
) STRICT;
`

// openGuard opens the memory of the guard and compares it with the tree in
// treeDir, before anything may write there. The memory is created only
// together with the tree. It returns what changed about the keys, in words.
func openGuard(ctx context.Context, path, treeDir string, keys []Key, tiles tclient.TileFetcherFunc) (*guard,
	[]string, error) {
	db, err := guardDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, nil, err
	}
	g := &guard{keys: keys, origin: keys[0].Name(), tiles: tiles, db: db}
	changed, err := g.load(ctx, path, treeDir)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return g, changed, nil
}

func (g *guard) load(ctx context.Context, path, treeDir string) (changed []string, err error) {
	state, err := readTreeState(treeDir)
	if err != nil {
		return nil, err
	}
	var origin string
	var size int64
	var root []byte
	err = g.db.QueryRowContext(ctx, "SELECT origin, size, root, note FROM guard").Scan(&origin, &size, &root, &g.head.Note)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, g.inception(ctx, path, treeDir, state)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	added, ended, err := g.compareKeys(ctx, path, origin)
	if err != nil {
		return nil, err
	}
	if size < 0 || copy(g.head.Root[:], root) != tlog.HashSize {
		return nil, fmt.Errorf("%s is damaged: %s", path, guardDatabase.Damaged)
	}
	g.head.Size = uint64(size)
	if err := g.loadFrozen(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := g.checkTree(ctx, treeDir, state); err != nil {
		return nil, err
	}
	return g.recordKeys(ctx, added, ended)
}

// compareKeys tells which keys of the settings are new, and which were taken out. At least one must be
// a key that signs already: keys change one after the other, and the memory of another log is refused.
func (g *guard) compareKeys(ctx context.Context, path, origin string) (added, ended []string, err error) {
	rows, err := g.db.QueryContext(ctx, "SELECT vkey FROM key WHERE ended IS NULL ORDER BY added, vkey")
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	defer rows.Close()
	var known []string
	for rows.Next() {
		var vkey string
		if err := rows.Scan(&vkey); err != nil {
			return nil, nil, err
		}
		known = append(known, vkey)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	for _, k := range g.keys {
		if !slices.Contains(known, k.VKey) {
			added = append(added, k.VKey)
		}
	}
	for _, vkey := range known {
		if !slices.ContainsFunc(g.keys, func(k Key) bool { return k.VKey == vkey }) {
			ended = append(ended, vkey)
		}
	}
	if origin != g.origin || len(ended) == len(known) {
		return nil, nil, fmt.Errorf("%s belongs to the log %q with the keys %s, and the settings name %q with none of "+
			"them: use the "+
			"state directory of this log. To change a log's key, let the old and the new one sign for a while",
			path, origin, strings.Join(known, " "), g.origin)
	}
	return added, ended, nil
}

func (g *guard) recordKeys(ctx context.Context, added, ended []string) (changed []string, err error) {
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	now := time.Now().Unix()
	for _, vkey := range added {
		_, err := tx.ExecContext(ctx, "INSERT INTO key (vkey, added, ended) VALUES (?, ?, NULL) "+
			"ON CONFLICT (vkey) DO UPDATE SET ended = NULL", vkey, now)
		if err != nil {
			return nil, err
		}
		changed = append(changed, "signs from now on: "+vkey)
	}
	for _, vkey := range ended {
		if _, err := tx.ExecContext(ctx, "UPDATE key SET ended = ? WHERE vkey = ?", now, vkey); err != nil {
			return nil, err
		}
		changed = append(changed, "signs no more: "+vkey)
	}
	return changed, tx.Commit()
}

// inception writes the first mark, of the empty tree. A tree with entries and
// no memory of signing is refused: it is a copy, or the state was lost.
func (g *guard) inception(ctx context.Context, path, treeDir string, state treeState) error {
	if state.Size > 0 {
		return fmt.Errorf("%w: the tree in %s has %d entries, but %s remembers no checkpoint: use the state directory that belongs "+
			"to this tree; if it is lost, start a new log under a new origin", ErrRollback, treeDir, state.Size, path)
	}
	g.head = mark{Root: tlog.Hash(rfc6962.DefaultHasher.EmptyRoot())}
	tx, err := g.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "INSERT INTO guard (id, origin, size, root, note) VALUES (1, ?, 0, ?, NULL)",
		g.origin, g.head.Root[:])
	if err != nil {
		return err
	}
	for _, k := range g.keys {
		if _, err := tx.ExecContext(ctx, "INSERT INTO key (vkey, added, ended) VALUES (?, ?, NULL)", k.VKey,
			time.Now().Unix()); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// checkTree compares the mark with the tree on the disk.
func (g *guard) checkTree(ctx context.Context, treeDir string, state treeState) error {
	if !state.Found && g.head.Size > 0 {
		return fmt.Errorf("%w: %s holds no tree, but this log has signed a checkpoint of %d entries: give it the right directory; "+
			"if the tree is lost, start a new log under a new origin", ErrRollback, treeDir, g.head.Size)
	}
	if state.Size < g.head.Size {
		return fmt.Errorf("%w: the tree in %s was rolled back to %d entries, but this log has signed a checkpoint of %d: put the newer "+
			"tree back; if it is lost, start a new log under a new origin", ErrRollback, treeDir, state.Size, g.head.Size)
	}
	if !state.Found {
		return nil
	}
	for _, want := range []mark{{Size: state.Size, Root: tlog.Hash(state.Root)}, g.head} {
		got, err := rootAt(ctx, want.Size, g.tiles)
		if err != nil {
			return fmt.Errorf("the tree in %s is damaged: %w; \"logd fsck -repair\" makes tiles of the entries", treeDir, err)
		}
		if got != want.Root {
			return fmt.Errorf("%w: in the tree of %s the first %d entries have the root %s, but %s is on record: it is another log's "+
				"tree, or it was changed; give this log its own directory, or if it is that, run \"logd fsck -repair\"",
				ErrRollback, treeDir, want.Size, got, want.Root)
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

// remember writes the mark as a compare-and-swap on the one that is in memory.
func (g *guard) remember(ctx context.Context, next mark) error {
	res, err := g.db.ExecContext(ctx,
		"UPDATE guard SET size = ?, root = ?, note = ? WHERE id = 1 AND size = ? AND root = ?",
		int64(next.Size), next.Root[:], next.Note, int64(g.head.Size), g.head.Root[:])
	if err != nil {
		return fmt.Errorf("guard: cannot remember what is to be signed: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("guard: another process changed the guard's database (%d rows, error %v)", n, err)
	}
	g.mu.Lock()
	g.head = next
	g.mu.Unlock()
	return nil
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

func (g *guard) close() error {
	g.signing.Lock()
	defer g.signing.Unlock()
	if g.db == nil { // of a copy for reading
		return nil
	}
	return g.db.Close()
}
