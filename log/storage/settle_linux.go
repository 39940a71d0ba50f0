package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// settle waits until nothing that a closed log's Tessera began still writes in its tree. Tessera does
// not say when its goroutines end. While one writes it holds a lock of the process, which does not keep
// this process out; but the locks of an open file, unlike those of the process, do conflict with it.
// What begins afterwards signs nothing, since the guard is closed, and so writes no checkpoint.
func settle(tree string) error {
	for _, name := range []string{"publish.lock", "treeState.lock"} {
		f, err := os.OpenFile(filepath.Join(tree, ".state", name), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EROFS) {
			continue // nothing was ever written, or is
		}
		if err == nil {
			err = errors.Join(awaitLock(f), f.Close())
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBusy, err)
		}
	}
	return nil
}

// awaitLock takes the lock of an open file, until it is closed.
func awaitLock(f *os.File) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock)
		busy := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINTR)
		if err == nil || !busy || time.Now().After(deadline) {
			return err
		}
	}
}
