package main

import (
	"bytes"
	"os"
	"testing"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/circuit"
	"cratelog/proofcheck"
)

// What ships is one development program of each circuit that ships, and says its proving key: the
// prover takes no other from its cache.
func TestTheProgramsThatShipSayTheirProvingKeys(t *testing.T) {
	programs, err := proofcheck.Embedded()
	if err != nil || len(programs) != 2 {
		t.Fatalf("%d programs ship (%v)", len(programs), err)
	}
	sizes := map[string]int{proofcheck.ClaimSource: circuit.SegmentBlocks, proofcheck.ClaimBuild: build.Depth}
	for _, p := range programs {
		if !p.Development() || p.Blocks+p.Depth != sizes[p.Claim] || p.ProvingKey == [32]byte{} {
			t.Errorf("what ships is %v with the proving key %x", p, p.ProvingKey)
		}
	}
}

// What ships of build claims is what the circuit and the published secrets lead to, to the byte.
func TestTheBuildProgramIsMadeAgain(t *testing.T) {
	k, file, err := membership.MakeDevelopmentKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err := k.Program.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	ships, err := os.ReadFile("../../proofcheck/programs/build.json")
	if err != nil || !bytes.Equal(ships, made) {
		t.Errorf("another program ships than is made (%v); run `go run ./internal/makekeys -claim build`", err)
	}
	t.Logf("the proving key has %d bytes", len(file))
}
