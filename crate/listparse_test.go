package crate

import (
	"fmt"
	"strings"
	"testing"
)

// A short list can tell directories whose paths take a thousand times as much.
func TestTheDirectoriesOfAListAreBounded(t *testing.T) {
	deep := strings.Repeat("40000 "+strings.Repeat("d", 250)+"\x00t", 14) // 3.5 kB of path, then many directories there
	var many, below strings.Builder
	for i := range 12_000 {
		fmt.Fprintf(&many, "40000 %05d\x00", i)
		below.WriteByte('t')
	}
	list := "ct" + deep + many.String() + below.String()
	if _, err := ParseList([]byte(list)); err == nil || !strings.Contains(err.Error(), "directories take more than") {
		t.Errorf("%d bytes: %v", len(list), err)
	}
}
