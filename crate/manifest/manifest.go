// Package manifest checks that the Cargo.toml of a .crate follows from the Cargo.toml.orig
// beside it, as cargo derives the one from the other when it packages.
//
// Cargo.toml.orig is the manifest as its author wrote it, and a proof can say that it is the
// commit's. But no build reads it: cargo writes a second manifest, Cargo.toml, which a build
// obeys. A publisher can leave the first one honest and add a dependency, a build script or a
// feature to the second (arrayref 0.3.10 did). So this package reads both,
// turns each into a model of what it tells a build, and refuses the first that is not a
// consequence of the other.
//
// The model is made the same way for both, following cargo's own reading (cargo's
// util/toml, versions 1.19 to 1.95): defaults are filled in, both spellings of a key are one,
// targets are found among the .crate's files where the manifest does not list them. So it does
// not matter how much of that the cargo that packaged had already written out. What cargo
// removes (paths and git sources of dependencies, [patch], [replace], [workspace]) is removed
// from the original's model and must not be in Cargo.toml. What cargo passes on is compared
// whole, also where it does not reach a compiler (descriptions, badges, metadata): build scripts
// and registries read these.
//
// A key that this package does not know is held to be one that cargo does not know either:
// cargo leaves it out, and Cargo.toml may lack it, but must not have another value for it.
//
// Three things do not follow from the original alone. What it inherits, and the resolver that a
// workspace sets for its members, need the workspace root's manifest. The index of a registry
// that a dependency names stands in the publisher's configuration: such a dependency is refused.
// A file that was left out of the .crate may have made a target: Cargo.toml may lack it.
//
// What is not promised: that the .crate holds all the files that cargo would have packaged (a
// file left out may change which targets there are), and that the root given is the one that
// cargo would have found; both are the caller's.
package manifest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// MaxSize is the size in bytes above which a manifest is refused unread.
const MaxSize = 1 << 20

// MaxKeys is how many keys of a manifest are read, those in its tables included. The most that one
// was seen to have is about 3,000; a list of features can be longer.
const MaxKeys = 1 << 15

// MaxDeviations is how many deviations are collected before the comparison stops.
const MaxDeviations = 16

// File names as errors give them.
const (
	origFile = "Cargo.toml.orig"
	normFile = "Cargo.toml"
	rootFile = "the workspace root's Cargo.toml"
)

// ErrNeedsWorkspace means that what Cargo.toml says depends on the manifest of the workspace's
// root, which was not given.
var ErrNeedsWorkspace = errors.New("the manifest takes values from its workspace: they can only be derived " +
	"with the Cargo.toml at the workspace's root")

// A SyntaxError says why one of the manifests cannot be read as cargo reads it.
type SyntaxError struct {
	File string // which manifest
	Key  string // the key at fault, "" if the whole
	Why  string
}

func (e *SyntaxError) Error() string {
	if e.Key == "" {
		return e.File + " " + e.Why
	}
	return fmt.Sprintf("%s: %s %s", e.File, e.Key, e.Why)
}

// A Deviation is a key of Cargo.toml that does not follow from Cargo.toml.orig.
type Deviation struct {
	Key  string      // as in Cargo.toml, targets by their names: dependencies.libc.version, bin.tool.path
	Want string      // the value that follows, "" if there should be none
	Got  string      // the value found, "" if there is none
	More []Deviation // further deviations in order of keys, at most MaxDeviations-1
}

func (d *Deviation) Error() string {
	var b strings.Builder
	b.WriteString("Cargo.toml does not follow from Cargo.toml.orig: " + d.sentence())
	for i := range d.More {
		b.WriteString("; " + d.More[i].sentence())
	}
	return b.String()
}

func (d *Deviation) sentence() string {
	switch {
	case d.Want == "":
		return fmt.Sprintf("%s is %s, but nothing follows", d.Key, d.Got)
	case d.Got == "":
		return fmt.Sprintf("%s is missing, but %s follows", d.Key, d.Want)
	}
	return fmt.Sprintf("%s is %s, but %s follows", d.Key, d.Got, d.Want)
}

// A Package is the manifests of a .crate, each parsed once, and its files. It is not for several
// goroutines at a time.
type Package struct {
	files     *fileSet
	orig, doc table // orig is nil if the .crate has none: then doc is the author's own
	got       *reader
	err       error // of any of these
}

// NewPackage takes the two manifests and the paths of all the .crate's files, below
// NAME-VERSION/, in any order. doc is Cargo.toml as toml.Parse decodes it, and is altered. orig is
// nil if the .crate has no Cargo.toml.orig.
func NewPackage(orig []byte, doc map[string]any, files []string) *Package {
	p := &Package{}
	if p.files, p.err = newFileSet(files); p.err != nil {
		return p
	}
	if p.doc, p.err = check(normFile, doc); p.err == nil && orig != nil {
		p.orig, p.err = parse(origFile, orig)
	}
	return p
}

// Author returns what the author wrote: the decoded Cargo.toml.orig, or Cargo.toml where there is
// none; nil if it is not TOML.
func (p *Package) Author() map[string]any {
	if p.orig != nil {
		return p.orig
	}
	return p.doc
}

// Derive checks that Cargo.toml follows from Cargo.toml.orig, as cargo derives it. root is the
// Cargo.toml at the workspace's root, nil if there is
// none or it is not known; the caller has found it as cargo does (package.workspace of orig, or
// the nearest directory above with a [workspace] that does not exclude the package). It is not
// read if orig has a [workspace] itself. Without a Cargo.toml.orig nothing has to follow; but what
// a file that was left out could have moved is refused as ever.
//
// The error is a *Deviation if Cargo.toml says something else, ErrNeedsWorkspace if that can only
// be told with root, and a *SyntaxError if a manifest cannot be read.
func (p *Package) Derive(root []byte) error {
	if p.err != nil {
		return p.err
	}
	if p.orig == nil {
		r := &reader{file: normFile, doc: p.doc, files: p.files, orig: true}
		r.author()
		return r.moved()
	}
	if p.got == nil {
		p.got = &reader{file: normFile, doc: p.doc, files: p.files}
		p.got.read()
	}
	if p.got.err != nil {
		return p.got.err
	}
	want, err := readOrig(p.orig, p.files, root)
	if err != nil {
		return err
	}
	want.stripFeatures(p.got)
	settled := want.settleResolver(p.got)
	if d := compare(want.model, p.got.model); d != nil {
		return d
	}
	if !settled {
		return ErrNeedsWorkspace
	}
	return nil
}

// LeftOut returns, in order, the files that the author's manifest names and the .crate lacks: of
// targets and build scripts, the readme and the license file. cargo leaves out a target whose file
// it did not package. What a manifest does not name is not known.
func (p *Package) LeftOut() []string {
	if p.err != nil {
		return nil
	}
	r := &reader{file: origFile, doc: p.Author(), files: p.files, orig: true, found: p.doc}
	r.author()
	for i, p := range r.leftOut {
		r.leftOut[i] = display(p)
	}
	all := slices.Compact(slices.Sorted(slices.Values(r.leftOut)))
	if len(all) > MaxLeftOut {
		all = append(all[:MaxLeftOut-1:MaxLeftOut-1], fmt.Sprintf("and %d more", len(all)-MaxLeftOut+1))
	}
	return all
}

// MaxLeftOut is the most that LeftOut returns.
const MaxLeftOut = 256

// display returns a path of the author's as it can be shown.
func display(p string) string {
	const most = 1024
	if len(p) > most {
		p = strings.ToValidUTF8(p[:most], "") + "…"
	}
	if strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(p)
	}
	if !strings.Contains(p, `\`) {
		p = path.Clean(p)
	}
	return p
}

// Derive is Package.Derive of two manifests as they stand in a .crate with these files.
func Derive(orig, normalized []byte, files []string, root []byte) error {
	doc, err := parse(normFile, normalized)
	if err != nil {
		return err
	}
	if orig == nil {
		orig = []byte{}
	}
	return NewPackage(orig, doc, files).Derive(root)
}

// Inherits reports whether orig, a Cargo.toml.orig, inherits a key from the manifest of a
// workspace's root that is another file. It does not see a resolver that the workspace sets,
// which leaves no trace in orig: only Derive finds out.
func Inherits(orig []byte) (bool, error) {
	doc, err := parse(origFile, orig)
	if err != nil {
		return false, err
	}
	if _, ok := doc["workspace"]; ok {
		return false, nil
	}
	return inherits(doc), nil
}
