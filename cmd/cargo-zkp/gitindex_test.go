package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/registry"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

// cargo keeps the lines of an index in a git repository apart, and reads the repository again
// when that has changed.
func TestAnIndexInGitIsComparedAsCargoReadsIt(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	fixture.Need(t, "git")
	d := proven(t)
	repo := t.TempDir()
	commit := func() {
		t.Helper()
		for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "c"}} {
			cmd := exec.Command("git", args...)
			cmd.Dir = repo
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	get := func(path string) string {
		t.Helper()
		r, err := http.Get(d.registry.Index + path)
		fatalIf(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		fatalIf(t, err)
		return string(b)
	}
	file := filepath.Join(repo, filepath.FromSlash(registry.Path("hello-proof")))
	put(t, filepath.Join(repo, "config.json"), get("config.json"))
	put(t, file, get(registry.Path("hello-proof")))
	commit()
	put(t, filepath.Join(d.home, "config.toml"), "[source.crates-io]\nreplace-with = \"git\"\n[source.git]\nregistry = \"file://"+
		filepath.ToSlash(repo)+"\"\n")
	d.project(asked)
	d.wants(0, nil, "build")
	d.wants(0, nil, "build", "--locked", "--offline")
	sources := only(t, filepath.Join(d.home, "registry", "src", "*", "hello-proof-0.1.0", "src", "lib.rs"))
	honest, err := os.ReadFile(sources)
	fatalIf(t, err)
	put(t, sources, "pub fn evil() {}\n")
	d.wants(int(outcome.Refused), []string{"src/lib.rs"}, "build")
	put(t, sources, string(honest))

	d.registry.Doctor("hello-proof", "0.1.0", func(line map[string]any) { line["links"] = "evil" })
	put(t, file, get(registry.Path("hello-proof")))
	commit()
	update := exec.Command("cargo", "update")
	update.Env = cargoEnv(os.Environ())
	if out, err := update.CombinedOutput(); err != nil || !strings.Contains(string(out), "Updating") {
		t.Fatalf("%v\n%s", err, out)
	}
	d.wants(int(outcome.Refused), []string{"the registry's index does not say", "links"}, "build", "--locked", "--offline")
}
