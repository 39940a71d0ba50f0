package main

import (
	"cmp"
	"errors"
	"flag"
	"io/fs"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// believe are the options that say whom to believe about what. Every verb that
// verifies has them.
type believe struct {
	policy.Place
	offline bool
	rehash  bool // of a verb's own option
	trusted bool // likewise: ask registries who published
}

func (b *believe) register(fs *flag.FlagSet) {
	b.Register(fs)
	fs.Func("program", "`FILE` of a program to accept beside those that ship, instead of those that the "+
		"policy names; may be repeated", policy.AppendTo(&b.Programs))
	fs.BoolVar(&b.offline, "offline", false, "use only what is on this disk")
}

// load loads the policy that counts for a workspace, or for none: ws may be nil.
func (b *believe) load(ws *cargo.Workspace) (*policy.Policy, error) {
	place := b.Place
	place.UserDir = policy.UserDir()
	if ws != nil {
		place.Root, place.Metadata = ws.Root, ws.Policy
	}
	p, err := place.Load()
	if err != nil {
		return nil, policyError(err)
	}
	return p, nil
}

// proveLock is the command that proves the crates of a lock file for the log that a policy believes.
func proveLock(p *policy.Policy) string {
	url := "URL"
	if len(p.Trust) == 1 {
		if logs := p.Trust[0].Policy.Origins(); len(logs) == 1 {
			url = cmp.Or(logs[0].URL, url)
		}
	}
	return "cargo zkp prove --lock --submit --log " + printable(url)
}

// trusting is load for a verb that must have a log to believe.
func (b *believe) trusting(ws *cargo.Workspace) (*policy.Policy, error) {
	p, err := b.load(ws)
	if err == nil && len(p.Trust) == 0 {
		err = outcome.Usagef("%s", p.NoTrust())
	}
	return p, err
}

// policyError sorts what loading a policy returns: a file that is not there or not
// readable leaves the check undone; a wrong one is a mistake of whoever wrote it.
func policyError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return err
	}
	return outcome.Misuse(err)
}

// checker returns the engine that verifies under a policy.
func (b *believe) checker(p *policy.Policy) (*verdict.Checker, error) {
	cfg := b.config()
	cfg.Policy = p
	return verdict.New(cfg)
}

// config is the engine's, but for the policy.
func (b *believe) config() verdict.Config {
	return verdict.Config{Offline: b.offline, Rehash: b.rehash, Trusted: b.trusted, UserAgent: userAgent,
		Registry: cargosRegistry}
}

// workspace loads the workspace that a manifest path, or else the working directory,
// lies in.
func workspace(manifestPath string) (*cargo.Workspace, error) {
	if manifestPath == "" {
		var err error
		if manifestPath, err = cargo.FindManifest("."); err != nil {
			return nil, err
		}
	}
	return cargo.LoadWorkspace(manifestPath)
}
