package circuit

import (
	"math/big"
	"sync"

	"github.com/consensys/gnark/constraint/solver"
)

// Hints returns the hint functions that the solver of a circuit of this package
// needs. They only propose values; what binds those stands beside each call.
func Hints() []solver.Hint {
	return []solver.Hint{multiplicityHint, functionHint, xorHint, reduceHint, byteHint}
}

// byteHint: byte -> its spread and its class.
func byteHint(_ *big.Int, in, out []*big.Int) error {
	b := int64(byte(in[0].Uint64()))
	out[0].SetInt64(spread(b, scheduleBase))
	out[1].SetInt64(int64(classOf(byte(b))))
	return nil
}

// reduceHint: total -> bits 0 and 1, two limbs with spreads, the top limb with spread and
// its five highest bits.
func reduceHint(_ *big.Int, in, out []*big.Int) error { return standardHints().reduce(in, out) }

// functionHint: total, kind -> the packed limbs of the result, the limbs of the rest.
func functionHint(_ *big.Int, in, out []*big.Int) error { return standardHints().function(in, out) }

// xorHint: total -> the packed limbs of the xor's 31 lower bits, its highest bit, the limbs
// of the quotient.
func xorHint(_ *big.Int, in, out []*big.Int) error { return standardHints().xor(in, out) }

var standardHints = sync.OnceValue(func() *packedHints { return newPackedHints(standard) })

// packedHints has what the hints of a packing look up.
type packedHints struct {
	base     uint64
	spreads  []int64
	round    [3][]*big.Int // packed limbs, by the bits that they hold
	schedule [3][]*big.Int
	solution [len(functions)][]solution // by the digit of the total
}

// solution is what solves the digit equation of a function.
type solution struct{ bit, rest uint64 }

func newPackedHints(p packing) *packedHints {
	h := &packedHints{base: uint64(p.base), spreads: make([]int64, 1<<limbBits)}
	for x := range h.spreads {
		h.spreads[x] = spread(int64(x), p.base)
	}
	for i := range 3 {
		h.round[i], h.schedule[i] = p.roundRows(i), p.scheduleRows(i)
	}
	for kind, f := range functions {
		h.solution[kind] = make([]solution, p.base)
		for bit := range int64(2) {
			for _, rest := range f.rests {
				if total := f.bit*bit + f.other*rest; total >= 0 && total < p.base {
					h.solution[kind][total] = solution{uint64(bit), uint64(rest)}
				}
			}
		}
	}
	return h
}

func (h *packedHints) reduce(in, out []*big.Int) error {
	x := in[0].Uint64() & (1<<wordBits - 1)
	out[0].SetUint64(x & 1)
	out[1].SetUint64(x >> 1 & 1)
	for i := range 3 {
		limb := x >> (2 + i*limbBits) & (1<<limbBits - 1)
		out[2+2*i].SetUint64(limb)
		out[3+2*i].SetInt64(h.spreads[limb])
	}
	out[8].SetUint64(x >> 27)
	return nil
}

func (h *packedHints) function(in, out []*big.Int) error {
	kind := in[1].Uint64()
	var word uint64
	var rest [wordBits + limbBits]uint64 // digits, with room for a limb above the word
	for i, d := range digits(in[0], h.base) {
		s := h.solution[kind][d]
		word |= s.bit << i
		rest[i] = s.rest
	}
	setPacked(out[:3], h.round, word)
	setDigits(out[3:], rest[:], functions[kind].restLen, h.base)
	return nil
}

func (h *packedHints) xor(in, out []*big.Int) error {
	var word uint64
	var quotient [quotientLen * quotientLimbs]uint64
	for i, d := range digits(in[0], scheduleBase) {
		word |= d & 1 << i
		quotient[i] = d >> 1
	}
	setPacked(out[:3], h.schedule, word&(1<<(wordBits-1)-1))
	out[3].SetUint64(word >> (wordBits - 1))
	setDigits(out[4:], quotient[:], quotientLen, scheduleBase)
	return nil
}

// digits returns the lower 32 digits of v in a base of at most 15.
func digits(v *big.Int, base uint64) (out [wordBits]uint64) {
	half := uint64(1)
	for range wordBits / 2 {
		half *= base
	}
	var high, low big.Int
	high.QuoRem(v, low.SetUint64(half), &low)
	for i, part := range []uint64{low.Uint64(), high.Uint64()} {
		for k := range wordBits / 2 {
			out[i*wordBits/2+k] = part % base
			part /= base
		}
	}
	return out
}

// setPacked sets the packed limbs of a word.
func setPacked(out []*big.Int, rows [3][]*big.Int, word uint64) {
	for i := range out {
		out[i].Set(rows[i][word>>(limbBits*i)&(1<<limbBits-1)])
	}
}

// setDigits sets limbs of n digits each.
func setDigits(out []*big.Int, digits []uint64, n int, base uint64) {
	for i := range out {
		v := uint64(0)
		for k := n - 1; k >= 0; k-- {
			v = v*base + digits[i*n+k]
		}
		out[i].SetUint64(v)
	}
}

// multiplicityHint: width, number of rows, the rows, the queries as weight and values -> the
// sum of the weights for each row.
func multiplicityHint(_ *big.Int, in, out []*big.Int) error {
	width, rows := int(in[0].Int64()), int(in[1].Int64())
	in = in[2:]
	at := make(map[uint64]int, rows)
	for i := range rows {
		at[rowKey(in[i*width:(i+1)*width])] = i
	}
	in = in[rows*width:]
	counts := make([]uint64, rows)
	for ; len(in) > 0; in = in[width+1:] {
		if i, ok := at[rowKey(in[1:width+1])]; ok {
			counts[i] += in[0].Uint64() // weights are bits
		}
	}
	for i, n := range counts {
		out[i].SetUint64(n)
	}
	return nil
}

// rowKey tells the rows of a table apart (TestRowsHaveKeys), by the low words of their values.
func rowKey(row []*big.Int) (key uint64) {
	for _, v := range row {
		key = key*0x9e3779b97f4a7c15 + v.Uint64()
	}
	return key
}
