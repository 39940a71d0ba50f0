package verdict

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/opening"
)

// A Tree is a directory of evidence, in the layout of package registry, that any file server can hand
// out. Only what was verified is written into it, each file whole, and nothing is removed.
type Tree struct {
	dir   string
	c     *Checker
	heads map[string]map[int64]client.Checkpoint // of the bundles, by origin and size; verified
}

// Tree returns the tree in a directory, which is made when something is written.
func (c *Checker) Tree(dir string) *Tree {
	return &Tree{dir: dir, c: c, heads: map[string]map[int64]client.Checkpoint{}}
}

// Save writes the bundle and the opening of a verdict of its checker that is Verified. A bundle that
// is there stays if it verifies and is of no smaller tree. wrote says whether anything changed.
func (t *Tree) Save(ctx context.Context, v *Verdict) (wrote bool, err error) {
	proof, e, err := client.UnverifiedEntry(v.Bundle)
	if err != nil {
		return false, err
	}
	identity, err := e.Identity()
	if err != nil {
		return false, err
	}
	of := t.c.sourceOf(v.Bundle)
	now, err := of.trust.Policy.CheckCheckpointRules(proof.Checkpoint, t.c.cfg.Policy.RulesFor(v.pkg(), t.c.cfg.Now()))
	if err != nil {
		return false, err
	}
	name := entry.Registry(v.Demand.Registry)
	path := registry.BundlePath(name, v.Name, v.Version, of.origin)
	stands, err := t.standing(ctx, v, path, now.Size)
	if err != nil {
		return false, err
	}
	if stands.Size == 0 {
		if err := t.write(path, v.Bundle); err != nil {
			return false, err
		}
		wrote, stands = true, now
	}
	if t.heads[of.origin] == nil {
		t.heads[of.origin] = map[int64]client.Checkpoint{}
	}
	t.heads[of.origin][stands.Size] = stands
	if v.Opened == nil {
		return wrote, nil
	}
	path = registry.OpeningPath(name, v.Name, v.Version, identity)
	if old, err := durable.Read(t.file(path), int64(len(v.Opened))); err == nil && bytes.Equal(old, v.Opened) {
		return wrote, nil
	}
	return true, t.write(path, v.Opened)
}

// standing returns the checkpoint of the bundle that is there, if that verifies and is of a tree of at
// least size entries; else its Size is 0.
func (t *Tree) standing(ctx context.Context, v *Verdict, path string, size int64) (none client.Checkpoint, err error) {
	old, err := durable.Read(t.file(path), client.MaxBundleSize)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrTooLarge) {
		return none, nil
	} else if err != nil {
		return none, err
	}
	c, err := t.unpack(v)
	if err != nil {
		return none, err
	}
	a, err := t.c.Bundle(ctx, Given{Bundle: old, Crate: c, Registry: v.Demand.Registry,
		Rules: t.c.cfg.Policy.RulesFor(v.pkg(), t.c.cfg.Now())})
	if ctx.Err() != nil {
		return none, ctx.Err()
	}
	if err != nil || a.Checkpoint.Size < size {
		return none, nil
	}
	return a.Checkpoint, nil
}

func (t *Tree) unpack(v *Verdict) (*crate.Crate, error) {
	if v.Raw != nil {
		return crate.Read(v.Raw, v.Name, v.Version, limits)
	}
	raw, err := durable.Read(v.Path, limits.Compressed)
	if err != nil {
		return nil, err
	}
	return crate.Read(raw, v.Name, v.Version, limits)
}

func (t *Tree) file(path string) string { return filepath.Join(t.dir, filepath.FromSlash(path)) }

func (t *Tree) write(path string, b []byte) error {
	if !filepath.IsLocal(filepath.FromSlash(path)) { // a crate can have the name of a device of Windows
		return fmt.Errorf("%s is no name for a file on this system: write the evidence on another one", path)
	}
	if err := os.MkdirAll(filepath.Dir(t.file(path)), 0o755); err != nil {
		return err
	}
	return durable.Write(t.file(path), b, 0o644)
}

// kept returns a file of the evidence about a package that is in the cache and verified, by its name in a Tree.
func (c *Checker) kept(w Want, file string) ([]byte, bool) {
	for _, s := range c.sources {
		b, err := durable.Read(s.bundlePath(w), client.MaxBundleSize)
		if sum, ok := c.verified.Load(w.file()); err != nil || !ok || sum != sha256.Sum256(b) {
			continue
		}
		if file == originName(s.origin)+BundleExt {
			return b, true
		}
		_, e, err := client.UnverifiedEntry(b)
		if err != nil {
			continue
		}
		if id, err := e.Identity(); err == nil && file == fmt.Sprintf("%x", id)+OpeningExt {
			b, err := durable.Read(c.openingPath(id), opening.MaxSize)
			return b, err == nil
		}
	}
	return nil, false
}

// maxSizes bounds how many checkpoints of a log a tree shows to be consistent.
const maxSizes = 10_000

// SaveTiles writes the tiles by which readers see that the newest tree of each log, of those whose
// bundles were saved, continues the others, and those of earlier calls: then they need not ask the log.
func (t *Tree) SaveTiles(ctx context.Context) error {
	var errs []error
	for _, of := range t.c.sources {
		if len(t.heads[of.origin]) == 0 || of.log == nil || t.c.cfg.Offline {
			continue
		}
		if err := t.saveTiles(ctx, of); err != nil {
			errs = append(errs, fmt.Errorf("the tiles of the log %s: %w", of.origin, err))
		}
	}
	return errors.Join(errs...)
}

func (t *Tree) saveTiles(ctx context.Context, of *source) error {
	at := registry.LogPath(of.origin)
	sizes, err := t.sizes(at + "/sizes")
	if err != nil {
		return err
	}
	var newest client.Checkpoint
	for size, c := range t.heads[of.origin] {
		if sizes = append(sizes, size); size > newest.Size {
			newest = c
		}
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	sizes = sizes[max(0, len(sizes)-maxSizes):]
	kept := &recorder{next: cmp.Or(of.log.HTTP, http.DefaultClient).Transport, got: map[string][]byte{}}
	log := *of.log
	log.HTTP = &http.Client{Transport: kept, Timeout: requestTimeout}
	tiles := log.Tiles(newest)
	for _, size := range sizes {
		if size > newest.Size {
			continue // of an earlier call, of a tree that the bundles here are not of
		}
		root, err := tiles.Root(ctx, size)
		if err == nil {
			_, err = tiles.Consistency(ctx, size)
		}
		if err != nil {
			return err
		}
		if c, ok := t.heads[of.origin][size]; ok && c.Root != root {
			// Which settling has told before.
			return fmt.Errorf("its trees of %d and %d entries are no one history", size, newest.Size)
		}
	}
	for path, b := range kept.got {
		if i := strings.LastIndex(path, "/tile/"); i >= 0 {
			if err := t.write(at+path[i:], b); err != nil {
				return err
			}
		}
	}
	var text bytes.Buffer
	for _, size := range sizes {
		fmt.Fprintln(&text, size)
	}
	return t.write(at+"/sizes", text.Bytes())
}

// sizes reads the sizes of the trees that were saved before: decimal numbers, one a line.
func (t *Tree) sizes(path string) (sizes []int64, err error) {
	b, err := durable.Read(t.file(path), maxSizes*20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for line := range strings.Lines(string(b)) {
		n, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s is not a list of sizes of trees: remove it", t.file(path))
		}
		sizes = append(sizes, n)
	}
	return sizes, err
}

// recorder is a transport that keeps what a log answers.
type recorder struct {
	next http.RoundTripper

	mu  sync.Mutex // guards got
	got map[string][]byte
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	resp, err := cmp.Or(r.next, http.DefaultTransport).RoundTrip(q)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	b, err := durable.ReadAll(resp.Body, maxTile)
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	for q.Response != nil { // a log may redirect to any path, and what is written is where we asked
		q = q.Response.Request
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got[q.URL.Path] = b
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, nil
}

// maxTile is the size of a full tile of hashes in bytes.
const maxTile = 256 * 32
