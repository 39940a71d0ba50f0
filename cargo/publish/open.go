package publish

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo/credential"
	"cratelog/internal/outcome"
	"cratelog/prover/git"
)

// open finds out whether anybody can fetch what a job proves, and makes its opening if there is to
// be one.
func (r *run) open(ctx context.Context, j *job, top string) error {
	public := r.public(ctx, j, top)
	if err := ctx.Err(); err != nil {
		return err
	}
	wanted := public
	if r.Opening != nil {
		wanted = *r.Opening
	}
	if !wanted {
		r.store.remove(j.member, credential.ExtOpening) // of an earlier run
		return nil
	}
	opened, err := j.plan.Opening()
	if err != nil && r.Opening != nil {
		return named(j.member, outcome.Refuse(err))
	} else if err != nil {
		r.Report.Warn("%s: there is no opening: %v", j.member, err)
		return nil
	}
	if !public {
		r.Report.Warn("%s: the opening shows, to everybody, the whole commit with its author and message, and the names and "+
			"hashes of all that stands in the directories on the crate's paths, also of what is not in the crate", j.member)
	}
	j.opening = opened
	return r.store.save(j.member, credential.ExtOpening, opened)
}

// public says whether anybody can fetch the commit, now that it was pushed: from the repository
// that the manifest names, or else from where it was pushed to.
func (r *run) public(ctx context.Context, j *job, top string) bool {
	if slices.Contains(r.Cargo.Flags, "--offline") || slices.Contains(r.Cargo.Flags, "--frozen") {
		return false
	}
	urls := slices.Compact([]string{j.plan.Repository, remote(ctx, top)})
	fetch := git.Public
	if r.testingOnlyPublic != nil {
		fetch = r.testingOnlyPublic
	}
	why := error(nil)
	for _, url := range urls {
		if !strings.HasPrefix(url, "https://") {
			continue
		}
		why = j.plan.Public(ctx, url, func(path string) string { return remote(ctx, filepath.Join(top, path)) }, fetch)
		if why == nil {
			r.Report.Status("Public", "%s: anybody can fetch commit %x from %s", j.member, j.plan.Claim.Commit, url)
			return true
		}
	}
	if why == nil {
		r.Report.Status("Private", "%s: neither its manifest nor its remote names a repository at https://...", j.member)
	} else {
		r.Report.Status("Private", "%s: the source is taken for private: %v", j.member, why)
	}
	return false
}

// remote returns the URL that a repository was cloned from, "" if it cannot be told.
func remote(ctx context.Context, dir string) string {
	url, err := git.Run(ctx, dir, "remote", "get-url", "origin")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(url)
}
