package cargo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes a file with all its directories.
func write(t *testing.T, path, content string) string {
	t.Helper()
	fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
	fatalIf(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

func TestHomeIsWhereCargoLooks(t *testing.T) {
	user, dir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", user)
	t.Setenv("CARGO_HOME", "")
	if got, err := Home(); err != nil || got != filepath.Join(user, ".cargo") {
		t.Errorf("without CARGO_HOME: %q, %v", got, err)
	}
	t.Setenv("CARGO_HOME", dir)
	if got, err := Home(); err != nil || got != dir {
		t.Errorf("CARGO_HOME: %q, %v", got, err)
	}
	t.Chdir(dir)
	t.Setenv("CARGO_HOME", "here")
	if got, err := Home(); err != nil || !strings.HasSuffix(got, filepath.Join(filepath.Base(dir), "here")) {
		t.Errorf("relative CARGO_HOME: %q, %v", got, err)
	}
}

func TestEveryRegistrysCopyIsFound(t *testing.T) {
	home := t.TempDir()
	if got, err := FindCached(home, "a", "1.0.0"); err != nil || got != nil {
		t.Errorf("empty home: %v, %v", got, err)
	}
	want := []string{
		write(t, filepath.Join(home, "registry", "cache", "one-1", "a-1.0.0.crate"), "one"),
		write(t, filepath.Join(home, "registry", "cache", "two-2", "a-1.0.0.crate"), "two"),
	}
	write(t, filepath.Join(home, "registry", "cache", "two-2", "a-1.0.0+b.crate"), "other")
	write(t, filepath.Join(home, "registry", "cache", "CACHEDIR.TAG"), "a file")
	got, err := FindCached(home, "a", "1.0.0")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("cached: %v, %v", got, err)
	}
	if b, err := ReadCached(got[1]); err != nil || string(b) != "two" {
		t.Errorf("read: %q, %v", b, err)
	}
	src := filepath.Join(home, "registry", "src", "one-1", "a-1.0.0")
	write(t, filepath.Join(src, "Cargo.toml"), "")
	if got, err := FindSources(home, "a", "1.0.0"); err != nil || !slices.Equal(got, []string{src}) {
		t.Errorf("sources: %v, %v", got, err)
	}
}

func TestNamesOutOfAFileNeverLeaveTheCache(t *testing.T) {
	for _, bad := range [][2]string{{"../a", "1.0.0"}, {"a", "../1.0.0"}, {"", "1.0.0"}, {"a", "1.0"}} {
		if _, err := FindCached(t.TempDir(), bad[0], bad[1]); err == nil {
			t.Errorf("%q was looked for", bad)
		}
		if _, err := FindSources(t.TempDir(), bad[0], bad[1]); err == nil {
			t.Errorf("%q was looked for", bad)
		}
	}
}
