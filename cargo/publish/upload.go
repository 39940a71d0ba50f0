package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"

	"cratelog/cargo"
	"cratelog/cargo/credential"
	"cratelog/cargo/registry"
	"cratelog/crate"
	"cratelog/internal/outcome"
)

// upload has cargo upload every crate that the registry does not have, those that
// others depend on first.
func (r *run) upload(ctx context.Context) error {
	if r.DryRun || r.LogOnly {
		return nil
	}
	exactly, err := r.allow()
	if err != nil {
		return err
	}
	defer func() {
		os.Remove(string(exactly))
		os.Remove(string(exactly) + ".asked")
	}()
	guard, err := r.target.guard(r.settings, r.Guard, string(exactly), r.Token, os.Getenv)
	if err != nil {
		return err
	}
	if r.target.ours {
		r.Report.Status("Note", "cargo may warn that the registry's token will be ignored; it is read all the same")
	}
	for _, j := range r.jobs {
		if j.published {
			r.Report.Status("Fresh", "%s is published already, with these bytes", j.member)
			continue
		}
		args := slices.Concat([]string{"-p", j.spec(), "--no-verify"}, r.target.registryFlags(), guard)
		if err := r.Cargo.run(ctx, r.target.env, "publish", args...); err != nil {
			if ctx.Err() != nil {
				return err
			}
			there := ""
			if j.unlisted != nil {
				there = "\nif cargo says that it is there already, it is published, and nothing is left to do"
			}
			state := "logged"
			if j.pending {
				state = "proved"
			}
			return fmt.Errorf("cargo publish failed for %s (%w)\nit is %s, and nothing is lost: run the same command "+
				"again, and it goes on here%s", j.member, err, state, there)
		}
		if err := r.confirm(ctx, j, exactly); err != nil {
			return err
		}
		if j.pending { // at once, if the registry is quick: until then it is published and not logged
			if err := r.submitOne(ctx, j); err != nil {
				return unlogged(j, err)
			}
		}
	}
	return nil
}

// allow writes the file of what may be uploaded.
func (r *run) allow() (credential.Exactly, error) {
	f, err := os.CreateTemp(string(r.store.Dir), "uploading-*")
	if err != nil {
		return "", err
	}
	for _, j := range r.jobs {
		if _, err = f.WriteString(credential.Allow(j.Name, j.Version, j.plan.Subject.SHA256)); err != nil {
			break
		}
	}
	return credential.Exactly(f.Name()), errors.Join(err, f.Close())
}

// confirm makes sure that what was uploaded is what was logged: cargo has asked, and
// the index lists it.
func (r *run) confirm(ctx context.Context, j *job, exactly credential.Exactly) error {
	sum := j.plan.Subject.SHA256
	index, asked := exactly.Asked(j.Name, j.Version, sum)
	if !asked {
		r.Report.Warn("cargo uploaded %s without asking whether these are the bytes that were logged: something in its "+
			"configuration or environment took the place of our credential provider", j.member)
	}
	if index == "" {
		index = r.target.index
	}
	listed, err := r.listed(ctx, j, index)
	switch {
	case outcome.Of(err) == outcome.Refused:
		return err
	case !asked && !listed:
		return fmt.Errorf("%s: nothing shows that what was uploaded is what was logged (SHA-256 %x); look it up in the "+
			"registry's index", j.member, sum)
	case !asked:
	case err != nil:
		r.Report.Warn("%s: the registry's index was not compared: %v", j.member, err)
	case !listed:
		r.Report.Warn("%s: the registry's index does not list it yet, so its checksum was not compared", j.member)
	}
	j.published = true
	state := "logged"
	if j.pending {
		state = "proved"
	}
	r.Report.Status("Finished", "%s: uploaded what is %s, SHA-256 %x", j.member, state, sum)
	return nil
}

// index is where the registry's index is, as cargo writes it.
func (r *run) index(said string) (string, error) {
	if r.target.name == cargo.DefaultSource && r.target.index == "" {
		url, err := registry.DefaultIndex(r.Home)
		return "sparse+" + url, err
	}
	if said == "" {
		return "", fmt.Errorf("cargo's configuration names no index for the registry %s", r.target.name)
	}
	return said, nil
}

// registryAt returns a client for the registry that is published to.
func (r *run) registryAt(url string) *registry.Index {
	return &registry.Index{URL: url, UserAgent: r.UserAgent, TokenIfAsked: true,
		Token: cmp.Or(r.Token, r.token, r.settings.Token(r.target.name))}
}

// listed says whether the registry lists these bytes for the version. It refuses if it
// lists others, or says of them what Cargo.toml does not; another error says that it
// cannot be told.
func (r *run) listed(ctx context.Context, j *job, index string) (bool, error) {
	index, err := r.index(index)
	if err != nil {
		return false, err
	}
	url, err := registry.IndexURL(index)
	if err != nil {
		return false, err
	}
	x := r.registryAt(url)
	var status *registry.StatusError
	about, err := x.Config(ctx)
	if about.Auth || errors.As(err, &status) && status.Status == http.StatusUnauthorized {
		r.target.private = true
	}
	if err != nil {
		return false, err
	}
	releases, err := x.Releases(ctx, j.Name)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return false, err
	}
	found, err := registry.Find(releases, j.Version) // of no releases: not found
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, outcome.Refusef("%s: %w", j.member, err)
	}
	if found.Checksum != j.plan.Subject.SHA256 {
		return false, outcome.Refusef("the registry lists %s with SHA-256 %x, and cargo packages %x: this version is "+
			"published already, with other bytes\npublish a new version", j.member, found.Checksum, j.plan.Subject.SHA256)
	}
	return true, r.checkLines(j, index, releases)
}

// checkLines refuses if a line of the registry's index says of the crate what its Cargo.toml
// does not: cargo goes by the line.
func (r *run) checkLines(j *job, index string, releases []registry.Release) error {
	c, err := crate.ReadHashed(j.raw, j.plan.Subject.SHA256, j.Name, j.Version, crate.DefaultLimits)
	if err != nil {
		return named(j.member, err)
	}
	for _, line := range releases {
		if line.Version != j.Version {
			continue
		}
		diff, err := line.Deviation(index, c.Manifest())
		if err != nil {
			r.Report.Warn("%s: what the registry's index says of dependencies and features was not compared: %v", j.member, err)
		} else if diff != "" {
			return outcome.Refusef("the registry's index does not say what the Cargo.toml of %s says: %s\nwhoever depends on it "+
				"gets what the index says, and is stopped by cargo zkp: ask the registry's operators to mend the line, or "+
				"yank the version", j.member, diff)
		}
	}
	return nil
}
