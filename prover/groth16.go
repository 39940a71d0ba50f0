package prover

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"runtime"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	fcs "github.com/consensys/gnark/frontend/cs"
	"golang.org/x/sync/errgroup"
)

// The proof of one segment: what gnark's groth16.Prove computes (backend/groth16/bn254/prove.go),
// from the same key and the same solver; with the same random numbers it is the same proof. It is
// not gnark's for three reasons. What a segment commits to is computed in the first pass only. Two
// segments are worked on at once, and never more than two sums of points, so the memory is bounded.
// And it takes about half as long: most wires are small or have the value of another one, and gnark
// takes each for a term of full size. Here points of equal factors are added up first, small
// factors have a sum of their own (see terms), and K and Z share one.

// commitment is what a segment commits to.
type commitment struct {
	point  bn254.G1Affine
	values [32]byte // SHA-256 of what is committed to, mask and all
}

// commitHint returns the option that has the solver call commit where gnark's prover would compute
// a commitment, with the public inputs that the challenge hashes and the wires that are committed
// to; commit returns the challenge.
func (j *job) commitHint(commit func(hashed []*big.Int, values []fr.Element) (fr.Element, error)) solver.Option {
	hashed := len(j.info.PublicAndCommitmentCommitted)
	return solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder),
		func(_ *big.Int, in, out []*big.Int) error {
			in = in[1:] // the commitment's number: there is one
			values := make([]fr.Element, len(in)-hashed)
			for i := range values {
				values[i].SetBigInt(in[hashed+i])
			}
			challenge, err := commit(in[:hashed], values)
			challenge.BigInt(out[0])
			return err
		})
}

func hashValues(values []fr.Element) (sum [32]byte) {
	h := sha256.New()
	for i := range values {
		b := values[i].Bytes()
		h.Write(b[:])
	}
	return [32]byte(h.Sum(nil))
}

// errCommitted ends the first pass.
var errCommitted = errors.New("the segment has committed")

// commitTo returns what a segment commits to.
func (j *job) commitTo(i int) (c commitment, err error) {
	w, err := j.witness(i)
	if err != nil {
		return c, err
	}
	var values []fr.Element
	commit := j.commitHint(func(_ []*big.Int, v []fr.Element) (fr.Element, error) {
		values = v
		return fr.Element{}, errCommitted
	})
	err = j.masked(i, func(hints ...solver.Option) error {
		_, err := j.system.Solve(w, append(hints, commit)...)
		return err
	})
	switch {
	case values == nil && err != nil:
		return c, fmt.Errorf("%w: %w", errFalse, err)
	case values == nil:
		return c, errors.New("the solver asked for no commitment; this is a bug")
	case !errors.Is(err, errCommitted):
		return c, err
	}
	c.values = hashValues(values)
	point, err := sum1(func() *terms[bn254.G1Affine] { return split1(j.proving.CommitmentKeys[0].Basis, values) })
	c.point.FromJacobian(&point)
	return c, err
}

// prove returns the proof of a segment that committed to c in the first pass.
func (j *job) prove(i int, c commitment) (*groth16.Proof, error) {
	w, err := j.witness(i)
	if err != nil {
		return nil, err
	}
	var committed []fr.Element
	commit := j.commitHint(func(hashed []*big.Int, values []fr.Element) (challenge fr.Element, err error) {
		if hashValues(values) != c.values {
			return challenge, errors.New("it commits to something else in the second pass; this is a bug")
		}
		committed = values
		h := hash_to_field.New([]byte(constraint.CommitmentDst))
		h.Write(constraint.SerializeCommitment(c.point.Marshal(), hashed, fr.Bytes))
		challenge.SetBytes(h.Sum(nil)[:fr.Bytes])
		return challenge, nil
	})
	var solution *cs.R1CSSolution
	if err := j.masked(i, func(hints ...solver.Option) error {
		s, err := j.system.Solve(w, append(hints, commit)...)
		if err != nil {
			return fmt.Errorf("%w: %w", errFalse, err)
		}
		solution = s.(*cs.R1CSSolution)
		return nil
	}); err != nil {
		return nil, err
	}
	return j.points(solution, committed, c.point)
}

// points computes the proof from the wires. With random r and s:
//
//	A = alpha + sum of A + r delta     B = beta + sum of B + s delta
//	C = sum of K and Z + s A + r B - r s delta
func (j *job) points(solution *cs.R1CSSolution, committed []fr.Element, c bn254.G1Affine) (*groth16.Proof, error) {
	pk := j.proving
	var a, b, kz, pok bn254.G1Jac
	var b2 bn254.G2Jac
	var g errgroup.Group
	g.Go(func() (err error) {
		h := quotient(solution, &pk.Domain)
		kz, err = sum1(func() *terms[bn254.G1Affine] {
			t := split1(pk.G1.K, pick(solution.W, j.noK))
			for i := range pk.G1.Z {
				t.add(pk.G1.Z[i], h[i])
			}
			return t
		})
		return err
	})
	g.Go(func() (err error) {
		b2, err = sum2(func() *terms[bn254.G2Affine] { return split2(pk.G2.B, pick(solution.W, pk.InfinityB)) })
		return err
	})
	g.Go(func() (err error) {
		a, err = sum1(func() *terms[bn254.G1Affine] { return split1(pk.G1.A, pick(solution.W, pk.InfinityA)) })
		return err
	})
	g.Go(func() (err error) {
		b, err = sum1(func() *terms[bn254.G1Affine] { return split1(pk.G1.B, pick(solution.W, pk.InfinityB)) })
		return err
	})
	g.Go(func() (err error) {
		pok, err = sum1(func() *terms[bn254.G1Affine] { return split1(pk.CommitmentKeys[0].BasisExpSigma, committed) })
		return err
	})
	blind, err := random(2)
	if err := errors.Join(err, g.Wait()); err != nil {
		return nil, err
	}

	var r, s, rs big.Int
	blind[0].BigInt(&r)
	blind[1].BigInt(&s)
	blind[0].Mul(&blind[0], &blind[1])
	blind[0].BigInt(&rs)
	var delta, x bn254.G1Jac
	var delta2 bn254.G2Jac
	delta.FromAffine(&pk.G1.Delta)
	delta2.FromAffine(&pk.G2.Delta)
	a.AddMixed(&pk.G1.Alpha)
	a.AddAssign(x.ScalarMultiplication(&delta, &r))
	b.AddMixed(&pk.G1.Beta)
	b.AddAssign(x.ScalarMultiplication(&delta, &s))
	b2.AddMixed(&pk.G2.Beta)
	b2.AddAssign(delta2.ScalarMultiplication(&delta2, &s))
	kz.AddAssign(x.ScalarMultiplication(&a, &s))
	kz.AddAssign(x.ScalarMultiplication(&b, &r))
	kz.SubAssign(x.ScalarMultiplication(&delta, &rs))

	proof := &groth16.Proof{Commitments: []bn254.G1Affine{c}}
	proof.Ar.FromJacobian(&a)
	proof.Bs.FromJacobian(&b2)
	proof.Krs.FromJacobian(&kz)
	proof.CommitmentPok.FromJacobian(&pok)
	return proof, nil
}

// pick returns the elements that have no flag.
func pick(v []fr.Element, skip []bool) []fr.Element {
	out := make([]fr.Element, 0, len(v))
	for i := range v {
		if !skip[i] {
			out = append(out, v[i])
		}
	}
	return out
}

// quotient returns the coefficients of (A B - C) / (X^n - 1), for the polynomials with these
// values at the roots of unity. It overwrites the solution's.
func quotient(solution *cs.R1CSSolution, domain *fft.Domain) []fr.Element {
	n := int(domain.Cardinality)
	a, b, c := solution.A, solution.B, solution.C
	for _, v := range []*fr.Vector{&a, &b, &c} {
		*v = append(*v, make(fr.Vector, n-len(*v))...)
		domain.FFTInverse(*v, fft.DIF)
		domain.FFT(*v, fft.DIT, fft.OnCoset())
	}
	var den, one fr.Element // X^n - 1 on the coset
	one.SetOne()
	den.Exp(domain.FrMultiplicativeGen, big.NewInt(int64(n)))
	den.Sub(&den, &one).Inverse(&den)
	for i := range a {
		a[i].Mul(&a[i], &b[i]).Sub(&a[i], &c[i]).Mul(&a[i], &den)
	}
	domain.FFTInverse(a, fft.DIF, fft.OnCoset())
	solution.A, solution.B, solution.C = nil, nil, nil
	return a
}

// terms are points and their factors, by size: a sum takes as many additions for each point as its
// factor has digits, and so many more for each place that a digit can have. The best size of a
// digit depends on how many factors have many digits.
type terms[A any] struct{ small, large product[A] }

type product[A any] struct {
	points  []A
	scalars []fr.Element
}

func (t *terms[A]) add(point A, scalar fr.Element) {
	to := &t.large
	if scalar.IsUint64() {
		to = &t.small
	}
	to.points, to.scalars = append(to.points, point), append(to.scalars, scalar)
}

// jacobian is a sum in the making: bn254.G1Jac or G2Jac.
type jacobian[A, J any] interface {
	*J
	FromAffine(*A) *J
	AddMixed(*A) *J
}

// split returns points times scalars as terms. Those that are zero are left out, and points whose
// factors are equal are added up, which takes one addition each: lookups of the same row have the
// same fraction, so most wires have the value of another one.
func split[A, J any, P jacobian[A, J]](points []A, scalars []fr.Element, affine func([]J) []A) *terms[A] {
	values := make(map[fr.Element]int32, len(scalars)/2) // numbered
	number := make([]int32, len(scalars))
	var count []int32
	for i := range scalars {
		n, known := values[scalars[i]]
		if !known {
			n = int32(len(count))
			values[scalars[i]], count = n, append(count, 0)
		}
		number[i] = n
		count[n]++
	}
	t := new(terms[A])
	var sums []J
	var factors []fr.Element        // of the sums
	at := make([]int32, len(count)) // of a value: the number of its sum, from 1
	for i, n := range number {
		switch {
		case scalars[i].IsZero():
		case count[n] == 1:
			t.add(points[i], scalars[i])
		case at[n] == 0:
			sums, factors = append(sums, *P(new(J)).FromAffine(&points[i])), append(factors, scalars[i])
			at[n] = int32(len(sums))
		default:
			P(&sums[at[n]-1]).AddMixed(&points[i])
		}
	}
	for i, p := range affine(sums) {
		t.add(p, factors[i])
	}
	return t
}

func split1(points []bn254.G1Affine, scalars []fr.Element) *terms[bn254.G1Affine] {
	return split(points, scalars, bn254.BatchJacobianToAffineG1)
}

func split2(points []bn254.G2Affine, scalars []fr.Element) *terms[bn254.G2Affine] {
	return split(points, scalars, affine2)
}

// affine2 is for G2 what bn254.BatchJacobianToAffineG1 is for G1: with one inversion.
func affine2(points []bn254.G2Jac) []bn254.G2Affine {
	out := make([]bn254.G2Affine, len(points)) // at infinity
	var product bn254.E2                       // of all Z so far
	product.SetOne()
	for i := range points {
		if z := &points[i].Z; !z.IsZero() {
			out[i].X = product
			product.Mul(&product, z)
		}
	}
	product.Inverse(&product)
	for i := len(points) - 1; i >= 0; i-- {
		p, a := &points[i], &out[i]
		if p.Z.IsZero() {
			continue
		}
		var inverse, square bn254.E2 // of Z
		inverse.Mul(&product, &a.X)
		product.Mul(&product, &p.Z)
		square.Square(&inverse)
		a.X.Mul(&p.X, &square)
		a.Y.Mul(&p.Y, &square).Mul(&a.Y, &inverse)
	}
	return out
}

// slots bounds how many sums are computed at once: each uses all processors, and takes memory, from
// the copies of its terms on.
var slots = make(chan struct{}, 2)

// sum1 and sum2 add up terms in G1 and G2, which are made when it is their turn.
func sum1(make func() *terms[bn254.G1Affine]) (bn254.G1Jac, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	t := make()
	var sum, small bn254.G1Jac
	_, err := sum.MultiExp(t.large.points, t.large.scalars, ecc.MultiExpConfig{NbTasks: runtime.GOMAXPROCS(0)})
	_, err2 := small.MultiExp(t.small.points, t.small.scalars, ecc.MultiExpConfig{NbTasks: runtime.GOMAXPROCS(0)})
	return *sum.AddAssign(&small), errors.Join(err, err2)
}

func sum2(make func() *terms[bn254.G2Affine]) (bn254.G2Jac, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	t := make()
	var sum, small bn254.G2Jac
	_, err := sum.MultiExp(t.large.points, t.large.scalars, ecc.MultiExpConfig{NbTasks: runtime.GOMAXPROCS(0)})
	_, err2 := small.MultiExp(t.small.points, t.small.scalars, ecc.MultiExpConfig{NbTasks: runtime.GOMAXPROCS(0)})
	return *sum.AddAssign(&small), errors.Join(err, err2)
}
