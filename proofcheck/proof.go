package proofcheck

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/proofcheck/chain"
)

// Sizes of a proof.
const (
	SegmentSize  = 192        // of a segment's proof, in bytes
	PartSegments = 18         // segments in a part
	MaxSegments  = 288        // segments in a proof: 16 full parts, as many as an entry has room for
	cutSize      = fr.Bytes   // of what stands between two segments
	endSize      = 4 + 4 + 32 // of what stands after the last one
	step         = SegmentSize + cutSize
	partSize     = PartSegments * step // of all parts but the last
)

// Proof is the proof of a source claim: Groth16 proofs of the segments of the object stream.
type Proof struct {
	Segments []*groth16.Proof // 1 to MaxSegments, each with one commitment
	Cuts     []fr.Element     // commitments to the states between them, one fewer
	End      chain.End        // what the chain says at its end
}

// Marshal returns the parts of an entry's proof:
//
//	segment = A (32) | B (64) | C (32) | commitment (32) | proof of knowledge (32)
//	cut     = a field element (32)
//	end     = objects (4) | list bytes (4) | sum of the list (32)
//
// Points are compressed as gnark-crypto writes them, integers and field elements big-endian.
// A cut follows each segment but the last, and the end follows that one. A part holds 18
// segments with what follows them; only the last part may hold fewer.
func (p *Proof) Marshal() [][]byte {
	out := make([]byte, 0, len(p.Segments)*step+endSize)
	for i, s := range p.Segments {
		a, b, c, d, pok := s.Ar.Bytes(), s.Bs.Bytes(), s.Krs.Bytes(), s.Commitments[0].Bytes(), s.CommitmentPok.Bytes()
		out = slices.Concat(out, a[:], b[:], c[:], d[:], pok[:])
		if i < len(p.Segments)-1 {
			cut := p.Cuts[i].Bytes()
			out = append(out, cut[:]...)
		}
	}
	out = binary.BigEndian.AppendUint32(out, p.End.Objects)
	out = binary.BigEndian.AppendUint32(out, p.End.ListBytes)
	sum := p.End.List.Bytes()
	out = append(out, sum[:]...)

	var parts [][]byte
	for len(out) > lastPartSize(PartSegments) {
		parts, out = append(parts, out[:partSize:partSize]), out[partSize:]
	}
	return append(parts, out)
}

// lastPartSize returns the size of a last part with so many segments.
func lastPartSize(segments int) int { return segments*step - cutSize + endSize }

// segments returns how many segments parts of these sizes hold. It looks at nothing else.
func segments(parts [][]byte) (int, error) {
	if len(parts) < 1 || len(parts) > MaxSegments/PartSegments {
		return 0, fmt.Errorf("%w: it has %d parts, and must have 1 to %d", ErrProof, len(parts), MaxSegments/PartSegments)
	}
	last := len(parts) - 1
	for i, part := range parts[:last] {
		if len(part) != partSize {
			return 0, fmt.Errorf("%w: part %d has %d bytes instead of %d", ErrProof, i+1, len(part), partSize)
		}
	}
	n := (len(parts[last]) + cutSize - endSize) / step
	if n < 1 || n > PartSegments || len(parts[last]) != lastPartSize(n) {
		return 0, fmt.Errorf("%w: part %d has %d bytes, which is no number of segments", ErrProof, last+1, len(parts[last]))
	}
	return last*PartSegments + n, nil
}

// ParseProof reads a proof in its one encoding. It refuses points that are off their curve or
// subgroup, points at infinity, field elements that are not below the field's order, an end that
// no list has, and anything that does not encode to the same bytes again. Errors wrap ErrProof.
func ParseProof(parts [][]byte) (*Proof, error) {
	n, err := segments(parts)
	if err != nil {
		return nil, err
	}
	p := &Proof{Segments: make([]*groth16.Proof, n), Cuts: make([]fr.Element, n-1)}
	all := bytes.Join(parts, nil)
	errs := make([]error, n+1)
	parallel(n, func(i int) {
		at := all[i*step:]
		p.Segments[i], errs[i] = parseSegment(at[:SegmentSize])
		if i < len(p.Cuts) && p.Cuts[i].SetBytesCanonical(at[SegmentSize:step]) != nil {
			errs[i] = errors.New("the cut behind it is not a field element")
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%w: segment %d: %w", ErrProof, i+1, errs[i])
		}
	})
	if p.End, errs[n] = parseEnd(all[len(all)-endSize:]); errs[n] != nil {
		errs[n] = fmt.Errorf("%w: %w", ErrProof, errs[n])
	}
	for _, err := range errs { // the first one says enough
		if err != nil {
			return nil, err
		}
	}
	if !slices.EqualFunc(p.Marshal(), parts, bytes.Equal) {
		return nil, fmt.Errorf("%w: it is not in its one encoding", ErrProof)
	}
	return p, nil
}

// parseSegment reads the five points of a segment. b has SegmentSize bytes.
func parseSegment(b []byte) (*groth16.Proof, error) {
	p := &groth16.Proof{Commitments: make([]bn254.G1Affine, 1)}
	return p, readPoints(b, &p.Ar, &p.Bs, &p.Krs, &p.Commitments[0], &p.CommitmentPok)
}

// point is one of G1 or G2.
type point interface {
	SetBytes([]byte) (int, error)
	IsInfinity() bool
}

// readPoints reads points of a proof. b has as many bytes as they take.
func readPoints(b []byte, into ...point) error {
	for i, p := range into {
		size := g1Size
		if _, ok := p.(*bn254.G2Affine); ok {
			size = g2Size
		}
		// SetBytes would read more than these bytes if they say that they are not compressed: it fails.
		if _, err := p.SetBytes(b[:size:size]); err != nil {
			return fmt.Errorf("point %d is malformed", i+1)
		}
		if p.IsInfinity() {
			return fmt.Errorf("point %d is at infinity", i+1)
		}
		b = b[size:]
	}
	return nil
}

// parseEnd reads what stands behind the last segment. b has endSize bytes.
func parseEnd(b []byte) (e chain.End, err error) {
	e.Objects, e.ListBytes = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	if err := e.List.SetBytesCanonical(b[8:]); err != nil {
		return e, errors.New("the sum of the list is not a field element")
	}
	if e.Objects < 2 || e.Objects > e.ListBytes || e.ListBytes > chain.MaxList {
		return e, fmt.Errorf("no list of %d bytes tells %d objects", e.ListBytes, e.Objects)
	}
	return e, nil
}
