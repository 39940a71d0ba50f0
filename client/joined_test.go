package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// joinedWorld is the world's log with three build entries about hello-proof behind its seven leaves, and a seal.
func joinedWorld(t testing.TB) (*world, *Joined) {
	t.Helper()
	w := newWorld(t)
	for i := range 3 {
		w.tree.Append(w.build(byte(i), nil))
	}
	w.tree.Seal()
	return w, w.join([]int64{7, 8, 9}, helloIndex, innerIndex)
}

func buildClaim(member byte) *entry.Build {
	return &entry.Build{Binary: "hello", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{1},
		Recipe: entry.Recipe1,
		Tag:    [32]byte{member}}
}

// build is a build entry of a member about hello-proof, with a change.
func (w *world) build(member byte, change func(*entry.Entry, *entry.Build)) []byte {
	b := buildClaim(member)
	e := &entry.Entry{Subject: w.entry.Subject, Claim: b, Proof: entry.Proof{Program: [32]byte{9}, Parts: [][]byte{{1}}}}
	if change != nil {
		change(e, b)
	}
	return testlog.Must(e.Marshal())
}

// join makes the file of some entries of the tree, and of what its map says, whether it is the right one or not.
func (w *world) join(builds []int64, sources ...int64) *Joined {
	size := w.tree.Size()
	j := &Joined{Checkpoint: w.checkpoint(size, w.all...), List: []byte("a list\n"), Lock: []byte("a lock\n")}
	part := func(i int64) Part {
		b := w.tree.proof(i, size, j.Checkpoint)
		j.Seal = b.Seal
		return Part{b.Index, b.Entry, b.Hashes, b.Version}
	}
	for _, i := range sources {
		j.Sources = append(j.Sources, part(i))
	}
	for _, i := range builds {
		p := part(i)
		if j.Version.Value == nil {
			j.Version = p.Version
		}
		p.Version = Lookup{}
		j.Builds = append(j.Builds, p)
	}
	s := w.entry.Subject
	_, j.Complete = w.tree.Map(size - 1).Prefix(index.BinaryPrefix(s.SHA256, "hello", "x86_64-unknown-linux-gnu"))
	return j
}

func TestAJoinedFileIsReadAsItWasWritten(t *testing.T) {
	w, j := joinedWorld(t)
	b := testlog.Must(j.Marshal())
	again, err := ParseJoined(b)
	fatalIfErr(t, err)
	if !bytes.Equal(testlog.Must(again.Marshal()), b) || string(again.Lock) != "a lock\n" ||
		string(again.List) != "a list\n" {
		t.Errorf("%+v", again)
	}
	seen, err := again.Check(w.policy, Rules{})
	fatalIfErr(t, err)
	if len(seen.Builds) != 3 || seen.Builds[2].Index != 9 || seen.Builds[2].Claim.Tag != [32]byte{2} ||
		len(seen.Sources) != 2 ||
		seen.Subject != w.entry.Subject || seen.Checkpoint.Size != 11 || seen.Checkpoint.Witnessed != now {
		t.Errorf("%+v", seen)
	}
	bundle, err := again.Bundle(again.Sources[0])
	fatalIfErr(t, err)
	if r, err := w.verify(bundle); err != nil || r.Index != helloIndex {
		t.Errorf("%+v, %v", r, err)
	}
	// With nothing in what may be empty.
	j.Lock, j.List, j.Sources = nil, nil, nil
	again, err = ParseJoined(testlog.Must(j.Marshal()))
	if err != nil || again.Lock != nil || len(again.List)+len(again.Sources) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestWhatIsNoJoinedFileIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Joined)
		want   string
	}{
		"no checkpoint": {func(j *Joined) { j.Checkpoint = nil }, "its checkpoint has 0 bytes"},
		"large checkpoint": {func(j *Joined) { j.Checkpoint = make([]byte, MaxCheckpointSize+1) }, "checkpoints " +
			"have 1 to"},
		"no build":               {func(j *Joined) { j.Builds = nil }, "it holds no build entry"},
		"no look-up":             {func(j *Joined) { j.Version = Lookup{} }, "which checksum the crate's version has"},
		"no look-up of a source": {func(j *Joined) { j.Sources[1].Version = Lookup{} }, "source entry 1 comes without"},
		"a look-up of a build":   {func(j *Joined) { j.Builds[1].Version = j.Version }, "build entry 1 has a look-up of its own"},
		"a proof with a build":   {func(j *Joined) { j.Builds[1].Version.Proof = []byte{1} }, "build entry 1 has a look-up"},
		"large look-up":          {func(j *Joined) { j.Version.Value = make([]byte, 41) }, "a value of 41 bytes"},
		"large proof":            {func(j *Joined) { j.Sources[0].Version.Proof = make([]byte, maxPath+1) }, "a proof of 16385"},
		"large prefix proof":     {func(j *Joined) { j.Complete = make([]byte, maxPath+1) }, "has 16385 bytes"},
		"large seal":             {func(j *Joined) { j.Seal.Leaf = make([]byte, maxSeal+1) }, "its seal has 1025 bytes"},
		"long path of the seal":  {func(j *Joined) { j.Seal.Hashes = make([][32]byte, 64) }, "a path of 64 hashes"},
		"large list": {func(j *Joined) { j.List = make([]byte, maxJoinedList+1) }, "its list of compiled " +
			"crates has 524289 bytes"},
		"large lock": {func(j *Joined) { j.Lock = make([]byte, maxJoinedLock+1) }, "its Cargo.lock has " +
			"4194305 bytes"},
		"an entry twice": {func(j *Joined) { j.Builds[1] = j.Builds[0] }, "not strictly ascending by index: 7 " +
			"follows 7"},
		"another order": {func(j *Joined) { j.Sources[0], j.Sources[1] = j.Sources[1], j.Sources[0] }, "its " +
			"source entries are not strictly ascending"},
		"both": {func(j *Joined) { j.Sources = append(j.Sources, j.Builds[0]) }, "there as a build " +
			"and as a source"},
		"no entry": {func(j *Joined) { j.Builds[0].Entry = nil }, "build entry 0 has 0 bytes"},
		"large entry": {func(j *Joined) { j.Builds[0].Entry = make([]byte, entry.MaxSize+1) }, "build " +
			"entry 0 has 65536 bytes"},
		"large index":        {func(j *Joined) { j.Builds[2].Index = 1 << 63 }, "is not below 2^63"},
		"long path":          {func(j *Joined) { j.Builds[2].Hashes = make([][32]byte, 64) }, "a path of 64 hashes"},
		"more than its size": {func(j *Joined) { j.Builds = manyParts(200, 60000) }, "at most 8388608 are read"},
		"more parts": {func(j *Joined) { j.Builds = manyParts(maxJoinedParts+1, 1) }, "it has 8193 build " +
			"entries"},
	} {
		_, j := joinedWorld(t)
		c.change(j)
		if b, err := j.Marshal(); !errors.Is(err, ErrJoined) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v\nwant %s", name, len(b), err, c.want)
		}
	}
	_, j := joinedWorld(t)
	good := testlog.Must(j.Marshal())
	wire := func(change func(*wireJoined)) []byte {
		var v wireJoined
		fatalIfErr(t, joinedDec.Unmarshal(good, &v))
		change(&v)
		return testlog.Must(joinedEnc.Marshal(v))
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"nothing":                {nil, "not the CBOR"},
		"text":                   {[]byte("c2sp.org/tlog-proof@v1\n"), "not the CBOR"},
		"cut":                    {good[:len(good)-1], "not the CBOR"},
		"something behind":       {append(bytes.Clone(good), 0), "not the CBOR"},
		"too large":              {make([]byte, MaxJoinedSize+1), "at most 8388608 are read"},
		"next version":           {wire(func(v *wireJoined) { v.Format = 3 }), "format version is 3"},
		"version before":         {wire(func(v *wireJoined) { v.Format = 1 }), "format version is 1"},
		"short hash":             {wire(func(v *wireJoined) { v.Builds[0].Hashes[0] = []byte{1} }), "a hash of 1 bytes"},
		"short hash of the seal": {wire(func(v *wireJoined) { v.Path[0] = []byte{1} }), "the seal's path has a hash of 1 bytes"},
		"long path":              {wire(func(v *wireJoined) { v.Builds[0].Hashes = make([][]byte, 64) }), "has 64 hashes"},
		"long number":            {append([]byte{good[0], 1, 0x18, 2}, good[3:]...), "not in its one encoding"},
		"no list": {bytes.Replace(good, append([]byte{5, 0x47}, "a list\n"...), []byte{5, 0xf6}, 1),
			"not in its one encoding"},
		"unknown key":  {append([]byte{good[0] + 1}, append(bytes.Clone(good[1:]), 12, 1)...), "not the CBOR"},
		"repeated key": {append([]byte{good[0] + 1}, append(bytes.Clone(good[1:]), 11, 0x40)...), "not the CBOR"},
	} {
		if j, err := ParseJoined(c.b); j != nil || !errors.Is(err, ErrJoined) || !strings.Contains(err.Error(),
			c.want) {
			t.Errorf("%s: %+v, %v\nwant %s", name, j, err, c.want)
		}
	}
}

func manyParts(n, size int) (out []Part) {
	for i := range n {
		out = append(out, Part{Index: uint64(i) + 100, Entry: make([]byte, size)})
	}
	return out
}

func TestWhatTheLogDoesNotHoldIsNotSeen(t *testing.T) {
	// with is the file of a log in which another entry stands at an index.
	with := func(i int64, leaf func(*world) []byte, sources ...int64) func(*world, *Joined) {
		return func(w *world, j *Joined) {
			w.tree.Tree = resealed(w.tree.With(i, leaf(w)))
			*j = *w.join([]int64{7, 8, 9}, sources...)
		}
	}
	build := func(change func(*entry.Entry, *entry.Build)) func(*world, *Joined) {
		return with(9, func(w *world) []byte { return w.build(7, change) })
	}
	for name, c := range map[string]struct {
		change func(*world, *Joined)
		reason error
		want   string
	}{
		"not cosigned": {func(w *world, j *Joined) { j.Checkpoint = w.checkpoint(11, w.log) }, ErrQuorum,
			"cosigned by no witness"},
		"another tree": {func(w *world, j *Joined) { j.Checkpoint = w.checkpoint(9, w.all...) },
			ErrSeal, "to the root of"},
		"not sealed": {func(w *world, j *Joined) {
			w.tree.Tree = w.tree.Fork(10)
			*j = *w.join([]int64{7, 8, 9}, helloIndex)
		}, ErrSeal, `the tree of "example.com/log" with 10 entries: the tree does not end in a seal`},
		"another index": {func(w *world, j *Joined) { j.Builds[0].Index = 6 }, ErrInclusion, "does not lead " +
			"from the entry"},
		"another entry": {func(w *world, j *Joined) { j.Builds[0].Entry = j.Builds[1].Entry }, ErrInclusion,
			"does not lead from the entry"},
		"another path": {func(w *world, j *Joined) { j.Sources[0].Hashes[1][0] ^= 1 }, ErrInclusion, "does " +
			"not lead from the entry"},
		"no entry at all": {func(w *world, j *Joined) {
			j.Sources[0] = w.join([]int64{7, 8, 9}, 0).Sources[0]
		}, ErrEntry, "entry 0"},
		"a source as a build": {func(w *world, j *Joined) { *j = *w.join([]int64{helloIndex}) },
			ErrJoined, `a claim of the kind "source"`},
		"a build as a source": {func(w *world, j *Joined) {
			w.tree.Tree = w.tree.Fork(8)
			w.tree.Append(w.build(1, func(_ *entry.Entry, b *entry.Build) { b.Binary = "other" }))
			w.tree.Seal()
			*j = *w.join([]int64{7}, 8)
		}, ErrJoined, `a claim of the kind "build"`},
		"another binary": {build(func(_ *entry.Entry, b *entry.Build) { b.Binary = "other" }), ErrJoined,
			"the binary other of hello-proof 0.1.0"},
		"another target": {build(func(_ *entry.Entry, b *entry.Build) { b.Target = "wasm32-wasip1" }),
			ErrJoined, "for wasm32-wasip1"},
		"another crate": {build(func(e *entry.Entry, _ *entry.Build) { e.Subject.SHA256[0] ^= 1 }),
			ErrJoined, "is about another one"},
		"a source twice": {with(3, func(w *world) []byte { return testlog.Must(w.entry.Marshal()) }, helloIndex, 3),
			ErrJoined, "entry 3 is a second source entry of hello-proof 0.1.0"},

		// Of what the map says.
		"a build left out":  {func(w *world, j *Joined) { *j = *w.join([]int64{7, 9}) }, ErrJoined, "not shown to be all"},
		"the last left out": {func(w *world, j *Joined) { *j = *w.join([]int64{7, 8}) }, ErrJoined, "not shown to be all"},
		"no proof of all":   {func(w *world, j *Joined) { j.Complete = nil }, ErrJoined, "not shown to be all"},
		"one that the map lacks": {func(w *world, j *Joined) {
			w.tree.Tree = w.tree.Fork(10)
			w.tree.Omit(8)
			w.tree.Seal()
			*j = *w.join([]int64{7, 8, 9})
		}, ErrJoined, "not shown to be all"},
		"another look-up": {func(w *world, j *Joined) { j.Version = j.Sources[1].Version }, ErrSeal, "what the log's index holds"},
		"another value":   {func(w *world, j *Joined) { j.Version.Value[0] ^= 1 }, ErrSeal, "what the log's index holds"},
		"another look-up of a source": {func(w *world, j *Joined) { j.Sources[0].Version = j.Sources[1].Version }, ErrSeal,
			"what the log's index holds"},
		"a first that is later": {func(w *world, j *Joined) {
			s := w.entry.Subject
			w.tree.Tree = w.tree.Fork(10)
			w.tree.Phantom(index.Row{Key: index.VersionKey(s.Registry, s.Name, s.Version),
				Value: index.Version{SHA256: s.SHA256, First: 8}.Marshal()})
			w.tree.Seal()
			*j = *w.join([]int64{7, 8, 9})
		}, ErrSeal, "entry 8 was the first about hello-proof 0.1.0, but entry 7 is about it too"},
		"a void source": {with(3, func(w *world) []byte {
			e := *w.entry
			e.Subject.SHA256[0] ^= 1
			return testlog.Must(e.Marshal())
		}, helloIndex, 3), ErrVoid, "entry 3 gives hello-proof 0.1.0 the SHA-256"},
		"void builds": {with(1, func(w *world) []byte {
			e := *w.entry
			e.Subject.SHA256[0] ^= 1
			return testlog.Must(e.Marshal())
		}), ErrVoid, "by entry 1, which was first"},
	} {
		w, j := joinedWorld(t)
		c.change(w, j)
		if seen, err := j.Check(w.policy, Rules{}); seen != nil || !errors.Is(err, c.reason) ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v\nwant %s", name, seen, err, c.want)
		}
	}
	w, j := joinedWorld(t)
	if _, err := j.Check(w.policy, Rules{MaxAge: 1, Now: now.AddDate(0, 0, 8)}); !errors.Is(err, ErrStale) {
		t.Errorf("an old one: %v", err)
	}
}

// TestTheSameCrateElsewhereHidesNothing: what is said of the same .crate under another registry stands under the
// same prefix. It belongs into the file, and is told apart, even if it was first.
func TestTheSameCrateElsewhereHidesNothing(t *testing.T) {
	w, _ := joinedWorld(t)
	w.tree.Tree = w.tree.With(7, w.build(7, func(e *entry.Entry, _ *entry.Build) { e.Subject.Registry = "https://r.example" }))
	w.tree.Tree = resealed(w.tree.Tree)
	j := w.join([]int64{7, 8, 9}, helloIndex)
	j.Version = w.tree.proof(8, 11, j.Checkpoint).Version
	seen, err := j.Check(w.policy, Rules{})
	fatalIfErr(t, err)
	if seen.Subject != w.entry.Subject || len(seen.Builds) != 2 || len(seen.Elsewhere) != 1 || seen.Elsewhere[0].Index != 7 ||
		seen.First.First != helloIndex {
		t.Errorf("%+v", seen)
	}
	j = w.join([]int64{8, 9}, helloIndex)
	if _, err := j.Check(w.policy, Rules{}); !errors.Is(err, ErrJoined) {
		t.Errorf("without it: %v", err)
	}
}

// TestWhatAMemberRepeatsIsNotInTheIndex: the first stands there, and a file is complete with or without the second,
// but not with the second alone.
func TestWhatAMemberRepeatsIsNotInTheIndex(t *testing.T) {
	w, _ := joinedWorld(t)
	w.tree.Tree = resealed(w.tree.With(9, w.build(1, func(_ *entry.Entry, b *entry.Build) { b.Artifact[0]++ })))
	for _, c := range []struct {
		builds []int64
		good   bool
	}{{[]int64{7, 8}, true}, {[]int64{7, 8, 9}, true}, {[]int64{7, 9}, false}} {
		seen, err := w.join(c.builds).Check(w.policy, Rules{})
		if (err == nil) != c.good || err == nil && len(seen.Builds) != len(c.builds) {
			t.Errorf("%v: %+v, %v", c.builds, seen, err)
		}
	}
}

// Every byte of a joined file counts, but for those of proofs and lists, which others look at.
func TestNoByteOfAJoinedFileIsIdle(t *testing.T) {
	w, j := joinedWorld(t)
	good := testlog.Must(j.Marshal())
	idle := 0
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 1
		again, err := ParseJoined(b)
		if err == nil {
			_, err = again.Check(w.policy, Rules{})
		}
		if err == nil {
			idle++
		}
	}
	if most := len(j.List) + len(j.Lock); idle > most {
		t.Errorf("%d of %d bytes can be altered, not only the %d of list and lock file", idle, len(good), most)
	}
}

// TestAHostileJoinedFileTakesLittleMemory reads 8 MiB of empty hashes, in paths that are too long.
func TestAHostileJoinedFileTakesLittleMemory(t *testing.T) {
	j := wireJoined{Format: joinedVersion, Checkpoint: []byte{1}}
	long := make([][]byte, maxJoinedParts)
	for i := range uint64(1000) {
		j.Builds = append(j.Builds, wirePart{Index: i, Entry: []byte{1}, Hashes: long})
	}
	b := testlog.Must(joinedEnc.Marshal(j))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseJoined(b)
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; !errors.Is(err, ErrJoined) || len(b) < 8e6 || n > 32 {
		t.Errorf("%d bytes take %d MiB: %v", len(b), n, err)
	}
}

// TestAJoinedFileOfManifestsTakesLittleMemory has a hostile log hold entries of 1 KiB that inflate to 1 MiB.
func TestAJoinedFileOfManifestsTakesLittleMemory(t *testing.T) {
	w := newWorld(t)
	first := w.tree.Size()
	var sources []int64
	for i := range int64(150) {
		w.tree.Append(leafWithManifest("big", fmt.Sprintf("1.0.%d", i)))
		sources = append(sources, first+i)
	}
	w.tree.Append(w.build(0, nil))
	w.tree.Seal()
	b := testlog.Must(w.join([]int64{first + 150}, sources...).Marshal())
	j, err := ParseJoined(b)
	fatalIfErr(t, err)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	logged, err := j.Check(w.policy, w.rules)
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	if n > maxJoinedEntries>>20 || !errors.Is(err, ErrJoined) {
		t.Errorf("a file of %d bytes takes %d MiB: %v", len(b), n, err)
	}
	runtime.KeepAlive(logged)
}

func FuzzParseJoined(f *testing.F) {
	_, j := joinedWorld(f)
	f.Add(testlog.Must(j.Marshal()))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := ParseJoined(b)
		if err != nil {
			return
		}
		if again, err := j.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("it does not print back: %v", err)
		}
	})
}

func TestAPartIsReadFromTheTree(t *testing.T) {
	l := testlog.New("log.example/parts", 0, nil)
	l.Tree.Grow(300, "leaf")
	l.ServeSigned(l.Tree, 300)
	server := httptest.NewServer(l)
	defer server.Close()
	c := Checkpoint{Origin: l.KeyName, Size: 300, Root: l.Tree.Root(300)}
	tiles := (&Log{URL: server.URL}).Tiles(c)
	for _, i := range []uint64{0, 255, 256, 299} {
		p, err := tiles.Part(t.Context(), i)
		fatalIfErr(t, err)
		if p.Index != i || string(p.Entry) != fmt.Sprintf("leaf %d", i) {
			t.Errorf("entry %d is %q", i, p.Entry)
		}
		if err := included(&Bundle{Index: i, Hashes: p.Hashes, Entry: p.Entry}, c); err != nil {
			t.Error(err)
		}
	}
	if _, err := tiles.Part(t.Context(), 300); !errors.Is(err, ErrInclusion) {
		t.Errorf("beyond the end: %v", err)
	}
	// A log that serves other entries than its tree has.
	l.Intercept(testlog.Answer("/tile/entries/", 200, []byte{0, 1, 'x', 0, 1, 'y'}))
	tiles = (&Log{URL: server.URL}).Tiles(c)
	if p, err := tiles.Part(t.Context(), 1); !errors.Is(err, ErrConsistency) || !strings.Contains(err.Error(),
		"another entry there than its tree") {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := tiles.Part(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "ends before it") {
		t.Errorf("%+v, %v", p, err)
	}
}
