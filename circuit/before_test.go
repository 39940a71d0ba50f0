package circuit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// determined says which wires of a system follow from others.
type determined struct {
	system *cs.R1CS
	rows   []constraint.R1C
	known  []bool // by wire
}

// newDetermined begins with the constant and some wires.
func newDetermined(system *cs.R1CS, wires []int) *determined {
	internal, secret, public := system.GetNbVariables()
	d := &determined{system, system.GetR1Cs(), make([]bool, internal+secret+public)}
	d.known[0] = true
	d.add(wires...)
	return d
}

// add adds wires, and those that constraints fix then: the last unknown one of a constraint that
// stands in O, or in a side whose other side is a number.
func (d *determined) add(wires ...int) {
	for _, w := range wires {
		d.known[w] = true
	}
	for before := -1; before != 0; {
		before = 0
		for _, c := range d.rows {
			l, r, o := d.unknown(c.L), d.unknown(c.R), d.unknown(c.O)
			if len(l)+len(r)+len(o) == 1 && (len(o) == 1 || len(l) == 1 && d.number(c.R) || len(r) == 1 && d.number(c.L)) {
				d.known[slices.Concat(l, r, o)[0]] = true
				before++
			}
		}
	}
}

func (d *determined) unknown(l constraint.LinearExpression) (wires []int) {
	for _, term := range l {
		if w := term.WireID(); !d.known[w] {
			wires = append(wires, w)
		}
	}
	return wires
}

// number says whether a form is a constant other than zero.
func (d *determined) number(l constraint.LinearExpression) bool {
	return len(l) == 1 && l[0].WireID() == 0 && !d.system.Coefficients[l[0].CoeffID()].IsZero()
}

// stands says whether a wire stands in a form.
func stands(l constraint.LinearExpression, wire int) bool {
	return slices.ContainsFunc(l, func(term constraint.Term) bool { return term.WireID() == wire })
}

const rhoWire = 3 // the public inputs come first, behind the constant

// fractions counts the fractions at the two challenges: constraints q (challenge - value) = weight.
// It fails if a weight, or what is no challenge in a value, does not follow from the committed wires
// alone, or if a challenge stands anywhere else.
func fractions(system *cs.R1CS, committed []int) (atAlpha, atRho int, err error) {
	alpha := system.CommitmentInfo.(constraint.Groth16Commitments)[0].CommitmentIndex
	d := newDetermined(system, committed)
	fixed := slices.Clone(d.known)
	for _, challenge := range []int{1, 2, rhoWire, alpha} {
		if fixed[challenge] {
			return 0, 0, fmt.Errorf("wire %d follows from what is committed to", challenge)
		}
	}
	d.add(alpha) // and the powers of gamma, and values times these
	late := func(l constraint.LinearExpression) bool {
		return slices.ContainsFunc(l, func(term constraint.Term) bool { return !fixed[term.WireID()] })
	}
	for i, c := range d.rows {
		if len(d.unknown(c.L))+len(d.unknown(c.R))+len(d.unknown(c.O)) == 0 {
			continue
		}
		quotient, divisor := c.L, c.R
		if len(quotient) != 1 || stands(quotient, rhoWire) || d.known[quotient[0].WireID()] {
			quotient, divisor = c.R, c.L
		}
		isQuotient := len(quotient) == 1 && len(d.unknown(quotient)) == 1 && !stands(quotient, rhoWire)
		switch unknown := d.unknown(divisor); {
		case len(c.L) == 1 && len(c.R) == 1 && stands(c.L, rhoWire) && stands(c.R, rhoWire): // it is an input
		case !stands(divisor, alpha) && !stands(divisor, rhoWire) && !stands(quotient, rhoWire):
		case !isQuotient || late(c.O):
			return 0, 0, fmt.Errorf("constraint %d has a challenge and is no fraction with a fixed weight", i)
		case stands(divisor, alpha) && len(unknown) == 0:
			atAlpha++
		case slices.Equal(unknown, []int{rhoWire}) && !late(slices.DeleteFunc(slices.Clone(divisor),
			func(term constraint.Term) bool { return term.WireID() == rhoWire })):
			atRho++
		default:
			return 0, 0, fmt.Errorf("constraint %d is a fraction of a value that is not fixed", i)
		}
	}
	return atAlpha, atRho, nil
}

// TestFractionsAreFixedBeforeTheirChallenges: what is looked up and what enters a bus, values and
// weights, follows from the committed wires by constraints without challenges. So does what the
// compiler makes of it, products and the wires of long forms.
func TestFractionsAreFixedBeforeTheirChallenges(t *testing.T) {
	const blocks = 2
	sys := system(t, blocks, "")
	committed := sys.CommitmentInfo.(constraint.Groth16Commitments)[0].PrivateCommitted
	atAlpha, atRho, err := fractions(sys, committed)
	fatalIf(t, err)
	// Of each block: every byte may be listed or refer; a commit's header refers, in one of its
	// shapes; an object ends.
	if want := blocks * (2*blockBytes + maxDigits - 2 + 1); atRho != want {
		t.Errorf("%d fractions at rho, want %d", atRho, want)
	}
	if atAlpha < blocks*2000 {
		t.Errorf("only %d fractions at alpha were found", atAlpha)
	}
	if testing.Short() {
		return
	}
	for _, free := range [][]string{{"Stream_"}, {"State_"}, {"Listed_", "ListCount_"}, {"Child_", "ChildCount_"},
		{"Header_"}, {"Last_"}, {"Before_H_"}, {"Before_Automaton"}, {"Before_Objects"},
		{"Before_Listed", "ListCount_"}, {"Before_Children", "ChildCount_"}} {
		rest := slices.DeleteFunc(slices.Clone(committed), func(w int) bool {
			i := w - sys.GetNbPublicVariables()
			return i < len(sys.Secret) && slices.ContainsFunc(free, func(prefix string) bool {
				return strings.HasPrefix(sys.Secret[i], prefix)
			})
		})
		if _, _, err := fractions(sys, rest); err == nil || len(rest) == len(committed) {
			t.Errorf("%s need not be committed to: this shows nothing", free)
		}
	}
}
