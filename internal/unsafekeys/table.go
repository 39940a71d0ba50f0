package unsafekeys

import (
	"runtime"
	"sync"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// table holds the multiples d 256^i of a generator, for every byte d but zero: a scalar
// takes one addition per byte. BatchScalarMultiplicationG1 and G2 of gnark-crypto double
// as well, for several times as long.
type table[A, J any, P point[A, J]] struct {
	multiple [fr.Bytes][]A // by i, then by d-1
	affine   func([]J) []A
	made     func() // is called after each point, by many at once
}

// point is what G1Jac and G2Jac have.
type point[A, J any] interface {
	*J
	AddAssign(*J) *J
	AddMixed(*A) *J
}

func newTable[A, J any, P point[A, J]](generator J, affine func([]J) []A, made func()) *table[A, J, P] {
	t := &table[A, J, P]{affine: affine, made: made}
	for i := range t.multiple {
		row := make([]J, 256) // from one to 256 times the generator
		row[0] = generator
		for d := 1; d < len(row); d++ {
			row[d] = row[d-1]
			P(&row[d]).AddAssign(&generator)
		}
		generator = row[255]
		t.multiple[i] = affine(row[:255])
	}
	return t
}

// multiples multiplies the generator by each scalar, on all processors.
func (t *table[A, J, P]) multiples(scalars fr.Vector) []A {
	out := make([]J, len(scalars))
	workers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for n := worker; n < len(out); n += workers {
				for i, d := range scalars[n].Bytes() {
					if d > 0 {
						P(&out[n]).AddMixed(&t.multiple[fr.Bytes-1-i][d-1])
					}
				}
				t.made()
			}
		})
	}
	wg.Wait()
	return t.affine(out)
}

// batchJacobianToAffineG2 is what gnark-crypto has for G1 only.
func batchJacobianToAffineG2(points []curve.G2Jac) []curve.G2Affine {
	out := make([]curve.G2Affine, len(points))
	for i := range points {
		out[i].FromJacobian(&points[i])
	}
	return out
}
