// Command monitor measures how fast a monitor catches up with a log, every proof
// verified, how much its store keeps of an entry, and how long the log's index takes at the start
// and how much memory:
//
//	go run ./bench/monitor [-n ENTRIES]
//
// The log is served on loopback; its proofs are made with the published secrets of a
// development key, and verify as any others.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

func main() {
	n := flag.Int("n", 20000, "entries")
	flag.Parse()
	if err := run(context.Background(), *n); err != nil {
		fmt.Fprintln(os.Stderr, "bench/monitor:", err)
		os.Exit(1)
	}
}

const origin = "bench.example/log"

func run(ctx context.Context, n int) error {
	log := testlog.New(origin, 3, time.Now)
	leaves, err := forgeAll(n)
	if err != nil {
		return err
	}
	log.Tree.Append(leaves...)
	log.Publish()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: log, ReadHeaderTimeout: time.Minute}
	go server.Serve(l)
	defer server.Close()
	dir, err := os.MkdirTemp("", "bench-monitor")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return errors.Join(measure(ctx, log, "http://"+l.Addr().String(), dir, n), os.RemoveAll(dir))
}

func measure(ctx context.Context, log *testlog.Log, url, dir string, n int) error {
	policy, err := client.ParsePolicy(log.Trust(url))
	if err != nil {
		return err
	}
	s, err := store.Create(ctx, filepath.Join(dir, "monitor.db"))
	if err != nil {
		return err
	}
	defer s.Close()
	proofs, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	m, err := monitor.New(ctx, monitor.Config{Logs: []monitor.LogConfig{{Origin: origin, Policy: policy}}, Store: s,
		EvidenceDir: dir, Proofs: proofs})
	if err != nil {
		return err
	}
	start := time.Now()
	got, err := m.Once(ctx)
	if err != nil {
		return err
	}
	took := time.Since(start)
	if got.ExitCode() != 0 || got.Logs[0].Verified != int64(n)+1 { // with the seal
		return fmt.Errorf("the monitor does not agree with an honest log: %+v", got)
	}
	size, err := s.FileSize(ctx)
	fmt.Printf("entries %d\n", n)
	fmt.Printf("catchup_entries_per_second %.0f 1/s\n", float64(n)/took.Seconds())
	fmt.Printf("store_bytes_per_entry %.0f B\n", float64(size)/float64(n))
	return errors.Join(err, measureIndex(ctx, s, n))
}

// measureIndex makes the log's index out of the store, as a monitor does at its start.
func measureIndex(ctx context.Context, s *store.Store, n int) error {
	logs, err := s.Logs(ctx)
	if err != nil {
		return err
	}
	p, err := s.Position(ctx, logs[0].ID)
	if err != nil {
		return err
	}
	before := heap()
	start := time.Now()
	m, err := s.Map(ctx, logs[0].ID, p.Sealed)
	if err != nil {
		return err
	}
	if m.Snapshot().Root() != p.MapRoot {
		return errors.New("the store gives another index than was compared with the seal")
	}
	fmt.Printf("index_start_per_entry %.1f us\n", time.Since(start).Seconds()*1e6/float64(n))
	fmt.Printf("index_memory_per_entry %.0f B\n", (heap()-before)/float64(n))
	runtime.KeepAlive(m)
	return nil
}

// heap is how many bytes are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// forgeAll makes n entries, on all cores.
func forgeAll(n int) ([][]byte, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	leaves, errs := make([][]byte, n), make([]error, n)
	next := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				leaves[i], errs[i] = forgeOne(f, i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return leaves, errors.Join(errs...)
}

// forgeOne makes an entry of no .crate, with the smallest list.
func forgeOne(f *forge.Forger, i int) ([]byte, error) {
	commit := entry.LeafHash(fmt.Append(nil, "commit", i))
	list := []byte("ct")
	e := &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: fmt.Sprintf("crate-%d", i/20),
			Version: fmt.Sprintf("0.%d.0", i%20), SHA256: entry.LeafHash(fmt.Append(nil, i))},
		Claim: &entry.Source{Commit: [20]byte(commit[:20]), Path: "crates/crate", Files: sha256.Sum256(list),
			Unproven: []string{"Cargo.lock"}},
	}
	if err := f.Prove(e, list); err != nil {
		return nil, err
	}
	return e.Marshal()
}
