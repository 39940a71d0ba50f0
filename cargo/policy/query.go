package policy

import "cratelog/client"

// QueryFor asks a log for a claim about a package whose proof the policy accepts. Of a
// policy with more programs than a query names, the log is not told: it chooses.
func (p *Policy) QueryFor(pkg Package) client.Query {
	q := client.Query{Registry: pkg.subject(), Name: pkg.Name, Version: pkg.Version}
	if len(p.Programs) <= client.MaxQuery {
		for _, program := range p.Programs {
			q.Programs = append(q.Programs, program.ID())
		}
	}
	return q
}
