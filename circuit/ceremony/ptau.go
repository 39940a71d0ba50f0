package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	"golang.org/x/crypto/blake2b"
)

// A .ptau file (snarkjs, powersoftau) holds the state of a powers-of-tau ceremony and a
// record of its contributions: "ptau", then as little-endian integers the version 1 (4
// bytes), the number of sections (4), and sections, each with its type (4), its size in
// bytes (8) and that many bytes:
//
//	1       bytes of a coordinate (4), the field's modulus, power (4), power of the ceremony (4)
//	2       2^(power+1) - 1 points: powers of tau in G1
//	3       2^power points: powers of tau in G2
//	4, 5    2^power points each: powers of tau times alpha, times beta, in G1
//	6       beta in G2
//	7       the contributions: their number (4), and records
//	12..15  what others derive from 2 to 5; not read
//
// A coordinate has 32 bytes, the little-endian integer of its Montgomery form.
//
// What is checked of it is that it is one: all points of their groups, all vectors
// powers of the same tau, times the same alpha and the same beta, none of which is zero
// or one, and the last record of that state. The file alone cannot show that tau is
// unknown: for that the other ceremony's transcript is needed.
const (
	ptauMagic    = "ptau"
	ptauVersion  = 1
	maxPtauPower = 28
	maxSections  = 32
	maxRecords   = 1 << 24 // bytes of section 7
	recordSize   = 3*g1Raw + 2*g2Raw + 6*g1Raw + 3*g2Raw + 216 + 64 + 4 + 4
	maxRecord    = 1024 // bytes of a record's parameters: a name, a beacon
	g1Raw        = 64
	g2Raw        = 128
)

// An Import says from which powers-of-tau file phase 1 starts: import.json.
type Import struct {
	SHA256        string `json:"sha256"`         // of the file, in hex
	BLAKE2b       string `json:"blake2b_512"`    // of the file, in hex: what snarkjs's documentation lists
	Power         int    `json:"power"`          // the file's; a ceremony takes as much of it as it needs
	Contributions int    `json:"contributions"`  // that the file records
	Records       string `json:"records_sha256"` // of the records of the contributions, section 7
	Yields        string `json:"yields"`         // SHA-256 of phase 1's start
}

const importName = "import.json"

// ptau is an opened file.
type ptau struct {
	r        io.ReaderAt
	name     string
	sections map[uint32]*io.SectionReader
	Import
}

func (p *ptau) refuse(format string, a ...any) error {
	return fmt.Errorf("%w: %s %s", ErrPtau, p.name, fmt.Sprintf(format, a...))
}

// readPtau reads of a file as much as a domain of n points needs, and checks it.
func readPtau(path string, n uint64) (*bare, Import, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, Import{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Import{}, err
	}
	p := &ptau{r: f, name: filepath.Base(path)}
	if err := p.open(info.Size()); err != nil {
		return nil, Import{}, err
	}
	if n > 1<<p.Power {
		return nil, Import{}, p.refuse("holds 2^%d powers, and this circuit needs %d; get one of "+
			"a larger power", p.Power, n)
	}
	out := new(bare)
	if err := p.read(&out.SrsCommons, n); err != nil {
		return nil, Import{}, err
	}
	if err := checkImported(&out.SrsCommons); err != nil {
		return nil, Import{}, p.refuse("does not hold the powers of one tau: %v", err)
	}
	if err := p.records(&out.SrsCommons); err != nil {
		return nil, Import{}, err
	}
	sha := sha256.New()
	blake, err := blake2b.New512(nil)
	if err != nil {
		return nil, Import{}, err
	}
	if _, err := io.Copy(io.MultiWriter(sha, blake), io.NewSectionReader(f, 0, info.Size())); err != nil {
		return nil, Import{}, err
	}
	p.SHA256, p.BLAKE2b = hex.EncodeToString(sha.Sum(nil)), hex.EncodeToString(blake.Sum(nil))
	start, err := hashLink(out)
	p.Yields = hex.EncodeToString(start[:])
	return out, p.Import, err
}

// open finds the sections and reads the header.
func (p *ptau) open(size int64) error {
	head := make([]byte, 12)
	if _, err := p.r.ReadAt(head, 0); err != nil || string(head[:4]) != ptauMagic {
		return p.refuse("does not begin as a .ptau file")
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v != ptauVersion {
		return p.refuse("has version %d; version %d is read", v, ptauVersion)
	}
	count := binary.LittleEndian.Uint32(head[8:])
	if count > maxSections {
		return p.refuse("says that it has %d sections", count)
	}
	p.sections = map[uint32]*io.SectionReader{}
	at := int64(len(head))
	for range count {
		if _, err := p.r.ReadAt(head, at); err != nil {
			return p.refuse("is cut off at byte %d", at)
		}
		kind, length := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint64(head[4:])
		at += int64(len(head))
		switch {
		case length > uint64(size-at):
			return p.refuse("is cut off in section %d", kind)
		case p.sections[kind] != nil:
			return p.refuse("has section %d twice", kind)
		case (kind < 1 || kind > 7) && (kind < 12 || kind > 15):
			return p.refuse("has a section of the unknown type %d", kind)
		}
		p.sections[kind] = io.NewSectionReader(p.r, at, int64(length))
		at += int64(length)
	}
	if at != size {
		return p.refuse("has %d bytes after its last section", size-at)
	}
	return p.header()
}

func (p *ptau) header() error {
	modulus := fp.Modulus().FillBytes(make([]byte, fp.Bytes))
	slices.Reverse(modulus)
	want := append(binary.LittleEndian.AppendUint32(nil, fp.Bytes), modulus...)
	got := make([]byte, len(want)+8)
	if s := p.sections[1]; s == nil || s.Size() != int64(len(got)) {
		return p.refuse("has no header of %d bytes", len(got))
	} else if _, err := s.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got[:len(want)], want) {
		return p.refuse("is for another curve; it must be BN254 (bn128)")
	}
	power, whole := binary.LittleEndian.Uint32(got[len(want):]), binary.LittleEndian.Uint32(got[len(want)+4:])
	if power < 1 || power > maxPtauPower || whole < power || whole > maxPtauPower {
		return p.refuse("has the power %d of %d; 1 to %d are read", power, whole, maxPtauPower)
	}
	p.Power = int(power)
	n := int64(1) << power
	for kind, size := range map[uint32]int64{2: g1Raw * (2*n - 1), 3: g2Raw * n, 4: g1Raw * n, 5: g1Raw * n,
		6: g2Raw} {
		if s := p.sections[kind]; s == nil || s.Size() != size {
			return p.refuse("must have %d bytes in section %d", size, kind)
		}
	}
	if s := p.sections[7]; s == nil || s.Size() > maxRecords {
		return p.refuse("must have a section 7 of at most %d bytes", maxRecords)
	}
	return nil
}

// read takes as many points as a domain of n points needs from the beginnings of the
// sections.
func (p *ptau) read(s *mpcsetup.SrsCommons, n uint64) error {
	s.G1.Tau = make([]curve.G1Affine, 2*n-1)
	s.G1.AlphaTau, s.G1.BetaTau = make([]curve.G1Affine, n), make([]curve.G1Affine, n)
	s.G2.Tau = make([]curve.G2Affine, n)
	beta := make([]curve.G2Affine, 1)
	for _, err := range []error{
		readPoints(p, 2, g1Raw, s.G1.Tau, rawG1),
		readPoints(p, 3, g2Raw, s.G2.Tau, rawG2),
		readPoints(p, 4, g1Raw, s.G1.AlphaTau, rawG1),
		readPoints(p, 5, g1Raw, s.G1.BetaTau, rawG1),
		readPoints(p, 6, g2Raw, beta, rawG2),
	} {
		if err != nil {
			return err
		}
	}
	s.G2.Beta = beta[0]
	if _, _, gen1, gen2 := curve.Generators(); s.G1.Tau[0] != gen1 || s.G2.Tau[0] != gen2 {
		return p.refuse("does not begin its powers of tau with the generators")
	}
	return nil
}

// readPoints fills a vector from the beginning of a section.
func readPoints[P any](p *ptau, kind uint32, size int, into []P, set func(*P, []byte) error) error {
	raw := make([]byte, len(into)*size)
	if _, err := p.sections[kind].ReadAt(raw, 0); err != nil && err != io.EOF {
		return err
	}
	for i := range into {
		if err := set(&into[i], raw[i*size:][:size]); err != nil {
			return p.refuse("has a bad point in section %d: point %d: %v", kind, i, err)
		}
	}
	return nil
}

// rawG1 decodes a point of the curve that is not at infinity.
func rawG1(p *curve.G1Affine, b []byte) error {
	if err := rawCoordinates(b, &p.X, &p.Y); err != nil {
		return err
	}
	if p.IsInfinity() || !p.IsOnCurve() {
		return errors.New("it is not on the curve, or at infinity")
	}
	return nil
}

func rawG2(p *curve.G2Affine, b []byte) error {
	if err := rawCoordinates(b, &p.X.A0, &p.X.A1, &p.Y.A0, &p.Y.A1); err != nil {
		return err
	}
	if p.IsInfinity() || !p.IsOnCurve() {
		return errors.New("it is not on the curve, or at infinity")
	}
	if !p.IsInSubGroup() {
		return errors.New("it is not of the subgroup")
	}
	return nil
}

// rawCoordinates decodes coordinates in Montgomery form, each below the modulus.
func rawCoordinates(b []byte, into ...*fp.Element) error {
	for _, e := range into {
		if _, err := fp.LittleEndian.Element((*[fp.Bytes]byte)(b)); err != nil {
			return errors.New("a coordinate is not below the field's modulus")
		}
		for i := range e {
			e[i], b = binary.LittleEndian.Uint64(b), b[8:]
		}
	}
	return nil
}

// checkImported checks that parameters are the powers of one tau, with one alpha and one
// beta, which is the same in both groups, and that none of the three is zero or one.
func checkImported(s *mpcsetup.SrsCommons) error {
	_, _, gen1, gen2 := curve.Generators()
	for _, x := range []struct {
		name  string
		first *curve.G1Affine
	}{{"tau", &s.G1.Tau[1]}, {"alpha", &s.G1.AlphaTau[0]}, {"beta", &s.G1.BetaTau[0]}} {
		if x.first.IsInfinity() {
			return fmt.Errorf("%s is zero", x.name)
		}
		if x.first.Equal(&gen1) {
			return fmt.Errorf("%s is one: there was no contribution", x.name)
		}
	}
	if err := gcmpc.SameRatioMany(s.G1.Tau, s.G2.Tau, s.G1.AlphaTau, s.G1.BetaTau); err != nil {
		return fmt.Errorf("its powers: %w", err)
	}
	var minus curve.G1Affine
	minus.Neg(&s.G1.BetaTau[0])
	same, err := curve.PairingCheck([]curve.G1Affine{gen1, minus}, []curve.G2Affine{s.G2.Beta, gen2})
	if err != nil {
		return err
	}
	if !same {
		return errors.New("beta in G2 is another than in G1")
	}
	return nil
}

// records reads the contributions. Their proofs are not verified; the last one must
// have led to the parameters.
func (p *ptau) records(s *mpcsetup.SrsCommons) error {
	raw := make([]byte, p.sections[7].Size())
	if _, err := io.ReadFull(p.sections[7], raw); err != nil {
		return err
	}
	h := sha256.Sum256(raw)
	p.Records = hex.EncodeToString(h[:])
	if len(raw) < 4 {
		return p.refuse("does not say how many contributions it has")
	}
	count := binary.LittleEndian.Uint32(raw)
	rest := raw[4:]
	var last []byte
	for i := range count {
		if len(rest) < recordSize {
			return p.refuse("is cut off in contribution %d", i+1)
		}
		last = rest[:recordSize]
		more := binary.LittleEndian.Uint32(last[recordSize-4:])
		if more > maxRecord || int(more) > len(rest)-recordSize {
			return p.refuse("says that contribution %d has %d bytes of parameters", i+1, more)
		}
		rest = rest[recordSize+int(more):]
	}
	switch {
	case len(rest) > 0:
		return p.refuse("has %d bytes after its last contribution", len(rest))
	case count == 0:
		return p.refuse("has no contribution, so anyone knows its secrets")
	}
	p.Contributions = int(count)
	if !bytes.Equal(last[:3*g1Raw+2*g2Raw], recordOf(s)) {
		return p.refuse("holds other powers than its last contribution made")
	}
	return nil
}

// recordOf is how a record begins that leads to the given parameters.
func recordOf(s *mpcsetup.SrsCommons) []byte {
	return slices.Concat(rawOf1(s.G1.Tau[1]), rawOf2(s.G2.Tau[1]), rawOf1(s.G1.AlphaTau[0]), rawOf1(s.G1.BetaTau[0]),
		rawOf2(s.G2.Beta))
}

func rawOf1(points ...curve.G1Affine) (out []byte) {
	for i := range points {
		out = appendRaw(out, &points[i].X, &points[i].Y)
	}
	return out
}

func rawOf2(points ...curve.G2Affine) (out []byte) {
	for i := range points {
		p := &points[i]
		out = appendRaw(out, &p.X.A0, &p.X.A1, &p.Y.A0, &p.Y.A1)
	}
	return out
}

// appendRaw appends coordinates in Montgomery form.
func appendRaw(out []byte, coordinates ...*fp.Element) []byte {
	for _, c := range coordinates {
		for _, limb := range c {
			out = binary.LittleEndian.AppendUint64(out, limb)
		}
	}
	return out
}
