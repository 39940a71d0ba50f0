package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestWhatIsThereIsNeverReplaced, and nothing else is left behind.
func TestWhatIsThereIsNeverReplaced(t *testing.T) {
	neverReplaced(t)
	testingOnlyLink = func(from, to string) error {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: fs.ErrPermission}
	}
	defer func() { testingOnlyLink = os.Link }()
	neverReplaced(t) // also without hard links
}

func neverReplaced(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	fatalIf(t, WriteNew(path, []byte("first"), 0o640))
	if err := WriteNew(path, []byte("second"), 0o640); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
		t.Errorf("%q %v", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info.Mode(), err)
	}
	if err := WriteNew(filepath.Join(dir, "none", "file"), nil, 0o600); err == nil {
		t.Error("written nowhere")
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}

func TestAReadIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	fatalIf(t, Write(path, []byte("12345"), 0o600))
	for limit, want := range map[int64]bool{0: false, 4: false, 5: true, 6: true, math.MaxInt64: true} {
		b, err := Read(path, limit)
		if (err == nil) != want || want && string(b) != "12345" || !want && !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d: %q %v", limit, b, err)
		}
	}
	if _, err := Read(filepath.Dir(path), 10); err == nil {
		t.Error("a directory was read")
	}
	if _, err := Read(path+"x", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := Read(os.DevNull, 10); err == nil {
		t.Error("a device was read")
	}
}

func TestAFileIsReplacedAsAWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	path := filepath.Join(dir, "file")
	fatalIf(t, WriteCache(path, []byte("first")))
	f, err := Create(dir)
	fatalIf(t, err)
	if _, err := f.WriteString("half"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "first" {
		t.Errorf("%q before the commit", b)
	}
	f.Discard()
	fatalIf(t, Write(path, []byte("second"), 0o640))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Error(info.Mode(), err)
	}
	fatalIf(t, WriteCache(path, []byte("third")))
	if b, _ := os.ReadFile(path); string(b) != "third" {
		t.Errorf("%q", b)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
