package manifest

import (
	"path"
	"slices"
	"strings"
)

// readPackage models [package].
func (r *reader) readPackage(pkg table) {
	out := table{"edition": "2015", "build": r.buildScripts(pkg)}
	for k, v := range pkg {
		if r.orig {
			if v = r.inherit("package", k, v); v == nil {
				continue
			}
		}
		switch k {
		case "name", "links", "default-run", "edition", "default-target", "forced-target", "metabuild", "im-a-teapot",
			// rustc sees most of these in its environment
			"authors", "description", "homepage", "repository", "license", "documentation", "keywords", "categories",
			// these concern publishing
			"exclude", "include", "publish":
			out[k] = v
		case "metadata": // build scripts and documentation builders read it
			out[k] = sealed(v)
		case "version": // cargo trims and reprints it
			out[k] = strings.TrimSpace(r.str(table{k: v}, "package", k))
		case "build", "autolib", "autobins", "autoexamples", "autotests", "autobenches", "readme", "license-file":
			// build and auto… have their effect on the targets, the others follow below
		case "resolver":
			r.resolver = v
		case "workspace":
			r.unlessOrig(out, k, v)
		default: // also rust-version, which cargo knows since 1.56
			r.unknown(out, k, v)
		}
	}
	r.readme(pkg, out)
	r.licenseFile(pkg, out)
	r.edition, _ = out["edition"].(string)
	r.model["package"] = out
}

// buildScripts lists the build scripts. Those that are not in the .crate cargo leaves out, or
// would fail on.
func (r *reader) buildScripts(pkg table) any {
	switch v := pkg["build"].(type) {
	case nil:
		if r.files.has("build.rs") {
			return r.packaged(false, "build.rs")
		}
		return r.packaged(false)
	case bool:
		if v {
			return r.packaged(true, "build.rs")
		}
	case string:
		return r.packaged(true, r.named(pkg, "package", "build"))
	case []any:
		// SPEC: cargo, unstable features: build takes a list only with multiple-build-scripts.
		if !slices.Contains(r.strings(r.doc, "", "cargo-features"), any("multiple-build-scripts")) {
			r.fail("package.build", "is a list, which cargo refuses without cargo-features = [\"multiple-build-scripts\"]")
		}
		var paths []string
		for _, s := range r.strings(pkg, "package", "build") {
			p, _ := s.(string)
			paths = append(paths, p)
		}
		return r.packaged(true, paths...)
	default:
		r.fail("package.build", "is neither a path, nor a list of paths, nor true or false")
	}
	return r.packaged(false)
}

// packaged models the build scripts at some paths, which the manifest names, or cargo has found.
func (r *reader) packaged(named bool, paths ...string) any {
	var all, there, raw []any
	for _, p := range paths {
		clean := cleanPath(p)
		all, raw = append(all, clean), append(raw, path.Clean(p))
		switch {
		case r.files.all[clean] || leaves(clean):
			there = append(there, clean)
		case named:
			r.leftOut = append(r.leftOut, p)
		}
	}
	if !r.orig {
		return raw
	}
	return either{there, all, raw}
}

// settleResolver models the version of the resolver, which only matters where the package is
// itself what is built (cargo install). A manifest that names none has its edition's; cargo
// writes the workspace's into Cargo.toml if it is another. It returns false if what the manifest
// under test says could only come from a workspace that is not known.
func (r *reader) settleResolver(got *reader) bool {
	own, has := r.effectiveResolver(), got.effectiveResolver()
	pkg, _ := r.model["package"].(table)
	gotPkg, _ := got.model["package"].(table)
	gotPkg["resolver"] = has
	switch {
	case r.ws != nil: // its own, if an old cargo packaged it
		pkg["resolver"] = either{r.wsResolver, own}
	case render(own) != render(has) && (has == "1" || has == "2" || has == "3"):
		pkg["resolver"] = has
		return false
	default:
		pkg["resolver"] = own
	}
	return true
}

func (r *reader) effectiveResolver() any {
	if r.resolver != nil {
		return r.resolver
	}
	return editionResolver(r.edition)
}

func editionResolver(edition string) string {
	switch edition {
	case "2015", "2018":
		return "1"
	case "2021":
		return "2"
	}
	return "3"
}

// defaultReadmes are the files that cargo takes for a readme where the manifest names none.
var defaultReadmes = []string{"README.md", "README.txt", "README"}

// readme models package.readme, which rustc sees in its environment: cargo fills in the file it
// finds, and takes a file from outside the package along under its bare name.
func (r *reader) readme(pkg, out table) {
	v, ok := pkg["readme"]
	if !r.orig {
		if ok {
			out["readme"] = v
		}
		return
	}
	if isInherited(v) {
		v, ok = r.section(r.ws, "package")["readme"]
		if !ok {
			v = nil
		}
	}
	switch v := v.(type) {
	case nil, bool:
		if v == true {
			out["readme"] = either{"README.md", true}
			return
		}
		options := either{false}
		if v == nil {
			for _, name := range defaultReadmes {
				options = append(options, name)
			}
		}
		out["readme"] = may{options}
	case string:
		out["readme"] = rebased(v, isInherited(pkg["readme"]))
	default:
		r.fail("package.readme", "is neither a path nor true or false")
	}
}

// licenseFile models package.license-file, which moves as the readme does.
func (r *reader) licenseFile(pkg, out table) {
	v, ok := pkg["license-file"]
	switch {
	case !ok:
	case !r.orig:
		out["license-file"] = v
	default:
		if isInherited(v) {
			v = r.section(r.ws, "package")["license-file"]
		}
		s, ok := v.(string)
		if !ok {
			r.fail("package.license-file", "is not a path")
		}
		out["license-file"] = rebased(s, isInherited(pkg["license-file"]))
	}
}

// rebased returns what cargo may make of a path of a file that it packages: the path as it
// stands (old versions), normalized, or the bare name of a file from outside the package, which
// one inherited from the workspace's root may be.
func rebased(p string, inherited bool) either {
	clean := cleanPath(p)
	options := either{p, clean}
	if inherited || leaves(clean) {
		options = append(options, path.Base(clean))
	}
	return options
}
