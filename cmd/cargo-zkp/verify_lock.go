package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
)

// lockOptions are those of verify for a lock file.
type lockOptions struct {
	names        []string
	manifestPath string
	locked       bool
	rehash       bool
	format       string
}

func (o *lockOptions) register(fs *flag.FlagSet) {
	o.names = []string{"manifest-path", "locked", "rehash", "message-format"}
	fs.StringVar(&o.manifestPath, "manifest-path", "", "`PATH` of the workspace's or package's Cargo.toml (default: the nearest)")
	fs.BoolVar(&o.locked, "locked", false, "refuse to go on if Cargo.lock would have to be written")
	fs.BoolVar(&o.rehash, "rehash", false, "compare all unpacked sources again, also those that look unchanged since they were compared last")
	fs.StringVar(&o.format, "message-format", "human", "`FORMAT` of the answer: human, json (one object a line) or sarif")
}

// lockCheck is everything that is known of the packages of a lock file.
type lockCheck struct {
	workspace *cargo.Workspace
	policy    *policy.Policy
	lockPath  string
	lockText  []byte
	packages  []cargo.Package // of registries, in the order of the lock file
	demands   policy.Resolution
	asks      []policy.Ask
	others    int      // packages from git or a path, of which no .crate exists
	elsewhere []string // complaints about what cannot be verified at all

	needAll  bool              // also what needs no proof must be on the disk
	disk     []onDisk          // of packages
	verdicts []verdict.Verdict // of packages
	took     time.Duration
}

func verifyLock(ctx context.Context, sh *shell, b believe, o lockOptions, pkg string) error {
	if !slices.Contains([]string{"human", "json", "sarif"}, o.format) {
		return usageError(fmt.Sprintf("--message-format is human, json or sarif, not %q", o.format))
	}
	k, err := planLock(ctx, sh, b, o, pkg)
	if err != nil {
		return err
	}
	if err := k.run(ctx, sh, b, o.rehash); err != nil {
		return err
	}
	return k.report(sh, o.format)
}

// planLock finds out what there is to check, and what the policy asks for.
func planLock(ctx context.Context, sh *shell, b believe, o lockOptions, pkg string) (*lockCheck, error) {
	ws, err := workspace(o.manifestPath)
	if err != nil {
		return nil, err
	}
	k := &lockCheck{workspace: ws, lockPath: ws.LockPath}
	if k.policy, err = b.load(ws); err != nil {
		return nil, err
	}
	if err := k.readLock(ctx, sh, o, b.offline); err != nil {
		return nil, err
	}
	return k, k.resolve(pkg)
}

// readLock reads Cargo.lock; where there is none, cargo makes it, unless it must not.
func (k *lockCheck) readLock(ctx context.Context, sh *shell, o lockOptions, offline bool) error {
	text, err := readFile(k.lockPath, cargo.MaxLock)
	if errors.Is(err, os.ErrNotExist) && !o.locked {
		args := []string{"generate-lockfile", "--manifest-path", k.workspace.Manifest}
		if offline {
			args = append(args, "--offline")
		}
		if err := runCargo(ctx, sh, args...); err != nil {
			return err
		}
		text, err = readFile(k.lockPath, cargo.MaxLock)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w\nthere is no lock file to check, and --locked forbids to make one", err)
	}
	k.lockText = text
	return err
}

// resolve applies the policy and the manifests' wishes to the lock file's packages.
func (k *lockCheck) resolve(pkg string) error {
	lock, err := cargo.ParseLock(k.lockText)
	if err != nil {
		return err
	}
	asked, unmet := k.workspace.Select(lock)
	asks := map[int][]cargo.Demand{}
	for _, a := range asked {
		asks[a.Package] = a.By
	}
	var only policy.Pattern
	if pkg != "" {
		if only, err = policy.ParsePattern(pkg); err != nil {
			return usageError(fmt.Sprintf("-p: %v", err))
		}
	}
	var packages []policy.Package
	for i, p := range lock.Packages {
		if _, ok := p.Registry(); !ok {
			k.others++
			if by := asks[i]; len(by) > 0 && (pkg == "" || only.Matches(p.Name, p.Version)) {
				k.elsewhere = append(k.elsewhere, fmt.Sprintf("%s v%s is not from a registry, so that there is no .crate to verify\n%s", p.Name, p.Version, wishedBy(by[0])))
			}
			continue
		}
		if pkg != "" && !only.Matches(p.Name, p.Version) {
			continue
		}
		k.packages = append(k.packages, p)
		packages = append(packages, policy.Package{Name: p.Name, Version: p.Version})
		for _, d := range asks[i] {
			exactly, err := policy.ParsePattern(p.Name + "@" + p.Version)
			if err != nil {
				return fmt.Errorf("%s: %w", k.lockPath, err)
			}
			k.asks = append(k.asks, policy.Ask{Crate: exactly, Where: shorten(d.File) + ", " + d.Key})
		}
	}
	if pkg != "" && len(packages) == 0 {
		return usageError(fmt.Sprintf("-p: no package from a registry in %s is %s", k.lockPath, pkg))
	}
	k.demands = k.policy.Resolve(k.asks, packages, now())
	if pkg != "" {
		k.demands.Unmatched = nil // of course
		return k.overrides()
	}
	for _, d := range unmet {
		k.elsewhere = append(k.elsewhere, fmt.Sprintf("%s is to be verified, and is not in %s\n%s; correct the name, or let cargo bring the lock file up to date", d.Crate, shorten(k.lockPath), wishedBy(d)))
	}
	return k.overrides()
}

// overrides complains of sources that cargo is configured to build instead of those in
// its home, which are looked at here. cargo reads what is configured for the directory
// that it is called in, so that one counts as well as the workspace's.
func (k *lockCheck) overrides() error {
	if k.required() == 0 {
		return nil
	}
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	for _, dir := range []string{k.workspace.Root, "."} {
		cfg, err := cargo.LoadConfig(dir, home)
		if err != nil {
			return err
		}
		if len(cfg.Paths) > 0 {
			k.notHere(fmt.Sprintf("cargo's configuration has paths = [%q, ...], which cargo builds instead of crates of the lock file\nremove it: a [patch] in the workspace's Cargo.toml shows in the lock file", cfg.Paths[0]))
		}
		for _, p := range k.packages {
			index, _ := p.Registry()
			from, err := cfg.Index(index)
			if err != nil {
				return err
			}
			if from.Kind != "registry" {
				k.notHere(fmt.Sprintf("cargo builds crates out of the %s source %s (%s), which is not looked at here\nverify without that setting; \"cargo zkp vendor\" makes such a directory out of verified crates", from.Kind, from.At, from.Because))
			}
		}
	}
	return nil
}

// notHere adds a complaint, once.
func (k *lockCheck) notHere(text string) {
	if !slices.Contains(k.elsewhere, text) {
		k.elsewhere = append(k.elsewhere, text)
	}
}

// wishedBy says who wants something verified.
func wishedBy(d cargo.Demand) string { return shorten(d.File) + ", " + d.Key + " asks for it" }

// required counts the packages that must be proven.
func (k *lockCheck) required() (n int) {
	for _, d := range k.demands.Demands {
		if d.Status == policy.Required {
			n++
		}
	}
	return n
}

// run looks at the disk, has cargo download what is missing, and verifies.
func (k *lockCheck) run(ctx context.Context, sh *shell, b believe, rehash bool) error {
	begin := time.Now()
	if k.required() > 0 && len(k.policy.Trust) == 0 {
		return errNoTrust(k.policy)
	}
	sh.status("Verifying", "%d crates of %s, %d of which must be proven", len(k.packages), shorten(k.lockPath), k.required())
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	cache, _, err := verdict.Dirs()
	if err != nil {
		return err
	}
	st := openStamps(cache, rehash)
	k.disk = lookOnDisk(ctx, home, k.packages, st)
	if missing := k.missing(); len(missing) > 0 && !b.offline {
		if err := runCargo(ctx, sh, "fetch", "--locked", "--manifest-path", k.workspace.Manifest); err != nil {
			return err
		}
		again := make([]cargo.Package, len(missing))
		for n, i := range missing {
			again[n] = k.packages[i]
		}
		for n, d := range lookOnDisk(ctx, home, again, st) {
			k.disk[missing[n]] = d
		}
	}
	checker, err := b.checker(k.policy)
	if err != nil {
		return err
	}
	bar := sh.bar("crates")
	k.verdicts = checker.All(ctx, k.wants(), bar.set)
	bar.clear()
	k.judgeDisk()
	k.took = time.Since(begin)
	if err := st.save(); err != nil {
		sh.warn("what was compared will be compared again next time: %v", err)
	}
	return ctx.Err()
}

// missing returns the packages that are needed and were not downloaded.
func (k *lockCheck) missing() (out []int) {
	for i, d := range k.disk {
		if d.path == "" && d.err == nil && (k.needAll || k.demands.Demands[i].Status == policy.Required) {
			out = append(out, i)
		}
	}
	return out
}

func (k *lockCheck) wants() []verdict.Want {
	wants := make([]verdict.Want, len(k.packages))
	for i, p := range k.packages {
		wants[i] = verdict.Want{Name: p.Name, Version: p.Version, Checksum: *p.Checksum, Path: k.disk[i].path, Demand: k.demands.Demands[i]}
	}
	return wants
}

// judgeDisk lets what lies on the disk overrule a verdict: also of crates that need
// no proof, cargo must not build something else than the lock file names.
func (k *lockCheck) judgeDisk() {
	for i, d := range k.disk {
		v := &k.verdicts[i]
		if d.err == nil || v.Status == verdict.Violation {
			continue
		}
		var altered *alteredError
		var source *cargo.SourceError
		var unpacked *unpackedOnlyError
		switch {
		case errors.As(d.err, &altered), errors.As(d.err, &source):
			v.Refuse(verdict.Violation, fmt.Errorf("%w: %w", verdict.ErrSourceTampered, d.err))
		case errors.As(d.err, &unpacked):
			v.Refuse(verdict.Unchecked, fmt.Errorf("%w: %w", verdict.ErrNotDownloaded, d.err))
		default:
			v.Refuse(verdict.Unchecked, fmt.Errorf("%w: %w", verdict.ErrUnreadable, d.err))
		}
	}
}

// runCargo runs the cargo that called, or the one on the PATH, and shows what it
// says only if it fails.
func runCargo(ctx context.Context, sh *shell, args ...string) error {
	sh.status("Running", "cargo %s", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, cargoBin(), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cargo %s: %w\n%s", args[0], err, strings.TrimSpace(out.String()))
	}
	return nil
}

// shorten returns a path relative to the working directory if that is shorter.
func shorten(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
