package cargo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cratelog/crate"
	"cratelog/internal/fixture"
)

// A tarFile is a file of an archive made for a test.
type tarFile struct {
	path, content string
	exec          bool
}

// testCrate makes a .crate as cargo would.
func testCrate(t *testing.T, name, version string, files ...tarFile) []byte {
	t.Helper()
	manifest := fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n", name, version)
	files = append([]tarFile{{path: "Cargo.toml", content: manifest}}, files...)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range files {
		mode := int64(0o644)
		if f.exec {
			mode = 0o755
		}
		h := &tar.Header{Name: name + "-" + version + "/" + f.path, Mode: mode, Size: int64(len(f.content)), Format: tar.FormatGNU, Typeflag: tar.TypeReg, ModTime: time.Unix(1153704088, 0)}
		fatalIf(t, w.WriteHeader(h))
		_, err := io.WriteString(w, f.content)
		fatalIf(t, err)
	}
	fatalIf(t, w.Close())
	fatalIf(t, z.Close())
	return b.Bytes()
}

// refused checks that an error says a word.
func refused(t *testing.T, what string, err error, word string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a word on %q", what, err, word)
	}
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unpack does what cargo does, in as few words.
func unpack(t *testing.T, raw []byte, dir string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	fatalIf(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		fatalIf(t, err)
		_, below, _ := strings.Cut(h.Name, "/")
		if filepath.Base(below) == marker {
			continue
		}
		p := filepath.Join(dir, filepath.FromSlash(below))
		fatalIf(t, os.MkdirAll(filepath.Dir(p), 0o755))
		b, err := io.ReadAll(r)
		fatalIf(t, err)
		fatalIf(t, os.WriteFile(p, b, os.FileMode(h.Mode)))
	}
}

func unpacked(t *testing.T) (dir string, c *crate.Crate) {
	t.Helper()
	raw := testCrate(t, "foo", "1.0.0",
		tarFile{path: "src/lib.rs", content: "pub fn f() {}\n"},
		tarFile{path: "src/deep/er/m.rs", content: ""},
		tarFile{path: "run.sh", content: "#!/bin/sh\n", exec: true},
		tarFile{path: "src/" + marker, content: "not unpacked"},
	)
	c, err := crate.Read(raw, "foo", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	dir = filepath.Join(t.TempDir(), "foo-1.0.0")
	unpack(t, raw, dir)
	write(t, filepath.Join(dir, marker), `{"v":1}`)
	return dir, c
}

func TestUntouchedSourcesAreEqual(t *testing.T) {
	dir, c := unpacked(t)
	fatalIf(t, CompareSource(dir, c))
	for _, content := range markers {
		write(t, filepath.Join(dir, marker), content)
		fatalIf(t, CompareSource(dir, c))
	}
	fatalIf(t, os.Remove(filepath.Join(dir, marker)))
	fatalIf(t, CompareSource(dir, c)) // cargo will unpack again before it builds
}

// cargo unpacks again over what is there, and leaves what the archive does not have.
func TestWhatCargoUnpacksAgainIsNoTampering(t *testing.T) {
	for _, m := range []struct {
		marker string
		gone   bool
		want   error
	}{{"", true, nil}, {"", false, nil}, {`{"v`, false, ErrUnfinished}} {
		dir, c := unpacked(t)
		lib := filepath.Join(dir, "src", "lib.rs")
		write(t, filepath.Join(dir, marker), m.marker)
		if m.gone {
			fatalIf(t, os.Remove(filepath.Join(dir, marker)))
		}
		fatalIf(t, CompareSource(dir, c))
		write(t, lib, "pub fn")
		fatalIf(t, os.RemoveAll(filepath.Join(dir, "src", "deep")))
		if err := CompareSource(dir, c); !errors.Is(err, m.want) || (err == nil) != (m.want == nil) {
			t.Errorf("%+v: %v", m, err)
		}
		write(t, filepath.Join(dir, "build.rs"), "fn main() {}")
		refused(t, "a file besides", CompareSource(dir, c), "build.rs is not in the crate")
		fatalIf(t, os.Remove(filepath.Join(dir, "build.rs")))
		fatalIf(t, os.Remove(lib))
		fatalIf(t, os.Symlink("../run.sh", lib))
		refused(t, "a link", CompareSource(dir, c), "src/lib.rs is a symbolic link")
	}
}

func TestEveryChangeOfTheSourcesIsFoundAndNamed(t *testing.T) {
	lib := func(dir string) string { return filepath.Join(dir, "src", "lib.rs") }
	for name, change := range map[string]struct {
		do   func(dir string)
		want string
	}{
		"a byte": {func(dir string) { write(t, lib(dir), "pub fn g() {}\n") }, "src/lib.rs has other bytes"},
		"longer": {func(dir string) { write(t, lib(dir), "pub fn f() {}\n\n") }, "src/lib.rs has 15 bytes, not 14"},
		"empty file filled": {func(dir string) { write(t, filepath.Join(dir, "src/deep/er/m.rs"), "x") },
			"src/deep/er/m.rs has 1 bytes, not 0"},
		"missing":           {func(dir string) { fatalIf(t, os.Remove(lib(dir))) }, "src/lib.rs is missing"},
		"missing directory": {func(dir string) { fatalIf(t, os.RemoveAll(filepath.Join(dir, "src", "deep"))) }, "src/deep/er/m.rs is missing"},
		"added":             {func(dir string) { write(t, filepath.Join(dir, "build.rs"), "") }, "build.rs is not in the crate"},
		"added deep":        {func(dir string) { write(t, filepath.Join(dir, ".cargo", "config.toml"), "") }, ".cargo is a directory that is not in the crate"},
		"empty directory":   {func(dir string) { fatalIf(t, os.Mkdir(filepath.Join(dir, "x"), 0o755)) }, "x is a directory that is not in the crate"},
		"marker changed":    {func(dir string) { write(t, filepath.Join(dir, marker), `{"v":2}`) }, `.cargo-ok says "{\"v\":2}", which cargo does not write`},
		"marker below":      {func(dir string) { write(t, filepath.Join(dir, "src", marker), "not unpacked") }, "src/.cargo-ok is not in the crate"},
		"terminal codes":    {func(dir string) { write(t, filepath.Join(dir, "\x1b[2J"), "") }, `"\x1b[2J" is not in the crate`},
		"executable":        {func(dir string) { fatalIf(t, os.Chmod(lib(dir), 0o755)) }, "src/lib.rs is executable, but is not in the crate"},
		"not executable":    {func(dir string) { fatalIf(t, os.Chmod(filepath.Join(dir, "run.sh"), 0o644)) }, "run.sh is not executable, but is in the crate"},
		"link to the same": {func(dir string) {
			fatalIf(t, os.Rename(lib(dir), dir+"/../lib.rs"))
			fatalIf(t, os.Symlink(dir+"/../lib.rs", lib(dir)))
		}, "src/lib.rs is a symbolic link; cargo unpacks none"},
		"linked directory": {func(dir string) {
			fatalIf(t, os.Rename(filepath.Join(dir, "src"), dir+"/../src"))
			fatalIf(t, os.Symlink(dir+"/../src", filepath.Join(dir, "src")))
		}, "src is a symbolic link; cargo unpacks none"},
		"linked marker": {func(dir string) {
			fatalIf(t, os.Remove(filepath.Join(dir, marker)))
			fatalIf(t, os.Symlink("src/lib.rs", filepath.Join(dir, marker)))
		}, ".cargo-ok is a symbolic link"},
		"linked as a whole": {func(dir string) {
			fatalIf(t, os.Rename(dir, dir+".moved"))
			fatalIf(t, os.Symlink(dir+".moved", dir))
		}, ". is a symbolic link"},
		"pipe": {func(dir string) {
			fatalIf(t, os.Remove(lib(dir)))
			fatalIf(t, syscall.Mkfifo(lib(dir), 0o644))
		}, "src/lib.rs is neither a file nor a directory"},
		"file for directory": {func(dir string) {
			fatalIf(t, os.RemoveAll(filepath.Join(dir, "src")))
			write(t, filepath.Join(dir, "src"), "")
		}, "src is not in the crate; src/deep/er/m.rs is missing"},
		"directory for file": {func(dir string) {
			fatalIf(t, os.Remove(lib(dir)))
			fatalIf(t, os.Mkdir(lib(dir), 0o755))
		}, "src/lib.rs is a directory that is not in the crate; src/lib.rs is missing"},
	} {
		dir, c := unpacked(t)
		change.do(dir)
		err := CompareSource(dir, c)
		var e *SourceError
		if !errors.As(err, &e) || e.Dir != dir ||
			!strings.HasPrefix(err.Error(), dir+" is not what foo-1.0.0.crate holds: ") ||
			!strings.Contains(err.Error(), change.want) ||
			!strings.HasSuffix(err.Error(), "; delete this directory: cargo unpacks the crate again; then run cargo clean, "+
				"since cargo uses again what it has compiled from this") {
			t.Errorf("%s: %v\nwant %q", name, err, change.want)
		}
	}
}

func TestReportOfDifferencesIsBounded(t *testing.T) {
	dir, c := unpacked(t)
	for i := range 40 {
		write(t, filepath.Join(dir, fmt.Sprintf("x%02d", i)), "")
	}
	var e *SourceError
	if err := CompareSource(dir, c); !errors.As(err, &e) || len(e.Files) != maxReported || !e.More || !strings.Contains(err.Error(), "and perhaps more") {
		t.Errorf("the error is %v", err)
	}
}

func TestSourcesOfAnotherReleaseDiffer(t *testing.T) {
	raw := fixture.Crate(t, "hello-proof", "0.1.0")
	dir := filepath.Join(t.TempDir(), "hello-proof-0.1.0")
	unpack(t, raw, dir)
	write(t, filepath.Join(dir, marker), markers[0])
	for version, same := range map[string]bool{"0.1.0": true, "0.1.1": false} {
		c, err := crate.Read(fixture.Crate(t, "hello-proof", version), "hello-proof", version, crate.DefaultLimits)
		fatalIf(t, err)
		if err := CompareSource(dir, c); (err == nil) != same {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestStampChangesWithAnyChange(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for name, do := range map[string]func(dir string) error{
		"same size and mtime": func(dir string) error {
			p := filepath.Join(dir, "src", "lib.rs")
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p, []byte("pub fn g() {}\n"), 0o644); err != nil {
				return err
			}
			return os.Chtimes(p, info.ModTime(), info.ModTime())
		},
		"mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "Cargo.toml"), 0o600) },
		"added":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "src", "lib.rs")) },
		"renamed": func(dir string) error {
			return os.Rename(filepath.Join(dir, "src", "lib.rs"), filepath.Join(dir, "src", "lib2.rs"))
		},
		"exchanged": func(dir string) error {
			p := filepath.Join(dir, "src", "lib.rs")
			if err := os.WriteFile(p+".new", []byte("pub fn g() {}\n"), 0o644); err != nil {
				return err
			}
			return os.Rename(p+".new", p)
		},
	} {
		dir, _ := unpacked(t)
		before, err := Stamp(dir, later)
		if errors.Is(err, ErrNoStamp) {
			fixture.Skip(t, "this system has no stamps: %v", err)
		}
		fatalIf(t, err)
		if again, err := Stamp(dir, later); err != nil || again != before {
			t.Errorf("%s: unchanged, the stamp differs: %v", name, err)
		}
		waitForTick(t, dir)
		fatalIf(t, do(dir))
		if after, err := Stamp(dir, later); err != nil || after == before {
			t.Errorf("%s: the stamp stays the same: %v", name, err)
		}
	}
}

// waitForTick returns once the file system's clock has moved on from the last change in dir.
func waitForTick(t *testing.T, dir string) {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	write(t, probe, "")
	_, first, err := stat(probe)
	fatalIf(t, err)
	for range 1 << 20 {
		write(t, probe, "")
		if _, now, err := stat(probe); err != nil || now.After(first) {
			fatalIf(t, err)
			return
		}
	}
	t.Fatal("the file system's clock stands still")
}

func TestNoStampOfWhatHasJustChanged(t *testing.T) {
	dir, _ := unpacked(t)
	if _, err := Stamp(dir, time.Now()); !errors.Is(err, ErrNoStamp) {
		t.Errorf("the error is %v", err)
	}
}

func TestStampSaysWhichDirectoryIsNotThere(t *testing.T) {
	if _, err := Stamp(filepath.Join(t.TempDir(), "x"), time.Now()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}
