package circuit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Object is a git object of a source proof, in the order of the list.
type Object struct {
	Data   []byte          // header and content, as git hashes them
	Listed map[string]bool // names of the listed entries of a tree
}

// Blocks returns how many SHA-1 blocks objects take: what a Capacity must hold.
func Blocks(objects []Object) (n int) {
	for _, o := range objects {
		n += paddedBlocks(len(o.Data))
	}
	return n
}

// paddedBlocks is the number of 64-byte blocks of n bytes, 0x80 and the length.
func paddedBlocks(n int) int { return (n + 1 + 8 + blockBytes - 1) / blockBytes }

// ErrCapacity says that objects or list do not fit in a circuit.
var ErrCapacity = errors.New("circuit: too small")

// Assign returns the circuit with its inputs filled in: public inputs, and the
// private ones that follow from the objects and the list. It checks the shape of
// its input only; whether the statement holds, the prover's solver finds out.
func Assign(c Capacity, commit [20]byte, objects []Object, list []byte, files, context [32]byte) (*Source, error) {
	if n := Blocks(objects); n > c.Blocks {
		return nil, fmt.Errorf("%w: the git objects take %d SHA-1 blocks, the circuit has %d", ErrCapacity, n, c.Blocks)
	}
	if len(list) > c.ListBytes() {
		return nil, fmt.Errorf("%w: the list has %d bytes, the circuit takes %d", ErrCapacity, len(list), c.ListBytes())
	}
	if len(list) == 0 {
		return nil, errors.New("circuit: the list is empty")
	}
	w := &writer{Source: NewSource(c), m: newAutomaton()}
	w.Commit = new(big.Int).SetBytes(commit[:])
	w.Files = new(big.Int).SetBytes(files[:])
	w.Context = new(big.Int).SetBytes(context[:])
	w.ListCount[0], w.ChildCount[0] = 0, 0
	for i, o := range objects {
		if err := w.object(o); err != nil {
			return nil, fmt.Errorf("circuit: object %d: %w", i, err)
		}
	}
	for w.block < c.Blocks {
		w.unused()
	}
	w.list(list)
	return w.Source, nil
}

// writer fills in a Source block by block.
type writer struct {
	*Source
	m              *automaton
	block          int
	listed, childs int
}

func (w *writer) object(o Object) error {
	steps, err := w.m.read(o)
	if err != nil {
		return err
	}
	shape, err := shapeOf(o.Data, headerShapes(w.capacity))
	if err != nil {
		return err
	}
	padded := sha1Pad(o.Data)
	blocks := len(padded) / blockBytes
	for k := range blocks {
		w.Used[w.block], w.Last[w.block] = 1, bit(k == blocks-1)
		for v := range w.Header[w.block] {
			w.Header[w.block][v] = bit(k == 0 && v == shape)
		}
		if k == 0 && bytes.HasPrefix(o.Data, []byte("commit ")) {
			w.childs++
		}
		for i := range blockBytes {
			var r rule // idle
			if at := k*blockBytes + i; at < len(steps) {
				r = steps[at]
			}
			w.byte(w.block*blockBytes+i, padded[k*blockBytes+i], r)
		}
		w.endBlock()
	}
	return nil
}

// shapeOf returns which of the shapes an object's header has.
func shapeOf(object []byte, shapes []headerShape) (int, error) {
	for v, s := range shapes {
		if bytes.HasPrefix(object, []byte(s.word())) && bytes.IndexByte(object, 0) == s.size()-1 {
			return v, nil
		}
	}
	return 0, errors.New("no header of a commit of at least 100 bytes, or of a tree, that this circuit reads")
}

func (w *writer) byte(at int, b byte, r rule) {
	w.Stream[at], w.State[at] = b, int(r.to)
	w.Listed[at], w.Child[at] = bit(r.list), bit(r.child)
	w.listed += int(bit(r.list))
	w.childs += int(bit(r.child))
}

func (w *writer) endBlock() {
	w.block++
	w.ListCount[w.block], w.ChildCount[w.block] = w.listed, w.childs
}

func (w *writer) unused() {
	w.Used[w.block], w.Last[w.block] = 0, 0
	for v := range w.Header[w.block] {
		w.Header[w.block][v] = 0
	}
	for i := range blockBytes {
		w.byte(w.block*blockBytes+i, 0, rule{})
	}
	w.endBlock()
}

func (w *writer) list(list []byte) {
	for j := range w.List {
		w.List[j], w.ListUsed[j] = 0, 0
		if j < len(list) {
			w.List[j], w.ListUsed[j] = list[j], 1
		}
	}
	for c := range w.End {
		w.End[c] = bit(c == (len(list)-1)/ChunkBytes)
	}
}

// read returns the automaton's steps over an object and its padding, up to the
// length field.
func (m *automaton) read(o Object) ([]rule, error) {
	var steps []rule
	s, listed := m.start, false
	padded := sha1Pad(o.Data)
	for i, b := range padded[:len(padded)-8] {
		padding := i >= len(o.Data)
		if s == m.tree && !padding {
			name, ok := entryName(o.Data[i:])
			if !ok {
				return nil, fmt.Errorf("malformed tree entry at byte %d", i)
			}
			listed = o.Listed[name]
		}
		r, err := m.step(s, b, func(r rule) bool {
			if s == m.tree && !padding {
				return r.list == listed
			}
			return s != m.freeText || (r.to == m.pad0) == padding
		})
		if err != nil {
			return nil, fmt.Errorf("at byte %d: %w", i, err)
		}
		steps = append(steps, r)
		s = r.to
	}
	return steps, nil
}

// entryName returns the name of the tree entry that b starts with.
func entryName(b []byte) (string, bool) {
	_, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok {
		return "", false
	}
	name, _, ok := bytes.Cut(rest, []byte{0})
	return string(name), ok
}

// sha1Pad returns msg with SHA-1's padding (FIPS 180-4, section 5.1.1).
func sha1Pad(msg []byte) []byte {
	out := make([]byte, paddedBlocks(len(msg))*blockBytes)
	out[copy(out, msg)] = 0x80
	binary.BigEndian.PutUint64(out[len(out)-8:], uint64(len(msg))*8)
	return out
}
