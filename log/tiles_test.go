package log

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

func TestTilePathsHaveOneSpelling(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"0/000", "0/001", "63/999", "0/x001/234", "8/x001/x234/067", "entries/000", "entries/x001/000.p/255", "0/000.p/1", "1/x999/x000/000",
	} {
		if got, ok := parseTilePath(p); !ok || torchwood.TilePath(got) != "tile/"+p {
			t.Errorf("%q: %v, %+v", p, ok, got)
		}
	}
	for _, p := range []string{
		"", "/", "0", "0/", "00/000", "01/000", "64/000", "-1/000", "+0/000", "a/000", "0/0", "0/00", "0/0000", "0/x000", "0/x000/000", "0/x000/x001/000",
		"0/001/000", "0/x001/x000", "0/x001", "0/000/", "0//000", "0/000.p", "0/000.p/", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000.p/+1",
		"0/000.p/1/", "0/000.p/1.p/1", "entries", "entries/", "Entries/000", "0/００0", "0/x1/000", "0/X001/000", "../.state/treeState", "0/../000",
		"0/x999/x999/x999/x999/x999/x999/999", "data/000", "8/data/000", "0/000\n", " 0/000",
	} {
		if got, ok := parseTilePath(p); ok {
			t.Errorf("%q was accepted as %+v", p, got)
		}
	}
}

func FuzzTilePath(f *testing.F) {
	for _, p := range []string{"0/000", "entries/x001/x234/067.p/8", "63/000.p/255", "0/x000/001"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, ok := parseTilePath(p)
		if ok && torchwood.TilePath(got) != "tile/"+p {
			t.Errorf("%q was read as %+v", p, got)
		}
	})
}

// filled opens a log with n entries, all submitted at once, in one wave: so its tree has them and a seal.
func filled(t *testing.T, n int) (*world, *Log, *httptest.Server) {
	t.Helper()
	w := newWorld(t)
	w.cfg.BatchAge.Duration, w.cfg.BatchSize = time.Minute, uint(n)
	l := w.open()
	var g sync.WaitGroup
	for i := range n {
		e, c := w.good(fmt.Sprintf("c%d", i), "1.0.0")
		g.Go(func() {
			if _, err := l.Submit(t.Context(), e, bytes.NewReader(c), nil); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	w.cfg.BatchAge.Duration, w.cfg.BatchSize = 5*time.Millisecond, 0
	l.mu.Lock()
	l.cfg.BatchAge = w.cfg.BatchAge
	l.mu.Unlock()
	srv := httptest.NewServer(l.Handler())
	t.Cleanup(srv.Close)
	return w, l, srv
}

// TestTilesAreExactlyThePublishedTree asks for every tile and width around
// the right edge, and compares with hashes computed from the entries.
func TestTilesAreExactlyThePublishedTree(t *testing.T) {
	t.Parallel()
	const size = 261
	_, l, srv := filled(t, size-1)
	fatalIf(t, os.WriteFile(filepath.Join(l.cfg.TreeDir, "checkpoint12345"), []byte("stray"), 0o644))
	// What a killed server may leave: a partial tile that was never committed,
	// and a full one beyond the published tree.
	entries := leavesOf(t, l)
	leftovers := map[string][]byte{
		"tile/0/001.p/3":       bytes.Repeat([]byte{1}, 3*32),
		"tile/0/001":           bytes.Repeat([]byte{2}, 256*32),
		"tile/entries/001.p/3": {0, 1, 7, 0, 1, 7, 0, 1, 7},
		"tile/entries/001":     bytes.Repeat([]byte{0, 1, 7}, 256),
		"tile/1/000":           bytes.Repeat([]byte{3}, 256*32),
	}
	for name, data := range leftovers {
		fatalIf(t, os.WriteFile(filepath.Join(l.cfg.TreeDir, filepath.FromSlash(name)), data, 0o644))
	}
	var hashes []tlog.Hash
	for _, e := range entries {
		hashes = append(hashes, tlog.RecordHash(e))
	}
	levels := [][]tlog.Hash{hashes, {tlog.Hash(naiveRoot(hashes[:256]))}, nil}
	for _, level := range []int{-1, 0, 1, 2} {
		for n := range 3 {
			for w := 1; w <= 256; w++ {
				if w > 10 && w < 250 {
					continue
				}
				want := wantTile(t, entries, levels, level, n, w)
				path := "/" + torchwood.TilePath(tlog.Tile{H: 8, L: level, N: int64(n), W: w})
				code, header, got := get(t, srv.URL+path)
				switch {
				case want == nil && code != http.StatusNotFound:
					t.Errorf("%s: %d beyond the published tree", path, code)
				case want != nil && (code != http.StatusOK || !bytes.Equal(got, want)):
					t.Errorf("%s: %d, %d bytes, want %d: the bytes differ", path, code, len(got), len(want))
				case want != nil && (header.Get("Content-Type") != "application/octet-stream" ||
					header.Get("Cache-Control") != "public, max-age=31536000, immutable"):
					t.Errorf("%s: headers %v", path, header)
				}
			}
		}
	}
	for _, path := range []string{"/tile/", "/tile", "/tile/0/", "/tile/entries/", "/.state/treeState", "/tile/../.state/treeState", "/tile/%2e%2e/.state/treeState",
		"/checkpoint12345", "/.state/", "/tile/0/000.p/", "/tile/0/001.p/3%00", "/checkpoint/"} {
		if code, _, b := get(t, srv.URL+path); code != http.StatusNotFound {
			t.Errorf("%s: %d %q", path, code, b)
		}
	}
}

// naiveRoot is RFC 6962 section 2.1, word by word.
func naiveRoot(d []tlog.Hash) []byte {
	if len(d) == 1 {
		return d[0][:]
	}
	k := 1
	for 2*k < len(d) {
		k *= 2
	}
	return rfc6962.DefaultHasher.HashChildren(naiveRoot(d[:k]), naiveRoot(d[k:]))
}

// wantTile is the tile's content, or nil when the tree has no such tile.
func wantTile(t *testing.T, entries [][]byte, levels [][]tlog.Hash, level, n, w int) []byte {
	t.Helper()
	var out []byte
	for i := n * 256; i < n*256+w; i++ {
		if level < 0 {
			if i >= len(entries) {
				return nil
			}
			out = testlog.Must(torchwood.AppendTileEntry(out, entries[i]))
			continue
		}
		if i >= len(levels[level]) {
			return nil
		}
		out = append(out, levels[level][i][:]...)
	}
	return out
}

// TestOthersReadTheWholeLog: torchwood's strict client, and Tessera's fsck,
// over HTTP.
func TestOthersReadTheWholeLog(t *testing.T) {
	t.Parallel()
	const size = 300
	w, l, srv := filled(t, size-1)
	want := make(map[string]bool)
	for _, e := range leavesOf(t, l) {
		want[string(e)] = true
	}
	code, header, signed := get(t, srv.URL+"/checkpoint")
	if code != http.StatusOK || header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("Cache-Control") != "no-cache" {
		t.Errorf("checkpoint: %d %v", code, header)
	}
	policy := testlog.Must(torchwood.ParsePolicy(w.cfg.Policy))
	cp, _, err := torchwood.VerifyCheckpoint(signed, policy)
	fatalIf(t, err)
	if cp.N != size {
		t.Errorf("published %d entries, want %d", cp.N, size)
	}
	fetcher := testlog.Must(torchwood.NewTileFetcher(srv.URL + "/"))
	tc := testlog.Must(torchwood.NewClient(fetcher))
	got := 0
	for i, e := range tc.AllEntries(t.Context(), cp.Tree, 0) {
		if !want[string(e)] {
			t.Errorf("entry %d is not in the tree, or twice in the log", i)
		}
		delete(want, string(e))
		got++
	}
	fatalIf(t, tc.Err())
	if got != size {
		t.Errorf("torchwood read %d entries, want %d", got, size)
	}
	runFsck(t, w, srv.URL)
}

func runFsck(t *testing.T, w *world, addr string) {
	t.Helper()
	u := testlog.Must(url.Parse(addr + "/"))
	f := testlog.Must(client.NewHTTPFetcher(u, nil))
	v := testlog.Must(note.NewVerifier(w.cfg.VKey))
	hash := func(b []byte) ([][]byte, error) {
		var e api.EntryBundle
		if err := e.UnmarshalText(b); err != nil {
			return nil, err
		}
		var out [][]byte
		for _, x := range e.Entries {
			out = append(out, rfc6962.DefaultHasher.HashLeaf(x))
		}
		return out, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := fsck.New(w.cfg.Origin, v, f, hash, fsck.Opts{N: 8}).Check(ctx); err != nil {
		t.Errorf("fsck: %v", err)
	}
}

// TestPartialTilesSurviveGarbageCollection: their files are gone once the
// full tile exists, and the exact width is still served.
func TestPartialTilesSurviveGarbageCollection(t *testing.T) {
	t.Parallel()
	_, l, srv := filled(t, 257)
	for _, d := range []string{"tile/0/000.p", "tile/entries/000.p"} {
		fatalIf(t, os.RemoveAll(filepath.Join(l.cfg.TreeDir, filepath.FromSlash(d))))
	}
	_, _, full := get(t, srv.URL+"/tile/0/000")
	if code, _, b := get(t, srv.URL+"/tile/0/000.p/9"); code != http.StatusOK || !bytes.Equal(b, full[:9*32]) {
		t.Errorf("%d, %d bytes", code, len(b))
	}
	if code, _, b := get(t, srv.URL+"/tile/entries/000.p/200"); code != http.StatusOK || len(b) == 0 {
		t.Errorf("%d, %d bytes", code, len(b))
	}
}
