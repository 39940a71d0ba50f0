package browser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"cratelog/internal/durable"
)

// Which axe-core looks for what keeps people out (MPL-2.0). It is fetched by npm from its registry, and
// must be these bytes.
const (
	axeVersion   = "4.14.1"
	axeIntegrity = "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
	maxAxe       = 16 << 20
)

// ErrNoAxe says that axe-core could not be fetched.
var ErrNoAxe = errors.New("axe-core cannot be fetched")

// Axe returns the source of axe-core, fetched with npm. The error wraps ErrNoAxe if that does not work here;
// other bytes than the pinned ones are another error.
func Axe(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "cratelog-axe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "axe-core@"+axeVersion)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: npm pack: %w: %.300s", ErrNoAxe, err, out)
	}
	packed, err := durable.Read(filepath.Join(dir, "axe-core-"+axeVersion+".tgz"), maxAxe)
	if err != nil {
		return nil, err
	}
	if sum := sha512.Sum512(packed); "sha512-"+base64.StdEncoding.EncodeToString(sum[:]) != axeIntegrity {
		return nil, fmt.Errorf("axe-core %s has other bytes than it had: its SHA-512 is %x", axeVersion, sum)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(io.LimitReader(z, 4*maxAxe)); ; {
		f, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("axe-core %s has no axe.min.js: %w", axeVersion, err)
		}
		if f.Name == "package/axe.min.js" {
			return io.ReadAll(io.LimitReader(files, maxAxe))
		}
	}
}
