package registrytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"slices"
)

// MakeCrate packs files into a .crate. Where files has no Cargo.toml or src/lib.rs,
// it gets the least that cargo builds. It has no proof, and is not what cargo would
// have packed, but cargo takes it.
func MakeCrate(name, version string, files map[string]string) []byte {
	all := map[string]string{
		"Cargo.toml": fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n\n[lib]\nname = %q\n"+
			"path = \"src/lib.rs\"\n",
			name, version, string(bytes.ReplaceAll([]byte(name), []byte("-"), []byte("_")))),
		"src/lib.rs": fmt.Sprintf("pub const VERSION: &str = %q;\n", version),
	}
	maps.Copy(all, files)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		h := &tar.Header{Name: name + "-" + version + "/" + path, Mode: 0o644, Size: int64(len(all[path])),
			Format: tar.FormatGNU, Typeflag: tar.TypeReg}
		if err := t.WriteHeader(h); err != nil {
			panic(err) // a name or size that no test has
		}
		t.Write([]byte(all[path])) // a bytes.Buffer takes all
	}
	t.Close()
	z.Close()
	return b.Bytes()
}
