package circuit

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// holds is the statement of the circuit, checked natively and slowly, written from its
// definition: objects are given as the bytes that git hashes, the list as bytes.
// Where the prover may choose (which entries are listed) any choice will do.
func (s *statement) holds() bool {
	wanted, ok := readList(s.list)
	if !ok || len(wanted) != len(s.objects) {
		return false
	}
	names := [][20]byte{s.commit} // the ids by which the objects are named, in order
	for n, o := range s.objects {
		if n >= len(names) || id(o) != names[n] {
			return false
		}
		kind, content, ok := readObject(o)
		if !ok || kind[0] != wanted[n].kind {
			return false
		}
		if kind == "commit" {
			root, ok := readCommit(content)
			if !ok {
				return false
			}
			names = append(names, root)
			continue
		}
		entries, ok := readTree(content)
		if !ok {
			return false
		}
		children, ok := pick(entries, wanted[n].records)
		if !ok {
			return false
		}
		names = append(names, children...)
	}
	return len(names) == len(s.objects)
}

// pick finds the records among the entries, in order, and returns the ids of those
// that are children.
func pick(entries []entry, records []entry) (children [][20]byte, ok bool) {
	for _, r := range records {
		for {
			if len(entries) == 0 {
				return nil, false
			}
			e := entries[0]
			entries = entries[1:]
			if e.mode == r.mode && e.name == r.name && (isChild(e.mode) || e.id == r.id) {
				if isChild(e.mode) {
					children = append(children, e.id)
				}
				break
			}
		}
	}
	return children, true
}

func isChild(mode string) bool { return strings.HasPrefix(mode, "4") || strings.HasPrefix(mode, "16") }

type listObject struct {
	kind    byte
	records []entry
}

// readList parses a list by its grammar.
func readList(b []byte) (out []listObject, ok bool) {
	for len(b) > 0 {
		switch b[0] {
		case 'c', 't':
			out = append(out, listObject{kind: b[0]})
			b = b[1:]
			continue
		}
		if len(out) == 0 || out[len(out)-1].kind != 't' {
			return nil, false
		}
		e, rest, ok := readEntry(b, true)
		if !ok {
			return nil, false
		}
		out[len(out)-1].records = append(out[len(out)-1].records, e)
		b = rest
	}
	return out, len(out) > 0
}

// readEntry parses MODE SP NAME NUL and the id, which a list leaves out for children.
func readEntry(b []byte, list bool) (e entry, rest []byte, ok bool) {
	mode, rest, ok := bytes.Cut(b, []byte{' '})
	if !ok || len(mode) == 0 || mode[0] != '1' && mode[0] != '4' || len(bytes.Trim(mode, "01234567")) > 0 {
		return e, nil, false
	}
	if list && len(mode) < 2 && mode[0] == '1' {
		return e, nil, false // "1 " is neither a file nor a child
	}
	name, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok || len(name) == 0 || bytes.IndexByte(name, '/') >= 0 {
		return e, nil, false
	}
	e.mode, e.name = string(mode), string(name)
	if list && isChild(e.mode) {
		return e, rest, true
	}
	if len(rest) < 20 {
		return e, nil, false
	}
	copy(e.id[:], rest)
	return e, rest[20:], true
}

func readObject(o []byte) (kind string, content []byte, ok bool) {
	head, content, ok := bytes.Cut(o, []byte{0})
	if !ok {
		return "", nil, false
	}
	kind, length, ok := strings.Cut(string(head), " ")
	if !ok || kind != "commit" && kind != "tree" || length != strconv.Itoa(len(content)) {
		return "", nil, false
	}
	return kind, content, true
}

func readCommit(b []byte) (root [20]byte, ok bool) {
	if len(b) < 46 || string(b[:5]) != "tree " || b[45] != '\n' {
		return root, false
	}
	for i := range 40 {
		n := strings.IndexByte("0123456789abcdef", b[5+i])
		if n < 0 {
			return root, false
		}
		root[i/2] = root[i/2]<<4 | byte(n)
	}
	return root, true
}

func readTree(b []byte) (entries []entry, ok bool) {
	for len(b) > 0 {
		e, rest, ok := readEntry(b, false)
		if !ok {
			return nil, false
		}
		entries, b = append(entries, e), rest
	}
	return entries, true
}

// provable says whether a prover who wants to can prove the statement in segments of so many
// blocks: he lists what the list has.
func (s *statement) provable(t *testing.T, blocks int) bool {
	r := repo{commit: s.commit, list: s.list}
	wanted, _ := readList(s.list)
	for n, o := range s.objects {
		object := Object{Data: o, Listed: map[string]bool{}}
		if n < len(wanted) {
			for _, e := range wanted[n].records {
				object.Listed[e.name] = true
			}
		}
		r.objects = append(r.objects, object)
	}
	stream, err := Split(blocks, r.objects)
	return err == nil && proves(t, stream, r.commit, r.list, "") == nil
}

// randomRepo is a small repository with directories, submodules and hidden entries.
func randomRepo(rng *rand.Rand) repo {
	var make func(depth int) node
	make = func(depth int) node {
		n := node{}
		for range 1 + rng.IntN(3) {
			name := fmt.Sprintf("%c%c", 'a'+rng.IntN(3), "-./0z"[rng.IntN(5)])
			name = strings.ReplaceAll(name, "/", "_")
			if rng.IntN(4) == 0 {
				name = "." + name
			}
			switch k := rng.IntN(6); {
			case k == 0 && depth > 0:
				n[name] = make(depth - 1)
			case k == 1 && depth == 2:
				n[name] = commitNode{node{"s": "1"}}
			default:
				n[name] = fmt.Sprint(rng.IntN(100))
			}
		}
		return n
	}
	for {
		r := build(make(2), strings.Repeat("m", rng.IntN(40)))
		if CountBlocks(r.objects) <= 14 {
			return r
		}
	}
}

// TestCircuitAndDefinitionAgree proves random true statements and corruptions of them, in segments
// of different sizes: the circuit must accept exactly what the definition does.
func TestCircuitAndDefinitionAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("the true statements and attacks have their own tests; not in -short")
	}
	rng := rand.New(rand.NewPCG(7, 11))
	truths, lies := 0, 0
	for round, blocks := range []int{1, 2, 3, 5, 1, 2, 3, 5, 2, 3, 5, 5} {
		r := randomRepo(rng)
		objects := make([][]byte, len(r.objects))
		for i, o := range r.objects {
			objects[i] = o.Data
		}
		for _, name := range slices.Sorted(maps.Keys(corruptions)) {
			s := statement{r.commit, slices.Clone(objects), bytes.Clone(r.list)}
			corruptions[name](rng, &s)
			want := s.holds()
			if got := s.provable(t, blocks); got != want {
				t.Fatalf("round %d, %s: in segments of %d blocks the circuit says %v, the definition %v\n%+q",
					round, name, blocks, got, want, s)
			}
			if want {
				truths++
			} else {
				lies++
			}
		}
	}
	if truths < 12 || lies < 12 {
		t.Errorf("%d true and %d false statements show little", truths, lies)
	}
	t.Logf("%d true and %d false statements", truths, lies)
}

// statement is what holds and provable take.
type statement struct {
	commit  [20]byte
	objects [][]byte
	list    []byte
}

// flip flips a bit of one of the objects.
func (s *statement) flip(rng *rand.Rand, object int) {
	o := bytes.Clone(s.objects[object])
	o[rng.IntN(len(o))] ^= 1 << rng.IntN(8)
	s.objects[object] = o
}

// file returns where the first file's record in the list begins and ends.
func (s *statement) file() (from, to int) {
	if from = bytes.Index(s.list, []byte("100644 ")); from < 0 {
		return 0, 0
	}
	return from, from + bytes.IndexByte(s.list[from:], 0) + 1 + idBytes
}

// corruptions change one thing of a true statement; some leave it true.
var corruptions = map[string]func(rng *rand.Rand, s *statement){
	"nothing":            func(*rand.Rand, *statement) {},
	"the commit":         func(rng *rand.Rand, s *statement) { s.commit[rng.IntN(20)] ^= 1 },
	"a byte of the list": func(rng *rand.Rand, s *statement) { s.list[rng.IntN(len(s.list))] ^= 1 << rng.IntN(8) },
	"the list's end":     func(rng *rand.Rand, s *statement) { s.list = s.list[:rng.IntN(len(s.list))] },
	"a byte of an object, with its names": func(rng *rand.Rand, s *statement) {
		// The root tree is altered, and the commit made to fit.
		o := s.objects
		old := fmt.Appendf(nil, "%x", id(o[1]))
		s.flip(rng, 1)
		o[0] = bytes.Replace(o[0], old, fmt.Appendf(nil, "%x", id(o[1])), 1)
		s.commit = id(o[0])
	},
	"a byte of an object": func(rng *rand.Rand, s *statement) { s.flip(rng, rng.IntN(len(s.objects))) },
	"an object left out":  func(rng *rand.Rand, s *statement) { s.objects = s.objects[:len(s.objects)-1] },
	"two objects exchanged": func(rng *rand.Rand, s *statement) {
		i, j := rng.IntN(len(s.objects)), rng.IntN(len(s.objects))
		s.objects[i], s.objects[j] = s.objects[j], s.objects[i]
	},
	"a file's record left out": func(_ *rand.Rand, s *statement) {
		// Still true: the list may have fewer files than the tree.
		from, to := s.file()
		s.list = slices.Delete(s.list, from, to)
	},
	"a record doubled": func(_ *rand.Rand, s *statement) {
		from, to := s.file()
		s.list = slices.Insert(s.list, to, s.list[from:to]...)
	},
}
