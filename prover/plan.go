// Package prover makes entries: from a .crate and the repository that it was
// packaged from, to a proof that binds the one to the other.
//
// No reader trusts it: log, clients and monitors check what it makes with proofcheck and
// crate. It checks its own work before it hands it out.
package prover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/prover/git"
)

// Plan is a statement that is true, with all that its proof needs: everything but
// the expensive part.
type Plan struct {
	Subject entry.Subject
	Claim   *entry.Source
	Blocks  int // SHA-1 blocks that its git objects take
	List    *crate.List

	// LockWhy says why a Cargo.lock that is not the commit's does not follow from the commit's own either;
	// nil if it does, and where that is not the question. If it is a *crate.MembersError, the claim names the
	// commit's all the same (Claim.Lock).
	LockWhy error

	Repository string // that the crate's manifest names: a claim of its author

	objects []circuit.Object
	lock    []byte // content of the commit's Cargo.lock, if the claim names it
}

// Source names the commit that a crate is to be proven from. Zero fields are taken
// from the crate's own .cargo_vcs_info.json.
type Source struct {
	Commit *[20]byte
	// Path of the package in the repository, "" for the root. If neither it nor the crate
	// says, it is found: where the commit has the crate's Cargo.toml.orig.
	Path *string

	// Registry that the crate is published in, as entry.Registry returns it; "" is
	// entry.DefaultRegistry. Neither crate nor repository say.
	Registry string

	// UnprovenManifest lists Cargo.toml as unproven if it does not follow from its
	// original, and both if the original is not the commit's, instead of refusing the crate.
	// Then a crate may say of itself that it is dirty. Few readers accept that.
	UnprovenManifest bool

	// Published says that the crate is out, and that whoever asks did not publish it: a
	// refusal then speaks to a reader, who cannot package it again.
	Published bool

	// Submodule opens the repository of the submodule at a path; nil if it is not found.
	// The repositories stay the caller's.
	Submodule func(ctx context.Context, path string) (*git.Repo, error)
}

// NewPlan compares a crate with a commit of a repository. It returns an
// *UnprovableError that names all files that stand in the way of a proof.
//
// Cargo.lock is listed as unproven if the commit has none or another; if it follows from the
// commit's own, the claim names that one. Files that differ by CRLF
// line ends only are listed as such.
func NewPlan(ctx context.Context, c *crate.Crate, repo *git.Repo, src Source) (*Plan, error) {
	p, err := newPlan(ctx, c, repo, src)
	if errors.As(err, new(*git.PaddedModeError)) || errors.As(err, new(*RootSizeError)) {
		return nil, outcome.Refuse(err) // the repository was read, and the answer is no
	}
	return p, err
}

func newPlan(ctx context.Context, c *crate.Crate, repo *git.Repo, src Source) (*Plan, error) {
	claim, placed, err := locate(c, src)
	var dirty *crate.VCSInfoError
	if err != nil && (claim == nil || !errors.As(err, &dirty)) {
		return nil, err
	}
	top, err := repo.At(ctx, claim.Commit)
	if err != nil {
		return nil, err
	}
	paths := []string{claim.Path}
	if !placed {
		if paths, err = places(ctx, c, top); err != nil {
			return nil, err
		}
	}
	nearest := error(notPlaced(claim.Commit, c, src))
	for i, path := range paths {
		at := *claim
		at.Path = path
		p, err := newWalk(ctx, c, &at, top, src).plan(dirty)
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		if i == 0 || differences(err) < differences(nearest) {
			nearest = err
			if u := (*UnprovableError)(nil); errors.As(err, &u) {
				u.Place = tried(paths, path)
			}
		}
	}
	return nil, nearest
}

// differences counts the files that a refusal names. What is no refusal, as a missing
// object, comes before all: the question is open.
func differences(err error) int {
	var u *UnprovableError
	if errors.As(err, &u) {
		return len(u.Files)
	}
	return 0
}

// plan compares the crate with the commit at the claim's path.
func (w *walk) plan(dirty *crate.VCSInfoError) (*Plan, error) {
	if dirty != nil && !w.src.UnprovenManifest {
		return nil, w.whatIsDirty(dirty)
	}
	if err := w.compare(); err != nil {
		return nil, err
	}
	if !slices.Contains(w.claim.Unproven, origFile) {
		if dirty != nil {
			return nil, w.whatIsDirty(dirty)
		}
		if err := w.manifest(); err != nil {
			return nil, err
		}
	}
	lock, lockWhy, err := w.lock()
	if err != nil {
		return nil, err
	}
	if err := w.layout.Complete(); err != nil {
		return nil, err
	}
	if err := w.attributesOfCRLF(); err != nil { // which looks at the places that the claim tells
		return nil, err
	}
	list, err := w.crate.List(w.claim)
	if err != nil {
		return nil, err
	}
	w.claim.Files = list.Digest
	p := &Plan{
		Subject: entry.Subject{Registry: cmp.Or(w.src.Registry, entry.DefaultRegistry), Name: w.crate.Name, Version: w.crate.Version, SHA256: w.crate.SHA256},
		Claim:   w.claim, List: list, LockWhy: lockWhy, Repository: w.crate.Repository(), lock: lock,
	}
	for _, o := range list.Objects {
		object, err := w.object(o)
		if err != nil {
			return nil, err
		}
		p.objects = append(p.objects, object)
	}
	p.Blocks = circuit.CountBlocks(p.objects)
	return p, nil
}

// whatIsDirty returns an *UnprovableError that names what differs from the commit
// in a crate that says itself that something does.
func (w *walk) whatIsDirty(said *crate.VCSInfoError) error {
	err := w.compare()
	refused := w.refused()
	if err != nil && !errors.As(err, &refused) {
		return said
	}
	refused.Files = append([]Unprovable{w.unprovable(vcsFile, "", said.Why, adviceDirty)}, refused.Files...)
	return refused
}

// locate decides which commit and path to prove the crate from; placed says whether the
// path is known. For a crate that says "dirty" it returns them and the error.
func locate(c *crate.Crate, src Source) (claim *entry.Source, placed bool, err error) {
	info, err := c.VCSInfo()
	if err != nil && info == nil {
		return nil, false, err
	}
	claim = &entry.Source{}
	switch {
	case src.Commit != nil:
		claim.Commit = *src.Commit
	case info != nil:
		claim.Commit = info.Commit
	default:
		return nil, false, outcome.Usagef("the .crate has no .cargo_vcs_info.json, so it does not say which commit it " +
			"comes from; name it with --commit, an id or a tag (the package's directory in it is found)")
	}
	switch {
	case src.Path != nil:
		claim.Path, placed = *src.Path, true
	case info != nil && info.HasPath:
		claim.Path, placed = info.Path, true
	}
	if claim.Path != "" {
		if err := entry.CheckPath(claim.Path); err != nil {
			return nil, false, fmt.Errorf("path of the package in the repository: %w", err)
		}
	}
	return claim, placed, err
}
