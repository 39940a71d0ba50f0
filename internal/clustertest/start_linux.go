package clustertest

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starting is a thread that lives as long as this process.
var starting = sync.OnceValue(func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
})

// startWithUs starts a command that ends with this process, however that ends: a test that is out of time leaves no
// database behind. The system counts the thread that started it for its parent.
func startWithUs(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	done := make(chan error)
	starting() <- func() { done <- cmd.Start() }
	return <-done
}
