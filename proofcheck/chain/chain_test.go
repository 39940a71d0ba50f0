package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

func TestEveryFieldOfAStateIsCommittedTo(t *testing.T) {
	base := State{Ended: true, Objects: 3, Listed: 2, Children: 2, Ahead: new([IDSize]byte)}
	seen := map[fr.Element]string{base.Commitment(): "the state itself"}
	one := fr.One()
	for name, change := range map[string]func(s *State){
		"chaining value, first byte": func(s *State) { s.H[0]++ },
		"chaining value, last byte":  func(s *State) { s.H[IDSize-1]++ },
		"automaton":                  func(s *State) { s.Automaton++ },
		"ended":                      func(s *State) { s.Ended = false },
		"objects":                    func(s *State) { s.Objects++ },
		"objects, high":              func(s *State) { s.Objects += 1 << 32 },
		"length":                     func(s *State) { s.Length++ },
		"blocks":                     func(s *State) { s.Blocks++ },
		"listed":                     func(s *State) { s.Listed++ },
		"children":                   func(s *State) { s.Children++ },
		"nothing ahead":              func(s *State) { s.Ahead = nil },
		"another byte ahead":         func(s *State) { s.Ahead = &[IDSize]byte{IDSize - 1: 1} },
		"references":                 func(s *State) { s.References = one },
		"list":                       func(s *State) { s.List = one },
		"blind":                      func(s *State) { s.Blind = one },
		"objects and blocks change":  func(s *State) { s.Objects, s.Blocks = s.Blocks, s.Objects },
	} {
		s := base
		change(&s)
		c := s.Commitment()
		if other, ok := seen[c]; ok {
			t.Errorf("%s has the commitment of %s", name, other)
		}
		seen[c] = name
	}
	if Label.BitLen() >= 254 || Label.Sign() <= 0 {
		t.Error("the label is no field element")
	}
}

// TestTheEndsOfAChain writes down both ends.
func TestTheEndsOfAChain(t *testing.T) {
	var rho fr.Element
	rho.MustSetRandom()
	commit := [IDSize]byte{1, 2, 3}
	start, err := Start(commit, rho)
	if err != nil {
		t.Fatal(err)
	}
	want := fraction(rho, new(big.Int).SetBytes(commit[:]))
	if start != (State{Ended: true, References: want}) {
		t.Errorf("the start: %+v", start)
	}
	list := []byte("ctt")
	end, err := EndOf(list, rho)
	if err != nil {
		t.Fatal(err)
	}
	var sum fr.Element
	for i, b := range list {
		f := fraction(rho, big.NewInt(int64(b)+256*int64(i)))
		sum.Add(&sum, &f)
	}
	if end != (End{Objects: 3, ListBytes: 3, List: sum}) {
		t.Errorf("the end: %+v", end)
	}
	s := end.State()
	if *s.Ahead != [IDSize]byte{} {
		t.Error("something is ahead of the end")
	}
	s.Ahead = nil
	if s != (State{Ended: true, Objects: 3, Listed: 3, Children: 2, List: sum}) {
		t.Errorf("the last state: %+v", s)
	}
}

// fraction is 1 / (rho - x).
func fraction(rho fr.Element, x *big.Int) (f fr.Element) {
	f.SetBigInt(x)
	f.Sub(&rho, &f)
	return *f.Inverse(&f)
}

// TestATermThatEqualsTheChallengeIsRefused: gnark-crypto inverts zero to zero, without a word.
func TestATermThatEqualsTheChallengeIsRefused(t *testing.T) {
	commit := [IDSize]byte{IDSize - 2: 1, IDSize - 1: 2}
	if _, err := Start(commit, fr.NewElement(258)); err == nil {
		t.Error("a commit that is the challenge")
	}
	if _, err := Start(commit, fr.NewElement(259)); err != nil {
		t.Error(err)
	}
	list := []byte("ct")
	for rho, refused := range map[uint64]bool{'c': true, 't': false, 't' + 256: true, 'c' + 256: false} {
		if _, err := Sum(list, fr.NewElement(rho)); (err != nil) != refused {
			t.Errorf("rho %d: %v", rho, err)
		}
		if _, err := EndOf(list, fr.NewElement(rho)); (err != nil) != refused {
			t.Errorf("rho %d: %v", rho, err)
		}
	}
}

func TestTheSumIsOfBytesAtTheirPlaces(t *testing.T) {
	var rho fr.Element
	rho.MustSetRandom()
	seen := map[fr.Element]string{}
	for _, list := range []string{"", "c", "t", "ct", "tc", "ct\x00", "\x00ct", "ctt", "cct", strings.Repeat("t", 300)} {
		sum, err := Sum([]byte(list), rho)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[sum]; ok {
			t.Errorf("%q has the sum of %q", list, other)
		}
		seen[sum] = list
	}
}

// grammar is that of a list, each byte a rune of its own.
var grammar = regexp.MustCompile(`(?s)^ct(c|t|(40000|160000) [^\x00]+\x00|(100644|100755|120000) [^\x00]+\x00.{20})*$`)

func inGrammar(list []byte) bool {
	runes := make([]rune, len(list))
	for i, b := range list {
		runes[i] = rune(b)
	}
	return grammar.MatchString(string(runes))
}

var id = strings.Repeat("\xff", IDSize)

var lists = map[string]int{ // and how many objects they tell; 0: malformed
	"ct":                                    2,
	"ctctt":                                 5,
	"ct40000 a\x00t100644 f\x00" + id:       3,
	"ct100755 a b \x00" + id + "c":          3,
	"ct160000 sub\x00ct":                    4,
	"ct120000 \n\x00" + id + "40000 x\x00t": 3,
	"ct100644 c\x00" + strings.Repeat("t", 20): 2,
	"":                                    0,
	"c":                                   0,
	"t":                                   0,
	"tc":                                  0,
	"tct":                                 0,
	"cc":                                  0,
	"40000 a\x00ct":                       0,
	"c40000 a\x00t":                       0,
	"ct40000 \x00t":                       0,
	"ct40000 a":                           0,
	"ct40000":                             0,
	"ct40000\x00a b\x00":                  0,
	"ct040000 a\x00t":                     0,
	"ct100644 f\x00" + id[:IDSize-1]:      0,
	"ct100644 f\x00" + id + "x":           0,
	"ct100664 f\x00" + id:                 0,
	"ct 40000 a\x00":                      0,
	"ct\x00":                              0,
	"ct100644\tf\x00" + id:                0,
	"ct" + strings.Repeat("t", MaxList):   0,
	"ct" + strings.Repeat("t", MaxList-2): MaxList,
	"ct40000 " + strings.Repeat("a", MaxList+1): 0,
}

func TestObjectsReadsTheGrammarOfAList(t *testing.T) {
	for list, want := range lists {
		n, err := Objects([]byte(list))
		if n != want || (err != nil) != (want == 0) {
			t.Errorf("%.40q: %d, %v", list, n, err)
		}
		if len(list) <= MaxList && inGrammar([]byte(list)) != (want != 0) {
			t.Errorf("%.40q: the grammar says otherwise", list)
		}
		if _, err := EndOf([]byte(list), fr.NewElement(1<<63)); (err != nil) != (want == 0) {
			t.Errorf("%.40q: the end: %v", list, err)
		}
	}
}

func FuzzObjects(f *testing.F) {
	for list := range lists {
		if len(list) < 1000 {
			f.Add([]byte(list))
		}
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		n, err := Objects(list)
		switch {
		case len(list) <= MaxList && (err == nil) != inGrammar(list):
			t.Fatalf("%q: %d, %v", list, n, err)
		case err == nil && (n < 2 || n > len(list)):
			t.Fatalf("%q: %d objects", list, n)
		case err != nil && n != 0:
			t.Fatalf("%q: %d objects and an error", list, n)
		}
	})
}

// TestRhoIsTheHashOfTheStatementAndAllCommitments writes the formula down once more, and changes
// all that goes in.
func TestRhoIsTheHashOfTheStatementAndAllCommitments(t *testing.T) {
	_, _, g, _ := bn254.Generators()
	var h, inf bn254.G1Affine
	h.Double(&g)
	type input struct {
		program, context [32]byte
		commit           [IDSize]byte
		commitments      []bn254.G1Affine
	}
	base := input{[32]byte{1}, [32]byte{2}, [IDSize]byte{3}, []bn254.G1Affine{g, h}}
	rho := func(i input) fr.Element { return Rho(i.program, i.commit, i.context, i.commitments) }

	var b bytes.Buffer
	b.WriteString("cratelog/segments/v1\n")
	b.Write(base.program[:])
	b.Write(base.commit[:])
	b.Write(base.context[:])
	binary.Write(&b, binary.BigEndian, uint32(2))
	for _, p := range base.commitments {
		c := p.Bytes()
		b.Write(c[:])
	}
	sum := sha256.Sum256(b.Bytes())
	want, err := fr.Hash(sum[:], []byte("cratelog/segments/rho"), 1)
	if err != nil || rho(base) != want[0] {
		t.Errorf("rho is not what the formats say: %v", err)
	}
	seen := map[fr.Element]string{rho(base): "the base"}
	for name, change := range map[string]func(i *input){
		"program":               func(i *input) { i.program[31]++ },
		"commit":                func(i *input) { i.commit[IDSize-1]++ },
		"context":               func(i *input) { i.context[0]++ },
		"program and context":   func(i *input) { i.program, i.context = i.context, i.program },
		"order":                 func(i *input) { i.commitments = []bn254.G1Affine{h, g} },
		"a commitment more":     func(i *input) { i.commitments = []bn254.G1Affine{g, h, h} },
		"a commitment less":     func(i *input) { i.commitments = []bn254.G1Affine{g} },
		"none":                  func(i *input) { i.commitments = nil },
		"another commitment":    func(i *input) { i.commitments = []bn254.G1Affine{g, g} },
		"the opposite":          func(i *input) { i.commitments = []bn254.G1Affine{g, *new(bn254.G1Affine).Neg(&h)} },
		"commitment of nothing": func(i *input) { i.commitments = []bn254.G1Affine{g, inf} },
	} {
		i := base
		change(&i)
		if other, ok := seen[rho(i)]; ok {
			t.Errorf("%s: the challenge of %s", name, other)
		}
		seen[rho(i)] = name
	}
}

// TestTheLanesOfAStateStandAsWritten, and the permutation is the one that the keys are for: another
// version of gnark-crypto could bring other constants.
func TestTheLanesOfAStateStandAsWritten(t *testing.T) {
	s := State{H: [IDSize]byte{1}, Automaton: 2, Objects: 3, Length: 4, Blocks: 5, Listed: 6, Children: 7,
		Ahead: &[IDSize]byte{IDSize - 1: 8}, References: fr.NewElement(9), List: fr.NewElement(10), Blind: fr.NewElement(11)}
	lanes := make([]fr.Element, Width)
	lanes[0].SetBigInt(new(big.Int).Lsh(big.NewInt(1), 8*(IDSize-1)))
	for i, v := range []uint64{2, 0, 3, 4, 5, 6, 7, 8, 9, 10, 11} {
		lanes[1+i].SetUint64(v)
	}
	lanes[15].SetBytes([]byte("cratelog/segment-state/v1"))
	if err := permutation().Permutation(lanes); err != nil {
		t.Fatal(err)
	}
	if got := s.Commitment(); got != lanes[0] {
		t.Error("the lanes stand in another order")
	}
	const golden = "2383886007822175993336579125796960847761071233232353778947031646825814930832"
	if lanes[0].String() != golden {
		t.Errorf("the permutation is another one: %s", lanes[0].String())
	}
}
