package verdict

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	Unmatched []string // patterns and expectations of the policy that no package fits
	Git       []string // "NAME vVERSION" of packages from git
	Others    int      // packages from git or a path, of which no .crate exists, but for the user's own
	Elsewhere []string // complaints about what cannot be verified at all

	// Wants are the packages of registries, in the order of the lock file. Locate says
	// where they lie.
	Wants    []Want
	Packages []cargo.Package // what the lock file says of Wants

	lock    *cargo.Lock
	graph   *cargo.Graph    // made when it is asked for
	unmet   []string        // those of Elsewhere that are about the lock file itself
	files   bool            // a registry of files is in use
	refused map[string]bool // repositories and directories that were complained of
}

// NewLock applies the policy and the manifests' wishes to the packages of a lock file; only,
// if not empty, are patterns of those that count. Errors in only are marked as misuse.
func NewLock(ws *cargo.Workspace, p *policy.Policy, text []byte, only []string, now time.Time) (*Lock, error) {
	return NewLockSince(ws, p, text, nil, only, now)
}

// NewLockSince is NewLock of what a lock file gained or changed against an older one, nil for all: only
// packages that the older one does not have with that source and checksum count.
func NewLockSince(ws *cargo.Workspace, p *policy.Policy, text []byte, since *cargo.Lock, only []string,
	now time.Time) (*Lock, error) {
	lock, err := cargo.ParseLock(text)
	if err != nil {
		return nil, err
	}
	old := map[string]bool{}
	if since != nil {
		for _, p := range since.Packages {
			old[identity(p)] = true
		}
	}
	l := &Lock{Workspace: ws, Policy: p, Text: text, lock: lock, refused: map[string]bool{}}
	chosen, err := choose(only)
	if err != nil {
		return nil, err
	}
	asked, unmet := ws.Select(lock)
	asks := map[int][]cargo.Demand{}
	for _, a := range asked {
		asks[a.Package] = a.By
	}
	var names []policy.Package
	for i, p := range lock.Packages {
		index, registry := p.Registry()
		counts := chosen.has(p) && !old[identity(p)]
		switch {
		case !registry:
			l.noRegistry(i, asks[i], counts)
		case counts:
			if cargo.IsDefault(index) {
				index = ""
			}
			l.Packages = append(l.Packages, p)
			names = append(names, policy.Package{Name: p.Name, Version: p.Version, Registry: index})
			for _, d := range asks[i] {
				l.Asks = append(l.Asks, policy.Ask{Crate: policy.Exactly(p.Name, p.Version), Registry: index,
					Where: Shorten(d.File) + ", " + d.Key})
			}
		}
	}
	if err := chosen.missed(Shorten(ws.LockPath)); err != nil {
		return nil, err
	}
	resolved := p.Resolve(l.Asks, names, now)
	for i, p := range l.Packages {
		index := names[i].Registry
		l.Wants = append(l.Wants, Want{Name: p.Name, Version: p.Version, Checksum: *p.Checksum, Index: index,
			Indexed: true, Demand: resolved.Demands[i]})
	}
	if len(only) == 0 && since == nil { // else they are many, of course
		l.missing(resolved, unmet)
	}
	if n := len(l.refused) - maxRefused; n > 0 {
		l.complain("%d more git repositories and directories that packages come from cannot be verified", n)
	}
	l.unmet = slices.Clone(l.Elsewhere)
	return l, l.overrides()
}

// identity is what a package is.
func identity(p cargo.Package) string {
	if p.Checksum == nil {
		return p.String()
	}
	return fmt.Sprintf("%s %x", p, *p.Checksum)
}

// PulledInBy returns the shortest chain of dependencies that leads to Packages[i], each as "NAME VERSION",
// with the user's own package first and itself last; nil if there is none.
func (l *Lock) PulledInBy(i int) (chain []string) {
	if l.graph == nil {
		l.graph = cargo.NewGraph(l.lock)
	}
	for _, p := range l.graph.Path(&l.Packages[i]) {
		chain = append(chain, p.Name+" "+p.Version)
	}
	return chain
}

// Has says whether the lock file has a package.
func (l *Lock) Has(p cargo.Package) bool {
	for _, i := range l.lock.Named(p.Name) {
		if l.lock.Packages[i].String() == p.String() {
			return true
		}
	}
	return false
}

// GitSources returns the canonical URLs of the git repositories that packages are built from, sorted.
func (l *Lock) GitSources() (urls []string) {
	for _, p := range l.lock.Packages {
		if git, ok := strings.CutPrefix(p.Source, "git+"); ok && p.Replace == "" {
			urls = append(urls, cargo.Canonical(git))
		}
	}
	slices.Sort(urls)
	return slices.Compact(urls)
}

// missing complains of what is asked for and not there.
func (l *Lock) missing(resolved policy.Resolution, unmet []cargo.Demand) {
	l.Unmatched = resolved.Unmatched
	for _, text := range resolved.Missing {
		l.complain("%s\ncorrect its name or version; with a * in its name it may be missing", text)
	}
	for _, d := range unmet {
		l.complain("%s is to be verified, and is not in %s\n%s; correct the name, or let cargo bring the lock file up to date",
			d.Crate, Shorten(l.Workspace.LockPath), wishedBy(d))
	}
}

// choice is which packages count, by patterns; nil for all.
type choice []*chosen

type chosen struct {
	policy.Pattern
	met bool
}

func choose(only []string) (c choice, err error) {
	for _, s := range only {
		p, err := policy.ParsePattern(s)
		if err != nil {
			return nil, outcome.Usagef("-p: %v", err)
		}
		c = append(c, &chosen{p, false})
	}
	return c, nil
}

func (c choice) has(p cargo.Package) bool {
	_, registry := p.Registry()
	has := len(c) == 0
	for _, one := range c {
		if one.Matches(p.Name, p.Version) {
			one.met = one.met || registry
			has = true
		}
	}
	return has
}

func (c choice) missed(lock string) error {
	for _, one := range c {
		if !one.met {
			return outcome.Usagef("-p: no package from a registry in %s is %s", lock, one)
		}
	}
	return nil
}

// noRegistry counts a package that is of no registry, and complains of one that must be
// proven: it cannot be.
func (l *Lock) noRegistry(i int, by []cargo.Demand, counts bool) {
	p := l.lock.Packages[i]
	for _, d := range by {
		if counts && d.Names(p) {
			l.complain("%s v%s is not from a registry, so that there is no .crate to verify\n%s", p.Name,
				p.Version, wishedBy(d))
		}
	}
	if p.Replace != "" || l.Workspace.Own(p) {
		return // it is not built, or nobody else's
	}
	l.Others++
	git, isGit := strings.CutPrefix(p.Source, "git+")
	if isGit {
		l.Git = append(l.Git, p.Name+" v"+p.Version)
	}
	if !counts || isGit && l.Policy.GitAllowed(git) {
		return
	}
	because := ""
	if of := slices.IndexFunc(l.Policy.Require, func(r policy.Pattern) bool { return r.Matches(p.Name, p.Version) }); of >= 0 {
		because = fmt.Sprintf("%s requires %q", l.Policy.Path, l.Policy.Require[of])
	}
	if l.Policy.RequiresAll() {
		because = l.Policy.Path + " requires all crates"
	} else if len(by) > 0 {
		because = wishedBy(by[0])
	}
	if because != "" {
		l.refuse(i, because)
	}
}

// refuse complains of a git repository, or of a directory outside, that something is built
// from: once, and who pulls it in.
func (l *Lock) refuse(i int, because string) {
	p := l.lock.Packages[i]
	from, remedy := l.Workspace.Outside(p), "move it into the repository, or depend on a release"
	what := "the directory " + from + ", outside of the repository"
	if from == "" {
		what = "a path that no manifest here names"
	}
	if git, ok := strings.CutPrefix(p.Source, "git+"); ok {
		from = cargo.Canonical(git)
		what = "the git repository " + from
		remedy = fmt.Sprintf("depend on a release, or write allow = [%q] under [git] in zkp.toml", from)
	}
	if l.refused[what] {
		return
	}
	if l.refused[what] = true; len(l.refused) > maxRefused {
		return
	}
	l.complain("%s v%s is from %s, so that there is no .crate to verify\n%s\n%s\n%s", p.Name, p.Version, what, because,
		l.pulledIn(i), remedy)
}

// maxRefused is of how many repositories and directories it is said who pulls them in, which
// takes a walk through the lock file.
const maxRefused = 50

// pulledIn says by which packages one comes.
func (l *Lock) pulledIn(i int) string {
	var names []string
	for _, at := range l.lock.Chain(i) {
		names = append(names, l.lock.Packages[at].Name)
	}
	return "it comes by " + strings.Join(names, " > ")
}

// overrides complains of sources that cargo is configured to build instead of those in
// its home, which are looked at here, and notes where the others lie. cargo reads what is
// configured for the directory that it is called in, so that one counts as well as the
// workspace's.
func (l *Lock) overrides() error {
	if at := os.Getenv("CARGO_RESOLVER_LOCKFILE_PATH"); at != "" {
		l.otherLock(at, "CARGO_RESOLVER_LOCKFILE_PATH")
	}
	err := l.places()
	if l.Required() == 0 {
		l.files = l.files || err != nil
		return nil
	}
	return err
}

func (l *Lock) places() error {
	home, err := cargo.Home()
	if err != nil {
		return err
	}
	first, required := true, l.Required() > 0
	for _, dir := range []string{l.Workspace.Root, "."} {
		cfg, err := cargo.LoadConfig(dir, home)
		if err != nil {
			return err
		}
		if len(cfg.Paths) > 0 && required {
			l.complain("cargo's configuration has paths = [%q, ...], which cargo builds instead of "+
				"crates of the lock file\n"+
				"remove it: a [patch] in the workspace's Cargo.toml shows in the lock file", cfg.Paths[0])
		}
		for _, v := range cfg.All("resolver", "lockfile-path") {
			l.otherLock(v.Value, v.File+", resolver.lockfile-path")
		}
		for i := range l.Packages {
			if err := l.place(i, cfg, first); err != nil {
				return err
			}
		}
		first = false
	}
	return nil
}

// otherLock complains that cargo (from 1.97 on) builds from another lock file than the one that
// is looked at here.
func (l *Lock) otherLock(at any, because string) {
	l.complain("cargo is configured to build from the lock file %.200q (%s), and %s is looked at here\n"+
		"verify without that setting",
		fmt.Sprint(at), because, Shorten(l.Workspace.LockPath))
}

// place notes where cargo takes a package from, as it is configured for one directory.
func (l *Lock) place(i int, cfg *cargo.Config, first bool) error {
	index, _ := l.Packages[i].Registry()
	from, err := cfg.Index(index)
	if err != nil {
		return err
	}
	dir, required := "", l.Required() > 0
	switch {
	case from.Kind == "registry":
		at := strings.TrimPrefix(strings.TrimPrefix(from.At, "sparse+"), "registry+")
		l.files = l.files || strings.HasPrefix(strings.ToLower(at), "file:")
	case from.Kind == "directory":
		dir = from.At
	default:
		l.files = true
		if required {
			l.complain("cargo builds crates out of the %s source %s (%s), which is not looked at here\n"+
				"verify without that setting; \"cargo zkp vendor\" makes a directory that is", from.Kind, from.At,
				from.Because)
		}
	}
	if w := &l.Wants[i]; first {
		w.Vendored = dir
	} else if w.Vendored != dir && required {
		l.complain("cargo takes crates from one place if it is called in %s, and from another if it is called "+
			"here\ncall it there, or set the sources in one file for both", Shorten(l.Workspace.Root))
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

// Required counts the packages that must be proven; not those that are only warned of.
func (l *Lock) Required() (n int) {
	for _, w := range l.Wants {
		if w.Demand.Status == policy.Required && !w.Demand.Warn {
			n++
		}
	}
	return n
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
