package verdict

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	last  *Checker // that was made
}

// judgeAge is how long files are not read again that look as they did.
const judgeAge = time.Second

// rules are what policy, manifests and lock file say at one time.
type rules struct {
	policy  *policy.Policy
	checker *Checker
	locked  map[policy.Package]policy.Demand // what is in the lock file
	wide    []policy.Ask                     // of crates that are not in it
	unmet   []string                         // complaints about the lock file as a whole
	stamps  map[string]string                // of the files that were read, by path
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
	if _, locked := r.locked[policy.Package{Name: name, Version: version}]; locked && len(r.unmet) > 0 {
		reason, remedy, _ := strings.Cut(r.unmet[0], "\n")
		return true, summary, denied{reason, strings.ReplaceAll(remedy, "\n", "; ")}
	}
	demand := r.demand(name, version)
	if demand.Status != policy.Required {
		return false, summary, nil
	}
	facts, err := r.checker.one(ctx, Want{Name: name, Version: version, Checksum: sum, Raw: raw,
		Demand: policy.Demand{Warn: demand.Warn}})
	if err != nil && demand.Warn && Mild(err) {
		r.checker.cfg.Log.Warn("a crate that should be proven is not, and passes", "crate", name, "version", version,
			"reason", err)
		return false, summary, nil
	}
	if err != nil {
		e := Explain(err)
		return true, summary, denied{e.Message + r.ended(name, version), e.Remedy}
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
func (j *Judge) Prefetch(ctx context.Context, name, version string) {
	if r, err := j.current(); err == nil && r.requires(name, version) {
		r.checker.Prefetch(ctx, name, version)
	}
}

// Kept returns a file of the evidence about a crate that was accepted: NAME of registry.BundlePath, or of
// registry.OpeningPath.
func (j *Judge) Kept(name, version, file string) (b []byte, ok bool) {
	r, err := j.current()
	if err != nil || !r.requires(name, version) {
		return nil, false
	}
	return r.checker.kept(Want{Name: name, Version: version}, file)
}

// requires says whether a crate must be proven, or should be.
func (r *rules) requires(name, version string) bool {
	return r.demand(name, version).Status == policy.Required
}

// demand is what is wanted of a crate.
func (r *rules) demand(name, version string) policy.Demand {
	p := policy.Package{Name: name, Version: version}
	if d, locked := r.locked[p]; locked {
		return d
	}
	return r.policy.Resolve(r.wide, []policy.Package{p}, r.checker.cfg.Now()).Demands[0]
}

// ended says which exceptions for a crate do not count any more; "" if none.
func (r *rules) ended(name, version string) (text string) {
	p := policy.Package{Name: name, Version: version}
	asked := []policy.Ask{{Crate: policy.Exactly(name, version), Where: "cargo"}}
	for _, x := range r.policy.Resolve(asked, []policy.Package{p}, r.checker.cfg.Now()).Demands[0].Expired {
		text += fmt.Sprintf("; an exception for it ended on %s: %s", x.Expires, x.Reason)
	}
	return text
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
	if j.rules != nil && time.Since(j.read) < judgeAge && j.rules.fresh() {
		return j.rules, nil
	}
	r, err := j.load()
	j.rules, j.read = r, time.Now()
	return r, err // after an error, the rules from before do not count
}

// fresh says whether the files that were read look as they did.
func (r *rules) fresh() bool {
	for path, was := range r.stamps {
		if looks(path) != was {
			return false
		}
	}
	return true
}

// looks is how a file looks.
func looks(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

func (j *Judge) load() (*rules, error) {
	r := &rules{locked: map[policy.Package]policy.Demand{}, stamps: map[string]string{}}
	before := map[string]string{} // of the same files, most likely
	if j.rules != nil {
		for path := range j.rules.stamps {
			before[path] = looks(path)
		}
	}
	ws, err := j.workspace()
	if err != nil {
		return nil, err
	}
	if ws != nil {
		before[ws.LockPath] = looks(ws.LockPath)
	}
	if r.policy, err = j.Load(ws); err != nil {
		return nil, err
	}
	if r.checker, err = j.checker(r.policy); err != nil {
		return nil, err
	}
	for _, path := range j.files(ws, r.policy) {
		if r.stamps[path] = before[path]; before[path] == "" {
			r.stamps[path] = looks(path)
		}
	}
	if ws == nil {
		return r, nil
	}
	for _, d := range ws.Demands {
		if err := r.widen(d); err != nil {
			return nil, err
		}
	}
	if err := r.lock(ws); err != nil {
		return nil, err
	}
	return r, nil
}

// files are those that the rules are read from.
func (j *Judge) files(ws *cargo.Workspace, p *policy.Policy) (paths []string) {
	for _, t := range p.Trust {
		paths = append(paths, t.Path)
	}
	if p.Path != "" {
		paths = append(paths, p.Path)
	}
	if p.ExceptionsPath != "" {
		paths = append(paths, p.ExceptionsPath)
	}
	for _, e := range p.Expects {
		paths = append(paths, e.SignedBy...)
	}
	if ws == nil {
		return paths
	}
	for _, m := range ws.Members {
		paths = append(paths, m.Manifest)
	}
	return append(paths, ws.Manifest, ws.LockPath)
}

func (j *Judge) workspace() (*cargo.Workspace, error) {
	if j.Manifest == "" {
		return nil, nil
	}
	return cargo.LoadWorkspace(j.Manifest)
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
	for _, w := range l.Wants {
		r.locked[w.Demand.Package] = w.Demand
	}
	r.unmet = l.unmet
	return nil
}
