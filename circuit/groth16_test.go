package circuit

import (
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
)

// TestSegmentsAreProvenAndVerified makes a real key with gnark's setup, and proofs of all
// segments of a statement. The point at which they are summed up is any: that it is drawn
// after all commitments is for the prover and for verifiers.
func TestSegmentsAreProvenAndVerified(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key")
	}
	const blocks = 5
	sys := system(t, blocks, "")
	var pk groth16.ProvingKey
	var vk groth16.VerifyingKey
	fatalIf(t, groth16.Setup(sys, &pk, &vk))
	for i, k := range vk.G1.K {
		if k.IsInfinity() {
			t.Errorf("input %d is not bound by the key", i)
		}
	}
	r := example()
	segments, states := r.split(t, blocks).assign(t, r.commit, testRho)
	for i, seg := range segments {
		w, err := frontend.NewWitness(seg, field)
		fatalIf(t, err)
		proof, err := groth16.Prove(sys, &pk, w, backend.WithSolverOptions(solver.WithHints(Hints()...)))
		fatalIf(t, err)
		public := fr.Vector{states[i].Commitment(), states[i+1].Commitment(), testRho}
		if err := groth16.Verify(proof, &vk, public); err != nil {
			t.Fatalf("segment %d: %v", i, err)
		}
		for k := range public {
			flipped := append(fr.Vector(nil), public...)
			flipped[k].Add(&flipped[k], new(fr.Element).SetOne())
			if groth16.Verify(proof, &vk, flipped) == nil {
				t.Errorf("segment %d: it holds for another public input %d", i, k)
			}
		}
	}
}
