package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"

	"cratelog/proofcheck"
)

// OriginPrefix is how the origin of a ceremony's program begins; the transcript hash
// in hex follows.
const OriginPrefix = "ceremony:"

// Result is a finished ceremony of which everything was verified.
type Result struct {
	Program       proofcheck.Program
	Transcript    [32]byte
	Contributions []Contribution
	Beacons       [2][]byte // the values, to compare with their public source
	proving       *groth16.ProvingKey
}

// Verify recomputes a finished ceremony from the circuit: the start of phase 1, every
// contribution in its order, both beacons, the start of phase 2, the keys, and the id
// that the program has. A ceremony that goes on, whose files all hold so far, is
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
	p, err := f.phase1(ctx, s, seals[0], progress)
	if err != nil {
		return nil, err
	}
	if seals[0] == nil {
		return nil, unfinished(s)
	}
	r, err := f.phase2(ctx, s, p, seals[1], progress)
	if err != nil {
		return nil, err
	}
	if seals[1] == nil {
		return nil, unfinished(s)
	}
	r.Beacons = [2][]byte{seals[0].value, seals[1].value}
	r.Transcript = f.transcript(s, seals)
	r.Program.Origin = OriginPrefix + hex.EncodeToString(r.Transcript[:])
	for _, files := range s.files {
		for _, of := range files[1:] {
			r.Contributions = append(r.Contributions, of.contribution())
		}
	}
	return r, nil
}

func unfinished(s *state) error {
	n := s.status()
	return fmt.Errorf("%w: phase %d is open, with %d contributions; all that is there holds; go on with `ceremony contribute`, or seal the phase with `ceremony beacon -phase %d`",
		ErrUnfinished, n.Phase, n.Contributions[n.Phase-1], n.Phase)
}

// transcript is the transcript hash: see the package comment. The hashes are of what
// was verified.
func (f *Folder) transcript(s *state, seals [2]*seal) [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%x  %s\n", f.manifest, manifestName)
	for i, files := range s.files {
		for _, of := range files {
			fmt.Fprintf(h, "%x  %s\n", of.hash, of.name)
		}
		fmt.Fprintf(h, "%x  %s\n", sha256.Sum256(seals[i].text), beaconName(i+1))
	}
	return [32]byte(h.Sum(nil))
}

// prepared is the result of a sealed phase 1.
type prepared struct {
	commons mpcsetup.SrsCommons
	evals   mpcsetup.Phase2Evaluations
	start   *mpcsetup.Phase2
}

// phase1 verifies phase 1 and, given its beacon, derives the start of phase 2.
func (f *Folder) phase1(ctx context.Context, s *state, by *seal, progress Progress) (*prepared, error) {
	start := mpcsetup.NewPhase1(f.shape.domain)
	last, err := f.verifyChain(ctx, s, 1, start, progress)
	if err != nil || by == nil {
		return nil, err
	}
	p := &prepared{start: new(mpcsetup.Phase2)}
	return p, progress.do(ctx, "deriving phase 2 from the circuit", f.shape.estimate().Start2, func() error {
		p.commons = last.(*mpcsetup.Phase1).Seal(by.value)
		p.evals = p.start.Initialize(f.shape.system, &p.commons)
		return nil
	})
}

// phase2 verifies phase 2 and, given its beacon, makes the keys and compares them with
// what the beacon says that it yields, if it says so.
func (f *Folder) phase2(ctx context.Context, s *state, p *prepared, by *seal, progress Progress) (*Result, error) {
	last, err := f.verifyChain(ctx, s, 2, p.start, progress)
	if err != nil || by == nil {
		return nil, err
	}
	r := new(Result)
	err = progress.do(ctx, "making the keys", f.shape.estimate().Contribute[1], func() error {
		pk, vk := last.(*mpcsetup.Phase2).Seal(&p.commons, &p.evals, by.value)
		r.proving = pk.(*groth16.ProvingKey)
		var key bytes.Buffer
		if _, err := vk.WriteTo(&key); err != nil {
			return err
		}
		r.Program = proofcheck.Program{
			System: proofcheck.SystemGroth16, Claim: proofcheck.ClaimSource,
			Blocks: f.capacity.Blocks, ListBytes: f.capacity.ListBytes(),
			Origin: OriginPrefix, Key: key.Bytes(),
		}
		// Marshal checks the key's shape: a program nobody accepts is not yielded.
		_, err := r.Program.Marshal()
		return err
	})
	if err != nil {
		return nil, err
	}
	if id := r.Program.ID(); by.yields != "" && by.yields != hex.EncodeToString(id[:]) {
		return nil, fmt.Errorf("%w: phase 2's contributions and beacon yield the program %x, and %s says %s; compare the beacon's value with its public source", ErrBeacon, id, beaconName(2), by.yields)
	}
	return r, nil
}
