package cargo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIndexLinesAreThoseOfCargosCache(t *testing.T) {
	home := t.TempDir()
	write := func(dir string, content string) {
		t.Helper()
		file := filepath.Join(home, "registry", "index", dir, ".cache", "3", "a", "abc")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, "|", "\x00")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lines := func() (string, error) {
		found, err := IndexLines(home, "Abc", "1.0.0")
		var all []string
		for _, l := range found {
			all = append(all, l.Dir+" "+string(l.Line))
		}
		return strings.Join(all, ", "), err
	}
	if got, err := lines(); got != "" || err != nil {
		t.Errorf("nothing is there: %q, %v", got, err)
	}
	const v3 = "\x03\x02\x00\x00\x00"
	write("a", v3+"etag: x|0.9.0|{}|1.0.0|{a}|1.0.0|{b}|1.0.0+x|{}|")
	write("b", v3+"|")
	write("c", "\x01state|1.0.0|{c}|")
	if err := os.WriteFile(filepath.Join(home, "registry", "index", "CACHEDIR.TAG"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const want = "a {a}, a {b}, c {c}"
	if got, err := lines(); got != want || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for what, broken := range map[string]string{
		"empty": "", "of another format": "\x04xxxx|1.0.0|{}|", "cut in its head": v3, "cut in a version": v3 + "x|1.0",
		"cut in a line": v3 + "x|1.0.0|{", "cut before its schema ends": "\x03\x02",
	} {
		write("b", broken)
		if got, err := lines(); got != want || err == nil || !strings.Contains(err.Error(), filepath.Join("b", ".cache")) {
			t.Errorf("one file is %s: got %q, %v", what, got, err)
		}
	}
	if _, err := IndexLines(home, "../x", "1.0.0"); err == nil {
		t.Error("a name with a path in it was looked for")
	}
}
