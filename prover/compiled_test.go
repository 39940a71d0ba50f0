package prover

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/circuit"
)

func TestOnlyTheShippedCircuitIsTakenFromTheCache(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling the circuit takes seconds")
	}
	dir, c := t.TempDir(), circuit.SegmentBlocks
	system, err := compiled(dir, c, nil)
	fatalIf(t, err)
	found, err := filepath.Glob(filepath.Join(dir, "*.r1cs"))
	if err != nil || len(found) != 1 {
		t.Fatalf("kept %v, %v", found, err)
	}
	hash, _ := circuit.CompiledHash(c)
	kept, err := readCompiled(found[0], hash)
	if err != nil || kept.GetNbConstraints() != system.GetNbConstraints() {
		t.Fatalf("what was kept is not the circuit: %v", err)
	}
	good, err := os.ReadFile(found[0])
	fatalIf(t, err)
	small, err := circuit.Compile(1)
	fatalIf(t, err)
	var other bytes.Buffer
	if _, err := small.WriteTo(&other); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, content := range map[string][]byte{"empty": {}, "cut": good[:len(good)-1], "one bit flipped": flipped, "another circuit": other.Bytes()} {
		fatalIf(t, os.WriteFile(found[0], content, 0o600))
		if _, err := readCompiled(found[0], hash); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if again, err := compiled(dir, c, nil); err != nil || again.GetNbConstraints() != system.GetNbConstraints() {
		t.Errorf("a damaged cache does not heal: %v", err)
	}
	if b, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(b, good) {
		t.Errorf("the damaged file stays: %v", err)
	}
	if _, err := compiled("", c, nil); err != nil {
		t.Errorf("without a cache: %v", err)
	}
}

// TestWhatOtherVersionsLeftIsRemoved when a key is made, and nothing else.
func TestWhatOtherVersionsLeftIsRemoved(t *testing.T) {
	hash, ok := circuit.CompiledHash(circuit.SegmentBlocks)
	if !ok {
		t.Fatal("the circuit has no hash")
	}
	stale := []string{"segment-41-unsafe-00ff.pk", "segment-41-0011223344556677.r1cs", "source-64-126-unsafe-00ff.pk",
		"source-64-126-unsafe.vk", "source-64-126-unsafe.lock", "source-64-126-0011223344556677.r1cs"}
	kept := []string{compiledName(circuit.SegmentBlocks, hash), "segment-41-unsafe.vk", "segment-41-unsafe.lock",
		"segment-4-unsafe-00ff.pk", "segment-4-0011223344556677.r1cs", strings.Repeat("ab", 32) + ".pk", "source-notes", "checked"}
	dir := t.TempDir()
	for _, name := range slices.Concat(stale, kept) {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	fatalIf(t, os.Mkdir(filepath.Join(dir, "segment-41-unsafe-dir.pk"), 0o700))
	fatalIf(t, removeStale(dir, circuit.SegmentBlocks))
	var left []string
	entries, err := os.ReadDir(dir)
	fatalIf(t, err)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	want := append(slices.Clone(kept), "segment-41-unsafe-dir.pk")
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left: %q\nwant: %q", left, want)
	}
}
