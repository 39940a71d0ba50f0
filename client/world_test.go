package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

// now is the time at which all cosigners of these tests sign.
var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIfErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree is a log's Merkle tree in memory.
type tree struct{ *testlog.Tree }

func newTree(leaves ...[]byte) tree { return tree{testlog.NewTree(leaves...)} }

// proof is the bundle of an entry under the first size entries.
func (tr tree) proof(index, size int64, signed []byte) *Bundle {
	return testlog.Must(ParseBundle(tr.Bundle(index, size, signed)))
}

func (tr tree) consistency(old, size int64) [][32]byte {
	var out [][32]byte
	for _, h := range tr.Consistency(old, size) {
		out = append(out, h)
	}
	return out
}

func marshal(p interface{ Marshal() ([]byte, error) }) []byte { return testlog.Must(p.Marshal()) }

func parsePolicy(t testing.TB, lines ...string) *Policy {
	t.Helper()
	p := testlog.Must(ParsePolicy([]byte(strings.Join(lines, "\n") + "\n")))
	return p
}

// fakeVerifier believes exactly the proofs that it knows: the bytes, for the subject
// and claim they were made for. It objects to everything else.
type fakeVerifier struct {
	program [32]byte
	known   map[string]bool
}

func (f *fakeVerifier) key(e *entry.Entry) string {
	id, err := e.Identity()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x %x", id, e.Proof.Parts)
}

func (f *fakeVerifier) Chain(e *entry.Entry) (entry.Chain, error) {
	return testlog.ChainOf(e, f.check(e))
}

func (f *fakeVerifier) check(e *entry.Entry) error {
	if e.Proof.Program != f.program {
		return fmt.Errorf("program: %w", entry.ErrUnknownProgram)
	}
	if k := f.key(e); k == "" || !f.known[k] {
		return fmt.Errorf("not a proof of this claim")
	}
	return nil
}

// world is a log of seven leaves, the last of which seals it, with three witnesses and a policy.
type world struct {
	origin        string
	log           *testlog.Key
	w1, w2, w3    *testlog.Key // w3 is ML-DSA-44
	policy        *Policy
	policyText    string
	all           []*testlog.Key // log, w1, w2 and w3
	tree          tree
	pv            *fakeVerifier
	raw, inner    []byte // hello-proof 0.1.0 with a dependency, entry 2; hello-inner 0.1.0, entry 5
	entry, inEnt  *entry.Entry
	bundle, inBnd []byte // cosigned by all three
	rules         Rules
}

const helloIndex, innerIndex = 2, 5

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		origin: "example.com/log",
		log:    testlog.LogKey("example.com/log"),
		w1:     testlog.WitnessKey("w1.example", now),
		w2:     testlog.WitnessKey("w2.example", now),
		w3:     testlog.MLDSAKey("w3.example", now),
		pv:     &fakeVerifier{program: sha256.Sum256([]byte("program")), known: make(map[string]bool)},
		raw:    withDependency(fixture.Crate(t, "hello-proof", "0.1.0")),
		inner:  fixture.Crate(t, "hello-inner", "0.1.0"),
		rules:  Rules{AllowUnproven: []string{"Cargo.lock", "Cargo.toml"}},
	}
	w.policyText = fmt.Sprintf("log %s\nwitness W1 %s\nwitness W2 %s\nwitness W3 %s\ngroup G all W1 W2 W3\nquorum G\n",
		w.log.VKey, w.w1.VKey, w.w2.VKey, w.w3.VKey)
	w.policy = testlog.Must(ParsePolicy([]byte(w.policyText)))
	w.entry = w.prove(t, w.raw, "hello-proof", "")
	w.inEnt = w.prove(t, w.inner, "hello-inner", "crates/inner")
	leaves := slices.Clone(new(testlog.Tree).Grow(6, "leaf").Leaves)
	leaves[helloIndex] = testlog.Must(w.entry.Marshal())
	leaves[innerIndex] = testlog.Must(w.inEnt.Marshal())
	w.tree = newTree(leaves...)
	w.tree.Seal()
	w.all = []*testlog.Key{w.log, w.w1, w.w2, w.w3}
	signed := w.checkpoint(7, w.all...)
	w.bundle, w.inBnd = w.tree.Bundle(helloIndex, 7, signed), w.tree.Bundle(innerIndex, 7, signed)
	return w
}

func (w *world) checkpoint(size int64, signers ...*testlog.Key) []byte {
	return testlog.Sign(w.tree.Head(w.origin, size), signers...)
}

// prove makes an entry that is true, with a proof that w.pv believes.
func (w *world) prove(t testing.TB, raw []byte, name, path string) *entry.Entry {
	t.Helper()
	c := testlog.Must(crate.Read(raw, name, "0.1.0", crate.DefaultLimits))
	src := &entry.Source{Commit: fixture.Commit(t, "0.1.0"), Path: path}
	if c.Derive(nil) != nil {
		src.Unproven = []string{"Cargo.toml"}
	}
	e := testlog.Must(forge.Claim(raw, name, "0.1.0", src))
	e.Proof = entry.Proof{Program: w.pv.program, Parts: [][]byte{[]byte("proof of " + name)}}
	return w.believe(e)
}

func (w *world) believe(e *entry.Entry) *entry.Entry {
	w.pv.known[w.pv.key(e)] = true
	return e
}

// logged returns the bundle of e alone, in a tree where it is entry 2, signed
// and cosigned in full: everything about it is well but what is wrong with e.
func (w *world) logged(e *entry.Entry) []byte { return w.loggedBytes(testlog.Must(e.Marshal())) }

func (w *world) loggedBytes(leaf []byte) []byte {
	tr := resealed(w.tree.With(helloIndex, leaf))
	return tr.Bundle(helloIndex, 7, testlog.Sign(tr.Head(w.origin, 7), w.all...))
}

// resealed is a tree of the same size whose last leaf is the right seal again.
func resealed(t *testlog.Tree) *testlog.Tree {
	t = t.Fork(t.Size() - 1)
	t.Seal()
	return t
}

func (w *world) verify(bundle []byte) (*Result, error) {
	return Verify(w.raw, bundle, w.policy, w.pv, w.rules)
}

// changed is the bundle of w.entry after a change of it, which makes the proof false.
func (w *world) changed(change func(e *entry.Entry, s *entry.Source)) []byte {
	e, s := *w.entry, *w.entry.Claim.(*entry.Source)
	e.Claim = &s
	change(&e, &s)
	return w.logged(&e)
}

// withCheckpoint replaces the checkpoint of the world's bundle.
func (w *world) withCheckpoint(signed []byte) []byte {
	return w.tree.Bundle(helloIndex, 7, signed)
}

// signed replaces it with one of any text.
func (w *world) signed(text string, keys ...*testlog.Key) []byte {
	return w.withCheckpoint(testlog.Sign(text, keys...))
}

// sigLine finds the signature line of a key in a note or a bundle.
func sigLine(t testing.TB, b []byte, name string) []byte {
	t.Helper()
	i := bytes.Index(b, []byte("— "+name+" "))
	if i < 0 {
		t.Fatalf("no signature line of %s", name)
	}
	end := bytes.IndexByte(b[i:], '\n')
	return b[i : i+end+1]
}

// spoil changes a signature line inside of its signature; it stays base64.
func spoil(line []byte) {
	c := &line[len(line)-20]
	if *c == 'A' {
		*c = 'B'
	} else {
		*c = 'A'
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// withDependency returns a .crate whose Cargo.toml alone has a dependency more: it
// can only be claimed as unproven.
func withDependency(raw []byte) []byte {
	return testlog.Must(forge.Repack(raw, func(name string, content []byte) (string, []byte) {
		if strings.HasSuffix(name, "/Cargo.toml") {
			content = append(content, "\n[dependencies.proc-macro1]\nversion = \"1\"\n"...)
		}
		return name, content
	}))
}
