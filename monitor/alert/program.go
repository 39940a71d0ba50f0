package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cratelog/internal/group"
)

// program is a local command that takes an alert.
type program struct {
	argv    []string
	timeout time.Duration
}

func newProgram(argv []string, timeout time.Duration) (program, error) {
	if len(argv) == 0 || !filepath.IsAbs(argv[0]) {
		return program{}, errors.New("command: the program with its absolute path, then its arguments")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return program{}, fmt.Errorf("command: %w", err)
	}
	return program{argv, timeout}, nil
}

// run starts the program without a shell, in a process group of its own, and waits until
// it ends. What is left of the group after the timeout is killed. Of the environment it gets
// PATH and HOME, and what env adds.
func (p program) run(ctx context.Context, env []string, stdin []byte) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	cmd.Dir = string(filepath.Separator)
	cmd.Stdin = bytes.NewReader(stdin)
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	group.Own(cmd)
	cmd.WaitDelay = time.Second // for children that hold its output open
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		return nil // in the second case it left a child behind that holds its output open
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done after %v, and was stopped", p.timeout)
	}
	if s := strings.TrimSpace(oneLine(string(said))); s != "" {
		return fmt.Errorf("%s: %w; it says: %s", p.argv[0], err, clip(s, 300))
	}
	return fmt.Errorf("%s: %w", p.argv[0], err)
}

// tail keeps the beginning of what a program says.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	*t = append(*t, b[:min(len(b), maxAnswer-len(*t))]...)
	return len(b), nil
}

// command is a channel that starts a program: with what matters in its environment, and
// the alert as JSON on its standard input. Exit status 0 means that it has taken it.
type command struct {
	named
	program program
}

func (c *command) Send(ctx context.Context, a Alert) error {
	a = a.clean()
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	env := []string{
		"EVENT=" + a.Event, "CLASS=" + string(a.Class), "KIND=" + a.Kind, "SUMMARY=" + a.Summary,
		fmt.Sprintf("FINDING_ID=%d", a.Finding), "ALERT_ID=" + a.ID, "LOG=" + a.Log,
		"CRATE=" + a.Crate, "VERSION=" + a.Version,
		"EVIDENCE_FILE=" + a.EvidenceFile, "EVIDENCE_URL=" + a.EvidenceURL, "URL=" + a.URL,
	}
	return c.program.run(ctx, env, append(b, '\n'))
}
