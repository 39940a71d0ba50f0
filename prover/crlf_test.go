package prover

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilesWithCRLFAreListedAsSuch checks files out as git does where attributes or the
// configuration say CRLF.
func TestFilesWithCRLFAreListedAsSuch(t *testing.T) {
	for _, c := range []struct {
		name             string
		attributes       []string // pairs of path and content
		config           bool     // core.autocrlf
		crlf, attributed []string
		carried          []string // directories of the .gitattributes that the claim has
	}{
		{"configuration", nil, true, []string{"Cargo.toml", "src/lib.rs", "src/run.sh"}, nil, nil},
		{"eol", []string{".gitattributes", "*.rs text eol=crlf\n"}, false, []string{"src/lib.rs"}, []string{"src/lib.rs"}, []string{""}},
		{"of a directory", []string{"src/.gitattributes", "*.sh eol=crlf\n"}, false, []string{"src/run.sh"}, []string{"src/run.sh"}, []string{"src"}},
		{"of both", []string{".gitattributes", "* -text\n", "src/.gitattributes", "lib.rs text eol=crlf\n"}, false,
			[]string{"src/lib.rs"}, []string{"src/lib.rs"}, []string{"", "src"}},
		{"some", []string{"src/.gitattributes", "/lib.rs eol=crlf\n"}, true, []string{"Cargo.toml", "src/.gitattributes", "src/lib.rs", "src/run.sh"},
			[]string{"src/lib.rs"}, []string{"src"}},
		{"too large to carry", []string{".gitattributes", strings.Repeat("# long\n", 2000) + "*.rs eol=crlf\n"}, false, []string{"src/lib.rs"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := hello(t)
			w.write("src/run.sh", "#!/bin/sh\ntrue\n")
			w.chmod(0o755, "src/run.sh")
			if c.attributes != nil {
				w.write(c.attributes...)
			}
			src := w.source("")
			if c.config {
				w.git("config", "core.autocrlf", "true")
			}
			var files []string
			for f := range strings.SplitSeq(w.git("ls-files"), "\n") {
				files = append(files, f)
			}
			w.again(files...)
			pkg := w.packDir("", "hello", nil) // without the bit: both can be said of one file
			p, err := w.plan(pkg, src)
			fatalIf(t, err)
			crlf := slices.DeleteFunc(slices.Clone(p.Claim.CRLF), func(f string) bool { return f == ".gitattributes" })
			if !slices.Equal(crlf, c.crlf) {
				t.Errorf("CRLF: %q, want %q", crlf, c.crlf)
			}
			said, err := pkg.Attributed(p.Claim)
			fatalIf(t, err)
			if !slices.Equal(said, c.attributed) {
				t.Errorf("attributed: %q, want %q", said, c.attributed)
			}
			var carried []string
			for _, a := range p.Claim.Attributes {
				carried = append(carried, a.Path)
			}
			if !slices.Equal(carried, c.carried) {
				t.Errorf("carried: %q, want %q", carried, c.carried)
			}
			if !slices.Equal(p.Claim.Executable, []string{"src/run.sh"}) {
				t.Errorf("executable: %q", p.Claim.Executable)
			}
			proves(t, pkg, p)
		})
	}
}

// TestWhatDiffersInMoreThanCRLFIsRefused has files that no checkout makes.
func TestWhatDiffersInMoreThanCRLFIsRefused(t *testing.T) {
	w := hello(t)
	w.write("src/a.rs", "one\ntwo\n", "src/b.rs", "one\r\ntwo\n", "src/c.rs", "no end")
	src := w.source("")
	for name, files := range map[string][]string{
		"one line of two":          {"src/a.rs", "one\r\ntwo\n"},
		"a CR alone":               {"src/a.rs", "one\r\ntwo\r\n\r"},
		"two CRs":                  {"src/a.rs", "one\r\r\ntwo\r\n"},
		"another word":             {"src/a.rs", "one\r\ntoo\r\n"},
		"a blob that has CRs":      {"src/b.rs", "one\r\r\ntwo\r\n"},
		"a blob that has one":      {"src/b.rs", "one\r\ntwo\r\n"},
		"a line end where is none": {"src/c.rs", "no end\r\n"},
	} {
		before, err := os.ReadFile(filepath.Join(w.dir, files[0]))
		fatalIf(t, err)
		w.write(files...)
		_, err = w.plan(w.packDir("", "hello", nil), src)
		refusal(t, err, files[0])
		if err == nil {
			t.Errorf("%s: not refused", name)
		}
		w.write(files[0], string(before))
	}
}

// TestAttributesStandAtTheTrueEndOfLinks: git reads those above the file, not those above the link.
func TestAttributesStandAtTheTrueEndOfLinks(t *testing.T) {
	w := newWorkshop(t)
	w.write("real/pkg/Cargo.toml", "[package]\nname = \"hello\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
		"real/pkg/src/lib.rs", "// nothing\n", "real/.gitattributes", "*.rs text eol=crlf\n")
	w.link("pkg", "real/pkg")
	src := w.source("pkg")
	w.write("real/pkg/src/lib.rs", "// nothing\r\n")
	c := w.packDir("pkg", "hello", nil)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	if said, err := c.Attributed(p.Claim); err != nil || !slices.Equal(said, []string{"src/lib.rs"}) || len(p.Claim.Attributes) != 1 ||
		p.Claim.Attributes[0].Path != "real" {
		t.Errorf("%q, %v, %+v", said, err, p.Claim)
	}
	proves(t, c, p)
}

// TestAttributesOfAnotherRepositoryEndAtASubmodule: git reads none of them there.
func TestAttributesOfAnotherRepositoryEndAtASubmodule(t *testing.T) {
	sub := newWorkshop(t)
	sub.write("z.c", "int z;\n")
	sub.commit()
	w := hello(t)
	w.write(".gitattributes", "*.c eol=crlf\n")
	module := w.submodule(sub, "z")
	src := w.source("")
	src.Submodule = module.open
	module.write("z.c", "int z;\r\n")
	c := w.packDir("", "hello", nil)
	p, err := w.plan(c, src)
	fatalIf(t, err)
	if !slices.Equal(p.Claim.CRLF, []string{"z/z.c"}) || p.Claim.Attributes != nil {
		t.Errorf("%+v", p.Claim)
	}
	proves(t, c, p)

	module.write(".gitattributes", "*.c eol=crlf\n", "z.c", "int z;\n")
	module.commit()
	*src.Commit = w.commit()
	module.write("z.c", "int z;\r\n")
	c = w.packDir("", "hello", nil)
	p, err = w.plan(c, src)
	fatalIf(t, err)
	if said, err := c.Attributed(p.Claim); err != nil || !slices.Equal(said, []string{"z/z.c"}) || len(p.Claim.Attributes) != 1 || p.Claim.Attributes[0].Path != "z" {
		t.Errorf("%q, %v, %+v", said, err, p.Claim.Attributes)
	}
	proves(t, c, p)
}

// TestAReleaseToolThatEditsTheVersionLeavesTheCodeProven is what "dirty" crates mostly are.
func TestAReleaseToolThatEditsTheVersionLeavesTheCodeProven(t *testing.T) {
	w := hello(t)
	src := w.source("")
	edited := helloManifest + "categories = [\"no-std\"]\n"
	w.write("Cargo.toml", edited)
	b, err := os.ReadFile(filepath.Join(w.dir, "src/lib.rs"))
	fatalIf(t, err)
	files := map[string]string{"src/lib.rs": string(b), "Cargo.toml": edited, "Cargo.toml.orig": edited}
	for name, info := range map[string]string{"": "", "dirty": dirtyInfo(*src.Commit)} {
		if info != "" {
			files[".cargo_vcs_info.json"] = info
		}
		c := pack(t, "hello", files)
		strict := src
		_, err := w.plan(c, strict)
		refused(t, name, err, "--unproven-manifest proves all files but Cargo.toml and Cargo.toml.orig")
		loose := src
		loose.UnprovenManifest = true
		p, err := w.plan(c, loose)
		fatalIf(t, err)
		if !slices.Equal(p.Claim.Unproven, []string{"Cargo.toml", "Cargo.toml.orig"}) {
			t.Errorf("%q", p.Claim.Unproven)
		}
		proves(t, c, p)
	}
	// Only the manifest may differ.
	files["src/lib.rs"] += "// more\n"
	src.UnprovenManifest = true
	_, err = w.plan(pack(t, "hello", files), src)
	refusal(t, err, "src/lib.rs")
	// A crate that says "dirty", where nothing is.
	clean := map[string]string{"Cargo.toml": helloManifest, "Cargo.toml.orig": helloManifest, "src/lib.rs": string(b), ".cargo_vcs_info.json": dirtyInfo(*src.Commit)}
	_, err = w.plan(pack(t, "hello", clean), src)
	refused(t, "dirty and clean", err, "dirty")
}

// dirtyInfo is what cargo writes of a package at the top with --allow-dirty.
func dirtyInfo(commit [20]byte) string {
	return fmt.Sprintf("{\n  \"git\": {\n    \"sha1\": \"%x\",\n    \"dirty\": true\n  },\n  \"path_in_vcs\": \"\"\n}", commit)
}
