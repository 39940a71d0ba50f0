package proofcheck

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// rerandomized returns an entry with another proof of the same statement.
func rerandomized(t testing.TB, e *entry.Entry, rng *rand.Rand) *entry.Entry {
	return altered(t, e, func(p *groth16.Proof) {
		r := fr.NewElement(rng.Uint64() | 1)
		var inv fr.Element
		inv.Inverse(&r)
		var k big.Int
		p.Ar.ScalarMultiplication(&p.Ar, r.BigInt(&k))
		p.Bs.ScalarMultiplication(&p.Bs, inv.BigInt(&k))
	})
}

// altered returns a copy of an entry whose proof's points f has changed.
func altered(t testing.TB, e *entry.Entry, f func(p *groth16.Proof)) *entry.Entry {
	t.Helper()
	c := copyOf(t, e)
	p := testlog.Must(ParseProof(c.Proof.Parts[0]))
	f(p)
	c.Proof.Parts[0] = MarshalProof(p)
	return c
}

// batch returns n entries with different true proofs.
func batch(t testing.TB, n int, rng *rand.Rand) []*entry.Entry {
	out := make([]*entry.Entry, n)
	for i := range out {
		out[i] = rerandomized(t, fixture.Entry(t, fixtures[i%len(fixtures)]), rng)
	}
	return out
}

// lies are ways to make a true entry false, among them each point of the proof
// replaced by another valid point.
func lies(t testing.TB) map[string]func(e *entry.Entry) *entry.Entry {
	_, _, g1, g2 := bn254.Generators()
	point := func(f func(p *groth16.Proof)) func(e *entry.Entry) *entry.Entry {
		return func(e *entry.Entry) *entry.Entry { return altered(t, e, f) }
	}
	statement := func(f func(e *entry.Entry)) func(e *entry.Entry) *entry.Entry {
		return func(e *entry.Entry) *entry.Entry {
			c := copyOf(t, e)
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
		"checksum":   statement(func(e *entry.Entry) { e.Subject.SHA256[5] ^= 4 }),
		"commit":     statement(func(e *entry.Entry) { e.Claim.(*entry.Source).Commit[5] ^= 4 }),
		"files":      statement(func(e *entry.Entry) { e.Claim.(*entry.Source).Files[31] ^= 4 }),
		"program":    statement(func(e *entry.Entry) { e.Proof.Program[0] ^= 4 }),
		"bytes":      statement(func(e *entry.Entry) { e.Proof.Parts[0] = e.Proof.Parts[0][:100] }),
	}
}

// agree says whether the batch and the single check give the same answer for every
// entry.
func agree(t *testing.T, v *Verifier, entries []*entry.Entry) {
	t.Helper()
	for i, err := range v.CheckBatch(entries) {
		want := v.Check(entries[i])
		if (err == nil) != (want == nil) || errors.Is(err, entry.ErrUnknownProgram) != errors.Is(want, entry.ErrUnknownProgram) {
			t.Errorf("entry %d of %d: batch says %v, single check says %v", i, len(entries), err, want)
		}
	}
}

func TestBatchNeverAcceptsWhatTheSingleCheckRefuses(t *testing.T) {
	v := defaultVerifier(t)
	rng := rand.New(rand.NewPCG(1, 2))
	agree(t, v, nil)
	for n := 1; n <= 9; n++ {
		entries := batch(t, n, rng)
		for _, err := range v.CheckBatch(entries) {
			if err != nil {
				t.Fatalf("%d true proofs: %v", n, err)
			}
		}
	}
	for name, lie := range lies(t) {
		entries := batch(t, 8, rng)
		at := rng.IntN(len(entries))
		entries[at] = lie(entries[at])
		if err := v.CheckBatch(entries)[at]; err == nil {
			t.Errorf("%s: a planted lie was accepted", name)
		}
		agree(t, v, entries)
	}
	for range 4 { // several at a time
		entries := batch(t, 12, rng)
		places := rng.Perm(len(entries))
		for _, lie := range lies(t) {
			if at := places[0]; rng.IntN(3) == 0 {
				entries[at], places = lie(entries[at]), places[1:]
			}
		}
		agree(t, v, entries)
	}
}

// TestErrorsThatCancelOutAreFound plants proofs whose errors would cancel if they
// were added up without random coefficients, or with the same for both equations.
func TestErrorsThatCancelOutAreFound(t *testing.T) {
	v := defaultVerifier(t)
	_, _, g1, _ := bn254.Generators()
	var neg bn254.G1Affine
	neg.Neg(&g1)
	good := fixture.Entry(t, fixtures[0])
	shift := func(by *bn254.G1Affine, f func(p *groth16.Proof) *bn254.G1Affine) *entry.Entry {
		return altered(t, good, func(p *groth16.Proof) { q := f(p); q.Add(q, by) })
	}
	c := func(p *groth16.Proof) *bn254.G1Affine { return &p.Krs }
	pok := func(p *groth16.Proof) *bn254.G1Affine { return &p.CommitmentPok }
	for name, pair := range map[string][]*entry.Entry{
		"C and C":                 {shift(&g1, c), shift(&neg, c)},
		"knowledge and knowledge": {shift(&g1, pok), shift(&neg, pok)},
		"C and knowledge":         {shift(&g1, c), shift(&neg, pok)},
	} {
		for i, err := range v.CheckBatch(pair) {
			if !errors.Is(err, ErrProof) {
				t.Errorf("%s: proof %d: %v", name, i, err)
			}
		}
	}
}

func TestBatchTakesEntriesOfManyProgramsAndShapes(t *testing.T) {
	v := defaultVerifier(t)
	rng := rand.New(rand.NewPCG(3, 4))
	entries := batch(t, 6, rng)
	entries[1].Proof.Program[3] ^= 1
	entries[2].Proof.Parts = nil
	entries[4].Proof.Parts = append(entries[4].Proof.Parts, entries[4].Proof.Parts[0])
	agree(t, v, entries)
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
