// Package opening shows a claim to be true, or false, with SHA-1 alone: no proof, no key and no
// setup is believed. It is for public source: an opening shows the names of all that stands in the
// directories of the repository that hold the crate's files, and the whole commit, author and
// message included.
//
// # Format
//
// An opening of a source claim is exactly the objects of the claim's list L (package crate), in its
// order, and then the commit's Cargo.lock if the claim names it, each as git hashes it, one after
// the other, and nothing else:
//
//	opening = 1*object [lock]          ; at most 4 MiB (MaxSize)
//	object  = ("commit" / "tree") SP length NUL content
//	lock    = "blob" SP length NUL content
//	length  = <bytes of content, decimal, without leading zeros>
//
// Object 0 is the claim's commit. So a claim has one opening, whose name is the SHA-256 of its
// bytes. Compression belongs to the transport.
//
// # What is checked
//
// Every object has the id that the claim, or the object that refers to it, says: by SHA-1 that
// detects the known collision attacks. Every entry of the list stands in its tree, with its mode
// and, for a file or link, its blob; a listed directory or submodule refers to the object of that
// number. The Cargo.lock is the blob of the claim. Whether that of the .crate follows from it, package
// crate says. Trees that "git fsck" refuses give no verdict: in one that holds a name twice, a true
// proof could be about the entry that a reader does not see, and an opening would accuse honest keys.
//
// # A claim that is false
//
// Of a false claim there is no opening. But the objects up to the first that says otherwise show
// that it is false, to anybody who has the list: a *Contradiction.
package opening

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/gitobject"
)

// MaxSize is the largest size of an opening in bytes.
const MaxSize = 4 << 20

var (
	// ErrMalformed: the bytes are no opening of this claim. Another one may be.
	ErrMalformed = errors.New("not an opening of this claim")
	// ErrContradiction: objects of the claim's commit say something else than the claim, which is
	// false. The error is a *Contradiction.
	ErrContradiction = errors.New("the commit's own objects contradict the claim")
	// ErrNoVerdict: an object is one that git refuses, or an attack on SHA-1, so that it shows
	// nothing either way.
	ErrNoVerdict = errors.New("no verdict")
)

// Opened is what a true opening shows.
type Opened struct {
	Name   [32]byte // SHA-256 of the opening
	Commit []byte   // content of the commit object, whose id is the claim's

	Lock []byte // content of the commit's Cargo.lock, nil if the claim names none; not the caller's bytes

	// LeftOut are the entries of the package's directories in the commit that the .crate does not
	// have: paths below the package's directory, those of directories, of which nothing is known but
	// the name, with a slash at the end. In the order of the list's trees, and in each in git's.
	LeftOut []string
}

// A Contradiction says where the objects of a claim's commit say something else than the claim. It
// is ErrContradiction.
type Contradiction struct {
	Path string // of the entry or object in the repository; "" for the commit and its root tree
	Why  string // a phrase

	// Objects are those from the commit to the one that says otherwise, as in an opening: what
	// shows it. Check of these bytes alone returns this error again.
	Objects []byte
}

func (c *Contradiction) Error() string { return fmt.Sprintf("%v: %s", ErrContradiction, c.Why) }

// Is makes it an ErrContradiction.
func (c *Contradiction) Is(target error) bool { return target == ErrContradiction }

// Name returns what an opening is found by: the SHA-256 of its bytes.
func Name(raw []byte) [32]byte { return sha256.Sum256(raw) }

// Make returns the opening of a claim, of objects as git hashes them, in the order of the list, the
// Cargo.lock last if the claim names it. It is checked before it is returned; the errors are those of Check.
func Make(objects [][]byte, claim *entry.Source, list *crate.List) ([]byte, error) {
	size := 0
	for _, o := range objects {
		if size += len(o); size > MaxSize {
			return nil, fmt.Errorf("%w: the commit's objects take more than %d bytes, so that the claim has none",
				ErrMalformed, MaxSize)
		}
	}
	raw := bytes.Join(objects, nil)
	_, err := Check(raw, claim, list)
	return raw, err
}

// Parse takes an opening apart. It is strict, so that Encode of the objects, one after the other,
// is raw again. It hashes nothing. The error is ErrMalformed.
//
// A blob stands at the end only.
func Parse(raw []byte) ([]gitobject.Object, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are read", ErrMalformed, len(raw), MaxSize)
	}
	var objects []gitobject.Object
	for rest := raw; len(rest) > 0; {
		o, after, err := parseObject(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: object %d %w", ErrMalformed, len(objects), err)
		}
		if o.Type == gitobject.TypeBlob && len(after) > 0 {
			return nil, fmt.Errorf("%w: object %d is a blob, and not the last", ErrMalformed, len(objects))
		}
		objects, rest = append(objects, o), after
	}
	return objects, nil
}

func parseObject(b []byte) (o gitobject.Object, rest []byte, err error) {
	const longest = len("commit 4194304\x00")
	head := b[:min(len(b), longest)]
	end := bytes.IndexByte(head, 0)
	if end < 0 {
		return o, nil, errors.New("does not begin with a type, a space, a length and a zero byte")
	}
	kind, length, _ := bytes.Cut(head[:end], []byte{' '})
	n, err := strconv.ParseUint(string(length), 10, 32)
	switch {
	case !slices.Contains([]string{gitobject.TypeCommit, gitobject.TypeTree, gitobject.TypeBlob}, string(kind)):
		return o, nil, fmt.Errorf("is of the type %.10q, not a commit, tree or blob", kind)
	case err != nil || strconv.FormatUint(n, 10) != string(length):
		return o, nil, fmt.Errorf("has the length %q, which git does not write", length)
	case n > uint64(len(b)-end-1):
		return o, nil, fmt.Errorf("has %d bytes by its header, and only %d are left", n, len(b)-end-1)
	}
	rest = b[end+1:]
	return gitobject.Object{Type: string(kind), Content: rest[:n]}, rest[n:], nil
}

// Check says whether an opening shows that the files of a list stand in the claim's commit. list
// must be the claim's: computed from the .crate, or parsed from bytes. The error is ErrMalformed,
// ErrContradiction (a *Contradiction: the claim is false) or ErrNoVerdict.
func Check(raw []byte, claim *entry.Source, list *crate.List) (*Opened, error) {
	if list.Digest != claim.Files {
		return nil, fmt.Errorf("%w: the list has the digest %x, the claim's has %x", ErrMalformed, list.Digest,
			claim.Files)
	}
	objects, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	c := &check{list: list, ids: [][20]byte{claim.Commit}, trees: make([][]gitobject.TreeEntry, len(list.Objects))}
	for i := range list.Objects {
		if i == len(objects) {
			return nil, fmt.Errorf("%w: it ends after %d objects, the list has %d", ErrMalformed, i, len(list.Objects))
		}
		if err := c.object(i, objects[i]); err != nil {
			return nil, shown(err, objects[:i+1])
		}
	}
	lock, err := lockOf(&c.hash, claim, objects[len(list.Objects):])
	if err != nil {
		return nil, err
	}
	return &Opened{Name: Name(raw), Commit: bytes.Clone(objects[0].Content), Lock: lock, LeftOut: c.leftOut(claim)}, nil
}

// lockOf returns the content of the Cargo.lock, which must be all that follows the list's objects;
// nil if the claim names none.
func lockOf(hash *gitobject.Hash, claim *entry.Source, rest []gitobject.Object) ([]byte, error) {
	if claim.Lock == nil {
		if len(rest) > 0 {
			return nil, fmt.Errorf("%w: %d objects follow those of the list", ErrMalformed, len(rest))
		}
		return nil, nil
	}
	if len(rest) != 1 || rest[0].Type != gitobject.TypeBlob {
		return nil, fmt.Errorf("%w: the commit's Cargo.lock, which the claim names, is not what follows the commits and trees",
			ErrMalformed)
	}
	want := claim.Lock.Blob
	switch id, err := hash.ID(rest[0]); {
	case err != nil && sha1.Sum(rest[0].Encode()) == want:
		return nil, fmt.Errorf("%w: the commit's Cargo.lock: %w", ErrNoVerdict, err)
	case err != nil || id != want:
		return nil, fmt.Errorf("%w: the last object is not the blob %x, the commit's Cargo.lock", ErrMalformed, want)
	}
	return append([]byte{}, rest[0].Content...), nil
}

// shown adds to a *Contradiction the objects that show it.
func shown(err error, by []gitobject.Object) error {
	var c *Contradiction
	if errors.As(err, &c) {
		for _, o := range by {
			c.Objects = append(c.Objects, o.Encode()...)
		}
	}
	return err
}

// check is one walk through a list and its objects.
type check struct {
	list  *crate.List
	hash  gitobject.Hash
	ids   [][20]byte              // of the objects that were referred to so far, in the list's order
	trees [][]gitobject.TreeEntry // what the trees hold, by number of the object
}

// object checks the object of a number, whose id is known, and learns the ids of its children.
func (c *check) object(i int, o gitobject.Object) error {
	want := c.list.Objects[i]
	switch id, err := c.hash.ID(o); {
	case err != nil && sha1.Sum(o.Encode()) != c.ids[i]: // an attack on another object is none on this claim
		return fmt.Errorf("%w: object %d, %s, has another id than %x, and: %w", ErrMalformed, i, at(want), c.ids[i], err)
	case err != nil:
		return fmt.Errorf("%w: object %d, %s: %w", ErrNoVerdict, i, at(want), err)
	case id != c.ids[i]:
		return fmt.Errorf("%w: object %d, %s, has the id %x, not %x", ErrMalformed, i, at(want), id, c.ids[i])
	}
	kind := gitobject.TypeTree
	if want.Commit {
		kind = gitobject.TypeCommit
	}
	if o.Type != kind {
		return &Contradiction{Path: want.Path, Why: fmt.Sprintf("%s is a %s there, and a %s by the claim", at(want), o.Type,
			kind)}
	}
	if want.Commit {
		tree, err := gitobject.ParseCommit(o.Content)
		if err != nil {
			return fmt.Errorf("%w: object %d, %s: %w", ErrNoVerdict, i, at(want), err)
		}
		c.ids = append(c.ids, tree)
		return nil
	}
	entries, err := gitobject.ParseTree(o.Content)
	if err != nil {
		return fmt.Errorf("%w: object %d, %s: %w", ErrNoVerdict, i, at(want), err)
	}
	c.trees[i] = entries
	return c.tree(want, entries)
}

// tree compares the listed entries of a tree with what it holds.
func (c *check) tree(want crate.Object, entries []gitobject.TreeEntry) error {
	by := make(map[string]gitobject.TreeEntry, len(entries))
	for _, e := range entries {
		by[e.Name] = e
	}
	for _, w := range want.Entries {
		path := join(want.Path, w.Name)
		e, ok := by[w.Name]
		switch {
		case !ok:
			return &Contradiction{Path: path, Why: fmt.Sprintf("the commit has no %s", path)}
		case e.Mode != w.Mode:
			return &Contradiction{Path: path, Why: fmt.Sprintf("%s has the mode %s in the commit, and %s by the claim",
				path, e.Mode, w.Mode)}
		case w.Child != 0:
			c.ids = append(c.ids, e.ID)
		case e.ID != w.Blob:
			return &Contradiction{Path: path, Why: fmt.Sprintf("%s is the blob %x in the commit, and %x by the claim", path,
				e.ID, w.Blob)}
		}
	}
	return nil
}

// at names an object of a list.
func at(o crate.Object) string {
	switch {
	case o.Commit && o.Path == "":
		return "the commit"
	case o.Commit:
		return "the commit of the submodule " + o.Path
	case o.Path == "":
		return "the root tree"
	}
	return "the tree " + o.Path
}

func join(dir, path string) string {
	if dir == "" {
		return path
	}
	return dir + "/" + path
}
