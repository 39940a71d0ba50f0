package prover

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
)

// inheriting is a workspace whose member takes readme and license-file from its root.
func inheriting(t *testing.T, workspacePackage string) (w *workshop, files map[string]string, src Source) {
	t.Helper()
	w = newWorkshop(t)
	member := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nreadme.workspace = true\nlicense-file.workspace = true\n"
	w.write("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n[workspace.package]\n"+workspacePackage,
		"README.md", "# of all", "docs/README.md", "# of the docs", "legal/LICENSE", "do what you like",
		"crates/member/Cargo.toml", member, "crates/member/src/lib.rs", "// member")
	files = map[string]string{
		"Cargo.toml":      "[package]\nname = \"member\"\nversion = \"1.0.0\"\nreadme = \"README.md\"\nlicense-file = \"LICENSE\"\n",
		"Cargo.toml.orig": member, "src/lib.rs": "// member", "README.md": "# of all", "LICENSE": "do what you like",
	}
	return w, files, w.source("crates/member")
}

func TestInheritedReadmeAndLicenseFileAreProven(t *testing.T) {
	for name, c := range map[string]struct{ workspace, readme string }{
		"both named":                          {"readme = \"README.md\"\nlicense-file = \"legal/LICENSE\"\n", "# of all"},
		"in a directory":                      {"readme = \"docs/../docs/README.md\"\nlicense-file = \"./legal/LICENSE\"\n", "# of the docs"},
		"the readme that cargo looks for":     {"license-file = \"legal/LICENSE\"\n", "# of all"},
		"the readme that is said to be there": {"readme = true\nlicense-file = \"legal/LICENSE\"\n", "# of all"},
	} {
		w, files, src := inheriting(t, c.workspace)
		files["README.md"] = c.readme
		packed := pack(t, "member", files)
		p, err := w.plan(packed, src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !slices.Equal(p.Claim.Outside, []string{"LICENSE", "README.md"}) || p.Claim.Workspace == nil || p.Claim.Unproven != nil {
			t.Errorf("%s: %+v", name, p.Claim)
		}
		if _, err := packed.Check(p.Subject, p.Claim); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, f := range []string{"LICENSE", "README.md"} {
			good := files[f]
			files[f] += "!"
			_, err := w.plan(pack(t, "member", files), src)
			refusal(t, err, f)
			files[f] = good
		}
	}
}

// TestAnInheritedReadmeIsWhereTheRootPoints attacks a claim that is true, and manifests
// that point elsewhere.
func TestAnInheritedReadmeIsWhereTheRootPoints(t *testing.T) {
	for name, workspace := range map[string]string{
		"another file of the name": "readme = \"docs/README.md\"\nlicense-file = \"legal/LICENSE\"\n",
		"no readme":                "readme = false\nlicense-file = \"legal/LICENSE\"\n",
		"another name":             "readme = \"docs/OTHER.md\"\nlicense-file = \"legal/LICENSE\"\n",
		"within the package":       "readme = \"crates/member/README.md\"\nlicense-file = \"legal/LICENSE\"\n",
		"an absolute path":         "readme = \"/README.md\"\nlicense-file = \"legal/LICENSE\"\n",
		"out of the repository":    "readme = \"../README.md\"\nlicense-file = \"legal/LICENSE\"\n",
		"a number":                 "readme = 1\nlicense-file = \"legal/LICENSE\"\n",
	} {
		w, files, src := inheriting(t, workspace)
		if _, err := w.plan(pack(t, "member", files), src); err == nil {
			t.Errorf("%s: the root's README.md is taken for it", name)
		}
	}

	w, files, src := inheriting(t, "readme = \"README.md\"\nlicense-file = \"legal/LICENSE\"\n")
	packed := pack(t, "member", files)
	p, err := w.plan(packed, src)
	fatalIf(t, err)
	root := *p.Claim.Workspace
	for name, change := range map[string]func(){
		"not from outside": func() { p.Claim.Outside = []string{"LICENSE"} },
		"another workspace": func() {
			p.Claim.Workspace.Manifest = []byte(strings.Replace(string(root.Manifest), "README.md", "docs/README.md", 1))
		},
		"a workspace further in":  func() { p.Claim.Workspace.Path = "crates" },
		"no workspace":            func() { p.Claim.Workspace = nil },
		"a manifest from outside": func() { p.Claim.Outside = []string{"Cargo.toml", "LICENSE", "README.md"} },
		"a source from outside":   func() { p.Claim.Outside = []string{"LICENSE", "README.md", "src/lib.rs"} },
	} {
		workspace := root
		p.Claim.Outside, p.Claim.Workspace = []string{"LICENSE", "README.md"}, &workspace
		if _, err := packed.Check(p.Subject, p.Claim); err != nil {
			t.Fatalf("the claim itself: %v", err)
		}
		change()
		if _, err := packed.Check(p.Subject, p.Claim); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	var place *crate.PlaceError
	p.Claim.Outside, p.Claim.Workspace, p.Claim.Unproven = []string{"README.md"}, nil, []string{"Cargo.toml"}
	if _, err := packed.List(p.Claim); !errors.As(err, &place) || place.Path != "README.md" {
		t.Errorf("without the workspace's manifest: %v", err)
	}
}
