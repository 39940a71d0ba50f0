package client

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// tileServer serves the tiles of a tree.
type tileServer struct {
	t        *testing.T
	tree     tree
	size     int64 // partial tiles are those of this size; others are gone
	requests atomic.Int32
	corrupt  func(path string, data []byte) ([]byte, int)
}

func (s *tileServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	tile, err := torchwood.ParseTilePath(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		s.t.Errorf("asked for %s, which is no tile", r.URL.Path)
		http.NotFound(w, r)
		return
	}
	have := min(s.size>>(8*tile.L)-tile.N<<8, 256)
	if int64(tile.W) != have {
		http.NotFound(w, r)
		return
	}
	data, err := tlog.ReadTileData(tile, s.tree)
	if err != nil {
		s.t.Errorf("%s: %v", r.URL.Path, err)
	}
	if s.corrupt != nil {
		var status int
		if data, status = s.corrupt(r.URL.Path, data); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	w.Write(data)
}

func bigTree(n int64) tree { return tree{new(testlog.Tree).Grow(n, "leaf")} }

func (s *tileServer) start() *Log {
	server := httptest.NewServer(s)
	s.t.Cleanup(server.Close)
	return &Log{URL: server.URL}
}

func (tr tree) head(size int64) Checkpoint {
	return Checkpoint{Origin: "example.com/log", Size: size, Root: tr.Root(size)}
}

func TestTilesTellEveryPrefix(t *testing.T) {
	tr := bigTree(700)
	for _, size := range []int64{1, 2, 7, 255, 256, 257, 511, 512, 513, 700} {
		s := &tileServer{t: t, tree: tr, size: size}
		tiles := s.start().Tiles(tr.head(size))
		for _, n := range []int64{0, 1, 2, 3, 6, 7, 128, 255, 256, 257, 300, 512, 513, 699, 700} {
			root, err := tiles.Root(t.Context(), n)
			proof, err2 := tiles.Consistency(t.Context(), n)
			if n > size {
				if !errors.Is(err, ErrConsistency) || !errors.Is(err2, ErrConsistency) {
					t.Errorf("%d of %d: %v, %v", n, size, err, err2)
				}
				continue
			}
			fatalIfErr(t, errors.Join(err, err2))
			if n > 0 && root != tr.Root(n) {
				t.Errorf("%d of %d: another root", n, size)
			}
			if err := CheckConsistency(Checkpoint{Origin: "example.com/log", Size: n, Root: root}, tr.head(size), proof); err != nil {
				t.Errorf("%d of %d: %v", n, size, err)
			}
		}
		if got := s.requests.Load(); got > 6 {
			t.Errorf("size %d: %d requests; verified tiles are not kept", size, got)
		}
	}
}

// The log may have deleted the partial tiles of an old size.
func TestAFullTileStandsInForAPartialOne(t *testing.T) {
	tr := bigTree(600)
	s := &tileServer{t: t, tree: tr, size: 512}
	tiles := s.start().Tiles(tr.head(300))
	// Of level 1 there is a partial tile only: that of 300 entries is gone.
	if _, err := tiles.Root(t.Context(), 260); err == nil {
		t.Error("a tile that is nowhere was read")
	}
	s.size = 256 * 256
	s.tree = bigTree(256 * 256)
	root := testlog.Must(s.start().Tiles(s.tree.head(300)).Root(t.Context(), 260))
	if root != tr.Root(260) {
		t.Error("another root")
	}
}

// A forked log cannot serve tiles that join what it signed.
func TestTilesOfAnotherTreeAreRefused(t *testing.T) {
	honest, forked := bigTree(600), tree{new(testlog.Tree).Grow(400, "leaf").Grow(600, "other")}
	log := (&tileServer{t: t, tree: honest, size: 600}).start()
	if _, err := log.Tiles(forked.head(600)).Root(t.Context(), 300); !errors.Is(err, ErrConsistency) ||
		!strings.Contains(err.Error(), `the tiles that the log serves are not those of the tree of "example.com/log" with 600 entries that it signed`) {
		t.Errorf("got %v", err)
	}
	log = (&tileServer{t: t, tree: forked, size: 600}).start()
	root := testlog.Must(log.Tiles(forked.head(600)).Root(t.Context(), 500))
	if root == honest.Root(500) {
		t.Error("the forked tree has the honest root")
	}
}

func TestBadTilesAreRefused(t *testing.T) {
	tr := bigTree(600)
	flip := func(i int) func(string, []byte) ([]byte, int) {
		return func(path string, data []byte) ([]byte, int) {
			data = bytes.Clone(data)
			data[i%len(data)] ^= 1
			return data, 0
		}
	}
	for name, c := range map[string]struct {
		corrupt func(string, []byte) ([]byte, int)
		want    string
	}{
		"first byte flipped": {flip(0), "are not those of the tree"},
		"last byte flipped":  {flip(1<<20 - 1), "are not those of the tree"},
		"only level 0":       {func(p string, d []byte) ([]byte, int) { return onlyAt(p, "/tile/0/001", d) }, "are not those of the tree"},
		"too short":          {func(_ string, d []byte) ([]byte, int) { return d[:len(d)-1], 0 }, "bytes instead of"},
		"empty":              {func(_ string, d []byte) ([]byte, int) { return nil, 0 }, "has 0 bytes instead of"},
		"too long":           {func(_ string, d []byte) ([]byte, int) { return append(bytes.Clone(d), 0), 0 }, "the most that is read"},
		"endless":            {func(_ string, d []byte) ([]byte, int) { return make([]byte, 1<<20), 0 }, "the most that is read"},
		"missing":            {func(string, []byte) ([]byte, int) { return nil, 404 }, "the log answered 404"},
		"broken server":      {func(string, []byte) ([]byte, int) { return nil, 500 }, "the log answered 500"},
	} {
		s := &tileServer{t: t, tree: tr, size: 600, corrupt: c.corrupt}
		tiles := s.start().Tiles(tr.head(600))
		for range 2 { // nothing bad is kept
			root, err := tiles.Root(t.Context(), 500)
			proof, err2 := tiles.Consistency(t.Context(), 500)
			if err == nil || err2 == nil || root != (tlog.Hash{}) || proof != nil {
				t.Errorf("%s: accepted", name)
				break
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v\nwant ... %s ...", name, err, c.want)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&tileServer{t: t, tree: tr, size: 600}).start().Tiles(tr.head(600)).Root(ctx, 500); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func onlyAt(path, at string, data []byte) ([]byte, int) {
	if path == at {
		data = bytes.Clone(data)
		data[0] ^= 1
	}
	return data, 0
}
