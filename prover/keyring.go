package prover

import (
	"context"
	"errors"
	"fmt"

	"cratelog/circuit"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// Keyring proves with the key of a directory, of two files or of a log. It loads the key with
// the first proof, and keeps it.
type Keyring struct {
	// Cache is the directory of development keys, of those of logs, and of what was checked of
	// others.
	Cache string
	// ProgramFile and KeyFile are the files that a ceremony or a solo setup exported; "" for
	// development keys.
	ProgramFile, KeyFile string
	// Log, if no files are named, is the log whose program to prove with, once Ask has asked; nil
	// for development keys.
	Log KeyServer
	// AllowDevelopment says that the log's program may be one with a development key.
	AllowDevelopment bool
	// PublicSource says that what is proven is public: then the key, which could make proofs that
	// tell secrets, is not checked first.
	PublicSource bool

	program *proofcheck.Program // of ProgramFile or of the log; nil for development keys
	offer   *Offer              // the log's
	keys    *Keys
}

// Development says whether the proofs are of UNSAFE development keys. With a log, call Ask
// before.
func (k *Keyring) Development() bool {
	return k.ProgramFile == "" && (k.program == nil || k.program.Development())
}

// Ask asks the log, if there is one and no files are named, for its program, and returns it.
// It is nil if the key is made here and not fetched: a development key that ships. The error
// wraps ErrNoOffer if the log has no program that may be used. The key is fetched when it is
// needed.
func (k *Keyring) Ask(ctx context.Context) (*proofcheck.Program, error) {
	if k.Log == nil || k.ProgramFile != "" || k.offer != nil {
		return k.program, nil
	}
	o, err := Offered(ctx, k.Log, k.AllowDevelopment)
	if err != nil {
		if k.AllowDevelopment && errors.Is(err, ErrNoOffer) {
			return nil, nil // a log in development mode serves no key that all can make
		}
		return nil, err
	}
	if o.Program.Development() {
		if shipped, err := shippedProgram(o.Program); err != nil || shipped != nil {
			return nil, err
		}
	}
	k.offer, k.program = o, &o.Program
	return k.program, nil
}

// UseLog has the keyring prove with the program of a log, unless files are named, and is Ask then.
// A nil log is none. development says that the log's program may be one with a development key.
func (k *Keyring) UseLog(ctx context.Context, log KeyServer, development bool) (*proofcheck.Program, error) {
	if k.ProgramFile != "" || log == nil {
		return nil, nil
	}
	k.Log, k.AllowDevelopment = log, development
	return k.Ask(ctx)
}

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
	if p.Claim != proofcheck.ClaimSource {
		return fmt.Errorf("%s: %w", k.ProgramFile, errOtherClaim(p))
	}
	k.program = &p
	return nil
}

// Program returns the program that proves a plan.
func (k *Keyring) Program(p *Plan) (id [32]byte, err error) {
	with, err := k.With()
	if err != nil {
		return id, err
	}
	return with.ID(), p.fits(with.Blocks)
}

// With returns the program that the keyring proves with. With a log, call Ask before.
func (k *Keyring) With() (*proofcheck.Program, error) {
	if err := k.Check(); err != nil || k.program != nil {
		return k.program, err
	}
	shipped, err := shippedDevelopment(circuit.SegmentBlocks)
	if err == nil && shipped == nil {
		err = fmt.Errorf("no development program with segments of %d blocks ships with this version", circuit.SegmentBlocks)
	}
	return shipped, err
}

// Prove makes the entry of a plan.
func (k *Keyring) Prove(ctx context.Context, p *Plan, progress Progress) (*entry.Entry, error) {
	if _, err := k.Program(p); err != nil {
		return nil, err
	}
	if err := k.Load(ctx, progress); err != nil {
		return nil, err
	}
	if !k.PublicSource {
		if err := k.keys.CheckOnce(ctx, k.Cache, progress); err != nil {
			return nil, err
		}
	}
	return k.keys.Prove(ctx, p, progress)
}

// Load loads the key, as the first proof does. Copies of the keyring that are made afterwards share it,
// and may prove at the same time.
func (k *Keyring) Load(ctx context.Context, progress Progress) (err error) {
	switch {
	case k.keys != nil:
	case k.offer != nil:
		k.keys, err = k.fetched(ctx, progress)
	case k.program != nil:
		k.keys, err = OpenKeys(ctx, k.ProgramFile, k.KeyFile, progress)
	default:
		k.keys, err = DevelopmentKeys(ctx, k.Cache, circuit.SegmentBlocks, progress)
	}
	return err
}

// fetched returns the keys of the log's program.
func (k *Keyring) fetched(ctx context.Context, progress Progress) (*Keys, error) {
	path, err := FetchKey(ctx, k.Log, k.offer, k.Cache, progress)
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(ctx, k.offer.Program, path, progress)
	if errors.Is(err, ErrWrongKey) {
		err = fmt.Errorf("%w; if the file was damaged here, delete it and run again", err)
	}
	return keys, err
}
