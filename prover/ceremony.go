package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/circuit"
	"cratelog/circuit/setup"
	"cratelog/internal/durable"
	"cratelog/proofcheck"
)

// ErrWrongKey says that a proving key's file is not the key of the program that it was
// opened with. The error says in what they differ.
var ErrWrongKey = errors.New("the proving key is not this program's")

// maxBlocks bounds the circuits that are compiled for a program file.
const maxBlocks = 256 // as in a ceremony

// maxKey bounds the proving keys that are read for segments of so many blocks, in bytes, before
// the circuit is there to say it exactly; the one that ships takes 1.7 MB a block.
func maxKey(blocks int) int64 { return 64<<20 + int64(blocks)*(4<<20) }

// OpenKeys returns the keys of a program from two files: the program file, and the
// proving key whose SHA-256 stands in it, as `ceremony export` writes them. The
// circuit is compiled from this source. It refuses, with ErrWrongKey, a proving key
// that has not that hash, or other sizes than the circuit.
//
// Whoever made the keys can forge proofs if they kept the secrets. Whether a proof made with them
// hides what it should, CheckOnce finds out. A false entry they cannot make: Prove verifies what
// it returns.
func OpenKeys(ctx context.Context, programFile, keyFile string, progress Progress) (*Keys, error) {
	p, err := proofcheck.ReadProgram(programFile)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Claim != proofcheck.ClaimSource:
		return nil, fmt.Errorf("%s: %w", programFile, errOtherClaim(p))
	case p.ProvingKey == [32]byte{}:
		return nil, fmt.Errorf("%w: %s does not say which it is; use the file that was made with the key",
			ErrWrongKey, programFile)
	case p.Blocks > maxBlocks:
		return nil, fmt.Errorf("%s: this version has no circuit with segments of %d blocks, at most of %d",
			programFile, p.Blocks, maxBlocks)
	}
	return openKeys(ctx, p, keyFile, progress)
}

// errOtherClaim says that a program is not one of source claims.
func errOtherClaim(p proofcheck.Program) error {
	return fmt.Errorf("the program %x proves claims of the kind %s; a crate's source takes one of %s", p.ID(), p.Claim,
		proofcheck.ClaimSource)
}

func openKeys(ctx context.Context, p proofcheck.Program, keyFile string, progress Progress) (*Keys, error) {
	cache, err := DefaultCache()
	if err != nil {
		cache = "" // then it is compiled every time
	}
	var raw []byte
	system, err := compileMeanwhile(ctx, cache, p.Blocks, progress, func() error {
		raw, err = readKey(keyFile, maxKey(p.Blocks), p.ProvingKey)
		return err
	})
	if err != nil {
		return nil, err
	}
	return interruptible(ctx, func() (*Keys, error) {
		k := &Keys{Program: p, system: system, sum: p.ProvingKey}
		if k.proving, k.powers, err = setup.ReadProving(raw, system); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; get both files again, from one setup and for this version of cratelog",
				ErrWrongKey, keyFile, err)
		}
		return k, nil
	})
}

// readKey reads a proving key's file, which must have the hash that is wanted.
func readKey(path string, limit int64, want [32]byte) ([]byte, error) {
	raw, err := readLarge(path, limit)
	if errors.As(err, new(*fs.PathError)) {
		return nil, fmt.Errorf("proving key: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	if sum := sha256.Sum256(raw); sum != want {
		return nil, fmt.Errorf("%w: %s has the SHA-256 %x, and the program's proving key has %x; "+
			"get the one that was made with the program", ErrWrongKey, path, sum, want)
	}
	return raw, nil
}

// CheckOnce checks that the keys are ones of the circuit, so that proofs made with them hide what
// they should. It takes some seconds, once for each key: a file in the cache directory remembers
// it ("" for no memory). The program that ships with cratelog needs no check. The error wraps
// setup.ErrKey if the keys are others.
func (k *Keys) CheckOnce(ctx context.Context, cache string, progress Progress) error {
	shipped, err := shippedProgram(k.Program)
	if err != nil || shipped != nil && shipped.ProvingKey == k.sum {
		return err
	}
	k.checking.Lock()
	defer k.checking.Unlock()
	if k.checked {
		return nil
	}
	mark := k.checkedMark(cache)
	if mark != "" {
		if _, err := os.Stat(mark); err == nil {
			return nil
		}
	}
	progress.begin("checking the proving key, once: others than this program's could make proofs that tell secrets",
		time.Duration(k.system.GetNbConstraints())*40*time.Microsecond, nil)
	_, err = interruptible(ctx, func() (struct{}, error) { return struct{}{}, k.check() })
	switch {
	case errors.Is(err, setup.ErrKey):
		return fmt.Errorf("proving key %x: %w; a proof made with it could tell what is private, so none was made; "+
			"use another key, and ask whoever made this one", k.sum, err)
	case err != nil:
		return err
	}
	k.checked = true
	if mark != "" {
		_ = durable.WriteCache(mark, nil) // else it is checked again
	}
	return nil
}

// checkedMark is the file that says that these keys are ones of this circuit; "" if there can be
// none, as only circuits that ship have a name that cannot be another's.
func (k *Keys) checkedMark(cache string) string {
	compiled, known := circuit.CompiledHash(k.Program.Blocks)
	if cache == "" || !known {
		return ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/checked-key/v1\n%s\n%x\n%x\n", compiled, k.Program.ID(), k.sum)
	return filepath.Join(cache, fmt.Sprintf("%x.checked", h.Sum(nil)))
}

func (k *Keys) check() error {
	powers, err := k.powers.Decode()
	if err != nil {
		return err
	}
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(k.Program.Key)); err != nil {
		return fmt.Errorf("the program's key: %w", err)
	}
	return setup.Check(k.system, k.proving, vk, powers)
}
