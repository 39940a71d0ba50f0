package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/api/layout"
	tessera_posix "github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/durable"
)

// directory is a tree of Tessera's POSIX driver.
type directory struct {
	dir  string
	lock *treeLock // nil: Tessera was not started here
}

var _ Tree = &directory{}

// OpenPosix opens the tree in a directory of this machine, which is made if it is missing and write is set.
func OpenPosix(dir string, write bool) (Tree, error) {
	dir, err := filepath.Abs(dir)
	if err == nil && write {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return nil, err
	}
	return &directory{dir: dir}, nil
}

func (d *directory) String() string { return "the tree in " + d.dir }

// path returns the path of a file with a slash-separated name.
func (d *directory) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

// treeState is the JSON of Tessera's record.
type treeState struct {
	Size uint64 `json:"size"`
	Root []byte `json:"root"`
}

const (
	stateDir     = ".state"
	stateFile    = stateDir + "/treeState"
	maxTreeState = 64 << 10
)

// State implements Tree. It reads the record without Tessera: the guard must look before that may write.
func (d *directory) State(context.Context) (State, error) {
	name := d.path(stateFile)
	raw, err := durable.Read(name, maxTreeState)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return State{}, err
	}
	var s treeState
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err == nil && len(s.Root) != tlog.HashSize {
		err = fmt.Errorf("the root has %d bytes, want %d", len(s.Root), tlog.HashSize)
	}
	if err != nil {
		return State{}, fmt.Errorf("%s %w: %w", name, ErrDamaged, err)
	}
	return State{Size: s.Size, Root: tlog.Hash(s.Root), Found: true}, nil
}

// Next implements Tree: here an entry has its index when it is integrated.
func (d *directory) Next(ctx context.Context) (uint64, error) {
	s, err := d.State(ctx)
	return s.Size, err
}

// ReadTile implements Tree.
func (d *directory) ReadTile(_ context.Context, level, index uint64, p uint8) ([]byte, error) {
	return partialOrFull(p, func(p uint8) ([]byte, error) {
		return durable.Read(d.path(layout.TilePath(level, index, p)), maxTile)
	})
}

// ReadEntryBundle implements Tree.
func (d *directory) ReadEntryBundle(_ context.Context, index uint64, p uint8) ([]byte, error) {
	return partialOrFull(p, func(p uint8) ([]byte, error) {
		return durable.Read(d.path(layout.EntriesPath(index, p)), maxBundle)
	})
}

// Read implements Tree.
func (d *directory) Read(_ context.Context, name string, most int64) ([]byte, time.Time, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return nil, time.Time{}, err
	}
	data, err := durable.Read(d.path(name), most)
	return data, info.ModTime(), err
}

// Write implements Tree.
func (d *directory) Write(_ context.Context, name string, data []byte) error {
	return durable.Write(d.path(name), data, 0o644)
}

// Remove implements Tree.
func (d *directory) Remove(_ context.Context, name string) error { return os.Remove(d.path(name)) }

// Published implements Tree: Tessera goes by the file's time.
func (d *directory) Published(context.Context) (time.Time, error) {
	info, err := os.Stat(d.path(Checkpoint))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// SetPublished implements Tree.
func (d *directory) SetPublished(_ context.Context, at time.Time) error {
	return os.Chtimes(d.path(Checkpoint), time.Time{}, at)
}

// WriteTile implements Tree.
func (d *directory) WriteTile(_ context.Context, level, index uint64, p uint8, data []byte) error {
	path := d.path(layout.TilePath(level, index, p))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.Write(path, data, 0o644)
}

// WriteState implements Tree.
func (d *directory) WriteState(_ context.Context, s State) error {
	raw, err := json.Marshal(treeState{s.Size, s.Root[:]})
	if err != nil {
		return err
	}
	return durable.Write(d.path(stateFile), raw, 0o644)
}

// LockDir takes the exclusive lock of a directory until it is closed. Tessera v1.0.4 locks per process only, so
// two logs in one process, or a second server, would not see each other.
func LockDir(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("the directory %s is in use by another log server: stop that one first (%w)", dir, err)
	}
	return f, nil
}

// Lock implements Tree. It removes the temporary files that a killed server left.
func (d *directory) Lock(context.Context) (io.Closer, error) {
	lock, err := LockDir(d.dir)
	if err != nil {
		return nil, err
	}
	if err := d.sweep(); err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

var strayFile = regexp.MustCompile(`^(checkpoint|treeState|gcState)[0-9]+$`)

// sweep removes what lies half-written beside the checkpoint and the tree's state.
func (d *directory) sweep() error {
	for _, dir := range []string{d.dir, d.path(stateDir)} {
		files, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			if f.Type().IsRegular() && strayFile.MatchString(f.Name()) {
				if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Writable implements Tree: Tessera could not write on a disk that was made read-only, and where no more files can
// be opened, at which it would panic. The lock's file does not tell: it may be on no disk (treeLock).
func (d *directory) Writable(context.Context) error {
	dir, err := os.Open(d.path(stateDir))
	if err == nil {
		dir.Close()
		const writeOK = 2
		err = syscall.Access(dir.Name(), writeOK)
	}
	if err != nil {
		return fmt.Errorf("the tree cannot be written: %s: %w", d.dir, err)
	}
	return nil
}

// Try implements Tree. The next start would sweep away what it writes.
func (d *directory) Try(ctx context.Context) error {
	if err := d.Writable(ctx); err != nil {
		return err
	}
	name := d.path(stateFile) + strconv.FormatInt(time.Now().UnixNano(), 10)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 256<<10))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(name))
}

// Open implements Tree.
func (d *directory) Open(ctx context.Context, opts *tessera.AppendOptions, witnesses *http.Client) (a *tessera.Appender,
	shutdown func(context.Context) error, err error) {
	driver, err := tessera_posix.New(ctx, tessera_posix.Config{HTTPClient: witnesses, Path: d.dir})
	if err == nil && d.lock == nil {
		d.lock, err = newTreeLock(d.dir)
	}
	if err != nil {
		return nil, nil, err
	}
	err = unpanicked(func() (err error) {
		a, shutdown, _, err = tessera.NewAppender(ctx, driver, opts)
		return err
	})
	return a, shutdown, err
}

// Pace implements Tree.
func (d *directory) Pace() time.Duration { return 100 * time.Millisecond }

// Close implements Tree.
func (d *directory) Close() error {
	if d.lock == nil {
		return nil
	}
	err := settle(d.dir)
	d.lock.close()
	d.lock = nil
	return err
}
