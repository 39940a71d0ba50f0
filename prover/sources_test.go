package prover

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/prover/git"
)

// workshop is a git repository made for one test.
type workshop struct {
	t   *testing.T
	dir string
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{t, t.TempDir()}
	w.git("init", "-q", "--object-format=sha1")
	return w
}

func (w *workshop) git(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (w *workshop) write(path, content string) {
	w.t.Helper()
	to := filepath.Join(w.dir, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *workshop) link(path, target string) {
	w.t.Helper()
	if err := os.Symlink(target, filepath.Join(w.dir, path)); err != nil {
		w.t.Fatal(err)
	}
}

// commit commits everything and returns the commit's id.
func (w *workshop) commit() [20]byte {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "work")
	id, err := hex.DecodeString(w.git("rev-parse", "HEAD"))
	if err != nil {
		w.t.Fatal(err)
	}
	return [20]byte(id)
}

func (w *workshop) plan(c *crate.Crate, src Source) (*Plan, error) {
	w.t.Helper()
	repo, err := git.Open(w.t.Context(), w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { repo.Close() })
	return NewPlan(w.t.Context(), c, repo, src)
}

// pack makes a .crate as cargo would, of the given contents by path.
func pack(t *testing.T, name, version string, files map[string]string) *crate.Crate {
	t.Helper()
	return packModes(t, name, version, files, nil)
}

// packModes gives some files another mode than 644.
func packModes(t *testing.T, name, version string, files map[string]string, modes map[string]int64) *crate.Crate {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	var paths []string
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		h := &tar.Header{Format: tar.FormatGNU, Typeflag: tar.TypeReg, Mode: 0o644,
			Name: name + "-" + version + "/" + p, Size: int64(len(files[p]))}
		if mode, ok := modes[p]; ok {
			h.Mode = mode
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[p])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	c, err := crate.Read(out.Bytes(), name, version, crate.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// linkedRepo has a package at "linked" whose files are reached in every way that
// git and cargo know. The submodule's files are below zlib/.
func linkedRepo(t *testing.T) (w, sub *workshop, files map[string]string, commit [20]byte) {
	sub = newWorkshop(t)
	sub.write("zlib.c", "int z;")
	sub.write("deep/z.h", "#pragma once")
	sub.commit()

	w = newWorkshop(t)
	w.write("LICENSE", "do what you like")
	w.write("README.md", "# all of it")
	w.write("core/src/lib.rs", "pub mod a;")
	w.write("core/src/a/mod.rs", "// a")
	manifest := "[package]\nname = \"linked\"\nversion = \"1.0.0\"\nreadme = \"../README.md\"\n"
	w.write("linked/Cargo.toml", manifest)
	w.link("linked/LICENSE", "../LICENSE")  // a file
	w.link("linked/src", "../shortcut/src") // a directory, through another link
	w.link("shortcut", "./core/../core")
	w.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", sub.dir, "linked/zlib")
	commit = w.commit()
	files = map[string]string{
		"Cargo.toml": manifest, "Cargo.toml.orig": manifest, "LICENSE": "do what you like", "README.md": "# all of it",
		"src/lib.rs": "pub mod a;", "src/a/mod.rs": "// a", "zlib/zlib.c": "int z;", "zlib/deep/z.h": "#pragma once",
	}
	return w, sub, files, commit
}

func TestFilesBehindLinksAndInSubmodulesAreProven(t *testing.T) {
	w, sub, files, commit := linkedRepo(t)
	path := "linked"
	src := Source{Commit: &commit, Path: &path, Submodule: func(ctx context.Context, path string) (*git.Repo, error) {
		if path != "linked/zlib" {
			return nil, nil
		}
		r, err := git.Open(ctx, sub.dir)
		t.Cleanup(func() { r.Close() })
		return r, err
	}}
	c := pack(t, "linked", "1.0.0", files)
	p, err := w.plan(c, src)
	if err != nil {
		t.Fatal(err)
	}
	want := []entry.Link{{Path: "linked/LICENSE", Target: "../LICENSE"}, {Path: "linked/src", Target: "../shortcut/src"},
		{Path: "shortcut", Target: "./core/../core"}}
	if !slices.Equal(p.Claim.Links, want) {
		t.Errorf("links: %v", p.Claim.Links)
	}
	if !slices.Equal(p.Claim.Submodules, []string{"linked/zlib"}) || !slices.Equal(p.Claim.Outside, []string{"README.md"}) || p.Claim.Unproven != nil {
		t.Errorf("claim: %+v", p.Claim)
	}
	e, err := keys(t).Prove(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(e.Subject, p.Claim); err != nil {
		t.Error(err)
	}

	// Without the submodule's repository, and with a wrong file behind each way.
	src.Submodule = nil
	if _, err := w.plan(c, src); err == nil || !strings.Contains(err.Error(), "zlib/zlib.c: linked/zlib is a submodule, whose repository is not at hand") {
		t.Errorf("without the submodule: %v", err)
	}
	delete(files, "zlib/zlib.c")
	delete(files, "zlib/deep/z.h")
	for _, f := range []string{"LICENSE", "README.md", "src/a/mod.rs"} {
		good := files[f]
		files[f] += "!"
		var u *UnprovableError
		_, err := w.plan(pack(t, "linked", "1.0.0", files), src)
		if !errors.As(err, &u) || len(u.Files) != 1 || u.Files[0].File != f {
			t.Errorf("%s changed: %v", f, err)
		}
		files[f] = good
	}
}

// TestClaimsAboutPlacesMustBeTrueAndNeeded attacks what a claim says of links,
// submodules and outside files: the crate's check sees it, as the list differs.
func TestClaimsAboutPlacesMustBeTrueAndNeeded(t *testing.T) {
	w, _, files, commit := linkedRepo(t)
	delete(files, "zlib/zlib.c")
	delete(files, "zlib/deep/z.h")
	path := "linked"
	c := pack(t, "linked", "1.0.0", files)
	p, err := w.plan(c, Source{Commit: &commit, Path: &path})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(p.Subject, p.Claim); err != nil {
		t.Fatal(err)
	}
	for _, lie := range []struct {
		name, want string
		tell       func(s *entry.Source)
	}{
		{"a link left out", "not those that the claim is about", func(s *entry.Source) { s.Links = s.Links[1:] }},
		{"a link to elsewhere", "two different files", func(s *entry.Source) { s.Links[0].Target = "../core/src/lib.rs" }},
		{"a link nobody needs", "no file of the crate needs", func(s *entry.Source) { s.Links = append(s.Links, entry.Link{Path: "x", Target: "y"}) }},
		{"a link to an absolute path", "absolute path", func(s *entry.Source) { s.Links[0].Target = "/LICENSE" }},
		{"a link out of the repository", "out of the repository", func(s *entry.Source) { s.Links[0].Target = "../../LICENSE" }},
		{"a link to the root", "root of the repository", func(s *entry.Source) { s.Links[0].Target = ".." }},
		{"a link to itself", "more than 40 symbolic links", func(s *entry.Source) { s.Links[0].Target = "LICENSE" }},
		{"a link below a file", "directory and a file", func(s *entry.Source) { s.Links[0].Target = "Cargo.toml/x" }},
		{"a submodule nobody needs", "holds no file", func(s *entry.Source) { s.Submodules = []string{"linked/zlib"} }},
		{"a link as a submodule", "holds no file", func(s *entry.Source) { s.Submodules = []string{"linked/src"} }},
		{"a directory as a submodule", "not those that the claim is about", func(s *entry.Source) { s.Submodules = []string{"linked"} }},
		{"outside left out", "not those that the claim is about", func(s *entry.Source) { s.Outside = nil }},
		{"outside that the manifest does not name", "neither readme nor license-file", func(s *entry.Source) { s.Outside = []string{"LICENSE", "README.md"} }},
		{"outside that is no file", "not a proven file", func(s *entry.Source) { s.Outside = []string{"LICENSE-MIT", "README.md"} }},
	} {
		claim := *p.Claim
		claim.Links = slices.Clone(claim.Links)
		lie.tell(&claim)
		if err := c.Check(p.Subject, &claim); err == nil {
			t.Errorf("%s: believed", lie.name)
		} else if !strings.Contains(err.Error(), lie.want) {
			t.Errorf("%s: %v", lie.name, err)
		}
	}
}

// TestManifestsOfWorkspaceMembersAreDerived proves a member that inherits from a
// workspace two directories up, and refuses a dependency that only Cargo.toml has.
func TestManifestsOfWorkspaceMembersAreDerived(t *testing.T) {
	w := newWorkshop(t)
	root := "[workspace]\nmembers = [\"crates/*\"]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\nlicense = \"MIT\"\n[workspace.dependencies]\nlog = \"0.4\"\n"
	orig := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nedition.workspace = true\nlicense.workspace = true\n[dependencies]\nlog.workspace = true\n"
	normalized := `[package]
edition = "2021"
name = "member"
version = "1.0.0"
license = "MIT"
resolver = "2"

[lib]
name = "member"
path = "src/lib.rs"

[dependencies.log]
version = "0.4"
`
	w.write("Cargo.toml", root)
	w.write("crates/Cargo.toml", "# no manifest of a workspace\n[package]\nname = \"x\"\n")
	w.write("crates/member/Cargo.toml", orig)
	w.write("crates/member/src/lib.rs", "")
	commit := w.commit()
	path := "crates/member"
	files := map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""}
	c := pack(t, "member", "1.0.0", files)
	p, err := w.plan(c, Source{Commit: &commit, Path: &path})
	if err != nil {
		t.Fatal(err)
	}
	if ws := p.Claim.Workspace; ws == nil || ws.Path != "" || string(ws.Manifest) != root || p.Claim.Unproven != nil {
		t.Fatalf("claim: %+v", p.Claim)
	}
	if _, err := keys(t).Prove(t.Context(), p, nil); err != nil {
		t.Fatal(err)
	}
	claim := *p.Claim
	claim.Workspace = &entry.Workspace{Manifest: []byte(root + "[workspace.dependencies.evil]\nversion = \"1\"\n")}
	if err := c.Check(p.Subject, &claim); !errors.Is(err, crate.ErrFiles) {
		t.Errorf("another workspace than the commit's: %v", err)
	}

	files["Cargo.toml"] += "[dependencies.proc-macro1]\nversion = \"1\"\n"
	evil := pack(t, "member", "1.0.0", files)
	_, err = w.plan(evil, Source{Commit: &commit, Path: &path})
	var u *UnprovableError
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "dependencies.proc-macro1") {
		t.Errorf("a dependency added: %v", err)
	}
	p, err = w.plan(evil, Source{Commit: &commit, Path: &path, UnprovenManifest: true})
	if err != nil || !slices.Equal(p.Claim.Unproven, []string{"Cargo.toml"}) {
		t.Errorf("listed as unproven: %v", err)
	}
}

// TestAWorkspaceBehindALinkIsFound names the workspace's root with package.workspace,
// through a link whose text the claim must carry.
func TestAWorkspaceBehindALinkIsFound(t *testing.T) {
	w := newWorkshop(t)
	orig := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nworkspace = \"../shortcut\"\nedition.workspace = true\n"
	w.write("root/Cargo.toml", "[workspace]\nmembers = [\"../member\"]\n[workspace.package]\nedition = \"2021\"\n")
	w.link("shortcut", "root")
	w.write("member/Cargo.toml", orig)
	w.write("member/src/lib.rs", "")
	commit := w.commit()
	path := "member"
	normalized := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nedition = \"2021\"\nresolver = \"1\"\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	c := pack(t, "member", "1.0.0", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""})
	p, err := w.plan(c, Source{Commit: &commit, Path: &path})
	if err != nil {
		t.Fatal(err)
	}
	if ws := p.Claim.Workspace; ws == nil || ws.Path != "shortcut" || !slices.Equal(p.Claim.Links, []entry.Link{{Path: "shortcut", Target: "root"}}) {
		t.Errorf("claim: %+v", p.Claim)
	}
	if err := c.Check(p.Subject, p.Claim); err != nil {
		t.Error(err)
	}
}
