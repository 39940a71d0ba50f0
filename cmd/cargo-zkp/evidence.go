package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/credential"
	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/internal/outcome"
)

// evidenceCall is a call of the verb evidence.
type evidenceCall struct {
	believe  believe
	lock     lockOptions
	registry string
	refresh  bool
}

// evidenceVerb writes a tree of evidence that any file server can hand out.
func evidenceVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "evidence", "DIR [FILE.crate...]",
		`Write the bundles and openings of crates to DIR, for any file server: those of the crates of
Cargo.lock, or of each FILE.crate. Readers name its URL, or DIR, with evidence = [...] in zkp.toml, or
their registry announces it; then no log learns what they use. What does not verify is not written,
a bundle is replaced by a newer one only, and nothing is removed.`)
	var c evidenceCall
	c.believe.register(fs)
	c.lock.registerPlace(fs)
	lock := fs.Bool("lock", false, "the crates of Cargo.lock (default, without FILE.crate)")
	fs.StringVar(&c.registry, "registry", "",
		"`INDEX` of the registry that each FILE.crate is of (default: cargo's own)")
	fs.BoolVar(&c.refresh, "refresh", false,
		"ask the logs for newer bundles also of crates whose bundle is in the cache")
	found, err := parseUpTo(maxEvidenceFiles, fs, args, "DIR and FILE.crate")
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return outcome.Usagef("evidence takes the directory to write to: cargo zkp evidence DIR")
	case *lock && len(found) > 1:
		return outcome.Usagef("evidence takes --lock or FILE.crate, not both")
	case c.registry != "" && len(found) == 1:
		return outcome.Usagef("--registry is for FILE.crate: Cargo.lock says where its crates are from")
	case c.refresh && c.believe.offline:
		return outcome.Usagef("evidence takes --refresh or --offline, not both")
	}
	var p *policy.Policy
	var wants []verdict.Want
	if len(found) == 1 {
		p, wants, err = c.locked(ctx, sh)
	} else {
		p, wants, err = c.files(found[1:])
	}
	if err != nil {
		return err
	}
	return c.write(ctx, sh, p, wants, found[0])
}

// maxEvidenceFiles bounds the arguments of a call.
const maxEvidenceFiles = 100_000

// locked returns the registries' crates of the lock file, all of which are to be proven.
func (c *evidenceCall) locked(ctx context.Context, sh *shell) (*policy.Policy, []verdict.Want, error) {
	if err := freshLock(ctx, sh, c.believe, c.lock); err != nil {
		return nil, nil, err
	}
	k, err := planLock(ctx, sh, c.believe, c.lock)
	if err != nil {
		return nil, nil, err
	}
	if len(k.Policy.Trust) == 0 {
		return nil, nil, outcome.Usagef("%s", k.Policy.NoTrust())
	}
	k.needAll = true
	err = k.locate(func() error {
		if c.believe.offline {
			return nil
		}
		if err := runCargo(ctx, sh, "fetch", "--locked", "--manifest-path", k.Workspace.Manifest); err != nil {
			sh.Warn("%v", err) // of one crate, perhaps
		}
		return ctx.Err()
	})
	return k.Policy, k.Wants, err
}

// files returns crates that were named.
func (c *evidenceCall) files(names []string) (*policy.Policy, []verdict.Want, error) {
	ws, err := workspace(c.lock.manifestPath)
	if err != nil && c.lock.manifestPath != "" {
		return nil, nil, err
	} else if err != nil {
		ws = nil // the user's own policy counts
	}
	p, err := c.believe.trusting(ws)
	if err != nil {
		return nil, nil, err
	}
	index := c.registry
	if cargo.IsDefault(index) {
		index = ""
	}
	var wants []verdict.Want
	for _, name := range names {
		read, err := crate.ReadFile(name, crate.DefaultLimits)
		if err != nil {
			return nil, nil, err
		}
		wants = append(wants, verdict.Want{Name: read.Name, Version: read.Version, Checksum: read.SHA256, Path: name,
			Index: index,
			Demand: policy.Demand{Package: policy.Package{Name: read.Name, Version: read.Version, Registry: index},
				Status: policy.Required}})
	}
	return p, wants, nil
}

// write verifies crates once for each trust file, whose log may have a bundle of its own, and writes
// what is verified.
func (c *evidenceCall) write(ctx context.Context, sh *shell, p *policy.Policy, wants []verdict.Want, dir string) error {
	type end struct {
		has, unchecked bool
		required       bool
		why            error
	}
	ends := make([]end, len(wants))
	for i := range wants {
		d := &wants[i].Demand
		ends[i].required = d.Status == policy.Required && !d.Warn
		d.Status, d.Warn, wants[i].Opened = policy.Required, false, true
	}
	written, same := 0, 0
	for i := range p.Trust {
		one := *p
		one.Trust = p.Trust[i : i+1]
		cfg := c.believe.config()
		cfg.Policy, cfg.Fresh = &one, c.refresh
		checker, err := verdict.New(cfg)
		if err != nil {
			return err
		}
		sh.Status("Verifying", "%s by %s", crates(len(wants)), shorten(p.Trust[i].Path))
		bar := &bar{sh: sh}
		verdicts := checker.All(ctx, wants, bar.set)
		bar.clear()
		if err := ctx.Err(); err != nil {
			return err
		}
		tree := checker.Tree(dir)
		for i := range verdicts {
			v, end := &verdicts[i], &ends[i]
			if v.Status != verdict.Verified {
				end.why, end.unchecked = v.Err, end.unchecked || v.Status == verdict.Unchecked
				continue
			}
			wrote, err := tree.Save(ctx, v)
			if err != nil {
				return err
			}
			if end.has = true; wrote {
				written++
			} else {
				same++
			}
		}
		if err := tree.SaveTiles(ctx); err != nil {
			sh.Warn("readers of %s will have to ask the log whether its trees are one history: %v", shorten(dir), err)
		}
	}
	none, missing, unchecked := 0, 0, 0
	for i, end := range ends {
		if end.has {
			continue
		}
		none++
		said := verdict.Explain(end.why)
		plain := errors.Is(end.why, client.ErrNotLogged) || errors.Is(end.why, verdict.ErrNotCached)
		switch {
		case end.unchecked && (end.required || !plain):
			unchecked++
		case end.required:
			missing++
		}
		if !plain || end.required || sh.verbose {
			sh.Warn("%s v%s has no evidence in %s: %s", wants[i].Name, wants[i].Version, shorten(dir), said.Message)
		}
	}
	sh.Status("Wrote", "evidence to %s: %d new or newer, %d as before, %s without", shorten(dir), written, same,
		crates(none))
	switch {
	case unchecked > 0:
		return fmt.Errorf("%s could not be verified, so that there is no evidence of them: try again",
			crates(unchecked))
	case missing > 0:
		return outcome.Refusef("%s must be proven and have no evidence that verifies", crates(missing))
	}
	return nil
}

// registryTime is how long an answer of a registry about evidence may take.
const registryTime = 30 * time.Second

// cargosRegistry returns the registry from which cargo takes the crates of the registry with an index,
// as it is configured for the working directory, with the token that cargo has for it; nil if it takes
// them from elsewhere, or it is not known where the sparse index is.
func cargosRegistry(index string) *registry.Index {
	home, err := cargo.Home()
	if err != nil {
		return nil
	}
	config, err := cargo.LoadConfig(".", home)
	if err != nil {
		return nil
	}
	from, err := config.Index(index)
	if index == "" {
		from, err = config.Default()
	}
	if err != nil || from.Kind != "registry" {
		return nil
	}
	at := from.At
	if at == "" {
		at, _ = config.Registry(cargo.DefaultSource)
	}
	if at == "" {
		url, err := registry.DefaultIndex(home)
		if err != nil {
			return nil
		}
		at = "sparse+" + url
	}
	url, err := registry.IndexURL(at)
	if err != nil {
		return nil
	}
	x := &registry.Index{URL: url, UserAgent: userAgent, TokenIfAsked: true, HTTP: &http.Client{Timeout: registryTime}}
	if dir, err := filepath.Abs("."); err == nil {
		if settings, err := credential.ReadSettings(dir, home, os.Getenv); err == nil {
			if name := settings.Named(at); name != "" {
				x.Token = settings.Token(name)
			}
		}
	}
	return x
}
