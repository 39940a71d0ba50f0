package ceremony

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	"github.com/consensys/gnark/frontend"

	"cratelog/circuit/setup"
	"cratelog/proofcheck"
)

func encoded(t *testing.T, l io.WriterTo) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := l.WriteTo(&b)
	fatalIf(t, err)
	return b.Bytes()
}

// busy is a circuit with the door of a segment and coefficients of all kinds.
type busy struct {
	root
	X [40]frontend.Variable
}

func (c *busy) Define(api frontend.API) error {
	defineBusy(api, c.X[:])
	return c.root.Define(api)
}

// busyDoor is one with the door of a build claim.
type busyDoor struct {
	door
	X [40]frontend.Variable
}

func (c *busyDoor) Define(api frontend.API) error {
	defineBusy(api, c.X[:])
	return c.door.Define(api)
}

func defineBusy(api frontend.API, xs []frontend.Variable) {
	sum := frontend.Variable(0)
	for i, x := range xs {
		for j, y := range xs[:i] {
			sum = api.Add(sum, api.Mul(y, []int{-2, -1, 0, 1, 2, 3, 1 << 20}[(i+j)%7]))
		}
		api.AssertIsEqual(api.Mul(api.Sub(x, sum), api.Add(x, i)), api.Mul(sum, x))
	}
}

func busyShape(t *testing.T) (*shape, *mpcsetup.SrsCommons) {
	t.Helper()
	of := frontend.Circuit(new(busy))
	if current == kinds["build"] {
		of = new(busyDoor)
	}
	system, err := compile(of)
	fatalIf(t, err)
	s, err := newShape(system)
	fatalIf(t, err)
	p := mpcsetup.NewPhase1(s.domain)
	p.Contribute()
	srs := p.Seal(beacons[0])
	return s, &srs
}

// start is gnark's start of phase 2.
func start(s *shape, srs *mpcsetup.SrsCommons) (*mpcsetup.Phase2, mpcsetup.Phase2Evaluations) {
	p := new(mpcsetup.Phase2)
	return p, p.Initialize(s.system, srs)
}

func TestTheVerifyingKeyIsGnarks(t *testing.T) { each(t, theVerifyingKeyIsGnarks) }

func theVerifyingKeyIsGnarks(t *testing.T) {
	s, srs := busyShape(t)
	p, want := start(s, srs)
	fatalIf(t, s.checkStart(srs, p))
	got, err := s.evaluations(srs, want.G1.CKK)
	fatalIf(t, err)
	if !slices.Equal(got.G1.VKK, want.G1.VKK) {
		t.Error("the points of the public wires are others")
	}
	if !slices.EqualFunc(got.PublicAndCommitmentCommitted, want.PublicAndCommitmentCommitted, slices.Equal) {
		t.Error("the commitment covers other wires")
	}
}

// What only the proving key holds is checked before it is written.
func TestAWrongPointOfTheProvingKeyIsNotWritten(t *testing.T) { each(t, wrongPointsAreNotWritten) }

func wrongPointsAreNotWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes and checks keys")
	}
	s, srs := busyShape(t)
	p, e := start(s, srs)
	p.Contribute()
	pk, vk := p.Seal(srs, &e, beacons[1])
	k := &setup.Keys{Proving: pk.(*groth16.ProvingKey), Verifying: vk.(*groth16.VerifyingKey),
		Powers: &setup.Powers{G1: srs.G1.Tau[:s.domain+1], Tau2: srs.G2.Tau[1]}}
	var verifying bytes.Buffer
	_, err := vk.WriteTo(&verifying)
	fatalIf(t, err)
	of := current.circuit.Program(proofcheck.CeremonyOrigin([32]byte{}, ""), verifying.Bytes())
	var program, key bytes.Buffer
	fatalIf(t, writeKeys(t.Context(), s.system, k, &of, &program, &key, nil))
	for what, points := range map[string]any{"A": k.Proving.G1.A, "B": k.Proving.G1.B, "B in G2": k.Proving.G2.B,
		"K": k.Proving.G1.K, "Z": k.Proving.G1.Z, "the powers": k.Powers.G1} {
		exchange := reflect.Swapper(points)
		exchange(5, 9)
		var program, key bytes.Buffer
		err := writeKeys(t.Context(), s.system, k, &of, &program, &key, nil)
		if !errors.Is(err, setup.ErrKey) || program.Len() > 0 || key.Len() > 0 {
			t.Errorf("a wrong point of %s: %v, and %d bytes are written", what, err, key.Len())
		}
		exchange(5, 9)
	}
}

// Phase 2 starts in one way only.
func TestAnotherStartOfPhase2IsRefused(t *testing.T) { each(t, anotherStartIsRefused) }

func anotherStartIsRefused(t *testing.T) {
	s, srs := busyShape(t)
	first, _ := start(s, srs)
	good := encoded(t, first)
	_, _, gen1, gen2 := curve.Generators()
	spoils := map[string]func(p *mpcsetup.Phase2){
		"a first K":       func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK[0] = gen1 },
		"a last K":        func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK[len(p.Parameters.G1.PKK)-1] = gen1 },
		"two K exchanged": func(p *mpcsetup.Phase2) { k := p.Parameters.G1.PKK; k[0], k[1] = k[1], k[0] },
		"a first Z":       func(p *mpcsetup.Phase2) { p.Parameters.G1.Z[0] = gen1 },
		"a last Z":        func(p *mpcsetup.Phase2) { z := p.Parameters.G1.Z; z[len(z)-1] = gen1 },
		"two Z exchanged": func(p *mpcsetup.Phase2) { z := p.Parameters.G1.Z; z[0], z[1] = z[1], z[0] },
		"delta":           func(p *mpcsetup.Phase2) { p.Parameters.G1.Delta.Double(&gen1) },
		"delta in G2":     func(p *mpcsetup.Phase2) { p.Parameters.G2.Delta.Double(&gen2) },
		"a contribution":  func(p *mpcsetup.Phase2) { p.Contribute() },
		"a challenge":     func(p *mpcsetup.Phase2) { p.Challenge = make([]byte, 32) },
		"a K too few":     func(p *mpcsetup.Phase2) { p.Parameters.G1.PKK = p.Parameters.G1.PKK[1:] },
		"another commitment": func(p *mpcsetup.Phase2) {
			p.Parameters.G1.SigmaCKK = append(p.Parameters.G1.SigmaCKK, p.Parameters.G1.PKK[:1])
			p.Parameters.G2.Sigma = append(p.Parameters.G2.Sigma, gen2)
			p.Sigmas = append(p.Sigmas, gcmpc.UpdateProof{})
		},
	}
	if s.Commitments() > 0 {
		spoils["a committed K"] = func(p *mpcsetup.Phase2) { p.Parameters.G1.SigmaCKK[0][0] = gen1 }
		spoils["a committed K for a K"] = func(p *mpcsetup.Phase2) { p.Parameters.G1.SigmaCKK[0][0] = p.Parameters.G1.PKK[0] }
		spoils["sigma"] = func(p *mpcsetup.Phase2) { p.Parameters.G2.Sigma[0].Double(&gen2) }
		spoils["no commitment"] = func(p *mpcsetup.Phase2) {
			p.Parameters.G1.SigmaCKK, p.Parameters.G2.Sigma, p.Sigmas = nil, nil, nil
		}
	}
	for name, spoil := range spoils {
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
