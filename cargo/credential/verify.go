package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// fetchTimeout bounds the look into all logs.
const fetchTimeout = time.Minute

// A Reader checks bundles under a policy.
type Reader struct {
	policy  *policy.Policy
	checker *verdict.Checker
}

// NewReader returns the reader with a policy, which must say whom to believe.
func NewReader(p *policy.Policy) (*Reader, error) {
	if len(p.Trust) == 0 {
		return nil, errors.New(p.NoTrust())
	}
	checker, err := verdict.New(verdict.Config{Policy: p})
	return &Reader{p, checker}, err
}

// Verify checks all that a bundle can show by itself about a package. With
// raw, the .crate's bytes, it checks these too, and the opening that is at hand, if the policy asks
// for one; nil for none. from is the log that gave the bundle; nil for none.
// An error is outcome.Refused if the check was made; otherwise it could not be made, because
// the log did not answer, for example.
func (r *Reader) Verify(ctx context.Context, bundle, raw, opening []byte, pkg policy.Package,
	from *client.Log) (*client.Result, error) {
	g := verdict.Given{Bundle: bundle, Opening: opening, Registry: pkg.Registry, Rules: r.policy.RulesFor(pkg, time.Now()), From: from}
	if raw != nil {
		var err error
		if g.Crate, err = crate.Read(raw, pkg.Name, pkg.Version, crate.DefaultLimits); err != nil {
			return nil, outcome.Refuse(err)
		}
	}
	answer, err := r.checker.Bundle(ctx, g)
	if err != nil {
		return nil, refused(err)
	}
	return answer.Result, nil
}

// Entry is Verify of an entry that stands in no log yet: all that a reader with this policy will ask for but
// what the log shows. So nothing is uploaded, or logged for ever, that the policy will not have.
func (r *Reader) Entry(ctx context.Context, entryBytes, raw, opening []byte, pkg policy.Package) (*client.Result, error) {
	c, err := crate.Read(raw, pkg.Name, pkg.Version, crate.DefaultLimits)
	if err != nil {
		return nil, outcome.Refuse(err)
	}
	result, err := r.checker.Entry(ctx, entryBytes, raw, verdict.Given{Crate: c, Opening: opening, Registry: pkg.Registry,
		Rules: r.policy.RulesFor(pkg, time.Now())})
	return result, refused(err)
}

// refused marks an error of a check that was made.
func refused(err error) error {
	if e := verdict.Explain(err); e != nil && e.Status == verdict.Violation {
		return outcome.Refuse(err)
	}
	return err
}

// Query asks a log about a package for what the policy accepts.
func (r *Reader) Query(pkg policy.Package) client.Query { return r.policy.QueryFor(pkg) }

// Logs returns the addresses of the logs that the trust files name, if the policy lets them be told of the crates of
// the registry with an index, "" for cargo's default one: of another, none of which it says nothing.
func (r *Reader) Logs(index string) []string {
	var urls []string
	for _, t := range r.policy.Trust {
		for _, l := range t.Policy.Origins() {
			if l.URL != "" && r.policy.MayAsk(index, l.Origin) {
				urls = append(urls, l.URL)
			}
		}
	}
	return urls
}

// Logged is the check of a provider: it looks for a bundle in directories that "cargo
// zkp publish" wrote, and then in logs.
type Logged struct {
	Reader *Reader
	Dirs   []string
	Logs   []*client.Log
	Note   func(format string, args ...any) // tells what is left to do; nil: nobody
}

// Check returns nil if the very .crate is logged, or is ready to be, if one of the logs takes only
// what the registry lists by the reader's own word.
func (l *Logged) Check(ctx context.Context, u Upload) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var why []string
	var without []*client.Log // that answer, and have no entry
	for _, dir := range l.Dirs {
		b, err := durable.Read(Dir(dir).File(u.Name, u.Version, ExtBundle), client.MaxBundleSize)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = l.matches(ctx, b, u, nil)
		}
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("the bundle in %s: %v", dir, err))
	}
	for _, log := range l.Logs {
		b, err := log.Bundle(ctx, l.Reader.policy.QueryFor(u.pkg()))
		switch {
		case errors.Is(err, client.ErrNotLogged):
			if err = l.Reader.checker.Missing(ctx, log, u.pkg(), u.SHA256); errors.Is(err, client.ErrNotLogged) {
				why = append(why, verdict.Explain(err).Message)
				without = append(without, log)
				continue
			}
		case err == nil:
			err = l.matches(ctx, b, u, log)
		}
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("the log at %s: %v", log.URL, err))
	}
	if len(l.Logs) == 0 {
		why = append(why, "no log was asked: the trust files name none by its URL that the policy lets be told of this "+
			"registry's crates, and no --log does")
		if reg, _ := l.Reader.policy.Of(u.Index); reg.Index != "" {
			why = append(why, fmt.Sprintf("name one with --log URL behind cargo-zkp in cargo's configuration, or by its "+
				"origin in [registry.%q] logs in zkp.toml", u.Index))
		}
	}
	if len(l.Reader.policy.Backed) > 0 {
		origin, err := l.ready(ctx, u, without)
		if err == nil {
			l.note(u, origin)
			return nil
		}
		return fmt.Errorf("%s %s (SHA-256 %x) is neither logged nor ready to be, so it is not published\n%s\n%w\nrun "+
			"\"cargo zkp publish\" instead of \"cargo publish\", or \"cargo zkp publish --dry-run\" before it and \"cargo zkp publish "+
			"--log-only\" after it", u.Name, u.Version, u.SHA256, strings.Join(why, "\n"), err)
	}
	why = append(why, "run \"cargo zkp publish\" instead of \"cargo publish\", or \"cargo zkp "+
		"publish --log-only\" before it")
	return fmt.Errorf("%s %s (SHA-256 %x) is not known to be logged with a proof, so it is not published\n%s",
		u.Name, u.Version, u.SHA256, strings.Join(why, "\n"))
}

func (u Upload) pkg() policy.Package {
	return policy.Package{Name: u.Name, Version: u.Version, Registry: u.Index}
}

// matches verifies a bundle and compares it with what is uploaded.
func (l *Logged) matches(ctx context.Context, bundle []byte, u Upload, from *client.Log) error {
	r, err := l.Reader.Verify(ctx, bundle, nil, nil, u.pkg(), from)
	if err != nil {
		return err
	}
	if r.Name != u.Name || r.Version != u.Version {
		return fmt.Errorf("it is about %s %s", r.Name, r.Version)
	}
	if r.SHA256 != u.SHA256 {
		return fmt.Errorf("it is about another .crate of this version, with SHA-256 %x, made of commit %x; a version has "+
			"one checksum in a log: check that commit out and publish it, or a new version", r.SHA256, r.Commit)
	}
	return nil
}
