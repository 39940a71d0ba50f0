package circuit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	fcs "github.com/consensys/gnark/frontend/cs"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// TestOrientationMeansTheSame: the oriented system has the constraints that gnark made, some
// with their sides exchanged, and the wires of one witness solve both.
func TestOrientationMeansTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a circuit of its own")
	}
	const blocks = 2
	plain, err := frontend.Compile(field, r1cs.NewBuilder, newSegment(blocks), frontend.WithCompressThreshold(maxTerms))
	fatalIf(t, err)
	oriented := system(t, blocks, "")
	unordered := func(s *cs.R1CS) (all []string, turned []bool) {
		for _, c := range s.GetR1Cs() {
			l, r := fmt.Sprint(c.L), fmt.Sprint(c.R)
			turned = append(turned, l > r)
			all = append(all, fmt.Sprint(min(l, r), max(l, r), c.O))
		}
		return all, turned
	}
	a, turnedA := unordered(plain.(*cs.R1CS))
	b, turnedB := unordered(oriented)
	turned := 0
	for i := range turnedA {
		if turnedA[i] != turnedB[i] {
			turned++
		}
	}
	if turned < len(a)/4 {
		t.Errorf("%d of %d constraints were turned", turned, len(a))
	}
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		t.Error("the constraints are not the same")
	}

	r := example()
	segments, _ := r.split(t, blocks).assign(t, r.commit, testRho)
	w, err := frontend.NewWitness(segments[1], field)
	fatalIf(t, err)
	solution, err := oriented.Solve(w, solver.WithHints(Hints()...),
		solver.OverrideHint(solver.GetHintID(fcs.Bsb22CommitmentComputePlaceholder), hashOfCommitted))
	fatalIf(t, err)
	wires := solution.(*cs.R1CSSolution).W
	for _, s := range []*cs.R1CS{plain.(*cs.R1CS), oriented} {
		value := func(l constraint.LinearExpression) (v fr.Element) {
			for _, term := range l {
				var x fr.Element
				x.Mul(&s.Coefficients[term.CoeffID()], &wires[term.WireID()])
				v.Add(&v, &x)
			}
			return v
		}
		for i, c := range s.GetR1Cs() {
			l, r, o := value(c.L), value(c.R), value(c.O)
			if !l.Mul(&l, &r).Equal(&o) {
				t.Fatalf("constraint %d does not hold", i)
			}
		}
	}
}

// TestPublicInputsStandAlone: each public input is the whole left side of a constraint.
func TestPublicInputsStandAlone(t *testing.T) {
	alone := func(s *cs.R1CS) map[int]bool {
		found := make(map[int]bool)
		for _, c := range s.GetR1Cs() {
			if len(c.L) == 1 && c.L[0].WireID() >= 1 && c.L[0].WireID() < s.GetNbPublicVariables() {
				found[c.L[0].WireID()] = true
			}
		}
		return found
	}
	if found := alone(system(t, 2, "")); len(found) != 3 {
		t.Errorf("of the three public inputs only %v stand alone in a left side", found)
	}
	if found := alone(system(t, 2, groupInputs)); len(found) == 3 {
		t.Error("they do without the constraints on inputs too: those are not needed")
	}
}

// TestQuotientsStandLeft: right sides have few wires that are no committed ones.
func TestQuotientsStandLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles a circuit of its own")
	}
	count := func(s *cs.R1CS) int {
		committed := make(map[int]bool)
		for _, w := range s.CommitmentInfo.(constraint.Groth16Commitments)[0].PrivateCommitted {
			committed[w] = true
		}
		dear := make(map[int]bool)
		for _, c := range s.GetR1Cs() {
			for _, term := range c.R {
				if !committed[term.WireID()] {
					dear[term.WireID()] = true
				}
			}
		}
		return len(dear)
	}
	plain, err := frontend.Compile(field, r1cs.NewBuilder, newSegment(3), frontend.WithCompressThreshold(maxTerms))
	fatalIf(t, err)
	before, after := count(plain.(*cs.R1CS)), count(system(t, 3, ""))
	t.Logf("uncommitted wires in right sides: %d before, %d after", before, after)
	if after > before/2 {
		t.Errorf("of %d uncommitted wires in right sides %d are left", before, after)
	}
}

func TestCompilingIsDeterministic(t *testing.T) {
	again, err := Compile(2)
	fatalIf(t, err)
	if hashOf(t, again) != hashOf(t, system(t, 2, "")) {
		t.Error("two compilations differ")
	}
	if _, err := Compile(0); err == nil {
		t.Error("a segment of no blocks compiles")
	}
}
