package policy

import (
	"fmt"
	"slices"
	"time"
)

// Package is a package of a lock file, of a registry.
type Package struct{ Name, Version string }

// Ask is a wish of a manifest that a crate be proven.
type Ask struct {
	Crate Pattern
	Where string // file and key, for people: `Cargo.toml, [dependencies] serde`
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
	Because []string    // who wants it proven, each a phrase; empty for NotAsked
	Except  *Exception  // for Excepted
	Expired []Exception // for Required: exceptions that are over
}

// Resolution is what the policy wants of the packages of a lock file.
type Resolution struct {
	Demands []Demand // one per package, in their order

	// Unmatched are asks and patterns that no package fits, as phrases. A demand that
	// meets nothing may be misspelled.
	Unmatched []string
}

// Resolve decides for each package, at a time, whether it must be proven. It must
// if a manifest asks for it or the policy requires it, and no exception covers it.
func (p *Policy) Resolve(asks []Ask, packages []Package, now time.Time) Resolution {
	type wish struct {
		Pattern
		because string
		met     bool
	}
	var wishes []wish
	for _, a := range asks {
		wishes = append(wishes, wish{a.Crate, fmt.Sprintf("%s asks for it", a.Where), false})
	}
	for _, r := range p.Require {
		because := fmt.Sprintf("%s requires %q", p.Path, r)
		if r == All {
			because = p.Path + " requires all crates"
		}
		wishes = append(wishes, wish{r, because, false})
	}
	var out Resolution
	for _, pkg := range packages {
		d := Demand{Package: pkg}
		for i := range wishes {
			if wishes[i].Matches(pkg.Name, pkg.Version) {
				wishes[i].met = true
				d.Because = append(d.Because, wishes[i].because)
			}
		}
		if len(d.Because) > 0 {
			p.except(&d, now)
		}
		out.Demands = append(out.Demands, d)
	}
	for _, w := range wishes {
		if !w.met && w.Pattern != All {
			out.Unmatched = append(out.Unmatched, fmt.Sprintf("%s, but no registry package of the lock file is %s",
				w.because, w.Pattern))
		}
	}
	return out
}

// except applies the exceptions to a package that must be proven. The one
// that lasts longest counts.
func (p *Policy) except(d *Demand, now time.Time) {
	d.Status = Required
	for i := range p.Exceptions {
		e := &p.Exceptions[i]
		switch {
		case !e.covers(d.Name, d.Version):
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

// covers compares to the letter: who is excused must be named.
func (e Exception) covers(name, version string) bool {
	return e.Crate == name && (e.Version == "" || e.Version == version)
}

func (e Exception) coversAny(packages []Package) bool {
	return slices.ContainsFunc(packages, func(p Package) bool { return e.covers(p.Name, p.Version) })
}

func (e Exception) String() string {
	if e.Version == "" {
		return e.Crate
	}
	return e.Crate + "@" + e.Version
}
