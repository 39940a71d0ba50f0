package evidence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// all covers every key.
var all = testlog.Must(index.NewPrefix(index.Key{}, 0))

// changed returns a map that has another value for one key; none, if it is nil.
func changed(s *index.Snapshot, k index.Key, value []byte) *index.Snapshot {
	var m index.Map
	if value != nil {
		m.Insert(k, value)
	}
	for r := range s.Rows(all) {
		if r.Key != k {
			m.Insert(r.Key, r.Value)
		}
	}
	return m.Snapshot()
}

// sealedBy returns a tree with a seal of any map at its end.
func sealedBy(leaves [][]byte, m *index.Snapshot) tree {
	return newTree(append(slices.Clone(leaves), seal(len(leaves), m.Root()))...)
}

func seal(size int, root index.Hash) []byte {
	return testlog.Must((&entry.Seal{Rules: entry.Rules, Size: uint64(size), Root: root}).Marshal())
}

// last returns what the map that a tree is sealed with has for a key.
func (w *world) last(tr tree, m *index.Snapshot, k index.Key) Sealed {
	n := tr.Size()
	return Sealed{tr.note(n, w.log, w.w1), tr.leaf(n-1, n), lookup(m, k), nil}
}

func lookup(m *index.Snapshot, k index.Key) Lookup {
	value, proof := m.Lookup(k)
	return Lookup{k, value, proof}
}

// grown is a log as it grows: honest, with all that an honest log may have.
type grown struct {
	leaves [][]byte
	before *index.Snapshot // what the start takes over; nil if leaf 0 is no start
	sizes  []int           // of the trees that end in a seal
	maps   map[int]*index.Snapshot
}

// grow makes a log at random: entries of few versions in many spellings, void ones and repeats among them,
// void seals, a start, and what is no leaf.
func grow(rnd *rand.Rand, n int) *grown {
	g := &grown{maps: map[int]*index.Snapshot{}}
	var m index.Map
	if rnd.IntN(2) == 0 {
		var before, taken index.Map
		for i := range 1 + rnd.IntN(6) {
			before.Add(uint64(i), testlog.Must(index.FactsOf(someEntry(rnd))))
		}
		s := before.Snapshot()
		fatal(taken.Inherit(s), m.Inherit(s))
		g.before = taken.Snapshot()
		g.leaves = append(g.leaves, start(g.before.Root()))
	}
	for len(g.leaves) < n || len(g.sizes) == 0 || g.sizes[len(g.sizes)-1] != len(g.leaves) {
		at := len(g.leaves)
		var b []byte
		switch x := rnd.IntN(12); {
		case x == 0 && at > 0:
			b = g.leaves[rnd.IntN(at)] // a repeat; a seal or a start is void here
		case x == 1:
			b = fmt.Appendf(nil, "leaf %d", at)
		case x == 2:
			b = seal(at+1, index.Hash{1})
		case x <= 4:
			g.maps[at] = m.Snapshot()
			b = seal(at, g.maps[at].Root())
			g.sizes = append(g.sizes, at+1)
		default:
			b = testlog.Must(someEntry(rnd).Marshal())
		}
		if leaf, err := entry.ParseLeaf(b); err == nil {
			fatal(m.AddLeaf(uint64(at), leaf))
		}
		g.leaves = append(g.leaves, b)
	}
	return g
}

func start(root index.Hash) []byte {
	return testlog.Must((&entry.Start{Origin: "example.com/before", Size: 9, Rules: entry.Rules, Root: root}).Marshal())
}

func fatal(errs ...error) {
	if err := errors.Join(errs...); err != nil {
		panic(err)
	}
}

// someEntry is one of few versions, checksums and claims, without a proof that holds.
func someEntry(rnd *rand.Rand) *entry.Entry {
	of := func(all ...string) string { return all[rnd.IntN(len(all))] }
	e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: of("foo-bar", "foo_bar", "Foo-Bar", "x"),
		Version: of("1.0.0", "1.0.0+x", "1.0.0+y", "1.0.0-rc.1"), SHA256: [32]byte{byte(rnd.IntN(2))}},
		Claim: &entry.Source{Commit: [20]byte{byte(rnd.IntN(2))}},
		Proof: entry.Proof{Program: [32]byte{byte(rnd.IntN(2))}, Parts: [][]byte{{byte(rnd.IntN(3))}}}}
	if rnd.IntN(3) == 0 {
		e.Claim = &entry.Build{Binary: "b", Target: "x86_64-unknown-linux-gnu", Recipe: entry.Recipe1,
			Artifact: [32]byte{byte(rnd.IntN(2))}, Root: [32]byte{byte(rnd.IntN(2))}, Tag: [32]byte{byte(rnd.IntN(2))}}
	}
	return e
}

// keys are all that the log's leaves insert, and some that nothing does.
func (g *grown) keys(rnd *rand.Rand) []index.Key {
	all := []index.Key{{}, {0, 1, 96: 1}, {1}, {2}, index.VersionKey("r", "n", "1.0.0")}
	for range 3 {
		all = append(all, testlog.Must(index.FactsOf(someEntry(rnd))).Rows(0)[0].Key)
	}
	for i, b := range g.leaves {
		in := testlog.Must(Leaf{Index: int64(i), Bytes: b}.inserts())
		for _, r := range in.rows {
			all = append(all, r.Key)
		}
	}
	return all
}

// TestHonestIndexesAreNeverConvicted makes every statement of honest logs that can be made of one key, one
// leaf and one sealed tree, and many that cannot be.
func TestHonestIndexesAreNeverConvicted(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(7, 8))
	tried, void := 0, 0
	refused := func(what string, e *Evidence, err error) {
		t.Helper()
		tried++
		if !errors.Is(err, ErrNotProven) && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%s: %+v, %v", what, e, err)
		}
	}
	for range 6 {
		g := grow(rnd, 16)
		full := newTree(g.leaves...)
		for _, size := range g.sizes {
			tr, m := tree{full.Fork(int64(size))}, g.maps[size-1]
			if tr.Map(int64(size)).Root() != m.Root() && g.before == nil {
				t.Fatal("the map is not that of the leaves, so this test sees nothing")
			}
			note := tr.note(int64(size), w.log)
			e, err := NewUnsealed(note, tr.leaf(int64(size-1), int64(size)), meta)
			refused("unsealed", e, err)
			for _, k := range g.keys(rnd) {
				all := []Sealed{w.last(tr, m, k)}
				if v := all[0].Index.Value; v != nil && k.IsVersion() {
					void += btoi(v[0] != 0)
				}
				if g.before != nil {
					both := all[0]
					s := lookup(g.before, k)
					both.Start = &s
					all = append(all, both)
				}
				lie := all[0]
				lie.Index = invent(rnd, lie.Index, m, g.keys(rnd))
				all = append(all, lie)
				if g.before != nil {
					lie := all[1]
					start := invent(rnd, *lie.Start, g.before, g.keys(rnd))
					start.Key, lie.Start = k, &start
					all = append(all, lie)
				}
				for _, s := range all {
					e, err = NewIndexPhantom(s, nil, meta)
					refused("phantom, no leaf", e, err)
					for i := range size {
						l := tr.leaf(int64(i), int64(size))
						e, err = NewIndexOmission(s, l, meta)
						refused("omission", e, err)
						e, err = NewIndexPhantom(s, &l, meta)
						refused("phantom", e, err)
					}
				}
			}
		}
	}
	if tried < 20000 || void == 0 {
		t.Errorf("%d statements of %d values were tried, so this test sees little", tried, void)
	}
}

// invent changes a true look-up into one that an attacker might try.
func invent(rnd *rand.Rand, l Lookup, m *index.Snapshot, keys []index.Key) Lookup {
	other := lookup(m, keys[rnd.IntN(len(keys))])
	switch l.Proof = slices.Clone(l.Proof); rnd.IntN(6) {
	case 0:
		l.Value = nil
	case 1:
		l.Value = other.Value
	case 2:
		l.Value, l.Proof = other.Value, other.Proof
	case 3:
		l.Proof = other.Proof
	case 4:
		l.Value = append(slices.Clone(l.Value), 0)
	case 5:
		if len(l.Proof) > 0 {
			l.Proof[rnd.IntN(len(l.Proof))] ^= 1
		} else {
			l.Value = []byte{1}
		}
	}
	if l.Key == other.Key { // then it may be the true one
		l.Value = []byte{1}
	}
	return l
}

// TestWhateverAnIndexHasWrongConvicts changes one value of an honest map in each way that there is, and wants
// the seal of it to convict: by one leaf, and by the same file under a later checkpoint.
func TestWhateverAnIndexHasWrongConvicts(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(9, 10))
	seen := map[string]int{}
	for range 250 {
		g := grow(rnd, 4+rnd.IntN(12))
		size := g.sizes[len(g.sizes)-1]
		leaves, honest := g.leaves[:size-1], g.maps[size-1]
		keys := g.keys(rnd)
		k := keys[rnd.IntN(len(keys))]
		want, _ := honest.Get(k)
		wrong := lie(rnd, k, want, uint64(size))
		if string(wrong) == string(want) {
			continue
		}
		m := changed(honest, k, wrong)
		tr := sealedBy(leaves, m)
		s := w.last(tr, m, k)
		if g.before != nil {
			before := lookup(g.before, k)
			s.Start = &before
		}
		leaf := func(i int64) (Leaf, error) { return NewLeaf(tr, tr.Size(), i, tr.Leaves[i]) }
		e, err := falseIndex(s, want, leaf)
		if err != nil {
			t.Fatalf("%x has %x and not %x: %v", k[:1], wrong, want, err)
		}
		e = testlog.Must(Parse(testlog.Must(e.Marshal())))
		c, err := Verify(e, w.keys, nil)
		if err != nil || c.Who != "log "+origin || !c.Transferable {
			t.Fatalf("%+v, %v", c, err)
		}
		seen[fmt.Sprintf("%s %d leaves %d look-ups", e.Kind, len(e.Entries), len(e.Lookups))]++
		if _, err := falseIndex(w.last(sealedBy(leaves, honest), honest, k), want, leaf); err == nil {
			t.Fatal("the honest map was convicted")
		}
		// One finding under all checkpoints.
		later := sealedBy(append(slices.Clone(tr.Leaves), []byte("later")), m)
		s2 := w.last(later, m, k)
		s2.Start = s.Start
		tr = later
		if number, before, err := s.Index.number(); err == nil && !before && number >= uint64(size-1) {
			continue // it names a leaf that is there now
		}
		e2 := testlog.Must(falseIndex(s2, want, leaf))
		if testlog.Must(e.Key()) != testlog.Must(e2.Key()) {
			t.Fatal("one finding has two keys")
		}
	}
	for _, form := range []string{"index-omission 2 leaves 1 look-ups", "index-omission 2 leaves 2 look-ups", "index-phantom 1 leaves 1 look-ups",
		"index-phantom 2 leaves 1 look-ups", "index-phantom 2 leaves 2 look-ups"} {
		if seen[form] == 0 {
			t.Errorf("there was no %s: %v", form, seen)
		}
	}
}

// falseIndex arranges the one of the two that a wrong value is: want is what the map must have for the key, nil
// if nothing. s has the look-up in the start's map if the tree begins with a start.
func falseIndex(s Sealed, want []byte, leaf func(index int64) (Leaf, error)) (*Evidence, error) {
	named := func(n uint64, inherited bool) (Leaf, error) {
		if inherited {
			n = 0
		} else {
			s.Start = nil
		}
		return leaf(int64(n))
	}
	first, before, err := Lookup{Key: s.Index.Key, Value: want}.number()
	got, gotBefore, formless := s.Index.number()
	omitted := s.Index.Value == nil || formless == nil && (before || !gotBefore && got > first)
	switch {
	case want != nil && err != nil:
		return nil, fmt.Errorf("the value that the index must have: %w", err)
	case want != nil && omitted:
		l, err := named(first, before)
		if err != nil {
			return nil, err
		}
		return NewIndexOmission(s, l, meta)
	case formless != nil || !gotBefore && got >= uint64(max(s.Seal.Index, 0)):
		s.Start = nil
		return NewIndexPhantom(s, nil, meta)
	}
	l, err := named(got, gotBefore)
	if err != nil {
		return nil, err
	}
	return NewIndexPhantom(s, &l, meta)
}

// lie returns a value that a log of a size might give to a key in place of the true one.
func lie(rnd *rand.Rand, k index.Key, want []byte, size uint64) []byte {
	n := binary.BigEndian.AppendUint64(nil, rnd.Uint64N(size+2))
	if rnd.IntN(3) == 0 {
		n[0] |= 0x80 // which is no form but of a version
	}
	sum := [32]byte{byte(rnd.IntN(2))}
	v := n
	switch {
	case k.IsVersion():
		v = slices.Concat(sum[:], n)
	case k.IsBuild():
		v = slices.Concat(sum[:], sum[:], n)
	}
	switch rnd.IntN(5) {
	case 0:
		return nil
	case 1:
		return []byte("a value of no form")
	case 2:
		if len(want) > 8 { // another checksum or result by the same leaf
			v = slices.Clone(want)
			v[0] ^= 1
		}
	}
	return v
}

// sealedEvidence makes one of each form of what convicts by the seal.
func (w *world) sealedEvidence(add func(name, who string, transferable bool, also int, e *Evidence, err error)) {
	log := "log " + origin
	inner, proof := fixture.Read(w.t, "hello-inner-0.1.0.entry"), fixture.Read(w.t, "hello-proof-0.1.0.entry")
	void := altered(w.t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Subject.SHA256[0] ^= 1 })
	leaves := [][]byte{proof, inner, void}
	honest := testlog.NewTree(leaves...).Map(3)
	version := index.VersionKey(entry.DefaultRegistry, "hello-inner", "0.1.0")
	value, _ := honest.Get(version)
	one := func(leaves [][]byte, k index.Key, want, wrong []byte, before *index.Snapshot, honest *index.Snapshot) (*Evidence, error) {
		m := changed(honest, k, wrong)
		tr := sealedBy(leaves, m)
		s := w.last(tr, m, k)
		if before != nil {
			l := lookup(before, k)
			s.Start = &l
		}
		return falseIndex(s, want, func(i int64) (Leaf, error) { return tr.leaf(i, tr.Size()), nil })
	}
	tr := newTree(leaves...)
	e, err := NewUnsealed(tr.note(3, w.log, w.w1), tr.leaf(2, 3), meta)
	add("unsealed", log, true, 0, e, err)
	tr = newTree(append(leaves, seal(2, honest.Root()))...)
	e, err = NewUnsealed(tr.note(4, w.log, w.w1), tr.leaf(3, 4), meta)
	add("unsealed-void", log, true, 0, e, err)

	e, err = one(leaves, version, value, nil, nil, honest)
	add("index-omission", log, true, 0, e, err)
	later := slices.Clone(value)
	later[0], later[39] = later[0]^1, 2
	e, err = one(leaves, version, value, later, nil, honest)
	add("index-omission-later", log, true, 0, e, err)
	other := slices.Clone(value)
	other[0] ^= 1
	e, err = one(leaves, version, value, other, nil, honest)
	add("index-phantom", log, true, 0, e, err)
	other = slices.Clone(value)
	other[39] = 7
	e, err = one(leaves, index.VersionKey(entry.DefaultRegistry, "hello-inner", "0.2.0"), nil, other, nil, honest)
	add("index-phantom-nowhere", log, true, 0, e, err)
	other = slices.Clone(value)
	other[32] = 0x80
	e, err = one(leaves, version, value, other, nil, honest)
	add("index-phantom-inherited", log, true, 0, e, err)

	var taken, goesOn index.Map
	fatal(taken.Inherit(honest), goesOn.Inherit(honest))
	before := taken.Snapshot()
	leaves = [][]byte{start(before.Root()), proof}
	honest = goesOn.Snapshot()
	inherited, _ := honest.Get(version)
	e, err = one(leaves, version, inherited, nil, before, honest)
	add("index-omission-start", log, true, 0, e, err)
	e, err = one(leaves, index.VersionKey(entry.DefaultRegistry, "hello-inner", "0.2.0"), nil, inherited, before, honest)
	add("index-phantom-start", log, true, 0, e, err)
}

// The seal corruptions make what convicts by a seal untrue.
var sealCorruptions = []corruption{
	{"no look-up", func(w *world, e *Evidence) { e.Lookups = nil }},
	{"a look-up where none belongs", func(w *world, e *Evidence) {
		if len(e.Lookups) == 0 {
			e.Lookups = []Lookup{{}}
		}
	}},
	{"a look-up more", onLookup(func(e *Evidence) { e.Lookups = append(e.Lookups, e.Lookups[0]) })},
	{"a look-up less", onLookup(func(e *Evidence) { e.Lookups = e.Lookups[:max(1, len(e.Lookups)-1)] })},
	{"the look-ups in the other order", onLookup(func(e *Evidence) { slices.Reverse(e.Lookups) })},
	{"look-ups of two keys", onLookup(func(e *Evidence) {
		if len(e.Lookups) > 1 {
			e.Lookups[1].Key[3] ^= 1
		}
	})},
	{"another value in the start's map", onLookup(func(e *Evidence) {
		if l := e.Lookups[len(e.Lookups)-1]; len(e.Lookups) == 2 && l.Value != nil {
			e.Lookups[1].Value = append([]byte{l.Value[0] ^ 1}, l.Value[1:]...)
		} else if len(e.Lookups) == 2 {
			e.Lookups[1].Proof = append([]byte{l.Proof[0], l.Proof[1] ^ 1}, l.Proof[2:]...)
		}
	})},
	{"another key", onLookup(func(e *Evidence) {
		for i := range e.Lookups {
			e.Lookups[i].Key[96] ^= 1
		}
	})},
	{"a value that is absent", onLookup(func(e *Evidence) { e.Lookups[0].Value = nil })},
	{"another value", onLookup(func(e *Evidence) { e.Lookups[0].Value = append(slices.Clone(e.Lookups[0].Value), 1) })},
	{"an empty value", onLookup(func(e *Evidence) { e.Lookups[0].Value = []byte{} })},
	{"a very long value", onLookup(func(e *Evidence) { e.Lookups[0].Value = make([]byte, 73) })},
	{"a very long proof", onLookup(func(e *Evidence) { e.Lookups[0].Proof = make([]byte, maxProof+1) })},
	{"a proof with a byte more", onLookup(func(e *Evidence) { e.Lookups[0].Proof = append(slices.Clone(e.Lookups[0].Proof), 0) })},
	{"a proof with a byte less", onLookup(func(e *Evidence) { e.Lookups[0].Proof = e.Lookups[0].Proof[:len(e.Lookups[0].Proof)-1] })},
	{"no proof", onLookup(func(e *Evidence) { e.Lookups[0].Proof = nil })},
	{"the seal alone", onLookup(func(e *Evidence) { e.Entries = e.Entries[len(e.Entries)-1:] })},
	{"a leaf that the value does not name", func(w *world, e *Evidence) {
		if len(e.Lookups) > 0 && len(e.Entries) == 1 {
			e.Entries = append([]Leaf{{Bytes: []byte("leaf 0 ")}}, e.Entries...)
			w.end(e, 0, func(b []byte) []byte { return b })
		}
	}},
	{"the seal less", onLookup(func(e *Evidence) { e.Entries = e.Entries[:len(e.Entries)-1] })},
	{"a seal that is not the last leaf", func(w *world, e *Evidence) { w.end(e, 1, func(b []byte) []byte { return b }) }},
	{"a void seal", onLookupOf(func(w *world, e *Evidence) { w.end(e, 0, func(b []byte) []byte { return reseal(b, 1, entry.Rules) }) })},
	{"a seal of rules that are not known", func(w *world, e *Evidence) {
		w.end(e, 0, func(b []byte) []byte { return reseal(b, 0, entry.Rules+1) })
	}},
	{"a leaf of a format that is not known", func(w *world, e *Evidence) {
		w.end(e, 0, func([]byte) []byte { return []byte("\xa2\x01\x03\x05\x00") })
	}},
	{"an entry in place of the seal", onLookupOf(func(w *world, e *Evidence) {
		w.end(e, 0, func([]byte) []byte { return w.honest.Leaves[5] })
	})},
	{"the kind index-omission", onKind(IndexOmission)},
	{"the kind index-phantom", onKind(IndexPhantom)},
	{"the kind unsealed", onKind(Unsealed)},
}

func onLookup(do func(*Evidence)) func(*world, *Evidence) {
	return onLookupOf(func(_ *world, e *Evidence) { do(e) })
}

func onLookupOf(do func(*world, *Evidence)) func(*world, *Evidence) {
	return func(w *world, e *Evidence) {
		if len(e.Lookups) > 0 {
			do(w, e)
		}
	}
}

func onKind(k Kind) func(*world, *Evidence) {
	return func(_ *world, e *Evidence) {
		if e.Kind == Unsealed || len(e.Lookups) > 0 {
			e.Kind = k
		}
	}
}

// reseal returns a leaf's seal, or another one, of more leaves and other rules.
func reseal(b []byte, more, rules uint64) []byte {
	s := entry.Seal{Size: 3}
	if leaf, err := entry.ParseLeaf(b); err == nil {
		if x, ok := leaf.(*entry.Seal); ok {
			s = *x
		}
	}
	s.Size, s.Rules = s.Size+more, rules
	return testlog.Must(s.Marshal())
}

// end changes the last leaf of the tree that e is about, puts others behind it, and has it signed.
func (w *world) end(e *Evidence, behind int, change func([]byte) []byte) {
	if e.Kind != Unsealed && len(e.Lookups) == 0 {
		return
	}
	n := e.head(0).N
	tr := newTree(words(int(n), "")...)
	for _, l := range e.Entries {
		tr = tr.with(l.Index, l.Bytes)
	}
	tr = tr.with(n-1, change(tr.Leaves[n-1]))
	tr.Append(words(behind, "")...)
	e.Notes[0] = tr.note(tr.Size(), w.log)
	for i, l := range e.Entries {
		e.Entries[i] = tr.leaf(l.Index, tr.Size())
	}
}

// TestSealsAndStartsAreLeaves: a void one convicts nobody, and neither does one of rules to come.
func TestSealsAndStartsAreLeaves(t *testing.T) {
	w := newWorld(t)
	for name, leaf := range map[string][]byte{"a void seal": seal(7, index.Hash{1}), "a seal": seal(5, index.Hash{1}),
		"a start": start(index.Hash{1}), "a seal of other rules": reseal(seal(5, index.Hash{1}), 0, 9)} {
		for _, r := range []Reason{Malformed, ProofInvalid, Files, UnknownProgram} {
			e, err := w.falseEntry(r, leaf, Attached{})
			if err == nil {
				_, err = Verify(e, w.keys, w.pv)
			}
			if !errors.Is(err, ErrNotProven) || !strings.Contains(err.Error(), "leaf 5 is a seal or a start") {
				t.Errorf("%s as %s: %v", name, r, err)
			}
		}
	}
}

// TestAStartCountsAtTheBeginningOnly: elsewhere it takes over nothing, whatever it says.
func TestAStartCountsAtTheBeginningOnly(t *testing.T) {
	w := newWorld(t)
	k := index.VersionKey(entry.DefaultRegistry, "a", "1.0.0")
	var m, none index.Map
	m.Insert(k, index.Version{First: 1, Inherited: true}.Marshal())
	taken, honest := m.Snapshot(), none.Snapshot()
	first := start(taken.Root())
	tr := sealedBy([][]byte{[]byte("leaf 0"), first}, honest)
	s, before := w.last(tr, honest, k), lookup(taken, k)
	s.Start = &before
	if e, err := NewIndexOmission(s, tr.leaf(1, 3), meta); !errors.Is(err, ErrNotProven) {
		t.Errorf("%v, %v", e, err)
	}
	tr = sealedBy([][]byte{first, []byte("leaf 1")}, honest)
	s = w.last(tr, honest, k)
	s.Start = &before
	testlog.Must(NewIndexOmission(s, tr.leaf(0, 3), meta))

	// What a start's index cannot have does not count either.
	counted := index.Version{First: 1}.Marshal()
	entryKey := testlog.Must(index.FactsOf(someEntry(rand.New(rand.NewPCG(1, 1))))).EntryKey()
	for k, value := range map[index.Key][]byte{k: counted, entryKey: index.Version{First: 1, Inherited: true}.Marshal()} {
		var odd index.Map
		odd.Insert(k, value)
		tr := sealedBy([][]byte{start(odd.Snapshot().Root())}, honest)
		s, before := w.last(tr, honest, k), lookup(odd.Snapshot(), k)
		s.Start = &before
		if e, err := NewIndexOmission(s, tr.leaf(0, 2), meta); !errors.Is(err, ErrNotProven) {
			t.Errorf("%v, %v", e, err)
		}
	}
}

// TestOnlyKnownRulesConvict: what a newer version may know is for it to judge.
func TestOnlyKnownRulesConvict(t *testing.T) {
	w := newWorld(t)
	for name, last := range map[string][]byte{"rules": reseal(seal(9, index.Hash{}), 0, 2), "void rules": reseal(seal(2, index.Hash{}), 0, 2),
		"format": []byte("\xa2\x01\x03\x05\x00")} {
		tr := newTree(append(slices.Clone(w.honest.Leaves), last)...)
		if e, err := NewUnsealed(tr.note(10, w.log), tr.leaf(9, 10), meta); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
	k := index.VersionKey(entry.DefaultRegistry, "a", "1.0.0")
	var m index.Map
	m.Insert(k, slices.Concat(make([]byte, 32), []byte{0x80, 7: 1}))
	for name, first := range map[string][]byte{
		"a start of other rules": testlog.Must((&entry.Start{Origin: "o", Rules: 2}).Marshal()),
		"a leaf to come":         []byte("\xa4\x01\x03\x02\xa0\x03\xa0\x04\xa0"),
	} {
		tr := sealedBy([][]byte{first}, m.Snapshot())
		l := tr.leaf(0, 2)
		if e, err := NewIndexPhantom(w.last(tr, m.Snapshot(), k), &l, meta); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}
