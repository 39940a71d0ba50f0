package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// treeLock stands for the lock file of a tree, .state/treeState.lock. Tessera v1.0.4 panics, in a goroutine of its
// own, when it cannot open that file for writing before a batch, so that a disk that has become read-only would
// end the process, and not only the batch. While the log runs, a symbolic link to a file in the process's memory
// stands there. The other reason why a file cannot be opened, that too many are, does not arise while connections
// are limited; see Door in package log. Who may write into the tree is decided by Lock.
type treeLock struct {
	name string
	link string
	file *os.File // nil: Tessera has a file on the disk
}

// newTreeLock needs the directory's lock. Where there is no /proc, or no such file, Tessera makes its own.
func newTreeLock(tree string) (*treeLock, error) {
	dir := filepath.Join(tree, ".state")
	t := &treeLock{name: filepath.Join(dir, "treeState.lock")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the tree's directory cannot be written: %w", err)
	}
	if err := t.clear(); err != nil {
		return nil, err
	}
	var err error
	if t.file, err = memoryFile("cratelog-tree-lock"); err != nil || t.file == nil {
		return t, err
	}
	t.link = fmt.Sprintf("/proc/self/fd/%d", t.file.Fd())
	if err := os.Symlink(t.link, t.name); err != nil {
		t.close()
		return nil, fmt.Errorf("the tree's directory cannot be written: %w", err)
	}
	if tryLock(t.name) != nil {
		return t, t.clear()
	}
	return t, nil
}

// clear removes the lock file, or the link that a killed server left. Both are empty.
func (t *treeLock) clear() error {
	info, err := os.Lstat(t.name)
	switch {
	case os.IsNotExist(err):
		return nil
	case err != nil:
		return err
	case info.Mode().IsRegular() && info.Size() > 0 || info.IsDir():
		return fmt.Errorf("%s is no lock file: it should be empty", t.name)
	}
	if err := os.Remove(t.name); err != nil {
		return fmt.Errorf("the tree's directory cannot be written: %w", err)
	}
	return nil
}

// tryLock locks as Tessera does.
func tryLock(name string) error {
	f, err := os.OpenFile(name, syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
}

// close removes the link, unless the disk has become read-only: the next start removes it then.
func (t *treeLock) close() {
	if t.file == nil {
		return
	}
	if to, err := os.Readlink(t.name); err == nil && to == t.link {
		_ = os.Remove(t.name)
	}
	t.file.Close()
}

// unpanicked calls what may panic for what it finds on the disk, and makes an error of it.
func unpanicked(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the tree cannot be opened: %v", v)
		}
	}()
	return f()
}
