// Package prover makes entries: from a .crate and the repository that it was
// packaged from, to a proof that binds the one to the other.
//
// No reader trusts it: log, clients and monitors check what it makes with proofcheck and
// crate. It checks its own work before it hands it out.
package prover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/prover/git"
)

// Plan is a statement that is true, with all that its proof needs: everything but
// the expensive part.
type Plan struct {
	Subject entry.Subject
	Claim   *entry.Source
	Blocks  int // SHA-1 blocks that its git objects take
	List    *crate.List

	objects []circuit.Object
}

// Source names the commit that a crate is to be proven from. Zero fields are taken
// from the crate's own .cargo_vcs_info.json.
type Source struct {
	Commit *[20]byte
	Path   *string // of the package in the repository, "" for the root

	// UnprovenManifest lists Cargo.toml as unproven if it does not follow from its
	// original, instead of refusing the crate. Few readers accept that.
	UnprovenManifest bool

	// Submodule opens the repository of the submodule at a path; nil if it is not found.
	// The repositories stay the caller's.
	Submodule func(ctx context.Context, path string) (*git.Repo, error)
}

// Unprovable is a file of a crate that cannot be proven from the commit.
type Unprovable struct {
	File string
	Why  string
	Fix  string // what most likely happened, and what to do about it; "" if that is not known
}

// UnprovableError names every file that cannot be proven.
type UnprovableError struct {
	Commit [20]byte
	Files  []Unprovable
}

func (e *UnprovableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the crate cannot be proven from commit %x:", e.Commit)
	for _, f := range e.Files {
		fmt.Fprintf(&b, "\n  %s: %s", f.File, f.Why)
	}
	for _, fix := range e.fixes() {
		fmt.Fprintf(&b, "\nabout %s: %s", some(fix.files), fix.text)
	}
	return b.String()
}

// A fix is for the files that have it in common.
type fix struct {
	text  string
	files []string
}

// fixes returns every fix once, in the order of the files.
func (e *UnprovableError) fixes() []fix {
	var out []fix
	for _, f := range e.Files {
		if f.Fix == "" {
			continue
		}
		i := slices.IndexFunc(out, func(o fix) bool { return o.text == f.Fix })
		if i < 0 {
			i, out = len(out), append(out, fix{text: f.Fix})
		}
		out[i].files = append(out[i].files, f.File)
	}
	return out
}

// some names the first of a list of files, and counts the others.
func some(files []string) string {
	const most = 3
	if len(files) <= most {
		return strings.Join(files, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
}

// NewPlan compares a crate with a commit of a repository. It returns an
// *UnprovableError that names all files that stand in the way of a proof.
//
// Cargo.lock is listed as unproven if the commit has none or another.
func NewPlan(ctx context.Context, c *crate.Crate, repo *git.Repo, src Source) (*Plan, error) {
	claim, err := locate(c, src)
	var dirty *crate.VCSInfoError
	if err != nil && (claim == nil || !errors.As(err, &dirty)) {
		return nil, err
	}
	top, err := repo.At(ctx, claim.Commit)
	if err != nil {
		return nil, err
	}
	w := newWalk(ctx, c, claim, top, src)
	if dirty != nil {
		return nil, w.whatIsDirty(dirty)
	}
	if err := w.compare(); err != nil {
		return nil, err
	}
	if err := w.manifest(src.UnprovenManifest); err != nil {
		return nil, err
	}
	if err := w.layout.Complete(); err != nil {
		return nil, err
	}
	list, err := c.List(claim)
	if err != nil {
		return nil, err
	}
	claim.Files = list.Digest
	p := &Plan{
		Subject: entry.Subject{Name: c.Name, Version: c.Version, SHA256: c.SHA256},
		Claim:   claim, List: list,
	}
	for _, o := range list.Objects {
		object, err := w.object(o)
		if err != nil {
			return nil, err
		}
		p.objects = append(p.objects, object)
	}
	p.Blocks = circuit.Blocks(p.objects)
	return p, nil
}

// whatIsDirty returns an *UnprovableError that names what differs from the commit
// in a crate that says itself that something does, or else the crate's own words.
func (w *walk) whatIsDirty(said *crate.VCSInfoError) error {
	var refused *UnprovableError
	if err := w.compare(); !errors.As(err, &refused) {
		return said
	}
	refused.Files = append([]Unprovable{{File: ".cargo_vcs_info.json", Why: said.Why}}, refused.Files...)
	return refused
}

// locate decides which commit and path to prove the crate from. For a crate that
// says "dirty" it returns them and the error.
func locate(c *crate.Crate, src Source) (*entry.Source, error) {
	info, err := c.VCSInfo()
	if err != nil && info == nil {
		return nil, err
	}
	claim, wrong := claimOf(info, src)
	if wrong != nil {
		return nil, wrong
	}
	return claim, err
}

// claimOf returns a claim with a commit and a path.
func claimOf(info *crate.VCSInfo, src Source) (*entry.Source, error) {
	claim := &entry.Source{}
	switch {
	case src.Commit != nil:
		claim.Commit = *src.Commit
	case info != nil:
		claim.Commit = info.Commit
	default:
		return nil, errors.New("the .crate has no .cargo_vcs_info.json, " +
			"so it does not say which commit it comes from; name the commit")
	}
	if info != nil {
		claim.Path = info.Path
	}
	if src.Path != nil {
		claim.Path = *src.Path
	}
	if claim.Path != "" {
		if err := entry.CheckPath(claim.Path); err != nil {
			return nil, fmt.Errorf("path of the package in the repository: %w", err)
		}
	}
	return claim, nil
}
