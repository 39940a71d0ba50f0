package main

import (
	"maps"
	"testing"

	"cratelog/proofcheck"
)

// A class whose keys are made again leaves no hash under its old id.
func TestNoStaleIDIsKept(t *testing.T) {
	a, b := proofcheck.Program{Blocks: 64}, proofcheck.Program{Blocks: 128}
	old := map[string]string{id(a): "a", id(b): "b", "an id of long ago": "c"}
	got := kept(old, []proofcheck.Program{a, b}, func(blocks int) bool { return blocks == 64 })
	if !maps.Equal(got, map[string]string{id(b): "b"}) {
		t.Errorf("kept: %v", got)
	}
}
