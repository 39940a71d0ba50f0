package backlog

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// aReport has a crate of every outcome.
func aReport() *Report {
	r := &Report{Format: Format, Lock: strings.Repeat("ab", 32)}
	for i, o := range outcomes {
		c := Crate{Name: "a", Version: "1.0." + string(rune('0'+i)), Registry: "default", SHA256: strings.Repeat("01", 32), Outcome: o}
		if o == Refused {
			c.Cause, c.Detail, c.Repository, c.Commit, c.Path, c.Next = Dirty, "why\nand more", "https://a.example/b",
				strings.Repeat("0f", 20), "sub/dir", "ask"
		}
		r.Crates = append(r.Crates, c)
	}
	return r
}

func TestAReportIsReadAsItWasWritten(t *testing.T) {
	want, err := aReport().Marshal()
	fatalIf(t, err)
	path := filepath.Join(t.TempDir(), ReportName)
	fatalIf(t, os.WriteFile(path, want, 0o644))
	r, err := ReadReport(path)
	fatalIf(t, err)
	if got, err := r.Marshal(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
	if r.Count(Refused) != 1 || r.Count(Proven) != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := ReadReport(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What a run of some crates found does not make what was found of others forgotten.
func TestAReportIsAddedTo(t *testing.T) {
	old, r := aReport(), aReport()
	r.Crates = r.Crates[:1]
	r.Crates[0].Detail = "newer"
	all := r.With(old)
	if len(all.Crates) != len(old.Crates) || all.Crates[0].Detail != "newer" || len(r.Crates) != 1 {
		t.Errorf("%+v", all)
	}
	b, err := all.Marshal()
	fatalIf(t, err)
	if _, err := ParseReport(b); err != nil {
		t.Error(err)
	}
}

func TestACorruptedReportIsRefused(t *testing.T) {
	whole, err := aReport().Marshal()
	fatalIf(t, err)
	if _, err := ParseReport(whole); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string][2]string{
		"another format":       {Format, "cratelog/prove-lock/v2"},
		"a field more":         {`"lock":`, `"look": 1, "lock":`},
		"a short lock":         {strings.Repeat("ab", 32), "abab"},
		"upper case":           {strings.Repeat("01", 32), strings.Repeat("0A", 32)},
		"an unknown outcome":   {`"proven"`, `"believed"`},
		"an unknown cause":     {`"dirty"`, `"sad"`},
		"no cause":             {`"cause": "dirty",`, ``},
		"a cause for nothing":  {`"outcome": "logged"`, `"outcome": "logged", "cause": "dirty"`},
		"a crate twice":        {`"1.0.1"`, `"1.0.0"`},
		"no name":              {`"name": "a"`, `"name": "a b"`},
		"no version":           {`"1.0.0"`, `"1.0"`},
		"a path up":            {`sub/dir`, `../dir`},
		"half a commit":        {strings.Repeat("0f", 20), "0f"},
		"an escape sequence":   {`ask`, `\u001b[2J`},
		"text without an end":  {`ask`, strings.Repeat("a", maxText+1)},
		"an unusable registry": {`"registry": "default"`, `"registry": "x"`},
		"more behind it":       {"]\n}\n", "]\n}\n{}"},
	} {
		text := strings.Replace(string(whole), c[0], c[1], 1)
		if text == string(whole) {
			t.Fatalf("%s: nothing was changed", what)
		}
		if _, err := ParseReport([]byte(text)); err == nil {
			t.Errorf("%s: was read", what)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	whole, err := aReport().Marshal()
	fatalIf(f, err)
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReport(b)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		fatalIf(t, err)
		if _, err := ParseReport(again); err != nil {
			t.Errorf("what was read and written is refused: %v", err)
		}
	})
}

func TestEveryCauseHasASentence(t *testing.T) {
	for _, c := range Causes {
		if s := c.Sentence(); s == "" || strings.HasSuffix(s, ".") || len(s) > 80 {
			t.Errorf("%s: %q", c, s)
		}
	}
	if len(sentences) != len(Causes) || !slices.Contains(Causes, Other) {
		t.Error("the list of causes is not whole")
	}
}

const cleanInfo = "{\n  \"git\": {\n    \"sha1\": \"0000000000000000000000000000000000000001\"\n  },\n  \"path_in_vcs\": \"\"\n}"

func manifest(repository string) string {
	return "[package]\nname = \"a\"\nversion = \"1.0.0\"\nedition = \"2021\"\nrepository = \"" + repository +
		"\"\n\n[lib]\nname = \"a\"\npath = \"src/lib.rs\"\n"
}

func TestLookSeesWhatTheCrateAloneShows(t *testing.T) {
	for _, c := range []struct {
		what, repository, info string
		want                   Cause
	}{
		{"a clean crate", "https://a.example/b/c", cleanInfo, ""},
		{"a dirty one", "https://a.example/b/c", strings.Replace(cleanInfo, "01\"\n", "01\",\n    \"dirty\": true\n", 1), Dirty},
		{"no repository", "", cleanInfo, NoRepository},
		{"one of ssh", "git@a.example:b/c", cleanInfo, NoRepository},
		{"no commit", "https://a.example/b/c", "", NoCommit},
	} {
		files := map[string]string{"Cargo.toml": manifest(c.repository)}
		if c.info != "" {
			files[".cargo_vcs_info.json"] = c.info
		}
		got, err := crate.Read(registrytest.MakeCrate("a", "1.0.0", files), "a", "1.0.0", crate.DefaultLimits)
		fatalIf(t, err)
		if cause := Look(got); cause != c.want {
			t.Errorf("%s: %q", c.what, cause)
		}
	}
	got, err := crate.Read(fixture.Crate(t, "hello-proof", "0.1.0"), "hello-proof", "0.1.0", crate.DefaultLimits)
	fatalIf(t, err)
	t.Logf("%q %q", got.Repository(), Look(got))
}

func TestRepositoriesOfManifestsAreReadAsTheirAuthorsMeanThem(t *testing.T) {
	for said, want := range map[string]string{
		"https://github.com/a/b":                        "https://github.com/a/b",
		"https://github.com/a/b.git":                    "https://github.com/a/b",
		"https://github.com/a/b/":                       "https://github.com/a/b",
		" https://www.github.com/a/b#readme":            "https://github.com/a/b",
		"https://github.com/a/b/tree/main/sub":          "https://github.com/a/b",
		"git+https://github.com/a/b.git":                "https://github.com/a/b",
		"http://github.com/a/b":                         "https://github.com/a/b",
		"git://github.com/a/b.git":                      "https://github.com/a/b",
		"https://GitHub.com/a/b":                        "https://github.com/a/b",
		"https://gitlab.com/group/sub/b.git":            "https://gitlab.com/group/sub/b",
		"https://gitlab.com/group/sub/b/-/tree/main/x":  "https://gitlab.com/group/sub/b",
		"https://codeberg.org/a/b/src/branch/main/x":    "https://codeberg.org/a/b",
		"https://git.example/x.git":                     "https://git.example/x.git",
		"https://git.example:8443/a/x":                  "https://git.example:8443/a/x",
		"https://git.example/a/tree/main/y":             "https://git.example/a",
		"":                                              "",
		"git@github.com:a/b.git":                        "",
		"ssh://git@github.com/a/b":                      "",
		"https://user@github.com/a/b":                   "",
		"https://user:secret@github.com/a/b":            "",
		"https://github.com/a":                          "",
		"https://github.com":                            "",
		"https://git.example/":                          "",
		"https://git.example/..":                        "",
		"https://git.example/a?p=b":                     "",
		"file:///a/b":                                   "",
		"/a/b":                                          "",
		"../b":                                          "",
		"ext::sh -c touch% x":                           "",
		"https://-oProxyCommand=x/a/b":                  "",
		"http://127.0.0.1:80/a/b":                       "",
		"--upload-pack=x":                               "",
		"https://git.example/a\x00b":                    "",
		"https:github.com/a/b":                          "",
		"https://github.com/a/b/tree/main/x\n-oProxy=y": "",
	} {
		got, err := RepositoryURL(said)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v", said, got, err)
		}
	}
}

func FuzzRepositoryURL(f *testing.F) {
	for _, s := range []string{"https://github.com/a/b", "git+https://a.example/b.git", "http://a.example/tree/main"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := RepositoryURL(s)
		if err != nil {
			return
		}
		if again, err := RepositoryURL(got); err != nil || !strings.HasPrefix(got, "https://") || strings.ContainsAny(got, " \n\x00") {
			t.Errorf("%q: %q, again %q %v", s, got, again, err)
		}
	})
}
