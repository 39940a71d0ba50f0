package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"cratelog/entry"
)

// statement is what VerifyLookup, or VerifyPrefix, is asked: for a key its value, or nil, for a prefix its rows.
type statement struct {
	root   Hash
	key    Key
	value  []byte
	prefix *Prefix // nil: it is about the key
	rows   []Row
	proof  []byte
}

func (s statement) verify() error {
	if s.prefix != nil {
		return VerifyPrefix(s.root, *s.prefix, s.rows, s.proof)
	}
	return VerifyLookup(s.root, s.key, s.value, s.proof)
}

func (s statement) clone() statement {
	s.value, s.proof, s.rows = bytes.Clone(s.value), bytes.Clone(s.proof), slices.Clone(s.rows)
	for i := range s.rows {
		s.rows[i].Value = bytes.Clone(s.rows[i].Value)
	}
	return s
}

func lookupOf(s *Snapshot, k Key) statement {
	value, proof := s.Lookup(k)
	return statement{root: s.Root(), key: k, value: value, proof: proof}
}

func prefixStatement(s *Snapshot, p Prefix) statement {
	_, proof := s.Prefix(p)
	return statement{root: s.Root(), prefix: &p, rows: slices.Collect(s.Rows(p)), proof: proof}
}

// step is one inner node of a path.
type step struct {
	bit     uint64
	sibling []byte
}

// steps takes a proof apart: its leaf, if it has one, and its path.
func (s statement) steps() (leaf []byte, path []step) {
	rest := s.proof
	if s.value == nil && len(s.rows) == 0 && len(rest) > 0 {
		_, _, path, err := parseLeaf(rest)
		if err != nil {
			panic(err)
		}
		leaf, rest = rest[:len(rest)-len(path)], path
	}
	for len(rest) > 0 {
		bit, n := binary.Uvarint(rest)
		path, rest = append(path, step{bit, rest[n:][:32]}), rest[n+32:]
	}
	return leaf, path
}

func (s *statement) put(leaf []byte, path []step) {
	s.proof = bytes.Clone(leaf)
	for _, p := range path {
		s.proof = append(binary.AppendUvarint(s.proof, p.bit), p.sibling...)
	}
}

// long writes a number in one byte more than it needs.
func long(n uint64) []byte {
	b := binary.AppendUvarint(nil, n)
	b[len(b)-1] |= 0x80
	return append(b, 0)
}

// corruptions change a statement that holds so that it does not, each in one way. One that does not fit returns
// false. others are the rows of the map.
var corruptions = map[string]func(s *statement, others []Row) bool{
	"a byte behind": func(s *statement, _ []Row) bool { s.proof = append(s.proof, 0); return true },
	"an inner node behind": func(s *statement, _ []Row) bool {
		_, path := s.steps()
		if len(path) > 0 && path[len(path)-1].bit == 0 {
			return false
		}
		s.proof = append(append(s.proof, 0), make([]byte, 32)...)
		return true
	},
	"the last byte is missing": func(s *statement, _ []Row) bool {
		if len(s.proof) == 0 {
			return false
		}
		s.proof = s.proof[:len(s.proof)-1]
		return true
	},
	"no proof": func(s *statement, _ []Row) bool {
		had := len(s.proof) > 0
		s.proof = nil
		return had
	},
	"the first inner node is left out": onPath(1, func(p []step) []step { return p[1:] }),
	"the last inner node is left out":  onPath(1, func(p []step) []step { return p[:len(p)-1] }),
	"an inner node twice":              onPath(1, func(p []step) []step { return append(p[:1:1], p...) }),
	"two inner nodes exchanged":        onPath(2, func(p []step) []step { p[0], p[1] = p[1], p[0]; return p }),
	"two siblings exchanged": onPath(2, func(p []step) []step {
		p[0].sibling, p[1].sibling = p[1].sibling, p[0].sibling
		return p
	}),
	"another sibling":          onPath(1, func(p []step) []step { p[0].sibling[31] ^= 1; return p }),
	"a bit one higher":         onPath(1, func(p []step) []step { p[0].bit++; return p }),
	"a bit beyond the key":     onPath(1, func(p []step) []step { p[0].bit = keyBits; return p }),
	"a bit far beyond the key": onPath(1, func(p []step) []step { p[0].bit += 1 << 32; return p }),
	"a bit above 64 bits": func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		s.proof = append(bytes.Clone(leaf), bytes.Repeat([]byte{0xff}, 10)...)
		for _, p := range path {
			s.proof = append(s.proof, p.sibling...)
		}
		return len(path) > 0
	},
	"a bit in a byte too many": func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		if len(path) == 0 {
			return false
		}
		rest := *s
		rest.put(nil, path[1:])
		s.proof = slices.Concat(leaf, long(path[0].bit), path[0].sibling, rest.proof)
		return true
	},
	"the leaf's key length in a byte too many": onLeaf(func(leaf []byte) []byte { return append(long(KeySize), leaf[1:]...) }),
	"the leaf's value length in a byte too many": onLeaf(func(leaf []byte) []byte {
		return slices.Concat(leaf[:1+KeySize], long(uint64(leaf[1+KeySize])), leaf[2+KeySize:])
	}),
	"a leaf whose key is a byte short": onLeaf(func(leaf []byte) []byte {
		return slices.Concat([]byte{KeySize - 1}, leaf[2:])
	}),
	"a leaf whose key is a byte long": onLeaf(func(leaf []byte) []byte {
		return slices.Concat([]byte{KeySize + 1}, leaf[1:1+KeySize], []byte{0}, leaf[1+KeySize:])
	}),
	"a leaf with another value": onLeaf(func(leaf []byte) []byte { leaf[len(leaf)-1] ^= 1; return leaf }),
	"a leaf without a value":    onLeaf(func(leaf []byte) []byte { return append(leaf[:1+KeySize:1+KeySize], 0) }),
	"a leaf whose value is too large": onLeaf(func(leaf []byte) []byte {
		return slices.Concat(leaf[:1+KeySize], []byte{maxValue + 1}, make([]byte, maxValue+1))
	}),
	"a leaf whose value has no end": onLeaf(func(leaf []byte) []byte {
		return slices.Concat(leaf[:1+KeySize], bytes.Repeat([]byte{0xff}, 9), []byte{1}, leaf[2+KeySize:])
	}),
	"a leaf's hash as that of an inner node": func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		if leaf == nil {
			return false
		}
		h := sha256.Sum256(append([]byte{0}, leaf...))
		s.put(leaf, append([]step{{keyBits - 1, h[:]}}, path...))
		return true
	},
	"the leaf of another key": func(s *statement, others []Row) bool {
		leaf, path := s.steps()
		if leaf == nil || len(others) < 2 {
			return false
		}
		for _, r := range others {
			if b := appendLeaf(nil, &r.Key, r.Value); !bytes.Equal(b, leaf) {
				s.put(b, path)
				return true
			}
		}
		return false
	},
	"of another map": func(s *statement, _ []Row) bool { s.root[0] ^= 1; return true },
	"of an empty map": func(s *statement, _ []Row) bool {
		was := s.root
		s.root = emptyHash
		return was != emptyHash
	},
	"another key": func(s *statement, others []Row) bool {
		if s.prefix != nil || s.value == nil {
			return false
		}
		s.key[KeySize-1] ^= 1
		return true
	},
	"another value":      onValue(func(v []byte) []byte { v[0] ^= 1; return v }),
	"a value too large":  onValue(func([]byte) []byte { return make([]byte, maxValue+1) }),
	"a value of nothing": onValue(func([]byte) []byte { return []byte{} }),
	"a value is a byte short": onValue(func(v []byte) []byte {
		if len(v) == 1 {
			return []byte{v[0] ^ 1}
		}
		return v[:len(v)-1]
	}),
	"there, said to be absent": onValue(func([]byte) []byte { return nil }),
	"there, said to be absent, with its own leaf": func(s *statement, _ []Row) bool {
		if s.prefix != nil || s.value == nil {
			return false
		}
		s.proof, s.value = append(appendLeaf(nil, &s.key, s.value), s.proof...), nil
		return true
	},
	"absent, said to be there": func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		if s.prefix != nil || leaf == nil {
			return false
		}
		s.value = leaf[2+KeySize:]
		s.put(nil, path)
		return true
	},
	"a row short": onRows(func(r []Row) []Row { return r[:len(r)-1] }),
	"a row short, with its hash beside": func(s *statement, _ []Row) bool {
		if len(s.rows) < 2 {
			return false
		}
		_, path := s.steps()
		last := s.rows[len(s.rows)-1]
		h, bit := last.sum(), differ(&s.rows[len(s.rows)-2].Key, &last.Key)
		s.rows = s.rows[:len(s.rows)-1]
		s.put(nil, append([]step{{uint64(bit), h[:]}}, path...))
		return true
	},
	"a row over": onRows(func(r []Row) []Row {
		last := r[len(r)-1]
		last.Key[KeySize-1] ^= 1
		return slices.SortedFunc(slices.Values(append(r, last)), Row.Compare)
	}),
	"a row twice":                    onRows(func(r []Row) []Row { return append(r[:1:1], r...) }),
	"a row with another value":       onRows(func(r []Row) []Row { r[0].Value[0] ^= 1; return r }),
	"a row without a value":          onRows(func(r []Row) []Row { r[0].Value = nil; return r }),
	"a row whose value is too large": onRows(func(r []Row) []Row { r[0].Value = make([]byte, maxValue+1); return r }),
	"rows out of order": onRows(func(r []Row) []Row {
		if len(r) < 2 {
			return nil
		}
		slices.Reverse(r)
		return r
	}),
	"rows, said to be none": onRows(func([]Row) []Row { return nil }),
	"the rows of the next prefix": func(s *statement, _ []Row) bool {
		if len(s.rows) == 0 || s.prefix.bits == 0 {
			return false
		}
		p := *s.prefix
		p.key[(p.bits-1)/8] ^= 1 << (7 - (p.bits-1)%8)
		s.prefix = &p
		return true
	},
	"the rows of a longer prefix": func(s *statement, _ []Row) bool {
		if len(s.rows) < 2 {
			return false
		}
		p := s.prefixAt(differ(&s.rows[0].Key, &s.rows[len(s.rows)-1].Key) + 1)
		s.prefix = &p
		return true
	},
	"a subtree for the whole": func(s *statement, others []Row) bool {
		if len(s.rows) == 0 || len(s.rows) == len(others) {
			return false
		}
		p := s.prefixAt(0)
		s.prefix = &p
		return true
	},
}

func (s *statement) prefixAt(bits int) Prefix {
	p, err := NewPrefix(s.rows[0].Key, bits)
	if err != nil {
		panic(err)
	}
	return p
}

func onPath(least int, change func([]step) []step) func(*statement, []Row) bool {
	return func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		if len(path) < least {
			return false
		}
		s.put(leaf, change(path))
		return true
	}
}

func onLeaf(change func([]byte) []byte) func(*statement, []Row) bool {
	return func(s *statement, _ []Row) bool {
		leaf, path := s.steps()
		if leaf == nil {
			return false
		}
		s.put(change(bytes.Clone(leaf)), path)
		return true
	}
}

func onValue(change func([]byte) []byte) func(*statement, []Row) bool {
	return func(s *statement, _ []Row) bool {
		if s.prefix != nil || s.value == nil {
			return false
		}
		s.value = change(s.value)
		return true
	}
}

func onRows(change func([]Row) []Row) func(*statement, []Row) bool {
	return func(s *statement, _ []Row) bool {
		if len(s.rows) == 0 {
			return false
		}
		s.rows = change(s.rows)
		return true
	}
}

// worlds are maps to attack: empty, of one leaf, small, and with long shared prefixes.
func worlds() (all [][]Row) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{0, 1, 2, 3, 9, 60} {
		var rows []Row
		for i := range n {
			rows = append(rows, Row{random(r), bytes.Repeat([]byte{byte(i)}, 1+r.IntN(maxValue))})
		}
		all = append(all, slices.SortedFunc(slices.Values(rows), Row.Compare))
	}
	deep := []Row{{Key{}, []byte{9}}}
	for bit := 0; bit < keyBits; bit += 31 {
		deep = append(deep, Row{sparse(1, bit), []byte{byte(bit)}})
	}
	return append(all, deep)
}

// statements are some that hold of a map, of every kind that there is.
func statements(rows []Row) (all []statement) {
	s, r := mapOf(rows), rand.New(rand.NewPCG(7, 8))
	for range 12 {
		k := random(r)
		if len(rows) > 0 && r.IntN(3) > 0 {
			k = rows[r.IntN(len(rows))].Key
		}
		near := k
		near[KeySize-1] ^= 1
		all = append(all, lookupOf(s, k), lookupOf(s, near))
		for _, bits := range []int{0, 1 + r.IntN(20), 8 * (1 + r.IntN(10)), keyBits} {
			p, _ := NewPrefix(k, bits)
			all = append(all, prefixStatement(s, p))
		}
	}
	return all
}

func TestNoCorruptionIsBelieved(t *testing.T) {
	tried := map[string]int{}
	for _, rows := range worlds() {
		for _, good := range statements(rows) {
			if err := good.verify(); err != nil {
				t.Fatalf("%d rows: %v", len(rows), err)
			}
			for name, corrupt := range corruptions {
				bad := good.clone()
				if !corrupt(&bad, rows) {
					continue
				}
				tried[name]++
				if err := bad.verify(); !errors.Is(err, ErrProof) {
					t.Errorf("%s, in a map of %d rows: %v", name, len(rows), err)
				}
			}
		}
	}
	for name := range maps.Keys(corruptions) {
		if tried[name] == 0 {
			t.Errorf("%s was never tried", name)
		}
	}
}

// holds says whether a statement is what a snapshot says, to the letter.
func (s statement) holds(in *Snapshot) bool {
	if s.root != in.Root() {
		return false
	}
	honest := lookupOf(in, s.key)
	if s.prefix != nil {
		honest = prefixStatement(in, *s.prefix)
	}
	return bytes.Equal(honest.value, s.value) && (honest.value == nil) == (s.value == nil) && bytes.Equal(honest.proof, s.proof) &&
		slices.EqualFunc(honest.rows, s.rows, func(a, b Row) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) })
}

// TestNothingFlippedIsBelieved flips each bit of proofs, keys, values and roots. What still verifies, as where another
// key is absent for the same reason, must be what the map says.
func TestNothingFlippedIsBelieved(t *testing.T) {
	for _, rows := range worlds()[1:5] {
		in := mapOf(rows)
		for _, good := range statements(rows)[:8] {
			for _, part := range []func(s *statement) []byte{
				func(s *statement) []byte { return s.proof },
				func(s *statement) []byte { return s.value },
				func(s *statement) []byte { return s.root[:] },
				func(s *statement) []byte { return s.key[:] },
				func(s *statement) []byte {
					if s.prefix == nil {
						return nil
					}
					p := *s.prefix
					s.prefix = &p
					return p.key[:p.bits/8]
				},
				func(s *statement) []byte {
					if len(s.rows) == 0 {
						return nil
					}
					return s.rows[0].Key[:]
				},
			} {
				for i := range 8 * len(part(&good)) {
					bad := good.clone()
					part(&bad)[i/8] ^= 1 << (i % 8)
					if bad.verify() == nil && !bad.holds(in) {
						t.Fatalf("bit %d flipped, in a map of %d rows: %+v is believed", i, len(rows), bad)
					}
				}
			}
		}
	}
}

// TestOurHashesAreNotThoseOfATree: no leaf, and no inner node, of a map has the hash input of one of a log's tree.
func TestOurHashesAreNotThoseOfATree(t *testing.T) {
	for _, n := range []int{8, 40, maxValue} {
		k, v := sparse(1, 3), make([]byte, n)
		input := appendLeaf(nil, &k, v)
		if leafHash(&k, v) != sha256.Sum256(append([]byte{0}, input...)) {
			t.Error("a leaf's hash has another input")
		}
		if leafHash(&k, v) != entry.LeafHash(input) {
			t.Fatal("this test does not see what a tree's leaf would be")
		}
		if leaf, err := entry.ParseLeaf(input); err == nil {
			t.Errorf("the leaf of a map could be the leaf %v of a tree", leaf)
		}
	}
	for _, bit := range []int{0, 127, 128, keyBits - 1} {
		input := append(binary.AppendUvarint([]byte{1}, uint64(bit)), make([]byte, 64)...)
		if innerHash(bit, Hash{}, Hash{}) != sha256.Sum256(input) {
			t.Error("an inner node's hash has another input")
		}
		if len(input) == 65 {
			t.Errorf("an inner node at bit %d has as many bytes as one of a tree", bit)
		}
	}
}

// tangle is a tree of any shape: its bits do not descend, its keys stand anywhere. A log can sign its root.
type tangle struct {
	row         *Row
	bit         int
	zero, one   *tangle
	left, right Hash
}

func tangled(r *rand.Rand, depth int, places []int) *tangle {
	if depth == 0 || r.IntN(4) == 0 {
		return &tangle{row: &Row{sparse(r.IntN(1<<len(places)), places...), []byte{byte(1 + r.IntN(2))}}}
	}
	n := &tangle{bit: places[r.IntN(len(places))], zero: tangled(r, depth-1, places), one: tangled(r, depth-1, places)}
	n.left, n.right = n.zero.sum(), n.one.sum()
	return n
}

func (n *tangle) sum() Hash {
	if n.row != nil {
		return n.row.sum()
	}
	return innerHash(n.bit, n.left, n.right)
}

// rows are the leaves in the order of their keys, each key once.
func (n *tangle) rows() []Row {
	if n.row != nil {
		return []Row{*n.row}
	}
	all := slices.SortedStableFunc(slices.Values(append(n.zero.rows(), n.one.rows()...)), Row.Compare)
	return slices.CompactFunc(all, func(a, b Row) bool { return a.Key == b.Key })
}

// paths calls f for every node with the path from there up.
func (n *tangle) paths(above []byte, f func(n *tangle, path []byte)) {
	f(n, above)
	if n.row != nil {
		return
	}
	down := func(sibling Hash) []byte {
		return slices.Concat(binary.AppendUvarint(nil, uint64(n.bit)), sibling[:], above)
	}
	n.zero.paths(down(n.right), f)
	n.one.paths(down(n.left), f)
}

// TestAnyRootSaysOneThing shows, of trees that are no maps, all that can be shown, and wants no two statements that
// contradict each other: of a key, of a key and a prefix that has rows, of a key and a prefix that has none if what
// stands around it is shown too.
func TestAnyRootSaysOneThing(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	places := []int{2, 9, 300}
	var there, absent, rows, none, hidden, closed int
	for range 400 {
		n := tangled(r, 4, places)
		root := n.sum()
		found := map[Key][]byte{}
		gone := map[Key]bool{}
		full := map[Prefix][]Row{}
		empty := map[Prefix][][]byte{}
		n.paths(nil, func(at *tangle, path []byte) {
			var asLeaf []byte
			if at.row != nil {
				asLeaf = append(appendLeaf(nil, &at.row.Key, at.row.Value), path...)
			}
			for x := range 1 << len(places) {
				k := sparse(x, places...)
				if at.row != nil && at.row.Key == k && VerifyLookup(root, k, at.row.Value, path) == nil {
					if v, ok := found[k]; ok && !bytes.Equal(v, at.row.Value) {
						t.Fatalf("%x has two values", k)
					}
					there++
					found[k] = at.row.Value
				}
				if asLeaf != nil && VerifyLookup(root, k, nil, asLeaf) == nil {
					absent++
					gone[k] = true
				}
				for _, bits := range []int{0, 1, 3, 8, 10, 299, 301} {
					p, _ := NewPrefix(k, bits)
					under := at.rows()
					if VerifyPrefix(root, p, under, path) == nil {
						if old, ok := full[p]; ok && fmt.Sprint(old) != fmt.Sprint(under) {
							t.Fatalf("under %x/%d stand two lists of rows", p.Bytes(), bits)
						}
						rows++
						full[p] = under
					}
					if asLeaf != nil && VerifyPrefix(root, p, nil, asLeaf) == nil {
						none++
						empty[p] = append(empty[p], asLeaf)
					}
				}
			}
		})
		for k := range found {
			if gone[k] {
				t.Fatalf("%x is there and absent", k)
			}
		}
		for p, list := range full {
			for k := range found {
				if p.Covers(k) && !slices.ContainsFunc(list, func(r Row) bool { return r.Key == k }) {
					t.Fatalf("%x is there, and not under its prefix", k)
				}
			}
			if _, ok := empty[p]; ok {
				t.Fatal("a prefix has rows and none")
			}
		}
		for p, proofs := range empty {
			for _, proof := range proofs {
				around, err := p.Around(proof)
				fatalIf(t, err)
				_, shown := full[around]
				for k := range found {
					if p.Covers(k) && shown {
						t.Fatalf("%x is there, its prefix has no rows, and around that stands %d", k, len(full[around]))
					} else if p.Covers(k) {
						hidden++
					}
				}
				if shown {
					closed++
				}
			}
		}
	}
	for name, n := range map[string]int{"keys there": there, "keys absent": absent, "prefixes with rows": rows,
		"prefixes without": none, "keys hidden from their prefix": hidden, "empty prefixes with what is around": closed} {
		if n < 10 {
			t.Errorf("only %d %s: this test sees little", n, name)
		}
	}
}

// TestWhatStandsAroundAnEmptyPrefixIsShown does what a reader does who wants no row hidden.
func TestWhatStandsAroundAnEmptyPrefixIsShown(t *testing.T) {
	asked := 0
	for _, rows := range worlds()[1:] {
		s := mapOf(rows)
		for _, empty := range statements(rows) {
			if empty.prefix == nil || len(empty.rows) > 0 {
				continue
			}
			around, err := empty.prefix.Around(empty.proof)
			fatalIf(t, err)
			shown := prefixStatement(s, around)
			if err := shown.verify(); err != nil || len(shown.rows) == 0 {
				t.Errorf("around %x/%d, under %x/%d, stand %d rows: %v", empty.prefix.Bytes(), empty.prefix.Bits(), around.Bytes(),
					around.Bits(), len(shown.rows), err)
			}
			asked++
		}
	}
	if asked < 20 {
		t.Errorf("%d empty prefixes were found", asked)
	}
	for _, proof := range [][]byte{nil, {KeySize}, append(appendLeaf(nil, &Key{}, []byte{1}), 0x80), append(appendLeaf(nil, &Key{}, []byte{1}), 9, 9)} {
		if _, err := prefixOf(t, Key{}, 8).Around(proof); !errors.Is(err, ErrProof) {
			t.Errorf("around %x: %v", proof, err)
		}
	}
}

// TestPartsMakeAWhole: rows that were fetched under longer prefixes are those of the whole, and one may not be
// left out.
func TestPartsMakeAWhole(t *testing.T) {
	rows := worlds()[5]
	s := mapOf(rows)
	whole := prefixOf(t, Key{}, 0)
	for _, r := range rows {
		for _, bits := range []int{0, 3, 20, keyBits} {
			part := prefixStatement(s, prefixOf(t, r.Key, bits))
			fatalIf(t, VerifyParts(s.Root(), whole, rows, part.proof))
			for i := range rows {
				if err := VerifyParts(s.Root(), whole, slices.Delete(slices.Clone(rows), i, i+1), part.proof); !errors.Is(err, ErrProof) {
					t.Fatalf("row %d is left out: %v", i, err)
				}
			}
		}
	}
	if err := VerifyParts(emptyHash, whole, nil, nil); !errors.Is(err, ErrProof) {
		t.Errorf("no rows: %v", err)
	}
}

func FuzzVerifyLookup(f *testing.F) {
	for i, rows := range worlds() {
		for _, s := range statements(rows) {
			if s.prefix == nil {
				f.Add(i, s.key[:], s.value, s.value == nil, s.proof)
			}
		}
	}
	maps := worlds()
	f.Fuzz(func(t *testing.T, world int, key, value []byte, absent bool, proof []byte) {
		if world < 0 || world >= len(maps) {
			return
		}
		in := mapOf(maps[world])
		s := statement{root: in.Root(), value: append([]byte{}, value...), proof: proof}
		copy(s.key[:], key)
		if absent {
			s.value = nil
		}
		if s.verify() == nil && !s.holds(in) {
			t.Errorf("%+v is believed", s)
		}
	})
}

func FuzzVerifyPrefix(f *testing.F) {
	for i, rows := range worlds() {
		for _, s := range statements(rows) {
			if s.prefix != nil {
				f.Add(i, s.prefix.key[:], s.prefix.bits, s.proof, uint64(1)<<min(len(s.rows), 63)-1)
			}
		}
	}
	maps := worlds()
	f.Fuzz(func(t *testing.T, world int, key []byte, bits int, proof []byte, which uint64) {
		if world < 0 || world >= len(maps) {
			return
		}
		in := mapOf(maps[world])
		var k Key
		copy(k[:], key)
		p, err := NewPrefix(k, bits)
		if err != nil {
			return
		}
		s := statement{root: in.Root(), prefix: &p, proof: proof}
		i := 0
		for r := range in.Rows(p) {
			if which>>min(i, 63)&1 == 1 {
				s.rows = append(s.rows, r)
			}
			i++
		}
		if s.verify() == nil && !s.holds(in) {
			t.Errorf("%+v is believed", s)
		}
		p.Around(proof)
		VerifyParts(s.root, p, s.rows, proof)
	})
}

// FuzzMap inserts what the input says, under keys of which many share bits, and compares with the definition.
func FuzzMap(f *testing.F) {
	f.Add([]byte("a map of a few keys"))
	f.Add([]byte{0, 0x11, 0x22, 0xff})
	f.Fuzz(func(t *testing.T, input []byte) {
		var m Map
		var rows []Row
		for i, b := range input[:min(len(input), 16)] {
			row := Row{sparse(int(b), 0, 5, 8, 263, 264, 519, 774, 775), []byte{byte(i)}}
			if m.Insert(row.Key, row.Value) {
				rows = append(rows, row)
			}
			if b%3 == 0 {
				m.Snapshot()
			}
		}
		s, slow := m.Snapshot(), naiveOf(rows)
		for i, b := range input[:min(len(input), 3)] {
			k := sparse(int(b)+i, 0, 5, 8, 263, 264, 519, 774, 775)
			slow.sameAs(t, s, k, prefixOf(t, k, int(b)*3))
		}
	})
}

// TestNoRootGivesAValueOfAnotherSize: that of a tree with such a leaf shows neither the leaf nor, by it, an absence.
func TestNoRootGivesAValueOfAnotherSize(t *testing.T) {
	for _, n := range []int{0, maxValue + 1, 200} {
		k, other, value := sparse(1, 1), sparse(2, 1, 5), make([]byte, n)
		root := leafHash(&k, value)
		for name, s := range map[string]statement{
			"there":   {root: root, key: k, value: value},
			"absent":  {root: root, key: other, proof: appendLeaf(nil, &k, value)},
			"rows":    {root: root, prefix: &Prefix{}, rows: []Row{{k, value}}},
			"no rows": {root: root, prefix: &Prefix{other, keyBits}, proof: appendLeaf(nil, &k, value)},
		} {
			if err := s.verify(); !errors.Is(err, ErrProof) {
				t.Errorf("a value of %d bytes, %s: %v", n, name, err)
			}
		}
	}
}

// TestNoRootGivesAKeyTwice: that of a tree in which it stands twice shows no such rows.
func TestNoRootGivesAKeyTwice(t *testing.T) {
	rows := []Row{{sparse(1, 1), []byte{1}}, {sparse(1, 1), []byte{2}}}
	for _, second := range [][]byte{{1}, {2}} {
		rows[1].Value = second
		root := innerHash(keyBits, rows[0].sum(), rows[1].sum())
		if treeHash(rows) != root {
			t.Fatal("this test does not see what the rows make")
		}
		if err := VerifyPrefix(root, Prefix{}, rows, nil); !errors.Is(err, ErrProof) {
			t.Errorf("two rows of one key: %v", err)
		}
	}
}

// TestWhatIsHiddenBesideALeafStandsAroundIt: a tree that is no map hides a key from its prefix behind the leaf that
// shows the prefix to be empty. The rows around that leaf cannot be shown without the key.
func TestWhatIsHiddenBesideALeafStandsAroundIt(t *testing.T) {
	shown, hidden, far := Row{sparse(1, 1), []byte{1}}, Row{sparse(1, 3), []byte{2}}, Row{sparse(1, 2), []byte{3}}
	beside := &tangle{bit: 3, zero: &tangle{row: &shown}, one: &tangle{row: &hidden}}
	beside.left, beside.right = shown.sum(), hidden.sum()
	top := &tangle{bit: 2, zero: beside, one: &tangle{row: &far}}
	top.left, top.right = beside.sum(), far.sum()
	root, p := top.sum(), prefixOf(t, hidden.Key, 3)
	proofs := map[*tangle][]byte{}
	top.paths(nil, func(n *tangle, path []byte) { proofs[n] = path })
	fatalIf(t, VerifyLookup(root, hidden.Key, hidden.Value, proofs[beside.one]))
	empty := append(appendLeaf(nil, &shown.Key, shown.Value), proofs[beside.zero]...)
	fatalIf(t, VerifyPrefix(root, p, nil, empty)) // this is why Around is there
	around, err := p.Around(empty)
	fatalIf(t, err)
	for n, proof := range proofs {
		for _, rows := range [][]Row{{shown}, {hidden}, {shown, hidden}, {hidden, shown}, {shown, far, hidden}, {hidden, far, shown}} {
			if err := VerifyPrefix(root, around, rows, proof); err == nil {
				t.Errorf("around it stand %d rows: %v, by the path of a node at bit %d", len(rows), rows, n.bit)
			}
		}
	}
}
