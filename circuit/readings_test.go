package circuit

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// readings are the ways to read the blocks of one object that the groups automaton, header, length
// and padding leave to a prover, at most a few: the automaton's steps up to the length field.
func readings(m *automaton, raw []byte) (found [][]rule) {
	const few = 20
	end := len(raw) - 8
	var steps []rule
	var from func(s state)
	from = func(s state) {
		if len(found) == few {
			return
		}
		if at := len(steps); at < end {
			for _, r := range m.next[[2]int{int(s), classOf(raw[at])}] {
				steps = append(steps, r)
				from(r.to)
				steps = steps[:at]
			}
			return
		}
		for _, shape := range headerShapes {
			body := m.tree
			if shape.commit {
				body = m.commit
			}
			if steps[shape.size()-1].to != body || s < m.pad0 || s >= m.pad0+padStates {
				continue
			}
			length := shape.size()
			for i, weight := shape.digits-1, 1; i >= 0; i, weight = i-1, 10*weight {
				length += weight * classOf(raw[len(shape.word())+i])
			}
			if len(raw)-9-int(s-m.pad0) == length && binary.BigEndian.Uint64(raw[end:]) == uint64(8*length) {
				found = append(found, slices.Clone(steps))
			}
		}
	}
	from(m.start)
	return found
}

// FuzzReadings: whatever way a prover chooses to read some blocks, they are one object, padded as
// SHA-1 pads, and what is listed of a tree are entries of it, in order.
func FuzzReadings(f *testing.F) {
	m := newAutomaton()
	for _, r := range []repo{example(), manyTrees(), build(node{"f": "x"}, "\x80\x00\x00\x00 tree 12\x00")} {
		for _, o := range r.objects {
			f.Add(sha1Pad(o.Data))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || len(raw)%blockBytes > 0 || len(raw) > 5*blockBytes {
			return
		}
		for _, steps := range readings(m, raw) {
			object := raw[:len(raw)-9-int(steps[len(steps)-1].to-m.pad0)]
			kind, content, ok := readObject(object)
			if !ok || !bytes.Equal(sha1Pad(object), raw) {
				t.Fatalf("%q is no object with its padding", raw)
			}
			var list []byte
			children := 0
			for i, r := range steps {
				if r.list {
					list = append(list, raw[i])
				}
				children += int(bit(r.child))
			}
			if kind == "commit" {
				if _, ok := readCommit(content); !ok || string(list) != "c" || children > 0 {
					t.Fatalf("%q is no commit, or lists %q", raw, list)
				}
				continue
			}
			entries, ok := readTree(content)
			listed, shaped := readList(list)
			if !ok || !shaped || len(listed) != 1 || listed[0].kind != 't' {
				t.Fatalf("%q is no tree, or lists %q", raw, list)
			}
			if ids, ok := pick(entries, listed[0].records); !ok || len(ids) != children {
				t.Fatalf("%q lists %q and has %d children", raw, list, children)
			}
		}
	})
}

// TestObjectsHaveOneReading: a commit has one, a tree of n entries 2^n, by what is listed.
func TestObjectsHaveOneReading(t *testing.T) {
	m := newAutomaton()
	for _, c := range []struct {
		object []byte
		want   int
	}{
		{commitObject([20]byte{}, "m"), 1},
		{commitObject([20]byte{}, "\x80\x00\x00"), 1},
		{tree1("f", 0x80), 2},
		{encode("tree", slices.Concat(record1("a", 0), record1("b", '1'))), 4},
		{bytes.Replace(tree1("f", 1), []byte("29"), []byte("28"), 1), 0},
		{encode("tree", nil), 0},
	} {
		if n := len(readings(m, sha1Pad(c.object))); n != c.want {
			t.Errorf("%q: %d readings, want %d", c.object, n, c.want)
		}
	}
}
