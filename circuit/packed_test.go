package circuit

import (
	"errors"
	"fmt"
	"math/big"
	"testing"
)

// TestDigits holds what digit equations rest on: whatever bit and rest a prover names, no
// digit of either side, with negative terms brought over, reaches the base, so equal numbers
// have equal digits; and equal digits have the true bit. It takes weights, rests and bases
// from the functions, and what is true from the standard. With a base less the choice must
// fail: it once did, and had digests that are not SHA-1's.
func TestDigits(t *testing.T) {
	for _, kind := range []int{choice, majority, parity} {
		if err := checkDigits(functions[kind], standard.base, kind); err != nil {
			t.Errorf("function %d: %v", kind, err)
		}
	}
	if checkDigits(functions[choice], standard.base-1, choice) == nil {
		t.Error("the choice does with a smaller base: the test shows nothing")
	}
	schedule := func(base int64) (errs error) {
		for n := range int64(16) {
			w := []int64{n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1}
			errs = errors.Join(errs, checkDigit(base, w[0]+w[1]+w[2]+w[3], 1, 2, quotients, w[0]^w[1]^w[2]^w[3]))
		}
		return errs
	}
	if err := schedule(scheduleBase); err != nil {
		t.Errorf("schedule: %v", err)
	}
	if schedule(scheduleBase-1) == nil {
		t.Error("the schedule does with a smaller base: the test shows nothing")
	}
}

// checkDigits checks all digits of a function in a base.
func checkDigits(f function, base int64, kind int) (errs error) {
	for n := range int64(8) {
		b, c, d := n&1, n>>1&1, n>>2&1
		want := map[int]int64{choice: b&c | (1-b)&d, majority: b&c | b&d | c&d, parity: b ^ c ^ d}[kind]
		total := f.constant + f.weights[0]*b + f.weights[1]*c + f.weights[2]*d
		errs = errors.Join(errs, checkDigit(base, total, f.bit, f.other, f.rests, want))
	}
	return errs
}

// checkDigit checks the equation total = bit f + other rest of one digit, where f must be want.
// The total is made of true words, so it is a digit; what a prover names may be anything.
func checkDigit(base, total, bit, other int64, rests []int64, want int64) (errs error) {
	solved := false
	for f := range int64(2) {
		for _, rest := range rests {
			left, right := total, int64(0)
			for _, v := range []int64{bit * f, other * rest} {
				if v < 0 {
					left -= v
				} else {
					right += v
				}
			}
			if total < 0 || left >= base || right >= base {
				errs = errors.Join(errs, fmt.Errorf("digit %d, bit %d, rest %d: %d or %d is no digit in base %d",
					total, f, rest, left, right, base))
			}
			if left == right {
				solved = true
				if f != want {
					errs = errors.Join(errs, fmt.Errorf("digit %d: the bit %d passes, with the rest %d", total, f, rest))
				}
			}
		}
	}
	if !solved {
		errs = errors.Join(errs, fmt.Errorf("digit %d: the bit %d does not pass", total, want))
	}
	return errs
}

// largest returns the largest value in a column of a table.
func largest(t *table, column int) *big.Int {
	v := new(big.Int)
	for _, r := range t.rows {
		v = larger(v, r[column])
	}
	return v
}

func larger(a, b *big.Int) *big.Int {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

// TestSlots holds the bounds by which the terms of a round's sum have slots of their own. It
// adds up the largest values that the rows of the tables allow, so it follows every change of
// limbs, bases and tables.
//
// With weights that are a little smaller, or equal, slots overlap.
func TestSlots(t *testing.T) {
	if err := checkSlots(t, standard); err != nil {
		t.Error(err)
	}
	one := big.NewInt(1)
	dense, spread := standard.schedule.dense, standard.round.spread
	for _, p := range []packing{
		{standard.base, weights{new(big.Int).Rsh(dense, 3), one}, standard.round},
		{standard.base, standard.schedule, weights{one, new(big.Int).Rsh(spread, 4)}},
		{standard.base, weights{spread, one}, standard.round},
		{standard.base, standard.schedule, weights{one, dense}},
	} {
		if checkSlots(t, p) == nil {
			t.Errorf("the slots fit with weights of %d and %d bits too: the test shows nothing",
				p.schedule.dense.BitLen(), p.round.spread.BitLen())
		}
	}
}

func checkSlots(t *testing.T, p packing) error {
	tables := newSHA1Tables(newArgument(nil), p)
	total := func(v ...*big.Int) *big.Int {
		s := new(big.Int)
		for _, x := range v {
			s.Add(s, x)
		}
		return s
	}
	times := func(n int64, v *big.Int) *big.Int { return new(big.Int).Mul(big.NewInt(n), v) }
	// The largest integer and spread that rows of packed limbs allow: taken apart by their
	// weights, of which one is 1.
	packed := func(limbs [3]*table, w weights) (dense, spread *big.Int) {
		heavy := new(big.Int).Mul(w.dense, w.spread)
		dense, spread = new(big.Int), new(big.Int)
		for _, limb := range limbs {
			d, s := new(big.Int), new(big.Int)
			for _, r := range limb.rows {
				rowD, rowS := new(big.Int).QuoRem(r[0], heavy, new(big.Int))
				if w.dense.Cmp(w.spread) < 0 {
					rowD, rowS = rowS, rowD
				}
				d, s = larger(d, rowD), larger(s, rowS)
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
		return errors.New("a reduced word may have more than 32 bits")
	}
	roundDense, roundSpread := packed(tables.packed.round, p.round)
	scheduleDense, scheduleSpread := packed(tables.packed.schedule, p.schedule)
	schedule := spreadWord(1<<wordBits-1, scheduleBase)

	// The dense error: on one side h0, rotl5(a), f, e, K and w, on the other a word and carries.
	carries := new(big.Int).Mul(largest(tables.carry, 0), pow(2, wordBits))
	sum := total(times(2, word), roundDense, word, big.NewInt(1<<wordBits-1), times(2, scheduleDense), big.NewInt(1))
	dense := total(sum, word, carries)
	if limit := times(maxCarry+1, pow(2, wordBits)); sum.Cmp(limit) >= 0 {
		return fmt.Errorf("a sum of %d bits needs a carry above %d", sum.BitLen(), maxCarry)
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
			return fmt.Errorf("function %d: lambda/2 is no unit of its error", kind)
		}
		d = larger(d, total(times(2, roundSpread), times(2/abs(f.bit), solution)))
	}

	// 2 k + M dense + M L/2 d = 0.
	m, l2 := p.schedule.dense, new(big.Int).Rsh(p.round.spread, 1)
	k = times(2, k)
	all := total(k, new(big.Int).Mul(m, dense), new(big.Int).Mul(m, new(big.Int).Mul(l2, d)))
	slots := fmt.Sprintf("schedule error %d bits, slot %d; dense error %d bits, slot %d; all %d bits, field %d",
		k.BitLen(), m.BitLen()-1, dense.BitLen(), l2.BitLen()-1, all.BitLen(), field.BitLen())
	if one := big.NewInt(1); p.schedule.spread.Cmp(one) != 0 || p.round.dense.Cmp(one) != 0 || p.round.spread.Bit(0) != 0 {
		return errors.New("the equation is another one with these weights")
	}
	if k.Cmp(m) >= 0 || dense.Cmp(l2) >= 0 || all.Cmp(field) >= 0 {
		return errors.New("the slots overlap: " + slots)
	}
	t.Log(slots)
	return nil
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
