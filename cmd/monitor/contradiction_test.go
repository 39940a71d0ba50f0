package main

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/opening"
)

// TestAForgedProofConvictsItsProgram, by the trust file alone: with the program in the evidence, or
// one that ships.
func TestAForgedProofConvictsItsProgram(t *testing.T) {
	object := func(kind, content string) (raw []byte, id [20]byte) {
		raw = fmt.Appendf(nil, "%s %d\x00%s", kind, len(content), content)
		return raw, sha1.Sum(raw)
	}
	manifest := forge.Manifest("x", "1.0.0")
	_, toml := object("blob", manifest.Content)
	_, lib := object("blob", "honest\n")
	src, srcID := object("tree", "100644 lib.rs\x00"+string(lib[:]))
	root, rootID := object("tree", "100644 Cargo.toml\x00"+string(toml[:])+"40000 src\x00"+string(srcID[:]))
	commit, id := object("commit", fmt.Sprintf("tree %x\nauthor A <a@example.org> 1700000000 +0000\n\nA commit\n", rootID))
	raw := testlog.Must(forge.Pack("x", "1.0.0", manifest, forge.File{Path: "src/lib.rs", Content: "false\n"}))
	now := func() time.Time { return time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC) }

	dir := t.TempDir()
	for name, forger := range map[string]*forge.Forger{
		"shipped": testlog.Must(forge.Default()),
		"other":   testlog.Must(forge.Invent("other", "solo: Example Org", 41)),
	} {
		e := testlog.Must(forge.Claim(raw, "x", "1.0.0", &entry.Source{Commit: id}))
		list := testlog.Must(forge.List(raw, e))
		fatalIf(t, forger.Prove(e, list))
		log := testlog.New("log.example/"+name, 1, now)
		log.Add(testlog.Must(e.Marshal()))
		trust := filepath.Join(dir, name+".policy")
		fatalIf(t, os.WriteFile(trust, log.Trust("https://log.example/"), 0o600))
		_, err := opening.Check(bytes.Join([][]byte{commit, root, src}, nil), e.Claim.(*entry.Source), testlog.Must(crate.ParseList(list)))
		var x *opening.Contradiction
		if !errors.As(err, &x) {
			t.Fatalf("no contradiction: %v", err)
		}
		for _, program := range [][]byte{testlog.Must(forger.Program().Marshal()), nil} {
			leaf := testlog.Must(evidence.NewLeaf(log.Tree, 1, 0, log.Tree.Leaves[0]))
			made := testlog.Must(evidence.NewOpeningContradiction(log.Sign(log.Tree, 1), leaf,
				evidence.Attached{Program: program, List: list}, x, evidence.Meta{Observed: now()}))
			file := testlog.Must(evidence.Write(dir, made))
			if program == nil && name == "other" { // which nobody who judges has
				ends(t, 1, "", "give its program file", "verify-evidence", file, "--trust", trust)
				own := filepath.Join(dir, "own.program")
				fatalIf(t, os.WriteFile(own, testlog.Must(forger.Program().Marshal()), 0o600))
				ends(t, 0, "This evidence convicts the program", "", "verify-evidence", file, "--trust", trust, "--program", own)
				continue
			}
			out := ends(t, 0, "This evidence convicts the program", "", "verify-evidence", file, "--trust", trust)
			if want := fmt.Sprintf("%x", forger.Program().ID()); !strings.Contains(oneLine(out), want) || strings.Contains(out, "convicts the log") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}
