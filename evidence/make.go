package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/opening"
)

// The constructors arrange evidence and check all of it that needs no key: what they
// return is well-formed, and its hashes show what it says. Whether the right keys signed
// the notes, and what it comes to, is for Verify, which must be asked before anyone
// is accused. Errors are ErrNotProven if there is nothing to accuse anyone of.

// NewFork arranges a fork: two signed notes of one log, in any order, that cannot both be
// of an append-only log. With equal sizes, tree is not used. Else it must be the tree of the
// note with the larger size: its hashes are read to show that it does not begin with the
// smaller one. ErrNotProven if the notes are consistent, or tree is another one.
func NewFork(a, b []byte, tree tlog.HashReader, m Meta) (*Evidence, error) {
	return newFork(&Evidence{Kind: ForkPrefix}, a, b, tree, m)
}

// NewCosignerFork is NewFork for a witness that cosigned both notes. key is its vkey, or
// the start of it: "<name>+<key id>".
func NewCosignerFork(key string, a, b []byte, tree tlog.HashReader, m Meta) (*Evidence, error) {
	if i := bytes.IndexByte([]byte(key), '+'); i >= 0 && len(key) > i+9 && key[i+9] == '+' {
		key = key[:i+9]
	}
	return newFork(&Evidence{Kind: CosignerFork, Witness: key}, a, b, tree, m)
}

func newFork(e *Evidence, a, b []byte, tree tlog.HashReader, m Meta) (*Evidence, error) {
	e.Notes = [][]byte{bytes.Clone(a), bytes.Clone(b)}
	heads, err := e.heads()
	if err != nil {
		return nil, err
	}
	x, y := heads[0], heads[1]
	if x.N > y.N || x.N == y.N && bytes.Compare(x.Hash[:], y.Hash[:]) > 0 {
		x, y = y, x
		e.Notes[0], e.Notes[1] = e.Notes[1], e.Notes[0]
	}
	switch {
	case x.Tree == y.Tree:
		return nil, notProven("both notes are of the same tree")
	case x.N == 0 && y.N > 0:
		return nil, notProven("an empty tree begins every tree; if its root is wrong, that is an %s", EntryRootMismatch)
	case x.N == y.N && e.Kind == ForkPrefix:
		e.Kind = ForkSameSize
	case x.N < y.N:
		if err := e.addPrefix(tree, x.N, y.N); err != nil {
			return nil, err
		}
	}
	return e.finish(m)
}

// addPrefix reads the root at the smaller size, and its consistency proof.
func (e *Evidence) addPrefix(tree tlog.HashReader, small, large int64) error {
	if tree == nil {
		return notProven("without the larger tree's hashes, nothing shows that it does not begin with the smaller tree")
	}
	root, err := tlog.TreeHash(small, tree)
	if err != nil {
		return fmt.Errorf("reading the larger tree: %w", err)
	}
	proof, err := tlog.ProveTree(large, small, tree)
	if err != nil {
		return fmt.Errorf("reading the larger tree: %w", err)
	}
	e.Root, e.Hashes = &root, proof
	return nil
}

// Attached is what shows that an entry is false. What a reason does not need is nil.
type Attached struct {
	Program []byte // the program file, for ProofInvalid and UnknownProgram; nil for one that ships
	List    []byte // for ProofInvalid, if the proof is false only of the claim's list
	Crate   []byte // for Files; one of more than MaxCrate bytes is left out: the verifier must have it then
}

// NewFalseEntry arranges evidence of a false entry under a signed note.
func NewFalseEntry(reason Reason, note []byte, l Leaf, a Attached, m Meta) (*Evidence, error) {
	e := about(FalseEntry, note, l)
	e.Reason, e.Program, e.List = reason, a.Program, a.List
	if len(a.Crate) <= MaxCrate {
		e.Crate = a.Crate
	}
	return e.finish(m)
}

// NewOpeningContradiction arranges evidence that the objects of a claim's commit say something
// else than the claim, whose proof holds. a has the claim's List, and the program file for a
// program that does not ship.
func NewOpeningContradiction(note []byte, l Leaf, a Attached, x *opening.Contradiction, m Meta) (*Evidence, error) {
	e := about(OpeningContradiction, note, l)
	e.Program, e.List, e.Opening = a.Program, a.List, x.Objects
	return e.finish(m)
}

// NewEntryRootMismatch arranges evidence that a signed root is not made of the entries: captured
// are the leaf hashes of all entries of the note's tree, in order, compressed with Compress.
func NewEntryRootMismatch(note []byte, captured []tlog.Hash, m Meta) (*Evidence, error) {
	e := about(EntryRootMismatch, note)
	e.Hashes = captured
	return e.finish(m)
}

// Compress replaces each 256 leaf hashes by the root of their subtree; those that are left
// over stay. A monitor may as well keep full level-1 tiles and the last level-0 tile of
// c2sp.org/tlog-tiles, which are the same hashes.
func Compress(leaves []tlog.Hash) []tlog.Hash {
	var all []tlog.Hash
	for len(leaves) >= groupWidth {
		all = append(all, merkle(leaves[:groupWidth]))
		leaves = leaves[groupWidth:]
	}
	return append(all, leaves...)
}

// NewUnsealed arranges evidence that the tree of a note, which is not empty, does not end in a seal: last
// is its last leaf.
func NewUnsealed(note []byte, last Leaf, m Meta) (*Evidence, error) {
	return about(Unsealed, note, last).finish(m)
}

// Sealed is what the sealed map of a log has for a key.
type Sealed struct {
	Note  []byte  // signed by the log
	Seal  Leaf    // the last leaf of its tree
	Index Lookup  // of the key in the map of the seal
	Start *Lookup // of the key in the map of the start at index 0, if that is what the seal contradicts; else nil
}

// NewIndexOmission arranges evidence that a log's sealed map does not hold what a leaf before the seal
// inserts, or names a later one as the first: an entry, or the start, of which s must have the look-up then.
func NewIndexOmission(s Sealed, left Leaf, m Meta) (*Evidence, error) {
	return s.about(IndexOmission, left).finish(m)
}

// NewIndexPhantom arranges evidence that a log's sealed map holds what no leaf inserts: named is the leaf
// that the value names, or leaf 0 if the value counts in a log before this one. It is nil if the value
// names none that is before the seal, or has not the form of one.
func NewIndexPhantom(s Sealed, named *Leaf, m Meta) (*Evidence, error) {
	if named == nil {
		return s.about(IndexPhantom).finish(m)
	}
	return s.about(IndexPhantom, *named).finish(m)
}

func (s Sealed) about(kind Kind, leaves ...Leaf) *Evidence {
	e := about(kind, s.Note, append(leaves, s.Seal)...)
	if e.Lookups = []Lookup{s.Index}; s.Start != nil {
		e.Lookups = append(e.Lookups, *s.Start)
	}
	return e
}

// NewStale arranges what was seen of a log that shows nothing new. It convicts nobody.
func NewStale(note []byte, m Meta) (*Evidence, error) {
	return about(Stale, note).finish(m)
}

// NewRegistryMismatch arranges what a registry served for the crate and version of an
// entry. It convicts nobody.
func NewRegistryMismatch(note []byte, l Leaf, r Registry, m Meta) (*Evidence, error) {
	e := about(RegistryMismatch, note, l)
	e.Registry = r
	return e.finish(m)
}

// NewRegistryLine makes evidence that the line of a registry's index about an entry's crate
// says something else than the Cargo.toml of the .crate with that checksum. r has Name, URL
// and Line. A .crate that is too large is left out; the verifier must have it.
func NewRegistryLine(note []byte, l Leaf, r Registry, crate []byte, m Meta) (*Evidence, error) {
	x, err := entry.Parse(l.Bytes)
	if err != nil {
		return nil, notProven("entry %d is malformed: %w", l.Index, err)
	}
	r.Index, r.SHA256 = true, x.Subject.SHA256
	e := about(RegistryMismatch, note, l)
	e.Registry, e.Crate = r, crate
	return e.finish(m)
}

// LeafAt is a leaf with its inclusion path, the leaf's sibling first. The path is not looked at.
func LeafAt(i uint64, leaf []byte, path [][sha256.Size]byte) Leaf {
	l := Leaf{Index: int64(i), Bytes: leaf}
	for _, h := range path {
		l.Path = append(l.Path, h)
	}
	return l
}

// NewLeaf reads the inclusion path of an entry under a note's tree, which must have the
// given size.
func NewLeaf(tree tlog.HashReader, size, index int64, entryBytes []byte) (Leaf, error) {
	path, err := tlog.ProveRecord(size, index, tree)
	if err != nil {
		return Leaf{}, fmt.Errorf("reading the tree: %w", err)
	}
	return Leaf{Index: index, Bytes: bytes.Clone(entryBytes), Path: path}, nil
}

// about is evidence in one note, and entries under it.
func about(kind Kind, note []byte, entries ...Leaf) *Evidence {
	return &Evidence{Kind: kind, Notes: [][]byte{bytes.Clone(note)}, Entries: entries}
}

// finish checks what a constructor has put together.
func (e *Evidence) finish(m Meta) (*Evidence, error) {
	e.Observed, e.Sources = m.Observed.UTC().Truncate(time.Second), m.Sources
	if _, _, err := e.demonstrate(); err != nil {
		return nil, err
	}
	if len(e.Crate) > MaxCrate {
		e.Crate = nil // the verifier must have it
	}
	if _, err := e.Marshal(); err != nil {
		return nil, err
	}
	return e, nil
}
