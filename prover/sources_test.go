package prover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/prover/git"
)

// linkedRepo has a package at "linked" whose files are reached in every way that
// git and cargo know. The submodule's files are below zlib/.
func linkedRepo(t *testing.T) (w, sub *workshop, files map[string]string) {
	sub = newWorkshop(t)
	sub.write("zlib.c", "int z;", "deep/z.h", "#pragma once")
	sub.commit()

	w = newWorkshop(t)
	w.write("LICENSE", "do what you like", "README.md", "# all of it", "core/src/lib.rs", "pub mod a;",
		"core/src/a/mod.rs", "// a")
	manifest := "[package]\nname = \"linked\"\nversion = \"1.0.0\"\nreadme = \"../README.md\"\n"
	w.write("linked/Cargo.toml", manifest)
	w.chmod(0o755, "core/src/a/mod.rs")     // which packaging loses
	w.link("linked/LICENSE", "../LICENSE")  // a file
	w.link("linked/src", "../shortcut/src") // a directory, through another link
	w.link("shortcut", "./core/../core")
	sub = w.submodule(sub, "linked/zlib")
	files = map[string]string{
		"Cargo.toml": manifest, "Cargo.toml.orig": manifest, "LICENSE": "do what you like", "README.md": "# all of it",
		"src/lib.rs": "pub mod a;", "src/a/mod.rs": "// a", "zlib/zlib.c": "int z;", "zlib/deep/z.h": "#pragma once",
	}
	return w, sub, files
}

func TestFilesBehindLinksAndInSubmodulesAreProven(t *testing.T) {
	w, sub, files := linkedRepo(t)
	src := w.source("linked")
	src.Submodule = func(ctx context.Context, path string) (*git.Repo, error) {
		if path != "linked/zlib" {
			return nil, nil
		}
		return sub.open(ctx, path)
	}
	c := pack(t, "linked", files)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	want := []entry.Link{{Path: "linked/LICENSE", Target: "../LICENSE"}, {Path: "linked/src", Target: "../shortcut/src"},
		{Path: "shortcut", Target: "./core/../core"}}
	if !slices.Equal(p.Claim.Links, want) {
		t.Errorf("links: %v", p.Claim.Links)
	}
	if !slices.Equal(p.Claim.Submodules, []string{"linked/zlib"}) || !slices.Equal(p.Claim.Outside, []string{"README.md"}) ||
		!slices.Equal(p.Claim.Executable, []string{"src/a/mod.rs"}) || p.Claim.Unproven != nil {
		t.Errorf("claim: %+v", p.Claim)
	}
	proves(t, c, p)

	// Without the submodule's repository, and with a wrong file behind each way.
	src.Submodule = nil
	_, err = w.plan(c, src)
	refused(t, "without the submodule", err, "zlib/zlib.c: linked/zlib is a submodule whose repository was not found")
	delete(files, "zlib/zlib.c")
	delete(files, "zlib/deep/z.h")
	for _, f := range []string{"LICENSE", "README.md", "src/a/mod.rs"} {
		good := files[f]
		files[f] += "!"
		_, err := w.plan(pack(t, "linked", files), src)
		refusal(t, err, f)
		files[f] = good
	}
}

// TestClaimsAboutPlacesMustBeTrueAndNeeded attacks what a claim says of links,
// submodules and outside files: the crate's check sees it, as the list differs.
func TestClaimsAboutPlacesMustBeTrueAndNeeded(t *testing.T) {
	w, _, files := linkedRepo(t)
	delete(files, "zlib/zlib.c")
	delete(files, "zlib/deep/z.h")
	c := pack(t, "linked", files)
	p, err := w.plan(c, w.source("linked"))
	fatalIf(t, err)
	_, err = c.Check(p.Subject, p.Claim)
	fatalIf(t, err)
	for _, lie := range []struct {
		name, want string
		tell       func(s *entry.Source)
	}{
		{"a link left out", "not those that the claim is about", func(s *entry.Source) { s.Links = s.Links[1:] }},
		{"a link to elsewhere", "two different files", func(s *entry.Source) { s.Links[0].Target = "../core/src/lib.rs" }},
		{"a link without need", "no file of the crate needs", func(s *entry.Source) { s.Links = append(s.Links, entry.Link{Path: "x", Target: "y"}) }},
		{"a link to an absolute path", "absolute path", func(s *entry.Source) { s.Links[0].Target = "/LICENSE" }},
		{"a link out of the repository", "out of the repository", func(s *entry.Source) { s.Links[0].Target = "../../LICENSE" }},
		{"a link to the root", "root of the repository", func(s *entry.Source) { s.Links[0].Target = ".." }},
		{"a link to itself", "more than 40 symbolic links", func(s *entry.Source) { s.Links[0].Target = "LICENSE" }},
		{"a link below a file", "directory and a file", func(s *entry.Source) { s.Links[0].Target = "Cargo.toml/x" }},
		{"a submodule without need", "holds no file", func(s *entry.Source) { s.Submodules = []string{"linked/zlib"} }},
		{"a link as a submodule", "holds no file", func(s *entry.Source) { s.Submodules = []string{"linked/src"} }},
		{"a directory as a submodule", "not those that the claim is about", func(s *entry.Source) { s.Submodules = []string{"linked"} }},
		{"outside left out", "not those that the claim is about", func(s *entry.Source) { s.Outside = nil }},
		{"outside that the manifest does not name", "neither readme nor license-file", func(s *entry.Source) { s.Outside = []string{"LICENSE", "README.md"} }},
		{"outside that is no file", "not a proven file", func(s *entry.Source) { s.Outside = []string{"LICENSE-MIT", "README.md"} }},
	} {
		claim := *p.Claim
		claim.Links = slices.Clone(claim.Links)
		lie.tell(&claim)
		if _, err := c.Check(p.Subject, &claim); err == nil {
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
	w.write("Cargo.toml", root,
		"crates/Cargo.toml", "# no manifest of a workspace\n[package]\nname = \"x\"\n",
		"crates/member/Cargo.toml", orig, "crates/member/src/lib.rs", "")
	src := w.source("crates/member")
	files := map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""}
	c := pack(t, "member", files)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	if ws := p.Claim.Workspace; ws == nil || ws.Path != "" || string(ws.Manifest) != root || p.Claim.Unproven != nil {
		t.Fatalf("claim: %+v", p.Claim)
	}
	proves(t, c, p)
	claim := *p.Claim
	claim.Workspace = &entry.Workspace{Manifest: []byte(root + "[workspace.dependencies.evil]\nversion = \"1\"\n")}
	if _, err := c.Check(p.Subject, &claim); !errors.Is(err, crate.ErrFiles) {
		t.Errorf("another workspace than the commit's: %v", err)
	}

	files["Cargo.toml"] += "[dependencies.proc-macro1]\nversion = \"1\"\n"
	evil := pack(t, "member", files)
	_, err = w.plan(evil, src)
	says(t, refusal(t, err, "Cargo.toml")[0].Why, "dependencies.proc-macro1")
	src.UnprovenManifest = true
	p, err = w.plan(evil, src)
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
	w.write("member/Cargo.toml", orig, "member/src/lib.rs", "")
	normalized := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nedition = \"2021\"\nresolver = \"1\"\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	c := pack(t, "member", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""})
	p, err := w.plan(c, w.source("member"))
	fatalIf(t, err)
	if ws := p.Claim.Workspace; ws == nil || ws.Path != "shortcut" || !slices.Equal(p.Claim.Links, []entry.Link{{Path: "shortcut", Target: "root"}}) {
		t.Errorf("claim: %+v", p.Claim)
	}
	if _, err := c.Check(p.Subject, p.Claim); err != nil {
		t.Error(err)
	}
}
