package prover

import (
	"context"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/git"
	"cratelog/internal/fixture"
	"cratelog/proofcheck"
)

// small fits the fixture's crates; its keys are made in seconds.
var small = circuit.Capacity{Blocks: 22, Chunks: 20}

func plan(t *testing.T, name, version string) *Plan {
	t.Helper()
	c, err := crate.Read(fixture.Crate(t, name, version), name, version, crate.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := git.Open(t.Context(), fixture.Repo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { repo.Close() })
	p, err := NewPlan(t.Context(), c, repo, Source{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	for _, c := range [][2]string{{"hello-proof", "0.1.0"}, {"hello-proof", "0.1.1"}, {"hello-inner", "0.1.0"}} {
		p := plan(t, c[0], c[1])
		t.Log(c, p.Blocks, len(p.List.Bytes), p.Claim.Unproven, p.Claim.Path)
	}
}

func TestProve(t *testing.T) {
	p := plan(t, "hello-proof", "0.1.0")
	cache, _ := DefaultCache()
	k, err := DevelopmentKeys(t.Context(), cache, circuit.Class64, func(s Step) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		e, err := k.Prove(t.Context(), p, func(s Step) { t.Log(s) })
		if err != nil {
			t.Fatal(err)
		}
		t.Log(e)
	}
}

var _ = context.Background
var _ = errors.New
var _ = big.NewInt
var _ = os.Args
var _ = filepath.Join
var _ = strings.Join
var _ entry.Entry
var _ proofcheck.Program
