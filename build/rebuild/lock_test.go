package rebuild

import (
	"fmt"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// index is a registry's, as a lock file names it; nobody goes there.
const index = "sparse+https://registry.example/index/"

// locked is the entry of a package of that registry in a lock file.
func locked(name, version string, more ...string) string {
	return fmt.Sprintf("[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = %q\n%s\n", name, version, index,
		strings.Repeat("ab", 32), strings.Join(more, "\n"))
}

const ownEntry = "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\n\n"

// app packs a crate app 1.0.0 with a lock file, "" for none, and other files.
func app(t *testing.T, lock string, files map[string]string) *crate.Crate {
	t.Helper()
	all := map[string]string{"src/main.rs": "fn main() {}\n"}
	if lock != "" {
		all["Cargo.lock"] = lock
	}
	for path, content := range files {
		all[path] = content
	}
	c, err := crate.Read(registrytest.MakeCrate("app", "1.0.0", all), "app", "1.0.0", crate.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestALockFileOfRegistriesIsRead(t *testing.T) {
	text := ownEntry + locked("one", "1.2.3") + locked("two", "0.1.0+build") +
		"[[package]]\nname = \"three\"\nversion = \"3.0.0\"\nsource = " +
		"\"registry+https://other.example/index\"\nchecksum = \"" + strings.Repeat("cd", 32) + "\"\n"
	l, err := ReadLock(app(t, text, nil))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"https://registry.example/index one 1.2.3", "https://registry.example/index two 0.1.0+build",
		"https://other.example/index three 3.0.0"}
	if len(l.Crates) != len(want) {
		t.Fatalf("%d crates, want %d", len(l.Crates), len(want))
	}
	for i, c := range l.Crates {
		if got := c.Registry + " " + c.Name + " " + c.Version; got != want[i] {
			t.Errorf("crate %d is %q, want %q", i, got, want[i])
		}
	}
	if string(l.Text) != text {
		t.Error("the text is another")
	}
	if got := l.Index(l.Crates[0]); got != index {
		t.Errorf("the index of the first crate is %q, want %q", got, index)
	}
	if got := l.Index(build.Crate{Name: "no"}); got != "" {
		t.Errorf("the index of a crate that is not there is %q", got)
	}
	wantConfig := `[net]
offline = true

[source."registry+https://other.example/index"]
registry = "https://other.example/index"
replace-with = "vendored"

[source."sparse+https://registry.example/index/"]
registry = "sparse+https://registry.example/index/"
replace-with = "vendored"

[source.vendored]
directory = "/build/vendor"
`
	if got := string(l.config()); got != wantConfig {
		t.Errorf("the configuration is\n%s", got)
	}
}

func TestWithoutCratesTheDefaultRegistryIsReplaced(t *testing.T) {
	l, err := ReadLock(app(t, ownEntry, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(l.config()); !strings.Contains(got, "[source.crates-io]\nreplace-with = \"vendored\"\n") {
		t.Errorf("the configuration is\n%s", got)
	}
}

func TestWhatIsNotBuiltFromALockFileIsRefusedWithItsSentence(t *testing.T) {
	many := strings.Builder{}
	for i := range maxLocked + 1 {
		many.WriteString(locked(fmt.Sprintf("c%d", i), "1.0.0"))
	}
	for name, c := range map[string]struct{ lock, want string }{
		"no lock file": {"", "app v1.0.0 has no Cargo.lock"},
		"from git": {ownEntry + "[[package]]\nname = \"x\"\nversion = \"1.0.0\"\nsource = \"git+https://git.example/x#" +
			strings.Repeat("a", 40) + "\"\n", "x v1.0.0 is from the git repository https://git.example/x#"},
		"from a path": {ownEntry + "[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n", "x v1.0.0 is from a path"},
		"another version of itself from a path": {ownEntry + "[[package]]\nname = \"app\"\nversion = \"2.0.0\"\n",
			"app v2.0.0 is from a path"},
		"replaced": {ownEntry + locked("x", "1.0.0", `replace = "y 1.0.0"`) + locked("y", "1.0.0"), "is replaced by y 1.0.0"},
		"no checksum": {ownEntry + "[[package]]\nname = \"x\"\nversion = \"1.0.0\"\nsource = \"" + index + "\"\n",
			"has no checksum"},
		"no checksum, version 2": {"[[package]]\nname = \"app\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"x\"\nversion = " +
			"\"1.0.0\"\nsource = \"" + index + "\"\n", "has no checksum"},
		"of another package": {"version = 4\n" + locked("x", "1.0.0"), "does not name that package itself"},
		"two registries": {ownEntry + locked("x", "1.0.0") + strings.ReplaceAll(locked("x", "1.0.0"), "registry.example",
			"other.example"), "has x v1.0.0 from " + index + " and from sparse+https://other.example/index/"},
		"an odd version": {ownEntry + locked("x", "one"), "the version"},
		"too many":       {ownEntry + many.String(), "has 4098 packages; at most 4096 are built"},
		"no TOML":        {"[", "the Cargo.lock of app v1.0.0: "},
	} {
		_, err := ReadLock(app(t, c.lock, nil))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if outcome.Of(err) != outcome.Refused {
			t.Errorf("%s: exit code %d", name, outcome.Of(err))
		}
	}
	huge := app(t, ownEntry+"#"+strings.Repeat("x", maxLock), nil)
	if _, err := ReadLock(huge); err == nil || !strings.Contains(err.Error(), "at most 4194304 are read") {
		t.Errorf("a huge lock file: %v", err)
	}
}

func TestAManifestThatPatchesIsRefused(t *testing.T) {
	manifest := "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"
	if err := checkManifest(app(t, ownEntry, map[string]string{"Cargo.toml": manifest})); err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{
		"[patch.crates-io]\nx = { path = \"x\" }\n", "[replace]\n\"x:1.0.0\" = { path = \"x\" }\n", "[patch]\n",
	} {
		err := checkManifest(app(t, ownEntry, map[string]string{"Cargo.toml": manifest + more}))
		if err == nil || !strings.Contains(err.Error(), "makes cargo build other sources") || outcome.Of(err) != outcome.Refused {
			t.Errorf("%q: %v", more, err)
		}
	}
}

// A package that names another directory as its workspace is built with the Cargo.lock that stands there.
func TestAManifestThatNamesAWorkspaceIsRefused(t *testing.T) {
	for _, manifest := range []string{
		"[package]\nname = \"app\"\nversion = \"1.0.0\"\nworkspace = \"../vendor/x-1.0.0\"\n",
		"project.workspace = \"..\"\n[package]\nname = \"app\"\nversion = \"1.0.0\"\n",
	} {
		err := checkManifest(app(t, ownEntry, map[string]string{"Cargo.toml": manifest}))
		if err == nil || !strings.Contains(err.Error(), "has package.workspace, which makes cargo take another Cargo.lock") ||
			outcome.Of(err) != outcome.Refused {
			t.Errorf("%q: %v", manifest, err)
		}
	}
}
