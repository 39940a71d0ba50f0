package circuit

import (
	"testing"

	"github.com/consensys/gnark/backend/groth16"
	bn254 "github.com/consensys/gnark/backend/groth16/bn254"
)

// TestContextIsBoundByItsConstraintOnly makes a real key without the constraint on
// the context: the key then has nothing to multiply the context with, and a proof
// would hold for any. That no input of the real program is like that is tested
// with its key in package proofcheck.
func TestContextIsBoundByItsConstraintOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key")
	}
	c := NewSource(Capacity{Blocks: 4, Chunks: 3})
	c.testingOnlyDrop = groupContext
	_, vk, err := groth16.Setup(compile(t, c))
	fatalIf(t, err)
	k := vk.(*bn254.VerifyingKey).G1.K
	if k[1].IsInfinity() || k[2].IsInfinity() {
		t.Error("commit or files is not bound")
	}
	if !k[3].IsInfinity() {
		t.Error("the context is bound without its constraint: the constraint is not needed")
	}
}
