package proofcheck

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/build"
	"cratelog/entry"
)

// Membership is what a hidden member's proof shows: some member of the set with this Root has this
// Tag for this Request, and this Share of this Result (see package build for what they are). A verifier
// computes Request and Result, never reads them.
type Membership struct{ Root, Request, Result, Tag, Share [32]byte }

// BuildProof is a hidden member's proof.
type BuildProof struct {
	Share  [32]byte
	Points *groth16.Proof // without a commitment
}

// Marshal returns the parts of an entry's proof, which is one: share (32) | A (32) | B (64) | C (32),
// with points compressed as gnark-crypto writes them and the share big-endian.
func (p *BuildProof) Marshal() [][]byte {
	a, b, c := p.Points.Ar.Bytes(), p.Points.Bs.Bytes(), p.Points.Krs.Bytes()
	out := append(make([]byte, 0, build.HiddenPart), p.Share[:]...)
	return [][]byte{append(append(append(out, a[:]...), b[:]...), c[:]...)}
}

// ParseBuildProof reads a proof in its one encoding. It refuses points that are off their curve or
// subgroup, points at infinity and a share that is not below the field's order. Errors wrap
// ErrProof.
func ParseBuildProof(parts [][]byte) (*BuildProof, error) {
	share, err := build.SharePart(parts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	p := &BuildProof{Share: share, Points: new(groth16.Proof)}
	if err := readPoints(parts[0][len(share):], &p.Points.Ar, &p.Points.Bs, &p.Points.Krs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if again := p.Marshal(); string(again[0]) != string(parts[0]) {
		return nil, fmt.Errorf("%w: it is not in its one encoding", ErrProof)
	}
	return p, nil
}

// built is what the proof of a build claim shows: all of the claim, and no list.
type built struct{}

var _ entry.Chain = built{}

func (built) Objects() int   { return 0 }
func (built) ListBytes() int { return 0 }

func (built) Check([]byte) error {
	return errors.New("a build claim is not about a list of files: ask for a source claim of the crate")
}

// build does all of Chain but the pairings, for a build claim.
func (v *Verifier) build(e *entry.Entry, claim *entry.Build) (*statement, error) {
	if e.Proof.Program == build.NamedProgram {
		if _, err := build.VerifyNamed(e); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProof, err)
		}
		return &statement{shown: built{}, holds: true}, nil
	}
	key, err := v.keyFor(e, ClaimBuild)
	if err != nil {
		return nil, err
	}
	proof, err := ParseBuildProof(e.Proof.Parts)
	if err != nil {
		return nil, err
	}
	request, err := claim.Request(e.Subject)
	if err != nil {
		return nil, err
	}
	m := Membership{claim.Root, request, claim.Result(), claim.Tag, proof.Share}
	s, err := m.statement(key, proof.Points)
	if err != nil {
		return nil, err
	}
	s.program = e.Proof.Program
	return s, nil
}

// keyFor returns the key of an entry's program, which must prove claims of this kind.
func (v *Verifier) keyFor(e *entry.Entry, claim string) (*key, error) {
	id := e.Proof.Program
	if id == build.NamedProgram && claim != ClaimBuild {
		return nil, fmt.Errorf("%w: the program proves build claims only", ErrProof)
	}
	k := v.keys[id]
	switch {
	case k == nil:
		return nil, fmt.Errorf("%w: %x", entry.ErrUnknownProgram, id)
	case k.claim != claim:
		return nil, fmt.Errorf("%w: the program proves claims of the kind %s only", ErrProof, k.claim)
	}
	return k, nil
}

// VerifyMembership checks a proof of a statement that is no entry's, such as an enrolment's. The
// program must be one of build claims. The error wraps ErrProof if the proof does not hold.
func (p Program) VerifyMembership(m Membership, parts [][]byte) error {
	key, err := p.key()
	if err != nil {
		return err
	}
	if key.claim != ClaimBuild {
		return fmt.Errorf("the program proves claims of the kind %s and no memberships", key.claim)
	}
	proof, err := ParseBuildProof(parts)
	if err != nil {
		return err
	}
	if proof.Share != m.Share {
		return fmt.Errorf("%w: it is of another share", ErrProof)
	}
	s, err := m.statement(key, proof.Points)
	if err != nil {
		return err
	}
	if checkBatch([]*statement{s}); !s.holds {
		return errFalse
	}
	return nil
}

// statement refuses values that are not below the field's order, of which one more in the same bytes would
// be another tag of the same member, and a result of zero, whose share is a member's name.
func (m *Membership) statement(k *key, proof *groth16.Proof) (*statement, error) {
	inputs := make(fr.Vector, 0, buildInputs)
	for _, in := range []struct {
		name  string
		value [32]byte
	}{{"root", m.Root}, {"request", m.Request}, {"result", m.Result}, {"tag", m.Tag}, {"share", m.Share}} {
		var x fr.Element
		if x.SetBytesCanonical(in.value[:]) != nil {
			return nil, fmt.Errorf("%w: the %s is not below the field's order", ErrProof, in.name)
		}
		inputs = append(inputs, x)
	}
	if inputs[2].IsZero() {
		return nil, fmt.Errorf("%w: the result is zero", ErrProof)
	}
	return &statement{key: k, segments: []segment{newSegment(proof, inputs...)}, shown: built{}}, nil
}
