package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cratelog/internal/fixture"
)

// TestMain gives all tests one home: the proving keys in it are made once. Tests wait for
// processes more than they compute: more run beside each other than there are processors.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err) // which no flag does
	}
	os.Exit(fixture.Main(m))
}

// programs builds the programs of this module into the tests' home, once per run. Without
// symbols they are linked in half the time.
var programs = sync.OnceValues(func() (dir string, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(home, "programs")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", dir+string(filepath.Separator), "./cmd/...")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})

// program returns the path of a built program.
func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := programs()
	fatalIf(t, err)
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(dir, name)
}

// patience ends shortly before the whole run is out of time: what a test waits for
// takes as long as the machine needs.
func patience(t *testing.T) context.Context {
	end, limited := t.Deadline()
	if !limited {
		return t.Context()
	}
	ctx, cancel := context.WithDeadline(t.Context(), end.Add(-10*time.Second))
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until something holds. A process that ends meanwhile fails the test.
func (p *process) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx := patience(t)
	for !holds() {
		select {
		case <-p.done:
			t.Fatalf("%s ended, and %s was awaited: %v\n%s", p.name, what, p.err, p.log)
		case <-ctx.Done():
			t.Fatalf("%s: no %s before the time is over\n%s", p.name, what, p.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// outcome is what a program that ended has left.
type outcome struct {
	code           int
	stdout, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
}

// command runs a program to its end.
func command(t *testing.T, dir string, env []string, name string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(patience(t), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// zkp runs cargo-zkp for a user who remembers no checkpoint.
func zkp(t *testing.T, args ...string) outcome {
	t.Helper()
	return command(t, "", []string{"XDG_STATE_HOME=" + t.TempDir()}, program(t, "cargo-zkp"), args...)
}

// want fails the test if a program did not end with a code, or did not say
// all of the words on standard error.
func (o outcome) want(t *testing.T, code int, words ...string) {
	t.Helper()
	missing := ""
	for _, w := range words {
		if !strings.Contains(o.stderr, w) {
			missing += fmt.Sprintf("\nit does not say %q", w)
		}
	}
	if o.code != code || missing != "" {
		t.Errorf("%v\nwanted exit code %d%s", o, code, missing)
	}
}

// process is a running daemon.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *lines
	url  string
	done chan struct{} // closed once it has ended and was waited for
	err  error         // how it ended; read after done
}

// start runs a daemon until its ready file tells the URL. At the end of the test
// it is stopped if it still runs.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	p := launch(t, name, append(args, "-ready-file", ready)...)
	p.eventually(t, "address", func() bool {
		b, err := os.ReadFile(ready)
		p.url = strings.TrimSpace(string(b))
		return err == nil
	})
	return p
}

// launch starts a process and does not wait for anything.
func launch(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return launchIn(t, "", nil, name, args...)
}

func launchIn(t *testing.T, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, log: &lines{t: t, name: name}, done: make(chan struct{})}
	p.cmd = exec.Command(program(t, name), args...)
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	fatalIf(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(p.stop)
	return p
}

// stop asks the process to end, and must not have to insist. It may be called
// again.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s: %v", p.name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("%s, asked to end: %v", p.name, p.err)
		}
	case <-time.After(time.Minute):
		p.t.Errorf("%s did not end a minute after %v", p.name, s)
		p.kill()
	}
}

// kill is kill -9, by the process's own id.
func (p *process) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
	<-p.done
}

// lines hands a process's output to the test's log, and keeps it.
type lines struct {
	t    *testing.T
	name string

	mu   sync.Mutex // protects what follows
	text bytes.Buffer
	rest []byte // an unfinished line
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	l.rest = append(l.rest, b...)
	for {
		line, rest, ended := bytes.Cut(l.rest, []byte("\n"))
		if !ended {
			return len(b), nil
		}
		l.t.Logf("%s: %s", l.name, line)
		l.rest = rest
	}
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	fatalIf(t, os.WriteFile(name, []byte(content), 0o644))
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	fatalIf(t, err)
	return b
}

// readIfThere is os.ReadFile, but a file that is not there is empty.
func readIfThere(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
