package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"cratelog/internal/durable"
)

// Write puts e into a file of the directory, under its Name, and returns the path. When it
// returns, the file is durable; it was never there in part. If it is there already, that
// is well. Nobody may be alerted of a finding before this has succeeded. What its own hashes
// do not show is not written: ErrNotProven.
func Write(dir string, e *Evidence) (string, error) {
	if _, _, err := e.demonstrate(); err != nil {
		return "", err
	}
	b, err := e.Marshal()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, Name(b))
	if err := durable.WriteNew(path, b, 0o644); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	there, err := durable.Read(path, MaxSize)
	if err != nil || !bytes.Equal(there, b) {
		return "", errors.Join(fmt.Errorf("the evidence file %s is damaged: remove it, so that it is written again", path), err)
	}
	return path, nil
}

// Read reads and parses a file. Errors are ErrMalformed, or of the file system.
func Read(path string) (*Evidence, error) {
	b, err := durable.ReadAny(path, MaxSize)
	if errors.Is(err, durable.ErrTooLarge) {
		return nil, malformed("%v", err)
	}
	if err != nil {
		return nil, err
	}
	return Parse(b)
}
