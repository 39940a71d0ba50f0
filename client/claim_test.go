package client

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// unlisted is a verifier whose proofs show objects, and never those of a list.
type unlisted struct{ *fakeVerifier }

type noList struct{ entry.Chain }

func (noList) Check([]byte) error { return errors.New("the objects hold other files") }

func (v unlisted) Chain(e *entry.Entry) (entry.Chain, error) {
	c, err := v.fakeVerifier.Chain(e)
	return noList{c}, err
}

// TestAProofOfOtherFilesIsNoProofOfTheCrate: what a bundle shows alone is less.
func TestAProofOfOtherFilesIsNoProofOfTheCrate(t *testing.T) {
	w := newWorld(t)
	v := unlisted{w.pv}
	if _, err := VerifyBundle(w.bundle, w.policy, v, w.rules); err != nil {
		t.Error(err)
	}
	_, err := Verify(w.raw, w.bundle, w.policy, v, w.rules)
	if !errors.Is(err, ErrProof) || !strings.Contains(err.Error(), "the objects hold other files") {
		t.Errorf("believed: %v", err)
	}
}

func TestACrateOfAnotherRegistryIsAnotherCrate(t *testing.T) {
	w := newWorld(t)
	const other = "https://index.example/crates"
	e := *w.entry
	e.Subject.Registry = other
	bundle := w.logged(w.believe(&e))
	for _, c := range []struct {
		bundle  []byte
		wanted  string
		refused bool
	}{
		{w.bundle, "", false}, {w.bundle, entry.DefaultRegistry, false}, {w.bundle, other, true},
		{bundle, "", false}, {bundle, other, false}, {bundle, entry.DefaultRegistry, true}, {bundle, other + "2", true},
	} {
		w.rules.Registry = c.wanted
		r, err := w.verify(c.bundle)
		if c.refused && !errors.Is(err, ErrSubject) || !c.refused && err != nil {
			t.Errorf("wanted %q: %v", c.wanted, err)
		}
		if err == nil && r.Registry == "" {
			t.Error("the result names no registry")
		}
	}
}

// TestLineEndsOtherThanTheCommitsAreThePolicysToAllow has files of which .gitattributes speak, and
// one of which none does.
func TestLineEndsOtherThanTheCommitsAreThePolicysToAllow(t *testing.T) {
	w := newWorld(t)
	manifest := forge.Manifest("hello-proof", "0.1.0")
	raw := testlog.Must(forge.Pack("hello-proof", "0.1.0", manifest, forge.File{Path: "src/lib.rs", Content: "// one\r\n"},
		forge.File{Path: "run.bat", Content: "echo\r\n"}))
	bundle := func(files []string, attributes ...entry.Attributes) []byte {
		e := testlog.Must(forge.Claim(raw, "hello-proof", "0.1.0", &entry.Source{CRLF: files, Attributes: attributes}))
		e.Proof = entry.Proof{Program: w.pv.program, Parts: [][]byte{[]byte("proof")}}
		return w.logged(w.believe(e))
	}
	bat := entry.Attributes{Content: []byte("*.bat text eol=crlf\n")}
	for name, c := range map[string]struct {
		files      []string
		attributes []entry.Attributes
		least      CRLF // that accepts
	}{
		"none":           {nil, nil, NoCRLF},
		"said":           {[]string{"run.bat"}, []entry.Attributes{bat}, AttributedCRLF},
		"said of one":    {[]string{"run.bat", "src/lib.rs"}, []entry.Attributes{bat}, AnyCRLF},
		"said of none":   {[]string{"run.bat"}, nil, AnyCRLF},
		"said otherwise": {[]string{"run.bat"}, []entry.Attributes{{Content: []byte("*.bat -text\n")}}, AnyCRLF},
	} {
		for rule := NoCRLF; rule <= AnyCRLF; rule++ {
			w.rules.AllowCRLF = rule
			r, err := Verify(raw, bundle(c.files, c.attributes...), w.policy, w.pv, w.rules)
			if rule >= c.least {
				if err != nil || !slices.Equal(r.CRLF, c.files) {
					t.Errorf("%s, rule %d: %v", name, rule, err)
				}
			} else if !errors.Is(err, ErrCRLF) {
				t.Errorf("%s, rule %d: %v", name, rule, err)
			}
		}
	}
	if r := (Rules{}); r.AllowCRLF != NoCRLF || DefaultRules().AllowCRLF != AttributedCRLF {
		t.Error("the zero value is the strictest, the default takes what the commit says")
	}
}

// TestWhatTheCrateItselfSaysIsTold: whether it names the commit, and its repository.
func TestWhatTheCrateItselfSaysIsTold(t *testing.T) {
	w := newWorld(t)
	if r := testlog.Must(w.verify(w.bundle)); !r.NamesCommit {
		t.Error("cargo noted the commit")
	}
	manifest := forge.Manifest("hello-proof", "0.1.0")
	manifest.Content += "repository = \"https://git.example/hello\"\n"
	raw := testlog.Must(forge.Pack("hello-proof", "0.1.0", manifest, forge.File{Path: "src/lib.rs"}))
	r := testlog.Must(Verify(raw, w.logged(w.prove(t, raw, "hello-proof", "")), w.policy, w.pv, w.rules))
	if r.NamesCommit || r.Repository != "https://git.example/hello" {
		t.Errorf("names the commit: %v; repository %q", r.NamesCommit, r.Repository)
	}
}

// TestAManifestThatDiffersIsUnprovenWithItsOriginal, and only rules that name both accept that.
func TestAManifestThatDiffersIsUnprovenWithItsOriginal(t *testing.T) {
	w := newWorld(t)
	manifest := forge.Manifest("hello-proof", "0.1.0")
	orig := manifest
	orig.Path += ".orig"
	raw := testlog.Must(forge.Pack("hello-proof", "0.1.0", manifest, orig, forge.File{Path: "src/lib.rs"}))
	both := []string{"Cargo.toml", "Cargo.toml.orig"}
	e := testlog.Must(forge.Claim(raw, "hello-proof", "0.1.0", &entry.Source{Unproven: both}))
	e.Proof = entry.Proof{Program: w.pv.program, Parts: [][]byte{[]byte("proof")}}
	bundle := w.logged(w.believe(e))
	for _, allowed := range [][]string{nil, {"Cargo.lock"}, both[:1], both[1:], both} {
		w.rules.AllowUnproven = allowed
		r, err := Verify(raw, bundle, w.policy, w.pv, w.rules)
		switch {
		case len(allowed) < 2:
			if !errors.Is(err, ErrUnproven) {
				t.Errorf("%q: %v", allowed, err)
			}
		case err != nil:
			t.Errorf("%q: %v", allowed, err)
		case !slices.Equal(r.Proven, []string{"src/lib.rs"}) || r.Derived != nil:
			t.Errorf("proven %q, derived %q", r.Proven, r.Derived)
		}
	}
}
