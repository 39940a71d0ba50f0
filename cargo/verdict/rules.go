package verdict

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	why := "about whose crates the policy lets no log be asked"
	if !named {
		why = "which the policy does not name, so no log is asked about it"
	}
	return refuse(ErrRegistry, fmt.Sprintf("Write [registry.%q] into %s, with require = \"none\" if its crates need no "+
		"proof, or with the logs that may be asked about them: logs = [%s]", w.Demand.Registry, at, c.origins()),
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

// displeases returns what the policy has against a crate whose bundle is good.
func (it *item) displeases() error {
	p := it.c.cfg.Policy
	var commit, path string
	if it.facts != nil {
		commit, path = it.facts.Commit, it.facts.Path
	} else {
		commit, path = hex.EncodeToString(it.result.Commit[:]), it.result.Path
	}
	if text := p.Unexpected(it.want.Name, it.want.Version, commit, path); text != "" {
		return refuse(ErrUnexpected, "Find out why it moved before you change [[expect]]", "%s", text)
	}
	return nil
}
