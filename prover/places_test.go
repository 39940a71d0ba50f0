package prover

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/outcome"
)

// object writes an object as it is, however odd.
func (w *workshop) object(kind, content string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "object")
	fatalIf(w.t, os.WriteFile(file, []byte(content), 0o644))
	return w.git("hash-object", "-t", kind, "-w", "--literally", "--no-filters", file)
}

// tree writes a tree of entries: "MODE NAME", each with its object's id behind it.
func (w *workshop) tree(entries ...string) string {
	w.t.Helper()
	var content strings.Builder
	for e := range slices.Chunk(entries, 2) {
		id, err := hex.DecodeString(e[1])
		fatalIf(w.t, err)
		content.WriteString(e[0] + "\x00" + string(id))
	}
	return w.object("tree", content.String())
}

// commitTree commits a tree and returns the commit's id.
func (w *workshop) commitTree(tree string) [20]byte {
	w.t.Helper()
	id, err := hex.DecodeString(w.git("commit-tree", "-m", "tree", tree))
	fatalIf(w.t, err)
	return [20]byte(id)
}

// oldInfo is .cargo_vcs_info.json as cargo 1.30 to 1.56 wrote it.
func oldInfo(commit [20]byte) string {
	return fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\"\n  }\n}\n", commit)
}

const memberManifest = "[package]\nname = \"member\"\nversion = \"1.0.0\"\n"

// members is a repository with a package at its top, and one below.
func members(t *testing.T) (w *workshop, files map[string]string) {
	w = newWorkshop(t)
	w.write("Cargo.toml", "[package]\nname = \"top\"\nversion = \"1.0.0\"\n[workspace]\nmembers = [\"crates/member\"]\n", "src/lib.rs", "// top\n",
		"crates/member/Cargo.toml", memberManifest, "crates/member/src/lib.rs", "// member\n")
	return w, map[string]string{"Cargo.toml": memberManifest, "Cargo.toml.orig": memberManifest, "src/lib.rs": "// member\n"}
}

func TestThePackageOfACrateThatNamesNoPathIsFound(t *testing.T) {
	w, files := members(t)
	commit := w.commit()
	with := func(name, content string) map[string]string {
		more := map[string]string{name: content}
		for k, v := range files {
			if _, ok := more[k]; !ok {
				more[k] = v
			}
		}
		return more
	}
	old := with(".cargo_vcs_info.json", oldInfo(commit))
	for name, c := range map[string]struct {
		files map[string]string
		src   Source
	}{
		"cargo 1.30 to 1.56":   {old, Source{}},
		"no vcs info":          {files, Source{Commit: &commit}},
		"both name the commit": {old, Source{Commit: &commit}},
	} {
		crate := pack(t, "member", c.files)
		p, err := w.plan(crate, c.src)
		if err != nil || p.Claim.Path != "crates/member" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		proves(t, crate, p)
	}
	if _, err := w.plan(pack(t, "member", files), Source{}); outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), "--commit") {
		t.Errorf("no commit: %v", err)
	}
	// The old form names a commit, and binds it.
	w.write("more", "")
	later := w.commit()
	_, err := w.plan(pack(t, "member", old), Source{Commit: &later})
	refused(t, "another commit than the crate's", err, "names the commit")

	// Where no Cargo.toml is the crate's, the package of its name is the one to compare with.
	edited := memberManifest + "edition = \"2018\"\n"
	_, err = w.plan(pack(t, "member", map[string]string{"Cargo.toml": edited, "Cargo.toml.orig": edited, "src/lib.rs": "// member\n"}), Source{Commit: &commit})
	u := refusal(t, err, "Cargo.toml.orig")
	says(t, u[0].Why, "crates/member/Cargo.toml")
	says(t, u[0].Fix, "edited after the commit")
	_, err = w.plan(pack(t, "other", map[string]string{"Cargo.toml": strings.Replace(edited, "member", "other", 1), "src/lib.rs": ""}), Source{Commit: &commit})
	u = refusal(t, err, "Cargo.toml")
	says(t, err.Error(), `no directory of the commit has a Cargo.toml with this content, nor one of a package "other"`, "--commit", "--repository")
	if u[0].Cause != CauseNoPlace || strings.Contains(err.Error(), "package again") {
		t.Error(err)
	}
}

func TestOfSeveralPlacesTheOneWithTheFilesIsTaken(t *testing.T) {
	w, files := members(t)
	w.write("a/Cargo.toml", memberManifest, "a/src/lib.rs", "// a copy, long ago\n")
	src := Source{Commit: new([20]byte)}
	*src.Commit = w.commit()
	p, err := w.plan(pack(t, "member", files), src)
	fatalIf(t, err)
	if p.Claim.Path != "crates/member" {
		t.Errorf("taken: %q", p.Claim.Path)
	}
	w.write("b/Cargo.toml", memberManifest, "b/src/lib.rs", "// member\n")
	*src.Commit = w.commit()
	if p, err = w.plan(pack(t, "member", files), src); err != nil || p.Claim.Path != "b" {
		t.Errorf("of two that are the same the nearest to the root is taken, always: %v", err)
	}
	files["src/lib.rs"] = "// none of them\n"
	_, err = w.plan(pack(t, "member", files), src)
	refusal(t, err, "src/lib.rs")
	says(t, err.Error(), `compared with the directory "a"`, `"b", "crates/member"`, "--path names one")
}

func TestAPackageCheckedOutWithCRLFIsFound(t *testing.T) {
	w, files := members(t)
	commit := w.commit()
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "\n", "\r\n")
	}
	files[".cargo_vcs_info.json"] = oldInfo(commit)
	c := pack(t, "member", files)
	p, err := w.plan(c, Source{})
	fatalIf(t, err)
	if !slices.Equal(p.Claim.CRLF, []string{"Cargo.toml", "src/lib.rs"}) || p.Claim.Path != "crates/member" || p.Claim.Attributes != nil {
		t.Errorf("%+v", p.Claim)
	}
	proves(t, c, p)
}

// TestACommitOfManyPathsIsSearchedOnce searches ten million directories that are seven trees.
func TestACommitOfManyPathsIsSearchedOnce(t *testing.T) {
	w, files := members(t)
	commit := w.commit()
	deep := w.tree("100644 f", w.object("blob", "x"))
	for range 7 {
		var entries []string
		for i := range 10 {
			entries = append(entries, fmt.Sprintf("40000 d%d", i), deep)
		}
		deep = w.tree(entries...)
	}
	of := func(path string) string { return w.git("rev-parse", fmt.Sprintf("%x:%s", commit, path)) }
	all := w.commitTree(w.tree("40000 crates", of("crates"), "40000 data", deep))
	p, err := w.plan(pack(t, "member", files), Source{Commit: &all})
	if err != nil || p.Claim.Path != "crates/member" {
		t.Error(err)
	}
	// And where the package stands in all of them, one is named.
	many := of("crates")
	for range 7 {
		var entries []string
		for i := range 10 {
			entries = append(entries, fmt.Sprintf("40000 d%d", i), many)
		}
		many = w.tree(entries...)
	}
	all = w.commitTree(many)
	if p, err = w.plan(pack(t, "member", files), Source{Commit: &all}); err != nil || p.Claim.Path != "d0/d0/d0/d0/d0/d0/d0/member" {
		t.Error(err)
	}
}

func TestTheWorkspaceIsTheNearestThatDoesNotExcludeThePackage(t *testing.T) {
	orig := memberManifest + "edition.workspace = true\n"
	root := func(edition string) string {
		return "[workspace]\nresolver = \"2\"\n[workspace.package]\nedition = \"" + edition + "\"\n"
	}
	normalized := memberManifest + "edition = \"2021\"\nresolver = \"2\"\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	c := pack(t, "member", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""})
	for nearer, want := range map[string]string{
		`exclude = ["p"]`:                             "",
		`exclude = ["./p/"]`:                          "",
		`exclude = [""]`:                              "",
		`exclude = ["p/Cargo.toml"]`:                  "",
		`exclude = ["x", "p"]`:                        "",
		`exclude = ["p*"]`:                            "in", // no patterns there
		`exclude = ["p/src", "pp", "../in"]`:          "in",
		`exclude = ["p"]` + "\n" + `members = ["p"]`:  "in",
		`exclude = ["p"]` + "\n" + `members = ["p*"]`: "",
		`exclude = "p"`:                               "in",
		"":                                            "in",
	} {
		w := newWorkshop(t)
		upper, lower := "2021", "2018"
		if want != "" {
			upper, lower = lower, upper
		}
		w.write("Cargo.toml", root(upper), "in/Cargo.toml", strings.Replace(root(lower), "\n", "\n"+nearer+"\n", 1),
			"in/p/Cargo.toml", orig, "in/p/src/lib.rs", "")
		p, err := w.plan(c, w.source("in/p"))
		if err != nil || p.Claim.Workspace.Path != want {
			t.Errorf("%s: %v", nearer, err)
			continue
		}
		if _, err := c.Check(p.Subject, p.Claim); err != nil {
			t.Errorf("%s: %v", nearer, err)
		}
		if want != "" {
			continue
		}
		// A verifier refuses to take the one that excludes the package, as it can see that.
		lie := *p.Claim
		nearest := *lie.Workspace
		nearest.Path, nearest.Manifest = "in", []byte(strings.Replace(root("2021"), "\n", "\n"+nearer+"\n", 1))
		lie.Workspace = &nearest
		_, err = c.Check(p.Subject, &lie)
		refused(t, nearer, err, "or excludes the package")
	}
}

func TestModesThatNoProofCanShowAreNamed(t *testing.T) {
	w := newWorkshop(t)
	blob, manifest := w.object("blob", "// lib\n"), w.object("blob", memberManifest)
	files := map[string]string{"Cargo.toml": memberManifest, "src/lib.rs": "// lib\n"}
	commit := func(dirMode, libMode string) *[20]byte {
		src := w.tree(libMode+" lib.rs", blob, "100664 old.rs", blob)
		id := w.commitTree(w.tree("100644 Cargo.toml", manifest, dirMode+" src", src))
		return &id
	}
	plan := func(src *[20]byte) (*Plan, error) {
		return w.plan(pack(t, "member", files), Source{Commit: src, Path: new(string)})
	}
	p, err := plan(commit("40000", "100644")) // 100664 of a file that is not the crate's does not matter
	fatalIf(t, err)
	proves(t, pack(t, "member", files), p)

	_, err = plan(commit("40000", "100664"))
	u := refusal(t, err, "src/lib.rs")
	says(t, u[0].Why, "the mode 100664, as old versions of git wrote it; a proof can show 100644 and 100755 only")
	for name, src := range map[string]Source{"named": {Path: new(string)}, "searched": {}} {
		src.Commit = commit("040000", "100644")
		_, err = w.plan(pack(t, "member", files), src)
		refused(t, name+" zero-padded", err, "zeroPaddedFilemode")
		if outcome.Of(err) != outcome.Refused {
			t.Errorf("%s: exit code %d", name, outcome.Of(err))
		}
	}
}

func TestAWorkspacesManifestThatNoEntryCanCarryIsRefusedWithItsSize(t *testing.T) {
	orig := memberManifest + "edition.workspace = true\n"
	normalized := memberManifest + "edition = \"2021\"\nresolver = \"2\"\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	c := pack(t, "member", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""})
	for size, want := range map[int]string{entry.MaxManifest - 100: "", 100_000: "bytes deflated, more than the 49152", 2 << 20: "more than 1048576"} {
		w := newWorkshop(t)
		comment := strings.Repeat("# long\n", size/7)
		if size == 100_000 { // that does not deflate
			comment = ""
			for i := 0; len(comment) < size; i++ {
				comment += fmt.Sprintf("# %x\n", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
			}
		}
		w.write("Cargo.toml", "[workspace]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\n"+comment,
			"p/Cargo.toml", orig, "p/src/lib.rs", "")
		src := w.source("p")
		p, err := w.plan(c, src)
		if want == "" {
			fatalIf(t, err)
			proves(t, c, p)
			continue
		}
		refused(t, "a large root", err, want)
		if outcome.Of(err) != outcome.Refused {
			t.Errorf("exit code %d", outcome.Of(err))
		}
		if size > maxRead {
			continue
		}
		src.UnprovenManifest = true
		if p, err := w.plan(c, src); err != nil || !slices.Equal(p.Claim.Unproven, []string{"Cargo.toml"}) {
			t.Errorf("with its Cargo.toml unproven: %v", err)
		}
	}
}

// TestAWorkspacesManifestThatIsExecutableIsNamed has a root that cargo takes, and no list can hold.
func TestAWorkspacesManifestThatIsExecutableIsNamed(t *testing.T) {
	orig := memberManifest + "edition.workspace = true\n"
	w := newWorkshop(t)
	w.write("Cargo.toml", "[workspace]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\n", "p/Cargo.toml", orig, "p/src/lib.rs", "")
	w.chmod(0o755, "Cargo.toml")
	normalized := memberManifest + "edition = \"2021\"\nresolver = \"2\"\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	c := pack(t, "member", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""})
	_, err := w.plan(c, w.source("p"))
	u := refusal(t, err, "Cargo.toml")
	says(t, u[0].Why, "the workspace's manifest Cargo.toml, which has the mode 100755 in the commit")
	says(t, u[0].Fix, "--chmod=-x")
	w.chmod(0o644, "Cargo.toml")
	if _, err := w.plan(c, w.source("p")); err != nil {
		t.Error(err)
	}
}
