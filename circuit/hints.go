package circuit

import (
	"math/big"

	"github.com/consensys/gnark/constraint/solver"
)

// Hints returns the hint functions that the solver of a circuit of this package
// needs. They only propose values; what binds those stands beside each call.
func Hints() []solver.Hint {
	return []solver.Hint{multiplicityHint, split3Hint, newWordHint, xor4Hint, byteHint}
}

// limbs cuts the low bits of x into pieces of the given widths, lowest first, and
// writes each and its spread.
func limbs(out []*big.Int, x uint64, base int64, widths ...int) {
	for i, w := range widths {
		l := x & (1<<w - 1)
		x >>= w
		out[2*i].SetUint64(l)
		out[2*i+1].SetInt64(spread(int64(l), base))
	}
}

// split3Hint: (total, want) -> the wanted word's three limbs with their spreads, then the
// other word's two lower limbs as spreads.
func split3Hint(_ *big.Int, in, out []*big.Int) error {
	total := in[0].Uint64()
	var parts [2]uint64
	for i := range wordBits {
		digit := total >> (2 * i) & 3
		parts[0] |= digit & 1 << i
		parts[1] |= digit >> 1 << i
	}
	want := in[1].Uint64()
	limbs(out[:6], parts[want], 4, limbBits, limbBits, limbBits)
	other := parts[1-want]
	out[6].SetInt64(spread(int64(other&(1<<limbBits-1)), 4))
	out[7].SetInt64(spread(int64(other>>limbBits&(1<<limbBits-1)), 4))
	return nil
}

// newWordHint: total -> bits 0 and 1, two limbs with spreads, the top limb with spread and
// its five highest bits.
func newWordHint(_ *big.Int, in, out []*big.Int) error {
	x := in[0].Uint64() & (1<<wordBits - 1)
	out[0].SetUint64(x & 1)
	out[1].SetUint64(x >> 1 & 1)
	limbs(out[2:8], x>>2, 4, limbBits, limbBits, topBits)
	out[8].SetUint64(x >> 27)
	return nil
}

// xor4Hint: total -> three limbs of the xor with spreads, its highest bit, four limbs of
// the quotient in base 6.
func xor4Hint(_ *big.Int, in, out []*big.Int) error {
	rest, six, digit := new(big.Int).Set(in[0]), big.NewInt(6), new(big.Int)
	var x uint64
	var quotient [wordBits]int64
	for i := range wordBits {
		rest.QuoRem(rest, six, digit)
		d := digit.Int64()
		x |= uint64(d&1) << i
		quotient[i] = d >> 1
	}
	limbs(out[:6], x, 6, limbBits, limbBits, spread6Top)
	out[6].SetUint64(x >> (wordBits - 1))
	for i := range 4 {
		v := int64(0)
		for k := ternaryLen - 1; k >= 0; k-- {
			v = v*6 + quotient[i*ternaryLen+k]
		}
		out[7+i].SetInt64(v)
	}
	return nil
}

// byteHint: byte -> its base-6 spread and its class.
func byteHint(_ *big.Int, in, out []*big.Int) error {
	b := int64(byte(in[0].Uint64()))
	out[0].SetInt64(spread(b, 6))
	out[1].SetInt64(int64(classOf(byte(b))))
	return nil
}
