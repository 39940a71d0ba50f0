package web

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// builtRow is an entry about a build as the monitor stores it.
func builtRow(t testing.TB, e *entry.Entry) store.Entry {
	t.Helper()
	b := testlog.Must(e.Marshal())
	return store.Entry{LeafHash: tlog.RecordHash(b), Identity: testlog.Must(e.Identity()), Registry: e.Subject.Registry, Name: e.Subject.Name,
		Version: e.Subject.Version, SHA256: e.Subject.SHA256, Kind: e.Claim.Kind(), Program: e.Proof.Program, Verdict: store.OK, Data: b}
}

// TestPagesSayWhoBuiltWhat: by name, hidden, and of a set that nobody knows; and never that files are proven.
func TestPagesSayWhoBuiltWhat(t *testing.T) {
	w := newWorld(t, "solo: Example Org")
	log := w.logs[0]
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	vkey := testlog.Must(build.NewVKey("ann", key.Public())).String()
	named := &build.Set{Kind: build.Named, Name: "rebuilders", Members: []build.Member{{Name: "ann", Contact: "ann", VKey: vkey}}}
	hidden := &build.Set{Kind: build.Hidden, Name: "quiet", Members: []build.Member{{Name: "a", Contact: "a", Public: [32]byte{31: 1}},
		{Name: "b", Contact: "b", Public: [32]byte{31: 2}}}}
	strangers := &build.Set{Kind: build.Named, Name: "strangers", Members: named.Members}
	strangers.Members = append([]build.Member{{Name: "eve", Contact: "eve",
		VKey: testlog.Must(build.NewVKey("eve", ed25519.NewKeyFromSeed([]byte(strings.Repeat("e", 32))).Public())).String()}}, named.Members...)
	w.cfg.Sets = []*build.Set{named, hidden}
	source := made(t, "x", "1.0.0")
	subject := testlog.Must(entry.Parse(source.Data)).Subject
	claim := &entry.Build{Binary: "tool", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{0xaf}, Toolchain: [32]byte{0x70}, Recipe: entry.Recipe1}
	byName := testlog.Must(build.Sign(key, vkey, named, subject, claim))
	other := testlog.Must(build.Sign(key, vkey, strangers, subject, claim))
	c := *claim
	c.Root = hidden.Root()
	quiet := &entry.Entry{Subject: subject, Claim: &c, Proof: entry.Proof{Program: [32]byte{7}, Parts: [][]byte{make([]byte, 160)}}}
	w.append(log, source, builtRow(t, byName), builtRow(t, quiet), builtRow(t, other))
	w.head(log, 3)
	w.verify(log)
	s := w.server()
	for index, want := range []struct {
		who, builder, set string
		page              []string
	}{
		{},
		{"ann, a member of the set of builders rebuilders, which has 1", "ann", "rebuilders", []string{"So says ann, a member of", "note, build/1", "no key: builders sign with their own"}},
		{"a member of the set of builders quiet, which has 2", "", "quiet", []string{"hidden, of the set quiet (2 members)", "This monitor does not know the program"}},
		{"ann, a member of a set of builders that this monitor does not know", "ann", "", []string{"ann, of a set that this monitor does not know"}},
	} {
		path := []string{"/e/0", "/e/1", "/e/2", "/e/3"}[index]
		v := read[entryDetail](s, "/v1/entries/"+path[3:])
		_, text := parseHTML(t, path, s.must(path).body)
		if index == 0 {
			if v.Build != nil || !strings.Contains(text, "Digest of the file list") {
				t.Errorf("a source: %+v\n%s", v.Build, text)
			}
			continue
		}
		if v.Claim != "build" || v.Commit != "" || v.Build == nil || v.Build.Who != want.who || v.Build.Builder != want.builder || v.Build.Set != want.set ||
			v.Build.Artifact[:2] != "af" || v.Proof != nil {
			t.Errorf("%s: %+v", path, v.Build)
		}
		for _, words := range append(want.page, "The binary tool that the standard compiler makes of the .crate", "tool for x86_64-unknown-linux-gnu") {
			if !strings.Contains(text, words) {
				t.Errorf("%s: no %q in\n%s", path, words, text)
			}
		}
		if strings.Contains(text, "Every proven file") || strings.Contains(text, "Git commit") {
			t.Errorf("%s speaks of files:\n%s", path, text)
		}
	}
	_, text := parseHTML(t, "/c/x/1.0.0", s.must("/c/x/1.0.0").body)
	for _, words := range []string{"build of tool by ann of rebuilders:", "build of tool by a hidden builder of quiet:", "build of tool by ann:"} {
		if !strings.Contains(text, words) {
			t.Errorf("no %q in\n%s", words, text)
		}
	}
	if a := s.must("/v1/export.csv?crate=x"); !strings.Contains(a.body, ",tool,af00") || !strings.Contains(a.body, ",ann,entry,\n") {
		t.Error(a.body)
	}
	if a := s.must("/c/x.atom"); !strings.Contains(a.body, "A build of x 1.0.0 was logged as entry 1") {
		t.Error(a.body)
	}
}
