package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// histories are the two that a dishonest log has, and what a witness cosigned of them.
type histories struct {
	honest, forked *testlog.Log

	mu       sync.Mutex
	cosigned map[int64]tlog.Hash // by size
	largest  int64
}

func newHistories(origin string, size int64) *histories {
	honest := testlog.Of(origin, size)
	forked := testlog.New(origin, 0, nil)
	forked.Tree = honest.Tree.Fork(3).Grow(size, "fork")
	return &histories{honest: honest, forked: forked, cosigned: make(map[int64]tlog.Hash)}
}

// took notes what was cosigned, and says whether another tree of this size was before.
func (h *histories) took(size int64, root tlog.Hash) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	was, there := h.cosigned[size]
	h.cosigned[size] = root
	h.largest = max(h.largest, size)
	return !there || was == root
}

// push shows the witness one of the histories until it is gone.
func (h *histories) push(t *testing.T, url string, l *testlog.Log, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	for old, steps := int64(0), 0; steps < 10_000; steps++ {
		size := min(old+rng.Int64N(3), l.Tree.Size())
		floor := h.floor()
		code, text, err := post(url, l.Request(old, size))
		if err != nil {
			return // killed
		}
		switch code {
		case 200:
			if !h.took(size, l.Tree.Root(size)) {
				t.Errorf("%s: two trees of size %d were cosigned", l.KeyName, size)
			}
			old = size
		case 409:
			if _, err := fmt.Sscanf(text, "%d\n", &old); err != nil || old < floor {
				t.Errorf("%s: the witness says %q, and it cosigned %d before", l.KeyName, text, floor)
			}
		case 422: // the other history has won
			old = h.floor()
		default:
			t.Errorf("%s: status %d: %s", l.KeyName, code, text)
			return
		}
	}
}

func (h *histories) floor() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.largest
}

// check wants that all that was cosigned is of one history.
func (h *histories) check(t *testing.T) {
	t.Helper()
	for _, l := range []*testlog.Log{h.honest, h.forked} {
		all := true
		for size, root := range h.cosigned {
			all = all && root == l.Tree.Root(size)
		}
		if all {
			return
		}
	}
	t.Errorf("%s: what was cosigned is of no single history", h.honest.KeyName)
}

// Logs with two histories are pushed by many clients, and the witness is killed again and again, also while it
// starts: it never signs both, and never forgets.
func TestAKilledWitnessNeverSignsTwoTreesNorForgets(t *testing.T) {
	const size = 300
	bin := build(t)
	var all []*histories
	var logs []*testlog.Log
	for i := range 3 {
		all = append(all, newHistories(fmt.Sprintf("log%d.example", i), size))
		logs = append(logs, all[i].honest)
	}
	settings, _ := setUp(t, logs...)
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range *rounds {
		early := exec.Command(bin, "serve", "-config", settings)
		fatal(t, early.Start())
		time.Sleep(time.Duration(rng.Int64N(int64(40 * time.Millisecond)))) // any moment will do: the claim holds for all of them
		fatal(t, early.Process.Kill())
		_ = early.Wait()

		p := start(t, bin, settings)
		var wg sync.WaitGroup
		for i, h := range all {
			for k, l := range []*testlog.Log{h.honest, h.forked, h.honest, h.forked} {
				wg.Go(func() { h.push(t, p.url, l, uint64(100*round+10*i+k)) })
			}
		}
		time.Sleep(100*time.Millisecond + time.Duration(rng.Int64N(int64(200*time.Millisecond))))
		p.cmd.Process.Kill()
		wg.Wait()
		<-p.done
		if t.Failed() {
			return
		}
	}
	p := start(t, bin, settings)
	total := 0
	for _, h := range all {
		h.check(t)
		total += len(h.cosigned)
		if code, text, err := post(p.url, h.honest.Request(0, 1)); err != nil || code != 409 || text < "1" {
			t.Errorf("asked to begin again: %d %q, %v", code, text, err)
		} else {
			var now int64
			if _, err := fmt.Sscanf(text, "%d\n", &now); err != nil || now < h.largest {
				t.Errorf("it remembers size %q, and cosigned %d", text, h.largest)
			}
		}
	}
	if total == 0 {
		t.Error("nothing was cosigned, so this test saw nothing")
	}
	t.Logf("%d rounds, %d sizes cosigned", *rounds, total)
}
