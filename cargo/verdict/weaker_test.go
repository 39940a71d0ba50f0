package verdict

import (
	"slices"
	"testing"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// What the policy lets a crate have is told of every crate of a lock file that has it, each time.
func TestWhatMakesAProofSayLessIsTold(t *testing.T) {
	orig := forge.Manifest("weak", "1.0.0")
	orig.Path += ".orig"
	raw, err := forge.Pack("weak", "1.0.0", forge.Manifest("weak", "1.0.0"), orig,
		forge.File{Path: "src/lib.rs", Content: "//\r\n"})
	fatalIf(t, err)
	e, err := forge.Claim(raw, "weak", "1.0.0", &entry.Source{Unproven: []string{"Cargo.toml", "Cargo.toml.orig"},
		CRLF: []string{"src/lib.rs"}})
	fatalIf(t, err)
	list, err := forge.List(raw, e)
	fatalIf(t, err)
	fatalIf(t, testlog.Must(forger()).Prove(e, list))
	l := newLog(t, "log.example/weak")
	l.add(e)
	p := newPlace(t, dev, l)
	w := p.want("weak", "1.0.0", raw)
	refused(t, p.all(w)[0], Violation, "unproven")
	p.settings(dev+"allow-unproven = [\"Cargo.toml\", \"Cargo.toml.orig\"]\n", l)
	refused(t, p.all(w)[0], Violation, "crlf")
	p.settings(dev+"crlf = \"allow\"\nallow-unproven = [\"Cargo.toml\", \"Cargo.toml.orig\"]\n", l)
	for range 2 { // the second time it is remembered
		v := p.all(w)
		verified(t, v)
		if want := []string{"it has CRLF line ends where the commit has LF, in src/lib.rs",
			"Cargo.toml is not proven: its dependencies, features and build script are not known to be the commit's",
		}; !slices.Equal(v[0].Notes, want) {
			t.Errorf("noted is %q, want %q", v[0].Notes, want)
		}
	}
}

// What a policy says of the openings of one registry's crates counts for a bundle that is given, too.
func TestAGivenBundleIsOfItsRegistry(t *testing.T) {
	const index = "https://index.example/ours"
	x := publicly(t, testlog.Must(forger()), "honest\n", "honest\n", nil)
	e := *x.entry
	e.Subject.Registry = index
	list, err := forge.List(x.raw, &e)
	fatalIf(t, err)
	fatalIf(t, testlog.Must(forger()).Prove(&e, list))
	l := newLog(t, "log.test/registries")
	l.add(&e)
	noOpenings(l)
	p := newPlace(t, asks+"[registry.\"sparse+"+index+"/\"]\nlogs = [\"log.test/registries\"]\n"+
		"[[allow]]\ncrate = \"x\"\nregistry = \"sparse+"+index+"/\"\nwithout-opening = true\nreason = \"r\"\nexpires = \"2027-01-31\"\n", l)
	rules := p.policy.Rules("x", "1.0.0", now)
	rules.Registry = index
	g := Given{Bundle: l.bundle(l.Tree, 0, 2), Crate: unpacked(t, p.want("x", "1.0.0", x.raw)), Rules: rules}
	if a, err := p.checker(false).Bundle(t.Context(), g); a != nil || err == nil || err.(*Error).Reason != "no-opening" {
		t.Errorf("a crate of another registry is excused: %+v, %v", a, err)
	}
	g.Registry = "sparse+" + index + "/"
	if a, err := p.checker(false).Bundle(t.Context(), g); err != nil || a.Opening != nil {
		t.Errorf("it is not excused: %+v, %v", a, err)
	}
}
