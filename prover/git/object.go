package git

import "cratelog/internal/gitobject"

// What objects are and say is package gitobject's. These are its names, for the callers of a
// repository.
type (
	Object          = gitobject.Object
	TreeEntry       = gitobject.TreeEntry
	PaddedModeError = gitobject.PaddedModeError
)

const (
	TypeCommit = gitobject.TypeCommit
	TypeTree   = gitobject.TypeTree
	TypeBlob   = gitobject.TypeBlob

	ModeFile       = gitobject.ModeFile
	ModeExecutable = gitobject.ModeExecutable
	ModeSymlink    = gitobject.ModeSymlink
	ModeDirectory  = gitobject.ModeDirectory
	ModeSubmodule  = gitobject.ModeSubmodule
)

// ErrCollision is gitobject's.
var ErrCollision = gitobject.ErrCollision

// A Commit is a commit object whose bytes hash to ID.
type Commit struct {
	ID     [20]byte
	Tree   [20]byte // id of its root tree
	Object Object
}

// A Tree is a tree object whose bytes hash to ID, and what it says.
type Tree struct {
	ID      [20]byte
	Entries []TreeEntry // in git's order
	Object  Object
}

// Find returns the entry of a name.
func (t *Tree) Find(name string) (TreeEntry, bool) {
	for _, e := range t.Entries {
		if e.Name == name {
			return e, true
		}
	}
	return TreeEntry{}, false
}
