package circuit

import (
	"crypto/sha1"
	"encoding/binary"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/test"
)

func TestSHA1GadgetAgreesWithTheStandard(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 3, 55, 56, 64, 119} {
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

// compressNative is SHA-1's compression function, from the standard's text.
func compressNative(h [5]uint32, block []byte) [5]uint32 {
	var w [80]uint32
	for t := range w {
		if t < 16 {
			w[t] = binary.BigEndian.Uint32(block[4*t:])
		} else {
			w[t] = bits.RotateLeft32(w[t-3]^w[t-8]^w[t-14]^w[t-16], 1)
		}
	}
	a, b, c, d, e := h[0], h[1], h[2], h[3], h[4]
	for t := range w {
		var f uint32
		switch t / 20 {
		case 0:
			f = b&c | ^b&d
		case 2:
			f = b&c | b&d | c&d
		default:
			f = b ^ c ^ d
		}
		a, b, c, d, e = bits.RotateLeft32(a, 5)+f+e+uint32(sha1K[t/20])+w[t], a, bits.RotateLeft32(b, 30), c, d
	}
	return [5]uint32{h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e}
}
