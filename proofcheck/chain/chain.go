// Package chain is what the prover and every verifier of a source proof compute alike: the state
// that one segment of the circuit hands to the next, the commitment to it, the first and the last
// state, and the challenge at which all segments are summed up.
//
// It knows nothing of gnark's circuits, so verifiers import it and never package circuit.
package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
)

// The permutation of the commitment to a state: Poseidon2 with the published constants for this
// width (eprint 2023/323), 8 full and 57 partial rounds, what the authors' script asks for with
// its margin.
const (
	Width         = 16
	FullRounds    = 8
	PartialRounds = 57
)

// IDSize is the size of a git object's id, and of what a segment sees ahead, in bytes.
const IDSize = 20

// Label is the last lane of the commitment to a state: ASCII, read as a big-endian integer.
var Label = new(big.Int).SetBytes([]byte("cratelog/segment-state/v1"))

// State is what stands between two blocks of the object stream.
type State struct {
	H         [IDSize]byte // SHA-1's chaining value of the open object, or zero if none is open
	Automaton uint64       // state of the automaton; 0 (idle) if no object is open
	Ended     bool         // no object is open
	Objects   uint64       // started so far
	Length    uint64       // of the open object, header and content, in bytes; else 0
	Blocks    uint64       // of the open object so far; else 0
	Listed    uint64       // bytes of the list so far
	Children  uint64       // references to objects so far, that of the first not counted

	Ahead *[IDSize]byte // the bytes that come next; nil before the first segment

	// Sums of fractions at Rho.
	References fr.Element // references sent less objects received
	List       fr.Element // listed bytes

	Blind fr.Element // random; zero at both ends
}

// Commitment returns the commitment to the state: the first lane of one Poseidon2 permutation of
//
//	H, Automaton, Ended, Objects, Length, Blocks, Listed, Children, Ahead (-1 for none),
//	References, List, Blind, 0, 0, 0, Label
func (s *State) Commitment() fr.Element {
	lanes := make([]fr.Element, Width)
	lanes[0].SetBytes(s.H[:])
	ended := uint64(0)
	if s.Ended {
		ended = 1
	}
	for i, v := range []uint64{s.Automaton, ended, s.Objects, s.Length, s.Blocks, s.Listed, s.Children} {
		lanes[1+i].SetUint64(v)
	}
	lanes[8].SetInt64(-1)
	if s.Ahead != nil {
		lanes[8].SetBytes(s.Ahead[:])
	}
	lanes[9], lanes[10], lanes[11] = s.References, s.List, s.Blind
	lanes[Width-1].SetBigInt(Label)
	if err := permutation().Permutation(lanes); err != nil {
		panic(err) // it refuses nothing but another width
	}
	return lanes[0]
}

var permutation = sync.OnceValue(func() *poseidon2.Permutation {
	return poseidon2.NewPermutation(Width, FullRounds, PartialRounds)
})

// errPole says that a term has no fraction at rho. It happens with a probability below 2^-200.
var errPole = errors.New("chain: a term equals the challenge")

// Start returns the state before the first segment: a reference to the commit was sent.
func Start(commit [IDSize]byte, rho fr.Element) (State, error) {
	s := State{Ended: true}
	s.References.SetBytes(commit[:])
	s.References.Sub(&rho, &s.References)
	if s.References.IsZero() {
		return State{}, errPole
	}
	s.References.Inverse(&s.References)
	return s, nil
}

// End is what a proof says of its list, and of how many objects the list tells.
type End struct {
	Objects   uint32     // commit and tree objects, at least 2
	ListBytes uint32     // length of the list
	List      fr.Element // Sum of the list at rho
}

// State returns the state after the last segment: every object ended, every reference answered.
func (e End) State() State {
	return State{Ended: true, Objects: uint64(e.Objects), Listed: uint64(e.ListBytes),
		Children: uint64(e.Objects) - 1, Ahead: new([IDSize]byte), List: e.List}
}

// Sum returns the sum of 1/(rho - byte - 256 place) over the bytes of a list.
func Sum(list []byte, rho fr.Element) (sum fr.Element, err error) {
	over := fr.One() // sum/over is the sum so far
	at := rho        // less 256 times the place
	row := fr.NewElement(256)
	for _, b := range list {
		var term fr.Element
		term.Sub(&at, &byteElements()[b])
		sum.Mul(&sum, &term).Add(&sum, &over)
		over.Mul(&over, &term)
		at.Sub(&at, &row)
	}
	if over.IsZero() { // as a term is
		return fr.Element{}, errPole
	}
	return *sum.Mul(&sum, over.Inverse(&over)), nil
}

var byteElements = sync.OnceValue(func() *[256]fr.Element {
	out := new([256]fr.Element)
	for b := range out {
		out[b].SetUint64(uint64(b))
	}
	return out
})

// EndOf returns what a true proof of a list says at its end. It fails for a list that is not
// well formed (see Objects).
func EndOf(list []byte, rho fr.Element) (e End, err error) {
	objects, err := Objects(list)
	if err != nil {
		return e, err
	}
	e.Objects, e.ListBytes = uint32(objects), uint32(len(list))
	e.List, err = Sum(list, rho)
	return e, err
}

// MaxList bounds a list, in bytes: far above what the largest proof can list.
const MaxList = 1 << 20

// Objects returns how many objects a list tells. It fails unless the list is objects and
// entries, as package crate writes them, to its end.
func Objects(list []byte) (n int, err error) {
	if len(list) > MaxList {
		return 0, fmt.Errorf("the list has %d bytes, at most %d are read", len(list), MaxList)
	}
	malformed := func(at int) error { return fmt.Errorf("the list is malformed at byte %d", at) }
	for at := 0; at < len(list); {
		if list[at] == 'c' || list[at] == 't' {
			n++
			at++
			continue
		}
		space, nul := 0, 0
		for i := at; i < len(list) && nul == 0; i++ {
			switch {
			case list[i] == ' ' && space == 0:
				space = i
			case list[i] == 0:
				nul = i
			}
		}
		if n < 2 || nul == 0 || space == 0 || space < at+5 || nul == space+1 {
			return 0, malformed(at)
		}
		next := nul + 1
		switch string(list[at:space]) {
		case "40000", "160000":
		case "100644", "100755", "120000":
			next += IDSize
		default:
			return 0, malformed(at)
		}
		if next > len(list) {
			return 0, malformed(at)
		}
		at = next
	}
	if n < 2 || list[0] != 'c' || list[1] != 't' {
		return 0, malformed(0)
	}
	return n, nil
}

// Rho returns the challenge of a proof: its statement and the commitments of all its segments,
// in order, hashed:
//
//	fr.Hash(SHA-256("cratelog/segments/v1\n" || program || commit || context || n || C_1 .. C_n),
//	        "cratelog/segments/rho", 1)
//
// where n is a 4-byte big-endian integer and C_i are compressed points. fr.Hash is RFC 9380's
// hash_to_field with expand_message_xmd and SHA-256.
func Rho(program [32]byte, commit [IDSize]byte, context [32]byte, commitments []bn254.G1Affine) (rho fr.Element) {
	h := sha256.New()
	h.Write([]byte("cratelog/segments/v1\n"))
	h.Write(program[:])
	h.Write(commit[:])
	h.Write(context[:])
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(commitments))))
	for i := range commitments {
		b := commitments[i].Bytes()
		h.Write(b[:])
	}
	e, err := fr.Hash(h.Sum(nil), []byte("cratelog/segments/rho"), 1)
	if err != nil {
		panic(err) // only a longer domain separator is refused
	}
	return e[0]
}
