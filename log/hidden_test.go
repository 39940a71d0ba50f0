package log

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// mixedProofs believes of sources what a test says, and of hidden builders what they prove.
type mixedProofs struct {
	*toldProofs
	hidden *proofcheck.Verifier
}

func (p mixedProofs) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	chains, errs := p.toldProofs.Chains(entries)
	for i, e := range entries {
		if _, ours := p.hidden.Program(e.Proof.Program); ours {
			chains[i], errs[i] = p.hidden.Chain(e)
		}
	}
	return chains, errs
}

func (p mixedProofs) Programs() []proofcheck.Program {
	return slices.Concat(p.programs, p.hidden.Programs())
}

// trusted is a verifier of which a test says who could forge.
type trusted struct {
	entry.Verifier
	forgers string
}

func (t trusted) Forgers([32]byte) string { return t.forgers }

// TestHiddenBuilders attest with true proofs, disagree, and give themselves away.
func TestHiddenBuilders(t *testing.T) {
	t.Parallel()
	keys := testlog.Must(membership.DevelopmentKeys())
	set := &build.Set{Kind: build.Hidden, Name: "hidden"}
	var secrets []build.Secret
	for _, name := range []string{"ann", "bob", "cat"} {
		s := testlog.Must(build.NewSecret())
		secrets = append(secrets, s)
		set.Members = append(set.Members, build.Member{Name: name, Contact: name, Public: s.Public()})
	}
	w := buildWorld(t)
	w.cfg.Builds.Sets = []*build.Set{set}
	hidden := testlog.Must(proofcheck.New([]proofcheck.Program{keys.Program}))
	w.cfg.Proofs = mixedProofs{w.proofs, hidden}
	l := w.open()
	source, raw := w.good("alpha", "1.0.0")
	w.submit(l, source, raw)
	says := func(member int, artifact byte) []byte {
		e, err := membership.Prove(context.Background(), keys, set.Leaves(), member, secrets[member],
			testlog.Must(entry.Parse(source)).Subject, claimOf(artifact))
		fatalIf(t, err)
		return marshal(e)
	}
	one := says(0, 1)
	w.build(l, one, nil)
	w.build(l, says(1, 1), nil)
	w.build(l, says(2, 9), nil) // who disagrees is nobody's business
	wantContradictions(t, l, 0)

	// The same again has other bytes, and is the same.
	b := testlog.Must(l.SubmitBuild(t.Context(), says(0, 1), failingReader{t}, failingReader{t}))
	w.checkBundle(b, one)

	copied := testlog.Must(entry.Parse(one))
	c := *copied.Claim.(*entry.Build)
	c.Artifact = [32]byte{3}
	copied.Claim = &c
	wantBuildRefusal(t, l, marshal(copied), crates, nil, ProofInvalid, "does not verify")
	wantContradictions(t, l, 0)

	wantBuildRefusal(t, l, says(0, 3), crates, nil, BuilderContradiction, "/v1/contradictions/1")
	wantSize(t, l, 4)
	file, _, err := l.builds.contradiction(t.Context(), 1)
	fatalIf(t, err)
	e := testlog.Must(evidence.Parse(file))
	if p := testlog.Must(proofcheck.ParseProgram(e.Program)); p.ID() != keys.Program.ID() {
		t.Error("the evidence holds another program")
	}
	for forgers, who := range map[string]string{"": "builder ann", keys.Program.Forgers(): ""} {
		got, err := evidence.Verify(e, evidence.Keys{}, trusted{hidden, forgers})
		if err != nil || got.Who != who || strings.Contains(got.What, fmt.Sprintf("%x", secrets[0].Public())) != (who != "") {
			t.Errorf("%q: %+v, %v", forgers, got, err)
		}
	}
}
