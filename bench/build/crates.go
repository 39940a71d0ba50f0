package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"cratelog/build/rebuild"
)

// programs are popular ones that have been built the same twice: with link-time optimization and
// without, with C and assembly, with build scripts that write into their own sources.
const programs = "hexyl@0.17.0,diskus@0.9.0,sd@1.0.0,b3sum@1.8.7,zoxide@0.10.0,cargo-auditable@0.7.7"

// rebuildCrates rebuilds programs of cargo's default registry with the command "cargo zkp rebuild", which
// runs each build twice, as two users if root calls, in two sandboxes that share no directory; it prints a
// row each, and at last "reproduced N of M". list is NAME@VERSION, with a comma between two; more are
// options of that command, as --environment DIR. It fails if any was not reproduced.
func rebuildCrates(ctx context.Context, out io.Writer, list string, more ...string) error {
	dir, err := os.MkdirTemp("", "bench-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "cargo-zkp")
	made := exec.CommandContext(ctx, "go", "build", "-o", program, "cratelog/cmd/cargo-zkp")
	if said, err := made.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, said)
	}
	fmt.Fprintln(out, "program compiled bytes first_s second_s limits users sha256 outcome")
	crates := strings.Split(list, ",")
	same := 0
	var failed error
	for i, what := range crates {
		report := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.CommandContext(ctx, program, append([]string{"rebuild", what, "--out", report}, more...)...)
		cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		err := cmd.Run()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, unread := rebuild.ReadReport(report)
		if unread != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", what, errors.Join(err, unread)))
			fmt.Fprintln(out, what, "- - - - - - - failed")
			continue
		}
		if r.Same {
			same++
		}
		fmt.Fprintln(out, row(r))
		if err := os.RemoveAll(report); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "reproduced %d of %d\n", same, len(crates))
	if same < len(crates) {
		return errors.Join(errors.New("not all were reproduced"), failed)
	}
	return nil
}

// row is what a report says, in one line.
func row(r *rebuild.Report) string {
	users, outcome := 2, "same"
	if r.SameUser {
		users = 1
	}
	if !r.Same {
		outcome = "differs: " + r.Difference
	}
	return fmt.Sprintf("%s@%s %d %d %.1f %.1f %s %d %x %s", r.Subject.Name, r.Subject.Version, len(r.List)+1,
		len(r.Artifact), r.Took[0].Seconds(), r.Took[1].Seconds(), strings.ReplaceAll(r.Limits, " ", "-"), users, r.Claim.Artifact[:8], outcome)
}
