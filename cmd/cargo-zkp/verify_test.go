package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/prover"
	"cratelog/prover/git"
)

// TestAnOpeningBesideTheBundleIsCheckedAndTold: a true proof, and the objects of a real repository.
func TestAnOpeningBesideTheBundleIsCheckedAndTold(t *testing.T) {
	dir := t.TempDir()
	raw := helloProof(t)
	l := testlog.New("log.example/x", 1, time.Now)
	l.Add(fixture.Read(t, "hello-proof-0.1.0.entry"))
	for name, content := range map[string][]byte{
		"hello-proof-0.1.0.crate":               raw,
		"hello-proof-0.1.0" + verdict.BundleExt: l.Tree.Bundle(0, 2, l.Sign(l.Tree, 2, l.Witnesses...)),
		"x.policy":                              l.Trust("https://log.example"),
		"zkp.toml":                              []byte("version = 1\ntrust = [\"x.policy\"]\ndevelopment = true\nopening = \"required\"\n"),
	} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	verify := func(code int, words ...string) {
		t.Helper()
		var out bytes.Buffer
		got := run(t.Context(), []string{"zkp", "verify", "-v", "--policy", filepath.Join(dir, "zkp.toml"),
			filepath.Join(dir, "hello-proof-0.1.0.crate")}, &out, &out)
		if got != code {
			t.Errorf("exit %d, want %d\n%s", got, code, &out)
		}
		for _, w := range words {
			if !strings.Contains(out.String(), w) {
				t.Errorf("it does not say %q:\n%s", w, &out)
			}
		}
	}
	verify(3, "no opening of hello-proof 0.1.0 is at hand", "hello-proof-0.1.0.opening")

	repo, err := git.Open(t.Context(), fixture.Repo(t))
	fatalIf(t, err)
	defer repo.Close()
	c, err := crate.Read(raw, "hello-proof", "0.1.0", crate.DefaultLimits)
	fatalIf(t, err)
	plan, err := prover.NewPlan(t.Context(), c, repo, prover.Source{})
	fatalIf(t, err)
	opened, err := plan.Opening()
	fatalIf(t, err)
	at := filepath.Join(dir, "hello-proof-0.1.0"+verdict.OpeningExt)
	fatalIf(t, os.WriteFile(at, opened, 0o644))
	verify(0, "the commit's own objects show it, without the proof", "nobody has signed the commit", "in the commit and not in the crate: ",
		"is the source of commit", "development -- anyone could forge")

	opened[len(opened)-1] ^= 1
	fatalIf(t, os.WriteFile(at, opened, 0o644))
	verify(3, "the opening of hello-proof 0.1.0 at hand does not do (not an opening of this claim")
}
