package circuit

import (
	"crypto/sha1"
	"encoding/binary"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark/backend"
	"github.com/consensys/gnark/backend/groth16"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
)

// Hints are where a prover is free. These tests give him that freedom over one block of SHA-1 whose
// digest may be anything, so that a lie is refused by the constraints on its own value or not at all.

// oneBlock is SHA-1 over a message of one block, with a packing.
type oneBlock struct {
	packing packing
	hints   *packedHints
	block   []byte
	free    *sha1Circuit // any digest will do
	honest  *sha1Circuit // with the true one
}

func newOneBlock(p packing) *oneBlock {
	msg := []byte("the quick brown fox jumps over the lazy dog")
	d := sha1.Sum(msg)
	block := sha1Pad(msg)
	return &oneBlock{
		packing: p, hints: newPackedHints(p), block: block,
		free: &sha1Circuit{Bytes: make([]frontend.Variable, blockBytes),
			testingOnlyFree: true, testingOnlyPacking: &p},
		honest: &sha1Circuit{Digest: new(big.Int).SetBytes(d[:]), Bytes: vars(block)},
	}
}

// hintFunc is a hint without the field's order.
type hintFunc func(in, out []*big.Int) error

// lies are hints that replace those of a packing.
type lies struct{ function, xor, reduce, byte, multiplicity hintFunc }

// evil returns the hints of the block's packing, with lies. Words follow from sums as a dishonest
// prover would let them: from the lowest slot, whatever stands in the others.
func (o *oneBlock) evil(l lies) map[solver.HintID]solver.Hint {
	follow := func(in, out []*big.Int) error {
		v := new(big.Int).Set(in[0])
		if new(big.Int).Lsh(v, 1).Cmp(field) > 0 {
			v.Sub(v, field)
		}
		return o.hints.reduce([]*big.Int{v.Mod(v, pow(2, wordBits))}, out)
	}
	hints := make(map[solver.HintID]solver.Hint)
	for _, h := range []struct {
		of             solver.Hint
		lie, otherwise hintFunc
	}{
		{functionHint, l.function, o.hints.function},
		{xorHint, l.xor, o.hints.xor},
		{reduceHint, l.reduce, follow},
		{byteHint, l.byte, nil},
		{multiplicityHint, l.multiplicity, nil},
	} {
		f := h.lie
		if f == nil {
			f = h.otherwise
		}
		if f != nil {
			hints[solver.GetHintID(h.of)] = func(_ *big.Int, in, out []*big.Int) error { return f(in, out) }
		}
	}
	return hints
}

// once lies in the first call that alter can lie in: it says whether it did.
func once(honest hintFunc, alter func(in, out []*big.Int) bool) hintFunc {
	var mu sync.Mutex // the solver calls hints at the same time
	done := false
	return func(in, out []*big.Int) error {
		if err := honest(in, out); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		done = done || alter(in, out)
		return nil
	}
}

// flipLimb exchanges a packed limb for that of a number with a bit more or less.
func flipLimb(v *big.Int, rows []*big.Int, bit int) bool {
	x := slices.IndexFunc(rows, func(r *big.Int) bool { return r.Cmp(v) == 0 })
	v.Set(rows[x^1<<bit])
	return true
}

// TestLyingLimbsAreRefused alters one packed limb, or what is left of the digits, of one word. Where
// nothing ties the integer of a packed limb to its spread, all must be believed.
func TestLyingLimbsAreRefused(t *testing.T) {
	for packed, p := range map[bool]packing{true: standard, false: loose} {
		o := newOneBlock(p)
		sys := mustCompile(t, o.free)
		if err := solve(t, sys, o.honest, o.evil(lies{})); err != nil {
			t.Fatalf("the truth is refused: %v", err)
		}
		function := func(alter func(in, out []*big.Int) bool) lies {
			return lies{function: once(o.hints.function, alter)}
		}
		xor := func(alter func(in, out []*big.Int) bool) lies { return lies{xor: once(o.hints.xor, alter)} }
		for name, l := range map[string]lies{
			"a bit of a round function": function(func(_, out []*big.Int) bool {
				return flipLimb(out[1], o.hints.round[1], 0)
			}),
			"the highest bit of a round function": function(func(_, out []*big.Int) bool {
				return flipLimb(out[2], o.hints.round[2], roundLimbs[2]-1)
			}),
			"the rest of a choice": function(func(in, out []*big.Int) bool {
				return in[1].Int64() == choice && otherDigit(out[3], p.base, functions[choice].rests)
			}),
			"the rest of a majority": function(func(in, out []*big.Int) bool {
				return in[1].Int64() == majority && otherDigit(out[3], p.base, functions[majority].rests)
			}),
			"the rest of a parity": function(func(in, out []*big.Int) bool {
				return in[1].Int64() == parity && otherDigit(out[3], p.base, functions[parity].rests)
			}),
			"a bit of the schedule": xor(func(_, out []*big.Int) bool {
				return flipLimb(out[0], o.hints.schedule[0], 2)
			}),
			"the highest bit of the schedule": xor(func(_, out []*big.Int) bool {
				out[3].Sub(big.NewInt(1), out[3])
				return true
			}),
			"a quotient of the schedule": xor(func(_, out []*big.Int) bool {
				return otherDigit(out[5], scheduleBase, quotients)
			}),
		} {
			if testing.Short() && !strings.Contains(name, "highest") {
				continue
			}
			if err := solve(t, sys, o.honest, o.evil(l)); (err == nil) == packed {
				t.Errorf("%s altered, dense and spread forms held together: %v; it is refused: %v", name, packed, err)
			}
		}
	}
}

// otherDigit exchanges the lowest digit of a limb for another one of a set.
func otherDigit(v *big.Int, base int64, set []int64) bool {
	d := new(big.Int).Mod(v, big.NewInt(base)).Int64()
	v.Add(v, big.NewInt(set[(slices.Index(set, d)+1)%len(set)]-d))
	return true
}

// TestLyingWordsAreRefused alters what is named of a word, a byte or a table.
func TestLyingWordsAreRefused(t *testing.T) {
	o := newOneBlock(standard)
	sys := mustCompile(t, o.free)
	add := func(out []*big.Int, i int, v int64) { out[i].Add(out[i], big.NewInt(v)).Mod(out[i], field) }
	reduce := func(f func(in, out []*big.Int)) lies {
		n := 0
		return lies{reduce: once(o.hints.reduce, func(in, out []*big.Int) bool {
			if n++; n < 30 { // somewhere in the middle
				return false
			}
			f(in, out)
			return true
		})}
	}
	for name, l := range map[string]lies{
		"a word above 2^32":                      reduce(func(_, out []*big.Int) { add(out, 6, 256) }),
		"five high bits that are not the word's": reduce(func(_, out []*big.Int) { add(out, 8, 1) }),
		"a low bit of 2":                         reduce(func(_, out []*big.Int) { out[0].SetInt64(2) }),
		"limbs borrowed from each other": reduce(func(_, out []*big.Int) {
			add(out, 2, -1<<limbBits)
			add(out, 4, 1)
		}),
		"a spread that is not the limb's": reduce(func(_, out []*big.Int) { add(out, 3, 1) }),
		"another word altogether": reduce(func(in, out []*big.Int) {
			_ = o.hints.reduce([]*big.Int{new(big.Int).Add(in[0], big.NewInt(4))}, out)
		}),
		"a byte with another class": {byte: once(honestByte, func(_, out []*big.Int) bool {
			add(out, 1, 1)
			return true
		})},
		"a byte with another spread": {byte: once(honestByte, func(_, out []*big.Int) bool {
			add(out, 0, 1)
			return true
		})},
		"multiplicities that are not counts": {multiplicity: once(honestMultiplicity, func(_, out []*big.Int) bool {
			add(out, 0, 1)
			add(out, 1, -1)
			return true
		})},
	} {
		if solve(t, sys, o.honest, o.evil(l)) == nil {
			t.Errorf("%s is believed", name)
		}
	}
}

func honestByte(in, out []*big.Int) error         { return byteHint(nil, in, out) }
func honestMultiplicity(in, out []*big.Int) error { return multiplicityHint(nil, in, out) }

// TestSlotsMayNotOverlap: with weights that are too small, the error of a wrong bit is no more than
// another addend of the round's sum, and the word that follows takes it in.
func TestSlotsMayNotOverlap(t *testing.T) {
	// A bit of the schedule that is said to be 1: 6^20 / 2^20 is an integer.
	const bit = 20
	small := standard
	small.schedule.dense = pow(2, bit)
	schedule := func(o *oneBlock) lies {
		limb, at := bit/limbBits, bit%limbBits
		return lies{xor: once(o.hints.xor, func(_, out []*big.Int) bool {
			x := slices.IndexFunc(o.hints.schedule[limb], func(r *big.Int) bool { return r.Cmp(out[limb]) == 0 })
			return x>>at&1 == 0 && flipLimb(out[limb], o.hints.schedule[limb], at)
		})}
	}
	// A bit of a round function: 2 * 11^3 is small.
	smaller := standard
	smaller.round.spread = big.NewInt(2)
	round := func(o *oneBlock) lies {
		return lies{function: once(o.hints.function, func(_, out []*big.Int) bool {
			x := slices.IndexFunc(o.hints.round[0], func(r *big.Int) bool { return r.Cmp(out[0]) == 0 })
			return x>>3&1 == 0 && flipLimb(out[0], o.hints.round[0], 3)
		})}
	}
	for _, c := range []struct {
		name    string
		overlap packing
		lie     func(*oneBlock) lies
	}{{"schedule", small, schedule}, {"round function", smaller, round}} {
		if testing.Short() && c.name != "round function" {
			continue
		}
		for overlaps, p := range map[bool]packing{true: c.overlap, false: standard} {
			o := newOneBlock(p)
			sys := mustCompile(t, o.free)
			if err := solve(t, sys, o.honest, o.evil(lies{})); err != nil {
				t.Fatalf("%s: the truth is refused: %v", c.name, err)
			}
			if err := solve(t, sys, o.honest, o.evil(c.lie(o))); (err == nil) != overlaps {
				t.Errorf("%s: the slots overlap: %v; a wrong bit is refused: %v", c.name, overlaps, err)
			}
		}
	}
}

// schedule returns the block's schedule, and the sums of spreads that its words are read from.
func (o *oneBlock) schedule() (w [sha1Rounds]uint32, totals [sha1Rounds]*big.Int) {
	for t := range w {
		if t < 16 {
			w[t] = binary.BigEndian.Uint32(o.block[4*t:])
			continue
		}
		totals[t] = new(big.Int)
		x := uint32(0)
		for _, i := range []int{3, 8, 14, 16} {
			x ^= w[t-i]
			totals[t].Add(totals[t], spreadWord(w[t-i], scheduleBase))
		}
		w[t] = bits.RotateLeft32(x, 1)
	}
	return w, totals
}

// roundNative is a round of SHA-1, with some bits of its function's result flipped.
func roundNative(s [digestWords]uint32, t int, w, flip uint32) [digestWords]uint32 {
	a, b, c, d, e := s[0], s[1], s[2], s[3], s[4]
	f := b ^ c ^ d
	switch roundFunction(t) {
	case choice:
		f = b&c | ^b&d
	case majority:
		f = b&c | b&d | c&d
	}
	next := bits.RotateLeft32(a, 5) + (f ^ flip) + e + uint32(sha1K[t/20]) + w
	return [digestWords]uint32{next, a, bits.RotateLeft32(b, 30), c, d}
}

// carries returns the bits at which the choice of three words could be read otherwise in base 10:
// where b, c, d are 0, 1, 0 the digit is 8, and 8 + 2 is 0 and a carry into the next digit. That
// stands it where it is 7, since 8 is as good a digit of the rest.
func carries(b, c, d uint32) (flip uint32) {
	for i := 0; i < wordBits-1; i++ {
		if eight := ^b & c & ^d >> i & 1; eight == 1 && (b|c|d)>>(i+1)&1 == 0 {
			flip |= 1 << i
			i++
		}
	}
	return flip
}

// carried lies about every choice of the block that can be read otherwise in base 10, and
// returns the digest that comes of it.
func (o *oneBlock) carried() (l lies, digest [idBytes]byte) {
	w, _ := o.schedule()
	flips := make(map[string]uint32) // by the total
	state := [digestWords]uint32(sha1IV)
	for round := range sha1Rounds {
		flip := uint32(0)
		if roundFunction(round) == choice {
			flip = carries(state[1], state[2], state[3])
			flips[o.choiceTotal(state[1], state[2], state[3]).String()] = flip
		}
		state = roundNative(state, round, w[round], flip)
	}
	for i := range state {
		state[i] += sha1IV[i]
	}
	l.function = func(in, out []*big.Int) error {
		err := o.hints.function(in, out)
		flip := flips[in[0].String()]
		if in[1].Int64() != choice || flip == 0 {
			return err
		}
		f := &functions[choice]
		var word uint64
		var rest [wordBits + limbBits]uint64
		for i, d := range digits(in[0], o.hints.base) {
			s := o.hints.solution[choice][d]
			word |= s.bit << i
			rest[i] = s.rest
		}
		for i := range wordBits {
			if flip>>i&1 == 1 {
				rest[i], rest[i+1] = 0, 8
			}
		}
		setPacked(out[:3], o.hints.round, word|uint64(flip))
		setDigits(out[3:], rest[:], f.restLen, o.hints.base)
		return err
	}
	return l, joined(state)
}

func (o *oneBlock) choiceTotal(b, c, d uint32) *big.Int {
	f := &functions[choice]
	total := new(big.Int).Mul(big.NewInt(f.constant), spreadWord(1<<wordBits-1, o.packing.base))
	for i, v := range []uint32{b, c, d} {
		total.Add(total, new(big.Int).Mul(big.NewInt(f.weights[i]), spreadWord(v, o.packing.base)))
	}
	return total
}

// TestChoicesDoNotCarry: in base 10 the block has a digest that is not SHA-1's, and Groth16 proves
// it; in base 11 the same lies are refused.
func TestChoicesDoNotCarry(t *testing.T) {
	ten := standard
	ten.base = 10
	for _, p := range []packing{standard, ten} {
		o := newOneBlock(p)
		l, digest := o.carried()
		if digest == joined(compressNative(sha1IV, o.block)) {
			t.Fatal("there is nothing to lie about: choose another message")
		}
		c := &sha1Circuit{Bytes: make([]frontend.Variable, blockBytes), testingOnlyPacking: &p}
		sys := mustCompile(t, c)
		if err := solve(t, sys, o.honest, o.evil(lies{})); err != nil {
			t.Fatalf("base %d: the true digest is refused: %v", p.base, err)
		}
		forged := &sha1Circuit{Digest: new(big.Int).SetBytes(digest[:]), Bytes: o.honest.Bytes}
		if err := solve(t, sys, forged, o.evil(l)); (err == nil) != (p.base == 10) {
			t.Errorf("base %d: a forged digest: %v", p.base, err)
		}
		if p.base != 10 || testing.Short() {
			continue
		}
		pk, vk, err := groth16.Setup(sys)
		fatalIf(t, err)
		opts := []solver.Option{solver.WithHints(Hints()...)}
		for id, h := range o.evil(l) {
			opts = append(opts, solver.OverrideHint(id, h))
		}
		witness, err := frontend.NewWitness(forged, field)
		fatalIf(t, err)
		proof, err := groth16.Prove(sys, pk, witness, backend.WithSolverOptions(opts...))
		fatalIf(t, err)
		public, err := witness.Public()
		fatalIf(t, err)
		if err := groth16.Verify(proof, vk, public); err != nil {
			t.Errorf("the proof of a forged digest is refused in base 10 too: the test shows nothing: %v", err)
		}
	}
}
