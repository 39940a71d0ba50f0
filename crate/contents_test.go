package crate

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestContentsAreReadAgainAsTheyWere(t *testing.T) {
	long := strings.Repeat("deep/", 40) + "file"
	raw := pack(cargoToml(), tarFile{name: root + "a", body: "first"}, tarFile{name: root + "empty"},
		longName(root+long), tarFile{name: truncated(root + long), body: "last"}, tarFile{name: root + "large", body: "0123456789"})
	c, err := Read(raw, "hello", "1.0.0", DefaultLimits)
	fatalIf(t, err)
	want := map[string]string{"a": "first", "empty": "", long: "last"}
	got := map[string]string{}
	err = c.Contents([]string{"a", "empty", long, "large", "none"}, 9, func(f File, content []byte) {
		if !slices.Contains(c.Files, f) {
			t.Errorf("%s is not a file of the crate", f.Path)
		}
		got[f.Path] = string(content)
	})
	if err != nil || len(got) != len(want) {
		t.Errorf("%q, %v", got, err)
	}
	for path, content := range want {
		if got[path] != content {
			t.Errorf("%s: %q", path, got[path])
		}
	}
}

func TestContentsThatChangedSinceAreNotHandedOut(t *testing.T) {
	one := pack(cargoToml(), tarFile{name: root + "a", body: "first"})
	two := pack(cargoToml(), tarFile{name: root + "a", body: "other"})
	c, err := Read(one, "hello", "1.0.0", DefaultLimits)
	fatalIf(t, err)
	for _, now := range [][]byte{two, nil, one[:len(one)/2]} {
		c.raw = now
		var refused *ArchiveError
		if err := c.Contents([]string{"a"}, 100, func(f File, content []byte) { t.Errorf("handed out %q", content) }); !errors.As(err, &refused) {
			t.Error(err)
		}
	}
}

func TestACrateTellsItsRepository(t *testing.T) {
	for value, want := range map[string]string{"": "", "repository = 1": "", "repository = \"https://x.example\"": "https://x.example"} {
		manifest := cargoToml()
		manifest.body += value + "\n"
		c, err := readHello(pack(manifest))
		fatalIf(t, err)
		if got := c.Repository(); got != want {
			t.Errorf("%q: %q", value, got)
		}
	}
}
