// Package coverage says how much of a lock file is proven: of its crates, and of their lines of Rust;
// who pulls in what is not, and which proofs would add most. It decides nothing: package verdict does.
//
// # What is counted
//
// A line counts if it stands in a file of the .crate whose name ends in .rs, tests, examples and build
// scripts too, has something on it but white space, and does not begin with //. So it is a measure of
// how much there is to trust, and not of what the compiler gets for one target and its features.
package coverage

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"

	"cratelog/cargo"
)

// Format names the form of a Report as JSON.
const Format = "cratelog/report/v1"

// What is known of a crate: its State.
const (
	Proven    = "proven"
	Unproven  = "unproven"  // no log shows a proof
	Refused   = "refused"   // something is wrong: with the entry, or what lies on the disk
	Unchecked = "unchecked" // it could not be found out
)

// A Crate is a package of a registry in a lock file.
type Crate struct {
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	Registry string   `json:"registry"` // index; "" for cargo's default registry
	SHA256   string   `json:"sha256"`   // hex
	State    string   `json:"state"`
	Demand   string   `json:"demand"`            // what the policy wants: not-asked, required, excepted, warned
	Reason   string   `json:"reason,omitempty"`  // if it is not proven, as verify has it
	Cause    string   `json:"cause,omitempty"`   // why no proof can be made, as far as is known
	Again    bool     `json:"again,omitempty"`   // a proof was tried, and did not come about for another reason
	Lines    int      `json:"lines"`             // of Rust; -1: not known
	Through  []string `json:"through,omitempty"` // if it is not proven: direct dependencies by which it comes in, "NAME VERSION"

	pkg cargo.Package
}

// New returns a crate for a package of a lock file, of which nothing is known.
func New(p cargo.Package, registry string) Crate {
	c := Crate{Name: p.Name, Version: p.Version, Registry: registry, State: Unchecked, Lines: -1, pkg: p}
	if p.Checksum != nil {
		c.SHA256 = fmt.Sprintf("%x", *p.Checksum)
	}
	return c
}

// A Sum is a number of crates and of their lines. Lines that are not known count as none.
type Sum struct {
	Crates int `json:"crates"`
	Lines  int `json:"lines"`
}

func (s *Sum) add(c Crate) {
	s.Crates++
	s.Lines += max(c.Lines, 0)
}

// A Group is the crates that are not proven for one reason.
type Group struct {
	Cause string `json:"cause"` // "": nothing is known that stands against a proof
	State string `json:"state"`
	Sum
}

// A Way is a direct dependency, and what is not proven and comes in through it, itself included.
type Way struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Sum
}

// A Step is a proof that would help, and what would be proven after it and those before it.
type Step struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Lines   int    `json:"lines"`
	After   Sum    `json:"after"`
}

// A Report is what is known of a lock file. It marshals to JSON.
type Report struct {
	Format   string  `json:"format"`
	Lock     string  `json:"lock"` // SHA-256 of Cargo.lock, hex
	Total    Sum     `json:"total"`
	Proven   Sum     `json:"proven"`
	Excepted int     `json:"excepted"` // of those that are not proven
	Warned   int     `json:"warned"`   // likewise
	Unknown  int     `json:"unknown"`  // crates whose lines are not known
	Groups   []Group `json:"groups"`   // most lines first
	Through  []Way   `json:"through"`  // likewise
	Next     []Step  `json:"next"`     // the proofs that add most lines, of those that look possible
	Crates   []Crate `json:"packages"` // in the lock file's order
}

// Summarize sums up a lock file, whose text is given, and its crates. There are at most top next steps.
func Summarize(text []byte, lock *cargo.Lock, crates []Crate, top int) *Report {
	r := &Report{Format: Format, Lock: fmt.Sprintf("%x", sha256.Sum256(text)), Groups: []Group{}, Through: []Way{},
		Next: []Step{}, Crates: append([]Crate{}, crates...)}
	graph := cargo.NewGraph(lock)
	groups, ways := map[[2]string]*Group{}, map[string]*Way{}
	for i := range r.Crates {
		c := &r.Crates[i]
		r.Total.add(*c)
		if c.Lines < 0 {
			r.Unknown++
		}
		if c.State == Proven {
			r.Proven.add(*c)
			continue
		}
		switch c.Demand {
		case "excepted":
			r.Excepted++
		case "warned":
			r.Warned++
		}
		key := [2]string{c.State, c.Cause}
		if groups[key] == nil {
			groups[key] = &Group{Cause: c.Cause, State: c.State}
		}
		groups[key].add(*c)
		for _, p := range graph.Direct(&c.pkg) {
			name := p.Name + " " + p.Version
			c.Through = append(c.Through, name)
			if ways[name] == nil {
				ways[name] = &Way{Name: p.Name, Version: p.Version}
			}
			ways[name].add(*c)
		}
	}
	for _, g := range groups {
		r.Groups = append(r.Groups, *g)
	}
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(most(a.Sum, b.Sum), cmp.Compare(a.State, b.State), cmp.Compare(a.Cause, b.Cause))
	})
	for _, w := range ways {
		r.Through = append(r.Through, *w)
	}
	slices.SortFunc(r.Through, func(a, b Way) int {
		return cmp.Or(most(a.Sum, b.Sum), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	r.next(top)
	return r
}

func most(a, b Sum) int {
	return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(b.Crates, a.Crates))
}

// next picks the proofs that add most: each adds its own lines only, so that the largest come
// first; what was tried in vain comes last.
func (r *Report) next(top int) {
	var open []Crate
	for _, c := range r.Crates {
		if c.State == Unproven && c.Cause == "" && c.Lines > 0 {
			open = append(open, c)
		}
	}
	tried := func(c Crate) int {
		if c.Again {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(open, func(a, b Crate) int {
		return cmp.Or(cmp.Compare(tried(a), tried(b)), cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Name, b.Name))
	})
	after := r.Proven
	for _, c := range open[:min(max(top, 0), len(open))] {
		after.add(c)
		r.Next = append(r.Next, Step{c.Name, c.Version, c.Lines, after})
	}
}

// Percent is the share of a part, rounded down: 100 is all. Of nothing, all is proven.
func Percent(part, total int) int {
	if total <= 0 {
		return 100
	}
	return int(int64(part) * 100 / int64(total))
}
