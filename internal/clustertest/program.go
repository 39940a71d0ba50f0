// Package clustertest starts what a log on several machines needs: databases, a store, and networks that can be
// cut. It is for tests and measurements.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// How long a program may take to serve, on a machine that is busy with other tests, and to end.
const (
	startPatience = 2 * time.Minute
	endPatience   = 40 * time.Second
)

// Program is a process that serves. It can be killed, paused, and started again as it was. Its methods are for one
// goroutine.
type Program struct {
	name    string
	command func() *exec.Cmd
	ready   func(ctx context.Context) error // nil once it serves; asked until then

	cmd    *exec.Cmd
	killed atomic.Bool
	ended  chan struct{} // closed when err is set
	err    error
}

// NewProgram returns a program that does not run yet. command makes it anew for each start.
func NewProgram(name string, command func() *exec.Cmd, ready func(ctx context.Context) error) *Program {
	return &Program{name: name, command: command, ready: ready}
}

// Start starts it, and returns when it serves. What does not serve is killed.
func (p *Program) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := p.Launch(); err != nil {
		return err
	}
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it served (%v): %w", p.name, p.err, err)
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s does not serve: %w", p.name, err), p.Kill())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Launch starts it, and waits for nothing.
func (p *Program) Launch() error {
	cmd := p.command()
	if err := startWithUs(cmd); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.killed.Store(false)
	p.cmd, p.ended = cmd, ended
	go func() {
		p.err = cmd.Wait()
		close(ended)
	}()
	return nil
}

// Ended is closed when the process that was started last has ended.
func (p *Program) Ended() <-chan struct{} { return p.ended }

// Err says how it ended, once it has.
func (p *Program) Err() error { return p.err }

// PID is the id of the process that was started last.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Kill is kill -9, by the process's own id. It returns when the process is gone.
func (p *Program) Kill() error {
	p.killed.Store(true)
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Pause stops the process as it is, and Continue lets it go on.
func (p *Program) Pause() error    { return p.signal(syscall.SIGSTOP) }
func (p *Program) Continue() error { return p.signal(syscall.SIGCONT) }

// Stop asks the process to end, and returns how it did. One that was killed, or never ran, is fine.
func (p *Program) Stop() error {
	if p.cmd == nil {
		return nil
	}
	if err := errors.Join(p.Continue(), p.signal(syscall.SIGTERM)); err != nil {
		return err
	}
	select {
	case <-p.ended:
		if p.err == nil || p.killed.Load() {
			return nil
		}
		return fmt.Errorf("%s: %w", p.name, p.err)
	case <-time.After(endPatience):
		return errors.Join(fmt.Errorf("%s does not end %v after SIGTERM", p.name, endPatience), p.Kill())
	}
}

func (p *Program) signal(s syscall.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %v: %w", p.name, s, err)
	}
	return err
}

// Port returns an address of loopback that is free, and stays it until somebody asks for it by its number: none
// that the system hands out. So what was killed finds it free.
func Port() (address string, err error) {
	for range 100 {
		address = fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", err
}

// tail returns the end of a file, for an error.
func tail(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
