package ceremony

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/circuit/setup"
)

// Bytes of the parts of a contribution.
const (
	g1Size    = 32
	g2Size    = 64
	proofSize = g1Size + g2Size // of an update: the commitment to it and the proof of knowledge
	hashSize  = sha256.Size
)

// shape is what a circuit says about the files of its ceremony.
type shape struct {
	system *cs.R1CS
	hash   [32]byte
	domain uint64 // N, the least power of two that is not less than the constraints
	*setup.Wires
}

func newShape(system *cs.R1CS) (*shape, error) {
	wires, err := setup.WiresOf(system)
	if err != nil {
		return nil, err
	}
	s := &shape{system, hashSystem(system), ecc.NextPowerOfTwo(uint64(system.GetNbConstraints())), wires}
	if s.domain < 2 {
		return nil, fmt.Errorf("a circuit of %d constraints is too small for a ceremony", system.GetNbConstraints())
	}
	return s, nil
}

// hashSystem is the SHA-256 of all that Groth16's keys depend on, and of nothing that
// depends on where it was compiled: "cratelog/constraints/v1\n", then 8-byte
// big-endian integers: the numbers of public, secret and internal wires and of
// constraints; for each constraint its three linear expressions, each as its number
// of terms and for each term the wire and the 32-byte big-endian coefficient; the
// number of commitments and for each its wire, how many of its wires are public, its
// public and its private wires, each list with its length before it.
func hashSystem(system *cs.R1CS) [32]byte {
	h := sha256.New()
	w := bufio.NewWriterSize(h, 1<<16)
	w.WriteString("cratelog/constraints/v1\n")
	number := func(n int) { w.Write(binary.BigEndian.AppendUint64(w.AvailableBuffer(), uint64(n))) }
	numbers := func(list []int) {
		number(len(list))
		for _, n := range list {
			number(n)
		}
	}
	internal, secret, public := system.GetNbVariables()
	number(public)
	number(secret)
	number(internal)
	number(system.GetNbConstraints())
	it := system.GetR1CIterator()
	for c := it.Next(); c != nil; c = it.Next() {
		for _, e := range []constraint.LinearExpression{c.L, c.R, c.O} {
			number(len(e))
			for _, t := range e {
				number(t.WireID())
				b := system.Coefficients[t.CoeffID()].Bytes()
				w.Write(b[:])
			}
		}
	}
	commitments := system.CommitmentInfo.(constraint.Groth16Commitments) // WiresOf has looked
	number(len(commitments))
	for _, c := range commitments {
		number(c.CommitmentIndex)
		number(c.NbPublicCommitted)
		numbers(c.PublicAndCommitmentCommitted)
		numbers(c.PrivateCommitted)
	}
	w.Flush()
	return [32]byte(h.Sum(nil))
}

// A part is a run of points of one size in a phase's file, or a count of what follows.
type part struct {
	what    string // "" for a count
	size, n int    // bytes of each, and how many
	want    uint64 // what a count must say
}

// parts are a phase's file but for the hash of the file before, at its end.
func (s *shape) parts(phase int) []part {
	n := int(s.domain)
	points := func(what string, size, n int) part { return part{what, size, n, 0} }
	proof := func(secret string) []part {
		return []part{points(secret+"'s commitment", g1Size, 1), points(secret+"'s proof", g2Size, 1)}
	}
	if phase == 1 {
		return slices.Concat(proof("tau"), proof("alpha"), proof("beta"), []part{{"", 8, 1, s.domain},
			points("beta in G2", g2Size, 1), points("tau", g1Size, 2*n-2), points("tau in G2", g2Size, n-1),
			points("beta tau", g1Size, n), points("alpha tau", g1Size, n)})
	}
	counted := func(what string, n int) []part { return []part{{"", 4, 1, uint64(n)}, points(what, g1Size, n)} }
	var sigma, knowledge []part
	if s.Commitments() > 0 {
		sigma = append(counted("sigma K", len(s.Committed)), points("sigma in G2", g2Size, 1))
		knowledge = proof("sigma")
	}
	return slices.Concat([]part{{"", 2, 1, uint64(s.Commitments())}, points("delta", g1Size, 1)},
		counted("K over delta", len(s.Private)), counted("Z over delta", n-1), []part{points("delta in G2", g2Size, 1)},
		sigma, proof("delta"), knowledge)
}

// size is the exact size of a phase's files in bytes: of the start (number 0), which
// follows nothing, or of a contribution, which ends in the hash of the file before.
func (s *shape) size(phase, number int) int64 {
	size := int64(1)
	if number > 0 {
		size += hashSize
	}
	for _, p := range s.parts(phase) {
		size += int64(p.size) * int64(p.n)
	}
	return size
}

// checkParts checks that a phase's file says to hold what the circuit has, and that every
// point is compressed, before gnark reads the file: gnark makes room for as many points as a
// file claims to hold, and finds the claim elsewhere if a point before it is longer.
func (s *shape) checkParts(r io.Reader, phase int) error {
	buffered := bufio.NewReaderSize(r, 1<<20)
	at := int64(0)
	for _, p := range s.parts(phase) {
		for range p.n {
			var b [g2Size]byte
			if _, err := io.ReadFull(buffered, b[:p.size]); err != nil {
				return err
			}
			var count [8]byte
			copy(count[max(0, 8-p.size):], b[:])
			switch got := binary.BigEndian.Uint64(count[:]); {
			case p.what == "" && got != p.want:
				return fmt.Errorf("holds %d points at byte %d where the circuit has %d", got, at, p.want)
			case p.what != "" && b[0]>>6 == 0:
				return fmt.Errorf("holds a point at byte %d that is not compressed", at)
			}
			at += int64(p.size)
		}
	}
	return nil
}

// An Estimate is what a ceremony takes, roughly, on two cores.
type Estimate struct {
	Domain     uint64
	File       [2]int64 // bytes of a contribution, by phase
	Contribute [2]time.Duration
	Verify     [2]time.Duration // per contribution
	Start2     time.Duration    // from phase 1 to the start of phase 2
	Memory     int64            // bytes
}

func (s *shape) estimate() Estimate {
	per := func(d time.Duration) time.Duration { return time.Duration(s.domain) * d }
	return Estimate{
		Domain:     s.domain,
		File:       [2]int64{s.size(1, 1), s.size(2, 1)},
		Contribute: [2]time.Duration{per(640 * time.Microsecond), per(180 * time.Microsecond)},
		Verify:     [2]time.Duration{per(150 * time.Microsecond), per(50 * time.Microsecond)},
		Start2:     per(time.Duration(bits.Len64(s.domain)) * 130 * time.Microsecond), // Fourier transforms
		Memory:     int64(s.domain) * 10000,
	}
}
