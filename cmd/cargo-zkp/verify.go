package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/internal/outcome"
	"cratelog/opening"
)

// verify checks all crates of a lock file, or one .crate if it is named.
func verify(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "verify", "[FILE.crate | --binary FILE [NAME@VERSION]]", `Check that the crates of Cargo.lock are what the policy asks for; or with FILE.crate,
that this one is what a proved, logged and witnessed entry says; or with --binary FILE, that
this binary is what builders make of a crate whose source is proven.`)
	var b believe
	b.register(fs)
	var one fileOptions
	one.register(fs)
	var all lockOptions
	all.register(fs, &b.offline)
	fs.BoolVar(&b.trusted, "trusted-publishing", false, trustedUsage)
	fs.Func("p", "`NAME[@VERSION]`: check this package of the lock file only; may be repeated; with "+
		"FILE.crate, what it must be (default: what the file's name says)", policy.AppendTo(&all.only))
	fs.Func("package", "the same as -p `NAME[@VERSION]`", policy.AppendTo(&all.only))
	var binary binaryOptions
	binary.register(fs)
	files, err := parseUpTo(1, fs, args, "FILE.crate")
	if err != nil {
		return err
	}
	if binary.binary != "" {
		others := slices.Concat(one.names, all.names, []string{"p", "package"})
		shared := []string{"bundle", "registry", "message-format"}
		if name := given(fs, slices.DeleteFunc(others, func(n string) bool {
			return slices.Contains(shared,
				n)
		})...); name != "" {
			return outcome.Usagef("--%s is not for a binary", name)
		}
		binary.bundle, binary.pkg.Registry = one.bundle, one.registry
		return verifyBinary(ctx, sh, strings.Join(files, ""), b, binary, all.format)
	}
	if name := given(fs, binary.names...); name != "" {
		return outcome.Usagef("--%s is for a binary: name it with --binary FILE", name)
	}
	if len(files) == 0 {
		if name := given(fs, one.names...); name != "" {
			return outcome.Usagef("--%s is for one crate: name its FILE.crate", name)
		}
		return verifyLock(ctx, sh, b, all)
	}
	if name := given(fs, all.names...); name != "" {
		return outcome.Usagef("--%s is for a lock file: leave out FILE.crate", name)
	}
	if len(all.only) > 1 {
		return outcome.Usagef("FILE.crate is one package: give -p once")
	}
	return verifyFile(ctx, sh, files[0], b, one, strings.Join(all.only, ""))
}

// fileOptions are those of verify for one .crate.
type fileOptions struct {
	names       []string
	bundle, log string
	registry    string
	strict      bool
	allowed     []string
	maxAge      time.Duration
}

func (o *fileOptions) register(fs *flag.FlagSet) {
	o.names = []string{"bundle", "log", "registry", "deny-unproven", "allow-unproven", "max-age"}
	fs.StringVar(&o.bundle, "bundle", "", "`FILE` with the bundle of FILE.crate; nothing is fetched "+
		"(default: FILE.tlog-proof); or with what a log shows about a binary (default: what the logs show, or offline "+
		"FILE.builds)")
	fs.StringVar(&o.log, "log", "", "fetch the bundle of FILE.crate from the log at this `URL` instead")
	fs.StringVar(&o.registry, "registry", "", "`INDEX` of the registry that FILE.crate is from, as Cargo.lock names "+
		"it (default: cargo's own)")
	fs.BoolVar(&o.strict, "deny-unproven", false, "refuse FILE.crate if any file of it is unproven, Cargo.lock too")
	fs.Func("allow-unproven", "accept FILE.crate although this `FILE` of it is unproven: with "+
		"Cargo.toml, its dependencies and build script can be anything; may be repeated", policy.AppendTo(&o.allowed))
	fs.Func("max-age", "refuse a bundle that the witnesses' quorum cosigned longer ago than this `AGE`, like 30d "+
		"or 36h; 0 for any age (default: the policy's)", func(v string) (err error) {
		o.maxAge, err = policy.ParseAge(v)
		return err
	})
}

func verifyFile(ctx context.Context, sh *shell, file string, b believe, o fileOptions, pkg string) error {
	if o.bundle != "" && o.log != "" {
		return outcome.Usagef("verify takes --bundle or --log, not both")
	}
	if o.log != "" && b.offline {
		return outcome.Usagef("verify takes --log or --offline, not both")
	}
	var ws *cargo.Workspace
	if b.Flag == "" && len(b.Trust) == 0 {
		ws, _ = workspace("") // one crate is checked outside of workspaces as well
	}
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	c, err := crate.ReadFile(file, crate.DefaultLimits)
	if err != nil {
		return readError(err)
	}
	sh.Status("Verifying", "%s v%s", c.Name, c.Version)
	name, version, err := expected(file, pkg, c)
	if err != nil {
		return err
	}
	wanted := policy.Package{Name: name, Version: version, Registry: o.registry}
	rules := p.RulesFor(wanted, time.Now())
	if o.maxAge != 0 {
		rules.MaxAge = o.maxAge
	}
	if o.strict {
		rules.AllowUnproven = nil
	}
	rules.AllowUnproven = append(rules.AllowUnproven, o.allowed...)
	bundle, beside, from, notThere := bundleFor(ctx, p.QueryFor(wanted), file, o.bundle, o.log)
	if notThere != nil && !errors.Is(notThere, client.ErrNotLogged) {
		return notThere
	}
	b.offline = from == nil // a bundle in a file: nothing is fetched
	checker, err := b.checker(p)
	if err != nil {
		return err
	}
	if notThere != nil {
		return refusal(checker.Missing(ctx, from, wanted, c.SHA256))
	}
	a, err := checker.Bundle(ctx, verdict.Given{Bundle: bundle, Opening: beside, Crate: c, Rules: rules, From: from,
		Registry: o.registry})
	if err != nil {
		return refusal(err)
	}
	for _, n := range a.Notes {
		sh.Warn("%s", n)
	}
	reportOne(sh, p, file, a)
	return nil
}

// expected returns the package that the reader wants. It does not come from the
// .crate, which may be another honest one under a wanted one's name.
func expected(file, pkg string, c *crate.Crate) (name, version string, err error) {
	if pkg != "" {
		name, version, ok := strings.Cut(pkg, "@")
		if !ok || name == "" || version == "" {
			return "", "", outcome.Usagef("-p takes NAME@VERSION, not %q", pkg)
		}
		return name, version, nil
	}
	if want := c.Name + "-" + c.Version + ".crate"; filepath.Base(file) != want {
		return "", "", outcome.Refusef("%s holds %s v%s, which its name does not say\nif that is the "+
			"crate you want, pass -p %s@%s", file, c.Name, c.Version, c.Name, c.Version)
	}
	return c.Name, c.Version, nil
}

// bundleFor reads the bundle from a file, with the opening that may be beside it, or fetches it from
// the log that it returns, also if the error is client.ErrNotLogged.
func bundleFor(ctx context.Context, q client.Query, file, bundleFile, url string) (bundle, beside []byte,
	from *client.Log, err error) {
	if url != "" {
		log := &client.Log{URL: url, UserAgent: userAgent}
		b, err := log.Bundle(ctx, q)
		return b, nil, log, err
	}
	if bundleFile == "" {
		bundleFile = sibling(file, verdict.BundleExt)
	}
	bundle, err = readFile(bundleFile, client.MaxBundleSize)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil, fmt.Errorf("%w\nname the bundle with --bundle, or fetch it with --log URL", err)
	} else if err != nil {
		return nil, nil, nil, err
	}
	beside, err = readFile(strings.TrimSuffix(bundleFile, verdict.BundleExt)+verdict.OpeningExt, opening.MaxSize)
	if errors.Is(err, os.ErrNotExist) {
		return bundle, nil, nil, nil
	}
	return bundle, beside, nil, err
}

// refusal sorts the errors of a verdict.Checker.
func refusal(err error) error {
	var e *verdict.Error
	switch {
	case errors.Is(err, client.ErrPolicy), errors.Is(err, verdict.ErrNoLog), errors.Is(err, verdict.ErrNoBuilds):
		return outcome.Misuse(err)
	case errors.As(err, &e) && e.Status == verdict.Violation:
		return outcome.Refuse(err)
	}
	return err
}

func reportOne(sh *shell, p *policy.Policy, file string, r *verdict.Answer) {
	if r.Trailing > 0 {
		sh.Warn("%d bytes follow the archive in the .crate; cargo ignores them", r.Trailing)
	}
	for _, f := range r.Unproven {
		more := ""
		if f == "Cargo.toml" {
			more = ": its dependencies, features and build script are not known to be the commit's"
		}
		sh.Warn("%s is not proven%s", f, more)
	}
	if n := len(r.CRLF); n > 0 {
		sh.Warn("%s CRLF line ends where the commit has LF, the first is %s", filesHave(n), r.CRLF[0])
	}
	shown := newShown(p, r, file)
	switch {
	case p.Development:
		sh.Warn("accepted with UNSAFE development keys: anyone can forge such proofs")
	case shown.program.Forgers() != "":
		sh.Warn("proven with the key of %s", shown.program.Trust())
	}
	if sh.verbose {
		shown.human(sh)
	}
	what := fmt.Sprintf("is the source of commit %x", r.Commit)
	if !r.NamesCommit {
		what = fmt.Sprintf("has its files in commit %x, which the crate itself does not name", r.Commit)
	}
	sh.Status("Finished", "%s v%s %s, entry %d of %s, seen by %d witnesses", r.Name, r.Version, what, r.Index,
		r.Checkpoint.Origin, len(r.Checkpoint.Cosignatures))
	sh.Status("", "%s", verdict.OneChecksum(r.Checkpoint, r.Name+" "+r.Version))
}
