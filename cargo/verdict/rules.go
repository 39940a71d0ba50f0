package verdict

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cratelog/opening"
)

// mayAsk says whether a log may be told that a crate is used. Its cached bundles count as
// answers.
func (c *Checker) mayAsk(w Want, s *source) bool {
	return c.cfg.Policy.MayAsk(w.Demand.Registry, s.origin)
}

// barred returns why no log may be asked about a crate that must be proven; nil if one may.
func (c *Checker) barred(w Want) error {
	r, named := c.cfg.Policy.Of(w.Demand.Registry)
	ok := func(s *source) bool { return c.mayAsk(w, s) }
	if r.AnyLog || slices.ContainsFunc(c.sources, ok) {
		return nil
	}
	at := c.cfg.Policy.Path
	if at == "" {
		at = "a zkp.toml, which \"cargo zkp init\" writes"
	}
	why, write := "about whose crates the policy lets no log be asked", "Complete"
	if !named {
		why, write = "which the policy does not name, so no log is asked about it", "Write"
	}
	return refuse(ErrRegistry, fmt.Sprintf("%s [registry.%q] in %s, with require = \"none\" if its crates need no "+
		"proof, or with the logs that may be asked about them: logs = [%s]", write, w.Demand.Registry, at, c.origins()),
		"%s %s is of the registry %s, %s", w.Name, w.Version, w.Demand.Registry, why)
}

// origins lists the first of the logs, as zkp.toml would.
func (c *Checker) origins() string {
	var all []string
	for _, s := range c.sources[:min(len(c.sources), 3)] {
		all = append(all, strconv.Quote(s.origin))
	}
	return strings.Join(all, ", ")
}

// mild are the reasons that say that nothing was shown, or less than the policy wants; not that
// anything is false. A log can always say that it has nothing, so no more is lost by them.
var mild = []string{"not-logged", "no-claim", "withheld", "unreachable", "not-cached", "no-log", "registry", "no-opening", "not-downloaded",
	"index-not-seen", "program", "unproven", "crlf", "left-out", "stale"}

// Mild says that an error is no more than that something was not shown: all that it is about is
// of such reasons. A file that is no opening where one was handed out is none of them.
func Mild(err error) bool {
	found := false
	if errors.Is(err, opening.ErrMalformed) {
		return false
	}
	for _, s := range slugs {
		if errors.Is(err, s.reason) {
			if !slices.Contains(mild, s.slug) {
				return false
			}
			found = true
		}
	}
	return found
}

// soften makes a warning of what is not shown, where the policy asks for no more than one.
func (v *Verdict) soften() {
	if v.warns() {
		v.Status = Warned
	}
}

// displeases returns what the policy has against a crate whose bundle is good, and notes what
// it only warns of.
func (it *item) displeases() error {
	p, w := it.c.cfg.Policy, it.want
	var commit, path string
	var left, crlf, unproven []string
	if it.facts != nil {
		commit, path, left = it.facts.Commit, it.facts.Path, it.facts.Coverage.LeftOut
		crlf, unproven = it.facts.Coverage.CRLF, it.facts.Coverage.Unproven
	} else {
		commit, path, left = hex.EncodeToString(it.result.Commit[:]), it.result.Path, it.result.LeftOut
		crlf, unproven = it.result.CRLF, it.result.Unproven
	}
	it.noteWeaker(crlf, unproven)
	if text := p.Unexpected(w.Name, w.Version, commit, path); text != "" {
		return refuse(ErrUnexpected, "Find out why it moved before you change [[expect]]", "%s", text)
	}
	left = slices.DeleteFunc(slices.Clone(left), func(f string) bool { return slices.Contains(it.rules.AllowUnproven, f) })
	switch {
	case len(left) == 0:
	case p.RefuseLeftOut:
		return refuse(ErrLeftOut, "Look whether it is meant to be without; [[allow]] with unproven = [...] allows single files",
			"%s %s lacks %s, which its author's manifest names, and %s refuses that", w.Name, w.Version, few(left), p.Path)
	default:
		it.verdict.Notes = append(it.verdict.Notes, "it lacks "+few(left)+", which its author's manifest names: left out "+
			"when it was packaged")
	}
	return nil
}

// noteWeaker notes what the rules accept of a crate, and what makes its proof say less. Of a bundle
// that was given, whoever gave it reads that in the result.
func (it *item) noteWeaker(crlf, unproven []string) {
	if it.given != nil {
		return
	}
	if len(crlf) > 0 {
		it.verdict.Notes = append(it.verdict.Notes, "it has CRLF line ends where the commit has LF, in "+few(crlf))
	}
	if slices.Contains(unproven, "Cargo.toml") {
		it.verdict.Notes = append(it.verdict.Notes, "Cargo.toml is not proven: its dependencies, features and build script "+
			"are not known to be the commit's")
	}
}

// few lists the first of some files.
func few(files []string) string {
	const most = 3
	text := strings.Join(files[:min(len(files), most)], ", ")
	if n := len(files) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
