package forge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// statement returns an entry that is true of nothing.
func statement(n int) *entry.Entry {
	files := sha256.Sum256(fmt.Append(nil, n))
	files[0] = 0 // a field element
	return &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "nobody", Version: fmt.Sprintf("1.0.%d", n), SHA256: sha256.Sum256(files[:])},
		Claim:   &entry.Source{Commit: [20]byte{1, 2, 3}, Files: files},
	}
}

func TestDevelopmentKeysProveAnythingAndOnlyDevelopersAcceptIt(t *testing.T) {
	programs, err := proofcheck.Embedded()
	fatalIf(t, err)
	development, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	strict, err := proofcheck.Load(nil, false)
	fatalIf(t, err)
	var all []*entry.Entry
	for i, p := range programs {
		if !p.Development() {
			continue
		}
		f, err := New(p)
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		e := statement(i)
		fatalIf(t, f.Prove(e))
		if _, err := development.Chain(e); err != nil {
			t.Errorf("%v: the forgery does not verify: %v", p, err)
		}
		if _, err := strict.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
			t.Errorf("%v: outside of development mode: %v", p, err)
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		t.Fatal("no development program was tested")
	}
	_, errs := development.Chains(all)
	for i, err := range errs {
		if err != nil {
			t.Errorf("batch, %d: %v", i, err)
		}
	}
	// A forgery is for its statement only.
	moved := *all[0]
	moved.Subject.Version = "2.0.0"
	if _, err := development.Chain(&moved); !errors.Is(err, proofcheck.ErrProof) {
		t.Errorf("moved to another subject: %v", err)
	}
}

func TestOtherKeysCannotBeForged(t *testing.T) {
	programs, err := proofcheck.Embedded()
	fatalIf(t, err)
	p := programs[0]
	p.Origin = "ceremony"
	if _, err := New(p); err == nil {
		t.Error("a key of another origin")
	}
	p = programs[0]
	p.ListBytes += bytesPerChunk
	if _, err := New(p); err == nil {
		t.Error("a key of another seed")
	}
}

func TestForgedCratesVerifyInAllButTheCommit(t *testing.T) {
	f, err := Default()
	fatalIf(t, err)
	raw, e, err := f.Crate("made-up", "1.0.0", "// nothing\n")
	fatalIf(t, err)
	c, err := crate.Read(raw, "made-up", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)
	if _, err := c.Check(e.Subject, e.Claim.(*entry.Source)); err != nil {
		t.Error(err)
	}
	v, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	if _, err := v.Chain(e); err != nil {
		t.Error(err)
	}
}

func BenchmarkProve(b *testing.B) {
	programs, err := proofcheck.Embedded()
	fatalIf(b, err)
	f, err := New(programs[0])
	fatalIf(b, err)
	for b.Loop() {
		fatalIf(b, f.Prove(statement(1)))
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
