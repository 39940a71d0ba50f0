package membership

import (
	"math/big"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/permutation/poseidon2"
	"golang.org/x/crypto/sha3"

	"cratelog/build"
)

// compression is one compression, as the circuit has it.
type compression struct {
	Left, Right frontend.Variable
	Out         frontend.Variable `gnark:",public"`
}

func (c *compression) Define(api frontend.API) error {
	p, err := poseidon2.NewPoseidon2FromParameters(api, 2, build.FullRounds, build.PartialRounds)
	if err != nil {
		return err
	}
	api.AssertIsEqual(p.Compress(c.Left, c.Right), c.Out)
	return nil
}

// constants are those of each round, one in a partial round: Keccak-256 of the instance's name, hashed again for each.
func constants() (out [][]*big.Int) {
	next := []byte("Poseidon2-BN254[t=2,rF=8,rP=56,d=5]")
	hash := func() {
		h := sha3.NewLegacyKeccak256()
		h.Write(next)
		next = h.Sum(nil)
	}
	hash()
	for round := range 8 + 56 {
		n := 2
		if round >= 4 && round < 4+56 {
			n = 1
		}
		var of []*big.Int
		for range n {
			hash()
			of = append(of, new(big.Int).SetBytes(next))
		}
		out = append(out, of)
	}
	return out
}

// slowCompress is the compression as the paper has it (eprint 2023/323, for t = 2), over integers: the
// outer matrix is [2 1; 1 2], the inner one [2 1; 1 3], a round adds its constants, raises to the fifth power and
// multiplies, and a multiplication with the outer matrix comes first.
func slowCompress(constants [][]*big.Int, left, right *big.Int) *big.Int {
	r := fr.Modulus()
	state := [2]*big.Int{new(big.Int).Set(left), new(big.Int).Set(right)}
	mix := func(m [2][2]int64) {
		var out [2]*big.Int
		for i := range out {
			out[i] = new(big.Int)
			for j := range state {
				out[i].Add(out[i], new(big.Int).Mul(big.NewInt(m[i][j]), state[j]))
			}
			out[i].Mod(out[i], r)
		}
		state = out
	}
	outer, inner := [2][2]int64{{2, 1}, {1, 2}}, [2][2]int64{{2, 1}, {1, 3}}
	mix(outer)
	for round := range constants {
		partial := len(constants[round]) == 1
		for i := range state {
			if partial && i > 0 {
				continue
			}
			state[i].Add(state[i], constants[round][i])
			state[i].Exp(state[i], big.NewInt(5), r)
		}
		if partial {
			mix(inner)
		} else {
			mix(outer)
		}
	}
	return state[1].Add(state[1], right).Mod(state[1], r)
}

// TestThreePoseidonsAreOne compares gnark-crypto's compression, which package build uses, with the circuit's and with
// the paper's, for the edges of the field and a thousand random inputs.
func TestThreePoseidonsAreOne(t *testing.T) {
	system, err := compile(new(compression))
	fatalIf(t, err)
	all := constants()
	zero, one := fr.Element{}, fr.One()
	minusOne := fr.Element{}
	minusOne.Neg(&one)
	pairs := [][2]fr.Element{{zero, zero}, {zero, one}, {one, zero}, {minusOne, minusOne}, {minusOne, zero},
		{zero, minusOne}, {fr.NewElement(build.DomainKey), zero}}
	for range 1000 {
		var x [2]fr.Element
		x[0].MustSetRandom()
		x[1].MustSetRandom()
		pairs = append(pairs, x)
	}
	for i, x := range pairs {
		want := compress(t, x[0], x[1])
		slow := slowCompress(all, x[0].BigInt(new(big.Int)), x[1].BigInt(new(big.Int)))
		if want.BigInt(new(big.Int)).Cmp(slow) != 0 {
			t.Fatalf("C(%v, %v) is %v, and the paper's %v", x[0], x[1], want, slow)
		}
		if testing.Short() && i%10 != 0 {
			continue
		}
		for _, out := range []fr.Element{want, *new(fr.Element).Add(&want, &one)} {
			w, err := frontend.NewWitness(&compression{x[0], x[1], out}, ecc.BN254.ScalarField())
			fatalIf(t, err)
			if solved := system.IsSolved(w) == nil; solved != (out == want) {
				t.Fatalf("C(%v, %v) = %v: the circuit says %v", x[0], x[1], out, solved)
			}
		}
	}
}

// TestNoWireIsFree: every wire of a prover's and every input stands in some constraint. It sees the request if
// nothing is said of it.
func TestNoWireIsFree(t *testing.T) {
	free := func(without ...group) (out []int) {
		system, err := compile(&loose{without: without})
		fatalIf(t, err)
		internal, secret, public := system.GetNbVariables()
		seen := make([]bool, internal+secret+public)
		for _, c := range system.GetR1Cs() {
			for _, term := range slices.Concat(c.L, c.R, c.O) {
				seen[term.WireID()] = true
			}
		}
		for wire := range seen {
			if !seen[wire] {
				out = append(out, wire)
			}
		}
		return out
	}
	const leaf = 6 + 1 + 2*build.Depth // after the public ones, Secret, Right and Path
	if wires := free(); !slices.Equal(wires, []int{leaf}) {
		t.Errorf("the wires %v are free, and only %d should be: Leaf, which the real circuit has not", wires, leaf)
	}
	if wires := free(groupTag, groupShare, groupInputs); !slices.Contains(wires, 2) {
		t.Errorf("the request is free, and only %v are seen", wires)
	}
}
