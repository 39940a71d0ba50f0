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
	case answerPlain(w, err):
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
	return l.readVerified(ctx, t, l.published.head().size)
}

// checkpoint serves the latest checkpoint that satisfies the log's policy.
func (l *Log) checkpoint(w http.ResponseWriter, r *http.Request) {
	head, err := l.head()
	if answerPlain(w, err) {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.Write(head.raw)
}
