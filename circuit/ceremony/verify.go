package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"cratelog/proofcheck"
)

// Result is a finished ceremony of which everything was verified.
type Result struct {
	Program       proofcheck.Program
	Transcript    [32]byte
	Contributions []Contribution
	Beacons       [2][]byte // the values, to compare with their public source
	Import        *Import   // the powers-of-tau file from which phase 1 starts, or nil

	folder *Folder
	last   Contribution // of phase 2
	srs    *mpcsetup.SrsCommons
}

// Verify checks a finished ceremony from the circuit on: the start of phase 1, every
// contribution in its order, both beacons, the start of phase 2, the verifying key, and
// the id that the program has. A ceremony that goes on, whose files all hold so far, is
// ErrUnfinished.
//
// It does not know whether the beacons' values were public and unknown before, nor who
// the contributors are and whether one of them was honest.
func (f *Folder) Verify(ctx context.Context, progress Progress) (*Result, error) {
	s, err := f.scan()
	if err != nil {
		return nil, err
	}
	var seals [2]*seal
	for i := range seals {
		if !s.beacon[i] {
			continue
		}
		if seals[i], err = f.readSeal(s, i+1); err != nil {
			return nil, err
		}
	}
	srs, err := f.phase1(ctx, s, seals[0], progress)
	if err != nil {
		return nil, err
	}
	if seals[0] == nil {
		return nil, unfinished(s)
	}
	r, err := f.phase2(ctx, s, srs, seals[1], progress)
	if err != nil {
		return nil, err
	}
	if seals[1] == nil {
		return nil, unfinished(s)
	}
	r.Beacons = [2][]byte{seals[0].value, seals[1].value}
	var importText []byte
	if s.imported {
		if r.Import, importText, err = f.readImport(); err != nil {
			return nil, err
		}
	}
	r.Transcript = f.transcript(s, seals, importText)
	r.Program.Origin = origin(r.Transcript, r.Import)
	for _, files := range s.files {
		r.Contributions = append(r.Contributions, files[1:]...)
	}
	return r, nil
}

// origin is that of the program of a transcript.
func origin(transcript [32]byte, from *Import) string {
	if from == nil {
		return proofcheck.CeremonyOrigin(transcript, "")
	}
	return proofcheck.CeremonyOrigin(transcript, from.SHA256)
}

func unfinished(s *state) error {
	n := s.status()
	return fmt.Errorf("%w: phase %d is open, with %d contributions; all that is there holds; go "+
		"on with `ceremony contribute`, or seal the phase with `ceremony beacon -phase %d`",
		ErrUnfinished, n.Phase, n.Contributions[n.Phase-1], n.Phase)
}

// transcript is the transcript hash: see the package comment. The hashes are of what
// was verified.
func (f *Folder) transcript(s *state, seals [2]*seal, importText []byte) [32]byte {
	h := sha256.New()
	if s.imported {
		fmt.Fprintf(h, "%x  %s\n", sha256.Sum256(importText), importName)
	}
	fmt.Fprintf(h, "%x  %s\n", f.manifest, manifestName)
	for i, files := range s.files {
		for _, of := range files {
			fmt.Fprintf(h, "%x  %s\n", of.SHA256, of.Name)
		}
		fmt.Fprintf(h, "%x  %s\n", sha256.Sum256(seals[i].text), beaconName(i+1))
	}
	return [32]byte(h.Sum(nil))
}

// phase1 verifies phase 1 and, given its beacon, returns its parameters.
func (f *Folder) phase1(ctx context.Context, s *state, by *seal, progress Progress) (*mpcsetup.SrsCommons, error) {
	start, err := f.start1(ctx, s, progress)
	if err != nil {
		return nil, err
	}
	last, err := f.verifyChain(ctx, s, 1, start, progress)
	if err != nil || by == nil {
		return nil, err
	}
	of := sealedBy(s.last(1).SHA256, by.value)
	if f.known.srs != nil && f.known.srsOf == of {
		return f.known.srs, nil
	}
	srs := new(mpcsetup.SrsCommons)
	f.known.newest[0] = newest{} // Seal changes it
	err = progress.do(ctx, "applying the beacon of phase 1", f.shape.estimate().Contribute[0], func() error {
		*srs = last.(*mpcsetup.Phase1).Seal(by.value)
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.known.srs, f.known.srsOf = srs, of
	return srs, nil
}

// start1 returns the start of phase 1, checked. Without an import nothing of its file is
// decoded: what is recomputed has the file's hash.
func (f *Folder) start1(ctx context.Context, s *state, progress Progress) (start link, err error) {
	of := s.files[0][0]
	if s.imported {
		if err := f.checkImportedStart(ctx, s, progress); err != nil {
			return nil, err
		}
		err = progress.do(ctx, "reading the start of phase 1", f.shape.estimate().Verify[0], func() (err error) {
			start, err = f.load(of)
			return err
		})
		return start, err
	}
	start = mpcsetup.NewPhase1(f.shape.domain)
	if hash, err := hashLink(start); err != nil {
		return nil, err
	} else if hash != of.SHA256 {
		return nil, fmt.Errorf("%w: phase 1 starts from SHA-256 %x, and the folder has %s; get "+
			"the folder anew", ErrTampered, hash, of.Name)
	}
	return start, f.unaltered(of)
}

// start2 derives the start of phase 2, and checks it as every verifier does.
func (f *Folder) start2(ctx context.Context, srs *mpcsetup.SrsCommons,
	progress Progress) (start *mpcsetup.Phase2, err error) {
	err = progress.do(ctx, "deriving phase 2 from the circuit", f.shape.estimate().Start2, func() error {
		start = new(mpcsetup.Phase2)
		start.Initialize(f.shape.system, srs)
		return f.shape.checkStart(srs, start)
	})
	return start, err
}

// readStart2 reads the start of phase 2 and checks that it follows from phase 1 and the
// circuit.
func (f *Folder) readStart2(ctx context.Context, s *state, srs *mpcsetup.SrsCommons,
	progress Progress) (start *mpcsetup.Phase2, err error) {
	of := s.files[1][0]
	err = progress.do(ctx, "checking the start of phase 2", f.shape.estimate().Verify[1], func() error {
		l, err := f.load(of)
		if err != nil {
			return err
		}
		start = l.(*mpcsetup.Phase2)
		if f.known.start == [2][32]byte{f.known.srsOf, of.SHA256} {
			return nil
		}
		if err := f.shape.checkStart(srs, start); errors.Is(err, errStart) {
			return fmt.Errorf("%w: %s is not the start of phase 2 to which phase 1's "+
				"contributions and beacon lead (%v); compare the beacon with its public source", ErrBeacon,
				of.Name, err)
		} else if err != nil {
			return err
		}
		f.known.start = [2][32]byte{f.known.srsOf, of.SHA256}
		return nil
	})
	return start, err
}

// phase2 verifies phase 2 from its start and, given its beacon, makes the keys and
// compares them with what the beacon says that it yields, if it says so.
func (f *Folder) phase2(ctx context.Context, s *state, srs *mpcsetup.SrsCommons, by *seal,
	progress Progress) (*Result, error) {
	start, err := f.readStart2(ctx, s, srs, progress)
	if err != nil {
		return nil, err
	}
	last, err := f.verifyChain(ctx, s, 2, start, progress)
	if err != nil || by == nil {
		return nil, err
	}
	r := &Result{folder: f, last: s.last(2), srs: srs}
	f.known.newest[1] = newest{} // Seal changes it
	err = progress.do(ctx, "making the verifying key", f.shape.estimate().Contribute[1], func() error {
		evals, err := f.shape.evaluations(srs, start.Parameters.G1.SigmaCKK)
		if err != nil {
			return err
		}
		_, vk := last.(*mpcsetup.Phase2).Seal(srs, evals, by.value)
		var key bytes.Buffer
		if _, err := vk.WriteTo(&key); err != nil {
			return err
		}
		r.Program = f.circuit.Program(origin([32]byte{}, nil), key.Bytes()) // until the transcript is hashed
		// Marshal checks the key's shape: every verifier would refuse another.
		_, err = r.Program.Marshal()
		return err
	})
	if err != nil {
		return nil, err
	}
	if id := r.Program.ID(); by.yields != "" && by.yields != hex.EncodeToString(id[:]) {
		return nil, fmt.Errorf("%w: phase 2's contributions and beacon yield the program %x, and "+
			"%s says %s; compare the beacon's value with its public source", ErrBeacon, id, beaconName(2),
			by.yields)
	}
	return r, nil
}

// evaluations is what gnark needs to make keys, but for the A and B of the proving key.
func (s *shape) evaluations(srs *mpcsetup.SrsCommons, committed [][]curve.G1Affine) (*mpcsetup.Phase2Evaluations, error) {
	e := new(mpcsetup.Phase2Evaluations)
	var err error
	if e.G1.VKK, err = s.publicPoints(srs); err != nil {
		return nil, err
	}
	e.G1.CKK = committed
	e.PublicAndCommitmentCommitted = s.PublicCommitted
	return e, nil
}
