package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// ownedLeaf is an entry about a version whose .crate is content.
func ownedLeaf(name, version string, content byte, claim entry.Claim) []byte {
	return testlog.Must((&entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: [32]byte{content}},
		Claim:   claim, Proof: entry.Proof{Program: [32]byte{1}, Parts: [][]byte{{1}}},
	}).Marshal())
}

// TestAnOwnerIsToldAllOfHisCrate, and what a log cannot show, or leaves out.
func TestAnOwnerIsToldAllOfHisCrate(t *testing.T) {
	t.Chdir(t.TempDir())
	at := time.Unix(1.8e9, 0)
	t.Setenv("HOME", t.TempDir())
	serve := func(lie func(l *testlog.Log)) []string {
		t.Setenv("XDG_STATE_HOME", t.TempDir()) // of another reader: these logs have one key
		l := testlog.New("owned.example/log", 1, func() time.Time { return at })
		l.Tree.Append(ownedLeaf("mine", "1.0.0", 1, &entry.Source{Commit: [20]byte{7}, Path: "crates/mine", Unproven: []string{"Cargo.lock"}}),
			ownedLeaf("other", "1.0.0", 2, &entry.Source{}), ownedLeaf("MINE", "1.0.0+x", 3, &entry.Source{}),
			ownedLeaf("mine", "1.0.0", 1, &entry.Build{Binary: "app", Target: "x86_64-unknown-linux-gnu", Recipe: entry.Recipe1}))
		if lie != nil {
			lie(l)
		}
		l.Publish()
		server := httptest.NewServer(l)
		t.Cleanup(server.Close)
		file := filepath.Join(t.TempDir(), "trust.policy")
		fatalIf(t, os.WriteFile(file, l.Trust(server.URL), 0o600))
		return []string{"--trust", file}
	}
	run := func(want outcome.Code, args ...string) string {
		t.Helper()
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"owner"}, args...), &out, &errs); code != int(want) {
			t.Errorf("%q: exit code %d, want %d: %s%s", args, code, want, out.String(), errs.String())
		}
		return out.String() + errs.String()
	}
	holds := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
	}
	trust := serve(nil)
	text := run(outcome.OK, append(trust, "Mine")...)
	holds(text, "entry 0: mine@1.0.0, SHA-256 01000", "source of commit 0700000000000000000000000000000000000000, /crates/mine, without Cargo.lock\n",
		"entry 2: MINE@1.0.0+x, SHA-256 03000", "VOID: this log has 01000", " for it, by entry 0; source of commit",
		"entry 3: mine@1.0.0", "builders make app for x86_64-unknown-linux-gnu: 00000",
		"owned.example/log: these are all 3 entries about Mine, as of 2027-01-15T08:00:00Z\n")
	if strings.Contains(text, "other") {
		t.Errorf("of another crate: %s", text)
	}
	holds(run(outcome.OK, append(trust, "other")...), "this is the only entry about other, as of 2027")
	holds(run(outcome.OK, append(trust, "absent")...), "owned.example/log: there is no entry about absent in cargo's default registry "+
		"(--registry INDEX asks about another's), as of 2027")
	holds(run(outcome.OK, append(trust, "mine", "--registry", "sparse+https://r.example/")...),
		"owned.example/log: there is no entry about mine in the registry https://r.example, as of 2027")
	text = run(outcome.OK, append(trust, "mine", "--since", "3")...)
	if holds(text, "entry 3", "these are all 3 entries about mine, as of", "; 2 before entry 3 not shown"); strings.Contains(text, "entry 0: ") {
		t.Errorf("since 3: %s", text)
	}
	var answer struct{ Logs []ownedLog }
	fatalIf(t, json.Unmarshal([]byte(run(outcome.OK, append(trust, "mine", "--message-format", "json")...)), &answer))
	if len(answer.Logs) != 1 || len(answer.Logs[0].Entries) != 3 || answer.Logs[0].Size != 5 || !answer.Logs[0].AsOf.Equal(at) ||
		!answer.Logs[0].Entries[1].Void || answer.Logs[0].Entries[2].Binary != "app" {
		t.Errorf("%+v", answer)
	}

	// A log that goes back, or shows another tree.
	seen := os.Getenv("XDG_STATE_HOME")
	shorter := serve(func(l *testlog.Log) { l.Tree = testlog.NewTree(l.Tree.Leaves[:2]...); l.Tree.Seal() })
	other := serve(func(l *testlog.Log) {
		leaves := slices.Clone(l.Tree.Leaves)
		leaves[1] = ownedLeaf("another", "1.0.0", 2, &entry.Source{})
		l.Tree = testlog.NewTree(leaves...)
	})
	t.Setenv("XDG_STATE_HOME", seen)
	holds(run(outcome.Refused, append(shorter, "mine")...), "owned.example/log: it shows a tree of 3 leaves, as of 2027",
		"has shown one of 5 before")
	holds(run(outcome.Refused, append(other, "mine")...), "signed two trees of 5 entries", ".evidence")

	// What a log withholds, and what is not cosigned, is refused; a log that is not there was not asked.
	withheld := serve(func(l *testlog.Log) {
		l.Intercept(testlog.Answer("/v1/index", http.StatusNotFound, []byte(`{"reason":"not-found","message":"no"}`)))
	})
	holds(run(outcome.Refused, append(withheld, "mine")...), "owned.example/log: ", "does not hand out what its index has")
	holds(run(outcome.Unchecked, append(serve(func(l *testlog.Log) {
		l.Intercept(testlog.Answer("/v1/index", http.StatusInternalServerError, nil))
	}), "mine")...), "500")

	// A log that leaves an entry out of its index, and names it elsewhere.
	list := []byte(`{"registry":"default","versions":[{"name":"mine","version":"1.0.0","sha256":"01` + strings.Repeat("00", 31) + `","index":0}]}`)
	omits := serve(func(l *testlog.Log) {
		l.Tree.Omit(0)
		l.Tree.Omit(3)
		l.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v1/crates/mine" {
				return false
			}
			w.Write(list)
			return true
		})
	})
	holds(run(outcome.Refused, append(omits, "mine")...), "its index leaves out entry 0, which is about mine: that is not all",
		"the evidence is mine-0.index-omission.evidence")
	if text, err := os.ReadFile("mine-0.index-omission.evidence"); err != nil || !strings.Contains(string(text), "index-omission") {
		t.Errorf("the evidence: %v", err)
	}

	for want, args := range map[string][]string{
		"--offline forbids": append(trust, "mine", "--offline"), "is human or json": append(trust, "mine", "--message-format", "xml"),
		"takes one argument": trust, "crate name": append(trust, "no/name"), "no trust file": {"mine"},
	} {
		holds(run(outcome.Usage, args...), want)
	}
}
