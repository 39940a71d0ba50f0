package circuit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/proofcheck/chain"
)

// Object is a git object of a source proof, in the order of the list.
type Object struct {
	Data   []byte          // header and content, as git hashes them
	Listed map[string]bool // names of the listed entries of a tree
}

// CountBlocks returns how many SHA-1 blocks objects take.
func CountBlocks(objects []Object) (n int) {
	for _, o := range objects {
		n += paddedBlocks(len(o.Data))
	}
	return n
}

// paddedBlocks is the number of 64-byte blocks of n bytes, 0x80 and the length.
func paddedBlocks(n int) int { return (n + 1 + 8 + blockBytes - 1) / blockBytes }

// Stream is what a prover knows: the objects' blocks in segments, and what he names of each
// block and byte. It may hold a false statement; then no assignment of it is solvable.
type Stream struct {
	segmentBlocks int
	bytes         []byte
	steps         []step // by byte
	used, last    []int  // bits by block
	header        []int  // by block: which of headerShapes begins there, or noHeader
}

// step is the automaton's step over a byte.
type step struct {
	state         state // after it
	listed, child int64 // bits
}

const noHeader = -1

// Split cuts the stream of objects into segments of so many blocks. It checks the shape of
// the objects only: that is, whether the automaton can read them.
func Split(blocks int, objects []Object) (*Stream, error) {
	if blocks < 1 || len(objects) == 0 {
		return nil, fmt.Errorf("circuit: %d objects in segments of %d blocks", len(objects), blocks)
	}
	s := &Stream{segmentBlocks: blocks}
	m := newAutomaton()
	for i, o := range objects {
		if err := s.object(m, o); err != nil {
			return nil, fmt.Errorf("circuit: object %d: %w", i, err)
		}
	}
	for len(s.used)%blocks > 0 {
		s.block(make([]byte, blockBytes), nil, 0, 0, noHeader)
	}
	return s, nil
}

// object adds the blocks of an object.
func (s *Stream) object(m *automaton, o Object) error {
	shape, err := shapeOf(o.Data)
	if err != nil {
		return err
	}
	steps, err := m.read(o)
	if err != nil {
		return err
	}
	padded := sha1Pad(o.Data)
	for at := 0; at < len(padded); at += blockBytes {
		last := bit(at+blockBytes == len(padded))
		s.block(padded[at:at+blockBytes], steps[at:min(at+blockBytes, len(steps))], 1, int(last), shape)
		shape = noHeader
	}
	return nil
}

// block adds a block; where there are no steps the automaton idles.
func (s *Stream) block(data []byte, steps []rule, used, last, header int) {
	s.bytes = append(s.bytes, data...)
	for _, r := range steps {
		s.steps = append(s.steps, step{r.to, bit(r.list), bit(r.child)})
	}
	s.steps = append(s.steps, make([]step, blockBytes-len(steps))...)
	s.used, s.last, s.header = append(s.used, used), append(s.last, last), append(s.header, header)
}

// shapeOf returns which of the shapes an object's header has.
func shapeOf(object []byte) (int, error) {
	for v, s := range headerShapes {
		if bytes.HasPrefix(object, []byte(s.word())) && bytes.IndexByte(object, 0) == s.size()-1 {
			return v, nil
		}
	}
	return 0, fmt.Errorf("it begins like no tree with a length of 2 to %d digits, and no commit with one of 3 to %[1]d",
		maxDigits)
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

// Segments returns the number of segments.
func (s *Stream) Segments() int { return len(s.used) / s.segmentBlocks }

// States returns the states between segments: before the first, after each. The sums are at
// rho, and blinds hide the states from the second to the last but one; with n segments there
// are n-1. Any rho will do to find out what the segments commit to.
//
// It fails if a term equals rho, which happens to a random one with a probability below
// 2^-200.
func (s *Stream) States(commit [20]byte, rho fr.Element, blinds []fr.Element) ([]chain.State, error) {
	n := s.Segments()
	if len(blinds) != n-1 {
		return nil, fmt.Errorf("circuit: %d blinds for %d segments, want %d", len(blinds), n, n-1)
	}
	first, err := chain.Start(commit, rho)
	if err != nil {
		return nil, err
	}
	states := []chain.State{first}
	w := &walk{Stream: s}
	for i := range n {
		references, list, after := w.segment(i)
		if i < n-1 {
			after.Blind = blinds[i]
		}
		before := states[i]
		r, err := sumAt(rho, references)
		if err != nil {
			return nil, err
		}
		l, err := sumAt(rho, list)
		if err != nil {
			return nil, err
		}
		after.References.Add(&before.References, &r)
		after.List.Add(&before.List, &l)
		states = append(states, after)
	}
	return states, nil
}

// term is a term of a sum of fractions.
type term struct {
	value  fr.Element
	weight int64
}

// sumAt returns the sum of weight / (rho - value).
func sumAt(rho fr.Element, terms []term) (total fr.Element, err error) {
	inverses := make([]fr.Element, len(terms))
	for i, t := range terms {
		if inverses[i].Sub(&rho, &t.value).IsZero() {
			return total, errors.New("circuit: a term equals the challenge; try again")
		}
	}
	for i, v := range fr.BatchInvert(inverses) {
		var weight fr.Element
		total.Add(&total, v.Mul(&v, weight.SetInt64(terms[i].weight)))
	}
	return total, nil
}

// walk goes through a stream as the circuit does, whatever the flags say.
type walk struct {
	*Stream
	now chain.State // without sums and blind
	h   [digestWords]uint32
}

// segment returns the terms of a segment's buses and the state after it.
func (w *walk) segment(i int) (references, list []term, after chain.State) {
	if i == 0 {
		w.now.Ended = true
	}
	for k := i * w.segmentBlocks; k < (i+1)*w.segmentBlocks; k++ {
		r, l := w.block(k)
		references, list = append(references, r...), append(list, l...)
	}
	after = w.now
	after.Ahead = new([idBytes]byte)
	copy(after.Ahead[:], w.bytes[(i+1)*w.segmentBlocks*blockBytes:])
	return references, list, after
}

func (w *walk) block(k int) (references, list []term) {
	s := &w.now
	data, steps := w.bytes[k*blockBytes:(k+1)*blockBytes], w.steps[k*blockBytes:(k+1)*blockBytes]
	if s.Ended && w.used[k] != 0 { // first
		w.h, s.Blocks, s.Length = sha1IV, 0, 0
		s.Objects++
	}
	if v := w.header[k]; v != noHeader {
		shape := headerShapes[v]
		at := len(shape.word())
		s.Length = uint64(shape.size()) + classNumber(data[at:at+shape.digits], 10).Uint64()
		if shape.commit {
			s.Children++
			at := shape.size() + len("tree ")
			references = append(references, referenceTerm(classNumber(data[at:at+hexDigits], 16), s.Children, 1))
		}
	}
	s.Blocks++
	for i, st := range steps {
		if st.listed != 0 {
			var v fr.Element
			list = append(list, term{*v.SetUint64(uint64(data[i]) + 256*s.Listed), st.listed})
			s.Listed += uint64(st.listed)
		}
		if st.child != 0 {
			s.Children += uint64(st.child)
			var id [idBytes]byte
			copy(id[:], w.bytes[k*blockBytes+i+1:])
			references = append(references, referenceTerm(new(big.Int).SetBytes(id[:]), s.Children, st.child))
		}
	}
	w.h = compressNative(w.h, data)
	for i, v := range w.h {
		binary.BigEndian.PutUint32(s.H[4*i:], v)
	}
	s.Automaton = uint64(steps[blockBytes-1].state)
	s.Ended = w.last[k] != 0 || w.used[k] == 0
	if w.last[k] != 0 {
		id := new(big.Int).SetBytes(s.H[:])
		references = append(references, referenceTerm(id, s.Objects-1, -int64(w.last[k])))
	}
	if s.Ended {
		s.H, s.Length, s.Blocks = [idBytes]byte{}, 0, 0
	}
	return references, list
}

// referenceTerm is the term of the reference to, or the id of, an object with a number.
func referenceTerm(id *big.Int, number uint64, weight int64) (t term) {
	v := new(big.Int).SetUint64(number)
	t.value.SetBigInt(v.Lsh(v, 8*idBytes).Add(v, id))
	t.weight = weight
	return t
}

// classNumber is the number whose digits are the classes of bytes: that which digits make.
func classNumber(digits []byte, base int64) *big.Int {
	v := new(big.Int)
	for _, d := range digits {
		v.Mul(v, big.NewInt(base))
		v.Add(v, big.NewInt(int64(classOf(d))))
	}
	return v
}

// compressNative is SHA-1's compression function (FIPS 180-4, section 6.1.2).
func compressNative(h [digestWords]uint32, block []byte) [digestWords]uint32 {
	var w [sha1Rounds]uint32
	for t := range w {
		if t < 16 {
			w[t] = binary.BigEndian.Uint32(block[4*t:])
		} else {
			w[t] = bits.RotateLeft32(w[t-3]^w[t-8]^w[t-14]^w[t-16], 1)
		}
	}
	a, b, c, d, e := h[0], h[1], h[2], h[3], h[4]
	for t := range w {
		var f uint32
		switch roundFunction(t) {
		case choice:
			f = b&c | ^b&d
		case majority:
			f = b&c | b&d | c&d
		case parity:
			f = b ^ c ^ d
		}
		a, b, c, d, e = bits.RotateLeft32(a, 5)+f+e+uint32(sha1K[t/20])+w[t], a, bits.RotateLeft32(b, 30), c, d
	}
	return [digestWords]uint32{h[0] + a, h[1] + b, h[2] + c, h[3] + d, h[4] + e}
}

// Assign returns segment i with all its inputs, for the states that States returned and the
// rho that it was given.
func (s *Stream) Assign(i int, states []chain.State, rho fr.Element) *Segment {
	before, after := &states[i], &states[i+1]
	seg := newSegment(s.segmentBlocks)
	seg.In, seg.Out, seg.Rho = before.Commitment(), after.Commitment(), rho
	seg.Before, seg.Blind = openingOf(before), after.Blind

	listed, children := before.Listed, before.Children
	for k := range s.segmentBlocks {
		block := i*s.segmentBlocks + k
		seg.Used[k], seg.Last[k] = s.used[block], s.last[block]
		for v := range headerShapes {
			seg.Header[k][v] = bit(s.header[block] == v)
		}
		if v := s.header[block]; v != noHeader && headerShapes[v].commit {
			children++
		}
		for at := k * blockBytes; at < (k+1)*blockBytes; at++ {
			st := s.steps[i*s.segmentBlocks*blockBytes+at]
			seg.Stream[at] = s.bytes[i*s.segmentBlocks*blockBytes+at]
			seg.State[at], seg.Listed[at], seg.Child[at] = int(st.state), st.listed, st.child
			listed += uint64(st.listed)
			children += uint64(st.child)
		}
		seg.ListCount[k], seg.ChildCount[k] = listed, children
	}
	for q, b := range after.Ahead {
		seg.Ahead[q] = b
	}
	return seg
}

func openingOf(s *chain.State) Opening {
	o := Opening{
		Automaton: s.Automaton, Ended: 0, Objects: s.Objects, Length: s.Length, Blocks: s.Blocks,
		Listed: s.Listed, Children: s.Children, Ahead: -1,
		References: s.References, List: s.List, Blind: s.Blind,
	}
	for i := range o.H {
		o.H[i] = binary.BigEndian.Uint32(s.H[4*i:])
	}
	if s.Ended {
		o.Ended = 1
	}
	if s.Ahead != nil {
		o.Ahead = new(big.Int).SetBytes(s.Ahead[:])
	}
	return o
}
