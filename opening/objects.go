package opening

import (
	"crypto/sha1"
	"fmt"
	"slices"

	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// CheckObjects is for who has no .crate, and so no list: it says whether these are so many objects
// of a claim's commit, the commit first, each other one referred to by one before, in the order in which
// an opening has them, and then the Cargo.lock that the claim names, if it names one, which a tree of
// them holds. Whether they hold what else the claim says, it does not know. The error is ErrMalformed or
// ErrNoVerdict.
func CheckObjects(raw []byte, claim *entry.Source, count int) error {
	objects, err := Parse(raw)
	if err != nil {
		return err
	}
	if len(objects) < count {
		return fmt.Errorf("%w: it has %d objects, the proof is about %d", ErrMalformed, len(objects), count)
	}
	var hash gitobject.Hash
	if _, err := lockOf(&hash, claim, objects[count:]); err != nil {
		return err
	}
	held := claim.Lock == nil
	references := []reference{{gitobject.TypeCommit, claim.Commit}} // of which those before the next object are used up
	for i, o := range objects[:count] {
		this := reference{o.Type, sha1.Sum(o.Encode())}
		for len(references) > 0 && references[0] != this {
			references = references[1:]
		}
		if len(references) == 0 {
			return fmt.Errorf("%w: object %d, the %s %x, is not one that an object before it refers to", ErrMalformed, i,
				o.Type, this.id)
		}
		references = references[1:]
		if _, err := hash.ID(o); err != nil {
			return fmt.Errorf("%w: object %d: %w", ErrNoVerdict, i, err)
		}
		more, blobs, err := referencesOf(o)
		if err != nil {
			return fmt.Errorf("%w: object %d: %w", ErrNoVerdict, i, err)
		}
		references = append(references, more...)
		held = held || slices.Contains(blobs, claim.Lock.Blob)
	}
	if !held {
		return fmt.Errorf("%w: no tree holds the Cargo.lock that the claim names", ErrMalformed)
	}
	return nil
}

// reference is what an object says of another one.
type reference struct {
	kind string
	id   [20]byte
}

// referencesOf returns the commits and trees that an object refers to, in its order, and the ordinary
// files; a commit's parents are none.
func referencesOf(o gitobject.Object) (all []reference, blobs [][20]byte, err error) {
	if o.Type == gitobject.TypeCommit {
		tree, err := gitobject.ParseCommit(o.Content)
		return []reference{{gitobject.TypeTree, tree}}, nil, err
	}
	entries, err := gitobject.ParseTree(o.Content)
	for _, e := range entries {
		switch e.Mode {
		case gitobject.ModeDirectory:
			all = append(all, reference{gitobject.TypeTree, e.ID})
		case gitobject.ModeSubmodule:
			all = append(all, reference{gitobject.TypeCommit, e.ID})
		case gitobject.ModeFile:
			blobs = append(blobs, e.ID)
		}
	}
	return all, blobs, err
}
