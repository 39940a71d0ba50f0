// Package setup makes Groth16 keys of a circuit from secrets that it is given, and checks keys
// that others made.
//
// Whoever knows a key's secrets can prove any statement, true or false: what Run is given must be
// forgotten (Fresh), or the key is for tests only. A key that nobody could have kept the secrets
// of comes from circuit/ceremony.
//
// Whoever makes a key chooses its points, and with other points than those that the circuit asks
// for could make proofs tell what they should hide. Check finds that out without the secrets.
package setup

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	"github.com/consensys/gnark-crypto/utils"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// Secrets are those of one key, under Groth16's names; gamma is one, as in a ceremony.
// Sigma is the secret of the commitment, if the circuit has one; else it is of no effect.
type Secrets struct{ Tau, Alpha, Beta, Delta, Sigma fr.Element }

// Fresh returns secrets from the system's random source. They are gone when nobody holds them:
// keep them in no variable that lives longer than Run.
func Fresh() (s Secrets, err error) {
	for _, x := range []*fr.Element{&s.Tau, &s.Alpha, &s.Beta, &s.Delta, &s.Sigma} {
		if _, err := x.SetRandom(); err != nil {
			return Secrets{}, fmt.Errorf("drawing the secrets of a key: %w", err)
		}
	}
	return s, nil
}

// Keys are the two halves of a key, and what the proving key is checked with.
type Keys struct {
	Proving   *groth16.ProvingKey
	Verifying *groth16.VerifyingKey
	Powers    *Powers
}

// Powers are the powers of tau, times the generators. They are public.
type Powers struct {
	G1   []curve.G1Affine // tau^0 to tau^n, for n the size of the circuit's domain
	Tau2 curve.G2Affine   // tau
}

// Progress says how far a Run is. The zero value is ready.
type Progress struct{ done, total atomic.Int64 }

// Share is how much of the points is made, from 0 to 1.
func (p *Progress) Share() float64 {
	return min(1, float64(p.done.Load())/float64(max(1, p.total.Load())))
}

// Run makes the keys of a circuit with one commitment or none: the keys that a ceremony makes whose
// contributions multiply to these secrets. It keeps p up to date, and ends early with the
// context's error.
func Run(ctx context.Context, system *cs.R1CS, s Secrets, p *Progress) (*Keys, error) {
	w, err := WiresOf(system)
	if err != nil {
		return nil, err
	}
	domain := fft.NewDomain(uint64(system.GetNbConstraints()))
	if vanishing := s.vanishing(domain); vanishing.IsZero() || s.Tau.IsZero() || s.Alpha.IsZero() || s.Beta.IsZero() ||
		s.Delta.IsZero() || s.Sigma.IsZero() {
		return nil, errors.New("setup: a secret is zero, or tau a root of unity")
	}
	a, b, k := s.evaluate(system, domain)
	for i := range k { // beta A + alpha B + C
		var x fr.Element
		k[i].Add(&k[i], x.Mul(&a[i], &s.Beta)).Add(&k[i], x.Mul(&b[i], &s.Alpha))
	}
	var one, deltaInv fr.Element
	one.SetOne()
	deltaInv.Inverse(&s.Delta)
	pk, vk := &groth16.ProvingKey{Domain: *domain}, new(groth16.VerifyingKey)
	pk.InfinityA, a = withoutZeros(a)
	pk.InfinityB, b = withoutZeros(b)
	pk.NbInfinityA, pk.NbInfinityB = uint64(len(k)-len(a)), uint64(len(k)-len(b))

	// The points, each vector with the place that it goes to.
	var single, public, basis, basisSigma, powers []curve.G1Affine
	inG1 := []vector[curve.G1Affine]{
		{fr.Vector{s.Alpha, s.Beta, s.Delta}, &single},
		{a, &pk.G1.A}, {b, &pk.G1.B}, {scaled(k, w.Private, &deltaInv), &pk.G1.K}, {s.multiples(domain), &pk.G1.Z},
		{scaled(k, w.Public, &one), &public},
		{scaled(k, w.Committed, &one), &basis}, {scaled(k, w.Committed, &s.Sigma), &basisSigma},
		{s.powers(domain), &powers},
	}
	var single2 []curve.G2Affine
	inG2 := []vector[curve.G2Affine]{{fr.Vector{s.Beta, s.Delta, s.Sigma, s.Tau}, &single2}, {b, &pk.G2.B}}
	_, _, g1, g2 := curve.Generators()
	const cost1, cost2 = 2, 5 // of a point
	p.total.Store(cost1*lengths(inG1) + cost2*lengths(inG2))
	if err := fill(ctx, newComb[fp.Element, *fp.Element](g1), inG1, &p.done, cost1); err != nil {
		return nil, err
	}
	if err := fill(ctx, newComb[curve.E2, *curve.E2](g2), inG2, &p.done, cost2); err != nil {
		return nil, err
	}

	pk.G1.Alpha, pk.G1.Beta, pk.G1.Delta = single[0], single[1], single[2]
	pk.G2.Beta, pk.G2.Delta = single2[0], single2[1]
	vk.G1.Alpha, vk.G1.Beta, vk.G1.Delta, vk.G1.K = single[0], single[1], single[2], public
	vk.G2.Beta, vk.G2.Delta, vk.G2.Gamma = single2[0], single2[1], g2
	pk.CommitmentKeys = make([]pedersen.ProvingKey, w.Commitments())
	vk.CommitmentKeys = make([]pedersen.VerifyingKey, w.Commitments())
	for i := range vk.CommitmentKeys {
		pk.CommitmentKeys[i] = pedersen.ProvingKey{Basis: basis, BasisExpSigma: basisSigma}
		vk.CommitmentKeys[i].G = g2
		vk.CommitmentKeys[i].GSigmaNeg.Neg(&single2[2])
	}
	vk.PublicAndCommitmentCommitted = w.PublicCommitted
	return &Keys{pk, vk, &Powers{powers, single2[3]}}, vk.Precompute()
}

// vector is the scalars of points, and where the points go.
type vector[A any] struct {
	scalars fr.Vector
	points  *[]A
}

func lengths[A any](v []vector[A]) (n int64) {
	for _, x := range v {
		n += int64(len(x.scalars))
	}
	return n
}

func fill[E any, F field[E], A ~struct{ X, Y E }](ctx context.Context, c *comb[E, F, A], v []vector[A],
	done *atomic.Int64, cost int64) (err error) {
	for _, x := range v {
		if *x.points, err = c.times(ctx, x.scalars, done, cost); err != nil {
			return err
		}
	}
	return nil
}

// Wires says what becomes of each wire's K = beta A + alpha B + C: it stands in the verifying key,
// in the commitment's basis, or over delta in the proving key. A circuit may have no commitment.
type Wires struct {
	Public    []int // the public wires, and the commitment
	Committed []int
	Private   []int

	PublicCommitted [][]int // for each commitment, numbers of the public inputs that its challenge hashes
}

// Commitments is how many the circuit has: one or none.
func (w *Wires) Commitments() int { return len(w.PublicCommitted) }

// WiresOf returns the wires of a circuit, which must have one commitment or none.
func WiresOf(system *cs.R1CS) (*Wires, error) {
	commitments, ok := system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(commitments) > 1 {
		return nil, errors.New("setup: the circuit must have one commitment or none")
	}
	internal, secret, public := system.GetNbVariables()
	committed := make([]bool, internal+secret+public)
	isCommitment := make([]bool, len(committed))
	for _, c := range commitments {
		isCommitment[c.CommitmentIndex] = true
		for _, w := range c.PrivateCommitted {
			committed[w] = true
		}
	}
	w := new(Wires)
	for i := range committed {
		switch {
		case i < public || isCommitment[i]:
			w.Public = append(w.Public, i)
		case committed[i]:
			w.Committed = append(w.Committed, i)
		default:
			w.Private = append(w.Private, i)
		}
	}
	w.PublicCommitted = commitments.GetPublicAndCommitmentCommitted(commitments.CommitmentIndexes(), public)
	return w, nil
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
	factor := s.vanishing(domain)
	z := geometric(factor.Div(&factor, &s.Delta), &s.Tau, domain.Cardinality)
	utils.BitReverse(z)
	return z[:len(z)-1]
}

// powers returns the powers of tau.
func (s *Secrets) powers(domain *fft.Domain) fr.Vector {
	one := fr.One()
	return geometric(&one, &s.Tau, domain.Cardinality+1)
}

// vanishing returns the value at tau of X^n - 1.
func (s *Secrets) vanishing(domain *fft.Domain) fr.Element {
	one := fr.One()
	var v fr.Element
	v.Exp(s.Tau, new(big.Int).SetUint64(domain.Cardinality)).Sub(&v, &one)
	return v
}

// geometric returns first, first ratio, first ratio^2 and so on.
func geometric(first, ratio *fr.Element, n uint64) fr.Vector {
	v := make(fr.Vector, n)
	v[0] = *first
	for i := range v[1:] {
		v[i+1].Mul(&v[i], ratio)
	}
	return v
}

// scaled returns factor times the elements with these numbers.
func scaled(v fr.Vector, numbers []int, factor *fr.Element) fr.Vector {
	out := make(fr.Vector, len(numbers))
	for i, n := range numbers {
		out[i].Mul(&v[n], factor)
	}
	return out
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
