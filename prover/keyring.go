package prover

import (
	"context"
	"errors"
	"fmt"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// Keyring proves with the key of a directory or of two files. It loads the key with the first
// proof, and keeps it.
type Keyring struct {
	// Cache is the directory of development keys, and of what was checked of others.
	Cache string
	// ProgramFile and KeyFile are the files that a ceremony or a solo setup exported; "" for
	// development keys.
	ProgramFile, KeyFile string
	// PublicSource says that what is proven is public: then the key, which could make proofs that
	// tell secrets, is not checked first.
	PublicSource bool

	program *proofcheck.Program // of ProgramFile
	keys    *Keys
}

// Development says whether the proofs are of UNSAFE development keys.
func (k *Keyring) Development() bool { return k.ProgramFile == "" }

// Check reads the program file, if there is one: a mistake is found before work
// begins.
func (k *Keyring) Check() error {
	if (k.ProgramFile == "") != (k.KeyFile == "") {
		return errors.New("a program file and its proving key go together: give both or none")
	}
	if k.ProgramFile == "" || k.program != nil {
		return nil
	}
	p, err := proofcheck.ReadProgram(k.ProgramFile)
	if err != nil {
		return err
	}
	k.program = &p
	return nil
}

// Program returns the program that proves a plan.
func (k *Keyring) Program(p *Plan) (id [32]byte, err error) {
	if err := k.Check(); err != nil {
		return id, err
	}
	if k.program != nil {
		return k.program.ID(), p.fits(k.program.Blocks)
	}
	if err := p.fits(circuit.SegmentBlocks); err != nil {
		return id, err
	}
	shipped, err := shippedDevelopment(circuit.SegmentBlocks)
	if err == nil && shipped == nil {
		err = fmt.Errorf("no development program with segments of %d blocks ships with this version", circuit.SegmentBlocks)
	}
	if err != nil {
		return id, err
	}
	return shipped.ID(), nil
}

// Prove makes the entry of a plan.
func (k *Keyring) Prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	if _, err := k.Program(p); err != nil {
		return nil, err
	}
	if err := k.load(ctx, progress); err != nil {
		return nil, err
	}
	if !k.PublicSource {
		if err := k.keys.CheckOnce(ctx, k.Cache, progress); err != nil {
			return nil, err
		}
	}
	return k.keys.Prove(ctx, p, progress)
}

func (k *Keyring) load(ctx context.Context, progress Progress) (err error) {
	switch {
	case k.keys != nil:
	case k.program != nil:
		k.keys, err = OpenKeys(ctx, k.ProgramFile, k.KeyFile, progress)
	default:
		k.keys, err = DevelopmentKeys(ctx, k.Cache, circuit.SegmentBlocks, progress)
	}
	return err
}
