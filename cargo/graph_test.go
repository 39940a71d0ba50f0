package cargo

import (
	"strings"
	"testing"
)

func names(packages []*Package) string {
	var all []string
	for _, p := range packages {
		all = append(all, p.Name+" "+p.Version)
	}
	return strings.Join(all, " > ")
}

func TestGraphSaysByWhatAPackageComesIn(t *testing.T) {
	l := mustParse(t, lockV3)
	g := NewGraph(l)
	for i, want := range []struct{ path, direct string }{
		{"app 0.1.0", ""},
		{"app 0.1.0 > dep 1.0.0", "dep 1.0.0"},
		{"app 0.1.0 > dep 2.0.0", "dep 2.0.0"},
		{"app 0.1.0 > git-one 0.3.0+b.1", "git-one 0.3.0+b.1"},
		{"app 0.1.0 > dep 2.0.0 > leaf 0.1.0-rc.1", "dep 2.0.0"},
	} {
		p := l.Packages[i] // a copy
		if got := names(g.Path(&p)); got != want.path {
			t.Errorf("%s comes by %s, want %s", p, got, want.path)
		}
		if got := names(g.Direct(&p)); got != want.direct {
			t.Errorf("%s comes through %s, want %s", p, got, want.direct)
		}
	}
	if p := (&Package{Name: "dep", Version: "3.0.0"}); g.Path(p) != nil || g.Direct(p) != nil {
		t.Error("a package that is not in the file comes by something")
	}
}

// Two members, one of which depends on the other; a way in through each, a circle, and what nothing
// leads to.
func TestGraphEndsAtMembersAndInCircles(t *testing.T) {
	registry := func(name, deps string) string {
		return "[[package]]\nname = \"" + name + "\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\nchecksum = \"" +
			sum("1") + "\"\ndependencies = [" + deps + "]\n"
	}
	l := mustParse(t, "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"a\", \"lib\"]\n"+
		"[[package]]\nname = \"lib\"\nversion = \"0.1.0\"\ndependencies = [\"b\"]\n"+
		registry("a", `"c"`)+registry("b", `"c"`)+registry("c", `"d"`)+registry("d", `"c"`)+registry("x", `"y"`)+registry("y", `"x"`))
	g := NewGraph(l)
	at := func(name string) *Package { return &l.Packages[l.Named(name)[0]] }
	if got := names(g.Path(at("d"))); got != "app 0.1.0 > a 1.0.0 > c 1.0.0 > d 1.0.0" {
		t.Errorf("d comes by %s", got)
	}
	if got := names(g.Path(at("b"))); got != "lib 0.1.0 > b 1.0.0" {
		t.Errorf("b comes by %s", got)
	}
	for _, name := range []string{"c", "d"} {
		if got := names(g.Direct(at(name))); got != "a 1.0.0 > b 1.0.0" {
			t.Errorf("%s comes through %s", name, got)
		}
	}
	if g.Path(at("x")) != nil || g.Direct(at("x")) != nil {
		t.Error("a circle that nothing leads to comes by something")
	}
	if g.Direct(at("lib")) != nil {
		t.Error("a member comes through something")
	}
}
