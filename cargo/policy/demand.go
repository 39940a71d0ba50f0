package policy

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Package is a package of a lock file, of a registry.
type Package struct {
	Name, Version string
	Registry      string // index as the lock file names it, without "registry+"; "" for cargo's default registry
}

// Ask is a wish of a manifest that a crate be proven.
type Ask struct {
	Crate    Pattern
	Where    string // file and key, for people: `Cargo.toml, [dependencies] serde`
	Registry string // as of Package
}

// Status says whether a package must be proven.
type Status int

const (
	NotAsked Status = iota // no one wants it proven
	Required               // it must be proven
	Excepted               // it would have to be, but for an exception
)

func (s Status) String() string {
	switch s {
	case NotAsked:
		return "not asked"
	case Required:
		return "required"
	case Excepted:
		return "excepted"
	}
	return fmt.Sprintf("status %d", int(s))
}

// Demand is what the policy wants of one package.
type Demand struct {
	Package
	Status  Status
	Warn    bool        // for Required: it is only to be warned of if nothing shows it
	Because []string    // who wants it proven, each a phrase; empty for NotAsked
	Except  *Exception  // for Excepted
	Expired []Exception // for Required: exceptions that are over
}

// Resolution is what the policy wants of the packages of a lock file.
type Resolution struct {
	Demands []Demand // one per package, in their order

	// Missing are asks and requirements by name that no package fits, as phrases: what was to
	// be proven is not there, or its name is misspelled. Unmatched are patterns with a * and
	// expectations that fit none, which may be meant.
	Missing, Unmatched []string
}

// wish is a reason why a package must be proven.
type wish struct {
	Pattern
	because string
	met     bool
}

// wishes are some of one kind. Those that name a crate are found by its folded name: a lock
// file has thousands.
type wishes struct {
	named map[string][]*wish
	globs []*wish
	all   []*wish // in the order in which they came
	soft  bool    // one that no package meets is no more than Unmatched
}

func (w *wishes) add(p Pattern, because string) {
	one := &wish{Pattern: p, because: because}
	w.all = append(w.all, one)
	if !p.exact() {
		w.globs = append(w.globs, one)
		return
	}
	if w.named == nil {
		w.named = map[string][]*wish{}
	}
	w.named[fold(p.name)] = append(w.named[fold(p.name)], one)
}

// because says who wants a package proven. w may be nil.
func (w *wishes) because(pkg Package) (all []string) {
	if w == nil {
		return nil
	}
	for _, list := range [][]*wish{w.named[fold(pkg.Name)], w.globs} {
		for _, one := range list {
			if one.Matches(pkg.Name, pkg.Version) {
				one.met = true
				all = append(all, one.because)
			}
		}
	}
	return all
}

// requirements returns what is required of the crates of a registry, "" for all.
func (p *Policy) requirements(patterns []Pattern, index string) *wishes {
	w := &wishes{}
	for _, pattern := range patterns {
		because := fmt.Sprintf("%s requires %q", p.Path, pattern)
		if pattern == All {
			because = p.Path + " requires all crates"
		}
		if index != "" {
			because += " of " + index
		}
		w.add(pattern, because)
	}
	return w
}

// openings returns which crates must be proven because they must be opened: those that are named.
func (p *Policy) openings() *wishes {
	w := &wishes{}
	for _, pattern := range p.Openings {
		if pattern != All {
			w.add(pattern, fmt.Sprintf("%s requires an opening of %q", p.Path, pattern))
		}
	}
	return w
}

// warnings returns of which crates it is to be said that they are not proven.
func (p *Policy) warnings() *wishes {
	w := &wishes{soft: true}
	for _, pattern := range p.Warn {
		because := fmt.Sprintf("%s wants warnings of %q", p.Path, pattern)
		if pattern == All {
			because = p.Path + " wants warnings of all crates"
		}
		w.add(pattern, because)
	}
	return w
}

// Resolve decides for each package, at a time, whether it must be proven. It must
// if a manifest asks for it, or the policy requires or expects it, and no exception covers it.
func (p *Policy) Resolve(asks []Ask, packages []Package, now time.Time) Resolution {
	general, opened, warned := p.requirements(p.Require, ""), p.openings(), p.warnings()
	own, asked := map[string]*wishes{}, map[string]*wishes{} // by registry
	for index, r := range p.Registries {
		if r.own {
			own[index] = p.requirements(r.Require, index)
		}
	}
	for _, a := range asks {
		index := indexOf(a.Registry)
		if asked[index] == nil {
			asked[index] = &wishes{}
		}
		asked[index].add(a.Crate, a.Where+" asks for it")
	}
	var out Resolution
	expected := make([]bool, len(p.Expects)) // which are met
	for _, pkg := range packages {
		index := indexOf(pkg.Registry)
		r, _ := p.Of(index)
		required := general
		if r.own {
			required = own[index]
		}
		d := Demand{Package: pkg, Because: asked[index].because(pkg)}
		if because := required.because(pkg); !r.ignores(pkg) {
			d.Because = append(d.Because, because...)
		}
		d.Because = append(d.Because, opened.because(pkg)...)
		because := len(d.Because)
		for i, e := range p.Expects {
			if e.fits(pkg.Name, pkg.Version) {
				expected[i] = true
				d.Because = append(d.Because[:because], fmt.Sprintf("%s expects its source at one place", p.Path))
			}
		}
		if because := warned.because(pkg); len(d.Because) == 0 && !r.own && !r.ignores(pkg) {
			d.Because, d.Warn = because, len(because) > 0
		}
		if len(d.Because) > 0 {
			p.except(&d, index, now)
		}
		out.Demands = append(out.Demands, d)
	}
	out.unmet(asked)
	out.unmet(map[string]*wishes{"": general})
	out.unmet(map[string]*wishes{"": opened})
	out.unmet(map[string]*wishes{"": warned})
	out.unmet(own)
	for i, e := range p.Expects {
		if !expected[i] {
			out.Unmatched = append(out.Unmatched, fmt.Sprintf("%s, expect[%d]: no registry package of the lock file is %s; "+
				"remove it, or correct its name", p.Path, i+1, e))
		}
	}
	return out
}

func (r *Registry) ignores(pkg Package) bool {
	return slices.ContainsFunc(r.Ignore, func(p Pattern) bool { return p.excuses(pkg.Name, pkg.Version) })
}

// unmet notes the wishes that no package met.
func (out *Resolution) unmet(by map[string]*wishes) {
	for _, index := range slices.Sorted(maps.Keys(by)) {
		for _, one := range by[index].all {
			text := fmt.Sprintf("%s, but no registry package of the lock file is %s", one.because, one.Pattern)
			switch {
			case one.met || one.Pattern == All:
			case one.exact() && !by[index].soft:
				out.Missing = append(out.Missing, text)
			default:
				out.Unmatched = append(out.Unmatched, text)
			}
		}
	}
}

// except applies the exceptions to a package of a registry that must be proven. The one
// that lasts longest counts.
func (p *Policy) except(d *Demand, index string, now time.Time) {
	d.Status = Required
	for i := range p.Exceptions {
		e := &p.Exceptions[i]
		switch {
		case !e.covers(d.Package, index):
		case e.Expires.Past(now):
			d.Expired = append(d.Expired, *e)
		case d.Except == nil || d.Except.Expires.day.Before(e.Expires.day):
			d.Status, d.Except = Excepted, e
		}
	}
	if d.Status == Excepted {
		d.Expired = nil
	}
}

// covers compares to the letter: who is excused must be named. index is that of the package's
// registry, in its one spelling.
func (e Exception) covers(p Package, index string) bool {
	return e.Crate == p.Name && (e.Version == "" || e.Version == p.Version) && e.Registry == index
}

func (e Exception) coversAny(packages []Package) bool {
	return slices.ContainsFunc(packages, func(p Package) bool {
		return e.Crate == p.Name && e.covers(p, indexOf(p.Registry))
	})
}

func (e Exception) String() string {
	s := e.Crate
	if e.Version != "" {
		s += "@" + e.Version
	}
	if e.Registry != "" {
		s += " of " + e.Registry
	}
	return s
}
