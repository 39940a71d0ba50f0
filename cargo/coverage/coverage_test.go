package coverage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/cargo"
	"cratelog/crate"
	"cratelog/internal/registrytest"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lock is app, which depends on a and b, and a and b on c.
const lock = `version = 4
[[package]]
name = "app"
version = "0.1.0"
dependencies = ["a", "b"]
` + "\n"

func registryPackage(name, deps string) string {
	return fmt.Sprintf("[[package]]\nname = %q\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\nchecksum = %q\ndependencies = [%s]\n",
		name, strings.Repeat(string('0'+name[0]-'a'), 64), deps)
}

var text = []byte(lock + registryPackage("a", `"c"`) + registryPackage("b", `"c"`) + registryPackage("c", "") + registryPackage("d", ""))

func summary(t *testing.T, top int, change func(byName map[string]*Crate)) *Report {
	t.Helper()
	l, err := cargo.ParseLock(text)
	fatalIf(t, err)
	var crates []Crate
	byName := map[string]*Crate{}
	for _, p := range l.Packages[1:] {
		c := New(p, "")
		c.State, c.Lines, c.Demand = Unproven, 100, "required"
		crates = append(crates, c)
	}
	for i := range crates {
		byName[crates[i].Name] = &crates[i]
	}
	change(byName)
	return Summarize(text, l, crates, top)
}

func TestAReportSumsUpCratesAndLines(t *testing.T) {
	r := summary(t, 7, func(c map[string]*Crate) {
		c["a"].State, c["a"].Lines = Proven, 600
		c["b"].Demand = "excepted"
		c["c"].Cause = "dirty"
		c["d"].Lines, c["d"].State, c["d"].Cause = -1, Unchecked, "not-downloaded"
	})
	if r.Total != (Sum{4, 800}) || r.Proven != (Sum{1, 600}) || r.Excepted != 1 || r.Unknown != 1 {
		t.Errorf("total %+v, proven %+v, excepted %d, unknown %d", r.Total, r.Proven, r.Excepted, r.Unknown)
	}
	if want := []Group{{"", Unproven, Sum{1, 100}}, {"dirty", Unproven, Sum{1, 100}}, {"not-downloaded", Unchecked, Sum{1, 0}}}; !slices.Equal(
		r.Groups, want) {
		t.Errorf("groups %+v", r.Groups)
	}
	// c comes through both, d through nothing.
	if want := []Way{{"b", "1.0.0", Sum{2, 200}}, {"a", "1.0.0", Sum{1, 100}}}; !slices.Equal(r.Through, want) {
		t.Errorf("through %+v", r.Through)
	}
	if got := r.Crates[2].Through; !slices.Equal(got, []string{"a 1.0.0", "b 1.0.0"}) {
		t.Errorf("c comes through %q", got)
	}
	if want := []Step{{"b", "1.0.0", 100, Sum{2, 700}}}; !slices.Equal(r.Next, want) {
		t.Errorf("next %+v", r.Next)
	}
}

func TestTheNextProofsAreTheLargestThatLookPossible(t *testing.T) {
	change := func(c map[string]*Crate) {
		c["a"].Lines, c["a"].Again = 900, true // large, and it went wrong before
		c["b"].Lines = 10
		c["c"].Lines = 500
		c["d"].Lines, c["d"].Cause = 5000, "too-large"
	}
	var got []string
	for _, s := range summary(t, 7, change).Next {
		got = append(got, fmt.Sprint(s.Name, " ", s.After.Lines))
	}
	if want := []string{"c 500", "b 510", "a 1410"}; !slices.Equal(got, want) {
		t.Errorf("next %q, want %q", got, want)
	}
	for _, top := range []int{0, 1, -1} {
		if n := len(summary(t, top, change).Next); n != max(top, 0) {
			t.Errorf("--top %d: %d steps", top, n)
		}
	}
}

func TestAHundredPercentIsAll(t *testing.T) {
	for _, c := range []struct{ part, total, want int }{{0, 0, 100}, {0, 3, 0}, {999_999, 1_000_000, 99}, {7, 7, 100}, {1, 3, 33}} {
		if got := Percent(c.part, c.total); got != c.want {
			t.Errorf("%d of %d is %d percent, not %d", c.part, c.total, got, c.want)
		}
	}
}

func TestLinesOfRustAreCounted(t *testing.T) {
	raw := registrytest.MakeCrate("leaf", "1.0.0", map[string]string{
		"src/lib.rs":   "//! about\n\n// more\npub fn f() {\n\t // inside\n    g() // behind\n}\r\n",
		"src/notes.md": "one\ntwo\n",
		"build.rs":     "fn main() {}", // without an end
		"tests/t.RS":   "not for cargo\n",
	})
	c, err := crate.Read(raw, "leaf", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	n, err := Count(c)
	fatalIf(t, err)
	if n != 4 {
		t.Errorf("%d lines, not 4", n)
	}
}

func TestFactsAreRememberedAndDamageIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache", "lines.json")
	sum := [32]byte{7}
	asked := 0
	ask := func(m *Memo) Fact {
		t.Helper()
		f, err := m.Of("x", "1.0.0", sum, func() (Fact, error) { asked++; return Fact{Lines: 42, Cause: "dirty"}, nil })
		fatalIf(t, err)
		return f
	}
	m := OpenMemo(path)
	if f := ask(m); f != (Fact{42, "dirty"}) || ask(m) != f || asked != 1 {
		t.Errorf("%+v, looked %d times", f, asked)
	}
	if _, err := m.Of("x", "1.0.0", [32]byte{8}, func() (Fact, error) { return Fact{}, os.ErrPermission }); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a look that failed: %v", err)
	}
	// These bytes are a .crate under one name only.
	if f, err := m.Of("y", "1.0.0", sum, func() (Fact, error) { return Fact{-1, "other"}, nil }); err != nil || f.Lines != -1 {
		t.Errorf("under another name: %+v, %v", f, err)
	}
	fatalIf(t, m.Save())
	if ask(OpenMemo(path)); asked != 1 {
		t.Error("nothing was remembered")
	}
	good, err := os.ReadFile(path)
	fatalIf(t, err)
	if bytes.Contains(good, []byte("08000000")) {
		t.Error("a look that failed was remembered")
	}
	for name, bad := range map[string][]byte{
		"cut": good[:len(good)/2], "another format": bytes.Replace(good, []byte("lines/v2"), []byte("lines/v9"), 1), "no facts": []byte(`{"format":"cratelog/lines/v2","facts":null}`),
	} {
		fatalIf(t, os.WriteFile(path, bad, 0o600))
		asked = 0
		if f := ask(OpenMemo(path)); f.Lines != 42 || asked != 1 {
			t.Errorf("%s: %+v, looked %d times", name, f, asked)
		}
	}
}

func FuzzOpenMemo(f *testing.F) {
	f.Add([]byte(`{"format":"cratelog/lines/v2","facts":{"00":{"lines":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "lines.json")
		fatalIf(t, os.WriteFile(path, b, 0o600))
		m := OpenMemo(path)
		_, err := m.Of("x", "1.0.0", [32]byte{1}, func() (Fact, error) { return Fact{}, nil })
		fatalIf(t, err)
		fatalIf(t, m.Save())
	})
}
