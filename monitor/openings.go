package monitor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/monitor/store"
	"cratelog/opening"
)

const (
	// openingsPerLook bounds how many openings a log is asked for before other work has its turn.
	openingsPerLook = 256
	// openingGiveUp is how many questions in a row may fail before the others wait.
	openingGiveUp = 4
	// openingMaxWait is the longest time after which an opening that could not be used is asked for
	// again.
	openingMaxWait = 6 * time.Hour
)

// openingsOnce asks the log for openings of verified entries: again for those that could not be
// used, or not be compared; for those of new entries; and from time to time for those of all
// entries that had none. A log owes nobody an opening, so that there is none is no trouble.
func (f *follower) openingsOnce(ctx context.Context) error {
	if !f.cfg.Openings {
		return nil
	}
	l := &openingLook{f: f, left: openingsPerLook}
	return steps(ctx, l.due, l.new, l.all, l.settle)
}

// openingLook is one look at a log's openings.
type openingLook struct {
	f       *follower
	left    int // questions that it may ask
	failing int // questions in a row that failed
}

func (l *openingLook) over(ctx context.Context) bool {
	return l.left <= 0 || l.failing >= openingGiveUp || ctx.Err() != nil
}

// due asks for openings whose time has come.
func (l *openingLook) due(ctx context.Context) error {
	f := l.f
	due, err := f.store.DueOpenings(ctx, f.id, f.cfg.Now(), openingsPerLook)
	if err != nil {
		return err
	}
	for _, o := range due {
		if l.over(ctx) {
			return nil
		}
		e, ok, err := f.store.EntryAt(ctx, f.id, o.Index)
		if err == nil && ok {
			err = l.entry(ctx, e, o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// new asks for the openings of entries for the first time.
func (l *openingLook) new(ctx context.Context) error {
	f := l.f
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	_, err = l.walk(ctx, p.Openings, p.Verified, func(next int64) error { return f.store.SetOpenings(ctx, f.id, next) })
	return err
}

// all asks once more for the openings that were not there, when the last time is long ago.
func (l *openingLook) all(ctx context.Context) error {
	f := l.f
	p, err := f.store.Position(ctx, f.id)
	if err != nil {
		return err
	}
	now := f.cfg.Now()
	set := func(next int64) error { return f.store.SetReopen(ctx, f.id, next, p.Reopening) }
	switch {
	case p.Reopening.IsZero():
		p.Reopening = now
		return set(idle) // none was asked for before now
	case p.Reopen == idle && now.Sub(p.Reopening) < f.cfg.Reopen.Duration:
		return nil
	case p.Reopen == idle:
		p.Reopen, p.Reopening = 0, now
	}
	done, err := l.walk(ctx, p.Reopen, p.Openings, set)
	if err != nil || !done {
		return err
	}
	return set(idle)
}

// walk asks for the openings of entries with from <= index < to, but for those that are known, and
// stores how far it came. done is false if it has to go on another time.
func (l *openingLook) walk(ctx context.Context, from, to int64, set func(next int64) error) (done bool, err error) {
	began := from
	for e, err := range l.f.store.EntriesIn(ctx, l.f.id, from, to) {
		if err != nil {
			return false, err
		}
		if l.over(ctx) {
			break
		}
		known, ok, err := l.f.store.Opening(ctx, l.f.id, e.Index)
		if err == nil && (!ok || known.NextTry.IsZero() && known.State == store.OpeningObjects) {
			err = l.entry(ctx, e, known)
		}
		if err != nil {
			return false, errors.Join(err, set(from))
		}
		if ctx.Err() != nil {
			break // perhaps before there was an answer
		}
		from = e.Index + 1
	}
	if from != began {
		err = set(from)
	}
	return from >= to, err
}

// entry asks for the opening of one entry, of which known is known. Its error is one of the store or
// the disk.
func (l *openingLook) entry(ctx context.Context, e store.Entry, known store.Opening) error {
	f := l.f
	parsed, err := entry.Parse(e.Data)
	if err != nil || e.Verdict != store.OK {
		return nil
	}
	claim, ok := parsed.Claim.(*entry.Source)
	if !ok {
		return nil
	}
	if sleep(ctx, f.cfg.OpeningInterval.Duration) != nil {
		return nil
	}
	l.left--
	raw, err := f.log.Opening(ctx, e.Identity)
	var status *client.StatusError
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusGone ||
		status.Status == http.StatusMethodNotAllowed):
		l.failing = 0
		return f.store.DropOpening(ctx, f.id, e.Index)
	case err != nil:
		l.failing++
		return f.unusable(ctx, e, known, err)
	}
	l.failing = 0
	return f.checkOpening(ctx, opened{e, parsed, claim, raw}, known)
}

// opened is an entry with what the log served as its opening.
type opened struct {
	row   store.Entry
	entry *entry.Entry
	claim *entry.Source
	raw   []byte
}

// checkOpening compares an opening with what the entry's proof has shown: with the list of the
// .crate's files if the registry has that .crate, else with the commit alone. The names in it are
// told to nobody, but for those that the .crate has too.
func (f *follower) checkOpening(ctx context.Context, o opened, known store.Opening) error {
	now := f.cfg.Now()
	out := store.Opening{Log: f.id, Index: o.row.Index, SHA256: opening.Name(o.raw), Since: now, State: store.OpeningHolds}
	list, expected := f.listOf(ctx, o.row)
	if ctx.Err() != nil {
		return nil
	}
	err := f.compareOpening(o, list)
	var contradiction *opening.Contradiction
	switch {
	case err == nil && list == nil:
		out.State = store.OpeningObjects
		if expected { // it is logged before it is published
			if known.State == out.State {
				out.Since = known.Since
			}
			out.NextTry = now.Add(min(max(now.Sub(out.Since), time.Minute), f.cfg.Reopen.Duration))
		}
	case err == nil:
	case errors.As(err, &contradiction):
		out.State = store.OpeningContradict
		err = f.reportContradiction(ctx, o.row, contradiction, list)
	case errors.Is(err, opening.ErrNoVerdict):
		out.State = store.OpeningNoVerdict
		x := f.entryFinding(kindNoVerdict, o.row)
		x.Summary = fmt.Sprintf("The opening of %s of %s shows nothing either way.", what(o.row), f.origin)
		x.Detail = "One of the commit's objects is one that git refuses, or carries an attack on SHA-1. That convicts " +
			"nobody; look at the commit."
		err = f.report(ctx, x, nil, nil)
	default:
		return f.unusable(ctx, o.row, known, err)
	}
	if err != nil {
		return err
	}
	return f.store.PutOpening(ctx, out)
}

// compareOpening checks an opening with a list, or without one.
func (f *follower) compareOpening(o opened, list *crate.List) error {
	if list != nil {
		_, err := opening.Check(o.raw, o.claim, list)
		return err
	}
	chains, errs := f.cfg.Proofs.Chains([]*entry.Entry{o.entry})
	if errs[0] != nil {
		return fmt.Errorf("the proof of this entry does not hold any more: %w", errs[0])
	}
	return opening.CheckObjects(o.raw, o.claim, chains[0].Objects())
}

// listOf returns the list of an entry's files, for which its proof holds; nil if that is not known.
// expected says that it can be known later. What is wrong with a .crate is found and said where it is
// compared with the registry.
func (f *follower) listOf(ctx context.Context, e store.Entry) (list *crate.List, expected bool) {
	if !f.cfg.Contents || !f.sells(e) || f.pause(ctx) != nil {
		return nil, false
	}
	raw, err := f.cfg.Registry.Download(ctx, e.Name, e.Version, e.SHA256)
	if err != nil {
		return nil, true
	}
	_, list, why := checkContents(raw, e)
	if why != nil || list == nil || f.checkList(e, list.Bytes) != nil {
		return nil, false
	}
	return list, true
}

// reportContradiction accuses the program of a proof.
func (f *follower) reportContradiction(ctx context.Context, e store.Entry, c *opening.Contradiction,
	list *crate.List) error {
	x := f.entryFinding(kindContradiction, e)
	x.Summary = fmt.Sprintf("The commit's own objects contradict %s of %s, whose proof holds: it was forged.", what(e),
		f.origin)
	x.Detail = fmt.Sprintf("By them, %s. Believe no proof of the program %x any more: its keys are known to a forger, or "+
		"the program is wrong. The log could not know this.", c.Why, e.Program)
	err := f.local(ctx, x, e, func(t store.Checkpoint, leaf evidence.Leaf) (*evidence.Evidence, error) {
		return evidence.NewOpeningContradiction(t.Signed, leaf, evidence.Attached{Program: f.program(e.Program),
			List: list.Bytes}, c, f.meta(t))
	})
	if local := (*localError)(nil); errors.As(err, &local) {
		return local.err
	}
	return err
}

// unusable notes that the log did not serve an opening, or something else.
func (f *follower) unusable(ctx context.Context, e store.Entry, known store.Opening, why error) error {
	f.trouble.add("%s: opening of %s: %v", f.origin, what(e), why)
	now := f.cfg.Now()
	since := now
	if known.State == store.OpeningUnusable {
		since = known.Since
	}
	wait := min(max(now.Sub(since), time.Minute), openingMaxWait)
	return f.store.PutOpening(ctx, store.Opening{Log: f.id, Index: e.Index, State: store.OpeningUnusable, Since: since,
		NextTry: now.Add(wait), Why: clip(printable(errorText(why)))})
}

// settle says whether the log serves its openings.
func (l *openingLook) settle(ctx context.Context) error {
	f := l.f
	if ctx.Err() != nil {
		return nil
	}
	n, oldest, err := f.store.UnusableOpenings(ctx, f.id, maxNamed)
	if err != nil {
		return err
	}
	c := condition{kind: kindOpeningsUnusable, active: n > 0, limit: f.cfg.ViewUnreachable.Duration}
	if c.active {
		c.since = oldest[0].Since
		c.summary = fmt.Sprintf("The log %s serves no usable opening of %d of its entries, and does not say that it has none.",
			f.origin, n)
		c.detail = "They are asked for again."
		for _, o := range oldest {
			c.detail += fmt.Sprintf(" Entry %d: %s.", o.Index, o.Why)
		}
	}
	return f.apply(ctx, c)
}
