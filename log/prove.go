package log

import (
	"context"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// prover makes inclusion proofs. It keeps the inner nodes of the tiles that it met last, so that the many
// proofs under one checkpoint do not hash the same nodes again and again. What it returns is to be verified.
type prover struct {
	files *verified
	known *lru.Cache[tileID, *tileNodes]
}

type tileID struct {
	level, n uint64
	width    uint64 // a wider tile of the same place is another
}

// tileNodes are the nodes of a tile, by height: 256 leaves, or fewer, at height 0.
type tileNodes [layout.TileHeight][]tlog.Hash

const proverTiles = 256 // of at most 16 KiB each

func newProver(files *verified) *prover {
	known, _ := lru.New[tileID, *tileNodes](proverTiles) // refuses nothing but a size below 1
	return &prover{files, known}
}

// inclusion returns the inclusion proof of entry idx in a tree.
func (p *prover) inclusion(ctx context.Context, idx uint64, h treeHead) ([][32]byte, error) {
	proof, err := tlog.ProveRecord(int64(h.size), int64(idx), tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i := range at {
			var err error
			if out[i], err = p.node(ctx, at[i], h); err != nil {
				return nil, err
			}
		}
		return out, nil
	}))
	if err != nil {
		return nil, err
	}
	hashes := make([][32]byte, len(proof))
	for i := range proof {
		hashes[i] = proof[i]
	}
	return hashes, nil
}

// node returns a node of a tree, by its place in tlog's order.
func (p *prover) node(ctx context.Context, at int64, of treeHead) (tlog.Hash, error) {
	level, n := tlog.SplitStoredHashIndex(at)
	height := uint64(level) % layout.TileHeight
	shift := layout.TileHeight - height
	t, err := p.tile(ctx, uint64(level)/layout.TileHeight, uint64(n)>>shift, of)
	if err != nil {
		return tlog.Hash{}, err
	}
	i := uint64(n) & (1<<shift - 1)
	if i >= uint64(len(t[height])) {
		return tlog.Hash{}, fmt.Errorf("the tree of size %d has no node %d at level %d", of.size, n, level)
	}
	return t[height][i], nil
}

func (p *prover) tile(ctx context.Context, level, n uint64, of treeHead) (*tileNodes, error) {
	id := tileID{level, n, widthAt(level, n, of.size)}
	if t, ok := p.known.Get(id); ok {
		return t, nil
	}
	raw, err := p.files.tile(ctx, of, int(level), n)
	var tile api.HashTile
	if err == nil {
		err = tile.UnmarshalText(raw)
	}
	if err == nil && uint64(len(tile.Nodes)) < id.width {
		err = fmt.Errorf("it has %d hashes, want %d", len(tile.Nodes), id.width)
	}
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", n, level, err)
	}
	t := new(tileNodes)
	for _, h := range tile.Nodes[:id.width] {
		t[0] = append(t[0], tlog.Hash(h)) // UnmarshalText has seen to the size
	}
	for h := 1; h < len(t); h++ {
		for i := 0; i+1 < len(t[h-1]); i += 2 {
			t[h] = append(t[h], tlog.NodeHash(t[h-1][i], t[h-1][i+1]))
		}
	}
	p.known.Add(id, t)
	return t, nil
}
