package ceremony

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/circuit/setup"
	"cratelog/proofcheck"
)

// Bytes of a beacon's value.
const (
	minBeacon = 16
	maxBeacon = 256
)

// A Contribution is a .bin file by its name: one that was made, or with number 0 the start.
type Contribution struct {
	Phase, Number int
	SHA256        [32]byte
	Name          string // of its file in the folder
}

// Status is what a folder's names say; nothing has been verified.
type Status struct {
	Phase         int // the phase that takes contributions, or 3 if both are sealed
	Contributions [2]int
}

// Status reads the folder's names.
func (f *Folder) Status() (Status, error) {
	s, err := f.scan()
	if err != nil {
		return Status{}, err
	}
	return s.status(), nil
}

func (s *state) status() Status {
	return Status{s.phase(), [2]int{max(0, len(s.files[0])-1), max(0, len(s.files[1])-1)}}
}

// open returns the state of a folder that takes contributions.
func (f *Folder) open() (*state, error) {
	s, err := f.scan()
	if err != nil {
		return nil, err
	}
	if s.phase() == 3 {
		return nil, fmt.Errorf("%w: both phases are; there is nothing more to contribute, run "+
			"`ceremony verify`", ErrSealed)
	}
	if len(s.files[s.phase()-1]) >= maxFiles {
		return nil, fmt.Errorf("%w: a phase has at most %d files; seal it", ErrFolder, maxFiles)
	}
	return s, nil
}

// Contribute makes the next contribution of the phase that is open. Its secrets come
// from crypto/rand and are never written; nothing refers to them afterwards, but the
// process's memory is not erased. The contribution is verified before it gets its place.
//
// Contribute looks at no contribution but the last: the result is as good as this
// one, whatever the others did, if the whole transcript verifies in the end.
func (f *Folder) Contribute(ctx context.Context, progress Progress) (Contribution, error) {
	s, err := f.open()
	if err != nil {
		return Contribution{}, err
	}
	phase := s.phase()
	last := s.last(phase)
	var next link
	what := fmt.Sprintf("contributing to phase %d on top of number %d", phase, last.Number)
	err = progress.do(ctx, what, f.shape.estimate().Contribute[phase-1], func() error {
		prev, err := f.load(last)
		if err != nil {
			return err
		}
		if next, err = f.fresh(last); err != nil {
			return err
		}
		next.Contribute()
		return check(s.files[phase-1], prev, next, "the new contribution")
	})
	if err != nil {
		return Contribution{}, err
	}
	return f.take(s, phase, next)
}

// take gives a link that was verified against the last one its place.
func (f *Folder) take(s *state, phase int, next link) (Contribution, error) {
	last := s.last(phase)
	out, err := f.add(phase, last.Number+1, next)
	if err != nil {
		return Contribution{}, err
	}
	f.known.remember(phase, last.SHA256, out.SHA256, next)
	return out, nil
}

// Accept verifies a contribution that was made on another copy of the folder, against
// the newest here, and copies it to its place. The file may have any name.
func (f *Folder) Accept(ctx context.Context, path string, progress Progress) (Contribution, error) {
	s, err := f.open()
	if err != nil {
		return Contribution{}, err
	}
	phase := s.phase()
	files := s.files[phase-1]
	var next link
	what := fmt.Sprintf("verifying the contribution to phase %d", phase)
	err = progress.do(ctx, what, f.shape.estimate().Verify[phase-1], func() error {
		r, hash, err := f.measure(path, phase, len(files))
		if err != nil {
			return err
		}
		defer r.Close()
		for _, old := range files {
			if old.SHA256 == hash {
				return fmt.Errorf("%w: %s is %s; a contribution counts once", ErrReplayed,
					filepath.Base(path), old.Name)
			}
		}
		if next, err = f.decode(r, phase, hash); err != nil {
			return err
		}
		prev, err := f.load(s.last(phase))
		if err != nil {
			return err
		}
		return check(files, prev, next, filepath.Base(path))
	})
	if err != nil {
		return Contribution{}, err
	}
	return f.take(s, phase, next) // what was verified, not what the file holds by now
}

// Seal ends a phase with a public beacon: a value that could not be known when the
// last contribution was made, such as the hash of a block or a drand round named in advance.
// Everything so far is verified first. Phase 1's beacon starts phase 2.
func (f *Folder) Seal(ctx context.Context, phase int, value []byte, progress Progress) error {
	if len(value) < minBeacon || len(value) > maxBeacon {
		return fmt.Errorf("%w: a value has %d to %d bytes, this one %d", ErrBeacon, minBeacon, maxBeacon,
			len(value))
	}
	s, err := f.scan()
	if err != nil {
		return err
	}
	switch now := s.phase(); {
	case now > phase:
		return fmt.Errorf("%w: phase %d has its beacon; it cannot have another", ErrSealed, phase)
	case now < phase:
		return fmt.Errorf("%w: phase %d is not sealed; run `ceremony beacon -phase %d` first", ErrUnfinished,
			now, now)
	case !s.sealable(phase):
		return fmt.Errorf("%w: phase %d has no contribution, so anyone could compute its secrets; "+
			"run `ceremony contribute` first", ErrUnfinished, phase)
	}
	last := s.last(phase)
	b := beacon{Phase: phase, Value: hex.EncodeToString(value), After: hex.EncodeToString(last.SHA256[:])}
	if b.Yields, err = f.yields(ctx, s, &seal{value: value}, phase, progress); err != nil {
		return err
	}
	return f.write(beaconName(phase), b)
}

// yields verifies everything and returns what sealing the phase leads to. For phase 1
// it writes that too, the start of phase 2, before there is a beacon: a folder with
// only one of the two says what to do.
func (f *Folder) yields(ctx context.Context, s *state, by *seal, phase int, progress Progress) (string, error) {
	first := by
	if phase == 2 {
		var err error
		if first, err = f.readSeal(s, 1); err != nil {
			return "", err
		}
	}
	srs, err := f.phase1(ctx, s, first, progress)
	if err != nil {
		return "", err
	}
	if phase == 1 {
		start, err := f.start2(ctx, srs, progress)
		if err != nil {
			return "", err
		}
		file, err := f.add(2, 0, start)
		return hex.EncodeToString(file.SHA256[:]), err
	}
	r, err := f.phase2(ctx, s, srs, by, progress)
	if err != nil {
		return "", err
	}
	id := r.Program.ID()
	return hex.EncodeToString(id[:]), nil
}

// seal is a beacon that was read, or is about to be set.
type seal struct {
	value  []byte
	yields string // see beacon; empty for one about to be set
	text   []byte // of the file
}

// readSeal reads a phase's beacon and compares it with the contribution that it
// follows and with the start of phase 2.
func (f *Folder) readSeal(s *state, phase int) (*seal, error) {
	name := beaconName(phase)
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s %s", ErrBeacon, name, fmt.Sprintf(format, a...))
	}
	var b beacon
	text, err := readJSON(filepath.Join(f.dir, name), &b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; get it from another copy of the folder", ErrBeacon, err)
	}
	value, err := hex.DecodeString(b.Value)
	last := s.last(phase)
	switch {
	case err != nil || hex.EncodeToString(value) != b.Value || len(value) < minBeacon || len(value) > maxBeacon:
		return nil, refuse("must have a value of %d to %d bytes in lower-case hex", minBeacon, maxBeacon)
	case b.Phase != phase:
		return nil, refuse("says that it is for phase %d; get it from another copy of the folder", b.Phase)
	case !s.sealable(phase):
		return nil, refuse("seals a phase without a contribution, whose secrets anyone can " +
			"compute; get the contributions, or begin a new ceremony")
	case b.After != hex.EncodeToString(last.SHA256[:]):
		return nil, refuse("was set after a contribution with the SHA-256 %s, and phase %d ends "+
			"in %s: a contribution is missing, or came after the beacon and must be taken away", b.After,
			phase, last.Name)
	case len(b.Yields) != 2*hashSize:
		return nil, refuse("does not say what it yields; get it from another copy of the folder")
	case phase == 1 && b.Yields != hex.EncodeToString(s.files[1][0].SHA256[:]):
		return nil, refuse("starts phase 2 with the SHA-256 %s, and the folder has %s; get both "+
			"from another copy of the folder", b.Yields, s.files[1][0].Name)
	}
	return &seal{value, b.Yields, text}, nil
}

// Export makes the proving key of a verified ceremony, checks it as every prover may, and
// writes it (see setup.WriteProving) and then the program file, which holds the key's SHA-256.
func (r *Result) Export(ctx context.Context, program, key io.Writer, progress Progress) error {
	if r.folder == nil {
		return errors.New("the ceremony has no keys yet")
	}
	shape := r.folder.shape
	keys := &setup.Keys{Powers: &setup.Powers{G1: r.srs.G1.Tau[:shape.domain+1], Tau2: r.srs.G2.Tau[1]}}
	err := progress.do(ctx, "making the proving key", shape.estimate().Start2, func() error {
		last, err := r.folder.fresh(r.last)
		if err != nil {
			return err
		}
		evaluations := new(mpcsetup.Phase2).Initialize(shape.system, r.srs)
		pk, vk := last.(*mpcsetup.Phase2).Seal(r.srs, &evaluations, r.Beacons[1])
		keys.Proving, keys.Verifying = pk.(*groth16.ProvingKey), vk.(*groth16.VerifyingKey)
		var verifying bytes.Buffer
		if _, err := vk.WriteTo(&verifying); err != nil {
			return err
		}
		if !bytes.Equal(verifying.Bytes(), r.Program.Key) {
			return errors.New("the circuit leads to another verifying key than the one that was verified")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return writeKeys(ctx, shape.system, keys, &r.Program, program, key, progress)
}

// writeKeys checks keys against the circuit, and writes the proving key and then the program
// file, to which it adds the key's hash.
func writeKeys(ctx context.Context, system *cs.R1CS, keys *setup.Keys, p *proofcheck.Program, program, key io.Writer,
	progress Progress) error {
	check := func() error { return setup.Check(system, keys.Proving, keys.Verifying, keys.Powers) }
	_, checking := keyTimes(p.Claim)
	if err := progress.do(ctx, "checking the proving key against the circuit", checking, check); err != nil {
		return err
	}
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(key, h), 1<<20)
	if err := errors.Join(setup.WriteProving(w, keys.Proving, keys.Powers.Encode()), w.Flush()); err != nil {
		return fmt.Errorf("the proving key: %w", err)
	}
	p.ProvingKey = [32]byte(h.Sum(nil))
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	_, err = program.Write(text)
	return err
}
