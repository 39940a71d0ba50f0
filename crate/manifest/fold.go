package manifest

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Fold returns what paths have in common that are one where case and the spelling of accents do
// not matter, as on macOS and Windows.
func Fold(path string) string {
	for i := range len(path) {
		if path[i] >= 0x80 {
			// SPEC: Unicode, D145: canonical caseless matching.
			return norm.NFD.String(cases.Fold().String(norm.NFD.String(path)))
		}
	}
	return strings.ToLower(path)
}
