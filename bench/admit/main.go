// Command admit measures the log's door: how many submissions a log admits in a second, each with its .crate
// checked, its proof verified, its place durable and its bundle under a checkpoint that two of three witnesses
// cosigned; what each costs logd in processor time; and how long one that comes alone waits. In the same run it
// measures what a proof alone costs, in full batches, what a .crate alone costs, and what bare Tessera does with the same entries on the same
// disk under the same checkpoint interval, without witnesses.
//
// logd is the real program with the settings that ship, over HTTP; it and the witnesses are processes of their
// own. The entries are made by internal/forge: their proofs verify, at the price of any other proof of one
// segment.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/logsite"
	"cratelog/log"
	"cratelog/proofcheck"
)

func main() {
	n := flag.Int("n", 3000, "entries")
	at := flag.Int("concurrency", 1000, "submissions at a time")
	size := flag.Int("bytes", 100_000, "about the size of a .crate")
	flag.Parse()
	if err := run(*n, *at, *size); err != nil {
		fmt.Fprintln(os.Stderr, "bench/admit:", err)
		os.Exit(1)
	}
}

// What ships, for bare Tessera.
const (
	interval  = 800 * time.Millisecond
	batchSize = 256
	batchAge  = 100 * time.Millisecond
)

const alone = 10 // submissions that come one by one

func run(n, at, size int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), logsite.Build(ctx, bin)); err != nil {
		return err
	}
	subs, err := logsite.Make("bench", n+alone, size)
	if err != nil {
		return err
	}
	fmt.Printf("crate_bytes %d\n", len(subs[0].Crate))
	proof, err := proofs(subs[:n])
	if err != nil {
		return err
	}
	crates, err := readCrates(subs[:n])
	if err != nil {
		return err
	}
	mine, cpu, err := admit(ctx, bin, dir, subs, at)
	if err != nil {
		return err
	}
	bare, bareCPU, err := bareTessera(ctx, filepath.Join(dir, "bare"), subs[:n], at)
	if err != nil {
		return err
	}
	fmt.Printf("admitted_entries_per_second %.0f 1/s\n", mine)
	fmt.Printf("cpu_per_entry %.3f ms\n", 1000*cpu)
	fmt.Printf("cpu_per_proof %.3f ms\n", 1000*proof)
	fmt.Printf("cpu_per_crate %.3f ms\n", 1000*crates)
	fmt.Printf("cpu_per_entry_over_proof %.1f times\n", cpu/proof)
	fmt.Printf("cpu_per_entry_but_crate_over_proof %.1f times\n", (cpu-crates)/proof)
	fmt.Printf("bare_tessera_entries_per_second %.0f 1/s\n", bare)
	fmt.Printf("bare_tessera_cpu_per_entry %.3f ms\n", 1000*bareCPU)
	return nil
}

// proofs returns the processor time of a proof in full batches.
func proofs(subs []logsite.Submission) (seconds float64, err error) {
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return 0, err
	}
	entries := make([]*entry.Entry, len(subs))
	for i, s := range subs {
		if entries[i], err = entry.Parse(s.Entry); err != nil {
			return 0, err
		}
	}
	const batch = 64
	begin := used()
	for part := range slices.Chunk(entries, batch) {
		_, errs := v.Chains(part)
		if err := errors.Join(errs...); err != nil {
			return 0, err
		}
	}
	return (used() - begin) / float64(len(entries)), nil
}

// readCrates returns the processor time of inflating and hashing a .crate, and of making its list, by itself.
func readCrates(subs []logsite.Submission) (seconds float64, err error) {
	begin := used()
	for _, s := range subs {
		e, err := entry.Parse(s.Entry)
		if err != nil {
			return 0, err
		}
		c, err := crate.Read(s.Crate, e.Subject.Name, e.Subject.Version, log.DefaultCrateLimits())
		if err == nil {
			_, err = c.Check(e.Subject, e.Claim.(*entry.Source))
		}
		if err != nil {
			return 0, err
		}
	}
	return (used() - begin) / float64(len(subs)), nil
}

// used returns the processor time of this process, in seconds.
func used() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are right
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// admit submits all but the last at once, and those one by one.
func admit(ctx context.Context, bin, dir string, subs []logsite.Submission, at int) (perSecond, cpu float64,
	err error) {
	s, err := logsite.Start(ctx, bin, dir, "", 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	const addresses = 10 // one would be told to wait
	clients := make([]*http.Client, addresses)
	for i := range clients {
		clients[i] = logsite.Client(fmt.Sprintf("127.0.1.%d", 1+i), at)
	}
	submit := func(i int) error {
		status, body, err := logsite.Submit(clients[i%addresses], s.URL, subs[i])
		if err == nil && status != 200 {
			err = fmt.Errorf("submission %d: %d %.200s", i, status, body)
		}
		return err
	}
	before, err := s.CPU()
	if err != nil {
		return 0, 0, err
	}
	many := len(subs) - alone
	begin := time.Now()
	if err := parallel(many, at, submit); err != nil {
		return 0, 0, err
	}
	perSecond = float64(many) / time.Since(begin).Seconds()
	after, err := s.CPU()
	if err != nil {
		return 0, 0, err
	}
	var waits []float64
	for i := many; i < len(subs); i++ {
		begin := time.Now()
		if err := submit(i); err != nil {
			return 0, 0, err
		}
		waits = append(waits, time.Since(begin).Seconds())
	}
	slices.Sort(waits)
	fmt.Printf("submit_to_bundle_median %.2f s\n", waits[len(waits)/2])
	return perSecond, (after - before) / float64(many), nil
}

// bareTessera adds the entries to Tessera alone and waits until a checkpoint covers them.
func bareTessera(ctx context.Context, dir string, subs []logsite.Submission, at int) (perSecond, cpu float64,
	err error) {
	skey, _, err := note.GenerateKey(rand.Reader, "bare.example/log")
	if err != nil {
		return 0, 0, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return 0, 0, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return 0, 0, err
	}
	a, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).WithCheckpointInterval(interval).WithBatching(batchSize, batchAge))
	if err != nil {
		return 0, 0, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	begin, before := time.Now(), used()
	if err := parallel(len(subs), at, func(i int) error {
		_, _, err := awaiter.Await(ctx, a.Add(ctx, tessera.NewEntry(subs[i].Entry)))
		return err
	}); err != nil {
		return 0, 0, err
	}
	n := float64(len(subs))
	return n / time.Since(begin).Seconds(), (used() - before) / n, shutdown(ctx)
}

// parallel calls f(0) to f(n-1), at most so many at a time, and returns the first error.
func parallel(n, at int, f func(int) error) error {
	var g errgroup.Group
	g.SetLimit(at)
	for i := range n {
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
}
