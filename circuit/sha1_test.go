package circuit

import (
	"crypto/sha1"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/test"
)

// sha1Circuit claims that Digest is the SHA-1 of the padded message.
type sha1Circuit struct {
	Digest frontend.Variable `gnark:",public"`
	Bytes  []frontend.Variable
}

func (c *sha1Circuit) Define(api frontend.API) error {
	a := newArgument(api)
	g := &sha1Gadget{api, a, newSHA1Tables(a)}
	bytes := newByteTable(a)
	h := constantState(sha1IV)
	for k := 0; k < len(c.Bytes); k += blockBytes {
		block, _, err := bytes.read(api, c.Bytes[k:k+blockBytes])
		if err != nil {
			return err
		}
		if h, err = g.compress(h, block); err != nil {
			return err
		}
	}
	api.AssertIsEqual(g.digest(h), c.Digest)
	return a.finish()
}

func pad(msg []byte) []byte {
	n := uint64(len(msg)) * 8
	msg = append(append([]byte{}, msg...), 0x80)
	for len(msg)%64 != 56 {
		msg = append(msg, 0)
	}
	for i := 7; i >= 0; i-- {
		msg = append(msg, byte(n>>(8*i)))
	}
	return msg
}

func TestSHA1GadgetAgreesWithTheStandard(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 3, 55, 56, 64, 119} {
		msg := make([]byte, n)
		for i := range msg {
			msg[i] = byte(rng.Uint32())
		}
		padded := pad(msg)
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

func TestSHA1BlockCost(t *testing.T) {
	count := func(blocks int) int {
		cs, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, &sha1Circuit{Bytes: make([]frontend.Variable, 64*blocks)})
		if err != nil {
			t.Fatal(err)
		}
		return cs.GetNbConstraints()
	}
	one, two, three := count(1), count(2), count(3)
	t.Log(one, two-one, three-two)
}

func vars(b []byte) []frontend.Variable {
	v := make([]frontend.Variable, len(b))
	for i := range b {
		v[i] = b[i]
	}
	return v
}
