package logsite

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/testlog"
)

// Ledger holds what a log has promised: the bundles that it has given away, and the checkpoints that it has shown.
// It is safe for concurrent use.
type Ledger struct {
	policy *client.Policy

	mu          sync.Mutex // protects what follows
	places      map[[32]byte]uint64
	answers     []Answer // the first for each entry, in order
	moved       []string
	checkpoints map[int64]map[tlog.Hash]bool
}

// Answer is when an entry got its bundle, and when it was submitted for the first time.
type Answer struct{ Asked, Given time.Time }

// NewLedger returns an empty one for the log of a trust file.
func NewLedger(policy *client.Policy) *Ledger {
	return &Ledger{policy: policy, places: make(map[[32]byte]uint64),
		checkpoints: make(map[int64]map[tlog.Hash]bool)}
}

// Acknowledged takes the bundle that the log has answered a submission with, which was first sent then.
func (l *Ledger) Acknowledged(s Submission, asked time.Time, bundle []byte) error {
	r, err := client.OpenBundle(bundle, l.policy, client.Rules{})
	if err != nil {
		return fmt.Errorf("a bundle that was given away: %w", err)
	}
	b, err := client.ParseBundle(bundle)
	if err != nil {
		return err
	}
	if string(b.Entry) != string(s.Entry) {
		return fmt.Errorf("the bundle of entry %d is of another entry than was submitted", r.Index)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now() // within the lock: they stand in order
	l.see(r.Checkpoint)
	key := sha256.Sum256(s.Entry)
	if before, again := l.places[key]; again && before != r.Index {
		l.moved = append(l.moved, fmt.Sprintf("%d, and then %d", before, r.Index))
	} else if !again {
		l.places[key] = r.Index
		l.answers = append(l.answers, Answer{asked, now})
	}
	return nil
}

// Saw takes a checkpoint that was shown somewhere.
func (l *Ledger) Saw(signed []byte) error {
	c, err := l.policy.CheckCheckpoint(signed)
	if err != nil {
		return fmt.Errorf("a checkpoint that was shown: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.see(c)
	return nil
}

func (l *Ledger) see(c client.Checkpoint) {
	if l.checkpoints[c.Size] == nil {
		l.checkpoints[c.Size] = make(map[tlog.Hash]bool)
	}
	l.checkpoints[c.Size][c.Root] = true
}

// Acknowledgements is how many entries have a bundle.
func (l *Ledger) Acknowledgements() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.places)
}

// Since returns the answers from a moment on.
func (l *Ledger) Since(t time.Time) []Answer {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.answers, t, func(a Answer, t time.Time) int { return a.Given.Compare(t) })
	return slices.Clone(l.answers[i:])
}

// Balance is a ledger compared with the log. Each problem is a sentence.
type Balance struct {
	Acknowledged          int
	Entries, Seals, Shown int // in the log; checkpoints that were shown

	Lost    []string // acknowledged, and not at its place in the log, or at two
	Doubled []string // entries that the log has twice
	Forked  []string // checkpoints and cosignatures of another tree, or of one that does not end in its seal
}

// Balance reads the whole log at a URL, and compares.
func (l *Ledger) Balance(ctx context.Context, url string) (*Balance, error) {
	log := client.Log{URL: url}
	_, all, err := log.Entries(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &Balance{Acknowledged: len(l.places), Shown: len(l.checkpoints)}
	tree, seen := testlog.NewTree(), make(map[[32]byte]int64)
	sealed := map[int64]bool{0: true}
	var m index.Map
	for raw, err := range all {
		if err != nil {
			return nil, err
		}
		i := tree.Size()
		leaf, err := entry.ParseLeaf(raw)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		if s, is := leaf.(*entry.Seal); is {
			b.Seals++
			sealed[i+1] = s.Size == uint64(i) && s.Rules == entry.Rules && s.Root == m.Snapshot().Root()
		} else {
			b.Entries++
			key := sha256.Sum256(raw)
			if first, twice := seen[key]; twice {
				b.Doubled = append(b.Doubled, fmt.Sprintf("entry %d is entry %d again", i, first))
			} else {
				seen[key] = i
			}
		}
		if err := m.AddLeaf(uint64(i), leaf); err != nil {
			return nil, err
		}
		tree.Append(append([]byte(nil), raw...))
	}
	for key, i := range l.places {
		if at, there := seen[key]; !there || at != int64(i) {
			b.Lost = append(b.Lost, fmt.Sprintf("entry %d was acknowledged, and is not there", i))
		}
	}
	for _, moved := range l.moved {
		b.Lost = append(b.Lost, "an entry was acknowledged at "+moved)
	}
	for size, roots := range l.checkpoints {
		switch {
		case size > tree.Size():
			b.Forked = append(b.Forked, fmt.Sprintf("a checkpoint of %d entries was shown, and the log has %d", size, tree.Size()))
		case len(roots) > 1 || !roots[tree.Root(size)]:
			b.Forked = append(b.Forked, fmt.Sprintf("a checkpoint of %d entries is of another tree", size))
		case !sealed[size]:
			b.Forked = append(b.Forked, fmt.Sprintf("a checkpoint of %d entries does not end in a seal of its map", size))
		}
	}
	return b, nil
}

// Err is the promises that the log has broken.
func (b *Balance) Err() error {
	if broken := slices.Concat(b.Lost, b.Doubled, b.Forked); len(broken) > 0 {
		return fmt.Errorf("the log has broken %d promises: %s", len(broken),
			strings.Join(broken[:min(len(broken), 20)], "; "))
	}
	return nil
}

// witnessed adds to the balance what witnesses say of forks that they were shown.
func (b *Balance) witnessed(ctx context.Context, witnesses []member) error {
	for _, w := range witnesses {
		raw, err := Fetch(ctx, fmt.Sprintf("%s/%x/forks", w.url, sha256.Sum256([]byte(Origin))))
		if err != nil {
			return err
		}
		var forks []any
		if err := json.Unmarshal(raw, &forks); err != nil {
			return fmt.Errorf("%s: %w", w.url, err)
		}
		for _, f := range forks {
			b.Forked = append(b.Forked, fmt.Sprintf("the witness %s was shown a fork: %v", w.name, f))
		}
	}
	return nil
}

func Fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %.200s", url, resp.Status, b)
	}
	return b, err
}
