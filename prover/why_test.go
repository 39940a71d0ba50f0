package prover

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/internal/fixture"
)

// clean fails the test unless git says that nothing was changed.
func (w *workshop) clean() {
	w.t.Helper()
	if s := w.git("status", "--porcelain"); s != "" {
		w.t.Fatalf("git sees it: %s", s)
	}
}

// refusal returns why a file is refused, and what to do, of a plan that refuses
// exactly the files named.
func refusal(t *testing.T, err error, files ...string) []Unprovable {
	t.Helper()
	var u *UnprovableError
	if !errors.As(err, &u) {
		t.Fatalf("not refused: %v", err)
	}
	var got []string
	for _, f := range u.Files {
		got = append(got, f.File)
		if f.Fix != "" && !strings.Contains(err.Error(), f.Fix) {
			t.Errorf("the error does not say %q:\n%v", f.Fix, err)
		}
	}
	if strings.Join(got, " ") != strings.Join(files, " ") {
		t.Fatalf("refused %v, want %v:\n%v", got, files, err)
	}
	return u.Files
}

func says(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q: %s", want, text)
		}
	}
}

const helloManifest = "[package]\nname = \"hello\"\nversion = \"1.0.0\"\n"

// hello is a repository with one package at its top.
func hello(t *testing.T) *workshop {
	w := newWorkshop(t)
	w.write("Cargo.toml", helloManifest, "src/lib.rs", "// $Id$\npub fn hello() {}\n")
	return w
}

func TestEditedFilesThatGitDoesNotShowAreExplained(t *testing.T) {
	for _, hide := range []string{"--assume-unchanged", "--skip-worktree"} {
		w := hello(t)
		src := w.source("")
		w.git("update-index", hide, "src/lib.rs")
		w.write("src/lib.rs", "pub fn evil() {}\n")
		w.clean()
		_, err := w.plan(w.packDir("", "hello", nil), src)
		u := refusal(t, err, "src/lib.rs")
		says(t, u[0].Why, "its content differs from the commit's src/lib.rs")
		says(t, u[0].Fix, "edited after the commit", "if git status shows nothing", "git ls-files -v", "--no-assume-unchanged or --no-skip-worktree")
	}
}

func TestFilesOutsideOfThePackageThatWereEditedAreExplained(t *testing.T) {
	w, _, _ := linkedRepo(t)
	w.git("rm", "-q", "-f", "linked/zlib")
	src := w.source("linked")
	outside := map[string]string{"README.md": "README.md"}
	if _, err := w.plan(w.packDir("linked", "linked", outside), src); err != nil {
		t.Fatalf("before the edits: %v", err)
	}
	w.write("LICENSE", "do nothing", "README.md", "# else", "core/src/a/mod.rs", "// b",
		"core/src/new.rs", "// not in the commit")
	_, err := w.plan(w.packDir("linked", "linked", outside), src)
	u := refusal(t, err, "LICENSE", "README.md", "src/a/mod.rs", "src/new.rs")
	says(t, u[0].Why, "its content differs from the commit's linked/LICENSE (through a link: LICENSE)")
	says(t, u[1].Why, "its content differs from the commit's README.md (blob")
	says(t, u[3].Why, "the commit has no linked/src/new.rs")
	for _, f := range u {
		says(t, f.Fix, "outside of the package: cargo does not look there", "run from the package's own directory",
			"commit or restore", "package again from the top of the repository")
	}
	if got := strings.Count(err.Error(), "outside of the package: "); got != 1 {
		t.Errorf("said %d times:\n%v", got, err)
	}
	says(t, err.Error(), "about LICENSE, README.md, src/a/mod.rs and 1 more: outside")
}

func TestWorkspaceManifestsThatWereEditedAreExplained(t *testing.T) {
	w := newWorkshop(t)
	w.write("Cargo.toml", "[workspace]\nmembers = [\"member\"]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\n")
	orig := "[package]\nname = \"member\"\nversion = \"1.0.0\"\nedition.workspace = true\n"
	w.write("member/Cargo.toml", orig, "member/src/lib.rs", "")
	src := w.source("member")
	normalized := "[package]\nedition = \"2018\"\nname = \"member\"\nversion = \"1.0.0\"\nresolver = \"2\"\n\n[lib]\nname = \"member\"\npath = \"src/lib.rs\"\n"
	_, err := w.plan(pack(t, "member", map[string]string{"Cargo.toml": normalized, "Cargo.toml.orig": orig, "src/lib.rs": ""}), src)
	u := refusal(t, err, "Cargo.toml")
	says(t, u[0].Why, "edition", "2018", "2021")
	says(t, u[0].Fix, "if the workspace's Cargo.toml was edited and not committed", "cargo does not look there", "from the top of the repository")
}

func TestSubmodulesAtAnotherCommitAreExplained(t *testing.T) {
	w, inside, _ := linkedRepo(t)
	src := w.source("linked")
	src.Submodule = inside.open
	outside := map[string]string{"README.md": "README.md"}
	if _, err := w.plan(w.packDir("linked", "linked", outside), src); err != nil {
		t.Fatalf("before: %v", err)
	}
	recorded := inside.git("rev-parse", "HEAD")
	inside.write("zlib.c", "int zz;", "deep/new.h", "#pragma twice")
	inside.commit()
	head := inside.git("rev-parse", "HEAD")
	_, err := w.plan(w.packDir("linked", "linked", outside), src)
	for _, f := range refusal(t, err, "zlib/deep/new.h", "zlib/zlib.c") {
		says(t, f.Fix, "submodule linked/zlib: the commit records it at "+recorded+", but the crate was packaged from its commit "+head,
			"git add linked/zlib", "git submodule update linked/zlib")
	}

	// Edited there, and in no commit: nothing to say of commits.
	inside.write("zlib.c", "int zzz;")
	_, err = w.plan(w.packDir("linked", "linked", outside), src)
	u := refusal(t, err, "zlib/deep/new.h", "zlib/zlib.c")
	says(t, u[1].Fix, "edited after the commit")
}

// TestWhatCargoPackagesWithoutNoticingIsRefused lets cargo itself package, from the
// member's directory, what no commit holds. It notices none of it.
func TestWhatCargoPackagesWithoutNoticingIsRefused(t *testing.T) {
	fixture.Need(t, "cargo")
	sub := newWorkshop(t)
	sub.write("z.c", "int z;")
	sub.commit()
	w := newWorkshop(t)
	root := "[workspace]\nmembers = [\"m\"]\nresolver = \"2\"\n[workspace.package]\nedition = \"2021\"\nlicense = \"MIT\"\n"
	w.write("Cargo.toml", root, "README.md", "# m\n", "LICENSE", "MIT\n",
		".gitattributes", "crlf.rs text eol=crlf\nident.rs ident\n", ".gitignore", "target\n",
		"m/Cargo.toml", "[package]\nname = \"m\"\nversion = \"1.0.0\"\nedition.workspace = true\nlicense.workspace = true\ndescription = \"m\"\nreadme = \"../README.md\"\n")
	for _, f := range []string{"lib", "crlf", "ident"} {
		w.write("m/src/"+f+".rs", "// $Id$\n")
	}
	w.link("m/LICENSE", "../LICENSE")
	module := w.submodule(sub, "m/z")
	src := w.source("m")
	src.Submodule = module.open

	w.again("m/src/crlf.rs", "m/src/ident.rs")
	w.write("README.md", "# else\n", "LICENSE", "else\n")
	w.git("update-index", "--assume-unchanged", "m/src/lib.rs")
	w.write("m/src/lib.rs", "// else\n")
	module.write("z.c", "int zz;")
	module.commit()
	_, err := w.plan(w.cargoPackage("m"), src)
	u := refusal(t, err, "LICENSE", "README.md", "src/ident.rs", "src/lib.rs", "z/z.c")
	for i, want := range []string{"outside of the package", "outside of the package", "$Id$ expanded", "edited after the commit", "submodule m/z"} {
		says(t, u[i].Fix, want)
	}

	// As the fixes say, until only the workspace's manifest is left.
	w.git("checkout", "-q", "--", "README.md", "LICENSE")
	w.git("update-index", "--no-assume-unchanged", "m/src/lib.rs")
	w.git("checkout", "-q", "--", "m/src/lib.rs")
	w.git("-c", "protocol.file.allow=always", "submodule", "update", "-q", "m/z")
	w.write(".gitattributes", "")
	*src.Commit = w.commit()
	w.again("m/src/crlf.rs", "m/src/ident.rs")
	if _, err := w.plan(w.cargoPackage("m"), src); err != nil {
		t.Fatalf("all is fixed: %v", err)
	}
	w.write("Cargo.toml", strings.Replace(root, "2021", "2018", 1))
	_, err = w.plan(w.cargoPackage("m"), src)
	says(t, refusal(t, err, "Cargo.toml")[0].Fix, "if the workspace's Cargo.toml was edited")
}

// cargoPackage packages a member from its own directory. It fails the test if cargo
// objects, or says that anything is dirty.
func (w *workshop) cargoPackage(name string) *crate.Crate {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "cargo", "package", "--quiet", "--no-verify", "--offline")
	cmd.Dir = filepath.Join(w.dir, name)
	cmd.Env = append(os.Environ(), "CARGO_TARGET_DIR="+filepath.Join(w.dir, "target"))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("cargo: %v\n%s", err, out)
	}
	c, err := crate.ReadFile(filepath.Join(w.dir, "target", "package", name+"-1.0.0.crate"), crate.DefaultLimits)
	fatalIf(w.t, err)
	if info, err := c.VCSInfo(); err != nil || info == nil {
		w.t.Fatalf("cargo noticed: %v", err)
	}
	return c
}

// again checks files out as their attributes say.
func (w *workshop) again(files ...string) {
	w.t.Helper()
	for _, f := range files {
		fatalIf(w.t, os.Remove(filepath.Join(w.dir, f)))
	}
	w.git("checkout", "-q", "--", ".")
	w.clean()
}

func TestWhatGitMakesOfFilesAtCheckoutIsExplained(t *testing.T) {
	for _, c := range []struct {
		name       string
		attributes string
		config     string
		why, fix   []string
	}{
		{"ident", "*.rs ident\n", "", []string{"it was packaged with $Id$ expanded"}, []string{"remove ident from .gitattributes"}},
		{"both", "*.rs ident text eol=crlf\n", "", []string{"CRLF line endings and $Id$ expanded"}, []string{"core.autocrlf=false", "remove ident"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := hello(t)
			w.write(".gitattributes", c.attributes)
			src := w.source("")
			if c.config != "" {
				w.git("config", c.config, "true")
			}
			w.again("src/lib.rs")
			_, err := w.plan(w.packDir("", "hello", nil), src)
			u := refusal(t, err, "src/lib.rs")
			says(t, u[0].Why, append(c.why, "its content differs from the commit's src/lib.rs")...)
			says(t, u[0].Fix, c.fix...)

			// Another change as well: not the checkout's doing alone.
			b, err := os.ReadFile(filepath.Join(w.dir, "src/lib.rs"))
			fatalIf(t, err)
			w.write("src/lib.rs", string(b)+"// more")
			_, err = w.plan(w.packDir("", "hello", nil), src)
			says(t, refusal(t, err, "src/lib.rs")[0].Fix, "edited after the commit")
		})
	}
}

// TestFiltersAndEncodingsAreNamed packages what git makes of a commit's files at checkout in
// ways that cannot be undone here. git status shows nothing.
func TestFiltersAndEncodingsAreNamed(t *testing.T) {
	for attribute, want := range map[string][]string{
		"filter=secret":                     {"// open\n", "filter=secret in .gitattributes: git hands the commit's content to that filter"},
		"text working-tree-encoding=UTF-16": {"\xfe\xff\x00/\x00/", "working-tree-encoding=UTF-16 in .gitattributes: git writes the files in that encoding"},
		"-filter":                           {"// open\n", "edited after the commit"},
	} {
		w := newWorkshop(t)
		// The blobs as they are: the filter is not installed.
		src := w.tree("100644 .gitattributes", w.object("blob", "/*.rs "+attribute+"\n"), "100644 lib.rs", w.object("blob", "// a\n"))
		commit := w.commitTree(w.tree("100644 Cargo.toml", w.object("blob", helloManifest), "40000 src", src))
		c := pack(t, "hello", map[string]string{"Cargo.toml": helloManifest, "src/lib.rs": want[0], "src/.gitattributes": "/*.rs " + attribute + "\n"})
		for _, published := range []bool{false, true} {
			_, err := w.plan(c, Source{Commit: &commit, Published: published})
			says(t, refusal(t, err, "src/lib.rs")[0].Fix, want[1])
			if got := strings.Contains(err.Error(), "package again"); got == published {
				t.Errorf("published %v: %v", published, err)
			}
			if got := strings.Contains(err.Error(), "only the author can mend that"); got != published {
				t.Errorf("published %v: %v", published, err)
			}
		}
	}
}

func TestAMissingSubmoduleIsSaidOnce(t *testing.T) {
	w, inside, _ := linkedRepo(t)
	for i := range 30 {
		inside.write(fmt.Sprintf("many/%02d.h", i), "")
	}
	inside.commit()
	src := w.source("linked")
	c := w.packDir("linked", "linked", map[string]string{"README.md": "README.md"})
	_, err := w.plan(c, src)
	says(t, err.Error(), "zlib/deep/z.h", "and 29 more: linked/zlib is a submodule whose repository was not found",
		"git submodule update --init", "--submodule linked/zlib=DIR, or --submodule linked/zlib=URL")
	if n := strings.Count(err.Error(), "was not found"); n != 1 || strings.Contains(err.Error(), "package") {
		t.Errorf("said %d times:\n%v", n, err)
	}
	src.Submodule = inside.open
	if _, err := w.plan(c, src); err != nil {
		t.Error(err)
	}
}

// TestLinksThatBecameFilesAreExplained packages what a checkout without symbolic links has.
func TestLinksThatBecameFilesAreExplained(t *testing.T) {
	w := hello(t)
	w.write("data/a", "a")
	w.link("src/data", "../data")
	w.link("LICENSE", "src/lib.rs")
	src := w.source("")
	c := pack(t, "hello", map[string]string{"Cargo.toml": helloManifest, "src/lib.rs": "// $Id$\npub fn hello() {}\n", "data/a": "a", "src/data": "../data",
		"LICENSE": "src/lib.rs"})
	_, err := w.plan(c, src)
	for _, u := range refusal(t, err, "LICENSE", "src/data") {
		says(t, u.Why, "is a symbolic link in the commit, and the .crate has a file with the link's text")
		says(t, u.Fix, "core.symlinks=true")
	}
}

func TestLongListsOfFilesAreCut(t *testing.T) {
	w := hello(t)
	for i := range 100 {
		w.write(fmt.Sprintf("src/m%03d.rs", i), fmt.Sprintln(i))
	}
	src := w.source("")
	for i := range 100 {
		w.write(fmt.Sprintf("src/m%03d.rs", i), fmt.Sprintln("// else", i))
	}
	_, err := w.plan(w.packDir("", "hello", nil), src)
	var u *UnprovableError
	if !errors.As(err, &u) || len(u.Files) != 100 || strings.Count(err.Error(), "\n") > 20 {
		t.Errorf("%v", err)
	}
	says(t, err.Error(), "src/m000.rs: its content differs", "and 88 files more", "about src/m000.rs, src/m001.rs, src/m002.rs and 97 more: edited")
}

// TestAPackageOfAnotherWorkspaceIsToldFromOneThatInherits has the resolver of a workspace that
// held the repository as a submodule.
func TestAPackageOfAnotherWorkspaceIsToldFromOneThatInherits(t *testing.T) {
	w := hello(t)
	orig := helloManifest + "edition = \"2021\"\n"
	w.write("Cargo.toml", orig)
	src := w.source("")
	_, err := w.plan(pack(t, "hello", map[string]string{"Cargo.toml.orig": orig, "src/lib.rs": "// $Id$\npub fn hello() {}\n",
		"Cargo.toml": orig + "resolver = \"1\"\n[lib]\nname = \"hello\"\npath = \"src/lib.rs\"\n"}), src)
	u := refusal(t, err, "Cargo.toml")
	says(t, u[0].Why, "it has a resolver that Cargo.toml.orig does not name")
	says(t, u[0].Fix, "packaged inside of a workspace that is not in the commit", "package it from a clone of its own")
}

func TestPointersOfGitLFSAreExplained(t *testing.T) {
	w := hello(t)
	content := "a model of everything"
	w.write("model.bin", fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n", sha256.Sum256([]byte(content)), len(content)))
	src := w.source("")
	w.write("model.bin", content)
	_, err := w.plan(w.packDir("", "hello", nil), src)
	u := refusal(t, err, "model.bin")
	says(t, u[0].Why, "the commit holds only its Git LFS pointer")
	says(t, u[0].Fix, "Git LFS: the commit holds only pointers", "exclude them")

	w.write("model.bin", content+"!")
	_, err = w.plan(w.packDir("", "hello", nil), src)
	says(t, refusal(t, err, "model.bin")[0].Fix, "edited after the commit")
}

func TestFilesThatAreWrongInDifferentWaysAreToldApart(t *testing.T) {
	w := hello(t)
	w.write("src/a.rs", "a\nb\n", "src/b.rs", "b\n")
	src := w.source("")
	w.write("src/a.rs", "a\r\nb\n", "src/b.rs", "c\n")
	_, err := w.plan(w.packDir("", "hello", nil), src)
	refusal(t, err, "src/a.rs", "src/b.rs")
	says(t, err.Error(), "about src/a.rs: CRLF", "about src/b.rs: edited")
}

func TestCommitsThatNoRemoteHasAreKnown(t *testing.T) {
	origin := hello(t)
	first := origin.commit()
	ask := func(dir string, commit [20]byte, published, known bool) {
		t.Helper()
		p, k, err := Published(t.Context(), dir, commit)
		if err != nil || p != published || k != known {
			t.Errorf("published %v, known %v, %v; want %v, %v", p, k, err, published, known)
		}
	}
	ask(origin.dir, first, false, false) // no remote

	clone := &workshop{t, filepath.Join(t.TempDir(), "clone")}
	origin.git("clone", "-q", origin.dir, clone.dir)
	ask(clone.dir, first, true, true)
	clone.write("src/lib.rs", "pub fn more() {}")
	second := clone.commit()
	ask(clone.dir, second, false, true)
	ask(clone.dir, first, true, true)
	clone.git("push", "-q", "origin", "HEAD:refs/heads/side")
	ask(clone.dir, second, true, true)
	clone.git("branch", "-d", "-r", "origin/side")
	ask(clone.dir, second, false, true)
	clone.git("tag", "v1")
	ask(clone.dir, second, true, true)
	// What turns git elsewhere does not turn this.
	t.Setenv("GIT_DIR", filepath.Join(origin.dir, ".git"))
	ask(clone.dir, second, true, true)
	os.Unsetenv("GIT_DIR")

	bare, shallow := filepath.Join(t.TempDir(), "bare"), filepath.Join(t.TempDir(), "shallow")
	clone.git("clone", "-q", "--bare", clone.dir, bare)
	ask(bare, second, false, false)
	clone.git("clone", "-q", "--depth=1", "file://"+clone.dir, shallow)
	ask(shallow, second, false, false)
	if _, known, err := Published(t.Context(), clone.dir, [20]byte{1}); known || err == nil {
		t.Errorf("a commit that is not there: %v", err)
	}
	if _, _, err := Published(t.Context(), filepath.Join(bare, "nothing"), first); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no repository: %v", err)
	}
}
