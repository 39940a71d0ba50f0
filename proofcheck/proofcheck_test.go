package proofcheck_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

func TestTrueProofsAreAccepted(t *testing.T) {
	v := defaultVerifier(t)
	sizes := []int{1, 2, 18, 19, 3, 17, 36, 37, 288}
	if testing.Short() {
		sizes = sizes[:4]
	}
	for _, segments := range sizes {
		e, list := proven(t, segments, segments)
		if b, err := e.Marshal(); err != nil {
			t.Errorf("%d segments: the entry cannot be written: %v", segments, err)
		} else if e, err = entry.Parse(b); err != nil {
			t.Errorf("%d segments: the entry cannot be read: %v", segments, err)
		}
		c, err := v.Chain(e)
		if err != nil {
			t.Errorf("%d segments: %v", segments, err)
			continue
		}
		if c.Objects() != 3 || c.ListBytes() != len(list) {
			t.Errorf("%d segments: %d objects and a list of %d bytes are said", segments, c.Objects(), c.ListBytes())
		}
		if err := errors.Join(c.Check(list), entry.Check(v, e, list)); err != nil {
			t.Errorf("%d segments: %v", segments, err)
		}
	}
}

// TestNoProofHoldsForAnotherStatement changes everything that a proof is bound to.
func TestNoProofHoldsForAnotherStatement(t *testing.T) {
	v := defaultVerifier(t)
	src := func(e *entry.Entry) *entry.Source { return e.Claim.(*entry.Source) }
	for _, segments := range []int{1, 3} {
		good, _ := proven(t, 1, segments)
		other, _ := proven(t, 2, segments)
		for _, c := range []struct {
			name   string
			change func(e *entry.Entry)
		}{
			{"registry", func(e *entry.Entry) { e.Subject.Registry = "https://registry.example/index" }},
			{"name", func(e *entry.Entry) { e.Subject.Name = "serde" }},
			{"version", func(e *entry.Entry) { e.Subject.Version = "9.9.9" }},
			{"checksum", func(e *entry.Entry) { e.Subject.SHA256[0] ^= 1 }},
			{"commit", func(e *entry.Entry) { src(e).Commit[19] ^= 1 }},
			{"path", func(e *entry.Entry) { src(e).Path = "elsewhere" }},
			{"files", func(e *entry.Entry) { src(e).Files[31] ^= 1 }},
			{"unproven files added", func(e *entry.Entry) { src(e).Unproven = []string{"src/lib.rs"} }},
			{"a link added", func(e *entry.Entry) { src(e).Links = []entry.Link{{Path: "a", Target: "b"}} }},
			{"a submodule added", func(e *entry.Entry) { src(e).Submodules = []string{"a"} }},
			{"a file from outside added", func(e *entry.Entry) { src(e).Outside = []string{"a"} }},
			{"an executable file added", func(e *entry.Entry) { src(e).Executable = []string{"a"} }},
			{"a file with CRLF added", func(e *entry.Entry) { src(e).CRLF = []string{"a"} }},
			{"a workspace added", func(e *entry.Entry) { src(e).Workspace = &entry.Workspace{Manifest: []byte("a")} }},
			{"another crate's whole subject", func(e *entry.Entry) { e.Subject = other.Subject }},
			{"another crate's whole claim", func(e *entry.Entry) { e.Claim = other.Claim }},
			{"another crate's proof", func(e *entry.Entry) { e.Proof = other.Proof }},
		} {
			e := copyOf(good)
			c.change(e)
			if _, err := entry.Context(e.Subject, e.Claim); err != nil {
				t.Errorf("%s: the statement is not even well formed, so this shows nothing: %v", c.name, err)
			}
			if chain, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) || chain != nil {
				t.Errorf("%d segments, %s: %v", segments, c.name, err)
			}
		}
	}
}

// TestNoProofHoldsUnderAnotherProgram moves proofs between two programs.
func TestNoProofHoldsUnderAnotherProgram(t *testing.T) {
	f := testlog.Must(forge.Invent("other", "solo: other", 41))
	v := testlog.Must(proofcheck.New([]proofcheck.Program{defaultForger().Program(), f.Program()}))
	ours, list := proven(t, 1, 2)
	theirs, _ := statement(1)
	prove(t, f, theirs, 2, list)
	for _, e := range []*entry.Entry{ours, theirs} {
		if err := entry.Check(v, e, list); err != nil {
			t.Error(err)
		}
	}
	ours.Proof.Program, theirs.Proof.Program = theirs.Proof.Program, ours.Proof.Program
	for _, e := range []*entry.Entry{ours, theirs} {
		if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
			t.Error(err)
		}
		e.Proof.Program[3] ^= 1
		if _, err := v.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
			t.Error(err)
		}
	}
}

// TestOnlyTheListOfTheProofIsAccepted has entries whose proof holds, and whose list, digest and
// end do not belong together.
func TestOnlyTheListOfTheProofIsAccepted(t *testing.T) {
	v := defaultVerifier(t)
	list, other := listOf(1), listOf(2)
	end := func(list []byte, change func(e *chain.End)) func(rho fr.Element) (chain.End, error) {
		return func(rho fr.Element) (chain.End, error) {
			e, err := chain.EndOf(list, rho)
			change(&e)
			return e, err
		}
	}
	same := func(*chain.End) {}
	one := fr.One()
	for _, c := range []struct {
		name    string
		claimed []byte // its digest is the claim's
		end     func(rho fr.Element) (chain.End, error)
		given   []byte // to Check
		want    error
	}{
		{"all the same", list, end(list, same), list, nil},
		{"the digest of another list", other, end(list, same), other, proofcheck.ErrListNotProven},
		{"the digest of another list, and the proof's", other, end(list, same), list, proofcheck.ErrOtherList},
		{"another list", list, end(list, same), other, proofcheck.ErrOtherList},
		{"no list", list, end(list, same), nil, proofcheck.ErrOtherList},
		{"the proof is of another list", list, end(other, same), list, proofcheck.ErrListNotProven},
		{"an object more", list, end(list, func(e *chain.End) { e.Objects++ }), list, proofcheck.ErrListNotProven},
		{"an object less", list, end(list, func(e *chain.End) { e.Objects-- }), list, proofcheck.ErrListNotProven},
		{"a byte more", list, end(list, func(e *chain.End) { e.ListBytes++ }), list, proofcheck.ErrListNotProven},
		{"another sum", list, end(list, func(e *chain.End) { e.List.Add(&e.List, &one) }), list, proofcheck.ErrListNotProven},
		{"a sum of nothing", list, end(list, func(e *chain.End) { e.List.SetZero() }), list, proofcheck.ErrListNotProven},
		{"a malformed list", list[:len(list)-1], end(list, same), list[:len(list)-1], proofcheck.ErrListNotProven},
		{"a byte left out at the end", append(slices.Clone(list), 't'), end(list, same), append(slices.Clone(list), 't'),
			proofcheck.ErrListNotProven},
		{"the same bytes in another order", []byte("ctct"), end([]byte("cttc"), same), []byte("ctct"), proofcheck.ErrListNotProven},
	} {
		for segments := 1; segments <= 2; segments++ {
			e, _ := statement(1)
			e.Claim.(*entry.Source).Files = sha256.Sum256(c.claimed)
			fatalIf(t, defaultForger().ProveChain(e, make([]fr.Element, segments-1), c.end))
			shown, err := v.Chain(e)
			if err != nil {
				t.Fatalf("%s: the proof does not even hold, so this shows nothing: %v", c.name, err)
			}
			err = shown.Check(c.given)
			if !errors.Is(err, c.want) || errors.Is(err, proofcheck.ErrProof) != (c.want == proofcheck.ErrListNotProven) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// TestSegmentsOfTwoProofsDoNotMix takes parts of a second proof of the same statement and list.
func TestSegmentsOfTwoProofsDoNotMix(t *testing.T) {
	v := defaultVerifier(t)
	const n = 3
	good, _ := proven(t, 1, n)
	again, list := statement(1)
	prove(t, defaultForger(), again, n, list)
	q := testlog.Must(proofcheck.ParseProof(again.Proof.Parts))
	refused := func(name string, change func(p *proofcheck.Proof)) {
		t.Helper()
		if _, err := v.Chain(altered(t, good, change)); !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range n {
		refused(fmt.Sprintf("segment %d of the other", i), func(p *proofcheck.Proof) { p.Segments[i] = q.Segments[i] })
		refused(fmt.Sprintf("segment %d but its commitment", i), func(p *proofcheck.Proof) {
			q.Segments[i].Commitments, q.Segments[i].CommitmentPok = p.Segments[i].Commitments, p.Segments[i].CommitmentPok
			p.Segments[i] = q.Segments[i]
		})
		refused(fmt.Sprintf("commitment %d of the other", i), func(p *proofcheck.Proof) {
			r := testlog.Must(proofcheck.ParseProof(again.Proof.Parts))
			p.Segments[i].Commitments, p.Segments[i].CommitmentPok = r.Segments[i].Commitments, r.Segments[i].CommitmentPok
		})
		refused(fmt.Sprintf("segment %d left out", i), func(p *proofcheck.Proof) {
			p.Segments, p.Cuts = slices.Delete(p.Segments, i, i+1), slices.Delete(p.Cuts, min(i, n-2), min(i, n-2)+1)
		})
		refused(fmt.Sprintf("segment %d twice", i), func(p *proofcheck.Proof) {
			p.Segments = slices.Insert(p.Segments, i, p.Segments[i])
			p.Cuts = slices.Insert(p.Cuts, min(i, n-2), p.Cuts[min(i, n-2)])
		})
		for j := range i {
			refused(fmt.Sprintf("segments %d and %d exchanged", i, j), func(p *proofcheck.Proof) {
				p.Segments[i], p.Segments[j] = p.Segments[j], p.Segments[i]
			})
		}
	}
	for i := range n - 1 {
		refused(fmt.Sprintf("cut %d of the other", i), func(p *proofcheck.Proof) { p.Cuts[i] = q.Cuts[i] })
		refused(fmt.Sprintf("no cut %d", i), func(p *proofcheck.Proof) { p.Cuts[i].SetZero() })
	}
	refused("cuts exchanged", func(p *proofcheck.Proof) { slices.Reverse(p.Cuts) })
	refused("the end of the other", func(p *proofcheck.Proof) { p.End = q.End })
	refused("all but the end", func(p *proofcheck.Proof) { p.Segments, p.Cuts = q.Segments, q.Cuts })
	refused("the first half of the other", func(p *proofcheck.Proof) {
		p.Segments[0], p.Segments[1], p.Cuts[0], p.Cuts[1] = q.Segments[0], q.Segments[1], q.Cuts[0], q.Cuts[1]
	})
}

// TestAlteredProofsOfTheSameStatementHold is why proof bytes are no identity: anybody can
// re-randomise a proof.
func TestAlteredProofsOfTheSameStatementHold(t *testing.T) {
	v := defaultVerifier(t)
	e, list := proven(t, 1, 3)
	again := altered(t, e, func(p *proofcheck.Proof) {
		p.Segments[1].Ar.Neg(&p.Segments[1].Ar)
		p.Segments[1].Bs.Neg(&p.Segments[1].Bs)
	})
	if err := entry.Check(v, again, list); err != nil {
		t.Error(err)
	}
}

// TestEveryPublicInputIsBound flips the verifier's inputs themselves, one at a time
// and in pairs whose sum stays the same. gnark's own verifier agrees each time.
func TestEveryPublicInputIsBound(t *testing.T) {
	v := defaultVerifier(t)
	vk := testlog.Must(proofcheck.ShippedKey(defaultForger().Program()))
	fatalIf(t, vk.Precompute())
	e, _ := proven(t, 1, 3)
	inputs := testlog.Must(v.Inputs(e))
	proof := testlog.Must(proofcheck.ParseProof(e.Proof.Parts))
	both := func(i int, in fr.Vector) bool {
		ours := proofcheck.Holds(vk, proof.Segments[i], in[0], in[1], in[2])
		if gnark := groth16.Verify(proof.Segments[i], vk, slices.Clone(in[:3])) == nil; gnark != ours {
			t.Errorf("segment %d: gnark says %v, and we %v", i, gnark, ours)
		}
		return ours
	}
	one := fr.One()
	for i := range proof.Segments {
		if !both(i, inputs[i]) {
			t.Fatalf("segment %d does not hold", i)
		}
		for j := range 3 {
			in := slices.Clone(inputs[i])
			in[j].Add(&in[j], &one)
			if both(i, in) {
				t.Errorf("segment %d: input %d is not bound", i, j)
			}
			for k := range 3 {
				in := slices.Clone(inputs[i])
				in[j].Add(&in[j], &one)
				in[k].Sub(&in[k], &one)
				if j != k && both(i, in) {
					t.Errorf("segment %d: of inputs %d and %d only the sum is bound", i, j, k)
				}
			}
		}
	}
	// The inputs are what the formats say.
	claim := e.Claim.(*entry.Source)
	start := testlog.Must(chain.Start(claim.Commit, inputs[0][2]))
	end := proof.End.State()
	if inputs[0][0] != start.Commitment() || inputs[2][1] != end.Commitment() {
		t.Error("the first or the last state is another one")
	}
	for i := range 2 {
		if inputs[i][1] != proof.Cuts[i] || inputs[i+1][0] != proof.Cuts[i] || inputs[i][2] != inputs[i+1][2] {
			t.Errorf("the segments do not meet at cut %d", i)
		}
	}
}

func TestDevelopmentProgramsAreAcceptedOnlyIfAskedFor(t *testing.T) {
	v := testlog.Must(proofcheck.Load(nil, false))
	e, list := proven(t, 1, 1)
	if err := entry.Check(v, e, list); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a proof with a development key: %v", err)
	}
}

func TestChainIsSafeForConcurrentUse(t *testing.T) {
	v := defaultVerifier(t)
	good, list := proven(t, 1, 2)
	var wg sync.WaitGroup
	for i := range 8 {
		e := copyOf(good)
		if i%2 == 1 {
			e.Subject.SHA256[0] ^= 1
		}
		wg.Go(func() {
			if err := entry.Check(v, e, list); (err == nil) != (i%2 == 0) {
				t.Errorf("check %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// plusOrder adds the field's order to a canonical encoding, which then has the same value.
func plusOrder(b []byte) {
	x := new(big.Int).SetBytes(b)
	x.Add(x, fr.Modulus()).FillBytes(b)
}
