package prover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/proofcheck"
	"cratelog/prover/git"
)

// small fits the crates of these tests; its keys are made in seconds.
var small = circuit.Capacity{Blocks: 22, Chunks: 20}

// smallProgram is the id of the development program of that capacity. The setup is
// deterministic: whoever runs it gets this id.
const smallProgram = "86d5c0526ccd089777d83c51ff97ce840f8809c00357e4ca515f8667708ce740"

func TestProofsOfRealCratesHold(t *testing.T) {
	k := keys(t)
	holds(t, k, k.Program, "hello-inner", "0.1.0")
}

// holds proves a crate, and checks that the program accepts the proof, for this crate
// only, and that no other program does.
func holds(t *testing.T, k *Keys, program proofcheck.Program, name, version string) {
	t.Helper()
	v, err := proofcheck.New([]proofcheck.Program{program})
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
	files, err := filepath.Glob(filepath.Join(from, "source-*.[pv]k"))
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
	p := plan(t, "hello-proof", "0.1.0")
	p.Claim.Commit = fixture.Commit(t, "0.1.1")
	_, err := k.Prove(t.Context(), p, nil)
	refused(t, "a false plan", err, "the statement does not hold")
}

func TestCratesTooLargeForAnyClassAreRefusedWithNumbers(t *testing.T) {
	p := plan(t, "hello-proof", "0.1.0")
	p.Blocks = 2079
	_, err := p.Class()
	if !errors.Is(err, circuit.ErrCapacity) || !strings.Contains(err.Error(), "2079 SHA-1 blocks") {
		t.Error(err)
	}
}
