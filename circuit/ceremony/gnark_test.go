package ceremony

import (
	"bytes"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// What this package computes on its own, gnark's mpcsetup computes as well.

func encoded(t *testing.T, l link) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := l.WriteTo(&b)
	fatalIf(t, err)
	return b.Bytes()
}

func TestPhase1IsGnarks(t *testing.T) {
	for _, n := range []uint64{2, 64, 1024} {
		ours, gnarks := newPhase1(n), mpcsetup.NewPhase1(n)
		if !bytes.Equal(encoded(t, ours), encoded(t, gnarks)) {
			t.Fatalf("domain %d: phase 1 starts differently", n)
		}
		// In turns, each verified by the other.
		for range 2 {
			prev := new(mpcsetup.Phase1)
			_, err := prev.ReadFrom(fullReader{bytes.NewReader(encoded(t, ours))})
			fatalIf(t, err)
			next := new(mpcsetup.Phase1)
			made, err := contribute(ours)
			fatalIf(t, err)
			ours = made.(*phase1)
			_, err = next.ReadFrom(fullReader{bytes.NewReader(encoded(t, ours))})
			fatalIf(t, err)
			if err := prev.Verify(next); err != nil {
				t.Fatalf("gnark refuses our contribution: %v", err)
			}
			next.Contribute()
			theirs := new(phase1)
			_, err = theirs.ReadFrom(bytes.NewReader(encoded(t, next)))
			fatalIf(t, err)
			if err := ours.follows(theirs); err != nil {
				t.Fatalf("gnark's contribution is refused: %v", err)
			}
			ours = theirs
		}
		srs, err := ours.seal(beacons[0])
		fatalIf(t, err)
		_, err = gnarks.ReadFrom(fullReader{bytes.NewReader(encoded(t, ours))})
		fatalIf(t, err)
		want := gnarks.Seal(beacons[0])
		var a, b bytes.Buffer
		_, err = srs.WriteTo(&a)
		fatalIf(t, err)
		_, err = want.WriteTo(&b)
		fatalIf(t, err)
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("domain %d: the beacon leads elsewhere", n)
		}
	}
}

// busy is a circuit with the door of the source circuit and coefficients of all kinds.
type busy struct {
	root
	X [40]frontend.Variable
}

func (c *busy) Define(api frontend.API) error {
	sum := frontend.Variable(0)
	for i, x := range c.X {
		for j, y := range c.X[:i] {
			sum = api.Add(sum, api.Mul(y, []int{-2, -1, 0, 1, 2, 3, 1 << 20}[(i+j)%7]))
		}
		api.AssertIsEqual(api.Mul(api.Sub(x, sum), api.Add(x, i)), api.Mul(sum, x))
	}
	return c.root.Define(api)
}

func busyShape(t *testing.T) (*shape, *mpcsetup.SrsCommons) {
	t.Helper()
	quiet()
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, new(busy))
	fatalIf(t, err)
	s, err := newShape(system.(*cs.R1CS))
	fatalIf(t, err)
	p, err := contribute(newPhase1(s.domain))
	fatalIf(t, err)
	srs, err := p.(*phase1).seal(beacons[0])
	fatalIf(t, err)
	return s, &srs
}

func TestPhase2StartsAndEndsAsGnarks(t *testing.T) {
	s, srs := busyShape(t)
	start := s.derive(srs)
	want := new(mpcsetup.Phase2)
	evals := want.Initialize(s.system, srs)
	if !bytes.Equal(encoded(t, start), encoded(t, want)) {
		t.Fatal("phase 2 starts differently")
	}
	fatalIf(t, s.checkStart(srs, start))
	ours, err := s.evaluations(srs, slices.Clone(evals.G1.CKK))
	fatalIf(t, err)
	pk, vk := start.Seal(srs, ours, beacons[1])
	key := pk.(*groth16.ProvingKey)
	fatalIf(t, s.completeKey(srs, key))
	wantPK, wantVK := want.Seal(srs, &evals, beacons[1])
	var a, b bytes.Buffer
	fatalIf(t, key.WriteDump(&a))
	fatalIf(t, wantPK.WriteDump(&b))
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the proving key is another")
	}
	a.Reset()
	b.Reset()
	_, err = vk.WriteTo(&a)
	fatalIf(t, err)
	_, err = wantVK.WriteTo(&b)
	fatalIf(t, err)
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the verifying key is another")
	}

	// One wrong point anywhere in the key is found.
	gen, gen2 := srs.G1.Tau[0], srs.G2.Tau[0]
	for name, spoil := range map[string]func(pk *groth16.ProvingKey){
		"A":       func(pk *groth16.ProvingKey) { pk.G1.A[3] = gen },
		"B":       func(pk *groth16.ProvingKey) { pk.G1.B[len(pk.G1.B)-1] = gen },
		"B in G2": func(pk *groth16.ProvingKey) { pk.G2.B[2] = gen2 },
	} {
		spoilt := *key
		spoilt.G1.A, spoilt.G1.B, spoilt.G2.B = slices.Clone(key.G1.A), slices.Clone(key.G1.B), slices.Clone(key.G2.B)
		spoil(&spoilt)
		if s.checkKey(srs, &spoilt) == nil {
			t.Errorf("a wrong point of %s is believed", name)
		}
	}
}

func TestPhase2ContributionsAreGnarks(t *testing.T) {
	s, srs := busyShape(t)
	prev := s.derive(srs)
	for range 2 {
		made, err := contribute(prev)
		fatalIf(t, err)
		next := made.(*mpcsetup.Phase2)
		if err := prev.Verify(next); err != nil {
			t.Fatalf("gnark refuses our contribution: %v", err)
		}
		theirs := clone(next).(*mpcsetup.Phase2)
		theirs.Contribute()
		if err := next.Verify(theirs); err != nil {
			t.Fatal(err)
		}
		prev = theirs
	}
}

// Whoever starts phase 2 cannot start it from anything else.
func TestAnotherStartOfPhase2IsRefused(t *testing.T) {
	s, srs := busyShape(t)
	good := encoded(t, s.derive(srs))
	_, _, gen1, gen2 := curve.Generators()
	for name, spoil := range map[string]func(p *mpcsetup.Phase2){
		"a first K":             func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK[0] = gen1 },
		"a last K":              func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK[len(p.Parameters.G1.PKK)-1] = gen1 },
		"two K exchanged":       func(p *mpcsetup.Phase2) { k := p.Parameters.G1.PKK; k[0], k[1] = k[1], k[0] },
		"a committed K":         func(p *mpcsetup.Phase2) { p.Parameters.G1.SigmaCKK[0][0] = gen1 },
		"a committed K for a K": func(p *mpcsetup.Phase2) { p.Parameters.G1.SigmaCKK[0][0] = p.Parameters.G1.PKK[0] },
		"a first Z":             func(p *mpcsetup.Phase2) { p.Parameters.G1.Z[0] = gen1 },
		"a last Z":              func(p *mpcsetup.Phase2) { z := p.Parameters.G1.Z; z[len(z)-1] = gen1 },
		"two Z exchanged":       func(p *mpcsetup.Phase2) { z := p.Parameters.G1.Z; z[0], z[1] = z[1], z[0] },
		"delta":                 func(p *mpcsetup.Phase2) { p.Parameters.G1.Delta.Double(&gen1) },
		"delta in G2":           func(p *mpcsetup.Phase2) { p.Parameters.G2.Delta.Double(&gen2) },
		"sigma":                 func(p *mpcsetup.Phase2) { p.Parameters.G2.Sigma[0].Double(&gen2) },
		"a contribution":        func(p *mpcsetup.Phase2) { p.Contribute() },
		"a challenge":           func(p *mpcsetup.Phase2) { p.Challenge = make([]byte, 32) },
		"a K too few":           func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK = p.Parameters.G1.PKK[1:] },
	} {
		p := new(mpcsetup.Phase2)
		_, err := p.ReadFrom(fullReader{bytes.NewReader(good)})
		fatalIf(t, err)
		fatalIf(t, s.checkStart(srs, p))
		spoil(p)
		if s.checkStart(srs, p) == nil {
			t.Errorf("%s: another start is believed", name)
		}
	}
}
