package main

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"cratelog/proofcheck"
)

// The hashes that ship are of the programs that ship: none is missing, and no id of an
// earlier circuit is left.
func TestNoStaleIDIsKept(t *testing.T) {
	text, err := os.ReadFile("../../prover/provingkeys.json")
	if err != nil {
		t.Fatal(err)
	}
	var hashes map[string]string
	if err := json.Unmarshal(text, &hashes); err != nil {
		t.Fatal(err)
	}
	programs, err := proofcheck.Embedded()
	if err != nil || len(programs) != len(hashes) {
		t.Errorf("%d hashes for %d programs (%v)", len(hashes), len(programs), err)
	}
	for _, p := range programs {
		if id := fmt.Sprintf("%x", p.ID()); len(hashes[id]) != 64 {
			t.Errorf("the program %s has the hash %q", id, hashes[id])
		}
	}
}
