package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/circuit"
	"cratelog/circuit/setup"
	"cratelog/internal/durable"
	"cratelog/internal/flock"
	"cratelog/internal/unsafekeys"
	"cratelog/proofcheck"
)

// Keys is what it takes to prove with one program.
type Keys struct {
	Program proofcheck.Program

	system  *cs.R1CS
	proving *groth16.ProvingKey
	powers  setup.RawPowers // of the proving key's file
	sum     [32]byte        // its SHA-256

	checking sync.Mutex // held by CheckOnce
	checked  bool       // by it
}

// A Step is one long piece of work, in words for a person. Expect is a rough guess.
type Step struct {
	What   string
	Expect time.Duration
	Share  func() float64 // how much of it is done, from 0 to 1; nil if that is not known
}

// Progress is called with each step as it begins; nil is allowed.
type Progress func(Step)

func (p Progress) begin(what string, expect time.Duration, share func() float64) {
	if p != nil {
		p(Step{What: what, Expect: expect, Share: share})
	}
}

// ErrKeyCache says that a file in the key cache is not the key that its name says.
var ErrKeyCache = errors.New("damaged proving key in the cache")

// DevelopmentKeys returns keys of the development program with segments of so many blocks: out of
// the cache directory, or else made there, which takes some seconds.
//
// UNSAFE: the keys' secrets are published, so anyone can forge proofs of this program.
// Only a log in development mode accepts them.
//
// The key's bytes are re-checked on every load, against the hash that cratelog
// ships for its own program and against the file's name for others.
func DevelopmentKeys(ctx context.Context, cache string, blocks int, progress Progress) (*Keys, error) {
	var f *keyFiles
	var readErr error // keys that are missing are made
	system, err := compileMeanwhile(ctx, cache, blocks, progress, func() error {
		f, readErr = readKeys(cache, blocks)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !errors.Is(readErr, fs.ErrNotExist) {
		return takeKeys(ctx, f, readErr, system)
	}
	unlock, err := lockCache(ctx, cache, blocks, progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another process may have made them meanwhile.
	if f, readErr = readKeys(cache, blocks); !errors.Is(readErr, fs.ErrNotExist) {
		return takeKeys(ctx, f, readErr, system)
	}
	k, err := makeKeys(ctx, cache, blocks, system, progress)
	if err != nil {
		return nil, err
	}
	shipped, err := shippedDevelopment(blocks)
	if err == nil && shipped != nil && (shipped.ID() != k.Program.ID() || shipped.ProvingKey != k.sum) {
		err = errors.New("the key that was made is not the one of the program that ships with cratelog; this is a bug")
	}
	return k, err
}

// MakeDevelopmentKeys runs the development setup even if the cache has its keys, stores the
// result, and returns it; the program says the proving key's SHA-256. It serves those who add a
// program to cratelog, or check one.
func MakeDevelopmentKeys(ctx context.Context, cache string, blocks int, progress Progress) (*Keys, error) {
	system, err := compileMeanwhile(ctx, cache, blocks, progress, func() error { return nil })
	if err != nil {
		return nil, err
	}
	unlock, err := lockCache(ctx, cache, blocks, progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return makeKeys(ctx, cache, blocks, system, progress)
}

func makeKeys(ctx context.Context, cache string, blocks int, system *cs.R1CS, progress Progress) (*Keys, error) {
	share := new(setup.Progress)
	progress.begin(fmt.Sprintf("making the UNSAFE development key, once (kept in %s)", cache),
		time.Duration(system.GetNbConstraints())*50*time.Microsecond, share.Share)
	made, err := setup.Run(ctx, system, unsafekeys.Published(blocks), share)
	if err != nil {
		return nil, err
	}
	k, err := storeKeys(cache, blocks, made)
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	k.system = system
	return k, nil
}

// shippedDevelopment returns the development program of these segments that ships with cratelog,
// nil if none does.
func shippedDevelopment(blocks int) (*proofcheck.Program, error) {
	shipped, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	for i, s := range shipped {
		if s.Claim == proofcheck.ClaimSource && s.Development() && s.Blocks == blocks {
			return &shipped[i], nil
		}
	}
	return nil, nil
}

// shippedProgram returns the program with the same id that ships with cratelog, nil if none does.
func shippedProgram(p proofcheck.Program) (*proofcheck.Program, error) {
	shipped, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	for i := range shipped {
		if shipped[i].ID() == p.ID() {
			return &shipped[i], nil
		}
	}
	return nil, nil
}

// The cache holds two files per development program: NAME.vk, and NAME-SHA256.pk for the hash of
// the proving key's file. Both appear whole or not at all, the .vk first.

func keyName(blocks int) string { return fmt.Sprintf("segment-%d-unsafe", blocks) }

// developmentProgram describes a verifying key as that of a development program.
func developmentProgram(blocks int, vk []byte) proofcheck.Program {
	return proofcheck.Program{
		System: proofcheck.SystemGroth16, Claim: proofcheck.ClaimSource, Blocks: blocks,
		Origin: proofcheck.OriginDevelopment, Key: vk,
	}
}

func storeKeys(cache string, blocks int, made *setup.Keys) (*Keys, error) {
	if err := removeStale(cache, blocks); err != nil {
		return nil, err
	}
	var key bytes.Buffer
	if _, err := made.Verifying.WriteTo(&key); err != nil {
		return nil, err
	}
	if err := durable.Write(filepath.Join(cache, keyName(blocks)+".vk"), key.Bytes(), 0o600); err != nil {
		return nil, err
	}
	f, err := durable.Create(cache)
	if err != nil {
		return nil, err
	}
	defer f.Discard()
	sum := sha256.New()
	k := &Keys{Program: developmentProgram(blocks, key.Bytes()), proving: made.Proving, powers: made.Powers.Encode()}
	if err := setup.WriteProving(io.MultiWriter(f, sum), k.proving, k.powers); err != nil {
		return nil, err
	}
	k.sum = [32]byte(sum.Sum(nil))
	k.Program.ProvingKey = k.sum
	return k, f.Replace(filepath.Join(cache, fmt.Sprintf("%s-%x.pk", keyName(blocks), k.sum)), 0o600)
}

// removeStale removes the development keys that are about to be replaced, and what other versions
// left in the cache: hundreds of megabytes that nothing uses any more, and that can be made again.
func removeStale(cache string, blocks int) error {
	hash, _ := circuit.CompiledHash(blocks)
	entries, err := os.ReadDir(cache)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		segment, ours := strings.CutPrefix(name, "segment-")
		_, unsafe, _ := strings.Cut(name, "-unsafe")
		switch {
		case e.IsDir():
			continue
		case ours && !strings.HasPrefix(segment, fmt.Sprintf("%d-", blocks)): // segments of another size
			continue
		case ours && strings.HasSuffix(name, ".r1cs") && name != compiledName(blocks, hash): // of another circuit
		case ours && strings.HasPrefix(unsafe, "-") && strings.HasSuffix(unsafe, ".pk"):
		case strings.HasPrefix(name, "source-") && (strings.HasSuffix(name, ".r1cs") || unsafe != ""): // of version 1
		default:
			continue
		}
		if err := os.Remove(filepath.Join(cache, name)); err != nil {
			return err
		}
	}
	return nil
}

// keyFiles are the files of one development program, with the hash that they should have.
type keyFiles struct {
	vk, pk  string // paths; the .vk of a program that ships is not needed
	program proofcheck.Program
	raw     []byte // of pk
}

func (f *keyFiles) damaged(why string) error {
	return fmt.Errorf("%w: %s %s; delete it and run again", ErrKeyCache, f.pk, why)
}

// readKeys reads keys from the cache and checks their hash; fs.ErrNotExist if they are not there.
func readKeys(cache string, blocks int) (*keyFiles, error) {
	name := keyName(blocks)
	f := &keyFiles{vk: filepath.Join(cache, name+".vk")}
	shipped, err := shippedDevelopment(blocks)
	if err != nil {
		return nil, err
	}
	var want string // hash of the proving key's file
	if shipped != nil {
		// The key of another version may be there. It is another file.
		f.program, want = *shipped, hex.EncodeToString(shipped.ProvingKey[:])
		f.pk = filepath.Join(cache, name+"-"+want+".pk")
	} else {
		vk, err := durable.Read(f.vk, proofcheck.MaxProgramFile)
		if err != nil {
			return nil, err
		}
		found, err := filepath.Glob(filepath.Join(cache, name+"-*.pk"))
		if err != nil || len(found) == 0 {
			return nil, fs.ErrNotExist
		}
		f.pk, f.program = found[0], developmentProgram(blocks, vk)
		want = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f.pk), name+"-"), ".pk")
	}
	if f.raw, err = readLarge(f.pk, maxKey(blocks)); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	if f.program.ProvingKey = sha256.Sum256(f.raw); hex.EncodeToString(f.program.ProvingKey[:]) != want {
		return nil, f.damaged("does not have its hash")
	}
	return f, nil
}

// takeKeys decodes keys that readKeys returned, with its error.
func takeKeys(ctx context.Context, f *keyFiles, err error, system *cs.R1CS) (*Keys, error) {
	if err != nil {
		return nil, err
	}
	return interruptible(ctx, func() (*Keys, error) {
		k := &Keys{Program: f.program, system: system, sum: f.program.ProvingKey}
		if k.proving, k.powers, err = setup.ReadProving(f.raw, system); err != nil {
			return nil, f.damaged("cannot be read")
		}
		return k, nil
	})
}

// lockCache keeps two processes from making the same keys at once.
func lockCache(ctx context.Context, cache string, blocks int, progress Progress) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	return lockFile(ctx, filepath.Join(cache, keyName(blocks)+".lock"), "waiting for another process, which is making this key",
		progress)
}

// lockFile waits, in the given words, until no other process holds the lock of a file.
func lockFile(ctx context.Context, path, waiting string, progress Progress) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	for first := true; ; first = false {
		held, err := flock.Try(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("key cache: lock: %w", err)
		}
		if !held {
			return func() { f.Close() }, nil
		}
		if first {
			progress.begin(waiting, 0, nil)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("key cache: another process holds %s: %w", f.Name(), ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// DefaultCache returns the directory for keys below the user's cache directory.
func DefaultCache() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory for keys: %w", err)
	}
	return filepath.Join(dir, "cratelog", "keys"), nil
}
