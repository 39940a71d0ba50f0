// Package forge makes valid proofs of any statement, true or false, of programs with
// development keys, in a few milliseconds each.
//
// It needs no weakness: the secrets of a development key are published, and who knows
// them can simulate proofs (Groth16, On the Size of Pairing-based Non-interactive
// Arguments, 2016, section 3.2). That is why those keys are named UNSAFE everywhere, and
// why logs and readers outside of development mode accept none of them: the tests show it.
//
// It serves measurements and tests that need many thousand entries, and entries that say
// anything. It cannot forge a proof of a key whose secrets it does not know.
package forge

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"

	"cratelog/build"
	"cratelog/circuit/setup"
	"cratelog/entry"
	"cratelog/internal/unsafekeys"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

// A Forger holds the secrets of one key. It is safe for concurrent use.
type Forger struct {
	program proofcheck.Program
	vk      *groth16.VerifyingKey

	alphaBeta, deltaInv, sigma fr.Element
}

// New takes the published secrets of a program's key. It fails for keys that are not
// development keys, and for those whose secrets do not yield the key.
func New(p proofcheck.Program) (*Forger, error) {
	if !p.Development() {
		return nil, errors.New("forge: only the secrets of development keys are known")
	}
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(p.Key)); err != nil {
		return nil, fmt.Errorf("forge: %w", err)
	}
	s := unsafekeys.Published(p.Blocks)
	if p.Claim == proofcheck.ClaimBuild {
		s = unsafekeys.PublishedBuild(p.Depth)
	}
	return forger(p, vk, &s), check(vk, &s)
}

func forger(p proofcheck.Program, vk *groth16.VerifyingKey, s *setup.Secrets) *Forger {
	f := &Forger{program: p, vk: vk, sigma: s.Sigma}
	f.alphaBeta.Mul(&s.Alpha, &s.Beta)
	f.deltaInv.Inverse(&s.Delta)
	return f
}

// check compares the secrets with the key that they should be those of.
func check(vk *groth16.VerifyingKey, secrets *setup.Secrets) error {
	own := points(secrets, len(vk.CommitmentKeys))
	if !own.G1.Alpha.Equal(&vk.G1.Alpha) || !own.G2.Beta.Equal(&vk.G2.Beta) || !own.G2.Gamma.Equal(&vk.G2.Gamma) ||
		!own.G2.Delta.Equal(&vk.G2.Delta) || !slices.EqualFunc(own.CommitmentKeys, vk.CommitmentKeys,
		func(a, b pedersen.VerifyingKey) bool { return a.G.Equal(&b.G) && a.GSigmaNeg.Equal(&b.GSigmaNeg) }) {
		return errors.New("forge: the published secrets do not yield this key")
	}
	return nil
}

// points returns what of a key with one commitment or none follows from its secrets alone: all but K.
func points(s *setup.Secrets, commitments int) *groth16.VerifyingKey {
	_, _, g1, g2 := bn254.Generators()
	vk := &groth16.VerifyingKey{CommitmentKeys: make([]pedersen.VerifyingKey, commitments)}
	vk.G1.Alpha.ScalarMultiplication(&g1, integer(&s.Alpha))
	vk.G1.Beta.ScalarMultiplication(&g1, integer(&s.Beta))
	vk.G1.Delta.ScalarMultiplication(&g1, integer(&s.Delta))
	vk.G2.Beta.ScalarMultiplication(&g2, integer(&s.Beta))
	vk.G2.Delta.ScalarMultiplication(&g2, integer(&s.Delta))
	vk.G2.Gamma = g2
	for i := range vk.CommitmentKeys {
		ck := &vk.CommitmentKeys[i]
		ck.G = g2
		ck.GSigmaNeg.ScalarMultiplication(&g2, integer(&s.Sigma))
		ck.GSigmaNeg.Neg(&ck.GSigmaNeg)
	}
	return vk
}

// Invent makes a program whose key belongs to no circuit, so that only forged proofs are of
// it, and its forger. Its secrets are the hash of its name. It stands in for a second
// program, or for one of another origin than development.
func Invent(name, origin string, blocks int) (*Forger, error) {
	return invent(name, 5, [][]int{{1, 2, 3}},
		proofcheck.Program{Claim: proofcheck.ClaimSource, Blocks: blocks, Origin: origin})
}

// InventBuild is Invent for a program of build claims by hidden members.
func InventBuild(name, origin string) (*Forger, error) {
	return invent(name, 6, nil, proofcheck.Program{Claim: proofcheck.ClaimBuild, Depth: build.Depth, Origin: origin})
}

// invent makes a key with so many K, and with a commitment to each list of inputs.
func invent(name string, ks int, committed [][]int, p proofcheck.Program) (*Forger, error) {
	e, err := fr.Hash([]byte(name), []byte("cratelog/invented-program UNSAFE"), 4+ks)
	if err != nil {
		return nil, err
	}
	s := setup.Secrets{Alpha: e[0], Beta: e[1], Delta: e[2], Sigma: e[3]}
	vk := points(&s, len(committed))
	for i := range e[4:] {
		var k bn254.G1Affine
		vk.G1.K = append(vk.G1.K, *k.ScalarMultiplicationBase(integer(&e[4+i])))
	}
	vk.PublicAndCommitmentCommitted = committed
	var key bytes.Buffer
	if _, err := vk.WriteTo(&key); err != nil {
		return nil, err
	}
	p.System, p.Key = proofcheck.SystemGroth16, key.Bytes()
	return forger(p, vk, &s), nil
}

// Program returns the program whose proofs f forges.
func (f *Forger) Program() proofcheck.Program { return f.program }

// Prove gives the entry a proof of one segment, which holds for its subject and claim, whatever they
// say, and says what a true proof of this list would. It does not set the claim's digest.
func (f *Forger) Prove(e *entry.Entry, list []byte) error {
	return f.ProveChain(e, make([]fr.Element, 0), func(rho fr.Element) (chain.End, error) { return chain.EndOf(list, rho) })
}

// ProveSegments is Prove with a proof of n segments, as true ones of larger commits and trees have.
func (f *Forger) ProveSegments(e *entry.Entry, list []byte, n int) error {
	cuts := make([]fr.Element, n-1)
	for i := range cuts {
		cuts[i].MustSetRandom()
	}
	return f.ProveChain(e, cuts, func(rho fr.Element) (chain.End, error) { return chain.EndOf(list, rho) })
}

// ProveChain gives the entry a proof of one segment more than there are cuts, with these cuts, and
// with what end says for the proof's challenge.
func (f *Forger) ProveChain(e *entry.Entry, cuts []fr.Element, end func(rho fr.Element) (chain.End, error)) error {
	claim, ok := e.Claim.(*entry.Source)
	if !ok {
		return errors.New("forge: this is no source claim; ProveBuild is for build claims")
	}
	context, err := entry.Context(e.Subject, claim)
	if err != nil {
		return err
	}
	d := make([]fr.Element, len(cuts)+1) // logarithms of the commitments
	commitments := make([]bn254.G1Affine, len(d))
	for i := range d {
		d[i].MustSetRandom()
		commitments[i].ScalarMultiplicationBase(integer(&d[i]))
	}
	rho := chain.Rho(f.program.ID(), claim.Commit, context, commitments)
	p := &proofcheck.Proof{Cuts: cuts}
	if p.End, err = end(rho); err != nil {
		return err
	}
	first, err := chain.Start(claim.Commit, rho)
	if err != nil {
		return err
	}
	last := p.End.State()
	in := first.Commitment()
	for i := range d {
		out := last.Commitment()
		if i < len(cuts) {
			out = cuts[i]
		}
		p.Segments = append(p.Segments, f.segment(commitments[i], []fr.Element{in, out, rho}))
		in = out
	}
	e.Proof = entry.Proof{Program: f.program.ID(), Parts: p.Marshal()}
	return nil
}

// ProveBuild gives the entry with a build claim a proof that holds for its subject and claim, whatever
// they say, Root and Tag too, and for this share: so two of them name whomever the forger likes as one
// who contradicts himself.
func (f *Forger) ProveBuild(e *entry.Entry, share [32]byte) error {
	claim, ok := e.Claim.(*entry.Build)
	if !ok || f.program.Claim != proofcheck.ClaimBuild {
		return errors.New("forge: this is no build claim, or not a program of them")
	}
	request, err := claim.Request(e.Subject)
	if err != nil {
		return err
	}
	var inputs []fr.Element
	for _, b := range [][32]byte{claim.Root, request, claim.Result(), claim.Tag, share} {
		var x fr.Element
		if err := x.SetBytesCanonical(b[:]); err != nil {
			return fmt.Errorf("forge: %w", err)
		}
		inputs = append(inputs, x)
	}
	p := &proofcheck.BuildProof{Share: share, Points: f.simulate(bn254.G1Affine{}, inputs)}
	e.Proof = entry.Proof{Program: f.program.ID(), Parts: p.Marshal()}
	return nil
}

// segment returns a proof for these public inputs, with this commitment.
func (f *Forger) segment(commitment bn254.G1Affine, inputs []fr.Element) *groth16.Proof {
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	h.Write(commitment.Marshal())
	for _, j := range f.vk.PublicAndCommitmentCommitted[0] {
		h.Write(inputs[j-1].Marshal())
	}
	var challenge fr.Element
	challenge.SetBytes(h.Sum(nil)[:fr.Bytes])
	p := f.simulate(commitment, append(inputs, challenge))
	p.Commitments = []bn254.G1Affine{commitment}
	p.CommitmentPok.ScalarMultiplication(&commitment, integer(&f.sigma))
	return p
}

// simulate returns A, B and C for these inputs, the challenge among them if there is a commitment;
// without one it is at infinity.
func (f *Forger) simulate(commitment bn254.G1Affine, inputs []fr.Element) *groth16.Proof {
	var a, b fr.Element
	a.MustSetRandom()
	b.MustSetRandom()
	_, _, g1, g2 := bn254.Generators()
	p := new(groth16.Proof)
	p.Ar.ScalarMultiplication(&g1, integer(&a))
	p.Bs.ScalarMultiplication(&g2, integer(&b))

	// L = K0 + sum x_j K_j + D, and C = ((ab - alpha beta) G - L) / delta.
	var l, term, c bn254.G1Jac
	l.FromAffine(&f.vk.G1.K[0])
	for j, x := range inputs {
		term.FromAffine(&f.vk.G1.K[1+j])
		term.ScalarMultiplication(&term, integer(&x))
		l.AddAssign(&term)
	}
	l.AddMixed(&commitment)
	l.Neg(&l)
	var ab fr.Element
	ab.Mul(&a, &b).Sub(&ab, &f.alphaBeta)
	c.FromAffine(&g1)
	c.ScalarMultiplication(&c, integer(&ab))
	c.AddAssign(&l)
	c.ScalarMultiplication(&c, integer(&f.deltaInv))
	p.Krs.FromJacobian(&c)
	return p
}

func integer(x *fr.Element) *big.Int { return x.BigInt(new(big.Int)) }
