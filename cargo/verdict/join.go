package verdict

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"cratelog/build"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/opening"
)

// Join asks the logs in their order what they show about a binary of a crate, and returns the joined
// file of the first that shows builds of it. The Joined of b is not looked at; its Crate is asked for
// the crate itself, if the commit's lock file is to be found. Nothing of what it returns is verified
// but that the log's tree holds it; Build does the rest. The error is a *Error.
func (c *Checker) Join(ctx context.Context, b Binary) ([]byte, error) {
	raw, err := c.join(ctx, b)
	if err == nil {
		return raw, nil
	}
	e := Explain(err)
	if e.Status = Unchecked; errors.Is(err, client.ErrNotLogged) || errors.Is(err, ErrRegistry) {
		e.Status = Violation
	}
	return nil, e
}

func (c *Checker) join(ctx context.Context, b Binary) ([]byte, error) {
	if err := errors.Join(entry.CheckName(b.Package.Name), entry.CheckVersion(b.Package.Version)); err != nil {
		return nil, refuse(ErrUnreadable, "Look at the name", "%q %q is no crate: %v", b.Package.Name,
			b.Package.Version, err)
	}
	want := Want{Name: b.Package.Name, Version: b.Package.Version, Demand: policy.Demand{Package: b.Package}}
	if err := c.barred(want); err != nil {
		return nil, err
	}
	if c.cfg.Offline {
		return nil, refuse(ErrNotCached, "Make the file once without --offline, with --join, or name one that you "+
			"have", "no file of builds of %s %s is "+
			"at hand, and nothing is fetched offline", want.Name, want.Version)
	}
	var none, failed error
	for _, s := range c.sources {
		if s.log == nil || !c.mayAsk(want, s) || c.cfg.Policy.Builds != nil && c.cfg.Policy.Builds.Log != "" &&
			c.cfg.Policy.Builds.Log != s.origin {
			continue
		}
		j := &joining{c: c, s: s, b: b}
		switch raw, err := j.run(ctx); {
		case err == nil:
			return raw, nil
		case errors.Is(err, client.ErrNotLogged):
			none = refuse(client.ErrNotLogged, "Rebuild it with cargo zkp rebuild; whoever does so can attest it",
				"the log %s shows no build of %s %s",
				s.origin, want.Name, want.Version)
		default:
			failed = err
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case none != nil:
		return nil, none
	}
	return nil, noLog(c.cfg.Policy)
}

// joining is a joined file on its way.
type joining struct {
	c *Checker
	s *source
	b Binary

	tiles *client.Tiles
	size  uint64
	out   client.Joined
	seen  map[uint64]bool // indexes of source entries

	subject entry.Subject // of the builds

	mu sync.Mutex // guards out.Sources, out.Lock and seen
}

func (j *joining) run(ctx context.Context) ([]byte, error) {
	if err := j.head(ctx); err != nil { // first, so that the builds are all that it covers
		return nil, err
	}
	subject := entry.Subject{Registry: j.c.cfg.Policy.RulesFor(j.b.Package, j.c.cfg.Now()).Registry,
		Name: j.b.Package.Name, Version: j.b.Package.Version}
	rows, size, err := j.s.log.BuildsWithSize(ctx, subject)
	if err != nil {
		return nil, j.failed("which builds it holds", err)
	}
	if size < j.size { // else a dissent that the checkpoint covers may be missing
		return nil, refuse(ErrUnreachable, "Try again in a minute", "the log %s lists the builds of %s %s in a tree "+
			"of %d entries only, and its checkpoint is of %d", j.s.origin, subject.Name, subject.Version, size, j.size)
	}
	if rows = j.pick(rows); len(rows) == 0 {
		return nil, client.ErrNotLogged
	}
	if j.subject, err = j.builds(ctx, rows); err != nil {
		return nil, err
	}
	if j.out.List, err = j.s.log.CompiledList(ctx, rows[0].Compiled); err != nil {
		return nil, j.failed("what was compiled", err)
	}
	list, err := build.ParseList(j.out.List)
	if err != nil {
		return nil, j.failed("what was compiled", err)
	}
	if err := j.sources(ctx, append(build.List{build.Crate(j.subject)}, list...)); err != nil {
		return nil, err
	}
	return j.out.Marshal()
}

func (j *joining) failed(what string, err error) error {
	if errors.Is(err, client.ErrNotLogged) {
		return err
	}
	return refuse(both(ErrUnreachable, err), "Try again when the log answers", "the log %s did not say %s: %v",
		j.s.origin, what, err)
}

// pick returns the builds of one binary for one target, the first of which made the reader's, if any did.
func (j *joining) pick(rows []client.BuildRow) (out []client.BuildRow) {
	fits := func(r client.BuildRow) bool { return j.b.Name == "" || r.Binary == j.b.Name }
	at := slices.IndexFunc(rows, func(r client.BuildRow) bool { return fits(r) && r.Artifact == j.b.SHA256 })
	if at < 0 {
		at = slices.IndexFunc(rows, fits)
	}
	if at < 0 {
		return nil
	}
	first := rows[at]
	out = append(out, first)
	for i, r := range rows {
		if i != at && r.Binary == first.Binary && r.Target == first.Target {
			out = append(out, r)
		}
	}
	return out
}

// head fetches the checkpoint for all parts.
func (j *joining) head(ctx context.Context) error {
	signed, err := j.s.log.Checkpoint(ctx)
	if err != nil {
		return j.failed("which its newest checkpoint is", err)
	}
	c, err := j.s.trust.Policy.CheckCheckpointRules(signed, client.Rules{AllowNoWitnesses: j.c.cfg.Policy.Development})
	if err != nil {
		return err
	}
	if c.Origin != j.s.origin {
		return refuse(client.ErrLog, "Tell its operator", "the log %s shows the checkpoint of another one, %q",
			j.s.origin, c.Origin)
	}
	j.out.Checkpoint, j.tiles, j.size, j.seen = c.Signed, j.s.log.Tiles(c), uint64(c.Size), map[uint64]bool{}
	return nil
}

// builds fetches the build entries, and returns the subject of the first.
func (j *joining) builds(ctx context.Context, rows []client.BuildRow) (s entry.Subject, err error) {
	for i, r := range rows {
		if r.Index >= j.size {
			if i == 0 {
				return s, refuse(ErrUnreachable, "Try again in a minute", "the log %s shows a build that no "+
					"checkpoint covers yet, of entry %d", j.s.origin, r.Index)
			}
			continue
		}
		p, err := j.tiles.Part(ctx, r.Index)
		if err != nil {
			return s, err
		}
		e, err := entry.Parse(p.Entry)
		if err != nil {
			return s, &client.Error{Reason: client.ErrEntry, What: fmt.Sprintf("entry %d of %s", r.Index,
				j.s.origin), Err: err}
		}
		claim, ok := e.Claim.(*entry.Build)
		if i == 0 {
			s = e.Subject
		}
		if !ok || e.Subject != s || claim.Binary != r.Binary || claim.Target != r.Target ||
			claim.Artifact != r.Artifact || claim.Compiled != r.Compiled {
			return s, refuse(ErrUnreachable, "Tell its operator", "the log %s says of entry %d what does not "+
				"stand in it", j.s.origin, r.Index)
		}
		j.out.Builds = append(j.out.Builds, p)
	}
	slices.SortFunc(j.out.Builds, byIndex)
	return s, nil
}

func byIndex(a, b client.Part) int {
	switch {
	case a.Index < b.Index:
		return -1
	case a.Index > b.Index:
		return 1
	}
	return 0
}

// sources fetches the source entries of crates that are logged.
func (j *joining) sources(ctx context.Context, all build.List) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(inFlight)
	for _, c := range all {
		if !j.c.mayAsk(Want{Demand: policy.Demand{Package: pkgOf(c)}}, j.s) {
			continue
		}
		g.Go(func() error { return j.source(ctx, c) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.SortFunc(j.out.Sources, byIndex)
	return nil
}

func (j *joining) source(ctx context.Context, c build.Crate) error {
	raw, err := j.s.log.Bundle(ctx, j.c.cfg.Policy.QueryFor(pkgOf(c)))
	if errors.Is(err, client.ErrNotLogged) {
		return nil
	} else if err != nil {
		return j.failed("whether it holds "+c.Name+" "+c.Version, err)
	}
	p, err := client.ParseProof(raw)
	if err != nil {
		return err
	}
	if p.Index >= j.size { // logged this moment
		return nil
	}
	part, err := j.tiles.Part(ctx, p.Index)
	if err != nil {
		return err
	}
	e, err := entry.Parse(part.Entry)
	if err != nil || e.Subject != entry.Subject(c) {
		return nil // of another .crate of that version, which proves nothing about this one
	}
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return nil
	}
	var lock []byte
	if e.Subject.SHA256 == j.subject.SHA256 {
		lock = j.lock(ctx, e, src)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.seen[p.Index] {
		j.seen[p.Index], j.out.Sources = true, append(j.out.Sources, part)
	}
	if lock != nil {
		j.out.Lock = lock
	}
	return nil
}

// lock returns the commit's Cargo.lock if the claim about the crate names one: out of the claim's opening, for which
// the .crate is needed. Without it, the file does not show who chose the versions; Build says so.
func (j *joining) lock(ctx context.Context, e *entry.Entry, src *entry.Source) []byte {
	if src.Lock == nil || j.b.Crate == nil {
		return nil
	}
	raw, err := j.b.Crate(ctx, build.Crate(e.Subject))
	if err != nil || sha256.Sum256(raw) != e.Subject.SHA256 {
		return nil
	}
	c, err := crate.ReadHashed(raw, e.Subject.SHA256, e.Subject.Name, e.Subject.Version, limits)
	if err != nil {
		return nil
	}
	list, err := c.List(src)
	if err != nil {
		return nil
	}
	id, err := e.Identity()
	if err != nil {
		return nil
	}
	o, err := j.s.log.Opening(ctx, id)
	if err != nil {
		return nil
	}
	opened, err := opening.Check(o, src, list)
	if err != nil {
		return nil
	}
	return opened.Lock
}

// Whose asks the logs of which crates published builds make a file. It is their word: Build
// verifies it for the one that is meant. The error is a *Error.
func (c *Checker) Whose(ctx context.Context, sum [32]byte) ([]client.ArtifactRow, error) {
	var failed error
	if c.cfg.Offline {
		failed = refuse(ErrNotCached, "Say NAME@VERSION and name the file of builds with --bundle", "nothing is "+
			"asked offline")
	}
	for _, s := range c.sources {
		if s.log == nil || c.cfg.Offline {
			continue
		}
		rows, err := s.log.Artifact(ctx, sum)
		switch {
		case err == nil && len(rows) > 0:
			return rows, nil
		case err != nil && !errors.Is(err, client.ErrNotLogged):
			failed = refuse(both(ErrUnreachable, err), "Try again when the log answers", "the log %s did not say "+
				"whose binary it is: %v", s.origin, err)
		}
	}
	if failed != nil {
		return nil, Explain(failed)
	}
	e := Explain(refuse(ErrAnotherBinary, "Do not run it before you know where it comes from; cargo zkp rebuild "+
		"makes one of a crate that you know",
		"no build that the logs show makes a binary with the SHA-256 %x", sum))
	e.Status = Violation
	return nil, e
}
