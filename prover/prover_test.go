package prover

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint/solver"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
	"cratelog/prover/git"
)

// small is a segment that most crates of these tests take several of; its keys are made in
// seconds.
const small = 4

// smallProgram is the id of the development program of that circuit. The setup is
// deterministic: whoever runs it gets this id.
const smallProgram = "59e6a7297a4425fc2c05c5cd9d5389c4140169f84ffb3c941b9feaf06619ee11"

func TestProofsOfRealCratesHold(t *testing.T) {
	holds(t, keys(t), "hello-inner", "0.1.0")
}

// holds proves a crate, and checks that the program accepts the proof, for this crate
// only, and that no other program does.
func holds(t *testing.T, k *Keys, name, version string) {
	t.Helper()
	v, err := proofcheck.New([]proofcheck.Program{k.Program})
	fatalIf(t, err)
	shipped, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	p := plan(t, name, version)
	e, err := k.Prove(t.Context(), p, nil)
	fatalIf(t, err)
	fatalIf(t, entry.Check(v, e, p.List.Bytes))
	_, err = readCrate(t, name, version).Check(e.Subject, p.Claim)
	fatalIf(t, err)
	if _, err := shipped.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a proof of the small program, by the shipped ones: %v", err)
	}
	e.Subject.Name = "serde"
	if err := entry.Check(v, e, p.List.Bytes); !errors.Is(err, proofcheck.ErrProof) {
		t.Errorf("moved to another crate: %v", err)
	}
}

func TestDevelopmentSetupIsDeterministic(t *testing.T) {
	if id := fmt.Sprintf("%x", keys(t).Program.ID()); id != smallProgram {
		t.Errorf("the setup made program %s, expected %s; if the circuit was changed, so must be the keys that ship (go run ./internal/makekeys)", id, smallProgram)
	}
}

func TestDamagedKeysAreNotUsed(t *testing.T) {
	keys(t)
	from, err := DefaultCache()
	fatalIf(t, err)
	dir := t.TempDir()
	files, err := filepath.Glob(filepath.Join(from, "segment-*.[pv]k"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		fatalIf(t, err)
		if strings.HasSuffix(f, ".pk") {
			b[len(b)/2] ^= 1
		}
		fatalIf(t, os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644))
	}
	_, err = DevelopmentKeys(t.Context(), dir, small, nil)
	if !errors.Is(err, ErrKeyCache) || !strings.Contains(err.Error(), "does not have its hash; delete") {
		t.Error(err)
	}
}

func TestEveryFileThatCannotBeProvenIsNamed(t *testing.T) {
	// Version 0.1.1 of the crate against the commit of version 0.1.0.
	commit := fixture.Commit(t, "0.1.0")
	c := readCrate(t, "hello-proof", "0.1.1")
	_, err := NewPlan(t.Context(), c, openRepo(t, fixture.Repo(t)), Source{Commit: &commit})
	var u *UnprovableError
	if !errors.As(err, &u) {
		t.Fatal(err)
	}
	for _, want := range []string{"Cargo.toml.orig: its content differs from the commit's Cargo.toml", "src/lib.rs: its content differs"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	path := "crates/nowhere"
	_, err = NewPlan(t.Context(), c, openRepo(t, fixture.Repo(t)), Source{Path: &path})
	if !errors.As(err, &u) || !strings.Contains(err.Error(), "src/lib.rs: the commit has no crates/nowhere/src/lib.rs") {
		t.Errorf("wrong path: %v", err)
	}
	var nobody [20]byte
	_, err = NewPlan(t.Context(), c, openRepo(t, fixture.Repo(t)), Source{Commit: &nobody})
	var missing *git.MissingError
	if !errors.As(err, &missing) {
		t.Errorf("missing commit: %v", err)
	}
}

func TestFalsePlansAreNotProven(t *testing.T) {
	k := keys(t)
	for name, spoil := range map[string]func(p *Plan){
		"another commit":      func(p *Plan) { p.Claim.Commit = fixture.Commit(t, "0.1.1") },
		"another list":        func(p *Plan) { p.List.Bytes = bytes.Replace(p.List.Bytes, []byte("src"), []byte("sra"), 1) },
		"a list that is none": func(p *Plan) { p.List.Bytes = p.List.Bytes[1:] },
		"no objects":          func(p *Plan) { p.objects = nil },
		"the objects' order":  func(p *Plan) { slices.Reverse(p.objects[1:]) },
		"an object left out":  func(p *Plan) { p.objects = p.objects[:len(p.objects)-1] },
		"another root tree": func(p *Plan) {
			p.objects[1].Data = append(slices.Clone(p.objects[1].Data[:len(p.objects[1].Data)-1]), 0)
		},
		"something else listed": func(p *Plan) { p.objects[1].Listed = nil },
	} {
		p := plan(t, "hello-proof", "0.1.0")
		claim, list := *p.Claim, *p.List
		p.Claim, p.List = &claim, &list
		spoil(p)
		if e, err := k.Prove(t.Context(), p, nil); err == nil {
			t.Errorf("%s: a proof was made: %v", name, e.Subject)
		}
	}
}

func TestCratesTooLargeForAProofAreRefusedWithNumbers(t *testing.T) {
	p := plan(t, "hello-proof", "0.1.0")
	p.Blocks = small*proofcheck.MaxSegments + 1
	_, err := (&Keys{Program: proofcheck.Program{Blocks: small}}).Prove(t.Context(), p, nil)
	if outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), "1153 SHA-1 blocks") {
		t.Error(err)
	}
}

// Masks and blinds are drawn for each proof: two of one crate have nothing in common but what they
// say of the list's size.
func TestTwoProofsOfOneCrateShareNothing(t *testing.T) {
	k, p := keys(t), plan(t, "hello-proof", "0.1.0")
	seen := map[string]string{}
	var ends [2]chain.End
	for n := range ends {
		e, err := k.Prove(t.Context(), p, nil)
		fatalIf(t, err)
		proof, err := proofcheck.ParseProof(e.Proof.Parts)
		fatalIf(t, err)
		if len(proof.Segments) < 3 {
			t.Fatalf("%d segments: the test needs some", len(proof.Segments))
		}
		what := func(name string, b []byte) {
			if was, ok := seen[string(b)]; ok {
				t.Errorf("proof %d: its %s is the %s", n, name, was)
			}
			seen[string(b)] = fmt.Sprintf("%s of proof %d", name, n)
		}
		for i, s := range proof.Segments {
			for name, point := range map[string]*bn254.G1Affine{"A": &s.Ar, "C": &s.Krs, "commitment": &s.Commitments[0], "proof of knowledge": &s.CommitmentPok} {
				b := point.Bytes()
				what(fmt.Sprintf("%s %d", name, i), b[:])
			}
		}
		for i, c := range proof.Cuts {
			what(fmt.Sprintf("cut %d", i), c.Marshal())
		}
		ends[n] = proof.End
	}
	if ends[0].List == ends[1].List || ends[0].Objects != ends[1].Objects || ends[0].ListBytes != ends[1].ListBytes {
		t.Errorf("the ends are %v and %v", ends[0], ends[1])
	}
}

// What a segment commits to is hidden by its mask alone, and the same in both passes.
func TestACommitmentDependsOnTheMaskAndNotOnTheChallenge(t *testing.T) {
	k, p := keys(t), plan(t, "hello-proof", "0.1.0")
	stream, err := circuit.Split(small, p.objects)
	fatalIf(t, err)
	j, err := newJob(k, stream, p.Claim.Commit)
	fatalIf(t, err)
	commitments := map[commitment]bool{}
	for range 2 {
		rho, err := random(1)
		fatalIf(t, err)
		fatalIf(t, j.at(rho[0]))
		c, err := j.commitTo(1)
		fatalIf(t, err)
		commitments[c] = true
	}
	if len(commitments) != 1 {
		t.Error("another challenge, and another commitment")
	}
	j.masks[1].SetOne()
	c, err := j.commitTo(1)
	fatalIf(t, err)
	if commitments[c] {
		t.Error("another mask, and the same commitment")
	}
	proof, err := j.prove(1, c)
	fatalIf(t, err)
	if proof.Commitments[0] != c.point {
		t.Error("the proof has another commitment than the first pass")
	}
	j.masks[1].SetUint64(2)
	_, err = j.prove(1, c)
	refused(t, "another mask in the second pass", err, "commits to something else")
}

// A solver that does not ask for the mask would draw one of its own, or none.
func TestTheSolverAsksForOneMask(t *testing.T) {
	j := &job{masks: make([]fr.Element, 1)}
	j.masks[0].SetUint64(7)
	for calls := range 3 {
		err := j.masked(0, func(hints ...solver.Option) error {
			config, err := solver.NewConfig(hints...)
			fatalIf(t, err)
			out := new(big.Int)
			for id, h := range config.HintFunctions {
				if id != solver.GetHintID(randomize()) {
					continue
				}
				for range calls {
					fatalIf(t, h(fr.Modulus(), nil, []*big.Int{out}))
				}
			}
			if calls > 0 && out.Int64() != 7 {
				t.Errorf("the mask is %v", out)
			}
			return nil
		})
		if (err == nil) != (calls == 1) {
			t.Errorf("asked for %d times: %v", calls, err)
		}
	}
}

func TestProgressGoesToItsEnd(t *testing.T) {
	k, p := keys(t), plan(t, "hello-inner", "0.1.0")
	var steps []Step
	_, err := k.Prove(t.Context(), p, func(s Step) { steps = append(steps, s) })
	fatalIf(t, err)
	if len(steps) != 1 || steps[0].Share() != 1 || !strings.Contains(steps[0].What, "segments") {
		t.Errorf("%+v", steps)
	}
}
