package entry

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// A Leaf is what a log holds at one index: an *Entry, which anybody submits, or a *Seal or a *Start,
// which only the log itself makes.
type Leaf interface{ leaf() }

func (*Entry) leaf() {}
func (*Seal) leaf()  {}
func (*Start) leaf() {}

// Rules is the version of the rules by which leaves make a map, those of package index. A seal names
// its own; whoever does not know them can compare nothing, and needs a newer program. With a new kind of claim they are
// other rules: a monitor that does not know the kind would else accuse an honest log of a false seal.
const Rules = 1

// A Seal says what the leaves before it add up to: the root of the map that they make (package index).
// It is void, and says nothing, unless it stands at the index Size.
type Seal struct {
	Rules uint64   // of the map
	Size  uint64   // number of leaves before the seal, below 2^63
	Root  [32]byte // of their map
}

// A Start is the first leaf of a log that goes on where another one ended: a shard. The versions of the
// other log stand in its map from the first.
type Start struct {
	Origin string   // of the other log's checkpoints; 1 to 255 bytes of printable ASCII without spaces
	Size   uint64   // of its tree at its end, below 2^63
	Tree   [32]byte // root hash of that tree
	Rules  uint64   // of the map
	Root   [32]byte // of the map of what is taken over
}

const maxOrigin = 255

type wireLeaf struct {
	Version uint64     `cbor:"1,keyasint"`
	Seal    *wireSeal  `cbor:"5,keyasint,omitempty"`
	Start   *wireStart `cbor:"6,keyasint,omitempty"`
}

type wireSeal struct {
	Rules uint64 `cbor:"1,keyasint"`
	Size  uint64 `cbor:"2,keyasint"`
	Root  []byte `cbor:"3,keyasint"`
}

type wireStart struct {
	Origin string `cbor:"1,keyasint"`
	Size   uint64 `cbor:"2,keyasint"`
	Tree   []byte `cbor:"3,keyasint"`
	Rules  uint64 `cbor:"4,keyasint"`
	Root   []byte `cbor:"5,keyasint"`
}

// Marshal validates the seal and returns its one encoding.
func (s *Seal) Marshal() ([]byte, error) {
	if s.Size > math.MaxInt64 {
		return nil, fmt.Errorf("seal: the size %d is not below 2^63", s.Size)
	}
	return encMode.Marshal(wireLeaf{Version: formatVersion, Seal: &wireSeal{s.Rules, s.Size, s.Root[:]}})
}

// Marshal validates the start and returns its one encoding.
func (s *Start) Marshal() ([]byte, error) {
	switch {
	case s.Size > math.MaxInt64:
		return nil, fmt.Errorf("start: the size %d is not below 2^63", s.Size)
	case len(s.Origin) < 1 || len(s.Origin) > maxOrigin:
		return nil, fmt.Errorf("start: the origin is %d bytes long, must be 1 to %d", len(s.Origin), maxOrigin)
	}
	for _, c := range []byte(s.Origin) {
		if c <= ' ' || c > '~' {
			return nil, fmt.Errorf("start: the origin %q is not printable ASCII without spaces", s.Origin)
		}
	}
	return encMode.Marshal(wireLeaf{Version: formatVersion,
		Start: &wireStart{s.Origin, s.Size, s.Tree[:], s.Rules, s.Root[:]}})
}

// What the one encoding of a seal, and of a start, begins with: a map of two, the version, the key.
var (
	sealBegins  = []byte{0xa2, 1, formatVersion, 5}
	startBegins = []byte{0xa2, 1, formatVersion, 6}
)

// ParseLeaf decodes what a log holds at one index, as strictly as Parse does: an *Entry, a *Seal or a
// *Start. Whether a seal is void, only its place says. The error is ErrUnknownClaim where that of Parse is.
func ParseLeaf(b []byte) (Leaf, error) {
	if !bytes.HasPrefix(b, sealBegins) && !bytes.HasPrefix(b, startBegins) {
		e, err := Parse(b)
		if err != nil {
			return nil, err // and not a Leaf that is a nil *Entry
		}
		return e, nil
	}
	var w wireLeaf
	if err := decMode.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("the leaf is not the CBOR that the format asks for: %w", err)
	}
	leaf, err := w.leaf()
	if err != nil {
		return nil, err
	}
	again, err := leaf.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b, again) {
		return nil, errors.New("the leaf is not in its canonical encoding (RFC 8949, section 4.2.1)")
	}
	return leaf, nil
}

// ErrUnsealed: a tree does not end in the seal of the leaves before it.
var ErrUnsealed = errors.New("the tree does not end in a seal")

// SealOf returns the seal that a tree of 1 leaf or more ends in, given its size and its last leaf. Errors
// are ErrUnsealed, and ErrUnknownClaim if the leaf, or the map's rules, are of a version that is not
// known here: then nobody has done wrong.
func SealOf(size int64, last []byte) (*Seal, error) {
	leaf, err := ParseLeaf(last)
	if errors.Is(err, ErrUnknownClaim) {
		return nil, err
	}
	seal, ok := leaf.(*Seal)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: leaf %d is none at all: %w", ErrUnsealed, size-1, err)
	case !ok:
		return nil, fmt.Errorf("%w: leaf %d is another one", ErrUnsealed, size-1)
	case seal.Rules != Rules:
		return nil, &unknownClaim{fmt.Sprintf("the seal at leaf %d is of the rules %d, and this program knows the rules %d "+
			"only: get a newer version", size-1, seal.Rules, Rules)}
	case size < 1 || seal.Size != uint64(size-1):
		return nil, fmt.Errorf("%w: leaf %d is the seal of %d leaves, and void", ErrUnsealed, size-1, seal.Size)
	}
	return seal, nil
}

// ownLeaf is a leaf that only the log makes.
type ownLeaf interface {
	Leaf
	Marshal() ([]byte, error)
}

func (w wireLeaf) leaf() (ownLeaf, error) {
	switch {
	case w.Seal != nil:
		s := &Seal{Rules: w.Seal.Rules, Size: w.Seal.Size}
		return s, fixed("seal: root", s.Root[:], w.Seal.Root)
	case w.Start != nil:
		s := &Start{Origin: w.Start.Origin, Size: w.Start.Size, Rules: w.Start.Rules}
		if err := fixed("start: tree", s.Tree[:], w.Start.Tree); err != nil {
			return nil, err
		}
		return s, fixed("start: root", s.Root[:], w.Start.Root)
	}
	return nil, errors.New("the leaf has null for what it says")
}
