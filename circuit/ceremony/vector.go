package ceremony

import (
	"math/big"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// Vectors of points, for what a ceremony does to hundreds of thousands of them at once.
// gnark-crypto's points are added and multiplied one by one, each with an inversion or
// in coordinates that cost more; here a whole vector goes through every step together
// and shares one inversion (Montgomery's trick). Tests hold the results against
// gnark-crypto's, and what is derived with them is checked on its own (checkStart).

// coordinate is the field that a curve's points live in: fp.Element or bn254.E2.
type coordinate[F any] interface {
	*F
	Add(a, b *F) *F
	Sub(a, b *F) *F
	Mul(a, b *F) *F
	Square(a *F) *F
	Double(a *F) *F
	Neg(a *F) *F
	Inverse(a *F) *F
	IsZero() bool
	SetZero() *F
	SetOne() *F
}

// affine is a point of a curve y^2 = x^3 + b, whose order is odd; (0, 0) is infinity.
type affine[F any] struct{ X, Y F }

func infinite[F any, P coordinate[F]](p *affine[F]) bool {
	return P(&p.X).IsZero() && P(&p.Y).IsZero()
}

// adder adds many pairs of points with one inversion. It is scratch space, for one
// goroutine.
type adder[F any, P coordinate[F]] struct {
	into []*affine[F]
	by   []*affine[F]
	num  []F // numerator of the slope
	den  []F // its denominator
	run  []F // products of denominators up to here
	inv  F
	t, u F
}

// add plans into += by. Until flush is called neither may be used again.
func (a *adder[F, P]) add(into, by *affine[F]) {
	if infinite[F, P](by) {
		return
	}
	if infinite[F, P](into) {
		*into = *by
		return
	}
	P(&a.t).Sub(&by.X, &into.X)
	P(&a.u).Sub(&by.Y, &into.Y)
	switch {
	case !P(&a.t).IsZero():
		a.plan(into, by)
	case P(&a.u).IsZero():
		a.double(into)
	default: // opposite points
		*into = affine[F]{}
	}
}

// double plans into += into.
func (a *adder[F, P]) double(into *affine[F]) {
	if infinite[F, P](into) {
		return
	}
	P(&a.t).Square(&into.X)
	P(&a.u).Double(&a.t)
	P(&a.u).Add(&a.u, &a.t) // 3x^2
	P(&a.t).Double(&into.Y) // 2y, not zero: the order is odd
	a.plan(into, into)
}

func (a *adder[F, P]) plan(into, by *affine[F]) {
	a.into, a.by = append(a.into, into), append(a.by, by)
	a.num, a.den = append(a.num, a.u), append(a.den, a.t)
}

// flush does what was planned.
func (a *adder[F, P]) flush() {
	if len(a.den) == 0 {
		return
	}
	a.run = append(a.run[:0], a.den[0])
	for i := 1; i < len(a.den); i++ {
		a.run = append(a.run, a.den[i])
		P(&a.run[i]).Mul(&a.run[i-1], &a.den[i])
	}
	P(&a.inv).Inverse(&a.run[len(a.run)-1])
	for i := len(a.den) - 1; i >= 0; i-- {
		// inv is one over den[0] .. den[i].
		slope := &a.num[i]
		if i > 0 {
			P(&a.t).Mul(&a.inv, &a.run[i-1])
			P(&a.inv).Mul(&a.inv, &a.den[i])
			P(slope).Mul(slope, &a.t)
		} else {
			P(slope).Mul(slope, &a.inv)
		}
		p, q := a.into[i], a.by[i]
		P(&a.t).Square(slope)
		P(&a.t).Sub(&a.t, &p.X)
		P(&a.t).Sub(&a.t, &q.X)
		P(&a.u).Sub(&p.X, &a.t)
		P(&a.u).Mul(&a.u, slope)
		P(&p.Y).Sub(&a.u, &p.Y)
		p.X = a.t
	}
	a.into, a.by, a.num, a.den = a.into[:0], a.by[:0], a.num[:0], a.den[:0]
}

// A scalar is written with digits 0, ±1, ±3 .. ±15, of which at most one in window
// places is not zero, for each endomorphism of the curve.
const (
	window = 5
	odds   = 1 << (window - 2) // 1, 3 .. 15
)

// digits returns those of a number, from the lowest.
func digits(k []uint64, negative bool) (out []int8) {
	out = make([]int8, 0, 64*len(k)+1)
	sign := int8(1)
	if negative {
		sign = -1
	}
	var w [6]uint64
	copy(w[:], k)
	for w != [6]uint64{} {
		d := int8(0)
		if w[0]&1 == 1 {
			low := int8(w[0] & (1<<window - 1))
			var borrow, carry uint64
			if low >= 1<<(window-1) { // take it as negative
				low -= 1 << window
				w[0], carry = bits.Add64(w[0], uint64(-low), 0)
				for i := 1; i < len(w); i++ {
					w[i], carry = bits.Add64(w[i], 0, carry)
				}
			} else {
				w[0], borrow = bits.Sub64(w[0], uint64(low), 0)
				for i := 1; i < len(w); i++ {
					w[i], borrow = bits.Sub64(w[i], 0, borrow)
				}
			}
			d = low * sign
		}
		out = append(out, d)
		for i := range w {
			w[i] >>= 1
			if i+1 < len(w) {
				w[i] |= w[i+1] << 63
			}
		}
	}
	return out
}

// endomorphisms are maps of a curve that multiply by fixed scalars and cost next to
// nothing, so that a scalar can be split into several short ones.
type endomorphisms[F any] struct {
	maps  []endomorphism[F]
	split func(k *big.Int) []big.Int // one more than maps: the first is for the point itself
}

// endomorphism makes its image from that of an earlier one, or from the point (0).
type endomorphism[F any] struct {
	from  int
	apply func(into, p *affine[F])
}

// recode returns the digits of a scalar for each endomorphism.
func (c *endomorphisms[F]) recode(s *fr.Element) [][]int8 {
	var k big.Int
	parts := c.split(s.BigInt(&k))
	out := make([][]int8, len(parts))
	var words [6]uint64
	for i := range parts {
		w := words[:0]
		for _, bits := range parts[i].Bits() {
			w = append(w, uint64(bits))
		}
		out[i] = digits(w, parts[i].Sign() < 0)
	}
	return out
}

// multiplier multiplies vectors of points by scalars. It is scratch space, for one
// goroutine.
type multiplier[F any, P coordinate[F]] struct {
	adder[F, P]
	curve *endomorphisms[F]
	acc   []affine[F]
	neg   []affine[F]         // of what is added next
	table [][][odds]affine[F] // odd multiples, by endomorphism, then by point
}

// multiply multiplies at most chunk points by scalars, each by that with its digits.
func (m *multiplier[F, P]) multiply(points []*affine[F], scalars [][][]int8) {
	if m.acc == nil {
		m.acc, m.neg = make([]affine[F], chunk), make([]affine[F], chunk)
		m.table = make([][][odds]affine[F], len(m.curve.maps)+1)
		for e := range m.table {
			m.table[e] = make([][odds]affine[F], chunk)
		}
	}
	m.tables(points)
	longest := 0
	for _, s := range scalars {
		for _, d := range s {
			longest = max(longest, len(d))
		}
	}
	acc := m.acc[:len(points)]
	clear(acc)
	for at := longest - 1; at >= 0; at-- {
		for i := range acc {
			m.double(&acc[i])
		}
		m.flush()
		for e := range m.table {
			for i := range acc {
				if at < len(scalars[i][e]) {
					m.addDigit(i, e, scalars[i][e][at])
				}
			}
			m.flush()
		}
	}
	for i, p := range points {
		*p = acc[i]
	}
}

func (m *multiplier[F, P]) addDigit(i, e int, d int8) {
	switch {
	case d > 0:
		m.add(&m.acc[i], &m.table[e][i][d/2])
	case d < 0:
		m.neg[i] = m.table[e][i][-d/2]
		P(&m.neg[i].Y).Neg(&m.neg[i].Y)
		m.add(&m.acc[i], &m.neg[i])
	}
}

// tables makes the odd multiples of each point and their images.
func (m *multiplier[F, P]) tables(points []*affine[F]) {
	for i, p := range points {
		m.acc[i] = *p
		m.table[0][i][0] = *p
		m.double(&m.acc[i])
	}
	m.flush()
	for k := 1; k < odds; k++ {
		for i := range points {
			m.table[0][i][k] = m.table[0][i][k-1]
			m.add(&m.table[0][i][k], &m.acc[i])
		}
		m.flush()
	}
	for e, f := range m.curve.maps {
		for i := range points {
			for k := range odds {
				f.apply(&m.table[e+1][i][k], &m.table[f.from][i][k])
			}
		}
	}
}

// chunk is how many points go through a step together.
const chunk = 512

// inParallel calls work with ranges that cover 0 to n, on every processor. Each
// goroutine gets its own scratch space from begin.
func inParallel[S any](n, size int, begin func() S, work func(s S, from, to int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+size-1)/size) {
		wg.Go(func() {
			s := begin()
			for {
				from := int(next.Add(int64(size))) - size
				if from >= n {
					return
				}
				work(s, from, min(from+size, n))
			}
		})
	}
	wg.Wait()
}
