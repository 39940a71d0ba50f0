package testlog

import (
	"fmt"
	"slices"
	"sync"

	"filippo.io/torchwood"
	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
)

// Tree is a list of leaves with their Merkle tree. It is not safe for concurrent use
// while it grows.
type Tree struct {
	Leaves [][]byte // read only
	hashes []tlog.Hash
	before *Tree // see Continue

	mu       sync.Mutex // guards what follows
	omitted  map[int64]bool
	phantoms []index.Row
	grown    *index.Map // of the first size leaves
	size     int64
	maps     map[int64]*index.Snapshot
}

// NewTree returns the tree of some leaves.
func NewTree(leaves ...[]byte) *Tree {
	t := &Tree{}
	t.Append(leaves...)
	return t
}

// Append adds leaves.
func (t *Tree) Append(leaves ...[]byte) {
	for _, l := range leaves {
		h := Must(tlog.StoredHashes(t.Size(), l, t))
		t.Leaves, t.hashes = append(t.Leaves, l), append(t.hashes, h...)
	}
}

// Grow adds leaves that are no entries, "WHAT INDEX", until there are size, and returns t.
func (t *Tree) Grow(size int64, what string) *Tree {
	for t.Size() < size {
		t.Append(fmt.Appendf(nil, "%s %d", what, t.Size()))
	}
	return t
}

// Fork returns a tree that begins with the first n leaves of t.
func (t *Tree) Fork(n int64) *Tree { return NewTree(t.Leaves[:n]...) }

// With returns a tree that has another leaf at one place.
func (t *Tree) With(index int64, leaf []byte) *Tree {
	leaves := slices.Clone(t.Leaves)
	leaves[index] = leaf
	return NewTree(leaves...)
}

// Size is the number of leaves.
func (t *Tree) Size() int64 { return int64(len(t.Leaves)) }

// ReadHashes implements tlog.HashReader.
func (t *Tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(t.hashes)) {
			return nil, fmt.Errorf("there is no hash %d", x)
		}
		out[i] = t.hashes[x]
	}
	return out, nil
}

// Root is the root hash of the first n leaves.
func (t *Tree) Root(n int64) tlog.Hash { return Must(tlog.TreeHash(n, t)) }

// Head is the unsigned checkpoint of the first n leaves.
func (t *Tree) Head(origin string, n int64) string { return Head(origin, n, t.Root(n)) }

// Head is any unsigned checkpoint.
func Head(origin string, size int64, root tlog.Hash) string {
	return torchwood.Checkpoint{Origin: origin, Tree: tlog.Tree{N: size, Hash: root}}.String()
}

// Consistency proves that the tree of size begins with that of old.
func (t *Tree) Consistency(old, size int64) tlog.TreeProof {
	if old == 0 || old == size {
		return nil // there is nothing to prove
	}
	return Must(tlog.ProveTree(size, old, t))
}

// Seal appends a seal over all leaves, unless the last leaf is one.
func (t *Tree) Seal() {
	if t.Size() > 0 && !t.sealed(t.Size()) {
		t.SealAs(t.Map(t.Size()).Root())
	}
}

// SealAs appends a seal that says of the map of all leaves what it is told to.
func (t *Tree) SealAs(root index.Hash) {
	t.Append(Must((&entry.Seal{Rules: entry.Rules, Size: uint64(t.Size()), Root: root}).Marshal()))
}

func (t *Tree) sealed(size int64) bool {
	leaf, err := entry.ParseLeaf(t.Leaves[size-1])
	s, ok := leaf.(*entry.Seal)
	return err == nil && ok && s.Size == uint64(size-1)
}

// Continue begins an empty tree with the start that goes on for another log's tree, after its first n leaves. change,
// if there is one, makes it say something else.
func (t *Tree) Continue(origin string, before *Tree, n int64, change func(s *entry.Start)) {
	var m index.Map
	Must(0, m.Inherit(before.Map(n)))
	s := &entry.Start{Origin: origin, Size: uint64(n), Tree: before.Root(n), Rules: entry.Rules, Root: m.Snapshot().Root()}
	if change != nil {
		change(s)
	}
	t.Append(Must(s.Marshal()))
	t.before = before
}

// Omit lies: the tree's map does not have what a leaf inserts. Seals that stand already stay.
func (t *Tree) Omit(leaf int64) {
	if t.omitted == nil {
		t.omitted = make(map[int64]bool)
	}
	t.omitted[leaf] = true
	t.grown, t.maps = nil, nil
}

// Phantom lies: the tree's map has a row that no leaf makes, and before all others.
func (t *Tree) Phantom(row index.Row) {
	t.phantoms = append(t.phantoms, row)
	t.grown, t.maps = nil, nil
}

// Map is the map of the first n leaves, with the lies that were told about it.
func (t *Tree) Map(n int64) *index.Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.maps[n]; s != nil {
		return s
	}
	if t.maps == nil {
		t.maps = make(map[int64]*index.Snapshot)
	}
	if t.grown == nil || t.size > n {
		t.grown, t.size = new(index.Map), 0
		for _, r := range t.phantoms {
			t.grown.Insert(r.Key, r.Value)
		}
	}
	for ; t.size < n; t.size++ {
		leaf, err := entry.ParseLeaf(t.Leaves[t.size])
		switch start, ok := leaf.(*entry.Start); {
		case err != nil || t.omitted[t.size]:
		case ok && t.size == 0 && t.before != nil:
			Must(0, t.grown.Inherit(t.before.Map(min(int64(start.Size), t.before.Size()))))
		default:
			Must(0, t.grown.AddLeaf(uint64(t.size), leaf))
		}
	}
	t.maps[n] = t.grown.Snapshot()
	return t.maps[n]
}

// Bundle is that of an entry among the first size leaves, under a checkpoint. Its seal is the last of
// them, whatever that is.
func (t *Tree) Bundle(i, size int64, signed []byte) []byte {
	extra := map[int]any{1: t.Leaves[i], 2: t.Leaves[size-1], 3: t.Path(size-1, size), 4: make([]byte, 40), 5: []byte{}}
	if leaf, err := entry.ParseLeaf(t.Leaves[i]); err == nil {
		if e, ok := leaf.(*entry.Entry); ok {
			s := e.Subject
			value, proof := t.Map(size - 1).Lookup(index.VersionKey(s.Registry, s.Name, s.Version))
			if value != nil {
				extra[4] = value
			}
			extra[5] = proof
		}
	}
	return t.proof(i, size, extra, signed)
}

// Lookup is what the map of all leaves but the last of the first size has for a version, under a checkpoint.
func (t *Tree) Lookup(registry, name, version string, size int64, signed []byte) []byte {
	value, proof := t.Map(size - 1).Lookup(index.VersionKey(registry, name, version))
	if value == nil {
		value = []byte{}
	}
	return t.proof(size-1, size, map[int]any{2: t.Leaves[size-1], 4: value, 5: proof}, signed)
}

// Page is all that the map of all leaves but the last of the first size has under a prefix, under a checkpoint.
func (t *Tree) Page(under index.Prefix, size int64, signed []byte) []byte {
	s, rows := t.Map(size-1), [][][]byte{}
	for r := range s.Rows(under) {
		rows = append(rows, [][]byte{r.Key[:], r.Value})
	}
	_, proof := s.Prefix(under)
	return t.proof(size-1, size, map[int]any{2: t.Leaves[size-1], 6: rows, 7: proof}, signed)
}

// proof is a tlog-proof with an extra line of CBOR.
func (t *Tree) proof(i, size int64, extra map[int]any, signed []byte) []byte {
	b := Must(Must(cbor.CoreDetEncOptions().EncMode()).Marshal(extra))
	return torchwood.FormatProofWithExtraData(i, b, Must(tlog.ProveRecord(size, i, t)), signed)
}

// Path is the inclusion path of a leaf among the first size.
func (t *Tree) Path(i, size int64) [][]byte {
	out := [][]byte{}
	for _, h := range Must(tlog.ProveRecord(size, i, t)) {
		out = append(out, h[:])
	}
	return out
}

// Tile returns the tile or entry bundle at a path of c2sp.org/tlog-tiles, of the first
// size leaves.
func (t *Tree) Tile(size int64, path string) ([]byte, error) {
	p, err := torchwood.ParseTilePath(path)
	if err != nil {
		return nil, err
	}
	per := int64(1) // leaves below one item of the tile
	if p.L > 0 {
		per <<= torchwood.TileHeight * p.L
	}
	if t == nil || (p.N*torchwood.TileWidth+int64(p.W))*per > size {
		return nil, fmt.Errorf("not in the published tree")
	}
	if p.L >= 0 {
		return tlog.ReadTileData(p, t)
	}
	var out []byte
	for _, leaf := range t.Leaves[p.N*torchwood.TileWidth:][:p.W] {
		if out, err = torchwood.AppendTileEntry(out, leaf); err != nil {
			return nil, err
		}
	}
	return out, nil
}
