package circuit

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	fcs "github.com/consensys/gnark/frontend/cs"

	"cratelog/circuit/chain"
	"cratelog/circuit/setup"
	logentry "cratelog/entry"
	"cratelog/proofcheck"
)

// attacker proves worlds with a key of its own, made for the circuit or for one with a group of
// constraints left out, which the verifier accepts as it accepts any key.
type attacker struct {
	t        *testing.T
	system   *cs.R1CS
	keys     *setup.Keys
	program  proofcheck.Program
	verifier *proofcheck.Verifier
}

const attackBlocks = 3 // of a segment

func newAttacker(t *testing.T, drop group) *attacker {
	t.Helper()
	secrets, err := setup.Fresh()
	fatalIf(t, err)
	sys := system(t, attackBlocks, drop)
	keys, err := setup.Run(t.Context(), sys, secrets, new(setup.Progress))
	fatalIf(t, err)
	var key bytes.Buffer
	_, err = keys.Verifying.WriteTo(&key)
	fatalIf(t, err)
	program := proofcheck.Program{System: proofcheck.SystemGroth16, Claim: proofcheck.ClaimSource,
		Blocks: attackBlocks, Origin: proofcheck.OriginSolo + "tests", Key: key.Bytes()}
	verifier, err := proofcheck.New([]proofcheck.Program{program})
	fatalIf(t, err)
	return &attacker{t, sys, keys, program, verifier}
}

// statement is an entry without a proof, that claims a world's commit and list.
func (a *attacker) statement(w *world, version string) *logentry.Entry {
	return &logentry.Entry{
		Subject: logentry.Subject{Registry: logentry.DefaultRegistry, Name: "attacked", Version: version,
			SHA256: [32]byte{1}},
		Claim: &logentry.Source{Commit: w.commit, Files: sha256.Sum256(w.list)},
		Proof: logentry.Proof{Program: a.program.ID()},
	}
}

// prove gives an entry a proof: it commits to what a first world claims, and proves, at the challenge
// that follows, what a second world claims. It says at the end what the verifier's list demands.
func (a *attacker) prove(e *logentry.Entry, first, second *world) *proofcheck.Proof {
	a.t.Helper()
	var dummy fr.Element
	dummy.MustSetRandom()
	run, err := first.cut(attackBlocks, 0, dummy)
	fatalIf(a.t, err)
	masks := make([]fr.Element, len(run.segments))
	commitments := make([]bn254.G1Affine, len(run.segments))
	for i := range run.segments {
		masks[i].MustSetRandom()
		s := run.assign(i, run.before[i].Commitment(), run.after[i].Commitment(), dummy)
		if commitments[i], err = a.commit(s, &masks[i]); err != nil {
			return nil // it cannot even be committed to
		}
	}
	context, err := logentry.Context(e.Subject, e.Claim)
	fatalIf(a.t, err)
	rho := chain.Rho(a.program.ID(), second.commit, context, commitments)
	run, err = second.cut(attackBlocks, 0, rho)
	fatalIf(a.t, err)
	p := &proofcheck.Proof{}
	p.End, err = chain.EndOf(second.list, rho)
	fatalIf(a.t, err)
	end := p.End.State()
	in := run.before[0].Commitment()
	for i := range run.segments {
		out := run.after[i].Commitment()
		if i == len(run.segments)-1 {
			out = end.Commitment()
		} else {
			p.Cuts = append(p.Cuts, out)
		}
		w, err := frontend.NewWitness(run.assign(i, in, out, rho), field)
		fatalIf(a.t, err)
		opts := backend.WithSolverOptions(masked(a.t, &masks[i])...)
		proof, err := groth16.Prove(a.system, a.keys.Proving, w, opts)
		if err != nil {
			return nil // it cannot be proven
		}
		p.Segments = append(p.Segments, proof)
		in = out
	}
	e.Proof.Parts = p.Marshal()
	return p
}

// commit returns what a segment commits to before the challenge.
func (a *attacker) commit(s *Segment, mask *fr.Element) (c bn254.G1Affine, err error) {
	w, err := frontend.NewWitness(s, field)
	fatalIf(a.t, err)
	done := errors.New("committed")
	stop := func(_ *big.Int, in, _ []*big.Int) error {
		values := make([]fr.Element, len(in)-4) // after the commitment's number and the public inputs
		for i := range values {
			values[i].SetBigInt(in[4+i])
		}
		c, err = a.keys.Proving.CommitmentKeys[0].Commit(values)
		return errors.Join(done, err)
	}
	opts := append(masked(a.t, mask), solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder), stop))
	if _, stopped := a.system.Solve(w, opts...); !errors.Is(stopped, done) {
		return c, stopped
	}
	return c, err
}

// masked are the options of a solver that masks its commitment with a given number.
func masked(t *testing.T, mask *fr.Element) []solver.Option {
	for _, h := range solver.GetRegisteredHints() {
		if solver.GetHintName(h) == "github.com/consensys/gnark/internal/hints.Randomize" {
			return []solver.Option{solver.WithHints(Hints()...),
				solver.OverrideHint(solver.GetHintID(h), func(_ *big.Int, _, out []*big.Int) error {
					mask.BigInt(out[0])
					return nil
				})}
		}
	}
	t.Fatal("gnark has another hint that draws masks")
	return nil
}

func (a *attacker) check(e *logentry.Entry, list []byte) error {
	return logentry.Check(a.verifier, e, list)
}

// TestRealProofs makes proofs with a real key for the real verifier: of the truth, of which every
// part matters, and of lies.
func TestRealProofs(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a key and many proofs")
	}
	a := newAttacker(t, "")
	w := claimed(t, example())
	e := a.statement(w, "1.0.0")
	p := a.prove(e, w, w)
	if err := a.check(e, w.list); err != nil || len(p.Segments) < 3 {
		t.Fatalf("the truth, in %d segments: %v", len(p.Segments), err)
	}
	again, other := a.statement(w, "1.0.0"), a.statement(w, "1.0.1")
	q, o := a.prove(again, w, w), a.prove(other, w, w)
	for name, e := range map[string]*logentry.Entry{"the same again": again, "another version": other} {
		if err := a.check(e, w.list); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}

	refused := func(name string, change func(e *logentry.Entry, p *proofcheck.Proof)) {
		t.Helper()
		c := *e
		claim := *e.Claim.(*logentry.Source)
		c.Claim = &claim
		alteredProof := &proofcheck.Proof{Segments: slices.Clone(p.Segments), Cuts: slices.Clone(p.Cuts), End: p.End}
		change(&c, alteredProof)
		c.Proof.Parts = alteredProof.Marshal()
		if _, err := a.verifier.Chain(&c); !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n := len(p.Segments)
	for i := range n {
		refused("a segment of another run", func(_ *logentry.Entry, p *proofcheck.Proof) {
			p.Segments[i] = q.Segments[i]
		})
		refused("a segment of another statement", func(_ *logentry.Entry, p *proofcheck.Proof) {
			p.Segments[i] = o.Segments[i]
		})
		refused("a segment with the cuts around it of another run", func(_ *logentry.Entry, p *proofcheck.Proof) {
			p.Segments[i] = q.Segments[i]
			for _, k := range []int{i - 1, i} {
				if k >= 0 && k < n-1 {
					p.Cuts[k] = q.Cuts[k]
				}
			}
			if i == n-1 {
				p.End = q.End
			}
		})
		refused("a segment twice", func(_ *logentry.Entry, p *proofcheck.Proof) {
			p.Segments = slices.Insert(p.Segments, i, p.Segments[i])
			p.Cuts = slices.Insert(p.Cuts, min(i, n-2), p.Cuts[min(i, n-2)])
		})
		refused("a segment left out", func(_ *logentry.Entry, p *proofcheck.Proof) {
			p.Segments = slices.Delete(p.Segments, i, i+1)
			p.Cuts = slices.Delete(p.Cuts, min(i, n-2), min(i, n-2)+1)
		})
		refused("two segments exchanged", func(_ *logentry.Entry, p *proofcheck.Proof) {
			k := (i + 1) % n
			p.Segments[i], p.Segments[k] = p.Segments[k], p.Segments[i]
		})
		refused("two commitments exchanged", func(_ *logentry.Entry, p *proofcheck.Proof) {
			x, y := *p.Segments[i], *p.Segments[(i+1)%n]
			x.Commitments, y.Commitments = y.Commitments, x.Commitments
			x.CommitmentPok, y.CommitmentPok = y.CommitmentPok, x.CommitmentPok
			p.Segments[i], p.Segments[(i+1)%n] = &x, &y
		})
	}
	one := fr.One()
	for i := range p.Cuts {
		refused("another cut", func(_ *logentry.Entry, p *proofcheck.Proof) { p.Cuts[i].Add(&p.Cuts[i], &one) })
	}
	refused("more objects", func(_ *logentry.Entry, p *proofcheck.Proof) { p.End.Objects++ })
	refused("fewer listed bytes", func(_ *logentry.Entry, p *proofcheck.Proof) { p.End.ListBytes-- })
	refused("another sum", func(_ *logentry.Entry, p *proofcheck.Proof) { p.End.List.Add(&p.End.List, &one) })
	refused("the end of another run", func(_ *logentry.Entry, p *proofcheck.Proof) { p.End = q.End })
	refused("another version", func(e *logentry.Entry, _ *proofcheck.Proof) {
		e.Subject.Version = other.Subject.Version
	})
	refused("another commit", func(e *logentry.Entry, _ *proofcheck.Proof) {
		e.Claim.(*logentry.Source).Commit[0] ^= 1
	})
	refused("another digest", func(e *logentry.Entry, _ *proofcheck.Proof) {
		e.Claim.(*logentry.Source).Files[0] ^= 1
	})
	for part := range e.Proof.Parts {
		for at := 0; at < len(e.Proof.Parts[part]); at += 16 {
			c := *e
			c.Proof.Parts = slices.Clone(e.Proof.Parts)
			c.Proof.Parts[part] = bytes.Clone(e.Proof.Parts[part])
			c.Proof.Parts[part][min(at+at/16%16, len(e.Proof.Parts[part])-1)] ^= 1
			if _, err := a.verifier.Chain(&c); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("byte %d of part %d altered: %v", at, part, err)
			}
		}
	}

	// Other lists under the true proof.
	for name, list := range map[string][]byte{"no list": nil, "a shorter list": w.list[:len(w.list)-1],
		"another entry": bytes.Replace(w.list, []byte("lib.rs"), []byte("evi.rs"), 1)} {
		if a.check(e, list) == nil {
			t.Errorf("%s is accepted", name)
		}
	}

	// A list is chosen after the challenge: the commitments are then others, and so is the challenge.
	late := claimed(t, build(node{"Cargo.toml": "x", "src": node{"lib.rs": "evil", "main.rs": "#!z"},
		".github": node{"ci": "z"}, ".hidden": "q"}, "hello"))
	if len(late.blocks) != len(w.blocks) {
		t.Fatal("choose a repository of the same size")
	}
	lateEntry := a.statement(late, "1.0.0")
	if a.prove(lateEntry, w, late) == nil {
		t.Fatal("it cannot even be proven: this shows nothing")
	}
	if _, err := a.verifier.Chain(lateEntry); !errors.Is(err, proofcheck.ErrProof) {
		t.Errorf("blocks chosen after the challenge: %v", err)
	}
}

// TestRealForgeries: with a key of a circuit that lacks a group of constraints, the real verifier
// believes lies that cannot be proven with a key of the whole circuit.
func TestRealForgeries(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys and proofs")
	}
	whole := newAttacker(t, "")
	for _, name := range []string{"a name with a slash", "a header that says too short a length", "any list"} {
		i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
		w := attacks[i].make(t)
		if e := whole.statement(w, "1.0.0"); whole.prove(e, w, w) != nil {
			t.Errorf("%s: it can be proven", name)
		}
		loose := newAttacker(t, attacks[i].only[0])
		e := loose.statement(w, "1.0.0")
		if loose.prove(e, w, w) == nil {
			t.Errorf("%s: it cannot be proven even without %q: it shows nothing", name, attacks[i].only)
			continue
		}
		if err := loose.check(e, w.list); err != nil {
			t.Errorf("%s: refused even without %q: it shows nothing: %v", name, attacks[i].only, err)
		}
	}
}
