package cargo

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/internal/fixture"
)

// runCargo runs the real cargo without the network, in a home of the test's own.
func runCargo(t *testing.T, dir, home string, args ...string) (string, error) {
	t.Helper()
	return cargoCommand(t, dir, home, append(args, "--offline")...)
}

// cargoCommand runs the real cargo, which may reach loopback.
func cargoCommand(t *testing.T, dir, home string, args ...string) (string, error) {
	t.Helper()
	fixture.Need(t, "cargo")
	user, err := os.UserHomeDir()
	fatalIf(t, err)
	cmd := exec.Command("cargo", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CARGO_HOME="+home, "no_proxy=127.0.0.1", "CARGO_NET_RETRY=0")
	if os.Getenv("RUSTUP_HOME") == "" {
		cmd.Env = append(cmd.Env, "RUSTUP_HOME="+filepath.Join(user, ".rustup"))
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustCargo(t *testing.T, dir, home string, args ...string) string {
	t.Helper()
	out, err := runCargo(t, dir, home, args...)
	if err != nil {
		t.Fatalf("cargo %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// localRegistry makes a registry in a directory, as cargo's local-registry source reads
// it, and the configuration in home that puts it in the place of the default one.
func localRegistry(t *testing.T, home string, crates map[string][]byte) {
	t.Helper()
	dir := filepath.Join(home, "local")
	for id, raw := range crates {
		name, version, _ := strings.Cut(id, " ")
		line, err := json.Marshal(map[string]any{"name": name, "vers": version, "deps": []int{}, "features": map[string]any{}, "yanked": false,
			"cksum": fmt.Sprintf("%x", sha256.Sum256(raw))})
		fatalIf(t, err)
		write(t, filepath.Join(dir, "index", indexPath(name)), string(line)+"\n")
		write(t, filepath.Join(dir, name+"-"+version+".crate"), string(raw))
	}
	write(t, filepath.Join(home, "config.toml"), fmt.Sprintf("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nlocal-registry = %q\n", dir))
}

func indexPath(name string) string {
	switch len(name) {
	case 1, 2:
		return fmt.Sprint(len(name), "/", name)
	case 3:
		return "3/" + name[:1] + "/" + name
	}
	return name[:2] + "/" + name[2:4] + "/" + name
}

func TestWhatRealCargoUnpacksIsEqualAndItsLockIsRead(t *testing.T) {
	home, app := t.TempDir(), t.TempDir()
	raw := testCrate(t, "foo", "1.0.0",
		tarFile{path: "src/lib.rs", content: "pub fn f() {}\n"},
		tarFile{path: "run.sh", content: "#!/bin/sh\n", exec: true},
		tarFile{path: marker, content: "from the archive"},
		tarFile{path: "src/" + marker, content: "from the archive"},
		tarFile{path: "a/" + strings.Repeat("long/", 20) + "f", content: "x"},
	)
	localRegistry(t, home, map[string][]byte{"foo 1.0.0": raw})
	write(t, filepath.Join(app, "Cargo.toml"), "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nfoo = \"1\"\n")
	write(t, filepath.Join(app, "src", "lib.rs"), "")
	mustCargo(t, app, home, "fetch")

	l, err := ReadLock(filepath.Join(app, "Cargo.lock"))
	fatalIf(t, err)
	at := l.Named("foo")
	if len(at) != 1 || *l.Packages[at[0]].Checksum != sha256.Sum256(raw) {
		t.Fatalf("the lock has %v", l.Packages)
	}
	if _, ok := l.Packages[at[0]].Registry(); !ok {
		t.Errorf("foo is not of a registry: %v", l.Packages[at[0]])
	}
	dirs, err := FindSources(home, "foo", "1.0.0")
	fatalIf(t, err)
	if len(dirs) != 1 {
		t.Fatalf("cargo unpacked into %v", dirs)
	}
	c, err := crate.Read(raw, "foo", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	if _, err := os.Lstat(filepath.Join(dirs[0], marker)); err != nil {
		t.Errorf("cargo wrote no marker: %v", err)
	}
	fatalIf(t, CompareSource(dirs[0], c))

	// What this package is for: cargo does not notice.
	write(t, filepath.Join(dirs[0], "src", "lib.rs"), "pub fn evil() {}\n")
	mustCargo(t, app, home, "fetch", "--locked")
	err = CompareSource(dirs[0], c)
	refused(t, "a changed source", err, "src/lib.rs has")
	// What the error advises is enough.
	fatalIf(t, os.RemoveAll(dirs[0]))
	mustCargo(t, app, home, "fetch", "--locked")
	fatalIf(t, CompareSource(dirs[0], c))
}
