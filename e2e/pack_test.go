package e2e

import (
	"os"
	"testing"

	"cratelog/internal/forge"
)

// repack unpacks a .crate, lets edit change each file, and packs it again. A file
// whose name becomes "" is left out.
func repack(t testing.TB, from, to string, edit func(name string, content []byte) (string, []byte)) {
	t.Helper()
	b, err := forge.Repack(read(t, from), edit)
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(to, b, 0o644))
}
