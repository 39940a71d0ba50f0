package registry

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxDifferences is how many differences a sentence names.
const maxDifferences = 3

// Diff says in what an index line's Summary differs from the one that follows from the
// proven Cargo.toml, "" if it Agrees: the rest of a sentence about the line, such as
// `it adds the dependency "x"; it makes "y" optional`.
func (said Summary) Diff(proven Summary) string {
	if said.Agrees(proven.Digest()) {
		return ""
	}
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if said.Name != proven.Name || said.Version != proven.Version {
		add("it is about %s v%s, not %s v%s", said.Name, said.Version, proven.Name, proven.Version)
	}
	diffDependencies(add, said, proven)
	for _, name := range keys(said.Features, proven.Features) {
		got, isSaid := said.Features[name]
		want, isProven := proven.Features[name]
		switch {
		case !isProven:
			add("it adds the feature %s", quote(name))
		case !isSaid:
			add("it lacks the feature %s", quote(name))
		case !slices.Equal(got, want):
			add("it says that the feature %s %s", quote(name), lists("turns on", got, want))
		}
	}
	if said.Links != "" && said.Links != proven.Links {
		add("it says that the crate links %s, not %s", quote(said.Links), quote(proven.Links))
	}
	if more := len(all) - maxDifferences; more > 0 {
		all = append(all[:maxDifferences], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// Deviation says in what a release's line differs from its Cargo.toml, as Diff does, for a
// registry of which it is not known whether it is a mirror of cargo's default one: what
// would be well for either is well. The error is Summary's or ManifestSummary's.
func (r Release) Deviation(index string, cargoToml []byte) (diff string, err error) {
	proven, err := ManifestSummary(cargoToml)
	if err != nil {
		return "", err
	}
	for _, index := range []string{index, ""} {
		said, err := r.Summary(index)
		if err != nil {
			return "", err
		}
		if diff = said.Diff(proven); diff == "" {
			return "", nil
		}
	}
	return diff, nil
}

// diffDependencies names what is of one Summary only; two in one place of Cargo.toml are
// one that was changed.
func diffDependencies(add func(string, ...any), said, proven Summary) {
	group := func(of, without Summary) map[string][]Dependency {
		groups := make(map[string][]Dependency)
		for _, d := range of.Dependencies {
			if _, both := slices.BinarySearchFunc(without.Dependencies, d, compareDependencies); !both {
				groups[d.place()] = append(groups[d.place()], d)
			}
		}
		return groups
	}
	got, want := group(said, proven), group(proven, said)
	for _, place := range keys(got, want) {
		g, w := got[place], want[place]
		for i := range min(len(g), len(w)) {
			for _, s := range g[i].diff(w[i]) {
				add("it %s", s)
			}
		}
		for _, d := range g[min(len(g), len(w)):] {
			add("it adds the %s", d.describe())
		}
		for _, d := range w[min(len(g), len(w)):] {
			add("it lacks the %s", d.describe())
		}
	}
}

// describe names a dependency and where it stands.
func (d Dependency) describe() string {
	s := "dependency " + quote(d.Name)
	if d.Package != "" && d.Package != d.Name {
		s += " (the package " + quote(d.Package) + ")"
	}
	if d.Build {
		s = "build " + s
	}
	if d.Optional {
		s = "optional " + s
	}
	if d.Target != "" {
		s += " for " + quote(d.Target)
	}
	return s
}

// diff says what was done to a dependency: verbs for "it".
func (said Dependency) diff(proven Dependency) (all []string) {
	name := quote(said.Name)
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if got, want := packageOf(said), packageOf(proven); got != want {
		add("takes the package %s for the dependency %s, which is %s", quote(got), name, quote(want))
	} else if said.Package != proven.Package {
		add("says otherwise whether %s is renamed", name)
	}
	if said.Versions != proven.Versions {
		add("asks for %s %s, not %s", name, quote(cmp.Or(said.Requirement, said.Versions)),
			quote(cmp.Or(proven.Requirement, proven.Versions)))
	}
	if said.Registry != proven.Registry {
		add("takes %s from %s, not from %s", name, registryOf(said), registryOf(proven))
	}
	if said.Optional != proven.Optional {
		add("makes %s %s", name, either(said.Optional, "optional", "no longer optional"))
	}
	if said.DefaultFeatures != proven.DefaultFeatures {
		add("turns the default features of %s %s", name, either(said.DefaultFeatures, "on", "off"))
	}
	if !slices.Equal(said.Features, proven.Features) {
		add("says that for %s it %s", name, lists("turns on", said.Features, proven.Features))
	}
	if !slices.Equal(said.Artifact, proven.Artifact) || said.ArtifactTarget != proven.ArtifactTarget ||
		said.ArtifactLib != proven.ArtifactLib {
		add("builds something else of %s", name)
	}
	return all
}

func packageOf(d Dependency) string {
	if d.Package != "" {
		return d.Package
	}
	return d.Name
}

func registryOf(d Dependency) string {
	if d.Registry == "" {
		return "cargo's default registry"
	}
	return quote(d.Registry)
}

func either(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// lists names the first entry that one of two sorted lists has and the other has not.
func lists(verb string, said, proven []string) string {
	for _, s := range said {
		if _, ok := slices.BinarySearch(proven, s); !ok {
			return verb + " " + quote(s)
		}
	}
	for _, s := range proven {
		if _, ok := slices.BinarySearch(said, s); !ok {
			return "does not turn on " + quote(s)
		}
	}
	return "is something else"
}

// keys returns the keys of both maps, sorted.
func keys[V any](a, b map[string]V) []string {
	all := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(all)
	return slices.Compact(all)
}
