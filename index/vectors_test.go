package index

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
)

var update = flag.Bool("update", false, "write the vectors in testdata again")

// hexed is bytes in hex.
type hexed []byte

func (h hexed) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexed) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// vector is one map: the leaves that make it, its rows, its root, and what can be shown of it.
type vector struct {
	About    string         `json:"about"`
	Before   []hexed        `json:"before,omitempty"` // leaves of the log that a start names
	Leaves   []hexed        `json:"leaves"`
	Rows     []vectorRow    `json:"rows"`
	Root     hexed          `json:"root"`
	Lookups  []vectorLookup `json:"lookups"`
	Prefixes []vectorPrefix `json:"prefixes"`
}

type vectorRow struct {
	Key   hexed `json:"key"`
	Value hexed `json:"value"`
}

type vectorLookup struct {
	Key   hexed  `json:"key"`
	Value *hexed `json:"value"` // null: it does not stand there
	Proof hexed  `json:"proof"`
}

type vectorPrefix struct {
	Prefix hexed `json:"prefix"`
	Bits   int   `json:"bits"`
	Rows   int   `json:"rows"` // how many of the map's
	Proof  hexed `json:"proof"`
}

// vectors are the leaves of each map.
func vectors(t *testing.T) map[string][2][]entry.Leaf {
	a, b := about(t, "hello", "1.0.0", "a", 1), about(t, "hello", "1.0.1", "b", 1)
	return map[string][2][]entry.Leaf{
		"empty":    {nil, {}},
		"one":      {nil, {a}},
		"versions": {nil, {a, b, &entry.Seal{Rules: entry.Rules, Size: 2}, about(t, "Hello", "1.0.0-rc.1+x", "c", 1), about(t, "other-crate", "0.1.0", "d", 1)}},
		"void":     {nil, {a, about(t, "HELLO", "1.0.0+b", "z", 1), about(t, "hello", "1.0.0", "a", 2), a}},
		"builds":   {nil, {a, built(t, "a", 1, 1, 1), built(t, "a", 1, 2, 1), built(t, "a", 1, 1, 9), built(t, "a", 2, 2, 2)}},
		"shard":    {{a, b, built(t, "a", 1, 1, 1)}, {&entry.Start{Origin: "log.example/1", Size: 3}, about(t, "hello", "1.0.0", "z", 1), about(t, "new", "1.0.0", "c", 1)}},
	}
}

// made writes a vector by the definition: rows sorted, roots and proofs of package index's second implementation.
func made(t *testing.T, name string, leaves [2][]entry.Leaf) vector {
	t.Helper()
	v := vector{About: name, Leaves: encoded(t, leaves[1]), Before: encoded(t, leaves[0])}
	m := naive{}
	for i, l := range leaves[0] {
		insert(t, m, i, l, func(r Row) bool {
			r.Value[len(r.Value)-8] |= 0x80
			return r.Key.IsVersion()
		})
	}
	for i, l := range leaves[1] {
		insert(t, m, i, l, func(Row) bool { return true })
	}
	v.Root = m.root()
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	asked := append(keys, strings.Repeat("0", keyBits), strings.Repeat("1", keyBits))
	for i, k := range asked {
		if i < len(keys) {
			v.Rows = append(v.Rows, vectorRow{key(k), m[k]})
			asked = append(asked, k[:keyBits-1]+string('0'+'1'-k[keyBits-1]))
		}
	}
	for _, k := range asked {
		value, proof := m.lookup(k)
		l := vectorLookup{Key: key(k), Proof: proof}
		if value != nil {
			l.Value = (*hexed)(&value)
		}
		v.Lookups = append(v.Lookups, l)
		for _, bits := range []int{0, 5, 8, 264, 520, keyBits} {
			under, proof := m.prefix(k[:bits])
			p := vectorPrefix{key(k[:bits] + strings.Repeat("0", (8-bits%8)%8)), bits, len(under), proof}
			if !slices.ContainsFunc(v.Prefixes, func(q vectorPrefix) bool { return bytes.Equal(p.Prefix, q.Prefix) && p.Bits == q.Bits }) {
				v.Prefixes = append(v.Prefixes, p)
			}
		}
	}
	return v
}

func encoded(t *testing.T, leaves []entry.Leaf) (out []hexed) {
	t.Helper()
	for _, l := range leaves {
		b, err := l.(interface{ Marshal() ([]byte, error) }).Marshal()
		fatalIf(t, err)
		out = append(out, b)
	}
	return out
}

// insert puts the rows of a leaf that are wanted into a map, unless their keys stand there.
func insert(t *testing.T, m naive, i int, l entry.Leaf, want func(Row) bool) {
	t.Helper()
	e, ok := l.(*entry.Entry)
	if !ok {
		return
	}
	f, err := FactsOf(e)
	fatalIf(t, err)
	for _, r := range f.Rows(uint64(i)) {
		if k := bitsOf(r.Key); want(r) && m[k] == nil {
			m[k] = r.Value
		}
	}
}

//go:generate go test -run ^TestVectors$ -update .

// TestVectors compares testdata with what the definition says, and package index with testdata.
func TestVectors(t *testing.T) {
	all := vectors(t)
	for name, leaves := range all {
		path := filepath.Join("testdata", name+".json")
		want, err := json.MarshalIndent(made(t, name, leaves), "", " ")
		fatalIf(t, err)
		want = append(want, '\n')
		if *update {
			fatalIf(t, os.WriteFile(path, want, 0o644))
		}
		got, err := os.ReadFile(path)
		fatalIf(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs; if that is meant, run go generate ./index", path)
		}
		var v vector
		fatalIf(t, json.Unmarshal(got, &v))
		v.check(t)
	}
	files, err := filepath.Glob("testdata/*.json")
	fatalIf(t, err)
	if len(files) != len(all) {
		t.Errorf("testdata holds %d vectors, the tests make %d", len(files), len(all))
	}
}

func (v vector) check(t *testing.T) {
	t.Helper()
	var m, before Map
	replay := func(m *Map, leaves []hexed) {
		for i, b := range leaves {
			leaf, err := entry.ParseLeaf(b)
			fatalIf(t, err)
			fatalIf(t, m.AddLeaf(uint64(i), leaf))
		}
	}
	replay(&before, v.Before)
	fatalIf(t, m.Inherit(before.Snapshot()))
	replay(&m, v.Leaves)
	s := m.Snapshot()
	var rows []Row
	for r := range s.Rows(Prefix{}) {
		rows = append(rows, r)
	}
	if root := s.Root(); !bytes.Equal(root[:], v.Root) || len(rows) != len(v.Rows) {
		t.Fatalf("%s: %d rows make the root %x, want %d and %x", v.About, len(rows), root, len(v.Rows), v.Root)
	}
	for i, r := range rows {
		if !bytes.Equal(r.Key[:], v.Rows[i].Key) || !bytes.Equal(r.Value, v.Rows[i].Value) {
			t.Errorf("%s: row %d is %x, %x", v.About, i, r.Key, r.Value)
		}
	}
	for i, l := range v.Lookups {
		value, proof := s.Lookup(Key(l.Key))
		if (value == nil) != (l.Value == nil) || value != nil && !bytes.Equal(value, *l.Value) || !bytes.Equal(proof, l.Proof) {
			t.Errorf("%s: look-up %d is %x with the proof %x", v.About, i, value, proof)
		}
		fatalIf(t, VerifyLookup(Hash(v.Root), Key(l.Key), value, l.Proof))
	}
	for i, l := range v.Prefixes {
		var k Key
		copy(k[:], l.Prefix)
		p := prefixOf(t, k, l.Bits)
		under := slices.Collect(s.Rows(p))
		if _, proof := s.Prefix(p); !bytes.Equal(proof, l.Proof) || len(under) != l.Rows {
			t.Errorf("%s: prefix %d has %d rows with the proof %x", v.About, i, len(under), proof)
		}
		fatalIf(t, VerifyPrefix(Hash(v.Root), p, under, l.Proof))
	}
}
