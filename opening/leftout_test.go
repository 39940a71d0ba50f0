package opening

import (
	"fmt"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// TestLeftOutNamesAreBounded: each name is listed with its directory before it, so that a deep directory with
// many names would make much of little.
func TestLeftOutNamesAreBounded(t *testing.T) {
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 200)+"/", 10), "/")
	tree := make([]gitobject.TreeEntry, 2000)
	for i := range tree {
		tree[i] = gitobject.TreeEntry{Mode: gitobject.ModeFile, Name: fmt.Sprintf("%04d", i)}
	}
	c := &check{list: &crate.List{Objects: []crate.Object{{Commit: true}, {Path: deep}}},
		trees: [][]gitobject.TreeEntry{nil, tree}}
	names := c.leftOut(&entry.Source{})
	size := 0
	for i, n := range names {
		if want := fmt.Sprintf("%s/%04d", deep, i); n != want {
			t.Fatalf("name %d is %.20q..., want %.20q...", i, n, want)
		}
		size += len(n)
	}
	if each := len(deep) + 5; size > maxLeftOut || size+each <= maxLeftOut || len(names) == len(tree) {
		t.Errorf("%d of %d names with %d bytes are listed, of at most %d", len(names), len(tree), size, maxLeftOut)
	}
}
