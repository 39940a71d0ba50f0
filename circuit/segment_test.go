package circuit

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	fcs "github.com/consensys/gnark/frontend/cs"

	"cratelog/internal/fixture"
	"cratelog/proofcheck/chain"
)

var field = ecc.BN254.ScalarField()

// testRho stands for a challenge: an element that is none of the terms.
var testRho = func() (rho fr.Element) { return *rho.SetInt64(-5) }()

// variant is a circuit of the tests: a size, and the constraints left out.
type variant struct {
	blocks int
	drop   group
}

// systems are the variants that were compiled.
var systems = make(map[variant]*cs.R1CS)

func system(t testing.TB, blocks int, drop group) *cs.R1CS {
	t.Helper()
	v := variant{blocks, drop}
	if systems[v] == nil {
		c := newSegment(blocks)
		c.testingOnlyDrop = drop
		systems[v] = mustCompile(t, c)
	}
	return systems[v]
}

func mustCompile(t testing.TB, c frontend.Circuit) *cs.R1CS {
	t.Helper()
	s, err := compile(c)
	fatalIf(t, err)
	return s
}

// solve says whether the system has a solution when some hints are replaced. The commitment
// is replaced by a hash of what is committed to, which a prover cannot choose either.
func solve(t testing.TB, system constraint.ConstraintSystem, assignment frontend.Circuit,
	evil map[solver.HintID]solver.Hint) error {
	t.Helper()
	w, err := frontend.NewWitness(assignment, field)
	fatalIf(t, err)
	opts := []solver.Option{solver.WithHints(Hints()...),
		solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder), hashOfCommitted)}
	for id, f := range evil {
		opts = append(opts, solver.OverrideHint(id, f))
	}
	return system.IsSolved(w, opts...)
}

func hashOfCommitted(_ *big.Int, in, out []*big.Int) error {
	h := sha256.New()
	for _, v := range in {
		h.Write(v.Bytes())
		h.Write([]byte{0})
	}
	out[0].SetBytes(h.Sum(nil))
	return nil
}

// assign returns all segments of a stream at a challenge, and the states between them.
func (s *Stream) assign(t testing.TB, commit [20]byte, rho fr.Element) ([]*Segment, []chain.State) {
	t.Helper()
	blinds := make([]fr.Element, s.Segments()-1)
	for i := range blinds {
		blinds[i].SetUint64(uint64(1000 + i))
	}
	states, err := s.States(commit, rho, blinds)
	fatalIf(t, err)
	var segments []*Segment
	for i := range s.Segments() {
		segments = append(segments, s.Assign(i, states, rho))
	}
	return segments, states
}

// proves says whether a prover could prove the list with a stream, with one group of
// constraints left out ("" for none): every segment has a solution, the cuts fit, and the
// last state is what the list demands.
func proves(t testing.TB, s *Stream, commit [20]byte, list []byte, drop group) error {
	t.Helper()
	segments, states := s.assign(t, commit, testRho)
	end, err := chain.EndOf(list, testRho)
	if err != nil {
		return err
	}
	want, got := end.State(), states[len(states)-1]
	if want.Commitment() != got.Commitment() {
		return fmt.Errorf("the last state is %+v, the list demands %+v", got, want)
	}
	for i, seg := range segments {
		if err := solve(t, system(t, s.segmentBlocks, drop), seg, nil); err != nil {
			return fmt.Errorf("segment %d of %d: %w", i, len(segments), err)
		}
	}
	return nil
}

func (r repo) split(t testing.TB, blocks int) *Stream {
	t.Helper()
	s, err := Split(blocks, r.objects)
	fatalIf(t, err)
	return s
}

func TestTrueStatementsAreProvable(t *testing.T) {
	repos := map[string]repo{
		"one file":     build(node{"Cargo.toml": "x"}, "m"),
		"directories":  example(),
		"many trees":   manyTrees(),
		"sort order":   build(node{"a": node{"f": "1"}, "a.b": "2", "a-b": node{"g": "3"}, "a0": "4"}, "m"),
		"submodule":    build(node{"Cargo.toml": "x", "dep": commitNode{node{"f": "1"}}}, "m"),
		"UTF-8":        build(node{"naïve-файл.rs": "x"}, "Привет \x80\x80 мир"),
		"pad boundary": build(node{"Cargo.toml": "x"}, strings.Repeat("m", 47)),
	}
	sizes, messages := []int{1, 2, 3, 5}, 64
	if testing.Short() {
		sizes, messages = sizes[2:3], 1
		maps.DeleteFunc(repos, func(name string, _ repo) bool { return name != "submodule" && name != "UTF-8" })
	}
	check := func(name string, r repo, blocks int) {
		if err := proves(t, r.split(t, blocks), r.commit, r.list, ""); err != nil {
			t.Errorf("%s, in segments of %d blocks: %v", name, blocks, err)
		}
	}
	for name, r := range repos {
		for _, blocks := range sizes {
			check(name, r, blocks)
		}
	}
	for i := range messages { // so that the padding is of any length
		n := i * 64 / messages
		check(fmt.Sprintf("message of %d bytes", n), build(node{"f": "x"}, strings.Repeat("\x80", n)), 3)
	}
}

// TestAnotherListIsNotTheEnd: what a verifier makes of another list or commit is not where
// the segments lead.
func TestAnotherListIsNotTheEnd(t *testing.T) {
	r := example()
	s := r.split(t, 3)
	segments, states := s.assign(t, r.commit, testRho)
	end := states[len(states)-1]
	demanded := func(list []byte) fr.Element {
		e, err := chain.EndOf(list, testRho)
		fatalIf(t, err)
		state := e.State()
		return state.Commitment()
	}
	if end.Commitment() != demanded(r.list) {
		t.Fatal("the true list is not the end")
	}
	last := segments[len(segments)-1]
	for i := range r.list {
		l := bytes.Clone(r.list)
		l[i] ^= 1
		if e, err := chain.EndOf(l, testRho); err == nil {
			state := e.State()
			if last.Out = state.Commitment(); end.Commitment() == last.Out {
				t.Errorf("byte %d of the list altered: the same end", i)
			}
		}
	}
	if solve(t, system(t, 3, ""), last, nil) == nil {
		t.Error("the last segment leads to another list's end")
	}
	first, err := chain.Start(id([]byte("another")), testRho)
	fatalIf(t, err)
	if segments[0].In = first.Commitment(); solve(t, system(t, 3, ""), segments[0], nil) == nil {
		t.Error("the first segment starts from another commit")
	}
}

// TestRealObjects cuts the objects of the test repository's commit into the segments that
// have keys, and into small ones.
func TestRealObjects(t *testing.T) {
	dir, commit := fixture.Repo(t), fixture.Commit(t, "0.1.1")
	r := realRepo(t, dir, commit)
	sizes := []int{1, 2, 3, SegmentBlocks}
	if testing.Short() {
		sizes = sizes[2:3]
	}
	for _, blocks := range sizes {
		if err := proves(t, r.split(t, blocks), r.commit, r.list, ""); err != nil {
			t.Errorf("segments of %d blocks: %v", blocks, err)
		}
	}
}

// realRepo reads a commit and all its trees with git, and lists every entry.
func realRepo(t testing.TB, dir string, commit [20]byte) repo {
	t.Helper()
	git := func(args ...string) []byte {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
		fatalIf(t, err)
		return out
	}
	r := repo{commit: commit}
	queue := []string{fmt.Sprintf("%x", commit)}
	kind := "commit"
	for len(queue) > 0 {
		content := git("cat-file", kind, queue[0])
		queue = queue[1:]
		o := Object{Data: encode(kind, content), Listed: make(map[string]bool)}
		r.list = append(r.list, kind[0])
		if kind == "commit" {
			queue, kind = append(queue, string(content[5:45])), "tree"
		} else {
			for len(content) > 0 {
				head, rest, _ := bytes.Cut(content, []byte{0})
				mode, name, _ := bytes.Cut(head, []byte{' '})
				o.Listed[string(name)] = true
				r.list = append(append(r.list, head...), 0)
				if string(mode) == "40000" {
					queue = append(queue, fmt.Sprintf("%x", rest[:20]))
				} else {
					r.list = append(r.list, rest[:20]...)
				}
				content = rest[20:]
			}
		}
		r.objects = append(r.objects, o)
	}
	return r
}

// TestCommitmentsDoNotDependOnTheChallenge: what a segment commits to before Rho is the same
// for any Rho, commit and blinds, and it is all that may be: every private input but three of
// the opening and the blind, and all that hints return but the challenge.
func TestCommitmentsDoNotDependOnTheChallenge(t *testing.T) {
	const blocks = 3
	r := example()
	s := r.split(t, blocks)
	sys := system(t, blocks, "")
	info := sys.CommitmentInfo.(constraint.Groth16Commitments)[0]
	if want := []int{1, 2, 3}; !slices.Equal(info.PublicAndCommitmentCommitted, want) {
		t.Errorf("the challenge hashes the public inputs %v, want %v", info.PublicAndCommitmentCommitted, want)
	}
	committed := func(seg *Segment) (out []string) {
		w, err := frontend.NewWitness(seg, field)
		fatalIf(t, err)
		reached := false
		record := func(m *big.Int, in, o []*big.Int) error {
			reached = true
			for _, v := range in[1+len(info.PublicAndCommitmentCommitted):] {
				out = append(out, v.String())
			}
			return hashOfCommitted(m, in, o)
		}
		fatalIf(t, sys.IsSolved(w, solver.WithHints(Hints()...),
			solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder), record)))
		if !reached {
			t.Fatal("the solver stopped before the commitment")
		}
		return out
	}
	a, _ := s.assign(t, r.commit, testRho)
	var other fr.Element
	other.SetUint64(1 << 62).Square(&other).Square(&other)
	b, _ := s.assign(t, r.commit, other)
	for i := range a {
		// The last value is the mask, which is random.
		x, y := committed(a[i]), committed(b[i])
		if !slices.Equal(x[:len(x)-1], y[:len(y)-1]) {
			t.Errorf("segment %d commits to something else at another challenge", i)
		}
	}
	in := make(map[int]bool)
	for _, wire := range info.PrivateCommitted {
		in[wire] = true
	}
	var free []string
	for i := range sys.GetNbSecretVariables() {
		if !in[sys.GetNbPublicVariables()+i] {
			free = append(free, sys.Secret[i])
		}
	}
	if want := []string{"Before_References", "Before_List", "Before_Blind", "Blind"}; !slices.Equal(free, want) {
		t.Errorf("not committed to: %v, want %v", free, want)
	}
	hints := 0
	for _, inst := range sys.Instructions {
		bp, ok := sys.Blueprints[inst.BlueprintID].(*constraint.BlueprintGenericHint)
		if !ok {
			continue
		}
		var h constraint.HintMapping
		bp.DecompressHint(&h, inst.Unpack(&sys.System))
		if h.HintID == solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder) {
			continue
		}
		for wire := h.OutputRange.Start; wire < h.OutputRange.End; wire++ {
			if hints++; !in[int(wire)] {
				t.Fatalf("hint %d: wire %d is not committed to", h.HintID, wire)
			}
		}
	}
	if hints < blocks*1000 {
		t.Errorf("only %d hinted wires were found", hints)
	}
}

// TestStatesAreStrict: no state for the wrong number of blinds, none at a pole.
func TestStatesAreStrict(t *testing.T) {
	r := example()
	s := r.split(t, 3)
	if _, err := s.States(r.commit, testRho, make([]fr.Element, s.Segments())); err == nil {
		t.Error("one blind too many is accepted")
	}
	for what, v := range map[string]*big.Int{
		"the commit": new(big.Int).SetBytes(r.commit[:]), "a listed byte": big.NewInt('c'),
	} {
		var rho fr.Element
		rho.SetBigInt(v)
		if _, err := s.States(r.commit, rho, make([]fr.Element, s.Segments()-1)); err == nil {
			t.Errorf("a challenge that equals %s is accepted", what)
		}
	}
	for what, f := range map[string]func() error{
		"no object": func() error { _, err := Split(3, nil); return err },
		"no block":  func() error { _, err := Split(0, r.objects); return err },
		"a blob":    func() error { _, err := Split(3, []Object{{Data: encode("blob", []byte("x"))}}); return err },
		"an object cut short": func() error {
			_, err := Split(3, []Object{{Data: r.objects[1].Data[:20]}})
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s is split", what)
		}
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
