package circuit

import (
	"fmt"
	"math/big"

	"github.com/consensys/gnark/frontend"
)

// Packed limbs: a bitwise function for the price of one lookup a limb.
//
// A bitwise function of words is read off a sum of their spreads, digit by digit (see
// function). Its result S is then a linear form in wires that exist, and costs nothing; what
// costs is to turn a spread back into an integer. A table with the rows
//
//	dense weight * x + spread weight * spread(x)
//
// does it with one column: the prover names such rows, whose sum P is made of an integer D and
// its spread S', and
//
//	(P - spread weight * S) / dense weight = D + (spread weight / dense weight) (S' - S)
//
// is the integer of the spread S if S' = S. Nothing checks that by itself. The form is added up
// in a round of SHA-1, where a schedule word comes twice (rotated by one), and the sum must be
// a new word and a carry. With the weights of the standard packing, M for the dense form of a
// schedule word and L for the spread of a round function's result, and the other two 1,
//
//	2 (schedule error)  +  M (dense error)  +  M L/2 (round function error)  =  0.
//
// Every error is so small that the three terms have a slot of bits each to themselves and
// stay below the field's order. So each is zero: all words of the round are right, and no
// error lives to see the next one. TestSlots computes these bounds, and TestDigits that no
// digit of an equation reaches its base: on them rests that this is SHA-1.
//
// (The weight is with the dense form where it makes the rows shorter: short wires are cheap.)
type packing struct {
	base     int64   // of the spreads of state words
	schedule weights // of a schedule word's limbs
	round    weights // of the limbs of a round function's result; the spread's is even
}

type weights struct{ dense, spread *big.Int }

// standard is the packing of the circuits that have keys.
var standard = packing{
	base:     11,
	schedule: weights{dense: pow(2, 94), spread: big.NewInt(1)},
	round:    weights{dense: big.NewInt(1), spread: pow(2, 40)},
}

// loose is a packing that does not hold dense and spread forms together.
var loose = packing{
	base:     11,
	schedule: weights{dense: big.NewInt(1), spread: new(big.Int)},
	round:    weights{dense: big.NewInt(1), spread: new(big.Int)},
}

// function is a bitwise function f of three words, as an equation of the digits of spreads:
//
//	constant + weights . (b, c, d) = bit f + other rest, with rest out of rests.
//
// It is good for a base if, whatever f and rest a prover names, all digits of either side
// (negative terms brought over) are below the base, so that nothing is carried, and only the
// true f solves it.
type function struct {
	constant   int64
	weights    [3]int64 // of b, c, d
	bit, other int64
	rests      []int64
	restLen    int // digits of a limb of the rest
}

// The round functions of SHA-1 (FIPS 180-4, section 4.1.1).
const (
	choice = iota
	majority
	parity
)

// For the choice there are no weights that do with fewer values of the rest, and with these
// none that do with a smaller base than 11: constant + c + 2 f is at most 10.
var functions = [...]function{
	choice:   {constant: 7, weights: [3]int64{-4, 1, -3}, bit: -2, other: 1, rests: []int64{0, 3, 6, 7, 8}, restLen: 4},
	majority: {weights: [3]int64{1, 1, 1}, bit: 2, other: 1, rests: []int64{0, 1}, restLen: limbBits},
	parity:   {weights: [3]int64{1, 1, 1}, bit: 1, other: 2, rests: []int64{0, 1}, restLen: limbBits},
}

// limbs is how many limbs the rest of a word has.
func (f *function) limbs() int { return (wordBits + f.restLen - 1) / f.restLen }

// The exclusive or of four schedule words in base 6: their sum is xor + 2 quotient, and
// quotient is 0, 1 or 2. In base 5 the pair (1, 2) would be read as a carry.
const (
	scheduleBase  = 6
	quotientLen   = 7 // digits of a quotient's limb
	quotientLimbs = 5
)

var quotients = []int64{0, 1, 2}

// Bits of the three packed limbs of a word, and of the lower 31 bits of a schedule word.
var (
	roundLimbs    = [3]int{limbBits, limbBits, wordBits - 2*limbBits}
	scheduleLimbs = [3]int{limbBits, limbBits, wordBits - 1 - 2*limbBits}
)

// packedTables are the tables of packed limbs and of what is left of the digits.
type packedTables struct {
	round, schedule  [3]*table
	rests            [len(functions)]*table
	scheduleQuotient *table
}

func newPackedTables(a *argument, p packing) (t packedTables) {
	for i := range 3 {
		t.round[i] = a.newTable(fmt.Sprint("round limb ", i), column(p.roundRows(i)))
		t.schedule[i] = a.newTable(fmt.Sprint("schedule limb ", i), column(p.scheduleRows(i)))
	}
	t.rests[choice] = a.newTable("rest of a choice", p.restRows(choice))
	t.rests[majority] = a.newTable("rest", p.restRows(majority))
	t.rests[parity] = t.rests[majority] // the same digits
	t.scheduleQuotient = a.newTable("quotient", digitRows(scheduleBase, quotients, quotientLen))
	return t
}

func (p packing) roundRows(limb int) []*big.Int {
	return packedRows(p.round, p.base, limb, roundLimbs[limb])
}

func (p packing) scheduleRows(limb int) []*big.Int {
	return packedRows(p.schedule, scheduleBase, limb, scheduleLimbs[limb])
}

func (p packing) restRows(kind int) [][]*big.Int {
	return digitRows(p.base, functions[kind].rests, functions[kind].restLen)
}

// packedRows returns the packed rows for all x of some bits at the place of a limb in its word.
func packedRows(w weights, base int64, limb, bits int) []*big.Int {
	place := int64(limb * limbBits)
	dense := new(big.Int).Mul(w.dense, pow(2, place))
	spreads := new(big.Int).Mul(w.spread, pow(base, place))
	out := make([]*big.Int, 1<<bits)
	for x := range out {
		d := new(big.Int).Mul(dense, big.NewInt(int64(x)))
		out[x] = d.Add(d, new(big.Int).Mul(spreads, big.NewInt(spread(int64(x), base))))
	}
	return out
}

// digitRows returns all numbers of n digits out of a set.
func digitRows(base int64, set []int64, n int) [][]*big.Int {
	count := int64(len(set))
	return rows(pow(count, int64(n)).Int64(), func(x int64) []int64 {
		v, weight := int64(0), int64(1)
		for range n {
			v += set[x%count] * weight
			x /= count
			weight *= base
		}
		return []int64{v}
	})
}

func column(v []*big.Int) [][]*big.Int {
	out := make([][]*big.Int, len(v))
	for i := range v {
		out[i] = []*big.Int{v[i]}
	}
	return out
}

// spread returns the bits of x as digits in the given base. There is room for 11 bits of a
// state word and 24 of a schedule word.
func spread(x, base int64) int64 {
	v, weight := int64(0), int64(1)
	for ; x > 0; x >>= 1 {
		v += (x & 1) * weight
		weight *= base
	}
	return v
}

// spreadWord is spread for a word of 32 bits, in any base.
func spreadWord(x uint32, base int64) *big.Int {
	v := new(big.Int)
	for i := wordBits - 1; i >= 0; i-- {
		v.Mul(v, big.NewInt(base))
		v.Add(v, big.NewInt(int64(x>>i&1)))
	}
	return v
}

func pow(base, exp int64) *big.Int {
	return new(big.Int).Exp(big.NewInt(base), big.NewInt(exp), nil)
}

// apply returns a round function of three words, dense, for a round's sum.
func (g *sha1Gadget) apply(kind int, b, c, d word) frontend.Variable {
	f := &functions[kind]
	total := g.api.Add(new(big.Int).Mul(big.NewInt(f.constant), spreadWord(1<<wordBits-1, g.p.base)),
		g.api.Mul(b.spread, f.weights[0]), g.api.Mul(c.spread, f.weights[1]), g.api.Mul(d.spread, f.weights[2]))

	v := g.a.hint(functionHint, 3+f.limbs(), total, kind)
	for i := range 3 {
		g.t.packed.round[i].assertRow(v[i])
	}
	rest := frontend.Variable(0)
	for i, limb := range v[3:] {
		g.t.packed.rests[kind].assertRow(limb)
		rest = g.api.Add(rest, g.api.Mul(limb, pow(g.p.base, int64(i*f.restLen))))
	}
	bits := g.div(g.api.Sub(total, g.api.Mul(rest, f.other)), big.NewInt(f.bit))
	return g.unpack(g.p.round, v[:3], bits)
}

// unpack returns the dense form of packed limbs whose spread is known.
func (g *sha1Gadget) unpack(w weights, limbs []frontend.Variable, spread frontend.Variable) frontend.Variable {
	return g.div(g.api.Sub(sum(g.api, limbs), g.api.Mul(spread, w.spread)), w.dense)
}

// xorRotl1 returns the exclusive or of four schedule words, rotated left by one, for a
// round's sum and for later words of the schedule.
func (g *sha1Gadget) xorRotl1(a, b, c, d scheduleWord) scheduleWord {
	total := g.api.Add(a.spread, b.spread, c.spread, d.spread)
	v := g.a.hint(xorHint, 3+1+quotientLimbs, total)
	for i := range 3 {
		g.t.packed.schedule[i].assertRow(v[i])
	}
	high := v[3] // the highest bit, which the rotation makes the lowest
	g.api.AssertIsBoolean(high)
	low := g.api.Sub(total, g.api.Mul(high, pow(scheduleBase, wordBits-1))) // the 31 others, spread
	for i, limb := range v[4:] {
		g.t.packed.scheduleQuotient.assertRow(limb)
		low = g.api.Sub(low, g.api.Mul(limb, new(big.Int).Lsh(pow(scheduleBase, int64(i*quotientLen)), 1)))
	}
	dense := g.unpack(g.p.schedule, v[:3], low)
	return scheduleWord{
		dense:  g.api.Add(g.api.Mul(dense, 2), high),
		spread: g.api.Add(g.api.Mul(low, scheduleBase), high),
	}
}
