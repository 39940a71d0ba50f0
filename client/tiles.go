package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tilesInFlight  = 8    // requests of one Tiles at a time, per call
	maxCachedTiles = 4096 // 8 KiB each

	maxCachedBundles = 16 // of entries, 16 MiB each at most
)

// Tiles reads the Merkle tree of one checkpoint out of its log's tiles
// (c2sp.org/tlog-tiles). What it returns was computed from hashes that lead to the
// checkpoint's root: the log cannot make it up. It keeps the tiles that it has
// verified, and is safe for concurrent use.
type Tiles struct {
	log  *Log
	head Checkpoint
	tree tlog.Tree
	name string // of the tree, for errors

	mu    sync.Mutex
	cache map[tlog.Tile][]byte // verified

	entries map[int64][]byte // bundles of entries by number, as they came
}

// Tiles returns a reader of the tree of a checkpoint of this log, which a Policy
// must have verified.
func (l *Log) Tiles(c Checkpoint) *Tiles {
	return &Tiles{log: l, head: c, tree: tlog.Tree{N: c.Size, Hash: c.Root}, cache: make(map[tlog.Tile][]byte),
		entries: make(map[int64][]byte), name: fmt.Sprintf("%q with %d entries", clip(c.Origin), c.Size)}
}

// Root returns the root hash of the first n entries of the tree. Any other root
// that the log signed for n entries is of a tree that this one does not continue.
// Errors are ErrConsistency if the tiles are not the tree's, else of the network.
func (t *Tiles) Root(ctx context.Context, n int64) (tlog.Hash, error) {
	switch {
	case n < 0 || n > t.tree.N:
		return tlog.Hash{}, refuse(ErrConsistency, "the tree of %s has no first %d entries", t.name, n)
	case n == 0:
		return sha256.Sum256(nil), nil
	case n == t.tree.N:
		return t.tree.Hash, nil
	}
	return tlog.TreeHash(n, t.HashReader(ctx))
}

// HashReader returns a reader of the tree's hashes, verified like all else. Errors of
// its ReadHashes are those of Root.
func (t *Tiles) HashReader(ctx context.Context) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		r := &tileReader{tiles: t, ctx: ctx}
		hashes, err := tlog.TileHashReader(t.tree, r).ReadHashes(indexes)
		if err != nil {
			return nil, t.explain(r, err)
		}
		return hashes, nil
	})
}

// Consistency returns the RFC 6962 consistency proof that the tree continues that
// of its first n entries, whose root Root tells. It is what CheckConsistency and
// State.Observe take. Errors are those of Root.
func (t *Tiles) Consistency(ctx context.Context, n int64) ([][sha256.Size]byte, error) {
	switch {
	case n < 0 || n > t.tree.N:
		return nil, refuse(ErrConsistency, "the tree of %s has no first %d entries", t.name, n)
	case n == 0 || n == t.tree.N:
		return [][sha256.Size]byte{}, nil
	}
	proof, err := tlog.ProveTree(t.tree.N, n, t.HashReader(ctx))
	if err != nil {
		return nil, err
	}
	out := make([][sha256.Size]byte, len(proof))
	for i, h := range proof {
		out[i] = h
	}
	return out, nil
}

// explain tells what could not be fetched from what does not belong to the tree.
func (t *Tiles) explain(r *tileReader, err error) error {
	if r.err != nil {
		return r.err
	}
	return refuse(ErrConsistency, "the tiles that the log serves are not those of the tree of %s that it signed (%v)", t.name, err)
}

// tileReader is a tlog.TileReader for the length of one call.
type tileReader struct {
	tiles *Tiles
	ctx   context.Context
	err   error // of fetching; the first
}

var _ tlog.TileReader = &tileReader{}

func (r *tileReader) Height() int { return torchwood.TileHeight }

// ReadTiles returns tiles that nobody has verified yet: tlog does that next.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data, errs := make([][]byte, len(tiles)), make([]error, len(tiles))
	slots := make(chan struct{}, tilesInFlight)
	var wg sync.WaitGroup
	for i, tile := range tiles {
		if data[i] = r.tiles.cached(tile); data[i] != nil {
			continue
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			data[i], errs[i] = r.tiles.log.tile(r.ctx, tile)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			r.err = err
			return nil, err
		}
	}
	return data, nil
}

// SaveTiles is called with tiles that lead to the root.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	t := r.tiles
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, tile := range tiles {
		if len(t.cache) < maxCachedTiles {
			t.cache[tile] = data[i]
		}
	}
}

func (t *Tiles) cached(tile tlog.Tile) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cache[tile]
}

// tile fetches one tile of hashes and checks its length, nothing more.
//
// SPEC (tlog-tiles): "If a partial tile is not available, clients MAY fetch the
// full tile instead": a log may delete it once there is the full one.
func (l *Log) tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	want := t.W * tlog.HashSize
	data, err := l.get(ctx, int64(want), "", torchwood.TilePath(t))
	var status *StatusError
	if t.W < torchwood.TileWidth && errors.As(err, &status) && status.Status == http.StatusNotFound {
		full := t
		full.W = torchwood.TileWidth
		if whole, fullErr := l.get(ctx, int64(full.W*tlog.HashSize), "", torchwood.TilePath(full)); fullErr == nil && len(whole) == full.W*tlog.HashSize {
			return whole[:want], nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the log's %s: %w", torchwood.TilePath(t), err)
	}
	if len(data) != want {
		return nil, fmt.Errorf("the log's %s has %d bytes instead of %d", torchwood.TilePath(t), len(data), want)
	}
	return data, nil
}
