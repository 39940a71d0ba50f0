package log

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/transparency-dev/tessera"
)

// maxRecent is the number of files remembered; entry bundles are the large ones, of
// some hundred kB.
const maxRecent = 128

// recent remembers the tiles and entry bundles that were read last: those of many
// bundles are the same. A file of a width that a published tree has does not change.
type recent struct {
	reader tessera.LogReader
	files  *lru.Cache[recentKey, []byte] // must not be changed
}

// recentKey names a tile, or an entry bundle at the level -1.
type recentKey struct {
	level        int64
	index, width uint64
}

// ReadTile returns a tile as tessera.LogReader does.
func (r *recent) ReadTile(ctx context.Context, level, index uint64, width uint8) ([]byte, error) {
	return r.read(recentKey{int64(level), index, uint64(width)}, func() ([]byte, error) {
		return r.reader.ReadTile(ctx, level, index, width)
	})
}

// ReadEntryBundle returns an entry bundle as tessera.LogReader does.
func (r *recent) ReadEntryBundle(ctx context.Context, index uint64, width uint8) ([]byte, error) {
	return r.read(recentKey{-1, index, uint64(width)}, func() ([]byte, error) {
		return r.reader.ReadEntryBundle(ctx, index, width)
	})
}

func (r *recent) read(k recentKey, read func() ([]byte, error)) ([]byte, error) {
	if b, known := r.files.Get(k); known {
		return b, nil
	}
	b, err := read()
	if err == nil {
		r.files.Add(k, b)
	}
	return b, err
}
