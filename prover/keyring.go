package prover

import (
	"context"
	"errors"
	"fmt"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// Keyring proves with the keys of a directory or of two files. It holds one key at
// a time, the last one used: prove crates of one class after each other.
type Keyring struct {
	// Cache is the directory of development keys.
	Cache string
	// ProgramFile and KeyFile are the files that a ceremony exported; "" for
	// development keys.
	ProgramFile, KeyFile string

	program *proofcheck.Program // of ProgramFile
	keys    *Keys
	loaded  circuit.Capacity // of keys, with development keys
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
		if p.Blocks > k.program.Blocks || len(p.List.Bytes) > k.program.ListBytes {
			return id, outcome.Refusef("the commit and the trees on the crate's paths take %d SHA-1 blocks and the file list "+
				"%d bytes; the program in %s has %d blocks and %d bytes",
				p.Blocks, len(p.List.Bytes), k.ProgramFile, k.program.Blocks, k.program.ListBytes)
		}
		return k.program.ID(), nil
	}
	class, err := p.Class()
	if err != nil {
		return id, outcome.Refusef("%w\nthis version cannot prove a crate of this size yet", err)
	}
	shipped, err := proofcheck.Embedded()
	if err != nil {
		return id, err
	}
	for _, s := range shipped {
		if s.Development() && s.Blocks == class.Blocks && s.ListBytes == class.ListBytes() {
			return s.ID(), nil
		}
	}
	return id, fmt.Errorf("no development program of %d blocks ships with this version", class.Blocks)
}

// Prove makes the entry of a plan.
func (k *Keyring) Prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	if _, err := k.Program(p); err != nil {
		return nil, err
	}
	if err := k.load(ctx, p, progress); err != nil {
		return nil, err
	}
	return k.keys.Prove(ctx, p, progress)
}

func (k *Keyring) load(ctx context.Context, p *Plan, progress Progress) (err error) {
	if k.program != nil {
		if k.keys == nil {
			k.keys, err = OpenKeys(ctx, k.ProgramFile, k.KeyFile, progress)
		}
		return err
	}
	class, err := p.Class()
	if err != nil || k.keys != nil && k.loaded == class {
		return err
	}
	k.keys = nil // two keys at once would take the memory of both
	if k.keys, err = DevelopmentKeys(ctx, k.Cache, class, progress); err == nil {
		k.loaded = class
	}
	return err
}
