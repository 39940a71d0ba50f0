// Package circuit holds the statement that cratelog proves, as a gnark circuit.
//
// # The statement
//
// There are git objects O_0 .. O_m such that O_0 is a commit with a given SHA-1 id; every
// other object is named exactly once, by its true SHA-1 id, as the root tree of a commit or
// by a listed directory or gitlink entry of a tree, in the order in which those references
// stand; and a given list L is exactly: for each object in order its first byte ('c' or
// 't'), and after a tree's 't' its listed entries in the tree's order, each as MODE SP NAME
// NUL, followed by its 20-byte id unless it is a directory (mode 4..) or gitlink (mode 16..).
//
// # Segments
//
// The objects, each with its header and padded as SHA-1 pads, stand one after the other in a
// stream of blocks. A Segment claims one step of it: from the state that In commits to, a run
// of blocks leads to the state that Out commits to. One circuit serves any number of blocks:
// the stream is cut anywhere, and Out of a segment is In of the next. The state holds two
// sums of fractions at a point Rho, which is the same for all segments:
//
//   - References: 1/(Rho - id - 2^160 n) for reference number n, less the same for object
//     number n. At the end it is 0: what was referred to is what there is.
//   - List: 1/(Rho - byte - 256 place) for each listed byte. At the end it is the sum that a
//     verifier computes from L.
//
// Rho is a hash of the whole statement and of the proof system's commitments of all segments.
// Those commit to everything that enters the sums, so that nothing can be chosen after it.
// Package chain has the state, its commitment and Rho; a verifier makes the first In and the
// last Out himself.
//
// Public are the commit, the number of segments and what chain.End says. Everything else is
// private: commitments to states are blinded.
//
// # What is assumed
//
// SHA-1 is collision resistant (against the adversary that docs/threats.md describes);
// Poseidon2 binds and hides as a commitment and behaves as a random function where it makes a
// challenge; Groth16 with one commitment over BN254 is knowledge sound, for a verifying key
// whose secrets are gone, also where Rho is drawn between commitment and proof; the hashes
// that make challenges behave as random functions. docs/soundness.md argues from there.
//
// It is not proven that an entry's name is unique in its tree (git hosts refuse such trees,
// package git too), that nothing was left out of the list, or anything about blobs: a
// verifier hashes the files of the .crate itself and builds the list from them.
//
// The package is for the prover and for makers of keys; verifiers import proofcheck and never
// this package.
package circuit

import (
	"fmt"
	"math/big"

	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/permutation/poseidon2"

	"cratelog/proofcheck/chain"
)

// SegmentBlocks is the number of SHA-1 blocks of the segments that have keys: as many as a
// domain of 2^17 has room for.
const SegmentBlocks = 41

// Segment claims: whoever proves it knows a state to which In is the commitment, and blocks
// that lead from there to a state to which Out is the commitment, if both have their sums at
// Rho. See the package comment.
//
// Flags and counters are named by the prover and bound by constraints. A block is used or
// not; unused ones stand between objects, and change nothing.
type Segment struct {
	In  frontend.Variable `gnark:",public"` // chain.State.Commitment before the first block
	Out frontend.Variable `gnark:",public"` // and after the last
	Rho frontend.Variable `gnark:",public"` // chain.Rho

	Stream []frontend.Variable // 64 bytes a block
	Ahead  []frontend.Variable // the 20 bytes that follow
	State  []frontend.Variable // the automaton's state after each byte
	Listed []frontend.Variable // 1: the byte belongs to the list
	Child  []frontend.Variable // 1: the byte is the NUL before a child object's id
	Used   []frontend.Variable // 1: the block belongs to an object
	Last   []frontend.Variable // 1: the block is its object's last

	// Header[k][v] is 1 if an object starts in block k and its header is of shape v.
	Header [][]frontend.Variable

	ListCount  []frontend.Variable // bytes listed so far, after each block
	ChildCount []frontend.Variable // references to objects so far, after each block

	Before Opening           // of In
	Blind  frontend.Variable // of Out

	// testingOnlyDrop leaves out one group of constraints, to show that the test of
	// an attack on that group has teeth.
	testingOnlyDrop group
}

// Opening is the state that In commits to, field by field as in chain.State.
type Opening struct {
	H                [digestWords]frontend.Variable
	Automaton, Ended frontend.Variable
	Objects          frontend.Variable
	Length, Blocks   frontend.Variable
	Listed, Children frontend.Variable
	Ahead            frontend.Variable // as an integer; -1 before the first segment

	// These follow from Rho, so they cannot be committed to before.
	References, List, Blind frontend.Variable
}

// group names a group of constraints of the circuit.
type group string

const (
	groupBlocks    group = "blocks"    // flags of blocks are bits, and an unused block is no last one
	groupEnded     group = "ended"     // an object goes on until its last block
	groupAutomaton group = "automaton" // each byte is read in the one way
	groupChaining  group = "chaining"  // SHA-1 starts from its initial value
	groupPacked    group = "packed"    // a packed limb's integer is that of its spread
	groupHeader    group = "header"    // the header's shape, by which its length is read
	groupLength    group = "length"    // header, content and bit length agree
	groupPadding   group = "padding"   // a last block ends in the zeros of the padding
	groupIn        group = "in"        // In commits to the state before the first block
	groupAhead     group = "ahead"     // the bytes that were seen ahead are those that come
	groupWiping    group = "wiping"    // an ended object leaves nothing in the state
	groupOut       group = "out"       // Out commits to the state after the last block
	groupInputs    group = "inputs"    // each public input is bound by itself
)

// newSegment returns an empty circuit of so many blocks, to compile or to assign.
func newSegment(blocks int) *Segment {
	wires := func(n int) []frontend.Variable { return make([]frontend.Variable, n) }
	n := blocks * blockBytes
	s := &Segment{
		Stream: wires(n), Ahead: wires(idBytes), State: wires(n), Listed: wires(n), Child: wires(n),
		Used: wires(blocks), Last: wires(blocks), Header: make([][]frontend.Variable, blocks),
		ListCount: wires(blocks), ChildCount: wires(blocks),
	}
	for k := range s.Header {
		s.Header[k] = wires(len(headerShapes))
	}
	return s
}

// headerShape is one way an object may begin: its type and how many digits its
// length has. All that a header says then stands at fixed places of its block.
type headerShape struct {
	commit bool
	digits int
}

func (h headerShape) word() string {
	if h.commit {
		return "commit "
	}
	return "tree "
}

// size is the number of bytes of the header, with its NUL.
func (h headerShape) size() int { return len(h.word()) + h.digits + 1 }

// headerShapes are the headers that the circuit reads. The shortest real commit
// has three digits, the shortest tree with an entry two.
var headerShapes = func() (shapes []headerShape) {
	for d := 2; d <= maxDigits; d++ {
		shapes = append(shapes, headerShape{false, d})
	}
	for d := 3; d <= maxDigits; d++ {
		shapes = append(shapes, headerShape{true, d})
	}
	return shapes
}()

// builder is the state of one Define.
type builder struct {
	*Segment
	api   frontend.API
	arg   *argument
	sha1  *sha1Gadget
	m     *automaton
	bytes *byteTable
	steps *table // the automaton's rules
	pads  *table // the states of the padding

	references *bus // id + 2^160 * number of the object
	list       *bus // byte + 256 * place in the list
}

// Define implements frontend.Circuit.
func (s *Segment) Define(api frontend.API) error {
	b := &builder{Segment: s, api: api, arg: newArgument(api), m: newAutomaton()}
	p := standard
	if !b.on(groupPacked) {
		p = loose
	}
	b.sha1 = newSHA1Gadget(api, b.arg, p)
	b.bytes = newByteTable(b.arg)
	b.steps = b.m.table(b.arg)
	b.pads = b.arg.newTable("padding", rows(padStates, func(i int64) []int64 { return []int64{int64(b.m.pad0) + i} }))
	b.references, b.list = b.arg.newBus(), b.arg.newBus()
	b.commitInputs()

	before, err := b.open()
	if err != nil {
		return err
	}
	after := before
	for k := range s.Used {
		after = b.block(k, after)
	}
	b.bytes.read(s.Ahead) // they are bytes

	sums, err := b.arg.finish(s.Rho)
	if err != nil {
		return err
	}
	return b.close(after, api.Add(s.Before.References, sums[0]), api.Add(s.Before.List, sums[1]))
}

func (b *builder) on(g group) bool { return b.testingOnlyDrop != g }

// commitInputs commits to the public inputs, so that no challenge inside of the segment is
// known before they are fixed, and to all private inputs but those that follow from Rho. Of
// the public inputs the proof system's commitment, which Rho hashes, is no function. Bytes
// are committed to where they are read.
func (b *builder) commitInputs() {
	b.arg.commit(b.In, b.Out, b.Rho)
	if b.on(groupInputs) {
		// Each stands alone in the left side of a constraint: what rests on the independence
		// of the public inputs' polynomials there (eprint 2020/811) then applies.
		for _, v := range []frontend.Variable{b.In, b.Out, b.Rho} {
			b.api.Mul(v, v)
		}
	}
	for _, v := range [][]frontend.Variable{b.State, b.Listed, b.Child, b.Used, b.Last, b.ListCount, b.ChildCount} {
		b.arg.commit(v...)
	}
	for _, v := range b.Header {
		b.arg.commit(v...)
	}
	c := &b.Before
	b.arg.commit(c.H[:]...)
	b.arg.commit(c.Automaton, c.Ended, c.Objects, c.Length, c.Blocks, c.Listed, c.Children, c.Ahead)
}

// blockState is what one block hands to the next.
type blockState struct {
	h          chaining
	state      frontend.Variable // the automaton's
	ended      frontend.Variable // 1: no object is open
	objects    frontend.Variable // started so far
	length     frontend.Variable // the open object's bytes, header and content
	blocks     frontend.Variable // its blocks so far
	listCount  frontend.Variable
	childCount frontend.Variable
}

// open opens In and returns the state before the first block.
func (b *builder) open() (blockState, error) {
	c := &b.Before
	s := blockState{
		state: c.Automaton, ended: c.Ended, objects: c.Objects, length: c.Length, blocks: c.Blocks,
		listCount: c.Listed, childCount: c.Children,
	}
	for i := range s.h {
		s.h[i] = b.sha1.reduce(c.H[i]) // its limbs
	}
	in, err := b.commitment(b.sha1.digest(s.h), c.Automaton, c.Ended, c.Objects, c.Length, c.Blocks,
		c.Listed, c.Children, c.Ahead, c.References, c.List, c.Blind)
	if err != nil {
		return s, err
	}
	if b.on(groupIn) {
		b.api.AssertIsEqual(in, b.In)
	}
	if b.on(groupAhead) {
		// What the segment before saw ahead is what comes. Before the first there is none.
		seen := b.api.Sub(c.Ahead, b.integer(b.Stream[:idBytes]))
		b.api.AssertIsEqual(b.api.Mul(b.api.Add(c.Ahead, 1), seen), 0)
	}
	return s, nil
}

// close asserts that Out commits to the state after the last block. What an ended object
// leaves is wiped, so that a verifier knows the state after the last segment.
func (b *builder) close(s blockState, references, list frontend.Variable) error {
	wipe := func(v frontend.Variable) frontend.Variable { return b.api.Mul(v, b.api.Sub(1, s.ended)) }
	if !b.on(groupWiping) {
		wipe = func(v frontend.Variable) frontend.Variable { return v }
	}
	out, err := b.commitment(wipe(b.sha1.digest(s.h)), s.state, s.ended, s.objects, wipe(s.length), wipe(s.blocks),
		s.listCount, s.childCount, b.integer(b.Ahead), references, list, b.Blind)
	if err != nil {
		return err
	}
	if b.on(groupOut) {
		b.api.AssertIsEqual(out, b.Out)
	}
	return nil
}

// commitment is chain.State.Commitment, of the lanes that it names.
func (b *builder) commitment(fields ...frontend.Variable) (frontend.Variable, error) {
	perm, err := poseidon2.NewPoseidon2FromParameters(b.api, chain.Width, chain.FullRounds, chain.PartialRounds)
	if err != nil {
		return nil, fmt.Errorf("circuit: poseidon2: %w", err)
	}
	lanes := make([]frontend.Variable, chain.Width)
	for i := range lanes {
		lanes[i] = 0
	}
	copy(lanes, fields)
	lanes[chain.Width-1] = chain.Label
	if err := perm.Permutation(lanes); err != nil {
		return nil, fmt.Errorf("circuit: poseidon2: %w", err)
	}
	return lanes[0], nil
}

// integer is the number that big-endian bytes make.
func (b *builder) integer(bytes []frontend.Variable) frontend.Variable {
	return integer(b.api, bytes, big.NewInt(256))
}

// block constrains one block and adds its terms to the buses.
func (b *builder) block(k int, prev blockState) blockState {
	api := b.api
	used, last := b.Used[k], b.Last[k]
	first := api.Mul(used, prev.ended)
	unused := api.Sub(1, used)
	if b.on(groupBlocks) {
		api.AssertIsBoolean(used)
		api.AssertIsBoolean(last)
		api.AssertIsEqual(api.Mul(last, unused), 0)
	}
	if b.on(groupEnded) {
		api.AssertIsEqual(api.Mul(unused, api.Sub(1, prev.ended)), 0)
	}
	words, class := b.bytes.words(b.Stream[k*blockBytes : (k+1)*blockBytes])
	h := prev.h
	if b.on(groupChaining) {
		h = b.sha1.choose(first, prev.h)
	}
	next := blockState{
		h:       b.sha1.compress(h, words),
		state:   b.read(k, class, prev.state, first),
		ended:   api.Add(last, unused), // one of the two at most is 1
		objects: api.Add(prev.objects, first),
	}
	b.header(k, first)
	b.lengths(k, first, class, prev, &next)
	b.refer(k, class, prev, &next)
	// Object number objects-1 has the id that its last block yields.
	b.references.receive(b.numbered(b.sha1.digest(next.h), api.Sub(next.objects, 1)), last)
	return next
}

// numbered is the term of the reference to, or the id of, an object with a number.
func (b *builder) numbered(id, number frontend.Variable) frontend.Variable {
	return b.api.Add(id, b.api.Mul(number, pow(2, 8*idBytes)))
}

// read runs the automaton over a block and returns the state after it. The eight
// bytes that end a last block are its length field, over which it idles.
func (b *builder) read(k int, class []frontend.Variable, prev, first frontend.Variable) frontend.Variable {
	api := b.api
	// A block that does not continue an object follows an idle state, which is 0:
	// so a first block starts in the start state, an unused one stays idle.
	s := api.Add(prev, api.Mul(first, int(b.m.start)))
	for i := range blockBytes {
		at := k*blockBytes + i
		if i == blockBytes-8 {
			s = api.Mul(s, api.Sub(1, b.Last[k]))
		}
		if b.on(groupAutomaton) {
			b.steps.assertRow(api.Add(api.Mul(s, classRadix), class[i]), b.State[at], b.Listed[at], b.Child[at])
		}
		s = b.State[at]
	}
	return s
}

// header ties a first block's header to one shape: the automaton must be at the
// end of that header where the shape says so. An object has one end of header, and
// no two entry boundaries are as near as two shapes, so at most one flag of a
// block can be other than zero, and it equals first.
func (b *builder) header(k int, first frontend.Variable) {
	if !b.on(groupHeader) {
		return
	}
	b.api.AssertIsEqual(sum(b.api, b.Header[k]), first)
	for v, shape := range headerShapes {
		body := b.m.tree
		if shape.commit {
			body = b.m.commit
		}
		at := b.State[k*blockBytes+shape.size()-1]
		b.api.AssertIsEqual(b.api.Mul(b.Header[k][v], b.api.Sub(at, int(body))), 0)
	}
}

// lengths constrains that the length in the header is the number of bytes of the
// content, and that the length field has the number of bits of both.
func (b *builder) lengths(k int, first frontend.Variable, class []frontend.Variable,
	prev blockState, next *blockState) {
	api := b.api
	stated := make([]frontend.Variable, len(headerShapes))
	for v, shape := range headerShapes {
		at := len(shape.word())
		content := integer(api, class[at:at+shape.digits], big.NewInt(10)) // the class of a digit is its value
		stated[v] = api.Mul(b.Header[k][v], api.Add(content, shape.size()))
	}
	again := api.Sub(1, first)
	next.length = api.Add(api.Mul(prev.length, again), sum(api, stated))
	next.blocks = api.Add(api.Mul(prev.blocks, again), 1)

	beforeLength := b.State[k*blockBytes+blockBytes-9]
	last := b.Last[k]
	if b.on(groupPadding) {
		b.pads.assertRowIf(last, beforeLength)
	}
	if b.on(groupLength) {
		// All bytes of the object's blocks but 0x80, the zeros and the length field.
		zeros := api.Sub(beforeLength, int(b.m.pad0))
		length := api.Sub(api.Mul(next.blocks, blockBytes), 9, zeros)
		api.AssertIsEqual(api.Mul(last, api.Sub(length, next.length)), 0)

		field := b.integer(b.Stream[(k+1)*blockBytes-8 : (k+1)*blockBytes])
		api.AssertIsEqual(api.Mul(last, api.Sub(field, api.Mul(next.length, 8))), 0)
	}
}

// refer sends what the block says of other objects and of the list, and counts both.
func (b *builder) refer(k int, class []frontend.Variable, prev blockState, next *blockState) {
	api := b.api
	listCount, childCount := prev.listCount, prev.childCount

	// A commit names its root tree in hex, at a place that its header's shape fixes.
	for v, shape := range headerShapes {
		if !shape.commit {
			continue
		}
		childCount = api.Add(childCount, b.Header[k][v])
		at := shape.size() + len("tree ")
		id := integer(api, class[at:at+hexDigits], big.NewInt(16)) // the class of a hex digit is its value
		b.references.send(b.numbered(id, api.Add(prev.childCount, 1)), b.Header[k][v])
	}
	for i := range blockBytes {
		at := k*blockBytes + i
		b.list.send(api.Add(b.Stream[at], api.Mul(listCount, 256)), b.Listed[at])
		listCount = api.Add(listCount, b.Listed[at])
		childCount = api.Add(childCount, b.Child[at])
		b.references.send(b.numbered(b.idAfter(at), childCount), b.Child[at])
	}
	// The counts are named again, so that their forms stay short.
	api.AssertIsEqual(b.ListCount[k], listCount)
	api.AssertIsEqual(b.ChildCount[k], childCount)
	next.listCount, next.childCount = b.ListCount[k], b.ChildCount[k]
}

// idAfter is the integer of the 20 bytes after a place in the stream.
func (b *builder) idAfter(at int) frontend.Variable {
	id := make([]frontend.Variable, idBytes)
	for i := range id {
		if next := at + 1 + i; next < len(b.Stream) {
			id[i] = b.Stream[next]
		} else {
			id[i] = b.Ahead[next-len(b.Stream)]
		}
	}
	return b.integer(id)
}
