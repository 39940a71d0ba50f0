package circuit

import (
	"fmt"

	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// orient exchanges the left and the right side of constraints, so that proofs take less time.
//
// A constraint L R = O means the same as R L = O. But a wire in any right side costs a prover
// a point in G1 and one in G2, which is three times as dear, and how much depends on the size
// of its value: the quotient of a lookup is of full size, what is looked up is small. gnark
// puts the side with fewer terms to the right, which is the quotient.
//
// The rule needs no values, so that all makers of keys come to the same system. Wires that
// are committed to are small, but for packed limbs and multiplicities, which are few; and wires
// that stand in many constraints (challenges, inputs, the constant) cost once, wherever they
// stand. All other wires are taken to be of full size, and a constraint is turned if fewer of
// them stand on its left than on its right.
func orient(system *cs.R1CS) error {
	infos, ok := system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(infos) != 1 {
		return fmt.Errorf("circuit: the system has %d commitments, want 1", len(infos))
	}
	cheap := make([]bool, system.NbInternalVariables+system.GetNbPublicVariables()+system.GetNbSecretVariables())
	for _, wire := range infos[0].PrivateCommitted {
		cheap[wire] = true
	}
	constraints := genericConstraints(system)
	if n := system.GetNbConstraints(); n != len(constraints) {
		return fmt.Errorf("circuit: of %d constraints only %d have the form that can be oriented", n, len(constraints))
	}
	const many = 100
	uses := make([]int, len(cheap))
	for _, c := range constraints {
		for i := range c.terms() {
			wire := c.wire(i)
			uses[wire]++
			cheap[wire] = cheap[wire] || uses[wire] >= many
		}
	}
	for _, c := range constraints {
		dear := [2]int{}
		for i := range c.left() + c.right() {
			if !cheap[c.wire(i)] {
				dear[bit(i >= c.left())]++
			}
		}
		if dear[0] < dear[1] {
			c.turn()
		}
	}
	return nil
}

// callData is a constraint as constraint.BlueprintGenericR1C stores it: the number of its
// words, the numbers of terms of L, R and O, and then the terms, each a coefficient's and a
// wire's number.
type callData []uint32

const callDataHead = 4

func (c callData) left() int  { return int(c[1]) }
func (c callData) right() int { return int(c[2]) }
func (c callData) terms() int { return int(c[1] + c[2] + c[3]) }

// wire returns the wire of a term.
func (c callData) wire(term int) uint32 { return c[callDataHead+2*term+1] }

// turn exchanges L and R.
func (c callData) turn() {
	l, r := c.left(), c.right()
	terms := append([]uint32(nil), c[callDataHead:callDataHead+2*(l+r)]...)
	copy(c[callDataHead:], terms[2*l:])
	copy(c[callDataHead+2*r:], terms[:2*l])
	c[1], c[2] = uint32(r), uint32(l)
}

// genericConstraints returns the constraints of the system, as parts of its memory.
func genericConstraints(system *cs.R1CS) (out []callData) {
	for _, in := range system.Instructions {
		if _, ok := system.Blueprints[in.BlueprintID].(*constraint.BlueprintGenericR1C); ok {
			data := system.CallData[in.StartCallData:]
			out = append(out, data[:data[0]])
		}
	}
	return out
}
