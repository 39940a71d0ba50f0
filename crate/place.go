package crate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"cratelog/entry"
)

// maxHops is how many links one path may lead through, as in Linux.
const maxHops = 40

// maxSteps is how many components the paths of one claim may have in all, counted
// again behind every link. The largest crates that Read accepts need half of it; a
// hostile claim could otherwise send each of many files through many long links.
const maxSteps = 1 << 19

// A PlaceError says why a file of the crate has no place in the repository under a
// claim, or why the claim says more than is needed.
type PlaceError struct{ Path, Why string }

func (e *PlaceError) Error() string { return fmt.Sprintf("%q %s", e.Path, e.Why) }

// A Resolver follows paths of a repository through its symbolic links.
type Resolver struct {
	// Link returns the text of the symbolic link at a path, or ok false if none
	// stands there. The path has no link in it.
	Link func(path string) (target string, ok bool, err error)
}

// Resolve returns the path without links that a path leads to. A path may contain
// ".." and "."; it may not leave the repository.
func (r Resolver) Resolve(p string) (string, error) {
	rest := strings.Split(p, "/")
	var at []string
	for hops := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "", &PlaceError{p, "leads out of the repository"}
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, name)
		target, ok, err := r.Link(strings.Join(at, "/"))
		if err != nil {
			return "", err
		}
		if !ok {
			continue
		}
		if hops++; hops > maxHops {
			return "", &PlaceError{p, fmt.Sprintf("leads through more than %d symbolic links", maxHops)}
		}
		if strings.HasPrefix(target, "/") {
			return "", &PlaceError{p, fmt.Sprintf("leads through a symbolic link to the absolute path %q", target)}
		}
		at = at[:len(at)-1]
		rest = append(strings.Split(target, "/"), rest...)
	}
	if len(at) == 0 {
		return "", &PlaceError{p, "leads to the root of the repository"}
	}
	return strings.Join(at, "/"), nil
}

// Place returns where a proven file of the crate stands in the repository, before
// links are followed: below the package's path, or for a file that the claim lists
// as from outside, where the manifest points.
func (c *Crate) Place(src *entry.Source, file string) (string, error) {
	if !slices.Contains(src.Outside, file) {
		return join(src.Path, file), nil
	}
	return c.outside(src, file)
}

// MayBeOutside says whether the manifest lets a file come from outside of the
// package: whether its readme or license-file points there, at a file of this name.
// If it inherits them, src must carry the workspace's manifest.
func (c *Crate) MayBeOutside(src *entry.Source, file string) bool {
	_, err := c.outside(src, file)
	return err == nil
}

// InheritsFiles says whether readme or license-file of Cargo.toml.orig come from the
// workspace's manifest.
func (c *Crate) InheritsFiles() bool {
	pkg := tableOf(c.orig, "package")
	return inherited(pkg["readme"]) || inherited(pkg["license-file"])
}

// outside returns where a file from outside of the package stands in the repository,
// before links are followed.
func (c *Crate) outside(src *entry.Source, file string) (string, error) {
	switch file {
	case manifestFile, origFile, lockFile, vcsFile:
		return "", &PlaceError{file, "is said to be from outside of the package, but cargo never takes it from there"}
	}
	pkg := tableOf(c.orig, "package")
	var found []string
	for _, key := range []string{"readme", "license-file"} {
		to, ok := pointed(src, key, pkg[key], file)
		if ok && !slices.Contains(found, to) {
			found = append(found, to)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &PlaceError{file, "is said to be from outside of the package, but neither readme nor license-file of Cargo.toml.orig, or of the workspace's manifest where it inherits them, points there"}
	}
	return "", &PlaceError{file, "is said to be from outside of the package, but readme and license-file of Cargo.toml.orig point at different files of that name"}
}

// pointed returns where a value of readme or license-file points, if that is outside of
// the package and has the name of the file: cargo packages it under its bare name.
func pointed(src *entry.Source, key string, value any, file string) (string, bool) {
	if inherited(value) {
		return pointedFromRoot(src, key, file)
	}
	v, ok := value.(string)
	clean := path.Clean(v)
	return join(src.Path, v), ok && path.Base(clean) == file && strings.HasPrefix(clean, "../")
}

// pointedFromRoot does so for an inherited value, which is seen from the workspace's
// root. It may point into the package as well; then the file is none from outside.
func pointedFromRoot(src *entry.Source, key, file string) (string, bool) {
	w := src.Workspace
	if w == nil || src.Path == "" {
		return "", false
	}
	workspace, _ := tableOf(w.Manifest, "workspace")["package"].(map[string]any)
	value := workspace[key]
	if key == "readme" {
		// As cargo does where the root's manifest names none, or only says that there is one.
		if value == true && file == "README.md" || value == nil && file == "README.md" || value == nil && file == "README.txt" || value == nil && file == "README" {
			value = file
		}
	}
	v, ok := value.(string)
	if !ok || path.IsAbs(v) {
		return "", false
	}
	place := join(w.Path, v)
	clean := path.Clean(place)
	inside := clean == src.Path || strings.HasPrefix(clean, src.Path+"/")
	return place, path.Base(clean) == file && !inside
}

// inherited says whether a value is { workspace = true }.
func inherited(value any) bool {
	t, _ := value.(map[string]any)
	return t["workspace"] == true
}

// tableOf returns a table of a manifest; nil if there is none, or no TOML.
func tableOf(content []byte, name string) map[string]any {
	var doc map[string]any
	if err := toml.Unmarshal(content, &doc); err != nil {
		return nil
	}
	t, _ := doc[name].(map[string]any)
	return t
}

// placement puts the proven files of a crate into a tree, as a claim says.
type placement struct {
	src     *entry.Source
	links   map[string]string // by path
	used    map[string]bool   // links, submodules and outside files that are needed
	root    *node
	modules map[string]bool
}

// node is a listed entry, or the root.
type node struct {
	mode  string
	blob  [20]byte         // of files and links
	below map[string]*node // of directories and submodules
}

// place builds the tree of a claim.
func (c *Crate) place(src *entry.Source, files []File) (*node, error) {
	p := &placement{src: src, links: map[string]string{}, used: map[string]bool{},
		root: &node{mode: modeDir, below: map[string]*node{}}, modules: map[string]bool{}}
	for _, l := range src.Links {
		p.links[l.Path] = l.Target
	}
	for _, m := range src.Submodules {
		p.modules[m] = true
	}
	steps := 0
	r := Resolver{Link: func(path string) (string, bool, error) {
		if steps++; steps > maxSteps {
			return "", false, &PlaceError{path, fmt.Sprintf("is one step too many: the paths of a claim may have %d components in all, counted again behind every link", maxSteps)}
		}
		target, ok := p.links[path]
		if ok {
			p.used[path] = true
		}
		return target, ok, nil
	}}
	for _, f := range files {
		at, err := c.Place(src, f.Path)
		if err != nil {
			return nil, err
		}
		if slices.Contains(src.Outside, f.Path) {
			p.used["outside "+f.Path] = true
		}
		if at, err = r.Resolve(at); err != nil {
			return nil, err
		}
		n := &node{mode: modeFile, blob: f.Blob}
		if f.Exec {
			n.mode = modeExec
		}
		if err := p.add(at, n); err != nil {
			return nil, err
		}
	}
	if err := p.workspace(r); err != nil {
		return nil, err
	}
	for _, l := range src.Links {
		if !p.used[l.Path] {
			return nil, &PlaceError{l.Path, "is a link that no file of the crate needs"}
		}
		id, safe := blobID([]byte(l.Target))
		if !safe {
			return nil, &CollisionError{l.Path}
		}
		if err := p.add(l.Path, &node{mode: modeLink, blob: id}); err != nil {
			return nil, err
		}
	}
	return p.root, p.checkNeeded()
}

// workspace adds the manifest of the workspace's root.
func (p *placement) workspace(r Resolver) error {
	w := p.src.Workspace
	if w == nil {
		return nil
	}
	at, err := r.Resolve(join(w.Path, manifestFile))
	if err != nil {
		return err
	}
	id, safe := blobID(w.Manifest)
	if !safe {
		return &CollisionError{at}
	}
	return p.add(at, &node{mode: modeFile, blob: id})
}

// isRoot says whether a directory may be the root of the workspace of a package at a
// path: the one that the package's manifest names, or else one above it. That it is
// the nearest above with a [workspace] is not known without the repository.
func (c *Crate) isRoot(w *entry.Workspace, pkg string) bool {
	if named := c.WorkspacePath(); named != "" {
		return path.Join("/", pkg, named) == path.Join("/", w.Path)
	}
	return pkg != "" && (w.Path == "" || strings.HasPrefix(pkg, w.Path+"/"))
}

// checkNeeded refuses a claim that lists what no file needs.
func (p *placement) checkNeeded() error {
	for _, m := range p.src.Submodules {
		if !p.used[m] {
			return &PlaceError{m, "is a submodule that holds no file of the crate"}
		}
	}
	for _, f := range p.src.Outside {
		if !p.used["outside "+f] {
			return &PlaceError{f, "is said to be from outside of the package, but is not a proven file of the crate"}
		}
	}
	return nil
}

// add puts a node at a path without links, with the directories on its way. Two
// files of a crate may come from one place, if they are equal.
func (p *placement) add(at string, leaf *node) error {
	d, walked := p.root, ""
	names := strings.Split(at, "/")
	for _, name := range names[:len(names)-1] {
		walked = join(walked, name)
		next := d.below[name]
		if next == nil {
			next = &node{mode: modeDir, below: map[string]*node{}}
			if p.modules[walked] {
				next.mode = modeModule
				p.used[walked] = true
			}
			d.below[name] = next
		}
		if next.below == nil {
			return &PlaceError{walked, "would have to be a directory and a file at once"}
		}
		d = next
	}
	name := names[len(names)-1]
	switch old := d.below[name]; {
	case old == nil:
		d.below[name] = leaf
	case old.below != nil:
		return &PlaceError{at, "would have to be a directory and a file at once"}
	case old.mode != leaf.mode || old.blob != leaf.blob:
		return &PlaceError{at, "would have to be two different files: files of the crate that come from one place must be equal"}
	}
	return nil
}

// WorkspacePath returns package.workspace of Cargo.toml.orig: where its workspace's
// root is, seen from the package; "" if it does not say.
func (c *Crate) WorkspacePath() string {
	named, _ := tableOf(c.orig, "package")["workspace"].(string)
	return named
}

// IsWorkspace says whether a Cargo.toml has a [workspace].
func IsWorkspace(content []byte) bool { return tableOf(content, "workspace") != nil }
