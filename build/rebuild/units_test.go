package rebuild

import (
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/outcome"
)

var subject = entry.Subject{Registry: entry.DefaultRegistry, Name: "app", Version: "1.0.0"}

// said is what cargo says of a package with two binaries, of which default features allow one.
const said = `{"packages":[{"name":"app","version":"1.0.0","targets":[{"kind":["lib"],"name":"app"},` +
	`{"kind":["bin"],"name":"app"},{"kind":["bin"],"name":"extra","required-features":["more","most"]}]}],"version":1}` + "\n"

// graph is what cargo would compile: app's binary, its library and build script, one, a build
// dependency two of it, and three, which nothing needs.
const graph = `{"version":1,"units":[
{"pkg_id":"path+file:///build/src#app@1.0.0","target":{"kind":["bin"],"name":"app"},"mode":"build","dependencies":[{"index":1}]},
{"pkg_id":"path+file:///build/src#app@1.0.0","target":{"kind":["lib"],"name":"app"},"mode":"build","dependencies":[{"index":2},{"index":5}]},
{"pkg_id":"` + index + `#one@1.0.0","target":{"kind":["lib"],"name":"one"},"mode":"build","dependencies":[{"index":3}]},
{"pkg_id":"` + index + `#one@1.0.0","target":{"kind":["custom-build"],"name":"build-script-build"},"mode":"run-custom-build","dependencies":[{"index":4}]},
{"pkg_id":"` + index + `#two@2.0.0","target":{"kind":["lib"],"name":"two"},"mode":"build","dependencies":[]},
{"pkg_id":"` + index + `#index@5.0.0","target":{"kind":["proc-macro"],"name":"index"},"mode":"build","dependencies":[]},
{"pkg_id":"` + index + `#three@3.0.0","target":{"kind":["bin"],"name":"app"},"mode":"build","dependencies":[]}],"roots":[6,0]}`

func testLock(t *testing.T) *Lock {
	t.Helper()
	l := ownEntry
	for _, p := range []string{"three 3.0.0", "two 2.0.0", "one 1.0.0", "index 5.0.0"} {
		name, version, _ := strings.Cut(p, " ")
		l += locked(name, version)
	}
	lock, err := ReadLock(app(t, l, nil))
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func TestTheListIsWhatTheBinaryReaches(t *testing.T) {
	for name, graph := range map[string]string{
		"as it is": graph,
		// A package id leaves out the name where the URL ends in it.
		"short": strings.ReplaceAll(graph, "#index@5.0.0", "#5.0.0"),
	} {
		p, err := parsePlan([]byte(said+graph), subject)
		if err != nil {
			t.Fatal(name, err)
		}
		for _, want := range []string{"", "app"} {
			binary, err := p.binary(subject, want)
			if want == "" && (err == nil || outcome.Of(err) != outcome.Usage ||
				!strings.Contains(err.Error(), "has 2 binaries: say with --bin which one is meant; it has app, extra")) {
				t.Errorf("%s: without a name: %q, %v", name, binary, err)
			}
			if want != "" && (err != nil || binary != "app") {
				t.Errorf("%s: %q, %v", name, binary, err)
			}
		}
		list, err := p.compiled("app", testLock(t))
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		for _, c := range list {
			got = append(got, c.Name+" "+c.Version)
		}
		if strings.Join(got, ", ") != "index 5.0.0, one 1.0.0, two 2.0.0" {
			t.Errorf("%s: the list is %q", name, got)
		}
	}
}

func TestABinaryThatRecipe1DoesNotBuildIsRefusedWithItsSentence(t *testing.T) {
	for name, c := range map[string]struct{ said, want, sentence string }{
		"features": {said, "extra", "the binary extra of app v1.0.0 needs features that are not among its default ones: more, most"},
		"missing":  {said, "no", `has no binary "no"; it has app, extra`},
		"none": {`{"packages":[{"name":"app","version":"1.0.0","targets":[{"kind":["lib"],"name":"app"}]}]}`, "",
			"app v1.0.0 has no binary: it is a library"},
		"an odd name": {`{"packages":[{"name":"app","version":"1.0.0","targets":[{"kind":["bin"],"name":"-x"}]}]}`, "",
			"the binary's name"},
	} {
		p, err := parsePlan([]byte(c.said+graph), subject)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := p.binary(subject, c.want); err == nil || !strings.Contains(err.Error(), c.sentence) ||
			outcome.Of(err) != outcome.Refused {
			t.Errorf("%s: %v, want %q", name, err, c.sentence)
		}
	}
}

func TestAPlanThatIsNotOneIsRefused(t *testing.T) {
	edit := func(from, to string) string {
		if !strings.Contains(said+graph, from) {
			t.Fatalf("the plan does not have %q", from)
		}
		return strings.Replace(said+graph, from, to, 1)
	}
	for name, c := range map[string]struct{ out, want string }{
		"nothing":             {"", "cannot be read"},
		"no JSON":             {"x", "cannot be read"},
		"another package":     {edit(`"app","version":"1.0.0"`, `"app","version":"1.0.1"`), "does not say that the package is app v1.0.0"},
		"twice":               {edit(`"packages":[`, `"packages":[{"name":"app","version":"1.0.0"},`), "two packages app v1.0.0"},
		"cut off":             {(said + graph)[:len(said+graph)-1], "unit graph cannot be read"},
		"more behind it":      {said + graph + "{}", "something follows"},
		"no version":          {edit(`{"version":1,"units"`, `{"units"`), "not of version 1"},
		"version 2":           {edit(`{"version":1,"units"`, `{"version":2,"units"`), "not of version 1"},
		"a root beyond it":    {edit(`"roots":[6,0]`, `"roots":[7]`), "no unit 7"},
		"a negative root":     {edit(`"roots":[6,0]`, `"roots":[-1]`), "no unit -1"},
		"a unit beyond it":    {edit(`{"index":5}]`, `{"index":50}]`), "no unit 50"},
		"a negative unit":     {edit(`[{"index":1}]`, `[{"index":-9}]`), "no unit -9"},
		"another mode":        {edit(`"run-custom-build"`, `"test"`), `mode "test"`},
		"too large":           {strings.Repeat(" ", maxPlan+1), "more than"},
		"a number for a name": {edit(`{"name":"app"`, `{"name":1`), "cannot be read"},
	} {
		if _, err := parsePlan([]byte(c.out), subject); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestACrateThatIsNotLockedIsRefused(t *testing.T) {
	for _, id := range []string{index + "#one@1.0.1", "path+file:///build/vendor/one#1.0.0", "one@1.0.0",
		"git+https://registry.example/index/#one@1.0.0", "path+file:///build/srcs#app@1.0.0"} {
		p, err := parsePlan([]byte(said+strings.ReplaceAll(graph, index+"#one@1.0.0", id)), subject)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.compiled("app", testLock(t)); err == nil || !strings.Contains(err.Error(), "not in the lock file") {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := (&plan{}).compiled("app", testLock(t)); err == nil {
		t.Error("a list of nothing was made")
	}
}

func TestAGraphWithCyclesEnds(t *testing.T) {
	out := said + strings.Replace(graph, `"name":"two"},"mode":"build","dependencies":[]`,
		`"name":"two"},"mode":"build","dependencies":[{"index":0},{"index":4}]`, 1)
	p, err := parsePlan([]byte(out), subject)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := p.compiled("app", testLock(t)); err != nil || len(list) != 3 {
		t.Errorf("%d crates, %v", len(list), err)
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(said + graph))
	f.Add([]byte(said))
	f.Add([]byte(strings.ReplaceAll(graph, "1", "-1")))
	f.Fuzz(func(t *testing.T, out []byte) {
		p, err := parsePlan(out, subject)
		if err != nil {
			return
		}
		if name, err := p.binary(subject, "app"); err == nil {
			if name != "app" {
				t.Fatalf("another binary: %q", name)
			}
			if list, err := p.compiled("app", &Lock{}); err == nil && len(list) > 0 {
				t.Fatal("a list of crates that are not locked")
			}
		}
	})
}
