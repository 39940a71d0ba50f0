package client

import (
	"crypto/sha256"

	"cratelog/entry"
)

// Bundle is what a log hands out of an entry: a c2sp.org/tlog-proof@v1 of it, in whose extra line the
// entry stands with the seal of the checkpoint's tree and what the sealed map says of the entry's
// version. The extra line is one item of deterministically encoded CBOR (RFC 8949, section 4.2.1):
//
//	bundle = {
//	  1: bstr .size (1..65535),      ; the entry
//	  2: seal,
//	  3: [*63 bstr .size 32],        ; RFC 6962 inclusion path of the seal, the leaf's sibling first
//	  4: version,                    ; the value of the key of the entry's version
//	  5: mapproof,                   ; that the sealed map has it
//	}
//	seal     = bstr .size (0..1024)  ; the last leaf of the checkpoint's tree
//	version  = bstr .size 40         ; see package index
//	mapproof = bstr .size (0..16384) ; likewise
//
// Nothing in it is to be believed before Verify, VerifyBundle or OpenBundle has looked at it.
type Bundle struct {
	Index      uint64              // of the entry, below 2^63
	Hashes     [][sha256.Size]byte // its RFC 6962 inclusion path, the leaf's sibling first; at most 63
	Checkpoint []byte              // signed note; ends in a newline
	Entry      []byte
	Seal       Seal
	Version    Lookup // of the entry's version
}

type wireBundle struct {
	Entry  []byte     `cbor:"1,keyasint"`
	Seal   []byte     `cbor:"2,keyasint"`
	Hashes wireHashes `cbor:"3,keyasint"`
	Value  []byte     `cbor:"4,keyasint"`
	Proof  []byte     `cbor:"5,keyasint"`
}

// ParseBundle reads a bundle in its one encoding. It does not parse the entry and the seal, nor look into
// the checkpoint. Errors are ErrBundle.
func ParseBundle(b []byte) (*Bundle, error) {
	return parseSealed(b, MaxBundleSize, func(p *Proof, w wireBundle) (*Bundle, error) {
		path, err := w.Hashes.fixed(ErrBundle, "the path of its seal")
		return &Bundle{p.Index, p.Hashes, p.Checkpoint, w.Entry, Seal{w.Seal, path}, lookup(w.Value, w.Proof)}, err
	})
}

// UnverifiedEntry is ParseBundle, and parses the entry. Nobody has verified any of it. Errors are ErrBundle and
// ErrEntry.
func UnverifiedEntry(bundle []byte) (*Bundle, *entry.Entry, error) {
	b, err := ParseBundle(bundle)
	if err != nil {
		return nil, nil, err
	}
	e, err := b.entry()
	return b, e, err
}

func (b *Bundle) entry() (*entry.Entry, error) {
	e, err := entry.Parse(b.Entry)
	if err != nil {
		return nil, refuseErr(ErrEntry, err, "the entry of the bundle")
	}
	return e, nil
}

// Marshal returns the one encoding of b. It fails if b is not what ParseBundle could return.
func (b *Bundle) Marshal() ([]byte, error) {
	switch {
	case len(b.Entry) == 0 || len(b.Entry) > entry.MaxSize:
		return nil, refuse(ErrBundle, "its entry has %d bytes, and entries have 1 to %d", len(b.Entry), entry.MaxSize)
	case b.Version.Value == nil:
		return nil, refuse(ErrBundle, "it does not say which checksum the entry's version has in the log's index")
	}
	if err := b.Version.bounded(ErrBundle); err != nil {
		return nil, err
	}
	if err := b.Seal.bounded(ErrBundle); err != nil {
		return nil, err
	}
	return marshalSealed(&Proof{b.Index, b.Hashes, b.Checkpoint, nil}, MaxBundleSize,
		wireBundle{b.Entry, b.Seal.Leaf, pathOf(b.Seal.Hashes), b.Version.Value, b.Version.Proof})
}
