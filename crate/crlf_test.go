package crate

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
)

// TestOnlyWholeTextsWithCRLFAreHashedWithout has every way in which a file can be something else.
func TestOnlyWholeTextsWithCRLFAreHashedWithout(t *testing.T) {
	for content, want := range map[string]string{
		"a\r\n": "a\n", "\r\n": "\n", "a\r\nb": "a\nb", "\r\n\r\n": "\n\n", "é\r\n": "é\n",
		"": "-", "a": "-", "a\n": "-", "a\r": "-", "a\r\nb\n": "-", "a\nb\r\n": "-", "a\r\n\r": "-", "\r\r\n": "-", "a\rb\r\n": "-",
		"\n\r": "-", "\r\n\x00": "-", "\x00\r\n": "-", "\n\r\n": "-",
	} {
		got, ok := withoutCR([]byte(content))
		if ok != (want != "-") || ok && string(got) != want {
			t.Errorf("%q: %q, %v", content, got, ok)
		}
	}
}

func FuzzWithoutCR(f *testing.F) {
	f.Add([]byte("a\r\nb\r\n"))
	f.Add([]byte("a\r\nb\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		text, ok := withoutCR(content)
		if !ok {
			return
		}
		if strings.ContainsAny(string(text), "\r\x00") {
			t.Fatalf("%q has a CR or a NUL", text)
		}
		if again := strings.ReplaceAll(string(text), "\n", "\r\n"); again != string(content) {
			t.Fatalf("%q is not what git makes of %q", content, text)
		}
	})
}

func gitBlob(content string) [20]byte {
	return sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
}

// crlfCrate has a source with CRLF, a binary and one with LF.
func crlfCrate(t *testing.T) *Crate {
	t.Helper()
	c, err := readHello(pack(cargoToml(), tarFile{name: root + "a.rs", body: "one\r\ntwo\r\n"}, tarFile{name: root + "b.bin", body: "\x00\r\n"},
		tarFile{name: root + "sub/c.rs", body: "three\n"}))
	fatalIf(t, err)
	return c
}

func TestAListHasTheBlobWithoutCR(t *testing.T) {
	c := crlfCrate(t)
	src := &entry.Source{Path: "p", CRLF: []string{"a.rs"}}
	l, err := c.List(src)
	fatalIf(t, err)
	files := proven(c, src)
	for i := range files {
		if files[i].Path == "a.rs" {
			files[i].Blob = gitBlob("one\ntwo\n")
		}
	}
	checkList(t, l, files, "p")
	with, err := c.List(&entry.Source{Path: "p"})
	fatalIf(t, err)
	if with.Digest == l.Digest {
		t.Error("the claim changes nothing")
	}

	// With the attributes that say so.
	content := "*.rs eol=crlf\n"
	src.Attributes = []entry.Attributes{{Path: "", Content: []byte("# none\n")}, {Path: "p", Content: []byte(content)}}
	l, err = c.List(src)
	fatalIf(t, err)
	for _, a := range []string{"100644 .gitattributes\x00" + string(slices.Collect(blobBytes("# none\n"))), "100644 .gitattributes\x00" + string(slices.Collect(blobBytes(content)))} {
		if !strings.Contains(string(l.Bytes), a) {
			t.Errorf("%q is not in the list %q", a, l.Bytes)
		}
	}
}

func blobBytes(content string) func(yield func(byte) bool) {
	id := gitBlob(content)
	return slices.Values(id[:])
}

func TestClaimsAboutCRLFThatDoNotHoldAreRefused(t *testing.T) {
	c := crlfCrate(t)
	above := func(path string) []entry.Attributes {
		return []entry.Attributes{{Path: path, Content: []byte("* eol=crlf\n")}}
	}
	for name, x := range map[string]struct {
		src  entry.Source
		want string
	}{
		"a file with LF":        {entry.Source{CRLF: []string{"sub/c.rs"}}, "is not a text of at most"},
		"a binary":              {entry.Source{CRLF: []string{"b.bin"}}, "is not a text of at most"},
		"no file":               {entry.Source{CRLF: []string{"d.rs"}}, "is not a proven file"},
		"the original's name":   {entry.Source{CRLF: []string{"Cargo.toml.orig"}}, "is not a proven file"},
		"an unproven file":      {entry.Source{CRLF: []string{".cargo_vcs_info.json"}}, "is not a proven file"},
		"attributes of nothing": {entry.Source{Attributes: above("")}, "stands above no file"},
		"attributes beside":     {entry.Source{CRLF: []string{"a.rs"}, Attributes: above("sub")}, "stands above no file"},
		"attributes elsewhere":  {entry.Source{Path: "p", CRLF: []string{"a.rs"}, Attributes: above("q")}, "stands above no file"},
		"attributes behind a link": {entry.Source{Path: "p/q", CRLF: []string{"a.rs"}, Attributes: above("p"),
			Links: []entry.Link{{Path: "p", Target: "r"}}}, "lies behind a symbolic link"},
		"attributes that are a link": {entry.Source{CRLF: []string{"a.rs"}, Attributes: above(""),
			Links: []entry.Link{{Path: ".gitattributes", Target: "x"}}}, "lies behind a symbolic link"},
		"of another repository": {entry.Source{Path: "m/p", CRLF: []string{"a.rs"}, Attributes: above(""), Submodules: []string{"m"}}, "stands above no file"},
	} {
		_, err := c.List(&x.src)
		if place := (*PlaceError)(nil); !errors.As(err, &place) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want a word on %q", name, err, x.want)
		}
	}
	in := entry.Source{Path: "m/p", CRLF: []string{"a.rs"}, Attributes: above("m"), Submodules: []string{"m"}}
	if _, err := c.List(&in); err != nil {
		t.Errorf("attributes of the submodule itself: %v", err)
	}
	// The .crate's own .gitattributes is the same file, or the claim is false.
	own, err := readHello(pack(cargoToml(), tarFile{name: root + ".gitattributes", body: "* eol=crlf\n"}, tarFile{name: root + "a.rs", body: "one\r\n"}))
	fatalIf(t, err)
	if _, err := own.List(&entry.Source{CRLF: []string{"a.rs"}, Attributes: above("")}); err != nil {
		t.Error(err)
	}
	other := above("")
	other[0].Content = []byte("* -text\n")
	_, err = own.List(&entry.Source{CRLF: []string{"a.rs"}, Attributes: other})
	refused(t, "two of one place", err, "two different files")
}

func TestAttributesAreReadAsGitReadsThem(t *testing.T) {
	// As gitattributes(5) says; package prover compares with git itself.
	for _, x := range []struct {
		content, path string
		want          bool
	}{
		{"*.rs eol=crlf", "src/a.rs", true},
		{"*.rs text eol=crlf\n", "a.rs", true},
		{"*.rs eol=crlf\r\n", "a.rs", true},
		{"a.rs eol=crlf", "src/a.rs", true},
		{"/a.rs eol=crlf", "src/a.rs", false},
		{"/a.rs eol=crlf", "a.rs", true},
		{"src/*.rs eol=crlf", "src/a.rs", true},
		{"src/*.rs eol=crlf", "src/b/a.rs", false},
		{"src/** eol=crlf", "src/b/a.rs", true},
		{"**/b/*.rs eol=crlf", "src/b/a.rs", true},
		{"**/b/*.rs eol=crlf", "b/a.rs", true},
		{"src/**/a.rs eol=crlf", "src/a.rs", true},
		{"src/**/a.rs eol=crlf", "src/b/c/a.rs", true},
		{"src/ eol=crlf", "src/a.rs", false},
		{"src eol=crlf", "src/a.rs", false},
		{"[!b].rs eol=crlf", "a.rs", true},
		{"[!a].rs eol=crlf", "a.rs", false},
		{"* eol=crlf\n*.rs -text\n", "a.rs", false},
		{"* eol=crlf\n*.rs binary\n", "a.rs", false},
		{"* -text\n*.rs text\n* eol=crlf", "a.rs", true},
		{"* eol=crlf\n*.rs eol=lf\n", "a.rs", false},
		{"* eol=crlf\n*.rs -eol\n", "a.rs", false},
		{"* eol=crlf\n*.rs !eol\n", "a.rs", false},
		{"* -text eol=crlf", "a.rs", false},
		{"* text", "a.rs", false},
		{"* text=auto eol=crlf", "a.rs", true},
		{"* crlf eol=crlf", "a.rs", true},
		{"* eol=crlf\n* crlf=input", "a.rs", false},
		{"# * eol=crlf", "a.rs", false},
		{"*.rs  eol=CRLF", "a.rs", false},
		{"*.rs eol=crlf", "a.RS", false},
		{"[ eol=crlf", "a.rs", false},
		{"\"*.rs\" eol=crlf", "a.rs", false},                      // not understood
		{"[attr]windows eol=crlf\n*.rs windows\n", "a.rs", false}, // nor this
		{"* eol=crlf\n[attr]x -text\n", "a.rs", false},            // nor what may follow
		{"", "a.rs", false},
	} {
		var e lineEnds
		e.read(x.content, x.path)
		if e.crlf() != x.want {
			t.Errorf("%q of %q: %v", x.content, x.path, e.crlf())
		}
	}
}

// TestManyPatternsAndFilesEnd has as much as a claim can hold, and patterns that take long.
func TestManyPatternsAndFilesEnd(t *testing.T) {
	files := []tarFile{cargoToml()}
	src := &entry.Source{Attributes: []entry.Attributes{{Content: []byte(strings.Repeat("**/a*a*a*a*a*a*b eol=crlf\n", 300))}}}
	for i := range 1024 {
		name := fmt.Sprintf("%04d/%s", i, strings.Repeat("a", 75))
		files = append(files, tarFile{name: root + name, body: "\r\n"})
		src.CRLF = append(src.CRLF, name)
	}
	c, err := readHello(pack(files...))
	fatalIf(t, err)
	if _, err := c.List(src); err != nil {
		t.Fatal(err)
	}
	said, err := c.Attributed(src)
	if err == nil || len(said) != 0 {
		t.Errorf("%q, %v", said, err)
	}
	refused(t, "too much", err, "too many files with CRLF")
}

func TestADirtyCrateIsAcceptedOnlyWithoutItsManifest(t *testing.T) {
	commit := [20]byte{0xab}
	for path, info := range map[string]string{
		"":  "{\n  \"git\": {\n    \"sha1\": \"ab" + strings.Repeat("0", 38) + "\",\n    \"dirty\": true\n  },\n  \"path_in_vcs\": \"\"\n}",
		"p": "{\n  \"git\": {\n    \"sha1\": \"ab" + strings.Repeat("0", 38) + "\",\n    \"dirty\": true\n  },\n  \"path_in_vcs\": \"p\"\n}",
	} {
		orig := cargoToml()
		orig.name = root + origFile
		c, err := readHello(pack(cargoToml(), orig, tarFile{name: root + vcsFile, body: info}))
		fatalIf(t, err)
		both := []string{manifestFile, origFile}
		for name, x := range map[string]struct {
			src  entry.Source
			want string
		}{
			"both unproven":  {entry.Source{Commit: commit, Path: path, Unproven: both}, ""},
			"all proven":     {entry.Source{Commit: commit, Path: path}, `says "dirty"`},
			"another commit": {entry.Source{Commit: [20]byte{1}, Path: path, Unproven: both}, "names the commit"},
			"another path":   {entry.Source{Commit: commit, Path: path + "x", Unproven: both}, "names the path"},
		} {
			_, err := c.List(&x.src)
			if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("%q: %s: %v", path, name, err)
			}
		}
		if !c.NamesCommit() {
			t.Error("it names a commit")
		}
	}
}
