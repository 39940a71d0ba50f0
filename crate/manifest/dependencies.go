package manifest

import (
	"strings"
)

// readDependencies models the dependencies of t, a manifest or one of its [target] tables.
func (r *reader) readDependencies(prefix string, t, out table) {
	for _, kind := range []string{"dependencies", "dev-dependencies", "build-dependencies"} {
		key := r.spelled(t, prefix, kind)
		deps := r.section(t, key)
		models := table{}
		for name, v := range deps {
			r.depNames[name] = true
			models[name] = r.dependency(join(join(prefix, kind), name), name, v, kind == "dev-dependencies")
		}
		out[kind] = models
	}
}

// readPlatforms models [target], the dependencies of single platforms.
func (r *reader) readPlatforms() {
	platforms := table{}
	for platform, v := range r.section(r.doc, "target") {
		key := join("target", platform)
		t, ok := v.(table)
		if !ok {
			r.fail(key, "is not a table")
			continue
		}
		out := table{}
		for k, v := range t {
			switch k {
			case "dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies":
			default:
				r.unknown(out, k, v)
			}
		}
		r.readDependencies(key, t, out)
		platforms[platform] = out
	}
	r.model["target"] = platforms
}

// dependency models one dependency. A dev-dependency without a version can only be one by path or
// from git, and newer versions of cargo leave it out.
func (r *reader) dependency(key, name string, v any, dev bool) any {
	t, ok := v.(table)
	if version, isString := v.(string); isString {
		t, ok = table{"version": version}, true
	}
	if !ok {
		r.fail(key, "is neither a version nor a table")
		return nil
	}
	if r.orig && isInherited(t) {
		t = r.inheritDependency(key, name, t)
	}
	out := table{
		"optional":         r.boolean(t, key, "optional", false),
		"default-features": r.boolean(t, key, r.spelled(t, key, "default-features"), true),
	}
	for k, v := range t {
		r.dependencyKey(out, key, k, v)
	}
	if _, ok := out["version"]; !ok && dev && r.orig {
		return may{out}
	}
	return out
}

func (r *reader) dependencyKey(out table, key, k string, v any) {
	switch k {
	case "optional", "default-features", "default_features":
	case "version", "package", "registry-index", "artifact", "lib", "target":
		out[k] = v
	case "features":
		if list := r.strings(table{k: v}, key, k); len(list) > 0 {
			out[k] = list
		}
	case "path", "base", "git", "branch", "tag", "rev":
		// cargo removes where else the author finds it: a registry's package has its
		// dependencies from the registry
		r.unlessOrig(out, k, v)
	case "registry":
		if r.orig {
			// cargo looks the name up in the configuration, which only the publisher has
			out["registry-index"] = underivable("the index of the registry " + render(v) +
				", which only its publisher's configuration tells,")
		} else {
			out[k] = v
		}
	default: // also public: unstable, cargo leaves it out where it is not enabled
		r.unknown(out, k, v)
	}
}

// stripFeatures gives features leeway: newer versions of cargo strip from them what speaks of
// dependencies that they left out.
func (r *reader) stripFeatures(got *reader) {
	features, _ := r.model["features"].(table)
	for name := range features {
		list := r.strings(features, "features", name)
		var kept []any
		for _, e := range list {
			s, _ := e.(string)
			if dep, about := featureDependency(s); !about || got.depNames[dep] || !r.depNames[dep] {
				kept = append(kept, e)
			}
		}
		if len(kept) < len(list) {
			features[name] = either{list, kept}
		}
	}
}

// featureDependency returns the dependency that a feature's entry names: dep:NAME, NAME/FEATURE
// or NAME?/FEATURE.
func featureDependency(entry string) (name string, ok bool) {
	if dep, ok := strings.CutPrefix(entry, "dep:"); ok {
		return dep, true
	}
	dep, _, ok := strings.Cut(entry, "/")
	return strings.TrimSuffix(dep, "?"), ok
}
