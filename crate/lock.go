package crate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cratelog/crate/lockfile"
	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// MaxLock is the largest Cargo.lock, of a crate or of a commit, that one is derived with, in bytes.
const MaxLock = 4 << 20

// ErrNoLock means that a .crate has no Cargo.lock.
var ErrNoLock = errors.New("the .crate has no Cargo.lock, so it does not say which versions it is built with")

// A LockError says why the Cargo.lock of a .crate does not follow from the commit's.
type LockError struct{ Why string }

func (e *LockError) Error() string { return "Cargo.lock " + e.Why }

func lockError(why string, args ...any) error { return &LockError{fmt.Sprintf(why, args...)} }

// A Chooser says who chose the versions that a Cargo.lock names.
type Chooser string

const (
	ByCommit   Chooser = "the commit"       // the file is proven, or derived from one that is
	ByPackager Chooser = "whoever packaged" // nothing binds it to the commit
)

// LockChosenBy says who chose the versions in the crate's Cargo.lock, under a claim that Check and a
// proof have shown to be true. commitLock is the content of the Cargo.lock that the claim names, nil
// if it is not at hand: it travels in the opening (package opening). The error says why it is not
// the commit; it is ErrNoLock, a *LockError, or an error of Contents.
func (c *Crate) LockChosenBy(src *entry.Source, commitLock []byte) (Chooser, error) {
	if _, ok := c.lookup(lockFile); !ok {
		return ByPackager, ErrNoLock
	}
	switch {
	case !slices.Contains(src.Unproven, lockFile):
		return ByCommit, nil
	case src.Lock == nil:
		return ByPackager, lockError("is not the commit's, and the claim names no Cargo.lock of the commit that it follows " +
			"from")
	case commitLock == nil:
		return ByPackager, lockError("is said to follow from the commit's, whose bytes are not at hand; they are in the " +
			"entry's opening")
	case len(commitLock) > MaxLock:
		return ByPackager, tooLongLock("the commit's")
	}
	id, err := gitobject.Object{Type: gitobject.TypeBlob, Content: commitLock}.ID()
	switch {
	case err != nil:
		return ByPackager, lockError("of the commit proves nothing: %v", err)
	case id != src.Lock.Blob:
		return ByPackager, lockError("of the commit is the blob %x by the claim, and these bytes are %x", src.Lock.Blob, id)
	}
	if err := c.DerivedLock(commitLock); err != nil {
		return ByPackager, err
	}
	return ByCommit, nil
}

func tooLongLock(whose string) error {
	return lockError("(%s) has more than the %d bytes that are read", whose, MaxLock)
}

// Lock returns the content of the crate's Cargo.lock, which it unpacks again. The error is
// ErrNoLock, a *LockError above MaxLock, or one of Contents.
func (c *Crate) Lock() (content []byte, err error) {
	f, ok := c.lookup(lockFile)
	switch {
	case !ok:
		return nil, ErrNoLock
	case f.Size > MaxLock:
		return nil, tooLongLock("the .crate's")
	}
	err = c.Contents([]string{lockFile}, MaxLock, func(_ File, b []byte) { content = slices.Clone(b) })
	return content, err
}

// DerivedLock checks that the crate's Cargo.lock chooses nothing that the Cargo.lock of a commit does
// not choose: both have the package itself, without a source; every other package of the crate's comes
// from a registry and stands there as well, with name, version, source and checksum; and no package
// depends on one that it does not depend on there. A member of the workspace that became a package of a
// registry does not follow: the commit's file has no checksum of it. The error is ErrNoLock, a
// *LockError, or one of Contents.
func (c *Crate) DerivedLock(commitLock []byte) error {
	if len(commitLock) > MaxLock {
		return tooLongLock("the commit's")
	}
	own, err := c.Lock()
	if err != nil {
		return err
	}
	have, err := lockfile.Parse(own)
	if err != nil {
		return lockError("is no lock file: %v", err)
	}
	from, err := lockfile.Parse(commitLock)
	if err != nil {
		return lockError("of the commit is no lock file: %v", err)
	}
	return c.derivedLock(have, from)
}

func (c *Crate) derivedLock(have, from *lockfile.Lock) error {
	there := make(map[string]int, len(from.Packages))
	for i, p := range from.Packages {
		there[p.String()] = i
	}
	self, err := c.packageItself(from)
	if err != nil {
		return err
	}
	itself := false
	as := make([]int, len(have.Packages)) // which package of from each is
	for i, p := range have.Packages {
		at, ok := there[p.String()]
		switch {
		case p.Source == "" && p.Name == c.Name && p.Version == c.Version:
			as[i], itself = self, true
			continue
		case p.Source == "":
			return lockError("has %s, which comes from no registry", p)
		case p.Replace != "" || p.Checksum == nil:
			return lockError("takes %s from elsewhere than a registry, so nothing says which bytes it is", p)
		case !ok:
			return lockError("does not follow from the commit's: %s", missing(p, from))
		case from.Packages[at].Replace != "":
			return lockError("does not follow from the commit's, which replaces %s", p)
		case from.Packages[at].Checksum == nil || *from.Packages[at].Checksum != *p.Checksum:
			return lockError("does not follow from the commit's, in which %s has another checksum", p)
		}
		as[i] = at
	}
	if !itself {
		return lockError("has no %s %s, the package itself", c.Name, c.Version)
	}
	for i, p := range have.Packages {
		for _, to := range have.DependsOn(i) {
			if !slices.Contains(from.DependsOn(as[i]), as[to]) {
				return lockError("does not follow from the commit's, in which %s %s does not depend on %s", p.Name, p.Version,
					have.Packages[to])
			}
		}
	}
	return nil
}

// packageItself finds the crate's package among those of its workspace.
func (c *Crate) packageItself(from *lockfile.Lock) (at int, err error) {
	var found []int
	for _, i := range from.Named(c.Name) {
		if p := from.Packages[i]; p.Source == "" && p.Name == c.Name {
			found = append(found, i)
		}
	}
	if len(found) != 1 {
		return 0, lockError("of the commit is not one of this package: it has %d packages %s without a source", len(found), c.Name)
	}
	return found[0], nil
}

// missing says why a lock file has no such package.
func missing(p lockfile.Package, from *lockfile.Lock) string {
	why := fmt.Sprintf("that has no %s", p)
	for _, i := range from.Named(p.Name) {
		switch other := from.Packages[i]; {
		case other.Source == "" && other.Name == p.Name:
			return fmt.Sprintf("%s %s comes from a registry, and is a package of the repository there, of which it has no "+
				"checksum", p.Name, p.Version)
		case other.Version == p.Version:
			why = fmt.Sprintf("%s has another source there", p)
		case other.Source == p.Source:
			why += fmt.Sprintf(", but version %s", other.Version)
		}
	}
	return why
}

// LockDirs returns the directories in which cargo may look for the Cargo.lock of the package: the
// root of the workspace, if the claim or Cargo.toml.orig says which it is; else those above the
// package, the nearest first, and its own. Which of these it is, the repository alone shows.
func (l *Layout) LockDirs() ([]string, error) {
	pkg := l.claim.Path
	switch {
	case l.claim.Workspace != nil:
		return []string{l.claim.Workspace.Path}, nil
	case l.crate.isWorkspace():
		return []string{pkg}, nil
	}
	dirs, err := l.crate.roots(pkg)
	if named, _ := l.crate.author()["workspace"].(string); err != nil || named != "" {
		return dirs, err
	}
	return append(dirs, pkg), nil
}

// LockPlace returns where the Cargo.lock of a directory of LockDirs stands in the repository. The error is
// a *PlaceError, or one of Link.
func (l *Layout) LockPlace(dir string) (Place, error) {
	p := Place{Path: join(dir, lockFile)}
	dirs, err := l.LockDirs()
	switch {
	case err != nil:
		return p, err
	case !slices.Contains(dirs, dir):
		return p, &PlaceError{p.Path, "is not where cargo would look for the package's Cargo.lock"}
	}
	return p, l.follow(&p)
}

// addLock adds the commit's Cargo.lock to the tree, which holds all else.
func (l *Layout) addLock(t *tree) error {
	lock := l.claim.Lock
	p, err := l.LockPlace(lock.Path)
	switch {
	case err != nil:
		return err
	case t.has(p.At):
		return &PlaceError{p.At, "is said to be the commit's Cargo.lock, and is another proven file"}
	}
	return t.add(p, Entry{Mode: modeFile, Blob: lock.Blob})
}

// checkLock checks that the commit's Cargo.lock is named only beside one that is not proven, where
// the manifest that decides where cargo looks for it is.
func (c *Crate) checkLock(src *entry.Source) error {
	switch {
	case src.Lock == nil:
		return nil
	case !slices.Contains(src.Unproven, lockFile):
		return &UnprovenError{lockFile, "is not listed as unproven, but the claim names the commit's, which it follows from"}
	case slices.Contains(src.Unproven, origFile):
		return &UnprovenError{lockFile, "is said to follow from the commit's, but Cargo.toml.orig, which says where that is, " +
			"is unproven"}
	}
	return nil
}

// isWorkspace says whether the author's manifest makes the package the root of a workspace.
func (c *Crate) isWorkspace() bool {
	if c.manifest == nil {
		return false
	}
	c.build.Lock()
	defer c.build.Unlock()
	_, is := c.manifests().Author()["workspace"].(map[string]any)
	return is
}

// has says whether anything is listed at a path.
func (t *tree) has(at string) bool {
	n := t.root
	for name := range strings.SplitSeq(at, "/") {
		if n = n.entry(name); n == nil {
			return false
		}
	}
	return true
}
