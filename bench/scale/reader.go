package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// tree is the tree of a year, of which there are the hashes, the map, and the leaves that are asked for.
type tree struct {
	levels [][]tlog.Hash // all perfect subtrees, by height
	leaves map[int64][]byte
	places map[string]int64 // of entries, by NAME/VERSION
	m      index.Map
}

// add appends a leaf of which no more than its place in the map counts.
func (t *tree) add(f index.Facts) {
	i := t.size()
	t.m.Add(uint64(i), f)
	t.push(sha256.Sum256(binary.AppendVarint([]byte("leaf"), i)))
}

// keep appends an entry or a seal.
func (t *tree) keep(leaf []byte) {
	parsed := testlog.Must(entry.ParseLeaf(leaf))
	i := t.size()
	testlog.Must(0, t.m.AddLeaf(uint64(i), parsed))
	if e, ok := parsed.(*entry.Entry); ok {
		t.places[e.Subject.Name+"/"+e.Subject.Version] = i
	}
	t.leaves[i] = leaf
	t.push(tlog.RecordHash(leaf))
}

func (t *tree) push(h tlog.Hash) {
	for level := 0; ; level++ {
		if level == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels[level] = append(t.levels[level], h)
		n := len(t.levels[level])
		if n%2 == 1 {
			return
		}
		h = tlog.NodeHash(t.levels[level][n-2], h)
	}
}

func (t *tree) size() int64 {
	if len(t.levels) == 0 {
		return 0
	}
	return int64(len(t.levels[0]))
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		level, n := tlog.SplitStoredHashIndex(x)
		if level >= len(t.levels) || n >= int64(len(t.levels[level])) {
			return nil, fmt.Errorf("there is no hash %d of level %d", n, level)
		}
		out[i] = t.levels[level][n]
	}
	return out, nil
}

func (t *tree) path(i, size int64) (out [][32]byte) {
	for _, h := range testlog.Must(tlog.ProveRecord(size, i, t)) {
		out = append(out, h)
	}
	return out
}

// head is a published tree.
type head struct {
	size   int64
	signed []byte
	seal   client.Seal
	rows   *index.Snapshot
}

// publish seals the tree.
func (t *tree) publish(log *testlog.Log) *head {
	rows := t.m.Snapshot()
	t.keep(testlog.Must((&entry.Seal{Rules: entry.Rules, Size: uint64(t.size()), Root: rows.Root()}).Marshal()))
	h := &head{size: t.size(), rows: rows}
	h.signed = log.SignText(testlog.Head(log.KeyName, h.size, testlog.Must(tlog.TreeHash(h.size, t))), log.Witnesses...)
	h.seal = client.Seal{Leaf: t.leaves[h.size-1], Hashes: t.path(h.size-1, h.size)}
	return h
}

// bundle is that of an entry, which is there.
func (t *tree) bundle(name, version string, h *head) ([]byte, error) {
	i, there := t.places[name+"/"+version]
	if !there || i >= h.size {
		return nil, fmt.Errorf("there is no %s %s", name, version)
	}
	value, proof := h.rows.Lookup(index.VersionKey(entry.DefaultRegistry, name, version))
	b := client.Bundle{Index: uint64(i), Hashes: t.path(i, h.size), Checkpoint: h.signed, Entry: t.leaves[i], Seal: h.seal,
		Version: client.Lookup{Value: value, Proof: proof}}
	return b.Marshal()
}

func (t *tree) lookup(name, version string, h *head) ([]byte, error) {
	value, proof := h.rows.Lookup(index.VersionKey(entry.DefaultRegistry, name, version))
	l := client.SealedLookup{Head: client.Head{Index: uint64(h.size - 1), Checkpoint: h.signed, Seal: h.seal},
		Version: client.Lookup{Value: value, Proof: proof}}
	return l.Marshal()
}

// answer is what the log says at a path.
func (t *tree) answer(path string, h *head) ([]byte, error) {
	at := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case len(at) == 4 && at[1] == "crates":
		return t.bundle(at[2], at[3], h)
	case len(at) == 4 && at[1] == "lookup":
		return t.lookup(at[2], at[3], h)
	case at[0] == "tile":
		tile, err := torchwood.ParseTilePath(strings.TrimPrefix(path, "/"))
		if err != nil || tile.L < 0 || (tile.N*torchwood.TileWidth+int64(tile.W))<<(torchwood.TileHeight*tile.L) > h.size {
			return nil, fmt.Errorf("there is no %s", path)
		}
		return tlog.ReadTileData(tile, t)
	case path == "/checkpoint":
		return h.signed, nil
	}
	return nil, fmt.Errorf("nobody should ask for %s", path)
}

// lock is what a lock file costs its reader.
type lock struct {
	bundle, absent, entry, witness float64 // bytes: of a bundle, look-up, entry, and request to a witness
	mapPerVersion, mapInherited    float64 // bytes of memory
	cold, updated                  asked
}

// release is a crate of the lock file.
type release struct {
	name, version string
	raw, entry    []byte // the log lacks one without an entry
}

// measureLock makes the tree of a year, and lets the client of a lock file ask for what it wants.
func measureLock(ctx context.Context, dir string, s scale, entrySize float64) (*lock, error) {
	now := time.Now()
	log := testlog.New("bench.example/year", 3, func() time.Time { return now })
	releases, err := makeReleases(s.lock + s.updated + 1)
	if err != nil {
		return nil, err
	}
	old, updated, absent := releases[:s.lock], releases[s.lock:s.lock+s.updated], releases[s.lock+s.updated:]
	absent[0].entry = nil
	t := &tree{leaves: map[int64][]byte{}, places: map[string]int64{}}
	before, begin := heap(), used()
	n := 0
	grow := func(entries int, with []release) *head {
		every := max(1, entries/max(1, len(with)))
		for i := range entries {
			if i%every == 0 && len(with) > 0 {
				t.keep(with[0].entry)
				with = with[1:]
			} else {
				t.add(facts(n))
			}
			n++
			if i < entries-1 { // a seal each, which the map does not know
				t.push(sha256.Sum256(binary.AppendVarint([]byte("seal"), int64(n))))
			}
		}
		return t.publish(log)
	}
	first := grow(s.year, old)
	took := used() - begin
	size := float64(first.size)
	hashes := 0.0
	for _, level := range t.levels {
		hashes += float64(cap(level)) * tlog.HashSize
	}
	l := &lock{entry: entrySize, mapPerVersion: (heap() - before - hashes) / float64(s.year)}
	figure("tree_leaves", size, "leaves")
	figure("map_keys", float64(first.rows.Len()), "keys")
	figure("map_memory", l.mapPerVersion, "B/version")
	figure("map_cpu", 1e6*took/float64(s.year), "us/version")
	if err := l.inherit(first.rows, s.year); err != nil {
		return nil, err
	}
	second := grow(min(versionsPerDay, s.year/10), updated)
	request := testlog.Request(first.size, testlog.Must(tlog.ProveTree(second.size, first.size, t)), string(second.signed))
	l.witness = figure("witness_request_bytes", float64(len(request)), "B")

	current, tiles := first, new(atomic.Int64)
	log.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		b, err := t.answer(r.URL.Path, current)
		if err != nil {
			http.Error(w, `{"reason":"not-found","message":"`+err.Error()+`"}`, http.StatusNotFound)
		} else {
			if strings.HasPrefix(r.URL.Path, "/tile/") {
				tiles.Add(int64(len(b)))
			}
			w.Write(b)
		}
		return true
	})
	server := httptest.NewServer(log)
	defer server.Close()
	reader, err := newReader(filepath.Join(dir, "reader"), string(log.Trust(server.URL)), server.URL)
	if err != nil {
		return nil, err
	}
	sum := 0.0
	for _, r := range old {
		b, err := t.bundle(r.name, r.version, first)
		if err != nil {
			return nil, err
		}
		sum += float64(len(b))
	}
	l.bundle = figure("bundle_bytes", sum/float64(len(old)), "B")
	b, err := t.lookup("not-there", "1.0.0", first)
	if err != nil {
		return nil, err
	}
	l.absent = figure("lookup_bytes", float64(len(b)), "B")

	look := func(name string, all []release) (of asked) {
		if err == nil {
			of, err = reader.verify(ctx, all)
		}
		figure("lock_"+name+"_bundles", of.bundles, "requests")
		figure("lock_"+name+"_lookups", of.lookups, "requests")
		figure("lock_"+name+"_tiles", of.tiles, "requests")
		figure("lock_"+name+"_received", of.received, "B")
		if err == nil && of.others > 0 {
			err = fmt.Errorf("%.0f other requests for a lock file", of.others)
		}
		return of
	}
	l.cold = look("cold", old)
	look("again", old)
	look("absent", absent)
	current = second
	l.updated = look("updated", append(old[s.updated:], updated...))
	figure("lock_updated_tile_bytes", float64(tiles.Load()), "B")
	runtime.KeepAlive(t)
	return l, err
}

// inherit measures the map of a log that goes on for the one of the tree.
func (l *lock) inherit(rows *index.Snapshot, versions int) error {
	before := heap()
	var next index.Map
	err := next.Inherit(rows)
	l.mapInherited = figure("map_memory_inherited", (heap()-before)/float64(versions), "B/version")
	runtime.KeepAlive(&next)
	return err
}

// makeReleases makes crates with entries whose proofs hold.
func makeReleases(n int) ([]release, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	all := make([]release, n)
	for i := range all {
		r := release{name: fmt.Sprintf("lock-%d", i), version: "1.0.0"}
		raw, err := forge.Pack(r.name, r.version, forge.Manifest(r.name, r.version),
			forge.File{Path: "src/lib.rs", Content: "// " + r.name + "\n"})
		if err != nil {
			return nil, err
		}
		e, err := forge.Claim(raw, r.name, r.version, &entry.Source{Path: "crates/" + r.name})
		if err != nil {
			return nil, err
		}
		list, err := forge.List(raw, e)
		if err == nil {
			err = f.ProveSegments(e, list, 3)
		}
		if err != nil {
			return nil, err
		}
		r.raw = raw
		if r.entry, err = e.Marshal(); err != nil {
			return nil, err
		}
		all[i] = r
	}
	return all, nil
}

// facts are those of the entry of a version that nobody asks for: a crate has ten.
func facts(i int) index.Facts {
	sum := func(what string) [32]byte { return sha256.Sum256(binary.AppendVarint([]byte(what), int64(i))) }
	return index.Facts{Registry: entry.DefaultRegistry, Name: fmt.Sprintf("crate-%d", i*cratesSoFar/versionsSoFar),
		Version: fmt.Sprintf("1.%d.0", i), SHA256: sum("crate"), Identity: sum("identity")}
}

// heap is how many bytes are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// reader is a user's machine.
type reader struct {
	dir    string
	policy *policy.Policy
	meter  *meter
}

func newReader(dir, trust, url string) (*reader, error) {
	settings := filepath.Join(dir, policy.FileName)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.policy"), []byte(trust), 0o600); err != nil {
		return nil, err
	}
	text := "version = 1\ndevelopment = true\nrequire = \"all\"\ntrust = [\"trust.policy\"]\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := policy.Load(settings, "")
	return &reader{dir: dir, policy: p, meter: newMeter(url)}, err
}

// verify verifies all crates, as one run of the program does, and returns what it asked for. Those without an entry
// must be shown not to be logged.
func (r *reader) verify(ctx context.Context, all []release) (asked, error) {
	c, err := verdict.New(verdict.Config{Policy: r.policy, Cache: filepath.Join(r.dir, "cache"),
		State: filepath.Join(r.dir, "state"), HTTP: &http.Client{Transport: r.meter}})
	if err != nil {
		return asked{}, err
	}
	var wants []verdict.Want
	for _, one := range all {
		wants = append(wants, verdict.Want{Name: one.name, Version: one.version, Checksum: sha256.Sum256(one.raw),
			Raw: one.raw, Demand: policy.Demand{Package: policy.Package{Name: one.name, Version: one.version},
				Status: policy.Required}})
	}
	for i, v := range c.All(ctx, wants, nil) {
		logged := all[i].entry != nil
		if logged && v.Status != verdict.Verified || !logged && verdict.Explain(v.Err).Reason != "not-logged" {
			return asked{}, fmt.Errorf("%s %s is %v: %w", v.Name, v.Version, v.Status, v.Err)
		}
	}
	return r.meter.reset(), nil
}
