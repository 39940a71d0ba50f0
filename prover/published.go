package prover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"cratelog/prover/git"
)

// maxAsk bounds how long git may take to answer one question about branches.
const maxAsk = 20 * time.Second

// Published says whether a branch or tag that a clone knows of its remotes has a
// commit in its history. It asks no remote: known is false if the repository at dir
// cannot tell, as it is bare or shallow, or has no remote. A local tag counts, as
// git does not remember where it came from.
func Published(ctx context.Context, dir string, commit [20]byte) (published, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxAsk)
	defer cancel()
	kind, err := askGit(ctx, dir, "rev-parse", "--is-bare-repository", "--is-shallow-repository")
	if err != nil || kind != "false\nfalse" {
		return false, false, err
	}
	if remotes, err := askGit(ctx, dir, "remote"); err != nil || remotes == "" {
		return false, false, err
	}
	alone, err := askGit(ctx, dir, "rev-list", "--max-count=1", fmt.Sprintf("%x", commit), "--not", "--remotes", "--tags")
	return err == nil && alone == "", err == nil, err
}

// askGit returns what git prints. As in package git, the environment cannot turn it
// to another repository, and it goes nowhere and runs nothing.
func askGit(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.hooksPath=" + os.DevNull}, args...)...)
	cmd.Env = git.Environment(os.Environ())
	cmd.WaitDelay = time.Second
	out := &bounded{}
	cmd.Stdout = out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s in %s: %w", args[0], dir, err)
	}
	return string(bytes.TrimSpace(out.b)), nil
}

// maxAnswer bounds what askGit reads, in bytes.
const maxAnswer = 64 << 10

// bounded holds what is written to it, up to maxAnswer bytes.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > maxAnswer {
		return 0, errors.New("git's answer is too long")
	}
	w.b = append(w.b, p...)
	return len(p), nil
}
