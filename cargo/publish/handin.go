package publish

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"cratelog/cargo/registry"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// handIn hands the evidence of every crate to a registry that takes it. What is there already is
// left, so that it may be done again.
func (r *run) handIn(ctx context.Context) error {
	if r.DryRun || r.LogOnly {
		return nil
	}
	to, err := r.takes(ctx)
	if err != nil {
		return fmt.Errorf("%w\nall is logged and published; %s", err, again)
	} else if to == nil {
		return nil
	}
	token, err := r.tokenForEvidence(ctx)
	if err != nil {
		return fmt.Errorf("the registry takes evidence, and there is no token to hand it in with: %w\n"+
			"all is logged and published; pass --token, and %s", err, again)
	}
	var errs []error
	for _, j := range r.jobs {
		if err := r.handOne(ctx, to, j, token); err != nil {
			errs = append(errs, fmt.Errorf("%s is logged and published, and its evidence is not at the registry: %w",
				j.member, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(errs) == 0 {
		return nil
	}
	err = fmt.Errorf("%w\n%s", errors.Join(errs...), again)
	for _, one := range errs {
		var status *registry.StatusError
		if !errors.As(one, &status) || status.Status >= 500 || status.Status == http.StatusTooManyRequests ||
			status.Status == http.StatusRequestTimeout {
			return err // which another try may mend
		}
	}
	return outcome.Refuse(err)
}

const again = "run the same command again, and it goes on here"

// takes returns where the registry takes evidence, nil if it takes none.
func (r *run) takes(ctx context.Context) (*registry.Evidence, error) {
	index, err := r.index(r.target.index)
	if err != nil {
		return nil, nil // cargo knew, and nobody else does
	}
	url, err := registry.IndexURL(index)
	if err != nil {
		return nil, nil // a git index announces nothing
	}
	x := r.registryAt(url)
	e, err := x.Evidence(ctx)
	if err != nil {
		return nil, fmt.Errorf("whether the registry takes evidence cannot be told: %w", err)
	}
	if e == nil || !e.Takes() {
		return nil, nil
	}
	return e, nil
}

// tokenForEvidence returns the token that was used to publish, or asks for it.
func (r *run) tokenForEvidence(ctx context.Context) (token string, err error) {
	if token = cmp.Or(r.Token, r.token); token != "" {
		return token, nil
	}
	index, _ := r.index(r.target.index)
	token, known, err := r.settings.AskToken(ctx, r.target.name, index)
	if err == nil && !known {
		err = errors.New("only cargo can ask its credential provider")
	}
	return token, err
}

// handOne hands in the bundle and the opening of one crate.
func (r *run) handOne(ctx context.Context, to *registry.Evidence, j *job, token string) error {
	p, e, err := client.UnverifiedEntry(j.bundle)
	if err != nil {
		return err
	}
	identity, err := e.Identity()
	if err != nil {
		return err
	}
	name := entry.Registry(r.target.indexOf())
	files := []struct {
		path string
		body []byte
	}{
		{registry.OpeningPath(name, j.Name, j.Version, identity), j.opening},
		{registry.BundlePath(name, j.Name, j.Version, client.Origin(p.Checkpoint)), j.bundle},
	}
	handed := false
	for _, f := range files {
		if f.body == nil {
			continue
		}
		there, err := to.Get(ctx, f.path, int64(max(len(f.body), client.MaxBundleSize)))
		if err == nil && (bytes.Equal(there, f.body) || r.standsFor(ctx, j, there, p)) {
			continue
		}
		if err := to.Put(ctx, f.path, f.body, token); err != nil {
			return err
		}
		handed = true
	}
	if handed {
		r.Report.Status("Handed", "the evidence of %s to the registry", j.member)
	} else {
		r.Report.Status("Fresh", "the registry has the evidence of %s", j.member)
	}
	return nil
}

// standsFor says that the registry has a bundle of the same entry under a later checkpoint, which the
// publisher's policy believes.
func (r *run) standsFor(ctx context.Context, j *job, there []byte, ours *client.Bundle) bool {
	if r.reader == nil {
		return false
	}
	if _, _, err := CheckAnswer(j.statement(), there); err != nil {
		return false
	}
	mine, err := r.reader.Verify(ctx, j.bundle, j.raw, j.opening, r.pkg(j), r.quiet())
	if err != nil {
		return false
	}
	theirs, err := r.reader.Verify(ctx, there, j.raw, j.opening, r.pkg(j), r.quiet())
	return err == nil && theirs.Checkpoint.Size > mine.Checkpoint.Size && theirs.Index == ours.Index
}
