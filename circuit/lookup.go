package circuit

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/permutation/poseidon2"
)

// argument is one logarithmic-derivative argument (Haboeck, eprint 2022/1530) over
// all lookups and multiset equalities of a circuit. Beside what gnark's std/lookup
// offers it has tables of any number of constant columns, lookups under a weight,
// and multiset equalities; a lookup of d columns costs d constraints.
//
// Soundness rests on this order: every value that enters a lookup, a bus, or a
// multiplicity is determined, by constraints without challenges, by wires given to
// commit; the challenges are drawn from that commitment; only then are the fractions
// formed. So whatever a caller makes by hint or takes as input must be passed to
// commit; linear forms and products of such wires need not be.
type argument struct {
	api       frontend.API
	committed []frontend.Variable
	tables    []*table
	buses     []*bus
}

// table is a fixed set of rows that lookups must hit.
type table struct {
	name    string
	rows    [][]*big.Int
	queries [][]frontend.Variable
}

// bus is a multiset equality between the terms sent and the terms received, each
// with a weight. A term is one field element.
type bus struct {
	name           string
	sent, received []busTerm
}

type busTerm struct {
	value, weight frontend.Variable
}

func newArgument(api frontend.API) *argument { return &argument{api: api} }

// commit adds wires to the commitment from which the challenges are drawn.
func (a *argument) commit(v ...frontend.Variable) { a.committed = append(a.committed, v...) }

func (a *argument) newTable(name string, rows [][]int64) *table {
	t := &table{name: name, rows: make([][]*big.Int, len(rows))}
	for i, r := range rows {
		t.rows[i] = make([]*big.Int, len(r))
		for j, v := range r {
			t.rows[i][j] = big.NewInt(v)
		}
	}
	a.tables = append(a.tables, t)
	return t
}

func (a *argument) newBus(name string) *bus {
	b := &bus{name: name}
	a.buses = append(a.buses, b)
	return b
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

// finish draws the challenges and adds the constraints of all tables and buses.
// It must be called once, after every wire that any of them uses exists.
func (a *argument) finish() error {
	mult := make([][]frontend.Variable, len(a.tables))
	for i, t := range a.tables {
		m, err := a.multiplicities(t)
		if err != nil {
			return err
		}
		mult[i] = m
		a.commit(m...)
	}
	committer, ok := a.api.(frontend.Committer)
	if !ok {
		return errors.New("circuit: the proof system gives no commitments")
	}
	alpha, err := committer.Commit(a.committed...)
	if err != nil {
		return fmt.Errorf("circuit: commitment: %w", err)
	}
	// A second challenge, independent of the first when Poseidon2 is read as a
	// random function: the columns of a row are combined with powers of gamma.
	perm, err := poseidon2.NewPoseidon2(a.api)
	if err != nil {
		return fmt.Errorf("circuit: poseidon2: %w", err)
	}
	gamma := perm.Compress(alpha, challengeLabel)

	powers := []frontend.Variable{1, gamma}
	for i, t := range a.tables {
		for len(powers) < len(t.rows[0]) {
			powers = append(powers, a.api.Mul(powers[len(powers)-1], gamma))
		}
		a.assertTable(t, mult[i], alpha, gamma, powers)
	}
	for _, b := range a.buses {
		a.assertSumsEqual(a.fractions(alpha, b.sent), a.fractions(alpha, b.received))
	}
	return nil
}

// challengeLabel separates the second challenge from other uses of Poseidon2:
// the ASCII bytes "cratelog/challenge/v1" read as a big-endian integer.
var challengeLabel = new(big.Int).SetBytes([]byte("cratelog/challenge/v1"))

func (a *argument) assertTable(t *table, mult []frontend.Variable, alpha, gamma frontend.Variable, powers []frontend.Variable) {
	queries := make([]frontend.Variable, len(t.queries))
	for i, q := range t.queries {
		queries[i] = a.api.DivUnchecked(q[0], a.api.Sub(alpha, a.combine(gamma, q[1:])))
	}
	rows := make([]frontend.Variable, len(t.rows))
	for i, r := range t.rows {
		f := frontend.Variable(r[0])
		for j := 1; j < len(r); j++ {
			f = a.api.Add(f, a.api.Mul(powers[j], r[j]))
		}
		rows[i] = a.api.DivUnchecked(mult[i], a.api.Sub(alpha, f))
	}
	a.assertSumsEqual(queries, rows)
}

// combine returns v0 + gamma*(v1 + gamma*(v2 + ...)).
func (a *argument) combine(gamma frontend.Variable, v []frontend.Variable) frontend.Variable {
	acc := v[len(v)-1]
	for i := len(v) - 2; i >= 0; i-- {
		acc = a.api.Add(v[i], a.api.Mul(gamma, acc))
	}
	return acc
}

func (a *argument) fractions(alpha frontend.Variable, terms []busTerm) []frontend.Variable {
	out := make([]frontend.Variable, len(terms))
	for i, t := range terms {
		out[i] = a.api.DivUnchecked(t.weight, a.api.Sub(alpha, t.value))
	}
	return out
}

func (a *argument) assertSumsEqual(l, r []frontend.Variable) {
	a.api.AssertIsEqual(sum(a.api, l), sum(a.api, r))
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
func (a *argument) multiplicities(t *table) ([]frontend.Variable, error) {
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
	m, err := a.api.NewHint(multiplicityHint, len(t.rows), in...)
	if err != nil {
		return nil, fmt.Errorf("circuit: multiplicities of %s: %w", t.name, err)
	}
	return m, nil
}

func multiplicityHint(_ *big.Int, in, out []*big.Int) error {
	width, rows := int(in[0].Int64()), int(in[1].Int64())
	in = in[2:]
	key := func(v []*big.Int) string {
		if len(v) == 1 && v[0].IsUint64() {
			return string(v[0].Bytes())
		}
		b := make([]byte, 0, 16*len(v))
		for _, x := range v {
			w := x.Bytes()
			b = append(append(b, byte(len(w))), w...)
		}
		return string(b)
	}
	at := make(map[string]int, rows)
	for i := range rows {
		at[key(in[i*width:(i+1)*width])] = i
		out[i].SetUint64(0)
	}
	in = in[rows*width:]
	for len(in) > 0 {
		if i, ok := at[key(in[1:width+1])]; ok {
			out[i].Add(out[i], in[0])
		}
		in = in[width+1:]
	}
	return nil
}
