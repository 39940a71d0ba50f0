// Command admit measures the log's door: how many submissions a log admits in a second, each with its .crate
// checked, its proof verified, its place durable and its bundle under a checkpoint that two of three witnesses
// cosigned; what each costs logd in processor time, and which part of that the seals are: the map, the guard's look
// at it, all but what Tessera does with a leaf more; and how long one waits that comes to an idle log, and those that
// come at half the rate that the log could take. In the same run it
// measures what a proof alone costs, in full batches, what a .crate alone costs, and what bare Tessera does with the same entries on the same
// disk under the same checkpoint interval, without witnesses. Then it measures the same of a log on several machines,
// with the prefix s3_: two processes of logd, of which one is the sequencer, that are asked in turn and whose processor
// time is added up, MariaDB twice, and a store in this process, or the program versitygw.
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
	"cratelog/internal/clustertest"
	"cratelog/internal/logsite"
	"cratelog/log"
	"cratelog/proofcheck"
)

func main() {
	n := flag.Int("n", 3000, "entries")
	at := flag.Int("concurrency", 1000, "submissions at a time")
	size := flag.Int("bytes", 100_000, "about the size of a .crate")
	store := flag.String("store", "", "`PROGRAM` of the store, versitygw; left out: one in this process")
	flag.Parse()
	if err := run(*n, *at, *size, *store); err != nil {
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

const (
	alone  = 10  // submissions that come one by one
	steady = 400 // that come at half of the rate
)

func run(n, at, size int, store string) error {
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
	subs, err := logsite.Make("bench", n+alone+steady, size)
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
	mine, cpu, err := admitPosix(ctx, bin, dir, subs, at)
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
	many, manyCPU, err := admitS3(ctx, bin, dir, store, subs, at)
	if err != nil {
		return err
	}
	fmt.Printf("s3_entries_per_second %.0f 1/s\n", many)
	fmt.Printf("s3_cpu_per_entry %.3f ms\n", 1000*manyCPU)
	fmt.Printf("s3_cpu_per_entry_over_proof %.1f times\n", manyCPU/proof)
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

// admitPosix measures a log on one machine.
func admitPosix(ctx context.Context, bin, dir string, subs []logsite.Submission, at int) (perSecond, cpu float64,
	err error) {
	s, err := logsite.Start(ctx, bin, dir, "", 0)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	before, err := s.CPU()
	if err != nil {
		return 0, 0, err
	}
	const seals = "cratelog_seal_cpu_seconds_total"
	sealsBefore, err := s.Metric(seals)
	if err != nil {
		return 0, 0, err
	}
	return admit("", []string{s.URL}, subs, at, s.CPU, func(after float64) error {
		sealsAfter, err := s.Metric(seals)
		if err == nil {
			fmt.Printf("seal_cpu_share %.1f percent\n", 100*(sealsAfter-sealsBefore)/(after-before))
		}
		return err
	})
}

// admitS3 measures a log on several machines.
func admitS3(ctx context.Context, bin, dir, store string, subs []logsite.Submission, at int) (perSecond, cpu float64,
	err error) {
	dir = filepath.Join(dir, "s3")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return 0, 0, err
	}
	cfg := logsite.ClusterConfig{Nodes: 2, Leads: 1}
	if store != "" {
		if cfg.Store, err = clustertest.StartVersity(ctx, store, dir); err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, cfg.Store.Close()) }()
	}
	c, err := logsite.StartCluster(ctx, bin, dir, cfg)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL)
	}
	return admit("s3_", urls, subs, at, c.CPU, func(float64) error { return nil })
}

// admit submits all but the last at once, calls loaded with the processor time so far, and submits those one by one and
// the rest at a steady rate. What it prints has a prefix.
func admit(prefix string, urls []string, subs []logsite.Submission, at int, used func() (float64, error),
	loaded func(used float64) error) (perSecond, cpu float64, err error) {
	const addresses = 10 // one would be told to wait
	clients := make([]*http.Client, addresses)
	for i := range clients {
		clients[i] = logsite.Client(fmt.Sprintf("127.0.1.%d", 1+i), at)
		defer clients[i].CloseIdleConnections()
	}
	submit := func(i int) error {
		status, body, err := logsite.Submit(clients[i%addresses], urls[i%len(urls)], subs[i])
		if err == nil && status != 200 {
			err = fmt.Errorf("submission %d: %d %.200s", i, status, body)
		}
		return err
	}
	before, err := used()
	if err != nil {
		return 0, 0, err
	}
	many := len(subs) - alone - steady
	begin := time.Now()
	if err := parallel(many, at, submit); err != nil {
		return 0, 0, err
	}
	perSecond = float64(many) / time.Since(begin).Seconds()
	after, err := used()
	if err == nil {
		err = loaded(after)
	}
	if err != nil {
		return 0, 0, err
	}
	waits := make([]float64, alone+steady)
	wait := func(i int) error {
		begin := time.Now()
		err := submit(i)
		waits[i-many] = time.Since(begin).Seconds()
		return err
	}
	for i := range alone {
		time.Sleep(2 * interval) // the log is idle
		if err := wait(many + i); err != nil {
			return 0, 0, err
		}
	}
	if err := atRate(perSecond/2, steady, func(i int) error { return wait(many + alone + i) }); err != nil {
		return 0, 0, err
	}
	one, load := waits[:alone], waits[alone:]
	slices.Sort(one)
	slices.Sort(load)
	fmt.Printf("%ssubmit_to_bundle_idle_p50 %.2f s\n", prefix, one[len(one)/2])
	fmt.Printf("%ssubmit_to_bundle_p50 %.2f s\n", prefix, load[len(load)/2])
	fmt.Printf("%ssubmit_to_bundle_p99 %.2f s\n", prefix, load[len(load)*99/100])
	return perSecond, (after - before) / float64(many), nil
}

// atRate calls f(0) to f(n-1), so many in a second, and returns the first error.
func atRate(perSecond float64, n int, f func(int) error) error {
	var g errgroup.Group
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		g.Go(func() error { return f(i) })
	}
	return g.Wait()
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
