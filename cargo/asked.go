package cargo

import (
	"maps"
	"slices"
	"strings"
)

// An Asked is a package of a lock file that manifests want verified.
type Asked struct {
	Package int      // index into Lock.Packages
	By      []Demand // at least one
}

// Select says which packages of the lock file the workspace's demands are about, in the
// lock's order, and which demands are about none: a misspelt name, or a lock file that
// is not up to date.
//
// A demand for a dependency is about the versions that the lock has the member depend on;
// where it does not say (two versions under two names, or the member is not in it) about all
// versions of that name. A name in metadata.zkp is about the versions that the member, or for
// the workspace anything, depends on, directly or not. Names are compared generously: case does
// not matter, nor whether it says - or _. A demand for all crates is about all but the user's own
// (see Workspace.Own), and so is what Transitive adds; one that names a crate may also lead to
// one of these. Those from git or a path cannot be verified: see Package.Registry.
func (w *Workspace) Select(l *Lock) (asked []Asked, unmet []Demand) {
	by := map[int][]Demand{}
	for _, d := range w.Demands {
		found := w.matches(l, d)
		if len(found) == 0 && d.Crate != "" {
			unmet = append(unmet, d)
			continue
		}
		if d.Transitive {
			found = w.foreign(l, l.Closure(found), found)
		}
		for _, i := range found {
			by[i] = append(by[i], d)
		}
	}
	for _, i := range slices.Sorted(maps.Keys(by)) {
		asked = append(asked, Asked{Package: i, By: by[i]})
	}
	return asked, unmet
}

// foreign returns those of all that are not the user's own, or are among more. What a
// [replace] keeps from being built is left out; all has what is built instead.
func (w *Workspace) foreign(l *Lock, all, more []int) (found []int) {
	named := map[int]bool{}
	for _, i := range more {
		named[i] = true
	}
	for _, i := range all {
		if p := l.Packages[i]; named[i] || p.Replace == "" && !w.Own(p) {
			found = append(found, i)
		}
	}
	return found
}

// matches returns the packages that a demand is about, without what they depend on.
func (w *Workspace) matches(l *Lock, d Demand) []int {
	reach, direct := everything(l), false
	if at, ok := w.locked(l, d.Member); ok {
		if d.Direct {
			if found := named(l, l.DependsOn(at), d.Crate); len(found) > 0 {
				return found
			}
			// The lock is older than the manifest.
			return named(l, reach, d.Crate)
		}
		reach, direct = l.Closure([]int{at}), true
	}
	if d.Crate == "" {
		return w.foreign(l, reach, nil)
	}
	found := named(l, reach, d.Crate)
	if len(found) == 0 && direct {
		found = named(l, everything(l), d.Crate)
	}
	return found
}

// locked returns the package of the lock that is a member.
func (w *Workspace) locked(l *Lock, member int) (int, bool) {
	if member < 0 {
		return 0, false
	}
	m := w.Members[member]
	for _, i := range l.Named(m.Name) {
		if p := l.Packages[i]; p.Name == m.Name && p.Version == m.Version && p.Source == "" {
			return i, true
		}
	}
	return 0, false
}

func everything(l *Lock) []int {
	all := make([]int, len(l.Packages))
	for i := range all {
		all[i] = i
	}
	return all
}

func named(l *Lock, among []int, name string) (found []int) {
	in := make([]bool, len(l.Packages))
	for _, i := range among {
		in[i] = true
	}
	for _, i := range l.Named(name) {
		if in[i] {
			found = append(found, i)
		}
	}
	return found
}

// fold maps the names that a registry holds to be one to one.
func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }
