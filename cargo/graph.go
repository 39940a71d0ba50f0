package cargo

import "slices"

// A Graph says who pulls what into a lock file. It does not change, so it is safe for concurrent
// use. Packages are known by name, version and source: a copy of a package will do.
type Graph struct {
	lock *Lock
	at   map[string]int // by Package.String
	by   [][]int        // who depends on each
	from []int          // the package before each on the shortest way to it; itself for one without a source; -1: no way
}

// NewGraph reads the dependencies of a lock file, in time linear in its size.
func NewGraph(lock *Lock) *Graph {
	n := len(lock.Packages)
	g := &Graph{lock: lock, at: make(map[string]int, n), by: make([][]int, n), from: make([]int, n)}
	var todo []int
	for i, p := range lock.Packages {
		g.at[p.String()], g.from[i] = i, -1
		for _, to := range lock.DependsOn(i) {
			g.by[to] = append(g.by[to], i)
		}
		if p.Source == "" {
			g.from[i] = i
			todo = append(todo, i)
		}
	}
	for ; len(todo) > 0; todo = todo[1:] {
		for _, to := range lock.DependsOn(todo[0]) {
			if g.from[to] < 0 {
				g.from[to] = todo[0]
				todo = append(todo, to)
			}
		}
	}
	return g
}

// Path returns the shortest chain of dependencies from a package without a source, that is of the
// workspace or of a path, down to p, both inclusive; of several as short ones, the first in the
// lock file's order. It is nil if there is none, or the lock file has no p.
func (g *Graph) Path(p *Package) (chain []*Package) {
	i, ok := g.at[p.String()]
	if !ok || g.from[i] < 0 {
		return nil
	}
	for ; ; i = g.from[i] {
		chain = append(chain, &g.lock.Packages[i])
		if g.from[i] == i {
			slices.Reverse(chain)
			return chain
		}
	}
}

// Direct returns the packages with a source that one without depends on, and through which p comes
// in, p among them if it is one; in the lock file's order. It is nil for a package without a
// source, and for one that the lock file does not have.
func (g *Graph) Direct(p *Package) (direct []*Package) {
	start, ok := g.at[p.String()]
	if !ok || p.Source == "" {
		return nil
	}
	seen, found := make([]bool, len(g.by)), make([]bool, len(g.by))
	seen[start] = true
	for todo := []int{start}; len(todo) > 0; todo = todo[1:] {
		for _, from := range g.by[todo[0]] {
			if g.lock.Packages[from].Source == "" {
				found[todo[0]] = true
			} else if !seen[from] {
				seen[from] = true
				todo = append(todo, from)
			}
		}
	}
	for i, is := range found {
		if is {
			direct = append(direct, &g.lock.Packages[i])
		}
	}
	return direct
}
