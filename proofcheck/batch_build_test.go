package proofcheck_test

import (
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

var buildForger = sync.OnceValues(func() (*forge.Forger, error) {
	programs, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	return forge.New(programs[slices.IndexFunc(programs, func(p proofcheck.Program) bool {
		return p.Claim == proofcheck.ClaimBuild
	})])
})

// builtBy is an entry of the n-th hidden member, whose proof holds.
func builtBy(t testing.TB, n int) *entry.Entry {
	t.Helper()
	subject, claim := hexyl()
	claim.Tag = [32]byte{30: 1, 31: byte(n)}
	e := &entry.Entry{Subject: subject, Claim: claim}
	fatalIf(t, testlog.Must(buildForger()).ProveBuild(e, [32]byte{30: 2, 31: byte(n)}))
	return e
}

// changed returns a copy of a build's entry whose proof f has changed.
func changed(t testing.TB, e *entry.Entry, f func(p *proofcheck.BuildProof)) *entry.Entry {
	t.Helper()
	c, claim := *e, *e.Claim.(*entry.Build)
	p := testlog.Must(proofcheck.ParseBuildProof(e.Proof.Parts))
	f(p)
	c.Claim, c.Proof.Parts = &claim, p.Marshal()
	return &c
}

// TestTheVerdictOnBuildsIsGnarks compares it for random proofs that were made honestly, by a forger and out of
// another one, and for lies about each point and input, alone and in one batch with proofs of sources.
func TestTheVerdictOnBuildsIsGnarks(t *testing.T) {
	v := defaultVerifier(t)
	vk := testlog.Must(proofcheck.ShippedKey(shippedProgram(t, proofcheck.ClaimBuild)))
	fatalIf(t, vk.Precompute())
	gnark := func(e *entry.Entry) bool {
		claim := e.Claim.(*entry.Build)
		p := testlog.Must(proofcheck.ParseBuildProof(e.Proof.Parts))
		inputs := make(fr.Vector, 5)
		for i, b := range [][32]byte{claim.Root, testlog.Must(claim.Request(e.Subject)), claim.Result(), claim.Tag, p.Share} {
			fatalIf(t, inputs[i].SetBytesCanonical(b[:]))
		}
		return groth16.Verify(p.Points, vk, inputs) == nil
	}
	_, _, g1, g2 := bn254.Generators()
	lies := map[string]func(p *proofcheck.BuildProof, claim *entry.Build){
		"nothing":           func(*proofcheck.BuildProof, *entry.Build) {},
		"A":                 func(p *proofcheck.BuildProof, _ *entry.Build) { p.Points.Ar.Add(&p.Points.Ar, &g1) },
		"B":                 func(p *proofcheck.BuildProof, _ *entry.Build) { p.Points.Bs.Add(&p.Points.Bs, &g2) },
		"C":                 func(p *proofcheck.BuildProof, _ *entry.Build) { p.Points.Krs.Add(&p.Points.Krs, &g1) },
		"A and C exchanged": func(p *proofcheck.BuildProof, _ *entry.Build) { swap(&p.Points.Ar, &p.Points.Krs) },
		"A and B negated": func(p *proofcheck.BuildProof, _ *entry.Build) {
			p.Points.Ar.Neg(&p.Points.Ar)
			p.Points.Bs.Neg(&p.Points.Bs)
		},
		"A negated":          func(p *proofcheck.BuildProof, _ *entry.Build) { p.Points.Ar.Neg(&p.Points.Ar) },
		"all are generators": func(p *proofcheck.BuildProof, _ *entry.Build) { *p.Points = groth16.Proof{Ar: g1, Bs: g2, Krs: g1} },
		"share":              func(p *proofcheck.BuildProof, _ *entry.Build) { p.Share[31] ^= 1 },
		"root":               func(_ *proofcheck.BuildProof, claim *entry.Build) { claim.Root[31] ^= 1 },
		"artifact":           func(_ *proofcheck.BuildProof, claim *entry.Build) { claim.Artifact[9] ^= 1 },
		"binary":             func(_ *proofcheck.BuildProof, claim *entry.Build) { claim.Binary += "2" },
		"tag":                func(_ *proofcheck.BuildProof, claim *entry.Build) { claim.Tag[31] ^= 4 },
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var entries []*entry.Entry
	var want []bool
	for name, lie := range lies {
		for _, e := range []*entry.Entry{attested(t), builtBy(t, len(entries))} {
			var claim *entry.Build
			e = changed(t, e, func(p *proofcheck.BuildProof) {
				claim = e.Claim.(*entry.Build)
				r := fr.NewElement(rng.Uint64() | 1)
				p.Points.Ar.ScalarMultiplication(&p.Points.Ar, r.BigInt(new(big.Int)))
				p.Points.Bs.ScalarMultiplication(&p.Points.Bs, r.Inverse(&r).BigInt(new(big.Int)))
				lie(p, claim)
			})
			e.Claim = claim
			holds := gnark(e)
			if holds != (name == "nothing" || name == "A and B negated") {
				t.Errorf("%s: gnark says %v", name, holds)
			}
			if _, err := v.Chain(e); (err == nil) != holds || err != nil && !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("%s: gnark says %v, and we %v", name, holds, err)
			}
			entries, want = append(entries, e), append(want, holds)
		}
		if len(entries)%3 == 0 {
			source, _ := proven(t, len(entries), 1+len(entries)%3)
			if want = append(want, len(entries)%2 == 0); !want[len(entries)] {
				source.Subject.SHA256[7] ^= 1
			}
			entries = append(entries, source)
		}
	}
	_, errs := v.Chains(entries)
	for i, err := range errs {
		if (err == nil) != want[i] {
			t.Errorf("entry %d of %d together: %v", i, len(entries), err)
		}
	}
}

func swap(p, q *bn254.G1Affine) { *p, *q = *q, *p }

// TestEveryFalseBuildOfAMixedBatchIsFound has every set of false entries among six, three of each kind.
func TestEveryFalseBuildOfAMixedBatchIsFound(t *testing.T) {
	v := defaultVerifier(t)
	_, _, g1, _ := bn254.Generators()
	var good, bad []*entry.Entry
	for i := range 3 {
		b := builtBy(t, i)
		s, _ := proven(t, i, 1+i)
		lie := copyOf(s)
		lie.Subject.SHA256[0] ^= 1
		good = append(good, b, s)
		bad = append(bad, changed(t, b, func(p *proofcheck.BuildProof) { p.Points.Krs.Add(&p.Points.Krs, &g1) }), lie)
	}
	for set := range 1 << len(good) {
		if testing.Short() && set%5 != 0 {
			continue
		}
		entries := slices.Clone(good)
		for i := range entries {
			if set>>i&1 == 1 {
				entries[i] = bad[i]
			}
		}
		chains, errs := v.Chains(entries)
		for i, err := range errs {
			if (err != nil) != (set>>i&1 == 1) || (err == nil) != (chains[i] != nil) {
				t.Errorf("false ones %06b: entry %d: %v", set, i, err)
			}
		}
	}
}

// TestErrorsOfBuildsDoNotCancelOut plants errors that are opposite, in two builds, and in a build and a source.
func TestErrorsOfBuildsDoNotCancelOut(t *testing.T) {
	v := defaultVerifier(t)
	_, _, g1, _ := bn254.Generators()
	var neg bn254.G1Affine
	neg.Neg(&g1)
	shift := func(e *entry.Entry, by *bn254.G1Affine) *entry.Entry {
		return changed(t, e, func(p *proofcheck.BuildProof) { p.Points.Krs.Add(&p.Points.Krs, by) })
	}
	source, _ := proven(t, 1, 1)
	source = altered(t, source, func(p *proofcheck.Proof) { p.Segments[0].Krs.Add(&p.Segments[0].Krs, &neg) })
	first, second := builtBy(t, 1), builtBy(t, 2)
	for name, entries := range map[string][]*entry.Entry{
		"two builds":                           {shift(first, &g1), shift(second, &neg)},
		"one build twice":                      {shift(first, &g1), shift(first, &neg)},
		"a build and a source":                 {shift(first, &g1), source},
		"two builds, and a true one ends them": {shift(first, &g1), shift(second, &neg), first},
	} {
		_, errs := v.Chains(entries)
		for i, err := range errs {
			if holds := i == 2; (err == nil) != holds {
				t.Errorf("%s: entry %d: %v", name, i, err)
			}
		}
	}
}

// TestBuildsBeyondABatchKeepTheirPlaces has more builds than a batch, among sources.
func TestBuildsBeyondABatchKeepTheirPlaces(t *testing.T) {
	v := defaultVerifier(t)
	var entries []*entry.Entry
	for i := range proofcheck.MaxBatch + 6 {
		e := builtBy(t, i)
		if i%30 == 7 {
			e.Claim.(*entry.Build).Tag[0] ^= 1
		}
		if entries = append(entries, e); i%10 == 0 {
			source, _ := proven(t, i, 1)
			entries = append(entries, source)
		}
	}
	chains, errs := v.Chains(entries)
	for i, e := range entries {
		claim, isBuild := e.Claim.(*entry.Build)
		lie := isBuild && claim.Tag[0] != 0
		if (errs[i] != nil) != lie || errors.Is(errs[i], proofcheck.ErrProof) != lie {
			t.Errorf("entry %d: %v", i, errs[i])
			continue
		}
		if !lie && (chains[i].Objects() == 0) != isBuild {
			t.Errorf("entry %d has the chain of another kind", i)
		}
	}
}
