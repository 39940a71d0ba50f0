package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
)

// TestBuildsSurviveAKill: what was answered about builds is there after a SIGKILL, lists and evidence
// too, and settings that would not show it are refused.
func TestBuildsSurviveAKill(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	vkey := testlog.Must(build.NewVKey("ann", key.Public())).String()
	set := &build.Set{Kind: build.Named, Name: "rebuilders", Members: []build.Member{{Name: "ann", Contact: "ann", VKey: vkey}}}
	id := strings.Repeat("ab", 32)
	section := fmt.Sprintf("\n[builds]\nsets = [\"ours.builders\"]\ntoolchains = [%q]\nenvironments = [%q]\n", id, id)

	s := newSite(t, "")
	f := s.program("a", "solo: us")
	programs := "programs = [\"a.program\"]\n"
	s.settings(programs + section)
	s.write("ours.builders", testlog.Must(set.Marshal()))
	raw, e, err := f.Crate("alpha", "1.0.0", "// alpha")
	fatalIf(t, err)
	list := build.List{{Registry: entry.DefaultRegistry, Name: "libc", Version: "0.2.1", SHA256: [32]byte{9}}}.Marshal()
	says := func(artifact byte) []byte {
		c := &entry.Build{Binary: "alpha", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{artifact}, Recipe: entry.Recipe1, Compiled: sha256.Sum256(list)}
		ids := testlog.Must(ids([]string{id}))
		c.Toolchain, c.Environment = ids[0], ids[0]
		return testlog.Must(testlog.Must(build.Sign(key, vkey, set, e.Subject, c)).Marshal())
	}
	p := s.start("logd", "serve")
	c := &client.Log{URL: p.url}
	source := testlog.Must(c.Submit(t.Context(), testlog.Must(e.Marshal()), raw, nil))
	bundle := testlog.Must(c.SubmitBuild(t.Context(), says(1), list, source))
	if i := s.bundleIndex(bundle, says(1)); i != 2 {
		t.Errorf("the build is entry %d", i)
	}
	_, err = c.SubmitBuild(t.Context(), says(2), list, nil)
	var refused *client.SubmitError
	if !errors.As(err, &refused) || refused.Reason != "builder-contradiction" {
		t.Fatalf("%v", err)
	}
	p.kill()

	p = s.start("logd", "serve")
	c = &client.Log{URL: p.url}
	if got := testlog.Must(c.CompiledList(t.Context(), sha256.Sum256(list))); string(got) != string(list) {
		t.Errorf("the list is %q", got)
	}
	if rows := testlog.Must(c.Builds(t.Context(), e.Subject)); len(rows) != 1 || rows[0].Artifact != [32]byte{1} {
		t.Errorf("%+v", rows)
	}
	files := testlog.Must(c.Contradictions(t.Context(), 0, 9))
	if len(files) != 1 {
		t.Fatalf("%d contradictions", len(files))
	}
	convicts := testlog.Must(evidence.Verify(testlog.Must(evidence.Parse(files[0].File)), evidence.Keys{}, nil))
	if convicts.Who != "builder ann" {
		t.Errorf("%+v", convicts)
	}
	p.stop()

	root := fmt.Sprintf("%x", set.Root())
	s.wantNoStart(programs, "name the set of builders with the root "+root)
	s.wantNoStart(programs+strings.Replace(section, "ours.", "none.", 1), "none.builders")
	s.wantNoStart(programs+section+"withdrawn = [\"A\"]\n", "[builds] withdrawn: \"A\" is no id")
	s.wantNoStart(programs+section+"withdrawn = [\""+id+"\"]\n", "keep its file there")
	s.wantNoStart(programs+strings.Replace(section, id, "x", 1), "[builds] toolchains: \"x\" is no id")
	s.wantNoStart(programs+section+"targets = []\n", "targets")
	s.settings(programs + section + "withdrawn = [\"" + root + "\"]\n")
	p = s.start("logd", "serve")
	c = &client.Log{URL: p.url}
	testlog.Must(c.SubmitBuild(t.Context(), says(1), list, nil)) // it stands
	p.stop()
}
