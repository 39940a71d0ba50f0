//go:build linux || darwin || freebsd

package cargo

import (
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// stat returns what Stamp hashes of a file, in one length, and when it was last changed.
// A link is not followed.
func stat(path string) (record []byte, changed time.Time, err error) {
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", path, err)
	}
	for _, n := range []int64{int64(s.Dev), int64(s.Ino), int64(s.Mode), s.Size, s.Mtim.Nano(), s.Ctim.Nano()} {
		record = binary.BigEndian.AppendUint64(record, uint64(n))
	}
	return record, time.Unix(s.Ctim.Unix()), nil
}
