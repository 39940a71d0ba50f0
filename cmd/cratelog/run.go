package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/flock"
)

// The settings files of the services, each in the folder of its service.
const (
	logSettings     = "logd.toml"
	monitorSettings = "monitor.toml"
	witnessSettings = "witness.toml"
)

// service is one program that runs.
type service struct {
	name    string // of its folder
	program string
	verb    string
	config  string
	ready   string // file that will hold its URL

	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended
	err  error         // how; read after done
}

func (s *service) args() []string { return []string{s.verb, "-config", s.config} }

// find returns the services of a directory in the order in which they start: those whose settings
// are there. A witness whose folder moved to another machine is not.
func find(dir string) (all []*service, err error) {
	witnesses, err := filepath.Glob(filepath.Join(dir, "witness-*", witnessSettings))
	if err != nil {
		return nil, err
	}
	add := func(config, program, verb string) {
		all = append(all, &service{name: filepath.Base(filepath.Dir(config)), program: program, verb: verb, config: config,
			done: make(chan struct{})})
	}
	for _, config := range witnesses {
		add(config, "witness", "serve")
	}
	for _, s := range []struct{ config, program, verb string }{
		{filepath.Join(dir, "log", logSettings), "logd", "serve"},
		{filepath.Join(dir, "monitor", monitorSettings), "monitor", "run"},
	} {
		if _, err := os.Stat(s.config); err == nil {
			add(s.config, s.program, s.verb)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no log, witness or monitor; make them with \"cratelog init %s\"", dir, dir)
	}
	return all, nil
}

// runAll runs all services of a directory until ctx ends, which is no error, or one of them does.
func runAll(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	dir, err := parse(flag.NewFlagSet("cratelog run", flag.ContinueOnError), args)
	if err != nil {
		return err
	}
	services, err := find(dir)
	if err != nil {
		return err
	}
	lock, err := alone(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	tmp, err := os.MkdirTemp("", "cratelog-run-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	r := &running{stderr: stderr}
	err = r.serve(ctx, services, tmp, func(urls map[string]string) error {
		return tell(stdout, dir, urls)
	})
	return errors.Join(err, r.stop())
}

// alone takes the lock of a directory, or says that its services run already.
func alone(dir string) (lock *os.File, err error) {
	lock, err = flock.Take(filepath.Join(dir, ".run.lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("another cratelog runs %s; end that one with Ctrl-C, or leave it running", dir)
	}
	return lock, err
}

// tell says that all is well, and what to do now.
func tell(stdout io.Writer, dir string, urls map[string]string) error {
	var b strings.Builder
	for _, s := range []string{"log", "monitor"} {
		if urls[s] != "" {
			fmt.Fprintf(&b, "The %s is at %s\n", s, urls[s])
		}
	}
	if urls["log"] != "" {
		fmt.Fprintf(&b, "It accepts entries, and its witnesses cosign. In a project:\n\n%s\n", next(dir, urls["log"]))
	}
	_, err := fmt.Fprintf(stdout, "%sCtrl-C ends all of it.\n", b.String())
	return err
}

// next is how to fill a log, and to rely on it, from whatever directory the project is in.
func next(dir, url string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return fmt.Sprintf("    cargo zkp prove --lock --submit --log %s\n    cargo zkp init --from-lock --trust %s\n"+
		"    cargo zkp build\n", url, filepath.Join(dir, "readers"))
}

// running are the services that were started, first to last.
type running struct {
	started []*service
	ended   chan *service
	stderr  io.Writer
	mu      sync.Mutex // of stderr
}

// serve starts the services, waits until the log publishes, calls well, and waits for the end.
func (r *running) serve(ctx context.Context, services []*service, tmp string,
	well func(urls map[string]string) error) error {
	r.ended = make(chan *service, len(services))
	width := 0
	for _, s := range services {
		width = max(width, len(s.name))
	}
	for _, s := range services {
		s.ready = filepath.Join(tmp, s.name)
		if err := r.start(s, width); err != nil {
			return err
		}
	}
	urls := map[string]string{}
	for _, s := range services {
		if err := r.wait(ctx, func() (why string, err error) {
			b, err := durable.Read(s.ready, 1<<10)
			urls[s.name] = strings.TrimSpace(string(b))
			if errors.Is(err, fs.ErrNotExist) {
				return s.name + " does not answer yet", nil
			}
			return "", err
		}); err != nil || ctx.Err() != nil {
			return err
		}
	}
	if url := urls["log"]; url != "" {
		if err := r.wait(ctx, func() (string, error) { return unwell(ctx, url), nil }); err != nil || ctx.Err() != nil {
			return err
		}
	}
	if err := well(urls); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case s := <-r.ended:
		return ended(s)
	}
}

// ended says that a service ended which nobody asked to.
func ended(s *service) error {
	return fmt.Errorf("%s ended (%v), so all is ended; its last words are above", s.name,
		cmp.Or(s.err, errors.New("exit status 0")))
}

// wait asks until nothing is missing, and says what is missing when that takes long.
func (r *running) wait(ctx context.Context, missing func() (why string, err error)) error {
	begin, said := time.Now(), time.Duration(0)
	for {
		why, err := missing()
		if err != nil || why == "" {
			return err
		}
		if took := time.Since(begin); took-said >= 10*time.Second {
			said = took
			r.line("cratelog: still waiting: " + why)
		}
		select {
		case <-ctx.Done():
			return nil
		case s := <-r.ended:
			return ended(s)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// unwell says what keeps a log from publishing, or "".
func unwell(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return ""
	}
	b, err := durable.ReadAll(resp.Body, 64<<10)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("the log says %d: %s", resp.StatusCode, bytes.TrimSpace(b))
}

// start starts a service, out of reach of the terminal's Ctrl-C: the log needs its witnesses to end well.
func (r *running) start(s *service, width int) error {
	program, err := locate(s.program)
	if err != nil {
		return err
	}
	s.cmd = exec.Command(program, append(s.args(), "-ready-file", s.ready)...)
	ownGroup(s.cmd)
	out := &prefixed{r: r, prefix: fmt.Sprintf("%-*s | ", width, s.name)}
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	r.started = append(r.started, s)
	go func() {
		s.err = s.cmd.Wait()
		out.end()
		close(s.done)
		r.ended <- s
	}()
	return nil
}

// locate finds a program beside this one, or on PATH.
func locate(program string) (string, error) {
	if self, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), program)); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%s is neither beside cratelog nor on PATH; install it as you installed cratelog: %w",
			program, err)
	}
	return path, nil
}

// patience is how long a service may take to end: as long as logd by its default settings, and more.
const patience = 3 * time.Minute

// stop ends the services, last to first, so that the log can publish what it accepted.
func (r *running) stop() error {
	var errs []error
	for i := len(r.started) - 1; i >= 0; i-- {
		s := r.started[i]
		select {
		case <-s.done: // it ended by itself, which was said
			continue
		default:
		}
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, s.cmd.Process.Kill()) // Windows knows no other way
			<-s.done
			continue
		}
		select {
		case <-s.done:
			if s.err != nil && !terminated(s.err) { // by the signal, if it had not come so far as to catch it
				errs = append(errs, fmt.Errorf("%s, asked to end: %w; its last words are above", s.name, s.err))
			}
		case <-time.After(patience):
			errs = append(errs, fmt.Errorf("%s did not end within %v and was killed", s.name, patience), s.cmd.Process.Kill())
			<-s.done
		}
	}
	return errors.Join(errs...)
}

// line prints a line, whole.
func (r *running) line(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.stderr, text)
}

// prefixed prints lines with the name of who says them.
type prefixed struct {
	r      *running
	prefix string
	rest   []byte // of a line that has not ended
}

const maxLine = 64 << 10

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok && len(p.rest) <= maxLine {
			return len(b), nil
		}
		p.r.line(p.prefix + string(line))
		p.rest = rest
	}
}

// end prints what no line feed ended.
func (p *prefixed) end() {
	if len(p.rest) > 0 {
		p.r.line(p.prefix + string(p.rest))
	}
}
