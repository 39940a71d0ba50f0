// Package ceremony makes Groth16 keys for the source circuits together with people
// who need not trust each other: whoever finishes a ceremony can forge proofs only
// if every contributor of a phase kept his secret or lost it to the same thief.
//
// A ceremony is a folder, its transcript:
//
//	import.json                 only with a .ptau file: which (see Import)
//	manifest.json               the circuit: capacity, constraints, sizes
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
// dot are no part of the transcript; any other name is refused.
//
// The transcript hash is the SHA-256 of what `LC_ALL=C sha256sum *` prints in the
// finished folder: for each file in that order its hash in hex, two spaces, its name
// and a line feed.
//
// Phase 1 is independent of the circuit but for its size, phase 2 is about one
// circuit. A beacon is a public value that nobody could know when the last
// contribution was made. The files cannot show that: whoever verifies compares the
// beacons' values with their public source.
package ceremony

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Why a transcript, or a contribution, is refused. The errors of this package wrap
// one of these and say which file it is about and what to do.
var (
	ErrManifest     = errors.New("the manifest is not one")
	ErrWrongCircuit = errors.New("the ceremony is for another circuit")
	ErrFolder       = errors.New("the folder is not a transcript")
	ErrMissing      = errors.New("a contribution is missing")
	ErrOrder        = errors.New("a contribution is out of order")
	ErrReplayed     = errors.New("a contribution is there already")
	ErrSize         = errors.New("a file has the wrong size")
	ErrTampered     = errors.New("a contribution is not valid")
	ErrBeacon       = errors.New("a beacon does not fit")
	ErrSealed       = errors.New("the phase is sealed")
	ErrUnfinished   = errors.New("the ceremony is not finished")
	ErrImport       = errors.New("the start of phase 1 is not what was imported")
)

// Violation says whether err speaks against the transcript or the file at hand, and
// not of a ceremony that goes on or of a disk that cannot be read.
func Violation(err error) bool {
	for _, is := range []error{ErrManifest, ErrWrongCircuit, ErrFolder, ErrMissing, ErrOrder,
		ErrReplayed, ErrSize, ErrTampered, ErrBeacon, ErrSealed, ErrImport, ErrPtau} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// Progress is told of each long step as it begins, with a rough guess of how long it
// takes; nil is allowed.
type Progress func(what string, expect time.Duration)

// do runs one long step. gnark's functions cannot be interrupted, so a cancelled
// step is left behind: the caller must not use what it works on.
//
// gnark panics where its inputs break what it assumes. What it gets here has been
// decoded and measured, so a panic is our mistake or gnark's, but the bytes come
// from strangers: it becomes an error all the same.
func (p Progress) do(ctx context.Context, what string, expect time.Duration, step func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if p != nil {
		p(what, expect)
	}
	done := make(chan error, 1) // buffered: nobody may be waiting any more
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
