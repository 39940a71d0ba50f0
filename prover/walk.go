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
// links, and into submodules. It writes what it finds into the claim.
type walk struct {
	ctx   context.Context
	crate *crate.Crate
	claim *entry.Source
	top   *git.Snapshot
	src   Source

	layout  *crate.Layout
	links   map[string]string  // text of every link met, by path
	modules map[string]*module // every submodule met, by path
	modes   map[string]string  // of the manifests read, by path
}

// A module is a submodule of the commit.
type module struct {
	*git.Snapshot           // at the commit that the tree records
	repo          *git.Repo // its repository
}

func newWalk(ctx context.Context, c *crate.Crate, claim *entry.Source, top *git.Snapshot, src Source) *walk {
	w := &walk{
		ctx: ctx, crate: c, claim: claim, top: top, src: src,
		links: map[string]string{}, modules: map[string]*module{}, modes: map[string]string{},
	}
	w.layout = c.Layout(claim, w)
	return w
}

// maxLinkText bounds the text of a symbolic link in bytes.
const maxLinkText = 1024

// noSubmodule says that the repository of a submodule was not found.
type noSubmodule struct{ path string }

func (e *noSubmodule) Error() string {
	return fmt.Sprintf("%s is a submodule whose repository was not found", e.path)
}

// within returns the snapshot that has a path, and the path in it.
func (w *walk) within(path string) (*git.Snapshot, string) {
	m := w.moduleOf(path)
	if m == "" {
		return w.top, path
	}
	return w.modules[m].Snapshot, strings.TrimPrefix(strings.TrimPrefix(path, m), "/")
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
	if w.src.Submodule == nil {
		return &noSubmodule{path}
	}
	repo, err := w.src.Submodule(w.ctx, path)
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
	w.modules[path] = &module{s, repo}
	return nil
}

// Submodule and Link make the commit a crate.Repository. A submodule is known once a path
// has led into it.
func (w *walk) Submodule(path string) bool { return w.modules[path] != nil }

func (w *walk) Link(path string) (string, bool, error) {
	if text, ok := w.links[path]; ok {
		return text, true, nil
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
	w.links[path] = string(text)
	return string(text), true, nil
}

// compare looks every file of the crate up in the commit. It moves Cargo.lock to
// the unproven files if it must, finds files that come from outside of the package,
// and reports everything else that differs.
func (w *walk) compare() error {
	if w.layout.InheritsFiles() {
		root, err := w.layout.Root(w.readManifest)
		if err != nil {
			return err
		}
		w.claim.Workspace = root
	}
	var differences []difference
	for p, lost := range w.layout.Files() {
		d, err := w.differs(p, lost)
		if d != nil {
			d, err = w.differsOutside(p, d)
		}
		if err != nil {
			return err
		}
		if d != nil {
			differences = append(differences, *d)
		}
	}
	differences, err := w.withoutCR(differences)
	if err != nil {
		return err
	}
	differences = slices.DeleteFunc(differences, func(d difference) bool {
		switch {
		case d.file.Path == cargoLock:
			w.claim.Unproven = append(w.claim.Unproven, d.file.Path)
			return true
		case d.file.Path == origFile && d.content && w.src.UnprovenManifest:
			w.claim.Unproven, w.claim.Workspace = append(w.claim.Unproven, manifestFile, origFile), nil
			return true
		}
		return false
	})
	sort.Strings(w.claim.Unproven)
	sort.Strings(w.claim.Outside)
	sort.Strings(w.claim.Executable)
	sort.Strings(w.claim.CRLF)
	if len(differences) == 0 {
		return nil
	}
	files, err := w.explain(differences)
	if err != nil {
		return err
	}
	refused := w.refused()
	refused.Files = files
	return refused
}

// withoutCR writes the files into the claim that differ by CRLF line ends only, and returns the
// other differences.
func (w *walk) withoutCR(differences []difference) ([]difference, error) {
	var paths []string
	for _, d := range differences {
		if d.content {
			paths = append(paths, d.file.Path)
		}
	}
	texts, err := w.crate.WithoutCR(paths)
	if err != nil {
		return nil, err
	}
	var left []difference
	for _, d := range differences {
		text, ok := texts[d.file.Path]
		if !ok || !d.content || text != d.blob || len(w.claim.CRLF) == maxCRLF {
			left = append(left, d)
			continue
		}
		p := d.place
		p.File.Blob = text
		other, err := w.differs(p, nil) // in its mode
		switch {
		case err != nil:
			return nil, err
		case other != nil:
			left = append(left, *other)
			continue
		}
		if d.outside {
			w.claim.Outside = append(w.claim.Outside, p.Name)
		}
		w.claim.CRLF = append(w.claim.CRLF, p.Name)
	}
	return left, nil
}

// maxCRLF is how many files with CRLF a claim can list, as in package entry; maxAttributes how
// many .gitattributes, and maxAttributesFile of how many bytes.
const (
	maxCRLF           = 1024
	maxAttributes     = 4
	maxAttributesFile = 8 << 10
)

// attributesOfCRLF writes the .gitattributes into the claim that explain files with CRLF. Where
// they do not, or are too many or too large, it writes none: readers then decide without.
func (w *walk) attributesOfCRLF() error {
	found := map[string]*entry.Attributes{} // by directory; nil if there is none
	for p, err := range w.layout.Files() {
		if err != nil {
			return err
		}
		if !slices.Contains(w.claim.CRLF, p.Name) {
			continue
		}
		top := w.moduleOf(p.At)
		for dir := p.At; dir != top; {
			dir = strings.TrimSuffix(dir[:1+strings.LastIndexByte(dir, '/')], "/")
			if _, known := found[dir]; known {
				continue
			}
			a, err := w.readAttributes(dir)
			if err != nil {
				return err
			}
			found[dir] = a
		}
	}
	var all []entry.Attributes
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		if a := found[dir]; a != nil {
			all = append(all, *a)
		}
	}
	if len(all) > maxAttributes {
		return nil
	}
	w.claim.Attributes = all
	said, err := w.crate.Attributed(w.claim)
	if err != nil || len(said) == 0 {
		w.claim.Attributes = nil
	}
	return nil
}

// readAttributes reads the .gitattributes of a directory; nil if it has none that a claim can carry.
func (w *walk) readAttributes(dir string) (*entry.Attributes, error) {
	at := strings.TrimPrefix(dir+"/.gitattributes", "/")
	e, err := w.entry(at)
	if errors.As(err, new(*git.NotFoundError)) || err == nil && e.Mode != git.ModeFile {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	s, _ := w.within(at)
	content, err := s.Blob(w.ctx, e.ID, maxAttributesFile)
	if errors.As(err, new(*git.SizeError)) || errors.As(err, new(*git.MissingError)) || err == nil && len(content) == 0 {
		return nil, nil // a clone may have left a large one out
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return &entry.Attributes{Path: dir, Content: content}, nil
}

// refused returns a refusal without files.
func (w *walk) refused() *UnprovableError {
	return &UnprovableError{Commit: w.claim.Commit, Published: w.src.Published}
}

// differsOutside looks a file up where the manifest points outside of the package, and
// writes that into the claim if it is the same there. Else it returns what to say: cargo
// takes such a file from outside if the package has none of its name.
func (w *walk) differsOutside(p crate.Place, inside *difference) (*difference, error) {
	there, ok, lost := w.layout.Outside(p)
	if !ok {
		return inside, nil
	}
	d, err := w.differs(there, lost)
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		w.claim.Outside = append(w.claim.Outside, p.Name)
		return nil, nil
	case inside.missing:
		d.outside = true
		return d, nil
	}
	return inside, nil
}

// differs says in what a file differs from what stands at its place in the commit, or
// that the place is lost; nil if it does not.
func (w *walk) differs(p crate.Place, lost error) (*difference, error) {
	f, e, err := p.File, git.TreeEntry{}, lost
	if err == nil {
		e, err = w.entry(p.At)
	}
	d := &difference{file: f, place: p}
	var notFound *git.NotFoundError
	var notDirectory *git.NotDirectoryError
	var noPlace *crate.PlaceError
	var module *noSubmodule
	switch {
	case errors.As(err, &notFound):
		d.path, d.missing, d.why = p.At, true, fmt.Sprintf("the commit has no %s", p.Path)
		return d, nil
	case errors.As(err, &notDirectory):
		d.path = p.At
		d.why = fmt.Sprintf("the commit has no %s: %s is %s there", p.Path, notDirectory.Path, git.KindOf(notDirectory.Mode))
		return d, nil
	case errors.As(err, &module):
		d.path, d.why, d.module = p.At, err.Error(), module.path
		return d, nil
	case errors.As(err, &noPlace):
		d.why = err.Error()
		return d, nil
	case err != nil:
		return nil, err
	}
	if w.isLinkText(p) {
		d.path, d.linkText = p.At, true
		d.why = fmt.Sprintf("%s is a symbolic link in the commit, and the .crate has a file with the link's text",
			path.Clean(p.Path))
		return d, nil
	}
	place := path.Clean(p.Path)
	if p.At != place {
		place += " (through a link: " + p.At + ")"
	}
	want := git.ModeFile
	if f.Exec {
		want = git.ModeExecutable
	}
	switch {
	case e.Mode == git.ModeDirectory || e.Mode == git.ModeSubmodule:
		d.path = p.At
		d.why = fmt.Sprintf("%s is %s in the commit", place, git.KindOf(e.Mode))
		return d, nil
	case e.ID != f.Blob:
		d.path, d.content, d.blob = p.At, true, e.ID
		d.why = fmt.Sprintf("its content differs from the commit's %s (blob %x there, %x in the .crate)",
			place, e.ID[:6], f.Blob[:6])
		return d, nil
	case e.Mode == git.ModeExecutable && want == git.ModeFile:
		// Packaged where files have no such bit. The claim says so.
		w.claim.Executable = append(w.claim.Executable, p.Name)
	case e.Mode != git.ModeFile && e.Mode != git.ModeExecutable && git.KindOf(e.Mode) == "a file":
		d.path, d.mode = p.At, true
		d.why = fmt.Sprintf("the commit has it with the mode %s, as old versions of git wrote it; a proof can show %s and "+
			"%s only",
			e.Mode, git.ModeFile, git.ModeExecutable)
		return d, nil
	case e.Mode != want:
		d.path, d.mode = p.At, true
		d.why = fmt.Sprintf("its mode is %s in the .crate and %s in the commit", want, e.Mode)
		return d, nil
	}
	return nil, nil
}

// isLinkText says whether a file is what a system without symbolic links has for the link that
// stands at its place.
func (w *walk) isLinkText(p crate.Place) bool {
	at := path.Clean(p.Path)
	return slices.ContainsFunc(p.Links, func(l entry.Link) bool {
		id, err := git.Object{Type: git.TypeBlob, Content: []byte(l.Target)}.ID()
		return l.Path == at && err == nil && id == p.File.Blob
	})
}

// manifest checks that Cargo.toml is derived, and finds the workspace's manifest if
// it takes that.
func (w *walk) manifest() error {
	err, because := w.crate.Derive(nil), advice{}
	root := w.claim.Workspace
	w.claim.Workspace = nil
	if errors.Is(err, manifest.ErrNeedsWorkspace) {
		if root == nil {
			if root, err = w.layout.Root(w.readManifest); err != nil {
				return err
			}
		}
		because = adviceWorkspace
		switch {
		case root == nil:
			because, err = w.noWorkspace()
		case root.Check() != nil:
			err = &RootSizeError{rootFile(root), root.Check().Error()}
		case w.modes[rootFile(root)] != git.ModeFile:
			because = adviceRootMode
			err = fmt.Errorf("it takes values from the workspace's manifest %s, which has the mode %s in the commit; "+
				"a proof can show %s there only", rootFile(root), w.modes[rootFile(root)], git.ModeFile)
		default:
			if err = w.crate.Derive(root.Manifest); err == nil {
				w.claim.Workspace = root
			}
		}
	}
	switch {
	case err == nil:
		return nil
	case w.src.UnprovenManifest:
		w.claim.Unproven = append(w.claim.Unproven, manifestFile)
		sort.Strings(w.claim.Unproven)
		return nil
	case errors.As(err, new(*RootSizeError)):
		return err
	}
	refused := w.refused()
	refused.Files = []Unprovable{w.unprovable(manifestFile, "", err.Error(), because)}
	return refused
}

// rootFile is where a workspace's manifest stands.
func rootFile(root *entry.Workspace) string {
	return strings.TrimPrefix(root.Path+"/"+manifestFile, "/")
}

// noWorkspace says why a Cargo.toml that needs a workspace is refused where there is none.
func (w *walk) noWorkspace() (because advice, why error) {
	inherits := true
	err := w.crate.Contents([]string{origFile}, maxExplained, func(_ crate.File, content []byte) {
		if found, err := manifest.Inherits(content); err == nil {
			inherits = found
		}
	})
	switch {
	case err != nil:
		return because, err
	case inherits:
		return adviceWorkspace, errors.New("it takes values from its workspace, but no directory above it has a " +
			"Cargo.toml with [workspace]")
	}
	return adviceNested, errors.New("it has a resolver that Cargo.toml.orig does not name, and no directory above it " +
		"in the commit has a Cargo.toml with [workspace]")
}

// maxRead bounds the manifests that are read, in bytes.
const maxRead = entry.MaxManifest

// readManifest reads a manifest and notes its mode; nil if the commit has no file there.
func (w *walk) readManifest(p crate.Place, err error) ([]byte, error) {
	var e git.TreeEntry
	if err == nil {
		e, err = w.entry(p.At)
	}
	var notFound *git.NotFoundError
	if errors.As(err, &notFound) || err == nil && git.KindOf(e.Mode) != "a file" {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	s, _ := w.within(p.At)
	content, err := s.Blob(w.ctx, e.ID, maxRead)
	var large *git.SizeError
	if errors.As(err, &large) {
		return nil, &RootSizeError{p.Path, fmt.Sprintf("it has %d bytes, more than %d", large.Size, maxRead)}
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	w.modes[p.Path] = e.Mode
	return content, nil
}

// object returns a git object of the list.
func (w *walk) object(o crate.Object) (circuit.Object, error) {
	s, below := w.within(o.Path)
	if o.Commit {
		return circuit.Object{Data: s.Commit.Object.Encode()}, nil
	}
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
