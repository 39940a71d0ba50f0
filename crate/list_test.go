package crate

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
)

// slowList writes L by its definition: level by level, every tree found anew by
// looking at all paths.
func slowList(files []File, base string) []byte {
	type leaf struct {
		path, mode string
		blob       [20]byte
	}
	var all []leaf
	for _, f := range files {
		mode := "100644"
		if f.Exec {
			mode = "100755"
		}
		path := f.Path
		if base != "" {
			path = base + "/" + path
		}
		all = append(all, leaf{path, mode, f.Blob})
	}
	out := []byte("c")
	for level := []string{""}; len(level) > 0; {
		var next []string
		for _, dir := range level {
			out = append(out, 't')
			records := map[string][]byte{} // by git's sort key
			for _, l := range all {
				below, ok := strings.CutPrefix(l.path, dir)
				if !ok {
					continue
				}
				if name, _, isDir := strings.Cut(below, "/"); isDir {
					records[name+"/"] = []byte("40000 " + name + "\x00")
				} else {
					records[name] = append([]byte(l.mode+" "+name+"\x00"), l.blob[:]...)
				}
			}
			var keys []string
			for k := range records {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				out = append(out, records[k]...)
				if strings.HasSuffix(k, "/") {
					next = append(next, dir+k)
				}
			}
		}
		level = next
	}
	return out
}

// proven returns the files that must stand in the commit, by their paths there.
func proven(c *Crate, src *entry.Source) (files []File) {
	for name, f := range c.standing(src) {
		f.Path = name
		files = append(files, f)
	}
	return files
}

// checkList compares a list with the slow one and its two forms with each other.
func checkList(t *testing.T, l *List, files []File, base string) {
	t.Helper()
	if want := slowList(files, base); !bytes.Equal(l.Bytes, want) {
		t.Errorf("list is\n%q, want\n%q", l.Bytes, want)
	}
	if want := sha256.Sum256(l.Bytes); l.Digest != want {
		t.Errorf("digest is %x, want %x", l.Digest, want)
	}
	next := 2
	for i, o := range l.Objects {
		if o.Commit != (i == 0) {
			t.Errorf("object %d: Commit is %v", i, o.Commit)
		}
		for _, e := range o.Entries {
			if e.Mode != modeDir {
				if e.Child != 0 {
					t.Errorf("%q: file %q has a child", o.Path, e.Name)
				}
				continue
			}
			if e.Child != next || l.Objects[e.Child].Path != join(o.Path, e.Name) {
				t.Errorf("%q: directory %q is object %d, want %d", o.Path, e.Name, e.Child, next)
			}
			next++
		}
	}
	if next != max(len(l.Objects), 2) {
		t.Errorf("%d objects are named, there are %d", next, len(l.Objects))
	}
}

// checkAccepted holds an accepted crate to what the package promises.
func checkAccepted(t *testing.T, c *Crate) {
	t.Helper()
	for i, f := range c.Files {
		if err := entry.CheckPath(f.Path); err != nil {
			t.Error(err)
		}
		if i > 0 && c.Files[i-1].Path >= f.Path {
			t.Errorf("%q stands after %q", f.Path, c.Files[i-1].Path)
		}
	}
	src := &entry.Source{}
	l, err := c.List(src)
	var info *VCSInfoError
	if errors.As(err, &info) {
		return
	} else if err != nil {
		t.Fatalf("accepted, but cannot be listed: %v", err)
	}
	files := proven(c, src)
	checkList(t, l, files, "")
}

func TestListIsTheSlowList(t *testing.T) {
	for _, c := range fixtures {
		crate, err := Read(fixture.Crate(t, c.name, c.version), c.name, c.version, DefaultLimits)
		fatalIf(t, err)
		src := &entry.Source{Commit: fixture.Commit(t, c.version), Path: c.path}
		l, err := crate.List(src)
		fatalIf(t, err)
		files := proven(crate, src)
		checkList(t, l, files, c.path)
		for _, o := range l.Objects {
			for _, e := range o.Entries {
				if e.Name == origFile || e.Name == vcsFile {
					t.Errorf("%s is listed in %q", e.Name, o.Path)
				}
			}
		}
	}
}

func TestRandomCratesAreListedAsTheSlowListSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "a-b", "a.b", "a0", "b", "B", "é", "src", "lib.rs", "z"}
	for range 300 {
		c := &Crate{}
		taken := map[string]bool{} // files and directories
		for range rng.IntN(40) {
			var parts []string
			for range 1 + rng.IntN(4) {
				parts = append(parts, names[rng.IntN(len(names))])
			}
			path := strings.Join(parts, "/")
			clash := taken[path]
			for i := range parts[1:] {
				clash = clash || slices.ContainsFunc(c.Files, func(f File) bool { return f.Path == strings.Join(parts[:i+1], "/") })
			}
			if clash {
				continue
			}
			for i := range parts {
				taken[strings.Join(parts[:i+1], "/")] = true
			}
			c.Files = append(c.Files, File{Path: path, Exec: rng.IntN(5) == 0, Blob: sha1.Sum([]byte(path))})
		}
		slices.SortFunc(c.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		base := []string{"", "crates", "crates/a/b"}[rng.IntN(3)]
		l, err := c.List(&entry.Source{Path: base})
		fatalIf(t, err)
		if len(c.Files) > 0 {
			checkList(t, l, c.Files, base)
		}
	}
}

func TestGitOrderPutsADirectoryWhereItsSlashBelongs(t *testing.T) {
	c := &Crate{}
	for _, p := range []string{"a-b", "a.b", "a/x", "a0"} {
		c.Files = append(c.Files, File{Path: p, Blob: [20]byte{1}})
	}
	l, err := c.List(&entry.Source{})
	fatalIf(t, err)
	var got []string
	for _, e := range l.Objects[1].Entries {
		got = append(got, e.Name)
	}
	if want := []string{"a-b", "a.b", "a", "a0"}; !slices.Equal(got, want) {
		t.Errorf("order is %q, want %q", got, want)
	}
}

func TestCollisionErrorNamesTheFile(t *testing.T) {
	want := `the .crate's file "a" carries a SHA-1 collision attack: its git blob id proves nothing`
	if got := (&CollisionError{"a"}).Error(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
