package circuit

import (
	"math/big"
	"testing"
)

// TestDigits holds what digit equations rest on: whatever bit and rest a prover names, no
// digit of either side, with negative terms brought over, reaches the base, so equal numbers
// have equal digits; and equal digits have the true bit. It takes weights, rests and bases
// from the functions, and what is true from the standard.
func TestDigits(t *testing.T) {
	truth := map[int]func(b, c, d int64) int64{
		choice:   func(b, c, d int64) int64 { return b&c | (1-b)&d },
		majority: func(b, c, d int64) int64 { return b&c | b&d | c&d },
		parity:   func(b, c, d int64) int64 { return b ^ c ^ d },
	}
	for kind, f := range functions {
		for n := range int64(8) {
			b, c, d := n&1, n>>1&1, n>>2&1
			words := []int64{f.constant, f.weights[0] * b, f.weights[1] * c, f.weights[2] * d}
			checkDigit(t, standard.base, words, f.bit, f.other, f.rests, truth[kind](b, c, d))
		}
	}
	for n := range int64(16) {
		words := []int64{n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1}
		checkDigit(t, scheduleBase, words, 1, 2, quotients, words[0]^words[1]^words[2]^words[3])
	}
}

func checkDigit(t *testing.T, base int64, words []int64, bit, other int64, rests []int64, want int64) {
	t.Helper()
	solved := false
	for f := range int64(2) {
		for _, rest := range rests {
			var left, right int64
			add := func(v int64, to, opposite *int64) {
				if v < 0 {
					*opposite -= v
				} else {
					*to += v
				}
			}
			// In the circuit the constant and the words are one number, of digits that are not
			// negative: only what a prover names is brought over.
			for _, w := range words {
				left += w
			}
			add(bit*f, &right, &left)
			add(other*rest, &right, &left)
			if left < 0 || left >= base || right < 0 || right >= base {
				t.Errorf("digits %v, bit %d, rest %d: %d or %d is no digit in base %d", words, f, rest, left, right, base)
			}
			if left == right {
				solved = true
				if f != want {
					t.Errorf("digits %v: the bit %d passes, with the rest %d", words, f, rest)
				}
			}
		}
	}
	if !solved {
		t.Errorf("digits %v: the bit %d does not pass", words, want)
	}
}

// largest returns the largest value in a column of a table.
func largest(t *table, column int) *big.Int {
	v := new(big.Int)
	for _, r := range t.rows {
		if r[column].Cmp(v) > 0 {
			v = r[column]
		}
	}
	return v
}

// unpack takes a packed limb apart.
func unpack(row, lambda *big.Int) (dense, spread *big.Int) {
	spread, dense = new(big.Int).QuoRem(row, lambda, new(big.Int))
	return dense, spread
}

// TestSlots holds the bounds by which the terms of a round's sum have slots of their own. It
// adds up the largest values that the rows of the tables allow, so it follows every change of
// limbs, bases and tables.
func TestSlots(t *testing.T) {
	p := standard
	a := newArgument(nil)
	tables := newSHA1Tables(a, p)
	total := func(v ...*big.Int) *big.Int {
		s := new(big.Int)
		for _, x := range v {
			s.Add(s, x)
		}
		return s
	}
	times := func(n int64, v *big.Int) *big.Int { return new(big.Int).Mul(big.NewInt(n), v) }
	packed := func(limbs [3]*table, lambda *big.Int) (dense, spread *big.Int) {
		dense, spread = new(big.Int), new(big.Int)
		for _, limb := range limbs {
			d, s := new(big.Int), new(big.Int)
			for _, r := range limb.rows {
				rd, rs := unpack(r[0], lambda)
				if rd.Cmp(d) > 0 {
					d = rd
				}
				if rs.Cmp(s) > 0 {
					s = rs
				}
			}
			dense, spread = total(dense, d), total(spread, s)
		}
		return dense, spread
	}
	limbsOf := func(limb *table, base int64, digits, n int) *big.Int {
		v := new(big.Int)
		for i := range n {
			v = total(v, new(big.Int).Mul(largest(limb, 0), pow(base, int64(i*digits))))
		}
		return v
	}
	// A word as reduce makes it, dense and spread: two bits, two limbs, the top limb.
	reduced := func(base int64, column int) *big.Int {
		return total(big.NewInt(1), big.NewInt(base), new(big.Int).Mul(largest(tables.spread, column), pow(base, 2)),
			new(big.Int).Mul(largest(tables.spread, column), pow(base, 2+limbBits)),
			new(big.Int).Mul(largest(tables.top, column), pow(base, 2+2*limbBits)))
	}
	word, wordSpread := reduced(2, 0), reduced(p.base, 1)
	if word.Cmp(pow(2, wordBits)) >= 0 || wordSpread.Cmp(spreadWord(1<<wordBits-1, p.base)) > 0 {
		t.Fatal("a reduced word may have more than 32 bits")
	}
	roundDense, roundSpread := packed(tables.packed.round, p.round)
	scheduleDense, scheduleSpread := packed(tables.packed.schedule, p.schedule)
	schedule := spreadWord(1<<wordBits-1, scheduleBase)

	// The dense error: on one side h0, rotl5(a), f, e, K and w, on the other a word and carries.
	carries := new(big.Int).Mul(largest(tables.carry, 0), pow(2, wordBits))
	sum := total(times(2, word), roundDense, word, big.NewInt(1<<wordBits-1), times(2, scheduleDense), big.NewInt(1))
	dense := total(sum, word, carries)
	if limit := times(maxCarry+1, pow(2, wordBits)); sum.Cmp(limit) >= 0 {
		t.Errorf("a sum of %d bits needs a carry above %d", sum.BitLen(), maxCarry)
	}

	// The schedule's: the spread of the limbs less what the sum of four words leaves.
	k := total(scheduleSpread, times(4, schedule), pow(scheduleBase, wordBits-1),
		times(2, limbsOf(tables.packed.scheduleQuotient, scheduleBase, quotientLen, quotientLimbs)))

	// The round function's, doubled: for any of them 2 S' - (2 / bit) (total - other rest).
	d := new(big.Int)
	for kind, f := range functions {
		abs := func(v int64) int64 { return max(v, -v) }
		weight := abs(f.constant) + abs(f.weights[0]) + abs(f.weights[1]) + abs(f.weights[2])
		solution := total(times(weight, wordSpread),
			times(abs(f.other), limbsOf(tables.packed.rests[kind], p.base, f.restLen, f.limbs())))
		if 2%abs(f.bit) != 0 {
			t.Fatalf("function %d: lambda/2 is no unit of its error", kind)
		}
		if v := total(times(2, roundSpread), times(2/abs(f.bit), solution)); v.Cmp(d) > 0 {
			d = v
		}
	}

	unitSchedule, unitRound := times(2, p.schedule), new(big.Int).Rsh(p.round, 1)
	low := total(dense, new(big.Int).Mul(unitSchedule, k))
	all := total(low, new(big.Int).Mul(unitRound, d))
	t.Logf("dense error %d bits, slot %d; with the schedule's %d, slot %d; with the round function's %d, field %d",
		dense.BitLen(), unitSchedule.BitLen()-1, low.BitLen(), unitRound.BitLen()-1, all.BitLen(), field.BitLen())
	if p.round.Bit(0) != 0 || dense.Cmp(unitSchedule) >= 0 || low.Cmp(unitRound) >= 0 || all.Cmp(field) >= 0 {
		t.Error("the slots overlap")
	}
}

// TestRowsHaveKeys: the hint of multiplicities tells all rows of a table apart.
func TestRowsHaveKeys(t *testing.T) {
	a := newArgument(nil)
	newSHA1Tables(a, standard)
	newByteTable(a)
	newAutomaton().table(a)
	for _, table := range a.tables {
		seen := make(map[uint64]bool)
		for i, r := range table.rows {
			if seen[rowKey(r)] {
				t.Fatalf("%s: row %d has the key of another", table.name, i)
			}
			seen[rowKey(r)] = true
		}
	}
}
