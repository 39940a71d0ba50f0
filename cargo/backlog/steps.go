package backlog

import (
	"cmp"
	"fmt"
	"slices"
)

// maxSteps is how many next steps are named.
const maxSteps = 6

// Steps returns the next steps, those first that most crates wait for, as sentences.
func (r *Report) Steps() []string {
	type step struct {
		do    string
		names []string
		final bool // nothing of it can be done today
	}
	var all []*step
	for _, c := range r.Crates {
		if c.Next == "" {
			continue
		}
		do, final := c.Next, false
		switch c.Cause {
		case NoRepository, NoCommit, CommitGone, Submodule:
			do = "say in " + MapName + " where it is from" // each for itself
		case Dirty, Differs, LineEnds, TooLarge, Other:
			do, final = c.Next, true
		}
		i := slices.IndexFunc(all, func(s *step) bool { return s.do == do })
		if i < 0 {
			i, all = len(all), append(all, &step{do: do, final: final})
		}
		all[i].names = append(all[i].names, c.Name)
	}
	slices.SortStableFunc(all, func(a, b *step) int {
		if a.final != b.final {
			if a.final {
				return 1
			}
			return -1
		}
		return cmp.Compare(len(b.names), len(a.names))
	})
	var out []string
	for _, s := range all[:min(len(all), maxSteps)] {
		who := fmt.Sprintf("%d crates wait for it (%s, ...)", len(s.names), s.names[0])
		if len(s.names) == 1 {
			who = s.names[0] + " waits for it"
		}
		if s.final {
			who = fmt.Sprintf("%d crates", len(s.names))
			if len(s.names) == 1 {
				who = s.names[0]
			}
			out = append(out, fmt.Sprintf("%s: %s", who, s.do))
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s", s.do, who))
	}
	return out
}
