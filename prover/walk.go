package prover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/prover/git"
)

// walk follows a crate's paths through a commit: into directories, through symbolic
// links, and into submodules. It remembers the links and submodules that it met.
type walk struct {
	ctx     context.Context
	top     *git.Snapshot
	open    func(ctx context.Context, path string) (*git.Repo, error)
	links   map[string]string        // text of every link met, by path
	modules map[string]*git.Snapshot // every submodule met, by path
	repos   map[string]*git.Repo     // their repositories
	heads   map[string]*git.Snapshot // what they have checked out, once explain has asked

	met    map[string]bool // links that the current file leads through
	needed map[string]bool // links that files of the claim lead through
	places []string        // where files of the claim stand
}

// maxLinkText bounds the text of a symbolic link in bytes.
const maxLinkText = 1024

// noSubmodule says that the repository of a submodule is not at hand.
type noSubmodule struct{ path string }

func (e *noSubmodule) Error() string {
	return fmt.Sprintf("%s is a submodule, whose repository is not at hand; check it out (git submodule update --init) or name it", e.path)
}

// within returns the snapshot that has a path, and the path in it.
func (w *walk) within(path string) (*git.Snapshot, string) {
	m := w.moduleOf(path)
	if m == "" {
		return w.top, path
	}
	return w.modules[m], strings.TrimPrefix(strings.TrimPrefix(path, m), "/")
}

// moduleOf returns the innermost submodule met that has a path, "" if none has.
func (w *walk) moduleOf(path string) string {
	best := ""
	for m := range w.modules {
		if len(m) > len(best) && (path == m || strings.HasPrefix(path, m+"/")) {
			best = m
		}
	}
	return best
}

// entry returns the entry at a path without links on its way. Of a submodule
// itself it is the entry in the tree that holds it.
func (w *walk) entry(path string) (git.TreeEntry, error) {
	if w.modules[path] != nil {
		return git.TreeEntry{Mode: git.ModeSubmodule, Name: path}, nil
	}
	s, below := w.within(path)
	e, err := s.Entry(w.ctx, below)
	if err != nil || e.Mode != git.ModeSubmodule {
		return e, err
	}
	return e, w.enter(path, e.ID)
}

// enter opens the submodule at a path.
func (w *walk) enter(path string, commit [20]byte) error {
	if w.open == nil {
		return &noSubmodule{path}
	}
	repo, err := w.open(w.ctx, path)
	if err != nil {
		return err
	}
	if repo == nil {
		return &noSubmodule{path}
	}
	s, err := repo.At(w.ctx, commit)
	if err != nil {
		return fmt.Errorf("submodule %s: %w", path, err)
	}
	w.modules[path], w.repos[path] = s, repo
	return nil
}

// link is the Resolver's view of the commit: the text of the link at a path.
func (w *walk) link(path string) (string, bool, error) {
	if target, ok := w.links[path]; ok {
		w.met[path] = true
		return target, true, nil
	}
	e, err := w.entry(path)
	if err != nil || e.Mode != git.ModeSymlink {
		return "", false, err
	}
	s, _ := w.within(path)
	text, err := s.Blob(w.ctx, e.ID, maxLinkText)
	if err != nil {
		return "", false, fmt.Errorf("symbolic link %s: %w", path, err)
	}
	w.links[path], w.met[path] = string(text), true
	return string(text), true, nil
}

// compare looks every file of the crate up in the commit. It moves Cargo.lock to
// the unproven files if it must, finds files that come from outside of the package,
// and reports everything else that differs.
func (w *walk) compare(c *crate.Crate, claim *entry.Source) error {
	var differences []difference
	if c.InheritsFiles() {
		root, err := w.workspace(c, claim.Path)
		if err != nil {
			return err
		}
		claim.Workspace = root
	}
	hasOrig := slices.ContainsFunc(c.Files, func(f crate.File) bool { return f.Path == "Cargo.toml.orig" })
	for _, f := range c.Files {
		name := f.Path
		switch {
		case f.Path == ".cargo_vcs_info.json", f.Path == "Cargo.toml" && hasOrig:
			continue // derived
		case f.Path == "Cargo.toml.orig":
			name = "Cargo.toml"
		}
		d, err := w.differs(c, claim, name, f)
		if err != nil {
			return err
		}
		if d != nil && c.MayBeOutside(claim, name) {
			if d, err = w.differsOutside(c, claim, name, d); err != nil {
				return err
			}
		}
		switch {
		case d == nil:
		case f.Path == "Cargo.lock":
			claim.Unproven = append(claim.Unproven, f.Path)
		default:
			differences = append(differences, *d)
		}
	}
	sort.Strings(claim.Outside)
	sort.Strings(claim.Executable)
	if len(differences) == 0 {
		return nil
	}
	files, err := w.explain(c, claim, differences)
	if err != nil {
		return err
	}
	return &UnprovableError{Commit: claim.Commit, Files: files}
}

// differsOutside looks a file up where the manifest points outside of the package,
// and writes that into the claim if it is the same there. Else it returns what to
// say: cargo takes such a file from outside if the package has none of its name.
func (w *walk) differsOutside(c *crate.Crate, claim *entry.Source, name string, inside *difference) (*difference, error) {
	there := *claim
	there.Outside, there.Executable = append(slices.Clone(claim.Outside), name), slices.Clone(claim.Executable)
	d, err := w.differs(c, &there, name, inside.file)
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		claim.Outside, claim.Executable = there.Outside, there.Executable
		return nil, nil
	case inside.missing:
		return d, nil
	}
	return inside, nil
}

// differs says in what a file differs from what stands at its place in the commit;
// nil if it does not.
func (w *walk) differs(c *crate.Crate, claim *entry.Source, name string, f crate.File) (*difference, error) {
	place, err := c.Place(claim, name)
	if err != nil {
		return nil, err
	}
	w.met = map[string]bool{}
	at, err := crate.Resolver{Link: w.link}.Resolve(place)
	var e git.TreeEntry
	if err == nil {
		e, err = w.entry(at)
	}
	var notFound *git.NotFoundError
	var notDirectory *git.NotDirectoryError
	var lost *crate.PlaceError
	var module *noSubmodule
	switch {
	case errors.As(err, &notFound):
		return &difference{file: f, path: w.lead(place), missing: true, why: fmt.Sprintf("the commit has no %s", place)}, nil
	case errors.As(err, &notDirectory):
		return &difference{file: f, why: fmt.Sprintf("the commit has no %s: %s is %s there", place, notDirectory.Path, git.KindOf(notDirectory.Mode))}, nil
	case errors.As(err, &lost), errors.As(err, &module):
		return &difference{file: f, why: err.Error()}, nil
	case err != nil:
		return nil, err
	}
	if place = path.Clean(place); at != place {
		place += " (through a link: " + at + ")"
	}
	want := git.ModeFile
	if f.Exec {
		want = git.ModeExecutable
	}
	switch {
	case e.Mode == git.ModeDirectory || e.Mode == git.ModeSubmodule:
		return &difference{file: f, why: fmt.Sprintf("%s is %s in the commit", place, git.KindOf(e.Mode))}, nil
	case e.ID != f.Blob:
		return &difference{file: f, path: at, content: true, blob: e.ID,
			why: fmt.Sprintf("its content differs from the commit's %s (blob %x there, %x in the .crate)", place, e.ID[:6], f.Blob[:6])}, nil
	case e.Mode == git.ModeExecutable && want == git.ModeFile:
		// Packaged where files have no such bit. The claim says so.
		claim.Executable = append(claim.Executable, name)
	case e.Mode != want:
		return &difference{file: f, why: fmt.Sprintf("its mode is %s in the .crate and %s in the commit", want, e.Mode)}, nil
	}
	maps.Copy(w.needed, w.met)
	w.places = append(w.places, at)
	return nil, nil
}

// manifest checks that Cargo.toml is derived, and finds the workspace's manifest if
// it takes that.
func (w *walk) manifest(c *crate.Crate, claim *entry.Source, unproven bool) error {
	err, fix := c.Derive(nil), ""
	root := claim.Workspace
	claim.Workspace = nil
	if errors.Is(err, manifest.ErrNeedsWorkspace) {
		if root == nil {
			if root, err = w.workspace(c, claim.Path); err != nil {
				return err
			}
		}
		if root == nil {
			err = errors.New("it takes values from its workspace, but no directory above it has a Cargo.toml with [workspace]")
		} else if err = c.Derive(root.Manifest); err == nil {
			claim.Workspace = root
		}
		fix = fixWorkspace
	}
	if err == nil {
		return nil
	}
	if unproven {
		claim.Unproven = append(claim.Unproven, "Cargo.toml")
		sort.Strings(claim.Unproven)
		return nil
	}
	return &UnprovableError{Commit: claim.Commit, Files: []Unprovable{{"Cargo.toml", err.Error(), fix}}}
}

// maxManifest bounds a workspace's manifest in bytes, as entry does.
const maxManifest = 48 << 10

// workspace finds the workspace's root as cargo does: where package.workspace points,
// or else in the nearest directory above with a [workspace]; nil if there is none.
func (w *walk) workspace(c *crate.Crate, pkg string) (*entry.Workspace, error) {
	if named := c.WorkspacePath(); named != "" {
		dir := path.Join("/", pkg, named)[1:]
		return w.rootAt(dir, path.Join(dir, "Cargo.toml"))
	}
	for dir := pkg; dir != ""; {
		if dir = path.Dir(dir); dir == "." {
			dir = ""
		}
		root, err := w.rootAt(dir, path.Join(dir, "Cargo.toml"))
		if root != nil || err != nil {
			return root, err
		}
	}
	return nil, nil
}

// rootAt reads the manifest of a directory, if it is there and has a [workspace].
func (w *walk) rootAt(dir, file string) (*entry.Workspace, error) {
	w.met = map[string]bool{}
	at, err := crate.Resolver{Link: w.link}.Resolve(file)
	var e git.TreeEntry
	if err == nil {
		e, err = w.entry(at)
	}
	var notFound *git.NotFoundError
	if errors.As(err, &notFound) || err == nil && e.Mode != git.ModeFile {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	s, _ := w.within(at)
	content, err := s.Blob(w.ctx, e.ID, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !crate.IsWorkspace(content) {
		return nil, nil
	}
	maps.Copy(w.needed, w.met)
	w.places = append(w.places, at)
	return &entry.Workspace{Path: dir, Manifest: content}, nil
}

// claimed writes into the claim the links and submodules that its files need, and
// none that only a file that is not proven led through.
func (w *walk) claimed(claim *entry.Source) {
	for _, path := range slices.Sorted(maps.Keys(w.needed)) {
		claim.Links = append(claim.Links, entry.Link{Path: path, Target: w.links[path]})
		w.places = append(w.places, path)
	}
	for _, m := range slices.Sorted(maps.Keys(w.modules)) {
		if slices.ContainsFunc(w.places, func(p string) bool { return strings.HasPrefix(p, m+"/") }) {
			claim.Submodules = append(claim.Submodules, m)
		}
	}
}

// object returns a git object of the list.
func (w *walk) object(o crate.Object) (circuit.Object, error) {
	if o.Commit {
		s := w.top
		if o.Path != "" {
			s = w.modules[o.Path]
		}
		return circuit.Object{Data: s.Commit.Object.Encode()}, nil
	}
	s, below := w.within(o.Path)
	t, err := s.Tree(w.ctx, below)
	if err != nil {
		return circuit.Object{}, err
	}
	listed := make(map[string]bool, len(o.Entries))
	for _, e := range o.Entries {
		listed[e.Name] = true
	}
	return circuit.Object{Data: t.Object.Encode(), Listed: listed}, nil
}
