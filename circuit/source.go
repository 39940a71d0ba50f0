// Package circuit holds the statements that cratelog proves, as gnark circuits.
//
// It is for the prover and for makers of keys; verifiers import proofcheck
// and never this package.
package circuit

import (
	"fmt"

	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/std/permutation/poseidon2"
)

// ChunkBytes is how many bytes of the list L go into one field element of its digest.
const ChunkBytes = 31

// Capacity is the size of a circuit. Proofs of different capacities are proofs of
// different programs.
type Capacity struct {
	Blocks int // SHA-1 blocks of 64 bytes, over all objects with their padding
	Chunks int // chunks of ChunkBytes bytes that L may have
}

// ListBytes is the longest list L, in bytes.
func (c Capacity) ListBytes() int { return c.Chunks * ChunkBytes }

// The size classes, by SHA-1 blocks. Of 500 measured packages two thirds fit in the
// first, nine of ten in the second, and nearly all in the third.
var (
	Class64  = class(64)
	Class128 = class(128)
	Class512 = class(512)
)

// class has room for any list that its blocks can yield: a commit object takes three
// blocks at least, and only its first byte is listed.
func class(blocks int) Capacity {
	longest := (blocks-3)*blockBytes + 1
	return Capacity{Blocks: blocks, Chunks: (longest + ChunkBytes - 1) / ChunkBytes}
}

// Source claims: there are git objects O_0 .. O_m such that O_0 is a commit whose
// SHA-1 id is Commit; every object but O_0 is named exactly once, by its true
// SHA-1 id, as the root tree of a commit or by a listed directory or gitlink entry
// of a tree, in the order in which those references stand; and the list whose
// digest is Files is exactly: for each object in order its first byte ('c' or
// 't'), and after a tree's 't' its listed entries in the tree's order, each as
// MODE SP NAME NUL, followed by its 20-byte id unless it is a directory (mode 4..)
// or gitlink (mode 16..).
//
// Public: Commit, Files, Context. Context is bound and has no other meaning here:
// it ties the proof to a subject and a claim. Everything else is private.
//
// It assumes: SHA-1 and Poseidon2 are collision resistant (the former against
// the adversary that docs/threats.md describes); Groth16 with one commitment over
// BN254 is knowledge sound, for a verifying key whose secrets are gone; the
// commitment's hash and Poseidon2 behave as random functions.
//
// It does not prove: that an entry's name is unique in its tree (git hosts refuse
// such trees, package git too), that nothing was left out of the list, or anything
// about blobs: a verifier hashes the files of the .crate itself, builds the list
// from them, and compares its digest with Files.
//
// Every verifier builds the list natively, so its shape (a tree of objects rooted
// at a commit, breadth first) is given and only has to be matched here.
type Source struct {
	Commit  frontend.Variable `gnark:",public"` // the id as a 160-bit integer
	Files   frontend.Variable `gnark:",public"` // Poseidon2 digest of the list
	Context frontend.Variable `gnark:",public"`

	// The object stream: every object with its header, padded as SHA-1 pads, one
	// after the other, then unused blocks.
	Stream []frontend.Variable // 64 bytes a block
	State  []frontend.Variable // the automaton's state after each byte
	Listed []frontend.Variable // 1: the byte belongs to the list
	Child  []frontend.Variable // 1: the byte is the NUL before a child object's id
	Used   []frontend.Variable // 1: the block belongs to an object
	Last   []frontend.Variable // 1: the block is its object's last

	// Header[k][v] is 1 if an object starts in block k and its header is of shape v.
	Header [][]frontend.Variable

	// Counters at the start of each block, and after the last.
	ListCount  []frontend.Variable // listed bytes so far
	ChildCount []frontend.Variable // references to objects so far

	// The list and where it ends.
	List     []frontend.Variable
	ListUsed []frontend.Variable // 1: the byte is part of the list
	End      []frontend.Variable // 1: the chunk is the list's last

	capacity Capacity
	// testingOnlyDrop leaves out one group of constraints, to show that the test of
	// an attack on that group has teeth.
	testingOnlyDrop group
}

// group names a group of constraints of the source circuit.
type group string

const (
	groupBlocks    group = "blocks"    // objects are contiguous runs of blocks
	groupAutomaton group = "automaton" // each byte is read in the one way
	groupChaining  group = "chaining"  // SHA-1 starts from its initial value
	groupHeader    group = "header"    // the header's shape, by which its length is read
	groupLength    group = "length"    // header, content and bit length agree
	groupPadding   group = "padding"   // a last block ends in the zeros of the padding
	groupChildren  group = "children"  // every object is named by its true id
	groupList      group = "list"      // the listed bytes are the list
	groupOctets    group = "octets"    // the list is made of bytes
	groupDigest    group = "digest"    // Files is the digest of the list
	groupContext   group = "context"   // Context is bound
)

// NewSource returns an empty circuit of the given capacity, to compile or to assign.
func NewSource(c Capacity) *Source {
	n := c.Blocks * blockBytes
	s := &Source{
		capacity: c,
		Stream:   make([]frontend.Variable, n), State: make([]frontend.Variable, n),
		Listed: make([]frontend.Variable, n), Child: make([]frontend.Variable, n),
		Used: make([]frontend.Variable, c.Blocks), Last: make([]frontend.Variable, c.Blocks),
		Header:     make([][]frontend.Variable, c.Blocks),
		ListCount:  make([]frontend.Variable, c.Blocks+1),
		ChildCount: make([]frontend.Variable, c.Blocks+1),
		List:       make([]frontend.Variable, c.ListBytes()),
		ListUsed:   make([]frontend.Variable, c.ListBytes()),
		End:        make([]frontend.Variable, c.Chunks),
	}
	for k := range s.Header {
		s.Header[k] = make([]frontend.Variable, len(headerShapes(c)))
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

// headerShapes lists the headers that fit in a capacity. The shortest real commit
// has three digits, the shortest tree with an entry two.
func headerShapes(c Capacity) (shapes []headerShape) {
	most := len(fmt.Sprint(c.Blocks * blockBytes))
	for d := 2; d <= min(most, maxDigits); d++ {
		shapes = append(shapes, headerShape{false, d})
	}
	for d := 3; d <= min(most, maxDigits); d++ {
		shapes = append(shapes, headerShape{true, d})
	}
	return shapes
}

// sourceBuilder is the state of one Define.
type sourceBuilder struct {
	*Source
	api   frontend.API
	arg   *argument
	sha1  *sha1Gadget
	m     *automaton
	bytes *byteTable
	steps *table // the automaton's rules
	pads  *table // the states of the padding

	children *bus // id + 2^160 * number of the object
	listed   *bus // byte + 256 * place in the list
}

// Define implements frontend.Circuit.
func (s *Source) Define(api frontend.API) error {
	b := &sourceBuilder{Source: s, api: api, arg: newArgument(api), m: newAutomaton()}
	b.sha1 = &sha1Gadget{api, b.arg, newSHA1Tables(b.arg)}
	b.bytes = newByteTable(b.arg)
	b.steps = b.m.table(b.arg)
	b.pads = b.arg.newTable("padding", rows(padStates, func(i int64) []int64 { return []int64{int64(b.m.pad0) + i} }))
	b.children = b.arg.newBus("children")
	b.listed = b.arg.newBus("list")
	b.commitInputs()

	if err := b.objects(); err != nil {
		return err
	}
	b.list()
	if err := b.digest(); err != nil {
		return err
	}
	if b.on(groupContext) {
		// A product of a public input with itself binds it; a product with zero
		// would be folded away and bind nothing.
		api.Mul(s.Context, s.Context)
	}
	return b.arg.finish()
}

func (b *sourceBuilder) on(g group) bool { return b.testingOnlyDrop != g }

// commitInputs commits to the public inputs, so that no challenge is known before
// they are fixed, and to all private inputs that enter lookups or buses. The
// stream's bytes are committed to where they are read.
func (b *sourceBuilder) commitInputs() {
	b.arg.commit(b.Commit, b.Files, b.Context)
	for _, v := range [][]frontend.Variable{b.State, b.Listed, b.Child, b.Used, b.Last,
		b.ListCount, b.ChildCount, b.List, b.ListUsed, b.End} {
		b.arg.commit(v...)
	}
	for _, v := range b.Header {
		b.arg.commit(v...)
	}
}

// blockState is what one block hands to the next.
type blockState struct {
	h       chaining
	state   frontend.Variable // the automaton's, after the block
	used    frontend.Variable
	last    frontend.Variable
	objects frontend.Variable // objects started so far
	length  frontend.Variable // the current object's bytes, header and content
	blocks  frontend.Variable // its blocks so far
}

// objects constrains the object stream and sends its listed bytes and references.
func (b *sourceBuilder) objects() error {
	// The commit is reference number 0, which object number 0 must answer.
	if b.on(groupChildren) {
		b.children.send(b.Commit, 1)
	}
	b.api.AssertIsEqual(b.ListCount[0], 0)
	b.api.AssertIsEqual(b.ChildCount[0], 0)
	// Before the first block: as after a last one.
	prev := blockState{h: constantState(sha1IV), state: 0, used: 1, last: 1, objects: 0, length: 0, blocks: 0}
	for k := range b.Used {
		next, err := b.block(k, prev)
		if err != nil {
			return fmt.Errorf("circuit: block %d: %w", k, err)
		}
		prev = next
	}
	if b.on(groupBlocks) {
		// The last block of all is unused or an object's last.
		b.api.AssertIsEqual(b.api.Mul(prev.used, b.api.Sub(1, prev.last)), 0)
	}
	return nil
}

// block constrains one block.
func (b *sourceBuilder) block(k int, prev blockState) (blockState, error) {
	api := b.api
	used, last := b.Used[k], b.Last[k]
	first := api.Mul(used, prev.last)
	if k == 0 {
		api.AssertIsEqual(used, 1)
	}
	if b.on(groupBlocks) {
		api.AssertIsBoolean(used)
		api.AssertIsBoolean(last)
		api.AssertIsEqual(api.Mul(used, api.Sub(1, prev.used)), 0)                     // used blocks are a prefix
		api.AssertIsEqual(api.Mul(last, api.Sub(1, used)), 0)                          // a last block is used
		api.AssertIsEqual(api.Mul(api.Sub(prev.used, used), api.Sub(1, prev.last)), 0) // and ends the used ones
	}
	stream := b.Stream[k*blockBytes : (k+1)*blockBytes]
	words, class, err := b.bytes.read(api, stream)
	if err != nil {
		return blockState{}, err
	}
	h := prev.h
	if b.on(groupChaining) {
		h = b.sha1.choose(first, prev.h)
	}
	next := blockState{used: used, last: last, objects: api.Add(prev.objects, first)}
	if next.h, err = b.sha1.compress(h, words); err != nil {
		return blockState{}, err
	}
	next.state = b.read(k, class, prev.state, first)
	b.header(k, first, class)
	b.lengths(k, first, class, prev, &next)
	b.references(k, class)
	if b.on(groupChildren) {
		// Object number objects-1 has the id that its last block yields.
		id := b.sha1.digest(next.h)
		number := api.Sub(next.objects, 1)
		b.children.receive(api.Add(id, api.Mul(number, pow(2, 160))), last)
	}
	return next, nil
}

// read runs the automaton over a block and returns the state after it. The eight
// bytes that end a last block are its length field, over which it idles.
func (b *sourceBuilder) read(k int, class []frontend.Variable, prev, first frontend.Variable) frontend.Variable {
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
func (b *sourceBuilder) header(k int, first frontend.Variable, class []frontend.Variable) {
	if !b.on(groupHeader) {
		return
	}
	b.api.AssertIsEqual(sum(b.api, b.Header[k]), first)
	for v, shape := range headerShapes(b.capacity) {
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
func (b *sourceBuilder) lengths(k int, first frontend.Variable, class []frontend.Variable, prev blockState, next *blockState) {
	api := b.api
	stated := make([]frontend.Variable, 0, len(b.Header[k]))
	for v, shape := range headerShapes(b.capacity) {
		content := frontend.Variable(0)
		for i := range shape.digits { // the class of a digit is its value
			content = api.Add(api.Mul(content, 10), class[len(shape.word())+i])
		}
		stated = append(stated, api.Mul(b.Header[k][v], api.Add(content, shape.size())))
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

		field := frontend.Variable(0)
		for _, v := range b.Stream[(k+1)*blockBytes-8 : (k+1)*blockBytes] {
			field = api.Add(api.Mul(field, 256), v)
		}
		api.AssertIsEqual(api.Mul(last, api.Sub(field, api.Mul(next.length, 8))), 0)
	}
}

// references sends what the block says of other objects and of the list.
func (b *sourceBuilder) references(k int, class []frontend.Variable) {
	api := b.api
	listCount, childCount := b.ListCount[k], b.ChildCount[k]

	// A commit names its root tree in hex, at a place that its header's shape fixes.
	for v, shape := range headerShapes(b.capacity) {
		if !shape.commit {
			continue
		}
		childCount = api.Add(childCount, b.Header[k][v])
		if !b.on(groupChildren) {
			continue
		}
		id := make([]frontend.Variable, hexDigits)
		for i := range id { // the class of a hex digit is its value
			id[i] = api.Mul(class[shape.size()+len("tree ")+i], pow(16, int64(hexDigits-1-i)))
		}
		number := api.Add(b.ChildCount[k], 1)
		b.children.send(api.Add(sum(api, id), api.Mul(number, pow(2, 160))), b.Header[k][v])
	}
	for i := range blockBytes {
		at := k*blockBytes + i
		if b.on(groupList) {
			b.listed.send(api.Add(b.Stream[at], api.Mul(listCount, 256)), b.Listed[at])
		}
		listCount = api.Add(listCount, b.Listed[at])
		childCount = api.Add(childCount, b.Child[at])
		if b.on(groupChildren) {
			b.children.send(api.Add(b.idAfter(at), api.Mul(childCount, pow(2, 160))), b.Child[at])
		}
	}
	api.AssertIsEqual(b.ListCount[k+1], listCount)
	api.AssertIsEqual(b.ChildCount[k+1], childCount)
}

// idAfter is the 160-bit integer of the 20 bytes after a place in the stream.
func (b *sourceBuilder) idAfter(at int) frontend.Variable {
	var id []frontend.Variable
	for i := range idBytes {
		if at+1+i < len(b.Stream) {
			id = append(id, b.api.Mul(b.Stream[at+1+i], pow(256, int64(idBytes-1-i))))
		}
	}
	return sum(b.api, id)
}

// list receives the listed bytes. The multiset equality forces ListUsed to be 1
// for as many bytes as were sent, and 0 for the rest: each place occurs once on
// either side.
func (b *sourceBuilder) list() {
	t := b.arg.newTable("octet", rows(256, func(i int64) []int64 { return []int64{i} }))
	for j := range b.List {
		if b.on(groupOctets) {
			t.assertRow(b.List[j])
		}
		if b.on(groupList) {
			b.listed.receive(b.api.Add(b.List[j], 256*j), b.ListUsed[j])
		}
	}
}

// digest constrains Files to be the Poseidon2 digest of the list's length and of
// its chunks up to the one flagged as its end. That the flag stands where the
// length says follows from Poseidon2: the verifier's digest covers both.
func (b *sourceBuilder) digest() error {
	api := b.api
	perm, err := poseidon2.NewPoseidon2(api)
	if err != nil {
		return fmt.Errorf("circuit: poseidon2: %w", err)
	}
	state := perm.Compress(0, b.ListCount[len(b.ListCount)-1])
	ends := make([]frontend.Variable, len(b.End))
	for c := range b.End {
		chunk := make([]frontend.Variable, ChunkBytes)
		for i := range chunk {
			chunk[i] = api.Mul(b.List[c*ChunkBytes+i], pow(256, int64(ChunkBytes-1-i)))
		}
		state = perm.Compress(state, sum(api, chunk))
		if b.on(groupDigest) {
			api.AssertIsBoolean(b.End[c])
		}
		ends[c] = api.Mul(b.End[c], state)
	}
	if b.on(groupDigest) {
		api.AssertIsEqual(sum(api, b.End), 1)
	}
	api.AssertIsEqual(sum(api, ends), b.Files)
	return nil
}
