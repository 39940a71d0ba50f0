package ceremony

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark-crypto/utils"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"cratelog/circuit/setup"
)

// How the start of phase 2 is checked against phase 1 and the circuit.
//
// The wire w of the circuit has the polynomials A_w, B_w, C_w whose values at the i-th
// root of unity are its coefficients in the left, right and output side of
// constraint i. Phase 1 gives [t^j], [alpha t^j], [beta t^j] in G1 and [t^j] in G2. The
// start has K_w = beta A_w(t) + alpha B_w(t) + C_w(t) of every wire in G1.
//
// gnark computes them by Fourier transforms of points, which takes minutes. The check
// takes seconds: for random r_w, the sum of r_w A_w is one polynomial, whose coefficients
// are cheap, and its value at t is one multi-exponentiation. A wrong point passes with
// probability 1/r. So verifiers read the start of phase 2 and check it.

// emptyStart is a start of phase 2 but for its vectors: no secrets yet.
func (s *shape) emptyStart() *mpcsetup.Phase2 {
	_, _, gen1, gen2 := curve.Generators()
	p := new(mpcsetup.Phase2)
	p.Parameters.G1.Delta, p.Parameters.G2.Delta = gen1, gen2
	p.Parameters.G1.SigmaCKK = make([][]curve.G1Affine, s.Commitments())
	p.Parameters.G2.Sigma = make([]curve.G2Affine, s.Commitments())
	for i := range p.Parameters.G2.Sigma {
		p.Parameters.G2.Sigma[i] = gen2
	}
	p.Sigmas = make([]gcmpc.UpdateProof, s.Commitments())
	return p
}

var errStart = errors.New("it does not follow from phase 1 and the circuit")

// checkStart checks that phase 2 starts as gnark starts it.
func (s *shape) checkStart(srs *mpcsetup.SrsCommons, start *mpcsetup.Phase2) error {
	n := int(s.domain)
	if of := s.Commitments(); len(start.Parameters.G1.SigmaCKK) != of || len(start.Parameters.G2.Sigma) != of ||
		len(start.Sigmas) != of {
		return errStart
	}
	// All but the vectors is fixed; the vectors' lengths were measured.
	bare := *start
	bare.Parameters.G1.PKK, bare.Parameters.G1.Z = nil, nil
	bare.Parameters.G1.SigmaCKK = make([][]curve.G1Affine, s.Commitments())
	if got, err := hashLink(&bare); err != nil {
		return err
	} else if fixed, err := hashLink(s.emptyStart()); err != nil {
		return err
	} else if got != fixed {
		return fmt.Errorf("%w: it holds a contribution", errStart)
	}

	sum := new(combination)
	weight := make(fr.Vector, s.wires())
	add := func(points []curve.G1Affine, wires []int) error {
		if len(points) != len(wires) {
			return errStart
		}
		r, err := randomScalars(len(points))
		if err != nil {
			return err
		}
		for i, w := range wires {
			weight[w].Neg(&r[i])
		}
		sum.add(points, r)
		return nil
	}
	if err := add(start.Parameters.G1.PKK, s.Private); err != nil {
		return err
	}
	for _, points := range start.Parameters.G1.SigmaCKK { // one or none
		if err := add(points, s.Committed); err != nil {
			return err
		}
	}
	sum.addK(srs, s.combine(weight))

	r, err := randomScalars(n)
	if err != nil {
		return err
	}
	r[n-1].SetZero() // there is no Z of this number
	sum.sub(srs.G1.Tau[n:], r[:n-1])
	sum.add(srs.G1.Tau[:n-1], r[:n-1])
	utils.BitReverse(r)
	sum.add(start.Parameters.G1.Z, r[:n-1])
	return sum.mustBeZero()
}

// wires is how many there are.
func (s *shape) wires() int { return len(s.Public) + len(s.Committed) + len(s.Private) }

// combine returns the coefficients of the sums of weight_w A_w, of weight_w B_w and of weight_w C_w.
func (s *shape) combine(weight fr.Vector) [3]fr.Vector {
	return setup.Combine(s.system, weight, fft.NewDomain(s.domain))
}

// publicPoints computes the K of the wires in the verifying key.
func (s *shape) publicPoints(srs *mpcsetup.SrsCommons) ([]curve.G1Affine, error) {
	out := make([]curve.G1Affine, len(s.Public))
	for i, w := range s.Public {
		weight := make(fr.Vector, s.wires())
		weight[w].SetOne()
		sum := new(combination)
		sum.addK(srs, s.combine(weight))
		var err error
		if out[i], err = sum.value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// combination is a sum of points times scalars.
type combination struct {
	points  []curve.G1Affine
	scalars fr.Vector
}

func (c *combination) add(points []curve.G1Affine, scalars fr.Vector) {
	c.points, c.scalars = append(c.points, points...), append(c.scalars, scalars...)
}

// addK adds beta A + alpha B + C for the coefficients of A, B and C.
func (c *combination) addK(srs *mpcsetup.SrsCommons, p [3]fr.Vector) {
	c.add(srs.G1.BetaTau, p[0])
	c.add(srs.G1.AlphaTau, p[1])
	c.add(srs.G1.Tau[:len(p[2])], p[2])
}

func (c *combination) sub(points []curve.G1Affine, scalars fr.Vector) {
	c.points = append(c.points, points...)
	for i := range scalars {
		var minus fr.Element
		c.scalars = append(c.scalars, *minus.Neg(&scalars[i]))
	}
}

func (c *combination) value() (sum curve.G1Affine, err error) {
	_, err = sum.MultiExp(c.points, c.scalars, ecc.MultiExpConfig{})
	return sum, err
}

// mustBeZero returns errStart if the sum is not zero.
func (c *combination) mustBeZero() error {
	sum, err := c.value()
	if err == nil && !sum.IsInfinity() {
		err = errStart
	}
	return err
}

func randomScalars(n int) (fr.Vector, error) {
	v := make(fr.Vector, n)
	for i := range v {
		if _, err := v[i].SetRandom(); err != nil {
			return nil, err
		}
	}
	return v, nil
}
