package lockfile

import (
	"fmt"
	"strings"
)

// Named returns the indexes of the packages of a name, in the file's order. Case does not
// matter, nor whether it says - or _.
func (l *Lock) Named(name string) []int { return l.byName[fold(name)] }

func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }

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
				return wrong("package.dependencies", "of %s: %v; run `cargo generate-lockfile`", p, err)
			}
			l.deps[i] = append(l.deps[i], at)
		}
		if p.Replace == "" {
			continue
		}
		at, err := l.find(p.Replace)
		if err != nil {
			return wrong("package.replace", "of %s: %v; run `cargo generate-lockfile`", p, err)
		}
		l.deps[i] = append(l.deps[i], at)
	}
	return nil
}

// A meaning is which packages a dependency's spelling may mean.
type meaning struct {
	first, n      int    // index of the first one, and how many there are
	local, locals int    // likewise of those from a path
	version       string // of the first one
	mixed         bool   // they are of several versions, and the spelling has none
}

// add adds a package, under all that dependencies may call it.
func (l *Lock) add(p Package) {
	i := len(l.Packages)
	l.Packages = append(l.Packages, p)
	l.byName[fold(p.Name)] = append(l.byName[fold(p.Name)], i)
	ids := []string{p.Name, p.Name + " " + p.Version}
	if p.Source != "" {
		ids = append(ids, p.String())
	}
	for _, id := range ids {
		m := l.meanings[id]
		if m == nil {
			m = &meaning{first: i, version: p.Version}
			l.meanings[id] = m
		}
		m.n++
		m.mixed = m.mixed || m.version != p.Version
		if p.Source == "" {
			m.local = i
			m.locals++
		}
	}
}

// find returns the one package that "name", "name version" or "name version (source)"
// means in this file.
func (l *Lock) find(id string) (int, error) {
	m := l.meanings[id]
	// As cargo decides: a path has no source to be written, so it is meant where none is.
	switch {
	case m == nil:
		return 0, fmt.Errorf("%.999q is not in the file", id)
	case m.locals == 1 && !m.mixed:
		return m.local, nil
	case m.n == 1:
		return m.first, nil
	}
	return 0, fmt.Errorf("%.999q could be several packages of the file", id)
}

// Chain returns the shortest way on which packages lead to Packages[i], as indexes, the first
// of which nothing depends on; it ends with i.
func (l *Lock) Chain(i int) []int {
	by := make([][]int, len(l.Packages)) // who depends on each
	for from, deps := range l.deps {
		for _, to := range deps {
			by[to] = append(by[to], from)
		}
	}
	next := map[int]int{i: i}
	for todo := []int{i}; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		if len(by[at]) == 0 {
			chain := []int{at}
			for ; at != i; at = next[at] {
				chain = append(chain, next[at])
			}
			return chain
		}
		for _, from := range by[at] {
			if _, seen := next[from]; !seen {
				next[from] = at
				todo = append(todo, from)
			}
		}
	}
	return []int{i} // only a circle leads there
}
