package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
)

// copied returns keys that share nothing with k.
func copied(t *testing.T, k *Keys) *Keys {
	t.Helper()
	var dump, key bytes.Buffer
	fatalIf(t, k.Proving.WriteDump(&dump))
	_, err := k.Verifying.WriteTo(&key)
	fatalIf(t, err)
	c := &Keys{new(groth16.ProvingKey), new(groth16.VerifyingKey), &Powers{slices.Clone(k.Powers.G1), k.Powers.Tau2}}
	fatalIf(t, c.Proving.ReadDump(&dump))
	_, err = c.Verifying.ReadFrom(&key)
	fatalIf(t, err)
	return c
}

func refused(t *testing.T, name string, system *cs.R1CS, k *Keys) {
	t.Helper()
	if err := Check(system, k.Proving, k.Verifying, k.Powers); !errors.Is(err, ErrKey) {
		t.Errorf("%s: %v, want %v", name, err, ErrKey)
	}
}

// points1 and points2 return all points of a key.
func points1(k *Keys) map[string][]*curve.G1Affine {
	pk, vk := k.Proving, k.Verifying
	m := map[string][]*curve.G1Affine{
		"alpha": {&pk.G1.Alpha}, "beta": {&pk.G1.Beta}, "delta": {&pk.G1.Delta},
		"verifier's alpha": {&vk.G1.Alpha}, "verifier's beta": {&vk.G1.Beta}, "verifier's delta": {&vk.G1.Delta},
	}
	for name, v := range map[string][]curve.G1Affine{
		"A": pk.G1.A, "B": pk.G1.B, "K": pk.G1.K, "Z": pk.G1.Z, "verifier's K": vk.G1.K, "powers": k.Powers.G1,
	} {
		for i := range v {
			m[name] = append(m[name], &v[i])
		}
	}
	for _, ck := range pk.CommitmentKeys {
		for i := range ck.Basis {
			m["basis"], m["second basis"] = append(m["basis"], &ck.Basis[i]), append(m["second basis"], &ck.BasisExpSigma[i])
		}
	}
	return m
}

func points2(k *Keys) map[string][]*curve.G2Affine {
	pk, vk := k.Proving, k.Verifying
	m := map[string][]*curve.G2Affine{
		"beta": {&pk.G2.Beta}, "delta": {&pk.G2.Delta}, "tau": {&k.Powers.Tau2},
		"verifier's beta": {&vk.G2.Beta}, "verifier's gamma": {&vk.G2.Gamma}, "verifier's delta": {&vk.G2.Delta},
	}
	for i := range vk.CommitmentKeys {
		m["G"], m["sigma"] = append(m["G"], &vk.CommitmentKeys[i].G), append(m["sigma"], &vk.CommitmentKeys[i].GSigmaNeg)
	}
	for i := range pk.G2.B {
		m["B"] = append(m["B"], &pk.G2.B[i])
	}
	return m
}

// wide has many wires, so that a point is added to others in every sum.
type wide struct {
	Public frontend.Variable `gnark:",public"`
	Secret [2000]frontend.Variable
}

func (c *wide) Define(api frontend.API) error {
	r, err := api.(frontend.Committer).Commit(c.Secret[:]...)
	if err != nil {
		return err
	}
	last := r
	for _, x := range c.Secret {
		last = api.Mul(api.Add(last, x), x)
	}
	api.AssertIsEqual(last, c.Public)
	return nil
}

// A file holds coordinates as they stand in the memory, which has room for some above the modulus.
// They are on the curve. In a sum, they are sometimes as good as others and sometimes not.
func TestCoordinatesMustBeReduced(t *testing.T) {
	system := compile(t, new(wide))
	k := run(t, system, fresh(t))
	fatalIf(t, Check(system, k.Proving, k.Verifying, k.Powers))
	try := func(name string, x *fp.Element) {
		t.Helper()
		was := *x
		defer func() { *x = was }()
		p, carry := fp.Modulus().Bits(), uint64(0)
		for i := range x {
			x[i], carry = bits.Add64(x[i], uint64(p[i]), carry)
		}
		if err := Check(system, k.Proving, k.Verifying, k.Powers); !errors.Is(err, ErrKey) ||
			!strings.Contains(err.Error(), "not reduced") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, points := range points1(k) {
		p := points[len(points)/2]
		try(name+", x", &p.X)
		try(name+", y", &p.Y)
	}
	for name, points := range points2(k) {
		p := points[len(points)/2]
		for i, x := range []*fp.Element{&p.X.A0, &p.X.A1, &p.Y.A0, &p.Y.A1} {
			try(fmt.Sprintf("%s in G2, %d", name, i), x)
		}
	}
}

// The mask m of the commitment stands in the constraint m = m, so its base is (beta + 1) times a
// polynomial: a maker of keys who takes -1 for beta has proofs that hold, and commitments without
// masks, with which everybody can check guesses.
func TestABetaThatTakesOffTheMaskIsRefused(t *testing.T) {
	system := compile(t, new(busy))
	s := fresh(t)
	s.Beta.SetOne()
	s.Beta.Neg(&s.Beta)
	k := run(t, system, s)
	if !slices.ContainsFunc(k.Proving.CommitmentKeys[0].Basis, func(p curve.G1Affine) bool { return p.IsInfinity() }) {
		t.Error("the mask has another constraint: this tests nothing")
	}
	refused(t, "a beta of -1", system, k)
}

func TestKeysOfTheCircuitAreTaken(t *testing.T) { both(t, keysAreTaken) }

func keysAreTaken(t *testing.T, system *cs.R1CS) {
	times := 3
	if testing.Short() {
		times = 1
	}
	for range times {
		k := run(t, system, fresh(t))
		fatalIf(t, Check(system, k.Proving, k.Verifying, k.Powers))
	}
}

func TestNoPointOfAKeyCanBeAnother(t *testing.T) { both(t, noPointIsAnother) }

func noPointIsAnother(t *testing.T, system *cs.R1CS) {
	k := run(t, system, fresh(t))
	_, _, g1, g2 := curve.Generators()
	some := func(n int) []int {
		if testing.Short() {
			return []int{n / 2}
		}
		return slices.Compact([]int{0, n / 2, n - 1})
	}
	for name, points := range points1(k) {
		for _, i := range some(len(points)) {
			p := points[i]
			was, next := *p, points[(i+1)%len(points)]
			for how, to := range map[string]curve.G1Affine{
				"doubled": *new(curve.G1Affine).Double(&was), "negated": *new(curve.G1Affine).Neg(&was),
				"one more": *new(curve.G1Affine).Add(&was, &g1), "infinity": {}, "moved": *next,
				"off the curve": {X: was.X, Y: was.X},
			} {
				if testing.Short() && how != "doubled" && how != "infinity" {
					continue
				}
				if to != was { // K of a wire in no constraint, doubled
					*p = to
					refused(t, fmt.Sprintf("%s %d in G1 %s", name, i, how), system, k)
				}
			}
			*p = was
			if nextWas := *next; nextWas != was {
				*p, *next = nextWas, was
				refused(t, fmt.Sprintf("%s %d in G1 exchanged with the next", name, i), system, k)
				*p, *next = was, nextWas
			}
		}
	}
	for name, points := range points2(k) {
		for _, i := range some(len(points)) {
			p := points[i]
			was := *p
			for how, to := range map[string]curve.G2Affine{
				"doubled": *new(curve.G2Affine).Double(&was), "negated": *new(curve.G2Affine).Neg(&was),
				"one more": *new(curve.G2Affine).Add(&was, &g2), "infinity": {}, "moved": *points[(i+1)%len(points)],
				"off the curve": {X: was.X, Y: was.X}, "out of the group": outside(t, was),
			} {
				if to != was {
					*p = to
					refused(t, fmt.Sprintf("%s %d in G2 %s", name, i, how), system, k)
				}
			}
			*p = was
		}
	}
	fatalIf(t, Check(system, k.Proving, k.Verifying, k.Powers))
}

// outside returns the point plus one of small order: on the curve, but not in the group.
func outside(t *testing.T, p curve.G2Affine) curve.G2Affine {
	t.Helper()
	const small = 10069 // divides the cofactor 2p - r
	order, _ := new(big.Int).SetString("21888242871839275222246405745257275088844257914179612981679871602714643921549", 10)
	order.Mul(order, fr.Modulus())
	for x := uint64(1); x < 1000; x++ {
		var c, torsion curve.G2Affine
		c.X.A0.SetUint64(x)
		var b, y2 curve.E2
		b.Square(&p.X)
		b.Mul(&b, &p.X)
		y2.Square(&p.Y)
		b.Sub(&y2, &b) // the curve's
		y2.Square(&c.X)
		y2.Mul(&y2, &c.X)
		y2.Add(&y2, &b)
		if y2.Legendre() != 1 {
			continue
		}
		c.Y.Sqrt(&y2)
		var j curve.G2Jac
		j.FromAffine(&c)
		torsion = times(j, new(big.Int).Div(order, big.NewInt(small)))
		if torsion.IsInfinity() || torsion.IsInSubGroup() {
			continue
		}
		return *new(curve.G2Affine).Add(&p, &torsion)
	}
	t.Fatal("no point outside of the group")
	return p
}

// times doubles and adds: gnark's own multiplication is for points of the group.
func times(p curve.G2Jac, n *big.Int) (out curve.G2Affine) {
	sum := curve.G2Jac{}
	sum.X.SetOne()
	sum.Y.SetOne()
	for i := n.BitLen() - 1; i >= 0; i-- {
		sum.DoubleAssign()
		if n.Bit(i) == 1 {
			sum.AddAssign(&p)
		}
	}
	out.FromJacobian(&sum)
	return out
}

// Changes of several points that keep some of the equations.
func TestNoHalfOfAKeyCanBeAnother(t *testing.T) { both(t, noHalfIsAnother) }

func noHalfIsAnother(t *testing.T, system *cs.R1CS) {
	k := run(t, system, fresh(t))
	double1 := func(v ...curve.G1Affine) {
		for i := range v {
			v[i].Double(&v[i])
		}
	}
	changes := map[string]func(k *Keys){
		"B doubled in both groups": func(k *Keys) {
			k.Proving.G1.B[1].Double(&k.Proving.G1.B[1])
			k.Proving.G2.B[1].Double(&k.Proving.G2.B[1])
		},
		"all of Z doubled":             func(k *Keys) { double1(k.Proving.G1.Z...) },
		"all of K doubled":             func(k *Keys) { double1(k.Proving.G1.K...) },
		"all powers doubled":           func(k *Keys) { double1(k.Powers.G1...) },
		"two powers exchanged":         func(k *Keys) { g := k.Powers.G1; g[3], g[4] = g[4], g[3] },
		"the powers of another tau":    func(k *Keys) { *k.Powers = *run(t, system, fresh(t)).Powers },
		"Z of another key":             func(k *Keys) { k.Proving.G1.Z = run(t, system, fresh(t)).Proving.G1.Z },
		"K of another key":             func(k *Keys) { k.Proving.G1.K = run(t, system, fresh(t)).Proving.G1.K },
		"the verifying key of another": func(k *Keys) { k.Verifying = run(t, system, fresh(t)).Verifying },
		"a flag moved in A":            func(k *Keys) { moveFlag(k.Proving.InfinityA) },
		"a flag moved in B":            func(k *Keys) { moveFlag(k.Proving.InfinityB) },
		"a wire left out of A": func(k *Keys) {
			pk := k.Proving
			pk.G1.A = pk.G1.A[1:]
			pk.InfinityA[slices.Index(pk.InfinityA, false)] = true
			pk.NbInfinityA++
		},
		"a wire at infinity added to B": func(k *Keys) {
			pk := k.Proving
			at := slices.Index(pk.InfinityB, true)
			pk.InfinityB[at] = false
			pk.NbInfinityB--
			n := 0
			for _, zero := range pk.InfinityB[:at] {
				if !zero {
					n++
				}
			}
			pk.G1.B = slices.Insert(pk.G1.B, n, curve.G1Affine{})
			pk.G2.B = slices.Insert(pk.G2.B, n, curve.G2Affine{})
		},
		"a count of flags": func(k *Keys) { k.Proving.NbInfinityA++ },
		"another generator of the domain": func(k *Keys) {
			d := &k.Proving.Domain
			d.Generator, d.GeneratorInv = d.GeneratorInv, d.Generator
		},
		"another coset":  func(k *Keys) { k.Proving.Domain.FrMultiplicativeGen.SetUint64(7) },
		"another domain": func(k *Keys) { k.Proving.Domain.Cardinality *= 2 },
		"fewer powers":   func(k *Keys) { k.Powers.G1 = k.Powers.G1[:len(k.Powers.G1)-1] },
		"more powers":    func(k *Keys) { k.Powers.G1 = append(k.Powers.G1, k.Powers.G1[0]) },
		"no powers":      func(k *Keys) { k.Powers.G1 = nil },
		"fewer public":   func(k *Keys) { k.Verifying.G1.K = k.Verifying.G1.K[1:] },
	}
	if len(k.Proving.CommitmentKeys) == 0 {
		other := run(t, compile(t, new(busy)), fresh(t))
		changes["a commitment"] = func(k *Keys) { k.Proving.CommitmentKeys = other.Proving.CommitmentKeys }
		changes["a commitment to verify"] = func(k *Keys) { k.Verifying.CommitmentKeys = other.Verifying.CommitmentKeys }
		changes["inputs committed"] = func(k *Keys) { k.Verifying.PublicAndCommitmentCommitted = [][]int{{1}} }
	} else {
		changes["both bases doubled"] = func(k *Keys) {
			double1(k.Proving.CommitmentKeys[0].Basis...)
			double1(k.Proving.CommitmentKeys[0].BasisExpSigma...)
		}
		changes["the commitment of another key"] = func(k *Keys) {
			k.Proving.CommitmentKeys = run(t, system, fresh(t)).Proving.CommitmentKeys
		}
		changes["no commitment"] = func(k *Keys) { k.Proving.CommitmentKeys = nil }
		changes["other inputs committed"] = func(k *Keys) { k.Verifying.PublicAndCommitmentCommitted[0][0] = 2 }
	}
	for name, change := range changes {
		c := copied(t, k)
		change(c)
		refused(t, name, system, c)
	}
}

func moveFlag(flags []bool) {
	i, j := slices.Index(flags, true), slices.Index(flags, false)
	flags[i], flags[j] = false, true
}

func TestTheKeyOfAnotherCircuitIsRefused(t *testing.T) {
	s := fresh(t)
	k := run(t, compile(t, &busy{more: 1}), s)
	refused(t, "another coefficient", compile(t, new(busy)), k)
	refused(t, "another circuit", compile(t, new(busier)), k)
	bare := compile(t, &busy{bare: true})
	refused(t, "a key with a commitment for a circuit without", bare, k)
	refused(t, "a key without a commitment for a circuit with one", compile(t, new(busy)), run(t, bare, s))
}

// busier has one constraint more.
type busier struct{ busy }

func (c *busier) Define(api frontend.API) error {
	api.AssertIsEqual(api.Mul(c.Secret[0], c.Secret[1]), c.Secret[2])
	return c.busy.Define(api)
}

func TestAFileIsReadAsItWasWritten(t *testing.T) { both(t, readAsWritten) }

func readAsWritten(t *testing.T, system *cs.R1CS) {
	k := run(t, system, fresh(t))
	var file bytes.Buffer
	fatalIf(t, WriteProving(&file, k.Proving, k.Powers.Encode()))
	good := file.Bytes()
	if int64(len(good)) > MaxProving(system) {
		t.Errorf("%d bytes, the bound is %d", len(good), MaxProving(system))
	}
	pk, raw, err := ReadProving(good, system)
	fatalIf(t, err)
	powers, err := raw.Decode()
	fatalIf(t, err)
	fatalIf(t, Check(system, pk, k.Verifying, powers))
	var again bytes.Buffer
	fatalIf(t, WriteProving(&again, pk, powers.Encode()))
	if !bytes.Equal(again.Bytes(), good) {
		t.Error("read and written, it is another file")
	}

	internal, secret, public := system.GetNbVariables()
	wires := uint64(internal + secret + public)
	at := uint64(atFlags)
	for _, c := range []struct {
		name, want string
		change     func(d []byte) []byte
	}{
		{"empty", "too short", func(d []byte) []byte { return nil }},
		{"cut short", "powers of tau", func(d []byte) []byte { return d[:len(d)-1] }},
		{"longer", "powers of tau", func(d []byte) []byte { return append(d, 0) }},
		{"without the powers", "powers of tau", func(d []byte) []byte { return d[:len(d)-len(raw)] }},
		{"cut in the last vector", "cut off in", func(d []byte) []byte { return d[:len(d)-len(raw)-1] }},
		{"cut before the vectors", "too short", func(d []byte) []byte { return d[:atFlags+10] }},
		{"cut between vectors", "cut off before", func(d []byte) []byte { return d[:at+2*wires+4+7] }},
		{"another marker", "byte order", func(d []byte) []byte { d[0] ^= 1; return d }},
		{"another domain", "a domain of", func(d []byte) []byte { d[atDomain+7] ^= 1; return d }},
		{"more wires", "wires", func(d []byte) []byte { d[atCounts+7] ^= 1; return d }},
		{"more points at infinity than wires", "wires", func(d []byte) []byte { d[atCounts+8] = 0xff; return d }},
		{"another number of points at infinity", "flags", func(d []byte) []byte { d[atCounts+15] ^= 1; return d }},
		{"another flag", "flags", func(d []byte) []byte { d[at] ^= 1; return d }},
		{"a flag of two", "flags", func(d []byte) []byte { d[at] = 2; return d }},
		{"two commitments", "commitments", func(d []byte) []byte { d[at+2*wires+3] = 2; return d }},
		{"a domain without tables", "tables", func(d []byte) []byte { d[atPoints-1] = 0; return d }},
		{"a domain with other tables", "tables", func(d []byte) []byte { d[atPoints-1] = 2; return d }},
		{"a compressed alpha", "compressed", func(d []byte) []byte { d[atPoints] |= 2 << 6; return d }},
		{"a compressed beta", "compressed", func(d []byte) []byte { d[atPoints+g1Raw] |= 3 << 6; return d }},
		{"a delta at infinity", "compressed", func(d []byte) []byte { d[atPoints+2*g1Raw] |= 1 << 6; return d }},
		{"a compressed beta in G2", "compressed", func(d []byte) []byte { d[atPoints+3*g1Raw] |= 2 << 6; return d }},
		{"a compressed delta in G2", "compressed", func(d []byte) []byte { d[atPoints+3*g1Raw+g2Raw] |= 2 << 6; return d }},
		{"counts in the place of others", "compressed", func(d []byte) []byte { return shifted(k.Proving, d) }},
		{"a vector that claims to be huge", "points of A", func(d []byte) []byte { d[at+2*wires+4+6] = 0xff; return d }},
	} {
		if _, _, err := ReadProving(c.change(bytes.Clone(good)), system); !errors.Is(err, ErrKey) ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a word on %q", c.name, err, c.want)
		}
	}
	for name, spoil := range map[string]func(RawPowers) RawPowers{
		"cut":             func(r RawPowers) RawPowers { return r[1:] },
		"empty":           func(r RawPowers) RawPowers { return nil },
		"not compressed":  func(r RawPowers) RawPowers { r[0] &= 0x3f; return r },
		"tau not a point": func(r RawPowers) RawPowers { r[len(r)-1] ^= 1; r[len(r)-2] ^= 1; return r },
		"above the modulus": func(r RawPowers) RawPowers {
			for i := range g1Size {
				r[i] |= 0x3f
			}
			return r
		},
	} {
		if _, err := spoil(slices.Clone(raw)).Decode(); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shifted returns the file with compressed points: gnark finds counts where the file seems to have
// points, and would make room for 2^62 wires.
func shifted(pk *groth16.ProvingKey, file []byte) []byte {
	at := file[atPoints:]
	for _, p := range []*curve.G1Affine{&pk.G1.Alpha, &pk.G1.Beta, &pk.G1.Delta} {
		b := p.Bytes()
		at = at[copy(at, b[:]):]
	}
	for _, p := range []*curve.G2Affine{&pk.G2.Beta, &pk.G2.Delta} {
		b := p.Bytes()
		at = at[copy(at, b[:]):]
	}
	binary.BigEndian.PutUint64(at, 1<<62)
	return file
}

func FuzzReadProving(f *testing.F) {
	t := new(testing.T)
	system := compile(t, new(busy))
	var s Secrets // the same in all processes
	for i, x := range []*fr.Element{&s.Tau, &s.Alpha, &s.Beta, &s.Delta, &s.Sigma} {
		x.SetUint64(uint64(1000 + i))
	}
	k, err := Run(f.Context(), system, s, new(Progress))
	if err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if err := WriteProving(&file, k.Proving, k.Powers.Encode()); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add(shifted(k.Proving, bytes.Clone(file.Bytes())))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		pk, powers, err := ReadProving(raw, system)
		if err != nil {
			return
		}
		p, err := powers.Decode()
		if err != nil {
			return
		}
		if err := Check(system, pk, k.Verifying, p); (err == nil) != bytes.Equal(raw, file.Bytes()) {
			t.Errorf("another key was taken, or the key was not: %v", err)
		}
	})
}
