package crate

import (
	"errors"
	"fmt"
)

// ErrFiles means that a claim is about other files than the crate's.
var ErrFiles = errors.New("the crate's files are not those that the claim is about")

// ErrSubject means that an entry is about another .crate.
var ErrSubject = errors.New("the entry is about another .crate")

// An ArchiveError says why a .crate is refused, and because of which file.
type ArchiveError struct {
	File string // path in the archive, "" if none is to blame
	Why  string

	// Limit says that a bound on sizes or work is the reason. A reader with larger ones may
	// accept the .crate, and rightly.
	Limit bool
}

func (e *ArchiveError) Error() string {
	if e.File == "" {
		return "the .crate " + e.Why
	}
	return fmt.Sprintf("the .crate's file %q %s", e.File, e.Why)
}

// A CollisionError says that a file's content carries a known attack on SHA-1,
// so that its blob id could stand for another content as well.
type CollisionError struct{ File string }

func (e *CollisionError) Error() string {
	return fmt.Sprintf("the .crate's file %q carries a SHA-1 collision attack: its git blob id proves nothing", e.File)
}

// A ManifestError says what is wrong with Cargo.toml.
type ManifestError struct{ Why string }

func (e *ManifestError) Error() string { return "Cargo.toml " + e.Why }

// A VCSInfoError says why .cargo_vcs_info.json contradicts a claim.
type VCSInfoError struct{ Why string }

func (e *VCSInfoError) Error() string { return vcsFile + " " + e.Why }

// An UnprovenError says why a file is, or is not, to be listed as unproven.
type UnprovenError struct{ File, Why string }

func (e *UnprovenError) Error() string { return fmt.Sprintf("the file %q %s", e.File, e.Why) }
