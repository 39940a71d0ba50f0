// Package testdata embeds the crates of this folder, which make.sh makes, with
// their entries, an opening and their repository, for tests and for programs that show or
// measure cratelog at work.
package testdata

import (
	"archive/tar"
	"embed"
	"errors"
	"io"
	"os"
	"path/filepath"
)

//go:generate ./make.sh

// Files holds NAME-VERSION.crate, NAME-VERSION.entry, hello-proof-0.1.0.opening and
// hello-proof.git.tar.
//
//go:embed *.crate *.entry *.opening hello-proof.git.tar
var Files embed.FS

// Repo unpacks the bare repository of the crates into a directory and returns its
// path. It holds all objects of its three commits, and the tags v0.1.0, v0.1.1 and v0.1.2.
func Repo(dir string) (string, error) {
	f, err := Files.Open("hello-proof.git.tar")
	if err != nil {
		return "", err
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(dir, "hello-proof.git"), nil
		} else if err != nil {
			return "", err
		}
		to := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return "", err
			}
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return "", err
		}
	}
}
