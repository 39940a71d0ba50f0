package log

import (
	"context"
	"fmt"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	tclient "github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"
)

// rootAt computes the root of the first size entries from the tiles.
func rootAt(ctx context.Context, size uint64, tiles tclient.TileFetcherFunc) (tlog.Hash, error) {
	if size == 0 {
		return tlog.Hash(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	var r *compact.Range
	var root []byte
	nodes, err := tclient.FetchRangeNodes(ctx, size, tiles)
	if err == nil {
		rf := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
		r, err = rf.NewRange(0, size, nodes)
	}
	if err == nil {
		root, err = r.GetRootHash(nil)
	}
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("reading the tree at size %d: %w", size, err)
	}
	return tlog.Hash(root), nil
}

// entriesIn returns the entries of bundle n in a tree of size size. Whatever
// file stands there may hold more than that; it is cut. What is no such bundle is errDamaged.
func entriesIn(ctx context.Context, n, size uint64, bundles tclient.EntryBundleFetcherFunc) ([][]byte, error) {
	width := widthAt(0, n, size)
	if width == 0 {
		return nil, fmt.Errorf("entry bundle %d is beyond the tree of size %d", n, size)
	}
	var b api.EntryBundle
	raw, err := bundles(ctx, n, uint8(width%layout.EntryBundleWidth))
	if err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", n, err)
	}
	if err := b.UnmarshalText(raw); err != nil {
		return nil, fmt.Errorf("%w: entry bundle %d: %w", errDamaged, n, err)
	}
	if uint64(len(b.Entries)) < width {
		return nil, fmt.Errorf("%w: entry bundle %d has %d entries, want %d", errDamaged, n, len(b.Entries), width)
	}
	return b.Entries[:width], nil
}

// entryAt returns one entry of a tree of size size.
func entryAt(ctx context.Context, idx, size uint64, bundles tclient.EntryBundleFetcherFunc) ([]byte, error) {
	entries, err := entriesIn(ctx, idx/layout.EntryBundleWidth, size, bundles)
	if err != nil {
		return nil, err
	}
	if i := idx % layout.EntryBundleWidth; i < uint64(len(entries)) {
		return entries[i], nil
	}
	return nil, fmt.Errorf("entry %d is beyond the tree of size %d", idx, size)
}

// widthAt returns how many of its 256 places tile n of a level has filled in
// a tree of size size.
func widthAt(level, n, size uint64) uint64 {
	nodes := uint64(0)
	if level < 8 { // a tree of 2^64 entries has no nodes at level 8
		nodes = size >> (8 * level)
	}
	if n > nodes/layout.TileWidth {
		return 0
	}
	return min(nodes-n*layout.TileWidth, layout.TileWidth)
}
