package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"

	"cratelog/internal/durable"
)

// MaxBundleSize is the size of a bundle, or of any tlog-proof but a page, in bytes.
const MaxBundleSize = 256 << 10

const (
	proofHeader = "c2sp.org/tlog-proof@v1\n"
	maxHashes   = 63 // a tree has fewer than 2^63 entries
)

// Proof is a c2sp.org/tlog-proof@v1, the container of bundles, look-ups and pages. Nothing in it is to be
// believed.
type Proof struct {
	Index      uint64              // of the entry, below 2^63
	Hashes     [][sha256.Size]byte // RFC 6962 inclusion path, the leaf's sibling first; at most 63
	Checkpoint []byte              // signed note; ends in a newline
	Extra      []byte              // nil without an extra line; never empty
}

// ParseProof reads a tlog-proof in its one encoding: lines end in LF, numbers
// have no leading zeros, base64 is padded and canonical, and the extra line is
// absent if it would be empty. It does not look into the checkpoint, but for its
// size, its characters and its last newline. Errors are ErrBundle.
func ParseProof(b []byte) (*Proof, error) { return parseProof(b, MaxBundleSize) }

// parseProof is ParseProof of at most so many bytes.
func parseProof(b []byte, limit int) (*Proof, error) {
	p, err := parseLines(b, limit)
	var x *Error
	if !errors.As(err, &x) || len(b) > limit {
		return p, err
	}
	if why := durable.Altered(b); why != "" {
		x.What += ": " + why
	} else if i := bytes.Index(b, []byte(" \n")); i >= 0 {
		x.What += fmt.Sprintf(": its line %d ends in a space, which was not there when it was handed out",
			1+bytes.Count(b[:i], []byte("\n")))
	}
	return nil, err
}

func parseLines(b []byte, limit int) (*Proof, error) {
	if len(b) > limit {
		return nil, refuse(ErrBundle, "it has %d bytes, at most %d are read", len(b), limit)
	}
	rest, ok := bytes.CutPrefix(b, []byte(proofHeader))
	if !ok {
		return nil, refuse(ErrBundle, "its first line is not %q", proofHeader[:len(proofHeader)-1])
	}
	p, rest, err := parseProofLines(rest)
	if err != nil {
		return nil, err
	}
	p.Checkpoint = bytes.Clone(rest)
	again, err := p.marshal(limit)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, refuse(ErrBundle, "it is not in its one encoding")
	}
	return p, nil
}

// parseProofLines reads what stands between the header and the checkpoint, and
// returns the rest. It is no stricter than it must be to understand the lines:
// ParseProof compares with what Marshal writes.
func parseProofLines(rest []byte) (*Proof, []byte, error) {
	p := new(Proof)
	line, rest, _ := bytes.Cut(rest, []byte("\n"))
	if extra, ok := bytes.CutPrefix(line, []byte("extra ")); ok {
		var err error
		if p.Extra, err = decodeBase64(string(extra)); err != nil || len(p.Extra) == 0 {
			return nil, nil, refuse(ErrBundle, "its extra line is empty or %v", errBase64)
		}
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	index, ok := bytes.CutPrefix(line, []byte("index "))
	n, err := strconv.ParseUint(string(index), 10, 63)
	if !ok || err != nil || strconv.FormatUint(n, 10) != string(index) {
		return nil, nil, refuse(ErrBundle, "where \"index \" and a decimal number below 2^63 without leading zeros must stand, it says %q", clip(string(line)))
	}
	p.Index = n
	for {
		line, after, ended := bytes.Cut(rest, []byte("\n"))
		if rest = after; !ended {
			return nil, nil, refuse(ErrBundle, "it ends before the empty line in front of the checkpoint")
		}
		if len(line) == 0 {
			return p, rest, nil
		}
		h, err := decodeBase64(string(line))
		if err != nil || len(h) != sha256.Size || len(p.Hashes) == maxHashes {
			return nil, nil, refuse(ErrBundle, "its hash %d is not the padded base64 of 32 bytes, or is one more than the %d that a tree can need", len(p.Hashes), maxHashes)
		}
		p.Hashes = append(p.Hashes, [sha256.Size]byte(h))
	}
}

// Marshal returns the one encoding of p. It fails if p is not what ParseProof
// could return.
func (p *Proof) Marshal() ([]byte, error) { return p.marshal(MaxBundleSize) }

func (p *Proof) marshal(limit int) ([]byte, error) {
	switch {
	case p.Index > math.MaxInt64:
		return nil, refuse(ErrBundle, "its index %d is not below 2^63", p.Index)
	case len(p.Hashes) > maxHashes:
		return nil, refuse(ErrBundle, "it has %d hashes, a tree needs at most %d", len(p.Hashes), maxHashes)
	case len(p.Checkpoint) > MaxCheckpointSize:
		return nil, refuse(ErrBundle, "its checkpoint has %d bytes, at most %d are read", len(p.Checkpoint), MaxCheckpointSize)
	case !bytes.HasSuffix(p.Checkpoint, []byte("\n")):
		return nil, refuse(ErrBundle, "its checkpoint is missing or does not end in a newline")
	case bytes.ContainsFunc(p.Checkpoint, func(r rune) bool { return r < 0x20 && r != '\n' }):
		return nil, refuse(ErrBundle, "its checkpoint holds control characters; lines end in LF alone")
	}
	var b bytes.Buffer
	b.WriteString(proofHeader)
	if len(p.Extra) > 0 {
		fmt.Fprintf(&b, "extra %s\n", base64.StdEncoding.EncodeToString(p.Extra))
	}
	fmt.Fprintf(&b, "index %d\n", p.Index)
	for _, h := range p.Hashes {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	if b.Len() > limit {
		return nil, refuse(ErrBundle, "it has %d bytes, at most %d are read", b.Len(), limit)
	}
	return b.Bytes(), nil
}
