package verdict

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"cratelog/build"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/index"
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
		j := &joining{c: c, s: s, policy: s.trust.Policy.Of(s.origin), b: b}
		switch raw, err := j.run(ctx); {
		case err == nil:
			return raw, nil
		case errors.Is(err, client.ErrNotLogged):
			none = err
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

// joining is a joined file on its way: all of it under one checkpoint.
type joining struct {
	c      *Checker
	s      *source
	policy *client.Policy // of this log only
	b      Binary
	rules  client.Rules

	subject entry.Subject // of the builds
	version client.Lookup
	page    *client.Page
	sources []*logged
}

// A logged crate is one of which the log holds a source entry, as of a checkpoint.
type logged struct {
	bundle *client.Bundle // nil: it holds none
	result *client.Result
}

// A piece is a part of the file, which the log hands out under its checkpoint of that moment.
type piece struct {
	fetch func(context.Context) (client.Checkpoint, error)
	at    client.Checkpoint // that it came with, verified
	none  bool              // the log has none
}

func (j *joining) run(ctx context.Context) ([]byte, error) {
	pkg := j.b.Package
	j.rules = client.Rules{AllowNoWitnesses: j.c.cfg.Policy.Development, Now: j.c.cfg.Now()}
	j.subject = entry.Subject{Registry: j.c.cfg.Policy.RulesFor(pkg, j.c.cfg.Now()).Registry, Name: pkg.Name,
		Version: pkg.Version}
	rows, err := j.s.log.Builds(ctx, j.subject) // the log's word, by which the binary is chosen
	if err != nil && !errors.Is(err, client.ErrNotLogged) {
		return nil, j.failed("which builds it holds", err)
	}
	if rows = j.pick(rows); len(rows) == 0 {
		return nil, j.none(ctx)
	}
	lookup := &piece{fetch: j.lookup}
	if lookup.at, err = j.lookup(ctx); err != nil { // first, so that it is known which .crate the builds are of
		return nil, err
	}
	under := index.BinaryPrefix(j.subject.SHA256, rows[0].Binary, rows[0].Target)
	page := &piece{fetch: func(ctx context.Context) (client.Checkpoint, error) { return j.index(ctx, under) }}
	out := client.Joined{}
	if out.List, err = j.s.log.CompiledList(ctx, rows[0].Compiled); err != nil {
		return nil, j.failed("what was compiled", err)
	}
	list, err := build.ParseList(out.List)
	if err != nil {
		return nil, j.failed("what was compiled", err)
	}
	sources := j.crates(append(build.List{build.Crate(j.subject)}, list...))
	at, err := j.gather(ctx, []*piece{lookup, page}, sources)
	if err != nil {
		return nil, err
	}
	out.Checkpoint, out.Seal, out.Version, out.Complete = at.Signed, j.page.Seal, j.version, j.page.Proof
	if out.Builds, err = j.builds(ctx, at, rows[0]); err != nil {
		return nil, err
	}
	j.joinSources(ctx, &out, at)
	return out.Marshal()
}

func (j *joining) failed(what string, err error) error {
	reason := both(ErrUnreachable, err)
	if errors.Is(err, client.ErrNotLogged) { // it answers, and not what it must
		reason = ErrUnreachable
	}
	return refuse(reason, "Try again when the log answers", "the log %s did not say %s: %v", j.s.origin, what, err)
}

// none returns why the log has no build to join, once it has shown all that it holds of the version.
func (j *joining) none(ctx context.Context) error {
	s := j.subject
	before, err := j.c.heads.newest(j.policy)
	if err != nil {
		return err
	}
	all, err := j.s.log.Everything(ctx, j.policy, j.rules, index.VersionPrefix(s.Registry, s.Name, s.Version))
	switch {
	case errors.Is(err, client.ErrWithheld), errors.Is(err, client.ErrSeal):
		return err
	case err != nil:
		return j.failed("what it holds of "+s.Name+" "+s.Version, err)
	}
	if err := before.outdated(all.Checkpoint); err != nil {
		return err
	}
	for _, one := range all.Entries {
		if b, ok := one.Entry.Claim.(*entry.Build); ok && (j.b.Name == "" || b.Binary == j.b.Name) {
			return refuse(client.ErrWithheld, "Ask again; if it stays like this, tell the monitors",
				"the log %s lists no build of %s %s, and holds one, entry %d", j.s.origin, s.Name, s.Version, one.Index)
		}
	}
	return refuse(client.ErrNotLogged, "Rebuild it with cargo zkp rebuild; whoever does so can attest it",
		"the log %s shows no build of %s %s: it is proved to hold none, %s", j.s.origin, s.Name, s.Version, all.Checkpoint.AsOf())
}

// pick returns the builds of one binary for one target, the first of which made the reader's, if any did. Of
// several names that made it, it is the one of which most entries of the policy's set say so: anybody's set, or
// one member, can say that something else makes it.
func (j *joining) pick(rows []client.BuildRow) (out []client.BuildRow) {
	fits := func(r client.BuildRow) bool { return j.b.Name == "" || r.Binary == j.b.Name }
	type name struct{ binary, target string }
	say, at, most := map[name]int{}, -1, -1
	ours := func(r client.BuildRow) bool {
		p := j.c.cfg.Policy.Builds
		return p != nil && r.Root == p.Root
	}
	for _, r := range rows {
		if ours(r) && r.Artifact == j.b.SHA256 && fits(r) {
			say[name{r.Binary, r.Target}]++
		}
	}
	for i, r := range rows {
		n := 2 * say[name{r.Binary, r.Target}]
		if ours(r) {
			n++ // so that the list of what was compiled is the set's, too
		}
		if fits(r) && r.Artifact == j.b.SHA256 && n > most {
			at, most = i, n
		}
	}
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

// lookup asks for the version's one checksum, which says of which .crate the builds are.
func (j *joining) lookup(ctx context.Context) (client.Checkpoint, error) {
	s := j.subject
	raw, err := j.s.log.Lookup(ctx, s.Registry, s.Name, s.Version)
	if err != nil {
		return client.Checkpoint{}, j.failed("which checksum "+s.Name+" "+s.Version+" has", err)
	}
	l, err := client.ParseLookup(raw)
	if err != nil {
		return client.Checkpoint{}, err
	}
	held, err := l.Check(j.policy, j.rules, s.Registry, s.Name, s.Version)
	if err != nil {
		return client.Checkpoint{}, err
	}
	if !held.Logged {
		return client.Checkpoint{}, refuse(client.ErrWithheld, "Ask again; if it stays like this, tell the monitors",
			"the log %s lists builds of %s %s, and its index says that it holds nothing about it", j.s.origin, s.Name, s.Version)
	}
	j.version, j.subject.SHA256 = l.Version, held.SHA256
	return held.Checkpoint, nil
}

// index asks for all that the log's index has of the binary.
func (j *joining) index(ctx context.Context, under index.Prefix) (client.Checkpoint, error) {
	raw, err := j.s.log.Page(ctx, under)
	if err != nil {
		return client.Checkpoint{}, j.failed("which builds its index has", err)
	}
	p, err := client.ParsePage(raw)
	if err != nil {
		return client.Checkpoint{}, err
	}
	c, err := p.Check(j.policy, j.rules, under)
	if err != nil {
		return client.Checkpoint{}, err
	}
	j.page = p
	return c, nil
}

// crates returns the pieces of what is logged of the source of some crates.
func (j *joining) crates(all build.List) (pieces []*piece) {
	for _, c := range all {
		if !j.c.mayAsk(Want{Demand: policy.Demand{Package: pkgOf(c)}}, j.s) {
			continue
		}
		one := &logged{}
		j.sources = append(j.sources, one)
		pieces = append(pieces, &piece{fetch: func(ctx context.Context) (client.Checkpoint, error) {
			return j.source(ctx, c, one)
		}})
	}
	return pieces
}

// source asks for a source entry of a crate. Where the log has none, or one of another .crate, there is no piece.
func (j *joining) source(ctx context.Context, c build.Crate, one *logged) (client.Checkpoint, error) {
	raw, err := j.s.log.Bundle(ctx, j.c.cfg.Policy.QueryFor(pkgOf(c)))
	if errors.Is(err, client.ErrNotLogged) {
		return client.Checkpoint{}, nil
	} else if err != nil {
		return client.Checkpoint{}, j.failed("whether it holds "+c.Name+" "+c.Version, err)
	}
	r, err := client.OpenBundle(raw, j.policy, j.rules)
	if err != nil {
		return client.Checkpoint{}, err
	}
	if _, ok := r.Entry.Claim.(*entry.Source); !ok || r.Entry.Subject != entry.Subject(c) {
		return client.Checkpoint{}, nil // which proves nothing about this one
	}
	one.result = r
	one.bundle, err = client.ParseBundle(raw)
	return r.Checkpoint, err
}

// maxTurns is how often pieces are asked for while the log publishes.
const maxTurns = 8

// gather asks for pieces until all are under one checkpoint, which it returns. What is not so far in time is left out
// of those that need not be there: they are verified otherwise.
func (j *joining) gather(ctx context.Context, must, may []*piece) (client.Checkpoint, error) {
	all := slices.Concat(must, may)
	for range maxTurns {
		var newest client.Checkpoint
		g, turn := errgroup.WithContext(ctx)
		g.SetLimit(inFlight)
		for _, p := range all {
			if p.at.Size > newest.Size {
				newest = p.at
			}
		}
		for _, p := range all {
			if !p.none && (p.at.Size == 0 || p.at.Size < newest.Size) {
				g.Go(func() (err error) {
					p.at, err = p.fetch(turn)
					p.none = p.at.Size == 0
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			return client.Checkpoint{}, err
		}
		if done, err := j.together(ctx, must); err != nil || done && slices.IndexFunc(may, func(p *piece) bool {
			return !p.none && p.at.Size != must[0].at.Size
		}) < 0 {
			return must[0].at, err
		}
	}
	if done, err := j.together(ctx, must); err != nil || done {
		return must[0].at, err
	}
	return client.Checkpoint{}, refuse(ErrUnreachable, "Try again", "the log %s publishes faster than it hands out "+
		"what it holds", j.s.origin)
}

// together says whether pieces are of one tree. Two trees of one size are a fork.
func (j *joining) together(ctx context.Context, pieces []*piece) (bool, error) {
	for _, p := range pieces[1:] {
		switch a, b := pieces[0].at, p.at; {
		case a.Size != b.Size:
			return false, nil
		case a.Root != b.Root:
			return false, j.c.settled(ctx, Want{Name: j.subject.Name, Version: j.subject.Version}, a, b).Err
		}
	}
	return true, nil
}

// builds fetches the entries that the index names, one of which must be the one that was chosen.
func (j *joining) builds(ctx context.Context, at client.Checkpoint, chosen client.BuildRow) (all []client.Part, err error) {
	tiles, found := j.s.log.Tiles(at), false
	var indexes []uint64
	for _, r := range j.page.Rows {
		i, _, err := r.Names()
		if err != nil {
			return nil, &client.Error{Reason: client.ErrSeal, What: "a row of the index of " + j.s.origin, Err: err}
		}
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	for _, i := range slices.Compact(indexes) {
		p, err := tiles.Part(ctx, i)
		if err != nil {
			return nil, err
		}
		if e, err := entry.Parse(p.Entry); err == nil && i == chosen.Index {
			b, ok := e.Claim.(*entry.Build)
			found = ok && b.Artifact == chosen.Artifact && b.Compiled == chosen.Compiled
		}
		all = append(all, p)
	}
	switch {
	case chosen.Index >= uint64(at.Size):
		return nil, refuse(ErrUnreachable, "Try again in a minute", "the log %s shows a build that no checkpoint "+
			"covers yet, of entry %d", j.s.origin, chosen.Index)
	case !found:
		return nil, refuse(ErrUnreachable, "Tell its operator", "the log %s says of entry %d what does not stand in "+
			"it, or its index does not have it", j.s.origin, chosen.Index)
	}
	return all, nil
}

// joinSources puts the source entries into the file, and the commit's lock file.
func (j *joining) joinSources(ctx context.Context, out *client.Joined, at client.Checkpoint) {
	seen := map[uint64]bool{}
	for _, one := range j.sources {
		if one.bundle == nil || one.result.Checkpoint.Size != at.Size || one.result.Checkpoint.Root != at.Root ||
			seen[one.bundle.Index] {
			continue
		}
		seen[one.bundle.Index] = true
		b := one.bundle
		out.Sources = append(out.Sources, client.Part{Index: b.Index, Entry: b.Entry, Hashes: b.Hashes, Version: b.Version})
		if e := one.result.Entry; e.Subject == j.subject {
			out.Lock = j.lock(ctx, e, e.Claim.(*entry.Source))
		}
	}
	slices.SortFunc(out.Sources, func(a, b client.Part) int { return cmp.Compare(a.Index, b.Index) })
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
