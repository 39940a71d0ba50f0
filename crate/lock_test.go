package crate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/crate/lockfile"
	"cratelog/entry"
)

const lockIndex = "registry+https://index.example/"

// locked writes one [[package]] with a source and a checksum of that digit.
func locked(name, version, digit string, deps ...string) string {
	return fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = %q\n%s", name, version, lockIndex,
		strings.Repeat(digit, 64), depends(deps))
}

// local writes one without.
func local(name, version string, deps ...string) string {
	return fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\n%s", name, version, depends(deps))
}

func depends(deps []string) string {
	if len(deps) == 0 {
		return ""
	}
	return fmt.Sprintf("dependencies = [\"%s\"]\n", strings.Join(deps, `", "`))
}

// ours is the lock file in a .crate: as cargo writes it, smaller than that of its workspace.
func ours() string {
	return "version = 4\n" + local("hello", "1.0.0", "bar 1.0.0", "foo") + locked("bar", "1.0.0", "1", "foo") + locked("foo", "2.1.0", "2")
}

// theirs is the commit's, of the whole workspace.
func theirs() string {
	return "version = 4\n" + local("hello", "1.0.0", "bar 1.0.0", "dev", "foo", "sibling") + locked("bar", "1.0.0", "1", "foo") +
		locked("bar", "2.0.0", "b", "foo") + locked("dev", "0.1.0", "d", "bar 2.0.0") + locked("foo", "2.1.0", "2") +
		local("sibling", "1.0.0", "bar 2.0.0")
}

func helloWithLock(t testing.TB, lock string, more ...tarFile) *Crate {
	t.Helper()
	c, err := readHello(pack(append([]tarFile{cargoToml(), {name: root + lockFile, body: lock}}, more...)...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestALockFileFollowsFromTheCommitsIfThatChoosesAllOfIt(t *testing.T) {
	old := `[root]
name = "hello"
version = "1.0.0"
dependencies = ["foo 2.1.0 (` + lockIndex + `)", "bar 1.0.0 (` + lockIndex + `)"]

[[package]]
name = "foo"
version = "2.1.0"
source = "` + lockIndex + `"

[[package]]
name = "bar"
version = "1.0.0"
source = "` + lockIndex + `"
dependencies = ["foo 2.1.0 (` + lockIndex + `)"]

[metadata]
"checksum foo 2.1.0 (` + lockIndex + `)" = "` + strings.Repeat("2", 64) + `"
"checksum bar 1.0.0 (` + lockIndex + `)" = "` + strings.Repeat("1", 64) + `"
`
	for name, c := range map[string]struct{ ours, theirs string }{
		"a part of it":             {ours(), theirs()},
		"the same":                 {ours(), ours()},
		"a commit of format 1":     {ours(), old},
		"a crate of format 1":      {old, theirs()},
		"formats 3 and 4":          {strings.Replace(ours(), "version = 4", "version = 3", 1), theirs()},
		"another order":            {"version = 4\n" + locked("foo", "2.1.0", "2") + local("hello", "1.0.0", "foo"), theirs()},
		"nothing but itself":       {"version = 4\n" + local("hello", "1.0.0"), theirs()},
		"a commit of another year": {ours(), strings.Replace(theirs(), "name = \"hello\"\nversion = \"1.0.0\"", "name = \"hello\"\nversion = \"0.9.0\"", 1)},
	} {
		if err := helloWithLock(t, c.ours).DerivedLock([]byte(c.theirs)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALockFileThatChoosesAnythingElseDoesNotFollow(t *testing.T) {
	edit := func(old, new string) string {
		if strings.Count(ours(), old) == 0 {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(ours(), old, new, 1)
	}
	for name, c := range map[string]struct{ ours, theirs, want string }{
		"another checksum":  {edit(strings.Repeat("2", 64), strings.Repeat("3", 64)), theirs(), "in which foo 2.1.0 (" + lockIndex + ") has another checksum"},
		"an older version":  {edit(`"2.1.0"`, `"2.0.9"`), theirs(), "that has no foo 2.0.9 (" + lockIndex + "), but version 2.1.0"},
		"a build's version": {edit(`"2.1.0"`, `"2.1.0+evil"`), theirs(), "that has no foo 2.1.0+evil"},
		"a package more":    {ours() + locked("evil", "1.0.0", "e"), theirs(), "that has no evil 1.0.0"},
		"another registry": {edit(`"foo"
version = "2.1.0"
source = "`+lockIndex, `"foo"
version = "2.1.0"
source = "registry+https://evil.example/`), theirs(), "foo 2.1.0 (registry+https://evil.example/) has another source there"},
		"sparse in its place": {edit("registry+", "sparse+"), theirs(), "has another source there"},
		"from git": {edit(`"foo"
version = "2.1.0"
source = "`+lockIndex+`"
checksum = "`+strings.Repeat("2", 64)+`"`, `"foo"
version = "2.1.0"
source = "git+https://evil.example/foo#ab"`), theirs(), "takes foo 2.1.0 (git+https://evil.example/foo#ab) from elsewhere than a registry"},
		"from a path":           {ours() + local("evil", "1.0.0"), theirs(), "has evil 1.0.0, which comes from no registry"},
		"itself, but newer":     {edit(`"1.0.0"`, `"1.0.1"`), theirs(), "has hello 1.0.1, which comes from no registry"},
		"a package's old bar":   {ours(), strings.Replace(theirs(), `"bar 1.0.0", "dev"`, `"bar 2.0.0", "dev"`, 1), "in which hello 1.0.0 does not depend on bar 1.0.0"},
		"dependencies twice":    {edit("\n[[package]]\nname = \"foo\"", depends([]string{"bar"})+"\n[[package]]\nname = \"foo\""), theirs(), "is no lock file"},
		"a dependency of foo's": {ours() + depends([]string{"bar"}), theirs(), "in which foo 2.1.0 does not depend on bar 1.0.0"},
		"a member that was published": {ours() + locked("sibling", "1.0.0", "5"), theirs(),
			"sibling 1.0.0 comes from a registry, and is a package of the repository there, of which it has no checksum"},
		"of another workspace":        {ours(), strings.Replace(theirs(), `"hello"`, `"other"`, 1), "is not one of this package: it has 0 packages hello"},
		"of a registry's hello":       {ours(), strings.Replace(theirs(), local("hello", "1.0.0", "bar 1.0.0", "dev", "foo", "sibling"), locked("hello", "1.0.0", "7", "bar 1.0.0", "foo"), 1), "is not one of this package"},
		"of two packages":             {ours(), theirs() + local("hello", "2.0.0"), "it has 2 packages hello without a source"},
		"Hello, in another spelling":  {ours(), strings.Replace(theirs(), `"hello"`, `"Hello"`, 1), "it has 0 packages hello"},
		"replaced in the commit":      {ours(), strings.Replace(theirs(), strings.Repeat("2", 64)+"\"\n", strings.Repeat("2", 64)+"\"\nreplace = \"sibling 1.0.0\"\n", 1), "which replaces foo 2.1.0"},
		"replaced in the crate":       {edit(strings.Repeat("2", 64)+"\"\n", strings.Repeat("2", 64)+"\"\nreplace = \"bar 1.0.0\"\n"), theirs(), "takes foo 2.1.0 (" + lockIndex + ") from elsewhere"},
		"a newer format":              {edit("version = 4", "version = 5"), theirs(), "5 is not a version of the format"},
		"a commit of a newer format":  {ours(), strings.Replace(theirs(), "version = 4", "version = 5", 1), "of the commit is no lock file: version: 5"},
		"not the package itself":      {"version = 4\n" + locked("foo", "2.1.0", "2"), theirs(), "has no hello 1.0.0, the package itself"},
		"no packages":                 {"version = 4\n", theirs(), "has no hello 1.0.0, the package itself"},
		"no TOML":                     {"<<<<<<<", theirs(), "is no lock file"},
		"a commit's of nothing":       {ours(), "", "it has 0 packages hello"},
		"a commit's without its sums": {ours(), strings.ReplaceAll(theirs(), "checksum", "sum"), "of the commit is no lock file"},
	} {
		err := helloWithLock(t, c.ours).DerivedLock([]byte(c.theirs))
		if lock := (*LockError)(nil); !errors.As(err, &lock) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant a word on %s", name, err, c.want)
		}
	}
}

// TestEveryChangedByteOfALockFileIsFoundOrMeansNothing: what still follows, says the same.
func TestEveryChangedByteOfALockFileIsFoundOrMeansNothing(t *testing.T) {
	c := helloWithLock(t, ours())
	from, err := lockfile.Parse([]byte(theirs()))
	fatalIf(t, err)
	want, err := lockfile.Parse([]byte(ours()))
	fatalIf(t, err)
	known := map[string][32]byte{}
	for _, p := range want.Packages {
		if p.Checksum != nil {
			known[p.String()] = *p.Checksum
		}
	}
	believed := 0
	for i := range ours() {
		for _, bit := range []byte{1, 2, 0x20} {
			b := []byte(ours())
			b[i] ^= bit
			have, err := lockfile.Parse(b)
			if err != nil || c.derivedLock(have, from) != nil {
				continue
			}
			believed++
			for _, p := range have.Packages { // which may have lost a dependency
				itself := p.String() == "hello 1.0.0" && p.Checksum == nil
				if sum, ok := known[p.String()]; !itself && (!ok || p.Checksum == nil || *p.Checksum != sum) {
					t.Errorf("byte %d xor %#x: %s is believed", i, bit, p)
				}
			}
		}
	}
	if believed == 0 || believed > len(ours()) {
		t.Errorf("%d of %d changes are believed", believed, 3*len(ours()))
	}
}

func TestWhoChoseTheVersionsIsTheCommitOnlyIfThatIsShown(t *testing.T) {
	c := helloWithLock(t, ours())
	claim := func(change func(s *entry.Source)) *entry.Source {
		s := &entry.Source{Unproven: []string{lockFile}, Lock: &entry.Lock{Blob: gitBlob(theirs())}}
		if change != nil {
			change(s)
		}
		return s
	}
	none, err := readHello(pack(cargoToml()))
	fatalIf(t, err)
	for name, x := range map[string]struct {
		c    *Crate
		src  *entry.Source
		lock string
		want string // "" for the commit
	}{
		"derived":            {c, claim(nil), theirs(), ""},
		"proven":             {c, claim(func(s *entry.Source) { s.Unproven, s.Lock = nil, nil }), "", ""},
		"not said":           {c, claim(func(s *entry.Source) { s.Lock = nil }), theirs(), "the claim names no Cargo.lock of the commit"},
		"not at hand":        {c, claim(nil), "", "whose bytes are not at hand; they are in the entry's opening"},
		"another blob":       {c, claim(func(s *entry.Source) { s.Lock.Blob[19] ^= 1 }), theirs(), "of the commit is the blob"},
		"other bytes":        {c, claim(nil), theirs() + "\n", "of the commit is the blob"},
		"too many":           {c, claim(nil), strings.Repeat("\n", MaxLock+1), "has more than the 4194304 bytes"},
		"the crate's own":    {c, claim(nil), ours(), "of the commit is the blob"},
		"it does not follow": {helloWithLock(t, ours()+locked("evil", "1.0.0", "e")), claim(nil), theirs(), "that has no evil 1.0.0"},
		"none":               {none, claim(func(s *entry.Source) { s.Unproven, s.Lock = nil, nil }), "", ErrNoLock.Error()},
	} {
		var lock []byte
		if x.lock != "" {
			lock = []byte(x.lock)
		}
		by, err := x.c.LockChosenBy(x.src, lock)
		switch {
		case x.want == "" && (by != ByCommit || err != nil):
			t.Errorf("%s: %s, %v", name, by, err)
		case x.want != "" && (by != ByPackager || err == nil || !strings.Contains(err.Error(), x.want)):
			t.Errorf("%s: %s, %v, want a word on %q", name, by, err, x.want)
		}
	}
}

// TestTheCommitsLockFileIsListedWhereCargoLooksForIt, with its blob and an ordinary file's mode.
func TestTheCommitsLockFileIsListedWhereCargoLooksForIt(t *testing.T) {
	c := helloWithLock(t, ours())
	blob := gitBlob(theirs())
	for _, x := range []struct{ pkg, dir string }{{"", ""}, {"a", "a"}, {"a", ""}, {"a/b/c", "a"}} {
		src := &entry.Source{Path: x.pkg, Unproven: []string{lockFile}, Lock: &entry.Lock{Path: x.dir, Blob: blob}}
		l, err := c.List(src)
		fatalIf(t, err)
		var tree *Object
		for i := range l.Objects {
			if o := &l.Objects[i]; !o.Commit && o.Path == x.dir {
				tree = o
			}
		}
		if tree == nil || !slices.Contains(tree.Entries, Entry{Mode: modeFile, Name: lockFile, Blob: blob}) {
			t.Errorf("of %q at %q, the list is %q", x.pkg, x.dir, l.Bytes)
		}
		src.Lock = nil
		without, err := c.List(src)
		fatalIf(t, err)
		src.Lock = &entry.Lock{Path: x.dir, Blob: gitBlob(ours())}
		other, err := c.List(src)
		fatalIf(t, err)
		if l.Digest == without.Digest || l.Digest == other.Digest {
			t.Errorf("of %q at %q, the claim changes nothing", x.pkg, x.dir)
		}
		if again, err := ParseList(l.Bytes); err != nil || again.Digest != l.Digest {
			t.Errorf("the list does not parse: %v", err)
		}
	}
	// Through a link, whose text is in the claim.
	src := &entry.Source{Path: "p", Unproven: []string{lockFile}, Lock: &entry.Lock{Path: "p", Blob: blob},
		Links: []entry.Link{{Path: "p/Cargo.lock", Target: "../locks/of-p"}}}
	l, err := c.List(src)
	fatalIf(t, err)
	if want := "100644 of-p\x00" + string(blob[:]); !strings.Contains(string(l.Bytes), want) {
		t.Errorf("no %q in %q", want, l.Bytes)
	}
}

func TestClaimsAboutTheCommitsLockFileThatCannotBeAreRefused(t *testing.T) {
	nested := tarFile{name: root + "a/Cargo.lock", body: theirs()}
	workspace := cargoToml()
	workspace.body += "[workspace]\n"
	member := cargoToml()
	member.body = strings.Replace(member.body, "[package]\n", "[package]\nworkspace = \"../root\"\n", 1)
	edited := tarFile{name: root + origFile, body: cargoToml().body + "# edited\n"}
	unproven := []string{lockFile}
	lock := func(dir string) *entry.Lock { return &entry.Lock{Path: dir, Blob: gitBlob(theirs())} }
	for name, x := range map[string]struct {
		files []tarFile
		src   entry.Source
		want  string
	}{
		"beside":          {nil, entry.Source{Path: "a", Unproven: unproven, Lock: lock("b")}, "is not where cargo would look"},
		"below":           {nil, entry.Source{Path: "a", Unproven: unproven, Lock: lock("a/tests")}, "is not where cargo would look"},
		"a longer name":   {nil, entry.Source{Path: "ab", Unproven: unproven, Lock: lock("a")}, "is not where cargo would look"},
		"of a proven one": {nil, entry.Source{Lock: lock("")}, "is not listed as unproven, but the claim names the commit's"},
		"above a root":    {[]tarFile{{name: root + origFile, body: workspace.body}}, entry.Source{Path: "a", Unproven: unproven, Lock: lock("")}, "is not where cargo would look"},
		"not the one that is named": {[]tarFile{{name: root + origFile, body: member.body}},
			entry.Source{Path: "a", Unproven: unproven, Lock: lock("")}, "is not where cargo would look"},
		"out of the repository": {[]tarFile{{name: root + origFile, body: member.body}},
			entry.Source{Unproven: unproven, Lock: lock("")}, "which is not in the repository"},
		"an unproven original": {[]tarFile{edited}, entry.Source{Unproven: []string{lockFile, manifestFile, origFile}, Lock: lock("")},
			"which says where that is, is unproven"},
		"a file of the crate": {[]tarFile{nested}, entry.Source{Unproven: unproven, Lock: lock(""),
			Links: []entry.Link{{Path: "Cargo.lock", Target: "a/Cargo.lock"}}}, "is another proven file"},
		"a directory of it": {[]tarFile{nested}, entry.Source{Unproven: unproven, Lock: lock(""),
			Links: []entry.Link{{Path: "Cargo.lock", Target: "a"}}}, "is another proven file"},
		"out of it by a link": {nil, entry.Source{Unproven: unproven, Lock: lock(""),
			Links: []entry.Link{{Path: "Cargo.lock", Target: "../x"}}}, "leads out of the repository"},
	} {
		_, err := helloWithLock(t, ours(), x.files...).List(&x.src)
		refused(t, name, err, x.want)
	}
	// Where the manifest takes its workspace's, the lock file stands beside that.
	normalized, orig := cargoToml(), tarFile{name: root + origFile}
	orig.body = normalized.body + "edition.workspace = true\n"
	normalized.body += "edition = \"2021\"\n"
	c, err := readHello(pack(normalized, orig, tarFile{name: root + lockFile, body: ours()}))
	fatalIf(t, err)
	src := &entry.Source{Path: "a/b", Unproven: unproven, Lock: lock("a"),
		Workspace: &entry.Workspace{Manifest: []byte("[workspace]\n[workspace.package]\nedition = \"2021\"\n")}}
	_, err = c.List(src)
	refused(t, "beside another root", err, "is not where cargo would look")
	src.Lock.Path = ""
	if _, err := c.List(src); err != nil {
		t.Errorf("beside the root: %v", err)
	}
}

func TestLockFilesAreBounded(t *testing.T) {
	c := helloWithLock(t, ours()+strings.Repeat("#", MaxLock))
	for what, err := range map[string]error{
		"the .crate's": c.DerivedLock([]byte(theirs())),
		"the commit's": helloWithLock(t, ours()).DerivedLock([]byte(theirs() + strings.Repeat("#", MaxLock))),
	} {
		if lock := (*LockError)(nil); !errors.As(err, &lock) || !strings.Contains(err.Error(), "("+what+") has more than the 4194304 bytes") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzDerivedLock: nothing panics, and a lock file that follows has only packages of the other.
func FuzzDerivedLock(f *testing.F) {
	f.Add(ours(), theirs())
	f.Add(theirs(), ours())
	c := helloWithLock(f, ours())
	f.Fuzz(func(t *testing.T, a, b string) {
		have, err := lockfile.Parse([]byte(a))
		if err != nil {
			return
		}
		from, err := lockfile.Parse([]byte(b))
		if err != nil || c.derivedLock(have, from) != nil {
			return
		}
		for _, p := range have.Packages {
			same := func(q lockfile.Package) bool {
				return q.String() == p.String() && q.Checksum != nil && *q.Checksum == *p.Checksum
			}
			if itself := p.Source == "" && p.Name == c.Name; !itself && !slices.ContainsFunc(from.Packages, same) {
				t.Errorf("%s is believed", p)
			}
		}
	})
}
