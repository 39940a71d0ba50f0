package e2e

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/internal/fixture"
)

// gitHost is a host of git repositories, on loopback, and the crates that cargo packaged from them.
type gitHost struct {
	t         *testing.T
	dir, url  string
	mapping   string
	dependent string // lines of [dependencies]
}

func newGitHost(t *testing.T) *gitHost {
	t.Helper()
	fixture.Need(t, "git", "cargo")
	f := &gitHost{t: t, dir: t.TempDir(), mapping: "[repositories]\n"}
	server := httptest.NewServer(fixture.GitServer(t, f.dir))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *gitHost) git(repo string, args ...string) {
	f.t.Helper()
	args = append([]string{"-c", "user.name=a", "-c", "user.email=a@a.example", "-C", filepath.Join(f.dir, repo)}, args...)
	if o := command(f.t, "", nil, "git", args...); o.code != 0 {
		f.t.Fatalf("git %v: %v", args, o)
	}
}

// repo makes a repository with packages, which name it by a URL that the mapping file sends to the host.
func (f *gitHost) repo(name string, packages ...string) {
	f.t.Helper()
	f.mapping += fmt.Sprintf("\"https://git.example/a/%s\" = \"%s/%s\"\n", name, f.url, name)
	dir := filepath.Join(f.dir, name)
	root := "[workspace]\nresolver = \"2\"\nmembers = [\"" + strings.Join(packages, "\", \"") + "\"]\n\n[workspace.package]\nlicense = \"MIT\"\n"
	for _, p := range packages {
		fatalIf(f.t, os.MkdirAll(filepath.Join(dir, p, "src"), 0o755))
		write(f.t, filepath.Join(dir, p, "src", "lib.rs"), "//! "+p+"\npub fn f() {}\n")
		write(f.t, filepath.Join(dir, p, "Cargo.toml"), fmt.Sprintf("[package]\nname = %q\nversion = \"1.0.0\"\nedition = \"2021\"\ndescription = \"d\"\n"+
			"license.workspace = true\nrepository = \"https://git.example/a/%s/tree/main/%s\"\n", p, name, p))
	}
	write(f.t, filepath.Join(dir, "Cargo.toml"), root)
	write(f.t, filepath.Join(dir, ".gitignore"), "target\nCargo.lock\n")
	f.git(name, "init", "-q", "--object-format=sha1", "-b", "main")
	f.git(name, "add", "-A")
	f.git(name, "commit", "-q", "-m", "x")
}

// pack has cargo package what stands in a directory, and the project depend on it.
func (f *gitHost) pack(d *dependent, dir, p string, args ...string) {
	f.t.Helper()
	target := f.t.TempDir()
	args = append([]string{"package", "--quiet", "--no-verify", "--target-dir", target, "-p", p}, args...)
	if o := command(f.t, dir, d.env, "cargo", args...); o.code != 0 {
		f.t.Fatalf("cargo %v: %v", args, o)
	}
	raw := read(f.t, filepath.Join(target, "package", p+"-1.0.0.crate"))
	d.registry.AddCrate(raw)
	f.dependent += p + " = \"=1.0.0\"\n"
}

// TestTheCratesOfALockFileAreProvenInBulk: from a lock file whose crates nobody has proven to a strict
// build, over a run that is killed in the middle.
func TestTheCratesOfALockFileAreProvenInBulk(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key, and proves")
	}
	s, program := newSoloSite(t)
	s.addLogURL()
	f, d := newGitHost(t), newDependent(t, s, "")
	many := []string{"m-one", "m-two", "m-three", "m-four"}
	f.repo("many", many...)
	f.repo("pair", "p-one", "p-two")
	f.repo("tagged", "t-one")
	f.repo("single", "s-one", "s-dirty")
	f.repo("left", "l-one")
	f.git("tagged", "tag", "t-one-v1.0.0")
	for _, p := range many {
		f.pack(d, filepath.Join(f.dir, "many"), p)
	}
	for _, p := range []string{"p-one", "p-two"} {
		f.pack(d, filepath.Join(f.dir, "pair"), p)
	}
	f.pack(d, filepath.Join(f.dir, "single"), "s-one")
	f.pack(d, filepath.Join(f.dir, "left"), "l-one")
	outside := filepath.Join(t.TempDir(), "copy") // of git, so that the crate names no commit
	fatalIf(t, os.CopyFS(outside, os.DirFS(filepath.Join(f.dir, "tagged"))))
	fatalIf(t, os.RemoveAll(filepath.Join(outside, ".git")))
	f.pack(d, outside, "t-one")
	write(t, filepath.Join(f.dir, "single", "s-dirty", "src", "lib.rs"), "// changed\n")
	f.pack(d, filepath.Join(f.dir, "single"), "s-dirty", "--allow-dirty")
	fatalIf(t, os.RemoveAll(filepath.Join(f.dir, "left"))) // its repository is gone

	d.write("Cargo.toml", string(read(t, filepath.Join(d.dir, "Cargo.toml")))+f.dependent)
	d.write(backlog.MapName, f.mapping)
	policy := "version = 1\ntrust = [" + quoted(s.policy) + "]\nprograms = [" + quoted(program) + "]\nrequire = \"all\"\n"
	d.write("zkp.toml", policy)
	d.mustCargo("fetch")
	d.zkp("verify").want(t, 1, "crates are not what the policy asks for")

	work, file := filepath.Join(d.dir, "target", "proofs"), filepath.Join(d.dir, "target", "report.json")
	args := []string{"prove", "--lock", "--log", s.log.url, "--submit", "--dir", work, "--report", file}
	entries := func() map[string]string {
		found, err := filepath.Glob(filepath.Join(work, "*.entry"))
		fatalIf(t, err)
		all := map[string]string{}
		for _, path := range found {
			all[filepath.Base(path)] = string(read(t, path))
		}
		return all
	}
	p := launchIn(t, d.dir, d.env, "cargo-zkp", args...)
	p.eventually(t, "second entry", func() bool { return len(entries()) >= 2 })
	p.kill()
	before := entries()

	o := d.zkp(args...)
	o.want(t, 1, "2 crates cannot be proven")
	for _, word := range []string{"packaged with uncommitted changes: s-dirty", "its repository is gone, or not public: l-one", "next: "} {
		if !strings.Contains(o.stdout, word) {
			t.Errorf("it does not say %q: %v", word, o)
		}
	}
	for name, e := range before {
		if entries()[name] != e {
			t.Errorf("%s was proven again", name)
		}
	}
	report, err := backlog.ReadReport(file)
	fatalIf(t, err)
	if report.Count(backlog.Proven)+report.Count(backlog.Logged) != 8 || report.Count(backlog.Refused) != 2 {
		t.Errorf("%+v", report)
	}

	// Everything is logged now, and nothing is proven any more.
	after := entries()
	if len(after) != 8 {
		t.Errorf("there are the entries %v", slices.Sorted(maps.Keys(after)))
	}
	o = d.zkp(append(args, "--message-format", "json")...)
	o.want(t, 1)
	again, err := backlog.ParseReport([]byte(o.stdout))
	if err != nil || again.Count(backlog.Logged) != 8 || !maps.Equal(entries(), after) {
		t.Errorf("%v %v", err, o)
	}
	d.zkp("prove", "--lock", "--log", s.log.url, "-p", "m-one", "-p", "t-one@1.0.0").want(t, 0)

	// A strict build, but for the two that only others can mend.
	d.zkp("verify").want(t, 1, "s-dirty", "l-one")
	for _, name := range []string{"s-dirty", "l-one"} {
		policy += fmt.Sprintf("[[exception]]\ncrate = %q\nreason = \"see the report\"\nexpires = \"2999-01-01\"\n", name)
	}
	d.write("zkp.toml", policy)
	d.zkp("verify").want(t, 0, "8 crates proven")
	d.zkp("build").want(t, 0)
}
