package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// line returns the index line of hello-proof 0.1.0, with a change.
func (d *depot) line(change func(line map[string]any)) (line []byte) {
	d.t.Helper()
	d.registry.Doctor("hello-proof", "0.1.0", func(l map[string]any) {
		b, err := json.Marshal(l)
		fatalIf(d.t, err)
		var own map[string]any
		fatalIf(d.t, json.Unmarshal(b, &own))
		change(own)
		line, err = json.Marshal(own)
		fatalIf(d.t, err)
	})
	return line
}

// gitIndex lets cargo take its crates from a git index of files, which has hello-proof.
func (d *depot) gitIndex(hello string) (index string) {
	d.t.Helper()
	fixture.Need(d.t, "git")
	index = filepath.Join(d.t.TempDir(), "index")
	put(d.t, filepath.Join(index, "config.json"), `{"dl":"`+d.registry.URL+`/dl"}`)
	put(d.t, filepath.Join(index, "he", "ll", "hello-proof"), hello)
	runGit(d.t, index, "init", "-q")
	runGit(d.t, index, "add", ".")
	runGit(d.t, index, "commit", "-qm", "index")
	put(d.t, filepath.Join(d.home, "config.toml"), "[source.crates-io]\nreplace-with = \"files\"\n"+
		"[source.files]\nregistry = \"file://"+filepath.ToSlash(index)+"\"\n")
	return index
}

// stops builds a project that asks for hello-proof, which must stop before it is compiled.
func (d *depot) stops(code outcome.Code, words []string, args ...string) {
	d.t.Helper()
	d.wants(int(code), words, "build", args...)
	if holds(d.t, "target", "hello_proof") {
		d.t.Error("it was compiled")
	}
}

// Whatever cargo can build is looked at, wherever cargo finds it.
func TestNothingIsBuiltThatWasNotLookedAt(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	t.Run("a mirror whose index is a git repository of files", func(t *testing.T) {
		d := newDepot(t)
		d.registry.AddCrate(helloProof(t)) // nobody logged it
		d.gitIndex(string(d.line(func(map[string]any) {})) + "\n")
		d.project(asked)
		d.stops(outcome.Refused, []string{"hello-proof v0.1.0", "no one has proved"})
	})
	t.Run("a version that no proof can be about", func(t *testing.T) {
		d := proven(t)
		d.registry.AddCrate(registrytest.MakeCrate("hello-proof", "0.1.7+"+strings.Repeat("a", 70), nil))
		d.project(asked)
		d.stops(outcome.Unchecked, []string{"hello-proof v0.1.7", "must be 1 to 64"})
	})
	// cargo does not look at what is in a field that it does not know.
	deep := `,"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"
	for name, first := range map[string]bool{"a line with a deep field": false, "such a line behind an honest one": true} {
		t.Run(name, func(t *testing.T) {
			d := proven(t)
			d.registry.Add("evil", "1.0.0")
			lie := d.line(func(l map[string]any) {
				l["deps"] = []any{map[string]any{"name": "evil", "req": "^1", "features": []string{}, "optional": false, "default_features": true}}
			})
			body := string(bytes.TrimSuffix(lie, []byte("}"))) + deep + "\n"
			if first {
				body = string(d.line(func(map[string]any) {})) + "\n" + body
			}
			d.registry.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
				if !strings.HasSuffix(q.URL.Path, "/hello-proof") {
					return false
				}
				w.Header().Set("ETag", `"1"`)
				fmt.Fprint(w, body)
				return true
			})
			d.project(asked)
			d.stops(outcome.Refused, []string{"hello-proof v0.1.0: the registry's index does not say", `it adds the dependency "evil"`})
		})
	}
	t.Run("the default registry is said to be a directory", func(t *testing.T) {
		d := proven(t)
		sum := sha256.Sum256(helloProof(t))
		dir := d.project(asked)
		d.wants(0, nil, "build")
		fatalIf(t, os.RemoveAll("target"))
		put(t, filepath.Join(dir, "evil", "x", "Cargo.toml"), "[package]\nname = \"hello-proof\"\nversion = \"0.1.0\"\n")
		put(t, filepath.Join(dir, "evil", "x", "src", "lib.rs"), "")
		put(t, filepath.Join(dir, "evil", "x", ".cargo-checksum.json"), fmt.Sprintf(`{"files":{},"package":"%x"}`, sum))
		put(t, filepath.Join(dir, ".cargo", "config.toml"), "[source.crates-io]\ndirectory = \"evil\"\n")
		put(t, filepath.Join(d.home, "config.toml"), "")
		d.stops(outcome.Refused, []string{"hello-proof v0.1.0: unpacked source differs"})
	})
	t.Run("another lock file", func(t *testing.T) {
		d := proven(t)
		d.project(asked)
		t.Setenv("CARGO_RESOLVER_LOCKFILE_PATH", filepath.Join(t.TempDir(), "Cargo.lock"))
		d.stops(outcome.Refused, []string{"cargo is configured to build from the lock file"})
	})
}

// cargo looks for manifests and configuration above the real directory, and not above a link.
func TestALinkToAMemberIsTheMember(t *testing.T) {
	d := newDepot(t)
	d.registry.AddCrate(helloProof(t)) // nobody logged it
	dir := d.project(asked)
	put(t, filepath.Join(dir, "Cargo.toml"), "[workspace]\nmembers = [\"m\", \"n\"]\n")
	put(t, filepath.Join(dir, "n", "Cargo.toml"), "[package]\nname = \"n\"\nversion = \"0.1.0\"\n[dependencies]\n"+asked)
	put(t, filepath.Join(dir, "n", "src", "lib.rs"), "")
	put(t, filepath.Join(dir, "m", "Cargo.toml"), "[package]\nname = \"m\"\nversion = \"0.1.0\"\n[dependencies]\nn = { path = \"../n\" }\n")
	put(t, filepath.Join(dir, "m", "src", "lib.rs"), "")
	d.mustCargo("fetch")
	link := filepath.Join(t.TempDir(), "m")
	if err := os.Symlink(filepath.Join(dir, "m"), link); err != nil {
		fixture.Skip(t, "no links here: %v", err)
	}
	put(t, filepath.Join(filepath.Dir(link), "n", "Cargo.toml"), "[package]\nname = \"n\"\nversion = \"0.1.0\"\n")
	put(t, filepath.Join(filepath.Dir(link), "n", "src", "lib.rs"), "")
	t.Chdir(link)
	d.zkp(outcome.Refused, []string{"hello-proof v0.1.0", "no one has proved"}, "build", "--zkp-trust", d.log.File, "--zkp-development")
	if holds(t, filepath.Join(dir, "target"), "hello_proof") {
		t.Error("it was compiled")
	}
}

// What follows the first argument of the program, or of rustc, is not for cargo, which would
// go online, or build another workspace than was looked at.
func TestOptionsOfTheProgramAreNotCargos(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	for _, c := range []struct{ before, args string }{
		{"generate-lockfile", "run serve --offline"}, {"generate-lockfile", "run --bin app -j 2 x --frozen"},
		{"fetch", "run - --manifest-path other/Cargo.toml"}, {"generate-lockfile", "rustc x --offline"},
	} {
		t.Run(c.args, func(t *testing.T) {
			d := newDepot(t)
			d.registry.AddCrate(helloProof(t)) // nobody logged it
			d.project(asked)
			put(t, filepath.Join("other", "Cargo.toml"), "[package]\nname = \"other\"\nversion = \"0.1.0\"\n[workspace]\n")
			put(t, filepath.Join("other", "src", "lib.rs"), "")
			d.mustCargo(c.before)
			args := strings.Fields(c.args)
			out, code := d.cargo(args[0], args[1:]...)
			if code != int(outcome.Refused) || holds(t, "target", "hello_proof") {
				t.Errorf("exit %d\n%s", code, out)
			}
		})
	}
}

// A lock file may spell the default registry's index in any way that cargo takes for the same.
func TestTheDefaultRegistryIsKnownByAnySpelling(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := newDepot(t)
	d.registry.AddCrate(helloProof(t)) // nobody logged it
	dir := d.project("hello-proof = \"0.1\"\n")
	d.settings(dir, "[registry.crates-io]\nrequire = \"all\"\n")
	d.mustCargo("generate-lockfile")
	lock, err := os.ReadFile("Cargo.lock")
	fatalIf(t, err)
	for _, end := range []string{"", "/", ".git", "-INDEX"} {
		spelled := strings.Replace(string(lock), "-index\"", "-index"+end+"\"", 1)
		if end == "-INDEX" {
			spelled = strings.Replace(string(lock), "-index\"", end+"\"", 1)
		}
		put(t, "Cargo.lock", spelled)
		d.mustCargo("fetch", "--locked")
		d.tells(outcome.Refused, []string{"hello-proof v0.1.0", "no one has proved"}, "--locked")
	}
}

// Once a git index has moved, for whatever project, cargo reads its lines again, offline too.
func TestALineThatAGitIndexChangedIsSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	index := d.gitIndex(string(d.line(func(map[string]any) {})) + "\n")
	dir := d.project(asked)
	d.settings(dir, "")
	d.mustCargo("fetch")
	d.tells(outcome.OK, nil, "--locked")
	d.tells(outcome.OK, nil, "--locked")
	put(t, filepath.Join(index, "he", "ll", "hello-proof"), string(d.line(func(l map[string]any) {
		l["features"], l["features2"] = map[string]any{}, map[string]any{"default": []string{}, "loud": []string{}}
	}))+"\n")
	runGit(t, index, "commit", "-qam", "lie")
	d.project("nothing = \"1\"\n")
	if out, err := exec.Command("cargo", "fetch").CombinedOutput(); err == nil {
		t.Fatalf("there is a crate that is not there\n%s", out)
	}
	t.Chdir(dir)
	d.tells(outcome.Refused, []string{"the registry's index does not say"}, "--locked", "--offline")
}

// What the configuration patches in is read by cargo only.
func TestALockFileIsStaleOnceAPatchOfTheConfigurationChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	d.registry.Add("twig", "1.0.0")
	dir := d.project(asked + "leaf = \"1\"\n")
	d.settings(dir, "")
	const leaf = "[package]\nname = \"leaf\"\nversion = \"1.0.0\"\n[workspace]\n"
	put(t, "leaf/Cargo.toml", leaf)
	put(t, "leaf/src/lib.rs", "")
	put(t, ".cargo/config.toml", "[patch.crates-io]\nleaf = { path = \"leaf\" }\n")
	d.mustCargo("fetch")
	d.tells(outcome.OK, nil, "--locked")
	d.tells(outcome.OK, nil, "--locked")
	put(t, "leaf/Cargo.toml", leaf+"[dependencies]\ntwig = \"1\"\n")
	d.tells(outcome.Unchecked, []string{"is not up to date"}, "--locked")
}
