// Package verdict is the engine of everything that believes a bundle: it verifies bundles
// under the reader's policy, compares what their logs show with what they showed before,
// and explains the outcome. All and Crate find the bundle of a crate; Bundle is given one.
//
// # Order
//
// A .crate is hashed, once, and compared with the lock file, and what cargo unpacked is
// compared with the .crate. Then come its bundles: those in the cache, then those that
// "cargo zkp vendor" keeps, then those that lie beside the .crate at its registry, or where the
// policy says, then those of each log of the trust files that has a URL, until one verifies.
// So a cached bundle that is broken or too old is replaced. Proofs are collected and checked in one
// batch; then the checkpoints are compared with the state, and the lines of cargo's index cache with
// Cargo.toml. What a policy would only warn of is checked to the end (doubts), so that a bundle that
// is old or of an unknown program is not also a false one. No result leaves this package before all
// of that.
//
// # What is kept
//
// In the cache directory: bundles, and verdicts, each under a key that covers
// everything that it rests on but the time (see memo), and how compared sources looked.
// Whoever can write there can make a reader believe anything; but they can write to
// cargo's home as well, and change what is compiled. Nothing there is needed: what is
// damaged or missing is fetched and computed again.
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
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/proofcheck"
)

const (
	inFlight       = 16 // crates that are fetched at a time
	requestTimeout = 30 * time.Second
)

// Config says how to verify. Policy is required.
type Config struct {
	Policy *policy.Policy

	// Directories, made if they are missing: for bundles and verdicts, and for
	// checkpoints and evidence. Both "": those of Dirs.
	Cache, State string

	Offline bool // use only what is in the cache
	Fresh   bool // ask the logs, whatever is in the cache or lies elsewhere
	Rehash  bool // compare all sources, also those that look as they did when they were compared

	// Registry returns the registry that cargo takes the crates from of the registry with an index, ""
	// for its default one; nil if that is not known. It is asked for evidence before logs are; nil: none is.
	Registry func(index string) *registry.Index

	// Trusted asks the registry's API about each verified crate, which workflow published it, as the
	// policy may want anyway. It learns by it which crates are used.
	Trusted bool

	HTTP      *http.Client // nil: one with timeouts
	UserAgent string       // "" for the client's

	Now func() time.Time // nil for the clock
	Log *slog.Logger     // nil: says nothing
}

// A Checker verifies crates. It is safe for concurrent use.
type Checker struct {
	cfg         Config
	proofs      *proofcheck.Verifier
	builds      entry.BatchVerifier  // of build claims; proofs
	together    *proofcheck.Together // over proofs, for crates that come one by one
	sources     []*source
	fingerprint [32]byte // of everything that all verdicts rest on
	slots       chan struct{}
	stamps      func() *stamps
	heads       *heads
	places      *places
	verified    *sync.Map // SHA-256 of the bundle that verified last, by Want.file

	apis *apis
}

// New returns a checker for a policy.
func New(cfg Config) (_ *Checker, err error) {
	if cfg.Cache == "" && cfg.State == "" {
		if cfg.Cache, cfg.State, err = Dirs(); err != nil {
			return nil, err
		}
	}
	if cfg.Policy == nil || cfg.Cache == "" || cfg.State == "" {
		return nil, errors.New("verdict: a policy, a cache directory and a state directory are needed")
	}
	if cfg.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = inFlight
		cfg.HTTP = &http.Client{Timeout: requestTimeout, Transport: t}
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
	c := &Checker{cfg: cfg, apis: new(apis), verified: new(sync.Map), slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		stamps: sync.OnceValue(func() *stamps { return openStamps(cfg.Cache, cfg.Rehash) })}
	if c.proofs, err = proofcheck.New(cfg.Policy.Programs); err != nil {
		return nil, err
	}
	c.builds = c.proofs
	c.together = proofcheck.NewTogether(c.proofs, maxProofs)
	c.sources = newSources(cfg)
	c.fingerprint = fingerprint(cfg.Policy)
	c.places = newPlaces(cfg)
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

	// What else cargo may build from: other copies of the .crate, and unpacked sources.
	// All must be what the lock file names, also if no proof is required.
	Copies, Sources []string

	// Vendored is the directory source that cargo builds it from, Sources in there; "" for
	// cargo's home. Bundle is a file with a bundle that counts beside the cache; "" for none.
	Vendored, Bundle string

	// Opened asks for the claim's opening, wherever there may be one. That there is none changes no status.
	Opened bool

	// Versions asks the logs for the claim's opening where only that shows who chose the versions in its
	// Cargo.lock. That there is none changes no status.
	Versions bool

	// What cargo keeps of the registry's index about these bytes. Lines of a Required crate
	// must say what its Cargo.toml says; Indexed: there must be one, for cargo goes by it.
	Index   string // the registry, as cargo.Package.Registry returns it
	Indexed bool
	Lines   []cargo.IndexLine
	Unread  error // why there may be more

	// Demand is what the policy wants; only a Required crate must be proven.
	Demand policy.Demand
}

// Status is what came out.
type Status int

const (
	Unchecked Status = iota // it could not be checked: do not use it, and find out why
	Verified                // it is as the policy asks
	Violation               // it is not: do not use it
	NotAsked                // no one asked
	Excepted                // the policy makes an exception
	Warned                  // nothing shows that it is, and the policy asks for no more than to say so: Err says why
)

var statusNames = [...]string{"unchecked", "verified", "violation", "not-asked", "excepted", "warned"}

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
	Err    error    // why not; for Violation, Unchecked and Warned. See Explain
	Notes  []string // sentences that do not change the status
	Bundle []byte   // that verified, likewise
	Cause  string   // what the .crate shows of why it is not proven, a word; "" if nobody looked, or it shows nothing
	By     []string // by which packages it comes, see Lock.PulledInBy; nil if nobody asked
	Opened []byte   // the opening that was checked with it, likewise; nil if there was none

	Trusted *TrustedPublishing // how the registry says it was published; nil if it was not asked, or did not say
}

// Refuse makes a violation, or something unchecked, of a verdict. It takes the facts away.
func (v *Verdict) Refuse(s Status, err error) {
	v.Status, v.Err, v.Facts, v.Bundle, v.Opened, v.Trusted = s, err, nil, nil, nil, nil
}

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
		case policy.Excepted:
			out[i].Status = Excepted
		default:
			out[i].Status = NotAsked
		}
		if out[i].Status == Unchecked || w.Path != "" || len(w.Sources) > 0 {
			items = append(items, c.newItem(w, &out[i]))
		}
	}
	c.run(ctx, items, progress)
	c.compareTrusted(ctx, items, progress)
	return out
}

func (c *Checker) newItem(w Want, v *Verdict) *item {
	return &item{c: c, want: w, verdict: v, rules: c.cfg.Policy.RulesFor(w.pkg(), c.cfg.Now())}
}

func (w Want) pkg() policy.Package {
	return policy.Package{Name: w.Name, Version: w.Version, Registry: w.Demand.Registry}
}

// Crate decides about one crate by its bytes, whatever the policy demands of it. sum is the
// checksum of the index or lock file; zero for none. The error is a *Error.
func (c *Checker) Crate(ctx context.Context, name, version string, sum [32]byte, raw []byte) (*Facts, error) {
	return c.one(ctx, Want{Name: name, Version: version, Checksum: sum, Raw: raw})
}

// one decides about a crate that is required.
func (c *Checker) one(ctx context.Context, w Want) (*Facts, error) {
	w.Demand.Status = policy.Required
	v := Verdict{Want: w}
	it := c.newItem(w, &v)
	if w.Raw == nil {
		it.want.Raw = []byte{}
	}
	c.run(ctx, []*item{it}, nil)
	return v.Facts, c.explained(&v)
}

// explained returns why a crate is not verified, as a *Error; nil if it is.
func (c *Checker) explained(v *Verdict) error {
	if v.Status == Verified {
		return nil
	}
	e := Explain(v.Err)
	e.Status = v.Status
	if errors.Is(e, client.ErrProgram) && !c.cfg.Policy.Development {
		e.Message += "; all programs that ship with this version have UNSAFE development keys: anyone can forge their " +
			"proofs; --development accepts them, for trying things out"
	}
	return e
}

// Given is a bundle that Checker.Bundle does not have to find.
type Given struct {
	Bundle []byte
	Crate  *crate.Crate // what it must be about; nil: only what the bundle shows by itself
	Rules  client.Rules // with the name and version that are wanted
	From   *client.Log  // that it was fetched from, and may be asked; nil: the one of the trust file

	Registry string // that the crate is of, as policy.Package.Registry

	// Opening is the one of its claim, if there is one beside the bundle. If the policy asks for
	// one, and this does not do, a log is asked, unless it is Offline.
	Opening []byte
}

// An Answer is what a given bundle showed.
type Answer struct {
	*client.Result
	Opening *Opening // what the claim's opening showed; nil without one, and without the .crate
	Notes   []string // sentences that do not change the outcome

	Versions, VersionsWhy string // as in Facts; "" without the .crate
}

// Bundle decides about one bundle. The error is a *Error. Neither cached bundles nor cached
// verdicts count.
func (c *Checker) Bundle(ctx context.Context, g Given) (*Answer, error) {
	var v Verdict
	it := &item{c: c, verdict: &v, given: &g, rules: g.Rules, crate: g.Crate, want: Want{Name: g.Rules.Name,
		Version: g.Rules.Version, Demand: policy.Demand{Package: policy.Package{Registry: g.Registry}}}}
	if g.Crate != nil {
		it.sum = g.Crate.SHA256
	}
	if it.current.source = c.sourceOf(g.Bundle); it.current.source == nil {
		it.decide(Unchecked, noLog(c.cfg.Policy))
		return nil, c.explained(&v)
	}
	it.verify(g.Bundle)
	c.checkProofs(ctx, []*item{it})
	if it.state == holding {
		c.heads.settle(ctx, []*item{it})
		it.release()
	} else if it.state == seeking {
		it.decide(Violation, it.tried[0].err)
	}
	if err := c.explained(&v); err != nil {
		return nil, err
	}
	return &Answer{it.result, it.opened, v.Notes, it.versions.by, it.versions.why}, nil
}

// Entry decides about an entry that stands in no log yet, as Bundle will when it does: proof, .crate, and what
// the policy asks for, but for what a log shows. raw is what g.Crate was read from; g.Bundle and g.From do
// not count. Nobody is asked.
func (c *Checker) Entry(ctx context.Context, entryBytes, raw []byte, g Given) (*client.Result, error) {
	var v Verdict
	it := &item{c: c, verdict: &v, given: &g, rules: g.Rules, crate: g.Crate, want: Want{Name: g.Rules.Name,
		Version: g.Rules.Version, Demand: policy.Demand{Package: policy.Package{Registry: g.Registry}}}}
	var err error
	if it.result, err = client.VerifyUnlogged(raw, entryBytes, c.proofs, g.Rules); errors.Is(err, client.ErrProof) {
		err = refuse(client.ErrProof, "Remove the entry, and make it again", "the entry's proof does not hold") // no log took it
	}
	if err != nil {
		it.decide(Violation, err)
		return nil, c.explained(&v)
	}
	it.state = holding
	it.wantsOf(it.result.Entry)
	it.opens(ctx)
	it.release()
	if err := c.explained(&v); err != nil {
		return nil, err
	}
	return it.result, nil
}

// run decides about items and fills their verdicts. Each round takes every item to
// a bundle whose proof alone is to be checked, and checks those together; a bundle
// that fails there sends its item into the next round, with its next bundle.
func (c *Checker) run(ctx context.Context, items []*item, progress func(done, total int)) {
	links := &links{}
	var open, accepted []*item
	for _, it := range items {
		switch it.state {
		case holding: // a bundle was at hand
			accepted = append(accepted, it)
		case seeking:
			open = append(open, it)
		}
	}
	for len(open) > 0 {
		var mu sync.Mutex
		done := len(items) - len(open)
		var g errgroup.Group
		g.SetLimit(inFlight)
		for _, it := range open {
			g.Go(func() error {
				it.advance(ctx, links)
				mu.Lock()
				defer mu.Unlock()
				if progress != nil && it.state != proving {
					done++
					progress(done, len(items))
				}
				return nil
			})
		}
		g.Wait() // there are no errors
		c.checkProofs(ctx, open)
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
	shown, of := c.absences(items)
	c.heads.settle(ctx, slices.Concat(accepted, shown))
	for _, it := range accepted {
		it.release()
	}
	for i, it := range shown {
		if err := it.verdict.Err; err != nil && !errors.Is(err, errUnshown) {
			of[i].decide(it.verdict.Status, err)
		}
	}
	c.doubts(ctx, items)
	for _, it := range items {
		it.verdict.Path = it.want.Path // of the one that was read
		if it.disk != nil && (it.verdict.Status != Violation || it.want.Demand.Warn) {
			it.verdict.Refuse(diskVerdict(it.disk))
		} else if it.verdict.Status == Verified {
			it.compareIndex()
		}
		it.noteYanked()
		if it.disk == nil { // what lies there counts for whoever asks for nothing, too
			it.verdict.soften()
		}
	}
}

// maxProofs is how many proofs are remembered to hold.
const maxProofs = 4096

// limits bound a .crate.
var limits = crate.DefaultLimits
