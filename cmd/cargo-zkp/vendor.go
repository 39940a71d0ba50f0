package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// vendor writes a directory source that holds only crates that are as the policy
// asks, and tells how cargo is to build from it.
func vendor(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "vendor", "[DIR]", `Verify the crates of Cargo.lock, and copy their sources to DIR (default: vendor) as a
directory source: cargo compares every file of it with its checksum when it compiles. Do it
again when Cargo.lock has changed. What is needed to verify DIR offline is put into
DIR/.cratelog.`)
	var b believe
	b.register(fs)
	o := lockOptions{format: "human"}
	o.registerPlace(fs)
	dirs, err := parseUpTo(1, fs, args, "DIR")
	if err != nil {
		return err
	}
	o.afresh = true
	if err := freshLock(ctx, sh, b, o); err != nil {
		return err
	}
	k, err := planLock(ctx, sh, b, o)
	if err != nil {
		return err
	}
	dir := filepath.Join(k.Workspace.Root, "vendor")
	if len(dirs) == 1 {
		dir = dirs[0]
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := ours(dir); err != nil {
		return err
	}
	k.needAll, k.vendorTo = true, dir
	k.afresh = slices.ContainsFunc(k.Wants, func(w verdict.Want) bool { return w.Vendored != "" })
	if err := k.run(ctx, sh, b); err != nil {
		return err
	}
	if err := k.report(sh, o.format); err != nil {
		return err
	}
	return k.vendor(sh, dir)
}

// runAfresh has cargo fetch, or note in Cargo.lock, what a directory source does not have yet.
// cargo would look there only, so it is called where the workspace's own configuration does not
// count.
func runAfresh(ctx context.Context, sh *shell, args ...string) error {
	dir, err := os.MkdirTemp("", "cratelog-vendor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sh.Status("Running", "cargo %s, outside of the workspace's configuration", strings.Join(args, " "))
	if err := callCargoIn(ctx, dir, "cargo "+args[0], args...); err != nil {
		return fmt.Errorf("%w\nif it needs settings of the workspace, take the directory out of them, and vendor "+
			"again", err)
	}
	return nil
}

// ours refuses a directory that is there and that vendor did not make.
func ours(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Lstat(filepath.Join(dir, verdict.Beside))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		return outcome.Usagef("%s is there, and \"cargo zkp vendor\" did not make it: remove it, or name another "+
			"directory", dir)
	}
	return err
}

// vendor unpacks all packages into a directory, each of which appears whole or not at all,
// leaves those that are there as they should be, and removes those that it put there before
// and that are not in the lock file any more.
func (k *lockCheck) vendor(sh *shell, dir string) error {
	beside := filepath.Join(dir, verdict.Beside)
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return err
	}
	sources := map[string]string{}
	written := 0
	for i, p := range k.Packages {
		v := &k.verdicts[i]
		if v.Path == "" {
			return fmt.Errorf("%s v%s is not on this disk: run \"cargo fetch\"", p.Name, p.Version)
		}
		name := p.Name + "-" + p.Version
		if other, twice := sources[name]; twice {
			return fmt.Errorf("%s v%s is in the lock file from %s and from %s: one directory cannot hold both",
				p.Name, p.Version, other, p.Source)
		}
		sources[name] = p.Source
		changed, err := unpackVerified(dir, name, v, p)
		if err != nil {
			return fmt.Errorf("%s v%s: %w", p.Name, p.Version, err)
		}
		if changed {
			written++
		}
	}
	removed, err := removeOld(dir, sources)
	if err != nil {
		return err
	}
	sh.Status("Vendored", "%s in %s: %d written, %d removed", crates(len(k.verdicts)), shorten(dir), written, removed)
	if len(k.Git) > 0 {
		sh.Warn("not in %s, because it is from git, which cargo will ask for it: %s", shorten(dir),
			strings.Join(k.Git, ", "))
	}
	return k.advise(sh, dir)
}

// removeOld removes what vendor wrote before and the lock file does not have any more. Other
// directories are somebody else's.
func removeOld(dir string, keep map[string]string) (removed int, err error) {
	beside := filepath.Join(dir, verdict.Beside)
	entries, err := os.ReadDir(beside)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".crate")
		if _, stays := keep[name]; stays || !ok || !isRelease(name) {
			continue
		}
		// The archive goes last: it says that the rest is ours.
		for _, path := range []string{filepath.Join(dir, name), filepath.Join(beside, name+verdict.BundleExt),
			filepath.Join(beside, name+verdict.OpeningExt), filepath.Join(beside, name+".crate")} {
			if err := os.RemoveAll(path); err != nil {
				return removed, err
			}
		}
		removed++
	}
	return removed, nil
}

// isRelease says whether a name is NAME-VERSION, and so one that vendor gives.
func isRelease(s string) bool {
	for i := range s {
		if s[i] == '-' && entry.CheckName(s[:i]) == nil && entry.CheckVersion(s[i+1:]) == nil {
			return true
		}
	}
	return false
}

// unpackVerified unpacks an archive that is the one of the lock file, with cargo's file of
// checksums, and keeps it and its bundle beside; changed says whether the sources were not
// there as they should be.
func unpackVerified(dir, name string, v *verdict.Verdict, p cargo.Package) (changed bool, err error) {
	switch v.Status {
	case verdict.Verified, verdict.Excepted, verdict.NotAsked, verdict.Warned:
	default:
		return false, errors.New("it is not as the policy asks")
	}
	raw, err := cargo.ReadCached(v.Path)
	if err != nil {
		return false, err
	}
	c, err := crate.Read(raw, p.Name, p.Version, crate.DefaultLimits)
	if err != nil {
		return false, err
	}
	if c.SHA256 != *p.Checksum {
		return false, fmt.Errorf("%s changed while it was read", v.Path)
	}
	at := filepath.Join(dir, verdict.Beside, name)
	if err := keep(at+".crate", raw); err != nil {
		return false, err
	}
	if len(v.Bundle) > 0 {
		if err := keep(at+verdict.BundleExt, v.Bundle); err != nil {
			return false, err
		}
	}
	if len(v.Opened) > 0 {
		if err := keep(at+verdict.OpeningExt, v.Opened); err != nil {
			return false, err
		}
	}
	if asWritten(filepath.Join(dir, name), c) {
		return false, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(dir, verdict.Beside), ".new-*")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(tmp)
	return true, errors.Join(writeVendored(filepath.Join(tmp, name), c), os.RemoveAll(filepath.Join(dir, name)),
		os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)))
}

// keep writes a file, unless it is there as it should be.
func keep(path string, content []byte) error {
	if old, err := durable.Read(path, int64(len(content))); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return durable.Write(path, content, 0o644)
}

// asWritten says whether a directory is as writeVendored writes it.
func asWritten(dir string, c *crate.Crate) bool {
	if cargo.CompareVendored(dir, c) != nil {
		return false
	}
	sums, err := cargo.Vendor(c, func(_ crate.File, content []byte) ([]byte, error) { return content, nil })
	if err != nil {
		return false
	}
	old, err := durable.Read(filepath.Join(dir, cargo.ChecksumsFile), int64(len(sums)))
	if err != nil || !bytes.Equal(old, sums) {
		return false
	}
	for _, f := range c.Files { // what "cargo vendor" leaves out
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.Path))); err != nil && cargo.Vendored(f) {
			return false
		}
	}
	return true
}

// writeVendored writes a crate's files and .cargo-checksum.json.
func writeVendored(dir string, c *crate.Crate) error {
	sums, err := cargo.Vendor(c, func(f crate.File, content []byte) ([]byte, error) {
		return content, writeBelow(dir, f, content)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, cargo.ChecksumsFile), sums, 0o644)
}

// writeBelow writes one file of a crate below a directory.
func writeBelow(dir string, f crate.File, content []byte) error {
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return fmt.Errorf("%s leads out of the package", f.Path)
	}
	path := filepath.Join(dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if f.Exec {
		mode = 0o755
	}
	return os.WriteFile(path, content, mode)
}

// advise prints the configuration that makes cargo use the directory.
func (k *lockCheck) advise(sh *shell, dir string) error {
	sh.Status("Finished", "add this to %s, so that cargo builds from it:",
		shorten(filepath.Join(k.Workspace.Root, ".cargo", "config.toml")))
	// A relative path is seen from the directory that .cargo lies in.
	if rel, err := filepath.Rel(k.Workspace.Root, dir); err == nil && filepath.IsLocal(rel) {
		dir = rel
	}
	said := map[string]bool{}
	for _, p := range k.Packages {
		if said[p.Source] {
			continue
		}
		said[p.Source] = true
		index, _ := p.Registry()
		if cargo.IsDefault(index) {
			fmt.Fprintln(sh.stdout, "[source.crates-io]")
		} else {
			fmt.Fprintf(sh.stdout, "[source.%q]\nregistry = %q\n", p.Source, index)
		}
		fmt.Fprint(sh.stdout, "replace-with = \"verified-sources\"\n\n")
	}
	_, err := fmt.Fprintf(sh.stdout, "[source.verified-sources]\ndirectory = %q\n", filepath.ToSlash(dir))
	return err
}
