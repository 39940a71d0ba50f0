package circuit

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"cratelog/proofcheck/chain"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// world is what a prover who need not be honest claims, block by block, and what the verifier
// has. It is written from the definition of a segment and not with the prover's code: all that is
// not claimed (chaining values, counters, sums, commitments) follows from the claims as the
// constraints want it, so that an attack is refused for its one lie and not for a careless prover.
type world struct {
	repo   // the honest part's objects; the commit and the list are those that the verifier has
	blocks []block

	cutBefore int  // a block before which a cut has to fall; 0: anywhere
	aligned   bool // every object begins a segment
	continued bool // SHA-1 goes on from object to object
}

// block is one block of the stream with its flags, and with what a prover claims at a cut.
type block struct {
	bytes         [blockBytes]byte
	state         [blockBytes]int64
	listed, child [blockBytes]int64
	used, last    int64
	header        []int64

	moreListed, moreChildren int64 // added to the counters after the block

	ahead  *[idBytes]byte     // what a segment that ends here says that comes
	opened func(*chain.State) // alters the state that a segment which begins here opens
}

// claimed returns the honest claims of a repository, in which every object is read as it is.
func claimed(t testing.TB, r repo) *world {
	t.Helper()
	w := &world{repo: r}
	m := newAutomaton()
	for _, o := range r.objects {
		steps, err := m.read(o)
		fatalIf(t, err)
		shape, err := shapeOf(o.Data)
		fatalIf(t, err)
		padded := sha1Pad(o.Data)
		for at := 0; at < len(padded); at += blockBytes {
			b := block{used: 1, last: bit(at+blockBytes == len(padded)), header: make([]int64, len(headerShapes))}
			if at == 0 {
				b.header[shape] = 1
			}
			copy(b.bytes[:], padded[at:])
			for i := range blockBytes {
				if at+i < len(steps) {
					b.step(i, steps[at+i])
				}
			}
			w.blocks = append(w.blocks, b)
		}
	}
	return w
}

func (b *block) step(i int, r rule) {
	b.state[i], b.listed[i], b.child[i] = int64(r.to), bit(r.list), bit(r.child)
}

// unused is a block in which nothing is.
func unused() block { return block{header: make([]int64, len(headerShapes))} }

// blockOf returns the block in which object number n starts.
func (w *world) blockOf(n int) int {
	k := 0
	for _, o := range w.objects[:n] {
		k += len(sha1Pad(o.Data)) / blockBytes
	}
	return k
}

// at returns a byte of object number n: its block, and its place there.
func (w *world) at(n, i int) (*block, int) {
	return &w.blocks[w.blockOf(n)+i/blockBytes], i % blockBytes
}

// run holds what follows from a world when it is cut into segments.
type run struct {
	before, after []chain.State // of each segment
	counts        [][2]uint64   // after each block: listed bytes, references
	segments      [][]block
}

// cut cuts the stream, after some unused blocks, into segments of S blocks.
func (w *world) cut(S, offset int, rho fr.Element) (*run, error) {
	blocks := slices.Repeat([]block{unused()}, offset)
	for _, b := range w.blocks {
		for w.aligned && slices.ContainsFunc(b.header, func(v int64) bool { return v != 0 }) && len(blocks)%S != 0 {
			blocks = append(blocks, unused())
		}
		blocks = append(blocks, b)
	}
	for len(blocks)%S != 0 {
		blocks = append(blocks, unused())
	}
	state, err := chain.Start(w.commit, rho)
	if err != nil {
		return nil, err
	}
	r := &run{}
	for at := 0; at < len(blocks); at += S {
		segment := blocks[at : at+S]
		var ahead [idBytes]byte
		if at+S < len(blocks) {
			copy(ahead[:], blocks[at+S].bytes[:])
		}
		if lie := segment[S-1].ahead; lie != nil {
			ahead = *lie
		}
		if alter := segment[0].opened; alter != nil {
			alter(&state)
		}
		r.before = append(r.before, state)
		for k, b := range segment {
			following := ahead[:]
			if k+1 < S {
				following = segment[k+1].bytes[:]
			}
			state = w.follow(state, b, following, rho)
			r.counts = append(r.counts, [2]uint64{state.Listed, state.Children})
		}
		if state.Ended {
			state.H, state.Length, state.Blocks = [idBytes]byte{}, 0, 0
		}
		state.Ahead = &ahead
		state.Blind.SetUint64(uint64(at) + 1000)
		if at+S == len(blocks) {
			state.Blind.SetZero()
		}
		r.after = append(r.after, state)
		r.segments = append(r.segments, segment)
	}
	return r, nil
}

// follow returns the state after a block: what the constraints say of its claims.
func (w *world) follow(s chain.State, b block, following []byte, rho fr.Element) chain.State {
	if b.used == 1 && s.Ended {
		s.Length, s.Blocks = 0, 0
		s.Objects++
		if !w.continued {
			s.H = joined(sha1IV)
		}
	}
	s.Blocks++
	for v, shape := range headerShapes {
		if b.header[v] == 0 {
			continue
		}
		digits := uint64(0)
		for i := range shape.digits {
			digits = 10*digits + uint64(classOf(b.bytes[len(shape.word())+i]))
		}
		s.Length += digits + uint64(shape.size())
		if shape.commit {
			s.Children++
			id := new(big.Int)
			for i := range hexDigits {
				id.Lsh(id, 4).Add(id, big.NewInt(int64(classOf(b.bytes[shape.size()+len("tree ")+i]))))
			}
			send(&s.References, b.header[v], numbered(id, s.Children), rho)
		}
	}
	seen := append(b.bytes[:], following[:idBytes]...)
	for i := range blockBytes {
		send(&s.List, b.listed[i], new(big.Int).SetUint64(uint64(b.bytes[i])+256*s.Listed), rho)
		s.Listed += uint64(b.listed[i])
		s.Children += uint64(b.child[i])
		send(&s.References, b.child[i], numbered(new(big.Int).SetBytes(seen[i+1:i+1+idBytes]), s.Children), rho)
	}
	s.H = compressed(s.H, b.bytes[:])
	send(&s.References, -b.last, numbered(new(big.Int).SetBytes(s.H[:]), s.Objects-1), rho)
	s.Listed += uint64(b.moreListed)
	s.Children += uint64(b.moreChildren)
	s.Automaton = uint64(b.state[blockBytes-1])
	s.Ended = b.last+1-b.used == 1
	return s
}

func numbered(id *big.Int, n uint64) *big.Int {
	v := new(big.Int).SetUint64(n)
	return v.Add(v.Lsh(v, 8*idBytes), id)
}

// send adds weight/(rho - term) to a sum.
func send(sum *fr.Element, weight int64, term *big.Int, rho fr.Element) {
	if weight == 0 {
		return
	}
	var w, d fr.Element
	d.SetBigInt(term)
	d.Sub(&rho, &d)
	sum.Add(sum, w.Div(w.SetInt64(weight), &d))
}

func joined(words [digestWords]uint32) (h [idBytes]byte) {
	for i, w := range words {
		binary.BigEndian.PutUint32(h[4*i:], w)
	}
	return h
}

func compressed(h [idBytes]byte, block []byte) [idBytes]byte {
	var words [digestWords]uint32
	for i := range words {
		words[i] = binary.BigEndian.Uint32(h[4*i:])
	}
	return joined(compressNative(words, block))
}

// assign fills in a segment of a run, with the commitments that the verifier has.
func (r *run) assign(i int, in, out, rho fr.Element) *Segment {
	S := len(r.segments[i])
	s := newSegment(S)
	s.In, s.Out, s.Rho = in, out, rho
	for k, b := range r.segments[i] {
		for q := range blockBytes {
			at := k*blockBytes + q
			s.Stream[at], s.State[at], s.Listed[at], s.Child[at] = b.bytes[q], b.state[q], b.listed[q], b.child[q]
		}
		s.Used[k], s.Last[k] = b.used, b.last
		for v := range b.header {
			s.Header[k][v] = b.header[v]
		}
		s.ListCount[k], s.ChildCount[k] = r.counts[i*S+k][0], r.counts[i*S+k][1]
	}
	for q, b := range r.after[i].Ahead {
		s.Ahead[q] = b
	}
	s.Blind = r.after[i].Blind
	s.Before = openingOf(&r.before[i])
	return s
}

// Groups that are no constraints but what the verifier puts into the last state, or demands of
// his own list.
const (
	endReferences group = "end: references" // every reference is answered, and nothing else is
	endChildren   group = "end: children"   // as many references as objects
	endObjects    group = "end: objects"    // as many objects as the list tells
	endBytes      group = "end: list bytes" // as many listed bytes as the list has
	endList       group = "end: list"       // the listed bytes are the list's
	endOpen       group = "end: open"       // no object is open
	endShape      group = "end: shape"      // the list is one that is well formed
)

// end is the last state as a verifier makes it who leaves out some of his demands.
func (w *world) end(claimed chain.State, rho fr.Element, drop []group) (chain.State, error) {
	e, err := chain.EndOf(w.list, rho)
	if err != nil && slices.Contains(drop, endShape) {
		e = chain.End{Objects: uint32(claimed.Objects), ListBytes: uint32(len(w.list))}
		e.List, err = chain.Sum(w.list, rho)
	}
	if err != nil {
		return chain.State{}, err
	}
	s := e.State()
	for _, g := range drop {
		switch g {
		case endReferences:
			s.References = claimed.References
		case endChildren:
			s.Children = claimed.Children
		case endObjects:
			s.Objects, s.Children = claimed.Objects, claimed.Objects-1
		case endBytes:
			s.Listed = claimed.Listed
		case endList:
			s.List = claimed.List
		case endOpen:
			s.H, s.Automaton, s.Ended = claimed.H, claimed.Automaton, claimed.Ended
			s.Length, s.Blocks = claimed.Length, claimed.Blocks
		}
	}
	return s, nil
}

// refused says why a verifier would not believe the world's proof, with some groups left out (one
// of constraints at most); nil if he would. He believes if every segment can be proven, the first
// from the start that he makes himself, the last to the end that he makes, and each other from
// where the one before ended.
func (w *world) refused(t testing.TB, S, offset int, drop ...group) error {
	t.Helper()
	var rho fr.Element
	_, err := rho.SetRandom()
	fatalIf(t, err)
	r, err := w.cut(S, offset, rho)
	fatalIf(t, err)
	start, err := chain.Start(w.commit, rho)
	fatalIf(t, err)
	end, err := w.end(r.after[len(r.after)-1], rho, drop)
	if err != nil {
		return err
	}
	var constraints group
	for _, g := range drop {
		if !strings.HasPrefix(string(g), "end: ") {
			constraints = g
		}
	}
	in := start.Commitment()
	for i := range r.segments {
		out := r.after[i].Commitment()
		if i == len(r.segments)-1 {
			out = end.Commitment()
		}
		if err := solve(t, system(t, S, constraints), r.assign(i, in, out, rho), nil); err != nil {
			return fmt.Errorf("segment %d of %d: %w", i+1, len(r.segments), err)
		}
		in = out
	}
	return nil
}
