package manifest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// rich is a manifest that says something of every kind, and what cargo makes of it.
var rich = pair{
	files: "src/lib.rs src/other.rs src/main.rs src/bin/tool.rs build.rs other.rs examples/e.rs tests/t.rs benches/b.rs",
	orig: `cargo-features = ["c", "multiple-build-scripts"]
[package]
name = "a-b"
version = "1.0.0"
edition = "2018"
rust-version = "1.60"
links = "z"
resolver = "2"
default-run = "tool"
authors = ["someone"]
description = "d"
homepage = "https://h.example"
repository = "https://r.example"
documentation = "https://d.example"
license = "MIT"
license-file = "L"
readme = "R"
keywords = ["k"]
categories = ["c"]
include = ["src"]
exclude = ["x"]
publish = true
metabuild = ["m"]
[package.metadata.system-deps]
z = "1.2"
list = [1, 2.5, true]
[lib]
name = "other_name"
crate-type = ["rlib"]
doctest = false
[[bin]]
name = "tool"
required-features = ["f"]
[[bench]]
name = "b"
harness = false
[features]
default = ["f"]
f = ["o", "d?/x"]
[dependencies]
d = { version = "1", features = ["x", "y"], default-features = false, optional = true }
o = { package = "real", version = "2", optional = true, path = "../o" }
s = "3"
[dev-dependencies]
dd = "4"
[build-dependencies]
bd = "5"
[target.'cfg(unix)'.dependencies]
u = "6"
[lints.rust]
unsafe_code = "forbid"
unexpected_cfgs = { level = "warn", check-cfg = ["cfg(c)"] }
[profile.release]
opt-level = 3
lto = true
[profile.dev.package.d]
opt-level = 1
[badges.b]
x = "y"
[hints]
mostly-unused = true
`,
	norm: `cargo-features = ["c", "multiple-build-scripts"]
[package]
edition = "2018"
rust-version = "1.60"
name = "a-b"
version = "1.0.0"
authors = ["someone"]
build = "build.rs"
metabuild = ["m"]
links = "z"
exclude = ["x"]
include = ["src"]
publish = true
autolib = false
autobins = false
autoexamples = false
autotests = false
autobenches = false
default-run = "tool"
description = "d"
homepage = "https://h.example"
documentation = "https://d.example"
readme = "R"
keywords = ["k"]
categories = ["c"]
license = "MIT"
license-file = "L"
repository = "https://r.example"
resolver = "2"
[package.metadata.system-deps]
z = "1.2"
list = [1, 2.5, true]
[badges.b]
x = "y"
[features]
default = ["f"]
f = ["o", "d?/x"]
[lib]
name = "other_name"
crate-type = ["rlib"]
path = "src/lib.rs"
doctest = false
[[bin]]
name = "a-b"
path = "src/main.rs"
[[bin]]
name = "tool"
path = "src/bin/tool.rs"
required-features = ["f"]
[[example]]
name = "e"
path = "examples/e.rs"
[[test]]
name = "t"
path = "tests/t.rs"
[[bench]]
name = "b"
path = "benches/b.rs"
harness = false
[dependencies.d]
version = "1"
features = ["x", "y"]
optional = true
default-features = false
[dependencies.o]
version = "2"
optional = true
package = "real"
[dependencies.s]
version = "3"
[dev-dependencies.dd]
version = "4"
[build-dependencies.bd]
version = "5"
[target."cfg(unix)".dependencies.u]
version = "6"
[lints.rust]
unsafe_code = "forbid"
[lints.rust.unexpected_cfgs]
level = "warn"
priority = 0
check-cfg = ["cfg(c)"]
[hints]
mostly-unused = true
[profile.dev.package.d]
opt-level = 1
[profile.release]
opt-level = 3
lto = true
`,
}

// attacks change one thing in Cargo.toml; the sentence must name the key and both values.
var attacks = []struct {
	name, old, new string
	key, want, got string
}{
	{"dependency added, as to arrayref", "[dependencies.s]", "[dependencies.proc-macro1]\nversion = \"1.0\"\n[dependencies.s]", `dependencies.proc-macro1`, ``, `version = "1.0"`},
	{"dependency removed", "[dependencies.s]\nversion = \"3\"\n", "", `dependencies.s`, `version = "3"`, ``},
	{"dependency's version", "version = \"3\"", "version = \"=3.0.1\"", `dependencies.s.version`, `"3"`, `"=3.0.1"`},
	{"dependency renamed", "[dependencies.s]", "[dependencies.s]\npackage = \"evil\"", `dependencies.s.package`, ``, `"evil"`},
	{"rename changed", `package = "real"`, `package = "evil"`, `dependencies.o.package`, `"real"`, `"evil"`},
	{"rename removed", "package = \"real\"\n", "", `dependencies.o.package`, `"real"`, ``},
	{"feature of a dependency added", `features = ["x", "y"]`, `features = ["x", "y", "z"]`, `dependencies.d.features`, `["x", "y"]`, `["x", "y", "z"]`},
	{"features of a dependency added", "[dependencies.s]", "[dependencies.s]\nfeatures = [\"z\"]", `dependencies.s.features`, ``, `["z"]`},
	{"optional dependency made required", "optional = true\ndefault", "optional = false\ndefault", `dependencies.d.optional`, `true`, `false`},
	{"default features on", "default-features = false\n", "", `dependencies.d.default-features`, `false`, `true`},
	{"default features off", "[dependencies.s]", "[dependencies.s]\ndefault-features = false", `dependencies.s.default-features`, `true`, `false`},
	{"default features off, old spelling", "[dependencies.s]", "[dependencies.s]\ndefault_features = false", `dependencies.s.default-features`, `true`, `false`},
	{"registry index", "[dependencies.s]", "[dependencies.s]\nregistry-index = \"https://evil.example\"", `dependencies.s.registry-index`, ``, `"https://evil.example"`},
	{"registry", "[dependencies.s]", "[dependencies.s]\nregistry = \"evil\"", `dependencies.s.registry`, ``, `"evil"`},
	{"dependency from git", "[dependencies.s]", "[dependencies.s]\ngit = \"https://evil.example\"", `dependencies.s.git`, ``, `"https://evil.example"`},
	{"dependency by path", "[dependencies.s]", "[dependencies.s]\npath = \"src\"", `dependencies.s.path`, ``, `"src"`},
	{"author's path kept", "package = \"real\"", "package = \"real\"\npath = \"../o\"", `dependencies.o.path`, ``, `"../o"`},
	{"dependency from a workspace", "[dependencies.s]", "[dependencies.s]\nworkspace = true", `dependencies.s.workspace`, ``, `true`},
	{"artifact dependency", "[dependencies.s]", "[dependencies.s]\nartifact = \"bin\"", `dependencies.s.artifact`, ``, `"bin"`},
	{"unknown key of a dependency", "[dependencies.s]", "[dependencies.s]\nfuture = 1", `dependencies.s.future`, ``, `1`},
	{"build dependency added", "[build-dependencies.bd]", "[build-dependencies.evil]\nversion = \"1\"\n[build-dependencies.bd]", `build-dependencies.evil`, ``, `version = "1"`},
	{"dev-dependency added", "[dev-dependencies.dd]", "[dev-dependencies.evil]\nversion = \"1\"\n[dev-dependencies.dd]", `dev-dependencies.evil`, ``, `version = "1"`},
	{"dev-dependency added without a version", "[dev-dependencies.dd]", "[dev-dependencies.evil]\n[dev-dependencies.dd]", `dev-dependencies.evil`, ``, `optional = false`},
	{"dev-dependency made normal", "[dev-dependencies.dd]", "[dependencies.dd]", `dependencies.dd`, ``, `version = "4"`},
	{"second table of dev-dependencies", "[dev-dependencies.dd]\nversion = \"4\"\n", "[dev_dependencies.evil]\nversion = \"4\"\n", `dev-dependencies.dd`, `version = "4"`, ``},
	{"platform changed", `cfg(unix)`, `cfg(any())`, `target."cfg(any())".dependencies.u`, ``, `version = "6"`},
	{"platform added", `[target."cfg(unix)"`, "[target.\"cfg(all())\".dependencies.evil]\nversion = \"1\"\n" + `[target."cfg(unix)"`, `target."cfg(all())".dependencies.evil`, ``, `version = "1"`},
	{"dependency of a platform", `version = "6"`, `version = "7"`, `target."cfg(unix)".dependencies.u.version`, `"6"`, `"7"`},

	{"feature added", "[features]", "[features]\nevil = []", `features.evil`, ``, `[]`},
	{"default feature added", `default = ["f"]`, `default = ["f", "o"]`, `features.default`, `["f"]`, `["f", "o"]`},
	{"default features removed", "default = [\"f\"]\n", "", `features.default`, `["f"]`, ``},
	{"feature's dependency made required", `"d?/x"`, `"d/x"`, `features.f`, `["o", "d?/x"]`, `["o", "d/x"]`},

	{"package renamed", `name = "a-b"`, `name = "a-c"`, `package.name`, `"a-b"`, `"a-c"`},
	{"other version", `version = "1.0.0"`, `version = "1.0.1"`, `package.version`, `"1.0.0"`, `"1.0.1"`},
	{"other edition", `edition = "2018"`, `edition = "2021"`, `package.edition`, `"2018"`, `"2021"`},
	{"edition removed", "edition = \"2018\"\n", "", `package.edition`, `"2018"`, `"2015"`},
	{"other rust-version", `"1.60"`, `"1.50"`, `package.rust-version`, `"1.60"`, `"1.50"`},
	{"links changed", `links = "z"`, `links = "ssl"`, `package.links`, `"z"`, `"ssl"`},
	{"links removed", "links = \"z\"\n", "", `package.links`, `"z"`, ``},
	{"another build script", `build = "build.rs"`, `build = "other.rs"`, `package.build`, `["build.rs"]`, `["other.rs"]`},
	{"a second build script", `build = "build.rs"`, `build = ["build.rs", "other.rs"]`, `package.build`, `["build.rs"]`, `["build.rs", "other.rs"]`},
	{"build script from outside", `build = "build.rs"`, `build = "../../evil/build.rs"`, `package.build`, `["build.rs"]`, `["../../evil/build.rs"]`},
	{"build script removed", `build = "build.rs"`, `build = false`, `package.build`, `["build.rs"]`, `[]`},
	{"metabuild", `metabuild = ["m"]`, `metabuild = ["d"]`, `package.metabuild`, `["m"]`, `["d"]`},
	{"default-run", `default-run = "tool"`, `default-run = "a-b"`, `package.default-run`, `"tool"`, `"a-b"`},
	{"default-target", `links = "z"`, "links = \"z\"\ndefault-target = \"x\"", `package.default-target`, ``, `"x"`},
	{"resolver changed", `resolver = "2"`, `resolver = "4"`, `package.resolver`, `"2"`, `"4"`},
	{"workspace", `links = "z"`, "links = \"z\"\nworkspace = \"..\"", `package.workspace`, ``, `".."`},
	{"description", `description = "d"`, `description = "e"`, `package.description`, `"d"`, `"e"`},
	{"readme", `readme = "R"`, `readme = "src/lib.rs"`, `package.readme`, `"R"`, `"src/lib.rs"`},
	{"metadata", `z = "1.2"`, `z = "9.9"`, `package.metadata.system-deps.z`, `"1.2"`, `"9.9"`},
	{"metadata's numbers", `[1, 2.5, true]`, `[1.0, 2.5, true]`, `package.metadata.system-deps.list`, `[1, 2.5, true]`, `[1.0, 2.5, true]`},
	{"unknown key of the package", `links = "z"`, "links = \"z\"\nfuture = 1", `package.future`, ``, `1`},
	{"cargo-features", `cargo-features = ["c", "m`, `cargo-features = ["c", "profile-rustflags", "m`, `cargo-features`, `["c", "multiple-build-scripts"]`, `["c", "profile-rustflags", "multiple-build-scripts"]`},

	{"proc-macro turned on", "doctest = false", "doctest = false\nproc-macro = true", `lib.proc-macro`, `false`, `true`},
	{"proc-macro by crate type", `crate-type = ["rlib"]`, `crate-type = ["proc-macro"]`, `lib.crate-type`, `["rlib"]`, `["proc-macro"]`},
	{"crate type", `crate-type = ["rlib"]`, `crate-type = ["rlib", "cdylib"]`, `lib.crate-type`, `["rlib"]`, `["rlib", "cdylib"]`},
	{"library's path", `path = "src/lib.rs"`, `path = "src/other.rs"`, `lib.path`, `"src/lib.rs"`, `"src/other.rs"`},
	{"library's path to nowhere", `path = "src/lib.rs"`, `path = "src/none.rs"`, `lib.path`, `"src/lib.rs"`, `"src/none.rs"`},
	{"library from outside", `path = "src/lib.rs"`, `path = "../evil-1.0.0/src/lib.rs"`, `lib.path`, `"src/lib.rs"`, `"../evil-1.0.0/src/lib.rs"`},
	{"library from a drive", `path = "src/lib.rs"`, `path = "C:/lib.rs"`, `lib.path`, `"src/lib.rs"`, `"C:/lib.rs"`},
	{"library's name", `name = "other_name"`, `name = "core"`, `lib.name`, `"other_name"`, `"core"`},
	{"library's edition", "doctest = false", "doctest = false\nedition = \"2024\"", `lib.edition`, ``, `"2024"`},
	{"library removed", "[lib]\nname = \"other_name\"\ncrate-type = [\"rlib\"]\npath = \"src/lib.rs\"\ndoctest = false\n", "", `lib`, `path = "src/lib.rs"`, ``},
	{"library found again", "[lib]\nname = \"other_name\"\ncrate-type = [\"rlib\"]\npath = \"src/lib.rs\"\ndoctest = false\n", "[lib]\n", `lib.crate-type`, `["rlib"]`, `["lib"]`},
	{"binary's path", `path = "src/bin/tool.rs"`, `path = "src/other.rs"`, `bin.tool.path`, `"src/bin/tool.rs"`, `"src/other.rs"`},
	{"binary's features", `required-features = ["f"]`, `required-features = []`, `bin.tool.required-features`, `["f"]`, ``},
	{"binary's file name", "name = \"tool\"\n", "name = \"tool\"\nfilename = \"sudo\"\n", `bin.tool.filename`, ``, `"sudo"`},
	{"binary added", "[[example]]", "[[bin]]\nname = \"evil\"\npath = \"src/other.rs\"\n[[example]]", `bin.evil`, ``, `path = "src/other.rs"`},
	{"binary added that is not packaged", "[[example]]", "[[bin]]\nname = \"evil\"\npath = \"src/none.rs\"\n[[example]]", `bin.evil`, ``, `path = "src/none.rs"`},
	{"binary removed", "[[bin]]\nname = \"a-b\"\npath = \"src/main.rs\"\n", "", `bin.a-b`, `path = "src/main.rs"`, ``},
	{"example's path", `path = "examples/e.rs"`, `path = "build.rs"`, `example.e.path`, `"examples/e.rs"`, `"build.rs"`},
	{"test's path", `path = "tests/t.rs"`, `path = "build.rs"`, `test.t.path`, `"tests/t.rs"`, `"build.rs"`},
	{"bench's harness", "harness = false", "harness = true", `bench.b.harness`, `false`, `true`},
	{"unknown key of a target", "doctest = false", "doctest = false\nfuture = 1", `lib.future`, ``, `1`},

	{"lint's level", `unsafe_code = "forbid"`, `unsafe_code = "allow"`, `lints.rust.unsafe_code.level`, `"forbid"`, `"allow"`},
	{"lint removed", "unsafe_code = \"forbid\"\n", "", `lints.rust.unsafe_code`, `level = "forbid"`, ``},
	{"lint's priority", "priority = 0", "priority = 1", `lints.rust.unexpected_cfgs.priority`, `0`, `1`},
	{"lint's settings", `["cfg(c)"]`, `["cfg(evil)"]`, `lints.rust.unexpected_cfgs.check-cfg`, `["cfg(c)"]`, `["cfg(evil)"]`},
	{"lint added", "[lints.rust]", "[lints.clippy]\nall = \"allow\"\n[lints.rust]", `lints.clippy.all`, ``, `level = "allow"`},
	{"profile's level", "[profile.release]\nopt-level = 3", "[profile.release]\nopt-level = 0", `profile.release.opt-level`, `"3"`, `"0"`},
	{"profile's checks", "lto = true", "lto = true\noverflow-checks = false", `profile.release.overflow-checks`, ``, `false`},
	{"profile of a package", "opt-level = 1", "opt-level = 2", `profile.dev.package.d.opt-level`, `"1"`, `"2"`},
	{"profile added", "[profile.release]", "[profile.test]\ndebug-assertions = false\n[profile.release]", `profile.test`, ``, `debug-assertions = false`},
	{"profile's flags", "lto = true", "lto = true\nrustflags = [\"-C\", \"linker=evil\"]", `profile.release.rustflags`, ``, `["-C", "linker=evil"]`},
	{"hints", "mostly-unused = true", "mostly-unused = false", `hints.mostly-unused`, `true`, `false`},
	{"badges", `x = "y"`, `x = "z"`, `badges.b.x`, `"y"`, `"z"`},
	{"patch", "[hints]", "[patch.r.d]\ngit = \"https://evil.example\"\n[hints]", `patch.r.d`, ``, `git = "https://evil.example"`},
	{"replace", "[hints]", "[replace.\"d:1.0.0\"]\npath = \"src\"\n[hints]", `replace."d:1.0.0"`, ``, `path = "src"`},
	{"workspace of its own", "[hints]", "[workspace.dependencies.s]\nversion = \"4\"\n[hints]", `workspace.dependencies.s`, ``, `version = "4"`},
	{"unknown table", "[hints]", "[future]\nx = 1\n[hints]", `future`, ``, `{ x = 1 }`},
	{"keys that only look alike", "[features]", "[features]\n\"default \" = [\"o\"]", `features."default "`, ``, `["o"]`},
}

func TestEveryLieAboutTheBuildIsNamedWithBothValues(t *testing.T) {
	fatalIf(t, rich.derive())
	for _, a := range attacks {
		if !strings.Contains(rich.norm, a.old) {
			t.Fatalf("%s: nothing to attack", a.name)
		}
		p := rich
		p.norm = strings.Replace(rich.norm, a.old, a.new, 1)
		err := p.derive()
		var d *Deviation
		if !errors.As(err, &d) {
			t.Errorf("%s: got %v, want a deviation", a.name, err)
			continue
		}
		i := slices.IndexFunc(append([]Deviation{*d}, d.More...), func(d Deviation) bool { return d.Key == a.key })
		if i < 0 {
			t.Errorf("%s: %v, want the key %s", a.name, err, a.key)
			continue
		}
		named := append([]Deviation{*d}, d.More...)[i]
		if !shows(named.Want, a.want) || !shows(named.Got, a.got) || !strings.Contains(err.Error(), named.sentence()) {
			t.Errorf("%s: wants %q, got %q; should be %q, %q", a.name, named.Want, named.Got, a.want, a.got)
		}
	}
}

func shows(value, part string) bool {
	return (value == "") == (part == "") && strings.Contains(value, part)
}

// mayLack are the keys that an honest Cargo.toml may lack: the reason is where the model is made.
var mayLack = []string{
	"package.rust-version", // cargo before 1.56
	"hints",                // cargo before 1.90
	"lints", "lints.rust",  // cargo before 1.74
	"hints.mostly-unused",                  // the same
	"lints.rust.unexpected_cfgs.check-cfg", // cargo before 1.80
	"lints.rust.unexpected_cfgs.priority",  // it has its default
	// what is found without them is the same
	"package.autolib", "package.autobins", "package.autoexamples", "package.autotests", "package.autobenches", "package.build",
	"lib.path", "bin.0.path", "bin.1.path", "example.0.path", "test.0.path", "bench.0.path",
}

// TestNoKeyCanBeTakenOutOrChanged is the same attack made without thought: every single value of
// Cargo.toml is removed, and changed.
func TestNoKeyCanBeTakenOutOrChanged(t *testing.T) {
	tried := 0
	var visit func(path string, at any, set func(any), del func())
	var root table
	check := func(path, what string) {
		tried++
		b, err := toml.Marshal(root)
		fatalIf(t, err)
		p := rich
		p.norm = string(b)
		mayBe := what == "removed" && slices.Contains(mayLack, path)
		if err := p.derive(); (err == nil) != mayBe {
			t.Errorf("with %s %s: %v", path, what, err)
		}
	}
	visit = func(path string, at any, set func(any), del func()) {
		if del != nil {
			del()
			check(path, "removed")
			set(at)
		}
		switch v := at.(type) {
		case table:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				visit(join(path, k), v[k], func(e any) { v[k] = e }, func() { delete(v, k) })
			}
			return
		case []any:
			for i := range v {
				if _, ok := v[i].(table); ok {
					visit(path+"."+string(rune('0'+i)), v[i], nil, nil)
					continue
				}
				old := v[i]
				v[i] = "evil"
				check(path, "changed")
				v[i] = old
			}
			return
		case string:
			set(v + "x")
		case bool:
			set(!v)
		case int64:
			set(v + 1)
		case float64:
			set(v + 1)
		default:
			t.Fatalf("%s: %T", path, at)
		}
		if !strings.HasPrefix(path, "package.auto") { // search on: finds nothing that is not listed
			check(path, "changed")
		}
		set(at)
	}
	fatalIf(t, toml.Unmarshal([]byte(rich.norm), &root))
	visit("", root, nil, nil)
	if tried < 150 {
		t.Errorf("only %d values tried", tried)
	}
}

func TestAnInheritedValueCannotBeReplaced(t *testing.T) {
	for _, p := range honest {
		if !strings.HasPrefix(p.name, "inherited") || p.root == "" || p.name == "inherited lints" {
			continue
		}
		for _, c := range [][2]string{{`rust-version = "1.70"`, `rust-version = "1.80"`}, {`version = "2"`, `version = "3"`}, {`["x", "y"]`, `["x"]`},
			{"optional = true", "optional = false"}, {"default-features = true", "default-features = false"}, {`resolver = "1"`, `resolver = "3"`}} {
			evil := p
			if evil.norm = strings.Replace(p.norm, c[0], c[1], 1); evil.norm == p.norm {
				continue
			}
			var d *Deviation
			if err := evil.derive(); !errors.As(err, &d) {
				t.Errorf("%s: %s: got %v, want a deviation", p.name, c[1], err)
			}
		}
	}
}

func TestARegistryThatOnlyItsPublisherKnowsIsRefused(t *testing.T) {
	for _, norm := range []string{"registry-index = \"https://r.example\"\n", "", "registry = \"r\"\n"} {
		p := pair{orig: pkg + "[dependencies]\nd = { version = \"1\", registry = \"r\" }\n", norm: pkg + "[dependencies.d]\nversion = \"1\"\n" + norm}
		var d *Deviation
		if err := p.derive(); !errors.As(err, &d) || d.Key != "dependencies.d.registry" && !strings.Contains(d.Want, `"r"`) {
			t.Errorf("got %v, want a refusal of the registry", err)
		}
	}
}

func TestDeviationsAreCountedToALimitAndCut(t *testing.T) {
	var evil strings.Builder
	evil.WriteString(pkg + "[features]\n")
	for i := range 40 {
		evil.WriteString("f" + strings.Repeat("x", i) + " = [\"" + strings.Repeat("é", 400) + "\"]\n")
	}
	p := pair{orig: pkg, norm: evil.String()}
	var d *Deviation
	if err := p.derive(); !errors.As(err, &d) || len(d.More) != MaxDeviations-1 || len(err.Error()) > MaxDeviations*400 {
		t.Errorf("got %v", err)
	}
}

func FuzzDerive(f *testing.F) {
	for _, p := range append(honest, rich) {
		f.Add([]byte(p.orig), []byte(p.norm), p.files, []byte(p.root))
	}
	for _, c := range unreadable {
		if len(c.norm) < 1<<14 {
			f.Add([]byte(c.orig), []byte(c.norm), "src/lib.rs", []byte(c.root))
		}
	}
	f.Fuzz(func(t *testing.T, orig, norm []byte, files string, root []byte) {
		if len(root) == 0 {
			root = nil
		}
		err := Derive(orig, norm, strings.Fields(files), root)
		var d *Deviation
		if errors.As(err, &d) && (d.Key == "" || d.Want == d.Got && d.Want != "") {
			t.Errorf("a deviation that deviates in nothing: %v", err)
		}
		if err == nil {
			if _, err := Inherits(orig); err != nil {
				t.Errorf("derived, but cannot tell whether it inherits: %v", err)
			}
		}
	})
}
