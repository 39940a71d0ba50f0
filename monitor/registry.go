package monitor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	// registryRetries is how many releases are asked for again at a time.
	registryRetries = 64
	// registryGiveUp is how many questions in a row may fail before the others wait.
	registryGiveUp = 4
	// registryMaxWait is the longest time after which what failed is asked again.
	registryMaxWait = 6 * time.Hour
	// maxNamed is how many releases a finding names about which there is no answer.
	maxNamed = 5
)

// compareLoop compares verified entries with the registry, and with their openings, and looks at the log's
// evidence against builders, until ctx ends: one after the other, so that the registry is asked no faster than the settings say.
func (f *follower) compareLoop(ctx context.Context) error {
	return again(ctx, f.cfg.Poll.Duration, nil, func(ctx context.Context) error {
		return steps(ctx, f.registryOnce, f.openingsOnce, f.contradictionsOnce)
	})
}

// registryOnce asks again for what was missing or not answered, compares all entries that
// are verified and were not compared yet, and from time to time all the others: a registry
// may change its mind. What the registry does not answer well about one crate keeps no
// other from being compared: it is remembered, and asked again ever more slowly.
func (f *follower) registryOnce(ctx context.Context) error {
	if f.cfg.Registry == nil {
		return nil
	}
	return steps(ctx, f.askAgain, f.compareNew, f.compareAgain)
}

// askAgain asks for releases that were missing, or about which there was no answer.
func (f *follower) askAgain(ctx context.Context) error {
	due, err := f.store.DueRetries(ctx, f.id, f.cfg.Now(), registryRetries)
	if err != nil {
		return err
	}
	look := &registryLook{f: f, download: f.cfg.Contents}
	for _, r := range due {
		e, ok, err := f.store.EntryAt(ctx, f.id, r.Index)
		if err == nil && !ok {
			err = f.store.DropRetry(ctx, f.id, r.Index)
		}
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if more, err := look.entry(ctx, e, r); err != nil {
			return err
		} else if !more {
			break
		}
	}
	return look.settle(ctx)
}

// compareNew compares entries for the first time.
func (f *follower) compareNew(ctx context.Context) error {
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	_, err = f.compare(ctx, &registryLook{f: f, download: f.cfg.Contents}, p.Registry, p.Verified, func(next int64) error {
		return f.store.SetRegistry(ctx, f.id, next)
	})
	return err
}

// idle is the position of comparing again while it is not time to.
const idle = -1

// compareAgain compares all entries with the index once more, when the last time is
// long ago. A .crate that does not have the index's checksum, cargo refuses itself.
func (f *follower) compareAgain(ctx context.Context) error {
	s := f.store
	p, err := s.Position(ctx, f.id)
	if err != nil {
		return err
	}
	now := f.cfg.Now()
	switch {
	case p.Rechecking.IsZero():
		return s.SetRecheck(ctx, f.id, idle, now) // nothing was compared before now
	case p.Recheck == idle && now.Sub(p.Rechecking) < f.cfg.Recheck.Duration:
		return nil
	case p.Recheck == idle:
		p.Recheck, p.Rechecking = 0, now
	}
	done, err := f.compare(ctx, &registryLook{f: f}, p.Recheck, p.Registry, func(next int64) error {
		return s.SetRecheck(ctx, f.id, next, p.Rechecking)
	})
	if err != nil || !done {
		return err
	}
	return s.SetRecheck(ctx, f.id, idle, p.Rechecking)
}

// compare compares entries with from <= index < to, and stores how far it came. done is
// false if it has to go on another time.
func (f *follower) compare(ctx context.Context, look *registryLook, from, to int64,
	store func(next int64) error) (done bool, err error) {
	for more := true; more && from < to; {
		for e, err := range f.store.EntriesIn(ctx, f.id, from, min(to, from+registryPage)) {
			if err != nil {
				return false, err
			}
			if more, err = look.entry(ctx, e, retry{}); err != nil || ctx.Err() != nil {
				return false, errors.Join(err, store(from))
			}
			if from = e.Index + 1; !more {
				break
			}
		}
		if err := errors.Join(store(from), look.settle(ctx)); err != nil {
			return false, err
		}
	}
	return from >= to, nil
}

type retry = store.Retry

// registryLook is one walk over entries. It remembers the index file of the crate
// that it looked at last.
type registryLook struct {
	f        *follower
	download bool // the .crate too
	name     string
	releases []registry.Release
	err      error

	failing  int   // questions in a row that failed
	answered bool  // a question did not fail, since the last settle
	failed   error // one did
}

// entry compares one entry, which was asked about before if r says so. It returns whether to
// go on. Its error is one of the store or the disk.
func (l *registryLook) entry(ctx context.Context, e store.Entry, r retry) (more bool, err error) {
	f := l.f
	if e.Name == "" || !f.sells(e) {
		return true, nil
	}
	err = l.compare(ctx, e)
	var local *localError
	switch {
	case errors.As(err, &local):
		return false, local.err
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, registry.ErrNotFound):
		err = f.missing(ctx, e, r)
	case err != nil:
		l.failed = err
		err = f.unanswered(ctx, e, r, err)
	default:
		err = f.store.DropRetry(ctx, f.id, e.Index)
	}
	return l.failing < registryGiveUp, err
}

// sells says whether an entry is about a crate of the registry.
func (f *follower) sells(e store.Entry) bool {
	return f.cfg.Registry != nil && e.Registry == cmp.Or(f.cfg.RegistrySubject, entry.Registry(f.cfg.RegistryIndex))
}

// asked counts a question.
func (l *registryLook) asked(err error) {
	if err == nil || errors.Is(err, registry.ErrNotFound) {
		l.failing, l.answered = 0, true
		return
	}
	l.failing++
	if status := new(registry.StatusError); errors.As(err, &status) && status.Status < http.StatusInternalServerError {
		l.answered = true // it is there, but says no
	}
}

// settle says how the registry answered since the last time.
func (l *registryLook) settle(ctx context.Context) error {
	answered, failed := l.answered, l.failed
	l.answered, l.failed = false, nil
	return l.f.registryAnswers(ctx, answered, failed)
}

// localError is one of the store or the disk.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }

// compare compares one entry. The error is registry.ErrNotFound if the registry does not have
// the release, a *localError, or says what the registry did not answer well.
func (l *registryLook) compare(ctx context.Context, e store.Entry) error {
	f := l.f
	lines, err := l.lines(ctx, e)
	if err != nil {
		return err
	}
	release := lines[len(lines)-1] // the one that counts for cargo
	if release.Checksum != e.SHA256 {
		return f.reportRegistry(ctx, kindRegistryIndex, e, true, release.Checksum)
	}
	known, err := f.store.Release(ctx, f.id, e.Index)
	if err != nil {
		return &localError{err}
	}
	lines = slices.DeleteFunc(lines, func(r registry.Release) bool { return r.Checksum != e.SHA256 })
	now := known
	now.Log, now.Index, now.Yanked = f.id, e.Index, release.Yanked
	sources := e.Kind == kindOfSource // a build says nothing of files
	if sources && (l.download || f.cfg.Contents && (known.Proven == nil || !f.sayWhat(lines, known.Proven))) {
		proven, err := l.contents(ctx, e, lines)
		if err != nil {
			return err
		}
		now.Proven = proven
	}
	if now.Yanked != known.Yanked || !bytes.Equal(now.Proven, known.Proven) {
		if err := f.store.PutRelease(ctx, now); err != nil {
			return &localError{err}
		}
	}
	if !sources || f.cfg.Publications == nil {
		return nil
	}
	return l.publication(ctx, e)
}

// publication asks how a release was published. Where a registry says so once, it is settled;
// where it says nothing, it is asked again with the next comparison.
func (l *registryLook) publication(ctx context.Context, e store.Entry) error {
	f := l.f
	known, asked, err := f.store.Publication(ctx, f.id, e.Index)
	if err != nil {
		return &localError{err}
	}
	if asked && known.Commit != "" {
		return nil
	}
	if err := f.pause(ctx); err != nil {
		return err
	}
	says, err := f.cfg.Publications.Trusted(ctx, e.Name, e.Version, e.SHA256)
	l.asked(err)
	if err != nil {
		return fmt.Errorf("how it was published: %v", err) // not wrapped: the index has the release
	}
	p := store.Publication{Log: f.id, Index: e.Index, Asked: f.cfg.Now()}
	if says != nil {
		p.Provider, p.Repository, p.Run, p.Commit = printable(says.Provider), printable(says.Repository),
			printable(says.Run), says.Commit
	}
	if says != nil && says.Commit != hex.EncodeToString(e.Commit[:]) {
		x := f.entryFinding(kindPublication, e)
		x.Summary = fmt.Sprintf("%s says that %s %s was published from another commit than the proven one.",
			sentenceCase(f.cfg.RegistryName), e.Name, e.Version)
		x.Detail = fmt.Sprintf("Its workflow %s of %s (%s) ran at commit %s; entry %d proves files of %x. "+
			"The files are the same as in the proven commit, whatever else the other one holds.", p.Run, p.Repository,
			p.Provider, p.Commit, e.Index, e.Commit)
		if err := f.report(ctx, x, nil, nil); err != nil {
			return &localError{err}
		}
	}
	if err := f.store.PutPublication(ctx, p); err != nil {
		return &localError{err}
	}
	return nil
}

// sayWhat says whether all lines that cargo can use say what has a digest.
func (f *follower) sayWhat(lines []registry.Release, digest []byte) bool {
	return !slices.ContainsFunc(lines, func(r registry.Release) bool {
		for _, index := range []string{f.cfg.RegistryIndex, ""} {
			s, err := r.Summary(index)
			if err != nil || len(digest) == 32 && s.Agrees([32]byte(digest)) {
				return false
			}
		}
		return true
	})
}

// lines finds what the index says about an entry's version: at least one line. A crate whose
// name is another in case is another crate.
func (l *registryLook) lines(ctx context.Context, e store.Entry) ([]registry.Release, error) {
	if l.name != e.Name {
		if err := l.f.pause(ctx); err != nil {
			return nil, err
		}
		l.releases, l.err = l.f.cfg.Registry.Releases(ctx, e.Name)
		l.name = e.Name
		l.asked(l.err)
	}
	if l.err != nil {
		return nil, l.err
	}
	var found []registry.Release
	for _, r := range l.releases {
		if r.Name == e.Name && r.Version == e.Version {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, registry.ErrNotFound
	}
	return found, nil
}

// contents downloads a .crate and compares it with the claim, and the index's lines with
// its Cargo.toml. It returns the digest of what these must say, nil if that is not known.
func (l *registryLook) contents(ctx context.Context, e store.Entry, lines []registry.Release) ([]byte, error) {
	f := l.f
	raw, err := l.fetch(ctx, e)
	if err != nil || raw == nil {
		return nil, err
	}
	c, list, why := checkContents(raw, e)
	if over := (*crate.ArchiveError)(nil); errors.As(why, &over) && over.Limit {
		return nil, fmt.Errorf("the .crate cannot be compared: %w", why)
	}
	if why != nil {
		x := f.entryFinding(kindCrateMismatch, e)
		x.Summary = fmt.Sprintf("The .crate of %s of %s does not have the files that are claimed.", what(e), f.origin)
		x.Detail = why.Error()
		return nil, f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
			return evidence.NewFalseEntry(evidence.Files, t.Signed, leaf, evidence.Attached{Crate: raw}, f.meta(t))
		})
	}
	if c == nil {
		return nil, nil
	}
	if why := f.checkList(e, list.Bytes); why != nil {
		x := f.entryFinding(kindFalseEntry, e)
		x.Summary = fmt.Sprintf("The proof of %s of %s does not hold for the files that are claimed.", what(e), f.origin)
		x.Detail = why.Error()
		return nil, f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
			return evidence.NewFalseEntry(evidence.ProofInvalid, t.Signed, leaf,
				evidence.Attached{Program: f.program(e.Program), List: list.Bytes}, f.meta(t))
		})
	}
	if err := f.describeCrate(ctx, e, c); err != nil {
		return nil, err
	}
	for _, line := range lines {
		diff, err := line.Deviation(f.cfg.RegistryIndex, c.Manifest())
		if err != nil || diff == "" {
			continue // a line that cargo cannot use misleads nobody
		}
		if err := f.reportLine(ctx, e, line, diff, raw); err != nil {
			return nil, err
		}
	}
	proven, err := registry.ManifestSummary(c.Manifest())
	if err != nil {
		return []byte{}, nil
	}
	sum := proven.Digest()
	return sum[:], nil
}

// describeCrate notes what the .crate says that the entry does not.
func (f *follower) describeCrate(ctx context.Context, e store.Entry, c *crate.Crate) error {
	info, err := c.VCSInfo()
	if err != nil {
		return nil // Check refuses such a .crate
	}
	if err := f.store.PutCrate(ctx, store.Crate{Log: f.id, Index: e.Index, Repository: clip(c.Repository()),
		NamesCommit: info != nil}); err != nil {
		return &localError{err}
	}
	return nil
}

// fetch downloads a .crate, nil if the registry serves another one. A .crate that is
// damaged on its way is fetched again before the registry is accused.
func (l *registryLook) fetch(ctx context.Context, e store.Entry) ([]byte, error) {
	f := l.f
	var wrong *registry.ChecksumError
	for range 2 {
		if err := f.pause(ctx); err != nil {
			return nil, err
		}
		before := wrong
		raw, err := f.cfg.Registry.Download(ctx, e.Name, e.Version, e.SHA256)
		l.asked(err)
		if err == nil {
			return raw, nil
		}
		if wrong = nil; !errors.As(err, &wrong) {
			return nil, fmt.Errorf("the .crate: %v", err) // not wrapped: the index has the release
		}
		if before != nil && before.Got != wrong.Got {
			return nil, fmt.Errorf("two downloads had two wrong checksums: %w", err)
		}
	}
	return nil, f.reportRegistry(ctx, kindRegistryServed, e, false, wrong.Got)
}

// checkContents compares a .crate with an entry's claim, and returns its list of files. What it
// cannot compare is nil.
func checkContents(raw []byte, e store.Entry) (*crate.Crate, *crate.List, error) {
	parsed, err := entry.Parse(e.Data)
	if err != nil {
		return nil, nil, nil // reported as malformed
	}
	src, ok := parsed.Claim.(*entry.Source)
	if !ok {
		return nil, nil, nil
	}
	c, err := crate.Read(raw, e.Name, e.Version, crate.DefaultLimits)
	if err != nil {
		return nil, nil, err
	}
	list, err := c.Check(parsed.Subject, src)
	if err != nil {
		return nil, nil, err
	}
	return c, list, nil
}

// checkList returns why the proof of an entry does not hold for the list of its files. An entry
// whose proof shows nothing even without the list was reported when it came.
func (f *follower) checkList(e store.Entry, list []byte) error {
	parsed, err := entry.Parse(e.Data)
	if err != nil {
		return nil
	}
	chains, errs := f.cfg.Proofs.Chains([]*entry.Entry{parsed})
	if errs[0] != nil {
		return nil
	}
	return chains[0].Check(list)
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

// reportLine accuses the registry of an index line.
func (f *follower) reportLine(ctx context.Context, e store.Entry, line registry.Release, diff string,
	raw []byte) error {
	x := f.entryFinding(kindRegistryManifest, e)
	x.Summary = fmt.Sprintf("%s's index says of %s %s what its Cargo.toml does not say.",
		sentenceCase(f.cfg.RegistryName), e.Name, e.Version)
	x.Detail = fmt.Sprintf("Of the index line: %s. cargo takes dependencies and features from this line, and not from "+
		"the Cargo.toml of the .crate that entry %d is about.", diff, e.Index)
	return f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
		return evidence.NewRegistryLine(t.Signed, leaf, evidence.Registry{Name: printable(f.cfg.RegistryName),
			URL: f.cfg.RegistryIndex, Line: line.Line}, raw, f.meta(t))
	})
}

func sentenceCase(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// since returns when what went wrong with an entry began: before, if r is of the same.
func (f *follower) since(r retry, answered bool) time.Time {
	if r.Since.IsZero() || (r.Why == "") != answered {
		return f.cfg.Now()
	}
	return r.Since
}

// missing notes that the registry does not have a release; it is common that one is
// logged before it is published.
func (f *follower) missing(ctx context.Context, e store.Entry, r retry) error {
	now, since := f.cfg.Now(), f.since(r, true)
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
	return f.store.PutRetry(ctx, retry{Log: f.id, Index: e.Index, Since: since, NextTry: now.Add(wait)})
}

// unanswered notes that the registry did not answer about an entry, or not what can be used.
func (f *follower) unanswered(ctx context.Context, e store.Entry, r retry, why error) error {
	f.trouble.add("%s: registry: %s %s: %v", f.origin, e.Name, e.Version, why)
	now, since := f.cfg.Now(), f.since(r, false)
	wait := min(max(now.Sub(since), time.Minute), registryMaxWait)
	return f.store.PutRetry(ctx, retry{Log: f.id, Index: e.Index, Since: since, NextTry: now.Add(wait),
		Why: clip(printable(errorText(why)))})
}

// maxWhy is how many bytes of what went wrong are kept.
const maxWhy = 300

func clip(s string) string {
	if len(s) > maxWhy {
		return strings.ToValidUTF8(s[:maxWhy], "") + "..."
	}
	return s
}

// registryAnswers notes whether it does: at all, and about every release. It does not answer
// if all questions failed, and not because of what was asked.
func (f *follower) registryAnswers(ctx context.Context, answered bool, failed error) error {
	if ctx.Err() != nil {
		return nil
	}
	down := failed != nil && !answered
	if down || answered && f.waits(sourceRegistry) {
		if err := f.apply(ctx, condition{
			kind: kindRegistryDown, active: down, since: f.begins(sourceRegistry, down),
			limit:   f.cfg.ViewUnreachable.Duration,
			summary: fmt.Sprintf("%s does not answer.", sentenceCase(f.cfg.RegistryName)), detail: errorText(failed),
		}); err != nil {
			return err
		}
	}
	n, oldest, err := f.store.Unanswered(ctx, f.id, maxNamed)
	if err != nil {
		return err
	}
	c := condition{kind: kindUnanswered, active: n > 0, limit: f.cfg.ViewUnreachable.Duration}
	if c.active {
		c.since = oldest[0].Since
		c.summary = fmt.Sprintf("%s does not answer well about %d of the entries of %s.",
			sentenceCase(f.cfg.RegistryName), n, f.origin)
		c.detail = "What could not be compared can be anything. It is asked again."
		for _, r := range oldest {
			c.detail += fmt.Sprintf(" Entry %d: %s.", r.Index, r.Why)
		}
		if failed == nil {
			f.trouble.add("%s: registry: %s", f.origin, c.summary)
		}
	}
	return f.apply(ctx, c)
}

// pause keeps to the rate.
func (f *follower) pause(ctx context.Context) error { return sleep(ctx, f.cfg.Interval.Duration) }
