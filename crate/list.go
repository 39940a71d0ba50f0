package crate

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"

	"cratelog/entry"
)

// Modes of git's tree entries.
const (
	modeFile = "100644"
	modeExec = "100755"
	modeDir  = "40000"
)

// chunk is how many bytes of L one field element takes.
const chunk = 31

// A List is the part of a commit's tree that a crate needs.
// The package comment says what its bytes and its digest are.
type List struct {
	Bytes   []byte
	Digest  [32]byte // a big-endian element of BN254's scalar field: entry.Source.Files
	Objects []Object // in the order of Bytes; 0 is the commit and 1 its root tree
}

// An Object is the commit or one tree of a list.
type Object struct {
	Commit  bool    // true for object 0 only; it has no entries, its child is object 1
	Path    string  // path of the tree in the repository, "" for the root
	Entries []Entry // listed entries in git's order
}

// An Entry is one listed entry of a tree.
type Entry struct {
	Mode  string   // "40000", "100644" or "100755"
	Name  string   // one component of a path
	Blob  [20]byte // files: the blob's id
	Child int      // directories: the number of the tree; 0 for files
}

// List computes the list for a claim, of which it uses Commit, Path and
// Unproven, but not Files. It refuses a claim that the crate itself contradicts:
// an *UnprovenError or a *VCSInfoError. It knows nothing of the repository.
func (c *Crate) List(src *entry.Source) (*List, error) {
	if src.Path != "" {
		if err := entry.CheckPath(src.Path); err != nil {
			return nil, fmt.Errorf("the claim's path: %w", err)
		}
	}
	if err := c.checkVCSInfo(src.Commit, src.Path); err != nil {
		return nil, err
	}
	files, err := c.proven(src.Unproven)
	if err != nil {
		return nil, err
	}
	root := &dir{}
	for _, f := range files {
		root.add(join(src.Path, f.Path), f)
	}
	l := &List{Objects: []Object{{Commit: true}}}
	l.number(root)
	l.encode()
	l.Digest, err = digest(l.Bytes)
	return l, err
}

// proven returns the files that must stand in the tree, under the paths that
// they have there below P.
func (c *Crate) proven(unproven []string) ([]File, error) {
	skip, err := c.checkUnproven(unproven)
	if err != nil {
		return nil, err
	}
	_, hasOrig := c.lookup(origFile)
	var files []File
	for _, f := range c.Files {
		switch {
		case f.Path == vcsFile, skip[f.Path]:
			continue
		case f.Path == manifestFile && hasOrig:
			continue // equal to Cargo.toml.orig, or unproven: checkUnproven
		case f.Path == origFile:
			f.Path = manifestFile
		}
		files = append(files, f)
	}
	return files, nil
}

// checkUnproven holds a claim's list of unproven files to what this version
// allows, in both directions: what is listed may be, and what must be listed is.
func (c *Crate) checkUnproven(unproven []string) (map[string]bool, error) {
	derived := c.Derived()
	skip := map[string]bool{}
	for i, p := range unproven {
		if i > 0 && unproven[i-1] >= p {
			return nil, &UnprovenError{p, "is listed as unproven out of order or twice"}
		}
		if _, ok := c.lookup(p); !ok {
			return nil, &UnprovenError{p, "is listed as unproven, but is not in the crate"}
		}
		switch {
		case p != manifestFile && p != lockFile:
			return nil, &UnprovenError{p, "is listed as unproven; only Cargo.toml and Cargo.lock may be"}
		case p == manifestFile && !slices.Contains(derived, p):
			return nil, &UnprovenError{p, "is listed as unproven, but is not a manifest that cargo rewrote: it can be proven, and so it must be"}
		}
		skip[p] = true
	}
	for _, p := range derived {
		if !skip[p] {
			return nil, &UnprovenError{p, "is not the same as Cargo.toml.orig, so that no commit proves it: a claim must list it as unproven"}
		}
	}
	return skip, nil
}

// A dir is a listed directory: its children by name.
type dir struct {
	files map[string]File
	dirs  map[string]*dir
}

// add puts a file at a path. The paths of a crate never need one name to be
// both file and directory (Read), so the maps stay disjoint.
func (d *dir) add(path string, f File) {
	name, below, deeper := strings.Cut(path, "/")
	if !deeper {
		if d.files == nil {
			d.files = map[string]File{}
		}
		d.files[name] = f
		return
	}
	if d.dirs == nil {
		d.dirs = map[string]*dir{}
	}
	sub := d.dirs[name]
	if sub == nil {
		sub = &dir{}
		d.dirs[name] = sub
	}
	sub.add(below, f)
}

// entries returns a directory's entries in git's order, and the directories
// among them in the same order.
func (d *dir) entries() ([]Entry, []*dir) {
	var all []Entry
	for name, f := range d.files {
		e := Entry{Mode: modeFile, Name: name, Blob: f.Blob}
		if f.Exec {
			e.Mode = modeExec
		}
		all = append(all, e)
	}
	for name := range d.dirs {
		all = append(all, Entry{Mode: modeDir, Name: name})
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	var dirs []*dir
	for _, e := range all {
		if e.Mode == modeDir {
			dirs = append(dirs, d.dirs[e.Name])
		}
	}
	return all, dirs
}

// sortKey is what git compares: a directory's name ends with a slash.
func (e Entry) sortKey() string {
	if e.Mode == modeDir {
		return e.Name + "/"
	}
	return e.Name
}

// number appends the trees below root to l.Objects, breadth first.
func (l *List) number(root *dir) {
	l.Objects = append(l.Objects, Object{})
	queue := []*dir{root}
	for at := 1; at < len(l.Objects); at++ {
		o := &l.Objects[at]
		entries, dirs := queue[at-1].entries()
		path := o.Path
		o.Entries = entries
		for i := range entries {
			if entries[i].Mode != modeDir {
				continue
			}
			entries[i].Child = len(l.Objects)
			l.Objects = append(l.Objects, Object{Path: join(path, entries[i].Name)})
		}
		queue = append(queue, dirs...)
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
			l.Bytes = append(l.Bytes, e.Mode...)
			l.Bytes = append(l.Bytes, ' ')
			l.Bytes = append(l.Bytes, e.Name...)
			l.Bytes = append(l.Bytes, 0)
			if e.Mode != modeDir {
				l.Bytes = append(l.Bytes, e.Blob[:]...)
			}
		}
	}
}

// digest is the Poseidon2 hash of the bytes of a list.
func digest(list []byte) ([32]byte, error) {
	h := poseidon2.NewMerkleDamgardHasher()
	var element [32]byte
	binary.BigEndian.PutUint64(element[24:], uint64(len(list)))
	if _, err := h.Write(element[:]); err != nil {
		return [32]byte{}, fmt.Errorf("hashing the file list: %w", err)
	}
	for c := range slices.Chunk(list, chunk) {
		element = [32]byte{}
		copy(element[1:], c)
		if _, err := h.Write(element[:]); err != nil {
			return [32]byte{}, fmt.Errorf("hashing the file list: %w", err)
		}
	}
	return [32]byte(h.Sum(nil)), nil
}

func join(dir, path string) string {
	if dir == "" {
		return path
	}
	return dir + "/" + path
}
