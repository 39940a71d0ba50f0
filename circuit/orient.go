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
// The rule needs no values, so that all makers of keys come to the same system. A constraint
// is turned if its right side is one wire that is used for nothing else than a sum, so it is
// a quotient, and its left side is made of wires that are committed to, which are small, and
// of wires that stand in many constraints anyway: challenges, inputs and the constant.
func orient(system *cs.R1CS) error {
	infos, ok := system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(infos) != 1 {
		return fmt.Errorf("circuit: the system has %d commitments, want 1", len(infos))
	}
	n := system.NbInternalVariables + system.GetNbPublicVariables() + system.GetNbSecretVariables()
	cheap := make([]bool, n)
	for _, wire := range infos[0].PrivateCommitted {
		cheap[wire] = true
	}
	uses := make([]int, n)
	for _, c := range genericConstraints(system) {
		for _, wire := range c.wires(0, c.terms()) {
			uses[wire]++
		}
	}
	const many = 100
	for wire := range uses {
		cheap[wire] = cheap[wire] || uses[wire] >= many
	}
next:
	for _, c := range genericConstraints(system) {
		l, r := c.left(), c.right()
		if l < 2 || r != 1 {
			continue
		}
		if quotient := c.wires(l, l+1)[0]; cheap[quotient] || uses[quotient] > 2 {
			continue
		}
		for _, wire := range c.wires(0, l) {
			if !cheap[wire] {
				continue next
			}
		}
		c.turn()
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

// wires returns the wires of the terms from one to another.
func (c callData) wires(from, to int) (out []uint32) {
	for i := from; i < to; i++ {
		out = append(out, c[callDataHead+2*i+1])
	}
	return out
}

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
