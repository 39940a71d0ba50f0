package circuit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// An attack makes a false statement. The full circuit and the whole verifier must refuse it; where
// only is set, leaving out those groups and nothing else must let it through, which shows that the
// attack gets that far. It is tried with its blocks cut everywhere.
type attack struct {
	name string
	only []group
	make func(t *testing.T) *world
}

func only(g ...group) []group { return g }

// mutated is an attack that changes the honest claims of example().
func mutated(f func(t *testing.T, w *world)) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := claimed(t, example())
		f(t, w)
		return w
	}
}

// relisted is an attack that shows the verifier of example() another list.
func relisted(f func(t *testing.T, r repo) []byte) func(*testing.T) *world {
	return mutated(func(t *testing.T, w *world) {
		list := f(t, w.repo)
		if bytes.Equal(list, w.list) {
			t.Fatal("the list is not altered")
		}
		w.list = list
	})
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

// listBytes claims that n bytes are listed, from a place in an object on.
func (w *world) listBytes(object, at, n int) {
	for i := range n {
		b, q := w.at(object, at+i)
		b.listed[q] = 1
	}
}

// record returns the list's record of a file of example().
func record(r repo, mode, name string) []byte {
	head := []byte(mode + " " + name + "\x00")
	i := bytes.Index(r.list, head)
	return r.list[i : i+len(head)+20]
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

var attacks = []attack{
	{"another entry's id", only(endList), relisted(func(t *testing.T, r repo) []byte {
		lib, main := record(r, "100644", "lib.rs"), record(r, "100755", "main.rs")
		return swap(t, r.list, lib[len(lib)-20:], main[len(main)-20:])
	})},
	{"another mode", only(endList), relisted(func(t *testing.T, r repo) []byte {
		return bytes.Replace(r.list, []byte("100755 main"), []byte("100644 main"), 1)
	})},
	{"another name", only(endList), relisted(func(t *testing.T, r repo) []byte {
		return bytes.Replace(r.list, []byte("lib.rs"), []byte("evi.rs"), 1)
	})},
	{"a record moved to another directory", only(endList), relisted(func(t *testing.T, r repo) []byte {
		rec := record(r, "100644", "Cargo.toml")
		return append(bytes.Replace(r.list, rec, nil, 1), rec...)
	})},
	{"records reordered", only(endList), relisted(func(t *testing.T, r repo) []byte {
		lib, main := record(r, "100644", "lib.rs"), record(r, "100755", "main.rs")
		both := append(bytes.Clone(lib), main...)
		return bytes.Replace(r.list, both, append(bytes.Clone(main), lib...), 1)
	})},
	{"a record doubled", only(endList, endBytes), relisted(func(t *testing.T, r repo) []byte {
		return append(bytes.Clone(r.list), record(r, "100755", "main.rs")...)
	})},
	{"a list cut short", only(endList, endBytes), relisted(func(t *testing.T, r repo) []byte {
		return bytes.TrimSuffix(r.list, record(r, "100755", "main.rs"))
	})},
	{"a submodule that is listed as a file", only(endList, endBytes), func(t *testing.T) *world {
		w := claimed(t, build(node{"a": commitNode{node{"f": "1"}}}, "m"))
		head := []byte("160000 a\x00")
		i := bytes.Index(w.list, head) + len(head)
		w.list = slices.Insert(bytes.Clone(w.list), i, make([]byte, idBytes)...)
		copy(w.list[i-len(head):], "100644 a")
		return w
	}},
	{"an entry read from the middle of an id", only(groupAutomaton), func(t *testing.T) *world {
		// A tree whose first id spells a record.
		fake := record1("x", 7)
		tree := append([]byte("100644 a\x00"), bytes.Repeat([]byte{9}, 11)...)
		obj := encode("tree", slices.Concat(tree, fake[:9], record1("b", 1)))
		r := over(id(obj), obj)
		at := bytes.Index(obj, fake[:9])
		r.list = append([]byte("ct"), obj[at:at+9+20]...)
		w := claimed(t, r)
		w.listBytes(1, at, 9+20)
		return w
	}},
	{"an entry read from the middle of a name", only(groupAutomaton), func(t *testing.T) *world {
		obj := tree1("a100644 x", 1)
		r := over(id(obj), obj)
		at := bytes.Index(obj, []byte("100644 x"))
		r.list = append([]byte("ct"), obj[at:]...)
		w := claimed(t, r)
		w.listBytes(1, at, len(obj)-at)
		return w
	}},
	{"bytes of a commit's message listed", only(groupAutomaton, endObjects), func(t *testing.T) *world {
		// A tree object, written in the commit's message.
		text := append([]byte{'t'}, record1("x", 7)...)
		w := claimed(t, build(node{"f": "1"}, "m"+string(text)))
		w.listBytes(0, bytes.Index(w.objects[0].Data, text), len(text))
		w.list = slices.Concat([]byte{'c'}, text, w.list[1:])
		return w
	}},
	{"a directory listed like a file", only(groupAutomaton, endShape), mutated(func(t *testing.T, w *world) {
		// List the twenty bytes of the directory's id, and name no child: the list then ends
		// where the child would begin.
		head := []byte("40000 src\x00")
		idAt := bytes.Index(w.objects[1].Data, head) + len(head)
		b, q := w.at(1, idAt-1)
		b.child[q] = 0
		w.blocks = w.blocks[:w.blockOf(2)]
		w.listBytes(1, idAt, idBytes)
		list := bytes.Clone(w.list[:bytes.LastIndexByte(w.list, 't')])
		end := bytes.Index(list, head) + len(head)
		srcID := w.objects[1].Data[idAt : idAt+20]
		w.list = append(append(bytes.Clone(list[:end]), srcID...), list[end:]...)
	})},
	{"a padding that is not zeros", only(groupAutomaton), func(t *testing.T) *world {
		return badPadding(t, func(block []byte, n int) { block[n+2] = 1 })
	}},
	{"a padding without 0x80", only(groupPadding), func(t *testing.T) *world {
		// A tree of 56 bytes, with the length field right behind it.
		name := strings.Repeat("n", 20)
		obj := tree1(name, 1)
		if len(obj) != 56 {
			t.Fatalf("the tree has %d bytes", len(obj))
		}
		raw := append(bytes.Clone(obj), 0, 0, 0, 0, 0, 0, 56*8>>8, 56*8&0xff)
		w := claimed(t, over(rawID(joined(sha1IV), raw), obj, name))
		b, _ := w.at(1, 0)
		copy(b.bytes[:], raw)
		b.last = 1
		for i := 56; i < 64; i++ {
			b.state[i] = int64(idle)
		}
		w.blocks = w.blocks[:w.blockOf(1)+1]
		return w
	}},
	{"a length field that is wrong", only(groupLength), func(t *testing.T) *world {
		return badPadding(t, func(block []byte, n int) { block[63] ^= 8 })
	}},
	{"a header that says too short a length", only(groupLength), func(t *testing.T) *world {
		return wrongLength(t, "%d", -1)
	}},
	{"a header that says too long a length", only(groupLength), func(t *testing.T) *world {
		return wrongLength(t, "%d", 1)
	}},
	{"a length with a leading zero", only(groupAutomaton), func(t *testing.T) *world {
		return wrongLength(t, "%03d", 0)
	}},
	{"a tree id read from a commit's message", only(groupHeader), func(t *testing.T) *world {
		// The message imitates a header's length and a tree's id at the offsets of a commit's
		// first block, and the header's flag is moved there.
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
		w := claimed(t, r)
		w.blocks[0].header, w.blocks[block].header = w.blocks[block].header, w.blocks[0].header
		return w
	}},
	{"another commit", only(endReferences), mutated(func(t *testing.T, w *world) {
		w.commit = build(node{"Cargo.toml": "x"}, "other").commit
	})},
	{"the commit of one repository with the trees of another", only(endReferences), func(t *testing.T) *world {
		mine, other := build(node{"f": "evil"}, "m"), build(node{"f": "good"}, "m")
		mine.objects[0], mine.commit = other.objects[0], other.commit
		return claimed(t, mine)
	}},
	{"the wrong child for the right name", only(endReferences), func(t *testing.T) *world {
		r := build(node{"a": node{"f": "1"}, "b": node{"g": "2"}}, "m")
		r.objects[2], r.objects[3] = r.objects[3], r.objects[2]
		r.list = swap(t, r.list, tail(r, 2), tail(r, 3))
		return claimed(t, r)
	}},
	{"a parent and its child exchanged", only(endReferences), func(t *testing.T) *world {
		r := build(node{"a": node{"b": node{"f": "1"}}}, "m")
		r.objects[2], r.objects[3] = r.objects[3], r.objects[2]
		r.list = slices.Concat([]byte("ct40000 a\x00t"), tail(r, 2), []byte("t"), tail(r, 3))
		return claimed(t, r)
	}},
	{"an object without a name", only(endReferences, endChildren), func(t *testing.T) *world {
		r := build(node{"f": "1"}, "m")
		r.add(tree1("x", 3), "x")
		return claimed(t, r)
	}},
	{"one object for two names", only(endReferences, endChildren), func(t *testing.T) *world {
		r := build(node{"a": node{"f": "1"}, "b": node{"f": "1"}}, "m")
		r.list = r.list[:len(r.list)-1-len(tail(r, 3))]
		r.objects = r.objects[:3]
		return claimed(t, r)
	}},
	{"an object that never ends", only(endOpen, endChildren), func(t *testing.T) *world {
		// Its entries are listed, and as it has no last block nothing asks for its id.
		r := build(node{"f": "1"}, "m")
		r.add(tree1("x", 3), "x")
		w := claimed(t, r)
		b := &w.blocks[len(w.blocks)-1]
		b.last = 0
		for i := blockBytes - 8; i < blockBytes; i++ {
			b.bytes[i], b.state[i] = 0, b.state[i-1]+1 // one more zero of the padding
		}
		w.cutBefore = len(w.blocks) // so that nothing comes after it
		return w
	}},
	{"a tree instead of a submodule's commit", only(endList), func(t *testing.T) *world {
		subID := id(tree1("x", 3))
		root := encode("tree", append([]byte("160000 d\x00"), subID[:]...))
		r := over(id(root), root, "d")
		r.list = r.list[:len(r.list)-idBytes]
		kind := len(r.list)
		r.add(tree1("x", 3), "x")
		w := claimed(t, r)
		w.list = bytes.Clone(r.list)
		w.list[kind] = 'c'
		return w
	}},
	{"a name with a slash", only(groupAutomaton), func(t *testing.T) *world {
		obj := tree1("a/b", 1)
		r := over(id(obj), obj, "a_b")
		// No rule reads the slash: claim the same tree with another byte, then put it back.
		r.objects[1].Data = bytes.Replace(obj, []byte("a/b"), []byte("a_b"), 1)
		w := claimed(t, r)
		b, q := w.at(1, bytes.IndexByte(obj, '/'))
		b.bytes[q] = '/'
		return w
	}},
	{"a flag of two", nil, mutated(func(t *testing.T, w *world) { w.blocks[w.blockOf(1)-1].last = 2 })},
	{"a block in use that begins nothing", nil, mutated(func(t *testing.T, w *world) {
		b := unused()
		b.used = 1
		w.blocks = append(w.blocks, b)
	})},
	{"bytes of an unused block listed", only(groupAutomaton), func(t *testing.T) *world {
		// A tree with an entry that no object has.
		r := build(node{"f": "1"}, "m")
		w := claimed(t, r)
		rec := record1("x", 7)
		b := unused()
		copy(b.bytes[:], rec)
		for i := range rec {
			b.listed[i] = 1
		}
		w.blocks, w.list = append(w.blocks, b), append(bytes.Clone(w.list), rec...)
		return w
	}},
	{"a reference in an unused block", only(groupAutomaton), func(t *testing.T) *world {
		// Another tree, named by nothing that has an id.
		r := build(node{"f": "1"}, "m")
		extra := tree1("x", 7)
		head, name := []byte("40000 d\x00"), id(extra)
		r.list = append(r.list, head...)
		r.add(extra, "x")
		w := claimed(t, r)
		b := unused()
		copy(b.bytes[:], append(bytes.Clone(head), name[:]...))
		for i := range head {
			b.listed[i] = 1
		}
		b.child[len(head)-1] = 1
		w.blocks = slices.Insert(w.blocks, w.blockOf(2), b)
		return w
	}},
	{"a byte listed twice", nil, mutated(func(t *testing.T, w *world) { w.blocks[0].listed[0] = 2 })},
	{"a counter of listed bytes that lies", nil, mutated(func(t *testing.T, w *world) { w.blocks[1].moreListed = 1 })},
	{"a counter of references that lies", nil, mutated(func(t *testing.T, w *world) { w.blocks[1].moreChildren = 1 })},
	{"the list of an object less", only(endList, endBytes, endObjects), relisted(func(t *testing.T, r repo) []byte {
		return r.list[:bytes.LastIndexByte(r.list, 't')]
	})},
	{"the list of an object more", only(endList, endBytes, endObjects), relisted(func(t *testing.T, r repo) []byte {
		return append(bytes.Clone(r.list), 't')
	})},
	{"any list", only(groupOut), relisted(func(t *testing.T, r repo) []byte {
		return []byte("ct100644 evil.rs\x00an id with 20 bytes!")
	})},
	{"ids that are not SHA-1's", only(groupChaining), func(t *testing.T) *world {
		// Every object is hashed from the value that is left after an object: zero, at a cut.
		tree := tree1("f", 1)
		top := commitObject(rawID([idBytes]byte{}, sha1Pad(tree)), "m")
		r := over(id(tree), tree, "f")
		r.commit, r.objects[0].Data = rawID([idBytes]byte{}, sha1Pad(top)), top
		w := claimed(t, r)
		w.aligned, w.continued = true, true
		return w
	}},
	{"a child that is not what the tree names, over a cut", only(groupAhead), func(t *testing.T) *world {
		// The NUL before a directory's id is the last byte before the cut. The id that is seen
		// ahead is another tree's.
		evil := tree1("f", 6)
		entry := append([]byte("40000 "+strings.Repeat("d", 49)+"\x00"), bytes.Repeat([]byte{5}, idBytes)...)
		root := encode("tree", entry)
		if root[blockBytes-1] != 0 {
			t.Fatal("the name does not end where the block does")
		}
		r := over(id(root), root, strings.Repeat("d", 49))
		r.list = r.list[:len(r.list)-idBytes]
		r.add(evil, "f")
		w := claimed(t, r)
		ahead := id(evil)
		w.blocks[w.blockOf(1)].ahead, w.cutBefore = &ahead, w.blockOf(1)+1
		return w
	}},
	{"an object left in the middle", only(groupEnded, endReferences, endObjects), func(t *testing.T) *world {
		// The second tree lists an entry that no tree has: it is left in the middle of the next
		// entry's id, by a block that is said to be unused. The automaton reads on. A third tree
		// begins, and is read from the middle of that id. That the second is never ended, so that
		// no id was asked for, shows in the numbers too: reference 2 has no answer.
		third := tree1("y", 4)
		body := append(record1("x", 3), "100644 "+strings.Repeat("n", 71)+"\x00"...)
		left := encode("tree", append(body, make([]byte, idBytes)...))
		ids := id(third)
		root := encode("tree", slices.Concat([]byte("40000 a\x00"), make([]byte, idBytes), []byte("40000 b\x00"), ids[:]))
		r := over(id(root), root, "a", "b")
		r.list = []byte("ct40000 a\x0040000 b\x00")
		r.add(left, "x")
		r.add(third, "y")
		w := claimed(t, r)
		w.list = slices.Concat(w.list[:len("ct40000 a\x0040000 b\x00")], []byte("t"), record1("x", 3), record1("y", 4))
		k, next := w.blockOf(2), w.blockOf(3)
		w.blocks[k+1].used = 0
		b := &w.blocks[next]
		for i := range "tree 29\x00" {
			b.state[i], b.listed[i] = w.blocks[k+1].state[blockBytes-1]+int64(newAutomaton().start)+int64(i)+1, 0
		}
		b.state[7] = int64(newAutomaton().tree)
		w.blocks = slices.Delete(w.blocks, k+2, next)
		return w
	}},
	{"nothing at all", only(endReferences, endObjects, endChildren, endBytes, endList), func(t *testing.T) *world {
		w := &world{blocks: []block{unused()}}
		copy(w.commit[:], "anything whatsoever!")
		w.list = []byte("ct")
		return w
	}},
}

// rawID runs SHA-1's compression from any value over blocks that need not be padded as SHA-1 does.
func rawID(h [idBytes]byte, raw []byte) [idBytes]byte {
	for ; len(raw) > 0; raw = raw[blockBytes:] {
		h = compressed(h, raw[:blockBytes])
	}
	return h
}

// badPadding is a true tree whose block is altered before it is hashed: what the commit names is
// the SHA-1 of nothing.
func badPadding(t *testing.T, alter func(block []byte, n int)) *world {
	obj := tree1("f", 1)
	raw := sha1Pad(obj)
	alter(raw, len(obj))
	w := claimed(t, over(rawID(joined(sha1IV), raw), obj, "f"))
	b, _ := w.at(1, 0)
	copy(b.bytes[:], raw)
	return w
}

// wrongLength is a tree whose header gives its length in the wrong way.
func wrongLength(t *testing.T, format string, off int) *world {
	body := record1("f", 1)
	obj := append([]byte("tree "+fmt.Sprintf(format, len(body)+off)+"\x00"), body...)
	r := over(id(obj), obj, "f")
	if len(obj) == len(encode("tree", body)) {
		return claimed(t, r)
	}
	// No rule reads the zero: claim a 1, then put it back.
	r.objects[1].Data = bytes.Replace(obj, []byte("tree 0"), []byte("tree 1"), 1)
	w := claimed(t, r)
	w.blocks[w.blockOf(1)].bytes[len("tree ")] = '0'
	return w
}

// cuts are where worlds are cut: in segments of S blocks after some unused ones, so that a cut
// falls before and after every block.
func (w *world) cuts(f func(S, offset int)) {
	for S := 1; S <= 3; S++ {
		if w.cutBefore > 0 {
			f(S, (3*S-w.cutBefore%S)%S)
			continue
		}
		for offset := range S {
			f(S, offset)
		}
	}
}

func TestFalseStatementsAreNotProvable(t *testing.T) {
	for i, a := range attacks {
		if testing.Short() && i%20 > 0 {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			w := a.make(t)
			w.cuts(func(S, offset int) {
				if testing.Short() && (S != 2 || offset > 0) {
					return
				}
				if w.refused(t, S, offset) == nil {
					t.Errorf("the attack succeeds in segments of %d blocks, after %d unused ones", S, offset)
				}
				if a.only == nil {
					return
				}
				if err := w.refused(t, S, offset, a.only...); err != nil {
					t.Errorf("without %q the attack fails in segments of %d blocks, after %d unused ones; it shows nothing: %v",
						a.only, S, offset, err)
				}
			})
		})
	}
}

// TestEveryGroupIsNeeded wants for every group of constraints an attack that it alone stops; or a
// test elsewhere, or the reason why there is none.
func TestEveryGroupIsNeeded(t *testing.T) {
	elsewhere := map[group]string{
		groupIn:     "TestNoOtherStateIsOpened",
		groupPacked: "TestLyingLimbsAreRefused",
		groupInputs: "TestPublicInputsStandAlone",
		groupWiping: "TestTruthNeedsWiping",
		groupBlocks: "no attack is known: flags that are no bits fail elsewhere, too",
		groupEnded:  "the number of an object that is left has no answer, either",
	}
	stopped := make(map[group]bool)
	for _, a := range attacks {
		if len(a.only) == 1 {
			stopped[a.only[0]] = true
		}
	}
	for _, g := range []group{groupBlocks, groupEnded, groupAutomaton, groupChaining, groupPacked, groupHeader,
		groupLength, groupPadding, groupIn, groupAhead, groupWiping, groupOut, groupInputs, endReferences, endList} {
		if stopped[g] == (elsewhere[g] != "") {
			t.Errorf("%s: attacked alone: %v; elsewhere: %q", g, stopped[g], elsewhere[g])
		}
	}
}
