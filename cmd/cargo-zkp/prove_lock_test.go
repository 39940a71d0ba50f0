package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

func TestOptionsOfProveThatDoNotGoTogether(t *testing.T) {
	t.Chdir(t.TempDir())
	for want, args := range map[string][]string{
		"--lock or hello@1.0.0, not both":        {"hello@1.0.0", "--lock"},
		"got none; --lock proves":                {},
		"takes one argument, FILE.crate":         {"a.crate", "b.crate"},
		"--jobs goes with --lock only":           {"a.crate", "--jobs", "2"},
		"--map goes with --lock and NAME@VERS":   {"a.crate", "--map", "x"},
		"--commit is for one crate; with --lock": {"--lock", "--commit", "x"},
		"--repository is for one crate":          {"--lock", "--repository", "x"},
		"--submit needs --log URL":               {"--lock", "--submit"},
		"--jobs is 1 to 64, not 0":               {"--lock", "--jobs", "0"},
		"--message-format is human or json":      {"--lock", "--message-format", "sarif"},
		"takes the program and key of the log":   {"--lock", "--log", "http://127.0.0.1:1", "--program", "x", "--proving-key", "y"},
	} {
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"prove"}, args...), &out, &out); code != int(outcome.Usage) || !strings.Contains(out.String(), want) {
			t.Errorf("%q: exit %d\n%s\nwant %s", args, code, &out, want)
		}
	}
}

// lockProject makes a project in the working directory whose lock file names crates of a registry, which
// lie in cargo's cache.
func lockProject(t *testing.T, crates map[string][]byte) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("CARGO_HOME", home)
	t.Chdir(t.TempDir())
	put(t, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[lib]\npath = \"lib.rs\"\n")
	lock := "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n"
	for name, raw := range crates {
		put(t, filepath.Join(home, "registry", "cache", "a", name+"-1.0.0.crate"), string(raw))
		lock += "\n[[package]]\nname = \"" + name + "\"\nversion = \"1.0.0\"\nsource = \"sparse+https://index.example/\"\nchecksum = \"" + fmt.Sprintf("%x", sha256.Sum256(raw)) + "\"\n"
	}
	put(t, "Cargo.lock", lock)
}

func TestTheReportOfProveLock(t *testing.T) {
	fixture.Need(t, "git")
	crates := map[string][]byte{}
	for _, name := range []string{"aa", "bb", "cc", "dd", "ee"} {
		crates[name] = registrytest.MakeCrate(name, "1.0.0", nil)
	}
	lockProject(t, crates)
	var out, said bytes.Buffer
	code := run(t.Context(), []string{"prove", "--lock", "--report", "r.json", "--dir", "work"}, &out, &said)
	text := out.String()
	if code != int(outcome.Refused) || !strings.Contains(said.String(), "error: 5 crates cannot be proven") || len(strings.Split(text, "\n")) != 3 ||
		!strings.Contains(text, "5 cannot be proven, names no repository that anybody can fetch: ") || !strings.Contains(text, ", 2 more\n  next: say in zkp-repositories.toml") {
		t.Errorf("exit %d\n%s%s", code, text, &said)
	}
	r, err := backlog.ReadReport("r.json")
	if err != nil || r.Count(backlog.Refused) != 5 {
		t.Fatalf("%v %+v", err, r)
	}
	out.Reset()
	code = run(t.Context(), []string{"prove", "--lock", "--message-format", "json", "--dir", "work", "-p", "bb", "-p", "cc@1.0.0", "-q"}, &out, &said)
	if r, err = backlog.ParseReport(out.Bytes()); code != int(outcome.Refused) || err != nil || len(r.Crates) != 2 {
		t.Errorf("%d %v %s", code, err, &out)
	}
	out.Reset()
	if code := run(t.Context(), []string{"prove", "--lock", "-p", "zz"}, &out, &out); code != int(outcome.Usage) || !strings.Contains(out.String(), "has no crate of a registry that is zz") {
		t.Errorf("%d %s", code, &out)
	}
	put(t, backlog.MapName, "[crates]\n")
	out.Reset()
	if code := run(t.Context(), []string{"prove", "--lock"}, &out, &out); code != int(outcome.Usage) || !strings.Contains(out.String(), "crates") {
		t.Errorf("a wrong mapping file: %d %s", code, &out)
	}
}

// TestWhatCouldNotBeTriedIsSaidWithAReason: of one crate; -v tells of each.
func TestWhatCouldNotBeTriedIsSaidWithAReason(t *testing.T) {
	r := &backlog.Report{}
	for _, name := range []string{"aa", "bb"} {
		r.Crates = append(r.Crates, backlog.Crate{Name: name, Version: "1.0.0", Outcome: backlog.Failed,
			Detail: "git.example does not answer\x1b\nfor long", Next: "run the same command again"})
	}
	var out bytes.Buffer
	writeReport(&out, r, false)
	if want := "could not be tried: aa 1.0.0, bb 1.0.0\n      aa: git.example does not answer\\x1b\n  next: "; !strings.Contains(out.String(), want) {
		t.Errorf("%s", &out)
	}
}

// TestAPublishedCrateLeavesAPackageClean: what is proven for others does not stop the next publish.
func TestAPublishedCrateLeavesAPackageClean(t *testing.T) {
	t.Setenv("CARGO_HOME", t.TempDir())
	raw := helloProof(t)
	reg := registrytest.New(t)
	reg.AddCrate(raw)
	t.Chdir(t.TempDir())
	put(t, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[lib]\npath = \"lib.rs\"\n")
	sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
	o := proveArgs(t, "--index", reg.Index, "--repository", ".")
	_, err := o.crate(t.Context(), sh, "hello-proof@0.1.0")
	fatalIf(t, err)
	fatalIf(t, o.crateFile.write())
	left, err := os.ReadDir(".")
	if err != nil || len(left) != 2 || left[1].Name() != "target" || filepath.Base(o.out) != "hello-proof-0.1.0.entry" {
		t.Errorf("%v %v %s", err, left, o.out)
	}
	if path := filepath.Join("target", "zkp", "proved", "hello-proof-0.1.0.crate"); !exists(path) {
		t.Errorf("%s is not there", path)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestTheRepositoryOfAManifestIsAStrangers: it is not asked where only we can.
func TestTheRepositoryOfAManifestIsAStrangers(t *testing.T) {
	fixture.Need(t, "git")
	t.Setenv("CARGO_HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for repository, want := range map[string]string{
		"":                        "needs --repository",
		"git@git.example:a/b":     "needs --repository",
		"file:///etc":             "needs --repository",
		"https://127.0.0.1:1/a/b": "is not public",
		"http://localhost/a/b":    "is not public",
		"https://[::1]:1/a/b":     "is not public",
	} {
		reg := registrytest.New(t)
		reg.AddCrate(registrytest.MakeCrate("a", "1.0.0", map[string]string{
			"Cargo.toml": "[package]\nname = \"a\"\nversion = \"1.0.0\"\nrepository = \"" + repository + "\"\n[lib]\npath = \"src/lib.rs\"\n"}))
		t.Chdir(t.TempDir())
		var out bytes.Buffer
		code := run(t.Context(), []string{"prove", "a@1.0.0", "--index", reg.Index, "--commit", strings.Repeat("12", 20)}, &out, &out)
		if code == int(outcome.OK) || !strings.Contains(out.String(), want) {
			t.Errorf("%q: exit %d\n%s", repository, code, &out)
		}
	}
}

func TestSeveralCratesAreSubmittedAtOnce(t *testing.T) {
	crates := map[string][]byte{}
	for _, name := range []string{"hello-proof-0.1.0.crate", "hello-proof-0.1.1.crate"} {
		crates[name] = fixture.Read(t, name)
	}
	t.Chdir(t.TempDir())
	for name, raw := range crates {
		put(t, name, string(raw))
	}
	var out bytes.Buffer
	args := []string{"submit", "hello-proof-0.1.0.crate", "hello-proof-0.1.1.crate", "--log", "http://127.0.0.1:1"}
	if code := run(t.Context(), args, &out, &out); code != int(outcome.Unchecked) || !strings.Contains(out.String(), "error: hello-proof-0.1.1.crate: ") ||
		!strings.Contains(out.String(), "error: 2 of 2 crates were not logged") {
		t.Errorf("%d %s", code, &out)
	}
	out.Reset()
	if code := run(t.Context(), append(args, "--entry", "x"), &out, &out); code != int(outcome.Usage) || !strings.Contains(out.String(), "name the file of one crate") {
		t.Errorf("%d %s", code, &out)
	}
}
