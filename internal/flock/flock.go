// Package flock locks files against other processes.
package flock

import (
	"errors"
	"os"
)

// ErrHeld says that another process has a lock.
var ErrHeld = errors.New("another process has it locked")

// Take makes the file of a lock where there is none, and takes the exclusive lock, until the file is closed. That
// another process has it is ErrHeld.
func Take(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	held, err := Try(f)
	if held {
		err = ErrHeld
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, f.Close())
	}
	return f, nil
}
