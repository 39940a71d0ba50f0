//go:build !linux

package clustertest

import "os/exec"

// startWithUs starts a command. Here it outlives this process if that is killed.
func startWithUs(cmd *exec.Cmd) error { return cmd.Start() }
