package setup

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// field is what the coordinates of G1 and of G2 have: fp.Element and bn254.E2.
type field[E any] interface {
	*E
	Add(x, y *E) *E
	Sub(x, y *E) *E
	Mul(x, y *E) *E
	Square(x *E) *E
	Double(x *E) *E
	Neg(x *E) *E
	Inverse(x *E) *E
	SetOne() *E
	Equal(x *E) bool
	IsZero() bool
}

// point is a point of y^2 = x^3 + b; (0, 0) is the one at infinity, as in gnark-crypto.
type point[E any] struct{ X, Y E }

// digits of a scalar are signed and have digitBits bits: from -2^(digitBits-1)+1 to
// 2^(digitBits-1). The last takes the carry.
const (
	digitBits = 13
	digits    = (fr.Bits + digitBits) / digitBits
	digitMax  = 1 << (digitBits - 1)
)

// batch is how many points share an inversion.
const batch = 1024

// comb multiplies one point by many scalars, at one addition a digit: gnark-crypto's
// BatchScalarMultiplicationG1 and G2 double as well, and take nine times as long.
type comb[E any, F field[E], A ~struct{ X, Y E }] struct {
	multiple [digits][]point[E] // by digit i, then by d-1: d 2^(digitBits i) times the point
}

func newComb[E any, F field[E], A ~struct{ X, Y E }](base A) *comb[E, F, A] {
	t := new(comb[E, F, A])
	var add adder[E, F]
	next := point[E](base)
	for i := range t.multiple {
		row := make([]point[E], digitMax)
		row[0] = next
		for n := 1; n < len(row); n *= 2 { // from n multiples to twice as many
			copy(row[n:], row[:n])
			for k := range n {
				add.put(&row[n+k], &row[n-1])
			}
			add.flush()
		}
		t.multiple[i] = row
		next = row[len(row)-1]
		add.put(&next, &row[len(row)-1])
		add.flush()
	}
	return t
}

// times multiplies the point by each scalar, on all processors. It adds cost to done for each,
// and ends early with the context's error.
func (t *comb[E, F, A]) times(ctx context.Context, scalars fr.Vector, done *atomic.Int64, cost int64) ([]A, error) {
	out := make([]A, len(scalars))
	parallel(len(scalars), func(from, to int) {
		var add adder[E, F]
		sums := make([]point[E], batch)
		for ; from < to && ctx.Err() == nil; from += batch {
			n := min(batch, to-from)
			t.multiples(&add, sums[:n], scalars[from:from+n])
			for k, s := range sums[:n] {
				out[from+k] = A(s)
			}
			done.Add(cost * int64(n))
		}
	})
	return out, ctx.Err()
}

// parallel calls do with parts of 0 to n, on all processors.
func parallel(n int, do func(from, to int)) {
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { do(w*n/workers, (w+1)*n/workers) })
	}
	wg.Wait()
}

func (t *comb[E, F, A]) multiples(add *adder[E, F], sums []point[E], scalars fr.Vector) {
	clear(sums)
	signed := make([][digits]int32, len(scalars))
	for k := range scalars {
		signed[k] = split(&scalars[k])
	}
	for i, row := range t.multiple {
		for k := range sums {
			switch d := signed[k][i]; {
			case d > 0:
				add.put(&sums[k], &row[d-1])
			case d < 0:
				add.putNegative(&sums[k], &row[-d-1])
			}
		}
		add.flush()
	}
}

// split returns the digits of a scalar, the least first.
func split(x *fr.Element) (d [digits]int32) {
	words := x.Bits()
	carry := int32(0)
	for i := range d {
		at := i * digitBits
		v := words[at/64] >> (at % 64)
		if at%64+digitBits > 64 && at/64+1 < len(words) {
			v |= words[at/64+1] << (64 - at%64)
		}
		d[i] = int32(v&(1<<digitBits-1)) + carry
		carry = 0
		if d[i] > digitMax {
			d[i] -= 1 << digitBits
			carry = 1
		}
	}
	return d
}

// adder adds points to others, with one inversion for all that wait. No point may be a sum twice
// between two flushes, or a summand and a sum.
type adder[E any, F field[E]] struct {
	waiting []sum[E]

	// Scratch: what methods of a type parameter get would else be allocated.
	minus         point[E]
	product, x, y E
}

// sum is to += add. The slope is over/under; before is the product of the unders before.
type sum[E any] struct {
	to                  *point[E]
	addX                E
	over, under, before E
}

func (a *adder[E, F]) putNegative(to, add *point[E]) {
	a.minus.X = add.X
	F(&a.minus.Y).Neg(&add.Y)
	a.put(to, &a.minus)
}

// put takes note of to += add. What needs no slope is done at once.
func (a *adder[E, F]) put(to, add *point[E]) {
	switch {
	case infinite[E, F](add):
		return
	case infinite[E, F](to):
		*to = *add
		return
	}
	a.waiting = append(a.waiting, sum[E]{to: to, addX: add.X})
	s := &a.waiting[len(a.waiting)-1]
	switch F(&s.under).Sub(&add.X, &to.X); {
	case !F(&s.under).IsZero():
		F(&s.over).Sub(&add.Y, &to.Y)
	case F(&to.Y).Equal(&add.Y): // the tangent: 3 x^2 / 2 y
		F(&s.over).Square(&to.X)
		F(&s.under).Double(&s.over)
		F(&s.over).Add(&s.over, &s.under)
		F(&s.under).Double(&to.Y)
	default:
		*to = point[E]{}
		a.waiting = a.waiting[:len(a.waiting)-1]
	}
}

// flush does the additions that wait.
func (a *adder[E, F]) flush() {
	product, x, y := F(&a.product), F(&a.x), F(&a.y)
	product.SetOne()
	for i := range a.waiting {
		s := &a.waiting[i]
		s.before = *product
		product.Mul(product, &s.under)
	}
	product.Inverse(product)
	for i := len(a.waiting) - 1; i >= 0; i-- {
		s := &a.waiting[i]
		slope := F(&s.before)
		slope.Mul(slope, product)
		product.Mul(product, &s.under)
		slope.Mul(slope, &s.over)
		x.Square(slope)
		x.Sub(x, &s.to.X)
		x.Sub(x, &s.addX)
		y.Sub(&s.to.X, x)
		y.Mul(y, slope)
		F(&s.to.Y).Sub(y, &s.to.Y)
		s.to.X = *x
	}
	a.waiting = a.waiting[:0]
}

func infinite[E any, F field[E]](p *point[E]) bool { return F(&p.X).IsZero() && F(&p.Y).IsZero() }
