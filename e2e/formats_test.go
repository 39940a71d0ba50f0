package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// formatsPage returns docs/formats.md with single spaces, so that no line's end matters.
func formatsPage(t *testing.T) string {
	t.Helper()
	return strings.Join(strings.Fields(string(read(t, filepath.Join("..", "docs", "formats.md")))), " ")
}

// TestTheFormatsPageKnowsEveryLabel wants every label with a version of what is logged, and of what
// builders write, on the page: a format that nobody described, or whose version went up, is seen.
func TestTheFormatsPageKnowsEveryLabel(t *testing.T) {
	page, label := formatsPage(t), regexp.MustCompile(`"(cratelog[/-][a-z0-9/-]+/v[0-9]+)`)
	found := 0
	for _, dir := range []string{"entry", "index", "build", "client", "proofcheck/program.go"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range label.FindAllStringSubmatch(string(text), -1) {
				found++
				if !strings.Contains(page, m[1]+"\\n") && !strings.Contains(page, "`"+m[1]+"`") {
					t.Errorf("%s writes %s, and docs/formats.md does not say of what", path, m[1])
				}
			}
			return err
		})
		fatalIf(t, err)
	}
	if found < 20 {
		t.Errorf("%d labels were found, so this test sees little", found)
	}
}

// TestTheFormatsPageSaysWhatThePackagesSay compares the CDDL of entries, of what a log shows of them, and of
// files of builds, field by field, and the keys of a report.
func TestTheFormatsPageSaysWhatThePackagesSay(t *testing.T) {
	page := formatsPage(t)
	field := regexp.MustCompile(`(?m)^//\s+((?:\? )?[0-9]+: [^;\n]*?),?\s*(?:;.*)?$`)
	for file, want := range map[string]int{"entry/entry.go": 30, "client/bundle.go": 5, "client/page.go": 6,
		"client/joined.go": 9} {
		fields := field.FindAllStringSubmatch(string(read(t, filepath.Join("..", file))), -1)
		if len(fields) < want {
			t.Fatalf("%s shows %d fields, so this test sees little", file, len(fields))
		}
		for _, f := range fields {
			if !strings.Contains(page, f[1]) {
				t.Errorf("%s has the field %q, and docs/formats.md does not", file, f[1])
			}
		}
	}
	_, report, _ := strings.Cut(string(read(t, filepath.Join("..", "build/rebuild/report.go"))), "type wireReport struct {")
	report, _, _ = strings.Cut(report, "\n}\n")
	at := strings.Index(page, "*Report*")
	for _, key := range regexp.MustCompile(`json:"([a-z0-9_]+)"`).FindAllStringSubmatch(report, -1) {
		i := strings.Index(page[max(at, 0):], "`"+key[1]+"`")
		if at < 0 || i < 0 {
			t.Fatalf("docs/formats.md does not show the key %s of a report, or not behind those before it", key[1])
		}
		at += i
	}
}
