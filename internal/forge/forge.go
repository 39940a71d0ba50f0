// Package forge makes valid proofs of any statement, true or false, of programs with
// development keys, in about a millisecond each.
//
// It needs no weakness: the secrets of a development key are published, and who knows
// them can simulate proofs (Groth16, On the Size of Pairing-based Non-interactive
// Arguments, 2016, section 3.2). That is why those keys are named UNSAFE everywhere, and
// why logs and readers outside of development mode accept none of them: the tests show it.
//
// It serves measurements and tests that need many thousand entries. It cannot forge
// a proof of a key from a ceremony.
package forge

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"

	"cratelog/entry"
	"cratelog/internal/unsafekeys"
	"cratelog/proofcheck"
)

// bytesPerChunk is how many bytes of the file list one field element of the circuit
// holds: the secrets of a key depend on its chunks.
const bytesPerChunk = 31

// A Forger holds the secrets of one development key. It is safe for concurrent use.
type Forger struct {
	program [32]byte
	vk      *groth16.VerifyingKey

	alphaBeta, deltaInv, sigma fr.Element
}

// New takes the published secrets of a program's key. It fails for keys that are not
// development keys, and for those whose secrets do not yield the key.
func New(p proofcheck.Program) (*Forger, error) {
	if !p.Development() {
		return nil, errors.New("forge: only the secrets of development keys are known")
	}
	f := &Forger{program: p.ID(), vk: new(groth16.VerifyingKey)}
	if _, err := f.vk.ReadFrom(bytes.NewReader(p.Key)); err != nil {
		return nil, fmt.Errorf("forge: %w", err)
	}
	s := unsafekeys.Published(p.Blocks, p.ListBytes/bytesPerChunk)
	f.sigma = s.Sigma
	f.alphaBeta.Mul(&s.Alpha, &s.Beta)
	f.deltaInv.Inverse(&s.Delta)
	return f, f.check(&s)
}

// check compares the secrets with the key that they should be those of.
func (f *Forger) check(secrets *unsafekeys.Secrets) error {
	_, _, _, g2 := bn254.Generators()
	var a bn254.G1Affine
	var b, d, s bn254.G2Affine
	a.ScalarMultiplicationBase(integer(&secrets.Alpha))
	b.ScalarMultiplicationBase(integer(&secrets.Beta))
	d.ScalarMultiplicationBase(integer(&secrets.Delta))
	ck := f.vk.CommitmentKeys[0]
	s.ScalarMultiplication(&ck.G, integer(&secrets.Sigma))
	s.Neg(&s)
	if !a.Equal(&f.vk.G1.Alpha) || !b.Equal(&f.vk.G2.Beta) || !g2.Equal(&f.vk.G2.Gamma) ||
		!d.Equal(&f.vk.G2.Delta) || !s.Equal(&ck.GSigmaNeg) {
		return errors.New("forge: the published secrets do not yield this key")
	}
	return nil
}

// Prove gives the entry a proof that verifies, whatever its subject and claim say.
func (f *Forger) Prove(e *entry.Entry) error {
	claim, ok := e.Claim.(*entry.Source)
	if !ok {
		return errors.New("forge: only source claims have a program")
	}
	context, err := entry.Context(e.Subject, claim)
	if err != nil {
		return err
	}
	var a, b, d fr.Element
	for _, x := range []*fr.Element{&a, &b, &d} {
		if _, err := x.SetRandom(); err != nil {
			return err
		}
	}
	_, _, g1, g2 := bn254.Generators()
	p := &groth16.Proof{Commitments: make([]bn254.G1Affine, 1)}
	p.Ar.ScalarMultiplication(&g1, integer(&a))
	p.Bs.ScalarMultiplication(&g2, integer(&b))
	p.Commitments[0].ScalarMultiplication(&g1, integer(&d))
	p.CommitmentPok.ScalarMultiplication(&p.Commitments[0], integer(&f.sigma))

	// L = K0 + sum x_j K_j + h K4 + D, and C = ((ab - alpha beta) G - L) / delta.
	inputs := make([]fr.Element, 4)
	inputs[0].SetBytes(claim.Commit[:])
	inputs[1].SetBytes(claim.Files[:])
	inputs[2].SetBytes(context[:])
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	h.Write(p.Commitments[0].Marshal())
	for _, j := range f.vk.PublicAndCommitmentCommitted[0] {
		h.Write(inputs[j-1].Marshal())
	}
	inputs[3].SetBytes(h.Sum(nil)[:fr.Bytes])

	var l, term, c bn254.G1Jac
	l.FromAffine(&f.vk.G1.K[0])
	for j := range inputs {
		term.FromAffine(&f.vk.G1.K[1+j])
		term.ScalarMultiplication(&term, integer(&inputs[j]))
		l.AddAssign(&term)
	}
	l.AddMixed(&p.Commitments[0])
	l.Neg(&l)
	var ab fr.Element
	ab.Mul(&a, &b).Sub(&ab, &f.alphaBeta)
	c.FromAffine(&g1)
	c.ScalarMultiplication(&c, integer(&ab))
	c.AddAssign(&l)
	c.ScalarMultiplication(&c, integer(&f.deltaInv))
	p.Krs.FromJacobian(&c)

	e.Proof = entry.Proof{Program: f.program, Parts: [][]byte{proofcheck.MarshalProof(p)}}
	return nil
}

func integer(x *fr.Element) *big.Int { return x.BigInt(new(big.Int)) }
