package proofcheck

import (
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// comb adds up multiples of points that stay the same, a key's (Lim and Lee, 1994). A scalar of 256
// bits is a row for each of its teeth, and the bits of one column choose what is added. For the keys
// of a build claim it takes 31 doublings and at most 192 additions, and 98 kB.
//
// It takes an unequal time for unequal scalars, which are public.
type comb struct {
	points [][1<<teeth - 1]bn254.G1Affine // for each point P: sum of 2^(columns k) P over the bits k of 1, 2, ..
}

const (
	teeth   = 8
	columns = 32 // teeth times columns are the bits of a scalar
)

func newComb(points []bn254.G1Affine) *comb {
	c := &comb{make([][1<<teeth - 1]bn254.G1Affine, len(points))}
	for i := range points {
		var sums [1<<teeth - 1]bn254.G1Jac
		var tooth bn254.G1Jac
		tooth.FromAffine(&points[i])
		for k := range teeth {
			first := 1 << k
			sums[first-1] = tooth
			for rest := 1; rest < first; rest++ {
				sums[first+rest-1] = tooth
				sums[first+rest-1].AddAssign(&sums[rest-1])
			}
			for range columns {
				tooth.DoubleAssign()
			}
		}
		copy(c.points[i][:], bn254.BatchJacobianToAffineG1(sums[:]))
	}
	return c
}

// sum returns the sum of the points, each times its scalar, of which there are as many.
func (c *comb) sum(scalars fr.Vector) (out bn254.G1Affine) {
	rows := make([][teeth]uint32, len(scalars))
	for i := range scalars {
		for word, bits := range scalars[i].Bits() {
			rows[i][2*word], rows[i][2*word+1] = uint32(bits), uint32(bits>>columns)
		}
	}
	var sum bn254.G1Jac // at infinity
	for column := columns - 1; column >= 0; column-- {
		sum.DoubleAssign()
		for i := range rows {
			var chosen uint32
			for k, row := range rows[i] {
				chosen |= row >> column & 1 << k
			}
			if chosen != 0 {
				sum.AddMixed(&c.points[i][chosen-1])
			}
		}
	}
	return *out.FromJacobian(&sum)
}
