// Package durable writes files that are there as a whole, or not at all, whatever
// happens meanwhile.
package durable

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// WriteNew creates a file with its whole content, durably, and fails with
// fs.ErrExist if there is one: temporary file, fsync, link, fsync of the
// directory, in this order.
func WriteNew(path string, data []byte, mode os.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "tmp-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes new names in a directory durable. Windows has no such call.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
