package opening

import (
	"crypto/sha1"
	"fmt"

	"cratelog/internal/gitobject"
)

// CheckObjects is for who has no .crate, and so no list: it says whether these are so many objects
// of a commit, the commit first, each other one referred to by one before, in the order in which
// an opening has them. Whether they hold what a claim says, it does not know. The error is
// ErrMalformed or ErrNoVerdict.
func CheckObjects(raw []byte, commit [20]byte, count int) error {
	objects, err := Parse(raw)
	if err != nil {
		return err
	}
	if len(objects) != count {
		return fmt.Errorf("%w: it has %d objects, the proof is about %d", ErrMalformed, len(objects), count)
	}
	var hash gitobject.Hash
	references := []reference{{gitobject.TypeCommit, commit}} // of which those before the next object are used up
	for i, o := range objects {
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
		more, err := referencesOf(o)
		if err != nil {
			return fmt.Errorf("%w: object %d: %w", ErrNoVerdict, i, err)
		}
		references = append(references, more...)
	}
	return nil
}

// reference is what an object says of another one.
type reference struct {
	kind string
	id   [20]byte
}

// referencesOf returns the commits and trees that an object refers to, in its order; a commit's
// parents are none.
func referencesOf(o gitobject.Object) (all []reference, err error) {
	if o.Type == gitobject.TypeCommit {
		tree, err := gitobject.ParseCommit(o.Content)
		return []reference{{gitobject.TypeTree, tree}}, err
	}
	entries, err := gitobject.ParseTree(o.Content)
	for _, e := range entries {
		switch e.Mode {
		case gitobject.ModeDirectory:
			all = append(all, reference{gitobject.TypeTree, e.ID})
		case gitobject.ModeSubmodule:
			all = append(all, reference{gitobject.TypeCommit, e.ID})
		}
	}
	return all, err
}
