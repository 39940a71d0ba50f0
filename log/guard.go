package log

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

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

// guard is the log's checkpoint signer. It remembers, in a database that is
// not in the tree's directory, the largest tree head that it signed, and
// signs only heads that are proved to extend it.
//
// SPEC (tlog-checkpoint): "A log MUST NOT sign a checkpoint inconsistent with
// any it signed before." Tessera has no such check in any driver.
type guard struct {
	inner  note.Signer
	origin string
	tiles  tclient.TileFetcherFunc
	halt   func(error)             // called with every ErrRollback; may be nil
	permit func(size uint64) error // whether the witnesses were asked; may be nil
	db     *sql.DB

	mu      sync.Mutex
	head    mark  // owned by mu; equal to the database's row
	refusal error // owned by mu; of the latest Sign, nil when it signed
}

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
	ID: 0x63726c67, Version: 1, Schema: guardSchema, Journal: "delete", Conns: 1,
	What: "a log's guard.db",
	Advice: "use the state directory of this log; a log of an earlier build cannot go on with this one: finish it " +
		"with that build, or start a new log under a new origin",
	Damaged: "this log cannot know what it has signed, and must go on under a new origin",
}

const guardSchema = `
CREATE TABLE guard (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	origin TEXT NOT NULL,
	vkey   TEXT NOT NULL,
	size   INTEGER NOT NULL,
	root   BLOB NOT NULL,
	note   BLOB
) STRICT;
`

// openGuard opens the memory of the guard and compares it with the tree in
// treeDir, before anything may write there. The memory is created only
// together with the tree.
func openGuard(ctx context.Context, path, treeDir, vkey string, inner note.Signer, tiles tclient.TileFetcherFunc) (*guard, error) {
	db, err := guardDatabase.Open(ctx, path, false)
	if err != nil {
		return nil, err
	}
	g := &guard{inner: inner, origin: inner.Name(), tiles: tiles, db: db}
	if err := g.load(ctx, path, treeDir, vkey); err != nil {
		db.Close()
		return nil, err
	}
	return g, nil
}

func (g *guard) load(ctx context.Context, path, treeDir, vkey string) error {
	state, err := readTreeState(treeDir)
	if err != nil {
		return err
	}
	var origin, key string
	var size int64
	var root []byte
	err = g.db.QueryRowContext(ctx, "SELECT origin, vkey, size, root, note FROM guard").
		Scan(&origin, &key, &size, &root, &g.head.Note)
	if errors.Is(err, sql.ErrNoRows) {
		return g.inception(ctx, path, treeDir, vkey, state)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if origin != g.origin || key != vkey {
		return fmt.Errorf("%s belongs to the log %q with the key %s, not to %q with the key %s: use the state directory of this log",
			path, origin, key, g.origin, vkey)
	}
	if size < 0 || copy(g.head.Root[:], root) != tlog.HashSize {
		return fmt.Errorf("%s is damaged: %s", path, guardDatabase.Damaged)
	}
	g.head.Size = uint64(size)
	return g.checkTree(ctx, treeDir, state)
}

// inception writes the first mark, of the empty tree. A tree with entries and
// no memory of signing is refused: it is a copy, or the state was lost.
func (g *guard) inception(ctx context.Context, path, treeDir, vkey string, state treeState) error {
	if state.Size > 0 {
		return fmt.Errorf("%w: the tree in %s has %d entries, but %s remembers no checkpoint: use the state directory that belongs "+
			"to this tree; if it is lost, start a new log under a new origin", ErrRollback, treeDir, state.Size, path)
	}
	g.head = mark{Root: tlog.Hash(rfc6962.DefaultHasher.EmptyRoot())}
	_, err := g.db.ExecContext(ctx, "INSERT INTO guard (id, origin, vkey, size, root, note) VALUES (1, ?, ?, 0, ?, NULL)",
		g.origin, vkey, g.head.Root[:])
	return err
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
func (g *guard) Name() string { return g.inner.Name() }

// KeyHash implements note.Signer.
func (g *guard) KeyHash() uint32 { return g.inner.KeyHash() }

// Sign signs a checkpoint that extends the last one signed, after that fact
// is on the disk. Every other message is refused.
func (g *guard) Sign(msg []byte) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	sig, err := g.sign(context.Background(), msg)
	g.refusal = err
	if errors.Is(err, ErrRollback) && g.halt != nil {
		g.halt(err)
	}
	return sig, err
}

// sign is called with mu held. The order is: check, sign, remember, release.
func (g *guard) sign(ctx context.Context, msg []byte) ([]byte, error) {
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
	sig, err := g.inner.Sign(msg)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	next.Note, err = note.Sign(&note.Note{Text: string(msg)}, signed{g.inner, sig})
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := g.remember(ctx, next); err != nil {
		return nil, err
	}
	return sig, nil
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
	g.head = next
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
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.db.Close()
}
