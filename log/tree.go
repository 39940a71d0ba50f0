package log

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	tclient "github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/durable"
)

// treeState is Tessera's own record of what is integrated, written only after
// the tiles that it stands for. Found is false when there is none yet.
type treeState struct {
	Size  uint64 `json:"size"`
	Root  []byte `json:"root"`
	Found bool   `json:"-"`
}

const maxTreeState = 64 << 10

// readTreeState reads the record of a POSIX tree without opening the tree:
// the guard must look before Tessera may write.
func readTreeState(dir string) (treeState, error) {
	name := filepath.Join(dir, ".state", "treeState")
	raw, err := durable.Read(name, maxTreeState)
	if errors.Is(err, fs.ErrNotExist) {
		return treeState{}, nil
	}
	if err != nil {
		return treeState{}, err
	}
	var s treeState
	if err := json.Unmarshal(raw, &s); err != nil {
		return treeState{}, fmt.Errorf("%s is damaged: %w", name, err)
	}
	if len(s.Root) != tlog.HashSize {
		return treeState{}, fmt.Errorf("%s is damaged: the root has %d bytes, want %d", name, len(s.Root), tlog.HashSize)
	}
	s.Found = true
	return s, nil
}

// rootAt computes the root of the first size entries from the tiles.
func rootAt(ctx context.Context, size uint64, tiles tclient.TileFetcherFunc) (tlog.Hash, error) {
	if size == 0 {
		return tlog.Hash(rfc6962.DefaultHasher.EmptyRoot()), nil
	}
	var r *compact.Range
	var root []byte
	nodes, err := tclient.FetchRangeNodes(ctx, size, tiles)
	if err == nil {
		rf := compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
		r, err = rf.NewRange(0, size, nodes)
	}
	if err == nil {
		root, err = r.GetRootHash(nil)
	}
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("reading the tree at size %d: %w", size, err)
	}
	return tlog.Hash(root), nil
}

// entriesIn returns the entries of bundle n in a tree of size size. Whatever
// file stands there may hold more than that; it is cut.
func entriesIn(ctx context.Context, n, size uint64, bundles tclient.EntryBundleFetcherFunc) ([][]byte, error) {
	width := widthAt(0, n, size)
	if width == 0 {
		return nil, fmt.Errorf("entry bundle %d is beyond the tree of size %d", n, size)
	}
	var b api.EntryBundle
	raw, err := bundles(ctx, n, uint8(width%layout.EntryBundleWidth))
	if err == nil {
		err = b.UnmarshalText(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", n, err)
	}
	if uint64(len(b.Entries)) < width {
		return nil, fmt.Errorf("entry bundle %d has %d entries, want %d", n, len(b.Entries), width)
	}
	return b.Entries[:width], nil
}

// entryAt returns one entry of a tree of size size.
func entryAt(ctx context.Context, idx, size uint64, bundles tclient.EntryBundleFetcherFunc) ([]byte, error) {
	entries, err := entriesIn(ctx, idx/layout.EntryBundleWidth, size, bundles)
	if err != nil {
		return nil, err
	}
	if i := idx % layout.EntryBundleWidth; i < uint64(len(entries)) {
		return entries[i], nil
	}
	return nil, fmt.Errorf("entry %d is beyond the tree of size %d", idx, size)
}

// widthAt returns how many of its 256 places tile n of a level has filled in
// a tree of size size.
func widthAt(level, n, size uint64) uint64 {
	nodes := uint64(0)
	if level < 8 { // a tree of 2^64 entries has no nodes at level 8
		nodes = size >> (8 * level)
	}
	if n > nodes/layout.TileWidth {
		return 0
	}
	return min(nodes-n*layout.TileWidth, layout.TileWidth)
}

// lockDir takes the exclusive lock of a directory until it is closed. Tessera
// v1.0.4 locks per process only, so two logs in one process, or a second
// server, would not see each other.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("the directory %s is in use by another log server: stop that one first (%w)", dir, err)
	}
	return f, nil
}

var strayFile = regexp.MustCompile(`^(checkpoint|treeState|gcState)[0-9]+$`)

// sweep removes the temporary files that a killed server left beside the
// checkpoint and the tree state. It needs the directory's lock.
func sweep(dir string) error {
	for _, d := range []string{dir, filepath.Join(dir, ".state")} {
		files, err := os.ReadDir(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Type().IsRegular() && strayFile.MatchString(f.Name()) {
				if err := os.Remove(filepath.Join(d, f.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
