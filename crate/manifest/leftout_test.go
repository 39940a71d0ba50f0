package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/toml"
)

const old = "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n" // edition 2015

// TestAFileLeftOutDoesNotMoveATarget: where the likelier file is missing, another one of the commit
// would become the target, with or without a Cargo.toml.orig.
func TestAFileLeftOutDoesNotMoveATarget(t *testing.T) {
	for _, c := range []struct{ manifest, files, key string }{
		{old + "[lib]\n", "src/a_b.rs", "lib"},
		{old + "[[bin]]\nname = \"x\"\n", "src/main.rs", "bin.x"},
		{old + "[[bin]]\nname = \"x\"\n", "src/x.rs", "bin.x"},
		{old + "[[bin]]\nname = \"x\"\n", "src/lib.rs src/bin/main.rs", "bin.x"},
		{old + "[[bench]]\nname = \"bench\"\n", "src/lib.rs src/bench.rs", "bench.bench"},
		{old + "[lib]\n", "SRC/A_b.rs", "lib"},
	} {
		files := strings.Fields(c.files)
		norm := []byte(c.manifest + "[features]\n")
		var syntax *SyntaxError
		if err := Derive([]byte(c.manifest), norm, files, nil); !errors.As(err, &syntax) || syntax.Key != c.key {
			t.Errorf("%q with %s: %v", c.manifest, c.files, err)
		}
		doc, err := toml.Parse(norm)
		fatalIf(t, err)
		if err := NewPackage(nil, doc, files).Derive(nil); !errors.As(err, &syntax) || syntax.Key != c.key {
			t.Errorf("%q with %s and no original: %v", c.manifest, c.files, err)
		}
		// The same with the likelier file, and with a path.
		if err := Derive([]byte(c.manifest), norm, append(files, "src/lib.rs", "src/bin/x.rs", "benches/bench.rs"), nil); err != nil {
			t.Errorf("%q with all files: %v", c.manifest, err)
		}
		with := []byte(c.manifest + fmt.Sprintf("path = %q\n", strings.ToLower(files[len(files)-1])))
		if err := Derive(with, with, files, nil); err != nil {
			t.Errorf("%q with a path: %v", with, err)
		}
	}
}

func TestWhatTheAuthorNamesAndThePackageLacksIsReported(t *testing.T) {
	for _, c := range []struct{ orig, norm, files, want string }{
		{pkg, "", "src/lib.rs", ""},
		{pkg + "build = \"build.rs\"\n", pkg + "build = false\n", "src/lib.rs", "build.rs"},
		{pkg + "build = true\n", "", "src/lib.rs", "build.rs"},
		{pkg + "build = false\n", "", "src/lib.rs", ""},
		{pkg + "[lib]\n", "", "src/main.rs", "src/lib.rs"},
		{pkg + "[lib]\npath = \"./l.rs\"\n", "", "src/main.rs", "l.rs"},
		{pkg + "readme = \"README.md\"\nlicense-file = \"../L\"\n", "", "src/lib.rs", "../L README.md"},
		{pkg + "readme = \"../README.md\"\nlicense-file = \"L\"\n", "", "src/lib.rs README.md L", ""},
		{pkg + "[[bin]]\nname = \"x\"\n[[test]]\nname = \"t\"\npath = \"t.rs\"\n[[bench]]\nname = \"b\"\n[[example]]\nname = \"e\"\n", "",
			"src/lib.rs examples/e/main.rs", "benches/b.rs src/bin/x.rs t.rs"},
		{pkg + "[[bin]]\nname = \"x\"\npath = 'src\\x.rs'\n", pkg, "src/lib.rs src/x.rs", `src\x.rs`},
		{pkg + "[[bin]]\nname = \"x\"\npath = 'src\\x.rs'\n", pkg + "[[bin]]\nname = \"x\"\npath = 'src/x.rs'\n", "src/lib.rs src/x.rs", ""},
		{pkg + "build = 'b\\x.rs'\n", pkg + "build = \"b/x.rs\"\n", "src/lib.rs b/x.rs", ""},
		{pkg + "license.workspace = true\nedition.workspace = true\nbuild = \"b.rs\"\n", "", "", "b.rs"},
	} {
		c.orig = strings.Replace(c.orig, "edition = \"2021\"\nlicense.workspace", "license.workspace", 1)
		if c.norm == "" {
			c.norm = c.orig
		}
		doc, err := toml.Parse([]byte(c.norm))
		fatalIf(t, err)
		p := NewPackage([]byte(c.orig), doc, strings.Fields(c.files))
		if got := p.LeftOut(); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q with %q: %q, want %q", c.orig, c.files, got, c.want)
		}
	}
	doc, err := toml.Parse([]byte(pkg + "build = \"b.rs\"\n"))
	fatalIf(t, err)
	if got := NewPackage(nil, doc, nil).LeftOut(); !slices.Equal(got, []string{"b.rs"}) {
		t.Errorf("without an original: %q", got)
	}
}

func TestWhatIsLeftOutCanBeShown(t *testing.T) {
	var b strings.Builder
	b.WriteString(pkg + "[lib]\npath = \"\\u001b[2J\"\n[[bin]]\nname = \"x\"\npath = \"" + strings.Repeat("é", 5000) + "\"\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "[[test]]\nname = \"t%03d\"\n", i)
	}
	doc, err := toml.Parse([]byte(b.String()))
	fatalIf(t, err)
	got := NewPackage(nil, doc, nil).LeftOut()
	if len(got) != MaxLeftOut || got[0] != `"\x1b[2J"` || got[MaxLeftOut-1] != "and 747 more" {
		t.Errorf("%d: %q, ... %q", len(got), got[0], got[len(got)-1])
	}
	for _, p := range got {
		if len(p) > 1100 {
			t.Errorf("a name of %d bytes", len(p))
		}
	}
}

// TestManyTargetsAreFoundByTheirNames has no clock: searching all files for each took minutes.
func TestManyTargetsAreFoundByTheirNames(t *testing.T) {
	var orig strings.Builder
	var files []string
	orig.WriteString(pkg)
	for i := range 15000 {
		fmt.Fprintf(&orig, "[[bin]]\nname = \"b%d\"\n", i)
		files = append(files, fmt.Sprintf("src/bin/b%d.rs", i))
	}
	if err := Derive([]byte(orig.String()), []byte(orig.String()+"#"), files, nil); err != nil {
		t.Error(err)
	}
}

// TestNoLibertyIsTaken: what cargo reads otherwise than it looks.
func TestNoLibertyIsTaken(t *testing.T) {
	const meta = "[package.metadata.docs.rs]\n"
	for name, p := range map[string]pair{
		"no crate type":                 {orig: pkg + "[lib]\n", norm: pkg + "[lib]\ncrate-type = []\n"},
		"no crate type of an example":   {orig: pkg, norm: pkg + "[[example]]\nname = \"e\"\ncrate-type = []\n", files: "src/lib.rs examples/e.rs"},
		"empty path of the library":     {orig: pkg + "[lib]\n", norm: pkg + "[lib]\npath = \"\"\n"},
		"empty name of the library":     {orig: pkg + "[lib]\n", norm: pkg + "[lib]\nname = \"\"\n"},
		"empty path of a binary":        {orig: pkg + "[[bin]]\nname = \"x\"\n", norm: pkg + "[[bin]]\nname = \"x\"\npath = \"\"\n", files: "src/bin/x.rs"},
		"empty path in both":            {orig: pkg + "[lib]\npath = \"\"\n", norm: pkg + "[lib]\npath = \"\"\n"},
		"empty build script":            {orig: pkg, norm: pkg + "build = \"\"\n"},
		"list of build scripts":         {orig: pkg + "build = \"build.rs\"\n", norm: pkg + "build = [\"build.rs\"]\n", files: "build.rs src/lib.rs"},
		"backslash of the library":      {orig: pkg + "[lib]\npath = \"src/lib.rs\"\n", norm: pkg + "[lib]\npath = 'src\\lib.rs'\n"},
		"no build script for backslash": {orig: pkg + "build = 'b\\x.rs'\n", norm: pkg + "build = false\n", files: "src/lib.rs b/x.rs"},
		"backslash of the build script": {orig: pkg + "build = \"b/x.rs\"\n", norm: pkg + "build = 'b\\x.rs'\n", files: "src/lib.rs b/x.rs"},
		"workspace":                     {orig: pkg + "[workspace]\n", norm: pkg + "[workspace]\n"},
		"patch":                         {orig: pkg, norm: pkg + "[patch.x]\n"},
		"replace":                       {orig: pkg, norm: pkg + "[replace]\n"},
		"metadata more":                 {orig: pkg, norm: pkg + meta},
		"metadata less":                 {orig: pkg + meta, norm: pkg},
		"metadata deeper":               {orig: pkg + meta, norm: pkg + meta + "x = {}\n"},
		"metadata of a list":            {orig: pkg + meta + "x = [{}]\n", norm: pkg + meta + "x = [{a = {}}]\n"},
	} {
		if err := p.derive(); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}

func TestWhatDependenciesInheritIsBounded(t *testing.T) {
	root := "[workspace.dependencies.x]\nversion = \"1\"\nfeatures = [" + strings.Repeat("\"f\", ", 6000) + "]\n"
	var orig strings.Builder
	orig.WriteString(pkg)
	for i := range 6000 {
		fmt.Fprintf(&orig, "[target.t%d.dependencies]\nx.workspace = true\n", i)
	}
	err := Derive([]byte(orig.String()), []byte(pkg), nil, []byte(root))
	if err == nil || !strings.Contains(err.Error(), "what dependencies inherit is more than is read") {
		t.Errorf("got %v", err)
	}
}
