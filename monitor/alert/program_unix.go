//go:build unix

package alert

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// ownGroup has the program start in a process group of its own, which is killed as a
// whole, by its id, when the time is over.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
