package client

import (
	"context"
	"errors"
	"fmt"
	"math"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
)

// maxEntryBundle is the size of 256 entries with their lengths.
const maxEntryBundle = torchwood.TileWidth * (2 + entry.MaxSize)

var errNoPart = errors.New("the log serves another entry there than its tree has")

// Part returns an entry of the tree with its inclusion path. The entry is the one that the tree
// has at that index; what it says is not looked at. Errors are those of Root.
func (t *Tiles) Part(ctx context.Context, index uint64) (Part, error) {
	if index > math.MaxInt64 || int64(index) >= t.tree.N {
		return Part{}, refuse(ErrInclusion, "the tree of %s has no entry %d", t.name, index)
	}
	raw, err := t.entry(ctx, int64(index))
	if err != nil {
		return Part{}, fmt.Errorf("entry %d: %w", index, err)
	}
	path, err := tlog.ProveRecord(t.tree.N, int64(index), t.HashReader(ctx))
	if err != nil {
		return Part{}, err
	}
	if tlog.CheckRecord(path, t.tree.N, t.tree.Hash, int64(index), tlog.Hash(entry.LeafHash(raw))) != nil {
		return Part{}, refuseErr(ErrConsistency, errNoPart, "entry %d of %s", index, t.name)
	}
	p := Part{Index: index, Entry: raw}
	for _, h := range path {
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Sealed returns nil if the tree ends in a seal, or is empty. Whoever takes a checkpoint that came without a
// bundle must ask: a tree that ends in none shows nothing of what else the log holds. Errors are ErrSeal and
// those of Root.
func (t *Tiles) Sealed(ctx context.Context) error {
	if t.tree.N == 0 {
		return nil
	}
	p, err := t.Part(ctx, uint64(t.tree.N-1))
	if err == nil {
		_, err = Seal{p.Entry, p.Hashes}.Check(t.head)
	}
	return err
}

// entry fetches an entry, which nobody has verified.
func (t *Tiles) entry(ctx context.Context, index int64) ([]byte, error) {
	n := index / torchwood.TileWidth
	width := int(min(torchwood.TileWidth, t.tree.N-n*torchwood.TileWidth))
	b, err := t.bundle(ctx, n, width)
	if err != nil {
		return nil, err
	}
	for at := n * torchwood.TileWidth; ; at++ {
		e, rest, err := torchwood.ReadTileEntry(b)
		if err != nil {
			return nil, errors.New("the log's bundle of entries ends before it")
		}
		if at == index {
			return e, nil
		}
		b = rest
	}
}

// bundle fetches a bundle of entries, and keeps it: what is read of it is verified each time.
func (t *Tiles) bundle(ctx context.Context, n int64, width int) ([]byte, error) {
	t.mu.Lock()
	b := t.entries[n]
	t.mu.Unlock()
	if b != nil {
		return b, nil
	}
	b, err := t.fetchBundle(ctx, n, width)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) >= maxCachedBundles {
		clear(t.entries)
	}
	t.entries[n] = b
	return b, nil
}
