package monitor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/cargo/registry"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/monitor/store"
)

const (
	sourceRegistry = "registry"
	// registryPage is how many entries are compared before the position is stored.
	registryPage = 64
	// registryRetries is how many missing releases are asked for again at a time.
	registryRetries = 64
)

// registryLoop compares verified entries with the registry until ctx ends.
func (f *follower) registryLoop(ctx context.Context) error {
	if f.cfg.Registry == nil {
		return nil
	}
	return again(ctx, f.cfg.Poll.Duration, nil, f.registryOnce)
}

// registryOnce compares all entries that are verified and were not compared yet, asks
// again for releases that were missing, and from time to time for all the others: a
// registry may change its mind. It stops where the registry does not answer, and goes on
// from there the next time.
func (f *follower) registryOnce(ctx context.Context) error {
	if f.cfg.Registry == nil {
		return nil
	}
	for _, step := range []func(context.Context) (done bool, err error){f.askAgain, f.compareNew, f.compareAgain} {
		if done, err := step(ctx); err != nil || !done {
			return err
		}
	}
	return nil
}

// askAgain asks for releases that were missing.
func (f *follower) askAgain(ctx context.Context) (bool, error) {
	s := f.store
	look := &registryLook{f: f, download: f.cfg.Contents}
	due, err := s.DueRetries(ctx, f.id, f.cfg.Now(), registryRetries)
	if err != nil {
		return false, err
	}
	for _, r := range due {
		e, ok, err := s.EntryAt(ctx, f.id, r.Index)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if done, err := look.entry(ctx, e, r.Since); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

// compareNew compares entries for the first time.
func (f *follower) compareNew(ctx context.Context) (bool, error) {
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return false, err
	}
	return f.compare(ctx, &registryLook{f: f, download: f.cfg.Contents}, p.Registry,
		p.Verified, func(next int64) error {
			return f.store.SetRegistry(ctx, f.id, next)
		})
}

// idle is the position of comparing again while it is not time to.
const idle = -1

// compareAgain compares all entries with the index once more, when the last time is
// long ago. A .crate that does not have the index's checksum, cargo refuses itself.
func (f *follower) compareAgain(ctx context.Context) (bool, error) {
	s := f.store
	p, err := s.Position(ctx, f.id)
	if err != nil {
		return false, err
	}
	now := f.cfg.Now()
	switch {
	case p.Rechecking.IsZero():
		return true, s.SetRecheck(ctx, f.id, idle, now) // nothing was compared before now
	case p.Recheck == idle && now.Sub(p.Rechecking) < f.cfg.Recheck.Duration:
		return true, nil
	case p.Recheck == idle:
		p.Recheck, p.Rechecking = 0, now
	}
	done, err := f.compare(ctx, &registryLook{f: f}, p.Recheck, p.Registry, func(next int64) error {
		return s.SetRecheck(ctx, f.id, next, p.Rechecking)
	})
	if err != nil || !done {
		return false, err
	}
	return true, s.SetRecheck(ctx, f.id, idle, p.Rechecking)
}

// compare compares entries with from <= index < to, and stores how far it came. done is
// false if the registry did not answer.
func (f *follower) compare(ctx context.Context, look *registryLook, from, to int64,
	store func(next int64) error) (done bool, err error) {
	for from < to {
		next := from
		for e, err := range f.store.EntriesIn(ctx, f.id, from, min(to, from+registryPage)) {
			if err != nil {
				return false, err
			}
			if done, err := look.entry(ctx, e, f.cfg.Now()); err != nil || !done {
				return false, errors.Join(err, store(next))
			}
			next = e.Index + 1
		}
		if err := store(next); err != nil {
			return false, err
		}
		from = next
	}
	return true, nil
}

// registryLook is one walk over entries. It remembers the index file of the crate
// that it looked at last.
type registryLook struct {
	f        *follower
	download bool // the .crate too
	name     string
	releases []registry.Release
	err      error
}

// entry compares one entry. done is false if the registry did not answer.
func (l *registryLook) entry(ctx context.Context, e store.Entry, since time.Time) (done bool, err error) {
	if e.Name == "" {
		return true, nil
	}
	f := l.f
	release, err := l.release(ctx, e)
	if errors.Is(err, registry.ErrNotFound) {
		return true, errors.Join(f.registryAnswers(ctx, nil), f.missing(ctx, e, since))
	}
	if err == nil && release.Checksum == e.SHA256 && l.download {
		err = l.contents(ctx, e)
	} else if err == nil && release.Checksum != e.SHA256 {
		err = f.reportRegistry(ctx, kindRegistryIndex, e, true, release.Checksum)
	}
	var local *localError
	switch {
	case errors.As(err, &local):
		return false, local.err
	case ctx.Err() != nil:
		return false, nil
	case err != nil:
		return false, f.registryAnswers(ctx, err)
	}
	return true, errors.Join(f.registryAnswers(ctx, nil), f.store.DropRetry(ctx, f.id, e.Index))
}

// localError is one of the store or the disk.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }

// release finds what the index says about an entry's version.
func (l *registryLook) release(ctx context.Context, e store.Entry) (registry.Release, error) {
	if l.name != e.Name {
		if err := l.f.pause(ctx); err != nil {
			return registry.Release{}, err
		}
		l.name = e.Name
		l.releases, l.err = l.f.cfg.Registry.Releases(ctx, e.Name)
	}
	if l.err != nil {
		err := l.err
		if !errors.Is(err, registry.ErrNotFound) {
			l.name = "" // ask again
		}
		return registry.Release{}, err
	}
	var found registry.Release
	for _, r := range l.releases {
		if r.Version == e.Version {
			// Of a version with two lines, the one that differs from the log's is reported.
			if found.Version == "" || r.Checksum != e.SHA256 {
				found = r
			}
		}
	}
	if found.Version == "" {
		return found, registry.ErrNotFound
	}
	return found, nil
}

// contents downloads a .crate and compares it with the claim. A .crate that is
// damaged on its way is fetched again before the registry is accused.
func (l *registryLook) contents(ctx context.Context, e store.Entry) error {
	f := l.f
	var raw []byte
	var wrong *registry.ChecksumError
	for range 2 {
		if err := f.pause(ctx); err != nil {
			return err
		}
		before := wrong
		var err error
		raw, err = f.cfg.Registry.Download(ctx, e.Name, e.Version, e.SHA256)
		wrong = nil
		if err == nil {
			break
		}
		if !errors.As(err, &wrong) {
			return err
		}
		if before != nil && before.Got != wrong.Got {
			return fmt.Errorf("%s %s: two downloads had two wrong checksums: %w", e.Name, e.Version, err)
		}
	}
	if wrong != nil {
		return f.reportRegistry(ctx, kindRegistryServed, e, false, wrong.Got)
	}
	why := checkContents(raw, e)
	if why == nil {
		return nil
	}
	x := f.entryFinding(kindCrateMismatch, e)
	x.Summary = fmt.Sprintf("The .crate of %s of %s does not have the files that are claimed.", what(e), f.origin)
	x.Detail = why.Error()
	return f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
		return evidence.NewFalseEntry(evidence.Files, t.Signed, leaf, raw, f.meta(t))
	})
}

func checkContents(raw []byte, e store.Entry) error {
	parsed, err := entry.Parse(e.Data)
	if err != nil {
		return nil // reported as malformed
	}
	src, ok := parsed.Claim.(*entry.Source)
	if !ok {
		return nil
	}
	c, err := crate.Read(raw, e.Name, e.Version, crate.DefaultLimits)
	if err != nil {
		return err
	}
	return c.Check(parsed.Subject, src)
}

// local reports about an entry with evidence; its errors are those of this machine.
func (f *follower) local(ctx context.Context, x store.Finding, e store.Entry,
	build func(store.Checkpoint, evidence.Leaf) (*evidence.Evidence, error)) error {
	err := f.report(ctx, x, nil, func() (*evidence.Evidence, error) {
		t, ok, err := f.store.Covering(ctx, f.id, e.Index+1)
		if err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("no checkpoint covers entry %d", e.Index))
		}
		leaf, err := f.leaf(ctx, e, t)
		if err != nil {
			return nil, err
		}
		return build(t, leaf)
	})
	if err != nil {
		return &localError{err}
	}
	return nil
}

func (f *follower) reportRegistry(ctx context.Context, kind string, e store.Entry, index bool, sum [32]byte) error {
	x := f.entryFinding(kind, e)
	x.Summary = fmt.Sprintf("%s's index has another checksum for %s %s than the log %s.",
		sentenceCase(f.cfg.RegistryName), e.Name, e.Version, f.origin)
	if !index {
		x.Summary = fmt.Sprintf("%s serves another .crate for %s %s than its index and the log %s name.",
			sentenceCase(f.cfg.RegistryName), e.Name, e.Version, f.origin)
	}
	x.Detail = fmt.Sprintf("The registry: %x. Entry %d: %x. Either the registry serves something else than was "+
		"proved, or an attacker logged another .crate under this name and version.", sum, e.Index, e.SHA256)
	return f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
		return evidence.NewRegistryMismatch(t.Signed, leaf, evidence.Registry{Name: printable(f.cfg.RegistryName),
			Index: index, SHA256: sum}, f.meta(t))
	})
}

func sentenceCase(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// missing notes that the registry does not have a release; it is common that one is
// logged before it is published.
func (f *follower) missing(ctx context.Context, e store.Entry, since time.Time) error {
	now := f.cfg.Now()
	age := now.Sub(since)
	if age >= f.cfg.Missing.Duration {
		x := f.entryFinding(kindNotInRegistry, e)
		x.Summary = fmt.Sprintf("%s %s stands in the log %s, but %s does not have it.", e.Name, e.Version,
			f.origin, f.cfg.RegistryName)
		if err := f.report(ctx, x, nil, nil); err != nil {
			return err
		}
		return f.store.DropRetry(ctx, f.id, e.Index)
	}
	wait := min(max(age, time.Minute), f.cfg.Missing.Duration-age)
	return f.store.PutRetry(ctx, store.Retry{Log: f.id, Index: e.Index, Since: since, NextTry: now.Add(wait)})
}

// registryAnswers notes whether it does.
func (f *follower) registryAnswers(ctx context.Context, failed error) error {
	if ctx.Err() != nil {
		return nil
	}
	if failed != nil {
		f.trouble.add("%s: registry: %v", f.origin, failed)
	} else if !f.waits(sourceRegistry) {
		return nil
	}
	return f.apply(ctx, condition{
		kind: kindRegistryDown, active: failed != nil, since: f.begins(sourceRegistry, failed != nil),
		limit:   f.cfg.ViewUnreachable.Duration,
		summary: fmt.Sprintf("%s does not answer.", sentenceCase(f.cfg.RegistryName)), detail: errorText(failed),
	})
}

// pause keeps to the rate.
func (f *follower) pause(ctx context.Context) error { return sleep(ctx, f.cfg.Interval.Duration) }
