package setup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/big"
	"sync/atomic"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
)

// busy has a commitment unless it is bare, wires of every kind and coefficients of every kind.
type busy struct {
	Public [3]frontend.Variable `gnark:",public"`
	Secret [20]frontend.Variable
	Alone  frontend.Variable // in no constraint
	more   int               // a coefficient
	bare   bool
}

func (c *busy) Define(api frontend.API) error {
	r := c.Secret[5]
	if !c.bare {
		var err error
		if r, err = api.(frontend.Committer).Commit(c.Public[0], c.Public[2], c.Secret[3], c.Secret[4]); err != nil {
			return err
		}
	}
	sum := frontend.Variable(c.more)
	for i, x := range c.Secret {
		for j, y := range c.Secret[:i] {
			sum = api.Add(sum, api.Mul(y, []int{-2, -1, 0, 1, 2, 3, 1 << 20}[(i+j)%7]))
		}
		api.AssertIsEqual(api.Mul(api.Sub(x, sum), api.Add(x, i)), api.Mul(sum, x, c.Public[i%3]))
	}
	api.AssertIsDifferent(r, c.Secret[0])
	return nil
}

// both has a test of a circuit with a commitment and of one without.
func both(t *testing.T, f func(t *testing.T, system *cs.R1CS)) {
	for name, bare := range map[string]bool{"with a commitment": false, "without": true} {
		t.Run(name, func(t *testing.T) { f(t, compile(t, &busy{bare: bare})) })
	}
}

func compile(t *testing.T, c frontend.Circuit) *cs.R1CS {
	t.Helper()
	logger.Disable()
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c)
	fatalIf(t, err)
	return system.(*cs.R1CS)
}

func run(t *testing.T, system *cs.R1CS, s Secrets) *Keys {
	t.Helper()
	k, err := Run(t.Context(), system, s, new(Progress))
	fatalIf(t, err)
	return k
}

func fresh(t *testing.T) Secrets {
	t.Helper()
	s, err := Fresh()
	fatalIf(t, err)
	return s
}

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeysAreThoseOfACeremonyWithTheSameSecrets compares with gnark's own arithmetic on
// points, byte for byte.
func TestKeysAreThoseOfACeremonyWithTheSameSecrets(t *testing.T) { both(t, keysOfACeremony) }

func keysOfACeremony(t *testing.T, system *cs.R1CS) {
	s := fresh(t)
	n := ecc.NextPowerOfTwo(uint64(system.GetNbConstraints()))
	srs := phase1(s, n)
	phase := new(mpcsetup.Phase2)
	evaluations := phase.Initialize(system, srs)

	// What gnark makes of a beacon: delta, and sigma.
	h := sha256.New()
	_, err := phase.WriteTo(h)
	fatalIf(t, err)
	beacon := []byte("a beacon")
	x := gcmpc.BeaconContributions(h.Sum(nil), []byte("Groth16 MPC Setup - Phase2"), beacon, 1+len(phase.Sigmas))
	s.Delta = x[0]
	if len(x) == 2 {
		s.Sigma = x[1]
	}
	wantPK, wantVK := phase.Seal(srs, &evaluations, beacon)

	var p Progress
	k, err := Run(t.Context(), system, s, &p)
	fatalIf(t, err)
	if p.Share() != 1 {
		t.Errorf("all is made, and %v of it was counted", p.Share())
	}
	same(t, "proving key", k.Proving.WriteDump, wantPK.WriteDump)
	same(t, "verifying key", func(w io.Writer) error { _, err := k.Verifying.WriteTo(w); return err },
		func(w io.Writer) error { _, err := wantVK.WriteTo(w); return err })
	for i := range k.Powers.G1 {
		if !k.Powers.G1[i].Equal(&srs.G1.Tau[i]) {
			t.Fatalf("power %d is another", i)
		}
	}
	if uint64(len(k.Powers.G1)) != n+1 || !k.Powers.Tau2.Equal(&srs.G2.Tau[1]) {
		t.Error("the powers are others")
	}
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

// phase1 returns the parameters that phase 1 of a ceremony ends in.
func phase1(s Secrets, n uint64) *mpcsetup.SrsCommons {
	_, _, g1, g2 := curve.Generators()
	one := fr.One()
	srs := new(mpcsetup.SrsCommons)
	srs.G1.Tau = curve.BatchScalarMultiplicationG1(&g1, geometric(&one, &s.Tau, 2*n-1))
	srs.G1.AlphaTau = curve.BatchScalarMultiplicationG1(&g1, geometric(&s.Alpha, &s.Tau, n))
	srs.G1.BetaTau = curve.BatchScalarMultiplicationG1(&g1, geometric(&s.Beta, &s.Tau, n))
	srs.G2.Tau = curve.BatchScalarMultiplicationG2(&g2, geometric(&one, &s.Tau, n))
	srs.G2.Beta = curve.BatchScalarMultiplicationG2(&g2, fr.Vector{s.Beta})[0]
	return srs
}

// TestCombsMultiply compares with gnark-crypto, at the edges of digits and at random.
func TestCombsMultiply(t *testing.T) {
	n, step := 3*batch, 1
	if testing.Short() {
		n, step = 10, 7
	}
	scalars := make(fr.Vector, 0, n+1000)
	for i := 0; i <= fr.Bits; i += step {
		var x, y fr.Element
		x.SetBigInt(new(big.Int).Lsh(big.NewInt(1), uint(i)))
		one := fr.One()
		for range 3 {
			scalars = append(scalars, x, *y.Neg(&x))
			x.Sub(&x, &one)
		}
	}
	for range n {
		var x fr.Element
		_, err := x.SetRandom()
		fatalIf(t, err)
		scalars = append(scalars, x)
	}
	_, _, g1, g2 := curve.Generators()
	var done atomic.Int64
	got1, err := newComb[fp.Element, *fp.Element](g1).times(t.Context(), scalars, &done, 1)
	fatalIf(t, err)
	got2, err := newComb[curve.E2, *curve.E2](g2).times(t.Context(), scalars, &done, 2)
	fatalIf(t, err)
	if done.Load() != 3*int64(len(scalars)) {
		t.Errorf("counted %d for %d scalars", done.Load(), len(scalars))
	}
	want1, want2 := curve.BatchScalarMultiplicationG1(&g1, scalars), curve.BatchScalarMultiplicationG2(&g2, scalars)
	for i := range scalars {
		if !got1[i].Equal(&want1[i]) || !got2[i].Equal(&want2[i]) {
			t.Errorf("times %v: another point", scalars[i].String())
		}
	}
}

// TestPointsAreAddedWhateverTheyAre adds each of some multiples to each.
func TestPointsAreAddedWhateverTheyAre(t *testing.T) {
	_, _, g1, _ := curve.Generators()
	multiple := func(n int) (p curve.G1Affine) { return *p.ScalarMultiplication(&g1, big.NewInt(int64(n))) }
	var add adder[fp.Element, *fp.Element]
	var got []point[fp.Element]
	var want []curve.G1Affine
	for a := -3; a <= 3; a++ {
		for b := -3; b <= 3; b++ {
			got, want = append(got, point[fp.Element](multiple(a))), append(want, multiple(a+b))
		}
	}
	for i := range got {
		p := point[fp.Element](multiple(i%7 - 3))
		if i%2 == 0 {
			add.put(&got[i], &p)
		} else {
			p := point[fp.Element](multiple(3 - i%7))
			add.putNegative(&got[i], &p)
		}
	}
	add.flush()
	for i := range got {
		if got := curve.G1Affine(got[i]); !got.Equal(&want[i]) {
			t.Errorf("sum %d: %v, want %v", i, got, want[i])
		}
	}
}

func TestASetupThatIsStoppedEnds(t *testing.T) {
	system := compile(t, new(busy))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Run(ctx, system, fresh(t), new(Progress)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSecretsThatMakeNoKeyAreRefused(t *testing.T) {
	system := compile(t, new(busy))
	for i, spoil := range []func(*Secrets){
		func(s *Secrets) { s.Tau.SetZero() }, func(s *Secrets) { s.Tau.SetOne() }, func(s *Secrets) { s.Alpha.SetZero() },
		func(s *Secrets) { s.Beta.SetZero() }, func(s *Secrets) { s.Delta.SetZero() }, func(s *Secrets) { s.Sigma.SetZero() },
	} {
		s := fresh(t)
		spoil(&s)
		if _, err := Run(t.Context(), system, s, new(Progress)); err == nil {
			t.Errorf("%d: keys were made", i)
		}
	}
	if a, b := fresh(t), fresh(t); a.Tau == b.Tau || a.Tau == a.Alpha {
		t.Error("fresh secrets are the same ones")
	}
}

func TestACircuitWithTwoCommitmentsIsRefused(t *testing.T) {
	if _, err := Run(t.Context(), compile(t, new(twice)), fresh(t), new(Progress)); err == nil {
		t.Error("keys were made")
	}
}

type twice struct{ X, Y frontend.Variable }

func (c *twice) Define(api frontend.API) error {
	for _, x := range []frontend.Variable{c.X, c.Y} {
		r, err := api.(frontend.Committer).Commit(x)
		if err != nil {
			return err
		}
		api.AssertIsDifferent(r, x)
	}
	return nil
}
