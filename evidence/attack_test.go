package evidence

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// corruption is a way to make true evidence untrue. One that changes nothing does not
// apply.
type corruption struct {
	name string
	do   func(w *world, e *Evidence)
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

// head is what the note at a place says.
func (e *Evidence) head(i int) torchwood.Checkpoint { return testlog.Must(parseHead(e.Notes[i])) }

// leaf is the first entry or, as number 1, the last. Where there is none, it is no part of e.
func (e *Evidence) leaf(i int) *Leaf {
	if len(e.Entries) == 0 {
		return new(Leaf)
	}
	return &e.Entries[min(i, len(e.Entries)-1)]
}

var corruptions = []corruption{
	{"no signature on the first note", func(w *world, e *Evidence) { strip(e, 0, w.accused(e)) }},
	{"no signature on the second note", func(w *world, e *Evidence) {
		if len(e.Notes) > 1 {
			strip(e, 1, w.accused(e))
		}
	}},
	{"a stranger's signature under the right name", func(w *world, e *Evidence) {
		other := testlog.LogKey(w.accused(e).KeyName, "stranger")
		other.ID = w.accused(e).ID
		e.Notes[0] = testlog.Sign(textOf(e.Notes[0]), other)
	}},
	{"the same note twice", func(w *world, e *Evidence) { e.Notes[len(e.Notes)-1] = e.Notes[0] }},
	{"the notes in the other order", func(w *world, e *Evidence) { slices.Reverse(e.Notes) }},
	{"one note too many", func(w *world, e *Evidence) { e.Notes = append(e.Notes, e.Notes[0]) }},
	{"no note", func(w *world, e *Evidence) { e.Notes = nil }},
	{"another log's note", func(w *world, e *Evidence) {
		e.Notes[0] = testlog.Sign(testlog.Head("m.example", e.head(0).N, e.head(0).Hash), w.log, w.w1, w.w2)
	}},
	{"the honest larger note", func(w *world, e *Evidence) {
		if e.Root != nil {
			e.Notes[1] = w.honest.note(9, w.log, w.w1, w.w2)
		}
	}},
	{"the smaller note of the larger tree", func(w *world, e *Evidence) {
		if e.Root != nil {
			e.Notes[0] = testlog.Sign(testlog.Head(origin, e.head(0).N, *e.Root), w.log, w.w1, w.w2)
		}
	}},
	{"the smaller note's own root as the derived one", func(w *world, e *Evidence) {
		if e.Root != nil {
			*e.Root = e.head(0).Hash
		}
	}},
	{"an invented root", func(w *world, e *Evidence) {
		if e.Root != nil {
			e.Root = &tlog.Hash{1}
		}
	}},
	{"no root", func(w *world, e *Evidence) { e.Root = nil }},
	{"a root where none belongs", func(w *world, e *Evidence) {
		if e.Root == nil {
			e.Root = &tlog.Hash{1}
		}
	}},
	{"a hash changed", func(w *world, e *Evidence) {
		if isFork(e) && len(e.Hashes) > 0 {
			e.Hashes[len(e.Hashes)/2][5] ^= 1
		}
	}},
	{"a hash less", func(w *world, e *Evidence) { e.Hashes = e.Hashes[min(1, len(e.Hashes)):] }},
	{"a hash more", func(w *world, e *Evidence) { e.Hashes = append(e.Hashes, tlog.Hash{}) }},
	{"very many hashes", func(w *world, e *Evidence) { e.Hashes = make([]tlog.Hash, 4096) }},
	{"two hashes swapped", func(w *world, e *Evidence) {
		if isFork(e) && len(e.Hashes) > 1 {
			e.Hashes[0], e.Hashes[1] = e.Hashes[1], e.Hashes[0]
		}
	}},
	{"the honest proof", func(w *world, e *Evidence) {
		if e.Root != nil {
			e.Hashes = w.honest.Consistency(e.head(0).N, 9)
		}
	}},
	{"another index", func(w *world, e *Evidence) { e.leaf(1).Index++ }},
	{"an index outside of the tree", func(w *world, e *Evidence) { e.leaf(1).Index = 9 }},
	{"a negative index", func(w *world, e *Evidence) { e.leaf(0).Index = -1 }},
	{"an entry that is not in the tree", func(w *world, e *Evidence) { e.leaf(0).Bytes = append(e.leaf(0).Bytes, 0) }},
	{"an inner node as an entry", func(w *world, e *Evidence) {
		if l := e.leaf(0); len(e.Entries) == 1 && len(l.Path) > 0 {
			own := tlog.Hash(entry.LeafHash(l.Bytes))
			l.Bytes = slices.Concat(own[:], l.Path[0][:])
			l.Index, l.Path = l.Index/2, l.Path[1:]
		}
	}},
	{"a path with a hash more", func(w *world, e *Evidence) { e.leaf(0).Path = append(e.leaf(0).Path, tlog.Hash{}) }},
	{"a path with a hash less", func(w *world, e *Evidence) { e.leaf(0).Path = e.leaf(0).Path[min(1, len(e.leaf(0).Path)):] }},
	{"an entry less", func(w *world, e *Evidence) {
		if len(e.Entries) == 1 && len(e.Notes) == 1 {
			e.Entries = nil
		}
	}},
	{"an entry more", func(w *world, e *Evidence) { e.Entries = append(e.Entries, Leaf{Bytes: []byte("x")}) }},
	{"an honest entry as a false one", func(w *world, e *Evidence) {
		if e.Kind == FalseEntry {
			e.Notes[0], e.Entries[0] = w.honest.note(9, w.log), w.honest.leaf(5, 9)
		}
	}},
	{"the reason malformed", reason(Malformed)},
	{"the reason unknown-program", reason(UnknownProgram)},
	{"the reason proof-invalid", reason(ProofInvalid)},
	{"the reason files", reason(Files)},
	{"an unknown reason", reason("because")},
	{"another .crate", func(w *world, e *Evidence) {
		if e.Crate != nil {
			e.Crate = fixture.Crate(w.t, "hello-proof", "0.1.0")
		}
	}},
	{"no .crate", func(w *world, e *Evidence) { e.Crate = nil }},
	{"a .crate where none belongs", func(w *world, e *Evidence) {
		if e.Crate == nil {
			e.Crate = []byte("x")
		}
	}},
	{"a program where none belongs", func(w *world, e *Evidence) {
		if e.Reason != ProofInvalid && e.Reason != UnknownProgram {
			e.Program = []byte("x\n")
		}
	}},
	{"a program with control characters", func(w *world, e *Evidence) { e.Program = []byte("\x1b[2J\n") }},
	{"the hashes of the signed root", func(w *world, e *Evidence) {
		if e.Kind == EntryRootMismatch && len(e.Hashes) > 0 {
			e.Hashes = leafHashes(w.honest.Leaves[:7])
		}
	}},
	{"the true empty tree", func(w *world, e *Evidence) {
		if e.Kind == EntryRootMismatch {
			e.Notes[0], e.Hashes = w.honest.note(0, w.log), nil
		}
	}},
	{"the registry serves what the entry says", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.Line = w.line("")
		} else if e.Registry.Name != "" {
			e.Registry.SHA256 = testlog.Must(entry.Parse(e.Entries[0].Bytes)).Subject.SHA256
		}
	}},
	{"an index line of another checksum", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.Line = []byte(strings.Replace(string(e.Registry.Line), `"cksum":"`, `"cksum":"00`, 1)[:len(e.Registry.Line)])
		}
	}},
	{"an index line of another version", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.Line = bytes.Replace(e.Registry.Line, []byte("0.1.0"), []byte("0.1.1"), 1)
		}
	}},
	{"an index line that is none", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.Line = []byte("{}")
		}
	}},
	{"an index line that cargo does not use", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.Line = bytes.Replace(e.Registry.Line, []byte(`"features"`), []byte(`"v":9,"features"`), 1)
		}
	}},
	{"an index line where none belongs", func(w *world, e *Evidence) {
		if e.Registry.Line == nil {
			e.Registry.Line = w.line("evil")
		}
	}},
	{"an index line without the URL of its index", func(w *world, e *Evidence) {
		if e.Registry.Line != nil {
			e.Registry.URL = ""
		}
	}},
	{"a registry without a name", func(w *world, e *Evidence) { e.Registry = Registry{SHA256: [32]byte{1}} }},
	{"another witness", func(w *world, e *Evidence) {
		if e.Witness != "" {
			e.Witness = testlog.WitnessKey("w3.example", now).String()
		}
	}},
	{"a witness where none belongs", func(w *world, e *Evidence) {
		if e.Witness == "" {
			e.Witness = w.w1.String()
		}
	}},
	{"the log as the witness", func(w *world, e *Evidence) { e.Witness = w.log.String() }},
	{"half a witness", func(w *world, e *Evidence) { e.Witness = "w1.example" }},
	{"an unknown kind", func(w *world, e *Evidence) { e.Kind = "guess" }},
	{"no kind", func(w *world, e *Evidence) { e.Kind = "" }},
	{"no time", func(w *world, e *Evidence) { e.Observed = time.Time{} }},
	{"half a second", func(w *world, e *Evidence) { e.Observed = e.Observed.Add(time.Second / 2) }},
	{"a source of two lines", func(w *world, e *Evidence) { e.Sources = []string{"a\nnote 5"} }},
	{"a source that clears the screen", func(w *world, e *Evidence) { e.Sources = []string{"\x1b[2J"} }},
	{"nine sources", func(w *world, e *Evidence) { e.Sources = strings.Split("a b c d e f g h i", " ") }},
	{"a tree that is too large to calculate with", func(w *world, e *Evidence) { w.resize(e, 1<<62+1) }},
	{"a tree that is just small enough", func(w *world, e *Evidence) {
		if e.Kind != Stale { // the log did sign that
			w.resize(e, 1<<62)
		}
	}},
}

// resize signs the last note's root for another size.
func (w *world) resize(e *Evidence, size int64) {
	last := len(e.Notes) - 1
	e.Notes[last] = testlog.Sign(testlog.Head(origin, size, e.head(last).Hash), w.log, w.w1, w.w2)
}

// reason accuses of something else. The altered commit is false by its files and by its
// proof: there the other reason would be as true.
func reason(r Reason) func(*world, *Evidence) {
	return func(w *world, e *Evidence) {
		x, err := entry.Parse(e.leaf(0).Bytes)
		honest := err != nil || x.Claim.(*entry.Source).Commit == fixture.Commit(w.t, "0.1.0")
		if e.Reason == r || (r == ProofInvalid || r == Files && e.Crate == nil) && !honest {
			return
		}
		switch e.Reason = r; {
		case r != Files:
			e.Crate = nil
		case e.Crate == nil:
			e.Crate, e.Program = fixture.Crate(w.t, "hello-inner", "0.1.0"), nil
		}
	}
}

func textOf(signed []byte) string {
	return string(signed[:bytes.LastIndex(signed, []byte("\n\n"))+1])
}

// strip removes a key's signature line from a note.
func strip(e *Evidence, i int, k *testlog.Key) {
	var out []byte
	for line := range bytes.Lines(e.Notes[i]) {
		if !bytes.HasPrefix(line, []byte("— "+k.KeyName+" ")) {
			out = append(out, line...)
		}
	}
	e.Notes[i] = out
}

// TestNamedCorruptionsConvictNobody applies every corruption to every form of evidence, in
// memory and, where it has an encoding, as a file.
func TestNamedCorruptionsConvictNobody(t *testing.T) {
	w := newWorld(t)
	tried := 0
	for i, p := range w.evidence() {
		for _, c := range slices.Concat(corruptions, sealCorruptions) {
			e := w.evidenceAt(i)
			if c.do(w, e); reflect.DeepEqual(e, w.evidenceAt(i)) {
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

// TestEveryByteOfAFileCounts flips a bit of each byte of every file, with -short of some of them. What is then still
// believed accuses the same one of the same thing.
func TestEveryByteOfAFileCounts(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	step := 1
	if testing.Short() {
		step = 3
	}
	for i, p := range w.evidence() {
		want := testlog.Must(Verify(p.e, w.keys, w.pv))
		key := testlog.Must(p.e.Key())
		w.evidenceAt(i)
		for at := i % step; at < len(w.files[i]); at += step {
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
		"no witness":     func() (*Evidence, error) { return NewCosignerFork("", full, w.lying.note(9, w.log), nil, meta) },
		"a hash too few": func() (*Evidence, error) { return NewEntryRootMismatch(full, nil, meta) },
		"no time":        func() (*Evidence, error) { return NewStale(full, Meta{}) },
		"a registry that agrees": func() (*Evidence, error) {
			return NewRegistryMismatch(full, h.leaf(2, 9), Registry{Name: "r", SHA256: sha256.Sum256(fixture.Crate(t, "hello-proof", "0.1.0"))}, meta)
		},
		"a line that agrees": func() (*Evidence, error) {
			return NewRegistryLine(full, h.leaf(5, 9), Registry{Name: "r", URL: indexURL, Line: w.line("")}, fixture.Crate(t, "hello-inner", "0.1.0"), meta)
		},
		"a line and another .crate": func() (*Evidence, error) {
			return NewRegistryLine(full, h.leaf(5, 9), Registry{Name: "r", URL: indexURL, Line: w.line("evil")}, fixture.Crate(t, "hello-proof", "0.1.0"), meta)
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
		e := testlog.Must(w.falseEntry(Files, leaf, Attached{Crate: raw}))
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
		"format": bytes.Replace(leaf, []byte("\xa4\x01\x02"), []byte("\xa4\x01\x03"), 1),
		"claim":  bytes.Replace(leaf, []byte("\x66source\x02\x02"), []byte("\x66source\x02\x03"), 1),
	} {
		if bytes.Equal(later, leaf) {
			t.Fatalf("%s: nothing was changed", what)
		}
		e := testlog.Must(w.falseEntry(Malformed, later, Attached{}))
		if c, err := Verify(e, w.keys, w.pv); !errors.Is(err, ErrUndecided) {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
}
