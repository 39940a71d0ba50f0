package cargo

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"cratelog/crate"
)

// vendored returns a crate and a package of a directory source, as "cargo vendor" makes it:
// without some files.
func vendored(t *testing.T) (dir string, c *crate.Crate) {
	t.Helper()
	raw := testCrate(t, "foo", "1.0.0", tarFile{path: "src/lib.rs", content: "pub fn f() {}\n"},
		tarFile{path: "Cargo.toml.orig", content: "[package]\n"}, tarFile{path: ".gitignore", content: "/target\n"})
	c, err := crate.Read(raw, "foo", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	dir = filepath.Join(t.TempDir(), "foo")
	unpack(t, raw, dir)
	fatalIf(t, errors.Join(os.Remove(filepath.Join(dir, "Cargo.toml.orig")), os.Remove(filepath.Join(dir, ".gitignore"))))
	write(t, filepath.Join(dir, ChecksumsFile), `{"files":{"src/lib.rs":"00"},"package":"`+hex.EncodeToString(c.SHA256[:])+`"}`)
	return dir, c
}

func TestVendoredSourcesAreComparedWithTheArchive(t *testing.T) {
	dir, c := vendored(t)
	fatalIf(t, CompareVendored(dir, c))
	for _, change := range []struct{ file, text, want string }{
		{"src/lib.rs", "pub fn g() {}\n", "src/lib.rs has other bytes"},
		{"src/lib.rs", "", "src/lib.rs has 0 bytes"}, // there is no .cargo-ok, and cargo unpacks nothing here
		{"build.rs", "fn main() {}\n", "build.rs is not in the crate"},
		{".cargo-ok", "ok", ".cargo-ok is not in the crate"},
		{"src/" + ChecksumsFile, "{}", "src/.cargo-checksum.json is not in the crate"},
		{".gitignore", "x", ".gitignore has 1 bytes"},
		{ChecksumsFile, `{"files":{}}`, "says that the .crate has SHA-256"},
		{ChecksumsFile, `{"files":{"x":"00"},"package":"` + hex.EncodeToString(c.SHA256[:]) + `"}`, `lists "x"`},
		{ChecksumsFile, `[`, "is not what cargo writes"},
	} {
		dir, c := vendored(t)
		write(t, filepath.Join(dir, change.file), change.text)
		err := CompareVendored(dir, c)
		refused(t, change.file, err, change.want)
		refused(t, change.file, err, "\"cargo zkp vendor "+filepath.Dir(dir)+"\" puts it right")
	}
	fatalIf(t, os.Remove(filepath.Join(dir, "src", "lib.rs")))
	refused(t, "a file is gone", CompareVendored(dir, c), "src/lib.rs is missing")
}

// cargo goes by the Cargo.toml, whatever the directory is called.
func TestVendoredPackagesAreFoundByTheirManifest(t *testing.T) {
	dir := t.TempDir()
	const foo = "[package]\nname = \"foo\"\nversion = \"1.0.0\"\n"
	for name, text := range map[string]string{"foo": foo, "zzz": foo, ".hidden": foo,
		"foo-2.0.0": "[package]\nname = \"foo\"\nversion = \"2.0.0\"\n"} {
		write(t, filepath.Join(dir, name, "Cargo.toml"), text)
	}
	// cargo trims versions, has one for those who have none, and passes over no other names.
	write(t, filepath.Join(dir, "a", "Cargo.toml"), "[package]\nname = \"foo\"\nversion = \" 3.0.0\\n\"\n")
	write(t, filepath.Join(dir, "b", "Cargo.toml"), "[package]\nname = \"foo\"\n")
	want := []string{filepath.Join(dir, "foo"), filepath.Join(dir, "zzz")}
	if os.MkdirAll(filepath.Join(dir, ".\xff"), 0o755) == nil { // not on every system
		write(t, filepath.Join(dir, ".\xff", "Cargo.toml"), foo)
		want = slices.Insert(want, 0, filepath.Join(dir, ".\xff"))
	}
	write(t, filepath.Join(dir, "README"), "")
	write(t, filepath.Join(dir, "empty", "README"), "")
	found, err := FindVendored(dir)
	fatalIf(t, err)
	if len(found) != 4 || len(found["foo 3.0.0"]) != 1 || len(found["foo 0.0.0"]) != 1 || !slices.Equal(found["foo 1.0.0"], want) || len(found["foo 2.0.0"]) != 1 {
		t.Errorf("found %v", found)
	}
	for _, bad := range []string{"[package", "[package]\nname = \"foo\"\nversion.workspace = true\n"} {
		write(t, filepath.Join(dir, "odd", "Cargo.toml"), bad)
		if _, err := FindVendored(dir); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
	if _, err := FindVendored(filepath.Join(dir, "gone")); err == nil {
		t.Error("a directory that is not there holds nothing")
	}
}
