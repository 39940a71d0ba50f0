package policy

import (
	"strings"

	"cratelog/cargo/registry"
)

// EvidenceFor returns the places in which evidence about a crate of a registry is looked for, in their
// order: those that [registry."INDEX"] names, else those that are named for all. No server is asked
// about a crate of another registry than cargo's default one unless it is named there: like a log, it
// would learn the name.
func (p *Policy) EvidenceFor(index string) (places []string) {
	if r, _ := p.Of(index); r.Evidence != nil {
		return r.Evidence
	}
	for _, place := range p.Evidence {
		if indexOf(index) == "" || !registry.IsURL(place) {
			places = append(places, place)
		}
	}
	return places
}

// maxEvidence bounds a list of places, each of which may be asked about each crate.
const maxEvidence = 16

// checkEvidence returns the places of a list: URLs as they are, directories as zkp.toml means them.
func (f *file) checkEvidence(key string, list []string, wrong complain) (places []string) {
	if list == nil || len(list) > maxEvidence {
		if list != nil {
			wrong(key, "has %d items, at most %d are read", len(list), maxEvidence)
		}
		return nil
	}
	places = []string{}
	for _, place := range list {
		switch {
		case registry.IsURL(place):
			if err := registry.CheckURL(strings.TrimRight(place, "/")+"/", false); err != nil {
				wrong(key, "%v", err)
			}
			places = append(places, place)
		case place == "":
			wrong(key, "has an empty item; it takes URLs and directories")
		default:
			places = append(places, f.below([]string{place})...)
		}
	}
	return places
}
