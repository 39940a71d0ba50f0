package main

import (
	"testing"

	"cratelog/circuit"
	"cratelog/proofcheck"
)

// What ships is one development program of the circuit that ships, and says its proving key: the
// prover takes no other from its cache.
func TestTheProgramThatShipsSaysItsProvingKey(t *testing.T) {
	programs, err := proofcheck.Embedded()
	if err != nil || len(programs) != 1 {
		t.Fatalf("%d programs ship (%v)", len(programs), err)
	}
	p := programs[0]
	if !p.Development() || p.Blocks != circuit.SegmentBlocks || p.ProvingKey == [32]byte{} {
		t.Errorf("what ships is %v with the proving key %x", p, p.ProvingKey)
	}
}
