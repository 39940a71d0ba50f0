package rebuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/entry"
)

// goodReport is a report as Run makes them.
func goodReport(same bool) *Report {
	list := build.List{
		{Registry: entry.DefaultRegistry, Name: "one", Version: "1.0.0", SHA256: [32]byte{1}},
		{Registry: "https://registry.example/index", Name: "two", Version: "2.0.0", SHA256: [32]byte{2}},
	}
	r := &Report{
		Subject:  entry.Subject{Registry: entry.DefaultRegistry, Name: "app", Version: "1.0.0", SHA256: [32]byte{3}},
		Artifact: []byte("a binary"), List: list, Same: same, Limits: "cgroup v1",
		Took: [2]time.Duration{1500 * time.Millisecond, 2 * time.Second},
	}
	r.Claim = entry.Build{
		Binary: "app", Target: "x86_64-unknown-linux-gnu", Artifact: sha256.Sum256(r.Artifact), Toolchain: [32]byte{4},
		Environment: [32]byte{5}, Recipe: entry.Recipe1, Lock: [32]byte{6}, Compiled: list.Digest(),
	}
	if !same {
		r.Second, r.Difference, r.SameUser = []byte("another"), `section ".text", byte 0 of 1`, true
	}
	return r
}

func TestAReportIsReadAsItWasWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	for _, same := range []bool{false, true, false, true} { // one over the other, too
		want := goodReport(same)
		if err := want.Write(dir); err != nil {
			t.Fatal(err)
		}
		got, err := ReadReport(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v\nwritten %+v", got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "app")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the binary: %v, %v", info.Mode(), err)
	}
}

func TestAReportOfOtherBytesIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		same  bool
		spoil func(dir string) error
		want  string
	}{
		"the binary changed": {true, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "app"), []byte("A binary"), 0o755)
		}, "the binary has SHA-256"},
		"the binary is gone": {true, func(dir string) error { return os.Remove(filepath.Join(dir, "app")) }, "no such file"},
		"the second one changed": {false, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "app.second"), []byte("a binary"), 0o755)
		}, "is not the binary of the report"},
		"no report": {true, func(dir string) error { return os.Remove(filepath.Join(dir, "report.json")) }, "no such file"},
		"a huge report": {true, func(dir string) error {
			return os.Truncate(filepath.Join(dir, "report.json"), maxReport+1)
		}, "more than"},
	} {
		dir := t.TempDir()
		if err := goodReport(c.same).Write(dir); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadReport(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestNoReportContradictsItself(t *testing.T) {
	for name, spoil := range map[string]func(*Report){
		"another binary":     func(r *Report) { r.Artifact = []byte("x") },
		"another list":       func(r *Report) { r.List = r.List[:1] },
		"a root":             func(r *Report) { r.Claim.Root[0] = 1 },
		"a tag":              func(r *Report) { r.Claim.Tag[0] = 1 },
		"same, and not":      func(r *Report) { r.Difference = "x" },
		"not the same":       func(r *Report) { r.Same = false },
		"a second binary":    func(r *Report) { r.Second = []byte("x") },
		"equal, and not":     func(r *Report) { r.Same, r.Second, r.Difference = false, r.Artifact, "x" },
		"another recipe":     func(r *Report) { r.Claim.Recipe = 2 },
		"no name":            func(r *Report) { r.Subject.Name = "" },
		"no target":          func(r *Report) { r.Claim.Target = "" },
		"an endless limit":   func(r *Report) { r.Limits = strings.Repeat("x", 101) },
		"the report's name":  func(r *Report) { r.Claim.Binary = "report.json" },
		"a path for a name":  func(r *Report) { r.Claim.Binary = "../app" },
		"a wrong difference": func(r *Report) { r.Same, r.Second, r.Difference = false, []byte("x"), "" },
	} {
		r := goodReport(true)
		spoil(r)
		if err := r.Write(t.TempDir()); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
}

func TestAReportHasOneEncoding(t *testing.T) {
	for _, same := range []bool{true, false} {
		good, err := goodReport(same).marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := parseReport(good); err != nil {
			t.Fatal(err)
		}
		text := string(good)
		for name, bad := range map[string]string{
			"no line end":     strings.TrimSuffix(text, "\n"),
			"more behind it":  text + "{}\n",
			"a space":         strings.Replace(text, ": ", ":  ", 1),
			"an unknown key":  strings.Replace(text, "{\n", "{\n  \"x\": 1,\n", 1),
			"a key twice":     strings.Replace(text, "{\n", "{\n  \"version\": 1,\n", 1),
			"another version": strings.Replace(text, `"version": 1,`, `"version": 2,`, 1),
			"upper case":      strings.Replace(text, `"lock": "06`, `"lock": "0A`, 1),
			"two lines":       strings.Replace(text, "two 2.0.0", "two 2.0.0\\nthree", 1),
			"negative time":   strings.Replace(text, "1500", "-1", 1),
			"short":           strings.Replace(text, `"lock": "06`, `"lock": "`, 1),
			"null":            "null\n",
		} {
			if bad == text {
				t.Fatalf("%s: nothing was changed", name)
			}
			if _, _, err := parseReport([]byte(bad)); err == nil {
				t.Errorf("%s: was read", name)
			}
		}
	}
}

// Every field counts: with another value the report is another one, or none.
func TestNoFieldOfAReportCanBeLeftOut(t *testing.T) {
	good, err := goodReport(false).marshal()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(good, &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != reflect.TypeFor[wireReport]().NumField() {
		t.Fatalf("%d fields", len(fields))
	}
	want, _, err := parseReport(good)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range fields {
		var lines []string
		for line := range strings.Lines(string(good)) {
			if !strings.Contains(line, `"`+key+`": `) || key == "compiled_list" || key == "took_ms" {
				lines = append(lines, line)
			}
		}
		without := strings.Join(lines, "")
		if without == string(good) {
			continue // over several lines
		}
		if got, second, err := parseReport([]byte(without)); err == nil {
			t.Errorf("without %s, which is %s, it was read: %+v, %x", key, value, got, second)
		}
	}
	if want.Same {
		t.Error("it says the same")
	}
}

func FuzzParseReport(f *testing.F) {
	for _, same := range []bool{true, false} {
		b, err := goodReport(same).marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, second, err := parseReport(text)
		if err != nil {
			return
		}
		if !r.Same && second == [32]byte{} {
			return // no binary has this hash
		}
		again, err := r.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if r.Same && !bytes.Equal(again, text) {
			t.Fatalf("it is written otherwise:\n%s\n%s", text, again)
		}
	})
}

// A report of very many empty lines is refused without copying what was read for each.
func TestAReportOfManyLinesTakesNoTime(t *testing.T) {
	good, err := goodReport(true).marshal()
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(good), `"compiled_list": [`)
	_, rest, closed := strings.Cut(rest, "\n  ],")
	const lines = 200_000
	text := []byte(head + `"compiled_list": [` + strings.TrimSuffix(strings.Repeat("\n    \"\",", lines), ",") + "\n  ]," + rest)
	if !ok || !closed || len(text) > maxReport {
		t.Fatalf("the report of %d bytes is not one with %d lines", len(text), lines)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, _, err = parseReport(text); err == nil || !strings.Contains(err.Error(), "list of compiled crates") {
		t.Errorf("the error is %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
		t.Errorf("reading %d bytes takes %d bytes of memory", len(text), n)
	}
}
