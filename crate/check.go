package crate

import (
	"fmt"

	"cratelog/entry"
)

// Check checks all that the .crate itself can say about an entry's subject and claim: the
// subject names this .crate, nothing in it contradicts the claim, and the claim's file
// list is the list of its files, which it returns. A proof that holds for this list (entry.Check)
// then binds those files to the commit. From which registry the .crate comes, its bytes do not
// say.
//
// Errors: ErrSubject, ErrFiles, *UnprovenError, *VCSInfoError, *PlaceError.
func (c *Crate) Check(s entry.Subject, src *entry.Source) (*List, error) {
	if s.Name != c.Name || s.Version != c.Version {
		return nil, fmt.Errorf("%w: it names %s %s, this is %s %s", ErrSubject, s.Name, s.Version, c.Name, c.Version)
	}
	if s.SHA256 != c.SHA256 {
		return nil, fmt.Errorf("%w: it names %s %s with SHA-256 %x, this one has %x",
			ErrSubject, s.Name, s.Version, s.SHA256, c.SHA256)
	}
	l, err := c.List(src)
	if err != nil {
		return nil, err
	}
	if l.Digest != src.Files {
		return nil, fmt.Errorf("%w: their list has the digest %x, the claim says %x", ErrFiles, l.Digest, src.Files)
	}
	return l, nil
}
