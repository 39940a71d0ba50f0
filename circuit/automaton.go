package circuit

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/consensys/gnark/frontend"

	"cratelog/proofcheck/chain"
)

// Byte classes: a byte's place here, or classOther. The sixteen lower-case hexadecimal
// digits have their value as class, so that a class is also the nibble of a hex character.
const classed = "0123456789abcdef\x00 /\nomitr\x80"

const (
	classNUL   = 16
	classSpace = 17
	classSlash = 18
	classLF    = 19
	class80    = 25
	classOther = len(classed)
	numClasses = classOther + 1

	classRadix = 32 // a state and a class are packed as state*classRadix + class
)

func classOf(b byte) int {
	if i := strings.IndexByte(classed, b); i >= 0 {
		return i
	}
	return classOther
}

// byteTable is the table (byte, spread(byte), class): one lookup checks that a
// wire is a byte, spreads it for SHA-1 and classifies it for the automaton.
type byteTable struct {
	a *argument
	t *table
}

func newByteTable(a *argument) *byteTable {
	return &byteTable{a, a.newTable("byte", rows(256, func(b int64) []int64 {
		return []int64{b, spread(b, scheduleBase), int64(classOf(byte(b)))}
	}))}
}

// read checks wires to be bytes and returns their spreads and classes.
func (t *byteTable) read(b []frontend.Variable) (spreads, classes []frontend.Variable) {
	t.a.commit(b...)
	for i := range b {
		v := t.a.hint(byteHint, 2, b[i])
		t.t.assertRow(b[i], v[0], v[1])
		spreads, classes = append(spreads, v[0]), append(classes, v[1])
	}
	return spreads, classes
}

// words checks 64 wires to be bytes and returns them as SHA-1 reads them, and their classes.
func (t *byteTable) words(b []frontend.Variable) (w [16]scheduleWord, classes []frontend.Variable) {
	spreads, classes := t.read(b)
	for i := range w {
		w[i] = scheduleWord{
			dense:  integer(t.a.api, b[4*i:4*i+4], big.NewInt(1<<8)),
			spread: integer(t.a.api, spreads[4*i:4*i+4], pow(scheduleBase, 8)),
		}
	}
	return w, classes
}

// integer returns the number that has the given digits in a base, the first the highest.
func integer(api frontend.API, digits []frontend.Variable, base *big.Int) frontend.Variable {
	v, weight := make([]frontend.Variable, len(digits)), big.NewInt(1)
	for i := len(digits) - 1; i >= 0; i-- {
		v[i] = api.Mul(digits[i], weight)
		weight = new(big.Int).Mul(weight, base)
	}
	return sum(api, v)
}

// state is a state of the automaton that reads the object stream.
type state int

// rule is one allowed step: in state from, on a byte of the class, go to state to.
type rule struct {
	from  state
	class int
	to    state
	list  bool // the byte belongs to the list L
	child bool // the 20 bytes that follow name a child object
}

// automaton reads git objects as they are hashed: the header, the content of a
// commit or a tree, the zeros of the padding. It is nondeterministic in three
// places, where the prover chooses and other constraints decide whether the
// choice was right: whether a tree entry is listed (the list does), and where a
// commit's text or a tree ends (the length does).
//
// The states and what may follow:
//
//	idle     anything, for ever: unused blocks, and the length field of a last block
//	start    "commit " digits NUL commit | "tree " digits NUL tree
//	digits   canonical decimal, 1 to 6 digits, no leading zero
//	commit   "tree " 40 hex digits LF, then free bytes, then the padding
//	tree     entries, then the padding
//	entry    MODE SP NAME NUL ID; listed or not; a listed one is a child if its mode
//	         starts with 4 (directory) or 16 (gitlink), else a file
//	padding  0x80, then at most 63 zeros, counted by the state
type automaton struct {
	rules []rule
	// States that constraints outside the table speak of.
	start    state
	tree     state // at an entry boundary; first reached at the end of a tree's header
	commit   state // at the end of a commit's header
	pad0     state // after 0x80; pad0+n is n zeros later
	freeText state
	next     map[[2]int][]rule // by (state, class)
	states   int
}

const idle state = 0

const (
	maxDigits = 6  // of an object's length
	padStates = 64 // after 0x80 and at most 63 zeros
	idBytes   = chain.IDSize
	hexDigits = 40
)

func newAutomaton() *automaton {
	m := &automaton{next: map[[2]int][]rule{}, states: 1}
	m.idleRules()
	m.start = m.add()
	m.commit, m.tree, m.pad0 = m.add(), m.add(), m.addN(padStates)
	m.header("commit ", m.commit)
	m.header("tree ", m.tree)
	m.commitRules()
	m.treeRules()
	m.padRules()
	return m
}

func (m *automaton) add() state { return m.addN(1) }

func (m *automaton) addN(n int) state {
	s := state(m.states)
	m.states += n
	return s
}

func (m *automaton) rule(r rule) {
	k := [2]int{int(r.from), r.class}
	m.next[k] = append(m.next[k], r)
	m.rules = append(m.rules, r)
}

// classes calls f for every class but those named.
func classes(f func(class int), but ...int) {
next:
	for c := range numClasses {
		for _, b := range but {
			if b == c {
				continue next
			}
		}
		f(c)
	}
}

func (m *automaton) idleRules() {
	classes(func(c int) { m.rule(rule{from: idle, class: c, to: idle}) })
}

// word adds a word whose first byte may be listed, and returns the state after it.
func (m *automaton) word(at state, word string, list bool) state {
	for i := range len(word) {
		to := m.add()
		m.rule(rule{from: at, class: classOf(word[i]), to: to, list: list && i == 0})
		at = to
	}
	return at
}

// header adds the type word and the length; the first byte of an object is listed.
func (m *automaton) header(word string, body state) {
	at := m.word(m.start, word, true)
	for n := range maxDigits {
		to := m.add()
		for d := range 10 {
			if n == 0 && d == 0 {
				continue // a canonical length has no leading zero, and none is empty
			}
			m.rule(rule{from: at, class: d, to: to})
		}
		at = to
		m.rule(rule{from: at, class: classNUL, to: body})
	}
}

func (m *automaton) commitRules() {
	at := m.word(m.commit, "tree ", false)
	for range hexDigits {
		to := m.add()
		for d := range 16 {
			m.rule(rule{from: at, class: d, to: to})
		}
		at = to
	}
	m.freeText = m.add()
	m.rule(rule{from: at, class: classLF, to: m.freeText})
	classes(func(c int) { m.rule(rule{from: m.freeText, class: c, to: m.freeText}) })
	m.rule(rule{from: m.freeText, class: class80, to: m.pad0})
}

func (m *automaton) treeRules() {
	m.rule(rule{from: m.tree, class: class80, to: m.pad0})

	// An entry that is not listed.
	ids := m.idRules(false)
	mode, name := m.add(), m.add()
	m.rule(rule{from: m.tree, class: 1, to: mode})
	m.rule(rule{from: m.tree, class: 4, to: mode})
	for d := range 8 {
		m.rule(rule{from: mode, class: d, to: mode})
	}
	m.rule(rule{from: mode, class: classSpace, to: name})
	m.nameRules(name, rule{to: ids})

	// A listed entry: its mode tells a child from a file.
	one, file, child := m.add(), m.add(), m.add()
	m.rule(rule{from: m.tree, class: 1, to: one, list: true})
	m.rule(rule{from: m.tree, class: 4, to: child, list: true})
	m.rule(rule{from: one, class: 6, to: child, list: true})
	for d := range 8 {
		if d != 6 {
			m.rule(rule{from: one, class: d, to: file, list: true})
		}
		m.rule(rule{from: file, class: d, to: file, list: true})
		m.rule(rule{from: child, class: d, to: child, list: true})
	}
	fileName, childName := m.add(), m.add()
	m.rule(rule{from: file, class: classSpace, to: fileName, list: true})
	m.rule(rule{from: child, class: classSpace, to: childName, list: true})
	m.nameRules(fileName, rule{to: m.idRules(true), list: true})
	m.nameRules(childName, rule{to: ids, list: true, child: true})
}

// nameRules adds a name of one byte or more that holds neither NUL nor '/', and
// the NUL after it, which does as end says.
func (m *automaton) nameRules(first state, end rule) {
	rest := m.add()
	classes(func(c int) {
		m.rule(rule{from: first, class: c, to: rest, list: end.list})
		m.rule(rule{from: rest, class: c, to: rest, list: end.list})
	}, classNUL, classSlash)
	end.from, end.class = rest, classNUL
	m.rule(end)
}

// idRules adds 20 free bytes and returns the state before them.
func (m *automaton) idRules(list bool) state {
	first := m.addN(idBytes)
	for i := range idBytes {
		from, to := first+state(i), first+state(i)+1
		if i == idBytes-1 {
			to = m.tree
		}
		classes(func(c int) { m.rule(rule{from: from, class: c, to: to, list: list}) })
	}
	return first
}

func (m *automaton) padRules() {
	for i := range padStates - 1 {
		m.rule(rule{from: m.pad0 + state(i), class: classNUL, to: m.pad0 + state(i) + 1})
	}
}

func (m *automaton) table(a *argument) *table {
	return a.newTable("automaton", rows(int64(len(m.rules)), func(i int64) []int64 {
		r := m.rules[i]
		return []int64{int64(r.from)*classRadix + int64(r.class), int64(r.to), bit(r.list), bit(r.child)}
	}))
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// step returns the rule for a byte in a state that satisfies want.
func (m *automaton) step(s state, b byte, want func(rule) bool) (rule, error) {
	for _, r := range m.next[[2]int{int(s), classOf(b)}] {
		if want(r) {
			return r, nil
		}
	}
	return rule{}, fmt.Errorf("byte %#02x is not allowed in state %d", b, s)
}
