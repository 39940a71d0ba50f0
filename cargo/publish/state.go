package publish

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/cargo/credential"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
)

// store is the directory target/zkp. It holds, for each crate, NAME-VERSION/ with
//
//	NAME-VERSION.crate       what was proved
//	NAME-VERSION.entry       the proof
//	NAME-VERSION.tlog-proof  the bundle
//
// so that a run that ended early is taken up where it stopped. What is read from it
// is checked as if it came from a stranger; what does not fit is made again.
type store string

const (
	extCrate  = ".crate"
	extEntry  = ".entry"
	extBundle = ".tlog-proof"
)

func (s store) file(m *member, ext string) string {
	return credential.File(string(s), m.Name, m.Version, ext)
}

// load returns a file, nil if it is not there or cannot be read.
func (s store) load(m *member, ext string, max int64) []byte {
	b, err := credential.ReadFile(s.file(m, ext), max)
	if err != nil {
		return nil
	}
	return b
}

// entry returns the bytes of a stored entry that parses.
func (s store) entry(m *member) (*entry.Entry, []byte) {
	b := s.load(m, extEntry, entry.MaxSize)
	e, err := entry.Parse(b)
	if err != nil {
		return nil, nil
	}
	return e, b
}

func (s store) bundle(m *member) []byte { return s.load(m, extBundle, client.MaxBundleSize) }

// save writes a file whole. What it replaced is gone; what is already there is left.
func (s store) save(m *member, ext string, content []byte) error {
	path := s.file(m, ext)
	if bytes.Equal(s.load(m, ext, crate.DefaultLimits.Compressed), content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("what was made cannot be kept: %w", err)
	}
	return writeFile(path, content)
}

// remove removes files of a crate that do not fit any more.
func (s store) remove(m *member, exts ...string) {
	for _, ext := range exts {
		_ = os.Remove(s.file(m, ext)) // it is checked again if it stays
	}
}

// writeFile writes a file that appears whole or not at all.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is none
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
