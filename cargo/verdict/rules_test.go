package verdict

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

const corp = "sparse+https://registry.example.com/index/"

// workspace makes a repository with one package of its own beside it, and one outside.
func workspace(t *testing.T, more string) *cargo.Workspace {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{
		"repo/.git/HEAD":          "",
		"repo/ws/Cargo.toml":      "[package]\nname = \"app\"\nversion = \"0.1.0\"\n" + more + "[dependencies]\nbeside = { path = \"../beside\" }\naway = { path = \"../../away\" }\n",
		"repo/beside/Cargo.toml":  "[package]\nname = \"beside\"\nversion = \"0.1.0\"\n",
		"away/Cargo.toml":         "[package]\nname = \"away\"\nversion = \"0.1.0\"\n",
		"repo/ws/zkp.toml":        "version = 1\n",
		"repo/ws/.cargo/config":   "",
		"repo/ws/src/lib.rs":      "",
		"repo/beside/src/lib.rs":  "",
		"away/src/lib.rs":         "",
		"repo/ws/other/README.md": "",
	} {
		path = filepath.Join(dir, filepath.FromSlash(path))
		fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
		fatalIf(t, os.WriteFile(path, []byte(text), 0o600))
	}
	ws, err := cargo.LoadWorkspace(filepath.Join(dir, "repo", "ws", "Cargo.toml"))
	fatalIf(t, err)
	return ws
}

func lockOf(packages ...string) []byte {
	text := "version = 4\n"
	for _, p := range packages {
		f := strings.Fields(p) // name, source, dependencies
		text += fmt.Sprintf("[[package]]\nname = %q\nversion = \"0.1.0\"\n", f[0])
		if f[1] != "path" {
			text += fmt.Sprintf("source = %q\n", f[1])
		}
		if !strings.HasPrefix(f[1], "git+") && f[1] != "path" {
			text += fmt.Sprintf("checksum = %q\n", strings.Repeat("ab", 32))
		}
		text += fmt.Sprintf("dependencies = [%s]\n", strings.Join(quoted(f[2:]), ", "))
	}
	return []byte(text)
}

func quoted(list []string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}

// The finding: a dependency from git was a way around a policy that requires all.
func TestAllMeansWhatHasNoCrateToo(t *testing.T) {
	text := lockOf("app path beside away sparse", "beside path", "away path gitty", "gitty git+https://git.example.com/g?branch=x#00 gitty2",
		"gitty2 git+https://git.example.com/g?branch=x#00", "sparse "+corp)
	for _, c := range []struct {
		policy, manifest string
		want             []string // the beginnings of complaints
	}{
		{"", "", nil},
		{"require = [\"sparse\"]\n", "", nil},
		{"require = [\"sparse\", \"git*\"]\n", "", []string{"gitty v0.1.0 is from"}},
		{"require = \"all\"\n", "", []string{"away v0.1.0 is from the directory /", "gitty v0.1.0 is from the git repository https://git.example.com/g, "}},
		{"require = \"all\"\n[git]\nallow = [\"https://git.example.com/g.git\"]\n", "", []string{"away v0.1.0 is from"}},
		{"", "[package.metadata.zkp]\nrequire = \"all\"\n", []string{"away v0.1.0 is from", "gitty v0.1.0 is from"}},
		{"", "[package.metadata.zkp]\nrequire = [\"away\"]\ntransitive = true\n", []string{"away v0.1.0 is not from a registry", "away v0.1.0 is from",
			"gitty v0.1.0 is from"}},
		{"", "[package.metadata.zkp]\nrequire = [\"gitty2\"]\n", []string{"gitty2 v0.1.0 is not from a registry", "gitty2 v0.1.0 is from"}},
		{"[git]\nallow = [\"https://git.example.com/g\"]\n", "[package.metadata.zkp]\nrequire = [\"gitty2\"]\n", []string{"gitty2 v0.1.0 is not from a registry"}},
		{"", "[package.metadata.zkp]\nrequire = [\"beside\"]\n", []string{"beside v0.1.0 is not from a registry"}},
	} {
		p := newPlace(t, c.policy)
		l, err := NewLock(workspace(t, c.manifest), p.policy, text, nil, now)
		fatalIf(t, err)
		if l.Others != 3 {
			t.Errorf("%q: %d are not looked at, without the user's own: not 3", c.policy, l.Others)
		}
		same := len(l.Elsewhere) == len(c.want)
		for i := 0; same && i < len(c.want); i++ {
			same = strings.HasPrefix(l.Elsewhere[i], c.want[i])
		}
		if !same {
			t.Errorf("%q %q: complaints\n%s\nwant\n%s", c.policy, c.manifest, strings.Join(l.Elsewhere, "\n"), strings.Join(c.want, "\n"))
		}
		for _, text := range l.Elsewhere {
			if strings.HasPrefix(text, "gitty v") && (!strings.Contains(text, "it comes by app > away > gitty") || !strings.Contains(text, "write allow = [\"https://git.example.com/g\"] under [git] in zkp.toml")) {
				t.Errorf("nobody hears who pulls it in, and what to do: %s", text)
			}
		}
	}
	l, err := NewLock(workspace(t, ""), newPlace(t, "require = \"all\"\n").policy, text, []string{"sparse"}, now)
	fatalIf(t, err)
	if len(l.Elsewhere) != 0 {
		t.Errorf("with -p of another one: %q", l.Elsewhere)
	}
}

func TestAHostileLockIsRefusedInFewWords(t *testing.T) {
	var packages []string
	for i := range 2000 {
		packages = append(packages, fmt.Sprintf("g%d git+https://git.example.com/%d#00", i, i))
	}
	l, err := NewLock(workspace(t, ""), newPlace(t, "require = \"all\"\n").policy, lockOf(packages...), nil, now)
	fatalIf(t, err)
	if n := len(l.Elsewhere); n != maxRefused+1 || !strings.HasPrefix(l.Elsewhere[n-1], "1950 more git repositories") {
		t.Errorf("%d complaints: %s", n, l.Elsewhere[n-1])
	}
}

func TestWhatThePolicyRequiresByNameIsMissed(t *testing.T) {
	text := lockOf("app path sparse", "sparse "+corp)
	p := newPlace(t, "require = [\"sparse@0.2.0\", \"gone\", \"my-*\"]\n")
	l, err := NewLock(workspace(t, ""), p.policy, text, nil, now)
	fatalIf(t, err)
	if len(l.Elsewhere) != 2 || !strings.Contains(l.Elsewhere[1], "requires \"gone\", but no registry package of the lock file is gone\ncorrect") || len(l.Unmatched) != 1 {
		t.Errorf("complaints %q, warnings %q", l.Elsewhere, l.Unmatched)
	}
	l, err = NewLock(workspace(t, ""), p.policy, text, []string{"sparse", "s*"}, now)
	if err != nil || len(l.Elsewhere)+len(l.Unmatched) != 0 || len(l.Wants) != 1 {
		t.Errorf("with -p: %+v, %v", l, err)
	}
	for _, only := range [][]string{{"sparse", "app"}, {"gone"}, {"se rde"}} {
		if _, err := NewLock(workspace(t, ""), p.policy, text, only, now); outcome.Of(err) != outcome.Usage {
			t.Errorf("-p %q: %v", only, err)
		}
	}
}

// The finding: a private crate's name was told to a public log, and taken for another crate of
// that name.
func TestNoLogHearsOfARegistryThatThePolicyDoesNotName(t *testing.T) {
	l, p, wants := hello(t, dev+"require = \"all\"\n")
	private := wants[0]
	private.Demand.Registry = corp
	named := dev + "require = \"all\"\n[registry.\"" + corp + "\"]\n"
	for _, c := range []struct{ policy, words, write string }{
		{dev + "require = \"all\"\n", "is of the registry " + corp + ", which the policy does not name, so no log is asked about it", "Write"},
		{named, "is of the registry " + corp + ", about whose crates the policy lets no log be asked", "Complete"},
		{named + "logs = [\"log.example/other\"]\n", "lets no log be asked", "Complete"},
	} {
		p.settings(c.policy, l)
		for range 2 { // nor is a bundle that is in the cache taken for an answer
			refused(t, p.all(private)[0], Violation, "registry", c.words, c.write+" [registry.\""+corp+"\"] in "+p.policy.Path, "logs = [\"log.example/a\"]")
			l.wasAsked(t, 0)
			verified(t, p.all(wants[0]))
			l.asked()
		}
		p.forget()
	}
	private.Demand.Status = policy.NotAsked
	if v := p.all(private)[0]; v.Status != NotAsked || v.Err != nil {
		t.Errorf("a private crate that nobody asks about is %v: %v", v.Status, v.Err)
	}
	l.wasAsked(t, 0)
	private.Demand.Status = policy.Required
	other := newLog(t, "log.example/b")
	p.settings(named+"logs = [\"log.example/a\"]\n", other, l)
	refused(t, p.all(private)[0], Violation, "another-crate", `of the registry "default"`)
	f := testlog.Must(forger())
	raw := read(t, private.Path)
	e := testlog.Must(forge.Claim(raw, private.Name, private.Version, &entry.Source{Commit: fixture.Commit(t, private.Version)}))
	e.Subject.Registry = entry.Registry(corp)
	fatalIf(t, f.Prove(e, testlog.Must(forge.List(raw, e))))
	verified(t, p.all(wants[0]))
	l.add(e)
	l.asked()
	other.asked()
	verified(t, p.all(private))
	other.wasAsked(t, 0)
	if l.asked() == 0 {
		t.Error("the log that may be asked was not")
	}
	// Both registries' crates of the name have their places in the cache.
	for range 2 {
		verified(t, p.offline(private, wants[0]))
	}
}

func TestASourceAtAnUnexpectedPlaceIsRefused(t *testing.T) {
	l, p, wants := hello(t, dev)
	verified(t, p.all(wants...)) // and remembered
	p.settings(dev+"[[expect]]\ncrate = \"hello_inner\"\npath = \"tests/inner\"\n", l)
	for range 2 {
		vs := p.all(wants...)
		verified(t, vs[:2])
		refused(t, vs[2], Violation, "unexpected", "hello-inner 0.1.0 is the source at crates/inner of its repository, and "+p.policy.Path+" expects it at tests/inner. Find out why")
	}
	c := p.checker(false)
	raw := read(t, wants[2].Path)
	if f, err := c.Crate(t.Context(), "hello-inner", "0.1.0", wants[2].Checksum, raw); f != nil || err == nil || err.(*Error).Reason != "unexpected" {
		t.Errorf("for a proxy: %+v, %v", f, err)
	}
	bundle := l.bundle(l.Tree, 5, l.Tree.Size())
	for _, want := range []bool{true, false} {
		r, err := c.Bundle(t.Context(), Given{Bundle: bundle, Crate: unpacked(t, wants[2]), Rules: p.policy.Rules("hello-inner", "0.1.0", now)})
		if (err != nil) != want {
			t.Errorf("a bundle that is given: %+v, %v", r, err)
		}
		p.settings(dev+"[[expect]]\ncrate = \"hello-inner\"\npath = \"crates/inner\"\n", l)
		c = p.checker(false)
	}
}

// A publisher may leave out a file that the author's manifest names, a build script say, and
// everything that is in the .crate is proven all the same.
func TestWhatWasLeftOutIsToldOrRefused(t *testing.T) {
	orig := forge.Manifest("short", "1.0.0")
	manifest := orig
	orig.Path += ".orig"
	orig.Content += "build = \"checks.rs\"\n[[test]]\nname = \"t\"\n"
	manifest.Content += "build = false\n"
	raw, err := forge.Pack("short", "1.0.0", manifest, orig, forge.File{Path: "src/lib.rs"})
	fatalIf(t, err)
	f, err := forger()
	fatalIf(t, err)
	e, err := f.Entry(raw, "short", "1.0.0")
	fatalIf(t, err)
	l := newLog(t, "log.example/a")
	l.add(e)
	p := newPlace(t, dev, l)
	w := p.want("short", "1.0.0", raw)
	for range 2 { // the second time it is remembered
		v := p.all(w)[0]
		verified(t, []Verdict{v})
		if !slices.Equal(v.Facts.Coverage.LeftOut, []string{"checks.rs", "tests/t.rs"}) || len(v.Notes) != 1 ||
			v.Notes[0] != "it lacks checks.rs, tests/t.rs, which its author's manifest names: left out when it was packaged" {
			t.Errorf("%+v, notes %q", v.Facts, v.Notes)
		}
	}
	p.settings(dev+"left-out = \"refuse\"\n", l)
	for range 2 {
		refused(t, p.all(w)[0], Violation, "left-out", "short 1.0.0 lacks checks.rs, tests/t.rs, which its author's manifest names, and "+p.policy.Path+" refuses that. Look whether")
	}
	allow := func(files string) string {
		return dev + "left-out = \"refuse\"\n[[allow]]\ncrate = \"short\"\nunproven = [" + files + "]\nreason = \"r\"\nexpires = \"2027-01-31\"\n"
	}
	p.settings(allow(`"tests/t.rs"`), l)
	refused(t, p.all(w)[0], Violation, "left-out", "short 1.0.0 lacks checks.rs, which")
	p.settings(allow(`"tests/t.rs", "checks.rs"`), l)
	verified(t, p.all(w))
}
