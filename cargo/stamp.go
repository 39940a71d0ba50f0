package cargo

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"cratelog/crate"
)

// ErrNoStamp means that Stamp has nothing to tell: the directory changed too lately, or
// the system does not say when a file was changed. Compare again next time.
var ErrNoStamp = errors.New("no stamp that would show a later change can be made of the directory")

// settled is how far back the last change must lie: the clock of file systems is coarse,
// and a change in the same tick as the stamp would not show.
const settled = 2 * time.Second

// Stamp returns a hash over the names, kinds, modes, sizes, places (device and inode) and
// times of change (mtime and ctime, in nanoseconds) of all that is in a directory, and of
// the directory. While it stays the same, nothing in there has been changed, unless by
// an attacker who can set the system's clock or write to the disk past the file system. It
// reads no file.
//
// To skip CompareSource the next time: Stamp, CompareSource, Stamp again; if all went well
// and both are equal, keep the stamp with the crate's SHA-256. now is the time before the
// first. ErrNoStamp does not mean that the comparison failed.
func Stamp(dir string, now time.Time) ([32]byte, error) {
	h := sha256.New()
	h.Write([]byte("cratelog directory stamp v1\x00"))
	left := 2 * crate.DefaultLimits.Files
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if left--; left < 0 {
			return wrong(dir, "", "has more files than any crate")
		}
		record, changed, err := stat(p)
		if err != nil {
			return err
		}
		if changed.After(now.Add(-settled)) {
			return ErrNoStamp
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		// A name holds no NUL, and the record has one length.
		h.Write([]byte(rel))
		h.Write([]byte{0})
		h.Write(record)
		return nil
	})
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(h.Sum(nil)), nil
}
