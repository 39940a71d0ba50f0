// Package unsafekeys makes Groth16 keys from secrets that it is given, and names the
// secrets of the development keys, which are published.
//
// UNSAFE: with a key's secrets any statement can be proven, true or false. Keys whose
// secrets are gone come from circuit/ceremony. Only the prover's cache of development keys
// and internal/forge, which makes such false proofs for tests, import this package.
package unsafekeys

import (
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	"github.com/consensys/gnark-crypto/utils"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// Secrets are those of one key, under Groth16's names; gamma is one, as in a ceremony.
// Sigma is the secret of the commitment.
type Secrets struct{ Tau, Alpha, Beta, Delta, Sigma fr.Element }

// Published returns the secrets of the development key of a source circuit.
func Published(blocks, chunks int) Secrets {
	s, err := fr.Hash(fmt.Appendf(nil, "source %d %d", blocks, chunks), []byte("cratelog/development-setup/v2 UNSAFE"), 5)
	if err != nil {
		panic(err) // only a longer domain separator is refused
	}
	return Secrets{s[0], s[1], s[2], s[3], s[4]}
}

// Progress says how far a Setup is. The zero value is ready.
type Progress struct{ done, total atomic.Int64 }

// Share is how much of the points is made, from 0 to 1.
func (p *Progress) Share() float64 {
	return min(1, float64(p.done.Load())/float64(max(1, p.total.Load())))
}

// Setup makes the keys of a circuit with one commitment: the keys that a ceremony makes
// whose contributions multiply to these secrets. It keeps p up to date.
func Setup(system *cs.R1CS, s Secrets, p *Progress) (*groth16.ProvingKey, *groth16.VerifyingKey, error) {
	commitments, ok := system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(commitments) != 1 {
		return nil, nil, errors.New("the circuit must have one commitment")
	}
	pk, vk := new(groth16.ProvingKey), new(groth16.VerifyingKey)
	pk.Domain = *fft.NewDomain(uint64(system.GetNbConstraints()))
	a, b, c := s.evaluate(system, &pk.Domain)

	// K is beta A + alpha B + C. Who gets it, and over which secret, depends on the wire.
	_, _, public := system.GetNbVariables()
	committed := make(map[int]bool)
	for _, w := range commitments[0].PrivateCommitted {
		committed[w] = true
	}
	var deltaInv, x fr.Element
	deltaInv.Inverse(&s.Delta)
	var forVerifier, forProver, basis, basisSigma fr.Vector
	for w := range c {
		k := &c[w]
		k.Add(k, x.Mul(&a[w], &s.Beta)).Add(k, x.Mul(&b[w], &s.Alpha))
		switch {
		case w < public || w == commitments[0].CommitmentIndex:
			forVerifier = append(forVerifier, *k)
		case committed[w]:
			basis, basisSigma = append(basis, *k), append(basisSigma, *x.Mul(k, &s.Sigma))
		default:
			forProver = append(forProver, *x.Mul(k, &deltaInv))
		}
	}
	pk.InfinityA, a = withoutZeros(a)
	pk.InfinityB, b = withoutZeros(b)
	pk.NbInfinityA, pk.NbInfinityB = uint64(len(c)-len(a)), uint64(len(c)-len(b))

	const cost1, cost2 = 1, 4 // of a point, about
	p.total.Store(cost1*int64(len(a)+len(b)+len(forVerifier)+len(forProver)+len(basis)+len(basisSigma)+int(pk.Domain.Cardinality)) +
		cost2*int64(len(b)))
	jac1, jac2, _, gen2 := curve.Generators()
	points := newTable(jac1, curve.BatchJacobianToAffineG1, func() { p.done.Add(cost1) }).multiples
	points2 := newTable(jac2, batchJacobianToAffineG2, func() { p.done.Add(cost2) }).multiples
	g1 := points(fr.Vector{s.Alpha, s.Beta, s.Delta})
	g2 := points2(fr.Vector{s.Beta, s.Delta, s.Sigma})
	pk.G1.Alpha, pk.G1.Beta, pk.G1.Delta = g1[0], g1[1], g1[2]
	pk.G2.Beta, pk.G2.Delta = g2[0], g2[1]
	pk.G1.A, pk.G1.B, pk.G1.K, pk.G1.Z = points(a), points(b), points(forProver), points(s.multiples(&pk.Domain))
	pk.G2.B = points2(b)
	pk.CommitmentKeys = []pedersen.ProvingKey{{Basis: points(basis), BasisExpSigma: points(basisSigma)}}

	vk.G1.Alpha, vk.G1.Beta, vk.G1.Delta = g1[0], g1[1], g1[2]
	vk.G2.Beta, vk.G2.Delta, vk.G2.Gamma = g2[0], g2[1], gen2
	vk.G1.K = points(forVerifier)
	vk.CommitmentKeys = []pedersen.VerifyingKey{{G: gen2, GSigmaNeg: *g2[2].Neg(&g2[2])}}
	vk.PublicAndCommitmentCommitted = commitments.GetPublicAndCommitmentCommitted(commitments.CommitmentIndexes(), public)
	return pk, vk, vk.Precompute()
}

// evaluate returns for each wire the values at tau of its polynomials A, B and C, whose
// values at the i-th root of unity are the wire's coefficients in constraint i.
func (s *Secrets) evaluate(system *cs.R1CS, domain *fft.Domain) (a, b, c fr.Vector) {
	internal, secret, public := system.GetNbVariables()
	n := internal + secret + public
	a, b, c = make(fr.Vector, n), make(fr.Vector, n), make(fr.Vector, n)

	// The i-th Lagrange polynomial is (t^n - 1) w^i / (n (t - w^i)).
	lagrange := make(fr.Vector, domain.Cardinality)
	root := fr.One()
	for i := range lagrange {
		lagrange[i].Sub(&s.Tau, &root)
		root.Mul(&root, &domain.Generator)
	}
	lagrange = fr.BatchInvert(lagrange)
	factor := s.vanishing(domain)
	factor.Mul(&factor, &domain.CardinalityInv)
	for i := range lagrange {
		lagrange[i].Mul(&lagrange[i], &factor)
		factor.Mul(&factor, &domain.Generator)
	}

	add := func(to fr.Vector, terms constraint.LinearExpression, row int) {
		var x fr.Element
		for _, t := range terms {
			x.Mul(&system.Coefficients[t.CoeffID()], &lagrange[row])
			to[t.WireID()].Add(&to[t.WireID()], &x)
		}
	}
	it := system.GetR1CIterator()
	row := 0
	for r := it.Next(); r != nil; r = it.Next() {
		add(a, r.L, row)
		add(b, r.R, row)
		add(c, r.O, row)
		row++
	}
	return a, b, c
}

// multiples returns the values at tau of the multiples X^i (X^n - 1) of the vanishing
// polynomial, over delta, in the order in which gnark's keys have them.
func (s *Secrets) multiples(domain *fft.Domain) fr.Vector {
	z := make(fr.Vector, domain.Cardinality)
	factor := s.vanishing(domain)
	factor.Div(&factor, &s.Delta)
	for i := range z {
		z[i] = factor
		factor.Mul(&factor, &s.Tau)
	}
	utils.BitReverse(z)
	return z[:len(z)-1]
}

// vanishing returns the value at tau of X^n - 1.
func (s *Secrets) vanishing(domain *fft.Domain) fr.Element {
	one := fr.One()
	var v fr.Element
	v.Exp(s.Tau, new(big.Int).SetUint64(domain.Cardinality)).Sub(&v, &one)
	return v
}

// withoutZeros says which elements are zero, and returns the others.
func withoutZeros(v fr.Vector) (zero []bool, rest fr.Vector) {
	zero = make([]bool, len(v))
	for i := range v {
		if zero[i] = v[i].IsZero(); !zero[i] {
			rest = append(rest, v[i])
		}
	}
	return zero, rest
}
