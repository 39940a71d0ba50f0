package main

import (
	"bytes"
	"encoding/hex"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/backlog"
	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
	"cratelog/prover"
	"cratelog/prover/git"
)

// proveArgs parses the options of the verb prove.
func proveArgs(t *testing.T, args ...string) *proveOptions {
	t.Helper()
	fs := flag.NewFlagSet("prove", flag.ContinueOnError)
	o := &proveOptions{}
	o.register(fs)
	fatalIf(t, fs.Parse(args))
	return o
}

func TestPublishedCratesAreProvedFromCacheOrRegistry(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	t.Setenv("CARGO_HOME", home)
	raw := helloProof(t)
	t.Chdir(dir)
	reg := registrytest.New(t)
	reg.AddCrate(raw)
	other := registrytest.MakeCrate("hello-proof", "0.1.0", nil)
	put(t, filepath.Join(home, "config.toml"), "[registries.my]\nindex = \"sparse+"+reg.Index+"\"\n")
	var said bytes.Buffer
	sh := newShell(&said, &said)
	get := func(args ...string) ([]byte, error) {
		return proveArgs(t, args...).get(t.Context(), sh, "hello-proof", "0.1.0")
	}
	for _, args := range [][]string{{"--registry", "my"}, {"--index", "sparse+" + reg.Index}, {"--index", reg.Index}} {
		if got, err := get(args...); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := get(); err == nil {
		t.Error("a default registry that cargo has not used was found")
	}
	// What cargo has downloaded needs no registry.
	put(t, filepath.Join(home, "registry", "cache", "a", "hello-proof-0.1.0.crate"), string(raw))
	reg.Requests()
	if got, err := get(); err != nil || !bytes.Equal(got, raw) || len(reg.Requests()) != 0 {
		t.Errorf("from the cache: %v", err)
	}
	if got, err := get("--registry", "my"); err != nil || !bytes.Equal(got, raw) ||
		strings.Contains(strings.Join(reg.Requests(), " "), ".crate") {
		t.Errorf("from the cache, as the registry lists it: %v", err)
	}
	// Two registries with different crates of that name.
	put(t, filepath.Join(home, "registry", "cache", "b", "hello-proof-0.1.0.crate"), string(other))
	if _, err := get(); outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(),
		"2 different crates hello-proof v0.1.0") {
		t.Error(err)
	}
	if got, err := get("--registry", "my"); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("the one that the registry lists: %v", err)
	}
	reg.Swap("hello-proof", "0.1.0", other)
	fatalIf(t, os.RemoveAll(filepath.Join(home, "registry")))
	if _, err := get("--registry", "my"); err == nil {
		t.Error("a crate with another checksum than the index lists was taken")
	}
	for what, args := range map[string][]string{`no registry "nobody"`: {"--registry", "nobody"}, "not both": {"--registry", "my", "--index", reg.Index}} {
		if _, err := get(args...); outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestTheCrateIsLeftBesideItsEntryAndNothingIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CARGO_HOME", t.TempDir())
	raw := helloProof(t)
	t.Chdir(dir)
	reg := registrytest.New(t)
	reg.AddCrate(raw)
	sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
	args := []string{"--index", reg.Index, "--repository", "."}
	for range 2 { // the second time it is there
		o := proveArgs(t, args...)
		if _, err := o.crate(t.Context(), sh, "hello-proof@0.1.0"); err != nil || o.out != "hello-proof-0.1.0.entry" {
			t.Errorf("%s: %v", o.out, err)
		}
		fatalIf(t, o.crateFile.write())
	}
	got, err := os.ReadFile("hello-proof-0.1.0.crate")
	if err != nil || !bytes.Equal(got, raw) {
		t.Error(err)
	}
	fatalIf(t, os.WriteFile("hello-proof-0.1.0.crate", []byte("mine"), 0o644))
	if _, err := proveArgs(t, args...).crate(t.Context(), sh, "hello-proof@0.1.0"); err == nil ||
		!strings.Contains(err.Error(), "is there already and is another .crate") {
		t.Error(err)
	}
	for _, c := range []struct {
		what, want string
		args       []string
	}{
		{"hello proof@0.1.0", "is not a crate", args},
		{"hello-proof@latest", "is not a crate", args},
	} {
		_, err := proveArgs(t, c.args...).crate(t.Context(), sh, c.what)
		if outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestTheCommitOfAPublishedCrateIsFetched(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	repo := fixture.Repo(t)
	o := proveArgs(t, "--repository", "file://"+repo)
	sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
	file := filepath.Join(t.TempDir(), "hello-proof-0.1.0.crate")
	fatalIf(t, os.WriteFile(file, helloProof(t), 0o644))
	c, err := o.crate(t.Context(), sh, file)
	fatalIf(t, err)
	commit := fixture.Commit(t, "0.1.0")
	if got, err := o.wanted(t.Context(), c); err != nil || got != commit {
		t.Errorf("%x %v", got, err)
	}
	dir, err := o.fetch(t.Context(), sh, c)
	if err != nil || dir == repo || !git.IsURL(o.repository) {
		t.Errorf("%s %v", dir, err)
	}
	runGit(t, repo, "-c", "user.name=a", "-c", "user.email=a@a.example", "tag", "-a", "-m", "x", "annotated",
		hex.EncodeToString(commit[:]))
	runGit(t, repo, "branch", "-f", "light", hex.EncodeToString(commit[:]))
	for _, rev := range []string{"annotated", "light", "refs/tags/annotated"} {
		o := proveArgs(t, "--repository", "file://"+repo, "--commit", rev)
		if got, err := o.wanted(t.Context(), c); err != nil || got != commit {
			t.Errorf("%s: %x %v", rev, got, err)
		}
		if _, err := o.fetch(t.Context(), sh, c); err != nil || o.commit != hex.EncodeToString(commit[:]) {
			t.Errorf("%s: %s %v", rev, o.commit, err)
		}
	}
	for _, rev := range []string{"v9", "--upload-pack=x", "", "*"} {
		_, err := proveArgs(t, "--repository", "file://"+repo, "--commit", rev).wanted(t.Context(), c)
		if outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), "--commit") {
			t.Errorf("%q, which is no branch or tag: %v", rev, err)
		}
	}
}

// TestAFailedProofLeavesNothing refuses a published crate: neither .crate nor entry is left in
// the working directory, and the words are a reader's.
func TestAFailedProofLeavesNothing(t *testing.T) {
	t.Setenv("CARGO_HOME", t.TempDir())
	raw := helloProof(t)
	reg := registrytest.New(t)
	reg.AddCrate(raw)
	repo, other := fixture.Repo(t), fixture.Commit(t, "0.1.1")
	t.Chdir(t.TempDir())
	var said bytes.Buffer
	code := run(t.Context(), []string{"prove", "hello-proof@0.1.0", "--index", reg.Index, "--repository", repo,
		"--commit",
		hex.EncodeToString(other[:])}, &said, &said)
	if code != int(outcome.Refused) || !strings.Contains(said.String(), "only the author can mend that") ||
		strings.Contains(said.String(), "package again") {
		t.Errorf("%d: %s", code, said.String())
	}
	left, err := os.ReadDir(".")
	if err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

// TestAPublishedCrateIsProvedFromWhereTheMappingFileSays, as prove --lock does it: a directory, a server on this
// machine that no manifest may name, by the crate or by what its manifest says, a commit for a crate that names
// none, and what the command line says goes before.
func TestAPublishedCrateIsProvedFromWhereTheMappingFileSays(t *testing.T) {
	t.Setenv("CARGO_HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	raw, repo, commit := helloProof(t), fixture.Repo(t), fixture.Commit(t, "0.1.0")
	c, err := crate.Read(raw, "hello-proof", "0.1.0", crate.DefaultLimits)
	fatalIf(t, err)
	url := fixture.ServeGit(t, filepath.Dir(repo), func(*http.Request) bool { return true }) + "/" + filepath.Base(repo)
	reg := registrytest.New(t)
	reg.AddCrate(raw)
	for name, test := range map[string]struct {
		mapping string
		args    []string
		from    string // "": none is found
	}{
		"nothing":              {"", nil, "manifest"},
		"a directory":          {"[crate.hello-proof]\nrepository = \"" + repo + "\"\n", nil, repo},
		"this version's":       {"[crate.hello-proof]\nrepository = \"x\"\n[crate.\"hello-proof@0.1.0\"]\nrepository = \"" + repo + "\"\n", nil, repo},
		"another crate's":      {"[crate.other]\nrepository = \"" + repo + "\"\n", nil, "manifest"},
		"where that one moved": {"[repositories]\n\"" + c.Repository() + "\" = \"" + repo + "\"\n", nil, repo},
		"the command line":     {"[crate.hello-proof]\nrepository = \"x\"\n", []string{"--repository", repo}, repo},
		"on this machine":      {"[crate.hello-proof]\nrepository = \"" + url + "\"\n", nil, url},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			at := backlog.MapName
			if name == "a directory" { // as --map names it
				at = "map.toml"
				test.args = append(test.args, "--map", at)
			}
			put(t, at, test.mapping)
			var said bytes.Buffer
			sh := newShell(&said, &said)
			o := proveArgs(t, append(test.args, "--index", reg.Index)...)
			if _, err := o.crate(t.Context(), sh, "hello-proof@0.1.0"); err != nil && test.from != "manifest" {
				t.Fatal(err)
			}
			if test.from == "manifest" {
				if o.own || o.repository == repo {
					t.Errorf("taken from %s", o.repository)
				}
				return
			}
			if o.repository != test.from {
				t.Fatalf("taken from %q\n%s", o.repository, &said)
			}
			dir, err := o.fetch(t.Context(), sh, c)
			fatalIf(t, err)
			source, err := git.Open(t.Context(), dir)
			fatalIf(t, err)
			defer source.Close()
			src, err := o.source(t.Context(), source)
			fatalIf(t, err)
			plan, err := prover.NewPlan(t.Context(), c, source, src)
			if err != nil || plan.Claim.Commit != commit {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("for a crate that names no commit", func(t *testing.T) {
		t.Chdir(t.TempDir())
		bare := registrytest.MakeCrate("bare", "1.0.0", nil)
		reg.AddCrate(bare)
		path := "sub"
		put(t, backlog.MapName, "[crate.bare]\nrepository = \""+repo+"\"\ncommit = \"v0.1.0\"\npath = \"sub\"\n"+
			"submodules = { \"vendor/z\" = \"z\" }\n")
		sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
		o := proveArgs(t, "--index", reg.Index)
		_, err := o.crate(t.Context(), sh, "bare@1.0.0")
		fatalIf(t, err)
		source, err := git.Open(t.Context(), repo)
		fatalIf(t, err)
		defer source.Close()
		src, err := o.source(t.Context(), source)
		wd, _ := os.Getwd()
		if err != nil || src.Commit == nil || *src.Commit != commit || src.Path == nil || *src.Path != path ||
			!strings.HasSuffix(o.submodules["vendor/z"], "z") {
			t.Errorf("%+v, %v, %v in %s", src, o.submodules, err, wd)
		}
	})
	t.Run("and a wrong file is refused", func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, backlog.MapName, "[crates]\n")
		sh := newShell(&bytes.Buffer{}, &bytes.Buffer{})
		if _, err := proveArgs(t, "--index", reg.Index).crate(t.Context(), sh,
			"hello-proof@0.1.0"); outcome.Of(err) != outcome.Usage {
			t.Error(err)
		}
		if _, err := proveArgs(t, "--index", reg.Index, "--map", "gone").crate(t.Context(), sh,
			"hello-proof@0.1.0"); err == nil {
			t.Error("a mapping file that is not there")
		}
	})
}
