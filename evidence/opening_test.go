package evidence

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/opening"
	"cratelog/proofcheck"
)

// contradicted is a log that holds a false claim at index 1, with a proof that was forged.
type contradicted struct {
	*testing.T
	forger  *forge.Forger
	log     *testlog.Key
	keys    Keys
	pv      *proofcheck.Verifier
	tree    tree
	claim   *entry.Source
	list    *crate.List
	objects [][]byte // of the commit, in the list's order
}

// newContradicted makes the claim that src/lib.rs is false of a commit that has it as it is there.
func newContradicted(t *testing.T, there string) *contradicted {
	t.Helper()
	c := &contradicted{T: t, log: testlog.LogKey(origin, "log")}
	c.keys = testlog.Must(NewKeys([]string{c.log.VKey}, nil))
	c.forger = testlog.Must(forge.Default())
	c.pv = testlog.Must(proofcheck.New([]proofcheck.Program{c.forger.Program()}))
	object := func(kind, content string) ([]byte, [20]byte) {
		o := fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)
		return o, sha1.Sum(o)
	}
	manifest := forge.Manifest("x", "1.0.0")
	_, toml := object("blob", manifest.Content)
	_, lib := object("blob", there)
	src, srcID := object("tree", "100644 lib.rs\x00"+string(lib[:]))
	root, rootID := object("tree", "100644 Cargo.toml\x00"+string(toml[:])+"40000 src\x00"+string(srcID[:]))
	commit, id := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n\nA commit\n", rootID))
	c.objects = [][]byte{commit, root, src}
	raw := testlog.Must(forge.Pack("x", "1.0.0", manifest, forge.File{Path: "src/lib.rs", Content: "false\n"}))
	e := testlog.Must(forge.Claim(raw, "x", "1.0.0", &entry.Source{Commit: id}))
	list := testlog.Must(forge.List(raw, e))
	fatalIf(t, c.forger.Prove(e, list))
	c.claim, c.list = e.Claim.(*entry.Source), testlog.Must(crate.ParseList(list))
	leaves := words(4, "")
	leaves[1] = testlog.Must(e.Marshal())
	c.tree = newTree(leaves...)
	return c
}

func (c *contradicted) evidence() *Evidence {
	c.Helper()
	_, err := opening.Check(bytes.Join(c.objects, nil), c.claim, c.list)
	var x *opening.Contradiction
	if !errors.As(err, &x) {
		c.Fatalf("no contradiction: %v", err)
	}
	return testlog.Must(NewOpeningContradiction(c.tree.note(4, c.log), c.tree.leaf(1, 4), Attached{List: c.list.Bytes}, x, meta))
}

func TestAContradictionConvictsTheProgramAndNotTheLog(t *testing.T) {
	w := newContradicted(t, "honest\n")
	e := w.evidence()
	raw := testlog.Must(e.Marshal())
	again, err := Parse(raw)
	fatalIf(t, err)
	if !reflect.DeepEqual(again, e) {
		t.Errorf("it is read back as %+v", again)
	}
	c, err := Verify(again, w.keys, w.pv)
	fatalIf(t, err)
	if want := fmt.Sprintf("program %x", w.forger.Program().ID()); c.Who != want || !c.Convicts() || !c.Transferable || c.Also != nil {
		t.Errorf("convicted is %q, want %q: %+v", c.Who, want, c)
	}
	for _, say := range []string{"src/lib.rs is the blob", "x 1.0.0", "The log could not know this"} {
		if !strings.Contains(c.What, say) {
			t.Errorf("it does not say %q: %s", say, c.What)
		}
	}
	if _, err := Verify(again, w.keys, nil); !errors.Is(err, ErrUndecided) {
		t.Errorf("without a verifier: %v", err)
	}
	if _, err := Verify(again, w.keys, testlog.Must(proofcheck.New(nil))); !errors.Is(err, ErrUndecided) {
		t.Errorf("the program is not accepted: %v", err)
	}
	if _, err := Verify(again, Keys{}, w.pv); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("nobody's log: %v", err)
	}
}

// TestHonestProgramsAreNotConvicted: nothing else comes of a true claim, of false objects, or of an
// entry that a log should not have taken.
func TestHonestProgramsAreNotConvicted(t *testing.T) {
	w := newContradicted(t, "honest\n")
	honest := newContradicted(t, "false\n") // the claim is true of it
	for name, do := range map[string]func(e *Evidence){
		"no list":              func(e *Evidence) { e.List = nil },
		"an empty list":        func(e *Evidence) { e.List = []byte{} },
		"no opening":           func(e *Evidence) { e.Opening = nil },
		"an empty opening":     func(e *Evidence) { e.Opening = []byte{} },
		"too large an opening": func(e *Evidence) { e.Opening = make([]byte, opening.MaxSize+1) },
		"another list":         func(e *Evidence) { e.List = bytes.Replace(e.List, []byte("lib.rs"), []byte("lib.sr"), 1) },
		"a list that is none":  func(e *Evidence) { e.List = []byte("t") },
		"a changed object":     func(e *Evidence) { e.Opening = bytes.Replace(e.Opening, []byte("lib.rs"), []byte("lib.sr"), 1) },
		"another commit's":     func(e *Evidence) { e.Opening = bytes.Join(honest.objects, nil) },
		"an object less":       func(e *Evidence) { e.Opening = e.Opening[:len(e.Opening)-len(w.objects[2])] },
		"an object more":       func(e *Evidence) { e.Opening = append(e.Opening, "tree 0\x00"...) },
		"a byte more":          func(e *Evidence) { e.Opening = append(e.Opening, 0) },
		"a true claim's":       func(e *Evidence) { e.Notes[0], e.Entries[0] = honest.tree.note(4, w.log), honest.tree.leaf(1, 4) },
		"a true claim, its list": func(e *Evidence) {
			e.Notes[0], e.Entries[0], e.List = honest.tree.note(4, w.log), honest.tree.leaf(1, 4), honest.list.Bytes
			e.Opening = bytes.Join(honest.objects, nil)
		},
		"no entry":                  func(e *Evidence) { e.Notes[0], e.Entries[0] = w.tree.note(4, w.log), w.tree.leaf(2, 4) },
		"another index":             func(e *Evidence) { e.Entries[0].Index = 2 },
		"a reason":                  func(e *Evidence) { e.Reason = ProofInvalid },
		"a .crate":                  func(e *Evidence) { e.Crate = []byte("x") },
		"another kind":              func(e *Evidence) { e.Kind = FalseEntry },
		"two entries":               func(e *Evidence) { e.Entries = append(e.Entries, w.tree.leaf(2, 4)) },
		"a hash":                    func(e *Evidence) { e.Hashes = append(e.Hashes, [32]byte{}) },
		"a program that is no text": func(e *Evidence) { e.Program = []byte{0} },
		"a false proof": func(e *Evidence) {
			x := testlog.Must(entry.Parse(e.Entries[0].Bytes))
			x.Subject.SHA256[0] ^= 1
			tr := w.tree.with(1, testlog.Must(x.Marshal()))
			e.Notes[0], e.Entries[0] = tr.note(4, w.log), tr.leaf(1, 4)
		},
		"a proof of another list": func(e *Evidence) {
			x := testlog.Must(entry.Parse(e.Entries[0].Bytes))
			fatalIf(t, w.forger.Prove(x, []byte("ct")))
			tr := w.tree.with(1, testlog.Must(x.Marshal()))
			e.Notes[0], e.Entries[0] = tr.note(4, w.log), tr.leaf(1, 4)
		},
	} {
		e := w.evidence()
		do(e)
		c, err := Verify(e, w.keys, w.pv)
		if err == nil || c.Convicts() || !slices.ContainsFunc([]error{ErrMalformed, ErrNotProven, ErrUndecided}, func(want error) bool {
			return errors.Is(err, want)
		}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if raw, err := e.Marshal(); err == nil {
			if again, err := Parse(raw); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("%s: it is read back as %+v, %v", name, again, err)
			}
		}
	}
}
