package setup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"
)

// A proving key's file is gnark's dump of it (WriteDump: points as they stand in the memory of a
// little-endian machine), then the powers that it is checked with: tau^0 to tau^n in G1 and tau in
// G2, compressed.
//
// gnark's dump is a marker in the machine's byte order; the domain, whose cardinality comes
// first; alpha, beta and delta in G1, beta and delta in G2; three counts; two flags a wire; the
// number of commitments; then vectors, each with its length before it.
const (
	atDomain  = 8
	atPoints  = atDomain + 8 + 5*fr.Bytes + 1
	atCounts  = atPoints + 3*g1Raw + 2*g2Raw
	atFlags   = atCounts + 3*8
	g1Raw     = curve.SizeOfG1AffineUncompressed
	g2Raw     = curve.SizeOfG2AffineUncompressed
	g1Size    = curve.SizeOfG1AffineCompressed
	g2Size    = curve.SizeOfG2AffineCompressed
	marker    = 0xdeadbeef
	countSize = 8
)

// WriteProving writes a proving key's file.
func WriteProving(w io.Writer, pk *groth16.ProvingKey, powers RawPowers) error {
	if err := pk.WriteDump(w); err != nil {
		return err
	}
	_, err := w.Write(powers)
	return err
}

// RawPowers are the powers as they stand in a proving key's file.
type RawPowers []byte

// Encode returns the powers as they stand in a proving key's file.
func (p *Powers) Encode() RawPowers {
	raw := make([]byte, g1Size*len(p.G1), g1Size*len(p.G1)+g2Size)
	parallel(len(p.G1), func(from, to int) {
		for i := from; i < to; i++ {
			b := p.G1[i].Bytes()
			copy(raw[g1Size*i:], b[:])
		}
	})
	tau2 := p.Tau2.Bytes()
	return append(raw, tau2[:]...)
}

// ReadProving reads a proving key's file of this circuit. It checks all sizes, and no point: ask
// for the file's hash before, and Check if it is not one that is known.
func ReadProving(raw []byte, system *cs.R1CS) (*groth16.ProvingKey, RawPowers, error) {
	w, err := WiresOf(system)
	if err != nil {
		return nil, nil, err
	}
	n := ecc.NextPowerOfTwo(uint64(system.GetNbConstraints()))
	end, err := w.checkDump(raw, n)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the file %w", ErrKey, err)
	}
	if rest, want := uint64(len(raw))-end, (n+1)*g1Size+g2Size; rest != want {
		return nil, nil, differs("the file has %d bytes after the points, and the powers of tau take %d", rest, want)
	}
	pk := new(groth16.ProvingKey)
	if err := pk.ReadDump(bytes.NewReader(raw[:end])); err != nil {
		return nil, nil, fmt.Errorf("%w: the file cannot be read (%w)", ErrKey, err)
	}
	return pk, bytes.Clone(raw[end:]), nil
}

// MaxProving bounds the file of a proving key of this circuit, in bytes.
func MaxProving(system *cs.R1CS) int64 {
	internal, secret, public := system.GetNbVariables()
	wires, n := int64(internal+secret+public), int64(ecc.NextPowerOfTwo(uint64(system.GetNbConstraints())))
	// Of A, B, B in G2, and of K or both bases, a wire is in all; of Z and powers there is one each.
	return atFlags + 1<<10 + wires*(2+4*g1Raw+g2Raw) + (n+1)*(g1Raw+g1Size)
}

// checkDump compares every count in a dump, and so its size, with the circuit's, and returns where
// it ends: gnark makes room for as many points as a file claims to hold.
func (w *Wires) checkDump(raw []byte, domain uint64) (end uint64, err error) {
	all := uint64(len(w.Public) + len(w.Committed) + len(w.Private))
	if uint64(len(raw)) < atFlags+2*all+4 {
		return 0, fmt.Errorf("is too short, with %d bytes", len(raw))
	}
	if binary.NativeEndian.Uint64(raw) != marker {
		return 0, errors.New("is not a proving key, or of a machine with another byte order")
	}
	if raw[atPoints-1] != 1 {
		return 0, errors.New("has a domain without its tables")
	}
	// gnark takes compressed points too, which are shorter: then it finds all that follows, and so the
	// sizes of what it makes room for, in other places than those that are looked at here.
	for _, at := range []int{0, g1Raw, 2 * g1Raw, 3 * g1Raw, 3*g1Raw + g2Raw} {
		if raw[atPoints+at]>>6 != 0 {
			return 0, fmt.Errorf("has a point at byte %d that is compressed", atPoints+at)
		}
	}
	count := func(at uint64) uint64 { return binary.BigEndian.Uint64(raw[at:]) }
	a, b := all-count(atCounts+8), all-count(atCounts+16)
	if count(atDomain) != domain || count(atCounts) != all || a > all || b > all {
		return 0, fmt.Errorf("is for a circuit of %d wires and a domain of %d, this one has %d and %d",
			count(atCounts), count(atDomain), all, domain)
	}
	at := atFlags + 2*all
	for i, want := range []uint64{all - a, all - b} {
		flags := raw[atFlags+uint64(i)*all:][:all]
		if uint64(bytes.Count(flags, []byte{1})) != want || uint64(bytes.Count(flags, []byte{0})) != all-want {
			return 0, errors.New("has flags that do not agree with its counts")
		}
	}
	if n := binary.BigEndian.Uint32(raw[at:]); uint64(n) != uint64(w.Commitments()) {
		return 0, fmt.Errorf("has %d commitments, the circuit has %d", n, w.Commitments())
	}
	at += 4
	type vector struct {
		name    string
		n, size uint64
	}
	vectors := []vector{
		{"A", a, g1Raw}, {"B", b, g1Raw}, {"Z", domain - 1, g1Raw}, {"K", uint64(len(w.Private)), g1Raw},
		{"B in G2", b, g2Raw},
	}
	if w.Commitments() > 0 {
		vectors = append(vectors, vector{"the commitment's basis", uint64(len(w.Committed)), g1Raw},
			vector{"the commitment's second basis", uint64(len(w.Committed)), g1Raw})
	}
	for _, v := range vectors {
		if uint64(len(raw)) < at+countSize {
			return 0, fmt.Errorf("is cut off before %s", v.name)
		}
		if n := binary.LittleEndian.Uint64(raw[at:]); n != v.n {
			return 0, fmt.Errorf("has %d points of %s, this circuit has %d", n, v.name, v.n)
		}
		if at += countSize; uint64(len(raw))-at < v.n*v.size {
			return 0, fmt.Errorf("is cut off in %s", v.name)
		}
		at += v.n * v.size
	}
	return at, nil
}

// Decode reads the powers. Check checks what they are.
func (raw RawPowers) Decode() (*Powers, error) {
	if len(raw) < g2Size || (len(raw)-g2Size)%g1Size != 0 {
		return nil, differs("the powers of tau have %d bytes", len(raw))
	}
	p := &Powers{G1: make([]curve.G1Affine, (len(raw)-g2Size)/g1Size)}
	var bad atomic.Bool
	parallel(len(p.G1), func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := p.G1[i].SetBytes(raw[g1Size*i : g1Size*(i+1)]); err != nil {
				bad.Store(true)
			}
		}
	})
	if _, err := p.Tau2.SetBytes(raw[len(raw)-g2Size:]); err != nil || bad.Load() {
		return nil, differs("the powers of tau are not points")
	}
	return p, nil
}
