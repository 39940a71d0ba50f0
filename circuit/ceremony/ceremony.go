// Package ceremony makes Groth16 keys for a circuit, that of source claims or that of build claims,
// together with people who need not trust each other: an attacker can forge proofs only with the
// secrets of every contributor of a phase. Solo makes one alone: whoever ran it could forge, and nobody else.
//
// A ceremony is a folder, its transcript:
//
//	import.json                 only with a .ptau file: which (see Import)
//	manifest.json               the circuit: claim and size, constraints, domain
//	phase1-0000-HASH.bin        the start of phase 1, the same for every ceremony of its size,
//	                            or the powers of tau of a .ptau file
//	phase1-0001-HASH.bin        the first contribution, and so on
//	phase1-beacon.json          what sealed phase 1
//	phase2-0000-HASH.bin        the start of phase 2, which follows from the above
//	phase2-0001-HASH.bin        the first contribution, and so on
//	phase2-beacon.json          what sealed phase 2
//
// HASH is the file's SHA-256 in hex. The .bin files are gnark's encodings of
// mpcsetup.Phase1 and Phase2, all points compressed. A contribution ends in the
// SHA-256 of the file before it, so the files are a chain. Names that begin with a
// dot do not belong to the transcript; any other name is refused.
//
// The transcript hash is the SHA-256 of what `LC_ALL=C sha256sum *` prints in the
// finished folder: for each file in that order its hash in hex, two spaces, its name
// and a line feed.
//
// Phase 1 is independent of the circuit but for its size, phase 2 is about one
// circuit. A beacon is a public value that could not be known when the last contribution
// was made. The files cannot show that: whoever verifies compares the beacons' values
// with their public source.
package ceremony

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cratelog/internal/outcome"
)

// Why a transcript, or a contribution, is refused. The errors of this package wrap
// one of these and say which file it is about and what to do.
var (
	ErrManifest     = refusal("the manifest is not one")
	ErrWrongCircuit = refusal("the ceremony is for another circuit")
	ErrFolder       = refusal("the folder is not a transcript")
	ErrMissing      = refusal("a contribution is missing")
	ErrOrder        = refusal("a contribution is out of order")
	ErrReplayed     = refusal("a contribution is there already")
	ErrSize         = refusal("a file has the wrong size")
	ErrTampered     = refusal("a contribution is not valid")
	ErrBeacon       = refusal("a beacon does not fit")
	ErrSealed       = refusal("the phase is sealed")
	ErrImport       = refusal("the start of phase 1 is not what was imported")
	ErrPtau         = refusal("the powers-of-tau file is refused")

	// ErrUnfinished refuses nothing: the ceremony goes on.
	ErrUnfinished = errors.New("the ceremony is not finished")
)

// refusal is an error that speaks against the transcript or the file that was read: its
// exit code is outcome.Refused.
func refusal(text string) error { return outcome.Refuse(errors.New(text)) }

// Progress is called with each long step as it begins, and a rough guess of how long it
// takes; nil is allowed.
type Progress func(what string, expect time.Duration)

// do runs one long step. gnark's functions cannot be interrupted, so a cancelled
// step is left behind: the caller must not use what it works on.
//
// gnark panics where its inputs break what it assumes. What it gets here was decoded and
// measured, so a panic is our mistake or gnark's; but the bytes come from strangers, so
// it becomes an error.
func (p Progress) do(ctx context.Context, what string, expect time.Duration, step func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if p != nil {
		p(what, expect)
	}
	done := make(chan error, 1) // buffered: nothing may wait any more
	go func() {
		done <- guard(step)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

func guard(step func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the cryptographic library cannot work with it: %v", r)
		}
	}()
	return step()
}
