package crate

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cratelog/entry"
)

// Modes of git's tree entries.
const (
	modeFile   = "100644"
	modeExec   = "100755"
	modeLink   = "120000"
	modeDir    = "40000"
	modeModule = "160000"
)

// A List is the part of a commit's tree that a crate needs.
// The package comment says what its bytes and its digest are.
type List struct {
	Bytes   []byte
	Digest  [32]byte // SHA-256 of Bytes: entry.Source.Files
	Objects []Object // in the order of Bytes; 0 is the commit and 1 its root tree
}

// An Object is a commit or a tree of a list.
type Object struct {
	Commit  bool    // object 0, and the commits of submodules; the only child is the root tree
	Path    string  // where the tree or submodule stands in the repository, "" for the root
	Entries []Entry // listed entries of a tree in git's order
}

// An Entry is one listed entry of a tree.
type Entry struct {
	Mode  string   // "40000", "160000", "120000", "100644" or "100755"
	Name  string   // one component of a path
	Blob  [20]byte // files and links: the blob's id
	Child int      // directories and submodules: the number of the object; 0 for others
}

// List computes the list for a claim, of which it uses all but Files. It refuses a
// claim that the crate itself contradicts: an *UnprovenError, a *VCSInfoError or a
// *PlaceError. It knows nothing of the repository.
func (c *Crate) List(src *entry.Source) (*List, error) {
	if src.Path != "" {
		if err := entry.CheckPath(src.Path); err != nil {
			return nil, fmt.Errorf("the claim's path: %w", err)
		}
	}
	if err := c.checkVCSInfo(src.Commit, src.Path, slices.Contains(src.Unproven, origFile)); err != nil {
		return nil, err
	}
	if err := c.checkUnproven(src); err != nil {
		return nil, err
	}
	if err := c.checkLock(src); err != nil {
		return nil, err
	}
	if err := c.checkExecutable(src); err != nil {
		return nil, err
	}
	root, err := c.place(src)
	if err != nil {
		return nil, err
	}
	l := &List{}
	l.number(root)
	l.encode()
	l.Digest = sha256.Sum256(l.Bytes)
	return l, nil
}

// checkExecutable checks that the files whose executable bit is said to be lost are
// proven ones without that bit.
func (c *Crate) checkExecutable(src *entry.Source) error {
	proven := maps.Collect(c.standing(src))
	for _, p := range src.Executable {
		switch f, ok := proven[p]; {
		case !ok:
			return &PlaceError{p, "is said to have lost that it is executable, but is not a proven file of the crate"}
		case f.Exec:
			return &PlaceError{p, "is said to have lost that it is executable, but it is executable in the crate"}
		}
	}
	return nil
}

// checkUnproven holds a claim's list of unproven files to what this version
// allows, in both directions: what is listed may be, and what must be listed is.
func (c *Crate) checkUnproven(src *entry.Source) error {
	for i, p := range src.Unproven {
		if i > 0 && src.Unproven[i-1] >= p {
			return &UnprovenError{p, "is listed as unproven out of order or twice"}
		}
		if _, ok := c.lookup(p); !ok {
			return &UnprovenError{p, "is listed as unproven, but is not in the crate"}
		}
		if p != manifestFile && p != lockFile && p != origFile {
			return &UnprovenError{p, "is listed as unproven; only Cargo.toml, Cargo.toml.orig and Cargo.lock may be"}
		}
	}
	unproven := slices.Contains(src.Unproven, manifestFile)
	if slices.Contains(src.Unproven, origFile) {
		return checkNoManifest(src, unproven)
	}
	return c.checkManifest(src, unproven)
}

// checkNoManifest checks a claim that says that the author's manifest is not the commit's. Then
// nothing stands for what cargo made of it either.
func checkNoManifest(src *entry.Source, unproven bool) error {
	switch {
	case !unproven:
		return &UnprovenError{origFile, "is listed as unproven, and Cargo.toml, which is made of it, is not"}
	case src.Workspace != nil:
		return &PlaceError{src.Workspace.Path, "is said to be the workspace's root, but Cargo.toml is unproven"}
	}
	return nil
}

// checkManifest checks that Cargo.toml is derived, or listed as unproven because it
// cannot be, and that the claim carries the workspace's manifest if it is needed.
func (c *Crate) checkManifest(src *entry.Source, unproven bool) error {
	alone := c.Derive(nil)
	switch w := src.Workspace; {
	case unproven && (alone == nil || w != nil):
		return &UnprovenError{manifestFile, "is listed as unproven, but it can be proven, and so it must be"}
	case unproven, alone == nil && w == nil:
		return nil
	case alone == nil:
		return &PlaceError{w.Path, "is said to be the workspace's root, but Cargo.toml follows from Cargo.toml.orig alone"}
	case w == nil:
		return &UnprovenError{manifestFile, "is refused: " + alone.Error()}
	case !c.mayBeRoot(src.Path, w.Path): // the repository alone shows which is the nearest
		return &PlaceError{w.Path, "is not a directory in which cargo would look for the package's workspace"}
	case !c.isRootOf(w.Path, w.Manifest, src.Path):
		return &PlaceError{w.Path, "is said to be the workspace's root, but its manifest has no [workspace], or excludes " +
			"the package"}
	default:
		if err := c.Derive(w.Manifest); err != nil {
			return &UnprovenError{manifestFile, "is refused: " + err.Error()}
		}
		return nil
	}
}

func (c *Crate) mayBeRoot(pkg, dir string) bool {
	dirs, err := c.roots(pkg)
	return err == nil && slices.Contains(dirs, dir)
}

// sortKey is what git compares: a directory's name ends with a slash.
func (e Entry) sortKey() string {
	if e.Mode == modeDir {
		return e.Name + "/"
	}
	return e.Name
}

// parent says whether the entry names another object of the list.
func (e Entry) parent() bool { return e.Mode == modeDir || e.Mode == modeModule }

// number fills in l.Objects, breadth first: every object appends its children.
func (l *List) number(root *node) {
	l.Objects = []Object{{Commit: true}}
	nodes := []*node{root} // of each object; a commit's is its root tree's
	for at := 0; at < len(l.Objects); at++ {
		n := nodes[at]
		if l.Objects[at].Commit {
			l.Objects = append(l.Objects, Object{Path: n.path})
			nodes = append(nodes, n)
			continue
		}
		slices.SortFunc(n.below, func(a, b *node) int { return strings.Compare(a.sortKey(), b.sortKey()) })
		entries := make([]Entry, len(n.below))
		for i, e := range n.below {
			entries[i] = e.Entry
			if !e.parent() {
				continue
			}
			entries[i].Child = len(l.Objects)
			l.Objects = append(l.Objects, Object{Commit: e.Mode == modeModule, Path: e.path})
			nodes = append(nodes, e)
		}
		l.Objects[at].Entries = entries
	}
}

func (l *List) encode() {
	for _, o := range l.Objects {
		if o.Commit {
			l.Bytes = append(l.Bytes, 'c')
			continue
		}
		l.Bytes = append(l.Bytes, 't')
		for _, e := range o.Entries {
			l.Bytes = fmt.Appendf(l.Bytes, "%s %s\x00", e.Mode, e.Name)
			if !e.parent() {
				l.Bytes = append(l.Bytes, e.Blob[:]...)
			}
		}
	}
}

func join(dir, path string) string {
	if dir == "" {
		return path
	}
	return dir + "/" + path
}
