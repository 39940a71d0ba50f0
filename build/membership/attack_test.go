package membership

import (
	"math/big"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"

	"cratelog/build"
	"cratelog/proofcheck"
)

// loose is the circuit with groups of constraints left out.
type loose struct {
	Circuit
	Leaf    frontend.Variable // where the way begins without groupKey
	without []group
}

func (c *loose) Define(api frontend.API) error { return c.define(api, c.Leaf, c.without...) }

var compiled = map[string]*cs.R1CS{}

// solves says whether a prover finds a proof of a circuit without some groups.
func solves(t testing.TB, c *loose, without ...group) bool {
	t.Helper()
	var name string
	for _, g := range without {
		name += string(g) + " "
	}
	if compiled[name] == nil {
		system, err := compile(&loose{without: without})
		fatalIf(t, err)
		compiled[name] = system
	}
	w, err := frontend.NewWitness(c, ecc.BN254.ScalarField())
	fatalIf(t, err)
	return compiled[name].IsSolved(w) == nil
}

// world is a set and one of its members with a true statement.
type world struct {
	leaves [][32]byte
	index  int
	secret build.Secret
	m      proofcheck.Membership
}

func numbered(n int64) (b [32]byte) {
	big.NewInt(n).FillBytes(b[:])
	return b
}

func secretOf(t testing.TB, n int64) build.Secret {
	t.Helper()
	s, err := build.ParseSecret(numbered(n))
	fatalIf(t, err)
	return s
}

// example is the statement of leaf 4 of six, of which leaf 2 is vacant.
func example(t testing.TB) *world {
	t.Helper()
	w := &world{leaves: make([][32]byte, 6), index: 4, secret: secretOf(t, 104)}
	for i := range w.leaves {
		if i != 2 {
			w.leaves[i] = secretOf(t, int64(100+i)).Public()
		}
	}
	w.m = statement(t, w.leaves, w.secret, numbered(7), numbered(8))
	return w
}

func statement(t testing.TB, leaves [][32]byte, s build.Secret, request, result [32]byte) proofcheck.Membership {
	t.Helper()
	root, err := build.HiddenRoot(leaves)
	fatalIf(t, err)
	return proofcheck.Membership{Root: root, Request: request, Result: result, Tag: s.Tag(request),
		Share: s.Share(request, result)}
}

// witness is the honest one.
func (w *world) witness(t testing.TB) *loose {
	t.Helper()
	path, err := build.HiddenPath(w.leaves, w.index)
	fatalIf(t, err)
	return &loose{Circuit: *assign(w.m, w.secret, path, w.index), Leaf: w.leaves[w.index][:]}
}

func element(t testing.TB, v frontend.Variable) (x fr.Element) {
	t.Helper()
	_, err := x.SetInterface(v)
	fatalIf(t, err)
	return x
}

// An attack makes a false statement. The circuit must refuse it, and leaving out these groups and
// nothing else must let it through, which shows that the attack gets that far.
type attack struct {
	name string
	only []group
	make func(t *testing.T, w *world) *loose
}

func only(g ...group) []group { return g }

var attacks = []attack{
	{"somebody who is no member", only(groupRoot), func(t *testing.T, w *world) *loose {
		honest := w.witness(t)
		stranger := secretOf(t, 999)
		c := &loose{Circuit: honest.Circuit, Leaf: honest.Leaf}
		s, tag, share := stranger.Bytes(), stranger.Tag(w.m.Request), stranger.Share(w.m.Request, w.m.Result)
		c.Secret, c.Tag, c.Share = s[:], tag[:], share[:]
		return c
	}},
	{"the root of another set", only(groupRoot), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		root, err := build.HiddenRoot(w.leaves[:4])
		fatalIf(t, err)
		c.Root = root[:]
		return c
	}},
	{"a way with its sides exchanged", only(groupRoot), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		for i := range c.Right {
			c.Right[i] = 1 - c.Right[i].(int)
		}
		return c
	}},
	{"a way that is too short", only(groupRoot), func(t *testing.T, w *world) *loose {
		c := w.witness(t) // as in the tree of a set of depth 9
		c.Path[build.Depth-1] = 0
		return c
	}},
	{"the top of the tree for a root", only(groupDepth), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Root = top(t, c)
		return c
	}},
	{"a leaf whose secret he does not have", only(groupKey), func(t *testing.T, w *world) *loose {
		stranger := secretOf(t, 999)
		c := w.witness(t)
		s, tag := stranger.Bytes(), stranger.Tag(w.m.Request)
		c.Secret, c.Tag = s[:], tag[:]
		c.Share = moved(t, stranger, w.m, w.leaves[w.index])
		return c
	}},
	{"a vacant leaf", only(groupKey), func(t *testing.T, w *world) *loose {
		w.leaves[2] = numbered(1) // for a path to it
		w.index = 2
		c := w.witness(t)
		w.leaves[2] = [32]byte{}
		vacant, err := build.HiddenRoot(w.leaves)
		fatalIf(t, err)
		c.Leaf, c.Root = 0, vacant[:]
		c.Share = moved(t, w.secret, w.m, [32]byte{})
		return c
	}},
	{"a bit that is none", only(groupRight), func(t *testing.T, w *world) *loose {
		// Any leaf and its side sum up to what two nodes of the tree do, and the bit is chosen
		// so that both sides of the compression come out as these nodes.
		stranger := secretOf(t, 999)
		c := w.witness(t)
		s, tag, share := stranger.Bytes(), stranger.Tag(w.m.Request), stranger.Share(w.m.Request, w.m.Result)
		c.Secret, c.Tag, c.Share = s[:], tag[:], share[:]
		own, l, r := element(t, public(stranger)), element(t, w.leaves[4][:]), element(t, w.leaves[5][:])
		var side, bit, span fr.Element
		side.Add(&l, &r).Sub(&side, &own)
		span.Sub(&side, &own)
		bit.Sub(&l, &own).Div(&bit, &span)
		c.Path[0], c.Right[0] = side, bit
		return c
	}},
	{"the tag of another secret", only(groupTag), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		tag := secretOf(t, 100).Tag(w.m.Request)
		c.Tag = tag[:]
		return c
	}},
	{"the tag of another request", only(groupTag), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		tag := w.secret.Tag(numbered(6))
		c.Tag = tag[:]
		return c
	}},
	{"a tag of zero", only(groupTag), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Tag = 0
		return c
	}},
	{"a share beside the line", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		x := element(t, c.Share)
		one := fr.One()
		c.Share = *x.Add(&x, &one)
		return c
	}},
	{"the share of another result", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		share := w.secret.Share(w.m.Request, numbered(9))
		c.Share = share[:]
		return c
	}},
	{"the share of another request", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		share := w.secret.Share(numbered(6), w.m.Result)
		c.Share = share[:]
		return c
	}},
	{"a share that names another member", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Share = moved(t, w.secret, w.m, w.leaves[0])
		return c
	}},
	{"a line with the slope of another secret", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Share = moved(t, secretOf(t, 100), w.m, w.leaves[w.index])
		return c
	}},
	{"a line without a slope, whose share is the name", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Share = w.leaves[w.index][:]
		return c
	}},
	{"the slope for a tag", only(groupTag), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		one := statement(t, w.leaves, w.secret, w.m.Request, numbered(1)).Share // Public and the slope
		slope, public := element(t, one[:]), element(t, w.leaves[w.index][:])
		c.Tag = *slope.Sub(&slope, &public)
		return c
	}},
	{"slope and tag exchanged", only(groupTag, groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		one := statement(t, w.leaves, w.secret, w.m.Request, numbered(1)).Share
		slope, public, tag := element(t, one[:]), element(t, w.leaves[w.index][:]), element(t, w.m.Tag[:])
		result := element(t, w.m.Result[:])
		c.Tag = *slope.Sub(&slope, &public)
		c.Share = *result.Mul(&result, &tag).Add(&result, &public)
		return c
	}},
	{"the public name for a secret", only(groupRoot), func(t *testing.T, w *world) *loose {
		c := w.witness(t) // whoever reads the set file has that much
		public := element(t, w.leaves[w.index][:])
		thief, err := build.ParseSecret(public.Bytes())
		fatalIf(t, err)
		s, tag, share := thief.Bytes(), thief.Tag(w.m.Request), thief.Share(w.m.Request, w.m.Result)
		c.Secret, c.Tag, c.Share = s[:], tag[:], share[:]
		return c
	}},
	{"the secret zero, whose leaf is vacant", only(groupKey), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		w.index = 2
		w.leaves[2] = numbered(1)
		path, err := build.HiddenPath(w.leaves, 2)
		fatalIf(t, err)
		w.leaves[2] = [32]byte{}
		root, err := build.HiddenRoot(w.leaves)
		fatalIf(t, err)
		c.Circuit = *assign(w.m, w.secret, path, 2)
		request, result := element(t, w.m.Request[:]), element(t, w.m.Result[:])
		hash := func(domain uint64) fr.Element {
			return compress(t, compress(t, fr.NewElement(domain), fr.Element{}), request)
		}
		slope := hash(build.DomainTrace)
		c.Secret, c.Leaf, c.Root, c.Tag = 0, 0, root[:], hash(build.DomainTag)
		c.Share = *slope.Mul(&slope, &result)
		return c
	}},
	{"another result", only(groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Result = 9
		return c
	}},
	{"another request", only(groupTag, groupShare), func(t *testing.T, w *world) *loose {
		c := w.witness(t)
		c.Request = 9
		return c
	}},
}

func public(s build.Secret) []byte {
	p := s.Public()
	return p[:]
}

// moved is a secret's share, but on a line through another Public.
func moved(t testing.TB, s build.Secret, m proofcheck.Membership, public [32]byte) fr.Element {
	t.Helper()
	own, share := s.Public(), s.Share(m.Request, m.Result)
	x, from, to := element(t, share[:]), element(t, own[:]), element(t, public[:])
	return *x.Sub(&x, &from).Add(&x, &to)
}

// top is where the way of a witness ends, before the depth comes in.
func top(t testing.TB, c *loose) []byte {
	t.Helper()
	at := element(t, c.Leaf)
	for i := range c.Path {
		l, r := at, element(t, c.Path[i])
		if c.Right[i].(int) == 1 {
			l, r = r, l
		}
		at = compress(t, l, r)
	}
	return at.Marshal()
}

func TestTheTruthIsProvable(t *testing.T) {
	w := example(t)
	for i := range w.leaves {
		if i == 2 {
			continue
		}
		w.index, w.secret = i, secretOf(t, int64(100+i))
		w.m = statement(t, w.leaves, w.secret, w.m.Request, w.m.Result)
		if !solves(t, w.witness(t)) {
			t.Errorf("leaf %d: the truth is refused", i)
		}
	}
}

func TestFalseStatementsAreNotProvable(t *testing.T) {
	for _, a := range attacks {
		if solves(t, a.make(t, example(t))) {
			t.Errorf("%s: it is proven", a.name)
		}
		if !solves(t, a.make(t, example(t)), a.only...) {
			t.Errorf("%s: it is refused without %v too, so it shows nothing", a.name, a.only)
		}
		for _, g := range a.only {
			if len(a.only) > 1 && solves(t, a.make(t, example(t)), g) {
				t.Errorf("%s: %s alone stops it", a.name, g)
			}
		}
	}
}

func TestEveryGroupIsNeeded(t *testing.T) {
	for _, g := range []group{groupKey, groupRight, groupRoot, groupDepth, groupTag, groupShare} {
		if !slices.ContainsFunc(attacks, func(a attack) bool { return slices.Equal(a.only, only(g)) }) {
			t.Errorf("no attack is stopped by %s alone", g)
		}
	}
}

// TestPublicInputsStandAlone: each public input is the whole left side of a constraint.
func TestPublicInputsStandAlone(t *testing.T) {
	alone := func(without ...group) int {
		system, err := compile(&loose{without: without})
		fatalIf(t, err)
		found := map[int]bool{}
		for _, c := range system.GetR1Cs() {
			if len(c.L) == 1 && c.L[0].WireID() >= 1 && c.L[0].WireID() < system.GetNbPublicVariables() {
				found[c.L[0].WireID()] = true
			}
		}
		return len(found)
	}
	if n := alone(); n != 5 {
		t.Errorf("of the five public inputs only %d stand alone in a left side", n)
	}
	if n := alone(groupInputs); n == 5 {
		t.Error("they do without the constraints on inputs too: those are not needed")
	}
}

// TestCompilingIsDeterministic: and there is room for it in 2^12 powers.
func TestCompilingIsDeterministic(t *testing.T) {
	a, err := Compile()
	fatalIf(t, err)
	b, err := Compile()
	fatalIf(t, err)
	if hashOf(t, a) != hashOf(t, b) {
		t.Error("two compilations differ")
	}
	if n := a.GetNbConstraints(); n > 1<<12 || a.GetNbPublicVariables() != 6 {
		t.Errorf("%d constraints, %d public wires", n, a.GetNbPublicVariables())
	}
}

// The circuit and package build compute the same, for secrets, requests and results of full size.
func TestTheCircuitComputesWhatBuildDoes(t *testing.T) {
	times := 20
	if testing.Short() {
		times = 3
	}
	for range times {
		w := &world{leaves: make([][32]byte, 1<<build.Depth)}
		for i := range w.leaves {
			w.leaves[i] = random(t)
		}
		var err error
		w.secret, err = build.NewSecret()
		fatalIf(t, err)
		place := random(t)
		w.index = int(place[31]) | int(place[30])&3<<8
		w.leaves[w.index] = w.secret.Public()
		w.m = statement(t, w.leaves, w.secret, random(t), random(t))
		c := w.witness(t)
		if !solves(t, c) {
			t.Fatalf("leaf %d: the circuit computes something else", w.index)
		}
		if c.Tag = random32(t); solves(t, c) {
			t.Fatal("any tag will do")
		}
	}
}

func random(t testing.TB) [32]byte {
	t.Helper()
	var x fr.Element
	_, err := x.SetRandom()
	fatalIf(t, err)
	return x.Bytes()
}

func random32(t testing.TB) []byte {
	b := random(t)
	return b[:]
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
