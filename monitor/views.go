package monitor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/monitor/store"
)

// source shows checkpoints of the log: a witness, or a mirror.
type source struct {
	name    string // "witness NAME" or "mirror URL"
	url     string // of the checkpoint, or "" if it cannot be asked
	witness *client.PolicyWitness
	down    string // kinds of its findings
	behind  string
}

func (f *follower) makeSources(l LogConfig) error {
	names := make(map[string]bool)
	for _, w := range f.policy.Witnesses() {
		names[w.Name] = true
		url, given := l.Witnesses[w.Name]
		if !given {
			url = w.URL
		}
		if url == "" || url == "-" {
			continue
		}
		// SPEC (tlog-witness): GET <monitoring prefix>/<hex SHA-256 of the origin>/checkpoint
		f.views = append(f.views, source{
			name: "witness " + w.Name, witness: &w, down: kindWitnessUnreachable, behind: kindWitnessBehind,
			url: fmt.Sprintf("%s/%x/checkpoint", strings.TrimSuffix(url, "/"), sha256.Sum256([]byte(f.origin))),
		})
	}
	for _, v := range f.views {
		if err := f.m.checkURL(v.url); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	for name := range l.Witnesses {
		if !names[name] {
			return fmt.Errorf("the trust file does not list a witness %q", name)
		}
	}
	for _, base := range f.bases[1:] {
		f.views = append(f.views, source{name: "mirror " + base, url: base + "checkpoint",
			down: kindMirrorUnreachable, behind: kindMirrorBehind})
	}
	return nil
}

// viewLoop looks at the witnesses and mirrors until ctx ends.
func (f *follower) viewLoop(ctx context.Context) error {
	if len(f.views) == 0 {
		return nil
	}
	return again(ctx, f.cfg.ViewPoll.Duration, nil, f.pollViews)
}

// pollViews looks at every witness and mirror once. A slow one delays no other.
func (f *follower) pollViews(ctx context.Context) error {
	var g errgroup.Group
	for _, v := range f.views {
		g.Go(func() error { return f.pollView(ctx, v) })
	}
	err := g.Wait()
	f.wake()
	return err
}

func (f *follower) pollView(ctx context.Context, v source) error {
	signed, failed := f.m.get(ctx, v.url, client.MaxCheckpointSize)
	var c store.Checkpoint
	if failed == nil {
		if c, failed = f.observe(ctx, signed, v.name); isLocal(failed) {
			return failed
		}
	}
	var cosigned time.Time
	if failed == nil && v.witness != nil {
		if cosigned, failed = f.ownCosignature(signed, v.witness); failed != nil {
			failed = fmt.Errorf("%w: %w", errGarbled, failed)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	view, err := f.noteView(ctx, v.name, v.url, c, cosigned, failed)
	if err != nil {
		return err
	}
	if failed != nil {
		f.trouble.add("%s: %s: %v", f.origin, v.name, failed)
	}
	return f.apply(ctx, condition{
		kind: v.down, about: v.name, active: failed != nil, since: view.Failing, limit: f.cfg.ViewUnreachable.Duration,
		summary: fmt.Sprintf("The %s shows no checkpoint of %s.", v.name, f.origin), detail: view.Error,
	})
}

// ownCosignature returns when a witness cosigned the checkpoint that it serves.
func (f *follower) ownCosignature(signed []byte, w *client.PolicyWitness) (time.Time, error) {
	c, err := f.noQuorum.CheckCheckpointRules(signed, lenient)
	if err != nil {
		return time.Time{}, err
	}
	for _, g := range c.Cosignatures {
		if g.KeyName == w.KeyName && g.KeyID == w.KeyID {
			return g.Time, nil
		}
	}
	return time.Time{}, errors.New("the checkpoint does not have the witness's own cosignature")
}

// noteView stores what a source showed just now, or why it did not.
func (f *follower) noteView(ctx context.Context, name, url string, c store.Checkpoint, cosigned time.Time,
	failed error) (store.View, error) {
	now := f.cfg.Now()
	v, known, err := f.store.View(ctx, f.id, name)
	if err != nil {
		return v, err
	}
	if !known {
		v = store.View{Log: f.id, Source: name, Size: -1, Largest: -1}
	}
	v.URL, v.Tried, v.Error = url, now, ""
	if failed != nil {
		v.Error = printable(errorText(failed))
		if v.Failing.IsZero() {
			v.Failing = now
		}
	} else {
		if c.Size != v.Size {
			v.Changed = now
		}
		v.Size, v.Root, v.Cosigned, v.Seen, v.Failing = c.Size, c.Root, cosigned, now, time.Time{}
		if c.Verdict != store.Inconsistent {
			v.Largest = max(v.Largest, c.Size)
		}
	}
	return v, f.store.PutView(ctx, v)
}

// isLocal says that an error is one of this machine, and not about what a source showed.
func isLocal(err error) bool {
	var refused *client.Error
	return err != nil && !errors.As(err, &refused) && !errors.Is(err, errFull) && !errors.Is(err, errAbsurd)
}

// pollLog looks at the log's own checkpoint.
func (f *follower) pollLog(ctx context.Context) error {
	before, _, err := f.store.View(ctx, f.id, sourceLog)
	if err != nil {
		return err
	}
	signed, failed := f.log.Checkpoint(ctx)
	garbled := false
	var c store.Checkpoint
	if failed == nil {
		c, failed = f.observe(ctx, signed, sourceLog)
		if isLocal(failed) {
			return failed
		}
		garbled = failed != nil
	}
	if ctx.Err() != nil {
		return nil
	}
	view, err := f.noteView(ctx, sourceLog, f.bases[0]+"checkpoint", c, time.Time{}, failed)
	if err != nil {
		return err
	}
	if failed != nil {
		f.trouble.add("%s: %v", f.origin, failed)
		f.cfg.Logger.Warn("no checkpoint from the log", "log", f.origin, "err", failed)
	}
	err = f.apply(ctx, f.silent(kindLogUnreachable, "The log %s does not answer.", view, failed != nil && !garbled),
		f.silent(kindLogGarbled, "What the log %s answers is not a checkpoint with its signature.", view, garbled))
	if failed != nil {
		return err // how old its checkpoint is, it did not show
	}
	return errors.Join(err, f.checkLogView(ctx, before, signed, c))
}

// silent: the log does not answer, or not with a checkpoint. The summary has a place for
// its origin.
func (f *follower) silent(kind, summary string, view store.View, active bool) condition {
	return condition{
		kind: kind, active: active, since: view.Failing, limit: f.cfg.Unreachable.Duration,
		summary: fmt.Sprintf(summary, f.origin), detail: view.Error,
	}
}

// checkLogView looks at what the log's own checkpoint lacks.
func (f *follower) checkLogView(ctx context.Context, before store.View, signed []byte, c store.Checkpoint) error {
	shown, lacks := f.policy.CheckCheckpointRules(signed, lenient)
	var old error
	if lacks == nil && f.policy.NeedsWitnesses() {
		_, old = f.policy.CheckCheckpointRules(signed, client.Rules{MaxAge: f.cfg.MaxAge.Duration, Now: f.cfg.Now()})
	}
	for _, err := range []error{lacks, old} {
		if err != nil {
			f.trouble.add("%s: %v", f.origin, err)
		}
	}
	back := c.Verdict != store.Inconsistent && c.Size < before.Largest
	if p, err := f.store.Position(ctx, f.id); err != nil {
		return err
	} else if back && c.Size < p.Verified {
		f.trouble.add("%s: it shows %d entries, and %d of it are verified", f.origin, c.Size, p.Verified)
	}
	return f.apply(ctx, f.quorumLost(lacks), f.stale(c, shown.Witnessed, old), f.rolledBack(c, before.Largest, back))
}

// quorumLost: the latest checkpoint lacks cosignatures.
func (f *follower) quorumLost(lacks error) condition {
	return condition{
		kind: kindQuorumLost, active: lacks != nil, since: f.begins("quorum", lacks != nil),
		limit:   f.cfg.Unreachable.Duration,
		summary: fmt.Sprintf("The latest checkpoint of %s is not cosigned by the quorum.", f.origin),
		detail:  errorText(lacks),
	}
}

// stale: the latest cosignatures are old.
func (f *follower) stale(c store.Checkpoint, witnessed time.Time, old error) condition {
	return condition{
		kind: kindStale, active: old != nil, detail: errorText(old), build: f.staleEvidence(c),
		summary: fmt.Sprintf("The latest checkpoint of %s was cosigned at %s.", f.origin,
			witnessed.Format(time.RFC3339)),
	}
}

// rolledBack: the log shows less than it did.
func (f *follower) rolledBack(c store.Checkpoint, largest int64, active bool) condition {
	return condition{
		kind: kindRollback, active: active, since: f.begins("rollback", active),
		limit: f.cfg.Rollback.Duration, build: f.staleEvidence(c),
		summary: fmt.Sprintf("The log %s shows a tree of %d entries, and has shown one of %d.",
			f.origin, c.Size, largest),
		detail: "The two are consistent, so it is a server that fell back to an older state, or an attempt to hide " +
			"entries.",
	}
}

func (f *follower) staleEvidence(c store.Checkpoint) maker {
	return func() (*evidence.Evidence, error) { return evidence.NewStale(c.Signed, f.meta(c)) }
}

// errorText is an error for people, "" for none.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if u := new(url.Error); errors.As(err, &u) {
		s = strings.Replace(s, u.Error(), u.URL+" does not answer: "+cause(u), 1)
	}
	return s
}

// cause says why a request failed, in words for people.
func cause(u *url.Error) string {
	var number syscall.Errno
	var name *net.DNSError
	switch {
	case u.Timeout():
		return "it took too long"
	case errors.As(u, &number):
		return number.Error()
	case errors.As(u, &name):
		return "the name " + name.Name + " is not known"
	case errors.Is(u, io.EOF), errors.Is(u, io.ErrUnexpectedEOF):
		return "it hung up"
	}
	return u.Err.Error()
}

// checkViews finds sources that lag behind what others have shown.
func (f *follower) checkViews(ctx context.Context) error {
	views, err := f.store.Views(ctx, f.id)
	if err != nil {
		return err
	}
	for _, v := range views {
		since, more, err := f.store.SeenAbove(ctx, f.id, max(v.Size, 0))
		if err != nil {
			return err
		}
		c := condition{
			kind: kindLogBehind, active: more && v.Failing.IsZero() && v.Size >= 0, since: since,
			limit: f.cfg.Behind.Duration,
			summary: fmt.Sprintf("The %s shows %s with %d entries; others have shown more since %s.", v.Source,
				f.origin, v.Size, since.Format(time.RFC3339)),
		}
		if v.Source == sourceLog {
			c.detail = "Either it lags, or it hides entries from this monitor. Ask from another network."
			c.build = f.viewEvidence(ctx, v)
		} else {
			i := slices.IndexFunc(f.views, func(s source) bool { return s.name == v.Source })
			if i < 0 {
				continue // it was configured once
			}
			c.kind, c.about = f.views[i].behind, v.Source
		}
		if err := f.apply(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) viewEvidence(ctx context.Context, v store.View) maker {
	return func() (*evidence.Evidence, error) {
		c, ok, err := f.store.CheckpointOf(ctx, f.id, v.Size, v.Root)
		if err != nil || !ok {
			return nil, errors.Join(err, errors.New("the checkpoint of the view is not stored"))
		}
		return f.staleEvidence(c)()
	}
}
