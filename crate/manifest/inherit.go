package manifest

import (
	"maps"
	"slices"
)

// isInherited reports whether a key's value is { workspace = true, … }.
func isInherited(v any) bool {
	t, _ := v.(table)
	_, ok := t["workspace"].(bool)
	return ok
}

// inherits reports whether a manifest takes any value from its workspace.
func inherits(doc table) bool {
	for _, name := range []string{"package", "project"} {
		pkg, _ := doc[name].(table)
		for k, v := range pkg {
			if isInherited(v) && k != "metadata" {
				return true
			}
		}
	}
	if isInherited(doc["lints"]) || isInherited(doc["badges"]) || inheritsDependencies(doc) {
		return true
	}
	platforms, _ := doc["target"].(table)
	for _, p := range platforms {
		if t, ok := p.(table); ok && inheritsDependencies(t) {
			return true
		}
	}
	return false
}

func inheritsDependencies(t table) bool {
	for _, kind := range []string{"dependencies", "dev-dependencies", "dev_dependencies",
		"build-dependencies", "build_dependencies"} {
		deps, _ := t[kind].(table)
		for _, d := range deps {
			if isInherited(d) {
				return true
			}
		}
	}
	return false
}

// inheritable are the keys of [package] that may come from [workspace.package].
var inheritable = []string{"authors", "categories", "description", "documentation", "edition", "exclude",
	"homepage", "include",
	"keywords", "license", "license-file", "publish", "readme", "repository", "rust-version", "version"}

// inherit returns a value of [package], or the workspace's in its place.
func (r *reader) inherit(section, key string, v any) any {
	if !isInherited(v) || key == "metadata" {
		return v
	}
	if key == "readme" {
		return v // the root's may be one that its manifest does not name
	}
	ws, ok := r.section(r.ws, "package")[key]
	if !ok || !slices.Contains(inheritable, key) {
		r.fail(join(section, key), "is inherited, but the workspace has no workspace.package."+key+" to inherit")
		return nil
	}
	return ws
}

// maxInherited is how many keys and features all dependencies together may inherit: each may do so
// for every platform.
const maxInherited = 1 << 18

// inheritDependency returns the workspace's dependency with what t, the package's entry, adds to
// it: features, and whether it is optional. Default features are on if either asks for them.
func (r *reader) inheritDependency(key, name string, t table) table {
	if r.err != nil {
		return table{}
	}
	ws, ok := r.section(r.ws, "dependencies")[name]
	from := join("workspace.dependencies", name)
	merged := table{}
	switch v := ws.(type) {
	case string:
		merged["version"] = v
	case table:
		merged = maps.Clone(v)
	default:
		ok = false
	}
	if !ok {
		r.fail(key, "is inherited, but the workspace has no "+from+" to inherit")
		return table{}
	}
	if !r.boolean(t, key, "workspace", true) {
		r.fail(key, "has workspace = false, which cargo refuses")
	}
	defaults := r.boolean(merged, from, r.spelled(merged, from, "default-features"), true) ||
		r.boolean(t, key, r.spelled(t, key, "default-features"), false)
	delete(merged, "default_features")
	merged["default-features"] = defaults
	inherited := r.strings(merged, from, "features")
	if r.inherited += len(merged) + len(inherited); r.inherited > maxInherited {
		r.fail(key, "is one too many: what dependencies inherit is more than is read")
	}
	merged["features"] = slices.Concat(inherited, r.strings(t, key, "features"))
	for _, k := range []string{"optional", "public"} {
		delete(merged, k)
		if v, ok := t[k]; ok {
			merged[k] = v
		}
	}
	return merged
}

// workspaceResolver returns the resolver that a workspace sets for its members: its own, its root
// package's, or that of the root package's edition. One without a package has the oldest.
func (r *reader) workspaceResolver(rootDoc table) string {
	if s := r.str(r.ws, "workspace", "resolver"); s != "" {
		return s
	}
	pkg := r.section(rootDoc, "package")
	if pkg == nil {
		return "1"
	}
	if s := r.str(pkg, "package", "resolver"); s != "" {
		return s
	}
	edition := pkg["edition"]
	if isInherited(edition) {
		edition = r.section(r.ws, "package")["edition"]
	}
	if s, ok := edition.(string); ok {
		return editionResolver(s)
	}
	return "1"
}
