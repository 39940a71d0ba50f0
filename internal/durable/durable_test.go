package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestWhatIsThereIsNeverReplaced, and nothing else is left behind.
func TestWhatIsThereIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := WriteNew(path, []byte("first"), 0o640); err != nil {
		t.Fatal(err)
	}
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
