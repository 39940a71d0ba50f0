package client

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestAClientPullsInNoServerAndNoProver holds the line that a reader's program
// gets neither Tessera, nor a database, nor the proof system.
func TestAClientPullsInNoServerAndNoProver(t *testing.T) {
	allowed := []string{
		"cratelog/client", "cratelog/crate", "cratelog/crate/manifest", "cratelog/entry", "cratelog/index", "cratelog/opening", "cratelog/evidence",
		"cratelog/cargo/registry", // of evidence, which reads index lines
		"cratelog/internal/durable", "cratelog/internal/gitobject", "cratelog/internal/gunzip", "cratelog/internal/outcome", "cratelog/internal/toml",
		"filippo.io/mldsa", "filippo.io/torchwood",
		"golang.org/x/mod/sumdb", "golang.org/x/mod/semver", "golang.org/x/crypto", "golang.org/x/sync", "golang.org/x/sys/cpu", "golang.org/x/text",
		"github.com/fxamacker/cbor/v2", "github.com/x448/float16",
		"github.com/pelletier/go-toml/v2", "github.com/pjbgf/sha1cd",
		// Of evidence against builders: the field and the hash of hidden sets, and no curve.
		"cratelog/build", "github.com/consensys/gnark-crypto/ecc/bn254/fr", "github.com/consensys/gnark-crypto/field",
		"github.com/consensys/gnark-crypto/hash", "github.com/consensys/gnark-crypto/parallel",
		"github.com/consensys/gnark-crypto/utils/cpu", "github.com/bits-and-blooms/bitset",
	}
	alone := []string{"github.com/consensys/gnark-crypto/ecc"} // the names of curves
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "cratelog/client").Output()
	fatalIfErr(t, err)
	below := func(path string, list []string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
	}
	paths := strings.Fields(string(out))
	if !slices.Contains(paths, "filippo.io/torchwood") {
		t.Fatalf("go list shows no torchwood, so this test sees nothing: %q", out)
	}
	for _, path := range paths {
		if !below(path, allowed) && !slices.Contains(alone, path) {
			t.Errorf("client depends on %s", path)
		}
	}
}
