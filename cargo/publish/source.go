package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/prover"
	"cratelog/prover/git"
)

// WorkTree returns the top of the work tree that a directory lies in, as git finds
// it; the directory itself if there is none, as in a bare repository.
func WorkTree(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		up := filepath.Dir(at)
		if up == at {
			return dir
		}
		at = up
	}
}

// Submodules opens the repositories of submodules: named ones, and those checked out
// in the work tree.
type Submodules struct {
	WorkTree string            // "" if there is none
	Named    map[string]string // directory by path in the repository

	opened map[string]*git.Repo
}

// Open is for prover.Source. It opens each repository once.
func (s *Submodules) Open(ctx context.Context, path string) (*git.Repo, error) {
	if r := s.opened[path]; r != nil {
		return r, nil
	}
	dir, named := s.Named[path]
	if !named {
		if s.WorkTree == "" {
			return nil, nil
		}
		dir = filepath.Join(s.WorkTree, filepath.FromSlash(path))
		// A submodule that is not checked out is an empty folder, in which git would
		// find the repository around it.
		if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
			return nil, nil
		}
	}
	r, err := git.Open(ctx, dir)
	if err == nil {
		if s.opened == nil {
			s.opened = map[string]*git.Repo{}
		}
		s.opened[path] = r
	}
	return r, err
}

// Close closes what Open has opened.
func (s *Submodules) Close() {
	for _, r := range s.opened {
		r.Close()
	}
}

// PlanError sorts what prover.NewPlan returns: a crate that cannot be proven is a
// Refusal, a repository that cannot be read is not.
func PlanError(err error) error {
	var unprovable *prover.UnprovableError
	var vcs *crate.VCSInfoError
	var place *crate.PlaceError
	switch {
	case errors.As(err, &unprovable):
		if !slices.ContainsFunc(unprovable.Files, func(f prover.Unprovable) bool { return f.Fix == "" }) {
			return Refusal{err}
		}
		return Refusal{fmt.Errorf("%w\nif the commit is the right one, package the crate from a clean checkout of it", err)}
	case errors.As(err, &vcs), errors.As(err, &place), errors.Is(err, circuit.ErrCapacity):
		return Refusal{err}
	}
	return err
}

// repositories are the git repositories of a run, each opened once.
type repositories struct {
	open    map[string]*git.Repo
	modules map[string]*Submodules
}

// at returns the repository of a package's directory.
func (r *repositories) at(ctx context.Context, dir string) (*git.Repo, *Submodules, string, error) {
	top := WorkTree(dir)
	if repo := r.open[top]; repo != nil {
		return repo, r.modules[top], top, nil
	}
	repo, err := git.Open(ctx, dir)
	if err != nil {
		return nil, nil, "", err
	}
	if r.open == nil {
		r.open, r.modules = map[string]*git.Repo{}, map[string]*Submodules{}
	}
	r.open[top], r.modules[top] = repo, &Submodules{WorkTree: top}
	return repo, r.modules[top], top, nil
}

func (r *repositories) close() {
	for top, repo := range r.open {
		r.modules[top].Close()
		repo.Close()
	}
}

// plan reads a packaged crate and compares it with the commit that it names.
func (r *repositories) plan(ctx context.Context, m *member, raw []byte) (plan *prover.Plan, files int, top string, err error) {
	c, err := crate.Read(raw, m.Name, m.Version, crate.DefaultLimits)
	if err != nil {
		return nil, 0, "", Refusal{fmt.Errorf("%s: %w", m, err)}
	}
	repo, modules, top, err := r.at(ctx, filepath.Dir(m.Manifest))
	if err != nil {
		return nil, 0, "", err
	}
	info, err := c.VCSInfo()
	if err == nil && info == nil {
		return nil, 0, "", Refusal{fmt.Errorf("%s: cargo did not note a git commit in the .crate, so there is nothing to prove it from\ncommit the package to a git repository first; its Cargo.toml must be among the files that git knows", m)}
	}
	plan, err = prover.NewPlan(ctx, c, repo, prover.Source{Submodule: modules.Open})
	if err != nil {
		return nil, 0, "", named(m, PlanError(err))
	}
	return plan, len(c.Files), top, nil
}

// named puts a member in front of an error, which stays a Refusal if it is one.
func named(m *member, err error) error {
	var refused Refusal
	if errors.As(err, &refused) {
		return Refusal{fmt.Errorf("%s: %w", m, refused.error)}
	}
	return fmt.Errorf("%s: %w", m, err)
}

// dirtyFiles returns what git says is not committed below a directory, at most a few
// lines; "" if all is, or if git cannot tell.
func dirtyFiles(ctx context.Context, dir string) string {
	out, err := gitOutput(ctx, dir, "status", "--porcelain", "--", ".")
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	const most = 5
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}
