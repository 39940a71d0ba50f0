package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/transparency-dev/tessera"

	"cratelog/internal/durable"
	"cratelog/internal/testlog"
)

// TestADirectoryIsLockedOnce, and what a killed server left there is swept away with the lock, and nothing else.
func TestADirectoryIsLockedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := testlog.Must(OpenPosix(dir, true))
	fatalIf(t, os.Mkdir(filepath.Join(dir, stateDir), 0o700))
	stray := []string{"checkpoint123", ".state/treeState4", ".state/gcState56"}
	kept := []string{"checkpoint", "frozen", "checkpoint.old", "12", ".state/treeState", ".state/version", ".state/x1"}
	for _, name := range append(stray, kept...) {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), []byte("1"), 0o600))
	}
	lock := testlog.Must(tree.Lock(t.Context()))
	for _, other := range []Tree{tree, testlog.Must(OpenPosix(dir, false))} {
		again, err := other.Lock(t.Context())
		if err == nil || !strings.Contains(err.Error(), "is in use by another log server: stop that one first") {
			t.Errorf("%v %v", again, err)
		}
	}
	for _, name := range stray {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	fatalIf(t, lock.Close())
	fatalIf(t, testlog.Must(tree.Lock(t.Context())).Close())
}

// TestLookingMakesNothing: a tree that is only looked at may not exist.
func TestLookingMakesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "none")
	tree := testlog.Must(OpenPosix(dir, false))
	if s, err := tree.State(t.Context()); err != nil || s.Found {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := tree.Lock(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := tree.Writable(t.Context()); err == nil || tree.Try(t.Context()) == nil {
		t.Errorf("nothing can be written: %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if want := "the tree in " + dir; tree.String() != want {
		t.Errorf("%q, not %q", tree, want)
	}
}

func TestADamagedStateIsNoEmptyTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := testlog.Must(OpenPosix(dir, true))
	name := filepath.Join(dir, stateDir, "treeState")
	fatalIf(t, os.Mkdir(filepath.Dir(name), 0o700))
	for what, raw := range map[string]string{
		"empty": "", "no JSON": "{", "no root": `{"size": 3}`, "a short root": `{"size":3,"root":"AAAA"}`,
		"a negative size": `{"size":-1,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`,
		"too large":       strings.Repeat(" ", maxTreeState+1),
	} {
		fatalIf(t, os.WriteFile(name, []byte(raw), 0o600))
		if s, err := tree.State(t.Context()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) || s != (State{}) {
			t.Errorf("%s: %+v %v", what, s, err)
		}
	}
	fatalIf(t, os.Remove(name))
	fatalIf(t, os.Mkdir(name, 0o700))
	if s, err := tree.State(t.Context()); err == nil || errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what cannot be read: %+v %v", s, err)
	}
}

// TestABundleIsBounded by what 256 entries can have.
func TestABundleIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := testlog.Must(OpenPosix(dir, true))
	name := filepath.Join(dir, "tile", "entries", "000")
	fatalIf(t, os.MkdirAll(filepath.Dir(name), 0o700))
	for size, want := range map[int64]error{maxBundle: nil, maxBundle + 1: durable.ErrTooLarge} {
		fatalIf(t, os.WriteFile(name, nil, 0o600))
		fatalIf(t, os.Truncate(name, size))
		for _, p := range []uint8{0, 3} {
			if b, err := tree.ReadEntryBundle(t.Context(), 0, p); !errors.Is(err, want) || err == nil && int64(len(b)) != size {
				t.Errorf("%d bytes: %d read, %v", size, len(b), err)
			}
		}
	}
}

// TestTesseraCanAlwaysLock: the lock is a file in memory while Tessera runs, a link that a killed server left is
// replaced, and nothing is left when the tree is closed.
func TestTesseraCanAlwaysLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree := testlog.Must(OpenPosix(dir, true))
	name := filepath.Join(dir, stateDir, "treeState.lock")
	for i, before := range []func() error{
		func() error { return nil },
		func() error { return os.Symlink("/proc/self/fd/7777", name) },
		func() error { return os.WriteFile(name, nil, 0o644) },
	} {
		fatalIf(t, before())
		a, stop := started(t, tree)
		if to := testlog.Must(os.Readlink(name)); !strings.HasPrefix(to, "/proc/self/fd/") || to == "/proc/self/fd/7777" {
			t.Errorf("the lock leads to %s", to)
		}
		testlog.Must(a.Add(t.Context(), tessera.NewEntry([]byte{byte(i)}))())
		stop()
		if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a lock is left: %v", err)
		}
	}
	fatalIf(t, os.WriteFile(name, []byte("mine"), 0o644))
	if _, _, err := tree.Open(t.Context(), tessera.NewAppendOptions(), nil); err == nil || !strings.Contains(err.Error(), "is no lock file") {
		t.Errorf("got %v", err)
	}
}

// TestNothingWritesInTheTreeOnceItIsClosed: Tessera's lock is of the process, and still it is waited for.
func TestNothingWritesInTheTreeOnceItIsClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fatalIf(t, settle(dir)) // nothing was written
	fatalIf(t, os.Mkdir(filepath.Join(dir, stateDir), 0o700))
	for _, name := range []string{"publish.lock", "treeState.lock"} {
		held := testlog.Must(os.Create(filepath.Join(dir, stateDir, name)))
		fatalIf(t, syscall.FcntlFlock(held.Fd(), syscall.F_SETLKW, &syscall.Flock_t{Type: syscall.F_WRLCK}))
		var written atomic.Bool
		done := make(chan error)
		go func() {
			err := settle(dir)
			if !written.Load() {
				err = errors.New("it did not wait")
			}
			done <- err
		}()
		select {
		case err := <-done:
			t.Fatalf("%s: %v", name, err)
		default:
		}
		written.Store(true)
		fatalIf(t, held.Close())
		fatalIf(t, <-done)
	}
}
