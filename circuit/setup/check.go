package setup

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/fft"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	"github.com/consensys/gnark-crypto/utils"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// ErrKey says that a key is not one of the circuit. The error says in what it differs.
var ErrKey = errors.New("the key is not one of this circuit")

// Check says whether a key is what Run makes of this circuit for some secrets, whatever they are:
// then what Groth16 and the commitment promise to hide, a proof hides. It takes seconds.
//
// The secrets appear as points only, so each equation is one of pairings. Those over many points
// are checked in one random combination, with 128-bit weights r: a key that breaks one of them
// passes with a probability of 2^-128, and one with a point outside of G2 of 2^-64. For a wire w, A_w(tau) is a combination of the powers of
// tau, whose coefficients the circuit gives; all wires together are one polynomial.
//
//	powers    P_0 = 1, P_(i+1) = tau P_i
//	A, B      sum r_w A_w = sum r_w A_w(tau), in G1 for both and in G2 for B
//	K         delta K_w = beta A_w + alpha B_w + C_w(tau); the same without delta for the public
//	          wires and for the commitment's basis
//	basis     its second half is sigma times the first; a circuit without a commitment has none
//	Z         delta Z_0 = tau^n - 1, Z_(i+1) = tau Z_i
//
// No point but K may be at infinity: a mask times such a point hides nothing. K is, for a wire
// that stands in no constraint.
func Check(system *cs.R1CS, pk *groth16.ProvingKey, vk *groth16.VerifyingKey, powers *Powers) error {
	w, err := WiresOf(system)
	if err != nil {
		return err
	}
	c := &check{system: system, Wires: w, pk: pk, vk: vk, powers: powers}
	for _, step := range []func() error{c.shape, c.points, c.shared, c.equations} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type check struct {
	system *cs.R1CS
	*Wires
	pk     *groth16.ProvingKey
	vk     *groth16.VerifyingKey
	powers *Powers
}

func differs(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrKey, fmt.Sprintf(format, args...))
}

// shape compares all numbers.
func (c *check) shape() error {
	want := fft.NewDomain(uint64(c.system.GetNbConstraints()))
	switch d := &c.pk.Domain; {
	case d.Cardinality != want.Cardinality || d.CardinalityInv != want.CardinalityInv ||
		d.Generator != want.Generator || d.GeneratorInv != want.GeneratorInv ||
		d.FrMultiplicativeGen != want.FrMultiplicativeGen || d.FrMultiplicativeGenInv != want.FrMultiplicativeGenInv:
		return differs("it has another domain")
	case len(c.pk.CommitmentKeys) != c.Commitments() || len(c.vk.CommitmentKeys) != c.Commitments() ||
		!slices.EqualFunc(c.vk.PublicAndCommitmentCommitted, c.PublicCommitted, slices.Equal):
		return differs("it has not the circuit's commitment")
	}
	all := len(c.Public) + len(c.Committed) + len(c.Private)
	for _, side := range []struct {
		name     string
		infinity []bool
		count    uint64
	}{{"A", c.pk.InfinityA, c.pk.NbInfinityA}, {"B", c.pk.InfinityB, c.pk.NbInfinityB}} {
		n := 0
		for _, zero := range side.infinity {
			if zero {
				n++
			}
		}
		if len(side.infinity) != all || uint64(n) != side.count {
			return differs("its flags of %s are not one for each of %d wires", side.name, all)
		}
	}
	n := int(want.Cardinality)
	type count struct {
		name      string
		got, want int
	}
	counts := []count{
		{"A", len(c.pk.G1.A), all - int(c.pk.NbInfinityA)}, {"B", len(c.pk.G1.B), all - int(c.pk.NbInfinityB)},
		{"B in G2", len(c.pk.G2.B), all - int(c.pk.NbInfinityB)}, {"Z", len(c.pk.G1.Z), n - 1},
		{"K", len(c.pk.G1.K), len(c.Private)}, {"the verifying key's K", len(c.vk.G1.K), len(c.Public)},
		{"the powers", len(c.powers.G1), n + 1},
	}
	for _, ck := range c.pk.CommitmentKeys {
		counts = append(counts, count{"the commitment's basis", len(ck.Basis), len(c.Committed)},
			count{"the commitment's second basis", len(ck.BasisExpSigma), len(c.Committed)})
	}
	for _, v := range counts {
		if v.got != v.want {
			return differs("it has %d points of %s, and %d belong there", v.got, v.name, v.want)
		}
	}
	return nil
}

// points checks that every point is one of its group, and none at infinity. A file can hold
// coordinates that are not below the modulus: sums with such points are wrong or right by what
// else is added, and so by the secrets of a proof.
func (c *check) points() error {
	pk, vk := c.pk, c.vk
	type points1 struct {
		name     string
		points   []curve.G1Affine
		infinity bool // is allowed
	}
	inG1 := []points1{
		{"alpha, beta and delta", []curve.G1Affine{pk.G1.Alpha, pk.G1.Beta, pk.G1.Delta, vk.G1.Alpha, vk.G1.Beta,
			vk.G1.Delta}, false},
		{"A", pk.G1.A, false}, {"B", pk.G1.B, false}, {"Z", pk.G1.Z, false}, {"K", pk.G1.K, true},
		{"the verifying key's K", vk.G1.K, true}, {"the powers", c.powers.G1, false},
	}
	type points2 struct {
		name   string
		points []curve.G2Affine
	}
	inG2 := []points2{
		{"beta, gamma and delta", []curve.G2Affine{pk.G2.Beta, pk.G2.Delta, vk.G2.Beta, vk.G2.Gamma, vk.G2.Delta}},
		{"the powers", []curve.G2Affine{c.powers.Tau2}}, {"B", pk.G2.B},
	}
	for i, ck := range pk.CommitmentKeys {
		inG1 = append(inG1, points1{"the commitment's basis", ck.Basis, false},
			points1{"the commitment's second basis", ck.BasisExpSigma, false})
		key := vk.CommitmentKeys[i]
		inG2 = append(inG2, points2{"the commitment's sigma", []curve.G2Affine{key.G, key.GSigmaNeg}})
	}
	for _, v := range inG1 {
		// In G1 every point of the curve is one of the group.
		if !each(v.points, func(p *curve.G1Affine) bool {
			return reduced(p.X, p.Y) && p.IsOnCurve() && (v.infinity || !p.IsInfinity())
		}) {
			return differs("of %s, a point is at infinity, not on the curve or not reduced", v.name)
		}
	}
	for _, v := range inG2 {
		// The check of a whole batch takes for granted that each point is on the curve.
		if !each(v.points, func(p *curve.G2Affine) bool {
			return reduced(p.X.A0, p.X.A1, p.Y.A0, p.Y.A1) && !p.IsInfinity() && p.IsOnCurve()
		}) || !curve.IsInSubGroupBatchG2(v.points) {
			return differs("of %s in G2, a point is at infinity, not one of the group or not reduced", v.name)
		}
	}
	return nil
}

// reduced says whether coordinates are below the modulus: then adding zero leaves them as they are.
func reduced(coordinates ...fp.Element) bool {
	for _, x := range coordinates {
		if sum := new(fp.Element).Add(&x, new(fp.Element)); *sum != x {
			return false
		}
	}
	return true
}

// each says whether all points are good. It uses all processors.
func each[A any](points []A, good func(*A) bool) bool {
	var bad atomic.Bool
	parallel(len(points), func(from, to int) {
		for i := from; i < to; i++ {
			if !good(&points[i]) {
				bad.Store(true)
				return
			}
		}
	})
	return !bad.Load()
}

// shared compares what both halves of the key have, and what is no secret.
func (c *check) shared() error {
	_, _, g1, g2 := curve.Generators()
	pk, vk := c.pk, c.vk
	switch {
	case !vk.G2.Gamma.Equal(&g2) || !c.powers.G1[0].Equal(&g1) ||
		slices.ContainsFunc(vk.CommitmentKeys, func(k pedersen.VerifyingKey) bool { return !k.G.Equal(&g2) }):
		return differs("it has another generator")
	case !pk.G1.Alpha.Equal(&vk.G1.Alpha):
		return differs("proving and verifying key have not one alpha")
	case !pk.G1.Beta.Equal(&vk.G1.Beta) || !pk.G2.Beta.Equal(&vk.G2.Beta) ||
		!zero(pair{&pk.G1.Beta, &g2}, pair{minus(&g1), &pk.G2.Beta}):
		return differs("proving and verifying key, or G1 and G2, have not one beta")
	case !pk.G1.Delta.Equal(&vk.G1.Delta) || !pk.G2.Delta.Equal(&vk.G2.Delta) ||
		!zero(pair{&pk.G1.Delta, &g2}, pair{minus(&g1), &pk.G2.Delta}):
		return differs("proving and verifying key, or G1 and G2, have not one delta")
	}
	return nil
}

// equations checks what is said of many points at once.
func (c *check) equations() error {
	_, _, g1, g2 := curve.Generators()
	pk, n := c.pk, len(c.powers.G1)-1
	z := slices.Clone(pk.G1.Z) // by powers of tau: the last, at n-1, stands for itself in the key's order
	z = append(z, curve.G1Affine{})
	utils.BitReverse(z)
	z = z[:n-1]

	// Powers and Z are two sequences of one ratio.
	r, err := weights(2*n - 2)
	if err != nil {
		return err
	}
	var m sums
	low, high := m.g1(c.powers.G1[:n], r[:n]), m.g1(c.powers.G1[1:], r[:n])
	low.Add(low, m.g1(z[:n-2], r[n:]))
	high.Add(high, m.g1(z[1:], r[n:]))

	// All wires.
	weight, err := weights(len(c.Public) + len(c.Committed) + len(c.Private))
	if err != nil {
		return err
	}
	poly := Combine(c.system, weight, &pk.Domain)
	a, b := m.g1(pk.G1.A, without(weight, pk.InfinityA)), m.g1(pk.G1.B, without(weight, pk.InfinityB))
	b2 := m.g2(pk.G2.B, without(weight, pk.InfinityB))
	aAt, bAt, cAt := m.g1(c.powers.G1[:n], poly[0]), m.g1(c.powers.G1[:n], poly[1]), m.g1(c.powers.G1[:n], poly[2])
	k, public := m.g1(pk.G1.K, pick(weight, c.Private)), m.g1(c.vk.G1.K, pick(weight, c.Public))
	basis, basisSigma := new(curve.G1Affine), new(curve.G1Affine)
	var sigmaNeg curve.G2Affine
	for i, ck := range pk.CommitmentKeys { // one or none
		basis = m.g1(ck.Basis, pick(weight, c.Committed))
		basisSigma = m.g1(ck.BasisExpSigma, pick(weight, c.Committed))
		sigmaNeg = c.vk.CommitmentKeys[i].GSigmaNeg
	}
	if m.err != nil {
		return m.err
	}

	var unshifted, undivided curve.G1Affine
	unshifted.Sub(&c.powers.G1[n], &g1)
	undivided.Add(public, basis).Sub(&undivided, cAt)
	switch {
	case !zero(pair{high, &g2}, pair{minus(low), &c.powers.Tau2}):
		return differs("the powers of tau, or the multiples Z, are not a geometric sequence")
	case !zero(pair{&z[0], &pk.G2.Delta}, pair{minus(&unshifted), &g2}):
		return differs("the multiples Z are not those of the vanishing polynomial over delta")
	case !a.Equal(aAt):
		return differs("A is not the circuit's")
	case !b.Equal(bAt):
		return differs("B is not the circuit's")
	case !zero(pair{b, &g2}, pair{minus(&g1), b2}):
		return differs("B in G2 is not B in G1")
	case !zero(pair{k, &pk.G2.Delta}, pair{&undivided, &g2}, pair{minus(a), &pk.G2.Beta},
		pair{minus(&pk.G1.Alpha), b2}):
		return differs("K, or the commitment's basis, is not the circuit's")
	case !zero(pair{basisSigma, &g2}, pair{basis, &sigmaNeg}):
		return differs("the commitment's second basis is not sigma times the first")
	}
	return nil
}

// Combine returns the coefficients of the polynomials that are the sums over all wires w of
// weight_w A_w, of weight_w B_w and of weight_w C_w.
func Combine(system *cs.R1CS, weight fr.Vector, domain *fft.Domain) (p [3]fr.Vector) {
	for i := range p {
		p[i] = make(fr.Vector, domain.Cardinality)
	}
	row := 0
	var t fr.Element
	it := system.GetR1CIterator()
	for c := it.Next(); c != nil; c = it.Next() {
		for side, e := range [3]constraint.LinearExpression{c.L, c.R, c.O} {
			for _, x := range e {
				t.Mul(&weight[x.WireID()], &system.Coefficients[x.CoeffID()])
				p[side][row].Add(&p[side][row], &t)
			}
		}
		row++
	}
	for _, v := range p {
		domain.FFTInverse(v, fft.DIF)
		utils.BitReverse(v)
	}
	return p
}

// without returns the elements that have no flag.
func without(v fr.Vector, flags []bool) (rest fr.Vector) {
	for i, f := range flags {
		if !f {
			rest = append(rest, v[i])
		}
	}
	return rest
}

// pick returns the elements with these numbers.
func pick(v fr.Vector, numbers []int) fr.Vector {
	out := make(fr.Vector, len(numbers))
	for i, n := range numbers {
		out[i] = v[n]
	}
	return out
}

// weights returns random integers below 2^128.
func weights(n int) (fr.Vector, error) {
	v, raw := make(fr.Vector, n), make([]byte, 16*n)
	if _, err := rand.Read(raw); err != nil {
		return nil, fmt.Errorf("drawing random weights: %w", err)
	}
	for i := range v {
		v[i].SetBytes(raw[16*i : 16*(i+1)])
	}
	return v, nil
}

// sums computes sums of points times scalars, and keeps the first error.
type sums struct{ err error }

func (m *sums) g1(points []curve.G1Affine, scalars fr.Vector) *curve.G1Affine {
	sum := new(curve.G1Affine)
	_, err := sum.MultiExp(points, scalars, ecc.MultiExpConfig{})
	m.err = errors.Join(m.err, err)
	return sum
}

func (m *sums) g2(points []curve.G2Affine, scalars fr.Vector) *curve.G2Affine {
	sum := new(curve.G2Affine)
	_, err := sum.MultiExp(points, scalars, ecc.MultiExpConfig{})
	m.err = errors.Join(m.err, err)
	return sum
}

type pair struct {
	x *curve.G1Affine
	y *curve.G2Affine
}

// zero says whether the product of the pairings is one.
func zero(pairs ...pair) bool {
	x, y := make([]curve.G1Affine, len(pairs)), make([]curve.G2Affine, len(pairs))
	for i, p := range pairs {
		x[i], y[i] = *p.x, *p.y
	}
	ok, err := curve.PairingCheck(x, y)
	return err == nil && ok
}

func minus(p *curve.G1Affine) *curve.G1Affine { return new(curve.G1Affine).Neg(p) }
