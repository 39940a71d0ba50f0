package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/forge"
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }

func TestEachCrateIsInItsClassAndTheRowNamesAFileThatDiffers(t *testing.T) {
	fixture.Need(t, "git")
	dir := t.TempDir()
	fatalIf(t, os.Symlink(fixture.Repo(t), filepath.Join(dir, "repository.git")))
	crate := fixture.Crate(t, "hello-proof", "0.1.0")
	edit := func(file string, change func(string) string) []byte {
		raw, err := forge.Repack(crate, func(name string, content []byte) (string, []byte) {
			if strings.HasSuffix(name, file) {
				content = []byte(change(string(content)))
			}
			return name, content
		})
		fatalIf(t, err)
		return raw
	}
	for name, raw := range map[string][]byte{
		"good":    crate,
		"crlf":    edit("src/lib.rs", func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }),
		"differs": edit("src/lib.rs", func(s string) string { return s + "// more\n" }),
		"dirty":   edit(".cargo_vcs_info.json", func(s string) string { return strings.Replace(s, "\"\n  },", "\",\n    \"dirty\": true\n  },", 1) }),
		"lacks":   edit(".cargo_vcs_info.json", elsewhere),
		"cut":     crate[:len(crate)/2],
	} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name+".crate"), raw, 0o644))
	}
	c := newCorpus()
	fatalIf(t, c.measure(t.Context(), dir))
	for class, n := range map[string]int{provable: 2, differs: 1, dirty: 1, lacks: 1, unread: 1} { // line ends can be proven
		if c.counts[class] != n {
			t.Errorf("%s: %d", class, c.counts[class])
		}
	}
	rows := strings.Join(c.rows, "\n")
	for _, want := range []string{"differs: hello-proof 0.1.0: 1 files; ", ":src/lib.rs has the SHA-256 "} {
		if !strings.Contains(rows, want) {
			t.Errorf("no row %q:\n%s", want, rows)
		}
	}
	if len(c.unverified) != 1 { // the dirty one, in which nothing differs
		t.Errorf("not shown: %q", c.unverified)
	}
}

// elsewhere returns .cargo_vcs_info.json with a commit that no repository has.
func elsewhere(s string) string {
	at := strings.Index(s, `"sha1": "`) + len(`"sha1": "`)
	return s[:at] + strings.Repeat("0", 39) + "1" + s[at+40:]
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
