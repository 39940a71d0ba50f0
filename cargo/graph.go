package cargo

import (
	"fmt"
	"strings"
)

// Named returns the indexes of the packages of a name, in the file's order.
func (l *Lock) Named(name string) []int { return l.byName[name] }

// DependsOn returns the indexes of the packages that Packages[i] depends on, in the
// file's order of its dependencies. A package that a [replace] replaces has those of its
// replacement.
func (l *Lock) DependsOn(i int) []int { return l.deps[i] }

// Closure returns, sorted, the indexes of the given packages and of all that they depend
// on: of every kind (for members also dev-dependencies), for every target and feature
// that the lock provides for.
func (l *Lock) Closure(start []int) []int {
	in := make([]bool, len(l.Packages))
	for todo := append([]int(nil), start...); len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !in[i] {
			in[i] = true
			todo = append(todo, l.deps[i]...)
		}
	}
	var all []int
	for i, is := range in {
		if is {
			all = append(all, i)
		}
	}
	return all
}

// resolve finds the packages that dependencies and replacements name.
func (l *Lock) resolve() error {
	l.deps = make([][]int, len(l.Packages))
	for i, p := range l.Packages {
		for _, id := range p.Dependencies {
			at, err := l.find(id)
			if err != nil {
				return wrong("", "package.dependencies", "of %s: %v; run `cargo generate-lockfile`", p, err)
			}
			l.deps[i] = append(l.deps[i], at)
		}
		if p.Replace == "" {
			continue
		}
		at, err := l.find(p.Replace)
		if err != nil {
			return wrong("", "package.replace", "of %s: %v; run `cargo generate-lockfile`", p, err)
		}
		l.deps[i] = append(l.deps[i], at)
	}
	return nil
}

// find returns the one package that "name", "name version" or "name version (source)"
// means in this file.
func (l *Lock) find(id string) (int, error) {
	name, rest, _ := strings.Cut(id, " ")
	version, inner, hasSource := strings.Cut(rest, " ")
	source, ok := strings.CutPrefix(inner, "(")
	source, ok2 := strings.CutSuffix(source, ")")
	if hasSource && !(ok && ok2) {
		return 0, fmt.Errorf("%q is not of the form \"name version (source)\"", id)
	}
	var found, local []int
	for _, i := range l.byName[name] {
		p := l.Packages[i]
		if version != "" && p.Version != version || hasSource && p.Source != source {
			continue
		}
		if version == "" && len(found) > 0 && l.Packages[found[0]].Version != p.Version {
			return 0, fmt.Errorf("%q could be several packages of the file", id)
		}
		found = append(found, i)
		if p.Source == "" {
			local = append(local, i)
		}
	}
	// As cargo decides: a path has no source to be written, so it is meant where none is.
	switch {
	case len(local) == 1:
		return local[0], nil
	case len(found) == 1:
		return found[0], nil
	case len(found) == 0:
		return 0, fmt.Errorf("%q is not in the file", id)
	}
	return 0, fmt.Errorf("%q could be several packages of the file", id)
}
