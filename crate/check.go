package crate

import (
	"fmt"

	"cratelog/entry"
)

// Check checks all that the .crate itself can say about an entry's subject and claim: the
// subject names this .crate, nothing in it contradicts the claim, and the claim's file
// list is the list of its files. A proof of the
// claim, which the caller must verify, then binds those files to the commit.
//
// Errors: ErrSubject, ErrFiles, *UnprovenError, *VCSInfoError, *PlaceError.
func (c *Crate) Check(s entry.Subject, src *entry.Source) error {
	if s.Name != c.Name || s.Version != c.Version {
		return fmt.Errorf("%w: it names %s %s, this is %s %s", ErrSubject, s.Name, s.Version, c.Name, c.Version)
	}
	if s.SHA256 != c.SHA256 {
		return fmt.Errorf("%w: it names %s %s with SHA-256 %x, this one has %x",
			ErrSubject, s.Name, s.Version, s.SHA256, c.SHA256)
	}
	l, err := c.List(src)
	if err != nil {
		return err
	}
	if l.Digest != src.Files {
		return fmt.Errorf("%w: their list has the digest %x, the claim says %x", ErrFiles, l.Digest, src.Files)
	}
	return nil
}
