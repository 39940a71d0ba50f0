package ceremony

import (
	"fmt"
	"sync"

	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/logger"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/circuit"
	"cratelog/proofcheck"
)

// A Circuit is what keys are made of: a claim, and the size of its circuit.
type Circuit struct {
	Claim  string `json:"claim,omitempty"`  // proofcheck.ClaimSource or proofcheck.ClaimBuild
	Blocks int    `json:"blocks,omitempty"` // of a segment; for source claims
	Depth  int    `json:"depth,omitempty"`  // of a set of builders; for build claims
}

// Source is the circuit of source claims with segments of so many blocks.
func Source(blocks int) Circuit { return Circuit{Claim: proofcheck.ClaimSource, Blocks: blocks} }

// Build is the circuit of build claims by hidden members.
func Build() Circuit { return Circuit{Claim: proofcheck.ClaimBuild, Depth: build.Depth} }

// MaxBlocks bounds the circuits that are compiled for a manifest from a stranger.
const MaxBlocks = 256

// Check says whether there is such a circuit.
func (c Circuit) Check() error {
	switch {
	case c.Claim == proofcheck.ClaimSource && c.Depth == 0:
		if c.Blocks < 1 || c.Blocks > MaxBlocks {
			return fmt.Errorf("a segment has 1 to %d blocks, not %d", MaxBlocks, c.Blocks)
		}
		return nil
	case c.Claim == proofcheck.ClaimBuild && c.Blocks == 0:
		if c.Depth != build.Depth {
			return fmt.Errorf("this version has sets of builders of depth %d, not %d", build.Depth, c.Depth)
		}
		return nil
	}
	return fmt.Errorf("there is no circuit for the claim %.100q with %d blocks and depth %d; claims are %s, with blocks, "+
		"and %s, with a depth", c.Claim, c.Blocks, c.Depth, proofcheck.ClaimSource, proofcheck.ClaimBuild)
}

// Program describes a verifying key of the circuit.
func (c Circuit) Program(origin string, key []byte) proofcheck.Program {
	return proofcheck.Program{System: proofcheck.SystemGroth16, Claim: c.Claim, Blocks: c.Blocks, Depth: c.Depth,
		Origin: origin, Key: key}
}

// String says the size for people.
func (c Circuit) String() string { return c.Program("", nil).Parameter() }

// compile is the compile of real ceremonies. The circuit was checked.
func (c Circuit) compile() (*cs.R1CS, error) {
	quiet()
	if c.Claim == proofcheck.ClaimBuild {
		return membership.Compile()
	}
	return circuit.Compile(c.Blocks)
}

// quiet keeps gnark from writing to a program's standard output.
var quiet = sync.OnceFunc(logger.Disable)
