package registrytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cratelog/internal/forge"
)

// MakeCrate packs files into a .crate. Where files has no Cargo.toml or src/lib.rs,
// it gets the least that cargo builds. It has no proof, and is not what cargo would
// have packed, but cargo takes it.
func MakeCrate(name, version string, files map[string]string) []byte {
	all := map[string]string{
		"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n\n[lib]\nname = %q\npath = \"src/lib.rs\"\n",
			name, version, strings.ReplaceAll(name, "-", "_")),
		"src/lib.rs": fmt.Sprintf("pub const VERSION: &str = %q;\n", version),
	}
	maps.Copy(all, files)
	var packed []forge.File
	for _, path := range slices.Sorted(maps.Keys(all)) {
		packed = append(packed, forge.File{Path: path, Content: all[path]})
	}
	raw, err := forge.Pack(name, version, packed...)
	if err != nil {
		panic(err) // a name or size that no test has
	}
	return raw
}
