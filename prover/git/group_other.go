//go:build !unix

package git

import "os/exec"

// ownGroup does nothing: without process groups, git alone is killed.
func ownGroup(*exec.Cmd) {}
