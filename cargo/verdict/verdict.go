// Package verdict decides about the crates of a lock file: it finds the bundle of
// each, verifies all of them under the reader's policy, compares what their logs
// show with what they showed before, and says in the words of people what came
// out.
//
// # Order
//
// A .crate is hashed and compared with the lock file. Then come its bundles: those
// in the cache, then those of each log of the trust files that has a URL, until one
// verifies. So a cached bundle that is broken or too old is replaced. Proofs are
// collected and checked in one batch; then the checkpoints are compared with the
// state. No result leaves this package before all of that.
//
// # What is kept
//
// In the cache directory: bundles, and verdicts, each under a key that covers
// everything that it rests on but the time (see memo). Whoever can write there can
// make a reader believe anything; but he can write to cargo's home as well, and
// change what is compiled. Nothing there is needed: what is damaged or missing is
// fetched and computed again.
//
// In the state directory: the newest checkpoint of each log (client.State), the tree
// heads that were shown to be consistent with it, and evidence. It must be kept.
package verdict

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/proofcheck"
)

const (
	inFlight       = 16 // crates that are fetched at a time
	requestTimeout = 30 * time.Second
)

// Config says how to verify. Policy, Cache and State are required.
type Config struct {
	Policy *policy.Policy

	Cache string // directory for bundles and verdicts; made if it is missing
	State string // directory for checkpoints and evidence; made if it is missing

	Offline bool // use only what is in the cache

	HTTP      *http.Client // nil: one with timeouts
	UserAgent string       // "" for the client's
	Jobs      int          // crates that are read at a time; 0 for the number of cores

	Now func() time.Time // nil for the clock
	Log *slog.Logger     // nil: nothing is said
}

// A Checker verifies crates. It is safe for concurrent use.
type Checker struct {
	cfg         Config
	proofs      *proofcheck.Verifier
	together    *proofcheck.Together // over proofs, for crates that come one by one
	sources     []*source
	fingerprint [32]byte // of everything that all verdicts rest on
	slots       chan struct{}
	heads       *heads
}

// New returns a checker for a policy.
func New(cfg Config) (*Checker, error) {
	if cfg.Policy == nil || cfg.Cache == "" || cfg.State == "" {
		return nil, errors.New("verdict: a policy, a cache directory and a state directory are needed")
	}
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = inFlight
		cfg.HTTP = &http.Client{Timeout: requestTimeout, Transport: t}
	}
	if cfg.Jobs <= 0 {
		cfg.Jobs = runtime.GOMAXPROCS(0)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []string{cfg.Cache, cfg.State} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	state, err := client.OpenState(cfg.State)
	if err != nil {
		return nil, err
	}
	c := &Checker{cfg: cfg, slots: make(chan struct{}, cfg.Jobs)}
	if c.proofs, err = proofcheck.New(cfg.Policy.Programs); err != nil {
		return nil, err
	}
	c.together = proofcheck.NewTogether(c.proofs, maxProofs)
	c.sources = newSources(cfg)
	c.fingerprint = fingerprint(cfg.Policy)
	c.heads = newHeads(cfg, state, c.sources)
	return c, nil
}

// Dirs returns the directories that a user's tools share: cratelog below the
// system's cache directory, and below its directory for state
// ($XDG_STATE_HOME, ~/.local/state; where there is no such, beside the settings).
func Dirs() (cache, state string, err error) {
	cache, err1 := os.UserCacheDir()
	settings, err2 := os.UserConfigDir()
	home, err3 := os.UserHomeDir()
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", "", fmt.Errorf("there is no directory for what is kept: %w", err)
	}
	state = filepath.Join(home, ".local", "state", "cratelog")
	switch xdg := os.Getenv("XDG_STATE_HOME"); {
	case runtime.GOOS == "windows" || runtime.GOOS == "darwin":
		state = filepath.Join(settings, "cratelog", "state")
	case filepath.IsAbs(xdg):
		state = filepath.Join(xdg, "cratelog")
	}
	return filepath.Join(cache, "cratelog"), state, nil
}

// A Want is a crate to decide about.
type Want struct {
	Name, Version string
	Checksum      [32]byte // SHA-256 that the lock file has; zero if it has none

	// The .crate: its bytes, or a file. With neither it was not downloaded.
	Raw  []byte
	Path string

	// Demand is what the policy wants; only a Required crate is looked at.
	Demand policy.Demand
}

// Status is what came out.
type Status int

const (
	Unchecked Status = iota // it could not be checked: do not use it, and find out why
	Verified                // it is as the policy asks
	Violation               // it is not: do not use it
	NotAsked                // nobody asked
	Excepted                // the policy makes an exception
)

var statusNames = [...]string{"unchecked", "verified", "violation", "not-asked", "excepted"}

func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return fmt.Sprintf("status %d", int(s))
	}
	return statusNames[s]
}

// A Verdict is what is known of one crate. It marshals to JSON; see MarshalJSON.
type Verdict struct {
	Want
	Status Status
	Facts  *Facts   // what was verified; set if Status is Verified, and only then
	Err    error    // why not; for Violation and Unchecked. See Explain
	Notes  []string // sentences that do not change the status
}

// Refuse makes a violation, or something unchecked, of a verdict: for what a caller
// finds himself. It takes the facts away.
func (v *Verdict) Refuse(s Status, err error) { v.Status, v.Err, v.Facts = s, err, nil }

// All decides about many crates and returns one verdict for each, in their order.
// progress, if not nil, is called after each crate that was looked at, by one
// goroutine at a time. If ctx ends, what is not decided is Unchecked.
func (c *Checker) All(ctx context.Context, wants []Want, progress func(done, total int)) []Verdict {
	out := make([]Verdict, len(wants))
	var items []*item
	for i, w := range wants {
		out[i].Want = w
		switch w.Demand.Status {
		case policy.Required:
			items = append(items, &item{c: c, want: w, verdict: &out[i]})
		case policy.Excepted:
			out[i].Status = Excepted
		default:
			out[i].Status = NotAsked
		}
	}
	c.run(ctx, items, progress)
	return out
}

// Crate decides about one crate of which the bytes are at hand, whatever the policy
// demands of it. sum is the checksum of the index or lock file; zero for none. The
// error is a *Error.
func (c *Checker) Crate(ctx context.Context, name, version string, sum [32]byte, raw []byte) (*Facts, error) {
	var v Verdict
	it := &item{c: c, want: Want{Name: name, Version: version, Checksum: sum, Raw: raw}, verdict: &v}
	if raw == nil {
		it.want.Raw = []byte{}
	}
	c.run(ctx, []*item{it}, nil)
	if v.Status != Verified {
		e := Explain(v.Err)
		e.Status = v.Status
		return nil, e
	}
	return v.Facts, nil
}

// run decides about items and fills their verdicts. Each round takes every item to
// a bundle whose proof alone is to be checked, and checks those together; a bundle
// that fails there sends its item into the next round, with its next bundle.
func (c *Checker) run(ctx context.Context, items []*item, progress func(done, total int)) {
	links := newLinks(c.sources)
	var accepted []*item
	for open := items; len(open) > 0; {
		var mu sync.Mutex
		done := len(items) - len(open)
		each(inFlight, open, func(it *item) {
			it.advance(ctx, links)
			if mu.Lock(); progress != nil && it.state != proving {
				done++
				progress(done, len(items))
			}
			mu.Unlock()
		})
		c.checkProofs(open)
		var again []*item
		for _, it := range open {
			switch it.state {
			case holding:
				accepted = append(accepted, it)
			case seeking:
				again = append(again, it)
			}
		}
		open = again
		if progress != nil {
			progress(len(items)-len(open), len(items))
		}
	}
	c.heads.settle(ctx, accepted)
	for _, it := range accepted {
		it.release()
	}
}

// each calls f for all items, on at most n goroutines.
func each[T any](n int, items []T, f func(T)) {
	work := make(chan T)
	var wg sync.WaitGroup
	for range min(n, len(items)) {
		wg.Go(func() {
			for it := range work {
				f(it)
			}
		})
	}
	for _, it := range items {
		work <- it
	}
	close(work)
	wg.Wait()
}

// maxProofs is how many proofs are remembered to hold.
const maxProofs = 4096

// limits bound a .crate.
var limits = crate.DefaultLimits
