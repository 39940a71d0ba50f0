package index

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sparse returns the key that is zero but for the bits of x, which stand at some places.
func sparse(x int, places ...int) (k Key) {
	for i, p := range places {
		if x>>i&1 == 1 {
			k[p/8] |= 1 << (7 - p%8)
		}
	}
	return k
}

// random returns a key of which many others share long prefixes.
func random(r *rand.Rand) (k Key) {
	for i := range k {
		k[i] = byte(r.IntN(2)) * 0x81
	}
	return k
}

func prefixOf(t testing.TB, k Key, bits int) Prefix {
	t.Helper()
	p, err := NewPrefix(k, bits)
	fatalIf(t, err)
	return p
}

func mapOf(rows []Row) *Snapshot {
	var m Map
	for _, r := range rows {
		m.Insert(r.Key, r.Value)
	}
	return m.Snapshot()
}

// TestAllSmallMapsAreAsDefined makes every map whose keys differ in three bits, in any order, and asks for every
// such key, for keys that differ in a fourth bit, and for every prefix that ends near these bits.
func TestAllSmallMapsAreAsDefined(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, places := range [][]int{{0, 1, 2, 3}, {6, 7, 8, 9}, {0, 263, 264, 265}, {773, 774, 775, 1}, {8, 300, 775, 519}} {
		for set := range 1 << 8 {
			var rows []Row
			for x := range 8 {
				if set>>x&1 == 1 {
					rows = append(rows, Row{sparse(x, places...), bytes.Repeat([]byte{byte(x)}, 1+9*x)})
				}
			}
			r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			s, m := mapOf(rows), naiveOf(rows)
			if root := s.Root(); string(root[:]) != string(m.root()) || s.Len() != len(rows) {
				t.Fatalf("%v, set %x: the root of %d keys is %x, want %x", places, set, s.Len(), root, m.root())
			}
			if testing.Short() && set%17 > 0 {
				continue
			}
			for x := range 16 {
				k := sparse(x, places...)
				at := places[x%4] + x%3
				m.sameAs(t, s, k, prefixOf(t, k, min(at, keyBits)))
			}
		}
	}
}

func TestRandomMapsAreAsDefined(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 17, 200} {
		var m Map
		var rows []Row
		for range n {
			row := Row{random(r), bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(maxValue))}
			if m.Insert(row.Key, row.Value) {
				rows = append(rows, row)
			}
			if r.IntN(10) == 0 {
				m.Snapshot()
			}
		}
		s, slow := m.Snapshot(), naiveOf(rows)
		for range 40 {
			k := random(r)
			if r.IntN(2) == 0 {
				k = rows[r.IntN(len(rows))].Key
			}
			slow.sameAs(t, s, k, prefixOf(t, k, r.IntN(60)))
		}
	}
}

// TestDeepKeysAreShown makes the deepest map that there is, in which keys differ from one in one bit each.
func TestDeepKeysAreShown(t *testing.T) {
	rows := []Row{{Key{}, []byte{0}}}
	for bit := range keyBits {
		rows = append(rows, Row{sparse(1, bit), []byte{1}})
	}
	s := mapOf(rows)
	for i, r := range rows {
		value, proof := s.Lookup(r.Key)
		fatalIf(t, VerifyLookup(s.Root(), r.Key, value, proof))
		if i == 0 && len(proof) != keyBits*34-128 { // bits below 128 have one byte
			t.Errorf("the longest proof has %d bytes", len(proof))
		}
	}
	absent := sparse(3, keyBits-1, keyBits-2)
	value, proof := s.Lookup(absent)
	if value != nil {
		t.Error("a key stands there that nobody inserted")
	}
	fatalIf(t, VerifyLookup(s.Root(), absent, nil, proof))
}

func TestTheFirstValueOfAKeyStays(t *testing.T) {
	var m Map
	k := sparse(1, 5)
	if !m.Insert(k, []byte{1}) || m.Insert(k, []byte{2}) {
		t.Error("Insert does not say whether the key was new")
	}
	if v, ok := m.Get(k); !ok || !bytes.Equal(v, []byte{1}) || m.Len() != 1 {
		t.Errorf("the value is %x (%v), of %d keys", v, ok, m.Len())
	}
	root := m.Snapshot().Root()
	m.Insert(k, []byte{2})
	if m.Snapshot().Root() != root {
		t.Error("another root after an insertion that changes nothing")
	}
}

// TestASnapshotStandsWhileTheMapGrows asks old snapshots from several goroutines while the map grows; run it with
// the race detector.
func TestASnapshotStandsWhileTheMapGrows(t *testing.T) {
	var m Map
	var readers sync.WaitGroup
	r := rand.New(rand.NewPCG(3, 4))
	var rows []Row
	for round := range 20 {
		for range 50 {
			row := Row{random(r), []byte{byte(round)}}
			if m.Insert(row.Key, row.Value) {
				rows = append(rows, row)
			}
		}
		s, at, seed := m.Snapshot(), slices.Clone(rows), uint64(round)
		want := treeHash(slices.SortedFunc(slices.Values(at), Row.Compare))
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for range 100 {
				k := at[r.IntN(len(at))].Key
				value, proof := s.Lookup(k)
				if err := VerifyLookup(want, k, value, proof); err != nil || value == nil {
					t.Errorf("round %d: %v", seed, err)
				}
				p, _ := NewPrefix(k, r.IntN(30))
				_, proof = s.Prefix(p)
				if err := VerifyPrefix(want, p, slices.Collect(s.Rows(p)), proof); err != nil {
					t.Errorf("round %d: %v", seed, err)
				}
			}
			if s.Root() != want || s.Len() != len(at) {
				t.Errorf("round %d: a snapshot of %d keys has become one of %d", seed, len(at), s.Len())
			}
		})
	}
	readers.Wait()
}

func TestPrefixes(t *testing.T) {
	k := Key{0xff, 0xff, 0xff}
	for bits, want := range map[int]string{0: "", 1: "80", 7: "fe", 8: "ff", 9: "ff80", 17: "ffff80"} {
		if p := prefixOf(t, k, bits); fmt.Sprintf("%x", p.Bytes()) != want || p.Bits() != bits {
			t.Errorf("the first %d bits are %x", bits, p.Bytes())
		}
	}
	for _, bits := range []int{-1, keyBits + 1} {
		if _, err := NewPrefix(k, bits); err == nil {
			t.Errorf("a key has a prefix of %d bits", bits)
		}
	}
	p := prefixOf(t, k, 9)
	zero, one, err := p.Halves()
	fatalIf(t, err)
	if zero != prefixOf(t, Key{0xff, 0x80}, 10) || one != prefixOf(t, Key{0xff, 0xc0}, 10) {
		t.Errorf("the halves of ff8/9 are %x/%d and %x/%d", zero.Bytes(), zero.Bits(), one.Bytes(), one.Bits())
	}
	if _, _, err := prefixOf(t, k, keyBits).Halves(); err == nil {
		t.Error("a whole key has halves")
	}
	for other, want := range map[Key]bool{{0xff, 0x80}: true, {0xff, 0xff}: true, {0xff}: false, {0x7f, 0x80}: false} {
		if p.Covers(other) != want {
			t.Errorf("ff8/9 covers %x: %v", other[:2], !want)
		}
	}
}
