package index

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// naive is a map by its definition: rows in any order, their keys as texts of 0 and 1. It shares no code with the
// package.
type naive map[string][]byte

// bitsOf writes the bits of a key as text.
func bitsOf(k Key) string {
	var b strings.Builder
	for _, x := range k {
		fmt.Fprintf(&b, "%08b", x)
	}
	return b.String()
}

func naiveOf(rows []Row) naive {
	m := naive{}
	for _, r := range rows {
		m[bitsOf(r.Key)] = r.Value
	}
	return m
}

// split returns the first bit in which keys differ, and the halves. There are at least two keys.
func (m naive) split() (bit int, zero, one naive) {
	keys := slices.Collect(maps.Keys(m))
	for bit = 0; !slices.ContainsFunc(keys, func(k string) bool { return k[bit] != keys[0][bit] }); bit++ {
	}
	zero, one = naive{}, naive{}
	for k, v := range m {
		if k[bit] == '0' {
			zero[k] = v
		} else {
			one[k] = v
		}
	}
	return bit, zero, one
}

// key makes bytes of such a text.
func key(bits string) (out []byte) {
	for i := 0; i < len(bits); i += 8 {
		x, _ := strconv.ParseUint(bits[i:i+8], 2, 8)
		out = append(out, byte(x))
	}
	return out
}

func (m naive) leaf() (k string, encoded []byte) {
	for k = range m {
	}
	return k, slices.Concat([]byte{KeySize}, key(k), []byte{byte(len(m[k]))}, m[k])
}

func (m naive) root() []byte {
	var input []byte
	switch len(m) {
	case 0:
	case 1:
		_, leaf := m.leaf()
		input = append([]byte{0}, leaf...)
	default:
		bit, zero, one := m.split()
		input = slices.Concat(binary.AppendUvarint([]byte{1}, uint64(bit)), zero.root(), one.root())
	}
	h := sha256.Sum256(input)
	return h[:]
}

// walk follows the bits of a text to a subtree, no inner node of which is before limit, and returns the path from
// there. The map is not empty.
func (m naive) walk(bits string, limit int) (end naive, path []byte) {
	if len(m) == 1 {
		return m, nil
	}
	bit, zero, one := m.split()
	if bit >= limit {
		return m, nil
	}
	down, sibling := zero, one
	if bits[bit] == '1' {
		down, sibling = one, zero
	}
	end, path = down.walk(bits, limit)
	return end, append(binary.AppendUvarint(path, uint64(bit)), sibling.root()...)
}

func (m naive) lookup(k string) (value, proof []byte) {
	if len(m) == 0 {
		return nil, nil
	}
	end, path := m.walk(k, keyBits)
	at, leaf := end.leaf()
	if at == k {
		return end[at], path
	}
	return nil, append(leaf, path...)
}

// prefix returns what stands under the first bits, and the proof of that.
func (m naive) prefix(bits string) (under naive, proof []byte) {
	under = naive{}
	for k, v := range m {
		if strings.HasPrefix(k, bits) {
			under[k] = v
		}
	}
	if len(under) > 0 {
		_, proof = m.walk(bits+strings.Repeat("0", keyBits-len(bits)), len(bits))
		return under, proof
	}
	whole := bits + strings.Repeat("0", (8-len(bits)%8)%8)
	if len(whole) < keyBits {
		whole += strings.Repeat("0", 8)
	}
	_, proof = m.lookup(whole + strings.Repeat("1", keyBits-len(whole)))
	return under, proof
}

// sameAs compares what a snapshot says of a key and of a prefix with what the definition says.
func (m naive) sameAs(t *testing.T, s *Snapshot, k Key, p Prefix) {
	t.Helper()
	value, proof := s.Lookup(k)
	wantValue, wantProof := m.lookup(bitsOf(k))
	if string(value) != string(wantValue) || (value == nil) != (wantValue == nil) || string(proof) != string(wantProof) {
		t.Fatalf("of %x it says %x with the proof %x, want %x with %x", k, value, proof, wantValue, wantProof)
	}
	if err := VerifyLookup(s.Root(), k, value, proof); err != nil {
		t.Fatal(err)
	}
	rows := slices.Collect(s.Rows(p))
	hash, proof := s.Prefix(p)
	under, wantProof := m.prefix(bitsOf(p.key)[:p.bits])
	if len(rows) != len(under) || string(hash[:]) != string(under.root()) || string(proof) != string(wantProof) {
		t.Fatalf("under %x it says %d rows, %x, with the proof %x, want %d, %x, with %x", p, len(rows), hash, proof,
			len(under), under.root(), wantProof)
	}
	for i, r := range rows {
		if string(under[bitsOf(r.Key)]) != string(r.Value) || i > 0 && rows[i-1].Compare(r) >= 0 {
			t.Fatalf("row %d under %x is %x, or out of order", i, p, r)
		}
	}
	if err := VerifyPrefix(s.Root(), p, rows, proof); err != nil {
		t.Fatal(err)
	}
}
