// Command hostile measures what hostile bytes cost whoever reads them: for each parser and product
// the worst input of a size that is known, read in a process of its own, by the functions that
// the programs use. Whether the input is accepted or refused does not matter.
//
//	go run ./bench/hostile [NAME ...]
//
// It prints CPU time and peak memory at 1 MB, the largest of both, and the growth to 2 MB: the
// larger of both ratios, where less than 100 ms and 64 MiB count as that much. With -v it also says
// what came of each input.
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

const (
	megabyte  = 1_000_000
	leastCPU  = 0.1 // seconds
	leastPeak = 64  // MiB
)

// An attack is an input, made for a size in bytes, and who reads it.
type attack struct {
	make func(size int) []byte
	read func(file string) error
}

func main() {
	made := flag.String("make", "", "write the input of this `attack` to FILE, and do nothing else")
	read := flag.String("read", "", "read FILE as the input of this `attack`, and do nothing else")
	size := flag.Int("size", megabyte, "of the input that is made, in `bytes`")
	verbose := flag.Bool("v", false, "say what came of each input")
	flag.Parse()
	var err error
	switch {
	case *made != "":
		err = os.WriteFile(flag.Arg(0), attacks[*made].make(*size), 0o600)
	case *read != "":
		fmt.Println(attacks[*read].read(flag.Arg(0)))
	default:
		err = run(flag.Args(), *verbose)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/hostile:", err)
		os.Exit(1)
	}
}

func run(args []string, verbose bool) error {
	if len(args) == 0 {
		args = slices.Sorted(maps.Keys(attacks))
	}
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var worst cost
	for _, name := range args {
		if attacks[name].make == nil {
			return fmt.Errorf("there is no attack %q; there are %q", name, slices.Sorted(maps.Keys(attacks)))
		}
		c, err := measure(dir, name, megabyte, verbose)
		if err != nil {
			return err
		}
		twice, err := measure(dir, name, 2*megabyte, verbose)
		if err != nil {
			return err
		}
		fmt.Printf("hostile_%s_cpu %.2f s\n", name, c.cpu)
		fmt.Printf("hostile_%s_memory %.0f MiB\n", name, c.peak)
		fmt.Printf("hostile_growth_%s %.2f ratio\n", name, max(max(twice.cpu, leastCPU)/max(c.cpu, leastCPU),
			max(twice.peak, leastPeak)/max(c.peak, leastPeak)))
		worst = cost{max(worst.cpu, c.cpu), max(worst.peak, c.peak)}
	}
	fmt.Printf("hostile_worst_cpu %.2f s\n", worst.cpu)
	fmt.Printf("hostile_worst_memory %.0f MiB\n", worst.peak)
	return nil
}

// A cost is what a process used: seconds, on all cores, and MiB at its peak.
type cost struct{ cpu, peak float64 }

// measure takes the smaller cost of two, because others use the machine, too.
func measure(dir, name string, size int, verbose bool) (cost, error) {
	self, err := os.Executable()
	if err != nil {
		return cost{}, err
	}
	file := filepath.Join(dir, name)
	// In a process of its own, too: a child's peak counts what its parent had when it was started.
	if said, err := exec.Command(self, "-make", name, "-size", strconv.Itoa(size), file).CombinedOutput(); err != nil {
		return cost{}, fmt.Errorf("making %s: %w\n%s", name, err, said)
	}
	a, err := read(self, name, file, size, verbose)
	if err != nil {
		return cost{}, err
	}
	b, err := read(self, name, file, size, false)
	return cost{min(a.cpu, b.cpu), min(a.peak, b.peak)}, err
}

// read measures one process.
func read(self, name, file string, size int, verbose bool) (cost, error) {
	cmd := exec.Command(self, "-read", name, file)
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		return cost{}, fmt.Errorf("%s at %d bytes: %w", name, size, err)
	}
	if verbose {
		fmt.Fprintf(os.Stderr, "%s at %d bytes: %.200s\n", name, size, said)
	}
	state := cmd.ProcessState
	usage := state.SysUsage().(*syscall.Rusage)
	return cost{(state.UserTime() + state.SystemTime()).Seconds(), float64(usage.Maxrss) / 1024}, nil
}
