package proofcheck

import (
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
)

// Sizes of an encoded proof.
const (
	Step     = step
	EndSize  = endSize
	PartSize = partSize
	MaxBatch = maxBatch
)

// ShippedKey decodes a program's key.
func ShippedKey(p Program) (*groth16.VerifyingKey, error) { return p.kind().readKey(p.Key) }

// Unchecked is a verifier of a program whose key nobody looked at.
func Unchecked(p Program, vk *groth16.VerifyingKey) *Verifier {
	return &Verifier{programs: []Program{p}, keys: map[[32]byte]*key{p.ID(): newKey(ClaimSource, vk)}}
}

// Inputs returns In, Out, Rho and the challenge of each segment.
func (v *Verifier) Inputs(e *entry.Entry) (out []fr.Vector, err error) {
	s, err := v.statement(e)
	if err != nil {
		return nil, err
	}
	for i := range s.segments {
		out = append(out, s.segments[i].scalars)
	}
	return out, nil
}

// Holds checks one segment.
func Holds(vk *groth16.VerifyingKey, p *groth16.Proof, in, out, rho fr.Element) bool {
	s := &statement{key: newKey(ClaimSource, vk), segments: []segment{newSegment(p, in, out, rho)}}
	checkBatch([]*statement{s})
	return s.holds
}

// ProgramWith is a program with a shipped key after a change, and its file.
func ProgramWith(t testing.TB, change func(vk *groth16.VerifyingKey)) (Program, []byte) {
	return programOf(t, changedKey(t, change))
}
