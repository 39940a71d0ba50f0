package ceremony

import (
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// The two groups of BN254 as vectors (vector.go) know them.
type (
	g1 = affine[fp.Element]
	g2 = affine[curve.E2]
)

func asG1(p *curve.G1Affine) *g1 { return (*g1)(p) }
func asG2(p *curve.G2Affine) *g2 { return (*g2)(p) }

// BN254 has the parameter x = 4965661367192848881 (Barreto and Naehrig, eprint
// 2005/133). On G1, phi(X, Y) = (w X, Y) with a third root of unity w multiplies by
// lambda = 36x^3 + 18x^2 + 6x + 1. On G2, phi is the same with w^2, and psi, the
// Frobenius map carried to the twist, multiplies by 6x^2. TestScalarsAreSplit holds
// these to their definitions.
var (
	bnX     = big.NewInt(4965661367192848881)
	glvMu   = poly(1, 6, 18, 36)
	psiMu   = poly(0, 0, 6)
	thirdOf = new(big.Int).Div(new(big.Int).Sub(fp.Modulus(), big.NewInt(1)), big.NewInt(3))
	halfOf  = new(big.Int).Div(new(big.Int).Sub(fp.Modulus(), big.NewInt(1)), big.NewInt(2))
)

// poly is c0 + c1 x + c2 x^2 ... at BN254's x.
func poly(c ...int64) *big.Int {
	v := new(big.Int)
	for i := len(c) - 1; i >= 0; i-- {
		v.Add(v.Mul(v, bnX), big.NewInt(c[i]))
	}
	return v
}

var onG1 = sync.OnceValue(func() *endomorphisms[fp.Element] {
	var lattice ecc.Lattice
	ecc.PrecomputeLattice(fr.Modulus(), glvMu, &lattice)
	w := rootOfUnity()
	return &endomorphisms[fp.Element]{
		maps: []endomorphism[fp.Element]{{0, func(into, p *g1) {
			into.X.Mul(&p.X, &w)
			into.Y = p.Y
		}}},
		split: func(k *big.Int) []big.Int {
			s := ecc.SplitScalar(k, &lattice)
			return s[:]
		},
	}
})

// rootOfUnity returns w, that of the two with which phi multiplies by lambda.
func rootOfUnity() fp.Element {
	_, _, g, _ := curve.Generators()
	var want curve.G1Affine
	want.ScalarMultiplication(&g, glvMu)
	var w fp.Element
	for base := uint64(2); ; base++ {
		w.SetUint64(base)
		if w.Exp(w, thirdOf); w.IsOne() {
			continue
		}
		var x fp.Element
		if x.Mul(&g.X, &w); !x.Equal(&want.X) {
			w.Square(&w)
		}
		return w
	}
}

var onG2 = sync.OnceValue(func() *endomorphisms[curve.E2] {
	// The lattice of (a, b, c, d) with a + b lambda + c psi + d lambda psi = 0 mod r.
	var lattice ecc.Lattice4
	for i, row := range [4][4]*big.Int{
		{poly(0, 2), poly(0, 1), poly(1, 1), poly(0, -1)},
		{poly(0, -1), poly(0, 1), poly(0, 1), poly(1, 2)},
		{poly(-1, -1), poly(0, 1), poly(0, -1), poly(0, -2)},
		{poly(1, 2), poly(1, 1), poly(0, -1), poly(0, 1)},
	} {
		for j, v := range row {
			lattice.V[i][j].Set(v)
		}
	}
	ecc.PrecomputeLattice4(&lattice)
	w := rootOfUnity()
	w.Square(&w)
	var xi, u, v curve.E2 // 9 + i, the twist's non-residue
	xi.A0.SetUint64(9)
	xi.A1.SetOne()
	u.Exp(xi, thirdOf)
	v.Exp(xi, halfOf)
	psi := func(into, p *g2) {
		into.X.Conjugate(&p.X).Mul(&into.X, &u)
		into.Y.Conjugate(&p.Y).Mul(&into.Y, &v)
	}
	return &endomorphisms[curve.E2]{
		maps: []endomorphism[curve.E2]{
			{0, func(into, p *g2) {
				into.X.MulByElement(&p.X, &w)
				into.Y = p.Y
			}},
			{0, psi},
			{1, psi},
		},
		split: func(k *big.Int) []big.Int {
			s := ecc.SplitScalarFour(k, &lattice)
			return s[:]
		},
	}
})

// scaleEach multiplies n points, each by its own scalar.
func scaleEach[F any, P coordinate[F]](c *endomorphisms[F], n int, point func(i int) *affine[F], scalar func(i int) *fr.Element) {
	type scratch struct {
		multiplier[F, P]
		points  []*affine[F]
		scalars [][][]int8
	}
	inParallel(n, chunk, func() *scratch {
		return &scratch{multiplier: multiplier[F, P]{curve: c}}
	}, func(s *scratch, from, to int) {
		s.points, s.scalars = s.points[:0], s.scalars[:0]
		var last *fr.Element
		for i := from; i < to; i++ {
			s.points = append(s.points, point(i))
			if k := scalar(i); k == last {
				s.scalars = append(s.scalars, s.scalars[len(s.scalars)-1])
			} else {
				last, s.scalars = k, append(s.scalars, c.recode(k))
			}
		}
		s.multiply(s.points, s.scalars)
	})
}

func scaleG1(points []curve.G1Affine, scalar func(i int) *fr.Element) {
	scaleEach(onG1(), len(points), func(i int) *g1 { return asG1(&points[i]) }, scalar)
}

func scaleG2(points []curve.G2Affine, scalar func(i int) *fr.Element) {
	scaleEach(onG2(), len(points), func(i int) *g2 { return asG2(&points[i]) }, scalar)
}
