package crate

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
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
		"a\x1b[\b\f\t\r\n\x1a": "a\x1b[\b\f\t\n\x1a", "a\x01\r\n": "-", "\x7f\r\n": "-", "\x1a\x1a\r\n": "-",
		"\x01" + strings.Repeat("a", 128) + "\r\n": "\x01" + strings.Repeat("a", 128) + "\n",
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
		{"[!b].rs eol=crlf", "a.rs", false}, // not understood
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
		{"* eol=crlf\n* crlf=input", "a.rs", true}, // as git has it
		{"# * eol=crlf", "a.rs", false},
		{"*.rs  eol=CRLF", "a.rs", false},
		{"*.rs eol=crlf", "a.RS", false},
		{"[ eol=crlf", "a.rs", false},
		{"\"*.rs\" eol=crlf", "a.rs", false},                      // not understood
		{"[attr]windows eol=crlf\n*.rs windows\n", "a.rs", false}, // nor this
		{"* eol=crlf\n[attr]x -text\n", "a.rs", false},            // nor what may follow
		// What git decides with the attribute text, the one that was called crlf cannot change.
		{"* -text\n* crlf eol=crlf", "a.rs", false},
		{"* binary\n* crlf eol=crlf", "a.rs", false},
		{"* -crlf eol=crlf\n* !text", "a.rs", false},
		{"* -crlf text eol=crlf", "a.rs", true},
		{"* text=input eol=crlf", "a.rs", true},
		{"* text=input\n* -crlf eol=crlf", "a.rs", true},
		{"* text=other -crlf eol=crlf", "a.rs", false},
		{"* -binary eol=crlf", "a.rs", true},
		{"* eol=crlf\n* eol=other", "a.rs", false},
		{"* eol=crlf\n* eol", "a.rs", false},
		{"* eol=crlf\n* eol=", "a.rs", false},
		{"!a.rs eol=crlf", "!a.rs", false},
		{"* eol=crlf\n*.[[:alpha:]]s -text", "a.rs", false}, // not understood
		{"* eol=crlf\n\\a.rs -text", "a.rs", false},         // nor this
		{"\ufeff*.rs eol=crlf", "a.rs", true},
		{"* eol=crlf\n\u00a0*.rs -text", "a.rs", true},
		{"*.rs " + strings.Repeat("x ", 1024) + "eol=crlf", "a.rs", false},
		{"", "a.rs", false},
	} {
		var e lineEnds
		e.read(x.content, x.path)
		if e.crlf() != x.want {
			t.Errorf("%q of %q: %v", x.content, x.path, e.crlf())
		}
	}
}

// TestAttributesAreWhatGitMakesOfThem checks out files under random .gitattributes, of the repository and
// of the file's own directory.
func TestAttributesAreWhatGitMakesOfThem(t *testing.T) {
	if testing.Short() {
		t.Skip("starts git")
	}
	const cases = 400
	files := map[string]string{"a.rs": "one\ntwo\n", "sub/b.rs": "\x01one\n"}
	patterns := []string{"*", "*.rs", "a.rs", "/a.rs", "sub/*", "**/b.rs", "sub/**", "**", "a*", "!*", "#", "/sub/b.rs", "sub", "sub/", "/**/a.rs", "*.r**"}
	attributes := []string{"text", "-text", "!text", "text=auto", "text=input", "text=x", "crlf", "-crlf", "!crlf", "crlf=input", "crlf=auto",
		"eol=crlf", "eol=crlf", "eol=crlf", "eol=lf", "eol", "-eol", "!eol", "eol=x", "binary", "-binary", "!binary", "binary=x", "diff", "-merge", "x=y"}
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	write := func(most int) string {
		var b strings.Builder
		for range 1 + rng.IntN(most) {
			b.WriteString(pick(patterns))
			for range 1 + rng.IntN(3) {
				b.WriteString(pick([]string{" ", "\t", "  "}) + pick(attributes))
			}
			b.WriteString(pick([]string{"\n", "\r\n"}))
		}
		return b.String()
	}
	dir := t.TempDir()
	put := func(path, content string) {
		fatalIf(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		fatalIf(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
	}
	git := func(args ...string) {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "core.autocrlf=false", "-c", "core.safecrlf=false"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	outer, inner := make([]string, cases), make([]string, cases)
	for i := range cases {
		top := fmt.Sprint(i)
		outer[i], inner[i] = write(4), write(2)
		for path, content := range files {
			put(top+"/"+path, content)
		}
	}
	git("init", "-q")
	git("add", ".") // before there are attributes
	for i := range cases {
		put(fmt.Sprintf("%d/.gitattributes", i), outer[i])
		put(fmt.Sprintf("%d/sub/.gitattributes", i), inner[i])
		for path := range files {
			fatalIf(t, os.Remove(filepath.Join(dir, fmt.Sprint(i), path)))
		}
	}
	git("checkout", "-q", "--", ".")
	said := 0
	for i := range cases {
		for path, content := range files {
			var e lineEnds
			e.read(outer[i], path)
			if in, ok := strings.CutPrefix(path, "sub/"); ok {
				e.read(inner[i], in)
			}
			out, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i), path))
			fatalIf(t, err)
			_, isText := withoutCR([]byte(strings.ReplaceAll(content, "\n", "\r\n")))
			switch got := e.crlf() && isText; {
			case got && string(out) == content:
				t.Errorf("%s under %q and %q: git writes no CRLF", path, outer[i], inner[i])
			case !got && isText && !strings.Contains(outer[i]+inner[i], "binary") && string(out) != content: // set does not take it back
				t.Errorf("%s under %q and %q: git writes CRLF", path, outer[i], inner[i])
			case got:
				said++
			}
		}
	}
	if said < cases/20 {
		t.Errorf("only %d files have CRLF", said)
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
