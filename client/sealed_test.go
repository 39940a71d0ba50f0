package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// later is the world with another entry about hello-proof behind its seal, which differs as change says, and a new
// seal.
func (w *world) later(change func(e *entry.Entry)) *world {
	next, e := *w, *w.entry
	change(&e)
	next.tree = newTree(w.tree.Leaves...)
	next.tree.Append(testlog.Must(w.believe(&e).Marshal()))
	next.tree.Seal()
	return &next
}

// newest is the checkpoint of all leaves, cosigned in full.
func (w *world) newest() []byte { return w.checkpoint(w.tree.Size(), w.all...) }

// of is the bundle of an entry under the newest checkpoint.
func (w *world) of(i int64) []byte { return w.tree.Bundle(i, w.tree.Size(), w.newest()) }

// TestAVersionHasOneChecksum: the first entry about it says which.
func TestAVersionHasOneChecksum(t *testing.T) {
	w := newWorld(t)
	r := testlog.Must(w.verify(w.bundle))
	if r.First != (index.Version{SHA256: w.entry.Subject.SHA256, First: helloIndex}) {
		t.Errorf("first: %+v", r.First)
	}
	other := w.later(func(e *entry.Entry) { e.Subject.SHA256[0] ^= 1 })
	testlog.Must(other.verify(other.of(helloIndex)))
	_, err := other.verify(other.of(7))
	want := fmt.Sprintf("void entry: entry 7 gives hello-proof 0.1.0 the SHA-256 %02x", w.entry.Subject.SHA256[0]^1)
	if !errors.Is(err, ErrVoid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(),
		fmt.Sprintf("in this log it has %x, by entry 2, which was first. Do not use the .crate", w.entry.Subject.SHA256)) {
		t.Errorf("a void entry: %v", err)
	}
	// The same checksum again is the same version.
	again := w.later(func(e *entry.Entry) { e.Proof.Parts = [][]byte{{7}} })
	if r := testlog.Must(again.verify(again.of(7))); r.Index != 7 || r.First.First != helloIndex {
		t.Errorf("logged again: %+v", r)
	}
}

// TestRegistriesTakeTheseForTheSame: what differs in case, "-" and "_", or in build metadata, is one version, and what
// differs in its registry is another.
func TestRegistriesTakeTheseForTheSame(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change func(s *entry.Subject)
		void   bool
	}{
		"another spelling":    {func(s *entry.Subject) { s.Name = "hello_proof" }, true},
		"another case":        {func(s *entry.Subject) { s.Name = "Hello-Proof" }, true},
		"build metadata":      {func(s *entry.Subject) { s.Version = "0.1.0+x" }, true},
		"a pre-release":       {func(s *entry.Subject) { s.Version = "0.1.0-x" }, false},
		"another name":        {func(s *entry.Subject) { s.Name = "helloproof" }, false},
		"another registry":    {func(s *entry.Subject) { s.Registry = "https://r.example" }, false},
		"nothing but the sum": {func(*entry.Subject) {}, true},
	} {
		other := w.later(func(e *entry.Entry) {
			c.change(&e.Subject)
			e.Subject.SHA256[0] ^= 1
		})
		_, err := OpenBundle(other.of(7), w.policy, Rules{})
		if errors.Is(err, ErrVoid) != c.void || !c.void && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := w.later(func(e *entry.Entry) { e.Subject.Version = "1.0.0+y"; e.Subject.SHA256[0] ^= 1 })
	x = x.later(func(e *entry.Entry) { e.Subject.Version = "1.0.0+x"; e.Subject.SHA256[0] ^= 2 })
	if _, err := OpenBundle(x.of(9), w.policy, Rules{}); !errors.Is(err, ErrVoid) || !strings.Contains(err.Error(), "by entry 7") {
		t.Errorf("1.0.0+x after 1.0.0+y: %v", err)
	}
}

// lies are worlds whose logs do not seal what they hold, with all signatures, and what is wrong with them.
func lies(t *testing.T) map[string]struct {
	*world
	want string
} {
	t.Helper()
	w := newWorld(t)
	last := func(leaf []byte) *world {
		next := *w
		next.tree = tree{w.tree.With(6, leaf)}
		return &next
	}
	sealed := func(s entry.Seal) *world { return last(testlog.Must(s.Marshal())) }
	right := entry.Seal{Rules: entry.Rules, Size: 6, Root: w.tree.Map(6).Root()}
	other := func(change func(*entry.Seal)) *world {
		s := right
		change(&s)
		return sealed(s)
	}
	lying := func(lie func(t *testlog.Tree)) *world {
		next := *w
		next.tree = tree{w.tree.Fork(6)}
		lie(next.tree.Tree)
		next.tree.Seal()
		return &next
	}
	foreign := newTree(w.tree.Leaves[:5]...)
	foreign.Append(w.build(1, nil))
	subject := w.entry.Subject
	key := index.VersionKey(subject.Registry, subject.Name, subject.Version)
	phantom := func(v index.Version) *world {
		return lying(func(t *testlog.Tree) { t.Phantom(index.Row{Key: key, Value: v.Marshal()}) })
	}
	return map[string]struct {
		*world
		want string
	}{
		"an entry is the last leaf":   {last(w.tree.Leaves[innerIndex]), "with 7 entries: the tree does not end in a seal: leaf 6 is another one"},
		"no leaf at all is the last":  {last([]byte("leaf 6")), "with 7 entries: the tree does not end in a seal: leaf 6 is none at all"},
		"a start is the last leaf":    {last(testlog.Must((&entry.Start{Origin: "o", Size: 6, Rules: entry.Rules}).Marshal())), "leaf 6 is another one"},
		"a seal of less":              {other(func(s *entry.Seal) { s.Size-- }), "leaf 6 is the seal of 5 leaves, and void"},
		"a seal of more":              {other(func(s *entry.Seal) { s.Size++ }), "leaf 6 is the seal of 7 leaves, and void"},
		"a seal of most":              {other(func(s *entry.Seal) { s.Size = 1<<63 - 1 }), "leaf 6 is the seal of 9223372036854775807 leaves, and void"},
		"rules that are not known":    {other(func(s *entry.Seal) { s.Rules++ }), "knows the rules 1 only: get a newer version"},
		"another root":                {other(func(s *entry.Seal) { s.Root[0] ^= 1 }), "the proof of the map does not hold"},
		"the root of no map":          {other(func(s *entry.Seal) { s.Root = [32]byte{} }), "the proof of the map does not hold"},
		"the seal of another tree":    {other(func(s *entry.Seal) { s.Root = foreign.Map(6).Root() }), "the proof of the map does not hold"},
		"an entry left out":           {lying(func(t *testlog.Tree) { t.Omit(helloIndex) }), "the proof of the map does not hold"},
		"a phantom that was later":    {phantom(index.Version{SHA256: subject.SHA256, First: 4}), "says that entry 4 was the first about hello-proof 0.1.0, but entry 2 is about it too"},
		"a phantom that is not there": {phantom(index.Version{SHA256: subject.SHA256, First: 6}), "entry 6 was the first about hello-proof 0.1.0, and it is of 6 entries"},
	}
}

// TestAnUnsealedTreeShowsNothing, whoever cosigned it. The bundle is as good as such a log can make it.
func TestAnUnsealedTreeShowsNothing(t *testing.T) {
	for name, c := range lies(t) {
		r, err := c.verify(c.of(helloIndex))
		if r != nil || !errors.Is(err, ErrSeal) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
	w := newWorld(t)
	w.tree = tree{w.tree.Fork(6)}
	if _, err := w.verify(w.of(helloIndex)); !errors.Is(err, ErrSeal) {
		t.Errorf("a tree without a seal: %v", err)
	}
}

// files are a bundle, a look-up of a version, one that proves its absence, a page and an empty page, with how each is
// verified. One Ed25519 witness suffices, so that every byte of them is needed.
func files(w *world) map[string]struct {
	b     []byte
	check func([]byte) error
} {
	policy := testlog.Must(ParsePolicy(fmt.Appendf(nil, "log %s\nwitness W1 %s\nquorum W1\n", w.log.VKey, w.w1.VKey)))
	signed, size := w.checkpoint(w.tree.Size(), w.log, w.w1), w.tree.Size()
	s := w.entry.Subject
	lookup := func(version string, logged bool) func(b []byte) error {
		return func(b []byte) error {
			l, err := ParseLookup(b)
			if err != nil {
				return err
			}
			h, err := l.Check(policy, Rules{}, s.Registry, s.Name, version)
			if err == nil && (h.Logged != logged || logged && (h.First != helloIndex || h.SHA256 != s.SHA256)) {
				return fmt.Errorf("%+v", h)
			}
			return err
		}
	}
	page := func(under index.Prefix) func(b []byte) error {
		return func(b []byte) error {
			p, err := ParsePage(b)
			if err == nil {
				_, err = p.Check(policy, Rules{}, under)
			}
			return err
		}
	}
	full, empty := index.NamePrefix(s.Registry, s.Name), index.NamePrefix(s.Registry, "nobody")
	return map[string]struct {
		b     []byte
		check func([]byte) error
	}{
		"bundle": {w.tree.Bundle(helloIndex, size, signed), func(b []byte) error {
			_, err := OpenBundle(b, policy, Rules{})
			return err
		}},
		"look-up":    {w.tree.Lookup(s.Registry, s.Name, s.Version, size, signed), lookup(s.Version, true)},
		"absence":    {w.tree.Lookup(s.Registry, s.Name, "9.9.9", size, signed), lookup("9.9.9", false)},
		"page":       {w.tree.Page(full, size, signed), page(full)},
		"empty page": {w.tree.Page(empty, size, signed), page(empty)},
	}
}

// TestNoByteOfWhatALogShowsIsIdle: every flipped, cut or removed one is refused, and none as another's file is taken.
func TestNoByteOfWhatALogShowsIsIdle(t *testing.T) {
	all := files(newWorld(t))
	for name, f := range all {
		fatalIfErr(t, f.check(f.b))
		for i := range f.b {
			for _, x := range []byte{0x01, 0x20, 0x80} {
				bad := slices.Clone(f.b)
				bad[i] ^= x
				if f.check(bad) == nil {
					t.Errorf("%s: byte %d changed from %q to %q: believed", name, i, f.b[i], bad[i])
				}
			}
			if f.check(f.b[:i]) == nil || f.check(slices.Delete(slices.Clone(f.b), i, i+1)) == nil {
				t.Errorf("%s: without byte %d, or what is behind it: believed", name, i)
			}
		}
		for other, o := range all {
			if other != name && f.check(o.b) == nil {
				t.Errorf("the %s was taken for the %s", other, name)
			}
		}
	}
}

// TestWhatALogShowsHasOneEncoding alters the CBOR in the extra line.
func TestWhatALogShowsHasOneEncoding(t *testing.T) {
	for name, f := range files(newWorld(t)) {
		alter := func(change func(extra []byte) []byte) []byte {
			p := testlog.Must(ParseProof(f.b))
			p.Extra = change(p.Extra)
			return marshal(p)
		}
		fatalIfErr(t, f.check(alter(bytes.Clone)))
		for what, b := range map[string][]byte{
			"nothing":               alter(func([]byte) []byte { return nil }),
			"no map":                alter(func(x []byte) []byte { return []byte{0x80} }),
			"an empty map":          alter(func(x []byte) []byte { return []byte{0xa0} }),
			"something behind":      alter(func(x []byte) []byte { return append(x, 0xf6) }),
			"a key more":            alter(func(x []byte) []byte { return append(append([]byte{x[0] + 1}, x[1:]...), 9, 0) }),
			"the last key twice":    alter(func(x []byte) []byte { return append(append([]byte{x[0] + 1}, x[1:]...), 7, 0x40) }),
			"the first key missing": alter(func(x []byte) []byte { return append([]byte{x[0] - 1}, x[1:]...) }),
			"of unknown length":     alter(func(x []byte) []byte { return append(append([]byte{0xbf}, x[1:]...), 0xff) }),
			"a long length":         alter(func(x []byte) []byte { return append([]byte{0xb8, x[0] & 0x1f}, x[1:]...) }),
			"a long key":            alter(func(x []byte) []byte { return append([]byte{x[0], 0x18}, x[1:]...) }),
			"a tag":                 alter(func(x []byte) []byte { return append([]byte{0xd9, 0xd9, 0xf7}, x...) }),
		} {
			if err := f.check(b); !errors.Is(err, ErrBundle) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestWhatIsTooLargeIsNotWrittenAndNotRead(t *testing.T) {
	w := newWorld(t)
	all := files(w)
	signed := w.newest()
	bundle := func(change func(*Bundle)) []byte {
		b := testlog.Must(ParseBundle(all["bundle"].b))
		change(b)
		return refused(t, b, func() (any, error) {
			return ParseBundle(marshal(&Proof{b.Index, b.Hashes, signed, testlog.Must(joinedEnc.Marshal(wireBundle{b.Entry,
				b.Seal.Leaf, pathOf(b.Seal.Hashes), b.Version.Value, b.Version.Proof}))}))
		})
	}
	lookup := func(change func(*SealedLookup)) []byte {
		l := testlog.Must(ParseLookup(all["look-up"].b))
		change(l)
		return refused(t, l, func() (any, error) {
			return ParseLookup(marshal(&Proof{l.Index, l.Seal.Hashes, signed, testlog.Must(joinedEnc.Marshal(wireLookup{
				l.Seal.Leaf, l.Version.Value, l.Version.Proof}))}))
		})
	}
	page := func(change func(*Page)) []byte {
		p := testlog.Must(ParsePage(all["page"].b))
		change(p)
		var rows []wireRow
		for _, r := range p.Rows {
			rows = append(rows, wireRow{Key: r.Key[:], Value: r.Value})
		}
		return refused(t, p, func() (any, error) {
			return ParsePage(testlog.Must((&Proof{p.Index, p.Seal.Hashes, signed, testlog.Must(joinedEnc.Marshal(wirePage{
				p.Seal.Leaf, rows, p.Proof}))}).marshal(MaxPageSize)))
		})
	}
	bundle(func(b *Bundle) { b.Entry = nil })
	bundle(func(b *Bundle) { b.Entry = make([]byte, entry.MaxSize+1) })
	bundle(func(b *Bundle) { b.Seal.Leaf = make([]byte, maxSeal+1) })
	bundle(func(b *Bundle) { b.Seal.Hashes = make([][32]byte, 64) })
	bundle(func(b *Bundle) { b.Version.Value = nil })
	bundle(func(b *Bundle) { b.Version.Value = make([]byte, 39) })
	bundle(func(b *Bundle) { b.Version.Proof = make([]byte, maxPath+1) })
	lookup(func(l *SealedLookup) { l.Seal.Leaf = make([]byte, maxSeal+1) })
	lookup(func(l *SealedLookup) { l.Version.Value = make([]byte, 41) })
	lookup(func(l *SealedLookup) { l.Version.Proof = make([]byte, maxPath+1) })
	page(func(p *Page) { p.Seal.Leaf = make([]byte, maxSeal+1) })
	page(func(p *Page) { p.Proof = make([]byte, maxPath+1) })
	page(func(p *Page) { p.Rows = make([]index.Row, MaxRows+1) })

	// At the limits all of it fits.
	checkpoint := append(bytes.Repeat([]byte("x"), MaxCheckpointSize-1), '\n')
	seal := Seal{make([]byte, maxSeal), make([][32]byte, maxHashes)}
	rows := make([]index.Row, MaxRows)
	for i := range rows {
		rows[i].Value = make([]byte, 72)
	}
	version := Lookup{make([]byte, 40), make([]byte, maxPath)}
	head := Head{1<<63 - 1, checkpoint, seal}
	_, err := ParseBundle(marshal(&Bundle{1<<63 - 1, seal.Hashes, checkpoint, make([]byte, entry.MaxSize), seal, version}))
	fatalIfErr(t, err)
	_, err = ParseLookup(marshal(&SealedLookup{head, version}))
	fatalIfErr(t, err)
	_, err = ParsePage(marshal(&Page{head, rows, make([]byte, maxPath)}))
	fatalIfErr(t, err)
}

// refused wants neither to be written nor read.
func refused(t *testing.T, f interface{ Marshal() ([]byte, error) }, read func() (any, error)) []byte {
	t.Helper()
	b, err := f.Marshal()
	if !errors.Is(err, ErrBundle) {
		t.Errorf("written: %v", err)
	}
	if _, err := read(); !errors.Is(err, ErrBundle) {
		t.Errorf("read: %v", err)
	}
	return b
}

// TestALookUpShowsOneVersion, and nothing of another, or of another log, tree or time.
func TestALookUpShowsOneVersion(t *testing.T) {
	w := newWorld(t)
	s, signed := w.entry.Subject, w.newest()
	file := func(name, version string) *SealedLookup {
		return testlog.Must(ParseLookup(w.tree.Lookup(s.Registry, name, version, 7, signed)))
	}
	absent := w.later(func(e *entry.Entry) { e.Subject.SHA256[0] ^= 1 })
	for name, c := range map[string]struct {
		file          *SealedLookup
		name, version string
		want          error
	}{
		"another version":     {file(s.Name, "9.9.9"), s.Name, s.Version, ErrSeal},
		"another absence":     {file(s.Name, s.Version), s.Name, "9.9.9", ErrSeal},
		"another crate":       {file("hello-inner", s.Version), s.Name, s.Version, ErrSeal},
		"a value for nothing": {edit(file(s.Name, "9.9.9"), func(l *SealedLookup) { l.Version.Value = file(s.Name, s.Version).Version.Value }), s.Name, "9.9.9", ErrSeal},
		"nothing for a value": {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Version.Value = nil }), s.Name, s.Version, ErrSeal},
		"nothing, no proof":   {edit(file(s.Name, "9.9.9"), func(l *SealedLookup) { l.Version.Proof = nil }), s.Name, "9.9.9", ErrSeal},
		"another checksum":    {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Version.Value[0] ^= 1 }), s.Name, s.Version, ErrSeal},
		"another first":       {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Version.Value[39] ^= 1 }), s.Name, s.Version, ErrSeal},
		"another index":       {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Index-- }), s.Name, s.Version, ErrSeal},
		"a larger index":      {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Index = 1<<63 - 1 }), s.Name, s.Version, ErrSeal},
		"an older checkpoint": {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Checkpoint = w.checkpoint(6, w.all...) }), s.Name, s.Version, ErrSeal},
		"a newer checkpoint":  {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Checkpoint = absent.newest() }), s.Name, s.Version, ErrSeal},
		"an empty tree's":     {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Checkpoint = w.checkpoint(0, w.all...) }), s.Name, s.Version, ErrSeal},
		"an older one's seal": {edit(file(s.Name, s.Version), func(l *SealedLookup) {
			l.Checkpoint = absent.newest()
			l.Seal = testlog.Must(ParseBundle(absent.of(2))).Seal
		}), s.Name, s.Version, ErrSeal},
		"too few witnesses":      {edit(file(s.Name, s.Version), func(l *SealedLookup) { l.Checkpoint = w.checkpoint(7, w.log) }), s.Name, s.Version, ErrQuorum},
		"another registry's":     {testlog.Must(ParseLookup(w.tree.Lookup("https://r.example", s.Name, s.Version, 7, signed))), s.Name, s.Version, ErrSeal},
		"the right one":          {file(s.Name, s.Version), s.Name, s.Version, nil},
		"the right one, nothing": {file(s.Name, "9.9.9"), s.Name, "9.9.9", nil},
		"another spelling":       {file(s.Name, s.Version), "Hello_Proof", s.Version + "+x", nil},
	} {
		h, err := c.file.Check(w.policy, Rules{}, s.Registry, c.name, c.version)
		if !errors.Is(err, c.want) || (h == nil) != (err != nil) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	if _, err := file(s.Name, s.Version).Check(w.policy, Rules{MaxAge: time.Hour, Now: now.Add(2 * time.Hour)}, s.Registry,
		s.Name, s.Version); !errors.Is(err, ErrStale) {
		t.Errorf("an old one: %v", err)
	}
}

func edit[T any](file *T, change func(*T)) *T {
	change(file)
	return file
}

// TestAPageShowsAllUnderItsPrefix, and no more.
func TestAPageShowsAllUnderItsPrefix(t *testing.T) {
	w := newWorld(t).later(func(e *entry.Entry) { e.Proof.Parts = [][]byte{{7}}; e.Proof.Program[0] ^= 1 })
	w = w.later(func(e *entry.Entry) { e.Subject.Version = "0.2.0" })
	s, signed, size := w.entry.Subject, w.newest(), w.tree.Size()
	name := index.NamePrefix(s.Registry, s.Name)
	all := testlog.Must(index.NewPrefix(index.Key{}, 0))
	file := func() *Page { return testlog.Must(ParsePage(w.tree.Page(name, size, signed))) }
	if n := len(file().Rows); n != 5 { // two versions, and three entries
		t.Fatalf("%d rows", n)
	}
	half, one, _ := name.Halves()
	if half.Covers(file().Rows[4].Key) {
		half = one // of which the last key is not
	}
	for what, c := range map[string]struct {
		file  *Page
		under index.Prefix
		good  bool
	}{
		"the right one":             {file(), name, true},
		"all":                       {testlog.Must(ParsePage(w.tree.Page(all, size, signed))), all, true},
		"a version":                 {testlog.Must(ParsePage(w.tree.Page(index.VersionPrefix(s.Registry, s.Name, "0.2.0"), size, signed))), index.VersionPrefix(s.Registry, s.Name, "0.2.0+x"), true},
		"another crate":             {file(), index.NamePrefix(s.Registry, "hello-inner"), false},
		"another registry":          {file(), index.NamePrefix("https://r.example", s.Name), false},
		"a shorter prefix":          {file(), all, false},
		"a half of which it is not": {file(), half, false},
		"no row":                    {edit(file(), func(p *Page) { p.Rows = nil }), name, false},
		"no proof":                  {edit(file(), func(p *Page) { p.Proof = nil }), name, false},
		"the first lacks":           {edit(file(), func(p *Page) { p.Rows = p.Rows[1:] }), name, false},
		"the last lacks":            {edit(file(), func(p *Page) { p.Rows = p.Rows[:4] }), name, false},
		"one lacks":                 {edit(file(), func(p *Page) { p.Rows = slices.Delete(p.Rows, 2, 3) }), name, false},
		"one twice":                 {edit(file(), func(p *Page) { p.Rows = slices.Insert(p.Rows, 2, p.Rows[2]) }), name, false},
		"another order":             {edit(file(), func(p *Page) { p.Rows[0], p.Rows[1] = p.Rows[1], p.Rows[0] }), name, false},
		"another key":               {edit(file(), func(p *Page) { p.Rows[4].Key[96] ^= 1 }), name, false},
		"another value":             {edit(file(), func(p *Page) { p.Rows[4].Value[0] ^= 1 }), name, false},
		"a value cut":               {edit(file(), func(p *Page) { p.Rows[4].Value = nil }), name, false},
		"another index":             {edit(file(), func(p *Page) { p.Index = 6 }), name, false},
		"an older seal": {edit(file(), func(p *Page) {
			p.Head = testlog.Must(ParseLookup(w.tree.Lookup("default", s.Name, s.Version, 7, w.checkpoint(7, w.all...)))).Head
		}), name, false},
	} {
		at, err := c.file.Check(w.policy, Rules{}, c.under)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrSeal) || err == nil && at.Size != size {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// served starts a log with the world's leaves, which publishes under the keys of a policy.
func served(t *testing.T) (*Log, *testlog.Log, *Policy, *world) {
	w := newWorld(t)
	l := testlog.New("example.com/served", 1, func() time.Time { return now })
	l.Tree.Append(w.tree.Leaves[:6]...)
	l.Publish()
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	return &Log{URL: server.URL}, l, testlog.Must(ParsePolicy(l.Trust(server.URL))), w
}

// TestALogThatHoldsNothingShowsThat, and one that does not show it withholds.
func TestALogThatHoldsNothingShowsThat(t *testing.T) {
	l, served, policy, w := served(t)
	s := w.entry.Subject
	q := Query{Name: s.Name, Version: "9.9.9"}
	_, err := l.Bundle(t.Context(), q)
	if !errors.Is(err, ErrNotLogged) {
		t.Fatal(err)
	}
	var shown *NotLoggedError
	err = l.Missing(t.Context(), q, policy, Rules{})
	if !errors.Is(err, ErrNotLogged) || errors.Is(err, ErrWithheld) || !errors.As(err, &shown) || shown.Held.Logged ||
		shown.Held.Checkpoint.Size != 7 || err.Error() != `the log "example.com/served" proves that it holds nothing about `+
		`hello-proof 9.9.9, as of 2026-09-01T12:00:00Z` {
		t.Errorf("%+v", err)
	}
	// A claim that the query does not name, or that the log does not hand out.
	q.Version = s.Version
	err = l.Missing(t.Context(), q, policy, Rules{})
	if want := fmt.Sprintf("holds hello-proof 0.1.0 with the SHA-256 %x, by entry 2, and hands out no claim about it that the "+
		"policy counts, as of 2026-09-01T12:00:00Z", s.SHA256); !errors.Is(err, ErrNotLogged) || !errors.As(err, &shown) ||
		!shown.Held.Logged || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
	q.Version = "9.9.9"
	found := func(name, version string) []byte {
		return served.Tree.Lookup(entry.DefaultRegistry, name, version, 7, served.Sign(served.Tree, 7, served.Witnesses...))
	}
	fork := served.Tree.Fork(6)
	for name, c := range map[string]struct {
		code int
		body []byte
		want string
	}{
		"nothing":           {404, []byte(`{"reason":"not-found","message":"no"}`), "and then shows nothing: the log answered 404"},
		"no such address":   {404, []byte("<html>"), "and then shows nothing: the log answered 404"},
		"a page":            {200, []byte("<html>"), "malformed bundle: "},
		"a version it has":  {200, found(s.Name, s.Version), "no valid seal: "},
		"not cosigned":      {200, served.Tree.Lookup(entry.DefaultRegistry, s.Name, "9.9.9", 7, served.Sign(served.Tree, 7)), "too few witnesses: "},
		"an unsealed tree":  {200, fork.Lookup(entry.DefaultRegistry, s.Name, "9.9.9", 6, served.Sign(fork, 6, served.Witnesses...)), "6 entries: the tree does not end in a seal: leaf 5 is another one. Do not take it for not logged."},
		"of another log":    {200, w.tree.Lookup(entry.DefaultRegistry, s.Name, "9.9.9", 7, w.newest()), "unknown log: "},
		"what it should be": {200, found(s.Name, "9.9.9"), ""},
	} {
		path := "/v1/lookup/"
		if c.code == http.StatusNotFound {
			path = "/v1/" // a log in files has pages, and no look-up of this
		}
		served.Intercept(testlog.Answer(path, c.code, c.body))
		err := l.Missing(t.Context(), q, policy, Rules{})
		if errors.Is(err, ErrWithheld) != (c.want != "") || errors.Is(err, ErrNotLogged) != (c.want == "") ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A log without entries has no seal, and shows that.
	served.ServeSigned(served.Tree, 0, served.Witnesses...)
	served.Intercept(nil)
	if err := l.Missing(t.Context(), q, policy, Rules{}); !errors.As(err, &shown) || shown.Held.Checkpoint.Size != 0 ||
		shown.Held.Logged {
		t.Errorf("an empty log: %v", err)
	}
	served.ServeSigned(served.Tree, 0)
	if err := l.Missing(t.Context(), q, policy, Rules{}); !errors.Is(err, ErrWithheld) {
		t.Errorf("an empty tree that no witness saw: %v", err)
	}
	// Silence is no answer.
	served.Intercept(testlog.Answer("/v1/lookup/", 503, nil))
	if err := l.Missing(t.Context(), q, policy, Rules{}); err == nil || errors.Is(err, ErrWithheld) || errors.Is(err, ErrNotLogged) {
		t.Errorf("a log that is busy: %v", err)
	}
	if err := l.Missing(t.Context(), Query{Name: "a/b", Version: "1.0.0"}, policy, Rules{}); err == nil {
		t.Error("no name was asked for")
	}
}

// TestALogInFilesShowsItsPages, of which one covers the version.
func TestALogInFilesShowsItsPages(t *testing.T) {
	l, served, policy, w := served(t)
	s, signed := w.entry.Subject, served.Sign(served.Tree, 7, served.Witnesses...)
	left := testlog.Must(index.NewPrefix(index.Key{}, 1))
	right := testlog.Must(index.NewPrefix(index.Key{0x80}, 1))
	shows := func(list string, left []byte) {
		served.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			switch r.URL.Path {
			case "/v1/index":
				rw.Write([]byte(list))
			case "/v1/pages/1/00":
				rw.Write(left)
			default:
				return testlog.Answer("/v1/", 404, []byte(`{"reason":"not-found","message":"no"}`))(rw, r)
			}
			return true
		})
	}
	const list = PagesLabel + "1/00\n1/80\n"
	page := served.Tree.Page(left, 7, signed)
	for version, logged := range map[string]bool{s.Version: true, "9.9.9": false} {
		shows(list, page)
		var shown *NotLoggedError
		err := l.Missing(t.Context(), Query{Name: s.Name, Version: version}, policy, Rules{})
		if !errors.As(err, &shown) || shown.Held.Logged != logged || logged && shown.Held.First != helloIndex {
			t.Errorf("%s: %v", version, err)
		}
	}
	lying := served.Tree.Fork(6)
	lying.Phantom(index.Row{Key: index.VersionKey(entry.DefaultRegistry, s.Name, "9.9.9"), Value: index.Version{First: 6}.Marshal()})
	lying.Seal()
	for name, c := range map[string]struct {
		list string
		page []byte
	}{
		"a phantom":        {list, lying.Page(left, 7, served.Sign(lying, 7, served.Witnesses...))},
		"another page":     {list, served.Tree.Page(right, 7, signed)},
		"not cosigned":     {list, served.Tree.Page(left, 7, served.Sign(served.Tree, 7))},
		"no page":          {list, nil},
		"not covered":      {PagesLabel + "1/80\n", page},
		"no list":          {"1/00\n", page},
		"no prefix":        {PagesLabel + "2/00\n", page},
		"another spelling": {PagesLabel + "01/00\n", page},
	} {
		shows(c.list, c.page)
		if err := l.Missing(t.Context(), Query{Name: s.Name, Version: "9.9.9"}, policy, Rules{}); !errors.Is(err, ErrWithheld) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPagesAreServedByPrefix(t *testing.T) {
	l, served, policy, w := served(t)
	s := w.entry.Subject
	name := index.NamePrefix(s.Registry, s.Name)
	rows := func(raw []byte, err error, under index.Prefix) int {
		t.Helper()
		fatalIfErr(t, err)
		p := testlog.Must(ParsePage(raw))
		_, err = p.Check(policy, Rules{}, under)
		fatalIfErr(t, err)
		return len(p.Rows)
	}
	all := testlog.Must(index.NewPrefix(index.Key{}, 0))
	raw, err := l.Page(t.Context(), all)
	if n := rows(raw, err, all); n != 4 {
		t.Errorf("%d rows in all", n)
	}
	raw, err = l.CratePage(t.Context(), "", s.Name)
	if n := rows(raw, err, name); n != 2 {
		t.Errorf("%d rows of the crate", n)
	}
	raw, err = l.CratePage(t.Context(), "https://r.example", s.Name)
	if n := rows(raw, err, index.NamePrefix("https://r.example", s.Name)); n != 0 {
		t.Errorf("%d rows of another registry", n)
	}
	served.PageRows = 3
	if _, err := l.Page(t.Context(), all); !errors.Is(err, ErrManyRows) {
		t.Errorf("too many rows: %v", err)
	}
	sum := 0
	var descend func(p index.Prefix)
	descend = func(p index.Prefix) {
		raw, err := l.Page(t.Context(), p)
		if !errors.Is(err, ErrManyRows) {
			sum += rows(raw, err, p)
			return
		}
		zero, one, _ := p.Halves()
		descend(zero)
		descend(one)
	}
	if descend(all); sum != 4 {
		t.Errorf("%d rows in all parts", sum)
	}
	if _, err := l.CratePage(t.Context(), "", "a/b"); err == nil {
		t.Error("no name was asked for")
	}
}

func TestQueriesOfTheIndexHaveOneSpelling(t *testing.T) {
	name := index.NamePrefix("https://r.example", "a")
	key := fmt.Sprintf("%x", name.Bytes())
	longer := testlog.Must(index.NewPrefix(index.Key(append(name.Bytes(), slices.Repeat([]byte{0xff}, 64)...)), 267))
	for text, want := range map[string]index.Prefix{
		"registry=https%3A%2F%2Fr.example":                              name,
		"registry=https%3A%2F%2Fr.example&bits=264&under=" + key:        name,
		"registry=https%3A%2F%2Fr.example&bits=267&under=" + key + "e0": longer,
		"": index.NamePrefix(entry.DefaultRegistry, "a"),
	} {
		if got, err := ParsePageQuery("a", text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"bits=264", "under=" + key, "bits=264&under=" + key, // of another registry
		"registry=https%3A%2F%2Fr.example&bits=8&under=00", "registry=", "registry=x y", "registry=default&registry=default",
		"registry=https%3A%2F%2Fr.example&bits=264&under=" + strings.ToUpper(key), "registry=https%3A%2F%2Fr.example&bits=0264&under=" + key,
		"registry=https%3A%2F%2Fr.example&bits=265&under=" + key, "registry=https%3A%2F%2Fr.example&bits=265&under=" + key + "40",
		"registry=https%3A%2F%2Fr.example&bits=264&under=" + key + "00", "registry=https%3A%2F%2Fr.example&bits=777&under=" + strings.Repeat("00", 98),
		"after=x", "bits=-1", "bits=+264", "%zz", "bits=99999999999999999999&under=" + key, "bits=264&under=zz",
	} {
		if got, err := ParsePageQuery("a", text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
	for c := 'a'; ; c++ { // of one that ends in zero, the prefix of a bit less has the same bytes
		name := index.NamePrefix(entry.DefaultRegistry, string(c))
		if b := name.Bytes(); b[32]&1 == 0 {
			if _, err := ParsePageQuery(string(c), fmt.Sprintf("bits=263&under=%x", b)); err == nil {
				t.Errorf("a prefix that covers more than %c was read", c)
			}
			break
		}
	}
	if p, err := ParsePageQuery("", "bits=0"); err != nil || p.Bits() != 0 {
		t.Error(err)
	}
	if p, err := ParsePageQuery("", "bits=1&under=80"); err != nil || p.Bits() != 1 {
		t.Error(err)
	}
	for _, text := range []string{"", "under=", "bits=1", "bits=0&under=00", "bits=0&registry=default"} {
		if _, err := ParsePageQuery("", text); err == nil {
			t.Errorf("%q of no crate was read", text)
		}
	}
	if r, err := ParseLookupQuery("a", "1.0.0", ""); err != nil || r != entry.DefaultRegistry {
		t.Error(r, err)
	}
	if r, err := ParseLookupQuery("a", "1.0.0", "registry=https%3A%2F%2Fr.example"); err != nil || r != "https://r.example" {
		t.Error(r, err)
	}
	for _, bad := range [][3]string{{"a", "1.0.0", "bits=0"}, {"a/b", "1.0.0", ""}, {"a", "1", ""}, {"a", "1.0.0", "registry="}} {
		if _, err := ParseLookupQuery(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestAHostilePageTakesLittleMemory reads as many rows as there is room for.
func TestAHostilePageTakesLittleMemory(t *testing.T) {
	w := newWorld(t)
	extra := testlog.Must(joinedEnc.Marshal(wirePage{nil, make([]wireRow, maxJoinedParts), make([]byte, 1<<19)}))
	b := testlog.Must((&Proof{0, nil, w.newest(), extra}).marshal(MaxPageSize))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParsePage(b)
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) >> 20; !errors.Is(err, ErrBundle) || n > 16 {
		t.Errorf("%d bytes take %d MiB: %v", len(b), n, err)
	}
}

// TestATreeThatIsTakenWithoutABundleEndsInASeal, or says that it does not.
func TestATreeThatIsTakenWithoutABundleEndsInASeal(t *testing.T) {
	l, served, policy, _ := served(t)
	tiles := func() *Tiles {
		return l.Tiles(testlog.Must(policy.CheckCheckpoint(testlog.Must(l.Checkpoint(t.Context())))))
	}
	fatalIfErr(t, tiles().Sealed(t.Context()))
	served.ServeSigned(served.Tree, 6, served.Witnesses...)
	if err := tiles().Sealed(t.Context()); !errors.Is(err, ErrSeal) || !errors.Is(err, entry.ErrUnsealed) {
		t.Errorf("unsealed: %v", err)
	}
	served.ServeSigned(served.Tree, 0, served.Witnesses...)
	if err := tiles().Sealed(t.Context()); err != nil {
		t.Errorf("empty: %v", err)
	}
	served.ServeSigned(served.Tree, 7, served.Witnesses...)
	served.Intercept(testlog.Answer("/tile/entries/", http.StatusBadGateway, nil))
	if err := tiles().Sealed(t.Context()); err == nil || errors.Is(err, ErrSeal) {
		t.Errorf("silent: %v", err)
	}
}

// FuzzSealed: what parses is written down again as the same bytes, and believed is only what the log showed.
func FuzzSealed(f *testing.F) {
	w := newWorld(f)
	all := files(w)
	for _, one := range all {
		f.Add(one.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		bundle, err1 := ParseBundle(b)
		lookup, err2 := ParseLookup(b)
		page, err3 := ParsePage(b)
		if err1 == nil && !bytes.Equal(marshal(bundle), b) || err2 == nil && !bytes.Equal(marshal(lookup), b) ||
			err3 == nil && !bytes.Equal(marshal(page), b) {
			t.Errorf("%q is not printed back", b)
		}
		for name, one := range all {
			if one.check(b) == nil && !sameButLines(b, one.b) {
				t.Errorf("%s: believed: %q", name, b)
			}
		}
	})
}
