package vitals

import (
	"os"

	"golang.org/x/sys/unix"
)

func statfs(path string) (space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return space{}, err
	}
	unit := uint64(max(s.Bsize, 0))
	return space{free: s.Bavail * unit, size: s.Blocks * unit, inodes: s.Ffree, total: s.Files,
		readOnly: s.Flags&unix.ST_RDONLY != 0}, nil
}

// descriptors counts the open files of this process.
func descriptors() (used, limit uint64, err error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, 0, err
	}
	dir, err := os.Open("/proc/self/fd")
	if os.IsNotExist(err) {
		return 0, 0, nil // no /proc
	}
	if err != nil {
		return 0, 0, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	return uint64(len(names)), l.Cur, err
}
