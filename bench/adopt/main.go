// Command adopt measures what a team waits for on its first day, with a lock file of 300 crates:
//
//	prove_lock      crates that "cargo zkp prove --lock" proves a minute, with the key on the disk, of
//	                repositories on a git server on loopback, over a run that is killed in the middle
//	resumed_proofs  proofs that the run after it made again
//
// The crates are made here, five to a repository, each of as many SHA-1 blocks as the median of real ones
// has, which is 56.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// measures are what is measured, in this order, each in the same place.
var measures = []func(context.Context, *place) error{measureProve}

func main() {
	n := flag.Int("crates", 300, "crates in the lock file")
	jobs := flag.Int("jobs", 1, "proofs at a time")
	flag.Parse()
	if err := run(context.Background(), *n, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, "bench/adopt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n, jobs int) (err error) {
	if n < 2 {
		return errors.New("-crates must be 2 at least")
	}
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := &place{dir: dir, program: filepath.Join(dir, "cargo-zkp"), project: filepath.Join(dir, "project"),
		home: filepath.Join(dir, "cargo"), jobs: jobs}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", p.program, "./cmd/cargo-zkp").CombinedOutput(); err != nil {
		return fmt.Errorf("run it at the top of the repository: %w\n%s", err, out)
	}
	if err := p.make(ctx, n); err != nil {
		return err
	}
	for _, measure := range measures {
		if err := measure(ctx, p); err != nil {
			return err
		}
	}
	return nil
}
