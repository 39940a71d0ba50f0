package registry

import (
	"encoding/json"
	"strings"
	"testing"
)

// provenToml has at least one of everything that an index line says.
const provenToml = `
[package]
name = "hello"
version = "1.2.3"
links = "z"

[dependencies.log]
version = "0.4"
features = ["std", "kv"]
default-features = false

[dependencies.renamed]
version = "1"
package = "real"
optional = true

[build-dependencies]
cc = "1.0"

[dev-dependencies]
never = "1"

[target."cfg(any(unix,windows))".dependencies.libc]
version = "0.2"

[target.x86_64-pc-windows-msvc.build-dependencies]
cc = "1.1"

[features]
default = ["renamed"]
extra = ["log/serde", "dep:renamed"]
`

// honestLine is what a registry makes of it.
const honestLine = `{"name":"hello","vers":"1.2.3","cksum":"CKSUM","deps":[
{"name":"cc","req":"^1.0","features":[],"optional":false,"default_features":true,"target":null,"kind":"build"},
{"name":"log","req":"^0.4","features":["kv","std",""],"optional":false,"default_features":false,"target":null,"kind":"normal"},
{"name":"renamed","package":"real","req":">=1.0.0, <2.0.0","features":[],"optional":true,"default_features":true,"target":null,"kind":"normal","registry":null},
{"name":"libc","req":"^0.2","optional":false,"default_features":true,"target":"cfg(any(unix, windows))","kind":"normal"},
{"name":"cc","req":"1.1","target":"x86_64-pc-windows-msvc","kind":"build"},
{"name":"another","req":"odd","kind":"dev"}
],"features":{"default":["renamed"]},"features2":{"extra":["dep:renamed","log/serde"]},"yanked":false,"links":"z","v":2,"rust_version":"1.60"}`

func lineOf(t *testing.T, text string) Release {
	t.Helper()
	text = strings.ReplaceAll(strings.ReplaceAll(text, "CKSUM", sumA), "\n", "")
	r, err := ParseRelease([]byte(text))
	fatalIf(t, err)
	return r
}

func TestAnHonestLineSaysWhatCargoTomlSays(t *testing.T) {
	proven, err := ManifestSummary([]byte("\xef\xbb\xbf" + provenToml))
	fatalIf(t, err)
	said, err := lineOf(t, honestLine).Summary("")
	fatalIf(t, err)
	if diff := said.Diff(proven); diff != "" || said.Digest() != proven.Digest() {
		t.Errorf("an honest line: %s", diff)
	}
	b, err := json.Marshal(proven)
	fatalIf(t, err)
	var kept Summary
	fatalIf(t, json.Unmarshal(b, &kept))
	if kept.Digest() != said.Digest() {
		t.Error("a Summary that was kept as JSON has another digest")
	}
}

// TestEveryLieOfALineIsSeen changes the honest line in one place each, and wants the change
// told.
func TestEveryLieOfALineIsSeen(t *testing.T) {
	proven, err := ManifestSummary([]byte(provenToml))
	fatalIf(t, err)
	add := func(dep string) [2]string { return [2]string{`"deps":[`, `"deps":[` + dep + `,`} }
	for want, lie := range map[string][2]string{
		`it adds the dependency "evil"`:                                                           add(`{"name":"evil","req":"*"}`),
		`it adds the build dependency "evil" (the package "worse")`:                               add(`{"name":"evil","package":"worse","req":"*","kind":"build"}`),
		`it adds the optional dependency "evil" for "cfg(unix)"`:                                  add(`{"name":"evil","req":"*","optional":true,"target":"cfg( unix )","kind":"new"}`),
		`it adds the dependency "log"`:                                                            add(`{"name":"log","req":"0.3"}`),
		`it lacks the dependency "libc" for "cfg(any(unix, windows))"`:                            {`"kind":"normal"},` + "\n" + `{"name":"cc","req":"1.1"`, `"kind":"dev"},{"name":"cc","req":"1.1"`},
		`it takes the package "evil" for the dependency "log", which is "log"`:                    {`"name":"log"`, `"name":"log","package":"evil"`},
		`it says otherwise whether "log" is renamed`:                                              {`"name":"log"`, `"name":"log","package":"log"`},
		`it takes the package "fake" for the dependency "renamed", which is "real"`:               {`"real"`, `"fake"`},
		`it asks for "log" "^0.5", not "0.4"`:                                                     {`"^0.4"`, `"^0.5"`},
		`it takes "renamed" from "sparse+https://example.com", not from cargo's default registry`: {`"registry":null`, `"registry":"sparse+https://example.com/"`},
		`it makes "log" optional`:                                                                 {`["kv","std",""],"optional":false`, `["kv","std"],"optional":true`},
		`it makes "renamed" no longer optional`:                                                   {`"optional":true`, `"optional":false`},
		`it turns the default features of "log" on`:                                               {`"default_features":false`, `"default_features":true`},
		`it turns the default features of "renamed" off`:                                          {`"optional":true,"default_features":true`, `"optional":true,"default_features":false`},
		`it says that for "log" it turns on "max"`:                                                {`["kv","std",""]`, `["kv","std","max"]`},
		`it says that for "log" it does not turn on "std"`:                                        {`["kv","std",""]`, `["kv"]`},
		`it adds the feature "unsafe"`:                                                            {`"features":{`, `"features":{"unsafe":[],`},
		`it lacks the feature "default"`:                                                          {`"features":{"default":["renamed"]}`, `"features":{}`},
		`it says that the feature "default" turns on "extra"`:                                     {`{"default":["renamed"]}`, `{"default":["renamed","extra"]}`},
		`it says that the feature "default" turns on "renamed/x"`:                                 {`"yanked"`, `"yanked":true,"features2":{"default":["renamed/x"],"extra":["dep:renamed","log/serde"]},"y"`},
		`it says that the feature "extra" does not turn on "log/serde"`:                           {`,"log/serde"`, ``},
		`it says that the crate links "y", not "z"`:                                               {`"links":"z"`, `"links":"y"`},
		`it says that the crate links "(empty)", not "z"`:                                         {`"links":"z"`, `"links":""`},
		`it is about hello v1.2.4, not hello v1.2.3`:                                              {`"1.2.3"`, `"1.2.4"`},
		`it lacks the dependency "log"; it adds the dependency "log" for "(empty)"`:               {`"kv","std",""],"optional":false,"default_features":false,"target":null`, `"kv","std",""],"optional":false,"default_features":false,"target":""`},
		`it takes the package "(empty)" for the dependency "log", which is "log"`:                 {`"name":"log"`, `"name":"log","package":""`},
		`it builds something else of "log"`:                                                       {`"name":"log"`, `"name":"log","artifact":[]`},
		`it builds something else of "renamed"`:                                                   {`"package":"real"`, `"package":"real","artifact":["bin"],"lib":true`},
		`it adds the dependency "libc" for "cfg(any(windows, unix))"; it lacks the dependency "libc" for "cfg(any(unix, windows))"`: {`any(unix, windows)`, `any(windows, unix)`},
	} {
		if !strings.Contains(honestLine, lie[0]) {
			t.Fatalf("the honest line has no %s", lie[0])
		}
		text := strings.Replace(honestLine, lie[0], lie[1], 1)
		if strings.Contains(lie[1], `"y"`) && strings.Contains(lie[1], "features2") {
			text = strings.Replace(text, `"features2":{"extra":["dep:renamed","log/serde"]},`, "", 1)
			text = strings.Replace(text, `,"y":false`, "", 1)
		}
		said, err := lineOf(t, text).Summary("")
		fatalIf(t, err)
		if got := said.Diff(proven); !sameWords(got, want) {
			t.Errorf("the lie %s:\ngot  %s\nwant %s", lie[1], got, want)
		}
	}
}

// sameWords compares two sentences but for the order of their halves.
func sameWords(a, b string) bool {
	x, y, _ := strings.Cut(b, "; ")
	return a == b || y != "" && a == y+"; "+x
}

// TestALineMayLeaveLinksOut: that of openssl-sys 0.9.30, for one, does.
func TestALineMayLeaveLinksOut(t *testing.T) {
	for line, want := range map[string]string{
		strings.Replace(honestLine, `"links":"z"`, `"linked":1`, 1):  "",
		strings.Replace(honestLine, `"links":"z"`, `"links":"y"`, 1): `it says that the crate links "y", not "z"`,
	} {
		if got, err := lineOf(t, line).Deviation("", []byte(provenToml)); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		said, err := lineOf(t, line).Summary("")
		fatalIf(t, err)
		proven, err := ManifestSummary([]byte(provenToml))
		fatalIf(t, err)
		if said.Agrees(proven.Digest()) != (want == "") || said.Diff(proven) != want {
			t.Errorf("%q; want %q", said.Diff(proven), want)
		}
		without := proven
		without.Links = ""
		if !without.Agrees(proven.Digest()) || proven.Agrees(without.Digest()) {
			t.Error("a line may leave links out, and not add them")
		}
		without.Version = "1.2.4"
		if without.Agrees(proven.Digest()) {
			t.Error("another version, without links, agrees")
		}
	}
}

func TestALongDifferenceIsBounded(t *testing.T) {
	said, err := lineOf(t, honestLine).Summary("")
	fatalIf(t, err)
	name := strings.Repeat("\x1b", 1000)
	other := Summary{Name: "hello", Version: "1.2.3", Features: map[string][]string{name: {name}}}
	diff := other.Diff(said)
	if len(diff) > 1000 || strings.Contains(diff, "\x1b") || !strings.HasSuffix(diff, "; and 5 more") {
		t.Errorf("%d bytes: %s", len(diff), diff)
	}
}

func TestRegistriesOfOneName(t *testing.T) {
	const other = "sparse+https://example.com/index/"
	dep := func(more string) string {
		return `{"name":"hello","vers":"1.0.0","cksum":"CKSUM","deps":[{"name":"a","req":"1"` + more + `}]}`
	}
	manifest := func(more string) []byte {
		return []byte("[package]\nname = 'hello'\nversion = '1.0.0'\n[dependencies.a]\nversion = '1'\n" + more)
	}
	named := "registry-index = 'sparse+https://example.com/index/'"
	for _, c := range []struct {
		index, line, toml string
		same              bool
	}{
		{"", "", "", true},
		{other, "", "", false}, // the line's own registry is not the default one
		{other, "", named, true},
		{other, `,"registry":"sparse+https://example.com/index"`, named, true},
		{"sparse+https://example.com/index", "", named, true},
		{"", `,"registry":"sparse+https://example.com/index/"`, named, true},
		{"", `,"registry":"https://example.com/index/"`, named, false}, // git, not sparse
		{"registry+https://example.com/index.git", `,"registry":null`, "registry-index = 'https://example.com/index'", true},
	} {
		said, err := lineOf(t, dep(c.line)).Summary(c.index)
		fatalIf(t, err)
		proven, err := ManifestSummary(manifest(c.toml))
		fatalIf(t, err)
		if diff := said.Diff(proven); (diff == "") != c.same {
			t.Errorf("index %q, line %q, Cargo.toml %q: %q", c.index, c.line, c.toml, diff)
		}
		// Where it is not known what the registry stands for, a line without a registry is well.
		diff, err := lineOf(t, dep(c.line)).Deviation(c.index, manifest(c.toml))
		if want := c.same || c.line == ""; err != nil || (diff == "") != want {
			t.Errorf("index %q, line %q, Cargo.toml %q deviates: %q, %v", c.index, c.line, c.toml, diff, err)
		}
	}
}

func TestLinesThatCargoCannotUseHaveNoSummary(t *testing.T) {
	for what, bad := range map[string][2]string{
		"no deps":              {`"deps"`, `"dept"`},
		"null deps":            {`"deps":[`, `"deps":null,"x":[`},
		"a newer schema":       {`"v":2`, `"v":3`},
		"a requirement":        {`"^0.4"`, `"0.4 or so"`},
		"no requirement":       {`"req":"^0.4",`, ``},
		"a dependency unnamed": {`"name":"log",`, ``},
		"a feature":            {`["renamed"]`, `"renamed"`},
	} {
		r := lineOf(t, strings.Replace(honestLine, bad[0], bad[1], 1))
		if s, err := r.Summary(""); err == nil {
			t.Errorf("%s: %+v", what, s)
		} else if !strings.HasPrefix(err.Error(), "the index line of hello v1.2.3: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestManifestsThatNobodyCanResolveHaveNoSummary(t *testing.T) {
	for what, bad := range map[string]string{
		"not TOML":            "[package",
		"no package":          "[dependencies]\na = '1'\n",
		"no version":          "[package]\nname = 'a'\n",
		"a workspace's":       provenToml + "[dependencies.w]\nworkspace = true\n",
		"a named registry":    provenToml + "[dependencies.w]\nversion = '1'\nregistry = 'mine'\n",
		"both spellings":      provenToml + "[build_dependencies]\nw = '1'\n",
		"a dependency":        provenToml + "[dependencies]\nw = 1\n",
		"a requirement":       provenToml + "[target.a.dependencies]\nw = 'one'\n",
		"a feature's list":    provenToml + "[target.a.dependencies.w]\nversion = '1'\nfeatures = [1]\n",
		"a flag":              provenToml + "[target.a.dependencies.w]\nversion = '1'\noptional = 'yes'\n",
		"dependencies a list": "[package]\nname = 'a'\nversion = '1.0.0'\n[[dependencies]]\na = '1'\n",
		"too long":            "[package]\nname = 'a'\nversion = '1.0.0'\n#" + strings.Repeat("#", maxManifest),
	} {
		if s, err := ManifestSummary([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", what, s)
		} else if !strings.HasPrefix(err.Error(), "what Cargo.toml says: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzSummary(f *testing.F) {
	f.Add(strings.ReplaceAll(strings.ReplaceAll(honestLine, "CKSUM", sumA), "\n", ""), provenToml)
	f.Fuzz(func(t *testing.T, line, toml string) {
		proven, err := ManifestSummary([]byte(toml))
		if err == nil && proven.Diff(proven) != "" {
			t.Error("a Summary differs from itself")
		}
		r, err := ParseRelease([]byte(line))
		if err != nil {
			return
		}
		if said, err := r.Summary(""); err == nil && (said.Diff(proven) == "") != said.Agrees(proven.Digest()) {
			t.Errorf("Diff and Digest differ: %q", said.Diff(proven))
		}
	})
}
