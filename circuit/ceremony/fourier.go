package ceremony

import (
	"math/bits"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
)

// twiddles are the scalars of a Fourier transform of points, recoded once for all of
// its stages.
type twiddles[F any, P coordinate[F]] struct {
	curve *endomorphisms[F]
	n     int
	roots [][][]int8 // w^-i, i < n/2
	first [][][]int8 // w^-i / n
}

func newTwiddles[F any, P coordinate[F]](c *endomorphisms[F], n int) *twiddles[F, P] {
	t := &twiddles[F, P]{c, n, make([][][]int8, n/2), make([][][]int8, n/2)}
	domain := fft.NewDomain(uint64(n))
	none := func() struct{} { return struct{}{} }
	inParallel(n/2, chunk, none, func(_ struct{}, from, to int) {
		w := power(&domain.GeneratorInv, uint64(from))
		for i := from; i < to; i++ {
			var scaled fr.Element
			scaled.Mul(&w, &domain.CardinalityInv)
			t.roots[i], t.first[i] = c.recode(&w), c.recode(&scaled)
			w.Mul(&w, &domain.GeneratorInv)
		}
	})
	return t
}

// lagrange turns the powers [s^0 .. s^(n-1)] of a secret into [L_0(s) .. L_(n-1)(s)], the
// Lagrange polynomials of the n-th roots of unity: the inverse Fourier transform. Both
// may carry a factor, as alpha or beta. It works in place.
func (t *twiddles[F, P]) lagrange(points []affine[F]) {
	type scratch struct {
		multiplier[F, P]
		diff    []affine[F]
		minus   []affine[F]
		points  []*affine[F]
		scalars [][][]int8
	}
	begin := func() *scratch {
		return &scratch{multiplier: multiplier[F, P]{curve: t.curve}, diff: make([]affine[F], chunk), minus: make([]affine[F], chunk)}
	}
	for half := t.n / 2; half >= 1; half /= 2 {
		inParallel(t.n/2, chunk/2, begin, func(s *scratch, from, to int) {
			s.points, s.scalars = s.points[:0], s.scalars[:0]
			for k := from; k < to; k++ {
				i := k % half
				a := &points[(k-i)*2+i]
				b := &points[(k-i)*2+i+half]
				// a, b become a + b and (a - b) times a root.
				d, m := &s.diff[k-from], &s.minus[k-from]
				*d, *m = *a, *b
				P(&m.Y).Neg(&m.Y)
				s.add(d, m)
				s.add(a, b)
				switch {
				case half == t.n/2: // and all of it divided by n, here only
					s.points = append(s.points, a, d)
					s.scalars = append(s.scalars, t.first[0], t.first[i])
				case i > 0:
					s.points = append(s.points, d)
					s.scalars = append(s.scalars, t.roots[i*(t.n/2/half)])
				}
			}
			s.flush()
			s.multiply(s.points, s.scalars)
			for k := from; k < to; k++ {
				points[(k-k%half)*2+k%half+half] = s.diff[k-from]
			}
		})
	}
	reverseBits(points)
}

// reverseBits puts element i at the place whose number has i's bits in reverse.
func reverseBits[T any](v []T) {
	n := bits.TrailingZeros(uint(len(v)))
	for i := range v {
		if j := int(bits.Reverse64(uint64(i)) >> (64 - n)); j > i {
			v[i], v[j] = v[j], v[i]
		}
	}
}

func power(base *fr.Element, exponent uint64) fr.Element {
	var out fr.Element
	out.SetOne()
	for i := bits.Len64(exponent) - 1; i >= 0; i-- {
		out.Square(&out)
		if exponent>>i&1 == 1 {
			out.Mul(&out, base)
		}
	}
	return out
}
