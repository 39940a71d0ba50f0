package ceremony

import (
	"bytes"
	"math/big"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// stray is a point of G2's curve, of the order 10069: the least that is not of the subgroup.
func stray(t testing.TB) curve.G2Affine {
	t.Helper()
	// The curve's order is r (2p - r).
	rest := new(big.Int).Lsh(fp.Modulus(), 1)
	rest.Sub(rest, fr.Modulus())
	rest.Div(rest, big.NewInt(10069))
	for i := uint64(1); ; i++ {
		var b [g2Size]byte
		b[0], b[g2Size-1] = 0x80, byte(i) // compressed, x = i
		var p curve.G2Affine
		if curve.NewDecoder(bytes.NewReader(b[:]), curve.NoSubgroupChecks()).Decode(&p) != nil {
			continue
		}
		// Not ScalarMultiplication: it is for points of the subgroup.
		times := func(p curve.G2Affine, k *big.Int) (out curve.G2Affine) {
			for j := k.BitLen() - 1; j >= 0; j-- {
				out.Double(&out)
				if k.Bit(j) == 1 {
					out.Add(&out, &p)
				}
			}
			return out
		}
		if p = times(times(p, fr.Modulus()), rest); !p.IsInfinity() {
			if q := times(p, big.NewInt(10069)); !q.IsInfinity() || p.IsInSubGroup() {
				t.Fatal("the order of the curve is another")
			}
			return p
		}
	}
}

func TestPointsOutsideOfTheSubgroupAreFound(t *testing.T) {
	bad := stray(t)
	for _, n := range []int{1, 100, 1000} {
		p := make([]curve.G2Affine, n)
		for i := range p {
			p[i].ScalarMultiplicationBase(big.NewInt(int64(i + 1)))
		}
		fatalIf(t, inSubgroup(p))
		fatalIf(t, decodeG2(make([]curve.G2Affine, n), encodeG2(p)))
		for _, at := range []int{0, n / 2, n - 1} {
			good := p[at]
			p[at].Add(&good, &bad)
			if inSubgroup(p) == nil || decodeG2(make([]curve.G2Affine, n), encodeG2(p)) == nil {
				t.Errorf("point %d of %d is outside of the subgroup, and believed", at, n)
			}
			p[at] = good
		}
		// Two whose strays cancel out.
		if n > 1 {
			p[0].Add(&p[0], &bad)
			p[1].Sub(&p[1], &bad)
			if inSubgroup(p) == nil {
				t.Errorf("two points of %d are outside of the subgroup, and believed", n)
			}
		}
	}
}

func BenchmarkDecodeG2(b *testing.B) {
	p := make([]curve.G2Affine, 1<<13)
	for i := range p {
		p[i].ScalarMultiplicationBase(big.NewInt(int64(i + 1)))
	}
	raw := encodeG2(p)
	b.Run("points", func(b *testing.B) {
		for b.Loop() {
			fatalIf(b, decodeG2(p, raw))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(p)), "us/point")
	})
	b.Run("subgroup", func(b *testing.B) {
		for b.Loop() {
			fatalIf(b, inSubgroup(p))
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(p)), "us/point")
	})
}
