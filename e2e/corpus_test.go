package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
)

// corpus unpacks a bare repository of the shared corpus and returns its path and
// the one commit in it.
func corpus(t *testing.T, name string) (bare, commit string) {
	t.Helper()
	file := fixture.Corpus(t, name)
	dir := t.TempDir()
	mustRun(t, dir, "tar", "--no-same-owner", "-xzf", file)
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s holds %q, %v; wanted is one repository", file, found, err)
	}
	for line := range strings.Lines(string(mustRun(t, found[0], "git", "cat-file", "--batch-all-objects",
		"--batch-check"))) {
		if id, kind, _ := strings.Cut(line, " "); strings.HasPrefix(kind, "commit ") {
			commit = id
		}
	}
	return found[0], commit
}

// checkout clones a repository and checks a commit out.
func checkout(t *testing.T, bare, commit string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	mustRun(t, "", "git", "clone", "--quiet", "--no-checkout", bare, dir)
	mustRun(t, dir, "git", "checkout", "--quiet", "--detach", commit)
	return dir
}

// cargoPackage packages a checkout as its publisher would, and returns the .crate.
func cargoPackage(t *testing.T, dir string, more ...string) string {
	t.Helper()
	fixture.Need(t, "cargo")
	target := t.TempDir()
	args := append([]string{"package", "--quiet", "--no-verify", "--exclude-lockfile", "--offline"}, more...)
	o := command(t, dir, []string{"CARGO_HOME=" + t.TempDir(), "CARGO_TARGET_DIR=" + target}, "cargo", args...)
	if o.code != 0 {
		t.Fatalf("cargo package: %v", o)
	}
	crates, err := filepath.Glob(filepath.Join(target, "package", "*.crate"))
	if err != nil || len(crates) != 1 {
		t.Fatalf("cargo made %q, %v", crates, err)
	}
	return crates[0]
}

// mustRun runs a program of the system. git is not to see the user's settings.
func mustRun(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	fixture.Need(t, name)
	env := []string{"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	o := command(t, dir, env, name, args...)
	if o.code != 0 {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), o)
	}
	return o.stdout
}

// realCrates are packages of the corpus whose blobs are there. Of serde's files most
// are reached through a link to another package's directory.
var realCrates = []struct{ name, repository string }{
	{"itoa", "itoa-1.0.18"}, {"arrayref", "arrayref-0.3.9"}, {"serde", "serde-1.0.228"},
}

// TestRealCratesOfRealCommits packages crates of real repositories with cargo,
// proves them from the bare repositories, has the log accept them, and
// verifies them when nothing runs any more.
func TestRealCratesOfRealCommits(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	var s *site
	var files []string
	for _, c := range realCrates {
		bare, commit := corpus(t, c.repository)
		file := cargoPackage(t, checkout(t, bare, commit), "--package", c.name)
		if s == nil { // nothing is built when nothing can be tested
			s = newSite(t)
		}
		o := zkp(t, "prove", file, "--repository", bare)
		o.want(t, 0, "Proving", commit, "SHA-1 blocks", "UNSAFE development key", "Finished")
		if o.code != 0 {
			t.FailNow()
		}
		zkp(t, "submit", file, "--log", s.log.url).want(t, 0, fmt.Sprintf("entry %d of the log", 2*len(files))) // a seal behind each
		files = append(files, file)
	}
	t.Run("another path is another claim", func(t *testing.T) { otherPath(t, s, files[0]) })
	t.Run("a dependency added to Cargo.toml only", func(t *testing.T) { addedDependency(t, s, files[0]) })
	s.stopAll()
	for i, file := range files {
		s.verify(t, file).want(t, 0, "Finished "+realCrates[i].name+" v", "is the source of commit")
	}
	s.verify(t, files[0], "--bundle", bundleOf(files[1])).want(t, 1, "another crate")
	s.verify(t, files[1], "--bundle", bundleOf(files[0])).want(t, 1, "another crate")
}

// addedDependency is the attack on arrayref: sources of a true commit, and a manifest
// with a dependency that no commit has. Only a publisher who says so can prove the
// sources, and only a reader who says so accepts them.
func addedDependency(t *testing.T, s *site, honest string) {
	file := filepath.Join(t.TempDir(), "itoa-9.9.9.crate")
	write(t, file, string(repack(t, read(t, honest), func(name string, content []byte) (string, []byte) {
		name = strings.Replace(name, "itoa-1.0.18/", "itoa-9.9.9/", 1)
		if strings.HasSuffix(name, "/Cargo.toml") {
			text := strings.Replace(string(content), `version = "1.0.18"`, `version = "9.9.9"`, 1)
			content = []byte(text + "\n[dependencies.proc-macro1]\nversion = \"1\"\n")
		}
		return name, content
	})))
	bare, _ := corpus(t, "itoa-1.0.18")
	unprovable(t, file, bare).want(t, 1, `dependencies.proc-macro1`, `package.version is "9.9.9", but "1.0.18" follows`)
	zkp(t, "prove", file, "--repository", bare, "--unproven-manifest").want(t, 0, "Cargo.toml is not proven")
	zkp(t, "submit", file, "--log", s.log.url).want(t, 0)
	s.verify(t, file).want(t, 1, "unproven files", `"Cargo.toml"`)
	s.verify(t, file, "--allow-unproven", "Cargo.toml").want(t, 0,
		"its dependencies, features and build script are not known to be the commit's")
}

// otherPath says about a true crate and a true commit that the package stands
// elsewhere in it, with a forged proof, without which the log does not read the .crate.
func otherPath(t *testing.T, s *site, file string) {
	e, err := entry.Parse(read(t, strings.TrimSuffix(file, ".crate")+".entry"))
	fatalIf(t, err)
	e.Claim.(*entry.Source).Path = "src"
	f, err := forge.Default()
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, []byte("ct")))
	b, err := e.Marshal()
	fatalIf(t, err)
	lie := filepath.Join(t.TempDir(), "lie.entry")
	write(t, lie, string(b))
	zkp(t, "submit", file, "--entry", lie, "--log", s.log.url).want(t, 1, "crate-refused", `the claim is about \"src\"`)
}

// TestWhatCannotBeProvenIsNamed tries to prove what no commit holds. All of it is
// refused before a proving key is looked for.
func TestWhatCannotBeProvenIsNamed(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	t.Run("too large", func(t *testing.T) {
		if testing.Short() {
			t.Skip("it makes a repository of thousands of files")
		}
		bare, file := largePackage(t)
		unprovable(t, file, bare).want(t, 1, "SHA-1 blocks", "a proof has room for 11808 blocks")
	})
	bare, commit := corpus(t, "itoa-1.0.18")
	t.Run("edited, and cargo was told to go on", func(t *testing.T) {
		dir := checkout(t, bare, commit)
		edit(t, filepath.Join(dir, "src", "lib.rs"))
		unprovable(t, cargoPackage(t, dir, "--allow-dirty"), bare).want(t, 1, "dirty", "src/lib.rs",
			"its content differs from the commit's")
	})
	t.Run("edited, and git was told not to look", func(t *testing.T) {
		dir := checkout(t, bare, commit)
		mustRun(t, dir, "git", "update-index", "--assume-unchanged", "src/lib.rs")
		edit(t, filepath.Join(dir, "src", "lib.rs"))
		unprovable(t, cargoPackage(t, dir), bare).want(t, 1,
			"src/lib.rs: its content differs from the commit's src/lib.rs")
	})
	file := cargoPackage(t, checkout(t, bare, commit))
	t.Run("another path", func(t *testing.T) {
		unprovable(t, file, bare, "--path", "src").want(t, 1, "the commit has no src/src/lib.rs")
		unprovable(t, file, bare, "--path", "../itoa").want(t, 2, "counted from the top of the repository", `".."`)
	})
	t.Run("another repository", func(t *testing.T) {
		other, otherCommit := corpus(t, "arrayref-0.3.9")
		unprovable(t, file, other).want(t, 3, commit+" is not in the repository")
		unprovable(t, file, other, "--commit", otherCommit).want(t, 1)
	})
	t.Run("edited behind a link, and git was told not to look", func(t *testing.T) {
		bare, commit := corpus(t, "serde-1.0.228")
		dir := checkout(t, bare, commit)
		mustRun(t, dir, "git", "update-index", "--assume-unchanged", "serde_core/src/lib.rs",
			"serde_core/src/de/mod.rs")
		edit(t, filepath.Join(dir, "serde_core", "src", "de", "mod.rs"))
		unprovable(t, cargoPackage(t, dir, "--package", "serde"), bare).want(t, 1,
			"src/core/de/mod.rs: its content differs from the commit's serde/src/core/de/mod.rs "+
				"(through a link: serde_core/src/de/mod.rs)")
	})
}

// unprovable runs prove, which must not get as far as to look for keys, nor leave
// an entry.
func unprovable(t *testing.T, file, repository string, more ...string) outcome {
	t.Helper()
	keys, out := filepath.Join(t.TempDir(), "keys"), filepath.Join(t.TempDir(), "x.entry")
	o := zkp(t, append([]string{"prove", file, "--repository", repository, "--keys", keys, "-o", out}, more...)...)
	for _, name := range []string{keys, out} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it made %s: %v", filepath.Base(name), err)
		}
	}
	if strings.Contains(o.stderr, "Working") {
		t.Errorf("it began to work:\n%s", o.stderr)
	}
	return o
}

func edit(t *testing.T, name string) {
	t.Helper()
	write(t, name, string(read(t, name))+"\n// a back door\n")
}

// largePackage makes a repository whose trees take more blocks than a proof has room
// for, and the package that cargo would make of it.
func largePackage(t *testing.T) (repository, file string) {
	t.Helper()
	dir := t.TempDir()
	files := []forge.File{forge.Manifest("large", "1.0.0"), {Path: "src/lib.rs"}}
	for i := range 8200 {
		files = append(files, forge.File{Path: fmt.Sprintf("src/m%04d/mod.rs", i),
			Content: fmt.Sprintf("// module %d\n", i)})
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Path)
		fatalIf(t, os.MkdirAll(filepath.Dir(name), 0o755))
		write(t, name, f.Content)
	}
	mustRun(t, dir, "git", "init", "--quiet", "--object-format=sha1")
	mustRun(t, dir, "git", "add", ".")
	commit(t, dir, "Many modules")
	files = append(files, forge.File{Path: ".cargo_vcs_info.json",
		Content: fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%s\"\n  },\n  \"path_in_vcs\": \"\"\n}",
			strings.TrimSpace(mustRun(t, dir, "git", "rev-parse", "HEAD")))})
	raw, err := forge.Pack("large", "1.0.0", files...)
	fatalIf(t, err)
	file = filepath.Join(t.TempDir(), "large-1.0.0.crate")
	write(t, file, string(raw))
	return dir, file
}

// commit commits what git tracks and what was added.
func commit(t *testing.T, dir, message string) {
	t.Helper()
	mustRun(t, dir, "git", "-c", "user.name=test", "-c", "user.email=test@e2e.example", "commit", "--quiet",
		"-am", message)
}
