package manifest

import (
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
		for _, t := range r.list(kind, pkg, name) {
			model, n, p := r.target(kind, t, name, lib != nil)
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
	t := r.section(r.doc, "lib")
	if t == nil {
		if !r.boolean(pkg, "package", "autolib", true) || !r.files.all[found] {
			return nil
		}
		t = table{}
	}
	name := r.str(t, "lib", "name")
	if name == "" {
		name = strings.ReplaceAll(pkgName, "-", "_")
	}
	p := r.str(t, "lib", "path")
	legacy := "src/" + name + ".rs"
	switch {
	case p != "":
	case r.files.all[found]:
		p = found
	case r.edition == "2015" && r.files.all[legacy]:
		p = legacy
	}
	out := r.targetModel("lib", t, p)
	out["name"] = name
	types := r.strings(t, "lib", r.spelled(t, "lib", "crate-type"))
	macro := r.boolean(t, "lib", r.spelled(t, "lib", "proc-macro"), slices.Contains(types, any("proc-macro")))
	if len(types) == 0 {
		types = []any{"lib"}
		if macro {
			types = []any{"proc-macro"}
		}
	}
	out["crate-type"], out["proc-macro"] = types, macro
	return r.unlessMissing(out, p)
}

// list returns the targets of one kind: those the manifest lists, and those that cargo finds. The
// 2015 edition finds none where the manifest lists any.
func (r *reader) list(kind targetKind, pkg table, pkgName string) []table {
	v, listed := r.doc[kind.section]
	search := r.boolean(pkg, "package", kind.auto, !listed || r.edition != "2015")
	entries, ok := v.([]any)
	if listed && !ok {
		r.fail(kind.section, "is not a list of tables")
	}
	var out []table
	names, paths := map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		t, ok := e.(table)
		if !ok {
			r.fail(kind.section, "is not a list of tables")
			continue
		}
		out = append(out, t)
		names[r.str(t, kind.section, "name")] = true
		if p := r.str(t, kind.section, "path"); p != "" {
			paths[cleanPath(p)] = true
		}
	}
	if search {
		for _, f := range r.find(kind, pkgName) {
			if !names[f.name] && !paths[f.path] {
				out = append(out, table{"name": f.name, "path": f.path})
			}
		}
	}
	return out
}

// A found target is one that cargo finds by its file.
type foundTarget struct{ name, path string }

// find returns the targets of one kind among the .crate's files: DIR/NAME.rs and
// DIR/NAME/main.rs, and the binary named like the package at src/main.rs.
func (r *reader) find(kind targetKind, pkgName string) []foundTarget {
	var out []foundTarget
	if kind.section == "bin" && r.files.all["src/main.rs"] {
		out = append(out, foundTarget{pkgName, "src/main.rs"})
	}
	for _, f := range r.files.below(kind.dir) {
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
func (r *reader) target(kind targetKind, t table, pkgName string, hasLib bool) (model any, name, p string) {
	name = r.str(t, kind.section, "name")
	if name == "" {
		r.fail(kind.section, "has a target without a name")
	}
	key := join(kind.section, name)
	if p = r.str(t, key, "path"); p == "" {
		p = r.inferPath(kind, name, pkgName, hasLib)
	}
	out := r.targetModel(key, t, p)
	if types := r.strings(t, key, r.spelled(t, key, "crate-type")); len(types) > 0 {
		out["crate-type"] = types
	}
	out["proc-macro"] = r.boolean(t, key, r.spelled(t, key, "proc-macro"), false)
	return r.unlessMissing(out, p), name, p
}

// inferPath returns the path of a target that the manifest names without a path, "" if cargo
// finds no single file for it.
func (r *reader) inferPath(kind targetKind, name, pkgName string, hasLib bool) string {
	var matching []string
	for _, f := range r.find(kind, pkgName) {
		if f.name == name {
			matching = append(matching, f.path)
		}
	}
	if len(matching) == 1 {
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
		if r.files.all[p] {
			return p
		}
	}
	return ""
}

// targetModel models the keys that all targets share.
func (r *reader) targetModel(key string, t table, p string) table {
	out := table{"harness": r.boolean(t, key, "harness", true)}
	if p != "" {
		out["path"] = cleanPath(p)
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

// unlessMissing lets cargo leave out a target of the author's whose file it did not package.
func (r *reader) unlessMissing(model table, p string) any {
	p = cleanPath(p)
	if r.orig && !r.files.all[p] && !leaves(p) {
		return may{model}
	}
	return model
}
