package client

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
)

// A Seal is the last leaf of a checkpoint's tree, which must be a seal, with its inclusion path.
type Seal struct {
	Leaf   []byte
	Hashes [][sha256.Size]byte // the leaf's sibling first; at most 63
}

// A Lookup is what a sealed map has for the key of a version, with its proof; see package index.
type Lookup struct {
	Value []byte // 40 bytes; nil: the key does not stand there
	Proof []byte
}

const (
	maxSeal = 1024     // bytes of a leaf that is one
	maxPath = 16 << 10 // bytes of a proof of the map
)

// parseSealed reads a tlog-proof of at most limit bytes whose extra line is CBOR, and checks that it is in the one
// encoding of what convert makes of it. Errors are ErrBundle.
func parseSealed[W, T any, P interface {
	*T
	Marshal() ([]byte, error)
}](b []byte, limit int, convert func(*Proof, W) (P, error)) (P, error) {
	p, err := parseProof(b, limit)
	if err != nil {
		return nil, err
	}
	var w W
	if err := joinedDec.Unmarshal(p.Extra, &w); err != nil {
		return nil, refuseErr(ErrBundle, err, "its extra line is not the CBOR that the format asks for")
	}
	out, err := convert(p, w)
	if err != nil {
		return nil, err
	}
	again, err := out.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, refuse(ErrBundle, "its extra line is not in its one encoding")
	}
	return out, nil
}

// marshalSealed writes what parseSealed reads.
func marshalSealed(p *Proof, limit int, extra any) (_ []byte, err error) {
	if p.Extra, err = joinedEnc.Marshal(extra); err != nil {
		return nil, refuseErr(ErrBundle, err, "it cannot be encoded")
	}
	return p.marshal(limit)
}

func (s Seal) bounded(reason error) error {
	if len(s.Leaf) > maxSeal || len(s.Hashes) > maxHashes {
		return refuse(reason, "its seal has %d bytes and a path of %d hashes, and at most %d and %d are read",
			len(s.Leaf), len(s.Hashes), maxSeal, maxHashes)
	}
	return nil
}

func (l Lookup) bounded(reason error) error {
	if l.Value != nil && len(l.Value) != versionSize || len(l.Proof) > maxPath {
		return refuse(reason, "its look-up has a value of %d bytes and a proof of %d; values have %d, and proofs at most %d",
			len(l.Value), len(l.Proof), versionSize, maxPath)
	}
	return nil
}

// lookup is that of an absent key if the value is empty.
func lookup(value, proof []byte) Lookup {
	if len(value) == 0 {
		value = nil
	}
	return Lookup{value, proof}
}

const versionSize = 40 // bytes of the value of a version's key

// Check verifies that the tree of a checkpoint, which a Policy has verified, ends in this seal, and that it is
// under rules that this version knows. Errors are ErrSeal. If they are entry.ErrUnsealed too, checkpoint and path
// convict the log.
func (s Seal) Check(c Checkpoint) (*entry.Seal, error) {
	if c.Size <= 0 {
		return nil, refuse(ErrSeal, "the tree of %q is empty, so nothing seals it", clip(c.Origin))
	}
	if err := includes(c, uint64(c.Size-1), s.Leaf, s.Hashes, ErrSeal); err != nil {
		return nil, err
	}
	seal, err := entry.SealOf(c.Size, s.Leaf)
	if err != nil {
		return nil, refuseErr(ErrSeal, err, "the tree of %q with %d entries", clip(c.Origin), c.Size)
	}
	return seal, nil
}

// Check returns what a sealed map has for a version, and whether it has anything. Errors are ErrSeal.
func (l Lookup) Check(seal *entry.Seal, registry, name, version string) (v index.Version, there bool, err error) {
	err = index.VerifyLookup(seal.Root, index.VersionKey(registry, name, version), l.Value, l.Proof)
	if err != nil {
		return v, false, refuseErr(ErrSeal, err, "what the log's index holds for %s %s", name, version)
	}
	if l.Value == nil {
		return v, false, nil
	}
	v, err = versionIn(seal.Size, l.Value, name, version)
	return v, err == nil, err
}

// versionIn decodes the value of a version in a map of so many leaves. Errors are ErrSeal.
func versionIn(size uint64, value []byte, name, version string) (index.Version, error) {
	v, err := index.ParseVersion(value)
	switch {
	case err != nil:
		return v, refuseErr(ErrSeal, err, "what the log's index holds for %s %s", name, version)
	case !v.Inherited && v.First >= size:
		return v, refuse(ErrSeal, "the log's index says that entry %d was the first about %s %s, and it is of %d entries",
			v.First, name, version, size)
	}
	return v, nil
}

// CheckEntry verifies that a sealed map fixes the checksum of an entry's version, and that it is the entry's.
// i is the index of the entry. Errors are ErrVoid, which convicts nobody, and ErrSeal: a bundle with it shows that
// the seal is wrong.
func (l Lookup) CheckEntry(seal *entry.Seal, s entry.Subject, i uint64) (index.Version, error) {
	v, there, err := l.Check(seal, s.Registry, s.Name, s.Version)
	switch {
	case err != nil:
		return v, err
	case !there:
		return v, refuse(ErrSeal, "the log's index does not know %s %s, which entry %d is about", s.Name, s.Version, i)
	case !v.Inherited && v.First > i:
		return v, refuse(ErrSeal, "the log's index says that entry %d was the first about %s %s, but entry %d is about it too",
			v.First, s.Name, s.Version, i)
	case !v.Inherited && v.First == i && v.SHA256 != s.SHA256:
		return v, refuse(ErrSeal, "the log's index says that entry %d gave %s %s the SHA-256 %x, and it gives it %x", i, s.Name,
			s.Version, v.SHA256, s.SHA256)
	case v.SHA256 != s.SHA256:
		return v, refuse(ErrVoid, "entry %d gives %s %s the SHA-256 %x, but in this log it has %x, by %s, which was first",
			i, s.Name, s.Version, s.SHA256, v.SHA256, v.By())
	}
	return v, nil
}

// AsOf says when what a checkpoint shows was so: when the quorum cosigned it or, without witnesses, by its size.
func (c Checkpoint) AsOf() string {
	if c.Witnessed.IsZero() {
		return fmt.Sprintf("as of its tree of %d entries", c.Size)
	}
	return "as of " + c.Witnessed.UTC().Format(time.RFC3339)
}

// includes verifies that the tree of a checkpoint has a leaf at an index.
func includes(c Checkpoint, i uint64, leaf []byte, hashes [][sha256.Size]byte, reason error) error {
	if c.Size <= 0 || i >= uint64(c.Size) {
		return refuse(reason, "index %d is not in a tree of %d entries", i, c.Size)
	}
	path := make(tlog.RecordProof, len(hashes))
	for j, h := range hashes {
		path[j] = h
	}
	if err := tlog.CheckRecord(path, c.Size, c.Root, int64(i), tlog.Hash(entry.LeafHash(leaf))); err != nil {
		return refuse(reason, "the path does not lead from the entry, at index %d, to the root of %q with %d entries",
			i, clip(c.Origin), c.Size)
	}
	return nil
}

// wireHashes is a path. It is decoded by itself, so that a file of 8 MiB with nothing but the empty hashes of
// paths that are too long does not take 24 times its size.
type wireHashes [][]byte

var _ cbor.Unmarshaler = (*wireHashes)(nil)

// UnmarshalCBOR decodes a path of one hash too many at most.
func (w *wireHashes) UnmarshalCBOR(b []byte) error { return pathDec.Unmarshal(b, (*[][]byte)(w)) }

func pathOf(hashes [][sha256.Size]byte) wireHashes {
	out := make(wireHashes, len(hashes))
	for i := range hashes {
		out[i] = hashes[i][:]
	}
	return out
}

func (w wireHashes) fixed(reason error, what string) ([][sha256.Size]byte, error) {
	if len(w) > maxHashes {
		return nil, refuse(reason, "%s has %d hashes, and a tree needs at most %d", what, len(w), maxHashes)
	}
	var out [][sha256.Size]byte
	for _, h := range w {
		if len(h) != sha256.Size {
			return nil, refuse(reason, "%s has a hash of %d bytes, and they have %d", what, len(h), sha256.Size)
		}
		out = append(out, [sha256.Size]byte(h))
	}
	return out, nil
}
