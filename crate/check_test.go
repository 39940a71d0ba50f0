package crate

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/gitobject"
)

var fixtures = []struct{ name, version, path string }{
	{"hello-proof", "0.1.0", ""}, {"hello-proof", "0.1.1", ""}, {"hello-inner", "0.1.0", "crates/inner"},
}

// claimOf returns a fixture's crate and what an honest entry says about it.
func claimOf(t *testing.T, name, version, path string) (*Crate, entry.Subject, *entry.Source) {
	t.Helper()
	c, err := Read(fixture.Crate(t, name, version), name, version, DefaultLimits)
	fatalIf(t, err)
	src := &entry.Source{Commit: fixture.Commit(t, version), Path: path}
	l, err := c.List(src)
	fatalIf(t, err)
	src.Files = l.Digest
	return c, entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: c.SHA256}, src
}

// said is what an entry says of a crate.
type said struct {
	entry.Subject
	entry.Source
}

func TestCheckBelievesTheHonestAndNoCorruption(t *testing.T) {
	for _, f := range fixtures {
		c, subject, source := claimOf(t, f.name, f.version, f.path)
		if _, err := c.Check(subject, source); err != nil {
			t.Errorf("%s %s: %v", f.name, f.version, err)
		}
		for name, probe := range map[string]struct {
			edit func(*said)
			want error // errors.Is, or the type of errors.As
		}{
			"name":              {func(s *said) { s.Name += "x" }, ErrSubject},
			"version":           {func(s *said) { s.Version = "9.9.9" }, ErrSubject},
			"checksum":          {func(s *said) { s.SHA256[31] ^= 1 }, ErrSubject},
			"commit":            {func(s *said) { s.Commit[0] ^= 1 }, &VCSInfoError{}},
			"path":              {func(s *said) { s.Path = "other" }, &VCSInfoError{}},
			"files":             {func(s *said) { s.Files[31] ^= 1 }, ErrFiles},
			"files, all zero":   {func(s *said) { s.Files = [32]byte{} }, ErrFiles},
			"unproven manifest": {func(s *said) { s.Unproven = []string{"Cargo.toml"} }, &UnprovenError{}},
			"workspace": {func(s *said) {
				s.Workspace = &entry.Workspace{Manifest: []byte("[workspace]")}
			}, &PlaceError{}},
			"unproven source":   {func(s *said) { s.Unproven = []string{"Cargo.toml", "src/lib.rs"} }, &UnprovenError{}},
			"unproven original": {func(s *said) { s.Unproven = []string{"Cargo.toml", "Cargo.toml.orig"} }, ErrFiles},
			"original alone":    {func(s *said) { s.Unproven = []string{"Cargo.toml.orig"} }, &UnprovenError{}},
			"a root for no manifest": {func(s *said) {
				s.Unproven, s.Workspace = []string{"Cargo.toml", "Cargo.toml.orig"}, &entry.Workspace{Manifest: []byte("[workspace]")}
			}, &PlaceError{}},
			"CRLF of no file":   {func(s *said) { s.CRLF = []string{"no.rs"} }, &PlaceError{}},
			"CRLF of LF":        {func(s *said) { s.CRLF = []string{"src/lib.rs"} }, &PlaceError{}},
			"attributes alone":  {func(s *said) { s.Attributes = []entry.Attributes{{Content: []byte("* eol=crlf")}} }, &PlaceError{}},
			"unproven vcs info": {func(s *said) { s.Unproven = []string{vcsFile, "Cargo.toml"} }, &UnprovenError{}},
			"unproven absentee": {func(s *said) { s.Unproven = []string{"Cargo.lock", "Cargo.toml"} }, &UnprovenError{}},
			"unproven twice":    {func(s *said) { s.Unproven = []string{"Cargo.toml", "Cargo.toml"} }, &UnprovenError{}},
		} {
			s := &said{subject, *source}
			probe.edit(s)
			_, err := c.Check(s.Subject, &s.Source)
			if err == nil {
				t.Errorf("%s: believed with another %s", f.name, name)
			} else if !sameKind(err, probe.want) {
				t.Errorf("%s, %s: error is %v (%T)", f.name, name, err, err)
			}
		}
	}
}

func sameKind(err, want error) bool {
	return errors.Is(err, want) || fmt.Sprintf("%T", err) == fmt.Sprintf("%T", want)
}

// withFiles returns the crate with other files than it was read with.
func withFiles(c *Crate, files []File) *Crate {
	return &Crate{Name: c.Name, Version: c.Version, SHA256: c.SHA256, Files: files,
		vcsInfo: c.vcsInfo, manifest: c.manifest, orig: c.orig, doc: c.doc}
}

// TestEveryByteOfEveryFileCounts: another content, mode or path of any one file
// changes the digest.
func TestEveryByteOfEveryFileCounts(t *testing.T) {
	c, subject, source := claimOf(t, "hello-proof", "0.1.0", "")
	for i := range c.Files {
		f := c.Files[i]
		if f.Path == vcsFile || f.Path == manifestFile {
			continue
		}
		for name, edit := range map[string]func(*File){
			"content": func(f *File) { f.Blob[7] ^= 1 },
			"mode":    func(f *File) { f.Exec = !f.Exec },
			"path":    func(f *File) { f.Path += "x" },
		} {
			other := withFiles(c, append([]File(nil), c.Files...))
			edit(&other.Files[i])
			if _, err := other.Check(subject, source); err == nil {
				t.Errorf("%s: believed with another %s", f.Path, name)
			}
		}
		other := withFiles(c, append(append([]File(nil), c.Files[:i]...), c.Files[i+1:]...))
		if _, err := other.Check(subject, source); err == nil {
			t.Errorf("%s: believed without it", f.Path)
		}
	}
}

func TestVCSInfoMustBeCargosBytesForTheClaim(t *testing.T) {
	commit := [20]byte{0xab, 0xcd}
	id := "abcd" + strings.Repeat("0", 36)
	read := func(info string) *Crate {
		c, err := readHello(pack(cargoToml(), tarFile{name: root + vcsFile, body: info}))
		fatalIf(t, err)
		return c
	}
	modern := "{\n  \"git\": {\n    \"sha1\": \"" + id + "\"\n  },\n  \"path_in_vcs\": \"%s\"\n}"
	old := "{\n  \"git\": {\n    \"sha1\": \"" + id + "\"\n  }\n}\n"
	for _, c := range []struct{ info, path, want string }{
		{fmt.Sprintf(modern, ""), "", ""},
		{fmt.Sprintf(modern, "a/b"), "a/b", ""},
		{fmt.Sprintf(modern, `a\"b`), `a"b`, ""},
		{fmt.Sprintf(modern, "naïve<&>"), "naïve<&>", ""},
		{old, "", ""},
		{old, "a", ""}, // cargo 1.30 to 1.56 named no path
		{fmt.Sprintf(modern, "a"), "", `names the path "a" in the repository, but the claim is about ""`},
		{fmt.Sprintf(modern, "a/"), "a", `names the path "a/" in the repository, but the claim is about "a"`},
		{strings.Replace(old, "ab", "ac", 1), "", `names the commit "ac` + id[2:] + `", but the claim is about ` + id},
		{strings.Replace(old, "ab", "AB", 1), "", `names the commit "AB` + id[2:] + `", but the claim is about ` + id},
		{strings.TrimSuffix(old, "\n"), "", "names the right commit and path, but not in the bytes that cargo writes"},
		{old + "\n", "", "names the right commit and path, but not in the bytes that cargo writes"},
		{fmt.Sprintf(modern, "") + "\n", "", "names the right commit and path, but not in the bytes that cargo writes"},
		{strings.ReplaceAll(old, "  ", "    "), "", "names the right commit and path, but not in the bytes that cargo writes"},
		{strings.ReplaceAll(old, "\n", "\r\n"), "", "names the right commit and path, but not in the bytes that cargo writes"},
		{strings.Replace(old, "\n  }\n", ",\n    \"dirty\": true\n  }\n", 1), "", `says "dirty": the crate was packaged with changes that are in no commit`},
		{strings.Replace(old, "\n  }\n", ",\n    \"dirty\": false\n  }\n", 1), "", "names the right commit and path, but not in the bytes that cargo writes"},
		{"{}", "", `names the commit "", but the claim is about ` + id},
		{"", "", "is not what cargo writes: unexpected end of JSON input"},
		{"[]", "", "is not what cargo writes: json: cannot unmarshal array into Go value of type crate.vcsJSON"},
	} {
		_, err := read(c.info).List(&entry.Source{Commit: commit, Path: c.path})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.info, err)
		case c.want != "" && (err == nil || err.Error() != ".cargo_vcs_info.json "+c.want):
			t.Errorf("%q:\n got %v\nwant %s", c.info, err, c.want)
		}
		info, err := read(c.info).VCSInfo()
		hasPath := strings.Contains(c.info, "path_in_vcs")
		if c.want == "" && (err != nil || info.Commit != commit || info.HasPath != hasPath || hasPath && info.Path != c.path) {
			t.Errorf("%q: VCSInfo is %v, %v", c.info, info, err)
		}
		if (strings.Contains(c.want, "dirty") || strings.Contains(c.want, "bytes that cargo")) && err == nil {
			t.Errorf("%q: VCSInfo believes it", c.info)
		}
	}
	absent, err := readHello(pack(cargoToml()))
	fatalIf(t, err)
	if _, err := absent.List(&entry.Source{Commit: commit, Path: "a"}); err != nil {
		t.Errorf("without the file: %v", err)
	}
	if info, err := absent.VCSInfo(); info != nil || err != nil {
		t.Errorf("without the file: %v, %v", info, err)
	}
	// A file of that name deeper down is an ordinary file.
	nested, err := readHello(pack(cargoToml(), tarFile{name: root + "a/" + vcsFile, body: "anything"}))
	fatalIf(t, err)
	l, err := nested.List(&entry.Source{})
	if err != nil || !bytes.Contains(l.Bytes, []byte(vcsFile)) {
		t.Errorf("a nested %s: %v", vcsFile, err)
	}
}

func TestManifestAndLockfileAreProvenOrListed(t *testing.T) {
	same := tarFile{name: root + origFile, body: cargoToml().body}
	other := tarFile{name: root + origFile, body: cargoToml().body + "# original\n"}
	evil := cargoToml()
	evil.body += "[dependencies.proc-macro1]\nversion = \"1\"\n"
	lock := tarFile{name: root + lockFile, body: "lock"}
	needless := `the file "Cargo.toml" is listed as unproven, but it can be proven, and so it must be`
	added := `the file "Cargo.toml" is refused: Cargo.toml does not follow from Cargo.toml.orig: dependencies.proc-macro1`
	for name, c := range map[string]struct {
		files    []tarFile
		unproven string
		listed   string // names in the root tree
		want     string
	}{
		"no original":           {[]tarFile{cargoToml()}, "", "Cargo.toml", ""},
		"same original":         {[]tarFile{cargoToml(), same}, "", "Cargo.toml", ""},
		"derived":               {[]tarFile{cargoToml(), other}, "", "Cargo.toml", ""},
		"derived, listed":       {[]tarFile{cargoToml(), other}, "Cargo.toml", "", needless},
		"a dependency added":    {[]tarFile{evil, other}, "", "", added},
		"added, listed":         {[]tarFile{evil, other}, "Cargo.toml", "Cargo.toml", ""},
		"no original, listed":   {[]tarFile{cargoToml()}, "Cargo.toml", "", needless},
		"same original, listed": {[]tarFile{cargoToml(), same}, "Cargo.toml", "", needless},
		"lock proven":           {[]tarFile{cargoToml(), lock}, "", "Cargo.lock Cargo.toml", ""},
		"lock listed":           {[]tarFile{cargoToml(), lock}, "Cargo.lock", "Cargo.toml", ""},
		"both listed":           {[]tarFile{evil, other, lock}, "Cargo.lock Cargo.toml", "Cargo.toml", ""},
		"out of order":          {[]tarFile{evil, other, lock}, "Cargo.toml Cargo.lock", "", `the file "Cargo.lock" is listed as unproven out of order or twice`},
		"lock absent":           {[]tarFile{cargoToml()}, "Cargo.lock", "", `the file "Cargo.lock" is listed as unproven, but is not in the crate`},
		"a nested lock":         {[]tarFile{cargoToml(), {name: root + "a/Cargo.lock"}}, "a/Cargo.lock", "", `the file "a/Cargo.lock" is listed as unproven; only Cargo.toml, Cargo.toml.orig and Cargo.lock may be`},
	} {
		crate, err := readHello(pack(c.files...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l, err := crate.List(&entry.Source{Unproven: strings.Fields(c.unproven)})
		if c.want != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var names []string
		for _, e := range l.Objects[1].Entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); got != c.listed {
			t.Errorf("%s: lists %s, want %s", name, got, c.listed)
		}
		if orig, ok := crate.lookup(origFile); ok {
			if at := len(l.Objects[1].Entries) - 1; l.Objects[1].Entries[at].Blob != orig.Blob {
				t.Errorf("%s: Cargo.toml is not listed as the original", name)
			}
		}
	}
}

func TestClaimWithABadPathIsRefused(t *testing.T) {
	c, err := readHello(pack(cargoToml()))
	fatalIf(t, err)
	for _, p := range []string{"/", "a/", "/a", "a//b", ".", "..", "a/../b", `a\b`, "a\x00"} {
		if _, err := c.List(&entry.Source{Path: p}); err == nil {
			t.Errorf("path %q was accepted", p)
		}
	}
}

// TestAWorkspaceIsBelievedOnlyWhereCargoWouldLookForIt checks claims about a crate
// that inherits its edition.
func TestAWorkspaceIsBelievedOnlyWhereCargoWouldLookForIt(t *testing.T) {
	normalized, orig := cargoToml(), tarFile{name: root + origFile}
	orig.body = normalized.body + "edition.workspace = true\n"
	normalized.body += "edition = \"2021\"\n"
	c, err := readHello(pack(normalized, orig))
	fatalIf(t, err)
	manifest := "[workspace]\nmembers = [\"a/b\"]\n[workspace.package]\nedition = \"2021\"\n"
	for _, probe := range []struct{ name, pkg, root, manifest, want string }{
		{"above", "a/b", "", manifest, ""},
		{"nearer", "a/b", "a", manifest, ""},
		{"beside", "a/b", "c", manifest, "not a directory in which cargo would look"},
		{"a longer name", "ab/c", "a", manifest, "not a directory in which cargo would look"},
		{"below", "a/b", "a/b/c", manifest, "not a directory in which cargo would look"},
		{"itself", "a/b", "a/b", manifest, "not a directory in which cargo would look"},
		{"for the root itself", "", "", manifest, "not a directory in which cargo would look"},
		{"another edition", "a/b", "", strings.Replace(manifest, "2021", "2018", 1), "package.edition"},
		{"nothing to inherit", "a/b", "", "[workspace]\n", "is refused"},
	} {
		src := &entry.Source{Path: probe.pkg, Workspace: &entry.Workspace{Path: probe.root, Manifest: []byte(probe.manifest)}}
		l, err := c.List(src)
		if probe.want != "" {
			refused(t, probe.name, err, probe.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", probe.name, err)
			continue
		}
		id, _ := gitobject.Object{Type: gitobject.TypeBlob, Content: []byte(probe.manifest)}.ID()
		if !bytes.Contains(l.Bytes, append([]byte("100644 Cargo.toml\x00"), id[:]...)) {
			t.Errorf("%s: the workspace's manifest is not listed", probe.name)
		}
	}
	_, err = c.List(&entry.Source{Path: "a/b"})
	refused(t, "without the workspace", err, "Cargo.toml at the workspace's root")
	if _, err := c.List(&entry.Source{Path: "a/b", Unproven: []string{"Cargo.toml"}}); err != nil {
		t.Errorf("unproven instead: %v", err)
	}
}

func TestAWorkspaceOutsideOfTheRepositoryIsNotTakenForOneInside(t *testing.T) {
	manifest := "[workspace]\n[workspace.package]\nedition = \"2021\"\n"
	for _, probe := range []struct{ named, pkg, root, want string }{
		{"../../b", "a", "b", "not a directory in which cargo would look"},
		{"../..", "a", "", "not a directory in which cargo would look"},
		{"..", "", "", "not a directory in which cargo would look"},
		{"/b", "a", "b", "not a directory in which cargo would look"},
		{"/b", "a", "a/b", "not a directory in which cargo would look"},
		{"..", "a", "", ""},
		{"../b", "a", "b", ""},
		{"../.b", "a", ".b", ""},
		{"project", "a", "b", "not a directory in which cargo would look"},
	} {
		normalized, orig := cargoToml(), tarFile{name: root + origFile}
		orig.body = normalized.body + fmt.Sprintf("edition.workspace = true\nworkspace = %q\n", probe.named)
		if probe.named == "project" { // as [package] was called once
			orig.body = strings.Replace(strings.Replace(orig.body, "[package]", "[project]", 1), `"project"`, `"../../b"`, 1)
		}
		normalized.body += "edition = \"2021\"\n"
		c, err := readHello(pack(normalized, orig))
		fatalIf(t, err)
		src := &entry.Source{Path: probe.pkg, Workspace: &entry.Workspace{Path: probe.root, Manifest: []byte(manifest)}}
		if _, err = c.List(src); probe.want != "" {
			refused(t, probe.named, err, probe.want)
			_, err = c.Layout(src, newClaimed(src)).Root(func(Place, error) ([]byte, error) { return []byte(manifest), nil })
			refused(t, probe.named+" for the prover", err, "which is not in the repository")
		} else if err != nil {
			t.Errorf("%s: %v", probe.named, err)
		}
	}
}

// TestTheManifestIsNeverFromOutside: a manifest whose readme is another directory's
// manifest must not be taken for that one.
func TestTheManifestIsNeverFromOutside(t *testing.T) {
	manifest := cargoToml()
	manifest.body += "readme = \"../Cargo.toml\"\n"
	orig := tarFile{name: root + origFile, body: manifest.body}
	c, err := readHello(pack(manifest, orig))
	fatalIf(t, err)
	_, err = c.List(&entry.Source{Path: "a", Outside: []string{"Cargo.toml"}})
	refused(t, "another manifest", err, "cargo never takes it from there")
}

// TestLinksCannotMakeAClaimExpensive sends many files through a chain of long links.
func TestLinksCannotMakeAClaimExpensive(t *testing.T) {
	src := &entry.Source{}
	for i := range 30 {
		target := strings.Repeat("d/../", 200) + fmt.Sprintf("l%02d", i+1)
		src.Links = append(src.Links, entry.Link{Path: fmt.Sprintf("l%02d", i), Target: target})
	}
	files := []tarFile{cargoToml()}
	for i := range 200 {
		files = append(files, tarFile{name: fmt.Sprintf("%sl00/f%03d", root, i)})
	}
	c, err := readHello(pack(files...))
	fatalIf(t, err)
	_, err = c.List(src)
	refused(t, "many links", err, "one step too many")
	src.Links[29].Target = "l30"
	few, err := readHello(pack(files[:20]...))
	fatalIf(t, err)
	if _, err := few.List(src); err != nil {
		t.Errorf("the same links, for fewer files: %v", err)
	}
	for i := range src.Links { // what leads nowhere costs as much
		src.Links[i].Target = "." + strings.Repeat("/", 1000) + fmt.Sprintf("l%02d", i+1)
	}
	_, err = c.List(src)
	refused(t, "links of slashes", err, "one step too many")
}
