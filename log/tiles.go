package log

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
)

// tilePath is a parsed c2sp.org/tlog-tiles path below "tile/".
type tilePath struct {
	entries bool
	level   uint64
	index   uint64
	width   uint64 // 1..256; 256 is a full tile
}

// parseTilePath is strict: what it accepts has exactly one spelling.
//
// SPEC (tlog-tiles): "<prefix>/tile/<L>/<N>[.p/<W>]", L without leading
// zeros in 0..63, N in groups of three digits, W in 1..255.
func parseTilePath(p string) (tilePath, bool) {
	level, rest, ok := strings.Cut(p, "/")
	if !ok {
		return tilePath{}, false
	}
	t := tilePath{entries: level == "entries", width: layout.TileWidth}
	if !t.entries {
		l, err := strconv.ParseUint(level, 10, 6)
		if err != nil || strconv.FormatUint(l, 10) != level {
			return tilePath{}, false
		}
		t.level = l
	}
	if rest, ok = t.cutWidth(rest); !ok {
		return tilePath{}, false
	}
	n, ok := parseTileIndex(rest)
	t.index = n
	return t, ok
}

// cutWidth takes the suffix ".p/<W>" off, if there is one.
func (t *tilePath) cutWidth(s string) (rest string, ok bool) {
	rest, width, partial := strings.Cut(s, ".p/")
	if !partial {
		return s, true
	}
	w, err := strconv.ParseUint(width, 10, 8)
	if err != nil || w == 0 || strconv.FormatUint(w, 10) != width {
		return "", false
	}
	t.width = w
	return rest, true
}

// parseTileIndex parses "x001/x234/067". Leading groups are not zero.
func parseTileIndex(s string) (uint64, bool) {
	groups := strings.Split(s, "/")
	if len(groups) > 6 { // 10^18; the next group could overflow
		return 0, false
	}
	n := uint64(0)
	for i, g := range groups {
		last := i == len(groups)-1
		digits, x := strings.CutPrefix(g, "x")
		if x == last || len(digits) != 3 {
			return 0, false
		}
		for _, c := range []byte(digits) {
			if c < '0' || c > '9' {
				return 0, false
			}
			n = n*10 + uint64(c-'0')
		}
		if n == 0 && !last {
			return 0, false
		}
	}
	return n, true
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
	if t.width < layout.TileWidth {
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
func (l *Log) readTile(ctx context.Context, t tilePath) ([]byte, error) {
	size := l.published.head().size
	have := widthAt(t.level, t.index, size)
	if have < t.width {
		return nil, fs.ErrNotExist
	}
	if t.entries {
		return l.readBundle(ctx, t, size)
	}
	data, err := l.reader.ReadTile(ctx, t.level, t.index, uint8(have%layout.TileWidth))
	if err != nil {
		return nil, err
	}
	if want := int(t.width) * tlog.HashSize; len(data) >= want {
		return data[:want], nil
	}
	return nil, errors.New("the file is shorter than the tree")
}

func (l *Log) readBundle(ctx context.Context, t tilePath, size uint64) ([]byte, error) {
	entries, err := entriesIn(ctx, t.index, size, l.reader.ReadEntryBundle)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, e := range entries[:t.width] {
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
