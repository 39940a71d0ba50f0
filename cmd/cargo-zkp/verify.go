package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/crate"
	"cratelog/proofcheck"
)

func verify(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "verify", "FILE.crate", "Check that a crate is what a proved, logged and witnessed entry says.")
	bundleFile := fs.String("bundle", "", "file with the bundle; nothing is fetched (default: FILE.tlog-proof for FILE.crate)")
	url := fs.String("log", "", "fetch the bundle from the log at this URL instead")
	policyFile := fs.String("policy", "", "file that says which logs and witnesses to believe, a C2SP tlog-policy (required)")
	development := fs.Bool("development", false, "accept proofs made with UNSAFE development keys, which anybody can forge")
	strict := fs.Bool("deny-unproven", false, "refuse a crate of which any file is unproven, Cargo.lock too")
	var allowed []string
	fs.Func("allow-unproven", "accept a crate of which `FILE` is unproven: with Cargo.toml, its dependencies and build script can be anything; may be repeated", func(v string) error {
		allowed = append(allowed, v)
		return nil
	})
	pkg := fs.String("p", "", "`NAME@VERSION` that the crate must be (default: what the file's name says)")
	maxAge := fs.Duration("max-age", 0, "refuse a bundle that the witnesses' quorum cosigned longer ago; 0 for any age")
	verbose := fs.Bool("v", false, "tell what was checked")
	file, err := parse(fs, args, "FILE.crate")
	if err != nil {
		return err
	}
	if *bundleFile != "" && *url != "" {
		return usageError("verify takes --bundle or --log, not both")
	}
	if *policyFile == "" {
		return usageError("verify needs --policy FILE: which logs and witnesses to believe is yours to say")
	}
	text, err := readFile(*policyFile, client.MaxPolicySize)
	if err != nil {
		return err
	}
	policy, err := client.ParsePolicy(text)
	if err != nil {
		return usageError(fmt.Sprintf("%s: %v", *policyFile, err))
	}
	raw, err := readFile(file, crate.DefaultLimits.Compressed)
	if err != nil {
		return err
	}
	c, err := crate.ReadFile(file, crate.DefaultLimits)
	if err != nil {
		return readError(err)
	}
	sh.status("Verifying", "%s v%s", c.Name, c.Version)
	rules := client.DefaultRules()
	if rules.Name, rules.Version, err = expected(file, *pkg, c); err != nil {
		return err
	}
	bundle, err := bundleFor(ctx, c, file, *bundleFile, *url)
	if err != nil {
		return err
	}
	proofs, err := proofcheck.Shipped(*development)
	if err != nil {
		return err
	}
	rules.MaxAge = *maxAge
	if *strict {
		rules.AllowUnproven = nil
	}
	rules.AllowUnproven = append(rules.AllowUnproven, allowed...)
	r, err := client.Verify(raw, bundle, policy, proofs, rules)
	if err != nil {
		return verdict(err, *development)
	}
	report(sh, r, *development, *verbose)
	return nil
}

// expected returns the package that the reader wants. It does not come from the
// .crate, which may be another honest one under a wanted one's name.
func expected(file, pkg string, c *crate.Crate) (name, version string, err error) {
	if pkg != "" {
		name, version, ok := strings.Cut(pkg, "@")
		if !ok {
			return "", "", usageError(fmt.Sprintf("-p takes NAME@VERSION, not %q", pkg))
		}
		return name, version, nil
	}
	if want := c.Name + "-" + c.Version + ".crate"; filepath.Base(file) != want {
		return "", "", violation{fmt.Errorf("%s holds %s v%s, which its name does not say\nif that is the crate you want, pass -p %s@%s", file, c.Name, c.Version, c.Name, c.Version)}
	}
	return c.Name, c.Version, nil
}

// bundleFor reads the bundle from a file or fetches it.
func bundleFor(ctx context.Context, c *crate.Crate, file, bundleFile, url string) ([]byte, error) {
	if url != "" {
		b, err := (&client.Log{URL: url, UserAgent: userAgent}).Bundle(ctx, c.Name, c.Version)
		if errors.Is(err, client.ErrNotLogged) {
			return nil, violation{fmt.Errorf("the log at %s has no entry for %s v%s: nobody has proved this crate there", url, c.Name, c.Version)}
		}
		return b, err
	}
	if bundleFile == "" {
		bundleFile = sibling(file, ".tlog-proof")
	}
	b, err := readFile(bundleFile, client.MaxBundleSize)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w\nname the bundle with --bundle, or fetch it with --log URL", err)
	}
	return b, err
}

// verdict sorts the errors of client.Verify: all but an unusable policy are answers.
func verdict(err error, development bool) error {
	if errors.Is(err, client.ErrPolicy) {
		return usageError(err.Error())
	}
	if errors.Is(err, client.ErrProgram) && !development {
		return violation{fmt.Errorf("%w\nall programs that ship with this version have UNSAFE development keys: anybody can forge their proofs; --development accepts them, for trying things out", err)}
	}
	return violation{err}
}

func report(sh *shell, r *client.Result, development, verbose bool) {
	if r.Trailing > 0 {
		sh.warn("%d bytes follow the archive in the .crate; cargo ignores them", r.Trailing)
	}
	for _, f := range r.Unproven {
		switch f {
		case "Cargo.toml":
			sh.warn("Cargo.toml is not proven: its dependencies, features and build script are not known to be the commit's")
		default:
			sh.warn("%s is not proven", f)
		}
	}
	if development {
		sh.warn("accepted with UNSAFE development keys: this shows nothing to somebody who might forge")
	}
	if verbose {
		fmt.Fprintf(sh.stdout, "crate:    %s v%s, SHA-256 %x\n", r.Name, r.Version, r.SHA256)
		fmt.Fprintf(sh.stdout, "commit:   %x, at %q\n", r.Commit, "/"+r.Path)
		fmt.Fprintf(sh.stdout, "program:  %x\n", r.Program)
		fmt.Fprintf(sh.stdout, "log:      %s, entry %d of %d\n", r.Checkpoint.Origin, r.Index, r.Checkpoint.Size)
		for _, c := range r.Checkpoint.Cosignatures {
			fmt.Fprintf(sh.stdout, "witness:  %s, %s\n", c.KeyName, c.Time.UTC().Format(time.RFC3339))
		}
	}
	sh.status("Finished", "%s v%s is the source of commit %x, entry %d of %s, seen by %d witnesses",
		r.Name, r.Version, r.Commit, r.Index, r.Checkpoint.Origin, len(r.Checkpoint.Cosignatures))
}
