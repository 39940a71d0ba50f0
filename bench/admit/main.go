// Command admit measures the log's door: how many submissions a log admits in a
// second, each with its .crate checked, its proof verified, its place durable and its
// bundle under a checkpoint that two of three witnesses cosigned; and how long one
// that comes alone waits. In the same run, bare Tessera on the same disk takes the
// same entries under the same checkpoint interval, without witnesses.
//
// The entries are made by internal/forge: their proofs verify, at the price of any
// other proof. Everything runs in this process, load included.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"cratelog/config"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/log"
)

func main() {
	n := flag.Int("n", 12000, "entries")
	at := flag.Int("concurrency", 4000, "submissions at a time")
	flag.Parse()
	if err := run(*n, *at); err != nil {
		fmt.Fprintln(os.Stderr, "bench/admit:", err)
		os.Exit(1)
	}
}

const interval = time.Second

type submission struct{ crate, entry []byte }

func run(n, at int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cratelog-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	subs, err := prepare(n + 20)
	if err != nil {
		return err
	}
	mine, err := admit(ctx, dir, subs, at)
	if err != nil {
		return err
	}
	bare, err := bareTessera(ctx, filepath.Join(dir, "bare"), subs[:n], at)
	if err != nil {
		return err
	}
	fmt.Printf("admitted_entries_per_second %.0f 1/s\n", mine)
	fmt.Printf("bare_tessera_entries_per_second %.0f 1/s\n", bare)
	fmt.Printf("bare_tessera_over_admitted %.1f times\n", bare/mine)
	return nil
}

// prepare makes the submissions, which is not measured.
func prepare(n int) ([]submission, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	subs := make([]submission, n)
	return subs, parallel(n, 2, func(i int) error {
		raw, e, err := f.Crate(fmt.Sprintf("bench-%d", i), "1.0.0", fmt.Sprintf("// %d\n", i))
		if err == nil {
			subs[i].crate = raw
			subs[i].entry, err = e.Marshal()
		}
		return err
	})
}

// admit submits all but the last 20 at once, and those one by one.
func admit(ctx context.Context, dir string, subs []submission, at int) (perSecond float64, err error) {
	w, err := loopback.Start(ctx, loopback.Config{Origin: "bench.example/log", Dir: dir,
		Timing: log.Timing{CheckpointInterval: config.Duration{Duration: interval}, BatchSize: 1024,
			PublishWait: config.Duration{Duration: time.Minute}},
		Limits: log.Limits{Uploads: at, Waiting: at}})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	many, single := subs[:len(subs)-20], subs[len(subs)-20:]
	begin := time.Now()
	if err := parallel(len(many), at, func(i int) error {
		_, err := w.Log.Submit(ctx, many[i].entry, bytes.NewReader(many[i].crate), nil)
		return err
	}); err != nil {
		return 0, err
	}
	perSecond = float64(len(many)) / time.Since(begin).Seconds()
	var waits []float64
	for _, s := range single {
		begin := time.Now()
		if _, err := w.Log.Submit(ctx, s.entry, bytes.NewReader(s.crate), nil); err != nil {
			return 0, err
		}
		waits = append(waits, time.Since(begin).Seconds())
	}
	slices.Sort(waits)
	fmt.Printf("submit_to_bundle_median %.2f s\n", waits[len(waits)/2])
	return perSecond, nil
}

// bareTessera adds the entries to Tessera alone and waits until a checkpoint covers
// them.
func bareTessera(ctx context.Context, dir string, subs []submission, at int) (perSecond float64, err error) {
	skey, _, err := note.GenerateKey(rand.Reader, "bare.example/log")
	if err != nil {
		return 0, err
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		return 0, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return 0, err
	}
	a, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).WithCheckpointInterval(interval).WithBatching(1024, 100*time.Millisecond))
	if err != nil {
		return 0, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	begin := time.Now()
	if err := parallel(len(subs), at, func(i int) error {
		_, _, err := awaiter.Await(ctx, a.Add(ctx, tessera.NewEntry(subs[i].entry)))
		return err
	}); err != nil {
		return 0, err
	}
	return float64(len(subs)) / time.Since(begin).Seconds(), shutdown(ctx)
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
