//go:build !unix

package alert

import "os/exec"

// ownGroup does nothing: without process groups, the program alone is killed.
func ownGroup(*exec.Cmd) {}
