package circuit

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark/constraint/solver"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/permutation/poseidon2"
)

// argument is one logarithmic-derivative argument (Haboeck, eprint 2022/1530) over
// all lookups of a circuit, and over its share of multiset equalities that many
// circuits hold together. Beside what gnark's std/lookup offers it has tables of any
// number of constant columns, lookups under a weight, and buses; a lookup of d columns
// costs d constraints, a term of a bus one.
//
// Soundness rests on this order: every value that enters a lookup, a bus, or a
// multiplicity is determined, by constraints without challenges, by wires given to
// commit; the challenges are drawn from that commitment; only then are the fractions
// formed. So whatever a caller takes as input must be passed to commit (hint does so
// with what it returns); linear forms and products of such wires need not be.
type argument struct {
	api       frontend.API
	committed []frontend.Variable
	tables    []*table
	buses     []*bus
	err       error // of a hint
}

// table is a fixed set of rows that lookups must hit.
type table struct {
	name    string
	rows    [][]*big.Int
	queries [][]frontend.Variable // each a weight and the values
}

// bus is a sum of fractions, one for each term sent (added) or received (subtracted),
// each with a weight. A term is one field element. When the sums of all circuits that
// share a challenge add up to what a verifier expects, terms and weights do.
type bus struct {
	sent, received []busTerm
}

type busTerm struct {
	value, weight frontend.Variable
}

func newArgument(api frontend.API) *argument { return &argument{api: api} }

// commit adds wires to the commitment from which the challenges are drawn.
func (a *argument) commit(v ...frontend.Variable) { a.committed = append(a.committed, v...) }

// hint returns n wires for which f proposes values. They are committed to.
func (a *argument) hint(f solver.Hint, n int, in ...frontend.Variable) []frontend.Variable {
	out, err := a.api.NewHint(f, n, in...)
	if err != nil {
		a.err = errors.Join(a.err, err) // finish returns it
		out = make([]frontend.Variable, n)
		for i := range out {
			out[i] = 0
		}
		return out
	}
	a.commit(out...)
	return out
}

func (a *argument) newTable(name string, rows [][]*big.Int) *table {
	t := &table{name: name, rows: rows}
	a.tables = append(a.tables, t)
	return t
}

func (a *argument) newBus() *bus {
	b := &bus{}
	a.buses = append(a.buses, b)
	return b
}

// rows are those of a table: for x from 0 to n-1 what row returns.
func rows(n int64, row func(x int64) []int64) [][]*big.Int {
	out := make([][]*big.Int, n)
	for x := range out {
		for _, v := range row(int64(x)) {
			out[x] = append(out[x], big.NewInt(v))
		}
	}
	return out
}

// assertRow constrains (v0, v1, ...) to be a row of t.
func (t *table) assertRow(v ...frontend.Variable) { t.assertRowIf(1, v...) }

// assertRowIf constrains (v0, v1, ...) to be a row of t when weight is not zero.
func (t *table) assertRowIf(weight frontend.Variable, v ...frontend.Variable) {
	if len(v) != len(t.rows[0]) {
		panic("circuit: lookup of the wrong width in table " + t.name)
	}
	t.queries = append(t.queries, append([]frontend.Variable{weight}, v...))
}

func (b *bus) send(value, weight frontend.Variable) {
	b.sent = append(b.sent, busTerm{value, weight})
}

func (b *bus) receive(value, weight frontend.Variable) {
	b.received = append(b.received, busTerm{value, weight})
}

// The permutation that makes the second challenge out of the first: Poseidon2 (eprint
// 2023/323) of width 2 with what the authors' script asks for with its margin.
const (
	challengeFullRounds    = 8
	challengePartialRounds = 56
)

// finish draws the challenges and adds the constraints of all tables. It must be called
// once, after every wire that any of them uses exists. It returns for each bus the sum of
// what was sent less the sum of what was received, as fractions at the point rho. Rho must
// be drawn after the commitments of all circuits whose sums are put together.
func (a *argument) finish(rho frontend.Variable) ([]frontend.Variable, error) {
	mult := make([][]frontend.Variable, len(a.tables))
	for i, t := range a.tables {
		mult[i] = a.multiplicities(t)
	}
	if a.err != nil {
		return nil, fmt.Errorf("circuit: hint: %w", a.err)
	}
	committer, ok := a.api.(frontend.Committer)
	inverter, ok2 := a.api.(frontend.BatchInverter)
	if !ok || !ok2 {
		return nil, errors.New("circuit: the compiler has no commitments, or no batch inversion")
	}
	alpha, err := committer.Commit(a.committed...)
	if err != nil {
		return nil, fmt.Errorf("circuit: commitment: %w", err)
	}
	// A second challenge, independent of the first when Poseidon2 is read as a
	// random function: the columns of a row are combined with powers of gamma.
	perm, err := poseidon2.NewPoseidon2FromParameters(a.api, 2, challengeFullRounds, challengePartialRounds)
	if err != nil {
		return nil, fmt.Errorf("circuit: poseidon2: %w", err)
	}
	gamma := perm.Compress(alpha, challengeLabel)

	powers := []frontend.Variable{1, gamma}
	for i, t := range a.tables {
		for len(powers) < len(t.rows[0]) {
			powers = append(powers, a.api.Mul(powers[len(powers)-1], gamma))
		}
		a.assertTable(t, mult[i], inverter, alpha, gamma, powers)
	}
	sums := make([]frontend.Variable, len(a.buses))
	for i, b := range a.buses {
		sums[i] = a.api.Sub(sum(a.api, a.fractions(rho, b.sent)), sum(a.api, a.fractions(rho, b.received)))
	}
	return sums, nil
}

// challengeLabel separates the second challenge from other uses of Poseidon2:
// the ASCII bytes "cratelog/challenge/v2" read as a big-endian integer.
var challengeLabel = new(big.Int).SetBytes([]byte("cratelog/challenge/v2"))

func (a *argument) assertTable(t *table, mult []frontend.Variable, inverter frontend.BatchInverter,
	alpha, gamma frontend.Variable, powers []frontend.Variable) {
	var asked, plain []frontend.Variable
	for _, q := range t.queries {
		at := a.api.Sub(alpha, a.combine(gamma, q[1:]))
		if one, constant := a.api.Compiler().ConstantValue(q[0]); constant && one.Cmp(big.NewInt(1)) == 0 {
			plain = append(plain, at) // inverted together, which is faster to solve
		} else {
			asked = append(asked, a.api.DivUnchecked(q[0], at))
		}
	}
	asked = append(asked, inverter.BatchInvert(plain)...)
	rows := make([]frontend.Variable, len(t.rows))
	for i, r := range t.rows {
		f := frontend.Variable(r[0])
		for j := 1; j < len(r); j++ {
			f = a.api.Add(f, a.api.Mul(powers[j], r[j]))
		}
		rows[i] = a.api.DivUnchecked(mult[i], a.api.Sub(alpha, f))
	}
	a.api.AssertIsEqual(sum(a.api, asked), sum(a.api, rows))
}

// combine returns v0 + gamma*(v1 + gamma*(v2 + ...)).
func (a *argument) combine(gamma frontend.Variable, v []frontend.Variable) frontend.Variable {
	acc := v[len(v)-1]
	for i := len(v) - 2; i >= 0; i-- {
		acc = a.api.Add(v[i], a.api.Mul(gamma, acc))
	}
	return acc
}

func (a *argument) fractions(at frontend.Variable, terms []busTerm) []frontend.Variable {
	out := make([]frontend.Variable, len(terms))
	for i, t := range terms {
		out[i] = a.api.DivUnchecked(t.weight, a.api.Sub(at, t.value))
	}
	return out
}

func sum(api frontend.API, v []frontend.Variable) frontend.Variable {
	switch len(v) {
	case 0:
		return 0
	case 1:
		return v[0]
	}
	return api.Add(v[0], v[1], v[2:]...)
}

// multiplicities hints how often each row is looked up. The hint is a rumour:
// assertTable holds only for the true numbers.
func (a *argument) multiplicities(t *table) []frontend.Variable {
	width := len(t.rows[0])
	in := make([]frontend.Variable, 0, 2+len(t.rows)*width+len(t.queries)*(width+1))
	in = append(in, width, len(t.rows))
	for _, r := range t.rows {
		for _, v := range r {
			in = append(in, v)
		}
	}
	for _, q := range t.queries {
		in = append(in, q...)
	}
	return a.hint(multiplicityHint, len(t.rows), in...)
}
