package manifest

import (
	"maps"
	"path"
	"strings"
)

// A reader turns one manifest into the model of what it tells a build.
type reader struct {
	file  string
	doc   table
	files *fileSet
	orig  bool  // the author's manifest: what cargo removes is left out of the model, leeway is put in
	ws    table // the [workspace] that governs the package, nil if not known or not orig
	model table
	err   error // the first error, sticky

	edition    string
	depNames   map[string]bool // names of the dependencies of every kind
	resolver   any             // package.resolver, nil if not set
	wsResolver string          // what ws makes of it, "" without ws

	targets   map[string]map[string][]string // by kind and name: the files that cargo finds
	inherited int                            // keys and features copied from ws

	leftOut []string     // files that the author names, and that are not there
	found   table        // the other manifest, for LeftOut
	legacy  *SyntaxError // a target that cargo finds where a likelier file is missing
}

// author reads what a manifest that is taken as the author's says of files, and nothing else.
func (r *reader) author() {
	pkg := r.packageTable()
	r.model = table{}
	r.edition = "2015"
	if v, ok := pkg["edition"]; ok {
		r.edition, _ = v.(string)
	}
	r.readTargets(pkg)
	r.buildScripts(pkg)
	for _, key := range []string{"readme", "license-file"} {
		if p, ok := pkg[key].(string); ok && !r.files.all[cleanPath(p)] && !r.files.all[path.Base(cleanPath(p))] {
			r.leftOut = append(r.leftOut, p)
		}
	}
}

// moved returns an error if a file that was left out may have moved a target.
func (r *reader) moved() error {
	if r.legacy == nil {
		return nil
	}
	return r.legacy
}

// readOrig reads the author's manifest, and the root's as far as it is needed.
func readOrig(doc table, files *fileSet, root []byte) (*reader, error) {
	r := &reader{file: origFile, doc: doc, files: files, orig: true}
	_, own := doc["workspace"]
	if !own && root != nil {
		rootDoc, err := parse(rootFile, root)
		if err != nil {
			return nil, err
		}
		if err := r.useRoot(rootFile, rootDoc); err != nil {
			return nil, err
		}
	} else if own {
		if err := r.useRoot(origFile, doc); err != nil {
			return nil, err
		}
	}
	if r.ws == nil && inherits(doc) {
		return nil, ErrNeedsWorkspace
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	return r, r.moved()
}

// useRoot takes the [workspace] of its root's manifest.
func (r *reader) useRoot(file string, doc table) error {
	ws, ok := doc["workspace"].(table)
	if !ok {
		return &SyntaxError{File: file, Why: "has no [workspace] table: it is not the root of one"}
	}
	for _, key := range []string{"package", "dependencies", "lints"} {
		if v, ok := ws[key]; ok {
			if _, ok := v.(table); !ok {
				return &SyntaxError{File: file, Key: join("workspace", key), Why: "is not a table"}
			}
		}
	}
	root := &reader{file: file, ws: ws}
	r.ws, r.wsResolver = ws, root.workspaceResolver(doc)
	return root.err
}

// read fills the model.
func (r *reader) read() error {
	r.model = table{}
	r.depNames = map[string]bool{}
	pkg := r.packageTable()
	if pkg == nil {
		r.fail("", "has no [package]")
		return r.err
	}
	r.readPackage(pkg)
	r.readTargets(pkg)
	r.readDependencies("", r.doc, r.model)
	r.readPlatforms()
	r.model["features"] = maps.Clone(r.section(r.doc, "features"))
	if lints := r.lints(); len(lints) > 0 {
		r.model["lints"] = lints
		if r.orig { // cargo before 1.74 did not know them; no dependent sees them
			r.model["lints"] = may{lints}
		}
	}
	r.model["profile"] = r.profiles()
	r.readRest()
	prune(r.model)
	return r.err
}

// readRest passes on what has no meaning of its own here, and holds what cargo removes against
// the manifest under test.
func (r *reader) readRest() {
	for k, v := range r.doc {
		switch k {
		case "package", "project", "lib", "bin", "example", "test", "bench", "features", "lints", "profile", "target",
			"dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies":
			// read above
		case "cargo-features", "badges":
			r.model[k] = v
		case "workspace", "patch", "replace":
			// cargo removes them; they could mislead a build from a registry's package
			r.unlessOrig(r.model, k, sealed(v))
		default:
			r.unknown(r.model, k, v)
		}
	}
}

// unlessOrig puts a key that cargo removes when it packages into the model of the manifest under
// test, where nothing will match it.
func (r *reader) unlessOrig(out table, k string, v any) {
	if !r.orig {
		out[k] = v
	}
}

// unknown puts a key into the model that cargo is not known to read, and so leaves out. Some
// such keys (rust-version, hints) later versions of cargo know and keep: only those that change
// nothing of what is compiled.
func (r *reader) unknown(out table, k string, v any) {
	if r.orig {
		v = may{v}
	}
	out[k] = v
}

// packageTable returns [package], which was [project] once.
func (r *reader) packageTable() table {
	if _, both := r.doc["project"]; both {
		if _, both = r.doc["package"]; both {
			r.fail("project", "stands beside [package]: cargo's versions differ in which they obey")
		}
		return r.section(r.doc, "project")
	}
	return r.section(r.doc, "package")
}

// fail keeps the first error.
func (r *reader) fail(key, why string) {
	if r.err == nil {
		r.err = &SyntaxError{File: r.file, Key: key, Why: why}
	}
}

// value returns a value of t, or def if there is none; what says which it must be.
func value[T any](r *reader, t table, prefix, key, what string, def T) T {
	v, ok := t[key]
	if !ok {
		return def
	}
	found, ok := v.(T)
	if !ok {
		r.fail(join(prefix, key), "is not "+what)
	}
	return found
}

// section returns a table of t, nil if there is none.
func (r *reader) section(t table, key string) table {
	return value[table](r, t, "", key, "a table", nil)
}

// str returns a string of t, "" if there is none.
func (r *reader) str(t table, prefix, key string) string {
	return value(r, t, prefix, key, "a string", "")
}

// named returns a string of t that must not be empty if it is there, "" if it is not.
func (r *reader) named(t table, prefix, key string) string {
	s := r.str(t, prefix, key)
	if _, ok := t[key]; ok && s == "" {
		r.fail(join(prefix, key), "is empty")
	}
	return s
}

// boolean returns a boolean of t, or def if there is none.
func (r *reader) boolean(t table, prefix, key string, def bool) bool {
	return value(r, t, prefix, key, "true or false", def)
}

// strings returns a list of strings of t, nil if there is none.
func (r *reader) strings(t table, prefix, key string) []any {
	list := value[[]any](r, t, prefix, key, "a list of strings", nil)
	for _, e := range list {
		if _, ok := e.(string); !ok {
			r.fail(join(prefix, key), "is not a list of strings")
		}
	}
	return list
}

// spelled returns the spelling of a key that t holds, the one with hyphens first, which cargo
// prefers; a different value under the other is refused, because it can only be meant to mislead.
func (r *reader) spelled(t table, prefix, key string) string {
	old := strings.ReplaceAll(key, "-", "_")
	if old == key {
		return key
	}
	a, hyphen := t[key]
	b, underscore := t[old]
	if hyphen && underscore && render(a) != render(b) {
		r.fail(join(prefix, old), "contradicts "+quoteKey(key)+" beside it")
	}
	if underscore && !hyphen {
		return old
	}
	return key
}
