// Command scale computes what a public registry would ask of a log, of what its readers, monitors and witnesses fetch,
// and where that ends: for the registry of today, ten and a thousand times it. docs/scale.md quotes it.
//
//	go run ./bench/scale [-short]
//
// What is measured is measured in this run, with the real code: a log (internal/loopback) that admits submissions and
// answers look-ups; a monitor that follows it; the tree and the map of a year, from which bundles are made that the
// readers' code verifies; and the client of a lock file, whose requests are counted. What is simulated follows from
// that and from the settings that ship: the rounds of a year, in which versions come independently of each other, the
// files that Tessera writes of them, and what a cache in front of the log keeps on a day of 10 million lock files. The
// files of a small tree are compared with those of the real log, and the run fails if they differ.
//
// Figures of the registry stand in world.go, and docs/scale.md says where they are from. Times are processor time, of
// all cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// scale is how much is measured.
type scale struct {
	year    int     // entries of the tree from which bundles are made
	most    float64 // entries of a year that are simulated one by one
	logged  int     // entries of the real log
	lock    int     // crates of the lock file
	updated int     // of these, a day later
}

func main() {
	short := flag.Bool("short", false, "measure on a small tree, which says less of sizes")
	corpus := flag.String("corpus", "", "print the sizes of the entries of the published packages of the repositories "+
		"in this `DIR` (NAME-VERSION.git.tar.gz), whose .crates cargo has, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := scale{year: versionsPerDay * 365, most: 3e6, logged: 1500, lock: lockFile, updated: 10}
	if *short {
		s = scale{year: 30_000, most: 3e5, logged: 300, lock: 40, updated: 10}
	}
	f := func() error { return run(ctx, s) }
	if *corpus != "" {
		f = func() error { return measureCorpus(ctx, *corpus) }
	}
	err := f()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s scale) error {
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	size, err := entrySize()
	if err != nil {
		return err
	}
	year, err := years(size, s.most)
	if err != nil {
		return err
	}
	served, err := measureLog(ctx, dir, s.logged)
	if err != nil {
		return err
	}
	lock, err := measureLock(ctx, dir, s, size)
	if err != nil {
		return err
	}
	day(served, lock, year)
	return nil
}

// out is where figures are printed.
var out io.Writer = os.Stdout

// figure prints a figure, and returns it.
func figure(name string, value float64, unit string) float64 {
	digits := 0
	if value != math.Trunc(value) && math.Abs(value) < 100 {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(value)))))
	}
	fmt.Fprintln(out, name, strconv.FormatFloat(value, 'f', digits, 64), unit)
	return value
}

// used returns the processor time of this process, in seconds.
func used() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are right
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// cost returns the processor time of each of n calls; where they are few, that of the one in the middle.
func cost(n int, f func(i int) error) (seconds float64, err error) {
	const few = 20
	times := make([]float64, 0, n)
	begin := used()
	for i := range n {
		if err := f(i); err != nil {
			return 0, err
		}
		if n < few {
			times = append(times, used()-begin)
			begin = used()
		}
	}
	if n < few {
		slices.Sort(times)
		return times[n/2], nil
	}
	return (used() - begin) / float64(n), nil
}

const aDay = 24 * time.Hour
