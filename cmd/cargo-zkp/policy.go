package main

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// policyVerb is "policy check".
func policyVerb(_ context.Context, sh *shell, args []string) error {
	if len(args) == 0 || args[0] != "check" && args[0] != "--help" && args[0] != "-h" {
		return outcome.Usagef("the only policy verb is check: cargo zkp policy check [FILE]")
	}
	if args[0] == "check" {
		args = args[1:]
	}
	fs := newFlags(sh, "policy check", "[FILE]", "Look for mistakes in a zkp.toml (default: the nearest "+
		"one) and in the files that it names.")
	var manifestPath string
	var deny bool
	manifestFlag(fs, &manifestPath)
	denyFlag(fs, &deny)
	files, err := parseUpTo(1, fs, args, "FILE")
	if err != nil {
		return err
	}
	place := policy.Place{UserDir: policy.UserDir()}
	if len(files) == 1 {
		place.Flag = files[0]
	}
	asks, packages, err := known(manifestPath, &place)
	if err != nil {
		return err
	}
	path, err := place.Find()
	if err != nil {
		return policyError(err)
	}
	r := policy.Check(path, place.UserDir, asks, packages, time.Now())
	if r.Err != nil {
		return policyError(r.Err)
	}
	for _, w := range r.Warnings {
		sh.Warn("%s", w)
	}
	name := "the default policy, for there is no zkp.toml,"
	if path != "" {
		name = shorten(path)
	}
	for _, f := range r.Faults {
		sh.complain(f)
	}
	if len(r.Faults) > 0 {
		return outcome.Refusef("%s cannot be used as it is: cargo zkp verify would refuse everything that must be "+
			"proven", name)
	}
	if n := len(r.Warnings); deny && n > 0 {
		return outcome.Refusef("warnings: %d, and --deny warnings makes them errors", n)
	}
	sh.Status("Finished", "%s can be used; trust files: %d, programs: %d", name, len(r.Policy.Trust),
		len(r.Policy.Programs))
	return nil
}

// known adds what is known of the workspace around: the place of its policy, what its
// manifests ask for, and its locked packages. There may be no workspace, or no lock
// file yet.
func known(manifestPath string, place *policy.Place) (asks []policy.Ask, packages []policy.Package, err error) {
	if _, err := cargo.FindManifest("."); err != nil && manifestPath == "" {
		return nil, nil, nil
	}
	ws, err := workspace(manifestPath)
	if err != nil {
		return nil, nil, err
	}
	place.Root, place.Metadata = ws.Root, ws.Policy
	text, err := readFile(ws.LockPath, cargo.MaxLock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, err
	}
	l, err := verdict.NewLock(ws, &policy.Policy{}, text, nil, time.Now())
	if err != nil {
		return nil, nil, err
	}
	for _, w := range l.Wants {
		packages = append(packages, w.Demand.Package)
	}
	return l.Asks, packages, nil
}
