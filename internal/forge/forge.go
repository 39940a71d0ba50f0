// Package forge makes valid proofs of any statement, true or false, of programs with
// development keys, in about a millisecond each.
//
// It needs no weakness: the setup of a development key draws from a published seed,
// so its secrets are anybody's to compute, and whoever knows them can simulate
// proofs (Groth16, On the Size of Pairing-based Non-interactive Arguments, 2016,
// section 3.2). That is why those keys are named UNSAFE everywhere, and why a log or
// a reader outside of development mode accepts none of them: the tests here show it.
//
// It serves measurements and tests that need many thousand entries. It cannot forge
// a proof of a key from a ceremony.
package forge

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"

	"cratelog/entry"
	"cratelog/proofcheck"
)

// bytesPerChunk is how many bytes of the file list one field element of the circuit
// holds; the seed's label counts in chunks.
const bytesPerChunk = 31

// A Forger holds the secrets of one development key. It is safe for concurrent use.
type Forger struct {
	program [32]byte
	vk      *groth16.VerifyingKey

	alphaBeta, gamma, deltaInv, sigma fr.Element
}

// New computes the secrets of a program's key. It fails for keys that are not
// development keys, and for those whose secrets do not yield the key.
func New(p proofcheck.Program) (*Forger, error) {
	if !p.Development() {
		return nil, errors.New("forge: only the secrets of development keys are known")
	}
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(p.Key)); err != nil {
		return nil, fmt.Errorf("forge: %w", err)
	}
	label := fmt.Sprintf("cratelog/development-setup/v1 UNSAFE source %d %d", p.Blocks, p.ListBytes/bytesPerChunk)
	stream := mrand.NewChaCha8(sha256.Sum256([]byte(label)))

	// What gnark's setup draws, in its order: t, alpha, beta, gamma, delta, a point
	// for the commitment's key, and that key's secret.
	var secrets [5]fr.Element
	for i := range secrets {
		if err := draw(stream, &secrets[i]); err != nil {
			return nil, err
		}
	}
	var skip [fr.Bytes]byte
	if _, err := io.ReadFull(stream, skip[:]); err != nil {
		return nil, err
	}
	below := new(big.Int).Sub(fr.Modulus(), big.NewInt(1))
	sigma, err := rand.Int(stream, below)
	if err != nil {
		return nil, err
	}
	alpha, beta, gamma, delta := secrets[1], secrets[2], secrets[3], secrets[4]
	f := &Forger{program: p.ID(), vk: vk, gamma: gamma}
	f.sigma.SetBigInt(sigma.Add(sigma, big.NewInt(1)))
	f.alphaBeta.Mul(&alpha, &beta)
	f.deltaInv.Inverse(&delta)
	if err := f.check(&alpha, &beta, &delta); err != nil {
		return nil, err
	}
	return f, nil
}

// draw does what fr.Element.SetRandom does with a reader.
func draw(r io.Reader, z *fr.Element) error {
	for {
		var b [fr.Bytes]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		b[fr.Bytes-1] &= 1<<(fr.Bits%8) - 1
		if new(big.Int).SetBytes(reversed(b)).Cmp(fr.Modulus()) >= 0 {
			continue
		}
		for i := range z {
			z[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
		if !z.IsZero() {
			return nil
		}
	}
}

func reversed(b [fr.Bytes]byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[len(b)-1-i] = b[i]
	}
	return out
}

// check compares the secrets with the key that they should be those of.
func (f *Forger) check(alpha, beta, delta *fr.Element) error {
	_, _, g1, g2 := bn254.Generators()
	var a bn254.G1Affine
	var b, c, d, s bn254.G2Affine
	a.ScalarMultiplication(&g1, integer(alpha))
	b.ScalarMultiplication(&g2, integer(beta))
	c.ScalarMultiplication(&g2, integer(&f.gamma))
	d.ScalarMultiplication(&g2, integer(delta))
	ck := f.vk.CommitmentKeys[0]
	s.ScalarMultiplication(&ck.G, integer(&f.sigma))
	s.Neg(&s)
	if !a.Equal(&f.vk.G1.Alpha) || !b.Equal(&f.vk.G2.Beta) || !c.Equal(&f.vk.G2.Gamma) ||
		!d.Equal(&f.vk.G2.Delta) || !s.Equal(&ck.GSigmaNeg) {
		return errors.New("forge: the published seed does not yield this key")
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

	// L = K0 + sum x_j K_j + h K4 + D, and C = ((ab - alpha beta) G - gamma L) / delta.
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
	l.ScalarMultiplication(&l, integer(&f.gamma))
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
