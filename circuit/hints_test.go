package circuit

import (
	"crypto/sha1"
	"crypto/sha256"
	"math/big"
	"sync/atomic"
	"testing"

	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs"
)

// solvedWith says whether the compiled circuit has a solution when some hints are
// replaced. The commitment is replaced by a hash of what is committed to, which a
// prover cannot choose either.
func solvedWith(t *testing.T, c constraint.ConstraintSystem, assignment frontend.Circuit, evil map[solver.HintID]solver.Hint) bool {
	t.Helper()
	w, err := frontend.NewWitness(assignment, field)
	fatalIf(t, err)
	commitment := func(_ *big.Int, in, out []*big.Int) error {
		h := sha256.New()
		for _, v := range in {
			h.Write(v.Bytes())
			h.Write([]byte{0})
		}
		out[0].SetBytes(h.Sum(nil))
		return nil
	}
	opts := []solver.Option{solver.WithHints(Hints()...), solver.OverrideHint(solver.GetHintID(cs.Bsb22CommitmentComputePlaceholder), commitment)}
	for id, f := range evil {
		opts = append(opts, solver.OverrideHint(id, f))
	}
	return c.IsSolved(w, opts...) == nil
}

// TestDishonestHintsAreRefused gives the prover the freedom that hints are: for
// each hint, other decompositions of the same value. The circuit asks for no
// particular digest, so a lie is refused by the constraints on its own value or
// not at all.
func TestDishonestHintsAreRefused(t *testing.T) {
	msg := []byte("the quick brown fox")
	d := sha1.Sum(msg)
	compiled := compile(t, &sha1Circuit{Bytes: make([]frontend.Variable, 64), free: true})
	honest := &sha1Circuit{Digest: new(big.Int).SetBytes(d[:]), Bytes: vars(sha1Pad(msg))}
	if !solvedWith(t, compiled, honest, nil) {
		t.Fatal("the honest assignment is refused")
	}
	add := func(out []*big.Int, i int, v int64) { out[i].Add(out[i], big.NewInt(v)).Mod(out[i], field) }
	wrapAt := func(at int64, h solver.Hint, lie func(in, out []*big.Int)) map[solver.HintID]solver.Hint {
		var calls atomic.Int64
		return map[solver.HintID]solver.Hint{solver.GetHintID(h): func(m *big.Int, in, out []*big.Int) error {
			if err := h(m, in, out); err != nil {
				return err
			}
			if calls.Add(1) == at {
				lie(in, out)
			}
			return nil
		}}
	}
	wrap := func(h solver.Hint, lie func(in, out []*big.Int)) map[solver.HintID]solver.Hint {
		return wrapAt(30, h, lie) // one lie, somewhere in the middle
	}
	lies := []struct {
		name string
		evil map[solver.HintID]solver.Hint
	}{
		{"a word above 2^32", wrap(newWordHint, func(in, out []*big.Int) { add(out, 6, 256) })},
		{"five high bits that are not the word's", wrap(newWordHint, func(in, out []*big.Int) { add(out, 8, 1) })},
		{"a low bit of 2", wrap(newWordHint, func(in, out []*big.Int) { out[0].SetInt64(2) })},
		{"limbs borrowed from each other", wrap(newWordHint, func(in, out []*big.Int) { add(out, 2, -1<<11); add(out, 4, 1) })},
		{"a spread that is not the limb's", wrap(newWordHint, func(in, out []*big.Int) { add(out, 3, 1) })},
		{"another word altogether", wrap(newWordHint, func(in, out []*big.Int) {
			_ = newWordHint(nil, []*big.Int{new(big.Int).Add(in[0], big.NewInt(4))}, out)
		})},
		{"low and high parts exchanged", wrap(split3Hint, func(in, out []*big.Int) {
			_ = split3Hint(nil, []*big.Int{in[0], new(big.Int).Sub(big.NewInt(1), in[1])}, out)
		})},
		{"a majority limb that is no spread", wrap(split3Hint, func(in, out []*big.Int) { add(out, 6, 2) })},
		{"a parity with a digit moved up", wrap(split3Hint, func(in, out []*big.Int) {
			for i := int64(0); i < limbBits; i++ { // find a set digit and clear it
				bit := new(big.Int).Lsh(big.NewInt(1), uint(i))
				if out[0].Bit(int(i)) == 1 {
					out[0].Sub(out[0], bit)
					out[1].Sub(out[1], pow(4, i))
					return
				}
			}
		})},
		{"a schedule word with another highest bit", wrap(xor4Hint, func(in, out []*big.Int) { out[6].Sub(big.NewInt(1), out[6]) })},
		{"a schedule word with a carry between digits", wrap(xor4Hint, func(in, out []*big.Int) {
			// Read digit 0 as five more and digit 1 as one less would in base 5.
			out[0].SetInt64(out[0].Int64() ^ 1)
			out[1].SetInt64(spread(out[0].Int64(), 6))
		})},
		{"a quotient with a digit of 3", wrap(xor4Hint, func(in, out []*big.Int) { add(out, 7, 3) })},
		{"a byte with another class", wrap(byteHint, func(in, out []*big.Int) { add(out, 1, 1) })},
		{"multiplicities that are not counts", wrapAt(1, multiplicityHint, func(in, out []*big.Int) {
			add(out, 0, 1)
			add(out, 1, -1)
		})},
	}
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			if solvedWith(t, compiled, honest, l.evil) {
				t.Error("the lie is believed")
			}
		})
	}
}
