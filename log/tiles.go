package log

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// parseTilePath reads a c2sp.org/tlog-tiles path below "tile/". It is strict: what it
// accepts has exactly one spelling.
//
// SPEC (tlog-tiles): "<prefix>/tile/<L>/<N>[.p/<W>]", L without leading
// zeros in 0..63, N in groups of three digits, W in 1..255.
func parseTilePath(p string) (tlog.Tile, bool) {
	p = "tile/" + p
	t, err := torchwood.ParseTilePath(p)
	return t, err == nil && t.L <= 63 && torchwood.TilePath(t) == p
}

// tile serves tiles and entry bundles out of the tree that the published
// checkpoint covers, and nothing else.
func (l *Log) tile(w http.ResponseWriter, r *http.Request) {
	t, ok := parseTilePath(r.PathValue("path"))
	if !ok {
		http.Error(w, "not a tile path of c2sp.org/tlog-tiles", http.StatusNotFound)
		return
	}
	data, err := l.readTile(r.Context(), t)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "not in the published tree", http.StatusNotFound)
		return
	case err != nil:
		l.log.Error("cannot read a tile", "path", r.URL.Path, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	cache := "public, max-age=604800, immutable"
	if t.W < layout.TileWidth {
		cache = "public, max-age=3600"
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// readTile returns exactly the width that was asked for, or fs.ErrNotExist
// when the published tree does not have it.
//
// The file is always the one that belongs to the published size: a partial
// file of another width may be the remains of a batch that a killed server
// never committed. Its first entries are then cut off, which do not change.
func (l *Log) readTile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	size := l.published.head().size
	level, index := uint64(max(t.L, 0)), uint64(t.N) // entry bundles have the level -1
	have := widthAt(level, index, size)
	if have < uint64(t.W) {
		return nil, fs.ErrNotExist
	}
	if t.L < 0 {
		return l.readBundle(ctx, t, size)
	}
	data, err := l.reader.ReadTile(ctx, level, index, uint8(have%layout.TileWidth))
	if err != nil {
		return nil, err
	}
	if want := t.W * tlog.HashSize; len(data) >= want {
		return data[:want], nil
	}
	return nil, errors.New("the file is shorter than the tree")
}

func (l *Log) readBundle(ctx context.Context, t tlog.Tile, size uint64) ([]byte, error) {
	entries, err := entriesIn(ctx, uint64(t.N), size, l.reader.ReadEntryBundle)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, e := range entries[:t.W] {
		if out, err = torchwood.AppendTileEntry(out, e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkpoint serves the latest checkpoint that satisfies the log's policy.
func (l *Log) checkpoint(w http.ResponseWriter, r *http.Request) {
	head := l.published.head()
	if head.raw == nil {
		http.Error(w, "no checkpoint has been published yet", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(head.raw)
}
