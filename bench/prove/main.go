// Command prove measures the prover, each thing in a process of its own, so that each has its own
// peak of memory:
//
//	msm_131072         the machine's pace: a sum of 2^17 points of G1 times random numbers, on one core
//	key_from_nothing   the development key on a fresh machine: compiling the circuit, the setup, writing
//	load_key           compiled circuit and key from a warm disk
//	prove_N            from the key on disk to the checked entry, for git objects of N SHA-1 blocks
//	prove_memory       the largest amount of memory that a process of those held
//
// With -segments it compares segments of other lengths (segmentSizes), with development keys of their own:
//
//	segments_key_S, segments_key_file_S, segments_prove_N_S, segments_memory_S
//
// With -run it measures only what a regular expression matches. With -crate and -repository it
// measures one crate; with -corpus DIR all published packages of the repositories in that
// directory, as a table.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/proofcheck"
	"cratelog/prover"
	"cratelog/prover/git"
)

// sizes are the crates that are measured, in SHA-1 blocks: a full segment, the median crate, three
// segments, tokio, and web-sys.
var sizes = []int{41, 56, 100, 468, 2079}

func main() {
	only := flag.String("run", "", "measure only what this regular expression matches")
	measure := flag.String("measure", "", "measure this in this process")
	file := flag.String("crate", "", "measure this .crate")
	repository := flag.String("repository", "", "its git repository")
	corpus := flag.String("corpus", "", "a directory of repositories (NAME-VERSION.git.tar.gz) whose packages to measure")
	segments := flag.Bool("segments", false, "compare segments of several lengths")
	cache := flag.String("cache", "", "with -measure: the directory of the keys")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *measure, *file, *repository, *corpus, *cache, *segments); err != nil {
		fmt.Fprintln(os.Stderr, "bench/prove:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, measure, file, repository, corpus, cache string, segments bool) error {
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	switch {
	case corpus != "":
		return measureCorpus(ctx, dir, corpus)
	case file != "":
		plan, err := readPlan(ctx, file, repository)
		if err != nil {
			return err
		}
		return prove(ctx, "crate", plan)
	case segments:
		return compareSegments(ctx, dir)
	case measure != "":
		return one(ctx, dir, cache, measure)
	}
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	names := []string{"msm_131072", "key_from_nothing", "load_key"}
	for _, n := range sizes {
		names = append(names, fmt.Sprintf("prove_%d", n))
	}
	peak := int64(0)
	for _, name := range names {
		if !pattern.MatchString(name) {
			continue
		}
		memory, err := again(ctx, os.Stdout, "-measure", name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if strings.HasPrefix(name, "prove_") {
			peak = max(peak, memory)
		}
	}
	if peak > 0 {
		fmt.Printf("prove_memory %d MiB\n", peak>>20)
	}
	return nil
}

// again runs this program again, and returns its peak of memory in bytes.
func again(ctx context.Context, stdout *os.File, args ...string) (memory int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = stdout, &said
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("%s (%w)", firstLine(strings.TrimPrefix(said.String(), "bench/prove: ")), err)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10, nil
}

func one(ctx context.Context, dir, keys, name string) error {
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	var blocks int
	if n, _ := fmt.Sscanf(name, "segments_key_%d", &blocks); n == 1 {
		return segmentKey(ctx, keys, blocks)
	}
	if n, _ := fmt.Sscanf(name, "segments_prove_%d", &blocks); n == 1 {
		return segmentProofs(ctx, dir, keys, blocks)
	}
	switch n, _ := fmt.Sscanf(name, "prove_%d", &blocks); {
	case name == "msm_131072":
		return pace()
	case name == "key_from_nothing":
		return keyFromNothing(ctx, dir)
	case name == "load_key":
		// The first makes the key if it is not there, and warms the disk's cache.
		var begin time.Time
		for range 2 {
			begin = time.Now()
			if _, err = prover.DevelopmentKeys(ctx, cache, circuit.SegmentBlocks, nil); err != nil {
				return err
			}
		}
		fmt.Printf("load_key %.2f s\n", time.Since(begin).Seconds())
		return nil
	case n == 1:
		plan, err := syntheticPlan(ctx, dir, blocks)
		if err != nil {
			return err
		}
		return prove(ctx, name, plan)
	}
	return fmt.Errorf("nothing is called %s", name)
}

// pace measures a sum as the prover computes many: by it, figures of two machines compare.
func pace() error {
	points, scalars := make([]bn254.G1Jac, 1<<17), make([]fr.Element, 1<<17)
	_, _, g, _ := bn254.Generators()
	points[0].FromAffine(&g)
	for i := range points {
		if i > 0 {
			points[i].Set(&points[i-1]).DoubleAssign().AddMixed(&g)
		}
		if _, err := scalars[i].SetRandom(); err != nil {
			return err
		}
	}
	runtime.GOMAXPROCS(1)
	affine := bn254.BatchJacobianToAffineG1(points)
	begin := time.Now()
	if _, err := new(bn254.G1Jac).MultiExp(affine, scalars, ecc.MultiExpConfig{NbTasks: 1}); err != nil {
		return err
	}
	fmt.Printf("msm_131072 %.3f s\n", time.Since(begin).Seconds())
	return nil
}

func keyFromNothing(ctx context.Context, dir string) error {
	begin := time.Now()
	k, err := prover.MakeDevelopmentKeys(ctx, dir, circuit.SegmentBlocks, nil)
	if err != nil {
		return err
	}
	fmt.Printf("key_from_nothing %.1f s\n", time.Since(begin).Seconds())
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	if shipped, ok := v.Program(k.Program.ID()); !ok || shipped.ProvingKey != k.Program.ProvingKey {
		return fmt.Errorf("the setup made program %x, which is not the one that ships; run go run ./internal/makekeys", k.Program.ID())
	}
	return nil
}

// prove measures the proof of a plan, from the key on disk on.
func prove(ctx context.Context, name string, plan *prover.Plan) error {
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	begin := time.Now()
	keys := &prover.Keyring{Cache: cache}
	if _, err := keys.Prove(ctx, plan, nil); err != nil {
		return err
	}
	fmt.Printf("%s %.2f s\n", name, time.Since(begin).Seconds())
	if name == "crate" {
		fmt.Printf("blocks %d\n", plan.Blocks)
	}
	return nil
}

func readPlan(ctx context.Context, file, repository string) (*prover.Plan, error) {
	c, err := crate.ReadFile(file, crate.DefaultLimits)
	if err != nil {
		return nil, err
	}
	repo, err := git.Open(ctx, repository)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	return prover.NewPlan(ctx, c, repo, prover.Source{})
}
