// Package crate reads a .crate archive, hashes its files as git does, and lists
// which of them must stand where in a git tree for a source claim to be true.
//
// A .crate is hostile until Read has accepted it. Accepted is one gzip member
// with one tar archive in it, of regular files below NAME-VERSION/ only, every
// byte of which is accounted for: no links, devices, directories, pax or sparse
// records, no base-256 numbers, no hidden or repeated names, none that are one on
// some file system (case, accents) or another file's on Windows, and nothing but
// zeros in padding and after the end. What one tar reader could see and another
// could not is refused.
//
// What every file of the crate is, with P the claim's path in the repository:
//
//   - proven: the blob at P/path, with its executable bit;
//   - Cargo.toml.orig: the blob P/Cargo.toml, or listed as unproven together with Cargo.toml,
//     as where a release tool edits the version;
//   - Cargo.toml: derived, that is, it says nothing that does not follow from
//     Cargo.toml.orig and, where that inherits from a workspace, from the manifest at
//     the workspace's root, which the claim carries and whose place is proven (package
//     manifest); without Cargo.toml.orig it is the blob P/Cargo.toml. What does not
//     follow is accepted only as a file that the claim lists as unproven;
//   - Cargo.lock: proven, or listed as unproven; then it may be derived, that is, choose
//     no version that the commit's own Cargo.lock does not choose (DerivedLock): the claim
//     names that one, and it is proven as an ordinary file (mode 100644), at P/Cargo.lock
//     or at the root of the package's workspace. Its bytes travel in the opening;
//   - .cargo_vcs_info.json: exactly what cargo writes for the claim's commit and
//     path, or absent; "dirty" only if Cargo.toml.orig is unproven;
//   - a file that the claim lists as from outside of the package: the blob where
//     the readme or license-file of Cargo.toml.orig points, which has its name.
//
// A proven file may have CRLF line ends where the blob has LF, as after a checkout on Windows or
// where .gitattributes say so, if the claim lists it so: then a CR stands before each of its LFs
// and nowhere else, git does not hold it for binary, and it is hashed without the CRs. The claim may list
// .gitattributes of the commit that say so, with their content; they are proven as well.
//
// A path may lead through symbolic links, whose texts are in the claim: as in a
// file system, a link stands for what its text names, seen from its directory. The
// links are proven as well, and what they lead to; they may leave P, but not the
// repository. A path may lead through submodules, which the claim lists: their
// commits and trees are proven as objects of their own.
//
// # The list L
//
// A claim's files are one canonical byte string L, the part of the commit's tree
// that the crate needs. Objects are numbered breadth-first: 0 is the commit, 1
// its root tree; every object, in order, appends its children: a tree its listed
// directories and submodules, in the order of its entries, and the commit of a
// submodule its root tree. L is the concatenation over the objects of
//
//	commit:  'c'
//	tree:    't', and for each listed entry
//	         MODE SP NAME NUL          and for a file or link the 20 bytes of its blob id
//
// MODE is 40000 for a directory, 160000 for a submodule, 120000 for a symbolic
// link, 100644 or 100755 for a file. Entries are in git's order: by name as bytes,
// where a directory's name has '/' appended. Listed are the files, the links on the
// way to them, and the directories and submodules that hold them.
//
// The digest of L is its SHA-256. A proof does not stand on it: whoever checks one has L itself.
package crate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/toml"
)

const (
	manifestFile = "Cargo.toml"
	origFile     = "Cargo.toml.orig"
	lockFile     = "Cargo.lock"
	vcsFile      = ".cargo_vcs_info.json"
)

// A Crate is a .crate archive that Read has accepted.
type Crate struct {
	Name, Version string   // package.name and package.version of Cargo.toml
	SHA256        [32]byte // of the whole .crate, trailing bytes included
	Files         []File   // every file, sorted by path as bytes
	Trailing      int      // bytes after the gzip member: counted, never read (cargo ignores them)

	vcsInfo  []byte // content of .cargo_vcs_info.json; nil if there is none
	manifest []byte // content of Cargo.toml
	orig     []byte // content of Cargo.toml.orig; nil if there is none

	build sync.Mutex        // guards pkg
	pkg   *manifest.Package // both manifests, parsed; nil until it is needed
	doc   map[string]any    // Cargo.toml, parsed; it is pkg's once there is one

	raw    []byte // the caller's, as handed to Read, for Contents
	limits Limits
}

// A File is one regular file of a crate.
type File struct {
	Path string   // below NAME-VERSION/, with forward slashes; entry.CheckPath holds
	Exec bool     // the owner may execute it
	Size int64    // bytes
	Blob [20]byte // id of its content as a git blob (SHA-1, without known collision attacks)
}

// Limits bound what Read accepts. A zero limit accepts nothing: start from
// DefaultLimits.
type Limits struct {
	Compressed int64 // bytes of the .crate
	Inflated   int64 // bytes of the tar archive in it
	Files      int   // number of files

	// Pause is called again and again while an archive is inflated, before each 32 KiB or less; nil: it is
	// not. It may wait, and its error ends the reading and is returned as it is.
	Pause Pauser
}

// A Pauser lets long work wait for shorter work of others.
type Pauser interface{ Pause() error }

// DefaultLimits admits the largest published crates.
var DefaultLimits = Limits{Compressed: 64 << 20, Inflated: 512 << 20, Files: 20000}

// Read checks the bytes of a .crate in full and hashes its files. Name and
// version are what the caller expects: the archive's directory and Cargo.toml
// must agree with them. Errors are *ArchiveError, *ManifestError or *CollisionError.
func Read(raw []byte, name, version string, lim Limits) (*Crate, error) {
	return ReadHashed(raw, sha256.Sum256(raw), name, version, lim)
}

// ReadHashed is Read for a caller that has hashed raw already: sum must be its SHA-256,
// and becomes the Crate's.
func ReadHashed(raw []byte, sum [32]byte, name, version string, lim Limits) (*Crate, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, err
	}
	c, err := read(raw, sum, name+"-"+version, lim)
	if err != nil {
		return nil, err
	}
	if c.Name != name || c.Version != version {
		return nil, &ManifestError{fmt.Sprintf("says that the package is %s %s, but the .crate is that of %s %s",
			c.Name, c.Version, name, version)}
	}
	return c, nil
}

// ReadFile is Read for a file that says its name and version itself: its Cargo.toml and
// its top directory must agree on them. The file's own name does not matter.
func ReadFile(path string, lim Limits) (*Crate, error) {
	raw, err := durable.ReadAny(path, lim.Compressed)
	switch {
	case errors.Is(err, durable.ErrTooLarge):
		return nil, fmt.Errorf("%s: %w", path, tooLarge(lim))
	case err != nil:
		return nil, err
	}
	c, err := read(raw, sha256.Sum256(raw), "", lim)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func byPath(a, b File) int { return strings.Compare(a.Path, b.Path) }

// Manifest returns the content of Cargo.toml, which must not be changed.
func (c *Crate) Manifest() []byte { return c.manifest }

// lookup finds a file by its path. Files is sorted.
func (c *Crate) lookup(path string) (File, bool) {
	i, ok := slices.BinarySearchFunc(c.Files, File{Path: path}, byPath)
	if !ok {
		return File{}, false
	}
	return c.Files[i], true
}

// Contents reads files of the crate again, those of at most max bytes, and hands each
// to visit, in the archive's order. It takes as long as Read, for any number of files,
// and holds one at a time. The bytes that Read was given are still needed: they must
// not have changed since.
func (c *Crate) Contents(paths []string, max int64, visit func(f File, content []byte)) error {
	again := &selection{paths: map[string]bool{}, max: max}
	for _, p := range paths {
		again.paths[p] = true
	}
	var changed error
	again.visit = func(f File, content []byte) {
		if was, ok := c.lookup(f.Path); !ok || was != f {
			changed = refuse(f.Path, "has changed since it was read first")
			return
		}
		visit(f, content)
	}
	if _, err := readArchive(c.raw, c.Name+"-"+c.Version, c.limits, again); err != nil {
		return err
	}
	return changed
}

// Derive checks that Cargo.toml follows from Cargo.toml.orig. root is the manifest at
// the root of the package's workspace, nil if there is none or it is not known.
// The error is manifest.ErrNeedsWorkspace, *manifest.Deviation or
// *manifest.SyntaxError. Of a crate without Cargo.toml.orig, or with one that is equal,
// it only checks that no file that was left out can have moved a target.
func (c *Crate) Derive(root []byte) error {
	if c.manifest == nil {
		return nil // no crate that Read has accepted
	}
	c.build.Lock()
	defer c.build.Unlock()
	return c.manifests().Derive(root)
}

// LeftOut returns, in order, the files that the author's manifest names and the .crate
// lacks: sources of targets, build scripts, readme and license file. It is what
// Cargo.toml.orig says, which a claim binds to the commit. Whatever cargo finds by itself
// and whatever is not named may be missing besides.
func (c *Crate) LeftOut() []string {
	if c.manifest == nil {
		return nil
	}
	c.build.Lock()
	defer c.build.Unlock()
	return c.manifests().LeftOut()
}

// Repository returns what package.repository of Cargo.toml says, "" if nothing. Nobody has checked
// it.
func (c *Crate) Repository() string {
	c.build.Lock()
	defer c.build.Unlock()
	pkg, _ := c.doc["package"].(map[string]any)
	url, _ := pkg["repository"].(string)
	return url
}

// author returns [package], or [project], of the manifest as the author wrote it, if there is
// a Cargo.toml.orig.
func (c *Crate) author() map[string]any {
	if c.orig == nil {
		return nil
	}
	c.build.Lock()
	defer c.build.Unlock()
	doc := c.manifests().Author()
	pkg, ok := doc["package"].(map[string]any)
	if !ok {
		pkg, _ = doc["project"].(map[string]any) // as it was called once
	}
	return pkg
}

// manifests returns the crate's manifests. The caller holds build.
func (c *Crate) manifests() *manifest.Package {
	if c.pkg == nil {
		files := make([]string, len(c.Files))
		for i, f := range c.Files {
			files[i] = f.Path
		}
		orig := c.orig
		if bytes.Equal(orig, c.manifest) {
			orig = nil
		}
		c.pkg = manifest.NewPackage(orig, c.doc, files)
	}
	return c.pkg
}

// read accepts a .crate whose top directory is root, or with root "" the one
// that its manifest asks for.
func read(raw []byte, sum [32]byte, root string, lim Limits) (*Crate, error) {
	a, err := readArchive(raw, root, lim, nil)
	if err != nil {
		return nil, err
	}
	c := &Crate{
		SHA256: sum, Files: a.files, Trailing: a.trailing,
		vcsInfo: a.kept[vcsFile], manifest: a.kept[manifestFile], orig: a.kept[origFile],
		raw: raw, limits: lim,
	}
	slices.SortFunc(c.Files, byPath)
	if c.manifest == nil {
		return nil, &ManifestError{"is missing from the .crate"}
	}
	if c.doc, err = toml.ParseKeys(c.manifest, manifest.MaxKeys); err != nil {
		return nil, &ManifestError{err.Error()}
	}
	if c.Name, c.Version, err = nameAndVersion(c.doc); err != nil {
		return nil, err
	}
	if want := c.Name + "-" + c.Version; a.root != want {
		return nil, &ManifestError{fmt.Sprintf("says that the package is %s %s, but the .crate's files lie below %q",
			c.Name, c.Version, a.root)}
	}
	return c, nil
}
