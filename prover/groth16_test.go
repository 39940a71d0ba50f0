package prover

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"math/big"
	"runtime/debug"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint/solver"

	"cratelog/circuit"
)

// counted are random bytes that are the same each time: the SHA-256 of 0, 1, and so on, each cut to
// what is surely a field element.
type counted struct{ n byte }

func (c *counted) Read(b []byte) (int, error) {
	sum := sha256.Sum256([]byte{c.n})
	sum[31] &= 0x1f // the most significant byte, for gnark
	c.n++
	return copy(b, sum[:]), nil
}

// withRandom calls f with r as the source of all random numbers.
func withRandom(r io.Reader, f func()) {
	before := rand.Reader
	defer func() { rand.Reader = before }()
	rand.Reader = r
	f()
}

// TestASegmentsProofIsGnarks compares, for the same mask, r and s: every point must be the same.
func TestASegmentsProofIsGnarks(t *testing.T) {
	k, p := keys(t), plan(t, "hello-proof", "0.1.0")
	stream, err := circuit.Split(small, p.objects)
	fatalIf(t, err)
	j, err := newJob(k, stream, p.Claim.Commit)
	fatalIf(t, err)
	rho, err := random(1)
	fatalIf(t, err)
	fatalIf(t, j.at(rho[0]))
	for _, i := range []int{0, 1, stream.Segments() - 1} {
		c, err := j.commitTo(i)
		fatalIf(t, err)
		var drawn, drawnByGnark counted
		var ours, theirs *groth16.Proof
		withRandom(&drawn, func() { ours, err = j.prove(i, c) })
		fatalIf(t, err)
		w, err := j.witness(i)
		fatalIf(t, err)
		mask := func(_ *big.Int, _, out []*big.Int) error { j.masks[i].BigInt(out[0]); return nil }
		withRandom(&drawnByGnark, func() {
			theirs, err = groth16.Prove(k.system, k.proving, w, backend.WithSolverOptions(
				solver.WithHints(circuit.Hints()...), solver.OverrideHint(solver.GetHintID(randomize()), mask)))
		})
		fatalIf(t, err)
		var a, b bytes.Buffer
		if _, err := ours.WriteRawTo(&a); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.WriteRawTo(&b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("segment %d: the proofs differ:\n%x\n%x", i, a.Bytes(), b.Bytes())
		}
		if drawn.n != 2 || drawnByGnark.n != 2 {
			t.Errorf("segment %d: %d random numbers were drawn, by gnark %d, instead of r and s", i, drawn.n, drawnByGnark.n)
		}
		public, err := w.Public()
		fatalIf(t, err)
		vk := new(groth16.VerifyingKey)
		if _, err := vk.ReadFrom(bytes.NewReader(k.Program.Key)); err != nil {
			t.Fatal(err)
		}
		again, err := j.prove(i, c)
		fatalIf(t, err)
		for _, proof := range []*groth16.Proof{ours, theirs, again} {
			if err := groth16.Verify(proof, vk, public.Vector().(fr.Vector)); err != nil {
				t.Errorf("segment %d: %v", i, err)
			}
		}
		if again.Ar == ours.Ar || again.Bs == ours.Bs || again.Krs == ours.Krs {
			t.Errorf("segment %d: a second proof has points of the first", i)
		}
	}
}

// TestNoProofIsMadeWithoutRandomNumbers: r and s hide the wires, and the masks what is committed to.
func TestNoProofIsMadeWithoutRandomNumbers(t *testing.T) {
	withRandom(&io.LimitedReader{R: rand.Reader, N: 40}, func() {
		if v, err := random(2); err == nil {
			t.Errorf("numbers were drawn from a source that ended: %v", v)
		}
	})
	zeros := io.MultiReader(bytes.NewReader(make([]byte, 64)), bytes.NewReader([]byte{1}), bytes.NewReader(make([]byte, 31)))
	withRandom(zeros, func() {
		if v, err := random(1); err != nil || v[0].IsZero() {
			t.Errorf("%v, %v", v, err)
		}
	})
}

// TestTheGarbageCollectorIsSetBack, also after proofs that overlap.
func TestTheGarbageCollectorIsSetBack(t *testing.T) {
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	begin := debug.SetGCPercent(120)
	defer debug.SetGCPercent(begin)
	first := collectOften()
	second := collectOften()
	first()
	if p := percent(); p >= 100 {
		t.Errorf("%d percent during a proof", p)
	}
	second()
	if p := percent(); p != 120 {
		t.Errorf("%d percent afterwards, 120 before", p)
	}
	debug.SetGCPercent(10)
	end := collectOften()
	if p := percent(); p != 10 {
		t.Errorf("%d percent during a proof, though 10 was asked for", p)
	}
	end()
	debug.SetGCPercent(-1)
	end = collectOften()
	if p := percent(); p < 0 || p >= 100 {
		t.Errorf("%d percent during a proof, though there was none before", p)
	}
	end()
	if p := percent(); p != -1 {
		t.Errorf("%d percent afterwards, -1 before", p)
	}
}

// TestTermsOfEqualFactorsMakeTheSameSum compares with gnark's sums: factors that are zero, small, large and
// equal, and points that are equal, or each other's negatives.
func TestTermsOfEqualFactorsMakeTheSameSum(t *testing.T) {
	_, _, g1, g2 := bn254.Generators()
	large, err := random(3)
	fatalIf(t, err)
	factors := append(large, fr.NewElement(0), fr.One(), fr.NewElement(7), fr.NewElement(1<<63))
	var points1 []bn254.G1Affine
	var points2 []bn254.G2Affine
	var scalars []fr.Element
	for i := range 200 {
		by := big.NewInt(int64(i / 5))
		var p1 bn254.G1Affine
		var p2 bn254.G2Affine
		p1.ScalarMultiplication(&g1, by) // the first are at infinity
		p2.ScalarMultiplication(&g2, by)
		if i%3 == 0 {
			p1.Neg(&p1)
			p2.Neg(&p2)
		}
		points1, points2 = append(points1, p1), append(points2, p2)
		scalars = append(scalars, factors[(i*i+i/9)%len(factors)])
	}
	// A point and its negative are all that has this factor: their sum is at infinity.
	alone, err := random(1)
	fatalIf(t, err)
	points1, points2 = append(points1, g1, *new(bn254.G1Affine).Neg(&g1)), append(points2, g2, *new(bn254.G2Affine).Neg(&g2))
	scalars = append(scalars, alone[0], alone[0])

	terms1, terms2 := split1(points1, scalars), split2(points2, scalars)
	for name, got := range map[string][]int{
		"G1": {len(terms1.small.points), len(terms1.large.points)}, "G2": {len(terms2.small.points), len(terms2.large.points)},
	} {
		if got[0] != 3 || got[1] != 4 {
			t.Errorf("%s: %d small terms and %d large ones, want 3 and 4", name, got[0], got[1])
		}
	}
	sum, err := sum1(func() *terms[bn254.G1Affine] { return terms1 })
	fatalIf(t, err)
	var want bn254.G1Jac
	if _, err := want.MultiExp(points1, scalars, ecc.MultiExpConfig{}); err != nil || !sum.Equal(&want) {
		t.Errorf("another sum in G1 (%v)", err)
	}
	twice, err := sum2(func() *terms[bn254.G2Affine] { return terms2 })
	fatalIf(t, err)
	var want2 bn254.G2Jac
	if _, err := want2.MultiExp(points2, scalars, ecc.MultiExpConfig{}); err != nil || !twice.Equal(&want2) {
		t.Errorf("another sum in G2 (%v)", err)
	}
}
