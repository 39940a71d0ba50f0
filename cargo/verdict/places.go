package verdict

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// keeper is where evidence about crates may lie besides the cache and the logs: the registry that a
// crate comes from, or one of the reader's choice. What comes from there is verified as all else is.
type keeper struct {
	name  string // for people
	local bool   // a directory
	open  func(context.Context) (*registry.Evidence, error)
}

// places are those of a checker, each of which is opened once.
type places struct {
	cfg Config // but for its Policy

	mu sync.Mutex         // guards of
	of map[string]*keeper // by "registry" and an index, or as the policy names it
}

func newPlaces(cfg Config) *places { return &places{cfg: cfg, of: map[string]*keeper{}} }

// list returns where evidence about a package is looked for, in this order: its registry, which knows
// that it is used, then what the policy names. Offline, nothing but directories.
func (s *places) list(p *policy.Policy, index string) (out []*keeper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Fresh {
		return nil
	}
	if s.cfg.Registry != nil && !s.cfg.Offline {
		out = append(out, s.get("registry "+index, func() *keeper {
			x := s.cfg.Registry(index)
			if x == nil {
				return nil
			}
			return &keeper{name: "the registry " + x.URL, open: x.Evidence}
		}))
	}
	for _, at := range p.EvidenceFor(index) {
		out = append(out, s.get(at, func() *keeper {
			e, err := registry.OpenEvidence(at, s.cfg.HTTP, s.cfg.UserAgent)
			return &keeper{name: at, local: !registry.IsURL(at),
				open: func(context.Context) (*registry.Evidence, error) { return e, err }}
		}))
	}
	n := 0
	for _, at := range out {
		if at != nil && (at.local || !s.cfg.Offline) {
			out[n], n = at, n+1
		}
	}
	return out[:n]
}

// get returns a place that is known, or makes it. s.mu is held.
func (s *places) get(key string, make func() *keeper) *keeper {
	p, ok := s.of[key]
	if !ok {
		p = make()
		s.of[key] = p
	}
	return p
}

// placesOf returns where evidence about a package may lie.
func (c *Checker) placesOf(w Want) []*keeper { return c.places.list(c.cfg.Policy, w.Demand.Registry) }

// errMisplaced: a place has something else where a bundle must lie.
var errMisplaced = errors.New("it is no bundle of the log whose bundle must lie there")

// read reads a file of a place. Places that have none, or do not answer, are as good as empty.
func (p *keeper) read(ctx context.Context, path string, limit int64, link *link) ([]byte, error) {
	if err := link.broken(); err != nil {
		return nil, err
	}
	b, err := p.get(ctx, path, limit)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	link.note(err)
	return b, err
}

func (p *keeper) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	e, err := p.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if e == nil {
		return nil, errNothing
	}
	return e.Get(ctx, path, limit)
}

// bundle reads the bundle of a log that a place has about a package.
func (p *keeper) bundle(ctx context.Context, c *Checker, of *source, w Want, link *link) ([]byte, error) {
	path := registry.BundlePath(entry.Registry(w.Demand.Registry), w.Name, w.Version, of.origin)
	b, err := p.read(ctx, path, client.MaxBundleSize, link)
	switch {
	case errors.Is(err, durable.ErrTooLarge):
		err = &client.Error{Reason: client.ErrBundle, Err: err}
	case err == nil && c.sourceOf(b) != of:
		err = &client.Error{Reason: client.ErrBundle, Err: errMisplaced}
	}
	return b, err
}

// tiles returns what reads the tiles of a log that a place may have; nil if it has none.
func (p *keeper) tiles(ctx context.Context, origin, userAgent string) *client.Log {
	e, err := p.open(ctx)
	if err != nil || e == nil {
		return nil
	}
	url, http := e.Tiles(origin)
	if http == nil {
		return nil
	}
	return &client.Log{URL: url, HTTP: http, UserAgent: userAgent}
}

// holdsBad says that a place answered, and with what cannot be a bundle.
func holdsBad(err error) bool {
	return errors.Is(err, client.ErrBundle) || errors.Is(err, durable.ErrTooLarge)
}
