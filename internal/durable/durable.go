// Package durable reads and writes whole files. A read has a bound; a written file is
// there as a whole, or not at all, whatever happens meanwhile.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
)

// ErrTooLarge: a file or an answer has more bytes than its reader takes. The errors of
// Read, ReadAny and ReadAll wrap it and say the limit.
var ErrTooLarge = errors.New("the most that is read")

// Read reads a regular file of at most limit bytes. It follows symbolic links, and
// neither blocks nor acts on anything else that has the name, such as a device or a pipe.
func Read(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // before it is opened: that may block, or act
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return ReadAny(path, limit)
}

// ReadAny is Read of a file that a person named on a command line, where it may be a
// pipe.
func ReadAny(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := ReadAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// ReadAll reads r to its end, which must come within limit bytes.
func ReadAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, min(limit, math.MaxInt64-1)+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes, %w", limit, ErrTooLarge)
	}
	return b, nil
}

// Buffer takes what another program prints, and fails with ErrTooLarge beyond its limit.
type Buffer struct {
	Limit int
	b     bytes.Buffer // not embedded: its ReadFrom would pass the limit by
}

func (b *Buffer) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > b.Limit {
		return 0, fmt.Errorf("more than %d bytes, %w", b.Limit, ErrTooLarge)
	}
	return b.b.Write(p)
}

// Bytes returns what was written.
func (b *Buffer) Bytes() []byte { return b.b.Bytes() }

func (b *Buffer) String() string { return b.b.String() }

// Write makes or replaces a file, durably.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).Replace)
}

// WriteNew makes a file, durably, and fails with fs.ErrExist if there is one.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, (*File).CommitNew)
}

func write(path string, data []byte, mode fs.FileMode, commit func(*File, string, fs.FileMode) error) error {
	f, err := Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return commit(f, path, mode)
}

// WriteCache makes or replaces a file, and its directory, both for their owner only. It
// does not wait for the disk: the reader must be able to tell what a power failure damaged.
func WriteCache(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// File is a temporary file that gets its name once its content is complete.
type File struct{ *os.File }

// Unfinished begins the names of files that Create made, until they are renamed.
const Unfinished = ".new-"

// Create makes a temporary file in the directory that its final name will be in, for its
// owner only. Call Discard when done with it.
func Create(dir string) (*File, error) {
	f, err := os.CreateTemp(dir, Unfinished+"*")
	if err != nil {
		return nil, err
	}
	return &File{f}, nil
}

// Replace gives the file its name, over another file of that name: fsync, rename, fsync
// of the directory, in this order. The file is closed.
func (f *File) Replace(path string, mode fs.FileMode) error { return f.commit(path, mode, os.Rename) }

// CommitNew gives the file its name, and fails with fs.ErrExist if it is taken. On a file
// system without hard links (exFAT, some network drives) an empty file takes the name first,
// and a crash at that moment leaves it.
func (f *File) CommitNew(path string, mode fs.FileMode) error {
	return f.commit(path, mode, func(from, to string) error {
		err := testingOnlyLink(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		return renameNew(from, to)
	})
}

var testingOnlyLink = os.Link

// renameNew renames a file to a name that is free.
func renameNew(from, to string) error {
	taken, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = taken.Close()
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil {
		os.Remove(to)
	}
	return err
}

func (f *File) commit(path string, mode fs.FileMode, name func(from, to string) error) error {
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Discard removes the temporary file. Call it after a commit as well: the link of
// CommitNew leaves it behind.
func (f *File) Discard() {
	f.Close()
	os.Remove(f.Name())
}

// syncDir makes new names in a directory durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
