package rebuild

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// maxPlan bounds what cargo prints of a package and of what it would compile, in bytes.
const maxPlan = 64 << 20

// srcPackage is where the package that is built stands inside of the sandbox, in cargo's words.
const srcPackage = "path+file://" + srcDir

// What cargo prints, as far as it is looked at. Its other fields say how, and not what, is compiled.
type (
	metadata struct {
		Packages []struct {
			Name, Version string
			Targets       []target
		}
	}
	target struct {
		Kind     []string
		Name     string
		Required []string `json:"required-features"`
	}
	unitGraph struct {
		Version *int
		Units   []unit
		Roots   []int
	}
	unit struct {
		Package      string `json:"pkg_id"`
		Target       target
		Mode         string
		Dependencies []struct{ Index int }
	}
)

// A plan is what cargo says before it compiles anything: which binaries the package has, and what
// is compiled for those that its default features allow.
type plan struct {
	binaries []target
	graph    unitGraph
}

// parsePlan reads the output of the planning run: the metadata of the package, as one JSON value,
// and the unit graph.
func parsePlan(out []byte, s entry.Subject) (*plan, error) {
	if len(out) > maxPlan {
		return nil, fmt.Errorf("cargo's plan has %d bytes, more than %d", len(out), maxPlan)
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	p := &plan{}
	var m metadata
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("what cargo says of the package cannot be read: %w", err)
	}
	found := false
	for _, pkg := range m.Packages {
		if pkg.Name != s.Name || pkg.Version != s.Version {
			continue
		}
		if found {
			return nil, fmt.Errorf("cargo says that there are two packages %s v%s", s.Name, s.Version)
		}
		found = true
		for _, t := range pkg.Targets {
			if slices.Contains(t.Kind, "bin") {
				p.binaries = append(p.binaries, t)
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("cargo does not say that the package is %s v%s", s.Name, s.Version)
	}
	switch err := dec.Decode(&p.graph); {
	case err == io.EOF:
		return p, nil // it had no more to say
	case err != nil:
		return nil, fmt.Errorf("cargo's unit graph cannot be read: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows cargo's unit graph")
	}
	return p, p.graph.check()
}

// modes are those of units that "cargo build" compiles or runs.
var modes = []string{"build", "run-custom-build"}

func (g *unitGraph) check() error {
	if g.Version == nil || *g.Version != 1 {
		return fmt.Errorf("cargo's unit graph is not of version 1, the only one that is known here")
	}
	for _, i := range g.Roots {
		if i < 0 || i >= len(g.Units) {
			return fmt.Errorf("cargo's unit graph has no unit %d, which is a root of it", i)
		}
	}
	for n, u := range g.Units {
		if !slices.Contains(modes, u.Mode) {
			return fmt.Errorf("cargo's unit graph has a unit of mode %.50q, which is not known here", u.Mode)
		}
		for _, d := range u.Dependencies {
			if d.Index < 0 || d.Index >= len(g.Units) {
				return fmt.Errorf("cargo's unit graph has no unit %d, on which unit %d depends", d.Index, n)
			}
		}
	}
	return nil
}

// binary returns the name of the binary that is meant; want is "" for the only one.
func (p *plan) binary(s entry.Subject, want string) (string, error) {
	who := s.Name + " v" + s.Version
	var names []string
	at := -1
	for i, b := range p.binaries {
		names = append(names, b.Name)
		if b.Name == want || want == "" && len(p.binaries) == 1 {
			at = i
		}
	}
	has := "it has " + strings.Join(names, ", ")
	switch {
	case len(names) == 0:
		return "", outcome.Refusef("%s has no binary: it is a library", who)
	case at < 0 && want != "":
		return "", outcome.Refusef("%s has no binary %.100q; %s", who, want, has)
	case at < 0:
		return "", outcome.Usagef("%s has %d binaries: say with --bin which one is meant; %s", who, len(names), has)
	}
	name := names[at]
	if err := entry.CheckBinary(name); err != nil {
		return "", outcome.Refusef("%s: %w", who, err)
	}
	if p.graph.Version != nil && p.root(name) < 0 {
		return "", outcome.Refusef("the binary %s of %s needs features that are not among its default ones: %s\n"+
			"recipe 1 builds with default features only", name, who, strings.Join(p.binaries[at].Required, ", "))
	}
	return name, nil
}

// root returns the unit of a binary, -1 if it is not built.
func (p *plan) root(binary string) int {
	for _, i := range p.graph.Roots {
		u := p.graph.Units[i]
		if u.Target.Name == binary && slices.Contains(u.Target.Kind, "bin") && u.Mode == "build" && ours(u.Package) {
			return i
		}
	}
	return -1
}

// ours says whether a package id is that of the package in srcDir.
func ours(id string) bool { return strings.HasPrefix(id, srcPackage+"#") }

// compiled returns the crates that are compiled for a binary, but for the package itself: all that its
// unit reaches. Each must stand in the lock file.
func (p *plan) compiled(binary string, lock *Lock) (build.List, error) {
	root := p.root(binary)
	if root < 0 {
		return nil, fmt.Errorf("cargo's unit graph does not have the binary %s", binary)
	}
	locked := map[string]int{}
	for i, pkg := range lock.packages {
		for _, id := range ids(pkg) {
			locked[id] = i
		}
	}
	list := build.List{}
	units, crates := make([]bool, len(p.graph.Units)), make([]bool, len(lock.packages))
	for next := []int{root}; len(next) > 0; {
		i := next[len(next)-1]
		next = next[:len(next)-1]
		if units[i] {
			continue
		}
		units[i] = true
		u := p.graph.Units[i]
		for _, d := range u.Dependencies {
			next = append(next, d.Index)
		}
		if ours(u.Package) {
			continue
		}
		at, ok := locked[u.Package]
		if !ok {
			return nil, fmt.Errorf("cargo would compile %.200q, which is not in the lock file", u.Package)
		}
		if !crates[at] {
			crates[at] = true
			list = append(list, lock.Crates[at])
		}
	}
	return build.ParseList(list.Marshal()) // in its order
}
