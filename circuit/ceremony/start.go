package ceremony

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	"github.com/consensys/gnark/constraint"
)

// How phase 2 starts from phase 1 and the circuit.
//
// The wire w of the circuit has the polynomials A_w, B_w, C_w whose values at the i-th
// root of unity are its coefficients in the left, right and output side of
// constraint i. Phase 1 gives [t^j], [alpha t^j], [beta t^j] in G1 and [t^j] in G2. Keys
// need, in G1, K_w = beta A_w(t) + alpha B_w(t) + C_w(t), A_w(t) and B_w(t), and B_w(t)
// in G2. gnark's mpcsetup computes the same, by the same formulas, one point at a time.
//
// Computing them takes Fourier transforms of points. Checking them does not: for
// random r_w, the sum of r_w A_w is one polynomial, whose coefficients are cheap, and
// its value at t is one multi-exponentiation. A wrong point passes with
// probability 1/r. So whoever verifies a ceremony reads the start of phase 2 and checks it.

// sides of the constraints.
const (
	left = iota
	right
	output
)

// layout says what becomes of each wire's K.
type layout struct {
	public    []int // in the verifying key: the public wires, and the commitment
	committed [][]int
	private   []int
}

func (s *shape) layout() layout {
	_, _, public := s.system.GetNbVariables()
	commitments := s.system.CommitmentInfo.(constraint.Groth16Commitments)
	owner := make([]int, s.wires()) // 0: private, -1: public, i+1: of commitment i
	for w := range public {
		owner[w] = -1
	}
	var l layout
	for i, c := range commitments {
		owner[c.CommitmentIndex] = -1
		for _, w := range c.PrivateCommitted {
			owner[w] = i + 1
		}
	}
	l.committed = make([][]int, len(commitments))
	for w, o := range owner {
		switch {
		case o < 0:
			l.public = append(l.public, w)
		case o == 0:
			l.private = append(l.private, w)
		default:
			l.committed[o-1] = append(l.committed[o-1], w)
		}
	}
	return l
}

func (s *shape) wires() int {
	internal, secret, public := s.system.GetNbVariables()
	return internal + secret + public
}

// terms lists the coefficients of the given sides by wire.
func (s *shape) terms(sides ...int) (at []int, terms []term) {
	at = make([]int, s.wires()+1)
	each := func(f func(wire int, t term)) {
		row := uint32(0)
		it := s.system.GetR1CIterator()
		for c := it.Next(); c != nil; c = it.Next() {
			for v, side := range sides {
				for _, t := range [3]constraint.LinearExpression{c.L, c.R, c.O}[side] {
					if t.CoeffID() != constraint.CoeffIdZero {
						f(t.WireID(), term{row, uint32(v), uint32(t.CoeffID())})
					}
				}
			}
			row++
		}
	}
	each(func(wire int, _ term) { at[wire+1]++ })
	for w := range s.wires() {
		at[w+1] += at[w]
	}
	terms = make([]term, at[s.wires()])
	next := append([]int(nil), at...)
	each(func(wire int, t term) {
		terms[next[wire]] = t
		next[wire]++
	})
	return at, terms
}

// term is a coefficient times the row-th point of a vector.
type term struct{ row, vector, coefficient uint32 }

// sums returns for each wire the sum of its terms.
func sums[F any, P coordinate[F]](c *endomorphisms[F], s *shape, vectors [][]affine[F], sides ...int) []affine[F] {
	at, terms := s.terms(sides...)
	out := make([]affine[F], s.wires())
	type scratch struct {
		multiplier[F, P]
		points  []affine[F]
		hard    []*affine[F]
		scalars [][][]int8
		recoded map[uint32][][]int8
	}
	const wires = 64 // of a step; one of them may have very many terms
	inParallel(s.wires(), wires, func() *scratch {
		return &scratch{multiplier: multiplier[F, P]{curve: c}, recoded: map[uint32][][]int8{}}
	}, func(x *scratch, from, to int) {
		base := at[from]
		x.points = x.points[:0]
		for _, t := range terms[base:at[to]] {
			x.points = append(x.points, vectors[t.vector][t.row])
		}
		multiply := func() {
			x.multiply(x.hard, x.scalars)
			x.hard, x.scalars = x.hard[:0], x.scalars[:0]
		}
		for i, t := range terms[base:at[to]] {
			p := &x.points[i]
			switch t.coefficient {
			case constraint.CoeffIdOne:
			case constraint.CoeffIdMinusOne:
				P(&p.Y).Neg(&p.Y)
			default:
				digits := x.recoded[t.coefficient]
				if digits == nil {
					digits = c.recode(&s.system.Coefficients[t.coefficient])
					x.recoded[t.coefficient] = digits
				}
				x.hard, x.scalars = append(x.hard, p), append(x.scalars, digits)
				if len(x.hard) == chunk {
					multiply()
				}
			}
		}
		multiply()
		// Add up each wire's points, by halves, all wires together.
		for step := 1; ; step *= 2 {
			more := false
			for w := from; w < to; w++ {
				points := x.points[at[w]-base : at[w+1]-base]
				for i := 0; i+step < len(points); i += 2 * step {
					x.add(&points[i], &points[i+step])
					more = true
				}
			}
			if !more {
				break
			}
			x.flush()
		}
		for w := from; w < to; w++ {
			if at[w] < at[w+1] {
				out[w] = x.points[at[w]-base]
			}
		}
	})
	return out
}

func vectorOfG1(points []curve.G1Affine) []g1 {
	out := make([]g1, len(points))
	for i := range points {
		out[i] = *asG1(&points[i])
	}
	return out
}

// pick returns the points of some wires.
func pick(all []g1, wires []int) []curve.G1Affine {
	out := make([]curve.G1Affine, len(wires))
	for i, w := range wires {
		out[i] = curve.G1Affine(all[w])
	}
	return out
}

// derive makes the start of phase 2.
func (s *shape) derive(srs *mpcsetup.SrsCommons) *mpcsetup.Phase2 {
	n := int(s.domain)
	turn := newTwiddles[fp.Element, *fp.Element](onG1(), n)
	var vectors [][]g1
	for _, powers := range [][]curve.G1Affine{srs.G1.BetaTau, srs.G1.AlphaTau, srs.G1.Tau[:n]} {
		v := vectorOfG1(powers)
		turn.lagrange(v)
		vectors = append(vectors, v)
	}
	k := sums[fp.Element, *fp.Element](onG1(), s, vectors, left, right, output)
	l := s.layout()
	start := emptyStart(len(l.committed))
	start.Parameters.G1.PKK = pick(k, l.private)
	for _, wires := range l.committed {
		start.Parameters.G1.SigmaCKK = append(start.Parameters.G1.SigmaCKK, pick(k, wires))
	}
	// Z_i is t^i times the vanishing polynomial t^n - 1, in the order that gnark's keys have.
	z := make([]curve.G1Affine, n)
	none := func() struct{} { return struct{}{} }
	inParallel(n-1, chunk, none, func(_ struct{}, from, to int) {
		for i := from; i < to; i++ {
			z[i].Sub(&srs.G1.Tau[i+n], &srs.G1.Tau[i])
		}
	})
	reverseBits(z)
	start.Parameters.G1.Z = z[:n-1]
	return start
}

// emptyStart is a start of phase 2 but for its vectors: no secrets yet.
func emptyStart(commitments int) *mpcsetup.Phase2 {
	_, _, gen1, gen2 := curve.Generators()
	p := new(mpcsetup.Phase2)
	p.Parameters.G1.Delta, p.Parameters.G2.Delta = gen1, gen2
	for range commitments {
		p.Parameters.G2.Sigma = append(p.Parameters.G2.Sigma, gen2)
	}
	p.Sigmas = make([]gcmpc.UpdateProof, commitments)
	return p
}

var errStart = errors.New("it does not follow from phase 1 and the circuit")

// checkStart checks that phase 2 starts as derive would start it.
func (s *shape) checkStart(srs *mpcsetup.SrsCommons, start *mpcsetup.Phase2) error {
	l, n := s.layout(), int(s.domain)
	// All but the vectors is fixed; the vectors' lengths were measured.
	bare := *start
	bare.Parameters.G1.PKK, bare.Parameters.G1.SigmaCKK, bare.Parameters.G1.Z = nil, make([][]curve.G1Affine, len(l.committed)), nil
	want := emptyStart(len(l.committed))
	want.Parameters.G1.SigmaCKK = make([][]curve.G1Affine, len(l.committed))
	if got, err := hashLink(&bare); err != nil {
		return err
	} else if fixed, err := hashLink(want); err != nil {
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
			weight[w] = r[i]
		}
		sum.add(points, r)
		return nil
	}
	if err := add(start.Parameters.G1.PKK, l.private); err != nil {
		return err
	}
	for i, wires := range l.committed {
		if err := add(start.Parameters.G1.SigmaCKK[i], wires); err != nil {
			return err
		}
	}
	p := s.combine(weight)
	sum.sub(srs.G1.BetaTau, p[left])
	sum.sub(srs.G1.AlphaTau, p[right])
	sum.sub(srs.G1.Tau[:n], p[output])

	r, err := randomScalars(n)
	if err != nil {
		return err
	}
	r[n-1].SetZero() // there is no Z of this number
	sum.sub(srs.G1.Tau[n:], r[:n-1])
	sum.add(srs.G1.Tau[:n-1], r[:n-1])
	reverseBits(r)
	sum.add(start.Parameters.G1.Z, r[:n-1])
	if zero, err := sum.isZero(); err != nil {
		return err
	} else if !zero {
		return errStart
	}
	return nil
}

// combine returns the coefficients of the sums of weight_w A_w, of weight_w B_w and of weight_w C_w.
func (s *shape) combine(weight fr.Vector) (p [3]fr.Vector) {
	for i := range p {
		p[i] = make(fr.Vector, s.domain)
	}
	row := 0
	it := s.system.GetR1CIterator()
	var t fr.Element
	for c := it.Next(); c != nil; c = it.Next() {
		for side, e := range [3]constraint.LinearExpression{c.L, c.R, c.O} {
			for _, x := range e {
				t.Mul(&weight[x.WireID()], &s.system.Coefficients[x.CoeffID()])
				p[side][row].Add(&p[side][row], &t)
			}
		}
		row++
	}
	domain := fft.NewDomain(s.domain)
	for _, v := range p {
		domain.FFTInverse(v, fft.DIF)
		reverseBits(v)
	}
	return p
}

// publicPoints computes the K of the wires in the verifying key.
func (s *shape) publicPoints(srs *mpcsetup.SrsCommons) ([]curve.G1Affine, error) {
	l := s.layout()
	out := make([]curve.G1Affine, len(l.public))
	for i, w := range l.public {
		weight := make(fr.Vector, s.wires())
		weight[w].SetOne()
		p := s.combine(weight)
		sum := new(combination)
		sum.add(srs.G1.BetaTau, p[left])
		sum.add(srs.G1.AlphaTau, p[right])
		sum.add(srs.G1.Tau[:s.domain], p[output])
		var err error
		if out[i], err = sum.value(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// completeKey adds to a proving key the A and B of all wires.
func (s *shape) completeKey(srs *mpcsetup.SrsCommons, pk *groth16.ProvingKey) error {
	n := int(s.domain)
	powers1 := vectorOfG1(srs.G1.Tau[:n])
	newTwiddles[fp.Element, *fp.Element](onG1(), n).lagrange(powers1)
	powers2 := make([]g2, n)
	for i := range powers2 {
		powers2[i] = *asG2(&srs.G2.Tau[i])
	}
	newTwiddles[curve.E2, *curve.E2](onG2(), n).lagrange(powers2)

	pk.G1.A, pk.G1.B, pk.G2.B = nil, nil, nil
	pk.InfinityA, pk.InfinityB = make([]bool, s.wires()), make([]bool, s.wires())
	a := sums[fp.Element, *fp.Element](onG1(), s, [][]g1{powers1}, left)
	b := sums[fp.Element, *fp.Element](onG1(), s, [][]g1{powers1}, right)
	b2 := sums[curve.E2, *curve.E2](onG2(), s, [][]g2{powers2}, right)
	for w := range a {
		if pk.InfinityA[w] = a[w] == (g1{}); !pk.InfinityA[w] {
			pk.G1.A = append(pk.G1.A, curve.G1Affine(a[w]))
		}
		if pk.InfinityB[w] = b[w] == (g1{}); !pk.InfinityB[w] {
			pk.G1.B = append(pk.G1.B, curve.G1Affine(b[w]))
			pk.G2.B = append(pk.G2.B, curve.G2Affine(b2[w]))
		}
	}
	pk.NbInfinityA, pk.NbInfinityB = uint64(s.wires()-len(pk.G1.A)), uint64(s.wires()-len(pk.G1.B))
	return s.checkKey(srs, pk)
}

// checkKey checks the A and B of a proving key.
func (s *shape) checkKey(srs *mpcsetup.SrsCommons, pk *groth16.ProvingKey) error {
	weight, err := randomScalars(s.wires())
	if err != nil {
		return err
	}
	finite := func(infinity []bool) (r fr.Vector) {
		for w, inf := range infinity {
			if !inf {
				r = append(r, weight[w])
			}
		}
		return r
	}
	p, a, b := s.combine(weight), finite(pk.InfinityA), finite(pk.InfinityB)
	var sumA, sumB combination
	sumA.add(pk.G1.A, a)
	sumA.sub(srs.G1.Tau[:s.domain], p[left])
	sumB.add(pk.G1.B, b)
	sumB.sub(srs.G1.Tau[:s.domain], p[right])
	for _, sum := range []combination{sumA, sumB} {
		if zero, err := sum.isZero(); err != nil {
			return err
		} else if !zero {
			return errors.New("the proving key does not follow from phase 1 and the circuit")
		}
	}
	var got, want curve.G2Affine
	if _, err := got.MultiExp(pk.G2.B, b, ecc.MultiExpConfig{}); err != nil {
		return err
	}
	if _, err := want.MultiExp(srs.G2.Tau, p[right], ecc.MultiExpConfig{}); err != nil {
		return err
	}
	if !got.Equal(&want) {
		return errors.New("the proving key does not follow from phase 1 and the circuit")
	}
	return nil
}

// combination is a sum of points times scalars.
type combination struct {
	points  []curve.G1Affine
	scalars fr.Vector
}

func (c *combination) add(points []curve.G1Affine, scalars fr.Vector) {
	c.points, c.scalars = append(c.points, points...), append(c.scalars, scalars...)
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

func (c *combination) isZero() (bool, error) {
	sum, err := c.value()
	return sum.IsInfinity(), err
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
