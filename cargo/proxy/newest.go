package proxy

import (
	"strings"

	"golang.org/x/mod/semver"

	"cratelog/cargo/registry"
)

// newest returns the release that cargo will choose most likely: the highest that is
// neither yanked nor a pre-release.
func newest(releases []registry.Release) (want, bool) {
	var best want
	for _, r := range releases {
		if r.Yanked || strings.Contains(r.Version, "-") || !semver.IsValid("v"+r.Version) {
			continue
		}
		if best.version == "" || semver.Compare("v"+r.Version, "v"+best.version) > 0 {
			best = want{strings.Clone(r.Name), strings.Clone(r.Version), r.Checksum}
		}
	}
	return best, best.version != ""
}
