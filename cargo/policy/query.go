package policy

import (
	"encoding/hex"
	"slices"

	"cratelog/client"
)

// QueryFor asks a log for a claim about a package that the policy can accept: with a proof of one of
// its programs, and where every [[expect]] about the package has it. Of more programs or commits
// than a query names, the log is not told; nor of places that cannot all be met. What it answers is
// judged all the same.
func (p *Policy) QueryFor(pkg Package) client.Query {
	q := client.Query{Registry: pkg.subject(), Name: pkg.Name, Version: pkg.Version}
	if len(p.Programs) <= client.MaxQuery {
		for _, program := range p.Programs {
			q.Programs = append(q.Programs, program.ID())
		}
	}
	q.Path, q.Commits = p.expected(pkg)
	return q
}

// expected returns the one path, nil for any, and the commits, nil for any, that all expectations
// about a package allow.
func (p *Policy) expected(pkg Package) (path *string, commits [][20]byte) {
	var allowed []string // nil: any commit
	for _, e := range p.Expects {
		if !e.fits(pkg.Name, pkg.Version) {
			continue
		}
		if path != nil && e.Path != nil && *path != *e.Path {
			return nil, nil
		}
		if e.Path != nil {
			path = e.Path
		}
		switch {
		case e.Commits == nil:
			continue
		case allowed == nil:
			allowed = slices.Clone(e.Commits)
		default:
			allowed = slices.DeleteFunc(allowed, func(id string) bool { return !slices.Contains(e.Commits, id) })
		}
		if len(allowed) == 0 {
			return nil, nil
		}
	}
	if len(allowed) > client.MaxQuery {
		return path, nil
	}
	for _, id := range allowed {
		b, err := hex.DecodeString(id)
		if err != nil || len(b) != len([20]byte{}) {
			return path, nil // a policy that was read holds none
		}
		commits = append(commits, [20]byte(b))
	}
	return path, commits
}
