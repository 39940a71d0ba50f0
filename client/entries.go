package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Entries reads the newest checkpoint and returns how many entries the log says that it has, and
// all of them in order, as they come. Nobody has verified anything of either: it is for those who
// look at entries that stand by themselves, and who do not ask whether they are in a tree. An
// error ends the sequence.
func (l *Log) Entries(ctx context.Context) (size int64, all iter.Seq2[[]byte, error], err error) {
	raw, err := l.Checkpoint(ctx)
	if err != nil {
		return 0, nil, err
	}
	text, _, _ := strings.Cut(string(raw), "\n\n") // what stands before the signatures
	c, err := parseTreeHead(text+"\n", Origin(raw))
	if err != nil {
		return 0, nil, err
	}
	t := l.Tiles(c)
	return c.Size, func(yield func([]byte, error) bool) {
		for at := int64(0); at < c.Size; at += torchwood.TileWidth {
			width := int(min(torchwood.TileWidth, c.Size-at))
			b, err := t.fetchBundle(ctx, at/torchwood.TileWidth, width)
			for range width {
				var e []byte
				if err == nil {
					e, b, err = torchwood.ReadTileEntry(b)
				}
				if err != nil {
					yield(nil, fmt.Errorf("the log's entries from %d: %w", at, err))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}, nil
}

// fetchBundle fetches a bundle of entries, with at least its first width.
//
// SPEC (tlog-tiles): "If a partial tile is not available, clients MAY fetch the full tile instead".
func (t *Tiles) fetchBundle(ctx context.Context, n int64, width int) ([]byte, error) {
	tile := tlog.Tile{H: torchwood.TileHeight, L: -1, N: n, W: width}
	b, err := t.log.get(ctx, maxEntryBundle, "", torchwood.TilePath(tile))
	var status *StatusError
	if width < torchwood.TileWidth && errors.As(err, &status) && status.Status == http.StatusNotFound {
		tile.W = torchwood.TileWidth
		if full, fullErr := t.log.get(ctx, maxEntryBundle, "", torchwood.TilePath(tile)); fullErr == nil {
			b, err = full, nil
		}
	}
	return b, err
}
