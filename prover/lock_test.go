package prover

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/opening"
)

// lockOf writes a Cargo.lock: packages are "name version", of a registry, or "name version local".
func lockOf(packages ...string) string {
	text := "version = 4\n"
	for _, p := range packages {
		f := strings.Fields(p)
		text += fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\n", f[0], f[1])
		if len(f) == 2 {
			text += fmt.Sprintf("source = \"registry+https://index.example/\"\nchecksum = \"%064x\"\n", p)
		}
	}
	return text
}

// workspaceWithLock is a workspace with a member, and what the member's .crate has.
func workspaceWithLock(t *testing.T) (w *workshop, files map[string]string) {
	w = newWorkshop(t)
	manifest := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"
	w.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n",
		"Cargo.lock", lockOf("member 1.0.0 local", "other 1.0.0 local", "log 0.4.1", "libc 0.2.5", "libc 0.1.0"),
		"crates/member/Cargo.toml", manifest, "crates/member/src/main.rs", "fn main() {}\n")
	return w, map[string]string{"Cargo.toml": manifest, "Cargo.toml.orig": manifest, "src/main.rs": "fn main() {}\n",
		"Cargo.lock": lockOf("member 1.0.0 local", "log 0.4.1", "libc 0.2.5")}
}

// TestALockFileIsDerivedFromTheWorkspaces is proved and opened from end to end, and tampered with.
func TestALockFileIsDerivedFromTheWorkspaces(t *testing.T) {
	w, files := workspaceWithLock(t)
	src := w.source("crates/member")
	c := pack(t, "member", files)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	root, err := os.ReadFile(filepath.Join(w.dir, "Cargo.lock"))
	fatalIf(t, err)
	if l := p.Claim.Lock; l == nil || l.Path != "" || p.LockWhy != nil || !slices.Equal(p.Claim.Unproven, []string{"Cargo.lock"}) {
		t.Fatalf("claim: %+v, %v", p.Claim, p.LockWhy)
	}
	if said := p.Unproven(); len(said) != 0 {
		t.Errorf("said of the lock file: %q", said)
	}
	proves(t, c, p)

	raw, err := p.Opening()
	fatalIf(t, err)
	list, err := c.Check(p.Subject, p.Claim)
	fatalIf(t, err)
	o, err := opening.Check(raw, p.Claim, list)
	fatalIf(t, err)
	if !bytes.Equal(o.Lock, root) {
		t.Errorf("the opening has the lock file %q", o.Lock)
	}
	if by, err := c.LockChosenBy(p.Claim, o.Lock); by != crate.ByCommit {
		t.Errorf("the versions are chosen by %s: %v", by, err)
	}

	for name, tell := range map[string]func(*entry.Source){
		"another lock file of the commit": func(s *entry.Source) { s.Lock.Blob[0] ^= 1 },
		"no lock file":                    func(s *entry.Source) { s.Lock = nil },
		"another directory":               func(s *entry.Source) { s.Lock.Path = "crates" },
		"the package's own":               func(s *entry.Source) { s.Lock.Path = s.Path },
	} {
		claim := *p.Claim
		claim.Lock = &entry.Lock{Path: p.Claim.Lock.Path, Blob: p.Claim.Lock.Blob}
		tell(&claim)
		if _, err := c.Check(p.Subject, &claim); !errors.Is(err, crate.ErrFiles) {
			t.Errorf("%s: %v", name, err)
		}
		// With the digest of its own list it is another claim, whose opening nobody has.
		list, err := c.List(&claim)
		fatalIf(t, err)
		claim.Files = list.Digest
		if o, err := opening.Check(raw, &claim, list); err == nil {
			t.Errorf("%s: opened as %+v", name, o)
		}
	}

	// Another commit's.
	w.write("Cargo.lock", string(root)+"# edited\n")
	other, err := w.plan(c, w.source("crates/member"))
	fatalIf(t, err)
	if by, err := c.LockChosenBy(other.Claim, o.Lock); by != crate.ByPackager || err == nil {
		t.Errorf("the lock file of another commit: %s, %v", by, err)
	}
}

// TestALockFileThatDoesNotFollowIsSaidWithItsReason: the crate is proved all the same.
func TestALockFileThatDoesNotFollowIsSaidWithItsReason(t *testing.T) {
	for name, x := range map[string]struct {
		edit func(w *workshop, files map[string]string)
		want string
	}{
		"a package more":      {func(_ *workshop, f map[string]string) { f["Cargo.lock"] += lockOf("evil 1.0.0")[len("version = 4\n"):] }, "that has no evil 1.0.0"},
		"an older version":    {func(_ *workshop, f map[string]string) { f["Cargo.lock"] = lockOf("member 1.0.0 local", "log 0.4.0") }, "that has no log 0.4.0"},
		"a published sibling": {func(_ *workshop, f map[string]string) { f["Cargo.lock"] = lockOf("member 1.0.0 local", "other 1.0.0") }, "other 1.0.0 comes from a registry, and is a package of the repository"},
		"none in the commit":  {func(w *workshop, _ map[string]string) { fatalIf(w.t, os.Remove(filepath.Join(w.dir, "Cargo.lock"))) }, "has no Cargo.lock where cargo would look"},
		"executable":          {func(w *workshop, _ map[string]string) { w.chmod(0o755, "Cargo.lock") }, "has the mode 100755 in the commit; a proof can show 100644 there only"},
		"a directory": {func(w *workshop, _ map[string]string) {
			fatalIf(w.t, os.Remove(filepath.Join(w.dir, "Cargo.lock")))
			w.write("Cargo.lock/file", "")
		}, "has the mode 40000"},
		"a link out of the repository": {func(w *workshop, _ map[string]string) {
			fatalIf(w.t, os.Remove(filepath.Join(w.dir, "Cargo.lock")))
			w.link("Cargo.lock", "../Cargo.lock")
		}, "leads out of the repository"},
		"too large": {func(w *workshop, _ map[string]string) { w.write("Cargo.lock", strings.Repeat("#", crate.MaxLock+1)) }, "Cargo.lock of the commit: "},
		"not TOML":  {func(w *workshop, _ map[string]string) { w.write("Cargo.lock", "<<<<<<< ours\n") }, "of the commit is no lock file"},
		"of a sibling": {func(w *workshop, f map[string]string) {
			fatalIf(w.t, os.Remove(filepath.Join(w.dir, "Cargo.lock")))
			w.write("crates/other/Cargo.lock", f["Cargo.lock"])
		}, "has no Cargo.lock where cargo would look"},
	} {
		w, files := workspaceWithLock(t)
		x.edit(w, files)
		c := pack(t, "member", files)
		p, err := w.plan(c, w.source("crates/member"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.Claim.Lock != nil || p.LockWhy == nil || !strings.Contains(p.LockWhy.Error(), x.want) {
			t.Errorf("%s: %+v, %v, want a word on %q", name, p.Claim.Lock, p.LockWhy, x.want)
			continue
		}
		if said := p.Unproven(); len(said) != 1 || !strings.Contains(said[0], "whoever packaged chose: "+p.LockWhy.Error()) {
			t.Errorf("%s: said is %q", name, said)
		}
		if _, err := c.Check(p.Subject, p.Claim); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if by, _ := c.LockChosenBy(p.Claim, nil); by != crate.ByPackager {
			t.Errorf("%s: the versions are chosen by %s", name, by)
		}
	}
}

// TestTheLockFileOfALonePackageIsItsOwn: beside the manifest, through a link, or not at all.
func TestTheLockFileOfALonePackageIsItsOwn(t *testing.T) {
	w, files := workspaceWithLock(t)
	w.write("Cargo.toml", "[workspace]\nexclude = [\"crates/member\"]\n",
		"crates/member/Cargo.lock", lockOf("member 1.0.0 local", "log 0.4.1", "libc 0.2.5", "dev 1.0.0"))
	c := pack(t, "member", files)
	p, err := w.plan(c, w.source("crates/member"))
	fatalIf(t, err)
	if l := p.Claim.Lock; l == nil || l.Path != "crates/member" {
		t.Errorf("claim: %+v, %v", l, p.LockWhy)
	}

	fatalIf(t, os.Remove(filepath.Join(w.dir, "crates/member/Cargo.lock")))
	w.link("crates/member/Cargo.lock", "../../Cargo.lock")
	p, err = w.plan(c, w.source("crates/member"))
	fatalIf(t, err)
	if l := p.Claim.Lock; l == nil || l.Path != "crates/member" || !slices.Equal(p.Claim.Links, []entry.Link{{Path: "crates/member/Cargo.lock", Target: "../../Cargo.lock"}}) {
		t.Fatalf("claim: %+v, %v", p.Claim, p.LockWhy)
	}
	proves(t, c, p)

	// The same file is proven, and needs no other.
	files["Cargo.lock"] = lockOf("member 1.0.0 local", "log 0.4.1")
	w.write("crates/member/Cargo.lock", files["Cargo.lock"])
	c = pack(t, "member", files)
	p, err = w.plan(c, w.source("crates/member"))
	fatalIf(t, err)
	if by, err := c.LockChosenBy(p.Claim, nil); by != crate.ByCommit || p.Claim.Lock != nil || p.Claim.Unproven != nil {
		t.Errorf("claim: %+v, chosen by %s: %v", p.Claim, by, err)
	}
}

// TestALockFileUnderAnUnprovenManifestIsNotDerived: the manifest says where the commit's is.
func TestALockFileUnderAnUnprovenManifestIsNotDerived(t *testing.T) {
	w, files := workspaceWithLock(t)
	src := w.source("crates/member")
	src.UnprovenManifest = true
	files["Cargo.toml.orig"] += "# edited\n"
	p, err := w.plan(pack(t, "member", files), src)
	fatalIf(t, err)
	if p.Claim.Lock != nil || p.LockWhy == nil || !strings.Contains(p.LockWhy.Error(), "Cargo.toml.orig") {
		t.Errorf("claim: %+v, %v", p.Claim, p.LockWhy)
	}
	if said := p.Unproven(); len(said) != 3 {
		t.Errorf("said is %q", said)
	}
}

// TestALockFileOfAnInheritingMemberStandsAtTheRoot, beside the manifest that the claim carries.
func TestALockFileOfAnInheritingMemberStandsAtTheRoot(t *testing.T) {
	w, files := workspaceWithLock(t)
	orig := strings.Replace(files["Cargo.toml"], `edition = "2021"`, "edition.workspace = true", 1)
	w.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\n",
		"crates/member/Cargo.toml", orig, "crates/Cargo.toml", "# no workspace\n", "crates/Cargo.lock", "version = 4\n")
	files["Cargo.toml.orig"] = orig
	c := pack(t, "member", files)
	p, err := w.plan(c, w.source("crates/member"))
	fatalIf(t, err)
	if l := p.Claim.Lock; l == nil || l.Path != "" || p.Claim.Workspace == nil {
		t.Fatalf("claim: %+v, %v", p.Claim, p.LockWhy)
	}
	proves(t, c, p)
}
