//go:build !unix

// Package group starts commands whose own children end with them.
package group

import "os/exec"

// Own does nothing: without process groups, the command alone is killed.
func Own(*exec.Cmd) {}
