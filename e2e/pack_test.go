package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"testing"
)

// repack unpacks a .crate, lets edit change each file, and packs it again. A file
// whose name becomes "" is left out.
func repack(t testing.TB, from, to string, edit func(name string, content []byte) (string, []byte)) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(read(t, from)))
	fatalIf(t, err)
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	r, w := tar.NewReader(z), tar.NewWriter(zw)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		fatalIf(t, err)
		content, err := io.ReadAll(r)
		fatalIf(t, err)
		if h.Name, content = edit(h.Name, content); h.Name == "" {
			continue
		}
		h.Size = int64(len(content))
		fatalIf(t, w.WriteHeader(h))
		_, err = w.Write(content)
		fatalIf(t, err)
	}
	fatalIf(t, errors.Join(w.Close(), zw.Close()))
	fatalIf(t, os.WriteFile(to, out.Bytes(), 0o644))
}
