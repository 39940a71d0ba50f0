package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// lockOptions are those of verify for a lock file.
type lockOptions struct {
	names        []string
	manifestPath string
	locked       bool
	rehash       bool
	format       string
	deny         bool     // warnings are errors
	paths        bool     // say by which packages each comes
	since        string   // commit whose lock file the crates are not looked at of; "" for none
	only         []string // patterns of the packages that count; none for all
	afresh       bool     // a directory source is not asked whether Cargo.lock is up to date, if it cannot tell
}

func (o *lockOptions) register(fs *flag.FlagSet, offline *bool) {
	o.names = []string{"manifest-path", "locked", "frozen", "workspace", "rehash", "trusted-publishing",
		"message-format", "deny", "paths", "since"}
	o.registerPlace(fs)
	fs.BoolFunc("frozen", "the same as --locked --offline", func(v string) error {
		frozen, err := strconv.ParseBool(v)
		o.locked, *offline = o.locked || frozen, *offline || frozen
		return err
	})
	fs.Bool("workspace", false, "as cargo's: a lock file is always of the whole workspace")
	fs.BoolVar(&o.rehash, "rehash", false, "compare all unpacked sources again, also those that look "+
		"unchanged since they were compared last")
	fs.StringVar(&o.format, "message-format", "human", "`FORMAT` of the answer: human, json (one object "+
		"a line), sarif, or markdown with --since")
	denyFlag(fs, &o.deny)
	fs.BoolVar(&o.paths, "paths", false, "say of each crate that is refused by which packages it comes (default: of "+
		"none)")
	fs.StringVar(&o.since, "since", "", "only crates that Cargo.lock gained or changed since the commit `REF`, as a "+
		"table for a review (default: all crates)")
}

// registerPlace registers what says which lock file counts.
func (o *lockOptions) registerPlace(fs *flag.FlagSet) {
	manifestFlag(fs, &o.manifestPath)
	fs.BoolVar(&o.locked, "locked", false, "refuse to go on if Cargo.lock would have to be written")
}

// denyFlag registers --deny.
func denyFlag(fs *flag.FlagSet, deny *bool) {
	fs.Func("deny", "`WHAT` is an error: warnings (default: nothing)", func(what string) error {
		*deny = what == "warnings"
		if !*deny {
			return fmt.Errorf("it takes warnings, not %q", what)
		}
		return nil
	})
}

func manifestFlag(fs *flag.FlagSet, path *string) {
	fs.StringVar(path, "manifest-path", "", "`PATH` of the workspace's or package's "+
		"Cargo.toml (default: the nearest)")
}

// lockCheck is everything that is known of the packages of a lock file.
type lockCheck struct {
	*verdict.Lock
	needAll  bool              // also what needs no proof must be on the disk
	vendorTo string            // directory source that is to be made; "" for none
	deny     bool              // warnings are errors
	paths    bool              // say by which packages each comes
	since    *since            // what there was before; nil if all counts
	afresh   bool              // cargo is configured to take crates from such a one already
	verdicts []verdict.Verdict // of Wants
	took     time.Duration
}

func verifyLock(ctx context.Context, sh *shell, b believe, o lockOptions) error {
	switch {
	case !slices.Contains([]string{"human", "json", "sarif", "markdown"}, o.format):
		return outcome.Usagef("--message-format is human, json, sarif or markdown, not %q", o.format)
	case o.format == "markdown" && o.since == "":
		return outcome.Usagef("--message-format markdown is for --since REF: a table of what changed")
	case o.since != "" && o.format == "sarif":
		return unanswered(sh, o, outcome.Usagef("--message-format sarif is of all crates, as code hosts compare: "+
			"leave out --since"))
	}
	b.rehash = o.rehash
	k, err := examineLock(ctx, sh, b, o)
	if err != nil {
		return unanswered(sh, o, err)
	}
	return k.report(sh, o.format)
}

// examineLock does all but report.
func examineLock(ctx context.Context, sh *shell, b believe, o lockOptions) (*lockCheck, error) {
	if err := freshLock(ctx, sh, b, o); err != nil {
		return nil, err
	}
	k, err := planLock(ctx, sh, b, o)
	if err != nil {
		return nil, err
	}
	return k, k.run(ctx, sh, b)
}

// planLock finds out what there is to check, and what the policy asks for.
func planLock(ctx context.Context, sh *shell, b believe, o lockOptions) (*lockCheck, error) {
	ws, err := workspace(o.manifestPath)
	if err != nil {
		return nil, err
	}
	p, err := b.load(ws)
	if err != nil {
		return nil, err
	}
	text, err := readLock(ctx, sh, ws, o.locked, b.offline)
	if err != nil {
		return nil, err
	}
	k := &lockCheck{deny: o.deny, paths: o.paths}
	if o.since != "" {
		if k.since, err = lockAt(ctx, ws, o.since); err != nil {
			return nil, err
		}
	}
	if k.Lock, err = verdict.NewLockSince(ws, p, text, k.since.lock(), o.only, time.Now()); err != nil {
		return nil, err
	}
	if k.Required() > 0 && len(p.Trust) == 0 {
		return nil, outcome.Usagef("%s", p.NoTrust())
	}
	return k, nil
}

// readLock reads Cargo.lock; where there is none, cargo makes it, unless it must not.
func readLock(ctx context.Context, sh *shell, ws *cargo.Workspace, locked, offline bool) ([]byte, error) {
	text, err := readFile(ws.LockPath, cargo.MaxLock)
	if errors.Is(err, os.ErrNotExist) && !locked {
		args := []string{"generate-lockfile", "--manifest-path", ws.Manifest}
		if offline {
			args = append(args, "--offline")
		}
		if err := runCargo(ctx, sh, args...); err != nil {
			return nil, err
		}
		text, err = readFile(ws.LockPath, cargo.MaxLock)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w\nthere is no lock file to check, and --locked forbids to make one", err)
	}
	return text, err
}

// run has cargo download what is missing, and verifies what is on the disk.
func (k *lockCheck) run(ctx context.Context, sh *shell, b believe) error {
	sh.Status("Verifying", "%s of %s, %d of which must be proven", crates(len(k.Wants)),
		shorten(k.Workspace.LockPath), k.Required())
	err := k.locate(func() error {
		if b.offline {
			return nil
		}
		args := []string{"fetch", "--locked", "--manifest-path", k.Workspace.Manifest}
		fetch := runCargo
		if k.afresh {
			fetch = runAfresh
		}
		if err := fetch(ctx, sh, args...); err != nil {
			sh.Warn("%v", err) // of one crate, perhaps; what is missing will be named
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	bar := &bar{sh: sh}
	defer bar.clear()
	return k.check(ctx, sh, b, bar.set)
}

// locate finds what cargo has, and looks again after fetch, if not nil, got what is missing.
func (k *lockCheck) locate(fetch func() error) error {
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	find := k.Locate
	if k.vendorTo != "" {
		find = func(home string) error { return k.LocateFor(home, k.vendorTo) }
	}
	if err := find(home); err != nil {
		return err
	}
	if fetch == nil || len(k.Missing(k.needAll)) == 0 {
		return nil
	}
	if err := fetch(); err != nil {
		return err
	}
	return find(home)
}

// check decides about all packages.
func (k *lockCheck) check(ctx context.Context, sh *shell, b believe, progress func(done, total int)) error {
	begin := time.Now()
	checker, err := b.checker(k.Policy)
	if err != nil {
		return err
	}
	k.verdicts = checker.All(ctx, k.Wants, progress)
	k.took = time.Since(begin)
	k.look(ctx)
	if err := checker.SaveStamps(); err != nil {
		sh.Warn("what was compared will be compared again next time: %v", err)
	}
	return ctx.Err()
}

// runCargo runs the cargo that called, or the one on the PATH, and shows what it
// says only if it fails.
func runCargo(ctx context.Context, sh *shell, args ...string) error {
	sh.Status("Running", "cargo %s", strings.Join(args, " "))
	return callCargo(ctx, "cargo "+args[0], args...)
}

// callCargo runs cargo, and returns what it says if it fails, behind what was to be done.
func callCargo(ctx context.Context, what string, args ...string) error {
	return callCargoIn(ctx, "", what, args...)
}

// callCargoIn is callCargo in a directory, whose configuration counts.
func callCargoIn(ctx context.Context, dir, what string, args ...string) error {
	cmd := exec.CommandContext(ctx, cargoBin(), args...)
	cmd.Dir, cmd.Env = dir, append(cargoEnv(os.Environ()), "CARGO_TERM_COLOR=never") // it is told without
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", what, err, bytes.TrimSpace(out))
	}
	return nil
}

func shorten(path string) string { return verdict.Shorten(path) }
