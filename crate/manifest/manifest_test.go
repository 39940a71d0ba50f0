package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// A pair is a manifest as written and one that follows from it.
type pair struct {
	name       string
	orig, norm string
	root       string
	files      string // space-separated; src/lib.rs if empty
}

func (p pair) derive() error {
	files := p.files
	if files == "" {
		files = "src/lib.rs"
	}
	var root []byte
	if p.root != "" {
		root = []byte(p.root)
	}
	return Derive([]byte(p.orig), []byte(p.norm), strings.Fields(files), root)
}

const pkg = "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\nedition = \"2021\"\n"

// A manifest as cargo 1.95 packages it: everything found is written out.
const pkgNew = pkg + "build = false\nautolib = false\nautobins = false\nautoexamples = false\nautotests = false\nautobenches = false\nreadme = false\n"
const libNew = "[lib]\nname = \"a_b\"\npath = \"src/lib.rs\"\n"

var honest = []pair{
	{"nothing special", pkg, pkgNew + libNew, "", ""},
	{"packaged by an old cargo", pkg, pkg, "", ""},
	{"[project]", "[project]\nname = \"a-b\"\nversion = \"1.0.0\"\nedition = \"2021\"\n", pkgNew + libNew, "", ""},
	{"untrimmed version", strings.Replace(pkg, `"1.0.0"`, `" 1.0.0"`, 1), pkgNew + libNew, "", ""},
	{"CR LF in a description", pkg + "description = \"\"\"a\r\nb\"\"\"\n", pkgNew + "description = \"a\\nb\"\n" + libNew, "", ""},
	{"found readme", pkg, strings.Replace(pkgNew, "readme = false", `readme = "README.md"`, 1) + libNew, "", "src/lib.rs README.md"},
	{"readme outside", pkg + `readme = "../../README.md"`, strings.Replace(pkgNew, "readme = false", `readme = "README.md"`, 1) + libNew, "", "src/lib.rs README.md"},
	{"license file outside", pkg + `license-file = "../L"`, pkgNew + "license-file = \"L\"\n" + libNew, "", "src/lib.rs L"},
	{"explicit edition 2015", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\nedition = \"2015\"\n", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n", "", ""},
	{"rust-version that cargo did not know", pkg + `rust-version = "1.56"`, pkg, "", ""},
	{"unknown keys", pkg + "foo = 1\n[lib]\nbar = 2\n[dependencies]\nd = { version = \"1\", baz = 3 }\n[quux]\nx = 1\n", pkgNew + libNew + "[dependencies.d]\nversion = \"1\"\n", "", ""},
	{"metadata", pkg + "[package.metadata.docs.rs]\nall-features = true\n", pkgNew + libNew + "[package.metadata.docs.rs]\nall-features = true\n", "", ""},
	{"patch, replace, workspace", pkg + "[workspace]\nmembers = [\"x\"]\n[patch.r]\nx = { path = \"x\" }\n", pkgNew + libNew, "", ""},

	{"found build script", pkg, strings.Replace(pkgNew, "build = false", `build = "build.rs"`, 1) + libNew, "", "src/lib.rs build.rs"},
	{"found build script, old cargo", pkg, pkg, "", "src/lib.rs build.rs"},
	{"build script that was not packaged", pkg + `build = "b/x.rs"`, pkgNew + libNew, "", ""},
	{"build = true", pkg + "build = true", strings.Replace(pkgNew, "build = false", `build = "build.rs"`, 1) + libNew, "", "src/lib.rs build.rs"},
	{"build = false beside build.rs", pkg + "build = false", pkgNew + libNew, "", "src/lib.rs build.rs"},
	{"build script's path normalized", pkg + `build = "./x/../b.rs"`, strings.Replace(pkgNew, "build = false", `build = "b.rs"`, 1) + libNew, "", "src/lib.rs b.rs"},
	{"several build scripts", "cargo-features = [\"multiple-build-scripts\"]\n" + pkg + `build = ["a.rs", "b.rs"]`, "cargo-features = [\"multiple-build-scripts\"]\n" + strings.Replace(pkgNew, "build = false", `build = ["a.rs", "b.rs"]`, 1) + libNew, "", "src/lib.rs a.rs b.rs"},

	{"library elsewhere, from Windows", pkg + "[lib]\npath = 'x\\y.rs'\n", pkgNew + "[lib]\nname = \"a_b\"\npath = \"x/y.rs\"\n", "", "x/y.rs"},
	{"old spellings", pkg + "[lib]\nproc_macro = true\n[dev_dependencies]\nd = { version = \"1\", default_features = false }\n[build_dependencies]\ne = \"1\"\n",
		pkgNew + libNew + "proc-macro = true\n[dev-dependencies.d]\nversion = \"1\"\ndefault-features = false\n[build-dependencies.e]\nversion = \"1\"\n", "", ""},
	{"crate types", pkg + "[lib]\ncrate_type = [\"cdylib\", \"rlib\"]\n", pkgNew + libNew + "crate-type = [\"cdylib\", \"rlib\"]\n", "", ""},
	{"legacy library, written", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n[lib]\npath = \"src/a_b.rs\"\n", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\nautolib = false\n[lib]\nname = \"a_b\"\npath = \"src/a_b.rs\"\n", "", "src/a_b.rs"},
	{"found targets", pkg, pkgNew + libNew + "[[bin]]\nname = \"a-b\"\npath = \"src/main.rs\"\n[[bin]]\nname = \"one\"\npath = \"src/bin/one.rs\"\n[[bin]]\nname = \"two\"\npath = \"src/bin/two/main.rs\"\n" +
		"[[example]]\nname = \"e\"\npath = \"examples/e.rs\"\n[[test]]\nname = \"t\"\npath = \"tests/t.rs\"\n[[bench]]\nname = \"b\"\npath = \"benches/b.rs\"\n", "",
		"src/lib.rs src/main.rs src/bin/one.rs src/bin/two/main.rs src/bin/two/part.rs src/bin/.hidden.rs examples/e.rs examples/data.txt tests/t.rs tests/common/mod.rs benches/b.rs"},
	{"listed and found targets", pkg + "[[test]]\nname = \"x\"\npath = \"./tests/t.rs\"\nharness = false\n", pkgNew + libNew + "[[test]]\nname = \"u\"\npath = \"tests/u.rs\"\n[[test]]\nname = \"x\"\npath = \"tests/t.rs\"\nharness = false\n", "", "src/lib.rs tests/t.rs tests/u.rs"},
	{"the 2015 edition finds no more than listed", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n[[bin]]\nname = \"x\"\n", strings.Replace(pkgNew, "edition = \"2021\"\n", "", 1) + libNew + "[[bin]]\nname = \"x\"\npath = \"src/bin/x.rs\"\n", "", "src/lib.rs src/bin/x.rs src/bin/y.rs"},
	{"legacy binary and bench, written", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n[[bin]]\nname = \"x\"\npath = \"src/x.rs\"\n[[bench]]\nname = \"bench\"\npath = \"src/bench.rs\"\n", strings.Replace(pkgNew, "edition = \"2021\"\n", "", 1) + "[[bin]]\nname = \"x\"\npath = \"src/x.rs\"\n[[bench]]\nname = \"bench\"\npath = \"src/bench.rs\"\n", "", "src/x.rs src/bench.rs"},
	{"autobins = false", pkg + "autobins = false\n", pkgNew + libNew, "", "src/lib.rs src/main.rs"},
	{"target that was not packaged", pkg + "[[bench]]\nname = \"b\"\nharness = false\n", pkgNew + libNew, "", ""},
	{"target that was not packaged, old cargo", pkg + "[[bench]]\nname = \"b\"\nharness = false\n", pkg + "[[bench]]\nname = \"b\"\nharness = false\n", "", ""},
	{"required features", pkg + "[[example]]\nname = \"e\"\nrequired-features = [\"f\"]\n", pkgNew + libNew + "[[example]]\nname = \"e\"\npath = \"examples/e.rs\"\nrequired-features = [\"f\"]\n", "", "src/lib.rs examples/e.rs"},

	{"dependencies by path and from git", pkg + "[dependencies]\np = { path = \"../p\", version = \"1\" }\ng = { git = \"https://g.example\", rev = \"abc\", version = \"2\", features = [\"f\"], optional = true }\n",
		pkgNew + libNew + "[dependencies.p]\nversion = \"1\"\n[dependencies.g]\nversion = \"2\"\nfeatures = [\"f\"]\noptional = true\n", "", ""},
	{"dev-dependency by path", pkg + "[dev-dependencies]\np = { path = \"../p\" }\n", pkgNew + libNew, "", ""},
	{"dev-dependency by path, old cargo", pkg + "[dev-dependencies]\np = { path = \"../p\" }\n", pkg + "[dev-dependencies.p]\n", "", ""},
	{"features about a dependency left out", pkg + "[features]\nf = [\"p/x\", \"q\", \"dep:p\"]\nq = []\n[dev-dependencies]\np = { path = \"../p\" }\n", pkgNew + libNew + "[features]\nf = [\"q\"]\nq = []\n", "", ""},
	{"renamed dependency", pkg + "[dependencies]\nr = { package = \"real\", version = \"1\" }\n", pkgNew + libNew + "[dependencies.r]\nversion = \"1\"\npackage = \"real\"\n", "", ""},
	{"platforms", pkg + "[target.'cfg(unix)'.dependencies]\nl = \"1\"\n[target.x86_64-pc-windows-gnu.build-dependencies]\nw = \"1\"\n", pkgNew + libNew + "[target.\"cfg(unix)\".dependencies.l]\nversion = \"1\"\n[target.x86_64-pc-windows-gnu.build-dependencies.w]\nversion = \"1\"\n", "", ""},
	{"registry index", pkg + "[dependencies]\nd = { version = \"1\", registry-index = \"https://r.example\" }\n", pkgNew + libNew + "[dependencies.d]\nversion = \"1\"\nregistry-index = \"https://r.example\"\n", "", ""},

	{"lints", pkg + "[lints.rust]\nunsafe_code = \"forbid\"\n[lints.clippy]\nall = { level = \"warn\", priority = -1 }\n", pkgNew + libNew + "[lints.rust]\nunsafe_code = { level = \"forbid\", priority = 0 }\n[lints.clippy.all]\nlevel = \"warn\"\npriority = -1\n", "", ""},
	{"lints, cargo before 1.74", pkg + "[lints.rust]\nunsafe_code = \"forbid\"\n", pkgNew + libNew, "", ""},
	{"targets outside of the package", pkg + "[[bench]]\nname = \"b\"\npath = \"../benches/main.rs\"\nharness = false\n[[test]]\nname = \"t\"\npath = \"../t.rs\"\n", pkgNew + libNew, "", ""},
	{"targets outside of the package, cargo before 1.80", pkg + "[[bench]]\nname = \"b\"\npath = \"../benches/main.rs\"\n", pkgNew + libNew + "[[bench]]\nname = \"b\"\npath = \"../benches/main.rs\"\n", "", ""},
	{"profiles", pkg + "[profile.release]\nlto = true\nopt-level = \"3\"\ndebug = true\n[profile.dev.package.x]\ndebug = \"none\"\n", pkgNew + libNew + "[profile.release]\nopt-level = 3\nlto = true\ndebug = 2\n[profile.dev.package.x]\ndebug = 0\n", "", ""},
	{"resolver", pkg + "resolver = \"3\"\n", pkgNew + "resolver = \"3\"\n" + libNew, "", ""},
	{"resolver of the edition", pkg, pkgNew + "resolver = \"2\"\n" + libNew, "", ""},
	{"resolver of a workspace without a package", pkg, pkgNew + "resolver = \"1\"\n" + libNew, "[workspace]\n", ""},
	{"resolver of the workspace's root package", pkg, pkgNew + "resolver = \"3\"\n" + libNew, "[workspace]\n[package]\nname = \"r\"\nedition = \"2024\"\n", ""},
	{"resolver of the workspace", pkg, pkgNew + "resolver = \"3\"\n" + libNew, "[workspace]\nresolver = \"3\"\n", ""},
	{"resolver of its own workspace", pkg + "[workspace]\nresolver = \"1\"\n", pkgNew + "resolver = \"1\"\n" + libNew, "", ""},

	{"inherited keys", "[package]\nname = \"a-b\"\nversion.workspace = true\nedition = { workspace = true }\nreadme.workspace = true\nlicense-file.workspace = true\nrust-version.workspace = true\n",
		pkg + "rust-version = \"1.70\"\nreadme = \"README.md\"\nlicense-file = \"L\"\nresolver = \"1\"\n",
		"[workspace.package]\nversion = \"1.0.0\"\nedition = \"2021\"\nreadme = \"docs/README.md\"\nlicense-file = \"L\"\nrust-version = \"1.70\"\n", "src/lib.rs L README.md"},
	{"inherited dependencies", pkg + "[dependencies]\na.workspace = true\nb = { workspace = true, features = [\"y\"], optional = true, default-features = true }\n[dev-dependencies]\nc = { workspace = true }\nd = { workspace = true, default-features = false }\n",
		pkgNew + "resolver = \"1\"\n" + libNew + "[dependencies.a]\nversion = \"1\"\n[dependencies.b]\nversion = \"2\"\nfeatures = [\"x\", \"y\"]\noptional = true\ndefault-features = true\n[dev-dependencies.d]\nversion = \"4\"\n",
		"[workspace.dependencies]\na = \"1\"\nb = { version = \"2\", features = [\"x\"], default-features = false }\nc = { path = \"c\" }\nd = \"4\"\n", ""},
	{"inherited lints", pkg + "lints.workspace = true\n", pkgNew + "resolver = \"1\"\n" + libNew, "[workspace]\n", ""},
	{"inherited from itself", pkg + "description.workspace = true\n[workspace.package]\ndescription = \"d\"\n", pkgNew + "description = \"d\"\n" + libNew, "", ""},
}

func TestHonestManifestsFollow(t *testing.T) {
	for _, p := range honest {
		if p.name == "inherited lints" { // lints stands outside [package]
			p.orig = strings.Replace(p.orig, "lints.workspace = true\n", "[lints]\nworkspace = true\n", 1)
			p.root = "[workspace.lints.rust]\nunsafe_code = \"deny\"\n"
			p.norm += "[lints.rust]\nunsafe_code = \"deny\"\n"
		}
		if err := p.derive(); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
}

func TestWhatAnInheritingManifestSaysNeedsItsRoot(t *testing.T) {
	for _, p := range honest {
		if p.root == "" {
			continue
		}
		if p.root = ""; p.name == "inherited lints" {
			continue
		}
		if err := p.derive(); !errors.Is(err, ErrNeedsWorkspace) {
			t.Errorf("%s: got %v without the root, want ErrNeedsWorkspace", p.name, err)
		}
	}
}

func TestInheritsSeesEveryWayToInherit(t *testing.T) {
	for orig, want := range map[string]bool{
		pkg: false,
		pkg + "[package.metadata.x]\nworkspace = true\n":          false,
		pkg + "license = { workspace = true }\n":                  true,
		"[project]\nversion.workspace = true\n":                   true,
		pkg + "[lints]\nworkspace = true\n":                       true,
		pkg + "[dependencies]\na.workspace = true\n":              true,
		pkg + "[dev_dependencies.a]\nworkspace = true\n":          true,
		pkg + "[build-dependencies]\na = {workspace = true}\n":    true,
		pkg + "[target.x.dependencies]\na.workspace = true\n":     true,
		pkg + "[workspace]\n[dependencies]\na.workspace = true\n": false,
		pkg + "[dependencies]\nworkspace = \"1\"\n":               false,
		pkg + "[dependencies]\nworkspace = { version = \"1\" }\n": false,
		pkg + "[lints.rust]\nworkspace = \"warn\"\n":              false,
	} {
		if got, err := Inherits([]byte(orig)); err != nil || got != want {
			t.Errorf("Inherits = %v, %v, want %v of:\n%s", got, err, want, orig)
		}
	}
}

// unreadable manifests, and what the error says of them.
var unreadable = []struct{ orig, norm, root, want string }{
	{pkg, "", "", "Cargo.toml has no [package]"},
	{"", pkg, "", "Cargo.toml.orig has no [package]"},
	{pkg, "x = \n", "", "Cargo.toml is not TOML: line 1"},
	{pkg, pkg + "name = \"c\"\n", "", "Cargo.toml is not TOML: line 5"},
	{pkg, pkg + "[dependencies]\na = \"1\"\n[dependencies]\nb = \"1\"\n", "", "Cargo.toml is not TOML"},
	{pkg, pkg + "[project]\nname = \"c\"\n", "", "Cargo.toml: project stands beside [package]"},
	{pkg, pkg + "[dev-dependencies]\na = \"1\"\n[dev_dependencies]\nb = \"1\"\n", "", "Cargo.toml: dev_dependencies contradicts dev-dependencies"},
	{pkg, pkg + "[lib]\nproc-macro = false\nproc_macro = true\n", "", "Cargo.toml: lib.proc_macro contradicts proc-macro"},
	{pkg, pkg + "[dependencies]\na = { version = \"1\", default-features = false, default_features = true }\n", "", "Cargo.toml: dependencies.a.default_features contradicts default-features"},
	{pkg, pkg + "[dependencies]\na = 1\n", "", "Cargo.toml: dependencies.a is neither a version nor a table"},
	{pkg, pkg + "[target]\nx = 1\n", "", "Cargo.toml: target.x is not a table"},
	{pkg, pkg + "[bin]\nname = \"x\"\n", "", "Cargo.toml: bin is not a list of tables"},
	{pkg, pkg + "[[bin]]\npath = \"x\"\n", "", "Cargo.toml: bin has a target without a name"},
	{pkg, pkg + "build = 1\n", "", "Cargo.toml: package.build is neither a path, nor a list of paths"},
	{pkg, pkg + "[package.metadata]\n" + strings.Repeat("x.", 40) + "y = 1\n", "", "Cargo.toml nests tables deeper than 32"},
	{pkg, pkg + "x = " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "\n", "", "Cargo.toml nests tables, lists or dotted keys deeper than 100 (line 5)"},
	{pkg, pkg + "#" + strings.Repeat("x", MaxSize), "", "at most 1048576 are read"},
	{pkg + "version.workspace = true\n", pkg, "", "Cargo.toml.orig is not TOML"},
	{pkg + "license.workspace = true\n", pkg, "x = 1\n", "the workspace root's Cargo.toml has no [workspace] table"},
	{pkg + "license.workspace = true\n", pkg, "[workspace]\npackage = 1\n", "the workspace root's Cargo.toml: workspace.package is not a table"},
	{pkg + "license.workspace = true\n", pkg, "[workspace]\n", "Cargo.toml.orig: package.license is inherited, but the workspace has no workspace.package.license to inherit"},
	{pkg + "links.workspace = true\n", pkg, "[workspace.package]\nlinks = \"x\"\n", "Cargo.toml.orig: package.links is inherited, but"},
	{pkg + "[dependencies]\na.workspace = true\n", pkg, "[workspace]\n", "Cargo.toml.orig: dependencies.a is inherited, but the workspace has no workspace.dependencies.a to inherit"},
	{pkg + "[dependencies]\na.workspace = false\n", pkg, "[workspace.dependencies]\na = \"1\"\n", "Cargo.toml.orig: dependencies.a has workspace = false"},
	{pkg + "[lints]\nworkspace = true\n", pkg, "[workspace]\n", "Cargo.toml.orig: lints is inherited, but"},
}

func TestUnreadableManifestsAreRefusedWithTheirReason(t *testing.T) {
	for _, c := range unreadable {
		p := pair{orig: c.orig, norm: c.norm, root: c.root}
		err := p.derive()
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want a SyntaxError that says %q", err, c.want)
		}
	}
}

func TestDeepDocumentsDoNotExhaustTheStack(t *testing.T) {
	for _, evil := range []string{
		"x = " + strings.Repeat("[", MaxSize-10),
		"x = " + strings.Repeat("{a=", MaxSize/3-10),
		strings.Repeat("a.", MaxSize/2-10) + "b = 1",
		"[" + strings.Repeat("a.", MaxSize/2-10) + "b]",
		strings.Repeat("[[a]]\n", MaxSize/6-10),
	} {
		if err := Derive([]byte(evil), []byte(pkg), nil, nil); err == nil {
			t.Errorf("believed %.20q…", evil)
		}
	}
}

func TestFilePathsMustBePlain(t *testing.T) {
	for _, f := range []string{"", "/src/lib.rs", "../lib.rs", "src//lib.rs", "./src/lib.rs", "src/", "..", "."} {
		if err := Derive([]byte(pkg), []byte(pkg), []string{f}, nil); err == nil {
			t.Errorf("took the file path %q", f)
		}
	}
}

func ExampleDeviation() {
	orig := "[package]\nname = \"arrayref\"\nversion = \"0.3.10\"\n"
	norm := orig + "[dependencies.proc-macro1]\nversion = \"1.0\"\n"
	fmt.Println(Derive([]byte(orig), []byte(norm), []string{"src/lib.rs"}, nil))
	// Output: Cargo.toml does not follow from Cargo.toml.orig: dependencies.proc-macro1 is { default-features = true, optional = false, version = "1.0" }, but nothing follows
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
