package unsafekeys

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
)

// busy has a commitment, wires of every kind and coefficients of every kind.
type busy struct {
	Public [3]frontend.Variable `gnark:",public"`
	Secret [20]frontend.Variable
	Alone  frontend.Variable // in no constraint
}

func (c *busy) Define(api frontend.API) error {
	r, err := api.(frontend.Committer).Commit(c.Public[0], c.Public[2], c.Secret[3], c.Secret[4])
	if err != nil {
		return err
	}
	sum := frontend.Variable(0)
	for i, x := range c.Secret {
		for j, y := range c.Secret[:i] {
			sum = api.Add(sum, api.Mul(y, []int{-2, -1, 0, 1, 2, 3, 1 << 20}[(i+j)%7]))
		}
		api.AssertIsEqual(api.Mul(api.Sub(x, sum), api.Add(x, i)), api.Mul(sum, x, c.Public[i%3]))
	}
	api.AssertIsDifferent(r, c.Secret[0])
	return nil
}

func compile(t *testing.T, c frontend.Circuit) *cs.R1CS {
	t.Helper()
	logger.Disable()
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c)
	fatalIf(t, err)
	return system.(*cs.R1CS)
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeysAreThoseOfACeremonyWithTheSameSecrets compares with gnark's own arithmetic on
// points, byte for byte.
func TestKeysAreThoseOfACeremonyWithTheSameSecrets(t *testing.T) {
	system := compile(t, new(busy))
	s := Published(1, 2)
	srs := powers(s, ecc.NextPowerOfTwo(uint64(system.GetNbConstraints())))
	phase := new(mpcsetup.Phase2)
	evaluations := phase.Initialize(system, srs)

	// What gnark makes of a beacon: delta, and sigma.
	h := sha256.New()
	_, err := phase.WriteTo(h)
	fatalIf(t, err)
	beacon := []byte("a beacon")
	x := gcmpc.BeaconContributions(h.Sum(nil), []byte("Groth16 MPC Setup - Phase2"), beacon, 2)
	s.Delta, s.Sigma = x[0], x[1]
	wantPK, wantVK := phase.Seal(srs, &evaluations, beacon)

	var p Progress
	pk, vk, err := Setup(system, s, &p)
	if p.Share() != 1 {
		t.Errorf("all is made, and %v of it was counted", p.Share())
	}
	fatalIf(t, err)
	same(t, "proving key", pk.WriteDump, wantPK.WriteDump)
	same(t, "verifying key", func(w io.Writer) error { _, err := vk.WriteTo(w); return err },
		func(w io.Writer) error { _, err := wantVK.WriteTo(w); return err })
}

func same(t *testing.T, what string, got, want func(io.Writer) error) {
	t.Helper()
	var a, b bytes.Buffer
	fatalIf(t, got(&a))
	fatalIf(t, want(&b))
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("the %s is another", what)
	}
}

// powers returns the parameters that phase 1 of a ceremony ends in.
func powers(s Secrets, n uint64) *mpcsetup.SrsCommons {
	_, _, g1, g2 := curve.Generators()
	times := func(x fr.Element, n uint64) fr.Vector {
		v := make(fr.Vector, n)
		for i := range v {
			v[i] = x
			x.Mul(&x, &s.Tau)
		}
		return v
	}
	srs := new(mpcsetup.SrsCommons)
	srs.G1.Tau = curve.BatchScalarMultiplicationG1(&g1, times(fr.One(), 2*n-1))
	srs.G1.AlphaTau = curve.BatchScalarMultiplicationG1(&g1, times(s.Alpha, n))
	srs.G1.BetaTau = curve.BatchScalarMultiplicationG1(&g1, times(s.Beta, n))
	srs.G2.Tau = curve.BatchScalarMultiplicationG2(&g2, times(fr.One(), n))
	srs.G2.Beta = curve.BatchScalarMultiplicationG2(&g2, fr.Vector{s.Beta})[0]
	return srs
}

func TestEachCircuitHasItsOwnSecrets(t *testing.T) {
	if once, again := Published(12, 3), Published(12, 3); once != again {
		t.Error("the secrets are others each time")
	}
	if a, b := Published(12, 3), Published(1, 23); a.Tau == b.Tau || a.Alpha == b.Alpha || a.Tau == a.Alpha {
		t.Error("two circuits share secrets")
	}
}

func TestACircuitWithoutACommitmentIsRefused(t *testing.T) {
	if _, _, err := Setup(compile(t, new(plain)), Published(1, 1), new(Progress)); err == nil {
		t.Error("keys were made")
	}
}

type plain struct{ X frontend.Variable }

func (c *plain) Define(api frontend.API) error {
	api.AssertIsEqual(api.Mul(c.X, c.X), c.X)
	return nil
}
