package opening

import (
	"path"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// maxLeftOut bounds the names that are listed, in bytes: a deep directory could have many long ones.
const maxLeftOut = 1 << 20

// leftOut lists what the package's directories hold in the commit and the .crate does not, at most
// maxLeftOut of it.
func (c *check) leftOut(claim *entry.Source) (names []string) {
	dir, ok := resolve(claim)
	if !ok {
		return nil
	}
	unproven := map[string]bool{} // names in the commit of files that the .crate has, whatever they say
	for _, f := range claim.Unproven {
		if f == "Cargo.toml.orig" {
			f = "Cargo.toml"
		}
		unproven[f] = true
	}
	room := maxLeftOut
	for i, o := range c.list.Objects {
		below, inside := strings.CutPrefix(o.Path+"/", dir+"/")
		if dir == "" {
			below, inside = o.Path+"/", true
		}
		if o.Commit || !inside {
			continue
		}
		listed := make(map[string]bool, len(o.Entries))
		for _, e := range o.Entries {
			listed[e.Name] = true
		}
		for _, e := range c.trees[i] {
			name := strings.TrimPrefix(below+e.Name, "/")
			if listed[e.Name] || unproven[name] {
				continue
			}
			if room -= len(name); room < 0 {
				return names
			}
			if e.Mode == gitobject.ModeDirectory || e.Mode == gitobject.ModeSubmodule {
				name += "/"
			}
			names = append(names, name)
		}
	}
	return names
}

// maxHops is how many links a path may lead through, as in Linux.
const maxHops = 40

// resolve follows the links of a claim on the way to the package's directory.
func resolve(claim *entry.Source) (dir string, ok bool) {
	rest, hops := strings.Split(claim.Path, "/"), 0
	for len(rest) > 0 {
		if dir, rest = path.Join(dir, rest[0]), rest[1:]; dir == "." {
			dir = ""
		}
		if dir == ".." || strings.HasPrefix(dir, "../") {
			return "", false
		}
		i := slices.IndexFunc(claim.Links, func(l entry.Link) bool { return l.Path == dir })
		if i < 0 {
			continue
		}
		if hops++; hops > maxHops || path.IsAbs(claim.Links[i].Target) {
			return "", false
		}
		dir = path.Dir(dir)
		rest = append(strings.Split(claim.Links[i].Target, "/"), rest...)
	}
	return dir, true
}
