package circuit

import (
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// SHA-1 (FIPS 180-4, section 6.1) with lookups over spread words.
//
// A word is used in two forms: dense, the integer itself, and spread, its bits
// taken as digits in base 4 (or 6). A sum of three base-4 spreads has digits 0..3,
// whose low bits are the xor and whose high bits are the majority of the three
// words; a sum of four base-6 spreads has digits 0..4 = xor + 2*(0, 1 or 2). So a
// sum is split by naming its two parts, each cut into limbs that a table knows
// to be spreads. Rotations and additions are linear: words are cut at the bits
// where SHA-1 rotates, so they cost nothing.
//
// Base 6 and not 5 for the four-way sum: with digits xor + 2q, q in 0..2, the
// pair (1, 2) makes 5, which base 5 would read as a carry into the next digit.

// sha1Tables are the tables that the compression function looks up.
type sha1Tables struct {
	spread4    *table // (x, spread4(x)), x of 11 bits
	set4       *table // spread4(x), x of 11 bits
	top        *table // (x, spread4(x), x>>3), x of 8 bits
	carry      *table // 0..7
	spread6    *table // (x, spread6(x)), x of 11 bits
	spread6top *table // (x, spread6(x)), x of 9 bits
	ternary    *table // base-6 numbers of 7 digits, each 0, 1 or 2
}

const (
	limbBits    = 11 // of a word's ordinary limbs
	topBits     = 8  // of the limb that holds a state word's five highest bits
	spread6Top  = 9  // of the limb below a schedule word's highest bit
	ternaryLen  = 7  // digits of a quotient's limb
	wordBits    = 32
	sha1Rounds  = 80
	blockBytes  = 64
	digestWords = 5
)

func newSHA1Tables(a *argument) *sha1Tables {
	pairs := func(name string, base int64, bits int) *table {
		return a.newTable(name, rows(1<<bits, func(x int64) []int64 { return []int64{x, spread(x, base)} }))
	}
	return &sha1Tables{
		spread4:    pairs("spread4", 4, limbBits),
		spread6:    pairs("spread6", 6, limbBits),
		spread6top: pairs("spread6top", 6, spread6Top),
		set4:       a.newTable("set4", rows(1<<limbBits, func(x int64) []int64 { return []int64{spread(x, 4)} })),
		top: a.newTable("top", rows(1<<topBits, func(x int64) []int64 {
			return []int64{x, spread(x, 4), x >> 3}
		})),
		carry: a.newTable("carry", rows(8, func(x int64) []int64 { return []int64{x} })),
		ternary: a.newTable("ternary", rows(pow(3, ternaryLen).Int64(), func(x int64) []int64 {
			v, w := int64(0), int64(1)
			for ; x > 0; x /= 3 {
				v += x % 3 * w
				w *= 6
			}
			return []int64{v}
		})),
	}
}

// rows are those of a table: for x from 0 to n-1 what row returns.
func rows(n int64, row func(x int64) []int64) [][]int64 {
	out := make([][]int64, n)
	for x := range out {
		out[x] = row(int64(x))
	}
	return out
}

// spread returns the bits of x as digits in the given base. In base 4 a whole word has room.
func spread(x, base int64) int64 {
	v, w := int64(0), int64(1)
	for ; x > 0; x >>= 1 {
		v += (x & 1) * w
		w *= base
	}
	return v
}

func pow(base, exp int64) *big.Int {
	return new(big.Int).Exp(big.NewInt(base), big.NewInt(exp), nil)
}

// stateWord is a 32-bit word of the state in the forms the rounds need. All
// fields are linear forms of table-checked limbs, or selections between such.
type stateWord struct {
	dense, spread frontend.Variable
	low0, low1    frontend.Variable // bits 0 and 1: what a rotation by 30 moves up
	high5         frontend.Variable // bits 27..31: what a rotation by 5 moves down
}

// rotated30 is a word after rotl30, or a plain one: what rounds use as c, d and e.
type rotated30 struct{ dense, spread frontend.Variable }

// scheduleWord is a word of the message schedule.
type scheduleWord struct{ dense, spread6 frontend.Variable }

// chaining is the state between two blocks: h0..h4.
type chaining [digestWords]stateWord

var sha1IV = [digestWords]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}

var sha1K = [4]int64{0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6}

// sha1Gadget computes compressions inside one argument.
type sha1Gadget struct {
	api frontend.API
	a   *argument
	t   *sha1Tables
}

func constantState(iv [digestWords]uint32) (h chaining) {
	for i, w := range iv {
		h[i] = stateWord{
			dense: int64(w), spread: spread(int64(w), 4),
			low0: int64(w & 1), low1: int64(w >> 1 & 1), high5: int64(w >> 27),
		}
	}
	return h
}

// choose returns the initial value where first is 1 and h where it is 0.
// first must be constrained to a bit by the caller.
func (g *sha1Gadget) choose(first frontend.Variable, h chaining) chaining {
	iv := constantState(sha1IV)
	mux := func(c, v frontend.Variable) frontend.Variable {
		return g.api.Add(v, g.api.Mul(first, g.api.Sub(c, v)))
	}
	var out chaining
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

// compress is the SHA-1 compression function: the chaining value after one block
// of 16 words, whose spreads the caller has checked.
func (g *sha1Gadget) compress(h chaining, block [16]scheduleWord) (chaining, error) {
	w, err := g.schedule(block)
	if err != nil {
		return chaining{}, err
	}
	a, b := h[0], h[1]
	c := rotated30{h[2].dense, h[2].spread}
	d := rotated30{h[3].dense, h[3].spread}
	e := h[4].dense
	for t := range sha1Rounds {
		f, err := g.round(t, b.spread, c.spread, d)
		if err != nil {
			return chaining{}, err
		}
		total := g.api.Add(g.rotl5(a), f, e, sha1K[t/20], w[t].dense)
		next, err := g.newWord(total)
		if err != nil {
			return chaining{}, err
		}
		e, d, c, b, a = d.dense, c, g.rotl30(b), a, next
	}
	final := [digestWords]frontend.Variable{a.dense, b.dense, c.dense, d.dense, e}
	var out chaining
	for i := range out {
		if out[i], err = g.newWord(g.api.Add(h[i].dense, final[i])); err != nil {
			return chaining{}, err
		}
	}
	return out, nil
}

// round returns the dense value of the round's function of b, c, d.
func (g *sha1Gadget) round(t int, b, c frontend.Variable, d rotated30) (frontend.Variable, error) {
	switch t / 20 {
	case 0: // (b and c) or (not b and d): the two never share a bit
		bc, err := g.split3(g.api.Add(b, c), wantHigh)
		if err != nil {
			return nil, err
		}
		notB := g.api.Sub(spread(1<<wordBits-1, 4), b)
		bd, err := g.split3(g.api.Add(notB, d.spread), wantHigh)
		if err != nil {
			return nil, err
		}
		return g.api.Add(bc, bd), nil
	case 2: // majority
		return g.split3(g.api.Add(b, c, d.spread), wantHigh)
	default: // parity
		return g.split3(g.api.Add(b, c, d.spread), wantLow)
	}
}

func (g *sha1Gadget) rotl5(a stateWord) frontend.Variable {
	// 32*(a - 2^27*high5) + high5
	return g.api.Add(g.api.Mul(a.dense, 32), g.api.Mul(a.high5, 1-1<<32))
}

func (g *sha1Gadget) rotl30(a stateWord) rotated30 {
	low := g.api.Add(a.low0, g.api.Mul(a.low1, 2))
	low4 := g.api.Add(a.low0, g.api.Mul(a.low1, 4))
	return rotated30{
		dense:  g.api.Add(g.div(g.api.Sub(a.dense, low), big.NewInt(4)), g.api.Mul(low, 1<<30)),
		spread: g.api.Add(g.div(g.api.Sub(a.spread, low4), big.NewInt(16)), g.api.Mul(low4, 1<<60)),
	}
}

// div is the division of a linear form by a constant, in the field.
func (g *sha1Gadget) div(v frontend.Variable, by *big.Int) frontend.Variable {
	return g.api.Mul(v, new(big.Int).ModInverse(by, g.api.Compiler().Field()))
}

const (
	wantLow  = 0 // the dense form of the low parts (xor) is asked for
	wantHigh = 1 // the dense form of the high parts (majority, and) is asked for
)

// split3 takes total = spread4(low) + 2*spread4(high), a sum of at most three
// spreads, and returns the dense form of low or high, as wanted.
//
// The wanted word has its limbs looked up as (dense, spread) pairs; of the other
// the limbs need only be spreads, and the last one is what is left of total. All
// are natural numbers far below the field's size, so the equation holds between
// integers, and the digits low + 2*high in 0..3 are read in the one way.
func (g *sha1Gadget) split3(total frontend.Variable, want int) (frontend.Variable, error) {
	v, err := g.api.NewHint(split3Hint, 8, total, want)
	if err != nil {
		return nil, err
	}
	g.a.commit(v...)
	for i := range 3 {
		g.t.spread4.assertRow(v[2*i], v[2*i+1])
	}
	dense, wanted := g.join(v[:6], 4)
	other0, other1 := v[6], v[7]
	s11, s22 := pow(4, limbBits), pow(4, 2*limbBits)
	other := g.api.Add(other0, g.api.Mul(other1, s11))
	var last frontend.Variable // the other word's third limb
	if want == wantLow {
		rest := g.api.Sub(total, wanted, g.api.Mul(other, 2))
		last = g.div(rest, new(big.Int).Lsh(s22, 1))
	} else {
		rest := g.api.Sub(total, g.api.Mul(wanted, 2), other)
		last = g.div(rest, s22)
	}
	for _, limb := range []frontend.Variable{other0, other1, last} {
		g.t.set4.assertRow(limb)
	}
	return dense, nil
}

// join puts together a word's limbs, each given as its dense form and its spread.
func (g *sha1Gadget) join(limbs []frontend.Variable, base int64) (dense, spread frontend.Variable) {
	low, lowSpread, middle, middleSpread, high, highSpread := limbs[0], limbs[1], limbs[2], limbs[3], limbs[4], limbs[5]
	dense = g.api.Add(low, g.api.Mul(middle, 1<<limbBits), g.api.Mul(high, 1<<(2*limbBits)))
	spread = g.api.Add(lowSpread, g.api.Mul(middleSpread, pow(base, limbBits)), g.api.Mul(highSpread, pow(base, 2*limbBits)))
	return dense, spread
}

// newWord returns total mod 2^32 as a state word; total must be below 2^35.
func (g *sha1Gadget) newWord(total frontend.Variable) (stateWord, error) {
	v, err := g.api.NewHint(newWordHint, 9, total)
	if err != nil {
		return stateWord{}, err
	}
	g.a.commit(v...)
	low0, low1, high5 := v[0], v[1], v[8]
	m1, s1, m2, s2, t, ts := v[2], v[3], v[4], v[5], v[6], v[7] // the limbs above the two low bits
	g.api.AssertIsBoolean(low0)
	g.api.AssertIsBoolean(low1)
	g.t.spread4.assertRow(m1, s1)
	g.t.spread4.assertRow(m2, s2)
	g.t.top.assertRow(t, ts, high5)
	w := stateWord{
		dense: g.api.Add(low0, g.api.Mul(low1, 2), g.api.Mul(m1, 1<<2),
			g.api.Mul(m2, 1<<(2+limbBits)), g.api.Mul(t, 1<<(2+2*limbBits))),
		spread: g.api.Add(low0, g.api.Mul(low1, 4), g.api.Mul(s1, 1<<4),
			g.api.Mul(s2, pow(4, 2+limbBits)), g.api.Mul(ts, pow(4, 2+2*limbBits))),
		low0: low0, low1: low1, high5: high5,
	}
	g.t.carry.assertRow(g.div(g.api.Sub(total, w.dense), big.NewInt(1<<32)))
	return w, nil
}

func (g *sha1Gadget) schedule(block [16]scheduleWord) (w [sha1Rounds]scheduleWord, err error) {
	copy(w[:], block[:])
	for t := 16; t < sha1Rounds; t++ {
		total := g.api.Add(w[t-3].spread6, w[t-8].spread6, w[t-14].spread6, w[t-16].spread6)
		if w[t], err = g.xor4Rotl1(total); err != nil {
			return w, err
		}
	}
	return w, nil
}

// xor4Rotl1 takes a sum of four base-6 spreads and returns the xor of the four
// words, rotated left by one.
func (g *sha1Gadget) xor4Rotl1(total frontend.Variable) (scheduleWord, error) {
	v, err := g.api.NewHint(xor4Hint, 11, total)
	if err != nil {
		return scheduleWord{}, err
	}
	g.a.commit(v...)
	high, quotient := v[6], v[7:]
	g.api.AssertIsBoolean(high)
	g.t.spread6.assertRow(v[0], v[1])
	g.t.spread6.assertRow(v[2], v[3])
	g.t.spread6top.assertRow(v[4], v[5])
	dense, spr := g.join(v[:6], 6)
	rest := g.api.Sub(total, spr, g.api.Mul(high, pow(6, wordBits-1)))
	for i, limb := range quotient {
		g.t.ternary.assertRow(limb)
		rest = g.api.Sub(rest, g.api.Mul(limb, new(big.Int).Lsh(pow(6, int64(i*ternaryLen)), 1)))
	}
	g.t.ternary.assertRow(g.div(rest, new(big.Int).Lsh(pow(6, 4*ternaryLen), 1)))
	return scheduleWord{
		dense:   g.api.Add(g.api.Mul(dense, 2), high),
		spread6: g.api.Add(g.api.Mul(spr, 6), high),
	}, nil
}

// digest returns a chaining value as the 160-bit integer that git prints in hex.
func (g *sha1Gadget) digest(h chaining) frontend.Variable {
	d := make([]frontend.Variable, digestWords)
	for i := range d {
		d[i] = g.api.Mul(h[i].dense, pow(2, int64(wordBits*(digestWords-1-i))))
	}
	return sum(g.api, d)
}

// sha1Circuit claims that Digest is the SHA-1 of a padded message. It is what the
// cost of a block is measured on.
type sha1Circuit struct {
	Digest frontend.Variable `gnark:",public"`
	Bytes  []frontend.Variable

	free bool // any digest will do
}

func (c *sha1Circuit) Define(api frontend.API) error {
	a := newArgument(api)
	g := &sha1Gadget{api, a, newSHA1Tables(a)}
	bytes := newByteTable(a)
	h := constantState(sha1IV)
	for k := 0; k < len(c.Bytes); k += blockBytes {
		block, _, err := bytes.read(api, c.Bytes[k:k+blockBytes])
		if err != nil {
			return err
		}
		if h, err = g.compress(h, block); err != nil {
			return err
		}
	}
	if !c.free {
		api.AssertIsEqual(g.digest(h), c.Digest)
	}
	return a.finish()
}

// SHA1Constraints returns the number of constraints of a circuit that does nothing
// but SHA-1 over the given number of blocks, with the check that its input is bytes.
func SHA1Constraints(blocks int) (int, error) {
	return count(&sha1Circuit{Bytes: make([]frontend.Variable, blocks*blockBytes)})
}

// Constraints returns the number of constraints of the source circuit of a capacity.
func Constraints(c Capacity) (int, error) { return count(NewSource(c)) }

func count(c frontend.Circuit) (int, error) {
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c)
	if err != nil {
		return 0, err
	}
	return system.GetNbConstraints(), nil
}
