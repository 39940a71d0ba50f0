package circuit

import (
	"math/big"

	"github.com/consensys/gnark/frontend"
)

// SHA-1 (FIPS 180-4, section 6.1) with lookups over spread words.
//
// A word is used in two forms: dense, the integer itself, and spread, its bits taken as
// digits in a base. Rotations and additions are linear: words are cut at the bits where SHA-1
// rotates, so they cost nothing. Bitwise functions are in packed.go.

const (
	limbBits    = 11 // of a word's ordinary limbs
	topBits     = 8  // of the limb that holds a state word's five highest bits
	wordBits    = 32
	maxCarry    = 7 // of a sum of words
	sha1Rounds  = 80
	blockBytes  = 64
	digestWords = 5
)

var sha1IV = [digestWords]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}

var sha1K = [4]int64{0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6}

// sha1Tables are the tables that the compression function looks up.
type sha1Tables struct {
	spread *table // (x, spread(x)), x of 11 bits
	top    *table // (x, spread(x), x>>3), x of 8 bits
	carry  *table // 0 to maxCarry
	packed packedTables
}

func newSHA1Tables(a *argument, p packing) sha1Tables {
	return sha1Tables{
		spread: a.newTable("spread", rows(1<<limbBits, func(x int64) []int64 {
			return []int64{x, spread(x, p.base)}
		})),
		top: a.newTable("top", rows(1<<topBits, func(x int64) []int64 {
			return []int64{x, spread(x, p.base), x >> 3}
		})),
		carry:  a.newTable("carry", rows(maxCarry+1, func(x int64) []int64 { return []int64{x} })),
		packed: newPackedTables(a, p),
	}
}

// word is a 32-bit word of the state in the forms that rounds need. All fields are linear
// forms of table-checked limbs, or selections between such. A word that was rotated by 30
// has only the first two: it is not rotated again.
type word struct {
	dense, spread frontend.Variable
	low0, low1    frontend.Variable // bits 0 and 1: what a rotation by 30 moves up
	high5         frontend.Variable // bits 27..31: what a rotation by 5 moves down
}

// scheduleWord is a word of the message schedule.
type scheduleWord struct{ dense, spread frontend.Variable }

// chaining is the state between two blocks: h0..h4.
type chaining [digestWords]word

// sha1Gadget computes compressions inside one argument.
type sha1Gadget struct {
	api frontend.API
	a   *argument
	p   packing
	t   sha1Tables
}

func newSHA1Gadget(api frontend.API, a *argument, p packing) *sha1Gadget {
	return &sha1Gadget{api, a, p, newSHA1Tables(a, p)}
}

// compress is the SHA-1 compression function: the chaining value after one block
// of 16 words, whose spreads the caller has checked.
func (g *sha1Gadget) compress(h chaining, block [16]scheduleWord) chaining {
	w := g.schedule(block)
	a, b, c, d, e := h[0], h[1], h[2], h[3], h[4]
	for t := range sha1Rounds {
		f := g.apply(roundFunction(t), b, c, d)
		next := g.add(g.rotl5(a), f, e.dense, sha1K[t/20], w[t].dense)
		if t < sha1Rounds-1 { // the last one is only added to h0, below
			next = g.reduce(next.dense)
		}
		a, b, c, d, e = next, a, g.rotl30(b), c, d
	}
	for i, v := range []word{a, b, c, d, e} {
		h[i] = g.reduce(g.api.Add(h[i].dense, v.dense))
	}
	return h
}

func roundFunction(t int) int {
	switch t / 20 {
	case 0:
		return choice
	case 2:
		return majority
	}
	return parity
}

func (g *sha1Gadget) schedule(block [16]scheduleWord) (w [sha1Rounds]scheduleWord) {
	copy(w[:], block[:])
	for t := 16; t < sha1Rounds; t++ {
		w[t] = g.xorRotl1(w[t-3], w[t-8], w[t-14], w[t-16])
	}
	return w
}

// add returns a sum that is not reduced: of its forms it has only the dense one.
func (g *sha1Gadget) add(v0, v1 frontend.Variable, v ...frontend.Variable) word {
	return word{dense: g.api.Add(v0, v1, v...)}
}

// reduce returns total mod 2^32; total must be below 2^35.
func (g *sha1Gadget) reduce(total frontend.Variable) word {
	v := g.a.hint(reduceHint, 9, total)
	low0, low1, m1, s1, m2, s2, t, ts, high5 := v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]
	g.api.AssertIsBoolean(low0)
	g.api.AssertIsBoolean(low1)
	g.t.spread.assertRow(m1, s1)
	g.t.spread.assertRow(m2, s2)
	g.t.top.assertRow(t, ts, high5)
	join := func(base int64, m1, m2, t frontend.Variable) frontend.Variable {
		return g.api.Add(low0, g.api.Mul(low1, base), g.api.Mul(m1, pow(base, 2)),
			g.api.Mul(m2, pow(base, 2+limbBits)), g.api.Mul(t, pow(base, 2+2*limbBits)))
	}
	w := word{dense: join(2, m1, m2, t), spread: join(g.p.base, s1, s2, ts), low0: low0, low1: low1, high5: high5}
	g.t.carry.assertRow(g.div(g.api.Sub(total, w.dense), pow(2, wordBits)))
	return w
}

func (g *sha1Gadget) rotl5(a word) frontend.Variable {
	// 32*(a - 2^27*high5) + high5
	return g.api.Add(g.api.Mul(a.dense, 32), g.api.Mul(a.high5, 1-1<<wordBits))
}

func (g *sha1Gadget) rotl30(a word) word {
	up := func(base int64, v frontend.Variable) frontend.Variable {
		low := g.api.Add(a.low0, g.api.Mul(a.low1, base))
		return g.api.Add(g.div(g.api.Sub(v, low), pow(base, 2)), g.api.Mul(low, pow(base, wordBits-2)))
	}
	return word{dense: up(2, a.dense), spread: up(g.p.base, a.spread)}
}

// div is the division of a linear form by a constant, in the field.
func (g *sha1Gadget) div(v frontend.Variable, by *big.Int) frontend.Variable {
	return g.api.Mul(v, new(big.Int).ModInverse(by, g.api.Compiler().Field()))
}

// initial returns SHA-1's initial value.
func (g *sha1Gadget) initial() (h chaining) {
	for i, w := range sha1IV {
		h[i] = word{
			dense: int64(w), spread: spreadWord(w, g.p.base),
			low0: int64(w & 1), low1: int64(w >> 1 & 1), high5: int64(w >> 27),
		}
	}
	return h
}

// choose returns the initial value where first is 1 and h where it is 0.
// first must be constrained to a bit by the caller.
func (g *sha1Gadget) choose(first frontend.Variable, h chaining) (out chaining) {
	mux := func(c, v frontend.Variable) frontend.Variable {
		return g.api.Add(v, g.api.Mul(first, g.api.Sub(c, v)))
	}
	iv := g.initial()
	for i := range out {
		out[i].dense = mux(iv[i].dense, h[i].dense)
		if i < 4 { // h4 only ever enters an addition
			out[i].spread = mux(iv[i].spread, h[i].spread)
		}
		if i < 2 { // h0 and h1 become a rotl30 later, h2 to h4 are used as they are
			out[i].low0 = mux(iv[i].low0, h[i].low0)
			out[i].low1 = mux(iv[i].low1, h[i].low1)
		}
	}
	out[0].high5 = mux(iv[0].high5, h[0].high5)
	return out
}

// digest returns a chaining value as the 160-bit integer that git prints in hex.
func (g *sha1Gadget) digest(h chaining) frontend.Variable {
	words := make([]frontend.Variable, digestWords)
	for i := range words {
		words[i] = h[i].dense
	}
	return integer(g.api, words, pow(2, wordBits))
}

// sha1Circuit claims that Digest is the SHA-1 of a padded message. It is what the
// cost of a block is measured on.
type sha1Circuit struct {
	Digest frontend.Variable `gnark:",public"`
	Bytes  []frontend.Variable

	testingOnlyFree    bool     // any digest will do
	testingOnlyPacking *packing // another than the standard one
}

// Define implements frontend.Circuit.
func (c *sha1Circuit) Define(api frontend.API) error {
	p := standard
	if c.testingOnlyPacking != nil {
		p = *c.testingOnlyPacking
	}
	a := newArgument(api)
	g := newSHA1Gadget(api, a, p)
	bytes := newByteTable(a)
	h := g.initial()
	for k := 0; k < len(c.Bytes); k += blockBytes {
		block, _ := bytes.words(c.Bytes[k : k+blockBytes])
		h = g.compress(h, block)
	}
	if !c.testingOnlyFree {
		api.AssertIsEqual(g.digest(h), c.Digest)
	}
	_, err := a.finish(0)
	return err
}
