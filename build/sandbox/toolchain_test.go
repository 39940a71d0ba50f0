package sandbox

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

const testHost = "x86_64-unknown-linux-gnu"

// rustcScript is a compiler that knows its version only.
const rustcScript = "#!/bin/sh\nprintf 'rustc 1.2.3\\nrelease: 1.2.3\\ncommit-hash: abc\\nhost: " + testHost + "\\n'\n"

// installation is what rustup would have installed: files by path, and the manifests that list them.
func installation(t *testing.T) (dir string, write func(name, content string, mode os.FileMode)) {
	t.Helper()
	if runtime.GOOS == "windows" {
		fixture.Skip(t, "a toolchain's modes are those of Linux")
	}
	dir = t.TempDir()
	write = func(name, content string, mode os.FileMode) {
		t.Helper()
		file := filepath.Join(dir, name)
		fatalIf(t, os.MkdirAll(filepath.Dir(file), 0o755))
		fatalIf(t, os.WriteFile(file, []byte(content), mode))
		fatalIf(t, os.Chmod(file, mode))
	}
	write("bin/rustc", rustcScript, 0o755)
	write("bin/cargo", "cargo", 0o755)
	write("lib/librustc_driver.so", "llvm", 0o755)
	write("lib/rustlib/"+testHost+"/lib/libstd-1.rlib", "std", 0o644)
	write("share/doc/rust/README", "read", 0o644)
	write("etc/completions", "complete", 0o644)
	write("lib/rustlib/manifest-rustc-"+testHost, "file:bin/rustc\nfile:lib/librustc_driver.so\nfile:share/doc/rust/README\n", 0o644)
	write("lib/rustlib/manifest-cargo-"+testHost, "file:bin/cargo\nfile:etc/completions\n", 0o644)
	write("lib/rustlib/manifest-rust-std-"+testHost, "dir:lib/rustlib/"+testHost+"/lib\n", 0o644)
	write("lib/rustlib/manifest-rust-docs-"+testHost, "dir:share/doc\n", 0o644)
	return dir, write
}

func TestTheIDOfAToolchainIsTheDigestOfWhatItsManifestsList(t *testing.T) {
	dir, _ := installation(t)
	toolchain, err := ReadToolchain(t.Context(), dir)
	fatalIf(t, err)
	listing := "cratelog/toolchain/v1\n"
	for _, f := range []struct{ mode, path, content string }{
		{"755", "bin/cargo", "cargo"},
		{"755", "bin/rustc", rustcScript},
		{"755", "lib/librustc_driver.so", "llvm"},
		{"644", "lib/rustlib/" + testHost + "/lib/libstd-1.rlib", "std"},
	} {
		listing += fmt.Sprintf("%s %x %s\n", f.mode, sha256.Sum256([]byte(f.content)), f.path)
	}
	if toolchain.ID != sha256.Sum256([]byte(listing)) {
		t.Errorf("the id is not that of\n%s", listing)
	}
	want := Toolchain{Files: 4, Size: int64(len(rustcScript)) + 12, Release: "1.2.3", Commit: "abc", Host: testHost}
	got := Toolchain{Files: toolchain.Files, Size: toolchain.Size, Release: toolchain.Release, Commit: toolchain.Commit, Host: toolchain.Host}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// rustc looks for libraries beside its own (RUNPATH is $ORIGIN/../lib), so one more there would run.
func TestAnExtraLibraryBesideTheCompilerDoesNotGetIn(t *testing.T) {
	dir, write := installation(t)
	cache := t.TempDir()
	before, err := ReadToolchain(t.Context(), dir)
	fatalIf(t, err)
	write("lib/libdl.so.2", "hostile", 0o755)
	after, err := KeepToolchain(t.Context(), dir, cache)
	fatalIf(t, err)
	if after.ID != before.ID {
		t.Error("what no manifest lists changes the id")
	}
	var inside bytes.Buffer
	tree := newTree(&inside)
	for _, from := range []*Toolchain{before, after} {
		fatalIf(t, from.files.writeTo(t.Context(), tree, "from/"+filepath.Base(from.Dir)))
	}
	for name := range tree.kinds {
		if strings.Contains(name, "libdl") {
			t.Errorf("%s gets in", name)
		}
	}
	if len(tree.kinds) < 2*before.Files || bytes.Contains(inside.Bytes(), []byte("hostile")) {
		t.Errorf("%d things get in", len(tree.kinds))
	}
}

func TestWhateverAToolchainsIDNamesChangesIt(t *testing.T) {
	seen := make(map[[32]byte]string)
	for what, change := range map[string]func(write func(string, string, os.FileMode)){
		"nothing":            func(func(string, string, os.FileMode)) {},
		"a byte of a file":   func(w func(string, string, os.FileMode)) { w("bin/cargo", "Cargo", 0o755) },
		"a mode":             func(w func(string, string, os.FileMode)) { w("lib/librustc_driver.so", "llvm", 0o644) },
		"a file of a folder": func(w func(string, string, os.FileMode)) { w("lib/rustlib/"+testHost+"/lib/libcore.rlib", "", 0o644) },
		"a listed file": func(w func(string, string, os.FileMode)) {
			w("bin/clippy", "clippy", 0o755)
			w("lib/rustlib/manifest-cargo-"+testHost, "file:bin/cargo\nfile:bin/clippy\n", 0o644)
		},
	} {
		dir, write := installation(t)
		change(write)
		toolchain, err := ReadToolchain(t.Context(), dir)
		fatalIf(t, err)
		if same := seen[toolchain.ID]; same != "" {
			t.Errorf("%s and %s have one id", what, same)
		}
		seen[toolchain.ID] = what
	}
}

func TestAnInstallationThatIsNotOneIsRefused(t *testing.T) {
	rustc := "lib/rustlib/manifest-rustc-" + testHost
	for what, c := range map[string]struct {
		change func(t *testing.T, dir string, write func(string, string, os.FileMode))
		want   string
	}{
		"no manifest": {func(t *testing.T, dir string, _ func(string, string, os.FileMode)) {
			fatalIf(t, os.Remove(filepath.Join(dir, rustc)))
		}, "rustup toolchain install"},
		"two hosts": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("lib/rustlib/manifest-rustc-other", "", 0o644)
		}, "2 manifests"},
		"a manifest that goes up": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w(rustc, "file:../../secret\n", 0o644)
		}, "not a path"},
		"a line of another kind": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w(rustc, "link:bin/rustc\n", 0o644)
		}, "no line of a manifest"},
		"a file that is not there": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w(rustc, "file:bin/rustc\nfile:bin/gone\n", 0o644)
		}, "bin/gone"},
		"a link": {func(t *testing.T, dir string, _ func(string, string, os.FileMode)) {
			fatalIf(t, os.Remove(filepath.Join(dir, "bin/cargo")))
			fatalIf(t, os.Symlink("rustc", filepath.Join(dir, "bin/cargo")))
		}, "not a regular file"},
		"a folder through a link": {func(t *testing.T, dir string, w func(string, string, os.FileMode)) {
			fatalIf(t, os.Symlink("/", filepath.Join(dir, "out")))
			w(rustc, "file:bin/rustc\ndir:out/etc\n", 0o644)
		}, "out"},
		"no cargo": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("lib/rustlib/manifest-cargo-"+testHost, "", 0o644)
		}, "no bin/cargo"},
		"no standard library": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("lib/rustlib/manifest-rust-std-"+testHost, "", 0o644)
		}, "no standard library"},
		"two standard libraries": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("lib/rustlib/other/lib/libstd-2.rlib", "", 0o644)
			w(rustc, "file:bin/rustc\ndir:lib/rustlib/other/lib\n", 0o644)
		}, "or several"},
		"a compiler for another host": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("bin/rustc", strings.ReplaceAll(rustcScript, testHost, "other"), 0o755)
		}, `its host is "other"`},
		"a compiler that fails": {func(_ *testing.T, _ string, w func(string, string, os.FileMode)) {
			w("bin/rustc", "#!/bin/sh\necho broken >&2\nexit 1\n", 0o755)
		}, "broken"},
	} {
		t.Run(what, func(t *testing.T) {
			dir, write := installation(t)
			c.change(t, dir, write)
			_, err := ReadToolchain(t.Context(), dir)
			refused(t, err, c.want)
		})
	}
}

func TestAKeptToolchainThatChangedIsNotUsed(t *testing.T) {
	dir, _ := installation(t)
	cache := t.TempDir()
	kept, err := KeepToolchain(t.Context(), dir, cache)
	fatalIf(t, err)
	fatalIf(t, os.RemoveAll(dir)) // rustup has others now
	again, err := OpenToolchain(t.Context(), cache, kept.ID)
	fatalIf(t, err)
	if again.Files != 4 || again.Release != "1.2.3" || again.Host != testHost {
		t.Errorf("it is %+v", again)
	}
	file := filepath.Join(kept.Dir, toolchainArchive)
	archive, err := os.ReadFile(file)
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(file, bytes.Replace(archive, []byte("llvm"), []byte("LLVM"), 1), 0o644))
	_, err = OpenToolchain(t.Context(), cache, kept.ID)
	refused(t, err, "has changed")
	fatalIf(t, os.RemoveAll(kept.Dir))
	_, err = OpenToolchain(t.Context(), cache, kept.ID)
	refused(t, err, "cargo zkp toolchain")
}

func TestAnInstallationThatChangesAfterItWasReadDoesNotGetIn(t *testing.T) {
	dir, write := installation(t)
	toolchain, err := ReadToolchain(t.Context(), dir)
	fatalIf(t, err)
	for content, want := range map[string]string{
		"cargO":   "not the file that the id names",
		"cargo!":  "bin/cargo",
		"car":     "bin/cargo",
		"cargo\n": "bin/cargo",
	} {
		write("bin/cargo", content, 0o755)
		refused(t, toolchain.files.writeTo(t.Context(), newTree(new(bytes.Buffer)), ""), want)
	}
}

func TestTheCompilerInUseIsFound(t *testing.T) {
	fixture.Need(t, "rustc")
	sysroot, err := FindToolchain(t.Context(), "")
	fatalIf(t, err)
	if _, err := os.Stat(filepath.Join(sysroot, "lib", "rustlib")); err != nil {
		t.Error(err)
	}
	_, err = FindToolchain(t.Context(), "rustc-that-is-not-there")
	refused(t, err, "there is no rustc-that-is-not-there")
}

func FuzzManifest(f *testing.F) {
	f.Add("file:bin/cargo\ndir:lib\nfile:share/x\n")
	f.Add("dir:.\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		fatalIf(t, os.MkdirAll(filepath.Join(dir, "lib"), 0o755))
		fatalIf(t, os.WriteFile(filepath.Join(dir, "lib", "manifest"), []byte(text), 0o644))
		root, err := os.OpenRoot(dir)
		fatalIf(t, err)
		defer root.Close()
		paths, err := readManifest(root, "lib/manifest")
		for _, p := range paths {
			if err == nil && checkPath(p) != nil {
				t.Errorf("%q is listed", p)
			}
		}
	})
}
