package proxy

import (
	"strings"

	"golang.org/x/mod/semver"

	"cratelog/cargo/registry"
)

// newest returns the release that cargo will choose most likely: the highest that is
// neither yanked nor a pre-release.
func newest(releases []registry.Release) (Want, bool) {
	var best Want
	for _, r := range releases {
		if r.Yanked || strings.Contains(r.Version, "-") || !semver.IsValid("v"+r.Version) {
			continue
		}
		if best.Version == "" || semver.Compare("v"+r.Version, "v"+best.Version) > 0 {
			best = Want{strings.Clone(r.Name), strings.Clone(r.Version), r.Checksum}
		}
	}
	return best, best.Version != ""
}
