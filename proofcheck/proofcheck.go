// Package proofcheck answers one question: is this proof true of this claim?
//
// A Verifier holds an explicit list of programs. An entry names one of them by its
// id; an entry of any other program is refused, whatever its proof.
//
// What is checked: the proof, in its one encoding, against the claim's commit, the
// claim's file list digest and the entry's context. What is not: whether a .crate
// yields that digest (package crate), and whether the log holds the entry
// (package client).
//
// A valid Groth16 proof can be altered by anyone into another valid proof of the
// same statement, so proof bytes identify nothing.
package proofcheck

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/logger"

	"cratelog/entry"
)

// ErrProof says that a proof is malformed or false.
var ErrProof = errors.New("proof does not hold")

// ProofSize is the size of a source proof in bytes.
const ProofSize = 192

// Verifier checks proofs of an explicit list of programs. It is safe for
// concurrent use.
type Verifier struct {
	programs []Program
	keys     map[[32]byte]*groth16.VerifyingKey
}

// New returns a verifier that accepts proofs of the given programs and no others.
func New(programs []Program) (*Verifier, error) {
	quiet()
	v := &Verifier{programs: slices.Clone(programs), keys: map[[32]byte]*groth16.VerifyingKey{}}
	for _, p := range programs {
		vk, err := p.verifyingKey()
		if err != nil {
			return nil, err
		}
		id := p.ID()
		if v.keys[id] != nil {
			return nil, fmt.Errorf("program %x is listed twice", id)
		}
		v.keys[id] = vk
	}
	return v, nil
}

// quiet keeps gnark from writing to a program's standard output.
var quiet = sync.OnceFunc(logger.Disable)

// Programs returns the accepted programs.
func (v *Verifier) Programs() []Program { return slices.Clone(v.programs) }

// Program returns the accepted program with an id.
func (v *Verifier) Program(id [32]byte) (Program, bool) {
	for _, p := range v.programs {
		if p.ID() == id {
			return p, true
		}
	}
	return Program{}, false
}

// Chain reads the proof of an entry. The error wraps entry.ErrUnknownProgram or ErrProof.
func (v *Verifier) Chain(e *entry.Entry) (entry.Chain, error) {
	vk := v.keys[e.Proof.Program]
	if vk == nil {
		return nil, fmt.Errorf("%w: %x", entry.ErrUnknownProgram, e.Proof.Program)
	}
	claim, ok := e.Claim.(*entry.Source)
	if !ok {
		return nil, fmt.Errorf("%w: the program proves source claims only", ErrProof)
	}
	if len(e.Proof.Parts) != 1 {
		return nil, fmt.Errorf("%w: it has %d parts, the program makes one", ErrProof, len(e.Proof.Parts))
	}
	proof, err := ParseProof(e.Proof.Parts[0])
	if err != nil {
		return nil, err
	}
	return &single{vk, proof, e.Subject, claim}, nil
}

// Chains is Chain of many entries.
func (v *Verifier) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	chains, errs := make([]entry.Chain, len(entries)), make([]error, len(entries))
	for i, e := range entries {
		chains[i], errs[i] = v.Chain(e)
	}
	return chains, errs
}

// single is a proof of the circuit whose public input is the list's digest: it shows nothing
// without the list.
type single struct {
	vk      *groth16.VerifyingKey
	proof   *groth16.Proof
	subject entry.Subject
	claim   *entry.Source
}

func (s *single) Objects() int   { return 0 }
func (s *single) ListBytes() int { return 0 }

func (s *single) Check(list []byte) error {
	if sha256.Sum256(list) != s.claim.Files {
		return fmt.Errorf("%w: the list is not the claim's", ErrProof)
	}
	context, err := entry.Context(s.subject, s.claim)
	if err != nil {
		return err
	}
	files, err := ListDigest(list)
	if err != nil {
		return err
	}
	in := make(fr.Vector, sourceInputs, sourceInputs+1) // Verify appends the challenge
	in[0].SetBytes(s.claim.Commit[:])                   // 160 bits
	in[1].SetBytes(files[:])
	in[2].SetBytes(context[:])
	if err := groth16.Verify(s.proof, s.vk, in); err != nil {
		return fmt.Errorf("%w: it is not a proof of this subject and claim", ErrProof)
	}
	return nil
}

// ListDigest is the Poseidon2 hash of the bytes of a list.
func ListDigest(list []byte) ([32]byte, error) {
	elements := binary.BigEndian.AppendUint64(make([]byte, 24), uint64(len(list)))
	for c := range slices.Chunk(list, 31) {
		var element [32]byte
		copy(element[1:], c)
		elements = append(elements, element[:]...)
	}
	h := poseidon2.NewMerkleDamgardHasher()
	if _, err := h.Write(elements); err != nil {
		return [32]byte{}, fmt.Errorf("hashing the file list: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}

// ParseProof reads a proof in its one encoding, compressed points in the order
//
//	A (32) | B (64) | C (32) | commitment (32) | proof of knowledge (32)
//
// It refuses points that are off their curve or subgroup, points at infinity, and
// anything that does not encode to the same bytes again.
func ParseProof(b []byte) (*groth16.Proof, error) {
	if len(b) != ProofSize {
		return nil, fmt.Errorf("%w: it has %d bytes instead of %d", ErrProof, len(b), ProofSize)
	}
	p := &groth16.Proof{Commitments: make([]bn254.G1Affine, 1)}
	rest := b
	for i, point := range []interface {
		SetBytes([]byte) (int, error)
		IsInfinity() bool
	}{&p.Ar, &p.Bs, &p.Krs, &p.Commitments[0], &p.CommitmentPok} {
		n, err := point.SetBytes(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: point %d is malformed", ErrProof, i+1)
		}
		if point.IsInfinity() {
			return nil, fmt.Errorf("%w: point %d is at infinity", ErrProof, i+1)
		}
		if len(rest) < n {
			return nil, fmt.Errorf("%w: point %d is cut off", ErrProof, i+1)
		}
		rest = rest[n:]
	}
	if len(rest) != 0 || string(MarshalProof(p)) != string(b) {
		return nil, fmt.Errorf("%w: it is not in its canonical encoding", ErrProof)
	}
	return p, nil
}

// MarshalProof is the inverse of ParseProof. The proof must have one commitment.
func MarshalProof(p *groth16.Proof) []byte {
	out := make([]byte, 0, ProofSize)
	a, b, c, d, e := p.Ar.Bytes(), p.Bs.Bytes(), p.Krs.Bytes(), p.Commitments[0].Bytes(), p.CommitmentPok.Bytes()
	for _, s := range [][]byte{a[:], b[:], c[:], d[:], e[:]} {
		out = append(out, s...)
	}
	return out
}
