package publish

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/cargo/credential"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// store is the directory of a run. What does not fit is made again.
type store struct{ credential.Dir }

func (s store) file(m *member, ext string) string { return s.File(m.Name, m.Version, ext) }

// load returns a file, nil if it cannot be read.
func (s store) load(m *member, ext string, max int64) []byte {
	b, err := durable.Read(s.file(m, ext), max)
	if err != nil {
		return nil
	}
	return b
}

// entry returns the bytes of a stored entry that parses.
func (s store) entry(m *member) (*entry.Entry, []byte) {
	b := s.load(m, credential.ExtEntry, entry.MaxSize)
	e, err := entry.Parse(b)
	if err != nil {
		return nil, nil
	}
	return e, b
}

func (s store) bundle(m *member) []byte { return s.load(m, credential.ExtBundle, client.MaxBundleSize) }

// save writes a file whole. What it replaced is gone; what is already there is left.
func (s store) save(m *member, ext string, content []byte) error {
	path := s.file(m, ext)
	if bytes.Equal(s.load(m, ext, crate.DefaultLimits.Compressed), content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("what was made cannot be kept: %w", err)
	}
	return durable.Write(path, content, 0o644)
}

// remove removes a file of a crate that does not fit any more.
func (s store) remove(m *member, ext string) {
	_ = os.Remove(s.file(m, ext)) // it is checked again if it stays
}
