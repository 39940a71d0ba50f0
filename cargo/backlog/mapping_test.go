package backlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readMapping(t *testing.T, text string) (*Mapping, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), MapName)
	fatalIf(t, os.WriteFile(path, []byte(text), 0o644))
	return ReadMapping(path)
}

func TestAMappingGoesBeforeManifests(t *testing.T) {
	m, err := readMapping(t, `
[repositories]
"https://github.com/a/b.git" = "https://git.example/b"
"not a url" = "clones/odd"
[crate.one]
repository = "../one"
commit = "v1"
path = ""
submodules = { "vendor/z" = "http://127.0.0.1:1/z" }
[crate."one@2.0.0"]
repository = "https://git.example/one2"
`)
	fatalIf(t, err)
	for _, c := range []struct{ name, version, said, want string }{
		{"x", "1.0.0", "http://github.com/a/b/tree/main/x", "https://git.example/b"},
		{"x", "1.0.0", "https://github.com/a/c", "https://github.com/a/c"},
		{"x", "1.0.0", "not a url", filepath.Join(m.dir, "clones", "odd")},
		{"one", "1.0.0", "", filepath.Join(filepath.Dir(m.dir), "one")},
		{"one", "2.0.0", "", "https://git.example/one2"},
	} {
		got, err := m.repository(c.name, c.version, c.said)
		if err != nil || got.String() != c.want || got.public() != (c.want == "https://github.com/a/c") {
			t.Errorf("%s %s: %+v %v", c.name, c.version, got, err)
		}
	}
	if c := m.crate("one", "1.0.0"); c.Path == nil || *c.Path != "" || c.Commit != "v1" {
		t.Errorf("%+v", c)
	}
	public, own := place{}, m.place("https://git.example/a/b")
	public.URL = "https://github.com/a/b"
	for _, c := range []struct {
		said, want string
		super      place
	}{
		{"../z", "https://github.com/a/z", public}, {"./z", "https://git.example/a/b/z", own}, {"../../c/z", "https://github.com/c/z", public},
		{"../z", "https://git.example/a/z", own}, {"https://github.com/c/z.git", "https://github.com/c/z", own},
		{"https://github.com/a/b", "https://git.example/b", public},
		{"../../../z", "", public}, {"../..", "", public}, {"", "", public}, {"/etc", "", public}, {"ssh://x/y", "", own},
		{"../z", "", m.place("dir")}, {"-x", "", public}, {"ext::sh", "", own},
	} {
		got, err := m.submodule("x", "1.0.0", "sub", c.said, c.super)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%q in %s: %+v %v", c.said, c.super, got, err)
		}
	}
	if got, err := m.submodule("one", "1.0.0", "vendor/z", "ssh://x/y", public); err != nil || got.URL != "http://127.0.0.1:1/z" || !got.Own {
		t.Errorf("%+v %v", got, err)
	}
	var none *Mapping
	if got, err := none.repository("x", "1.0.0", "https://github.com/a/b"); err != nil || !got.public() {
		t.Errorf("%+v %v", got, err)
	}
}

func TestAWrongMappingIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"[repository]\n":                                    "repository",
		"[repositories]\na = 1\n":                           "text in quotes",
		"[repositories]\na = \"\"\n":                        "neither a URL nor a path",
		"[repositories]\na = \"--upload-pack=x\"\n":         "neither a URL nor a path",
		"[repositories]\na = \"ssh://git@a.example/b\"\n":   "no URL of https",
		"[repositories]\na = \"git@a.example:b\"\n":         "no URL of https",
		"[repositories]\na = \"file:///a\"\n":               "no URL of https",
		"[repositories]\na = \"ext::sh -c x\"\n":            "no URL of https",
		"[repositories]\na = \"https://u:p@a.example/b\"\n": "without a user",
		"[repositories]\n\"https://github.com/a/b\" = \"x\"\n\"https://github.com/a/b.git\" = \"y\"\n": "twice",
		"[crate.\"a b\"]\n":                              "name",
		"[crate.\"a@1\"]\n":                              "version",
		"[crate.a]\npath = \"../x\"\n":                   "path",
		"[crate.a]\ncommit = \"-x\"\n":                   "neither a commit",
		"[crate.a]\nsubmodules = { \"../x\" = \"y\" }\n": "submodules",
		"[crate.a]\nrepositories = \"x\"\n":              "repositories",
	} {
		if _, err := readMapping(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word on %q", text, err, want)
		}
	}
}

func FuzzReadMapping(f *testing.F) {
	f.Add("[repositories]\n\"https://a.example/b\" = \"c\"\n[crate.a]\ncommit = \"v1\"\npath = \"\"\nsubmodules = { b = \"c\" }\n", "../c")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, url string) {
		path := filepath.Join(dir, MapName)
		fatalIf(t, os.WriteFile(path, []byte(text), 0o644))
		m, err := ReadMapping(path)
		if err != nil {
			return
		}
		super := place{}
		super.URL = "https://a.example/b"
		if p, err := m.submodule("x", "1.0.0", "sub", url, super); err == nil && p.dir == "" && !p.Own && !strings.HasPrefix(p.URL, "https://") {
			t.Errorf("%q: %+v", url, p)
		}
	})
}

func TestTagsOfAReleaseAreFoundByTheirNames(t *testing.T) {
	tags := map[string][20]byte{"v1.0.0": {1}, "a-v1.0.0": {2}, "b-v1.0.0": {3}, "1.0.0": {1}, "v1.0.0-rc.1": {4}, "a/1.0.0": {5}, "release-1.0.0": {6}, "V1.0.0": {7}}
	got := candidates("a", "1.0.0", tags)
	if want := [][20]byte{{2}, {5}, {1}, {7}}; len(got) != 4 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("%x", got)
	}
}
