package backlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo/backlog/visit"
	"cratelog/cargo/publish"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/prover"
	"cratelog/prover/git"
)

// planned is a crate whose statement is known to be true.
type planned struct {
	*item
	plan   *prover.Plan
	public bool
	opened []byte
}

const (
	readers = 3 // repositories that are read at a time, while others are proven from
	ahead   = 8 // plans that wait to be proven
)

// prove reads the repositories of all that is undecided, each by one goroutine, and proves meanwhile.
func (r *Runner) prove(ctx context.Context) error {
	var order []string
	groups := map[string][]*item{} // by repository
	for _, it := range r.items {
		if it.said.Outcome != Left {
			continue
		}
		at := it.place.String()
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], it)
	}
	g, ctx := errgroup.WithContext(ctx)
	plans := make(chan planned, ahead)
	g.Go(func() error {
		defer close(plans)
		var reading errgroup.Group
		reading.SetLimit(readers)
		for _, at := range order {
			reading.Go(func() error { return r.planAll(ctx, groups[at], plans) })
		}
		return reading.Wait()
	})
	var load sync.Mutex
	for range max(r.cfg.Jobs, 1) {
		g.Go(func() error {
			for p := range plans {
				if err := r.load(ctx, &load); err != nil {
					return err
				}
				if err := r.proveOne(ctx, p); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (r *Runner) load(ctx context.Context, one *sync.Mutex) error {
	one.Lock()
	defer one.Unlock()
	if r.cfg.testingOnlyProve != nil {
		return nil
	}
	return r.cfg.Keys.Load(ctx, r.cfg.Progress)
}

// planAll plans the crates of one repository.
func (r *Runner) planAll(ctx context.Context, items []*item, plans chan<- planned) error {
	for i, it := range items {
		var later [][20]byte
		for _, other := range items[i+1:] {
			if other.commit != it.commit && other.commit != ([20]byte{}) {
				later = append(later, other.commit)
			}
		}
		p, err := r.plan(ctx, it, later)
		if ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			r.fail(ctx, it, err)
			continue
		}
		r.mu.Lock()
		r.pace.learn(it, (p.plan.Blocks+r.program.Blocks-1)/r.program.Blocks)
		r.mu.Unlock()
		select {
		case plans <- *p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// plan compares a crate with its commit, or with those of the tags that can be its.
func (r *Runner) plan(ctx context.Context, it *item, later [][20]byte) (*planned, error) {
	c, _, err := r.read(ctx, it)
	if err != nil {
		return nil, err
	}
	commits, named, err := r.commits(ctx, it)
	if err != nil {
		return nil, err
	}
	var first error
	for _, commit := range commits {
		p, err := r.planFrom(ctx, it, c, commit, later)
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		if first == nil {
			first = err
		}
	}
	cause, _ := causeOf(first, it)
	if !named && cause != "" && cause != TooLarge {
		return nil, &refusal{NoCommit, fmt.Errorf("%d of its repository's tags were tried: %w", len(commits), first)}
	}
	return nil, first
}

// commits returns those that a crate can be from; named says that crate or mapping names the one.
func (r *Runner) commits(ctx context.Context, it *item) (all [][20]byte, named bool, err error) {
	if it.commit != ([20]byte{}) {
		return [][20]byte{it.commit}, true, nil
	}
	want := r.cfg.Mapping.crate(it.Name, it.Version).Commit
	if id, ok := commitID(want); ok {
		return [][20]byte{id}, true, nil
	}
	tags, err := r.tags(ctx, it.place)
	if err != nil {
		return nil, false, err
	}
	if want != "" {
		id, ok := tags[strings.TrimPrefix(want, "refs/tags/")]
		if !ok {
			return nil, false, &refusal{NoCommit, fmt.Errorf("the mapping file names the tag %q, which the repository has not", want)}
		}
		return [][20]byte{id}, true, nil
	}
	if all = candidates(it.Name, it.Version, tags); len(all) == 0 {
		return nil, false, &refusal{NoCommit, fmt.Errorf("the .crate names no commit, and none of the repository's %d tags has a "+
			"name that speaks of its version", len(tags))}
	}
	return all, false, nil
}

func (r *Runner) tags(ctx context.Context, at place) (map[string][20]byte, error) {
	if at.dir != "" {
		if err := at.there(); err != nil {
			return nil, err
		}
		repo, err := git.Open(ctx, at.dir)
		if err != nil {
			return nil, err
		}
		repo.Close()
		return git.LocalTags(ctx, at.dir)
	}
	var tags map[string][20]byte
	err := r.visit(ctx, at, func() (err error) {
		tags, err = r.cfg.Visitor.Tags(ctx, at.Address)
		return err
	})
	return tags, err
}

// visit asks a host, if it is its turn, and the host was not too slow.
func (r *Runner) visit(ctx context.Context, at place, ask func() error) error {
	host := hostOf(at.URL)
	unlock, err := r.hosts.lock(ctx, host)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.slow.out(host); err != nil {
		return err
	}
	err = ask()
	if ctx.Err() == nil {
		r.slow.note(host, err)
	}
	return err
}

// fetch returns the directory of a repository that has a commit.
func (r *Runner) fetch(ctx context.Context, at place, commit [20]byte, later ...[20]byte) (string, error) {
	if at.dir != "" {
		return at.dir, at.there()
	}
	one, err := r.clones.lock(ctx, at.URL)
	if err != nil {
		return "", err
	}
	defer one()
	var dir string
	err = r.visit(ctx, at, func() (err error) {
		dir, err = r.cfg.Visitor.Fetch(ctx, at.Address, commit, later...)
		return err
	})
	return dir, err
}

// planFrom compares a crate with a commit.
func (r *Runner) planFrom(ctx context.Context, it *item, c *crate.Crate, commit [20]byte, later [][20]byte) (*planned, error) {
	dir, err := r.fetch(ctx, it.place, commit, later...)
	if err != nil {
		return nil, err
	}
	repo, err := git.Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	m := &modules{r: r, it: it, top: module{repo: repo, commit: commit, place: it.place}, opened: map[string]module{}}
	defer m.close()
	plan, err := prover.NewPlan(ctx, c, repo, prover.Source{Commit: &commit, Path: r.cfg.Mapping.crate(it.Name, it.Version).Path,
		Registry: it.said.Registry, UnprovenManifest: r.cfg.Loose, Published: true, Submodule: m.open})
	switch {
	case err != nil && m.err != nil && ctx.Err() == nil:
		return nil, m.err
	case err != nil:
		return nil, publish.PlanError(err)
	}
	if _, err := r.cfg.Keys.Program(plan); outcome.Of(err) == outcome.Refused {
		return nil, &refusal{TooLarge, err}
	} else if err != nil {
		return nil, err
	}
	p := &planned{item: it, plan: plan, public: it.place.public()}
	if !p.public && it.place.dir == "" && strings.HasPrefix(it.place.URL, "https://") {
		p.public = plan.Public(ctx, it.place.URL, func(path string) string { return m.opened[path].place.URL }, git.Public) == nil
	} else {
		for _, sub := range m.opened {
			p.public = p.public && sub.place.public()
		}
	}
	if p.public {
		if p.opened, err = plan.Opening(); err != nil {
			p.opened = nil // the proof does without
		}
	}
	return p, ctx.Err()
}

// modules opens the submodules of a crate's commit.
type modules struct {
	r      *Runner
	it     *item
	top    module
	opened map[string]module
	err    error // why one could not be had
}

type module struct {
	repo   *git.Repo
	commit [20]byte
	place  place
}

// maxModules bounds the submodules of a crate, each of which is a repository to be fetched and a git that runs.
const maxModules = 32

// open is for prover.Source. Which commit is wanted, the tree around the submodule says.
func (m *modules) open(ctx context.Context, path string) (*git.Repo, error) {
	if sub, ok := m.opened[path]; ok {
		return sub.repo, nil
	}
	repo, err := m.fetch(ctx, path)
	if err != nil && m.err == nil {
		m.err = fmt.Errorf("the submodule %s: %w", path, err)
		if cause, _ := causeOf(err, m.it); cause != "" {
			m.err = &refusal{Submodule, m.err}
		}
	}
	return repo, err
}

func (m *modules) fetch(ctx context.Context, path string) (*git.Repo, error) {
	if len(m.opened) == maxModules {
		return nil, &refusal{TooLarge, fmt.Errorf("it takes more than %d submodules", maxModules)}
	}
	around, at := m.top, ""
	for other, sub := range m.opened {
		if strings.HasPrefix(path, other+"/") && len(other) > len(at) {
			around, at = sub, other
		}
	}
	below := strings.TrimPrefix(strings.TrimPrefix(path, at), "/")
	s, err := around.repo.At(ctx, around.commit)
	if err != nil {
		return nil, err
	}
	e, err := s.Entry(ctx, below)
	if err != nil {
		return nil, err
	}
	urls, err := s.Modules(ctx)
	if err != nil {
		return nil, err
	}
	where, err := m.r.cfg.Mapping.submodule(m.it.Name, m.it.Version, path, urls[below], around.place)
	if err != nil {
		return nil, &refusal{Submodule, err}
	}
	dir, err := m.r.fetch(ctx, where, e.ID)
	if err != nil {
		return nil, err
	}
	repo, err := git.Open(ctx, dir)
	if err == nil {
		m.opened[path] = module{repo, e.ID, where}
	}
	return repo, err
}

func (m *modules) close() {
	for _, sub := range m.opened {
		sub.repo.Close()
	}
}

// proveOne proves a crate, keeps the entry, and hands it to the log. Its error ends the run.
func (r *Runner) proveOne(ctx context.Context, p planned) error {
	r.mu.Lock()
	r.pace.start(p.item, func() float64 { return 0 })
	r.mu.Unlock()
	e, err := r.entry(ctx, p)
	if ctx.Err() != nil {
		return ctx.Err()
	} else if err != nil {
		r.fail(ctx, p.item, err)
		return nil
	}
	raw, err := e.Marshal()
	if err == nil {
		err = p.keep(raw, p.opened)
	}
	if err != nil {
		return err // the disk is full, say: nothing that follows could be kept
	}
	r.mu.Lock()
	r.pace.finish(p.item)
	r.mu.Unlock()
	if err := r.proven(ctx, p.item, e, raw); err != nil {
		r.fail(ctx, p.item, err)
	}
	return ctx.Err()
}

// entry makes the proof.
func (r *Runner) entry(ctx context.Context, p planned) (*entry.Entry, error) {
	if r.cfg.testingOnlyProve != nil {
		return r.cfg.testingOnlyProve(p.plan)
	}
	keys := *r.cfg.Keys
	keys.PublicSource = p.public
	return keys.Prove(ctx, p.plan, func(s prover.Step) {
		if s.Share == nil {
			if r.cfg.Progress != nil {
				r.cfg.Progress(s)
			}
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pace.start(p.item, s.Share)
	})
}

// refusal is an answer, with its cause.
type refusal struct {
	cause Cause
	err   error
}

func (e *refusal) Error() string { return e.err.Error() }
func (e *refusal) Unwrap() error { return e.err }

// causeOf sorts an error: its cause, "" if it could not be tried, and what can be done.
func causeOf(err error, it *item) (cause Cause, next string) {
	var said *refusal
	var unprovable *prover.UnprovableError
	var gone *visit.GoneError
	switch {
	case err == nil:
		return "", ""
	case errors.As(err, &said):
		cause = said.cause
	case errors.As(err, &unprovable):
		cause = causeOfFiles(unprovable)
	case errors.As(err, new(*visit.AddressError)):
		cause = NoRepository
	case errors.As(err, &gone):
		cause = RepositoryGone
	case errors.As(err, new(*git.NoCommitError)):
		cause = CommitGone
	case errors.As(err, new(*git.MissingError)) && it.place.dir != "":
		cause = CommitGone
	case errors.Is(err, git.ErrTooMuch), errors.Is(err, git.ErrTooManyTrees), errors.As(err, new(*git.SizeError)),
		errors.As(err, new(*prover.RootSizeError)):
		cause = TooLarge
	case outcome.Of(err) == outcome.Refused:
		cause = Other
	}
	return cause, nextOf(cause, it)
}

// causeOfFiles says what most of the files have in common that stand in the way.
func causeOfFiles(e *prover.UnprovableError) Cause {
	all := func(is func(prover.Cause) bool) bool {
		for _, f := range e.Files {
			if !is(f.Cause) {
				return false
			}
		}
		return len(e.Files) > 0
	}
	for _, f := range e.Files {
		switch f.Cause {
		case prover.CauseDirty:
			return Dirty
		case prover.CauseNoModule:
			return Submodule
		}
	}
	if all(func(c prover.Cause) bool {
		return c == prover.CauseCRLF || c == prover.CauseIdent || c == prover.CauseEncoding
	}) {
		return LineEnds
	}
	return Differs
}

func nextOf(cause Cause, it *item) string {
	table := fmt.Sprintf("[crate.%q] in %s", it.Name, MapName)
	switch cause {
	case NoRepository:
		return "name its repository: " + table
	case RepositoryGone:
		return fmt.Sprintf("name a fork or a mirror of %s: [repositories] in %s", it.place, MapName)
	case Submodule:
		return "name the submodule's repository: submodules of " + table
	case NoCommit:
		return "name the commit or the tag that it was packaged from: commit of " + table
	case CommitGone:
		return "name a repository that still has the commit: " + table
	case "":
		return "run the same command again"
	case NotListed:
		return "compare Cargo.lock with the registry: the log asks another one, or yours has served other bytes"
	case OtherRegistry:
		return "run \"cargo fetch\" first; its registry must have an index that can be asked"
	}
	return "only its author can mend that, with a new version: until then an exception in zkp.toml"
}
