package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/sqlite"
)

// tileWidth and tileHeight are those of c2sp.org/tlog-tiles.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// appendTiles adds leaf hashes to the tiles of a tree of size leaves, and to every
// level above the hashes of the tiles that became full.
func appendTiles(ctx context.Context, tx *sql.Tx, log, size int64, leaves []tlog.Hash) error {
	first := size // of the hashes to add, on this level
	for level := 0; len(leaves) > 0; level++ {
		var up []tlog.Hash
		firstUp := first / tileWidth
		for len(leaves) > 0 {
			n, have := first/tileWidth, int(first%tileWidth)
			take := min(len(leaves), tileWidth-have)
			data, err := tile(ctx, tx, log, level, n)
			if err != nil {
				return err
			}
			if len(data) != have*tlog.HashSize {
				return fmt.Errorf("the database is damaged: tile %d/%d of log %d has %d bytes, not %d", level, n, log,
					len(data), have*tlog.HashSize)
			}
			for _, h := range leaves[:take] {
				data = append(data, h[:]...)
			}
			if err := exec(ctx, tx, "INSERT OR REPLACE INTO tiles (log, level, n, data) VALUES (?, ?, ?, ?)",
				log, level, n, data); err != nil {
				return err
			}
			if have+take == tileWidth {
				up = append(up, tileRoot(data))
			}
			leaves, first = leaves[take:], first+int64(take)
		}
		leaves, first = up, firstUp
	}
	return nil
}

// truncateTiles makes the tiles those of a tree of size leaves.
func truncateTiles(ctx context.Context, tx *sql.Tx, log, size int64) error {
	for level := 0; level < 63/tileHeight+1; level++ {
		width := size >> (tileHeight * level) // hashes on this level
		// What is left at the end of the row is a partial tile, or nothing.
		err := exec(ctx, tx, "DELETE FROM tiles WHERE log = ? AND level = ? AND n >= ?",
			log, level, (width+tileWidth-1)/tileWidth)
		if err == nil {
			err = exec(ctx, tx, "UPDATE tiles SET data = substr(data, 1, ?) WHERE log = ? AND level = ? AND n = ?",
				width%tileWidth*tlog.HashSize, log, level, width/tileWidth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tile returns what is stored of a tile, nothing if it is not stored.
func tile(ctx context.Context, q querier, log int64, level int, n int64) ([]byte, error) {
	data, _, err := sqlite.One(ctx, q, func(r scanner) (b []byte, err error) { return b, r.Scan(&b) },
		"SELECT data FROM tiles WHERE log = ? AND level = ? AND n = ?", log, level, n)
	return bytes.Clone(data), err
}

// tileRoot is the hash of a full tile.
func tileRoot(data []byte) tlog.Hash {
	hashes := make([]tlog.Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		hashes[i] = tlog.Hash(data[i*tlog.HashSize:])
	}
	for ; len(hashes) > 1; hashes = hashes[:len(hashes)/2] {
		for i := range len(hashes) / 2 {
			hashes[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
		}
	}
	return hashes[0]
}

// Hashes reads the tree of a log's downloaded entries, for tlog.TreeHash,
// tlog.ProveTree and tlog.ProveRecord with sizes up to the downloaded position.
func (r *Reader) Hashes(ctx context.Context, log int64) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		var t tlog.Tile // that data is of
		var data []byte
		for i, index := range indexes {
			want := tlog.TileForIndex(tileHeight, index)
			if data == nil || want.L != t.L || want.N != t.N {
				var err error
				if data, err = tile(ctx, r.read, log, want.L, want.N); err != nil {
					return nil, err
				}
				t = want
			}
			if len(data) < want.W*tlog.HashSize {
				return nil, fmt.Errorf("log %d: the hashes of tile %d/%d are not stored up to %d",
					log, want.L, want.N, want.W)
			}
			t.W = len(data) / tlog.HashSize
			h, err := tlog.HashFromTile(t, data, index)
			if err != nil {
				return nil, err
			}
			out[i] = h
		}
		return out, nil
	})
}

// Root returns the root hash of the first size entries of a log, which must be
// downloaded.
func (r *Reader) Root(ctx context.Context, log, size int64) (tlog.Hash, error) {
	return tlog.TreeHash(size, r.Hashes(ctx, log))
}

// LeafHashes returns the leaf hashes with from <= index < to.
func (r *Reader) LeafHashes(ctx context.Context, log, from, to int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for n := from / tileWidth; n*tileWidth < to; n++ {
		data, err := tile(ctx, r.read, log, 0, n)
		if err != nil {
			return nil, err
		}
		for i := max(from, n*tileWidth); i < min(to, (n+1)*tileWidth); i++ {
			at := int(i-n*tileWidth) * tlog.HashSize
			if at+tlog.HashSize > len(data) {
				return nil, fmt.Errorf("log %d: leaf %d is not stored", log, i)
			}
			out = append(out, tlog.Hash(data[at:at+tlog.HashSize]))
		}
	}
	return out, nil
}
