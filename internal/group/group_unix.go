//go:build unix

// Package group starts commands whose own children end with them.
package group

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// Own has a command of exec.CommandContext start in a process group of its own, which is killed as a
// whole, by its id, when the context ends. Without process groups it does nothing: the command alone is
// killed.
func Own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
