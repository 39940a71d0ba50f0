package manifest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

// A project is a directory that cargo packages.
type project struct {
	name     string
	member   string // the package's directory, "" for the top
	manifest string // at the top
	sources  string // separated by spaces: files that hold nothing
	more     tree
}

type tree map[string]string // contents of files

// projects are packaged by the cargo that is installed; what it makes of their manifests must
// follow. Dependencies need no registry: nothing is resolved without a lock file.
var projects = []project{
	{"plain", "", pkg,
		"src/lib.rs", nil},
	{"edition 2015 with nothing said", "", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n",
		"src/lib.rs", tree{"README": "r"}},
	{"old spellings", "", "[project]\nname = \"a-b\"\nversion = \" 1.0.0 \"\n[lib]\ncrate_type = [\"rlib\"]\nproc_macro = false\n[dev_dependencies]\nd = { version = \"1\", default_features = false }\n[build_dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dev_dependencies]\nf = \"1\"\n",
		"src/lib.rs", nil},
	{"targets of every kind", "", pkg + "[[test]]\nname = \"listed\"\nharness = false\nrequired-features = [\"f\"]\n[[example]]\nname = \"lib-example\"\ncrate-type = [\"cdylib\"]\n[features]\nf = []\n",
		"src/lib.rs src/main.rs src/bin/one.rs src/bin/two/main.rs src/bin/.hidden.rs src/bin/three/other.rs build.rs tests/listed.rs tests/found.rs tests/dir/main.rs tests/common/mod.rs tests/data.txt examples/lib-example/main.rs examples/e.rs benches/b.rs", nil},
	{"nothing searched", "", pkg + "autolib = false\nautobins = false\nautoexamples = false\nautotests = false\nautobenches = false\nbuild = false\n[[bin]]\nname = \"x\"\n",
		"src/lib.rs src/main.rs src/bin/x.rs tests/t.rs build.rs", nil},
	{"the 2015 edition's legacy paths, written", "", "[package]\nname = \"a-b\"\nversion = \"1.0.0\"\n[lib]\npath = \"src/a_b.rs\"\n" +
		"[[bin]]\nname = \"x\"\npath = \"src/main.rs\"\n[[bench]]\nname = \"bench\"\npath = \"src/bench.rs\"\n[[test]]\nname = \"t\"\n",
		"src/a_b.rs src/main.rs src/bench.rs tests/t.rs tests/u.rs", nil},
	{"a byte order mark, dots, brackets and a leap second", "", "\ufeff" + pkg + "# " + strings.Repeat(".", 300) + strings.Repeat("[", 700) +
		"\n[package.metadata]\nt = 1998-12-31T23:59:60Z\n'a.b' = \"" + strings.Repeat("[.", 300) + "\"\n", "src/lib.rs", nil},
	{"paths with backslashes", "", pkg + "[[bin]]\nname = \"x\"\npath = 'src\\x.rs'\n[[test]]\nname = \"t\"\npath = 'tests\\u.rs'\n",
		"src/lib.rs src/x.rs tests/u.rs", nil},
	{"empty tables", "", pkg + "[package.metadata]\n[package.metadata.docs.rs]\n[package.metadata.x]\ny = {}\nz = [{}]\n[features]\n[dependencies]\n[badges]\n[target.'cfg(unix)'.dependencies]\n" +
		"[workspace]\n[profile.dev]\n[lints]\n", "src/lib.rs", nil},
	{"files in other case than cargo's", "", pkg, "src/lib.rs Build.rs Tests/t.rs src/Main.rs Examples/e/main.rs", nil},
	{"no library type but none", "", pkg + "[lib]\ncrate-type = [\"lib\"]\n[[example]]\nname = \"e\"\ncrate-type = [\"staticlib\"]\n", "src/lib.rs examples/e.rs", nil},
	{"paths to normalize", "", pkg + "build = \"./b/../b/x.rs\"\n[lib]\npath = \"./code/../code/l.rs\"\n[[bin]]\nname = \"x\"\npath = \"code//x.rs\"\n[[example]]\nname = \"e2\"\npath = \"./examples/e.rs\"\n",
		"b/x.rs code/l.rs code/x.rs examples/e.rs", nil},
	{"targets left out of the package", "", pkg + "build = \"b/x.rs\"\nexclude = [\"b\", \"tests\", \"benches\", \"examples/e.rs\", \"src/main.rs\"]\n[[bench]]\nname = \"b\"\nharness = false\n",
		"src/lib.rs src/main.rs b/x.rs tests/t.rs benches/b.rs examples/e.rs examples/f.rs", nil},
	{"only what is included", "", pkg + "include = [\"/src\", \"/README.txt\"]\nreadme = true\n",
		"src/lib.rs build.rs", tree{"README.txt": "r", "README.md": "r"}},
	{"proc macro", "", pkg + "[lib]\nproc-macro = true\ndoctest = false\ntest = false\nname = \"x\"\n",
		"src/lib.rs", nil},
	{"dependencies of every kind", "", pkg + `[features]
default = ["o", "f"]
f = ["dep:p", "t?/x", "dd/y", "dev/z"]
[dependencies]
s = "1"
t = { version = ">=1, <3", features = ["a", "b"], default-features = false, optional = true }
o = { package = "real", version = "=2.0.0", path = "../o", optional = true }
g = { version = "3", git = "https://g.example/g", branch = "main" }
i = { version = "3", registry-index = "https://r.example/index" }
p = { version = "*", optional = true, public = true, unknown = 1 }
[dev-dependencies]
dd = "1"
dev = { path = "../dev" }
devg = { git = "https://g.example/devg" }
[build-dependencies]
b = { version = "1", default-features = true, optional = false, features = [] }
[target.'cfg(all(unix, not(target_os = "macos")))'.dependencies]
u = "1"
[target.x86_64-pc-windows-gnu.build-dependencies]
w = "1"
[target."cfg(windows)".dev-dependencies]
devw = { path = "../devw" }
`,
		"src/lib.rs ../o/src/lib.rs ../dev/src/lib.rs ../devw/src/lib.rs", tree{"../o/Cargo.toml": strings.Replace(pkg, "a-b", "real", 1), "../dev/Cargo.toml": strings.Replace(pkg, "a-b", "dev", 1), "../devw/Cargo.toml": strings.Replace(pkg, "a-b", "devw", 1)}},
	{"all that a package may say", "", `cargo-features = []
[package]
name = "a-b"
version = "1.0.0-rc.1+build"
edition = "2024"
rust-version = "1.85.0"
links = "z"
default-run = "two"
authors = ["A <a@a.example>", "B"]
description = """
several
  lines \
  joined"""
homepage = "https://h.example"
documentation = "https://d.example"
repository = "https://r.example"
license = "MIT OR Apache-2.0"
license-file = "./L"
readme = "./docs/R.md"
keywords = ["k"]
categories = ["c"]
publish = ["somewhere"]
resolver = "2"
[package.metadata.x]
list = [1, 2.5, inf, true, 1979-05-27T07:32:00Z, 07:32:00, { a = "b" }]
empty = {}
"quoted key" = 'literal\n'
[[package.metadata.x.tables]]
y = 1
[badges]
m = { status = "experimental" }
[lints.rust]
unsafe_code = "forbid"
unexpected_cfgs = { level = "warn", check-cfg = ["cfg(x)"] }
[lints.clippy]
pedantic = { level = "warn", priority = -1 }
[hints]
mostly-unused = true
[profile.release]
opt-level = "s"
debug = "line-tables-only"
lto = "thin"
strip = true
panic = "abort"
codegen-units = 1
overflow-checks = true
split-debuginfo = "packed"
[profile.release.build-override]
opt-level = 0
debug = true
[profile.dev.package."*"]
opt-level = 2
debug = false
[profile.custom]
inherits = "release"
debug = "limited"
[unknown]
x = 1
[[bin]]
name = "two"
[patch."https://g.example/g"]
x = { path = "x" }
`,
		"src/lib.rs src/main.rs src/bin/two.rs build.rs", tree{"L": "l", "docs/R.md": "r"}},
	{"readme and license from outside", "", pkg + "readme = \"../R.md\"\nlicense-file = \"../L\"\n",
		"src/lib.rs", tree{"../R.md": "r", "../L": "l"}},
	{"CR LF", "", strings.ReplaceAll(pkg+"description = \"\"\"a\nb\"\"\"\n[dependencies]\na = \"1\"\n", "\n", "\r\n"),
		"src/lib.rs", nil},
	{"a workspace's root package", "", "[package]\nname = \"a-b\"\nversion.workspace = true\nedition = \"2018\"\n[workspace]\nresolver = \"2\"\n[workspace.package]\nversion = \"1.0.0\"\n",
		"src/lib.rs", nil},
	{"a member that inherits all", "sub/m", `[workspace]
members = ["sub/m"]
resolver = "3"
[workspace.package]
version = "1.0.0"
edition = "2021"
rust-version = "1.70"
authors = ["A"]
description = "d"
homepage = "https://h.example"
documentation = "https://d.example"
repository = "https://r.example"
license = "MIT"
license-file = "L"
keywords = ["k"]
categories = ["c"]
exclude = ["x"]
include = ["/src"]
publish = true
[workspace.dependencies]
a = "1"
b = { version = "2", features = ["x"], default-features = false }
c = { version = "3", path = "c", package = "real" }
d = { path = "c", package = "real" }
[workspace.lints.rust]
unsafe_code = { level = "forbid", priority = 1 }
`,
		"c/src/lib.rs sub/m/src/lib.rs", tree{"README.md": "r", "L": "l", "c/Cargo.toml": strings.Replace(pkg, "a-b", "real", 1), "sub/m/Cargo.toml": `[package]
name = "m"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
authors.workspace = true
description.workspace = true
homepage.workspace = true
documentation.workspace = true
repository.workspace = true
license.workspace = true
license-file.workspace = true
readme.workspace = true
keywords.workspace = true
categories.workspace = true
exclude.workspace = true
include.workspace = true
publish.workspace = true
[dependencies]
a.workspace = true
b = { workspace = true, features = ["y"], optional = true, default-features = true }
c = { workspace = true, default-features = true }
[dev-dependencies]
d.workspace = true
[target.'cfg(unix)'.build-dependencies]
a = { workspace = true, features = ["z"] }
[lints]
workspace = true
`}},
	{"a member that only takes the resolver", "m", "[workspace]\nmembers = [\"m\"]\n",
		"m/src/lib.rs", tree{"m/Cargo.toml": pkg}},
	{"a member of a workspace that names its place", "m", "[workspace]\nmembers = [\"m\"]\nresolver = \"2\"\n[package]\nname = \"r\"\nversion = \"1.0.0\"\nedition = \"2018\"\n",
		"src/lib.rs m/src/lib.rs", tree{"m/Cargo.toml": pkg + "workspace = \"..\"\nresolver = \"1\"\n"}},
}

func TestWhatCargoMakesFollows(t *testing.T) {
	fixture.Need(t, "cargo")
	for _, p := range projects {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			top := p.write(t)
			orig, norm, files := p.packaged(t, top)
			var root []byte
			if p.member != "" {
				root = []byte(p.manifest)
				if err := Derive(orig, norm, files, nil); !errors.Is(err, ErrNeedsWorkspace) {
					t.Errorf("without the root: got %v, want ErrNeedsWorkspace", err)
				}
			}
			if err := Derive(orig, norm, files, root); err != nil {
				t.Errorf("%v\n%s", err, norm)
			}
			evil := append(norm, "\n[dependencies.proc-macro1]\nversion = \"1\"\n"...)
			var d *Deviation
			if err := Derive(orig, evil, files, root); !errors.As(err, &d) || d.Key != "dependencies.proc-macro1" {
				t.Errorf("with a dependency more: got %v", err)
			}
		})
	}
}

// write writes the project's files and returns its top directory.
func (p project) write(t *testing.T) string {
	top := filepath.Join(t.TempDir(), "top")
	files := tree{"Cargo.toml": p.manifest}
	maps.Copy(files, p.more)
	for _, name := range strings.Fields(p.sources) {
		files[name] = "// nothing\n"
	}
	for name, content := range files {
		f := filepath.Join(top, filepath.FromSlash(name))
		fatalIf(t, os.MkdirAll(filepath.Dir(f), 0o777))
		fatalIf(t, os.WriteFile(f, []byte(content), 0o666))
	}
	return top
}

// packaged runs cargo package and reads the .crate that it makes.
func (p project) packaged(t *testing.T, top string) (orig, norm []byte, files []string) {
	out := filepath.Join(filepath.Dir(top), "target")
	cmd := exec.CommandContext(t.Context(), "cargo", "package", "--quiet", "--no-verify", "--exclude-lockfile", "--offline", "--allow-dirty",
		"--manifest-path", filepath.Join(top, p.member, "Cargo.toml"))
	cmd.Dir = top
	cmd.Env = append(os.Environ(), "CARGO_HOME="+filepath.Join(filepath.Dir(top), "cargo-home"), "CARGO_TARGET_DIR="+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cargo package: %v\n%s", err, text)
	}
	found, err := filepath.Glob(filepath.Join(out, "package", "*.crate"))
	if err != nil || len(found) != 1 {
		t.Fatalf("cargo made %v, %v", found, err)
	}
	f, err := os.Open(found[0])
	fatalIf(t, err)
	defer f.Close()
	zr, err := gzip.NewReader(f)
	fatalIf(t, err)
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return orig, norm, files
		}
		fatalIf(t, err)
		_, name, _ := strings.Cut(h.Name, "/")
		files = append(files, name)
		content, err := io.ReadAll(tr)
		fatalIf(t, err)
		switch name {
		case "Cargo.toml.orig":
			orig = content
		case "Cargo.toml":
			norm = content
		}
	}
}
