package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"filippo.io/torchwood"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/durable"
)

// errDamaged says that a file of the tree does not hash to the root of the tree, or is missing.
// What such a file holds is never handed out.
var errDamaged = errors.New("the tree's files are damaged")

// errUnread says that a file of the tree cannot be read now. It may be in order.
var errUnread = errors.New("the tree cannot be read")

// damage is errDamaged of one file. Its text has the file's path below the tree's directory.
type damage struct {
	path string
	why  string
}

func (d *damage) Error() string { return d.path + " " + d.why }
func (d *damage) Unwrap() error { return errDamaged }

// treeHead is a tree that is known to be right: signed by the log, or compared by the guard.
type treeHead struct {
	size uint64
	root tlog.Hash
}

// tileReader is the part of [storage.Tree] that reads tiles and entries: a full one where
// the partial one that was asked for is gone.
type tileReader interface {
	ReadTile(ctx context.Context, level, index uint64, p uint8) ([]byte, error)
	ReadEntryBundle(ctx context.Context, index uint64, p uint8) ([]byte, error)
}

// maxVerified bounds the bytes that are remembered. Entry bundles are the large ones: some hundred
// kB, and 16 MiB at most.
const maxVerified = 64 << 20

// verified reads tiles and entry bundles, and returns only what hashes to the root of a tree: a
// full tile is what the tile above says, the partial tiles of all levels together make the root,
// and entries are what their tile says. What was verified is remembered, so that a read costs no
// hash most of the time. All heads that it is asked about must be of one log.
type verified struct {
	files  tileReader
	report func(path string, err error) // of each file that was read: damaged, or in order (nil)

	known *byteCache[fileKey, file]
	edges *lru.Cache[treeHead, edgeTiles] // of the latest heads
}

// fileKey names a tile, or an entry bundle at the level -1.
type fileKey struct {
	level        int
	index, width uint64
}

// file is a tile, or the entries of a bundle. It must not be changed.
type file struct {
	tile    []byte
	entries [][]byte
}

func (f file) size() int {
	n := len(f.tile) + 256
	for _, e := range f.entries {
		n += len(e) + 24
	}
	return n
}

// edgeTiles are the partial tiles of a tree, by level.
type edgeTiles map[int][]byte

func newVerified(files tileReader, report func(path string, err error)) *verified {
	edges, _ := lru.New[treeHead, edgeTiles](8) // refuses nothing but a size below 1
	return &verified{files: files, report: report, known: newByteCache[fileKey](maxVerified, file.size), edges: edges}
}

func (k fileKey) String() string {
	t := tlog.Tile{H: layout.TileHeight, L: k.level, N: int64(k.index), W: int(k.width)}
	return torchwood.TilePath(t)
}

// tile returns a tile as wide as it is in the tree.
func (v *verified) tile(ctx context.Context, h treeHead, level int, index uint64) ([]byte, error) {
	width := widthAt(uint64(level), index, h.size)
	switch width {
	case 0:
		return nil, fmt.Errorf("tile %d of level %d is beyond the tree of size %d: %w", index, level, h.size, fs.ErrNotExist)
	case layout.TileWidth:
	default:
		edge, err := v.edge(ctx, h)
		return edge[level], err
	}
	k := fileKey{level, index, width}
	if f, known := v.known.get(k); known {
		return f.tile, nil
	}
	data, err := v.fullTile(ctx, h, k)
	if err == nil {
		v.known.put(k, file{tile: data})
	}
	return data, err
}

// fullTile reads a full tile from its file, and compares it with the one above.
func (v *verified) fullTile(ctx context.Context, h treeHead, k fileKey) ([]byte, error) {
	above, err := v.tile(ctx, h, k.level+1, k.index/layout.TileWidth)
	if err != nil {
		return nil, err
	}
	data, err := v.readTile(ctx, k)
	if err != nil {
		return nil, err
	}
	if subtree(data) != hashIn(above, k.index%layout.TileWidth) {
		return nil, v.damaged(k, "does not hash to what the tree says")
	}
	v.report(k.String(), nil)
	return data, nil
}

// readTile reads the file of a tile, unverified.
func (v *verified) readTile(ctx context.Context, k fileKey) ([]byte, error) {
	data, err := v.files.ReadTile(ctx, uint64(k.level), k.index, uint8(k.width%layout.TileWidth))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, v.damaged(k, "is missing")
	case errors.Is(err, durable.ErrTooLarge):
		return nil, v.damaged(k, "is too large")
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	case uint64(len(data)) < k.width*tlog.HashSize:
		return nil, v.damaged(k, "is too short")
	}
	return data[:k.width*tlog.HashSize], nil
}

func (v *verified) damaged(k fileKey, why string) error {
	err := &damage{k.String(), why}
	v.report(err.path, err)
	return err
}

// edge returns the partial tiles of a tree, which together make its root.
func (v *verified) edge(ctx context.Context, h treeHead) (edgeTiles, error) {
	if edge, known := v.edges.Get(h); known {
		return edge, nil
	}
	edge, err := v.readEdge(ctx, h)
	if err == nil {
		v.edges.Add(h, edge)
	}
	return edge, err
}

// readEdge reads the partial tiles from their files, and compares them with the root.
func (v *verified) readEdge(ctx context.Context, h treeHead) (edgeTiles, error) {
	edge := edgeTiles{}
	keys := edgeOf(h.size)
	for _, k := range keys {
		data, err := v.readTile(ctx, k)
		if err != nil {
			return nil, err
		}
		edge[k.level] = data
	}
	if edge.root() != h.root {
		// One of them is wrong, and only the entries can tell which.
		err := error(&damage{"the tree", fmt.Sprintf("of %d entries does not hash to its root", h.size)})
		for _, k := range keys {
			err = v.damaged(k, "or another tile at the right edge of the tree does not hash to the root")
		}
		return nil, err
	}
	for _, k := range keys {
		v.report(k.String(), nil)
	}
	return edge, nil
}

// edgeOf names the partial tiles of a tree, from the lowest level up.
func edgeOf(size uint64) (keys []fileKey) {
	for level := 0; size>>(layout.TileHeight*level) > 0; level++ {
		nodes := size >> (layout.TileHeight * level)
		if width := nodes % layout.TileWidth; width > 0 {
			keys = append(keys, fileKey{level, nodes / layout.TileWidth, width})
		}
	}
	return keys
}

// root folds the perfect subtrees of a tree from the right to the left.
func (e edgeTiles) root() tlog.Hash {
	var root tlog.Hash
	some := false
	for level := 0; level < 8; level++ {
		data := e[level]
		for width := uint64(len(data) / tlog.HashSize); width > 0; width &= width - 1 {
			low := width & -width // leaves of the last subtree
			h := subtree(data[(width-low)*tlog.HashSize : width*tlog.HashSize])
			if some {
				h = tlog.NodeHash(h, root)
			}
			root, some = h, true
		}
	}
	if !some {
		return tlog.Hash(rfc6962.DefaultHasher.EmptyRoot())
	}
	return root
}

// subtree returns the root of a perfect subtree with these hashes at its bottom: a power of two of them.
func subtree(data []byte) tlog.Hash {
	n := len(data) / tlog.HashSize
	level := make([]tlog.Hash, n)
	for i := range level {
		level[i] = hashIn(data, uint64(i))
	}
	for ; len(level) > 1; level = level[:len(level)/2] {
		for i := range len(level) / 2 {
			level[i] = tlog.NodeHash(level[2*i], level[2*i+1])
		}
	}
	return level[0]
}

func hashIn(tile []byte, i uint64) tlog.Hash {
	return tlog.Hash(tile[i*tlog.HashSize : (i+1)*tlog.HashSize])
}

// entries returns the entries of a bundle, as many as the tree has.
func (v *verified) entries(ctx context.Context, h treeHead, index uint64) ([][]byte, error) {
	k := fileKey{-1, index, widthAt(0, index, h.size)}
	if f, known := v.known.get(k); known && k.width > 0 {
		return f.entries, nil
	}
	entries, err := v.readEntries(ctx, h, index)
	if err == nil {
		v.known.put(k, file{entries: entries})
	}
	return entries, err
}

// readEntries reads the entries of a bundle from its file, and compares them with their tile.
func (v *verified) readEntries(ctx context.Context, h treeHead, index uint64) ([][]byte, error) {
	k := fileKey{-1, index, widthAt(0, index, h.size)}
	tile, err := v.tile(ctx, h, 0, index)
	if err != nil {
		return nil, err
	}
	entries, err := entriesIn(ctx, index, h.size, v.files.ReadEntryBundle)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, v.damaged(k, "is missing")
	case errors.Is(err, errDamaged), errors.Is(err, durable.ErrTooLarge):
		return nil, v.damaged(k, "is no entry bundle: "+err.Error())
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	for i, e := range entries {
		if tlog.RecordHash(e) != hashIn(tile, uint64(i)) {
			idx := index*layout.EntryBundleWidth + uint64(i)
			return nil, v.damaged(k, fmt.Sprintf("holds another entry %d than the tree says", idx))
		}
	}
	v.report(k.String(), nil)
	return entries, nil
}

// entry returns one entry.
func (v *verified) entry(ctx context.Context, h treeHead, idx uint64) ([]byte, error) {
	if idx >= h.size {
		return nil, fmt.Errorf("entry %d is beyond the tree of size %d", idx, h.size)
	}
	entries, err := v.entries(ctx, h, idx/layout.EntryBundleWidth)
	if err != nil {
		return nil, err
	}
	return entries[idx%layout.EntryBundleWidth], nil
}

// tiles returns the verified tiles of a tree in the form that Tessera's proof builders take.
func (v *verified) tiles(h treeHead) func(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
	return func(ctx context.Context, level, index uint64, p uint8) ([]byte, error) {
		data, err := v.tile(ctx, h, int(level), index)
		if want := int(p) * tlog.HashSize; err == nil && p > 0 && len(data) >= want {
			data = data[:want]
		}
		return data, err
	}
}

// readVerified returns a tile, or an entry bundle at the level -1, with exactly the width that was
// asked for, if the published tree has it: what hashes to the root that the log has signed, and
// nothing else. The error is fs.ErrNotExist where that tree has no such tile, a
// *Refusal before anything is published, and errDamaged where the files do not hash to the root.
func (l *Log) readVerified(ctx context.Context, t tlog.Tile) ([]byte, error) {
	head, err := l.head()
	if err != nil {
		return nil, err
	}
	level, index := max(t.L, 0), uint64(t.N)
	if widthAt(uint64(level), index, head.size) < uint64(t.W) {
		return nil, fs.ErrNotExist
	}
	if t.L >= 0 {
		data, err := l.verified.tile(ctx, head.tree(), level, index)
		if err != nil {
			return nil, err
		}
		return data[:t.W*tlog.HashSize], nil
	}
	entries, err := l.verified.entries(ctx, head.tree(), index)
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
