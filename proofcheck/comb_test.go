package proofcheck

import (
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// TestACombAddsUpWhatScalarMultiplicationDoes for numbers whose rows and columns are empty, full or random, and for
// points that are the same, opposite or at infinity, so that every case of an addition comes up.
func TestACombAddsUpWhatScalarMultiplicationDoes(t *testing.T) {
	_, _, g, _ := bn254.Generators()
	var neg, other, infinity bn254.G1Affine
	neg.Neg(&g)
	other.ScalarMultiplicationBase(big.NewInt(12345))
	points := []bn254.G1Affine{g, g, neg, other, infinity}
	comb := newComb(points)
	minusOne := fr.NewElement(1)
	minusOne.Neg(&minusOne)
	edges := fr.Vector{{}, fr.One(), minusOne}
	for _, shift := range []uint{1, 31, 32, 33, 63, 64, 127, 128, 224, 253} {
		var x fr.Element
		edges = append(edges, *x.SetBigInt(new(big.Int).Lsh(big.NewInt(1), shift)))
	}
	vectors := []fr.Vector{make(fr.Vector, len(points))}
	for i := range edges {
		for j := range points {
			v := make(fr.Vector, len(points))
			v[j], v[(j+1)%len(points)] = edges[i], edges[(i+j)%len(edges)]
			vectors = append(vectors, v)
		}
	}
	for range 20 {
		v := make(fr.Vector, len(points))
		for j := range v {
			v[j].MustSetRandom()
		}
		v[1] = v[2] // which cancel out
		vectors = append(vectors, v)
	}
	seen := 0
	for _, v := range vectors {
		var want, term bn254.G1Affine
		for j := range v {
			want.Add(&want, term.ScalarMultiplication(&points[j], v[j].BigInt(new(big.Int))))
		}
		if got := comb.sum(v); !got.Equal(&want) {
			t.Errorf("%v: the sum is %v, not %v", v, got, want)
		}
		if !want.IsInfinity() {
			seen++
		}
	}
	if seen < len(vectors)/2 {
		t.Errorf("only %d of %d sums are not zero", seen, len(vectors))
	}
}
