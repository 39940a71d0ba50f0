// Package proofcheck answers one question: is this proof true of this claim?
//
// A Verifier holds an explicit list of programs. An entry names one of them by its
// id; an entry of any other program is refused, whatever its proof.
//
// The answer has two halves. Chain checks the proof, in its one encoding, against the claim's
// commit and the entry's context: it shows that the objects of this commit exist, closed under
// their references, and that some list of files, fixed before the challenge, was read out of them.
// Which list, only the list itself can show: Check of the Chain demands it, and compares it with
// the claim's digest and with what the proof says. There is no third answer: whoever has the
// .crate computes its list (package crate) and asks for both halves, as entry.Check does.
//
// What is not checked: whether the log holds the entry (package client).
//
// Valid Groth16 proofs can be altered by anyone into other valid proofs of the
// same statement, so proof bytes identify nothing.
package proofcheck

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/entry"
	"cratelog/proofcheck/chain"
)

var (
	// ErrProof says that a proof is malformed or false.
	ErrProof = errors.New("proof does not hold")

	// ErrOtherList says that a list is not the one whose digest the claim has. It says nothing
	// about the proof.
	ErrOtherList = errors.New("the list has another digest than the claim says")

	// ErrListNotProven says that a list has the claim's digest, and that the proof is not of
	// it: the entry is false. It is an ErrProof.
	ErrListNotProven = fmt.Errorf("%w: it is not of the list whose digest the claim has", ErrProof)
)

// Verifier checks proofs of an explicit list of programs. It is safe for
// concurrent use.
type Verifier struct {
	programs []Program
	keys     map[[32]byte]*key
}

var (
	_ entry.Verifier      = &Verifier{}
	_ entry.BatchVerifier = &Verifier{}
)

// New returns a verifier that accepts proofs of the given programs and no others.
func New(programs []Program) (*Verifier, error) {
	v := &Verifier{programs: slices.Clone(programs), keys: map[[32]byte]*key{}}
	for _, p := range programs {
		k, err := p.key()
		if err != nil {
			return nil, err
		}
		id := p.ID()
		if v.keys[id] != nil {
			return nil, fmt.Errorf("program %x is listed twice", id)
		}
		v.keys[id] = k
	}
	return v, nil
}

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

// Chain returns what an entry's proof shows without the list. The error wraps
// entry.ErrUnknownProgram if the entry's program is not accepted, and ErrProof if the proof
// does not hold for its subject and claim.
func (v *Verifier) Chain(e *entry.Entry) (entry.Chain, error) {
	chains, errs := v.Chains([]*entry.Entry{e})
	return chains[0], errs[0]
}

// shown is what a proof that holds shows.
type shown struct {
	files [32]byte // the claim's
	rho   fr.Element
	end   chain.End
}

var _ entry.Chain = &shown{}

func (s *shown) Objects() int   { return int(s.end.Objects) }
func (s *shown) ListBytes() int { return int(s.end.ListBytes) }

// Check returns nil if the list is the claim's, and what the proof is of. Otherwise the error
// wraps ErrOtherList or ErrListNotProven.
//
// The digest comes first: only because the challenge was drawn from the claim, the list was
// fixed before it, and equal sums mean equal lists.
func (s *shown) Check(list []byte) error {
	if sha256.Sum256(list) != s.files {
		return ErrOtherList
	}
	end, err := chain.EndOf(list, s.rho)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrListNotProven, err)
	}
	if end != s.end {
		return ErrListNotProven
	}
	return nil
}

// statement is an entry's proof, decoded, with everything that it is checked against.
type statement struct {
	program  [32]byte
	key      *key
	segments []segment
	shown    entry.Chain
	holds    bool // set by the batch's check, and from the start if a signature is the proof
}

// statement does all of Chain but the pairings.
func (v *Verifier) statement(e *entry.Entry) (*statement, error) {
	switch claim := e.Claim.(type) {
	case *entry.Source:
		return v.source(e, claim)
	case *entry.Build:
		return v.build(e, claim)
	}
	return nil, fmt.Errorf("%w: no program proves claims of the kind %T", ErrProof, e.Claim)
}

func (v *Verifier) source(e *entry.Entry, claim *entry.Source) (*statement, error) {
	s := &statement{program: e.Proof.Program}
	var err error
	if s.key, err = v.keyFor(e, ClaimSource); err != nil {
		return nil, err
	}
	proof, err := ParseProof(e.Proof.Parts)
	if err != nil {
		return nil, err
	}
	context, err := entry.Context(e.Subject, claim)
	if err != nil {
		return nil, err
	}
	commitments := make([]bn254.G1Affine, len(proof.Segments))
	for i, p := range proof.Segments {
		commitments[i] = p.Commitments[0]
	}
	rho := chain.Rho(s.program, claim.Commit, context, commitments)
	s.shown = &shown{claim.Files, rho, proof.End}
	first, err := chain.Start(claim.Commit, rho)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	last := proof.End.State()
	states := slices.Concat([]fr.Element{first.Commitment()}, proof.Cuts, []fr.Element{last.Commitment()})
	s.segments = make([]segment, len(proof.Segments))
	for i, p := range proof.Segments {
		s.segments[i] = newSegment(p, states[i], states[i+1], rho)
	}
	return s, nil
}
