//go:build !unix

package main

import "os/exec"

// ownGroup does nothing: without process groups, Ctrl-C reaches all programs at once.
func ownGroup(*exec.Cmd) {}

// terminated says that a process was ended by SIGTERM, which is not known here.
func terminated(error) bool { return false }
