package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// runs runs the command and returns its exit code and all that it printed.
func runs(args ...string) (int, string) {
	var out bytes.Buffer
	code := outcome.Exit("ceremony", run(context.Background(), args, &out, &out), &out)
	return code, out.String()
}

func expect(t *testing.T, code int, what string, args ...string) {
	t.Helper()
	got, out := runs(args...)
	if got != code || !strings.Contains(out, what) {
		t.Errorf("ceremony %s: exit %d, want %d, and %q in:\n%s", strings.Join(args, " "), got, code, what, out)
	}
}

func TestWrongCommandLinesAreSaidToBe(t *testing.T) {
	expect(t, 2, "no command is given")
	expect(t, 2, `no command "begin"`, "begin")
	expect(t, 0, "Exit status", "help")
	expect(t, 2, "init takes [DIR]", "init", "-blocks", "41")
	expect(t, 2, "-blocks is 1 to 256, not 0", "init", "-blocks", "0", "dir")
	expect(t, 2, "-blocks is 1 to 256, not 257", "solo", "-blocks", "257", "us")
	expect(t, 2, `-claim is source or build, not "builds"`, "solo", "-claim", "builds", "us")
	expect(t, 2, "-blocks is for -claim source", "init", "-claim", "build", "-blocks", "41", "dir")
	expect(t, 2, "solo takes [NAME]", "solo")
	expect(t, 2, "solo takes [NAME]", "solo", "Example", "Org")
	expect(t, 2, "is no name for the origin of a key", "solo", "us -- audited")
	expect(t, 2, "accept takes [DIR FILE]", "accept", "dir")
	expect(t, 2, "-value is the beacon in hex", "beacon", "-phase", "1", "-value", "x", "dir")
	expect(t, 2, "-phase is 1 or 2", "beacon", "dir", "-phase", "3", "-value", "00")
	expect(t, 2, "export needs -out and -pk", "export", "dir", "-out", "p.json")
}

func TestACeremonyBeginsAndIsNotFinished(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys")
	}
	dir := filepath.Join(t.TempDir(), "c")
	expect(t, 3, "ceremony init", "status", dir)
	expect(t, 0, "Next: phase 1 has 0 contributions", "init", "-blocks", "1", dir)
	expect(t, 1, "is not empty", "init", "-blocks", "1", dir)
	expect(t, 0, "Hand the folder to the next contributor", "status", dir)
	expect(t, 3, "phase 1 is open, with 0 contributions", "verify", dir)
	program := filepath.Join(t.TempDir(), "program.json")
	expect(t, 3, "not finished", "export", dir, "-out", program, "-pk", program+".pk")
	expect(t, 3, "phase 1 has no contribution", "beacon", dir, "-phase", "1", "-value", strings.Repeat("ab", 32))
	expect(t, 1, "wrong size", "accept", dir, filepath.Join(dir, "manifest.json"))
	if _, err := os.Stat(program); !os.IsNotExist(err) {
		t.Error("an unfinished ceremony was exported")
	}
	expect(t, 1, "starts from nothing", "verify", "-ptau", filepath.Join(dir, "manifest.json"), dir)
	bad := filepath.Join(t.TempDir(), "bad.ptau")
	fatalIf(t, os.WriteFile(bad, []byte("ptau"), 0o644))
	expect(t, 1, "powers-of-tau file is refused", "init", "-blocks", "1", "-ptau", bad, filepath.Join(t.TempDir(), "p"))
	expect(t, 1, "get one of a larger power", "init", "-blocks", "1", "-ptau", "../../circuit/ceremony/testdata/snarkjs-3.ptau", filepath.Join(t.TempDir(), "p"))
	// For another circuit: segments of two blocks have another constraint system.
	manifest := filepath.Join(dir, "manifest.json")
	text, err := os.ReadFile(manifest)
	fatalIf(t, err)
	text = bytes.Replace(text, []byte(`"blocks": 1`), []byte(`"blocks": 2`), 1)
	fatalIf(t, os.WriteFile(manifest, text, 0o644))
	expect(t, 1, "the ceremony is for another circuit", "verify", dir)
}

func TestOneOperatorMakesKeysAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys")
	}
	dir := t.TempDir()
	program, key := filepath.Join(dir, "p.json"), filepath.Join(dir, "p.pk")
	args := []string{"solo", "Example Org", "-blocks", "1", "-out", program, "-pk", key}
	expect(t, 0, "origin solo: Example Org -- whoever ran it could forge; nobody else", args...)
	p, err := proofcheck.ReadProgram(program)
	fatalIf(t, err)
	raw, err := os.ReadFile(key)
	fatalIf(t, err)
	if p.ProvingKey != sha256.Sum256(raw) || p.Solo() != "Example Org" || p.Blocks != 1 {
		t.Errorf("the program is %v, its proving key %x", p, p.ProvingKey)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("it left %v, %v", left, err)
	}
	// Neither file is ever replaced.
	expect(t, 3, "p.json: file already exists; name another file", args...)
	fatalIf(t, os.Remove(program))
	expect(t, 3, "p.pk: file already exists; name another file", args...)
	if _, err := os.Lstat(program); !os.IsNotExist(err) {
		t.Error("a program file without its key was written")
	}
}

func TestOneOperatorMakesKeysOfHiddenBuildersAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys")
	}
	dir := t.TempDir()
	program, key := filepath.Join(dir, "p.json"), filepath.Join(dir, "p.pk")
	expect(t, 0, "origin solo: Example Org -- whoever ran it could forge; nobody else",
		"solo", "Example Org", "-claim", "build", "-out", program, "-pk", key)
	p, err := proofcheck.ReadProgram(program)
	fatalIf(t, err)
	raw, err := os.ReadFile(key)
	fatalIf(t, err)
	if p.ProvingKey != sha256.Sum256(raw) || p.Claim != proofcheck.ClaimBuild || p.Depth != build.Depth || p.Blocks != 0 {
		t.Errorf("the program is %v, its proving key %x", p, p.ProvingKey)
	}
	expect(t, 0, "A ceremony for sets of depth 10 begins", "init", "-claim", "build", filepath.Join(dir, "c"))
	expect(t, 3, "phase 1 is open, with 0 contributions", "verify", filepath.Join(dir, "c"))
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
