package manifest

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A targetKind is one of the lists of targets.
type targetKind struct {
	section string
	auto    string // the key of [package] that turns the search for targets off
	dir     string // where they are searched
}

var targetKinds = []targetKind{
	{"bin", "autobins", "src/bin"},
	{"example", "autoexamples", "examples"},
	{"test", "autotests", "tests"},
	{"bench", "autobenches", "benches"},
}

// readTargets models the library and the lists of other targets, by name.
func (r *reader) readTargets(pkg table) {
	name := strings.TrimSpace(r.str(pkg, "package", "name"))
	lib := r.library(pkg, name)
	if lib != nil {
		r.model["lib"] = lib
	}
	for _, kind := range targetKinds {
		models := table{}
		for _, l := range r.list(kind, pkg, name) {
			model, n, p := r.target(kind, l.table, lib != nil)
			if l.optional {
				model = may{model}
			}
			if _, twice := models[n]; twice { // cargo refuses it, but has not always
				n += " at " + p
			}
			models[n] = model
		}
		r.model[kind.section] = models
	}
}

// library models [lib], or the library that cargo finds by its file; nil if there is none.
func (r *reader) library(pkg table, pkgName string) any {
	const found = "src/lib.rs"
	t, named := r.section(r.doc, "lib"), true
	if t == nil {
		if !r.boolean(pkg, "package", "autolib", true) || !r.files.has(found) {
			return nil
		}
		t, named = table{}, false
	}
	name := r.named(t, "lib", "name")
	if name == "" {
		name = strings.ReplaceAll(pkgName, "-", "_")
	}
	p := r.named(t, "lib", "path")
	legacy := "src/" + name + ".rs"
	switch {
	case p != "":
	case r.files.has(found):
		p = found
	case r.edition == "2015" && r.files.has(legacy):
		p = legacy
		r.blame("lib", p, found)
	}
	out := r.targetModel("lib", t, p)
	out["name"] = name
	key := r.spelled(t, "lib", "crate-type")
	types := r.strings(t, "lib", key)
	macro := r.boolean(t, "lib", r.spelled(t, "lib", "proc-macro"), slices.Contains(types, any("proc-macro")))
	if _, ok := t[key]; !ok {
		types = []any{"lib"}
		if macro {
			types = []any{"proc-macro"}
		}
	}
	out["crate-type"], out["proc-macro"] = types, macro
	if named {
		r.wants("lib", name, p, found)
	}
	return r.unlessMissing(out, p)
}

// blame notes a path of the 2015 edition that cargo takes only where a likelier file is missing.
func (r *reader) blame(key, p, likelier string) {
	if r.orig && r.legacy == nil {
		r.legacy = &SyntaxError{File: r.file, Key: key, Why: fmt.Sprintf("has no path: cargo takes %s only where %s is "+
			"missing, and nothing shows that it was not left out of the package; write the path, and package again", p, likelier)}
	}
}

// wants notes a target whose file is not in the package: at path p, "" if it has none, and then
// likely where cargo looks first.
func (r *reader) wants(section, name, p, likely string) {
	p = cmp.Or(p, likely)
	switch clean := cleanPath(p); {
	case !r.orig:
	case !r.files.all[clean], strings.Contains(p, `\`) && r.lacks(section, name):
		r.leftOut = append(r.leftOut, p)
	}
}

// lacks reports whether Cargo.toml has no such target.
func (r *reader) lacks(section, name string) bool {
	if section == "lib" {
		return r.found["lib"] == nil
	}
	list, _ := r.found[section].([]any)
	return !slices.ContainsFunc(list, func(e any) bool { t, _ := e.(table); return t["name"] == name })
}

// A listed target is one as the manifest lists it, or as if it did.
type listed struct {
	table
	optional bool // on some system it is another one, that the manifest lists by a path with backslashes
}

// list returns the targets of one kind: those the manifest lists, and those that cargo finds. The
// 2015 edition finds none where the manifest lists any.
func (r *reader) list(kind targetKind, pkg table, pkgName string) []listed {
	v, some := r.doc[kind.section]
	search := r.boolean(pkg, "package", kind.auto, !some || r.edition != "2015")
	entries, ok := v.([]any)
	if some && !ok {
		r.fail(kind.section, "is not a list of tables")
	}
	var out []listed
	names, paths, windows := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		t, ok := e.(table)
		if !ok {
			r.fail(kind.section, "is not a list of tables")
			continue
		}
		out = append(out, listed{t, false})
		names[r.str(t, kind.section, "name")] = true
		if p := r.str(t, kind.section, "path"); p != "" {
			paths[path.Clean(p)] = true
			windows[cleanPath(p)] = r.orig
		}
	}
	found := r.find(kind, pkgName)
	if search {
		for _, f := range found {
			if !names[f.name] && !paths[f.path] {
				out = append(out, listed{table{"name": f.name, "path": f.path}, windows[f.path]})
			}
		}
	}
	byName := map[string][]string{}
	for _, f := range found {
		byName[f.name] = append(byName[f.name], f.path)
	}
	if r.targets == nil {
		r.targets = map[string]map[string][]string{}
	}
	r.targets[kind.section] = byName
	return out
}

// A found target is one that cargo finds by its file.
type foundTarget struct{ name, path string }

// find returns the targets of one kind among the .crate's files: DIR/NAME.rs and
// DIR/NAME/main.rs, and the binary named like the package at src/main.rs.
func (r *reader) find(kind targetKind, pkgName string) []foundTarget {
	var out []foundTarget
	if kind.section == "bin" && r.files.has("src/main.rs") {
		out = append(out, foundTarget{pkgName, "src/main.rs"})
	}
	for _, f := range r.files.below[kind.dir] {
		dir, base := path.Split(f)
		name := strings.TrimSuffix(dir, "/")
		if dir == "" {
			name = strings.TrimSuffix(base, ".rs")
		}
		switch {
		case strings.HasPrefix(f, "."), strings.Contains(name, "/"):
		case dir == "" && name == base, dir != "" && base != "main.rs":
		default:
			out = append(out, foundTarget{name, kind.dir + "/" + f})
		}
	}
	return out
}

// target models a target that is not the library, and returns its name and path.
func (r *reader) target(kind targetKind, t table, hasLib bool) (model any, name, p string) {
	name = r.str(t, kind.section, "name")
	if name == "" {
		r.fail(kind.section, "has a target without a name")
	}
	key := join(kind.section, name)
	likely := kind.dir + "/" + name + ".rs"
	if p = r.named(t, key, "path"); p == "" {
		p = r.inferPath(kind, name, likely, hasLib)
	}
	out := r.targetModel(key, t, p)
	types := r.spelled(t, key, "crate-type")
	if _, ok := t[types]; ok {
		out["crate-type"] = r.strings(t, key, types)
	}
	out["proc-macro"] = r.boolean(t, key, r.spelled(t, key, "proc-macro"), false)
	r.wants(kind.section, name, p, likely)
	return r.unlessMissing(out, p), name, p
}

// inferPath returns the path of a target that the manifest names without a path, "" if cargo
// finds no single file for it.
func (r *reader) inferPath(kind targetKind, name, likely string, hasLib bool) string {
	if matching := r.targets[kind.section][name]; len(matching) == 1 {
		return matching[0]
	}
	if r.edition != "2015" {
		return ""
	}
	var legacy []string
	switch {
	case kind.section == "bin" && !hasLib:
		legacy = []string{"src/" + name + ".rs", "src/main.rs", "src/bin/main.rs"}
	case kind.section == "bin":
		legacy = []string{"src/main.rs", "src/bin/main.rs"}
	case kind.section == "bench" && name == "bench":
		legacy = []string{"src/bench.rs"}
	}
	for _, p := range legacy {
		if r.files.has(p) {
			r.blame(join(kind.section, name), p, likely)
			return p
		}
	}
	return ""
}

// targetModel models the keys that all targets share.
func (r *reader) targetModel(key string, t table, p string) table {
	out := table{"harness": r.boolean(t, key, "harness", true)}
	switch {
	case p == "":
	case r.orig:
		out["path"] = anySystem(p)
	default:
		out["path"] = path.Clean(p)
	}
	for k, v := range t {
		switch k {
		case "name", "path", "harness", "crate-type", "crate_type", "proc-macro", "proc_macro":
		case "required-features":
			if list := r.strings(t, key, k); len(list) > 0 {
				out[k] = list
			}
		case "test", "doctest", "bench", "doc", "doc-scrape-examples", "edition", "filename":
			out[k] = v
		default:
			r.unknown(out, k, v)
		}
	}
	return out
}

// unlessMissing lets cargo leave out a target of the author's whose file it did not package, as it
// lies outside of the package or was excluded, or whose path has backslashes, which name no file but
// on Windows.
func (r *reader) unlessMissing(model table, p string) any {
	clean := cleanPath(p)
	if r.orig && (leaves(clean) || !r.files.all[clean] || strings.Contains(p, `\`)) {
		return may{model}
	}
	return model
}
