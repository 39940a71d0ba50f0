package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cratelog/cargo/registry"
	"cratelog/entry"
)

// Registry is a registry whose index says which crates exist. A log that names registries admits
// claims about what they list, and about nothing else: so nobody takes a name that is not theirs.
type Registry struct {
	// Subject is the registry as entries name it, byte for byte: entry.DefaultRegistry, or the URL of
	// its index as entry.Registry returns it; "" for what follows from Index.
	Subject string
	Index   string // base URL of the sparse index, which may begin with "sparse+"; https, or http on a loopback address
	Token   string // sent as Authorization; "" if the registry wants none for reading
}

const (
	// defaultRegistryRequests is the budget of a log whose settings name none, a minute.
	defaultRegistryRequests = 120
	maxRegistryRequests     = 60_000 // each is remembered for a minute

	// registryFresh is how long it is believed that a registry does not list something.
	registryFresh = 10 * time.Second

	registryTimeout = 15 * time.Second // of one question
	registryPause   = 5 * time.Second  // after an answer that is none and names no time to ask again
	maxRegistryWait = time.Hour        // that a registry may ask for
	registryProbe   = time.Minute      // between two looks at a registry that does not answer
	registrySilent  = 5 * time.Minute  // without an answer, after which /healthz says so
)

// registries are those of a log's settings. They are replaced as a whole.
type registries struct {
	subjects []string // in the order of the settings
	of       map[string]*registryIndex
	waiting  chan struct{} // one element per submission that waits
}

// openRegistries is a step of Open.
func (l *Log) openRegistries(context.Context) error {
	l.registryRequests = newRegistryMetric()
	l.metrics.registry.MustRegister(l.registryMetrics()...)
	if err := l.SetRegistries(l.cfg.Registries, l.cfg.RegistryRequests); err != nil {
		return err
	}
	l.problems = append(l.problems, l.registryProblems)
	l.watcher.Go(func() { l.watchRegistries(l.ctx) })
	return nil
}

// SetRegistries replaces the registries that the log asks; none: it asks none. requests bounds the
// requests to all of them together in any minute; 0: 120. It may be called while the log is open, which
// then forgets what registries have said. What an error was returned for is not taken over.
func (l *Log) SetRegistries(list []Registry, requests int) error {
	if requests < 0 || requests > maxRegistryRequests {
		return fmt.Errorf("registry_requests is %d: it must be from 0 to %d", requests, maxRegistryRequests)
	}
	if requests == 0 {
		requests = defaultRegistryRequests
	}
	all := &registries{of: make(map[string]*registryIndex), waiting: make(chan struct{}, l.limits.Waiting)}
	budget := &registryBudget{now: l.registryNow, all: make([]time.Time, requests),
		strange: make([]time.Time, (requests+1)/2), strangers: make([]string, (requests+1)/2)}
	for _, r := range list {
		r.Subject = cmp.Or(r.Subject, entry.Registry(r.Index))
		x, err := l.newRegistryIndex(r, budget)
		if err != nil {
			return fmt.Errorf("the registry %q: %w", r.Subject, err)
		}
		if all.of[r.Subject] != nil {
			return fmt.Errorf("the registry %q is named twice", r.Subject)
		}
		all.of[r.Subject], all.subjects = x, append(all.subjects, r.Subject)
	}
	l.registries.Store(all)
	return nil
}

func (l *Log) registryNow() time.Time {
	if l.cfg.testingOnlyRegistryNow != nil {
		return l.cfg.testingOnlyRegistryNow()
	}
	return time.Now()
}

// takesRegistry refuses a subject of a registry that the log does not ask. It costs nothing, so it
// comes before the proof.
func (l *Log) takesRegistry(s entry.Subject) error {
	all := l.registries.Load()
	if len(all.subjects) == 0 || all.of[s.Registry] != nil {
		return nil
	}
	return refuse(RegistryRefused, nil, "This log takes crates of these registries only, byte for byte: %s. The entry "+
		"names the registry %q.", quoteAll(all.subjects), s.Registry)
}

func quoteAll(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(quoted, ", ")
}

// listed asks the registry of a subject whether it lists that version with that checksum. It comes
// after all other checks: who makes the log ask has a true claim about a true .crate.
func (l *Log) listed(ctx context.Context, s entry.Subject) error {
	all := l.registries.Load()
	x := all.of[s.Registry]
	if x == nil {
		return l.takesRegistry(s)
	}
	if err, known := x.known(s); known {
		return err
	}
	select {
	case all.waiting <- struct{}{}:
		defer func() { <-all.waiting }()
	default:
		return later(Overloaded, l.retry, nil, "Too many submissions wait for the registry: try again later.")
	}
	said, err := x.ask(ctx, s.Name)
	var not *registryFailure
	switch {
	case err == nil:
		return said.judge(s, x.left(said))
	case errors.As(err, &not):
		return registryLater(RegistryUnavailable, not.wait, not, "The registry could not be asked about %v, so this says "+
			"nothing about the entry: %s. Try again later.", keyOf(s), not.words)
	}
	return err
}

// judge decides about a subject by what a registry said of its name. The answer is a *Refusal, of
// which that the version is not listed ends after left.
func (s *listing) judge(sub entry.Subject, left time.Duration) error {
	var others []string // versions that differ in build metadata
	found := false
	bare, _, _ := strings.Cut(sub.Version, "+")
	for _, line := range s.lines {
		if version, _, _ := strings.Cut(line.version, "+"); version == bare && line.version != sub.Version {
			others = append(others, line.version)
		}
		if line.version != sub.Version {
			continue
		}
		found = true
		switch {
		case line.name != sub.Name:
			return refuse(RegistryMismatch, nil, "The registry writes the name of %v as %q, and an entry must too.", keyOf(sub),
				line.name)
		case line.sum != sub.SHA256:
			return refuse(RegistryMismatch, nil,
				"The registry lists %v with the SHA-256 %x, and the entry is about %x: this log "+
					"takes what the registry lists, and nothing else. Publish a new version, or prove what is listed.", keyOf(sub),
				line.sum, sub.SHA256)
		}
	}
	if found {
		return nil
	}
	more := ""
	if len(others) > 0 {
		slices.Sort(others)
		more = fmt.Sprintf(" (It lists %s, which is another version.)", quoteAll(slices.Compact(others)[:1]))
	}
	return registryLater(NotInRegistry, left, nil,
		"The registry does not list %v, and this log takes only what it lists. All "+
			"else about the entry is checked, and good: publish the crate, and submit the entry again when the registry's index "+
			"lists it, which can take minutes.%s", keyOf(sub), more)
}

// registryLater is a refusal that asks to try again after a time, and a little more that differs from
// caller to caller.
func registryLater(reason Reason, wait time.Duration, err error, format string, args ...any) *Refusal {
	r := refuse(reason, err, format, args...)
	wait = max(wait, time.Second)
	r.RetryAfter = wait + rand.N(min(wait, registryFresh))
	return r
}

// registryProblems are the registries that have not answered for long, for /healthz.
func (l *Log) registryProblems() (problems []string) {
	all := l.registries.Load()
	for _, subject := range all.subjects {
		if since, why := all.of[subject].failing(); !since.IsZero() && l.registryNow().Sub(since) >= registrySilent {
			problems = append(problems, fmt.Sprintf("the registry %q has given no answer for %v, so nothing new of it is "+
				"admitted: %s", subject, l.registryNow().Sub(since).Round(time.Second), why))
		}
	}
	return problems
}

// watchRegistries asks registries that do not answer, so that it is known when they do again, and
// all at the start, so that a wrong URL is known before the first submission.
func (l *Log) watchRegistries(ctx context.Context) {
	t := time.NewTicker(registryProbe)
	defer t.Stop()
	var looked *registries
	for {
		all := l.registries.Load()
		for _, subject := range all.subjects {
			all.of[subject].probe(ctx, all != looked)
		}
		looked = all
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func newRegistryMetric() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "cratelog_registry_requests_total",
		Help: "Requests to registries, by registry and result: a status code, error, or no-budget of one that was not made."},
		[]string{"registry", "result"})
}

// registryMetrics are the collectors of this file's part.
func (l *Log) registryMetrics() []prometheus.Collector {
	return []prometheus.Collector{l.registryRequests, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cratelog_registry_silent_seconds",
		Help: "How long the registry that has been silent for longest has given no answer; 0: all answered when last asked."},
		func() float64 {
			longest, all := time.Duration(0), l.registries.Load()
			for _, x := range all.of {
				if since, _ := x.failing(); !since.IsZero() {
					longest = max(longest, l.registryNow().Sub(since))
				}
			}
			return longest.Seconds()
		})}
}

// registrySubjects are the registries that the log asks, never nil.
func (l *Log) registrySubjects() []string {
	return append([]string{}, l.registries.Load().subjects...)
}

// Check checks what settings say of a registry; it asks nobody.
func (r Registry) Check() error {
	_, err := r.sparse()
	return err
}

// sparse returns the checked base URL of a registry's index.
func (r Registry) sparse() (string, error) {
	if err := entry.CheckRegistry(cmp.Or(r.Subject, entry.Registry(r.Index))); err != nil {
		return "", fmt.Errorf("subject: %w", err)
	}
	index, err := registry.SparseURL(r.Index)
	if err == nil {
		err = registry.CheckURL(index, false)
	}
	if err != nil {
		return "", fmt.Errorf("index: %w", err)
	}
	return index, nil
}
