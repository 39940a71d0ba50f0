package publish

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/prover"
	"cratelog/prover/git"
)

// PlanError marks what prover.NewPlan returns: a crate that cannot be proven is refused, a
// repository that cannot be read leaves it unchecked.
func PlanError(err error) error {
	var unprovable *prover.UnprovableError
	var vcs *crate.VCSInfoError
	var place *crate.PlaceError
	switch {
	case errors.As(err, &unprovable), errors.As(err, &vcs), errors.As(err, &place):
		return outcome.Refuse(err)
	}
	return err
}

// repositories are the git repositories of a run, each opened once.
type repositories struct {
	open    map[string]*git.Repo
	modules map[string]*git.Submodules
}

// at returns the repository of a package's directory.
func (r *repositories) at(ctx context.Context, dir string) (*git.Repo, *git.Submodules, string, error) {
	top := git.WorkTree(dir)
	if repo := r.open[top]; repo != nil {
		return repo, r.modules[top], top, nil
	}
	repo, err := git.Open(ctx, dir)
	if err != nil {
		return nil, nil, "", err
	}
	if r.open == nil {
		r.open, r.modules = map[string]*git.Repo{}, map[string]*git.Submodules{}
	}
	r.open[top], r.modules[top] = repo, &git.Submodules{WorkTree: top}
	return repo, r.modules[top], top, nil
}

func (r *repositories) close() {
	for top, repo := range r.open {
		r.modules[top].Close()
		repo.Close()
	}
}

// plan reads a packaged crate and compares it with the commit that it names. registry is where it
// is to be published, as entry.Registry returns it.
func (r *repositories) plan(ctx context.Context, m *member, raw []byte,
	registry string) (plan *prover.Plan, files int, top string, err error) {
	c, err := crate.Read(raw, m.Name, m.Version, crate.DefaultLimits)
	if err != nil {
		return nil, 0, "", outcome.Refusef("%s: %w", m, err)
	}
	repo, modules, top, err := r.at(ctx, filepath.Dir(m.Manifest))
	if err != nil {
		return nil, 0, "", err
	}
	info, err := c.VCSInfo()
	if err == nil && info == nil {
		return nil, 0, "", outcome.Refusef("%s: cargo did not note a git commit in the .crate, so there is nothing to "+
			"prove it from\ncommit the package to a git repository first; its Cargo.toml must be among the files that git "+
			"knows", m)
	}
	plan, err = prover.NewPlan(ctx, c, repo, prover.Source{Registry: registry, Submodule: modules.Open})
	if err != nil {
		return nil, 0, "", named(m, PlanError(err))
	}
	return plan, len(c.Files), top, nil
}

// named puts a member in front of an error.
func named(m *member, err error) error { return fmt.Errorf("%s: %w", m, err) }

// dirtyFiles returns what git says is not committed below a directory, at most a few
// lines; "" if all is, or if git cannot tell.
func dirtyFiles(ctx context.Context, dir string) string {
	out, err := git.Run(ctx, dir, "status", "--porcelain", "--", ".")
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
