package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// ownerLog is a log of its own with what a test logs in it.
type ownerLog struct {
	*testlog.Log
	client *Log
	policy *Policy
}

func newOwnerLog(t *testing.T, leaves ...[]byte) *ownerLog {
	t.Helper()
	l := testlog.New("example.com/owned", 1, func() time.Time { return now })
	l.Tree.Append(leaves...)
	if len(leaves) > 0 {
		l.Publish()
	}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return &ownerLog{l, &Log{URL: server.URL}, testlog.Must(ParsePolicy(l.Trust(server.URL)))}
}

func (l *ownerLog) crate(t *testing.T, name string) (*Everything, error) {
	t.Helper()
	return l.client.Crate(t.Context(), l.policy, Rules{}, "", name)
}

// leafOfCrate is an entry about a version whose .crate is content, with the claim of a commit.
func leafOfCrate(name, version string, content, commit byte) []byte {
	return testlog.Must((&entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: [32]byte{content}},
		Claim:   &entry.Source{Commit: [20]byte{commit}}, Proof: entry.Proof{Program: [32]byte{1}, Parts: [][]byte{{1}}},
	}).Marshal())
}

func buildOfCrate(name, version string, content, member byte) []byte {
	return testlog.Must((&entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: [32]byte{content}},
		Claim:   buildClaim(member), Proof: entry.Proof{Program: [32]byte{2}, Parts: [][]byte{{1}}},
	}).Marshal())
}

// ownedLeaves are a crate's in every form, and others'. Entry 4 is void, 6 repeats 0.
func ownedLeaves() [][]byte {
	return [][]byte{
		leafOfCrate("mine", "1.0.0", 1, 1), leafOfCrate("other", "1.0.0", 2, 1), leafOfCrate("mine", "1.0.0", 1, 2), []byte("no leaf"),
		leafOfCrate("Mine", "1.0.0+b", 3, 1), buildOfCrate("mine", "1.0.0", 1, 1), leafOfCrate("mine", "1.0.0", 1, 1), leafOfCrate("mine", "1.1.0", 4, 1),
		leafOfCrate("min", "1.0.0", 5, 1),
	}
}

func indexes(e *Everything) (all []uint64) {
	for _, x := range e.Entries {
		all = append(all, x.Index)
	}
	return all
}

func TestAnOwnerSeesAllEntriesOfHisCrate(t *testing.T) {
	l := newOwnerLog(t, ownedLeaves()...)
	for _, rows := range []int{0, 1, 4, 5, 6} { // a page at most; 0: any number
		l.PageRows = rows
		e, err := l.crate(t, "Mine")
		if err != nil {
			t.Fatalf("in pages of %d rows: %v", rows, err)
		}
		if got := indexes(e); !slices.Equal(got, []uint64{0, 2, 4, 5, 7}) || e.Checkpoint.Size != 10 ||
			!slices.IsSortedFunc(e.Rows, index.Row.Compare) {
			t.Errorf("in pages of %d rows: the entries %d of a tree of %d", rows, got, e.Checkpoint.Size)
		}
		for _, x := range e.Entries {
			v, void := e.Fixed(x.Entry.Subject)
			if void != (x.Index == 4) || v.First != map[bool]uint64{true: 7, false: 0}[x.Index == 7] {
				t.Errorf("entry %d is void: %v; the version is fixed by entry %d", x.Index, void, v.First)
			}
		}
	}
	l.PageRows = 0
	for name, want := range map[string][]uint64{"other": {1}, "min": {8}, "absent": nil} {
		if e, err := l.crate(t, name); err != nil || !slices.Equal(indexes(e), want) {
			t.Errorf("%s: the entries %d, %v", name, indexes(e), err)
		}
	}
	if _, err := l.client.Crate(t.Context(), l.policy, Rules{}, "https://index.example", "mine"); err != nil {
		t.Errorf("of another registry: %v", err)
	}
	if _, err := l.crate(t, "no/name"); err == nil {
		t.Error("no name was asked for")
	}
	if _, err := l.client.Crate(t.Context(), newWorld(t).policy, Rules{}, "", "mine"); !errors.Is(err, ErrLog) {
		t.Errorf("of a log that is not listed: %v", err)
	}
}

// TestALogThatHoldsNothingHoldsNothingOfACrate: nothing seals an empty tree, so there is no page; its checkpoint
// shows it.
func TestALogThatHoldsNothingHoldsNothingOfACrate(t *testing.T) {
	l := newOwnerLog(t)
	l.Publish()
	e, err := l.crate(t, "mine")
	if err != nil || len(e.Rows)+len(e.Entries) > 0 || e.Checkpoint.Size != 0 || e.Checkpoint.Origin != l.KeyName {
		t.Fatalf("%+v, %v", e, err)
	}
	if found, err := l.client.Omission(t.Context(), l.policy, Rules{}, e, "", "mine"); found != nil || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := l.client.Crate(t.Context(), newWorld(t).policy, Rules{}, "", "mine"); !errors.Is(err, ErrWithheld) {
		t.Errorf("of a log that is not listed: %v", err)
	}
	l.Tree.Append(leafOfCrate("mine", "1.0.0", 1, 1))
	l.Publish()
	l.Intercept(testlog.Answer("/v1/", 404, []byte(`{"reason":"not-found","message":"no"}`)))
	if _, err := l.crate(t, "mine"); !errors.Is(err, ErrWithheld) {
		t.Errorf("a log that holds something, and shows nothing: %v", err)
	}
}

// TestARowThatALogLeavesOutOrAddsIsSeen: what it hands out must be all, and what the entries make.
func TestARowThatALogLeavesOutOrAddsIsSeen(t *testing.T) {
	phantom := index.VersionKey(entry.DefaultRegistry, "mine", "6.6.6")
	entryKey := phantom
	entryKey[96] = 1
	number := index.Version{First: 2}.Marshal()[32:]
	words := map[string]string{
		"a version that no entry fixes":              "has a row that names entry 2, and that entry does not make it",
		"a version that no entry is of":              "names the leaf 3, which is no entry",
		"a version of an entry to come":              "names the entry 99, and it is of 9 entries",
		"an entry that is a seal":                    "names the entry 9, and it is of 9 entries",
		"a value of another form":                    "a row of the log's index",
		"a version of a log before it, and none was": "and its first leaf names no such log",
		"another checksum":                           "has a row that names entry 0, and that entry does not make it",
	}
	for name, lie := range map[string]func(l *ownerLog){
		"a page without a row": func(l *ownerLog) {
			l.alter(func(p *Page) { p.Rows = p.Rows[1:] })
		},
		"a page with another value": func(l *ownerLog) {
			l.alter(func(p *Page) { p.Rows[0].Value[39]++ })
		},
		"a page that says there is none": func(l *ownerLog) {
			l.alter(func(p *Page) { p.Rows = nil })
		},
		"a page under another prefix": func(l *ownerLog) {
			other := l.Tree.Page(index.NamePrefix(entry.DefaultRegistry, "other"), l.Tree.Size(), l.Sign(l.Tree, l.Tree.Size(), l.Witnesses...))
			l.Intercept(testlog.Answer("/v1/index", 200, other))
		},
		"a version that no entry fixes": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: phantom, Value: index.Version{SHA256: [32]byte{6}, First: 2}.Marshal()})
		},
		"a version that no entry is of": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: phantom, Value: index.Version{First: 3}.Marshal()})
		},
		"a version of a log before it, and none was": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: phantom, Value: index.Version{First: 99, Inherited: true}.Marshal()})
		},
		"a version of an entry to come": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: phantom, Value: index.Version{First: 99}.Marshal()})
		},
		"an entry that is another": func(l *ownerLog) { l.Tree.Phantom(index.Row{Key: entryKey, Value: number}) },
		"an entry that is a seal": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: entryKey, Value: index.Version{First: 9}.Marshal()[32:]})
		},
		"a value of another form": func(l *ownerLog) { l.Tree.Phantom(index.Row{Key: entryKey, Value: []byte{1}}) },
		"another checksum": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: index.VersionKey(entry.DefaultRegistry, "mine", "1.0.0"), Value: index.Version{SHA256: [32]byte{9}}.Marshal()})
		},
		"a later first": func(l *ownerLog) {
			l.Tree.Phantom(index.Row{Key: index.VersionKey(entry.DefaultRegistry, "mine", "1.0.0"),
				Value: index.Version{SHA256: [32]byte{1}, First: 2}.Marshal()})
		},
		"rows that are too many, and then none": func(l *ownerLog) {
			l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v1/index/mine" {
					return false
				}
				http.Error(w, `{"reason":"too-many-rows","message":"no"}`, http.StatusRequestEntityTooLarge)
				return true
			})
			l.Tree.Omit(0)
			l.Tree.Omit(2)
			l.Tree.Omit(4)
			l.Tree.Omit(5)
			l.Tree.Omit(6)
			l.Tree.Omit(7)
		},
	} {
		l := newOwnerLog(t)
		l.Tree.Append(ownedLeaves()...)
		lie(l)
		l.Publish()
		if _, err := l.crate(t, "mine"); !errors.Is(err, ErrSeal) || !strings.Contains(err.Error(), words[name]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := newOwnerLog(t, ownedLeaves()...)
	l.Intercept(testlog.Answer("/v1/index", 404, []byte(`{"reason":"not-found","message":"no"}`)))
	if _, err := l.crate(t, "mine"); !errors.Is(err, ErrWithheld) {
		t.Errorf("no pages: %v", err)
	}
	l.Intercept(testlog.Answer("/v1/index", 413, []byte(`{"reason":"too-many-rows","message":"no"}`)))
	if _, err := l.crate(t, "mine"); err == nil {
		t.Error("no page is ever small enough")
	}
	// One that has no end of pages, all true.
	var asked atomic.Int64
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		asked.Add(1)
		if bits := r.URL.Query().Get("bits"); bits != "" && bits >= "300" && len(bits) == 3 {
			return false
		}
		return testlog.Answer("/v1/index", 413, []byte(`{"reason":"too-many-rows","message":"no"}`))(w, r)
	})
	if _, err := l.crate(t, "mine"); !errors.Is(err, ErrWithheld) || !strings.Contains(err.Error(), "after 2048 pages") || asked.Load() > 2100 {
		t.Errorf("after %d pages: %v", asked.Load(), err)
	}
}

// alter changes every page on its way.
func (l *ownerLog) alter(change func(p *Page)) {
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/index/mine" {
			return false
		}
		size := l.Tree.Size()
		p := testlog.Must(ParsePage(l.Tree.Page(index.NamePrefix(entry.DefaultRegistry, "mine"), size, l.Sign(l.Tree, size, l.Witnesses...))))
		change(p)
		w.Write(testlog.Must(p.Marshal()))
		return true
	})
}

// TestPagesOfTwoCheckpointsAreNotOneAnswer: it is asked again, and not for ever.
func TestPagesOfTwoCheckpointsAreNotOneAnswer(t *testing.T) {
	l := newOwnerLog(t, ownedLeaves()...)
	l.PageRows = 5
	turns, asked := 2, 0
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v1/index") && r.URL.Query().Has("bits") {
			if asked++; asked%2 == 0 && turns > 0 {
				turns--
				l.Tree.Append(leafOfCrate("mine", fmt.Sprintf("2.%d.0", turns), 7, 1))
				l.Publish()
			}
		}
		return false
	})
	e, err := l.crate(t, "mine")
	if err != nil || len(e.Entries) != 7 || e.Checkpoint.Size != 14 || turns != 0 {
		t.Fatalf("after %d pages: %v", asked, err)
	}
	turns = 1 << 30
	if _, err := l.crate(t, "mine"); !errors.Is(err, errMoved) {
		t.Errorf("a log that never stands still: %v", err)
	}
}

// lists has the log list versions of the crate, as its operator likes.
func (l *ownerLog) lists(rows ...VersionRow) {
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/crates/mine" {
			return false
		}
		var all []map[string]any
		for _, r := range rows {
			all = append(all, map[string]any{"name": r.Name, "version": r.Version, "sha256": fmt.Sprintf("%x", r.SHA256), "index": r.Index})
		}
		json.NewEncoder(w).Encode(map[string]any{"registry": "default", "versions": all})
		return true
	})
}

// TestAnEntryThatTheIndexLeavesOutConvicts, if the log names it where nothing is proven.
func TestAnEntryThatTheIndexLeavesOutConvicts(t *testing.T) {
	one, void, two := VersionRow{"mine", "1.0.0", [32]byte{1}, 0}, VersionRow{"Mine", "1.0.0+b", [32]byte{3}, 4}, VersionRow{"mine", "1.1.0", [32]byte{4}, 7}
	for name, c := range map[string]struct {
		omit []int64
		list []VersionRow
		want bool
	}{
		"nothing left out":            {nil, []VersionRow{void, one, two}, false},
		"a version":                   {[]int64{7}, []VersionRow{void, one, two}, true},
		"the first entry":             {[]int64{0, 6}, []VersionRow{one}, true},
		"a list that says otherwise":  {nil, []VersionRow{one, {"mine", "1.1.0", [32]byte{4}, 2}}, false},
		"a list of what is not there": {nil, []VersionRow{one, {"mine", "3.0.0", [32]byte{4}, 2}}, false},
		"a list of what is to come":   {nil, []VersionRow{one, {"mine", "3.0.0", [32]byte{4}, 12}}, false},
		"a list of another checksum":  {nil, []VersionRow{{"mine", "1.0.0", [32]byte{8}, 0}}, false},
		"no list":                     {[]int64{7}, nil, false},
	} {
		l := newOwnerLog(t)
		l.Tree.Append(ownedLeaves()...)
		for _, i := range c.omit {
			l.Tree.Omit(i)
		}
		l.Publish()
		l.lists(c.list...)
		e, err := l.crate(t, "mine")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found, err := l.client.Omission(t.Context(), l.policy, Rules{Now: now}, e, "", "mine")
		if err != nil || (found != nil) != c.want {
			t.Errorf("%s: %v, %v", name, found != nil, err)
		}
		if found == nil {
			continue
		}
		again := testlog.Must(evidence.Parse(testlog.Must(found.Marshal())))
		if v, err := evidence.Verify(again, testlog.Must(l.policy.Keys()), nil); err != nil || !v.Convicts() || again.Kind != evidence.IndexOmission {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnOwnerSeesALogInFiles.
func TestAnOwnerSeesALogInFiles(t *testing.T) {
	l := newOwnerLog(t, ownedLeaves()...)
	size, kind := l.Tree.Size(), testlog.Must(index.NewPrefix(index.Key{}, 8))
	signed := l.Sign(l.Tree, size, l.Witnesses...)
	list, page := PagesLabel+"8/00\n", l.Tree.Page(kind, size, signed)
	l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/v1/index":
			w.Write([]byte(list))
		case "/v1/pages/8/00", "/v1/pages/264/" + fmt.Sprintf("%x", index.NamePrefix("default", "absent").Bytes()):
			w.Write(page)
		default:
			return testlog.Answer("/v1/", 404, []byte(`{"reason":"not-found","message":"no"}`))(w, r)
		}
		return true
	})
	for name, want := range map[string][]uint64{"mine": {0, 2, 4, 5, 7}, "absent": nil} {
		if e, err := l.crate(t, name); err != nil || !slices.Equal(indexes(e), want) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	// A page that one leaf shows to be empty shows too little, and it is the only one.
	absent := index.NamePrefix("default", "absent")
	list, page = fmt.Sprintf("%s264/%x\n", PagesLabel, absent.Bytes()), l.Tree.Page(absent, size, signed)
	if _, err := l.crate(t, "absent"); !errors.Is(err, ErrSeal) {
		t.Errorf("an empty page: %v", err)
	}
}

// leafWithManifest is an entry of about 1 KiB that carries a workspace's manifest of 1 MiB.
func leafWithManifest(name, version string) []byte {
	e := testlog.Must(entry.Parse(leafOfCrate(name, version, 1, 1)))
	e.Claim.(*entry.Source).Workspace = &entry.Workspace{Manifest: bytes.Repeat([]byte("#"), entry.MaxManifest)}
	return testlog.Must(e.Marshal())
}

// TestWhatEntriesInflateToIsCounted: a manifest of 1 MiB has 1 KiB in an entry.
func TestWhatEntriesInflateToIsCounted(t *testing.T) {
	l := newOwnerLog(t, leafWithManifest("mine", "1.0.0"), leafWithManifest("mine", "2.0.0"),
		leafWithManifest("mine", "3.0.0"))
	e, err := l.crate(t, "mine")
	fatalIfErr(t, err)
	for most, fits := range map[int]bool{7 * entry.MaxManifest: true, 2 * entry.MaxManifest: false} {
		again := &Everything{Checkpoint: e.Checkpoint, Rows: e.Rows}
		if err := again.fetch(t.Context(), l.client, index.NamePrefix("default", "mine"), most); (err == nil) != fits {
			t.Errorf("manifests that take 6 MiB, of which %d bytes are read: %v", most, err)
		}
	}
}

// TestAVersionOfManyRowsIsReadOnce: it takes two prefixes for each bit of its hash, and its rows are not copied and hashed
// for each.
func TestAVersionOfManyRowsIsReadOnce(t *testing.T) {
	l := newOwnerLog(t)
	for i := range 2000 {
		e := testlog.Must(entry.Parse(leafOfCrate("mine", "1.0.0", 1, byte(i))))
		e.Claim.(*entry.Source).Files[0] = byte(i >> 8)
		l.Tree.Append(testlog.Must(e.Marshal()))
	}
	l.Publish()
	size := l.Tree.Size()
	signed, snap := l.Sign(l.Tree, size, l.Witnesses...), l.Tree.Map(size)
	answers := map[index.Prefix][]byte{}
	ask := func(_ context.Context, under index.Prefix) ([]byte, error) {
		raw, known := answers[under]
		if !known {
			if n := len(slices.Collect(snap.Rows(under))); n <= 1500 {
				raw = l.Tree.Page(under, size, signed)
			}
			answers[under] = raw
		}
		if raw == nil {
			return nil, ErrManyRows
		}
		return raw, nil
	}
	read := func() int64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rows, err := (&pages{policy: l.policy, ask: ask}).all(t.Context(), index.NamePrefix("default", "mine"))
		runtime.ReadMemStats(&after)
		if err != nil || len(rows) != 2001 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		return int64(after.TotalAlloc-before.TotalAlloc) >> 20
	}
	read() // so that all answers are there
	if n := read(); n > 48 {
		t.Errorf("2001 rows of %d bytes take %d MiB", index.KeySize+40, n)
	}
}

// TestWhatALogTookOverIsToldFromWhatItHolds: it has no entry of a version of the log before it.
func TestWhatALogTookOverIsToldFromWhatItHolds(t *testing.T) {
	l := newOwnerLog(t)
	l.Tree.Continue("example.com/before", testlog.NewTree(leafOfCrate("other", "1.0.0", 1, 1), leafOfCrate("mine", "1.0.0", 2, 1)), 2, nil)
	l.Tree.Append(leafOfCrate("mine", "1.0.0", 3, 1), leafOfCrate("mine", "2.0.0", 4, 1))
	l.Publish()
	e, err := l.crate(t, "mine")
	fatalIfErr(t, err)
	if all := e.Inherited(); len(all) != 1 || all[0] != (index.Version{SHA256: [32]byte{2}, First: 1, Inherited: true}) {
		t.Errorf("it took over %+v", all)
	}
	for i, want := range []bool{true, false} {
		if v, void := e.Fixed(e.Entries[i].Entry.Subject); void != want || v.Inherited != want {
			t.Errorf("entry %d: %+v, void: %v", e.Entries[i].Index, v, void)
		}
	}
	size := len(l.Tree.Leaves[1]) + len(l.Tree.Leaves[2])
	for most, fits := range map[int]bool{size: true, size - 1: false} {
		again := &Everything{Checkpoint: e.Checkpoint, Rows: e.Rows}
		if err := again.fetch(t.Context(), l.client, index.NamePrefix("default", "mine"), most); (err == nil) != fits {
			t.Errorf("%d bytes of entries, of which %d are read: %v", size, most, err)
		}
	}
	l.Intercept(testlog.Answer("/tile/entries/000.p/4", http.StatusBadGateway, nil))
	if _, err := l.crate(t, "mine"); err == nil || errors.Is(err, ErrSeal) {
		t.Errorf("silence: %v", err)
	}
}
