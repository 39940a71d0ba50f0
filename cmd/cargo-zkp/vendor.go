package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/internal/outcome"
)

// vendor writes a directory source that holds only crates that are as the policy
// asks, and tells how cargo is to build from it.
func vendor(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "vendor", "[DIR]", `Verify the crates of Cargo.lock, and copy their sources to DIR (default: vendor) as a
directory source: cargo compares every file of it with its checksum when it compiles.`)
	var b believe
	b.register(fs)
	o := lockOptions{format: "human"}
	o.registerPlace(fs)
	dirs, err := parseUpTo(1, fs, args, "DIR")
	if err != nil {
		return err
	}
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
	if _, err := os.Lstat(dir); err == nil {
		return outcome.Usagef("%s is there already: remove it, or name another directory", dir)
	}
	k.needAll = true
	if err := k.run(ctx, sh, b); err != nil {
		return err
	}
	if err := k.report(sh, o.format); err != nil {
		return err
	}
	return k.vendor(sh, dir)
}

// vendor unpacks all packages into a new directory, which appears whole or not at all.
func (k *lockCheck) vendor(sh *shell, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	sources := map[string]string{}
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
		if err := unpackVerified(filepath.Join(tmp, name), v.Path, p, v.Status); err != nil {
			return fmt.Errorf("%s v%s: %w", p.Name, p.Version, err)
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	sh.Status("Vendored", "%s copied into %s", crates(len(k.verdicts)), shorten(dir))
	return k.advise(sh, dir)
}

// unpackVerified unpacks an archive that is the one of the lock file, with cargo's
// file of checksums.
func unpackVerified(dir, archive string, p cargo.Package, s verdict.Status) error {
	switch s {
	case verdict.Verified, verdict.Excepted, verdict.NotAsked:
	default:
		return errors.New("it is not as the policy asks")
	}
	raw, err := cargo.ReadCached(archive)
	if err != nil {
		return err
	}
	c, err := crate.Read(raw, p.Name, p.Version, crate.DefaultLimits)
	if err != nil {
		return err
	}
	if c.SHA256 != *p.Checksum {
		return fmt.Errorf("%s changed while it was read", archive)
	}
	return writeVendored(dir, c)
}

// writeVendored writes a crate's files and .cargo-checksum.json, by which cargo
// compares them when it compiles (cargo's reference, "Directory Sources").
func writeVendored(dir string, c *crate.Crate) error {
	paths := make([]string, len(c.Files))
	for i, f := range c.Files {
		paths[i] = f.Path
	}
	sums := map[string]string{}
	var failed error
	err := c.Contents(paths, crate.DefaultLimits.Inflated, func(f crate.File, content []byte) {
		if failed == nil {
			failed = writeBelow(dir, f, content)
			sum := sha256.Sum256(content)
			sums[f.Path] = hex.EncodeToString(sum[:])
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if len(sums) != len(paths) {
		return fmt.Errorf("%d of %d files were unpacked", len(sums), len(paths))
	}
	b, err := json.Marshal(struct {
		Files   map[string]string `json:"files"`
		Package string            `json:"package"`
	}{sums, hex.EncodeToString(c.SHA256[:])})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ".cargo-checksum.json"), b, 0o644)
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
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	sh.Status("Finished", "add this to .cargo/config.toml, so that cargo builds from it:")
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
	_, err = fmt.Fprintf(sh.stdout, "[source.verified-sources]\ndirectory = %q\n", filepath.ToSlash(abs))
	return err
}
