package proxy

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatWasProvenIsSharedAndOutlivesACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proven")
	open := func() *proofs {
		t.Helper()
		p, err := openProofs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.file.Close() })
		return p
	}
	a, b := open(), open()
	first, second := proof{sum: [32]byte{1}}, proof{sum: [32]byte{2}, digest: [32]byte{3}}
	add := func(p *proofs, url string, is proof) {
		t.Helper()
		if err := p.add(url, "1.0.0", is); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(p *proofs, url string, want proof) {
		t.Helper()
		if err := p.read(); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.get(url, "1.0.0"); !ok || got != want {
			t.Errorf("%s: %v, %v", url, got, ok)
		}
	}
	add(a, "x", first)
	add(b, "y", first)
	add(a, "x", second)
	add(a, "x", second) // says nothing new
	holds(b, "x", second)
	holds(a, "y", first)
	if info, err := os.Stat(path); err != nil || info.Size() != 3*proofSize {
		t.Errorf("%v, %v", info.Size(), err)
	}
	if _, ok := a.get("x", "1.0.1"); ok {
		t.Error("another version has a proof")
	}
	if err := os.Truncate(path, 3*proofSize-1); err != nil {
		t.Fatal(err)
	}
	if a.read() == nil {
		t.Error("a file that became shorter is not noticed")
	}
	holds(open(), "x", first) // and the rest of the last is cut off
	add(open(), "z", second)
	holds(open(), "z", second)
}

// TestAWriteThatFailsLosesNothingOfOthers: what another process has appended was not read here yet.
func TestAWriteThatFailsLosesNothingOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proven")
	var both [2]*proofs
	for i := range both {
		var err error
		if both[i], err = openProofs(path); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { both[i].file.Close() })
	}
	is := proof{sum: [32]byte{1}}
	if err := both[0].add("x", "1.0.0", is); err != nil {
		t.Fatal(err)
	}
	if _, err := both[1].file.Write(make([]byte, proofSize-1)); err != nil { // and the disk is full
		t.Fatal(err)
	}
	if err := both[1].cut(); err != nil {
		t.Fatal(err)
	}
	for _, p := range both {
		if err := p.read(); err != nil {
			t.Error(err)
		}
		if got, ok := p.get("x", "1.0.0"); !ok || got != is {
			t.Errorf("%v, %v", got, ok)
		}
	}
}
