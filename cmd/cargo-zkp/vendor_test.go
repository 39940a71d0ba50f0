package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// vendor runs the verb, which must end with a code, and returns what it printed on standard
// output and on standard error.
func (d *depot) vendor(code outcome.Code, args ...string) (stdout, stderr string) {
	d.t.Helper()
	return d.call(code, append([]string{"vendor", "--trust", d.log.File, "--development"}, args...)...)
}

// There is no need to take the directory out of cargo's configuration before each update.
func TestVendorAgainAsksTheRegistryAndNotTheDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	dir := d.project(asked + "leaf = \"1\"\n")
	config := filepath.Join(dir, ".cargo", "config.toml")
	settings, _ := d.vendor(outcome.OK)
	put(t, config, settings)
	d.wants(0, nil, "check")

	fatalIf(t, os.Remove(config))
	d.registry.AddCrate(registrytest.MakeCrate("leaf", "1.1.0", map[string]string{".cargo-ok": "not cargo's"}))
	update := exec.Command("cargo", "update")
	update.Env = cargoEnv(os.Environ())
	if out, err := update.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	put(t, config, settings)
	_, said := d.vendor(outcome.OK)
	if !strings.Contains(said, "outside of the workspace's configuration") || !strings.Contains(said, "1 written, 1 removed") {
		t.Errorf("it says:\n%s", said)
	}
	if _, said = d.vendor(outcome.OK); !strings.Contains(said, "0 written, 0 removed") {
		t.Errorf("and then:\n%s", said)
	}
	d.wants(0, nil, "check", "--offline", "--locked")
	if holds(t, filepath.Join(dir, "vendor"), "leaf-1.0.0") || !holds(t, filepath.Join(dir, "vendor"), "leaf-1.1.0") {
		t.Error("the directory is not that of the lock file")
	}
}

func TestVendorNamesWhatComesFromGit(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	fixture.Need(t, "git")
	d := proven(t)
	repo := t.TempDir()
	put(t, filepath.Join(repo, "Cargo.toml"), "[package]\nname = \"gitty\"\nversion = \"0.1.0\"\nedition = \"2021\"\n")
	put(t, filepath.Join(repo, "src", "lib.rs"), "")
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "c"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	d.project(asked + "gitty = { git = \"file://" + filepath.ToSlash(repo) + "\" }\n")
	if _, said := d.vendor(outcome.OK); !strings.Contains(said, "because it is from git, which cargo will ask for it: gitty v0.1.0") {
		t.Errorf("it says:\n%s", said)
	}
}

// A repository can hold a link to what never ends where vendor keeps a crate.
func TestVendorWritesOverWhatIsNoFile(t *testing.T) {
	fixture.Need(t, "mkfifo")
	dir := t.TempDir()
	pipe, at := filepath.Join(dir, "pipe"), filepath.Join(dir, "leaf-1.0.0.crate")
	fatalIf(t, exec.Command("mkfifo", pipe).Run())
	fatalIf(t, os.Symlink(pipe, at))
	done := make(chan error, 1)
	go func() { done <- keep(at, []byte("content")) }()
	select {
	case err := <-done:
		fatalIf(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("it reads what lies there")
	}
	if b, err := os.ReadFile(at); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
}
