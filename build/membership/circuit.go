// Package membership proves build claims by hidden members of a set of builders: the circuit
// build/1, its keys and its proofs.
//
// The circuit claims: I know a Secret whose Public is a leaf of the set with this Root, and Tag and
// Share are this Secret's for this Request and this Result. Package build says what these are.
//
// Public are Root, Request, Result, Tag and Share, in this order. Private are the Secret, the place
// of its leaf and what stands beside the way from there to the root.
//
// It assumes that Poseidon2's compression behaves like a random function, and that the leaves of
// the set were not made to collide, which the set's computed root and its refusal of equal and
// vacant leaves see to. Request and Result are numbers to it: what they are of, the verifier
// computes (package proofcheck).
//
// It does not prove that anything was built, that the member is not another one's cousin, or that two
// proofs with two Tags are of two persons. The shape, a tag and a point on a line by which whoever
// tags two results of one request unmasks himself, is that of rate-limiting nullifiers.
package membership

import (
	"fmt"
	"slices"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	native "github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
	"github.com/consensys/gnark/std/permutation/poseidon2"

	"cratelog/build"
)

// Circuit is the statement. See the package comment.
type Circuit struct {
	Root    frontend.Variable `gnark:",public"`
	Request frontend.Variable `gnark:",public"`
	Result  frontend.Variable `gnark:",public"`
	Tag     frontend.Variable `gnark:",public"`
	Share   frontend.Variable `gnark:",public"`

	Secret frontend.Variable
	Right  [build.Depth]frontend.Variable // 1: the way comes from the right, 0: from the left
	Path   [build.Depth]frontend.Variable // what stands on the other side
}

// A group is a part of the constraints. Tests leave some out, to see what each of them stops.
type group string

const (
	groupKey    group = "key"    // the leaf is the Secret's Public
	groupRight  group = "right"  // Right are bits
	groupRoot   group = "root"   // the way ends at Root
	groupDepth  group = "depth"  // the root is that of a tree of this depth
	groupTag    group = "tag"    // Tag is the Secret's for this Request
	groupShare  group = "share"  // Share is the Secret's for this Request and Result
	groupInputs group = "inputs" // each public input stands in a left side
)

// Define is gnark's.
func (c *Circuit) Define(api frontend.API) error { return c.define(api, nil) }

// define leaves groups of constraints out; leaf is where the way begins without groupKey.
func (c *Circuit) define(api frontend.API, leaf frontend.Variable, without ...group) error {
	has := func(g group) bool { return !slices.Contains(without, g) }
	p, err := poseidon2.NewPoseidon2FromParameters(api, 2, build.FullRounds, build.PartialRounds)
	if err != nil {
		return fmt.Errorf("membership: poseidon2: %w", err)
	}
	if has(groupInputs) {
		// Each stands alone in the left side of a constraint: what rests on the independence
		// of the inputs' polynomials there (that who sees proofs cannot make one of another
		// statement) must not depend on where else they happen to stand.
		for _, x := range []frontend.Variable{c.Root, c.Request, c.Result, c.Tag, c.Share} {
			api.Mul(x, x)
		}
	}
	hash := func(domain int, in ...frontend.Variable) frontend.Variable {
		state := frontend.Variable(domain)
		for _, x := range in {
			state = p.Compress(state, x)
		}
		return state
	}

	public := hash(build.DomainKey, c.Secret)
	if !has(groupKey) {
		public = leaf
	}
	at := public
	for i := range c.Path {
		if has(groupRight) {
			api.AssertIsBoolean(c.Right[i])
		}
		moved := api.Mul(c.Right[i], api.Sub(c.Path[i], at)) // one product for both sides
		at = p.Compress(api.Add(at, moved), api.Sub(c.Path[i], moved))
	}
	if has(groupDepth) {
		at = p.Compress(rootBegin(), at)
	}
	if has(groupRoot) {
		api.AssertIsEqual(at, c.Root)
	}
	if has(groupTag) {
		api.AssertIsEqual(hash(build.DomainTag, c.Secret, c.Request), c.Tag)
	}
	if has(groupShare) {
		slope := hash(build.DomainTrace, c.Secret, c.Request)
		api.AssertIsEqual(api.Add(public, api.Mul(c.Result, slope)), c.Share)
	}
	return nil
}

// rootBegin is C(DomainRoot, Depth), with which the root begins.
var rootBegin = sync.OnceValue(func() fr.Element {
	x := [2]fr.Element{fr.NewElement(build.DomainRoot), fr.NewElement(build.Depth)}
	if err := native.NewPermutation(2, build.FullRounds, build.PartialRounds).Permutation(x[:]); err != nil {
		panic(err) // of another width only
	}
	depth := fr.NewElement(build.Depth)
	return *x[1].Add(&x[1], &depth)
})

// Compile returns the constraints. It is deterministic: keys are made for, and proofs made with,
// what it returns.
func Compile() (*cs.R1CS, error) { return compile(new(Circuit)) }

func compile(c frontend.Circuit) (*cs.R1CS, error) {
	quiet()
	compiled, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c)
	if err != nil {
		return nil, fmt.Errorf("membership: compile: %w", err)
	}
	system, ok := compiled.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("membership: compiled to %T", compiled)
	}
	return system, nil
}

// quiet keeps gnark from writing to a program's standard output.
var quiet = sync.OnceFunc(logger.Disable)
