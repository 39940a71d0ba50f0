package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// show tells what the logs that are trusted hold about a crate.
func show(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "show", "NAME[@VERSION] | FILE.builds | FILE.entry", `Tell what is logged about a crate: commit, coverage, index, cosignatures.
Without a version, the one of the lock file. Or tell what a file of builds, or the entry of
one, says about a binary.`)
	var b believe
	b.register(fs)
	var manifestPath string
	manifestFlag(fs, &manifestPath)
	format := fs.String("message-format", "human", "`FORMAT` of the answer: human or json")
	slsa := fs.Bool("slsa", false, "of FILE.builds: verify the binary as the policy's [builds] asks, and print SLSA v1 provenance of it, an "+
		"in-toto statement")
	fs.BoolVar(&b.trusted, "trusted-publishing", false, trustedUsage)
	versions := fs.Bool("versions", false, "of NAME: list all versions that the logs hold, whatever the lock file says")
	var crates []string
	fs.Func("crates", "with --slsa: `DIR` with .crate files, beside cargo's cache; may be repeated", policy.AppendTo(&crates))
	spec, err := parse(fs, args, "NAME[@VERSION]")
	if err != nil {
		return err
	}
	if *slsa && !strings.HasSuffix(spec, buildsExt) {
		return outcome.Usagef("--slsa is of a file of builds: cargo zkp verify --binary FILE NAME@VERSION --join OUT%s makes one", buildsExt)
	}
	if *versions && strings.ContainsAny(spec, "@.") {
		return outcome.Usagef("--versions is of a NAME alone")
	}
	if *format != "human" && *format != "json" {
		return outcome.Usagef("--message-format is human or json, not %q", *format)
	}
	ws, err := workspace(manifestPath)
	if err != nil && manifestPath != "" {
		return err
	}
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	if *versions && b.offline {
		return outcome.Usagef("--versions asks the logs, which --offline forbids")
	}
	if *versions {
		return showVersions(ctx, sh, p, spec, *format)
	}
	if file := strings.HasSuffix(spec, buildsExt); file || strings.HasSuffix(spec, ".entry") {
		checker, err := b.checker(p)
		switch {
		case err != nil:
			return err
		case *slsa:
			return showSLSA(ctx, sh, checker, b, crates, spec)
		case file:
			return showJoined(sh, checker, p, spec)
		}
		return showEntry(sh, checker, p, spec)
	}
	name, wants, err := wanted(spec, ws, p)
	if err != nil {
		return err
	}
	checker, err := b.checker(p)
	if err != nil {
		return err
	}
	for _, version := range wants {
		s, err := look(ctx, checker, p, name, version)
		if err != nil {
			return err
		}
		if b.trusted {
			if err := s.askTrusted(ctx, checker); err != nil {
				return err
			}
		}
		for _, n := range s.Notes {
			sh.Warn("%s v%s: %s", name, version, n)
		}
		if *format == "json" {
			err = s.json(sh)
		} else {
			s.human(sh)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted returns the versions that are meant: the one that is named, or those that
// the lock file has, of registries about whose crates all logs may be asked.
func wanted(spec string, ws *cargo.Workspace, p *policy.Policy) (name string, versions []string, err error) {
	name, version, named := strings.Cut(spec, "@")
	if named {
		return name, []string{version}, nil
	}
	if ws == nil {
		return "", nil, outcome.Usagef("which version of %s? There is no Cargo.toml here whose lock "+
			"file could tell; say %s@VERSION", name, name)
	}
	lock, err := cargo.ReadLock(ws.LockPath)
	if err != nil {
		return "", nil, err
	}
	private := ""
	for _, i := range lock.Named(name) {
		locked := lock.Packages[i]
		index, registry := locked.Registry()
		if r, _ := p.Of(index); registry && !r.AnyLog {
			private = index
		} else if registry {
			name, versions = locked.Name, append(versions, locked.Version)
		}
	}
	if len(versions) == 0 && private != "" {
		return "", nil, outcome.Refusef("%s is of the registry %s, whose crates not every log may know of\n"+
			"check it with \"cargo zkp verify -v -p %s\"", name, private, name)
	}
	if len(versions) == 0 {
		return "", nil, outcome.Usagef("%s has no package %s from a registry; say %s@VERSION", shorten(ws.LockPath),
			name, name)
	}
	return name, versions, nil
}

// shown is what a log shows of a crate version. Its bundle is verified, and if the
// .crate is in cargo's cache, that one too.
type shown struct {
	*verdict.Answer
	url     string             // of the log that was asked; "" for none
	program proofcheck.Program // of the proof
	path    string             // of the .crate; "" if it is not there, and coverage is not known
	trusted *verdict.TrustedPublishing
}

func newShown(p *policy.Policy, a *verdict.Answer, path string) *shown {
	s := &shown{Answer: a, path: path}
	for _, prog := range p.Programs {
		if prog.ID() == a.Program {
			s.program = prog
		}
	}
	return s
}

// look asks the logs in their order for a bundle, and verifies it.
func look(ctx context.Context, checker *verdict.Checker, p *policy.Policy, name, version string) (*shown, error) {
	bundle, from, err := checker.Fetch(ctx, name, version)
	if err != nil {
		return nil, refusal(err)
	}
	g := verdict.Given{Bundle: bundle, Rules: p.Rules(name, version, time.Now()), From: from}
	a, err := checker.Bundle(ctx, g)
	if err != nil {
		return nil, refusal(err)
	}
	s := newShown(p, a, "")
	if from != nil {
		s.url = from.URL
	}
	if g.Crate, s.path, err = s.cached(); err != nil || g.Crate == nil {
		return s, err
	}
	// With the .crate the answer can say which files are proven.
	if s.Answer, err = checker.Bundle(ctx, g); err != nil {
		return nil, refusal(fmt.Errorf("%s: %w", s.path, err))
	}
	return s, nil
}

// cached returns the .crate that the entry is about, if cargo has it.
func (s *shown) cached() (*crate.Crate, string, error) {
	home, err := cargo.Home()
	if err != nil {
		return nil, "", nil
	}
	raw, path := cached(home, s.Name, s.Version, s.SHA256)
	if path == "" {
		return nil, "", nil
	}
	c, err := crate.ReadHashed(raw, s.SHA256, s.Name, s.Version, crate.DefaultLimits)
	if err != nil {
		return nil, "", outcome.Refusef("%s: %w", path, err)
	}
	return c, path, nil
}

func (s *shown) human(sh *shell) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(sh.stdout, "%-11s %s\n", key+":", printable(fmt.Sprintf(format, args...)))
	}
	line("crate", "%s v%s", s.Name, s.Version)
	line("sha-256", "%x", s.SHA256)
	line("commit", "%x", s.Commit)
	line("path", "/%s", s.Path)
	if s.path != "" {
		if !s.NamesCommit {
			line("named by", "whoever made the claim: its files are in that commit; the crate itself names no commit")
		}
		if text := claimed(s.Repository, fmt.Sprintf("%x", s.Commit)); text != "" {
			line("repository", "%s", text)
		}
		for _, text := range opened(s.Opening) {
			line("opening", "%s", text)
		}
		line("coverage", "%s", coverage(verdict.CoverageOf(s.Result)))
		if s.Versions != "" {
			line("versions", "%s", sourceFacts{lock: s.Versions == string(crate.ByCommit)}.versions())
		}
		line("verified", "%s", s.path)
	} else {
		line("unproven", "%s", cmp.Or(strings.Join(s.Unproven, ", "), "nothing"))
		line("verified", "the bundle; the .crate is not in cargo's cache, so its files were not compared")
	}
	if text := trustedText(s.trusted); text != "" {
		line("published", "%s", text)
	}
	unsafe := ""
	if s.program.Development() {
		unsafe = "UNSAFE "
	}
	line("program", "%x", s.Program)
	line("key", "%s%s", unsafe, s.program.Trust())
	line("log", "%s, entry %d of %d", s.Checkpoint.Origin, s.Index, s.Checkpoint.Size)
	line("checksum", "%s: by %s", verdict.OneChecksum(s.Checkpoint, s.Name+" "+s.Version), s.First.By())
	for _, c := range s.Checkpoint.Cosignatures {
		line("witness", "%s, %s", c.KeyName, c.Time.UTC().Format(time.RFC3339))
	}
	if s.url != "" {
		line("bundle", "%s/v1/crates/%s/%s", strings.TrimSuffix(s.url, "/"), s.Name, s.Version)
	}
}

func (s *shown) json(sh *shell) error {
	var covered *verdict.Coverage
	var named *bool
	if s.path != "" {
		named = &s.NamesCommit
		c := verdict.CoverageOf(s.Result)
		covered = &c
	}
	return printJSON(sh, struct {
		Name        string            `json:"name"`
		Version     string            `json:"version"`
		Checksum    string            `json:"checksum"`
		Commit      string            `json:"commit"`
		Path        string            `json:"path"`
		Unproven    []string          `json:"unproven"`
		Coverage    *verdict.Coverage `json:"coverage,omitempty"` // if the .crate is in cargo's cache
		Program     string            `json:"program"`
		Development bool              `json:"development"`
		Origin      string            `json:"origin"`                       // of the program's key
		NamesCommit *bool             `json:"names_commit,omitempty"`       // like coverage
		Repository  string            `json:"repository_claimed,omitempty"` // like coverage; not proven
		Opening     *verdict.Opening  `json:"opening,omitempty"`            // like coverage
		Versions    string            `json:"versions_chosen_by,omitempty"` // like coverage
		Log         verdict.Logged    `json:"log"`

		Trusted *verdict.TrustedPublishing `json:"trusted_publishing,omitempty"` // if it was asked for
	}{s.Name, s.Version, fmt.Sprintf("%x", s.SHA256), fmt.Sprintf("%x", s.Commit), s.Path, append([]string{},
		s.Unproven...), covered, fmt.Sprintf("%x", s.Program), s.program.Development(), s.program.Origin, named, s.Repository, s.Opening, s.Versions,
		verdict.LoggedAt(s.Result), s.trusted})
}
