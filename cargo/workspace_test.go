package cargo

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A tree is the contents of files by their paths.
type tree = map[string]string

// layout writes files below a new directory: path -> content. A package's src/lib.rs is added.
func layout(t *testing.T, files tree) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	fatalIf(t, err)
	for p, content := range files {
		write(t, filepath.Join(dir, p), content)
		if filepath.Base(p) == manifestName && strings.Contains(content, "[package]") {
			write(t, filepath.Join(dir, filepath.Dir(p), "src", "lib.rs"), "")
		}
	}
	return dir
}

func pkg(name string, more ...string) string {
	return fmt.Sprintf("[package]\nname = %q\nversion = \"0.1.0\"\nedition = \"2021\"\n%s\n", name, strings.Join(more, "\n"))
}

// layouts are shapes of workspaces, each seen from one manifest.
var layouts = map[string]struct {
	from  string
	files tree
}{
	"single":           {"Cargo.toml", tree{"Cargo.toml": pkg("a")}},
	"virtual globs":    {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"crates/*\", \"x/[!b]\", \"deep/**/d?\"]\n", "crates/a/Cargo.toml": pkg("a"), "crates/b/Cargo.toml": pkg("b"), "crates/file": "", "x/b/Cargo.toml": pkg("xb"), "x/c/Cargo.toml": pkg("xc"), "deep/1/2/d3/Cargo.toml": pkg("d3"), "deep/d4/Cargo.toml": pkg("d4")}},
	"from a member":    {"crates/b/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"crates/*\"]\n", "crates/a/Cargo.toml": pkg("a"), "crates/b/Cargo.toml": pkg("b")}},
	"glob of nothing":  {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"crates/zz*\"]\n"}},
	"glob of no crate": {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"crates/*\"]\n", "crates/a/README": ""}},
	"hidden directory": {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"crates/*\"]\n", "crates/.a/Cargo.toml": pkg("a")}},
	"not a member":     {"b/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"a\"]\n", "a/Cargo.toml": pkg("a"), "b/Cargo.toml": pkg("b")}},
	"excluded":         {"b/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"a\"]\nexclude = [\"b\"]\n", "a/Cargo.toml": pkg("a"), "b/Cargo.toml": pkg("b")}},
	"glob, excluded":   {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"c/*\"]\nexclude = [\"c/b\"]\n", "c/a/Cargo.toml": pkg("a"), "c/b/Cargo.toml": pkg("b")}},
	"member, excluded": {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"c/a\"]\nexclude = [\"c\"]\n", "c/a/Cargo.toml": pkg("a"), "c/b/Cargo.toml": pkg("b")}},
	"itself, excluded": {"Cargo.toml", tree{"Cargo.toml": pkg("root", "[workspace]", "members = [\"a\"]", "exclude = [\".\"]"), "a/Cargo.toml": pkg("a")}},
	"exclude prefix":   {"bb/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = []\nexclude = [\"b\"]\n", "bb/Cargo.toml": pkg("bb")}},
	"path dependencies": {"Cargo.toml", tree{"Cargo.toml": pkg("root", "[workspace]", "[dependencies]", "a = { path = \"a\" }"), "a/Cargo.toml": pkg("a", "[dev-dependencies]", "b = { path = \"../b\" }"),
		"b/Cargo.toml": pkg("b", "[target.'cfg(unix)'.build-dependencies.c]", "path = \"../c\""), "c/Cargo.toml": pkg("c"), "d/Cargo.toml": pkg("d")}},
	"inherited path": {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nb = { path = \"b\" }\n", "a/Cargo.toml": pkg("a", "[dependencies]", "b = { workspace = true }"), "b/Cargo.toml": pkg("b")}},
	"path dependency outside": {"w/Cargo.toml", tree{"w/Cargo.toml": pkg("root", "[workspace]", "[dependencies]", "a = { path = \"../a\" }"), "a/Cargo.toml": pkg("a", "[dependencies]", "b = { path = \"../w/b\" }"),
		"w/b/Cargo.toml": pkg("b")}},
	"path dependency outside that points back": {"w/Cargo.toml", tree{"w/Cargo.toml": pkg("root", "[workspace]", "[dependencies]", "a = { path = \"../a\" }"), "a/Cargo.toml": pkg("a", "workspace = \"../w\"")}},
	"path dependency, excluded":                {"Cargo.toml", tree{"Cargo.toml": pkg("root", "[workspace]", "exclude = [\"a\"]", "[dependencies]", "a = { path = \"a\" }"), "a/Cargo.toml": pkg("a")}},
	"pointer":                                  {"out/a/Cargo.toml", tree{"w/Cargo.toml": "[workspace]\nmembers = [\"../out/a\"]\n", "out/a/Cargo.toml": pkg("a", "workspace = \"../../w\"")}},
	"pointer to nothing":                       {"a/Cargo.toml", tree{"a/Cargo.toml": pkg("a", "workspace = \"../w\"")}},
	"pointer to no root":                       {"a/Cargo.toml", tree{"a/Cargo.toml": pkg("a", "workspace = \"../w\""), "w/Cargo.toml": pkg("w")}},
	"own workspace inside":                     {"in/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = []\n", "in/Cargo.toml": pkg("in", "[workspace]")}},
	"root inside as member":                    {"Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"in\"]\n", "in/Cargo.toml": pkg("in", "[workspace]")}},
	"package above that is no root":            {"a/Cargo.toml", tree{"Cargo.toml": pkg("root"), "a/Cargo.toml": pkg("a")}},
	"root and pointer at once":                 {"Cargo.toml", tree{"Cargo.toml": pkg("a", "workspace = \"b\"", "[workspace]"), "b/Cargo.toml": "[workspace]\n"}},
	"neither":                                  {"Cargo.toml", tree{"Cargo.toml": "[lib]\n"}},
	"nearest root":                             {"x/a/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"x/a\"]\n", "x/Cargo.toml": "[workspace]\nmembers = [\"a\"]\n", "x/a/Cargo.toml": pkg("a")}},
	"inheriting what is not there":             {"a/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = [\"a\"]\n", "a/Cargo.toml": pkg("a", "[dependencies]", "b = { workspace = true }")}},
	"root in target/package":                   {"target/package/a/Cargo.toml", tree{"Cargo.toml": "[workspace]\nmembers = []\n", "target/package/a/Cargo.toml": pkg("a")}},
}

// TestWorkspacesAreFoundAsCargoFindsThem asks the real cargo about each layout.
func TestWorkspacesAreFoundAsCargoFindsThem(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CARGO_HOME", home)
	for name, c := range layouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := layout(t, c.files)
			manifest := filepath.Join(dir, filepath.FromSlash(c.from))
			out, failed := runCargo(t, dir, home, "metadata", "--no-deps", "--format-version", "1", "--manifest-path", manifest)
			w, err := LoadWorkspace(manifest)
			if (err != nil) != (failed != nil) {
				t.Fatalf("here: %v\ncargo: %v\n%s", err, failed, out)
			}
			if err != nil {
				if !strings.Contains(err.Error(), manifestName) {
					t.Errorf("the error names no file: %v", err)
				}
				return
			}
			said := parseMetadata(t, out)
			var want, got []string
			for _, p := range said.Packages {
				want = append(want, fmt.Sprint(p.Manifest, p.Name, p.Version))
			}
			for _, m := range w.Members {
				got = append(got, fmt.Sprint(m.Manifest, m.Name, m.Version))
			}
			slices.Sort(want)
			slices.Sort(got)
			if w.Root != said.Root || !slices.Equal(got, want) {
				t.Errorf("here %s %v\ncargo %s %v", w.Root, got, said.Root, want)
			}
			if w.LockPath != filepath.Join(said.Root, "Cargo.lock") {
				t.Errorf("lock %s", w.LockPath)
			}
		})
	}
}

func TestTheFirstResolverIsToldFromLaterOnes(t *testing.T) {
	ws, inherit := "[workspace]\n", "[workspace.package]\nedition = \"2021\"\n"
	a := func(lines string) string { return "[package]\nname = \"a\"\nversion = \"0.1.0\"\n" + lines }
	for manifest, want := range map[string]bool{
		a(""): true, a("edition = \"2018\"\n"): true, a("edition = \"2021\"\n"): false, a("edition = \"2024\"\n"): false,
		a("edition = \"2021\"\nresolver = \"1\"\n"): true, a("resolver = \"2\"\n"): false, a("resolver = \"3\"\n"): false,
		ws: true, ws + "resolver = \"2\"\n": false, inherit: true,
		a("edition.workspace = true\n") + inherit: false, a("edition = \"2021\"\n") + ws + "resolver = \"1\"\n": true,
	} {
		w, err := LoadWorkspace(filepath.Join(layout(t, tree{"Cargo.toml": manifest, "src/lib.rs": ""}), "Cargo.toml"))
		if err != nil || w.Unified != want {
			t.Errorf("%s\n%+v, %v; want %v", manifest, w, err, want)
		}
	}
}

func TestManifestIsLookedForAboveAsCargoDoes(t *testing.T) {
	dir := layout(t, tree{"Cargo.toml": pkg("a"), "x/y/z": ""})
	if got, err := FindManifest(filepath.Join(dir, "x", "y")); err != nil || got != filepath.Join(dir, manifestName) {
		t.Errorf("%s, %v", got, err)
	}
	_, err := LoadWorkspace(filepath.Join(dir, "x"))
	refused(t, "no manifest", err, "must end in Cargo.toml")
}

// optIns has the key in every place where people write it.
var optIns = tree{
	"Cargo.toml": `[workspace]
members = ["a", "b"]
[workspace.package]
version = "0.3.0"
[workspace.dependencies]
shared = { version = "1", verification = "zkp" }
lazy = { version = "2", package = "real-lazy" }
unused = { version = "3", verification = "zkp" }
[workspace.metadata.zkp]
require = ["wide"]
policy = "ci/zkp.toml"
`,
	"a/Cargo.toml": `[package]
name = "a"
version.workspace = true
edition = "2021"
[dependencies]
plain = "1"
inline = { version = "1.0", verification = "zkp" }
dotted.version = "1"
dotted.verification = "zkp"
new = { package = "old", version = "0.9", verification = "zkp" }
other = { version = "1", registry = "mine", verification = "zkp" }
shared = { workspace = true }
lazy = { workspace = true, optional = true, verification = "zkp" }
[dependencies.tabled]
version = "^1"
verification = "zkp"
[dev-dependencies]
dev = { version = "1", verification = "zkp" }
[build-dependencies]
build = { version = "1", verification = "zkp" }
[target.'cfg(unix)'.dependencies]
unixy = { version = "1", verification = "zkp" }
[target.x86_64-pc-windows-msvc.dev-dependencies.winny]
version = "1"
verification = "zkp"
[package.metadata.zkp]
require = ["deep"]
[package.metadata.other]
zkp = 1
`,
	"b/Cargo.toml": `[package]
name = "b"
version = "0.1.0"
edition = "2018"
[dev_dependencies]
dev_ = { version = "1", verification = "zkp" }
[build_dependencies]
build_ = { version = "1", verification = "zkp" }
[package.metadata.zkp]
require = "all"
transitive = true
policy = "../ci/zkp.toml"
`,
}

func TestEveryOptInIsFoundWithItsPlace(t *testing.T) {
	dir := layout(t, optIns)
	w, err := LoadWorkspace(filepath.Join(dir, "a", manifestName))
	fatalIf(t, err)
	var got []string
	for _, d := range w.Demands {
		where := strings.TrimPrefix(d.Where(), dir+string(filepath.Separator))
		got = append(got, fmt.Sprintf("%s %s %s %d direct=%v transitive=%v: %s", d.Crate, d.Requirement, d.Registry, d.Member, d.Direct, d.Transitive, where))
	}
	want := []string{
		"dotted 1  0 direct=true transitive=false: a/Cargo.toml, dependencies.dotted.verification",
		"inline 1.0  0 direct=true transitive=false: a/Cargo.toml, dependencies.inline.verification",
		"real-lazy 2  0 direct=true transitive=false: a/Cargo.toml, dependencies.lazy.verification",
		"old 0.9  0 direct=true transitive=false: a/Cargo.toml, dependencies.new.verification",
		"other 1 mine 0 direct=true transitive=false: a/Cargo.toml, dependencies.other.verification",
		"shared 1  0 direct=true transitive=false: Cargo.toml, workspace.dependencies.shared.verification",
		"tabled ^1  0 direct=true transitive=false: a/Cargo.toml, dependencies.tabled.verification",
		"dev 1  0 direct=true transitive=false: a/Cargo.toml, dev-dependencies.dev.verification",
		"build 1  0 direct=true transitive=false: a/Cargo.toml, build-dependencies.build.verification",
		"unixy 1  0 direct=true transitive=false: a/Cargo.toml, target.'cfg(unix)'.dependencies.unixy.verification",
		"winny 1  0 direct=true transitive=false: a/Cargo.toml, target.x86_64-pc-windows-msvc.dev-dependencies.winny.verification",
		"deep   0 direct=false transitive=false: a/Cargo.toml, package.metadata.zkp.require",
		"dev_ 1  1 direct=true transitive=true: b/Cargo.toml, dev_dependencies.dev_.verification",
		"build_ 1  1 direct=true transitive=true: b/Cargo.toml, build_dependencies.build_.verification",
		"   1 direct=false transitive=true: b/Cargo.toml, package.metadata.zkp.require",
		"unused 3  -1 direct=false transitive=false: Cargo.toml, workspace.dependencies.unused.verification",
		"wide   -1 direct=false transitive=false: Cargo.toml, workspace.metadata.zkp.require",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if w.Policy != filepath.Join(dir, "ci", "zkp.toml") || w.Members[0].Version != "0.3.0" {
		t.Errorf("policy %s, members %v", w.Policy, w.Members)
	}
}

// cargoMetadata is what cargo metadata --no-deps says.
type cargoMetadata struct {
	Root     string `json:"workspace_root"`
	Packages []struct {
		Name, Version string
		Manifest      string `json:"manifest_path"`
		Dependencies  []struct{ Name, Req string }
	}
}

func parseMetadata(t *testing.T, out string) (m cargoMetadata) {
	t.Helper()
	at := strings.Index(out, `{"packages"`)
	if at < 0 {
		t.Fatalf("cargo says %s", out)
	}
	fatalIf(t, json.NewDecoder(strings.NewReader(out[at:])).Decode(&m))
	return m
}

// The crate that a demand names is the one that cargo takes the dependency to be.
func TestCargoAgreesOnWhatIsDependedOn(t *testing.T) {
	home := t.TempDir()
	t.Setenv("CARGO_HOME", home)
	write(t, filepath.Join(home, "config.toml"), "[registries.mine]\nindex = \"sparse+https://example.com/index/\"\n")
	dir := layout(t, optIns)
	said := parseMetadata(t, mustCargo(t, dir, home, "metadata", "--no-deps", "--format-version", "1"))
	depends := map[string]bool{}
	for _, p := range said.Packages {
		for _, d := range p.Dependencies {
			depends[p.Name+" on "+d.Name+" "+strings.TrimPrefix(d.Req, "^")] = true
		}
	}
	w, err := LoadWorkspace(filepath.Join(dir, manifestName))
	fatalIf(t, err)
	for _, d := range w.Demands {
		if d.Direct && !depends[w.Members[d.Member].Name+" on "+d.Crate+" "+strings.TrimPrefix(d.Requirement, "^")] {
			t.Errorf("cargo does not know %+v", d)
		}
	}
}

func TestWishesThatMeanNothingAreRefused(t *testing.T) {
	manifest := func(more string) tree { return tree{"Cargo.toml": pkg("a", more)} }
	for name, c := range map[string]struct {
		files tree
		want  string
	}{
		"other value":         {manifest("[dependencies]\nserde = { version = \"1\", verification = \"zpk\" }"), `Cargo.toml, dependencies.serde.verification: "zpk" is not known; the only verification is "zkp"`},
		"true":                {manifest("[dependencies]\nserde = { version = \"1\", verification = true }"), `dependencies.serde.verification: true is not known`},
		"other in workspace":  {manifest("[workspace.dependencies]\nserde = { version = \"1\", verification = 1 }"), `workspace.dependencies.serde.verification: 1 is not known`},
		"other for a target":  {manifest("[target.'cfg(unix)'.dependencies]\nserde = { version = \"1\", verification = \"\" }"), `target.'cfg(unix)'.dependencies.serde.verification: "" is not known`},
		"unknown key":         {manifest("[package.metadata.zkp]\nrequires = \"all\""), "Cargo.toml, package.metadata.zkp.requires: is not known; there are require, policy, log and transitive"},
		"unknown workspace":   {manifest("[workspace.metadata.zkp]\nx = 1"), "workspace.metadata.zkp.x: is not known"},
		"require other":       {manifest("[package.metadata.zkp]\nrequire = \"none\""), `package.metadata.zkp.require: is neither "all" nor an array of crates' names`},
		"require number":      {manifest("[package.metadata.zkp]\nrequire = [1]"), `is neither "all" nor an array`},
		"require version":     {manifest("[package.metadata.zkp]\nrequire = [\"serde@1\"]"), "versions and patterns belong into zkp.toml"},
		"zkp no table":        {manifest("[package.metadata]\nzkp = true"), "package.metadata.zkp: is not a table"},
		"policy empty":        {manifest("[package.metadata.zkp]\npolicy = \"\""), "package.metadata.zkp.policy: is empty"},
		"policy number":       {manifest("[package.metadata.zkp]\npolicy = 1"), "package.metadata.zkp.policy: is not a string"},
		"two policies":        {manifest("[package.metadata.zkp]\npolicy = \"a\"\n[workspace.metadata.zkp]\npolicy = \"b\""), "a workspace has one policy"},
		"transitive text":     {manifest("[package.metadata.zkp]\ntransitive = \"yes\""), "package.metadata.zkp.transitive: is neither true nor false"},
		"in patch":            {manifest("[patch.x]\nserde = { path = \"s\", verification = \"zkp\" }"), "patch.x.serde.verification: is not looked at here; ask for it where the crate is depended on"},
		"in replace":          {manifest("[replace]\n\"serde:1.0.0\" = { path = \"s\", verification = \"zkp\" }"), "replace.'serde:1.0.0'.verification: is not looked at here"},
		"in package":          {manifest("verification = \"zkp\""), "package.verification: is not looked at here; write [package.metadata.zkp]"},
		"at the top":          {manifest("[zkp]\nrequire = \"all\""), "zkp: is not looked at here; write [package.metadata.zkp]"},
		"dependency a number": {manifest("[dependencies]\nserde = 1"), "dependencies.serde: is neither a version nor a table"},
		"dependencies a list": {tree{"Cargo.toml": "dependencies = []\n" + pkg("a")}, "Cargo.toml, dependencies: is not a table"},
		"broken":              {tree{"Cargo.toml": "[package"}, "Cargo.toml: is not TOML: line 1"},
	} {
		dir := layout(t, c.files)
		if _, err := LoadWorkspace(filepath.Join(dir, manifestName)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %q", name, err, c.want)
		} else if !strings.HasPrefix(err.Error(), dir) {
			t.Errorf("%s: the error does not begin with the file: %v", name, err)
		}
	}
}

var lockOfMembers = `version = 4
[[package]]
name = "a"
version = "0.1.0"
dependencies = ["foo_bar 1.0.0", "two 1.0.0", "two 2.0.0", "gitty"]
[[package]]
name = "b"
version = "0.1.0"
dependencies = ["foo_bar 2.0.0"]
` + locked("foo_bar", "1.0.0", "leaf") + locked("foo_bar", "2.0.0") + locked("two", "1.0.0") + locked("two", "2.0.0") + locked("leaf", "1.0.0") + `
[[package]]
name = "gitty"
version = "1.0.0"
source = "git+https://example.com/g#00"
`

func locked(name, version string, deps ...string) string {
	list, _ := json.Marshal(append([]string{}, deps...))
	return fmt.Sprintf("[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = %q\ndependencies = %s\n", name, version, index, sum("1"), list)
}

func TestDemandsAreAboutTheVersionsThatTheMemberDependsOn(t *testing.T) {
	l := mustParse(t, lockOfMembers)
	members := []Member{{Name: "a", Version: "0.1.0"}, {Name: "b", Version: "0.1.0"}, {Name: "new", Version: "0.1.0"}}
	for name, c := range map[string]struct {
		d    Demand
		want []string
	}{
		"of a":                 {Demand{Crate: "foo_bar", Direct: true}, []string{"foo_bar 1.0.0"}},
		"of b":                 {Demand{Crate: "foo_bar", Direct: true, Member: 1}, []string{"foo_bar 2.0.0"}},
		"spelt otherwise":      {Demand{Crate: "Foo-Bar", Direct: true, Member: 1}, []string{"foo_bar 2.0.0"}},
		"member not locked":    {Demand{Crate: "foo_bar", Direct: true, Member: 2}, []string{"foo_bar 1.0.0", "foo_bar 2.0.0"}},
		"lock is older":        {Demand{Crate: "two", Direct: true, Member: 1}, []string{"two 1.0.0", "two 2.0.0"}},
		"undecidable":          {Demand{Crate: "two", Direct: true}, []string{"two 1.0.0", "two 2.0.0"}},
		"with dependencies":    {Demand{Crate: "foo_bar", Direct: true, Transitive: true}, []string{"foo_bar 1.0.0", "leaf 1.0.0"}},
		"metadata":             {Demand{Crate: "leaf"}, []string{"leaf 1.0.0"}},
		"metadata of a":        {Demand{Crate: "foo_bar"}, []string{"foo_bar 1.0.0"}},
		"metadata elsewhere":   {Demand{Crate: "leaf", Member: 1}, []string{"leaf 1.0.0"}},
		"of the workspace":     {Demand{Crate: "foo_bar", Member: -1}, []string{"foo_bar 1.0.0", "foo_bar 2.0.0"}},
		"all of b":             {Demand{Member: 1}, []string{"foo_bar 2.0.0"}},
		"all":                  {Demand{Member: -1}, []string{"foo_bar 1.0.0", "foo_bar 2.0.0", "two 1.0.0", "two 2.0.0", "leaf 1.0.0", "gitty 1.0.0"}},
		"git, asked by name":   {Demand{Crate: "gitty", Direct: true}, []string{"gitty 1.0.0"}},
		"misspelt":             {Demand{Crate: "foobar", Member: -1}, nil},
		"misspelt, transitive": {Demand{Crate: "foobar", Direct: true, Transitive: true}, nil},
	} {
		w := &Workspace{Members: members, Demands: []Demand{c.d}, own: map[string]bool{"a": true, "b": true}}
		asked, unmet := w.Select(l)
		var got []string
		for _, a := range asked {
			got = append(got, l.Packages[a.Package].Name+" "+l.Packages[a.Package].Version)
			if len(a.By) != 1 || a.By[0] != c.d {
				t.Errorf("%s: because of %v", name, a.By)
			}
		}
		if !slices.Equal(got, c.want) || len(unmet) != 0 != (c.want == nil) {
			t.Errorf("%s: %v, unmet %v; want %v", name, got, unmet, c.want)
		}
	}
}

func TestTransitiveOfTheWorkspaceExtendsEveryDemand(t *testing.T) {
	files := maps.Clone(optIns)
	files["Cargo.toml"] += "transitive = true\n"
	w, err := LoadWorkspace(filepath.Join(layout(t, files), manifestName))
	fatalIf(t, err)
	for _, d := range w.Demands {
		if !d.Transitive {
			t.Errorf("%v is not", d)
		}
	}
}

func FuzzManifestNeverPassesOverAWish(f *testing.F) {
	for _, content := range optIns {
		f.Add([]byte(content))
	}
	f.Add([]byte(pkg("a", "[dependencies]\nserde.verification = \"zkp\"")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, manifestName)
		fatalIf(t, os.WriteFile(path, b, 0o600))
		w, err := LoadWorkspace(path)
		if err != nil {
			return
		}
		doc, err := parseTOML(path, b)
		fatalIf(t, err)
		deps, _ := doc["dependencies"].(table)
		for name, v := range deps {
			entry, _ := v.(table)
			at := join(join("dependencies", name), verificationKey)
			if _, said := entry[verificationKey]; said && !slices.ContainsFunc(w.Demands, func(d Demand) bool { return d.Key == at }) {
				t.Errorf("%s is passed over", at)
			}
		}
	})
}
