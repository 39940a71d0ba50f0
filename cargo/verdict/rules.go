package verdict

import (
	"encoding/hex"
	"fmt"
	"slices"
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
		at = "zkp.toml, which \"cargo zkp init\" writes"
	}
	if !named {
		return refuse(ErrRegistry, fmt.Sprintf("Add [registry.%q] to %s, with require = \"none\" if its crates need no proof, "+
			"or with logs = [...], the origins of logs that may be asked about them", r.Index, at),
			"%s %s is of the registry %s, which the policy does not name, so no log is asked about it", w.Name, w.Version,
			r.Index)
	}
	return refuse(ErrRegistry, fmt.Sprintf("Name logs of the trust files under [registry.%q] in %s, or write require = "+
		"\"none\" there", r.Index, at), "%s %s is of the registry %s, about whose crates the policy lets no log be asked",
		w.Name, w.Version, r.Index)
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
