package web

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/monitor/store"
)

// found is what a search lists: crates, then entries of all groups.
func found(v searchJSON) (crates []string, entries []uint64) {
	for _, c := range v.Crates {
		crates = append(crates, c.Crate)
	}
	for _, r := range v.Results {
		entries = append(entries, indexes(r.Entries)...)
	}
	slices.Sort(entries)
	return crates, slices.Compact(entries)
}

// TestSearchFindsWhatPeopleType: each form of a question that users of other tools type.
func TestSearchFindsWhatPeopleType(t *testing.T) {
	w := healthy(t, "solo: Example Org")
	for i, u := range []string{"https://git.example.com/A/Hello.git", "https://git.example.com/a/hello/tree/main/inner"} {
		fatalIf(t, w.store.PutCrate(t.Context(), store.Crate{Log: w.logs[0].ID, Index: int64(i), Repository: u}))
	}
	s := w.server()
	id := fixture.Commit(t, "0.1.0")
	commit := hex.EncodeToString(id[:])
	e := read[entryDetail](s, "/e/2.json")
	index := func(name, version string) []uint64 {
		return indexes(read[versionJSON](s, "/c/"+name+"/"+version+".json").Entries)
	}
	hello, both := []string{"hello-proof"}, []uint64{0, 2}
	for q, want := range map[string]struct {
		crates  []string
		entries []uint64
	}{
		commit: {nil, []uint64{0, 1}}, strings.ToUpper(commit): {nil, []uint64{0, 1}}, commit[:7]: {nil, []uint64{0, 1}}, commit[:20]: {nil, []uint64{0, 1}},
		e.Checksum: {nil, []uint64{2}}, e.Checksum[:8]: {nil, []uint64{2}}, "sha256:" + e.Checksum: {nil, []uint64{2}}, e.Leaf: {nil, []uint64{2}}, e.Leaf[:9]: {nil, []uint64{2}},
		" 2 ": {nil, []uint64{2}}, "#2": {nil, []uint64{2}}, "4711": {}, "4,711": {}, "none": {},
		"hello-inner": {[]string{"hello-inner"}, []uint64{1}}, "hello": {[]string{"hello-inner", "hello-proof"}, nil},
		"HELLO": {[]string{"hello-inner", "hello-proof"}, nil}, "Hello_Proof": {hello, both}, "hello-p": {hello, nil},
		"hello-proof 0.1.1": {hello, []uint64{2}}, "hello_proof@0.1.1": {hello, []uint64{2}}, "hello-proof v0.1.1": {hello, []uint64{2}},
		"hello-proof@0.1": {hello, both}, `hello-proof = "0.1.1"`: {hello, []uint64{2}}, `hello-proof = { version = "=0.1.1", features = [] }`: {hello, []uint64{2}},
		"hello-proof-0.1.1.crate": {hello, []uint64{2}}, "hello-proof-0.1.1": {hello, []uint64{2}}, "hello-proof 9.9.9": {hello, nil}, "`hello-proof`": {hello, both},
		"copper-io":                       {[]string{"copper_io"}, indexes(allEntries(t, s, "/v1/entries?crate=copper_io&order=newest&limit=20")[:0])},
		"https://git.example.com/a/hello": {nil, []uint64{0, 1}}, "git.example.com/a/hello/": {nil, []uint64{0, 1}}, "git@git.example.com:a/hello.git": {nil, []uint64{0, 1}},
		"https://git.example.com/a/hello/commit/" + commit: {nil, []uint64{0, 1}}, "git+https://git.example.com/a/none?rev=" + commit[:9]: {nil, []uint64{0, 1}},
		"https://git.example.com/a/hell": {}, "https://git.example.com/nordic/fjord": {[]string{"fjord"}, nil},
		"is hello-proof safe to use?": {hello, nil},
		"fjord 1.12.1":                {[]string{"fjord"}, index("fjord", "1.12.1")},
	} {
		a := s.must("/search?q=" + url.QueryEscape(q))
		v := read[searchJSON](s, "/search.json?q="+url.QueryEscape(q))
		crates, entries := found(v)
		if q == "copper-io" {
			entries = nil
		}
		if !slices.Equal(crates, want.crates) || !slices.Equal(entries, want.entries) || v.Problem != "" {
			t.Errorf("%q: %v %v %q, want %v %v", q, crates, entries, v.Problem, want.crates, want.entries)
		}
		if !strings.Contains(a.body, "What can be asked") {
			t.Errorf("%q: the page does not say what can be asked", q)
		}
	}
	v := read[searchJSON](s, "/search.json?q=hello_PROOF")
	if c := v.Crates[0]; c != (crateHit{"hello-proof", 2, 2, "0.1.1", "/c/hello-proof"}) {
		t.Errorf("%+v", c)
	}
	for _, q := range []string{"???", strings.Repeat("x ", 300), "what is that", "\u202e<b>"} {
		if v := read[searchJSON](s, "/search.json?q="+url.QueryEscape(q)); v.Problem == "" {
			t.Errorf("%q is understood as %+v", q, v)
		}
	}
}

func TestASearchIsBounded(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	var rows []store.Entry
	one := made(t, "wide", "1.0.0")
	for i := range 3 * maxNames {
		row := one
		row.Name, row.Version = fmt.Sprintf("wide%03d", i), "1.0.0"
		rows = append(rows, row)
	}
	w.append(w.logs[0], rows...)
	s := w.server()
	v := read[searchJSON](s, "/search.json?q=wide")
	if len(v.Crates) != maxNames || !v.More {
		t.Errorf("%d crates, more: %v", len(v.Crates), v.More)
	}
	v = read[searchJSON](s, "/search.json?q="+hex.EncodeToString(one.SHA256[:]))
	if len(v.Results) != 1 || len(v.Results[0].Entries) != searchLimit || !v.Results[0].More {
		t.Errorf("%d results", len(v.Results))
	}
}

func FuzzSearch(f *testing.F) {
	w := newWorld(f, "solo: Example Org")
	s := w.server()
	for _, q := range []string{"serde@1", "https://a.example/b/commit/0123456", `x = { version = "1" }`, "git@h.example:a/b", "0x1234567", "a-1.2.3.crate"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		if a := s.get("/search.json?q=" + url.QueryEscape(q)); a.code != 200 && a.code != 400 {
			t.Errorf("%q: %d %s", q, a.code, a.body)
		}
	})
}
