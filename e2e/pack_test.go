package e2e

import (
	"testing"

	"cratelog/internal/forge"
)

// repack unpacks a .crate, lets edit change each file, and packs it again. A file
// whose name becomes "" is left out.
func repack(t testing.TB, crate []byte, edit func(name string, content []byte) (string, []byte)) []byte {
	t.Helper()
	b, err := forge.Repack(crate, edit)
	fatalIf(t, err)
	return b
}
