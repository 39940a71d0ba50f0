package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/proxy"
	"cratelog/cargo/verdict"
)

// judge decides for a proxy which crates cargo may have: those that the policy asks
// nothing of, and those that verify. It reads policy, manifests and lock file anew as
// they change. Where it cannot, it refuses.
type judge struct {
	believe      believe
	manifestPath string // of the workspace that is built; "" for none

	mu    sync.Mutex // guards what follows
	rules *rules
	read  time.Time
}

// judgeAge is how long the files are not read again.
const judgeAge = time.Second

// rules are what policy, manifests and lock file say at one time.
type rules struct {
	policy  *policy.Policy
	checker *verdict.Checker
	asks    []policy.Ask            // of the crates that are in the lock file
	locked  map[policy.Package]bool // what is in it; the rest is not resolved yet
	wide    []policy.Ask            // of crates that are not in it
}

var _ interface {
	proxy.Judge
	proxy.Prefetcher
} = &judge{}

func (j *judge) Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) error {
	r, err := j.current()
	if err != nil {
		return denied{err.Error(), "Mend that, and run cargo again."}
	}
	if !r.requires(name, version) {
		return nil
	}
	if len(r.policy.Trust) == 0 {
		return denied{"it must be proven, and no log is trusted", "Name the logs and witnesses to believe in zkp.toml, or put their policy file into " + r.policy.TrustDir + "."}
	}
	_, err = r.checker.Crate(ctx, name, version, sum, raw)
	if err == nil {
		return nil
	}
	e := verdict.Explain(err)
	return denied{e.Message, e.Remedy}
}

// Prefetch is what proxy.Prefetcher asks for.
func (j *judge) Prefetch(ctx context.Context, name, version string, _ [32]byte) {
	if r, err := j.current(); err == nil && r.requires(name, version) {
		r.checker.Prefetch(ctx, name, version)
	}
}

// requires says whether a crate must be proven.
func (r *rules) requires(name, version string) bool {
	p := policy.Package{Name: name, Version: version}
	asks := r.asks
	if !r.locked[p] {
		asks = r.wide
	}
	return r.policy.Resolve(asks, []policy.Package{p}, now()).Demands[0].Status == policy.Required
}

// denied is a reason and what to do about it.
type denied struct{ reason, remedy string }

func (r denied) Error() string { return r.reason }

// Remedy is what proxy.Judge asks for.
func (r denied) Remedy() string { return r.remedy }

// current returns the rules as the files have them now.
func (j *judge) current() (*rules, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.rules != nil && time.Since(j.read) < judgeAge {
		return j.rules, nil
	}
	r, err := j.load()
	if err != nil {
		return nil, err
	}
	j.rules, j.read = r, time.Now()
	return r, nil
}

// refresh has the files read again.
func (j *judge) refresh() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rules = nil
}

func (j *judge) load() (*rules, error) {
	var ws *cargo.Workspace
	var err error
	if j.manifestPath != "" {
		if ws, err = cargo.LoadWorkspace(j.manifestPath); err != nil {
			return nil, err
		}
	}
	r := &rules{locked: map[policy.Package]bool{}}
	if r.policy, err = j.believe.load(ws); err != nil {
		return nil, err
	}
	if r.checker, err = j.believe.checker(r.policy); err != nil {
		return nil, err
	}
	if ws == nil {
		return r, nil
	}
	for _, d := range ws.Demands {
		if err := r.widen(d); err != nil {
			return nil, err
		}
	}
	return r, r.lock(ws)
}

// widen adds what a manifest asks for of crates that are not in the lock file yet: there
// is no telling what depends on what, so it is read as generously as it can be.
func (r *rules) widen(d cargo.Demand) error {
	ask := policy.Ask{Crate: policy.All, Where: shorten(d.File) + ", " + d.Key}
	if d.Crate != "" && !d.Transitive {
		var err error
		if ask.Crate, err = policy.ParsePattern(d.Crate); err != nil {
			return fmt.Errorf("%s: %w", ask.Where, err)
		}
	}
	r.wide = append(r.wide, ask)
	return nil
}

// lock adds what is asked for of the packages of the lock file, if there is one.
func (r *rules) lock(ws *cargo.Workspace) error {
	text, err := readFile(ws.LockPath, cargo.MaxLock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	k := &lockCheck{workspace: ws, policy: r.policy, lockPath: ws.LockPath, lockText: text}
	if err := k.resolve(""); err != nil {
		return err
	}
	r.asks = k.asks
	for _, p := range k.packages {
		r.locked[policy.Package{Name: p.Name, Version: p.Version}] = true
	}
	return nil
}
