package backlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo"
	"cratelog/cargo/backlog/visit"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/flock"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// Config says what to prove, and with what.
type Config struct {
	Lock     [32]byte // SHA-256 of Cargo.lock
	Packages []cargo.Package
	Dir      string // work directory, made if it is missing: see Dir

	Keys    *prover.Keyring // whose log, if it has one, was asked
	Mapping *Mapping        // nil for none
	Visitor *visit.Visitor
	Loose   bool // as prover.Source.UnprovenManifest
	Jobs    int  // proofs at a time; 0 for one, which uses all processors for most of its time

	Log    *client.Log // that may have bundles already; nil for none
	Submit bool        // hand it what is proven
	// MayAsk says whether the log may be told of the crates of the registry with an index, as
	// cargo.Package.Registry returns it.
	MayAsk func(index string) bool
	// Believed verifies a bundle that the log gave for a .crate; nil where nobody said whom to believe: then
	// what the log says is taken.
	Believed func(raw, bundle []byte) error

	Home      string        // cargo's
	Settings  *cargo.Config // cargo's: mirrors
	UserAgent string

	// Decided is called for each crate as it is decided, in turn; nil is allowed.
	Decided func(c Crate, s Status)
	// Progress tells of long work that is not about one crate: making or fetching keys.
	Progress prover.Progress

	testingOnlyProve func(*prover.Plan) (*entry.Entry, error)
}

// Status is how far a run is.
type Status struct {
	Done, Total int           // crates
	Left        time.Duration // of proving, a guess; 0 before there is one
	Now         string        // "NAME VERSION" of what is proven now, "" if nothing is
	Share       float64       // of all proving that is done, a guess
}

// A Runner proves a backlog, once.
type Runner struct {
	cfg      Config
	program  proofcheck.Program
	verifier *proofcheck.Verifier

	indexes sync.Map // *registry.Index by URL
	hosts   keyed    // at most two fetches of a host at a time
	clones  keyed    // one of a repository
	slow    strikes  // hosts that answer nothing in time

	mu     sync.Mutex
	report *Report
	items  []*item
	pace   pace
}

// item is a crate on its way. One goroutine has it at a time; what it says of itself, mu guards.
type item struct {
	cargo.Package
	said   *Crate // in the report
	file   string // of the work directory, without extension
	commit [20]byte
	place  place
}

// ErrBusy says that another process works in the same directory.
var ErrBusy = errors.New("another cargo zkp prove --lock is at work there")

// New prepares a run. Every package is one of a registry.
func New(cfg Config) (*Runner, error) {
	program, err := cfg.Keys.With()
	if err != nil {
		return nil, err
	}
	r := &Runner{cfg: cfg, program: *program, hosts: keyed{most: 2}, clones: keyed{most: 1},
		report: &Report{Format: Format, Lock: hex.EncodeToString(cfg.Lock[:])}}
	if r.verifier, err = proofcheck.New([]proofcheck.Program{r.program}); err != nil {
		return nil, err
	}
	r.report.Crates = make([]Crate, len(cfg.Packages))
	names := map[string]int{}
	for _, p := range cfg.Packages {
		names[strings.ToLower(p.Name+"-"+p.Version)]++ // which some disks take for one name
	}
	for i, p := range cfg.Packages {
		index, _ := p.Registry()
		said := &r.report.Crates[i]
		*said = Crate{Name: p.Name, Version: p.Version, Registry: clean(entry.Registry(index)),
			SHA256: hex.EncodeToString(p.Checksum[:]), Outcome: Left}
		it := &item{Package: p, said: said, file: filepath.Join(cfg.Dir, p.Name+"-"+p.Version)}
		if names[strings.ToLower(p.Name+"-"+p.Version)] > 1 { // of several registries
			it.file += "-" + said.SHA256[:8]
		}
		r.items = append(r.items, it)
	}
	return r, nil
}

// Run proves what can be proven, and returns what became of each crate, also with an error: of what ends
// everything, as the end of ctx does. What was proven until then is in the work directory, and is not
// proven again.
func (r *Runner) Run(ctx context.Context) (*Report, error) {
	if err := os.MkdirAll(r.cfg.Dir, 0o755); err != nil {
		return r.report, err
	}
	unlock, err := lockDir(r.cfg.Dir)
	if err != nil {
		return r.report, err
	}
	defer unlock()
	if err := r.look(ctx); err != nil {
		return r.report, err
	}
	return r.report, r.prove(ctx)
}

func lockDir(dir string) (unlock func(), err error) {
	f, err := flock.Take(filepath.Join(dir, ".lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%s: %w; wait for it, or name another directory with --dir", dir, ErrBusy)
	} else if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Status returns how far the run is; it may be called while it runs.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status()
}

func (r *Runner) status() Status {
	s := Status{Total: len(r.items)}
	for _, c := range r.report.Crates {
		if c.Outcome != Left {
			s.Done++
		}
	}
	s.Now, s.Share, s.Left = r.pace.now()
	return s
}

// decide writes down what became of a crate, and tells.
func (r *Runner) decide(it *item, change func(c *Crate)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(it.said)
	c := it.said
	c.Detail, c.Repository, c.Next = clean(c.Detail), clean(c.Repository), clean(c.Next)
	r.pace.leave(it)
	if r.cfg.Decided != nil {
		r.cfg.Decided(*c, r.status())
	}
}

// fail decides by an error; not where all ends because ctx did.
func (r *Runner) fail(ctx context.Context, it *item, err error) {
	if ctx.Err() != nil {
		return
	}
	cause, next := causeOf(err, it)
	r.decide(it, func(c *Crate) {
		c.Outcome, c.Cause, c.Detail, c.Next = Refused, cause, err.Error(), next
		if cause == "" {
			c.Outcome = Failed
		}
	})
}

const besides = 4 // crates that are looked at, or repositories that are read, at a time

// look decides all that needs no repository: what is logged or proven already, what no .crate is to be had
// of, and what shows by itself that it cannot be proven.
func (r *Runner) look(ctx context.Context) error {
	g := errgroup.Group{}
	g.SetLimit(besides)
	for _, it := range r.items {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := r.lookAt(ctx, it); err != nil {
				r.fail(ctx, it, err)
			}
			return nil
		})
	}
	g.Wait()
	return ctx.Err()
}

// lookAt is look of one crate. It leaves it undecided, with its place, if it is to be proven.
func (r *Runner) lookAt(ctx context.Context, it *item) error {
	if err := errors.Join(it.Odd(), entry.CheckRegistry(it.said.Registry)); err != nil {
		return &refusal{OtherRegistry, err}
	}
	c, raw, err := r.read(ctx, it)
	if err != nil {
		return err
	}
	if done, err := r.logged(ctx, it, raw); done || err != nil {
		return err
	}
	switch e, raw, err := r.kept(it, c); {
	case err != nil:
		return err
	case e != nil:
		return r.proven(ctx, it, e, raw)
	}
	info, err := c.VCSInfo()
	if info != nil {
		it.commit = info.Commit
	}
	if err != nil && !(r.cfg.Loose && info != nil) {
		if info != nil {
			return &refusal{Dirty, err}
		}
		return &refusal{Other, err}
	}
	if it.place, err = r.cfg.Mapping.repository(it.Name, it.Version, c.Repository()); err != nil {
		return &refusal{NoRepository, err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	it.said.Repository = clean(it.place.String())
	if info != nil {
		it.said.Commit, it.said.Path = hex.EncodeToString(info.Commit[:]), info.Path
	}
	r.pace.expect(it)
	return nil
}

// read returns a .crate whose SHA-256 is the lock file's: from cargo's cache, or from the registry.
func (r *Runner) read(ctx context.Context, it *item) (*crate.Crate, []byte, error) {
	raw, err := r.raw(ctx, it)
	if err != nil {
		return nil, nil, err
	}
	c, err := crate.ReadHashed(raw, *it.Checksum, it.Name, it.Version, crate.DefaultLimits)
	if err != nil {
		return nil, nil, &refusal{Other, err}
	}
	return c, raw, nil
}

func (r *Runner) raw(ctx context.Context, it *item) ([]byte, error) {
	paths, err := cargo.FindCached(r.cfg.Home, it.Name, it.Version)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if raw, err := cargo.ReadCached(path); err == nil && sha256.Sum256(raw) == *it.Checksum {
			return raw, nil
		}
	}
	index, _ := it.Registry()
	x, err := r.index(index)
	if err != nil {
		return nil, &refusal{OtherRegistry, fmt.Errorf("its .crate is not in cargo's cache (\"cargo fetch\" gets "+
			"it), and: %w", err)}
	}
	unlock, err := r.hosts.lock(ctx, hostOf(x.URL))
	if err != nil {
		return nil, err
	}
	defer unlock()
	raw, err := x.Download(ctx, it.Name, it.Version, *it.Checksum)
	if err != nil {
		return nil, fmt.Errorf("downloading the .crate: %w", err)
	}
	return raw, nil
}

// index returns the registry that cargo takes crates of an index from.
func (r *Runner) index(index string) (*registry.Index, error) {
	source, err := r.cfg.Settings.Index(index)
	if err != nil {
		return nil, err
	}
	var at string
	switch {
	case source.Kind != "registry":
		return nil, fmt.Errorf("cargo takes it from a source of the kind %q", source.Kind)
	case source.At == "" || cargo.IsDefault(source.At):
		at, err = registry.DefaultIndex(r.cfg.Home)
	default:
		at, err = registry.IndexURL(source.At)
	}
	if err != nil {
		return nil, err
	}
	x, _ := r.indexes.LoadOrStore(at, &registry.Index{URL: at, UserAgent: r.cfg.UserAgent})
	return x.(*registry.Index), nil
}
