package circuit

import (
	"crypto/sha1"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/test"
)

func TestSHA1GadgetAgreesWithTheStandard(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := []int{56, 0, 3, 55, 64, 119}
	if testing.Short() {
		sizes = sizes[:1]
	}
	for _, n := range sizes {
		msg := make([]byte, n)
		for i := range msg {
			msg[i] = byte(rng.Uint32())
		}
		padded := sha1Pad(msg)
		d := sha1.Sum(msg)
		w := &sha1Circuit{Digest: new(big.Int).SetBytes(d[:]), Bytes: vars(padded)}
		c := &sha1Circuit{Bytes: make([]frontend.Variable, len(padded))}
		if err := test.IsSolved(c, w, ecc.BN254.ScalarField()); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		d[19] ^= 1
		w.Digest = new(big.Int).SetBytes(d[:])
		if test.IsSolved(c, w, ecc.BN254.ScalarField()) == nil {
			t.Fatalf("%d bytes: a wrong digest was accepted", n)
		}
	}
}

func vars(b []byte) []frontend.Variable {
	v := make([]frontend.Variable, len(b))
	for i := range b {
		v[i] = b[i]
	}
	return v
}
