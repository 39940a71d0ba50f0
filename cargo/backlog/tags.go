package backlog

import "slices"

// maxTags is how many tags are tried for a crate that names no commit.
const maxTags = 4

// tagNames are the names that authors give the tag of a release, the surest first.
func tagNames(name, version string) []string {
	v := "v" + version
	return []string{name + "-" + v, name + "-" + version, name + "/" + v, name + "/" + version, name + "@" + version,
		name + "@" + v, name + "_" + v, name + "_" + version, name + "." + version, v, version, "V" + version,
		"release-" + version, "release-" + v, "release/" + version, "release/" + v, "rel-" + version}
}

// candidates returns the commits of a repository's tags that can be a crate's, at most four.
func candidates(name, version string, tags map[string][20]byte) (found [][20]byte) {
	for _, t := range tagNames(name, version) {
		if id, ok := tags[t]; ok && !slices.Contains(found, id) && len(found) < maxTags {
			found = append(found, id)
		}
	}
	return found
}
