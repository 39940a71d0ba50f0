package policy

import (
	"slices"
	"strings"
	"testing"
)

const (
	corp  = "sparse+https://registry.example.com/index/"
	other = "https://other.example.com/index"
)

// required returns the names of the packages that must be proven.
func required(p *Policy, packages ...Package) (names []string) {
	for _, d := range p.Resolve(nil, packages, now).Demands {
		if d.Status == Required {
			names = append(names, d.Name)
		}
	}
	return names
}

func TestEachRegistryHasItsRules(t *testing.T) {
	p := mustLoad(t, `
version = 1
trust = ["a.policy", "b.policy"]
require = "all"
[registry."sparse+https://Registry.example.com/index"]
require = ["acme-core", "acme-x*"]
ignore = ["acme-xray"]
logs = ["a.example/log"]
[registry."registry+https://other.example.com/index.git"]
[registry.crates-io]
ignore = ["left-*"]
`)
	got := required(p, Package{Name: "serde", Version: "1.0.0"}, Package{Name: "left-pad", Version: "1.0.0"},
		Package{"acme-core", "1.0.0", corp}, Package{"acme-ui", "1.0.0", corp}, Package{"acme-x1", "1.0.0", corp},
		Package{"acme-xray", "1.0.0", corp}, Package{"acme_xray", "1.0.0", corp}, Package{"left-hand", "1.0.0", other},
		Package{"stray", "1.0.0", "sparse+https://stray.example.com/"})
	if want := []string{"serde", "acme-core", "acme-x1", "acme_xray", "left-hand", "stray"}; !slices.Equal(got, want) {
		t.Errorf("required are %q, not %q", got, want)
	}
	for _, c := range []struct {
		index, origin string
		may           bool
	}{
		{"", "a.example/log", true}, {"", "b.example/log", true}, {corp, "a.example/log", true}, {corp, "b.example/log", false},
		{other, "a.example/log", false}, {"sparse+https://stray.example.com/", "a.example/log", false},
		{"https://registry.example.com/index/", "a.example/log", false},
	} {
		if p.MayAsk(c.index, c.origin) != c.may {
			t.Errorf("%s may be asked about %q: %v", c.origin, c.index, !c.may)
		}
	}
	if p = mustLoad(t, "version = 1\n[registry.crates-io]\nlogs = [\"b.example/log\"]\n"); p.MayAsk("", "a.example/log") || !p.MayAsk("", "b.example/log") {
		t.Error("logs of cargo's default registry do not count")
	}
	if _, named := mustLoad(t, "version = 1\n").Of(corp); named {
		t.Error("a registry is named by nobody")
	}
}

// A private crate may have the name of a public one, and the reverse.
func TestAnExceptionIsOfOneRegistry(t *testing.T) {
	p := mustLoad(t, `
version = 1
require = "all"
[[exception]]
crate = "public"
reason = "r"
expires = "2027-01-31"
[[exception]]
crate = "private"
registry = "`+corp+`"
reason = "r"
expires = "2027-01-31"
[[allow]]
crate = "files"
registry = "`+corp+`"
unproven = ["Cargo.toml"]
reason = "r"
expires = "2027-01-31"
`)
	got := p.Resolve(nil, []Package{{Name: "public", Version: "1.0.0"}, {"public", "1.0.0", corp}, {Name: "private", Version: "1.0.0"},
		{"private", "1.0.0", strings.TrimSuffix(corp, "/")}}, now)
	for i, want := range []Status{Excepted, Required, Required, Excepted} {
		if d := got.Demands[i]; d.Status != want {
			t.Errorf("%+v is %v, want %v", d.Package, d.Status, want)
		}
	}
	if n := len(p.Rules("files", "1.0.0", now).AllowUnproven); n != 1 {
		t.Errorf("the public crate may have %d files unproven", n)
	}
	if n := len(p.RulesFor(Package{"files", "1.0.0", corp}, now).AllowUnproven); n != 2 {
		t.Errorf("the private crate may have %d files unproven", n)
	}
}

func TestAnAskIsAboutOneRegistry(t *testing.T) {
	p := mustLoad(t, "version = 1\n[registry.\""+corp+"\"]\n")
	p.Registries[indexOf(corp)].Ignore = []Pattern{Exactly("x", "")} // which is about what the policy requires
	asks := []Ask{{Crate: Exactly("x", "1.0.0"), Where: "Cargo.toml", Registry: corp}, {Crate: Exactly("70*", "1.0.0"), Where: "Cargo.toml"}}
	r := p.Resolve(asks, []Package{{Name: "x", Version: "1.0.0"}, {"x", "1.0.0", corp}, {"70*", "1.0.0", ""}}, now)
	for i, want := range []Status{NotAsked, Required, Required} {
		if r.Demands[i].Status != want {
			t.Errorf("%+v is %v", r.Demands[i].Package, r.Demands[i].Status)
		}
	}
	if len(r.Missing)+len(r.Unmatched) != 0 {
		t.Errorf("%q %q", r.Missing, r.Unmatched)
	}
}

func TestWhatIsRequiredByNameMustBeThere(t *testing.T) {
	p := mustLoad(t, `
version = 1
require = ["serde@1.0.0", "gone", "my-*", "shared"]
[registry."`+corp+`"]
require = ["acme-core", "acme-*"]
[registry."`+other+`"]
[[expect]]
crate = "Serde"
path = ""
[[expect]]
crate = "left-pda"
path = ""
`)
	r := p.Resolve(nil, []Package{{Name: "serde", Version: "1.0.1"}, {Name: "acme-core", Version: "1.0.0"}, {"shared", "1.0.0", other}}, now)
	if len(r.Missing) != 3 || !strings.HasSuffix(r.Missing[0], `requires "serde@1.0.0", but no registry package of the lock file is serde@1.0.0`) ||
		!strings.HasSuffix(r.Missing[1], "package of the lock file is gone") ||
		!strings.HasSuffix(r.Missing[2], `requires "acme-core" of sparse+https://registry.example.com/index, but no registry package of the lock file is acme-core`) {
		t.Errorf("missing: %q", r.Missing)
	}
	if len(r.Unmatched) != 3 || !strings.HasSuffix(r.Unmatched[2], "expect[2]: no registry package of the lock file is left-pda; "+
		"remove it, or correct its name") {
		t.Errorf("unmatched: %q", r.Unmatched)
	}
}

func TestGitRepositoriesAreAllowedByURL(t *testing.T) {
	p := mustLoad(t, "version = 1\nrequire = \"all\"\n[git]\nallow = [\"https://git.example.com/our/parser\", \"https://github.com/Our/Tool.git\"]\n")
	for source, want := range map[string]bool{
		"https://git.example.com/our/parser":                       true,
		"https://git.example.com/our/parser.git?branch=x#0123":     true,
		"https://GIT.example.com/our/parser/":                      true,
		"https://git.example.com/Our/parser":                       false,
		"http://git.example.com/our/parser":                        false,
		"https://git.example.com/our/parser2":                      false,
		"https://git.example.com/our/parser/more":                  false,
		"https://git.example.com.evil.example/our/parser":          false,
		"https://evil.example/?https://git.example.com/our/parser": false,
		"https://evil.example/#https://git.example.com/our/parser": false,
		"https://user@git.example.com/our/parser":                  false,
		"https://github.com/our/tool":                              true,
		"ssh://git@github.com/our/tool":                            false,
	} {
		if p.GitAllowed(source) != want {
			t.Errorf("%s is allowed: %v", source, !want)
		}
	}
	if !p.RequiresAll() || mustLoad(t, "version = 1\nrequire = [\"a*\"]\n").RequiresAll() {
		t.Error("what requires all is not told from what does not")
	}
}

func TestASourceMustStandWhereItIsExpected(t *testing.T) {
	commit, another := strings.Repeat("ab", 20), strings.Repeat("cd", 20)
	p := mustLoad(t, `
version = 1
[[expect]]
crate = "a_b"
path = "crates/ab"
[[expect]]
crate = "a_b"
version = "2.0.0"
commits = ["`+commit+`"]
[[expect]]
crate = "top"
path = ""
`)
	for _, c := range []struct{ name, version, commit, path, want string }{
		{"a-b", "1.0.0", another, "crates/ab", ""},
		{"A-B", "1.0.0", another, "tests/fixtures/ab", "A-B 1.0.0 is the source at tests/fixtures/ab of its repository, and "},
		{"a_b", "1.0.0", another, "", "is the source at the root of its repository"},
		{"a_b", "2.0.0", commit, "crates/ab", ""},
		{"a_b", "2.0.0", another, "crates/ab", "is the source of commit " + another + ", which is none of those that "},
		{"top", "1.0.0", another, "", ""},
		{"top", "1.0.0", another, "x", "expects it at the root"},
		{"else", "1.0.0", another, "x", ""},
	} {
		if got := p.Unexpected(c.name, c.version, c.commit, c.path); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s %s at %q of %s: %q, want %q", c.name, c.version, c.path, c.commit, got, c.want)
		}
	}
	if got := required(p, Package{Name: "a-b", Version: "1.0.0"}, Package{Name: "else", Version: "1.0.0"}); !slices.Equal(got, []string{"a-b"}) {
		t.Errorf("what is expected somewhere must be proven: %q", got)
	}
}

func TestMistakesInTablesAreNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"left-out = \"deny\"", `key "left-out": is "deny"; it must be "warn" or "refuse"`},
		{"[git]\nallow = [\"our/parser\"]", `key "git.allow": "our/parser" is not the URL of a repository`},
		{"[git]\nallow = [\"https://x.example/y?branch=z\"]", `a branch or a commit is no part of it`},
		{"[git]\nallow = [\"https://x.example/our/*\"]", `key "git.allow": "https://x.example/our/*" has a *, which is not read as a pattern`},
		{"[git]\ndeny = []", `unknown key "git.deny"`},
		{"[registry.corp]", `key "registry": "corp" is neither the URL of an index, such as stands at source in Cargo.lock, nor crates-io`},
		{"[registry.\"" + corp + "\"]\nrequires = 1", `unknown key`},
		{"[registry.\"" + corp + "\"]\nrequire = \"some\"", `.require": is "some"`},
		{"[registry.\"" + corp + "\"]\nignore = [\"*\"]", `.ignore": "*" would be every crate`},
		{"[registry.\"" + corp + "\"]\nignore = true", `zkp.toml line 3: key `},
		{"[registry.\"" + corp + "\"]\nlogs = [\"\"]", `.logs": must be at most 4096 origins of logs, none of them empty`},
		{"[registry.\"" + corp + "\"]\n[registry.\"" + strings.TrimSuffix(corp, "/") + "\"]", `is there twice`},
		{"[[exception]]\ncrate = \"x\"\nregistry = \"corp\"\nreason = \"r\"\nexpires = \"2027-01-31\"", `key "exception[1].registry": "corp" is not the URL of an index`},
		{"[[expect]]\ncrate = \"x\"", `key "expect[1].path": is missing, and commits and signed-by too`},
		{"[[expect]]\npath = \"\"", `key "expect[1].crate": is missing`},
		{"[[expect]]\ncrate = \"x\"\npath = \"../x\"", `key "expect[1].path": "../x" is not the path of a directory`},
		{"[[expect]]\ncrate = \"x\"\ncommits = []", `key "expect[1].commits": has 0 items`},
		{"[[expect]]\ncrate = \"x\"\ncommits = [\"HEAD\"]", `"HEAD" is not a git commit id`},
	} {
		if _, err := load(t, "version = 1\n"+c.text+"\n"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// Thousands of crates that a manifest asks for are not each compared with each.
func TestManyAsksAreResolvedInLinearTime(t *testing.T) {
	p := mustLoad(t, "version = 1\n")
	var asks []Ask
	var packages []Package
	for i := range 20000 {
		name := "crate-" + strings.Repeat("x", i%50) + string(rune('a'+i%26)) + strings.Repeat("y", i/1000)
		asks = append(asks, Ask{Crate: Exactly(name, "1.0.0"), Where: "Cargo.toml"})
		packages = append(packages, Package{Name: name, Version: "1.0.0"})
	}
	if r := p.Resolve(asks, packages, now); len(r.Missing) != 0 || r.Demands[19999].Status != Required {
		t.Errorf("%d are missing", len(r.Missing))
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"a*b", "ab", true}, {"ab*b", "ab", false}, {"a*b*c", "aXbYc", true}, {"a*b*c", "acb", false},
		{"*-sys", "x-sys", true}, {"*-sys", "x-sys2", false}, {"a", "ab", false}, {"a**", "a", true}, {"a?", "ab", false},
	} {
		if glob(c.pattern, c.name) != c.want {
			t.Errorf("%q is %q: %v", c.pattern, c.name, !c.want)
		}
	}
}

func TestCheckSaysWhatVerifyRefusesAtOnce(t *testing.T) {
	d, user := dir(t)
	for _, c := range []struct {
		text  string
		asks  []Ask
		fault string
	}{
		{"version = 1\nrequire = \"all\"\n", nil, "trust: nothing can be verified: "},
		{"version = 1\n", nil, ""},
		{"version = 1\n", []Ask{{Crate: Exactly("x", "1.0.0")}}, "trust: nothing can be verified: "},
		{"version = 1\n[[expect]]\ncrate = \"x\"\npath = \"\"\n", nil, "trust: nothing can be verified: "},
		{"version = 1\ntrust = [\"none.policy\"]\nrequire = [\"x\"]\n", nil, `none.policy says "quorum none": every bundle of its logs is refused`},
		{"version = 1\ntrust = [\"a.policy\"]\ndevelopment = true\nrequire = [\"y\"]\n", nil, `requires "y", but no registry package`},
		{"version = 1\ntrust = [\"a.policy\"]\ndevelopment = true\nrequire = [\"x\", \"y*\"]\n", nil, ""},
	} {
		path := write(t, d+"/"+FileName, c.text)
		r := Check(path, user+"/nothing", c.asks, []Package{{Name: "x", Version: "1.0.0"}}, now)
		fatalIf(t, r.Err)
		if all := strings.Join(r.Faults, "\n"); c.fault == "" && all != "" || !strings.Contains(all, c.fault) {
			t.Errorf("%q: faults %q, want %q", c.text, r.Faults, c.fault)
		}
	}
}
