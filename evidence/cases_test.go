package evidence

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// world is a log with real entries, a liar's variant of it, and those who watch.
type world struct {
	t           testing.TB
	log, w1, w2 *testlog.Key
	keys        Keys
	pv          *proofcheck.Verifier
	none        *proofcheck.Verifier // accepts no program
	honest      tree                 // nine leaves; 2 and 5 are entries with true proofs
	lying       tree                 // the same but for leaf 3
	files       [][]byte             // of the evidence, in its order
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, log: testlog.LogKey(origin, "log"), w1: testlog.WitnessKey("w1.example", now), w2: testlog.WitnessKey("w2.example/w", now)}
	w.keys = testlog.Must(NewKeys([]string{w.log.VKey}, []string{w.w1.VKey, w.w2.VKey}))
	w.pv = testlog.Must(proofcheck.Load(nil, true))
	w.none = testlog.Must(proofcheck.New(nil))
	leaves := words(9, "")
	leaves[2], leaves[5] = fixture.Read(t, "hello-proof-0.1.0.entry"), fixture.Read(t, "hello-inner-0.1.0.entry")
	w.honest = newTree(leaves...)
	w.lying = w.honest.with(3, []byte("another leaf 3"))
	return w
}

// altered returns a fixture's entry after a change.
func altered(t testing.TB, name string, change func(*entry.Entry)) []byte {
	t.Helper()
	e := fixture.Entry(t, name)
	change(e)
	b := testlog.Must(e.Marshal())
	return b
}

// falseEntry puts a leaf at index 5 of the honest log, has it signed, and accuses it.
func (w *world) falseEntry(reason Reason, leaf []byte, a Attached) (*Evidence, error) {
	tr := w.honest.with(5, leaf)
	return NewFalseEntry(reason, tr.note(9, w.log, w.w1), tr.leaf(5, 9), a, meta)
}

func (w *world) programFile() []byte {
	w.t.Helper()
	e := testlog.Must(entry.Parse(w.honest.Leaves[5]))
	p, ok := w.pv.Program(e.Proof.Program)
	if !ok {
		w.t.Fatal("the fixture's program does not ship")
	}
	b := testlog.Must(p.Marshal())
	return append(b, "\n"[:1-btoi(b[len(b)-1] == '\n')]...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// proven is one piece of evidence that holds.
type proven struct {
	name         string
	e            *Evidence
	who          string
	transferable bool
	also         int
}

// evidence makes one of each form that there is.
func (w *world) evidence() []proven {
	w.t.Helper()
	log := "log " + origin
	var all []proven
	add := func(name, who string, transferable bool, also int, e *Evidence, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatalf("%s: %v", name, err)
		}
		all = append(all, proven{name, e, who, transferable, also})
	}
	h, l := w.honest, w.lying
	e, err := NewFork(h.note(7, w.log, w.w1), l.note(7, w.log, w.w2), nil, meta)
	add("fork-same-size", log, true, 0, e, err)
	e, err = NewFork(l.note(9, w.log, w.w1, w.w2), h.note(6, w.log, w.w2), l, meta)
	add("fork-prefix", log, true, 1, e, err)
	e, err = NewCosignerFork(w.w1.VKey, h.note(7, w.log, w.w1), l.note(7, w.w1), nil, meta)
	add("cosigner-fork-same-size", "witness "+w.w1.String(), true, 0, e, err)
	e, err = NewCosignerFork(w.w2.String(), h.note(4, w.log, w.w1, w.w2), l.note(9, w.log, w.w1, w.w2), l, meta)
	add("cosigner-fork-prefix", "witness "+w.w2.String(), true, 2, e, err)

	e, err = w.falseEntry(Malformed, []byte{0xff, 0x00}, Attached{})
	add("false-entry-malformed", log, true, 0, e, err)
	bad := altered(w.t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Claim.(*entry.Source).Commit[0] ^= 1 })
	e, err = w.falseEntry(ProofInvalid, bad, Attached{Program: w.programFile()})
	add("false-entry-proof-invalid", log, true, 0, e, err)
	e, err = w.falseEntry(UnknownProgram, altered(w.t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Proof.Program[0] ^= 1 }), Attached{})
	add("false-entry-unknown-program", "", false, 0, e, err)
	e, err = w.falseEntry(Files, bad, Attached{Crate: fixture.Crate(w.t, "hello-inner", "0.1.0")})
	add("false-entry-files", log, true, 0, e, err)
	e, err = w.falseEntry(ProofInvalid, w.otherFiles(), Attached{Program: w.programFile(), List: w.list("hello-inner")})
	add("false-entry-list", log, true, 0, e, err)

	e, err = NewEntryRootMismatch(h.note(7, w.log, w.w1), Compress(leafHashes(l.Leaves[:7])), meta)
	add("entry-root-mismatch", log, false, 0, e, err)
	e, err = NewEntryRootMismatch(testlog.Sign(testlog.Head(origin, 0, sha256.Sum256([]byte("x"))), w.log), nil, meta)
	add("entry-root-mismatch-empty", log, true, 0, e, err)

	e, err = NewStale(h.note(9, w.log, w.w1), Meta{Observed: meta.Observed})
	add("stale", "", false, 0, e, err)
	e, err = NewRegistryMismatch(h.note(9, w.log), h.leaf(2, 9), Registry{Name: "https://index.example/", Index: true, SHA256: sha256.Sum256([]byte("x"))}, meta)
	add("registry-mismatch-index", "", false, 0, e, err)
	e, err = NewRegistryMismatch(h.note(9, w.log), h.leaf(2, 9), Registry{Name: "the registry", SHA256: sha256.Sum256([]byte("y"))}, meta)
	add("registry-mismatch-crate", "", false, 0, e, err)
	e, err = NewRegistryLine(h.note(9, w.log), h.leaf(5, 9), Registry{Name: "the registry", URL: indexURL, Line: w.line("evil")},
		fixture.Crate(w.t, "hello-inner", "0.1.0"), meta)
	add("registry-mismatch-line", "", false, 0, e, err)
	w.sealedEvidence(add)
	return all
}

const indexURL = "sparse+https://index.example/"

// line is an index line about hello-inner, with a dependency if one is named.
func (w *world) line(dep string) []byte {
	w.t.Helper()
	deps := ""
	if dep != "" {
		deps = fmt.Sprintf(`{"name":%q,"req":"*"}`, dep)
	}
	return fmt.Appendf(nil, `{"name":"hello-inner","vers":"0.1.0","deps":[%s],"cksum":"%x","features":{}}`, deps,
		sha256.Sum256(fixture.Crate(w.t, "hello-inner", "0.1.0")))
}

// TestEveryKindConvictsWhomItShould holds each form to whom it convicts, and to the
// golden file, which anyone can check with the keys in testdata.
func TestEveryKindConvictsWhomItShould(t *testing.T) {
	w := newWorld(t)
	keys := map[string]bool{}
	for _, p := range w.evidence() {
		c, err := Verify(p.e, w.keys, w.pv)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		if c.Kind != p.e.Kind || c.Who != p.who || c.Transferable != p.transferable || len(c.Also) != p.also || c.Convicts() != (p.who != "") || c.Origin != origin {
			t.Errorf("%s: %+v", p.name, c)
		}
		k := testlog.Must(p.e.Key())
		if keys[k] {
			t.Errorf("%s has the key of another finding", p.name)
		}
		keys[k] = true
		golden(t, p.name+".txt", []byte(c.What+"\n"))
		b := testlog.Must(p.e.Marshal())
		golden(t, p.name+".evidence", b)
		again := testlog.Must(Parse(b))
		if c2, err := Verify(again, w.keys, w.pv); err != nil || c2.What != c.What {
			t.Errorf("%s after Parse: %v", p.name, err)
		}
	}
	golden(t, "trust.policy", []byte("log "+w.log.VKey+"\nwitness W1 "+w.w1.VKey+"\nwitness W2 "+w.w2.VKey+"\ngroup G all W1 W2\nquorum G\n"))
}

func TestKeysOfNobodyOrOfOthersConvictNobody(t *testing.T) {
	w := newWorld(t)
	other := testlog.Must(NewKeys([]string{testlog.LogKey(origin, "other").VKey, testlog.LogKey("m.example", "log").VKey}, []string{testlog.WitnessKey("w3.example", now).VKey}))
	swapped := testlog.Must(NewKeys([]string{w.w1.VKey}, []string{w.w2.VKey}))
	for _, p := range w.evidence() {
		for name, keys := range map[string]Keys{"none": {}, "others": other, "a witness as a log": swapped} {
			if name == "a witness as a log" && p.who == "witness "+w.w2.String() {
				continue
			}
			if c, err := Verify(p.e, keys, w.pv); err == nil {
				t.Errorf("%s, keys of %s: %+v", p.name, name, c)
			}
		}
	}
}

// TestTheOrderOfTheNotesDoesNotMatter: there is one file of one finding.
func TestTheOrderOfTheNotesDoesNotMatter(t *testing.T) {
	w := newWorld(t)
	for _, sizes := range [][2]int64{{7, 7}, {6, 9}, {9, 6}} {
		a, b := w.honest.note(sizes[0], w.log), w.lying.note(sizes[1], w.log)
		larger := w.lying
		if sizes[0] > sizes[1] {
			larger = w.honest
		}
		x := testlog.Must(NewFork(a, b, larger, meta))
		y := testlog.Must(NewFork(b, a, larger, meta))
		bx := testlog.Must(x.Marshal())
		by := testlog.Must(y.Marshal())
		if !slices.Equal(bx, by) {
			t.Errorf("%v: two files", sizes)
		}
	}
}
