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
// And it is a little faster, 7 to 17 percent: most wires are small, and gnark takes the window of a
// sum for the number of all. Here small ones have a sum of their own (see terms), and K and Z share
// one.

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
	point, err := sum1(func() *terms[bn254.G1Affine] { return split(j.proving.CommitmentKeys[0].Basis, values) })
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
			t := split(pk.G1.K, pick(solution.W, j.noK))
			t.add(pk.G1.Z, h[:len(pk.G1.Z)])
			return t
		})
		return err
	})
	g.Go(func() (err error) {
		b2, err = sum2(func() *terms[bn254.G2Affine] { return split(pk.G2.B, pick(solution.W, pk.InfinityB)) })
		return err
	})
	g.Go(func() (err error) {
		a, err = sum1(func() *terms[bn254.G1Affine] { return split(pk.G1.A, pick(solution.W, pk.InfinityA)) })
		return err
	})
	g.Go(func() (err error) {
		b, err = sum1(func() *terms[bn254.G1Affine] { return split(pk.G1.B, pick(solution.W, pk.InfinityB)) })
		return err
	})
	g.Go(func() (err error) {
		pok, err = sum1(func() *terms[bn254.G1Affine] { return split(pk.CommitmentKeys[0].BasisExpSigma, committed) })
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

// split returns points times scalars as terms. Those that are zero are left out.
func split[A any](points []A, scalars []fr.Element) *terms[A] {
	t := new(terms[A])
	t.add(points, scalars)
	return t
}

func (t *terms[A]) add(points []A, scalars []fr.Element) {
	for i := range scalars {
		to := &t.large
		if scalars[i].IsZero() {
			continue
		} else if scalars[i].IsUint64() {
			to = &t.small
		}
		to.points, to.scalars = append(to.points, points[i]), append(to.scalars, scalars[i])
	}
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
