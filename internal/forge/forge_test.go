package forge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/build"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

// list is the smallest list of files: a commit, and its tree without entries.
var list = []byte("ct")

// statement returns an entry that is true of nothing.
func statement(n int) *entry.Entry {
	return &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "nobody", Version: fmt.Sprintf("1.0.%d", n),
			SHA256: sha256.Sum256(list)},
		Claim: &entry.Source{Commit: [20]byte{1, 2, 3}, Files: sha256.Sum256(list)},
	}
}

func TestDevelopmentKeysProveAnythingAndOnlyDevelopersAcceptIt(t *testing.T) {
	development := testlog.Must(proofcheck.Load(nil, true))
	strict := testlog.Must(proofcheck.Load(nil, false))
	f := testlog.Must(Default())
	var all []*entry.Entry
	for segments := 1; segments <= 4; segments++ {
		e := statement(segments)
		fatalIf(t, f.ProveChain(e, make([]fr.Element, segments-1), func(rho fr.Element) (chain.End, error) {
			return chain.EndOf(list, rho)
		}))
		if err := entry.Check(development, e, list); err != nil {
			t.Errorf("%d segments: the forgery does not verify: %v", segments, err)
		}
		if _, err := strict.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
			t.Errorf("%d segments: outside of development mode: %v", segments, err)
		}
		all = append(all, e)
	}
	_, errs := development.Chains(all)
	fatalIf(t, errors.Join(errs...))
	// A forgery is for its statement only.
	moved := *all[0]
	moved.Subject.Version = "2.0.0"
	if _, err := development.Chain(&moved); !errors.Is(err, proofcheck.ErrProof) {
		t.Errorf("moved to another subject: %v", err)
	}
}

func TestOtherKeysCannotBeForged(t *testing.T) {
	shipped := testlog.Must(proofcheck.Embedded())[0]
	p := shipped
	p.Origin = "ceremony"
	if _, err := New(p); err == nil {
		t.Error("a key of another origin")
	}
	p = shipped
	p.Blocks++
	if _, err := New(p); err == nil {
		t.Error("a key of other secrets")
	}
	invented := testlog.Must(Invent("a", proofcheck.OriginDevelopment, p.Blocks)).Program()
	if _, err := New(invented); err == nil {
		t.Error("a key of secrets that are not published")
	}
	p = shipped
	p.Key = p.Key[:100]
	if _, err := New(p); err == nil {
		t.Error("a key cut off")
	}
}

func TestInventedProgramsAreAcceptedWhereTheyAreNamed(t *testing.T) {
	f, other := testlog.Must(Invent("a", "solo: a", 41)), testlog.Must(Invent("b", "solo: b", 41))
	if f.Program().ID() == other.Program().ID() {
		t.Fatal("two programs are one")
	}
	e := statement(1)
	fatalIf(t, f.Prove(e, list))
	fatalIf(t, entry.Check(testlog.Must(proofcheck.New([]proofcheck.Program{f.Program()})), e, list))
	if err := entry.Check(testlog.Must(proofcheck.New([]proofcheck.Program{other.Program()})), e, list); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Error(err)
	}
}

// TestWhoKnowsTheSecretsNamesAnybody: a contradiction under keys whose secrets somebody may know
// convicts nobody. The forger knows the victim's Public only, as everybody does.
func TestWhoKnowsTheSecretsNamesAnybody(t *testing.T) {
	victim := testlog.Must(build.NewSecret()).Public()
	root := testlog.Must(build.HiddenRoot([][32]byte{victim}))
	invented := testlog.Must(InventBuild("a", "solo: a"))
	shipped := testlog.Must(New(testlog.Must(proofcheck.Embedded())[1]))
	v := testlog.Must(proofcheck.New([]proofcheck.Program{invented.Program(), shipped.Program()}))
	for _, f := range []*Forger{invented, shipped} {
		var results, shares [2][32]byte
		for i := range results {
			claim := &entry.Build{Binary: "a", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{byte(i)}, Recipe: entry.Recipe1,
				Root: root, Tag: [32]byte{31: 9}}
			results[i] = claim.Result()
			// A line through the victim's Public, with a slope of the forger's.
			slope := fr.NewElement(12345)
			var x, y fr.Element
			x.SetBytes(results[i][:])
			y.SetBytes(victim[:])
			shares[i] = y.Add(&y, x.Mul(&x, &slope)).Bytes()
			e := &entry.Entry{Subject: statement(1).Subject, Claim: claim}
			fatalIf(t, f.ProveBuild(e, shares[i]))
			if _, err := v.Chain(e); err != nil {
				t.Errorf("the forgery does not verify: %v", err)
			}
			claim.Tag[31]++
			if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("moved to another tag: %v", err)
			}
		}
		if named, err := build.Unmask(results[0], shares[0], results[1], shares[1]); err != nil || named != victim {
			t.Errorf("%x is named, %v", named, err)
		}
	}
	if err := shipped.ProveBuild(statement(1), [32]byte{}); err == nil {
		t.Error("a source claim")
	}
	if err := shipped.Prove(&entry.Entry{Subject: statement(1).Subject, Claim: &entry.Build{}}, list); err == nil {
		t.Error("a build claim with a list")
	}
}

func TestForgedCratesVerifyInAllButTheCommit(t *testing.T) {
	f := testlog.Must(Default())
	raw, e, err := f.Crate("made-up", "1.0.0", "// nothing\n")
	fatalIf(t, err)
	c := testlog.Must(crate.Read(raw, "made-up", "1.0.0", crate.DefaultLimits))
	l, err := c.Check(e.Subject, e.Claim.(*entry.Source))
	fatalIf(t, err)
	fatalIf(t, entry.Check(testlog.Must(proofcheck.Load(nil, true)), e, l.Bytes))
}

func BenchmarkProve(b *testing.B) {
	f := testlog.Must(Default())
	for b.Loop() {
		fatalIf(b, f.Prove(statement(1), list))
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
