package log

import (
	"io"
	"os"
	"syscall"
)

func lockAsTesseraDoes(f *os.File) error {
	return syscall.FcntlFlock(f.Fd(), syscall.F_SETLKW, &syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart})
}
