package proofcheck_test

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// batch returns n entries with different true proofs, of one to three segments.
func batch(t testing.TB, n int) []*entry.Entry {
	out := make([]*entry.Entry, n)
	for i := range out {
		out[i], _ = proven(t, i, 1+i%3)
	}
	return out
}

// lies are ways to make a true entry false, among them each point of a segment's proof
// replaced by another valid point, and each field element by another one.
func lies(t testing.TB, rng *rand.Rand) map[string]func(e *entry.Entry) *entry.Entry {
	_, _, g1, g2 := bn254.Generators()
	one := fr.One()
	point := func(f func(p *groth16.Proof)) func(e *entry.Entry) *entry.Entry {
		return func(e *entry.Entry) *entry.Entry {
			return altered(t, e, func(p *proofcheck.Proof) { f(p.Segments[rng.IntN(len(p.Segments))]) })
		}
	}
	statement := func(f func(e *entry.Entry)) func(e *entry.Entry) *entry.Entry {
		return func(e *entry.Entry) *entry.Entry {
			c := copyOf(e)
			f(c)
			return c
		}
	}
	return map[string]func(e *entry.Entry) *entry.Entry{
		"A":          point(func(p *groth16.Proof) { p.Ar.Add(&p.Ar, &g1) }),
		"B":          point(func(p *groth16.Proof) { p.Bs.Add(&p.Bs, &g2) }),
		"C":          point(func(p *groth16.Proof) { p.Krs.Add(&p.Krs, &g1) }),
		"commitment": point(func(p *groth16.Proof) { p.Commitments[0].Add(&p.Commitments[0], &g1) }),
		"knowledge":  point(func(p *groth16.Proof) { p.CommitmentPok.Add(&p.CommitmentPok, &g1) }),
		"cut": func(e *entry.Entry) *entry.Entry {
			return altered(t, e, func(p *proofcheck.Proof) {
				for i := range p.Cuts {
					p.Cuts[i].Add(&p.Cuts[i], &one)
				}
				p.End.ListBytes++ // in a proof without cuts
			})
		},
		"objects":  statement(func(e *entry.Entry) { last := len(e.Proof.Parts[0]); e.Proof.Parts[0][last-37] ^= 4 }),
		"sum":      statement(func(e *entry.Entry) { last := len(e.Proof.Parts[0]); e.Proof.Parts[0][last-1] ^= 1 }),
		"checksum": statement(func(e *entry.Entry) { e.Subject.SHA256[5] ^= 4 }),
		"commit":   statement(func(e *entry.Entry) { e.Claim.(*entry.Source).Commit[5] ^= 4 }),
		"files":    statement(func(e *entry.Entry) { e.Claim.(*entry.Source).Files[31] ^= 4 }),
		"program":  statement(func(e *entry.Entry) { e.Proof.Program[0] ^= 4 }),
		"bytes":    statement(func(e *entry.Entry) { e.Proof.Parts[0] = e.Proof.Parts[0][:100] }),
		"parts":    statement(func(e *entry.Entry) { e.Proof.Parts = nil }),
	}
}

// agree says whether the batch and the single check give the same answer for every
// entry.
func agree(t *testing.T, v *proofcheck.Verifier, entries []*entry.Entry) {
	t.Helper()
	chains, errs := v.Chains(entries)
	for i, err := range errs {
		alone, want := v.Chain(entries[i])
		if (err == nil) != (want == nil) || errors.Is(err, entry.ErrUnknownProgram) != errors.Is(want, entry.ErrUnknownProgram) ||
			errors.Is(err, proofcheck.ErrProof) != errors.Is(want, proofcheck.ErrProof) {
			t.Errorf("entry %d of %d: batch says %v, single check says %v", i, len(entries), err, want)
		}
		switch {
		case (err == nil) != (chains[i] != nil):
			t.Errorf("entry %d of %d: a chain and an error, or neither", i, len(entries))
		case err == nil && (chains[i].Objects() != alone.Objects() || chains[i].ListBytes() != alone.ListBytes()):
			t.Errorf("entry %d of %d: the chain is another one's", i, len(entries))
		}
	}
}

func TestBatchNeverAcceptsWhatTheSingleCheckRefuses(t *testing.T) {
	v := defaultVerifier(t)
	rng := rand.New(rand.NewPCG(1, 2))
	agree(t, v, nil)
	for n := 1; n <= 9; n++ {
		_, errs := v.Chains(batch(t, n))
		fatalIf(t, errors.Join(errs...))
	}
	for name, lie := range lies(t, rng) {
		entries := batch(t, 8)
		at := rng.IntN(len(entries))
		entries[at] = lie(entries[at])
		if _, errs := v.Chains(entries); errs[at] == nil {
			t.Errorf("%s: a planted lie was accepted", name)
		}
		agree(t, v, entries)
	}
	times := 4
	if testing.Short() {
		times = 1
	}
	for range times { // several at a time
		entries := batch(t, 12)
		places := rng.Perm(len(entries))
		for _, lie := range lies(t, rng) {
			if at := places[0]; rng.IntN(3) == 0 {
				entries[at], places = lie(entries[at]), places[1:]
			}
		}
		agree(t, v, entries)
	}
}

// TestEveryFalseEntryOfABatchIsFound has every set of false entries among six, with -short among four, so that each
// way through the halves is taken.
func TestEveryFalseEntryOfABatchIsFound(t *testing.T) {
	v := defaultVerifier(t)
	n := 6
	if testing.Short() {
		n = 4
	}
	good := batch(t, n)
	var bad []*entry.Entry
	for _, e := range good {
		c := copyOf(e)
		c.Subject.SHA256[0] ^= 1
		bad = append(bad, c)
	}
	for set := range 1 << len(good) {
		entries := slices.Clone(good)
		for i := range entries {
			if set>>i&1 == 1 {
				entries[i] = bad[i]
			}
		}
		_, errs := v.Chains(entries)
		for i, err := range errs {
			if (err != nil) != (set>>i&1 == 1) {
				t.Errorf("false ones %b: entry %d: %v", set, i, err)
			}
		}
	}
}

// TestErrorsThatCancelOutAreFound plants proofs whose errors would cancel if they
// were added up without random coefficients, with the same for all segments of an entry, or with the
// same for both equations.
func TestErrorsThatCancelOutAreFound(t *testing.T) {
	v := defaultVerifier(t)
	_, _, g1, _ := bn254.Generators()
	var neg bn254.G1Affine
	neg.Neg(&g1)
	c := func(p *groth16.Proof) *bn254.G1Affine { return &p.Krs }
	pok := func(p *groth16.Proof) *bn254.G1Affine { return &p.CommitmentPok }
	type change struct {
		segment int
		by      *bn254.G1Affine
		of      func(p *groth16.Proof) *bn254.G1Affine
	}
	shift := func(e *entry.Entry, changes ...change) *entry.Entry {
		return altered(t, e, func(p *proofcheck.Proof) {
			for _, c := range changes {
				q := c.of(p.Segments[c.segment])
				q.Add(q, c.by)
			}
		})
	}
	good, _ := proven(t, 1, 4)
	other, _ := proven(t, 2, 1)
	for name, changes := range map[string][2]change{
		"C and C":                 {{0, &g1, c}, {0, &neg, c}},
		"knowledge and knowledge": {{0, &g1, pok}, {0, &neg, pok}},
		"C and knowledge":         {{0, &g1, c}, {0, &neg, pok}},
	} {
		pairs := map[string][]*entry.Entry{"two entries": {shift(good, changes[0]), shift(good, changes[1])},
			"two entries, of one and four segments": {shift(other, changes[0]), shift(good, changes[1])},
			"two entries, of four segments and one": {shift(good, changes[0]), shift(other, changes[1])}}
		for first := range 4 {
			for second := range 4 {
				if testing.Short() && second != 3 {
					continue
				}
				if first == second && name != "C and knowledge" {
					continue // nothing is changed
				}
				a, b := changes[0], changes[1]
				a.segment, b.segment = first, second
				pairs[fmt.Sprintf("segments %d and %d of one entry", first, second)] = []*entry.Entry{shift(good, a, b)}
			}
		}
		for where, entries := range pairs {
			for _, all := range [][]*entry.Entry{entries, append(slices.Clone(entries), other, good)} {
				_, errs := v.Chains(all)
				for i, err := range errs {
					if errors.Is(err, proofcheck.ErrProof) != (i < len(entries)) {
						t.Errorf("%s in %s: entry %d: %v", name, where, i, err)
					}
				}
			}
		}
	}
}

func TestBatchTakesEntriesOfManyProgramsAndShapes(t *testing.T) {
	f := testlog.Must(forge.Invent("other", "solo: other", 64))
	v := testlog.Must(proofcheck.New([]proofcheck.Program{defaultForger().Program(), f.Program()}))
	entries := batch(t, 12)
	for i := 1; i < 12; i += 2 {
		e, list := statement(i)
		prove(t, f, e, 1+i%3, list)
		entries[i] = e
	}
	if _, errs := v.Chains(entries); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	entries[1].Proof.Program[3] ^= 1
	entries[2].Proof.Parts = nil
	entries[4].Proof.Parts = append(entries[4].Proof.Parts, entries[4].Proof.Parts[0])
	entries[5].Subject.Version = "2.0.0"
	agree(t, v, entries)
	entries[7].Proof.Program = entries[0].Proof.Program
	agree(t, v, entries)
}

// TestEntriesOfManySegmentsAreCheckedTogether has more segments than a batch.
func TestEntriesOfManySegmentsAreCheckedTogether(t *testing.T) {
	v := defaultVerifier(t)
	var entries []*entry.Entry
	sizes := []int{63, 1, 1, 64, 65, 2, 62}
	if testing.Short() {
		sizes = sizes[1:5]
	}
	for i, segments := range sizes {
		e, _ := proven(t, i, segments)
		entries = append(entries, e)
	}
	if _, errs := v.Chains(entries); errors.Join(errs...) != nil {
		t.Fatal(errs)
	}
	_, _, g1, _ := bn254.Generators()
	for _, at := range []int{0, len(sizes) - 1} {
		bad := slices.Clone(entries)
		bad[at] = altered(t, bad[at], func(p *proofcheck.Proof) {
			last := p.Segments[len(p.Segments)-1]
			last.Krs.Add(&last.Krs, &g1)
		})
		_, errs := v.Chains(bad)
		for i, err := range errs {
			if (err != nil) != (i == at) {
				t.Errorf("entry %d false: entry %d: %v", at, i, err)
			}
		}
	}
}

// TestOurEquationIsGnarks compares the verdicts on random re-randomisations and lies.
func TestOurEquationIsGnarks(t *testing.T) {
	v := defaultVerifier(t)
	vk := testlog.Must(proofcheck.ShippedKey(defaultForger().Program()))
	fatalIf(t, vk.Precompute())
	rng := rand.New(rand.NewPCG(5, 6))
	for name, lie := range lies(t, rng) {
		for _, e := range []*entry.Entry{rerandomized(t, rng), lie(rerandomized(t, rng))} {
			inputs, err := v.Inputs(e)
			if err != nil {
				continue
			}
			p := testlog.Must(proofcheck.ParseProof(e.Proof.Parts))
			holds := true
			for i, s := range p.Segments {
				holds = groth16.Verify(s, vk, slices.Clone(inputs[i][:3])) == nil && holds
			}
			if _, err := v.Chain(e); (err == nil) != holds {
				t.Errorf("%s: gnark says %v, and we %v", name, holds, err)
			}
		}
	}
}

// rerandomized returns an entry whose proof was changed into another true one.
func rerandomized(t testing.TB, rng *rand.Rand) *entry.Entry {
	e, _ := proven(t, rng.IntN(100), 1+rng.IntN(3))
	return altered(t, e, func(p *proofcheck.Proof) {
		for _, s := range p.Segments {
			r := fr.NewElement(rng.Uint64() | 1)
			var inv fr.Element
			inv.Inverse(&r)
			var k big.Int
			s.Ar.ScalarMultiplication(&s.Ar, r.BigInt(&k))
			s.Bs.ScalarMultiplication(&s.Bs, inv.BigInt(&k))
		}
	})
}
