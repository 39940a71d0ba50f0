package log

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/merkle/testonly"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// flip changes one byte of a file of the tree, and returns what undoes it.
func (w *world) flip(name string, at int) (undo func()) {
	w.t.Helper()
	path := filepath.Join(w.cfg.TreeDir, filepath.FromSlash(name))
	good := testlog.Must(os.ReadFile(path))
	bad := bytes.Clone(good)
	bad[at] ^= 1
	fatalIf(w.t, os.WriteFile(path, bad, 0o644))
	return func() { fatalIf(w.t, os.WriteFile(path, good, 0o644)) }
}

// TestWhatDoesNotHashToTheRootIsNotServed: neither a rotten tile nor a rotten entry leaves the
// log, what does not rest on it is served, and the door stays open.
func TestWhatDoesNotHashToTheRootIsNotServed(t *testing.T) {
	t.Parallel()
	w, l, _ := filled(t, 299)
	w.closeLog(l)
	for name, c := range map[string]struct {
		file, rotten, sound string
	}{
		"tile":   {"tile/0/000", "/tile/0/000", "/tile/1/000.p/1"},
		"bundle": {"tile/entries/000", "/tile/entries/000", "/tile/0/000"},
	} {
		t.Run(name, func(t *testing.T) {
			undo := w.flip(c.file, 40)
			l := w.open()
			srv := httptest.NewServer(l.Handler())
			defer srv.Close()
			if code, h, b := get(t, srv.URL+c.rotten); code != http.StatusInternalServerError ||
				!strings.Contains(string(b), "damaged on this log's disk") || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %q %v", c.rotten, code, b, h)
			}
			if code, _, b := get(t, srv.URL+"/v1/entries/0"); code != http.StatusInternalServerError || decodeRefusal(t, b).Reason != Damaged {
				t.Errorf("the bundle of a rotten place: %d %s", code, b)
			}
			for _, path := range []string{c.sound, "/v1/entries/298", "/tile/0/001.p/44"} {
				if code, _, b := get(t, srv.URL+path); code != http.StatusOK {
					t.Errorf("%s: %d %s", path, code, b)
				}
			}
			if h := l.health(); h.OK || !strings.Contains(strings.Join(h.Problems, " "), c.file+" ") ||
				!strings.Contains(strings.Join(h.Problems, " "), "logd fsck -repair") {
				t.Errorf("health: %+v", h.Problems)
			}
			e, raw := w.good("after-"+name, "1.0.0")
			w.submit(l, e, raw)

			undo()
			if code, _, _ := get(t, srv.URL+c.rotten); code != http.StatusOK {
				t.Errorf("after the repair: %d", code)
			}
			testlog.Must(l.bundle(t.Context(), 0, l.published.head()))
			if h := l.health(); !h.OK {
				t.Errorf("after the repair: %+v", h.Problems)
			}
			w.closeLog(l)
		})
	}
}

// TestARottenEdgeIsNotServed: the partial tiles have only the root to be compared with.
func TestARottenEdgeIsNotServed(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	w.fill(l, "a", 3)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	l.verified = newVerified(l.tree, l.damages.report) // one that has read nothing yet
	w.flip("tile/0/000.p/6", 1)
	for _, path := range []string{"/tile/0/000.p/6", "/tile/0/000.p/2", "/tile/entries/000.p/6"} {
		if code, _, b := get(t, srv.URL+path); code != http.StatusInternalServerError {
			t.Errorf("%s: %d %q", path, code, b)
		}
	}
}

// TestEdgeTilesMakeTheRoot compares with another implementation, at the sizes around full tiles.
func TestEdgeTilesMakeTheRoot(t *testing.T) {
	t.Parallel()
	other := testonly.New(rfc6962.DefaultHasher)
	var levels [3][]byte
	for size := uint64(0); size <= 66000; size++ {
		if size < 600 || size > 65500 {
			edge := edgeTiles{}
			for _, k := range edgeOf(size) {
				edge[k.level] = levels[k.level][k.index*256*32 : (k.index*256+k.width)*32]
			}
			if got, want := edge.root(), tlog.Hash(other.HashAt(size)); got != want {
				t.Fatalf("size %d: %v, want %v", size, got, want)
			}
		}
		leaf := []byte{byte(size), byte(size >> 8), byte(size >> 16)}
		other.AppendData(leaf)
		h := tlog.RecordHash(leaf)
		levels[0] = append(levels[0], h[:]...)
		for level := range 2 {
			if n := len(levels[level]) / 32; n%256 != 0 {
				break
			}
			h := subtree(levels[level][len(levels[level])-256*32:])
			levels[level+1] = append(levels[level+1], h[:]...)
		}
	}
}
