// Command prove measures the prover on a small real crate: the time from the key
// on disk to the entry (compiling the circuit, loading the key, proving, checking
// the proof), the largest amount of memory that the process held, and with -setup
// how long the development setup of the smallest class takes. With -crate and
// -repository it measures another crate, of any class; with -corpus DIR all published
// packages of the repositories in that directory, as a table.
//
// With -setup it also checks that the setup yields the program that ships with
// cratelog, and fails otherwise.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/proofcheck"
	"cratelog/prover"
	"cratelog/prover/git"
	"cratelog/testdata"
)

func main() {
	setup := flag.Bool("setup", false, "run and measure the development setup as well")
	file := flag.String("crate", "", "a .crate to prove instead of the small one")
	repository := flag.String("repository", "", "its git repository")
	corpus := flag.String("corpus", "", "a directory of repositories (NAME-VERSION.git.tar.gz) whose packages to measure")
	flag.Parse()
	if err := run(context.Background(), *setup, *file, *repository, *corpus); err != nil {
		fmt.Fprintln(os.Stderr, "bench/prove:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, setup bool, file, repository, corpus string) error {
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if setup {
		if err := measureSetup(ctx, dir); err != nil {
			return err
		}
	}
	if corpus != "" {
		return measureCorpus(ctx, dir, corpus)
	}
	plan, err := makePlan(ctx, dir, file, repository)
	if err != nil {
		return err
	}
	class, err := plan.Class()
	if err != nil {
		return err
	}
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	// Makes the key if it is not there, and warms the disk's cache; not measured.
	if _, err := prover.DevelopmentKeys(ctx, cache, class, nil); err != nil {
		return err
	}
	begin := time.Now()
	keys, err := prover.DevelopmentKeys(ctx, cache, class, nil)
	if err != nil {
		return err
	}
	loaded := time.Now()
	if _, err := keys.Prove(ctx, plan, nil); err != nil {
		return err
	}
	fmt.Printf("blocks_source%d %d blocks\n", class.Blocks, plan.Blocks)
	fmt.Printf("load_source%d %.2f s\n", class.Blocks, loaded.Sub(begin).Seconds())
	fmt.Printf("prove_source%d %.2f s\n", class.Blocks, time.Since(begin).Seconds())
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	fmt.Printf("prove_source%d_memory %d MiB\n", class.Blocks, usage.Maxrss>>10)
	return nil
}

func measureSetup(ctx context.Context, dir string) error {
	begin := time.Now()
	p, _, err := prover.MakeDevelopmentKeys(ctx, dir, circuit.Class64, nil)
	if err != nil {
		return err
	}
	fmt.Printf("setup_source64 %.1f s\n", time.Since(begin).Seconds())
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	if _, ok := v.Program(p.ID()); !ok {
		return fmt.Errorf("the setup made program %x, which is not the one that ships; run go run ./internal/makekeys", p.ID())
	}
	return nil
}

// makePlan plans a crate of the reader's, or with no name the embedded one.
func makePlan(ctx context.Context, dir, file, repository string) (*prover.Plan, error) {
	c, err := readCrate(file)
	if err != nil {
		return nil, err
	}
	if file == "" {
		if repository, err = testdata.Repo(dir); err != nil {
			return nil, err
		}
	}
	repo, err := git.Open(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	return prover.NewPlan(ctx, c, repo, prover.Source{})
}

func readCrate(file string) (*crate.Crate, error) {
	if file != "" {
		return crate.ReadFile(file, crate.DefaultLimits)
	}
	raw, err := testdata.Files.ReadFile("hello-proof-0.1.0.crate")
	if err != nil {
		return nil, err
	}
	return crate.Read(raw, "hello-proof", "0.1.0", crate.DefaultLimits)
}
