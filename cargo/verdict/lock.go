package verdict

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/internal/outcome"
)

// A Lock is what is known of the packages of a lock file before they are checked.
type Lock struct {
	Workspace *cargo.Workspace
	Policy    *policy.Policy
	Text      []byte // of the lock file
	Asks      []policy.Ask
	Unmatched []string // demands that no package fits
	Others    int      // packages from git or a path, of which no .crate exists
	Elsewhere []string // complaints about what cannot be verified at all

	// Wants are the packages of registries, in the order of the lock file. Locate says
	// where they lie.
	Wants    []Want
	Packages []cargo.Package // what the lock file says of Wants
}

// NewLock applies the policy and the manifests' wishes to the packages of a lock file; only,
// if not "", is a pattern of those that count. Errors in only are marked as misuse.
func NewLock(ws *cargo.Workspace, p *policy.Policy, text []byte, only string, now time.Time) (*Lock, error) {
	lock, err := cargo.ParseLock(text)
	if err != nil {
		return nil, err
	}
	l := &Lock{Workspace: ws, Policy: p, Text: text}
	pattern := policy.All
	if only != "" {
		if pattern, err = policy.ParsePattern(only); err != nil {
			return nil, outcome.Usagef("-p: %v", err)
		}
	}
	asked, unmet := ws.Select(lock)
	asks := map[int][]cargo.Demand{}
	for _, a := range asked {
		asks[a.Package] = a.By
	}
	var names []policy.Package
	for i, p := range lock.Packages {
		_, registry := p.Registry()
		switch counts := pattern.Matches(p.Name, p.Version); {
		case registry && counts:
			l.Packages = append(l.Packages, p)
			names = append(names, policy.Package{Name: p.Name, Version: p.Version})
			if err := l.ask(p, asks[i]); err != nil {
				return nil, err
			}
		case !registry:
			l.Others++
			if by := asks[i]; len(by) > 0 && counts {
				l.complain("%s v%s is not from a registry, so that there is no .crate to verify\n%s", p.Name,
					p.Version, wishedBy(by[0]))
			}
		}
	}
	if only != "" && len(names) == 0 {
		return nil, outcome.Usagef("-p: no package from a registry in %s is %s", ws.LockPath, only)
	}
	demands := p.Resolve(l.Asks, names, now)
	for i, p := range l.Packages {
		l.Wants = append(l.Wants, Want{Name: p.Name, Version: p.Version, Checksum: *p.Checksum,
			Demand: demands.Demands[i]})
	}
	if only == "" { // else they are many, of course
		l.Unmatched = demands.Unmatched
		for _, d := range unmet {
			l.complain("%s is to be verified, and is not in %s\n%s; correct the name, or let cargo "+
				"bring the lock file up to date",
				d.Crate, Shorten(ws.LockPath), wishedBy(d))
		}
	}
	return l, l.overrides()
}

// ask adds what the manifests ask for of a package.
func (l *Lock) ask(p cargo.Package, by []cargo.Demand) error {
	for _, d := range by {
		exactly, err := policy.ParsePattern(p.Name + "@" + p.Version)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Workspace.LockPath, err)
		}
		l.Asks = append(l.Asks, policy.Ask{Crate: exactly, Where: Shorten(d.File) + ", " + d.Key})
	}
	return nil
}

// overrides complains of sources that cargo is configured to build instead of those in
// its home, which are looked at here. cargo reads what is configured for the directory
// that it is called in, so that one counts as well as the workspace's.
func (l *Lock) overrides() error {
	if l.Required() == 0 {
		return nil
	}
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	for _, dir := range []string{l.Workspace.Root, "."} {
		cfg, err := cargo.LoadConfig(dir, home)
		if err != nil {
			return err
		}
		if len(cfg.Paths) > 0 {
			l.complain("cargo's configuration has paths = [%q, ...], which cargo builds instead of "+
				"crates of the lock file\n"+
				"remove it: a [patch] in the workspace's Cargo.toml shows in the lock file", cfg.Paths[0])
		}
		for _, p := range l.Packages {
			index, _ := p.Registry()
			from, err := cfg.Index(index)
			if err != nil {
				return err
			}
			if from.Kind != "registry" {
				l.complain("cargo builds crates out of the %s source %s (%s), which is not looked at here\n"+
					"verify without that setting; \"cargo zkp vendor\" makes such a directory out of verified crates", from.Kind, from.At, from.Because)
			}
		}
	}
	return nil
}

// complain adds a complaint, once.
func (l *Lock) complain(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(l.Elsewhere, text) {
		l.Elsewhere = append(l.Elsewhere, text)
	}
}

// wishedBy says who wants something verified.
func wishedBy(d cargo.Demand) string { return Shorten(d.File) + ", " + d.Key + " asks for it" }

// Required counts the packages that must be proven.
func (l *Lock) Required() (n int) {
	for _, w := range l.Wants {
		if w.Demand.Status == policy.Required {
			n++
		}
	}
	return n
}

// Locate finds what cargo's home has of the packages. It reads none of it.
func (l *Lock) Locate(home string) error {
	for i := range l.Wants {
		w := &l.Wants[i]
		found, err := cargo.FindCached(home, w.Name, w.Version)
		if err != nil {
			return err
		}
		if w.Path, w.Copies = "", nil; len(found) > 0 {
			w.Path, w.Copies = found[0], found[1:]
		}
		if w.Sources, err = cargo.FindSources(home, w.Name, w.Version); err != nil {
			return err
		}
	}
	return nil
}

// Missing returns the packages that must be proven, or all, that were not downloaded.
func (l *Lock) Missing(all bool) (missing []cargo.Package) {
	for i, w := range l.Wants {
		if w.Path == "" && (all || w.Demand.Status == policy.Required) {
			missing = append(missing, l.Packages[i])
		}
	}
	return missing
}

// KeepPresent forgets the packages of which cargo has nothing: if it wants them, it will
// have to download them.
func (l *Lock) KeepPresent() {
	var wants []Want
	var packages []cargo.Package
	for i, w := range l.Wants {
		if w.Path != "" || len(w.Sources) > 0 {
			wants, packages = append(wants, w), append(packages, l.Packages[i])
		}
	}
	l.Wants, l.Packages = wants, packages
}

// Shorten returns a path relative to the working directory if that is shorter.
func Shorten(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
