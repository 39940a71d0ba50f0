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
	var good, bad curve.G2Affine
	outside := stray(t)
	good.ScalarMultiplicationBase(big.NewInt(3))
	bad.Add(&good, &outside)
	for _, c := range []struct {
		p    curve.G2Affine
		want bool
	}{{good, true}, {bad, false}, {outside, false}} {
		// As a .ptau file has it, and as a contribution has it.
		raw := rawOf2([]curve.G2Affine{c.p})
		compressed := c.p.Bytes()
		if err := rawG2(new(curve.G2Affine), raw); (err == nil) != c.want {
			t.Errorf("in a .ptau file: %v", err)
		}
		if _, err := new(curve.G2Affine).SetBytes(compressed[:]); (err == nil) != c.want {
			t.Errorf("in a contribution: %v", err)
		}
	}
}
