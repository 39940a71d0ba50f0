package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/circuit"
	"cratelog/internal/outcome"
)

// runs runs the command and returns its exit code and all that it printed.
func runs(args ...string) (int, string) {
	var out bytes.Buffer
	code := outcome.Exit("ceremony", usage, run(context.Background(), args, &out, &out), &out)
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
	expect(t, 2, "init takes [DIR]", "init", "-blocks", "64")
	expect(t, 2, "-blocks is 3 to", "init", "-blocks", "2", "dir")
	expect(t, 2, "-blocks is 3 to", "init", "dir")
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
	expect(t, 0, "Next: phase 1 has 0 contributions", "init", "-blocks", "4", "-chunks", "3", dir)
	expect(t, 1, "is not empty", "init", "-blocks", "4", "-chunks", "3", dir)
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
	expect(t, 1, "powers-of-tau file is refused", "init", "-blocks", "4", "-ptau", bad, filepath.Join(t.TempDir(), "p"))
	expect(t, 1, "get one of a larger power", "init", "-blocks", "4", "-ptau", "../../circuit/ceremony/testdata/snarkjs-3.ptau", filepath.Join(t.TempDir(), "p"))
	// For another circuit: the manifest's other capacity has another constraint system.
	manifest := filepath.Join(dir, "manifest.json")
	text, err := os.ReadFile(manifest)
	fatalIf(t, err)
	text = bytes.Replace(text, []byte(`"blocks": 4`), []byte(`"blocks": 3`), 1)
	fatalIf(t, os.WriteFile(manifest, text, 0o644))
	expect(t, 1, "the ceremony is for another circuit", "verify", dir)
}

func TestClassesHaveTheirOwnRoom(t *testing.T) {
	for _, c := range []circuit.Capacity{circuit.Class64, circuit.Class128, circuit.Class512} {
		if got := roomFor(c.Blocks); got != c.Chunks {
			t.Errorf("%d blocks have room for %d chunks, the class has %d", c.Blocks, got, c.Chunks)
		}
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
