package cargo

import (
	"errors"

	"cratelog/crate/lockfile"
	"cratelog/internal/durable"
)

// MaxLock is the largest Cargo.lock that is read, in bytes.
const MaxLock = lockfile.MaxSize

// A Lock is a Cargo.lock that ParseLock has accepted, a Package one [[package]] of it.
type (
	Lock    = lockfile.Lock
	Package = lockfile.Package
)

// ReadLock reads and parses the Cargo.lock at a path.
func ReadLock(path string) (*Lock, error) {
	b, err := durable.Read(path, MaxLock)
	if err != nil {
		return nil, err
	}
	return parseLock(path, b)
}

// ParseLock is lockfile.Parse. Errors are *FileError with File "Cargo.lock".
func ParseLock(b []byte) (*Lock, error) { return parseLock("Cargo.lock", b) }

func parseLock(file string, b []byte) (*Lock, error) {
	l, err := lockfile.Parse(b)
	var e *lockfile.Error
	if errors.As(err, &e) {
		return nil, &FileError{file, e.Key, e.Why}
	}
	return l, err
}
