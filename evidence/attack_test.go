package evidence

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// corruption is a way to make true evidence untrue. It returns false if it does not
// apply.
type corruption struct {
	name string
	do   func(w *world, e *Evidence) bool
}

func isFork(e *Evidence) bool {
	return e.Kind == ForkSameSize || e.Kind == ForkPrefix || e.Kind == CosignerFork
}

// accused signs in the name of whom the evidence is about.
func (w *world) accused(e *Evidence) *testlog.Key {
	switch e.Witness {
	case w.w1.String():
		return w.w1
	case w.w2.String():
		return w.w2
	}
	return w.log
}

var corruptions = []corruption{
	{"no signature on the first note", func(w *world, e *Evidence) bool {
		return strip(e, 0, w.accused(e))
	}},
	{"no signature on the second note", func(w *world, e *Evidence) bool {
		return len(e.Notes) > 1 && strip(e, 1, w.accused(e))
	}},
	{"a stranger's signature under the right name", func(w *world, e *Evidence) bool {
		other := testlog.LogKey(w.accused(e).KeyName, "stranger")
		other.ID = w.accused(e).ID
		e.Notes[0] = testlog.Sign(textOf(e.Notes[0]), other)
		return true
	}},
	{"the same note twice", func(w *world, e *Evidence) bool {
		if len(e.Notes) > 1 {
			e.Notes[1] = e.Notes[0]
		}
		return len(e.Notes) > 1
	}},
	{"the notes in the other order", func(w *world, e *Evidence) bool {
		slices.Reverse(e.Notes)
		return len(e.Notes) > 1
	}},
	{"one note too many", func(w *world, e *Evidence) bool {
		e.Notes = append(e.Notes, e.Notes[0])
		return true
	}},
	{"no note", func(w *world, e *Evidence) bool { e.Notes = nil; return true }},
	{"another log's note", func(w *world, e *Evidence) bool {
		c := testlog.Must(parseHead(e.Notes[0]))
		e.Notes[0] = testlog.Sign(testlog.Head("m.example", c.N, c.Hash), w.log, w.w1, w.w2)
		return true
	}},
	{"the honest larger note", func(w *world, e *Evidence) bool {
		if e.Root != nil {
			e.Notes[1] = w.honest.note(9, w.log, w.w1, w.w2)
		}
		return e.Root != nil
	}},
	{"the smaller note of the larger tree", func(w *world, e *Evidence) bool {
		if e.Root != nil {
			c := testlog.Must(parseHead(e.Notes[0]))
			e.Notes[0] = testlog.Sign(testlog.Head(origin, c.N, *e.Root), w.log, w.w1, w.w2)
		}
		return e.Root != nil
	}},
	{"the smaller note's own root as the derived one", func(w *world, e *Evidence) bool {
		if e.Root != nil {
			c := testlog.Must(parseHead(e.Notes[0]))
			e.Root = &c.Hash
		}
		return e.Root != nil
	}},
	{"an invented root", func(w *world, e *Evidence) bool {
		if e.Root != nil {
			e.Root = &tlog.Hash{1}
		}
		return e.Root != nil
	}},
	{"no root", func(w *world, e *Evidence) bool {
		had := e.Root != nil
		e.Root = nil
		return had
	}},
	{"a root where none belongs", func(w *world, e *Evidence) bool {
		had := e.Root != nil
		e.Root = &tlog.Hash{1}
		return !had
	}},
	{"a hash changed", func(w *world, e *Evidence) bool {
		if !isFork(e) || len(e.Hashes) == 0 {
			return false
		}
		e.Hashes[len(e.Hashes)/2][5] ^= 1
		return true
	}},
	{"a hash less", func(w *world, e *Evidence) bool {
		if len(e.Hashes) == 0 {
			return false
		}
		e.Hashes = e.Hashes[1:]
		return true
	}},
	{"a hash more", func(w *world, e *Evidence) bool { e.Hashes = append(e.Hashes, tlog.Hash{}); return true }},
	{"very many hashes", func(w *world, e *Evidence) bool { e.Hashes = make([]tlog.Hash, 4096); return true }},
	{"two hashes swapped", func(w *world, e *Evidence) bool {
		if !isFork(e) || len(e.Hashes) < 2 {
			return false
		}
		e.Hashes[0], e.Hashes[1] = e.Hashes[1], e.Hashes[0]
		return true
	}},
	{"the honest proof", func(w *world, e *Evidence) bool {
		if e.Root == nil {
			return false
		}
		c := testlog.Must(parseHead(e.Notes[0]))
		had := e.Hashes
		e.Hashes = w.honest.Consistency(c.N, 9)
		return !slices.Equal(had, e.Hashes)
	}},
	{"another index", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[len(e.Entries)-1].Index++
		}
		return len(e.Entries) > 0
	}},
	{"an index outside of the tree", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[len(e.Entries)-1].Index = 9
		}
		return len(e.Entries) > 0
	}},
	{"a negative index", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[0].Index = -1
		}
		return len(e.Entries) > 0
	}},
	{"an entry that is not in the tree", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[0].Bytes = append(bytes.Clone(e.Entries[0].Bytes), 0)
		}
		return len(e.Entries) > 0
	}},
	{"an inner node as an entry", func(w *world, e *Evidence) bool {
		if len(e.Entries) != 1 || len(e.Entries[0].Path) == 0 {
			return false
		}
		l := &e.Entries[0]
		own := tlog.Hash(entry.LeafHash(l.Bytes))
		l.Bytes = slices.Concat(own[:], l.Path[0][:])
		l.Index, l.Path = l.Index/2, l.Path[1:]
		return true
	}},
	{"a path with a hash more", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[0].Path = append(e.Entries[0].Path, tlog.Hash{})
		}
		return len(e.Entries) > 0
	}},
	{"a path with a hash less", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries[0].Path = e.Entries[0].Path[1:]
		}
		return len(e.Entries) > 0
	}},
	{"an entry less", func(w *world, e *Evidence) bool {
		if len(e.Entries) > 0 {
			e.Entries = e.Entries[1:]
		}
		return len(e.Entries) == 0 && len(e.Notes) == 1 && forms[e.Kind].entries > 0
	}},
	{"an entry more", func(w *world, e *Evidence) bool {
		e.Entries = append(e.Entries, Leaf{Bytes: []byte("x")})
		return true
	}},
	{"the same entry twice", func(w *world, e *Evidence) bool {
		if e.Kind == Duplicate {
			e.Entries[1] = e.Entries[0]
		}
		return e.Kind == Duplicate
	}},
	{"two entries of one checksum", func(w *world, e *Evidence) bool {
		return w.twoEntries(e, w.honest.Leaves[5])
	}},
	{"two entries of two versions", func(w *world, e *Evidence) bool {
		return w.twoEntries(e, altered(w.t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Subject.Version = "0.1.1"; e.Subject.SHA256[0]++ }))
	}},
	{"two entries of two crates", func(w *world, e *Evidence) bool {
		return w.twoEntries(e, altered(w.t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Subject.Name = "hello_inner"; e.Subject.SHA256[0]++ }))
	}},
	{"an entry and a malformed one", func(w *world, e *Evidence) bool {
		return w.twoEntries(e, []byte("leaf"))
	}},
	{"an honest entry as a false one", func(w *world, e *Evidence) bool {
		if e.Kind != FalseEntry {
			return false
		}
		e.Notes[0], e.Entries[0] = w.honest.note(9, w.log), w.honest.leaf(5, 9)
		return true
	}},
	{"the reason malformed", reason(Malformed)},
	{"the reason unknown-program", reason(UnknownProgram)},
	{"the reason proof-invalid", reason(ProofInvalid)},
	{"the reason files", reason(Files)},
	{"an unknown reason", reason("because")},
	{"another .crate", func(w *world, e *Evidence) bool {
		if e.Crate != nil {
			e.Crate = fixture.Crate(w.t, "hello-proof", "0.1.0")
		}
		return e.Crate != nil
	}},
	{"no .crate", func(w *world, e *Evidence) bool {
		had := e.Crate != nil
		e.Crate = nil
		return had
	}},
	{"a .crate where none belongs", func(w *world, e *Evidence) bool {
		had := e.Crate != nil
		e.Crate = []byte("x")
		return !had
	}},
	{"a program where none belongs", func(w *world, e *Evidence) bool {
		e.Program = []byte("x\n")
		return e.Reason != ProofInvalid && e.Reason != UnknownProgram
	}},
	{"a program with control characters", func(w *world, e *Evidence) bool {
		e.Program = []byte("\x1b[2J\n")
		return true
	}},
	{"the hashes of the signed root", func(w *world, e *Evidence) bool {
		if e.Kind != EntryRootMismatch || len(e.Hashes) == 0 {
			return false
		}
		e.Hashes = nil
		for _, leaf := range w.honest.Leaves[:7] {
			e.Hashes = append(e.Hashes, tlog.Hash(entry.LeafHash(leaf)))
		}
		return true
	}},
	{"the true empty tree", func(w *world, e *Evidence) bool {
		if e.Kind != EntryRootMismatch {
			return false
		}
		e.Notes[0], e.Hashes = w.honest.note(0, w.log), nil
		return true
	}},
	{"the registry serves what the entry says", func(w *world, e *Evidence) bool {
		if e.Registry.Name == "" {
			return false
		}
		x := testlog.Must(entry.Parse(e.Entries[0].Bytes))
		e.Registry.SHA256 = x.Subject.SHA256
		return true
	}},
	{"a registry without a name", func(w *world, e *Evidence) bool {
		e.Registry = Registry{SHA256: [32]byte{1}}
		return true
	}},
	{"another witness", func(w *world, e *Evidence) bool {
		if e.Witness == "" {
			return false
		}
		e.Witness = testlog.WitnessKey("w3.example", now).String()
		return true
	}},
	{"a witness where none belongs", func(w *world, e *Evidence) bool {
		had := e.Witness != ""
		e.Witness = w.w1.String()
		return !had
	}},
	{"the log as the witness", func(w *world, e *Evidence) bool {
		e.Witness = w.log.String()
		return true
	}},
	{"half a witness", func(w *world, e *Evidence) bool { e.Witness = "w1.example"; return true }},
	{"an unknown kind", func(w *world, e *Evidence) bool { e.Kind = "guess"; return true }},
	{"no kind", func(w *world, e *Evidence) bool { e.Kind = ""; return true }},
	{"no time", func(w *world, e *Evidence) bool { e.Observed = time.Time{}; return true }},
	{"half a second", func(w *world, e *Evidence) bool {
		e.Observed = e.Observed.Add(time.Second / 2)
		return true
	}},
	{"a source of two lines", func(w *world, e *Evidence) bool { e.Sources = []string{"a\nnote 5"}; return true }},
	{"a source that clears the screen", func(w *world, e *Evidence) bool { e.Sources = []string{"\x1b[2J"}; return true }},
	{"nine sources", func(w *world, e *Evidence) bool {
		e.Sources = strings.Split("a b c d e f g h i", " ")
		return true
	}},
	{"a tree that is too large to calculate with", func(w *world, e *Evidence) bool {
		c := testlog.Must(parseHead(e.Notes[len(e.Notes)-1]))
		e.Notes[len(e.Notes)-1] = testlog.Sign(testlog.Head(origin, 1<<62+1, c.Hash), w.log, w.w1, w.w2)
		return true
	}},
	{"a tree that is just small enough", func(w *world, e *Evidence) bool {
		c := testlog.Must(parseHead(e.Notes[len(e.Notes)-1]))
		e.Notes[len(e.Notes)-1] = testlog.Sign(testlog.Head(origin, 1<<62, c.Hash), w.log, w.w1, w.w2)
		return e.Kind != Stale // the log did sign that
	}},
}

func reason(r Reason) func(*world, *Evidence) bool {
	return func(w *world, e *Evidence) bool {
		if e.Reason == r {
			return false
		}
		e.Reason = r
		if r == Files && e.Crate == nil {
			e.Crate = fixture.Crate(w.t, "hello-inner", "0.1.0")
			e.Program = nil
			x, err := entry.Parse(e.Entries0())
			// The altered commit is false by its files, too: that reason would be as true.
			return err != nil || x.Claim.(*entry.Source).Commit == fixture.Commit(w.t, "0.1.0")
		}
		if r != Files {
			e.Crate = nil
			x, err := entry.Parse(e.Entries0())
			return r != ProofInvalid || err != nil || x.Claim.(*entry.Source).Commit == fixture.Commit(w.t, "0.1.0")
		}
		return true
	}
}

// Entries0 is the first entry's bytes.
func (e *Evidence) Entries0() []byte {
	if len(e.Entries) == 0 {
		return nil
	}
	return e.Entries[0].Bytes
}

func (w *world) twoEntries(e *Evidence, second []byte) bool {
	if e.Kind != Duplicate {
		return false
	}
	tr := w.honest.with(7, second)
	e.Notes[0], e.Entries = tr.note(9, w.log), []Leaf{tr.leaf(5, 9), tr.leaf(7, 9)}
	return true
}

func textOf(signed []byte) string {
	return string(signed[:bytes.LastIndex(signed, []byte("\n\n"))+1])
}

// strip removes a key's signature line from a note.
func strip(e *Evidence, i int, k *testlog.Key) bool {
	var out []byte
	for line := range bytes.Lines(e.Notes[i]) {
		if !bytes.HasPrefix(line, []byte("— "+k.KeyName+" ")) {
			out = append(out, line...)
		}
	}
	e.Notes[i] = out
	return true
}

// TestNamedCorruptionsConvictNobody applies every corruption to every form of evidence, in
// memory and, where it has an encoding, as a file.
func TestNamedCorruptionsConvictNobody(t *testing.T) {
	w := newWorld(t)
	tried := 0
	for i, p := range w.evidence() {
		for _, c := range corruptions {
			e := w.evidenceAt(i)
			if !c.do(w, e) {
				continue
			}
			tried++
			got, err := Verify(e, w.keys, w.pv)
			if err == nil {
				t.Errorf("%s with %s was believed: %+v", p.name, c.name, got)
			} else if !isOurs(err) {
				t.Errorf("%s with %s: an error of no kind: %v", p.name, c.name, err)
			}
			b, err := e.Marshal()
			if err != nil {
				continue
			}
			again, err := Parse(b)
			if err != nil {
				t.Errorf("%s with %s is written but not read: %v", p.name, c.name, err)
			} else if got, err := Verify(again, w.keys, w.pv); err == nil {
				t.Errorf("%s with %s, as a file, was believed: %+v", p.name, c.name, got)
			}
		}
	}
	if tried < 300 {
		t.Errorf("only %d corruptions were tried", tried)
	}
}

// evidenceAt makes a fresh copy of one piece of evidence, through its file.
func (w *world) evidenceAt(i int) *Evidence {
	w.t.Helper()
	if w.files == nil {
		for _, p := range w.evidence() {
			b := testlog.Must(p.e.Marshal())
			w.files = append(w.files, b)
		}
	}
	e := testlog.Must(Parse(w.files[i]))
	return e
}

func isOurs(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, ErrNotProven) || errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrUndecided)
}

// TestEveryByteOfAFileCounts flips a bit of each byte of every file. What is then still
// believed accuses the same one of the same thing.
func TestEveryByteOfAFileCounts(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i, p := range w.evidence() {
		want := testlog.Must(Verify(p.e, w.keys, w.pv))
		key := testlog.Must(p.e.Key())
		w.evidenceAt(i)
		for at := range w.files[i] {
			b := bytes.Clone(w.files[i])
			b[at] ^= 1 << rnd.IntN(8)
			e, err := Parse(b)
			if err != nil {
				continue
			}
			again, err := e.Marshal()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%s, byte %d: two encodings", p.name, at)
			}
			got, err := Verify(e, w.keys, w.pv)
			if err != nil {
				continue
			}
			k := testlog.Must(e.Key())
			captors := e.Kind == RegistryMismatch // what a registry served is the captor's word
			if got.Who != want.Who || got.Kind != want.Kind || k != key && !captors {
				t.Errorf("%s, byte %d: %+v", p.name, at, got)
			}
			if got.What != want.What && got.Transferable && len(got.Also) >= len(want.Also) {
				t.Errorf("%s, byte %d: the text has become %s", p.name, at, got.What)
			}
		}
	}
}

// TestWithoutTheProgramNothingIsDecided: not knowing a program is no reason to believe
// that a proof is false.
func TestWithoutTheProgramNothingIsDecided(t *testing.T) {
	w := newWorld(t)
	for _, p := range w.evidence() {
		if p.e.Reason != ProofInvalid && p.e.Reason != UnknownProgram {
			continue
		}
		if _, err := Verify(p.e, w.keys, nil); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s without a verifier: %v", p.name, err)
		}
		_, err := Verify(p.e, w.keys, w.none)
		if p.e.Reason == ProofInvalid && !errors.Is(err, ErrUndecided) || p.e.Reason == UnknownProgram && err != nil {
			t.Errorf("%s without the program: %v", p.name, err)
		}
	}
}

// TestABadLineOfAnotherKeyHidesNothing: a log cannot protect itself from conviction by
// adding a line that does not verify.
func TestABadLineOfAnotherKeyHidesNothing(t *testing.T) {
	w := newWorld(t)
	second := testlog.LogKey(origin, "second key")
	keys := testlog.Must(NewKeys([]string{second.VKey, w.log.VKey}, []string{w.w1.VKey, w.w2.VKey}))
	for i, p := range w.evidence() {
		for _, spoiled := range []*testlog.Key{w.w1, w.w2, second} {
			if w.accused(p.e) == spoiled {
				continue
			}
			e := w.evidenceAt(i)
			for j := range e.Notes {
				strip(e, j, spoiled)
				bad := *spoiled
				bad.Blob = func([]byte, time.Time) ([]byte, error) { return make([]byte, 72), nil }
				signers := []*testlog.Key{&bad, w.log}
				if k := w.accused(p.e); k != w.log {
					signers = append(signers, k)
				}
				e.Notes[j] = testlog.Sign(textOf(e.Notes[j]), signers...)
			}
			if c, err := Verify(e, keys, w.pv); err != nil || c.Who != p.who {
				t.Errorf("%s with a bad line of %s: %v %v", p.name, spoiled.KeyName, c.Who, err)
			}
		}
	}
}

// TestMLDSACosignersAreConvictedAsWell: the other kind of cosignature.
func TestMLDSACosignersAreConvictedAsWell(t *testing.T) {
	w := newWorld(t)
	m := testlog.MLDSAKey("m.example", now)
	keys := testlog.Must(NewKeys([]string{w.log.VKey}, []string{m.VKey}))
	e := testlog.Must(NewCosignerFork(m.VKey, w.honest.note(5, m), w.lying.note(8, m), w.lying, meta))
	if c, err := Verify(e, keys, nil); err != nil || c.Who != "witness "+m.String() {
		t.Errorf("%v %v", c, err)
	}
	mlog := testlog.MLDSAKey(origin, now)
	keys = testlog.Must(NewKeys([]string{mlog.VKey}, nil))
	e = testlog.Must(NewFork(w.honest.note(5, mlog), w.lying.note(8, mlog), w.lying, meta))
	if c, err := Verify(e, keys, nil); err != nil || c.Who != "log "+origin {
		t.Errorf("%v %v", c, err)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"", "x", "a+b", "a+b+c", "a+00000000+", w.w1.VKey[:len(w.w1.VKey)-4], strings.Replace(w.log.VKey, "+", "-", 1)} {
		if _, err := NewKeys([]string{bad}, nil); err == nil {
			t.Errorf("log %q", bad)
		}
		if _, err := NewKeys(nil, []string{bad}); err == nil {
			t.Errorf("witness %q", bad)
		}
	}
	if _, err := NewKeys(nil, []string{w.log.VKey}); err == nil {
		t.Error("a log's key as a witness's")
	}
}

func TestConstructorsRefuseWhatShowsNothing(t *testing.T) {
	w := newWorld(t)
	h := w.honest
	full := h.note(9, w.log)
	for name, make := range map[string]func() (*Evidence, error){
		"no notes": func() (*Evidence, error) { return NewFork(nil, nil, nil, meta) },
		"a note of another log": func() (*Evidence, error) {
			return NewFork(full, testlog.Sign(testlog.Head("m", 9, tlog.Hash{}), w.log), nil, meta)
		},
		"no tree":             func() (*Evidence, error) { return NewFork(h.note(4, w.log), full, nil, meta) },
		"an empty and a full": func() (*Evidence, error) { return NewFork(h.note(0, w.log), full, h, meta) },
		"a wrong empty and a full": func() (*Evidence, error) {
			return NewFork(testlog.Sign(testlog.Head(origin, 0, tlog.Hash{}), w.log), full, h, meta)
		},
		"a tree too small": func() (*Evidence, error) {
			return NewFork(full, testlog.Sign(testlog.Head(origin, 20, tlog.Hash{}), w.log), h, meta)
		},
		"no witness":          func() (*Evidence, error) { return NewCosignerFork("", full, w.lying.note(9, w.log), nil, meta) },
		"a hash too few":      func() (*Evidence, error) { return NewEntryRootMismatch(full, nil, meta) },
		"no time":             func() (*Evidence, error) { return NewStale(full, Meta{}) },
		"an honest duplicate": func() (*Evidence, error) { return NewDuplicate(full, h.leaf(2, 9), h.leaf(5, 9), meta) },
		"a registry that agrees": func() (*Evidence, error) {
			return NewRegistryMismatch(full, h.leaf(2, 9), Registry{Name: "r", SHA256: sha256.Sum256(fixture.Crate(t, "hello-proof", "0.1.0"))}, meta)
		},
	} {
		if e, err := make(); err == nil || e != nil || !isOurs(err) && name != "a tree too small" {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}

func ExampleName() {
	fmt.Println(Name(nil))
	// Output: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.evidence
}

// TestWhatOnlyThisProgramsLimitsRefuseConvictsNobody: a log may have larger ones.
func TestWhatOnlyThisProgramsLimitsRefuseConvictsNobody(t *testing.T) {
	w := newWorld(t)
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	tw := tar.NewWriter(z)
	for i := range 20001 {
		fatalIf(t, tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("hello-inner-0.1.0/%d", i), Mode: 0o644, Format: tar.FormatUSTAR, ModTime: time.Unix(1, 0)}))
	}
	fatalIf(t, errors.Join(tw.Close(), z.Close()))
	for name, raw := range map[string][]byte{"many files": buf.Bytes(), "no archive": []byte("x"), "large": make([]byte, MaxCrate+1)} {
		leaf := altered(t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Subject.SHA256 = sha256.Sum256(raw) })
		e := testlog.Must(w.falseEntry(Files, leaf, raw))
		c, err := Verify(e, w.keys, nil)
		switch name {
		case "many files":
			if !errors.Is(err, ErrUndecided) || !strings.Contains(err.Error(), "more files than the limit") {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		case "no archive":
			if err != nil || !c.Convicts() {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		case "large":
			if !errors.Is(err, ErrUndecided) || e.Crate != nil {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
			e.Crate = raw
			if c, err := Verify(e, w.keys, nil); err != nil || !c.Convicts() {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
	}
}

// TestEntriesOfLaterVersionsConvictNobody: what this program cannot read yet, a newer
// one may.
func TestEntriesOfLaterVersionsConvictNobody(t *testing.T) {
	w := newWorld(t)
	leaf := w.honest.Leaves[5]
	for what, later := range map[string][]byte{
		"format": bytes.Replace(leaf, []byte("\xa4\x01\x01"), []byte("\xa4\x01\x02"), 1),
		"claim":  bytes.Replace(leaf, []byte("\x66source\x02\x01"), []byte("\x66source\x02\x02"), 1),
	} {
		if bytes.Equal(later, leaf) {
			t.Fatalf("%s: nothing was changed", what)
		}
		e := testlog.Must(w.falseEntry(Malformed, later, nil))
		if c, err := Verify(e, w.keys, w.pv); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
}
