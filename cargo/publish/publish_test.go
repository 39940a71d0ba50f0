package publish

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/crate"
	"cratelog/entry"
)

func TestARunThatEndedEarlyIsTakenUpWhereItStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	said := s.mustRun(dryRun)
	if s.forger.made != 1 || s.logged() != 0 || !strings.Contains(said, "nothing was logged or published") {
		t.Errorf("dry run: %d proofs, log of %d", s.forger.made, s.logged())
	}
	said = s.mustRun(logOnly)
	if s.forger.made != 1 || s.logged() != 1 || !strings.Contains(said, "Fresh hello-publish v0.1.0 is proved") {
		t.Errorf("log only: %d proofs, log of %d", s.forger.made, s.logged())
	}
	if got := s.arrived(); got != nil {
		t.Errorf("uploaded: %v", got)
	}
	s.reg.Refuse("not today")
	_, err := s.run()
	if err == nil || !strings.Contains(err.Error(), "run the same command again, and it goes on here") || !strings.Contains(s.out.String(), "not today") {
		t.Errorf("a registry that refuses: %v", err)
	}
	s.reg.Refuse("")
	said = s.mustRun()
	if got := s.arrived(); !slices.Equal(got, []string{"hello-publish 0.1.0"}) {
		t.Errorf("uploaded: %v", got)
	}
	if !strings.Contains(said, "uploaded what is logged, SHA-256 ") {
		t.Error("it does not say what was uploaded")
	}
	said = s.mustRun()
	if got := s.arrived(); got != nil || !strings.Contains(said, "published already, with these bytes") {
		t.Errorf("uploaded again: %v", got)
	}
	if s.forger.made != 1 || s.logged() != 1 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
	s.reg.Doctor("hello-publish", "0.1.0", func(line map[string]any) { line["features"] = map[string][]string{"evil": {}} })
	s.refused(nothing, "the registry's index does not say what the Cargo.toml of hello-publish v0.1.0 says", `"evil"`, "yank")
	left, err := filepath.Glob(filepath.Join(string(s.store()), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestWhatWasKeptIsCheckedAndMadeAgainIfItIsBroken(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.release("0.1.0")
	s.mustRun(dryRun)
	flip := func(name string, at int) {
		t.Helper()
		b, err := os.ReadFile(name)
		fatalIf(t, err)
		b[(at+len(b))%len(b)] ^= 1
		s.write(name, string(b))
	}
	for i, at := range []int{0, 40, -1} {
		flip(s.kept("0.1.0", credential.ExtEntry), at)
		s.mustRun(dryRun)
		if s.forger.made != i+2 {
			t.Errorf("the entry, byte %d flipped: %d proofs were made", at, s.forger.made)
		}
	}
	s.mustRun(logOnly)
	made := s.forger.made
	for _, at := range []int{0, 100, -3} {
		flip(s.kept("0.1.0", credential.ExtBundle), at)
		if said := s.mustRun(logOnly); !strings.Contains(said, "is logged already") {
			t.Errorf("the bundle, byte %d flipped: %s", at, said)
		}
	}
	// All of it lost: the log has it.
	fatalIf(t, os.RemoveAll(string(s.store())))
	s.mustRun(logOnly)
	if s.forger.made != made || s.logged() != 1 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
	// A new commit of the same files is another .crate, and so another proof.
	s.release("0.1.1")
	s.mustRun()
	if got := s.arrived(); s.forger.made != made+1 || !slices.Equal(got, []string{"hello-publish 0.1.1"}) {
		t.Errorf("the next version: %d proofs, uploaded %v", s.forger.made, got)
	}
}

func TestAWorkspaceIsPublishedInOrderAndNotHalf(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo package many times")
	}
	s := newSite(t)
	s.write(filepath.Join(s.dir, "Cargo.toml"), "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n[workspace.metadata.zkp]\nlog = \""+s.world.URL+"\"\n")
	on := func(dep string) string {
		return "[dependencies]\n" + dep + " = { version = \"0.1.0\", path = \"../" + dep + "\", registry-index = \"sparse+" + s.reg.Index + "\" }\n"
	}
	// The names are in the wrong order on purpose.
	s.pkg("crates/zz-base", "zz-base", "0.1.0", "[dev-dependencies]\naa-top = { path = \"../aa-top\" }\n")
	s.pkg("crates/mm-middle", "mm-middle", "0.1.0", on("zz-base"))
	s.pkg("crates/aa-top", "aa-top", "0.1.0", on("mm-middle"))
	s.pkg("crates/private", "private", "0.1.0", "publish = false\n")
	s.push()
	all := func(c *Config) { c.Selection.Workspace, c.Log = true, "" }
	// The last one cannot be proven: nothing is logged, nothing published.
	s.write(filepath.Join(s.dir, "crates", "aa-top", "src", "new.rs"), "")
	s.refused(all, "not everything is committed", "crates/aa-top/src/new.rs", "commit first")
	fatalIf(t, os.Remove(filepath.Join(s.dir, "crates", "aa-top", "src", "new.rs")))
	if got := s.arrived(); got != nil || s.logged() != 0 {
		t.Fatalf("half published: %v, log of %d", got, s.logged())
	}
	// The registry fails in the middle.
	// The registry has enough after two.
	var uploads atomic.Int32
	s.reg.Meddle(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || uploads.Add(1) <= 2 {
			return false
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	if _, err := s.run(all); err == nil || !strings.Contains(err.Error(), "cargo publish failed for aa-top v0.1.0") {
		t.Errorf("a registry with a limit: %v", err)
	}
	if got := s.arrived(); !slices.Equal(got, []string{"zz-base 0.1.0", "mm-middle 0.1.0"}) {
		t.Errorf("uploaded: %v", got)
	}
	s.reg.Meddle(nil)
	s.mustRun(all)
	if got := s.arrived(); !slices.Equal(got, []string{"aa-top 0.1.0"}) {
		t.Errorf("then uploaded: %v", got)
	}
	if s.forger.made != 3 || s.logged() != 3 {
		t.Errorf("%d proofs, log of %d", s.forger.made, s.logged())
	}
	// One member alone, which is published.
	if said := s.mustRun(func(c *Config) { c.Selection.Packages, c.Log = []string{"mm-*"}, "" }); !strings.Contains(said, "mm-middle v0.1.0 is published already") {
		t.Error(said)
	}
}

// TestAnIndexThatAsksForNoTokenGetsNone: it may be on another host than the registry, as cargo knows.
func TestAnIndexThatAsksForNoTokenGetsNone(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	s.reg.Meddle(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.Header.Get("Authorization") != "" {
			t.Errorf("%s asked for %s with the token", r.UserAgent(), r.URL.Path)
		}
		return false
	})
	s.mustRun()
	s.uploads(1)
}

// TestAnotherClaimAboutTheCrateIsInNobodysWay: anybody with the .crate can log one, as that all but its manifest is
// proven.
func TestAnotherClaimAboutTheCrateIsInNobodysWay(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	s.mustRun(dryRun)
	raw, err := os.ReadFile(s.kept("0.1.0", credential.ExtCrate))
	fatalIf(t, err)
	own, err := os.ReadFile(s.kept("0.1.0", credential.ExtEntry))
	fatalIf(t, err)
	other, err := entry.Parse(own)
	fatalIf(t, err)
	c, err := crate.Read(raw, "hello-publish", "0.1.0", crate.DefaultLimits)
	fatalIf(t, err)
	claim := other.Claim.(*entry.Source)
	claim.Unproven = []string{"Cargo.lock", "Cargo.toml", "Cargo.toml.orig"}
	list, err := c.List(claim)
	fatalIf(t, err)
	claim.Files = list.Digest
	fatalIf(t, s.forger.Forger.Prove(other, list.Bytes))
	b, err := other.Marshal()
	fatalIf(t, err)
	_, err = s.client().Submit(t.Context(), b, raw, nil)
	fatalIf(t, err)
	fatalIf(t, os.RemoveAll(filepath.Join(s.dir, "target")))

	said := s.mustRun()
	says(t, said, "the log has another claim about the same .crate", "Logged hello-publish v0.1.0 as entry 2")
	s.uploads(1)
	says(t, s.mustRun(), "hello-publish v0.1.0 is logged, as the bundle")
	fatalIf(t, os.RemoveAll(filepath.Join(s.dir, "target")))
	s.mustRun()
	if s.logged() != 2 {
		t.Errorf("log of %d", s.logged())
	}
}
