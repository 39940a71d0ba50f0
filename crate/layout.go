package crate

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/internal/toml"
)

// maxHops is how many links one path may lead through, as in Linux.
const maxHops = 40

// A PlaceError says why a file of the crate has no place in the repository under a
// claim, or why the claim says more than is needed.
type PlaceError struct{ Path, Why string }

func (e *PlaceError) Error() string { return fmt.Sprintf("%q %s", e.Path, e.Why) }

// A Repository is what a Layout looks at: a commit, or the claim about one.
type Repository interface {
	// Link returns the text of the symbolic link at a path, which has no link on its
	// way; ok is false if none stands there.
	Link(path string) (text string, ok bool, err error)
	// Submodule says whether a submodule stands at such a path.
	Submodule(path string) bool
}

// A Layout decides where the files of a crate stand in a repository. A checker gives it
// the claim as the repository, and a prover the commit.
type Layout struct {
	crate *Crate
	claim *entry.Source
	repo  Repository

	workspace *entry.Workspace // of the claim, as it was when
	shared    map[string]any   // its [workspace.package] was parsed
}

// Layout returns the layout under a claim, of which it reads as it goes all but Commit,
// Files, Links and Submodules.
func (c *Crate) Layout(claim *entry.Source, repo Repository) *Layout {
	return &Layout{crate: c, claim: claim, repo: repo}
}

// A Place is where a file stands in the repository.
type Place struct {
	File  File         // of the crate
	Name  string       // of the file in the commit: its path, but Cargo.toml for Cargo.toml.orig
	Path  string       // where the package has it, before links are followed
	At    string       // where Path leads to; after an error of Link, as far as it is known
	Links []entry.Link // on the way
}

// Files yields the files that must stand in the repository, each with its place or the
// reason why it has none: a *PlaceError, or an error of Link.
func (l *Layout) Files() iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		for name, f := range l.crate.standing(l.claim) {
			p := Place{File: f, Name: name, Path: join(l.claim.Path, name)}
			var err error
			if slices.Contains(l.claim.Outside, name) {
				p.Path, err = l.outside(name)
			}
			if err == nil {
				err = l.follow(&p)
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// standing yields the files that must stand in the repository, by their names there.
func (c *Crate) standing(claim *entry.Source) iter.Seq2[string, File] {
	_, hasOrig := c.lookup(origFile)
	return func(yield func(string, File) bool) {
		for _, f := range c.Files {
			name := f.Path
			switch {
			case name == vcsFile, slices.Contains(claim.Unproven, name):
				continue
			case name == manifestFile && hasOrig:
				continue // derived: checkManifest
			case name == origFile:
				name = manifestFile
			}
			if !yield(name, f) {
				return
			}
		}
	}
}

// Outside returns the place that a file has if it comes from outside of the package, or
// why it has none; ok is false if the manifest does not let it come from there.
func (l *Layout) Outside(p Place) (there Place, ok bool, err error) {
	to, err := l.outside(p.Name)
	if err != nil {
		return p, false, nil
	}
	there = Place{File: p.File, Name: p.Name, Path: to}
	return there, true, l.follow(&there)
}

// Root finds the root of the package's workspace as cargo does; nil if there is none.
// read returns the content of the regular file at a place, nil if none
// stands there; err says why there is no such place.
func (l *Layout) Root(read func(p Place, err error) ([]byte, error)) (*entry.Workspace, error) {
	dirs, err := l.crate.roots(l.claim.Path)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		p := Place{Path: join(dir, manifestFile)}
		content, err := read(p, l.follow(&p))
		if err != nil {
			return nil, err
		}
		if l.crate.isRootOf(dir, content, l.claim.Path) {
			return &entry.Workspace{Path: dir, Manifest: content}, nil
		}
	}
	return nil, nil
}

// roots returns the directories that may be the root of the workspace of a package at a
// path: the one that its manifest names, or else those above it, the nearest first. One that is
// named outside of the repository is a *PlaceError.
func (c *Crate) roots(pkg string) (dirs []string, err error) {
	if named, _ := c.author()["workspace"].(string); named != "" {
		dir := path.Join(pkg, named)
		if path.IsAbs(named) || dir == ".." || strings.HasPrefix(dir, "../") {
			return nil, &PlaceError{named, "is where package.workspace of Cargo.toml.orig looks for the workspace's root, " +
				"which is not in the repository"}
		}
		if dir == "." {
			dir = ""
		}
		return []string{dir}, nil
	}
	for pkg != "" {
		pkg = pkg[:max(0, strings.LastIndexByte(pkg, '/'))]
		dirs = append(dirs, pkg)
	}
	return dirs, nil
}

// follow finds where a place's path leads to. The path may contain ".." and "."; it may
// not leave the repository.
func (l *Layout) follow(p *Place) error {
	rest := strings.Split(p.Path, "/")
	var at []string
	walked, plain := 0, true // at is the start of Path, so far
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			plain = false
			continue
		case "..":
			plain = false
			if len(at) == 0 {
				return &PlaceError{p.Path, "leads out of the repository"}
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, name)
		walked += len(name) + 1
		link := p.Path[:min(walked-1, len(p.Path))]
		if !plain {
			link = strings.Join(at, "/")
		}
		text, ok, err := l.repo.Link(link)
		if err != nil {
			p.At = path.Join(link, strings.Join(rest, "/"))
			return err
		}
		if !ok {
			continue
		}
		if len(p.Links) == maxHops {
			return &PlaceError{p.Path, fmt.Sprintf("leads through more than %d symbolic links", maxHops)}
		}
		if strings.HasPrefix(text, "/") {
			return &PlaceError{p.Path, fmt.Sprintf("leads through a symbolic link to the absolute path %q", text)}
		}
		p.Links = append(p.Links, entry.Link{Path: link, Target: text})
		at, plain = at[:len(at)-1], false
		rest = append(strings.Split(text, "/"), rest...)
	}
	if len(at) == 0 {
		return &PlaceError{p.Path, "leads to the root of the repository"}
	}
	if p.At = p.Path; !plain {
		p.At = strings.Join(at, "/")
	}
	return nil
}

// InheritsFiles says whether readme or license-file of Cargo.toml.orig come from the
// workspace's manifest.
func (l *Layout) InheritsFiles() bool {
	pkg := l.crate.author()
	return inherited(pkg["readme"]) || inherited(pkg["license-file"])
}

// outside returns where a file from outside of the package stands in the repository,
// before links are followed: where the manifest points, at a file of this name.
func (l *Layout) outside(file string) (string, error) {
	switch file {
	case manifestFile, origFile, lockFile, vcsFile:
		return "", &PlaceError{file, "is said to be from outside of the package, but cargo never takes it from there"}
	}
	pkg := l.crate.author()
	var found []string
	for _, key := range []string{"readme", "license-file"} {
		to, ok := l.pointed(key, pkg[key], file)
		if ok && !slices.Contains(found, to) {
			found = append(found, to)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", &PlaceError{file, "is said to be from outside of the package, but neither readme nor license-file " +
			"of Cargo.toml.orig, or of the workspace's manifest where it inherits them, points there"}
	}
	return "", &PlaceError{file, "is said to be from outside of the package, but readme and license-file " +
		"of Cargo.toml.orig point at different files of that name"}
}

// pointed returns where a value of readme or license-file points, if that is outside of
// the package and has the name of the file: cargo packages it under its bare name.
func (l *Layout) pointed(key string, value any, file string) (string, bool) {
	src := l.claim
	if inherited(value) {
		return l.pointedFromRoot(key, file)
	}
	v, ok := value.(string)
	clean := path.Clean(v)
	return join(src.Path, v), ok && path.Base(clean) == file && strings.HasPrefix(clean, "../")
}

// pointedFromRoot does so for an inherited value, which is seen from the workspace's
// root. It may point into the package as well; then the file is not from outside.
func (l *Layout) pointedFromRoot(key, file string) (string, bool) {
	src, w := l.claim, l.claim.Workspace
	if w == nil || src.Path == "" {
		return "", false
	}
	if l.workspace != w {
		l.workspace = w
		l.shared, _ = tableOf(w.Manifest, "workspace")["package"].(map[string]any)
	}
	value := l.shared[key]
	if key == "readme" {
		// As cargo does where the root's manifest names none, or only says that there is one.
		isDefault := file == "README.md" || value == nil && (file == "README.txt" || file == "README")
		if (value == nil || value == true) && isDefault {
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

// tableOf returns a table of a manifest; nil if it has none, or is not TOML.
func tableOf(content []byte, name string) map[string]any {
	doc, _ := toml.ParseKeys(content, manifest.MaxKeys)
	t, _ := doc[name].(map[string]any)
	return t
}
