package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/sync/errgroup"

	"cratelog/client"
	"cratelog/internal/logsite"
	"cratelog/internal/loopback"
	"cratelog/log"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// served is what a log takes for each thing that it does, in seconds.
type served struct {
	submit        float64
	cold, near    float64 // a bundle: of a file of entries that it has not in memory, or has
	unchanged     float64 // 304
	lookup, again float64 // and one that was asked for before
	tile, http    float64
	start         float64 // of a leaf, with the index
	monitor       float64 // of an entry

	mu sync.Mutex
	at []uint64 // indexes of entries; owned by mu

	row  float64 // bytes of a leaf in index.db
	poll asked   // by a monitor, which finds one entry more
}

const (
	alone = 16  // submissions that come one by one
	large = 64  // that have .crates of 100 kB
	polls = 12  // of a monitor, between them
	some  = 100 // requests of one kind

	origin = "bench.example/log"
	inTree = "log-tree"
)

// measureLog lets a real log admit entries, one by one and at once, and has a monitor follow it; and then it is opened
// again, to be read.
func measureLog(ctx context.Context, dir string, n int) (s *served, err error) {
	dir = filepath.Join(dir, "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	w, err := loopback.Start(ctx, loopback.Config{Origin: origin, Dir: dir, Openings: log.OpeningsOff})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	small, err := logsite.Make("small", n, 2000)
	if err != nil {
		return nil, err
	}
	big, err := logsite.Make("large", large, 100_000)
	if err != nil {
		return nil, err
	}
	s = &served{}
	for _, sub := range small[:alone] {
		if err := s.admit(ctx, w.Log, sub); err != nil {
			return nil, err
		}
	}
	if err := compareFiles(filepath.Join(dir, inTree)); err != nil {
		return nil, err
	}
	begin := used()
	if err := s.admit(ctx, w.Log, big...); err != nil {
		return nil, err
	}
	s.submit = (used() - begin) / large
	figure("submit_crate_bytes", float64(len(big[0].Crate)), "B")
	figure("submit_cpu", 1000*s.submit, "ms")
	if err := s.measureMonitor(ctx, w, dir, small[alone:]); err != nil {
		return nil, err
	}
	if err := w.Log.Close(ctx); err != nil {
		return nil, err
	}
	return s, s.measureReads(ctx, w, dir)
}

// admit submits at once, and waits for the bundles.
func (s *served) admit(ctx context.Context, l *log.Log, all ...logsite.Submission) error {
	var g errgroup.Group
	for _, sub := range all {
		g.Go(func() error {
			raw, err := l.Submit(ctx, sub.Entry, bytes.NewReader(sub.Crate), nil)
			if err != nil {
				return err
			}
			b, err := client.ParseBundle(raw)
			if err == nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.at = append(s.at, b.Index)
			}
			return err
		})
	}
	return g.Wait()
}

// compareFiles compares the files of a tree, to which entries came one by one, with what the simulation makes of them.
func compareFiles(tree string) error {
	var f files
	for range alone {
		f.grow(1, 0)
		f.grow(1, 0)
	}
	n := 0.0
	err := filepath.WalkDir(filepath.Join(tree, "tile"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err == nil && n != f.full+f.partial {
		err = fmt.Errorf("the tree of %d leaves has %.0f files, and the simulation says %.0f", f.size, n, f.full+f.partial)
	}
	return err
}

// measureReads opens the log again, as a reader of its tree: first without anything, then with its index.
func (s *served) measureReads(ctx context.Context, w *loopback.World, dir string) error {
	open := func() (*log.Log, float64, error) {
		begin := used()
		l, err := log.Open(ctx, log.Config{Origin: origin, VKey: w.VKey, TreeDir: filepath.Join(dir, inTree),
			StateDir: filepath.Join(dir, "reader"), Policy: w.Text, Proofs: w.Proofs, Development: true, ReadOnly: true,
			Openings: log.OpeningsOff})
		return l, used() - begin, err
	}
	for again := range 5 { // the least counts: the machine does other things
		l, took, err := open()
		if err != nil {
			return err
		}
		raw, err := get(l.Handler(), "/checkpoint", "", nil)
		if err != nil {
			return err
		}
		leaves, err := strconv.ParseFloat(strings.Split(raw.Body.String(), "\n")[1], 64)
		if err != nil {
			return err
		}
		if again == 0 {
			figure("start_from_tree_cpu", 1e6*took/leaves, "us/leaf")
		} else {
			least(&s.start, took/leaves)
		}
		if err := errors.Join(s.read(ctx, l.Handler()), l.Close(ctx)); err != nil {
			return err
		}
		size, err := os.Stat(filepath.Join(dir, "reader", "index.db"))
		if err != nil {
			return err
		}
		s.row = float64(size.Size()) / leaves
	}
	figure("start_from_index_cpu", 1e6*s.start, "us/leaf")
	figure("index_db_bytes", s.row, "B/leaf")
	figure("bundle_cpu_cold", 1000*s.cold, "ms")
	figure("bundle_cpu", 1000*s.near, "ms")
	figure("bundle_cpu_unchanged", 1000*s.unchanged, "ms")
	figure("lookup_cpu", 1000*s.lookup, "ms")
	figure("lookup_cpu_again", 1000*s.again, "ms")
	figure("tile_cpu", 1000*s.tile, "ms")
	figure("http_cpu", 1000*s.http, "ms")
	return nil
}

// least keeps the least of what was measured.
func least(of *float64, now float64) {
	if *of == 0 || now < *of {
		*of = now
	}
}

// read measures what is asked of a log that has just been started.
func (s *served) read(ctx context.Context, h http.Handler) (err error) {
	const immutable, revalidated = "public, max-age=31536000, immutable", "no-cache"
	slices.Sort(s.at)
	var far, near []uint64 // the first of each file of entries, and the others
	for i, at := range s.at {
		if i == 0 || at/layout.EntryBundleWidth != s.at[i-1]/layout.EntryBundleWidth {
			far = append(far, at)
		} else if len(near) < some {
			near = append(near, at)
		}
	}
	ask := func(path string, control string) error {
		_, err := get(h, path, control, nil)
		return err
	}
	measure := func(n int, of *float64, f func(i int) error) {
		if err == nil {
			var took float64
			took, err = cost(n, f)
			least(of, took)
		}
	}
	bundles := func(of []uint64) func(i int) error {
		return func(i int) error { return ask(fmt.Sprintf("/v1/entries/%d", of[i]), revalidated) }
	}
	lookup := func(i int) error { return ask(fmt.Sprintf("/v1/lookup/small-%d/1.0.0", i), revalidated) }
	measure(len(far), &s.cold, bundles(far))
	measure(len(near), &s.near, bundles(near))
	measure(some, &s.lookup, lookup)
	measure(some, &s.again, lookup)
	measure(some, &s.tile, func(int) error { return ask("/tile/0/000", immutable) })
	if err != nil {
		return err
	}
	address := fmt.Sprintf("/v1/entries/%d", far[0])
	first, err := get(h, address, revalidated, nil)
	if err != nil {
		return err
	}
	tag := http.Header{"If-None-Match": {first.Header().Get("ETag")}}
	measure(some, &s.unchanged, func(int) error {
		r, err := get(h, address, revalidated, tag)
		if err == nil && r.Code != http.StatusNotModified {
			err = fmt.Errorf("a bundle that did not change is answered with %d", r.Code)
		}
		return err
	})
	server := httptest.NewServer(h)
	defer server.Close()
	log := &client.Log{URL: server.URL}
	measure(10*some, &s.http, func(int) error {
		_, err := log.Checkpoint(ctx)
		return err
	})
	return err
}

// get asks a handler, and wants to be told that it may be kept as control says.
func get(h http.Handler, path, control string, headers http.Header) (*httptest.ResponseRecorder, error) {
	r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
	for k, v := range headers {
		r.Header[k] = v
	}
	h.ServeHTTP(w, r)
	switch got := w.Header().Get("Cache-Control"); {
	case w.Code != http.StatusOK && w.Code != http.StatusNotModified:
		return nil, fmt.Errorf("%s: %d %.200s", path, w.Code, w.Body)
	case control != "" && got != control:
		return nil, fmt.Errorf("%s may be kept as %q says, not as %q", path, got, control)
	}
	return w, nil
}

// measureMonitor has a monitor follow the log while entries come: it catches up, and then sees each time one entry
// more, at various places of a file of entries.
func (s *served) measureMonitor(ctx context.Context, w *loopback.World, dir string, subs []logsite.Submission) error {
	policy, err := client.ParsePolicy(w.Text)
	if err != nil {
		return err
	}
	db, err := store.Create(ctx, filepath.Join(dir, "monitor.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	proofs, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	meter := newMeter(w.URL)
	m, err := monitor.New(ctx, monitor.Config{Logs: []monitor.LogConfig{{Origin: origin, Policy: policy}}, Store: db,
		EvidenceDir: dir, Proofs: proofs, HTTP: &http.Client{Transport: meter, Timeout: time.Minute}})
	if err != nil {
		return err
	}
	look := func() error {
		got, err := m.Once(ctx)
		if err == nil && got.ExitCode() != 0 {
			err = fmt.Errorf("the monitor does not agree with an honest log: %+v", got)
		}
		return err
	}
	chunk := len(subs)/polls - 1
	caught := 0.0
	for range polls {
		if err := s.admit(ctx, w.Log, subs[:chunk]...); err != nil {
			return err
		}
		begin := used()
		if err := look(); err != nil {
			return err
		}
		caught += used() - begin
		if err := s.admit(ctx, w.Log, subs[chunk]); err != nil {
			return err
		}
		meter.reset()
		if err := look(); err != nil {
			return err
		}
		s.poll.add(meter.reset())
		subs = subs[chunk+1:]
	}
	if err := s.admit(ctx, w.Log, subs...); err != nil {
		return err
	}
	s.poll.received /= polls
	s.monitor = caught / float64(chunk*polls)
	figure("monitor_cpu", 1000*s.monitor, "ms/entry")
	figure("monitor_poll_requests", s.poll.requests()/polls, "requests")
	figure("monitor_poll_received", s.poll.received, "B")
	return nil
}
