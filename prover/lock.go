package prover

import (
	"errors"
	"fmt"
	"slices"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/prover/git"
)

// errNoLock says that the commit has no Cargo.lock that the crate's could follow from.
var errNoLock = errors.New("the commit has no Cargo.lock where cargo would look for it")

// lock names the commit's Cargo.lock in the claim, if the crate's is unproven and follows from it, and
// returns its content; also where it follows but for members of the workspace. why says why it does not
// follow. Readers can do without: only what leaves the question open, as a file that could not be read, is
// an error.
func (w *walk) lock() (content []byte, why, err error) {
	switch {
	case !slices.Contains(w.claim.Unproven, cargoLock):
		return nil, nil, nil
	case slices.Contains(w.claim.Unproven, origFile):
		return nil, errors.New("what says where the commit's is, Cargo.toml.orig, is not proven"), nil
	}
	dir, err := w.lockDir()
	if errors.As(err, new(*RootSizeError)) || errors.As(err, new(*crate.PlaceError)) {
		return nil, err, nil
	} else if err != nil {
		return nil, nil, err
	}
	p, lost := w.layout.LockPlace(dir)
	content, blob, why, err := w.readLock(p, lost)
	if why == nil && err == nil {
		err = w.crate.DerivedLock(content)
		if errors.As(err, new(*crate.LockError)) || errors.As(err, new(*crate.MembersError)) {
			why, err = err, nil
		}
	}
	if err != nil || why != nil && !errors.As(why, new(*crate.MembersError)) {
		return nil, why, err
	}
	w.claim.Lock = &entry.Lock{Path: dir, Blob: blob}
	return content, why, nil
}

// lockDir returns where cargo looks for the Cargo.lock: at the root of the workspace, or in the package.
func (w *walk) lockDir() (string, error) {
	dirs, err := w.layout.LockDirs()
	if err != nil {
		return "", err
	}
	if len(dirs) == 1 {
		return dirs[0], nil
	}
	root, err := w.layout.Root(w.readManifest)
	if err != nil || root == nil {
		return w.claim.Path, err
	}
	return root.Path, nil
}

// readLock reads the Cargo.lock at a place of the commit; why says why it is none that a claim can name.
func (w *walk) readLock(p crate.Place, lost error) (content []byte, blob [20]byte, why, err error) {
	var e git.TreeEntry
	if err = lost; err == nil {
		e, err = w.entry(p.At)
	}
	var place *crate.PlaceError
	var module *noSubmodule
	switch {
	case errors.As(err, new(*git.NotFoundError)), errors.As(err, new(*git.NotDirectoryError)):
		return nil, blob, errNoLock, nil
	case errors.As(err, &place), errors.As(err, &module):
		return nil, blob, err, nil
	case err != nil:
		return nil, blob, nil, err
	case e.Mode != git.ModeFile:
		return nil, blob, fmt.Errorf("%s has the mode %s in the commit; a proof can show %s there only", p.Path, e.Mode,
			git.ModeFile), nil
	}
	for own, err := range w.layout.Files() {
		if err == nil && own.At == p.At {
			return nil, blob, fmt.Errorf("%s of the commit is the crate's %s", p.Path, own.Name), nil
		}
	}
	s, _ := w.within(p.At)
	content, err = s.Blob(w.ctx, e.ID, crate.MaxLock)
	if errors.As(err, new(*git.SizeError)) || errors.As(err, new(*git.MissingError)) { // a clone may lack it
		return nil, blob, fmt.Errorf("%s of the commit: %w", p.Path, err), nil
	} else if err != nil {
		return nil, blob, nil, fmt.Errorf("%s: %w", p.Path, err)
	}
	return content, e.ID, nil, nil
}

// Unproven says of every file that the plan does not bind to the commit why that is, a sentence
// each. A Cargo.lock that follows from the commit's is not among them.
func (p *Plan) Unproven() (all []string) {
	for _, f := range p.Claim.Unproven {
		switch {
		case f != cargoLock:
			all = append(all, f+" is not proven: the commit does not have it in this form")
		case p.LockWhy != nil:
			all = append(all, fmt.Sprintf("%s is not proven, so a program that is built with it has versions that whoever "+
				"packaged chose: %v", f, p.LockWhy))
		}
	}
	return all
}
