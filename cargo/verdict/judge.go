package verdict

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/internal/durable"
)

// A Judge decides for a proxy which crates cargo may have: those that the policy asks
// nothing of, and those that verify. It reads policy, manifests and lock file anew as
// they change. Where it cannot, it refuses. It is safe for concurrent use.
type Judge struct {
	// Load loads the policy that counts for a workspace, or for none: ws may be nil.
	Load     func(ws *cargo.Workspace) (*policy.Policy, error)
	Manifest string // of the workspace that is built; "" for none
	Config   Config // but for its Policy

	mu    sync.Mutex // guards what follows
	rules *rules
	read  time.Time
	took  time.Duration // to read
	last  *Checker      // that was made
}

// judgeAge is how long the files are not read again: at least as long, and so long that reading
// them takes a twentieth of the time.
const judgeAge = 50 * time.Millisecond

// rules are what policy, manifests and lock file say at one time.
type rules struct {
	policy  *policy.Policy
	checker *Checker
	asks    []policy.Ask            // of the crates that are in the lock file
	locked  map[policy.Package]bool // what is in it; the rest is not resolved yet
	wide    []policy.Ask            // of crates that are not in it

	complaints []string // about the lock file as a whole
}

// Judge returns nil if cargo may have a crate with these bytes, which have the checksum
// sum. An error has a method Remedy. required says whether it had to be proven, and summary is
// then Facts.Summary; zero if that is not known.
func (j *Judge) Judge(ctx context.Context, name, version string, sum [32]byte, raw []byte) (required bool,
	summary [32]byte, err error) {
	r, err := j.current()
	if err != nil {
		return true, summary, denied{err.Error(), "Mend that, and run cargo again."}
	}
	if len(r.complaints) > 0 && r.locked[policy.Package{Name: name, Version: version}] {
		reason, remedy, _ := strings.Cut(r.complaints[0], "\n")
		return true, summary, denied{reason, strings.ReplaceAll(remedy, "\n", "; ")}
	}
	if !r.requires(name, version) {
		return false, summary, nil
	}
	facts, err := r.checker.Crate(ctx, name, version, sum, raw)
	if err != nil {
		e := Explain(err)
		return true, summary, denied{e.Message, e.Remedy}
	}
	if b, err := hex.DecodeString(facts.Summary); err == nil && len(b) == len(summary) {
		summary = [32]byte(b)
	}
	return true, summary, nil
}

// Requires says whether a crate must be proven. Where the files cannot be read it must.
func (j *Judge) Requires(name, version string) bool {
	r, err := j.current()
	return err != nil || r.requires(name, version)
}

// Prefetch begins to fetch what Judge will need.
func (j *Judge) Prefetch(ctx context.Context, name, version string, _ [32]byte) {
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
	return r.policy.Resolve(asks, []policy.Package{p}, r.checker.cfg.Now()).Demands[0].Status == policy.Required
}

// denied is a reason and what to do about it.
type denied struct{ reason, remedy string }

func (r denied) Error() string  { return r.reason }
func (r denied) Remedy() string { return r.remedy }

// Check finds out whether the policy can be used.
func (j *Judge) Check() error {
	_, err := j.current()
	return err
}

// current returns the rules as the files have them now.
func (j *Judge) current() (*rules, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.rules != nil && time.Since(j.read) < max(judgeAge, 20*j.took) {
		return j.rules, nil
	}
	begin := time.Now()
	r, err := j.load()
	if err != nil {
		return nil, err // the rules from before do not count
	}
	j.rules, j.read, j.took = r, time.Now(), time.Since(begin)
	return r, nil
}

func (j *Judge) load() (*rules, error) {
	var ws *cargo.Workspace
	var err error
	if j.Manifest != "" {
		if ws, err = cargo.LoadWorkspace(j.Manifest); err != nil {
			return nil, err
		}
	}
	r := &rules{locked: map[policy.Package]bool{}}
	if r.policy, err = j.Load(ws); err != nil {
		return nil, err
	}
	if r.checker, err = j.checker(r.policy); err != nil {
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

// checker returns one for a policy: with what the last one knows, if it believes the same logs
// and programs, and in any case with its connections.
func (j *Judge) checker(p *policy.Policy) (*Checker, error) {
	if j.last != nil && j.last.fingerprint == fingerprint(p) && j.last.cfg.Policy.Development == p.Development {
		next := *j.last
		next.cfg.Policy = p
		j.last = &next
		return j.last, nil
	}
	cfg := j.Config
	cfg.Policy = p
	if j.last != nil {
		cfg.HTTP = j.last.cfg.HTTP
	}
	c, err := New(cfg)
	if err == nil {
		j.last = c
	}
	return c, err
}

// widen adds what a manifest asks for of crates that are not in the lock file yet: there
// is no telling what depends on what, so it is read as generously as it can be.
func (r *rules) widen(d cargo.Demand) error {
	ask := policy.Ask{Crate: policy.All, Where: Shorten(d.File) + ", " + d.Key}
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
	text, err := durable.Read(ws.LockPath, cargo.MaxLock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	l, err := NewLock(ws, r.policy, text, nil, r.checker.cfg.Now())
	if err != nil {
		return err
	}
	r.asks, r.complaints = l.Asks, l.Elsewhere
	for _, w := range l.Wants {
		r.locked[w.Demand.Package] = true
	}
	return nil
}
