package log

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"cratelog/cargo/registry"
	"cratelog/entry"
)

const (
	maxListings     = 4096    // names of which it is kept what a registry said
	maxListingLines = 1 << 18 // lines of all of them together
	registryAtOnce  = 4       // questions to one registry
)

// listing is what a registry said of a name, kept to answer from and to ask whether it changed. It
// is not changed.
type listing struct {
	at               time.Time // when it was said
	etag, lastChange string    // validators, "" if there were none
	lines            []listingLine
}

// listingLine is what a log looks at of a line of an index.
type listingLine struct {
	name, version string
	sum           [32]byte
}

// registryFailure says that a registry gave no answer that could be used, and when to ask again.
type registryFailure struct {
	wait  time.Duration
	words string // for strangers: no address, nothing that the registry said
	err   error
}

func (f *registryFailure) Error() string { return fmt.Sprintf("%s: %v", f.words, f.err) }
func (f *registryFailure) Unwrap() error { return f.err }

// oddAnswer is a failure that may be about one name only.
type oddAnswer struct {
	until   time.Time
	failure *registryFailure
}

// registryIndex asks one registry: one question about a name at a time, few at once, and none while
// it has asked to be left alone.
type registryIndex struct {
	log     *Log
	subject string
	client  registry.Index
	budget  *registryBudget
	flights singleflight.Group // by path in the index
	slots   chan struct{}      // one element per question

	mu       sync.Mutex
	listings *lru.Cache[string, *listing]  // by path in the index; changed with mu only
	odd      *lru.Cache[string, oddAnswer] // likewise: names about which it answers, and not usefully
	lines    int                           // of all listings
	since    time.Time                     // when it began to give no answer; zero: it answers
	doubt    *string                       // the name, or registryConfig, that probe asks about; nil: nothing is in doubt
	paused   time.Time                     // until when it is not asked
	why      *registryFailure              // the last one
}

func (l *Log) newRegistryIndex(r Registry, budget *registryBudget) (*registryIndex, error) {
	url, err := r.sparse()
	if err != nil {
		return nil, err
	}
	x := &registryIndex{log: l, subject: r.Subject, budget: budget, slots: make(chan struct{}, registryAtOnce)}
	x.client = registry.Index{URL: url, Token: r.Token, UserAgent: "cratelog-logd", Cache: x,
		HTTP: &http.Client{Timeout: registryTimeout, Transport: &registryTransport{x, http.DefaultTransport}}}
	x.listings, err = lru.NewWithEvict(maxListings, func(_ string, old *listing) { x.lines -= len(old.lines) })
	if err == nil {
		x.odd, err = lru.New[string, oddAnswer](maxListings)
	}
	return x, err
}

// known decides about a subject by what is kept, if that is enough: what was listed once, or was not
// a moment ago.
func (x *registryIndex) known(s entry.Subject) (err error, known bool) {
	x.mu.Lock()
	kept, ok := x.listings.Get(registry.Path(s.Name))
	x.mu.Unlock()
	if !ok {
		return nil, false
	}
	left := x.left(kept)
	err = kept.judge(s, left)
	return err, err == nil || left > 0
}

// left is how much longer it is believed that a registry lists no more than it did.
func (x *registryIndex) left(s *listing) time.Duration {
	return registryFresh - x.log.registryNow().Sub(s.at)
}

// ask asks what the registry says of a name now, or joins who asks already. When ctx ends the
// question goes on. Its error is a *registryFailure, or ctx's.
func (x *registryIndex) ask(ctx context.Context, name string) (*listing, error) {
	flight := x.flights.DoChan(registry.Path(name), func() (any, error) { return x.fetch(name, clientOf(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-flight:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*listing), nil
	}
}

// fetch asks the registry about a name, for a client.
func (x *registryIndex) fetch(name, client string) (*listing, error) {
	ctx, cancel := context.WithTimeout(x.log.ctx, registryTimeout)
	defer cancel()
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return nil, &registryFailure{registryPause, "too many questions wait for it", ctx.Err()}
	}
	if kept, ok := x.listings.Get(registry.Path(name)); ok && x.left(kept) > 0 { // somebody else has just asked
		return kept, nil
	}
	if err := x.leftAlone(name); err != nil {
		return nil, err
	}
	if err := x.allow(ctx, name, client); err != nil {
		return nil, err
	}
	f, err := x.client.File(ctx, name)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return nil, x.failed(err, name)
	}
	said := &listing{at: x.log.registryNow(), etag: f.ETag, lastChange: f.LastModified, lines: linesOf(name, f.Body)}
	x.answered()
	x.keep(registry.Path(name), said)
	return said, nil
}

// leftAlone returns the failure after which it is too early to ask, about all names or this one.
func (x *registryIndex) leftAlone(name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.log.registryNow()
	if wait := x.paused.Sub(now); wait > 0 {
		return &registryFailure{wait, x.why.words, x.why.err}
	}
	if odd, ok := x.odd.Get(registry.Path(name)); ok && odd.until.After(now) {
		return &registryFailure{odd.until.Sub(now), odd.failure.words, odd.failure.err}
	}
	return nil
}

// allow holds names that the log has no entry of to half of the budget, so that a flood of them
// leaves the other half to those who were here before; and each client to a quarter of that half.
func (x *registryIndex) allow(ctx context.Context, name, client string) error {
	known := false
	err := x.log.index.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM entries WHERE name = ? AND registry = ?)",
		name, x.subject).Scan(&known)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if known {
		return nil
	}
	if wait := x.budget.takeStrange(client); wait > 0 {
		x.log.registryRequests.WithLabelValues(x.subject, "no-budget").Inc()
		return &registryFailure{wait, "so many new names were asked about, by all or by one address, that this log must wait",
			errRegistryBudget}
	}
	return nil
}

// linesOf reads an index file. As cargo, it passes over a line that it cannot read; the name's spelling
// is for judge.
func linesOf(name string, body []byte) (lines []listingLine) {
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
	for raw := range bytes.Lines(body) {
		r, err := registry.ParseRelease(bytes.TrimRight(raw, "\r\n"))
		if err == nil && fold(r.Name) == fold(name) {
			lines = append(lines, listingLine{strings.Clone(r.Name), strings.Clone(r.Version), r.Checksum})
		}
	}
	return lines
}

func (x *registryIndex) keep(path string, said *listing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(said.lines) > maxListingLines {
		x.listings.Remove(path)
		return
	}
	if old, ok := x.listings.Peek(path); ok {
		x.lines -= len(old.lines) // what is overwritten is not evicted
	}
	x.listings.Add(path, said)
	x.lines += len(said.lines)
	for x.lines > maxListingLines {
		x.listings.RemoveOldest()
	}
}

// Load makes an index file of what is kept of one, for a question whether it changed.
func (x *registryIndex) Load(url string) (registry.Cached, bool) {
	x.mu.Lock()
	kept, ok := x.listings.Peek(strings.TrimPrefix(url, x.client.URL))
	x.mu.Unlock()
	if !ok || kept.etag+kept.lastChange == "" {
		return registry.Cached{}, false
	}
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	for _, l := range kept.lines {
		_ = lines.Encode(map[string]string{"name": l.name, "vers": l.version, "cksum": fmt.Sprintf("%x", l.sum)})
	}
	return registry.Cached{ETag: kept.etag, LastModified: kept.lastChange, Body: body.Bytes()}, true
}

// Store does nothing: fetch keeps what a file says, and not the file.
func (x *registryIndex) Store(string, registry.Cached) {}

// registryConfig stands for config.json, where else the name of a crate does.
const registryConfig = ""

// failed notes that there was no answer about a name, and returns what is said of it.
func (x *registryIndex) failed(err error, name string) *registryFailure {
	f := &registryFailure{registryPause, "it did not answer", err}
	var status *registry.StatusError
	var spent *spentError
	switch {
	case errors.As(err, &spent):
		return &registryFailure{spent.wait, "this log has asked it as often as it may in a minute", err}
	case x.log.ctx.Err() != nil:
		return f // the log is closing
	case errors.As(err, &status):
		f.words = fmt.Sprintf("it answered %d", status.Status)
		f.wait = min(max(status.Wait(time.Now()), registryPause), maxRegistryWait)
	}
	now := x.log.registryNow()
	x.mu.Lock()
	defer x.mu.Unlock()
	silent := status == nil || status.Status == http.StatusTooManyRequests ||
		status.Status >= http.StatusInternalServerError
	if silent {
		x.paused = now.Add(f.wait)
	}
	if silent || name == registryConfig {
		x.doubt, x.why = &name, f
		if x.since.IsZero() {
			x.since = now
		}
	} else { // it may be about this name only: config.json will show
		x.odd.Add(registry.Path(name), oddAnswer{now.Add(max(f.wait, registryFresh)), f})
		if config := registryConfig; x.doubt == nil {
			x.doubt = &config
		}
	}
	x.log.log.Warn("the registry gave no answer", "registry", x.subject, "name", name, "err", err, "again_in", f.wait)
	return f
}

// answered notes that there was an answer. What the registry asked for stays: the answer may be to an
// older question.
func (x *registryIndex) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.since.IsZero() {
		x.log.log.Info("the registry answers again", "registry", x.subject)
	}
	x.since, x.doubt = time.Time{}, nil
}

// failing returns since when a registry has given no answer, zero if it has, and why in words.
func (x *registryIndex) failing() (since time.Time, why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.since.IsZero() {
		return x.since, ""
	}
	return x.since, x.why.words
}

// probe asks a registry again about what it did not answer, so that its silence ends without a
// submission. If nothing is in doubt, it does so only if always is set.
func (x *registryIndex) probe(ctx context.Context, always bool) {
	x.mu.Lock()
	paused, doubt := x.paused.After(x.log.registryNow()), x.doubt
	x.mu.Unlock()
	if paused || doubt == nil && !always {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	name, err := registryConfig, error(nil)
	if doubt != nil {
		name = *doubt
	}
	if name == registryConfig {
		fresh := registry.Index{URL: x.client.URL, Token: x.client.Token, UserAgent: x.client.UserAgent, HTTP: x.client.HTTP}
		_, err = fresh.Config(ctx) // an Index remembers it
	} else if _, err = x.client.File(ctx, name); errors.Is(err, registry.ErrNotFound) {
		err = nil
	}
	var status *registry.StatusError
	if err == nil || name != registryConfig && errors.As(err, &status) && status.Status < http.StatusInternalServerError &&
		status.Status != http.StatusTooManyRequests {
		x.answered() // perhaps not about this name
	}
	if err != nil {
		x.failed(err, name)
	}
}

// registryTransport makes requests within the budget, redirects included, and counts them.
type registryTransport struct {
	x    *registryIndex
	next http.RoundTripper
}

func (t *registryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	count := func(result string) { t.x.log.registryRequests.WithLabelValues(t.x.subject, result).Inc() }
	if wait := t.x.budget.take(); wait > 0 {
		count("no-budget")
		return nil, &spentError{wait}
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		count("error")
		return nil, err
	}
	count(strconv.Itoa(resp.StatusCode))
	return resp, nil
}

var errRegistryBudget = errors.New("the budget of requests to registries is spent")

// spentError is errRegistryBudget with the time after which there is some again.
type spentError struct{ wait time.Duration }

func (e *spentError) Error() string { return errRegistryBudget.Error() }

// registryBudget bounds the requests of any minute to all registries. Names that the log does not know
// may take half of it.
type registryBudget struct {
	now func() time.Time

	mu           sync.Mutex
	all, strange []time.Time // when the last requests were made, oldest first
	strangers    []string    // whose those of strange were
}

// take takes a request from the budget, or returns after which time there is one.
func (b *registryBudget) take() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeOf(b.all)
}

func (b *registryBudget) takeStrange(client string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	ends, share := b.now().Add(-time.Minute), (len(b.strange)+3)/4
	for i := len(b.strange) - 1; i >= 0 && b.strange[i].After(ends); i-- {
		if b.strangers[i] != client {
			continue
		}
		if share--; share == 0 {
			return b.strange[i].Sub(ends)
		}
	}
	wait := b.takeOf(b.strange)
	if wait == 0 {
		copy(b.strangers, b.strangers[1:])
		b.strangers[len(b.strangers)-1] = client
	}
	return wait
}

// takeOf takes one if the oldest is a minute ago. The caller holds mu.
func (b *registryBudget) takeOf(last []time.Time) time.Duration {
	now := b.now()
	if wait := last[0].Add(time.Minute).Sub(now); wait > 0 {
		return wait
	}
	copy(last, last[1:])
	last[len(last)-1] = now
	return 0
}
