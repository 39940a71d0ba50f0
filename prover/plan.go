// Package prover makes entries: from a .crate and the repository that it was
// packaged from, to a proof that binds the one to the other.
//
// Nothing here is trusted by anyone: what it makes is checked by proofcheck and
// crate, by the log, by clients and by monitors. It checks its own work before it
// hands it out.
package prover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/git"
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
}

// Unprovable is a file of a crate that the commit does not vouch for.
type Unprovable struct {
	File string
	Why  string
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
	return b.String()
}

// NewPlan compares a crate with a commit of a repository. It returns an
// *UnprovableError that names all files that stand in the way of a proof.
//
// Cargo.toml is listed as unproven if cargo has rewritten it, Cargo.lock if the
// commit has none or another.
func NewPlan(ctx context.Context, c *crate.Crate, repo *git.Repo, src Source) (*Plan, error) {
	claim, err := locate(c, src)
	var dirty *crate.VCSInfoError
	if claim != nil && errors.As(err, &dirty) {
		return nil, whatIsDirty(ctx, c, repo, claim, dirty)
	} else if err != nil {
		return nil, err
	}
	tree, err := repo.At(ctx, claim.Commit)
	if err != nil {
		return nil, err
	}
	claim.Unproven = c.Derived()
	if err := compare(ctx, tree, c, claim); err != nil {
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
		if o.Commit {
			p.objects = append(p.objects, circuit.Object{Data: tree.Commit.Object.Encode()})
			continue
		}
		t, err := tree.Tree(ctx, o.Path)
		if err != nil {
			return nil, err
		}
		listed := make(map[string]bool, len(o.Entries))
		for _, e := range o.Entries {
			listed[e.Name] = true
		}
		p.objects = append(p.objects, circuit.Object{Data: t.Object.Encode(), Listed: listed})
	}
	p.Blocks = circuit.Blocks(p.objects)
	return p, nil
}

// whatIsDirty returns an *UnprovableError that names what differs from the commit
// in a crate that says itself that something does, or else the crate's own words.
func whatIsDirty(ctx context.Context, c *crate.Crate, repo *git.Repo, claim *entry.Source, said *crate.VCSInfoError) error {
	tree, err := repo.At(ctx, claim.Commit)
	if err != nil {
		return said
	}
	claim.Unproven = c.Derived()
	var refused *UnprovableError
	if err := compare(ctx, tree, c, claim); !errors.As(err, &refused) {
		return said
	}
	refused.Files = append([]Unprovable{{".cargo_vcs_info.json", said.Why}}, refused.Files...)
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
		return nil, errors.New("the .crate has no .cargo_vcs_info.json, so it does not say which commit it comes from; name the commit")
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

// compare looks every file of the crate up in the commit. It moves Cargo.lock to
// the unproven files if it must, and reports everything else that differs.
func compare(ctx context.Context, tree *git.Snapshot, c *crate.Crate, claim *entry.Source) error {
	refused := &UnprovableError{Commit: claim.Commit}
	hasOrig := slices.ContainsFunc(c.Files, func(f crate.File) bool { return f.Path == "Cargo.toml.orig" })
	for _, f := range c.Files {
		at := f.Path
		switch {
		case slices.Contains(claim.Unproven, f.Path), f.Path == ".cargo_vcs_info.json":
			continue
		case f.Path == "Cargo.toml" && hasOrig:
			continue // equal to Cargo.toml.orig, or it would be unproven
		case f.Path == "Cargo.toml.orig":
			at = "Cargo.toml"
		}
		why, err := differs(ctx, tree, join(claim.Path, at), f)
		if err != nil {
			return err
		}
		if why == "" {
			continue
		}
		if f.Path == "Cargo.lock" {
			claim.Unproven = append(claim.Unproven, f.Path)
			continue
		}
		refused.Files = append(refused.Files, Unprovable{f.Path, why})
	}
	sort.Strings(claim.Unproven)
	if len(refused.Files) > 0 {
		return refused
	}
	return nil
}

// differs says in what a file differs from what stands at a path of the commit.
func differs(ctx context.Context, tree *git.Snapshot, path string, f crate.File) (why string, err error) {
	e, err := tree.Entry(ctx, path)
	var notFound *git.NotFoundError
	var notDirectory *git.NotDirectoryError
	switch {
	case errors.As(err, &notFound):
		return fmt.Sprintf("the commit has no %s", path), nil
	case errors.As(err, &notDirectory) && notDirectory.Mode != git.ModeFile && notDirectory.Mode != git.ModeExecutable:
		return notYet(notDirectory.Path, notDirectory.Mode), nil
	case errors.As(err, &notDirectory):
		return fmt.Sprintf("the commit has no %s: %s is %s there", path, notDirectory.Path, git.KindOf(notDirectory.Mode)), nil
	case err != nil:
		return "", err
	}
	want := git.ModeFile
	if f.Exec {
		want = git.ModeExecutable
	}
	switch {
	case e.Mode == git.ModeSymlink || e.Mode == git.ModeSubmodule:
		return notYet(path, e.Mode), nil
	case e.Mode == git.ModeDirectory:
		return fmt.Sprintf("%s is a directory in the commit", path), nil
	case e.ID != f.Blob:
		return fmt.Sprintf("its content differs from the commit's %s (blob %x there, %x in the .crate)", path, e.ID[:6], f.Blob[:6]), nil
	case e.Mode != want:
		return fmt.Sprintf("its mode is %s in the .crate and %s in the commit", want, e.Mode), nil
	}
	return "", nil
}

func notYet(path, mode string) string {
	return fmt.Sprintf("%s is %s in the commit, which this version cannot prove yet", path, git.KindOf(mode))
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
