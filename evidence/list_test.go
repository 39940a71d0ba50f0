package evidence

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// list is the list of files of a fixture's crate, version 0.1.0.
func (w *world) list(name string) []byte {
	return testlog.Must(forge.List(fixture.Crate(w.t, name, "0.1.0"), fixture.Entry(w.t, name+"-0.1.0")))
}

// otherFiles is hello-inner's entry with a forged proof that objects exist, and that they hold
// hello-proof's files.
func (w *world) otherFiles() []byte {
	w.t.Helper()
	path := filepath.Join("testdata", "other-files.entry")
	if _, err := os.Stat(path); *update && err != nil { // remove it to have another one made: no two proofs are alike
		e := fixture.Entry(w.t, "hello-inner-0.1.0")
		fatalIf(w.t, testlog.Must(forge.Default()).Prove(e, w.list("hello-proof")))
		fatalIf(w.t, os.WriteFile(path, testlog.Must(e.Marshal()), 0o644))
	}
	return testlog.Must(os.ReadFile(path))
}

// TestAListConvictsWithoutTheCrate, and nothing but the claim's own list does.
func TestAListConvictsWithoutTheCrate(t *testing.T) {
	w := newWorld(t)
	leaf, own := w.otherFiles(), w.list("hello-inner")
	e := testlog.Must(w.falseEntry(ProofInvalid, leaf, Attached{Program: w.programFile(), List: own}))
	again := testlog.Must(Parse(testlog.Must(e.Marshal())))
	if c, err := Verify(again, w.keys, w.pv); err != nil || !c.Convicts() || !c.Transferable || !strings.Contains(c.What, "hello-inner") {
		t.Errorf("%+v, %v", c, err)
	}
	true5 := w.honest.Leaves[5]
	for name, x := range map[string]struct {
		leaf, list []byte
		want       error
	}{
		"without the list the proof holds": {leaf, nil, ErrNotProven},
		"another list":                     {leaf, w.list("hello-proof"), ErrNotProven},
		"a cut list":                       {leaf, own[:len(own)-1], ErrNotProven},
		"a longer list":                    {leaf, append(bytes.Clone(own), 't'), ErrNotProven},
		"a true entry and its list":        {true5, own, ErrNotProven},
		"a true entry and another list":    {true5, w.list("hello-proof"), ErrNotProven},
		"no list at all":                   {leaf, []byte{}, ErrMalformed},
		"too long a list":                  {leaf, make([]byte, MaxList+1), ErrMalformed},
	} {
		e, err := w.falseEntry(ProofInvalid, x.leaf, Attached{Program: w.programFile(), List: x.list})
		if err == nil {
			_, err = Verify(e, w.keys, w.pv)
		}
		if !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, reason := range []Reason{Malformed, Files, UnknownProgram} {
		if _, err := w.falseEntry(reason, leaf, Attached{List: own}); !errors.Is(err, ErrMalformed) {
			t.Errorf("a list for the reason %s: %v", reason, err)
		}
	}
	// Of a program that is not accepted, nothing is decided.
	if c, err := Verify(again, w.keys, w.none); !errors.Is(err, ErrUndecided) {
		t.Errorf("%+v, %v", c, err)
	}
	// A false chain convicts with nothing else, with a list as well.
	bad := altered(t, "hello-inner-0.1.0", func(e *entry.Entry) { e.Claim.(*entry.Source).Commit[0] ^= 1 })
	for _, list := range [][]byte{nil, own} {
		e := testlog.Must(w.falseEntry(ProofInvalid, bad, Attached{Program: w.programFile(), List: list}))
		if c, err := Verify(e, w.keys, w.pv); err != nil || !c.Convicts() {
			t.Errorf("%+v, %v", c, err)
		}
	}
}
