package log

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/web"
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
// checkpoint covers, and nothing else. The first entries of a tile do not change, so that
// what stands at a width never does.
//
// SPEC (tlog-tiles): entry bundles "SHOULD be compressed at the HTTP layer", tiles are hashes.
func (l *Log) tile(w http.ResponseWriter, r *http.Request) error {
	t, ok := parseTilePath(r.PathValue("path"))
	if !ok {
		return refuse(NotFound, nil, "This is not a path of a tile as c2sp.org/tlog-tiles writes it.")
	}
	data, err := l.readVerified(r.Context(), t)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(NotFound, nil, "This is not in the published tree.")
	}
	if err != nil {
		return err
	}
	web.Immutable(w)
	tag := web.Tag(data)
	if t.L < 0 {
		w.Header().Set("Vary", "Accept-Encoding")
		if z, ok := l.pack(r, t, data); ok {
			w.Header().Set("Content-Encoding", "gzip")
			data, tag = z, strings.TrimSuffix(tag, `"`)+`-gzip"`
		}
	}
	web.Content(w, r, "application/octet-stream", tag, data)
	return nil
}

// pack compresses an entry bundle if the reader takes that, and if it is full or the last of the
// published tree: each other width would cost once more what few ask for.
func (l *Log) pack(r *http.Request, t tlog.Tile, data []byte) ([]byte, bool) {
	edge := uint64(t.W) == widthAt(0, uint64(t.N), l.published.head().size)
	if !edge && t.W < layout.EntryBundleWidth || !web.AcceptsGzip(r) {
		return nil, false
	}
	return l.packed.pack(fileKey{-1, uint64(t.N), uint64(t.W)}, data)
}

// checkpoint serves the latest checkpoint that satisfies the log's policy.
func (l *Log) checkpoint(w http.ResponseWriter, r *http.Request) error {
	head, err := l.head()
	if err != nil {
		return err
	}
	return web.Send(w, r, "text/plain; charset=utf-8", head.raw)
}
