package verdict

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cratelog/cargo"
	"cratelog/crate"
	"cratelog/internal/durable"
)

// diskError is what is wrong with what lies on the disk, and the reason that it stands for.
type diskError struct {
	reason error
	text   string
}

func (e *diskError) Error() string { return e.text }
func (e *diskError) Unwrap() error { return e.reason }

// altered: an archive in cargo's cache is not the one that the lock file names. cargo
// unpacks what lies there without another look.
func (w Want) altered(path string, got [32]byte) error {
	then := "; cargo would unpack it without looking\ndelete it: cargo will download it again\n" +
		"then run cargo clean, since cargo uses again what it has compiled from this"
	if w.Vendored != "" {
		then = "\n\"cargo zkp vendor " + w.Vendored + "\" puts it right"
	}
	return &diskError{ErrSourceTampered, differs(path, got, w.Checksum) + then}
}

func differs(what string, got, want [32]byte) string {
	return fmt.Sprintf("%s has SHA-256 %x, the lock file says %x", what, got, want)
}

// compareSources compares the unpacked directories with the archive, unless a stamp shows
// that this was done.
func (it *item) compareSources() (err error) {
	for _, dir := range it.want.Sources {
		st := it.c.stamps()
		if st.known(dir, it.want.Checksum) {
			continue
		}
		if it.raw == nil && it.want.Vendored != "" {
			continue // look says so, if it matters
		}
		if it.raw == nil {
			err = errors.Join(err, &diskError{ErrNotDownloaded,
				dir + " cannot be compared with its archive, which is not there\ndelete it, or run \"cargo fetch\""})
			continue
		}
		c, failed := it.unpack(it.want.Name, it.want.Version)
		if failed != nil {
			return failed
		}
		compare := cargo.CompareSource
		if it.want.Vendored != "" {
			compare = cargo.CompareVendored
		}
		err = errors.Join(err, st.compare(dir, c, compare))
	}
	return err
}

// diskVerdict is the verdict on what lies on the disk. It overrules one that does not
// refuse, also of a crate that needs no proof: cargo must not build something else than
// the lock file names.
func diskVerdict(err error) (Status, error) {
	var source *cargo.SourceError
	switch {
	case errors.As(err, &source):
		return Violation, both(ErrSourceTampered, err)
	case errors.Is(err, ErrSourceTampered):
		return Violation, fmt.Errorf("archive differs from the lock file: %w", err)
	case errors.Is(err, ErrNotDownloaded):
		return Unchecked, both(ErrNotDownloaded, err)
	case errors.Is(err, ErrUnreadable):
		return Unchecked, err
	}
	return Unchecked, both(ErrUnreadable, err)
}

// stamps remembers, in one file of the cache directory, which directories were equal
// to which archive, and how they looked then (cargo.Stamp). A damaged file is as
// good as none. It is safe for concurrent use.
type stamps struct {
	path  string
	fresh bool // trust no stamp: compare everything

	mu      sync.Mutex
	at      map[string]stamp // by directory
	changed bool
}

type stamp struct {
	Checksum string `json:"checksum"` // of the archive, hex
	Stamp    string `json:"stamp"`    // cargo.Stamp of the directory, hex
}

// maxStamps bounds the file of stamps, in bytes.
const maxStamps = 64 << 20

func openStamps(dir string, fresh bool) *stamps {
	st := &stamps{path: filepath.Join(dir, "sources.json"), fresh: fresh}
	if b, err := durable.Read(st.path, maxStamps); err != nil || json.Unmarshal(b, &st.at) != nil || st.at == nil {
		st.at = map[string]stamp{}
	}
	return st
}

// known says that a directory was equal to an archive and has not changed since.
func (st *stamps) known(dir string, checksum [32]byte) bool {
	if st.fresh {
		return false
	}
	st.mu.Lock()
	s, ok := st.at[dir]
	st.mu.Unlock()
	if !ok || s.Checksum != hex.EncodeToString(checksum[:]) {
		return false
	}
	now, err := cargo.Stamp(dir, time.Now())
	return err == nil && s.Stamp == hex.EncodeToString(now[:])
}

// compare compares a directory with an archive and remembers that they are equal.
func (st *stamps) compare(dir string, c *crate.Crate, compare func(string, *crate.Crate) error) error {
	before, errBefore := cargo.Stamp(dir, time.Now())
	if err := compare(dir, c); err != nil {
		return err
	}
	after, errAfter := cargo.Stamp(dir, time.Now())
	if errBefore == nil && errAfter == nil && before == after {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.at[dir] = stamp{hex.EncodeToString(c.SHA256[:]), hex.EncodeToString(before[:])}
		st.changed = true
	}
	return nil
}

// SaveStamps remembers which unpacked sources were compared, so that the next Checker
// need not compare them while they look the same.
func (c *Checker) SaveStamps() error {
	st := c.stamps()
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.changed {
		return nil
	}
	for dir := range st.at {
		if _, err := os.Lstat(dir); err != nil {
			delete(st.at, dir) // it is gone
		}
	}
	b, err := json.Marshal(st.at)
	if err != nil {
		return err
	}
	return durable.WriteCache(st.path, b)
}
