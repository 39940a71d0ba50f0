package manifest

import "fmt"

// lints models [lints]: LINT = LEVEL is LINT = { level = LEVEL, priority = 0 }.
func (r *reader) lints() table {
	t := r.section(r.doc, "lints")
	if r.orig && isInherited(t) {
		if t = r.section(r.ws, "lints"); t == nil {
			r.fail("lints", "is inherited, but the workspace has no workspace.lints to inherit")
		}
	}
	out := table{}
	for tool, v := range t {
		lints, ok := v.(table)
		if !ok {
			out[tool] = v
			continue
		}
		levels := table{}
		for lint, v := range lints {
			levels[lint] = r.lintLevel(v)
		}
		out[tool] = levels
	}
	return out
}

func (r *reader) lintLevel(v any) any {
	out := table{"priority": int64(0)}
	t, ok := v.(table)
	if !ok {
		out["level"] = v
	}
	for k, e := range t {
		switch k {
		case "level", "priority":
			out[k] = e
		default: // a lint's own settings, such as check-cfg: since 1.80
			r.unknown(out, k, e)
		}
	}
	return out
}

// profiles models [profile]. Cargo obeys it only where the package is itself what is built.
func (r *reader) profiles() table {
	out := table{}
	for name, v := range r.section(r.doc, "profile") {
		out[name] = r.profile(v)
	}
	return out
}

// profile models one profile, or what it says of single packages or of build scripts.
func (r *reader) profile(v any) any {
	t, ok := v.(table)
	if !ok {
		return v
	}
	out := table{}
	for k, v := range t {
		switch k {
		case "debug":
			out[k] = debugLevel(v)
		case "opt-level": // 3 or "3"
			out[k] = fmt.Sprint(v)
		case "build-override":
			out[k] = r.profile(v)
		case "package":
			out[k] = v
			if specs, ok := v.(table); ok {
				packages := table{}
				for spec, p := range specs {
					packages[spec] = r.profile(p)
				}
				out[k] = packages
			}
		case "lto", "codegen-backend", "codegen-units", "split-debuginfo", "debug-assertions", "rpath", "panic",
			"overflow-checks", "incremental", "dir-name", "inherits", "strip", "rustflags", "trim-paths", "hint-mostly-unused":
			out[k] = v
		default:
			r.unknown(out, k, v)
		}
	}
	return out
}

// debugLevel returns the one form of a profile's debug that cargo writes today.
func debugLevel(v any) any {
	switch v {
	case true, "full":
		return int64(2)
	case "limited":
		return int64(1)
	case false, "none":
		return int64(0)
	}
	return v
}
