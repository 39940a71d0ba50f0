// Command adopt measures what a team waits for on its first day, with a lock file of 300 crates:
//
//	prove_lock      crates that "cargo zkp prove --lock" proves a minute, with the key on the disk, of
//	                repositories on a git server on loopback, over a run that is killed in the middle
//	resumed_proofs  proofs that the run after it made again
//	report_first    "cargo zkp report" on that lock file, when every crate is logged and nothing was verified
//	report          the same again
//
// The crates are made here, five to a repository, each of as many SHA-1 blocks as the median of real ones
// has, which is 56. For the report their entries are made by internal/forge: verifying one costs what any
// other does. With -prove=false only the report is measured. What is going on is told on standard error.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	n := flag.Int("crates", 300, "crates in the lock file")
	jobs := flag.Int("jobs", 1, "proofs at a time")
	keys := flag.String("keys", "", "`DIRECTORY` of the proving key (default: it is made first)")
	prove := flag.Bool("prove", true, "measure proving too")
	flag.Parse()
	if err := run(context.Background(), *n, *jobs, *keys, *prove); err != nil {
		fmt.Fprintln(os.Stderr, "bench/adopt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, n, jobs int, keys string, prove bool) (err error) {
	if n < 2 {
		return errors.New("-crates must be 2 at least")
	}
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := &place{dir: dir, program: filepath.Join(dir, "cargo-zkp"), project: filepath.Join(dir, "project"),
		home: filepath.Join(dir, "cargo"), jobs: jobs, keys: cmp.Or(keys, filepath.Join(dir, "keys"))}
	say("building cargo-zkp")
	build := exec.CommandContext(ctx, "go", "build", "-o", p.program, "./cmd/cargo-zkp")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("run it at the top of the repository: %w\n%s", err, out)
	}
	say("making %d crates", n)
	if err := p.make(ctx, n); err != nil {
		return err
	}
	if prove {
		if err := measureProve(ctx, p); err != nil {
			return err
		}
	}
	return measureReport(ctx, p)
}

// say tells what takes its time.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench/adopt: "+format+"\n", args...) }
