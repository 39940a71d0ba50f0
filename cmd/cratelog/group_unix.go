//go:build unix

package main

import (
	"errors"
	"os/exec"
	"syscall"
)

// ownGroup has a program start in a process group of its own, which the terminal does not interrupt.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminated says that a process was ended by SIGTERM.
func terminated(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}
