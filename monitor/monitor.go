// Package monitor follows transparency logs of crate proofs, believes nothing that
// it has not computed itself, and says what it found.
//
// For every log it downloads every entry, rebuilds the root hash from them, and
// compares it with every signed checkpoint that it ever sees: of any size, from the
// log itself, its mirrors, its witnesses, or a reader who sends one (Gossip). It checks
// each entry's form, program and proof, which checksum a crate version has in the log, what builders
// say of one build, that openings do not contradict what is proven, and with a registry, that the registry
// serves what the entry is about. What only
// cheating explains is a finding of class security, with evidence that convinces others
// (package evidence); what is only late or silent is operational.
//
// # Positions
//
// Entries are downloaded, checked and stored (position downloaded). When they give
// the root of a signed checkpoint, what was found about them is recorded, with its
// evidence, and only then the position verified moves past them. So a monitor that dies
// at any moment finds the same again and loses nothing. Entries that give no signed root
// are fetched again, so that damage on their way is not held against the log.
//
// # Trust
//
// The log, its mirrors, the witnesses, the registry and those who gossip are not
// trusted. An attacker who can write the store or the evidence directory can make the
// monitor forget; copied evidence stays what it is.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/build"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/monitor/store"
)

// Registry is what entries are compared with. *registry.Index is one.
type Registry interface {
	// Releases returns all releases of a crate, or registry.ErrNotFound.
	Releases(ctx context.Context, name string) ([]registry.Release, error)
	// Download returns a .crate with a checksum, or a *registry.ChecksumError.
	Download(ctx context.Context, name, version string, sum [32]byte) ([]byte, error)
}

// Publications says how a release was published. *registry.Index is one.
type Publications interface {
	// Trusted returns nil where the registry does not say.
	Trusted(ctx context.Context, name, version string, sum [32]byte) (*registry.Trusted, error)
}

// LogConfig is a log to follow.
type LogConfig struct {
	Origin string
	// Policy is the trust file: the log's keys, its witnesses, and their quorum.
	Policy *client.Policy
	// URL is where the log is; "" for where the trust file says.
	URL string
	// Mirrors are further base URLs of the same log.
	Mirrors []string
	// Witnesses are the monitoring prefixes of witnesses by their name in the trust
	// file, where they are not the submission prefixes that it names. "-" is a witness
	// that cannot be asked.
	Witnesses map[string]string
}

// Timing says how often the monitor looks, and how long something may be wrong before it
// is a finding. Zero stands for the default.
type Timing struct {
	Poll            config.Duration `toml:"poll"`             // between two looks at a log; default 30 s
	ViewPoll        config.Duration `toml:"view_poll"`        // between two looks at a witness or mirror; default 5 min
	MaxAge          config.Duration `toml:"max_age"`          // of a log's latest cosigned checkpoint; default 1 h
	Unreachable     config.Duration `toml:"unreachable"`      // of a log; default 10 min
	ViewUnreachable config.Duration `toml:"view_unreachable"` // of a witness, a mirror or the registry; default 1 h
	Rollback        config.Duration `toml:"rollback"`         // how long a log may show less than before; default 2 min
	Behind          config.Duration `toml:"behind"`           // how long a view may lack what another one shows; default 2 h
	MismatchRetry   config.Duration `toml:"mismatch_retry"`   // between attempts on entries of a wrong root; default 10 min
	RequestTimeout  config.Duration `toml:"request_timeout"`  // of one request to a log, mirror or witness; default 1 min
	OpeningInterval config.Duration `toml:"opening_interval"` // between two questions for openings; default 200 ms
	Reopen          config.Duration `toml:"reopen"`           // how often openings that were not there are asked for again; default 7 days
}

// RegistryTiming is Timing for the registry.
type RegistryTiming struct {
	Interval config.Duration `toml:"interval"` // between two questions; default 200 ms
	Missing  config.Duration `toml:"missing"`  // how long after it is logged a release may be missing; default 24 h
	Recheck  config.Duration `toml:"recheck"`  // how often entries are compared with the index again; default 7 days
}

// Config says what to follow, and how. Logs, Store, EvidenceDir and Proofs are
// required.
type Config struct {
	Logs        []LogConfig
	Store       *store.Store
	EvidenceDir string // for evidence files; must exist
	Proofs      entry.BatchVerifier
	// ProgramFile returns the program file of an accepted program, for evidence
	// that others can check without having it. May be nil.
	ProgramFile func(id [32]byte) []byte
	// Forgers says who can make false proofs of an accepted program: "" if that takes all who
	// contributed to a ceremony. nil: that is not known.
	Forgers func(id [32]byte) string
	// Sets are the sets of builders whose disagreement is of class security, and whose members a
	// contradiction names.
	Sets []*build.Set
	// Registry is compared with the logs; nil for none. RegistryName is what it is
	// called in findings; RegistryIndex is its index as Cargo.lock names it: "sparse+URL".
	Registry      Registry
	RegistryName  string
	RegistryIndex string
	// RegistrySubject is how entries name the registry; entries of others are not compared with
	// it. "" for what RegistryIndex comes to; a mirror of cargo's default registry is to be
	// entry.DefaultRegistry.
	RegistrySubject string
	// Contents has every .crate downloaded and compared with its claim, not only its
	// checksum with the registry's index.
	Contents bool
	// Publications is asked how each release was published, and learns by it which are of interest;
	// nil for nobody. *registry.Index is one.
	Publications Publications
	// Openings has the log asked for the opening of every entry. With Contents it is compared with
	// the claim; without, only its objects with the commit and with what the proof says of them.
	Openings bool
	// Route returns the alert channels that a finding goes to. watch is the watch
	// that asked for it, or nil. Without a Route there are no alerts.
	Route func(f store.Finding, watch *store.Watch) []string
	// Notify is called after a new finding is recorded, so that alerts need not wait.
	Notify func()
	// AllowUnproven are the files that a claim may leave out without being a
	// finding; nil for those of client.DefaultRules.
	AllowUnproven []string

	Timing
	RegistryTiming

	HTTP      *http.Client // nil for one with RequestTimeout
	AllowHTTP bool         // plain http to other machines; what it brings is verified all the same
	Now       func() time.Time
	Logger    *slog.Logger // nil for none
}

// Monitor follows the configured logs. Its methods may be called concurrently, but
// only one of Run and Once at a time.
type Monitor struct {
	cfg       Config
	sets      map[[32]byte]*build.Set // by root
	followers []*follower
	metrics   *metrics
}

// UserAgent names the monitor in its requests.
const UserAgent = "cratelog-monitor"

// New checks the configuration and that the store is in order and belongs to these
// logs. It refuses rather than start wrong.
func New(ctx context.Context, cfg Config) (*Monitor, error) {
	cfg.defaults()
	if len(cfg.Logs) == 0 || cfg.Store == nil || cfg.EvidenceDir == "" || cfg.Proofs == nil {
		return nil, errors.New("monitor: logs, a store, a directory for evidence and a proof verifier are needed")
	}
	m := &Monitor{cfg: cfg, sets: make(map[[32]byte]*build.Set), metrics: newMetrics()}
	for _, s := range cfg.Sets {
		m.sets[s.Root()] = s
	}
	seen := make(map[string]bool)
	for _, l := range cfg.Logs {
		if seen[l.Origin] {
			return nil, fmt.Errorf("monitor: the log %q is configured twice", l.Origin)
		}
		seen[l.Origin] = true
		f, err := m.newFollower(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("monitor: log %q: %w", l.Origin, err)
		}
		m.followers = append(m.followers, f)
	}
	return m, nil
}

func (c *Config) defaults() {
	for field, value := range map[*config.Duration]time.Duration{
		&c.Poll: 30 * time.Second, &c.ViewPoll: 5 * time.Minute, &c.MaxAge: time.Hour, &c.Unreachable: 10 * time.Minute,
		&c.ViewUnreachable: time.Hour, &c.Rollback: 2 * time.Minute, &c.Behind: 2 * time.Hour,
		&c.MismatchRetry: 10 * time.Minute, &c.RequestTimeout: time.Minute,
		&c.OpeningInterval: 200 * time.Millisecond, &c.Reopen: 7 * 24 * time.Hour,
		&c.Interval: 200 * time.Millisecond, &c.Missing: 24 * time.Hour, &c.Recheck: 7 * 24 * time.Hour,
	} {
		if field.Duration == 0 {
			field.Duration = value
		}
	}
	if c.AllowUnproven == nil {
		c.AllowUnproven = client.DefaultRules().AllowUnproven
	}
	if c.HTTP == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = fetchers
		c.HTTP = &http.Client{Timeout: c.RequestTimeout.Duration, Transport: t}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Route == nil {
		c.Route = func(store.Finding, *store.Watch) []string { return nil }
	}
	if c.Notify == nil {
		c.Notify = func() {}
	}
	if c.RegistryName == "" {
		c.RegistryName = "the registry"
	}
}

// Run follows all logs until ctx ends, and returns nil then.
func (m *Monitor) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range m.followers {
		for _, loop := range []func(context.Context) error{f.followLoop, f.viewLoop, f.compareLoop} {
			g.Go(func() error {
				if err := loop(ctx); err != nil && ctx.Err() == nil {
					return fmt.Errorf("log %q: %w", f.origin, err) // of the store or the disk: stop, and say so
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// Summary is what Once found.
type Summary struct {
	Logs        []LogSummary `json:"logs"`
	Security    int64        `json:"security"` // findings that stand and are not acknowledged
	Operational int64        `json:"operational"`
	Trouble     []string     `json:"trouble"` // what could not be done this time
}

// LogSummary is how far one log is verified.
type LogSummary struct {
	Origin   string `json:"origin"`
	Size     int64  `json:"size"` // of the largest accepted checkpoint
	Verified int64  `json:"verified"`
}

// Once looks at everything once, until all that is signed is verified or cannot be.
// An error is one of the store or the disk; all else is in the Summary.
func (m *Monitor) Once(ctx context.Context) (Summary, error) {
	var s Summary
	for _, f := range m.followers {
		f.trouble.clear()
		if err := f.once(ctx); err != nil {
			return s, fmt.Errorf("log %q: %w", f.origin, err)
		}
		s.Trouble = append(s.Trouble, f.trouble.list()...)
		p, err := m.cfg.Store.Position(ctx, f.id)
		if err != nil {
			return s, err
		}
		c, _, err := m.cfg.Store.Newest(ctx, f.id, true)
		if err != nil {
			return s, err
		}
		s.Logs = append(s.Logs, LogSummary{f.origin, c.Size, p.Verified})
	}
	standing, err := m.cfg.Store.CountStanding(ctx)
	s.Security, s.Operational = standing[store.Security], standing[store.Operational]
	return s, err
}

// ExitCode is 1 if a security finding stands, else 3 if anything operational does,
// else 0.
func (s Summary) ExitCode() int {
	switch {
	case s.Security > 0:
		return 1
	case s.Operational > 0 || len(s.Trouble) > 0:
		return 3
	}
	return 0
}

// ErrRefused: what a reader sent is not a checkpoint of a followed log, signed by it.
var ErrRefused = errors.New("refused")

// Gossip takes a checkpoint, or a bundle (c2sp.org/tlog-proof) with one, that a reader
// was shown, and compares it with what the monitor knows: see the Verdict of what it
// returns. What the log's key did not sign is ErrRefused, and forgotten.
func (m *Monitor) Gossip(ctx context.Context, b []byte, source string) (store.Checkpoint, error) {
	signed := b
	if proof, err := client.ParseProof(b); err == nil {
		signed = proof.Checkpoint
	}
	origin := firstLine(signed)
	for _, f := range m.followers {
		if f.origin != origin {
			continue
		}
		c, err := f.observe(ctx, signed, source)
		switch {
		case err == nil:
			f.wake()
		case !isLocal(err):
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return c, err
	}
	return store.Checkpoint{}, fmt.Errorf("%w: this monitor does not follow a log %q", ErrRefused,
		origin[:min(len(origin), 80)])
}

func cores() int { return max(1, runtime.GOMAXPROCS(0)) }
