//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup has a program start in a process group of its own, which the terminal does not interrupt.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
