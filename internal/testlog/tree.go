package testlog

import (
	"fmt"
	"slices"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Tree is a list of leaves with their Merkle tree. It is not safe for concurrent use
// while it grows.
type Tree struct {
	Leaves [][]byte // read only
	hashes []tlog.Hash
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

// Bundle is the tlog-proof of a leaf among the first size, under a checkpoint.
func (t *Tree) Bundle(index, size int64, signed []byte) []byte {
	return torchwood.FormatProofWithExtraData(index, t.Leaves[index], Must(tlog.ProveRecord(size, index, t)), signed)
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
