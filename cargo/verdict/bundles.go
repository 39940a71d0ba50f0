package verdict

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// source is a log of a trust file.
type source struct {
	origin string
	log    *client.Log // nil if the trust file has no URL
	trust  *policy.Trust
	dir    string // for its bundles
}

func newSources(cfg Config) []*source {
	var out []*source
	seen := map[string]bool{}
	for i := range cfg.Policy.Trust {
		t := &cfg.Policy.Trust[i]
		for _, l := range t.Policy.Origins() {
			if seen[l.Origin] {
				continue
			}
			seen[l.Origin] = true
			s := &source{origin: l.Origin, trust: t, dir: filepath.Join(cfg.Cache, "bundles", originName(l.Origin))}
			if l.URL != "" {
				s.log = &client.Log{URL: l.URL, HTTP: cfg.HTTP, UserAgent: cfg.UserAgent}
			}
			out = append(out, s)
		}
	}
	return out
}

// originName is the name of a log's directory.
func originName(origin string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(origin))) }

// sourceOf returns the log that a bundle names. If no trust file lists that, it is one that
// will refuse the bundle in its own words; nil if there is none at all. Nothing of the
// bundle is verified.
func (c *Checker) sourceOf(bundle []byte) *source {
	if p, err := client.ParseBundle(bundle); err == nil {
		if s := c.heads.sources[client.Origin(p.Checkpoint)]; s != nil {
			return s
		}
	}
	if len(c.sources) == 0 {
		return nil
	}
	return c.sources[0]
}

// Fetch asks the logs in their order for the bundle of a crate, or offline the cache, and
// returns the first that there is, with its log. Nothing of it is verified. The error is a
// *Error: no log has one, or one did not answer.
func (c *Checker) Fetch(ctx context.Context, name, version string) ([]byte, *client.Log, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, nil, refuse(ErrUnreadable, "Look at the name", "%q %q is no crate: %v", name, version, err)
	}
	it := c.newItem(Want{Name: name, Version: version}, &Verdict{})
	links := &links{}
	for _, from := range c.candidates(it.want) {
		if from.cached != c.cfg.Offline || from.place != nil {
			continue
		}
		b, err := c.bundle(ctx, from, it.want, it.rules, links)
		if err == nil {
			return b, from.source.log, nil
		}
		if from.source.log != nil {
			it.tried = append(it.tried, attempt{candidate: from, err: err})
		}
	}
	it.decide(it.judge())
	return nil, nil, c.explained(it.verdict)
}

// Missing has a log, of the policy or not, show that it holds no bundle that QueryFor a package asks for, once it has
// said so. sum is that of the .crate, zero if it is not known. The error is a *Error, and never nil.
func (c *Checker) Missing(ctx context.Context, log *client.Log, p policy.Package, sum [32]byte) error {
	rules := c.cfg.Policy.RulesFor(p, c.cfg.Now())
	w := Want{Name: p.Name, Version: p.Version, Demand: policy.Demand{Package: p}}
	err := noLog(c.cfg.Policy)
	for _, t := range c.cfg.Policy.Trust { // one of which may list the log
		s := &source{origin: "at " + log.URL, log: log}
		err = c.missing(ctx, log, t.Policy, c.cfg.Policy.QueryFor(p), rules)
		var none *client.NotLoggedError
		if errors.As(err, &none) {
			s.origin = none.Held.Checkpoint.Origin
			err = absent(w, sum, s, c.cfg.Policy, err)
			break
		} else if !errors.Is(err, client.ErrWithheld) {
			err = unreachable(w, s, err)
		}
	}
	e := Explain(err)
	if e.Status = Unchecked; errors.Is(err, client.ErrNotLogged) || errors.Is(err, client.ErrSubject) {
		e.Status = Violation
	}
	return e
}

// missing is client.Log.Missing, and what the log shows must be as of now.
func (c *Checker) missing(ctx context.Context, log *client.Log, trust *client.Policy, q client.Query, rules client.Rules) error {
	before, err := c.heads.newest(trust)
	if err != nil {
		return err
	}
	err = log.Missing(ctx, q, trust, rules)
	if none := new(client.NotLoggedError); errors.As(err, &none) && !none.Held.Logged { // what it holds, it holds in every later tree
		err = cmp.Or(before.outdated(none.Held.Checkpoint), err)
	}
	return err
}

// newest are the sizes of the newest trees that are remembered of logs, by origin.
type newest map[string]int64

// newest returns what is remembered of the logs of a trust file. It is to be called before a log is asked, as others
// may remember a tree meanwhile.
func (h *heads) newest(trust *client.Policy) (newest, error) {
	all := newest{}
	for _, l := range trust.Logs() {
		sizes, err := h.state.Sizes(l.Origin)
		if err != nil {
			return nil, refuse(both(ErrState, err), "", "what the log %s showed before is not known: %v", l.Origin, err)
		}
		if len(sizes) > 0 {
			all[l.Origin] = sizes[len(sizes)-1]
		}
	}
	return all, nil
}

// outdated returns an error if a log has shown a larger tree before: then anything may have been logged since.
func (n newest) outdated(at client.Checkpoint) error {
	if at.Size >= n[at.Origin] {
		return nil
	}
	return refuse(client.ErrWithheld, "Ask again; if it stays like this, tell the monitors",
		"the log %s shows what it lacked in a tree of %d entries, %s, and has shown one of %d before", at.Origin, at.Size,
		at.AsOf(), n[at.Origin])
}

// candidate is a place where a bundle may be.
type candidate struct {
	source *source
	cached bool // on the disk
	beside bool // not in the cache, but beside vendored sources
	place  *keeper
}

// candidates returns where the bundle of a package may be, in the order in which they are tried: the
// cache of each log, what is vendored, the registry, what the policy names, each log.
func (c *Checker) candidates(w Want) []candidate {
	at := []candidate{{cached: true}, {cached: true, beside: true}}
	if c.cfg.Fresh {
		at = nil
	}
	for _, p := range c.placesOf(w) {
		at = append(at, candidate{place: p})
	}
	if !c.cfg.Offline {
		at = append(at, candidate{})
	}
	var out []candidate
	for _, from := range at {
		for _, from.source = range c.sources {
			out = append(out, from)
		}
	}
	return out
}

var (
	errNothing = errors.New("nothing there")
	errNoURL   = errors.New("the trust file has no URL of it")
)

// bundle reads what a candidate has, unverified. Where a log says that it has nothing, the error is what it shows for
// that; see client.Log.Missing.
func (c *Checker) bundle(ctx context.Context, from candidate, w Want, rules client.Rules, links *links) ([]byte, error) {
	switch {
	case from.beside && w.Bundle == "":
		return nil, errNothing
	case from.beside:
		b, err := durable.Read(w.Bundle, client.MaxBundleSize)
		if err == nil && c.sourceOf(b) != from.source {
			err = errNothing
		}
		return b, err
	case from.cached:
		return durable.Read(from.source.bundlePath(w), client.MaxBundleSize)
	}
	if from.place != nil {
		return from.place.bundle(ctx, c, from.source, w, links.of(from.place))
	}
	if from.source.log == nil {
		return nil, errNoURL
	}
	link := links.of(from.source)
	if err := link.broken(); err != nil {
		return nil, err
	}
	q := c.cfg.Policy.QueryFor(w.pkg())
	b, err := from.source.log.Bundle(ctx, q)
	if errors.Is(err, client.ErrNotLogged) {
		err = c.missing(ctx, from.source.log, from.source.trust.Policy.Of(from.source.origin), q, rules)
	}
	link.note(err)
	return b, err
}

// Prefetch puts a crate's bundle into the cache, if none is there, so that Crate need
// not wait for a log. It reports nothing, and leaves the proof to Crate; but a bundle that its log
// has not signed for this crate does not get there.
func (c *Checker) Prefetch(ctx context.Context, name, version string) {
	w := Want{Name: name, Version: version}
	for _, s := range c.sources {
		if _, err := os.Stat(s.bundlePath(w)); err == nil || c.cfg.Offline {
			return
		}
	}
	links := &links{}
	for _, from := range c.candidates(w) {
		if from.cached || !c.mayAsk(w, from.source) {
			continue
		}
		rules := c.cfg.Policy.RulesFor(w.pkg(), c.cfg.Now())
		b, err := c.bundle(ctx, from, w, rules, links)
		if err == nil {
			_, err = client.VerifyBundle(b, from.source.trust.Policy, &collector{proofs: c.proofs}, rules)
		}
		if err == nil {
			c.keepBundle(from.source, w, b)
			return
		}
	}
}

// keepBundle puts a bundle into the cache. The cache is a convenience.
func (c *Checker) keepBundle(s *source, w Want, b []byte) {
	if err := durable.WriteCache(s.bundlePath(w), b); err != nil {
		c.cfg.Log.Warn("cannot keep a bundle", "err", err)
	}
}

func (s *source) bundlePath(w Want) string {
	return filepath.Join(s.dir, w.file()+BundleExt)
}

// file names a package among those of all registries, for the cache.
func (w Want) file() string {
	name := w.Name + "-" + w.Version
	if registry := entry.Registry(w.Demand.Registry); registry != entry.DefaultRegistry {
		name += fmt.Sprintf("@%x", sha256.Sum256([]byte(registry)))
	}
	return name
}

// links are the connections to logs and places in one run.
type links struct {
	mu  sync.Mutex
	all map[any]*link // by *source or *keeper
}

// of returns the one to a log or place; nil where nothing runs.
func (l *links) of(at any) *link {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[any]*link{}
	}
	if l.all[at] == nil {
		l.all[at] = &link{}
	}
	return l.all[at]
}

// link gives a log up that does not answer: several hundred timeouts say no more
// than a few.
type link struct {
	mu       sync.Mutex
	failures int // since it last answered
	err      error
}

const maxFailures = 3

func (l *link) broken() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures < maxFailures {
		return nil
	}
	return l.err
}

func (l *link) note(err error) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || errors.Is(err, client.ErrNotLogged) || errors.Is(err, client.ErrWithheld) || errors.Is(err, errNothing) ||
		errors.Is(err, registry.ErrNotFound) || holdsBad(err) {
		l.failures = 0
		return
	}
	l.failures, l.err = l.failures+1, err
}
