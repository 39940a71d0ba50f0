package circuit

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

// variant is a circuit of the tests: a capacity, and the constraints left out.
type variant struct {
	Capacity
	drop group
}

// systems are the variants that were compiled.
var systems = make(map[variant]constraint.ConstraintSystem)

func compile(t *testing.T, c frontend.Circuit) constraint.ConstraintSystem {
	t.Helper()
	system, err := frontend.Compile(field, r1cs.NewBuilder, c)
	fatalIf(t, err)
	return system
}

// solved says whether a prover could prove the assignment with one group of
// constraints left out ("" for none).
func solved(t *testing.T, w *Source, drop group) bool {
	t.Helper()
	v := variant{w.capacity, drop}
	if systems[v] == nil {
		c := NewSource(w.capacity)
		c.testingOnlyDrop = drop
		systems[v] = compile(t, c)
	}
	return solvedWith(t, systems[v], w, nil)
}

// recount sets the counters to what the flags say, as a dishonest prover would.
func recount(s *Source) {
	listed, childs := new(big.Int), new(big.Int)
	for k := range s.Used {
		s.ListCount[k], s.ChildCount[k] = new(big.Int).Set(listed), new(big.Int).Set(childs)
		for v, shape := range headerShapes(s.capacity) {
			if shape.commit {
				childs.Add(childs, num(s.Header[k][v]))
			}
		}
		for i := range blockBytes {
			listed.Add(listed, num(s.Listed[k*blockBytes+i]))
			childs.Add(childs, num(s.Child[k*blockBytes+i]))
		}
	}
	n := len(s.Used)
	s.ListCount[n], s.ChildCount[n] = listed, childs
}

func num(v frontend.Variable) *big.Int {
	switch v := v.(type) {
	case int:
		return big.NewInt(int64(v))
	case int64:
		return big.NewInt(v)
	case byte:
		return big.NewInt(int64(v))
	case *big.Int:
		return v
	}
	panic(fmt.Sprintf("%T", v))
}

// claim makes the public digest and the private list say something else than the
// stream does.
func claim(s *Source, list []byte) {
	d := digest(list)
	s.Files = new(big.Int).SetBytes(d[:])
	(&writer{Source: s}).list(list)
}

// swap returns b with two of its equally long parts exchanged.
func swap(t *testing.T, b, x, y []byte) []byte {
	t.Helper()
	i, j := bytes.Index(b, x), bytes.Index(b, y)
	if i < 0 || j < 0 || len(x) != len(y) {
		t.Fatal("swap: no such parts")
	}
	out := bytes.Clone(b)
	copy(out[i:], y)
	copy(out[j:], x)
	return out
}

// blockOf returns the block in which object number n starts.
func blockOf(objects []Object, n int) int { return Blocks(objects[:n]) }

// record1 is the entry of a file whose id repeats one byte, and tree1 a tree of that only.
func record1(name string, fill byte) []byte {
	return append([]byte("100644 "+name+"\x00"), bytes.Repeat([]byte{fill}, idBytes)...)
}

func tree1(name string, fill byte) []byte { return encode("tree", record1(name, fill)) }

// over is a commit whose tree has an id, and one more object, of which names are listed.
func over(root [20]byte, obj []byte, listed ...string) repo {
	top := commitObject(root, "m")
	r := repo{commit: id(top), objects: []Object{{Data: top}}, list: []byte("c")}
	r.add(obj, listed...)
	return r
}

// add adds a tree to the objects, and to the list what stands behind its header.
func (r *repo) add(obj []byte, listed ...string) {
	o := Object{Data: obj, Listed: map[string]bool{}}
	for _, name := range listed {
		o.Listed[name] = true
	}
	r.objects = append(r.objects, o)
	r.list = append(append(r.list, 't'), obj[bytes.IndexByte(obj, 0)+1:]...)
}

// listBytes lists n bytes of the assignment, from a place in an object on.
func (s *Source) listBytes(objects []Object, object, at, n int) {
	at += blockOf(objects, object) * blockBytes
	for i := range n {
		s.Listed[at+i] = 1
	}
	recount(s)
}

// An attack makes the assignment of a false statement. The full circuit must
// refuse it; where only is set, leaving out that group alone must let it through,
// which shows that the attack gets that far.
type attack struct {
	name string
	only group
	make func(t *testing.T) *Source
}

// mutated is an attack that changes the honest assignment of example().
func mutated(f func(t *testing.T, r repo, s *Source)) func(*testing.T) *Source {
	return func(t *testing.T) *Source {
		r := example()
		s := r.assign(t, small)
		f(t, r, s)
		return s
	}
}

// record returns the list's record of a file of example().
func record(r repo, mode, name string) []byte {
	head := []byte(mode + " " + name + "\x00")
	i := bytes.Index(r.list, head)
	return r.list[i : i+len(head)+20]
}

var attacks = []attack{
	{"another entry's id", groupList, mutated(func(t *testing.T, r repo, s *Source) {
		lib, main := record(r, "100644", "lib.rs"), record(r, "100755", "main.rs")
		claim(s, swap(t, r.list, lib[len(lib)-20:], main[len(main)-20:]))
	})},
	{"another mode", groupList, mutated(func(t *testing.T, r repo, s *Source) {
		claim(s, bytes.Replace(r.list, []byte("100755 main"), []byte("100644 main"), 1))
	})},
	{"another name", groupList, mutated(func(t *testing.T, r repo, s *Source) {
		claim(s, bytes.Replace(r.list, []byte("lib.rs"), []byte("evi.rs"), 1))
	})},
	{"a record moved to another directory", groupList, mutated(func(t *testing.T, r repo, s *Source) {
		rec := record(r, "100644", "Cargo.toml")
		claim(s, append(bytes.Replace(r.list, rec, nil, 1), rec...))
	})},
	{"records reordered", groupList, mutated(func(t *testing.T, r repo, s *Source) {
		lib, main := record(r, "100644", "lib.rs"), record(r, "100755", "main.rs")
		both := append(bytes.Clone(lib), main...)
		claim(s, bytes.Replace(r.list, both, append(bytes.Clone(main), lib...), 1))
	})},
	{"a record doubled", "", mutated(func(t *testing.T, r repo, s *Source) {
		claim(s, append(bytes.Clone(r.list), record(r, "100755", "main.rs")...))
	})},
	{"a list cut short under the whole list's digest", groupDigest, mutated(func(t *testing.T, r repo, s *Source) {
		// Only some chunks are hashed, the digest is forged as a mixture of states.
		states := chunkStates(r.list)
		want := num(s.Files)
		target := new(big.Int).Add(want, big.NewInt(1))
		s.Files = target
		// x*s0 + (1-x)*s1 = target
		s0, s1 := states[0], states[1]
		p := field
		x := new(big.Int).Sub(target, s1)
		x.Mul(x, new(big.Int).ModInverse(new(big.Int).Sub(s0, s1), p))
		x.Mod(x, p)
		for c := range s.End {
			s.End[c] = 0
		}
		s.End[0], s.End[1] = x, new(big.Int).Mod(new(big.Int).Sub(big.NewInt(1), x), p)
	})},
	{"the list's end moved", "", mutated(func(t *testing.T, r repo, s *Source) {
		last := (len(r.list) - 1) / ChunkBytes
		s.End[last], s.End[last-1] = 0, 1
	})},
	{"a list that is not made of bytes", groupOctets, func(t *testing.T) *Source {
		// The stream's bytes (x, NUL) sent as (NUL + 256, x - 256) to swapped places
		// pack to the same chunk as (0xff, x).
		r := build(node{"f": "1"}, "m")
		s := r.assign(t, small)
		i := bytes.Index(r.list, []byte("f\x00"))
		if i/ChunkBytes != (i+1)/ChunkBytes {
			t.Fatal("choose a list whose name ends inside of a chunk")
		}
		list := bytes.Clone(r.list)
		list[i], list[i+1] = 0xff, 'f'
		claim(s, list)
		s.List[i], s.List[i+1] = 256, new(big.Int).Mod(big.NewInt('f'-256), field)
		return s
	}},
	{"an entry read from the middle of an id", groupAutomaton, func(t *testing.T) *Source {
		// A tree whose first id spells a record.
		fake := record1("x", 7)
		tree := append([]byte("100644 a\x00"), bytes.Repeat([]byte{9}, 11)...)
		obj := encode("tree", slices.Concat(tree, fake[:9], record1("b", 1)))
		r := over(id(obj), obj)
		at := bytes.Index(obj, fake[:9])
		r.list = append([]byte("ct"), obj[at:at+9+20]...)
		s := r.assign(t, small)
		s.listBytes(r.objects, 1, at, 9+20)
		return s
	}},
	{"an entry read from the middle of a name", groupAutomaton, func(t *testing.T) *Source {
		obj := tree1("a100644 x", 1)
		r := over(id(obj), obj)
		at := bytes.Index(obj, []byte("100644 x"))
		r.list = append([]byte("ct"), obj[at:]...)
		s := r.assign(t, small)
		s.listBytes(r.objects, 1, at, len(obj)-at)
		return s
	}},
	{"a name with a slash", groupAutomaton, slashed},
	{"bytes of a commit's message listed", groupAutomaton, func(t *testing.T) *Source {
		text := record1("x", 7)
		r := build(node{"f": "1"}, "m"+string(text))
		s := r.assign(t, small)
		s.listBytes(r.objects, 0, bytes.Index(r.objects[0].Data, text), len(text))
		claim(s, append(append([]byte{'c'}, text...), r.list[1:]...))
		return s
	}},
	{"a directory listed like a file", groupAutomaton, mutated(func(t *testing.T, r repo, s *Source) {
		// List the twenty bytes of the directory's id, and name no child: the list
		// then ends where the child would begin.
		head := []byte("40000 src\x00")
		idAt := bytes.Index(r.objects[1].Data, head) + len(head)
		s.Child[blockOf(r.objects, 1)*blockBytes+idAt-1] = 0
		for k := blockOf(r.objects, 2); k < s.capacity.Blocks; k++ {
			clearBlock(s, k)
		}
		s.listBytes(r.objects, 1, idAt, idBytes)
		list := bytes.Clone(r.list[:bytes.LastIndexByte(r.list, 't')])
		end := bytes.Index(list, head) + len(head)
		srcID := r.objects[1].Data[idAt : idAt+20]
		claim(s, append(append(bytes.Clone(list[:end]), srcID...), list[end:]...))
	})},
	{"a padding that is not zeros", groupAutomaton, func(t *testing.T) *Source {
		return badPadding(t, func(block []byte, n int) { block[n+2] = 1 })
	}},
	{"a padding without 0x80", groupPadding, func(t *testing.T) *Source {
		// A tree of 56 bytes, with the length field right behind it.
		name := strings.Repeat("n", 20)
		obj := tree1(name, 1)
		if len(obj) != 56 {
			t.Fatalf("the tree has %d bytes", len(obj))
		}
		raw := append(bytes.Clone(obj), 0, 0, 0, 0, 0, 0, 56*8>>8, 56*8&0xff)
		r := over(rawID(raw), obj, name)
		s := r.assign(t, small)
		k := blockOf(r.objects, 1)
		for i, b := range raw {
			s.Stream[k*blockBytes+i] = b
		}
		s.Last[k] = 1
		for i := 56; i < 64; i++ {
			s.State[k*blockBytes+i] = 0
		}
		clearBlock(s, k+1)
		recount(s)
		return s
	}},
	{"a length field that is wrong", groupLength, func(t *testing.T) *Source {
		return badPadding(t, func(block []byte, n int) { block[63] ^= 8 })
	}},
	{"a header that says too short a length", groupLength, func(t *testing.T) *Source { return wrongLength(t, "%d", -1) }},
	{"a header that says too long a length", groupLength, func(t *testing.T) *Source { return wrongLength(t, "%d", 1) }},
	{"a length with a leading zero", groupAutomaton, func(t *testing.T) *Source { return wrongLength(t, "%03d", 0) }},
	{"a tree id read from a commit's message", groupHeader, func(t *testing.T) *Source {
		// The message imitates a header's length and a tree's id at the offsets of a
		// commit's first block, and the header's flag is moved there.
		evil, root := tree1("f", 6), id(tree1("g", 5))
		prefix := len(commitObject(root, "")) - 1
		var block int
		build := func(length int) []byte {
			shape := headerShape{true, 3}
			block = prefix/blockBytes + 1
			text := strings.Repeat("-", block*blockBytes-prefix+len(shape.word()))
			text += fmt.Sprintf("%03d", length) + strings.Repeat("-", 1+len("tree "))
			text += fmt.Sprintf("%x", id(evil)) + "-"
			return commitObject(root, text)
		}
		top := build(0)
		top = build(len(top) - headerShape{true, 3}.size())
		r := over(root, evil, "f")
		r.commit, r.objects[0].Data = id(top), top
		s := r.assign(t, small)
		for v := range s.Header[0] {
			s.Header[block][v], s.Header[0][v] = s.Header[0][v], 0
		}
		recount(s)
		return s
	}},
	{"another commit", groupChildren, mutated(func(t *testing.T, r repo, s *Source) {
		other := build(node{"Cargo.toml": "x"}, "other")
		s.Commit = new(big.Int).SetBytes(other.commit[:])
	})},
	{"the commit of one repository with the trees of another", groupChildren, func(t *testing.T) *Source {
		mine, other := build(node{"f": "evil"}, "m"), build(node{"f": "good"}, "m")
		mine.objects[0], mine.commit = other.objects[0], other.commit
		return mine.assign(t, small)
	}},
	{"the wrong child for the right name", groupChildren, func(t *testing.T) *Source {
		r := build(node{"a": node{"f": "1"}, "b": node{"g": "2"}}, "m")
		r.objects[2], r.objects[3] = r.objects[3], r.objects[2]
		r.list = swap(t, r.list, tail(r, 2), tail(r, 3))
		return r.assign(t, small)
	}},
	{"a parent and its child exchanged", groupChildren, func(t *testing.T) *Source {
		r := build(node{"a": node{"b": node{"f": "1"}}}, "m")
		r.objects[2], r.objects[3] = r.objects[3], r.objects[2]
		r.list = append([]byte("ct40000 a\x00"), append(append([]byte("t"), tail(r, 2)...), append([]byte("t"), tail(r, 3)...)...)...)
		return r.assign(t, small)
	}},
	{"an object without a name", groupChildren, func(t *testing.T) *Source {
		r := build(node{"f": "1"}, "m")
		r.add(tree1("x", 3), "x")
		return r.assign(t, small)
	}},
	{"one object for two names", groupChildren, func(t *testing.T) *Source {
		r := build(node{"a": node{"f": "1"}, "b": node{"f": "1"}}, "m")
		r.list = r.list[:len(r.list)-1-len(tail(r, 3))]
		r.objects = r.objects[:3]
		return r.assign(t, small)
	}},
	{"an object that never ends", groupBlocks, func(t *testing.T) *Source {
		// Its entries are listed, and as it has no last block nothing asks for its id.
		// It fills the circuit's last block, so that nothing comes after it.
		r := build(node{"f": "1"}, "m")
		r.add(tree1("x", 3), "x")
		s := r.assign(t, Capacity{Blocks: Blocks(r.objects), Chunks: small.Chunks})
		s.Last[len(s.Last)-1] = 0
		for i := len(s.Stream) - 8; i < len(s.Stream); i++ {
			s.Stream[i] = 0
			s.State[i] = num(s.State[i-1]).Int64() + 1 // one more zero of the padding
		}
		return s
	}},
	{"a tree instead of a submodule's commit", groupList, func(t *testing.T) *Source {
		subID := id(tree1("x", 3))
		root := encode("tree", append([]byte("160000 d\x00"), subID[:]...))
		r := over(id(root), root, "d")
		r.list = r.list[:len(r.list)-idBytes]
		kind := len(r.list)
		r.add(tree1("x", 3), "x")
		s := r.assign(t, small)
		r.list[kind] = 'c'
		claim(s, r.list)
		return s
	}},
	{"a flag of two", "", mutated(func(t *testing.T, r repo, s *Source) { s.Last[blockOf(r.objects, 1)-1] = 2 })},
	{"a block in use after an unused one", "", mutated(func(t *testing.T, r repo, s *Source) { s.Used[s.capacity.Blocks-1] = 1 })},
	{"a byte listed twice", "", mutated(func(t *testing.T, r repo, s *Source) { s.Listed[0] = 2; recount(s) })},
	{"a counter that lies", "", mutated(func(t *testing.T, r repo, s *Source) { s.ListCount[1] = 0 })},
	{"a reference that is not counted", "", mutated(func(t *testing.T, r repo, s *Source) { s.ChildCount[1] = 0 })},
}

// tail is the list's part for a tree object, after its 't'.
func tail(r repo, n int) []byte {
	i := bytes.IndexByte(r.objects[n].Data, 0)
	body := r.objects[n].Data[i+1:]
	if bytes.HasPrefix(body, []byte("40000")) {
		body = body[:len(body)-20]
	}
	return body
}

func clearBlock(s *Source, k int) {
	w := &writer{Source: s, m: newAutomaton(), block: k}
	w.unused()
}

func slashed(t *testing.T) *Source {
	obj := tree1("a/b", 1)
	r := over(id(obj), obj, "a_b")
	// The honest writer refuses; write the same tree with another byte, then put it back.
	r.objects[1].Data = bytes.Replace(obj, []byte("a/b"), []byte("a_b"), 1)
	s := r.assign(t, small)
	base := blockOf(r.objects, 1) * blockBytes
	s.Stream[base+bytes.IndexByte(obj, '/')] = byte('/')
	return s
}

// rawID runs SHA-1's compression over blocks that need not be padded as SHA-1 does.
func rawID(raw []byte) (d [20]byte) {
	h := sha1IV
	for ; len(raw) > 0; raw = raw[blockBytes:] {
		h = compressNative(h, raw[:blockBytes])
	}
	for i, w := range h {
		for k := range 4 {
			d[4*i+k] = byte(w >> (24 - 8*k))
		}
	}
	return d
}

// badPadding is a true tree whose block is altered before it is hashed: what the
// commit names is the SHA-1 of nothing.
func badPadding(t *testing.T, alter func(block []byte, n int)) *Source {
	obj := tree1("f", 1)
	raw := sha1Pad(obj)
	alter(raw, len(obj))
	r := over(rawID(raw), obj, "f")
	s := r.assign(t, small)
	base := blockOf(r.objects, 1) * blockBytes
	for i, b := range raw {
		s.Stream[base+i] = b
	}
	return s
}

// wrongLength is a tree whose header gives its length in the wrong way.
func wrongLength(t *testing.T, format string, off int) *Source {
	body := record1("f", 1)
	obj := append([]byte("tree "+fmt.Sprintf(format, len(body)+off)+"\x00"), body...)
	r := over(id(obj), obj, "f")
	if len(obj) != len(encode("tree", body)) {
		// The honest writer has no rule for the zero: write a 1, then put it back.
		r.objects[1].Data = bytes.Replace(obj, []byte("tree 0"), []byte("tree 1"), 1)
		s := r.assign(t, small)
		s.Stream[blockOf(r.objects, 1)*blockBytes+5] = byte('0')
		return s
	}
	return r.assign(t, small)
}

// chunkStates returns the digest's state after each chunk of the list.
func chunkStates(list []byte) (out []*big.Int) {
	perm := poseidon2.NewDefaultPermutation()
	state := make([]byte, fr.Bytes)
	absorb := func(b []byte) {
		next, err := perm.Compress(state, b)
		if err != nil {
			panic(err)
		}
		state = next
	}
	n := fr.NewElement(uint64(len(list)))
	nb := n.Bytes()
	absorb(nb[:])
	for len(list) > 0 {
		chunk := make([]byte, fr.Bytes)
		list = list[copy(chunk[1:], list):]
		absorb(chunk)
		out = append(out, new(big.Int).SetBytes(state))
	}
	return out
}

func TestFalseStatementsAreNotProvable(t *testing.T) {
	for i, a := range attacks {
		if testing.Short() && i%12 > 0 {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			s := a.make(t)
			if solved(t, s, "") {
				t.Error("the attack succeeds")
			}
			if a.only != "" && !solved(t, s, a.only) {
				t.Errorf("the attack fails even without the constraints on %s: it shows nothing", a.only)
			}
		})
	}
}

// TestEveryGroupOfConstraintsIsNeeded wants for every group an attack that it alone
// stops. Two groups are shown to be needed in other ways: without the constraints
// on chaining no object but the first has its true id, so that even true statements
// fail; for the context see TestContextIsBoundByItsConstraintOnly.
func TestEveryGroupOfConstraintsIsNeeded(t *testing.T) {
	stopped := map[group]bool{groupContext: true}
	for _, a := range attacks {
		stopped[a.only] = true
	}
	if s := example().assign(t, small); !solved(t, s, "") || solved(t, s, groupChaining) {
		t.Error("a true statement must hold with, and fail without, the constraints on chaining")
	}
	stopped[groupChaining] = true
	for _, g := range []group{groupBlocks, groupAutomaton, groupChaining, groupHeader, groupLength, groupPadding,
		groupChildren, groupList, groupOctets, groupDigest, groupContext} {
		if !stopped[g] {
			t.Errorf("no attack needs the constraints on %s", g)
		}
	}
}
