package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"

	"cratelog/circuit"
	"cratelog/internal/durable"
	"cratelog/internal/unsafekeys"
	"cratelog/proofcheck"
)

// Keys is what it takes to prove with one program.
type Keys struct {
	Program  proofcheck.Program
	capacity circuit.Capacity
	system   *cs.R1CS
	proving  *groth16.ProvingKey
}

// A Step is one long piece of work, in words for a person. Expect is a rough guess.
type Step struct {
	What   string
	Expect time.Duration
	Share  func() float64 // how much of it is done, from 0 to 1; nil if that is not known
}

// Progress is called with each step as it begins; nil is allowed.
type Progress func(Step)

func (p Progress) begin(what string, expect time.Duration) {
	if p != nil {
		p(Step{What: what, Expect: expect})
	}
}

// ErrKeyCache says that a file in the key cache is not the key that its name says.
var ErrKeyCache = errors.New("damaged proving key in the cache")

//go:embed provingkeys.json
var provingKeysFile []byte

// provingKeys returns, by program id in hex, the SHA-256 of the proving key
// (gnark's WriteDump) of each program that ships with cratelog. Every run of the
// development setup makes these very bytes.
var provingKeys = sync.OnceValues(func() (m map[string]string, err error) {
	if err := json.Unmarshal(provingKeysFile, &m); err != nil {
		return nil, fmt.Errorf("provingkeys.json: %w", err)
	}
	return m, nil
})

// DevelopmentKeys returns keys of the development program of a capacity: out of
// the cache directory, or else made there, which takes half a minute or more.
//
// UNSAFE: the keys' secrets are published, so anyone can forge proofs of this program.
// Only a log in development mode accepts them.
//
// The key's bytes are re-checked on every load, against the hash that cratelog
// ships for its own programs and against the file's name for others.
func DevelopmentKeys(ctx context.Context, cache string, c circuit.Capacity, progress Progress) (*Keys, error) {
	type loaded struct {
		system *cs.R1CS
		keys   *Keys
		err    error // of loading: keys that are missing are made
	}
	l, err := interruptible(ctx, func() (l loaded, err error) {
		l.system, err = compileMeanwhile(cache, c, progress, func() error {
			l.keys, l.err = loadKeys(cache, c)
			return nil
		})
		return l, err
	})
	if err != nil {
		return nil, err
	}
	system, k, loadErr := l.system, l.keys, l.err
	if errors.Is(loadErr, fs.ErrNotExist) {
		k, loadErr = makeAndLoad(ctx, cache, c, system, progress)
	}
	if loadErr != nil {
		return nil, loadErr
	}
	k.system = system
	return k, nil
}

func makeAndLoad(ctx context.Context, cache string, c circuit.Capacity, system *cs.R1CS,
	progress Progress) (*Keys, error) {
	unlock, err := lockCache(ctx, cache, c, progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another process may have made them meanwhile.
	if k, err := loadKeys(cache, c); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if _, _, err := makeKeys(ctx, cache, c, system, progress); err != nil {
		return nil, err
	}
	return interruptible(ctx, func() (*Keys, error) { return loadKeys(cache, c) })
}

// MakeDevelopmentKeys runs the development setup of a capacity even if the cache
// has its keys, stores the result, and returns the program and the proving key's
// SHA-256. It serves those who add a program to cratelog, or check one.
func MakeDevelopmentKeys(ctx context.Context, cache string, c circuit.Capacity,
	progress Progress) (proofcheck.Program, [32]byte, error) {
	quiet()
	system, err := compile(c)
	if err != nil {
		return proofcheck.Program{}, [32]byte{}, err
	}
	unlock, err := lockCache(ctx, cache, c, progress)
	if err != nil {
		return proofcheck.Program{}, [32]byte{}, err
	}
	defer unlock()
	return makeKeys(ctx, cache, c, system, progress)
}

func makeKeys(ctx context.Context, cache string, c circuit.Capacity, system *cs.R1CS,
	progress Progress) (p proofcheck.Program, h [32]byte, err error) {
	share := new(unsafekeys.Progress)
	if progress != nil {
		progress(Step{fmt.Sprintf("making UNSAFE development keys for %d blocks, once (kept in %s)", c.Blocks, cache),
			time.Duration(system.GetNbConstraints()) * 300 * time.Microsecond, share.Share})
	}
	pk, vk, err := developmentSetup(ctx, c, system, share)
	if err != nil {
		return p, h, err
	}
	return storeKeys(cache, c, pk, vk)
}

func keyName(c circuit.Capacity) string {
	return fmt.Sprintf("source-%d-%d-unsafe", c.Blocks, c.Chunks)
}

// quiet keeps gnark from writing to a program's standard output.
var quiet = sync.OnceFunc(logger.Disable)

func compile(c circuit.Capacity) (*cs.R1CS, error) {
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, circuit.NewSource(c))
	if err != nil {
		return nil, fmt.Errorf("compiling the circuit: %w", err)
	}
	return system.(*cs.R1CS), nil
}

// program describes a source circuit's verifying key as a development program.
func program(c circuit.Capacity, vk []byte) proofcheck.Program {
	return proofcheck.Program{
		System: proofcheck.SystemGroth16, Claim: proofcheck.ClaimSource,
		Blocks: c.Blocks, ListBytes: c.ListBytes(),
		Origin: proofcheck.OriginDevelopment, Key: vk,
	}
}

// developmentSetup makes keys from published secrets.
func developmentSetup(ctx context.Context, c circuit.Capacity, system *cs.R1CS,
	share *unsafekeys.Progress) (*groth16.ProvingKey, *groth16.VerifyingKey, error) {
	type pair struct {
		pk *groth16.ProvingKey
		vk *groth16.VerifyingKey
	}
	keys, err := interruptible(ctx, func() (p pair, err error) {
		p.pk, p.vk, err = unsafekeys.Setup(system, unsafekeys.Published(c.Blocks, c.Chunks), share)
		return p, err
	})
	return keys.pk, keys.vk, err
}

// The cache holds two files per program: NAME.vk, and NAME-SHA256.pk for the hash of the
// proving key. Both appear whole or not at all, the .vk first.

func storeKeys(cache string, c circuit.Capacity, pk *groth16.ProvingKey,
	vk *groth16.VerifyingKey) (p proofcheck.Program, h [32]byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("key cache: %w", err)
		}
	}()
	old, err := filepath.Glob(filepath.Join(cache, keyName(c)+"-*.pk"))
	if err != nil {
		return p, h, err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return p, h, err
		}
	}
	var key bytes.Buffer
	if _, err := vk.WriteTo(&key); err != nil {
		return p, h, err
	}
	if err := durable.Write(filepath.Join(cache, keyName(c)+".vk"), key.Bytes(), 0o600); err != nil {
		return p, h, err
	}
	f, err := durable.Create(cache)
	if err != nil {
		return p, h, err
	}
	defer f.Discard()
	sum := sha256.New()
	if err := pk.WriteDump(io.MultiWriter(f, sum)); err != nil {
		return p, h, err
	}
	h = [32]byte(sum.Sum(nil))
	return program(c, key.Bytes()), h, f.Replace(filepath.Join(cache, fmt.Sprintf("%s-%x.pk", keyName(c),
		h)), 0o600)
}

// loadKeys reads keys from the cache, all but the compiled circuit; fs.ErrNotExist if
// they are not there.
func loadKeys(cache string, c circuit.Capacity) (*Keys, error) {
	name := keyName(c)
	vk, err := os.ReadFile(filepath.Join(cache, name+".vk"))
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(cache, name+"-*.pk"))
	if err != nil || len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	path := found[0]
	damaged := func(why string) error {
		return fmt.Errorf("%w: %s %s; delete %s and %s and run again", ErrKeyCache, path, why, path,
			filepath.Join(cache, name+".vk"))
	}
	k := &Keys{Program: program(c, vk), capacity: c, proving: new(groth16.ProvingKey)}
	known, err := provingKeys()
	if err != nil {
		return nil, err
	}
	id := k.Program.ID()
	want, shipped := known[hex.EncodeToString(id[:])]
	if !shipped {
		want = strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), name+"-"), ".pk")
		if slices.Contains(Classes, c) {
			return nil, damaged("is not for the program that ships with cratelog")
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	if h := sha256.Sum256(raw); hex.EncodeToString(h[:]) != want {
		return nil, damaged("does not have its hash")
	}
	if err := k.proving.ReadDump(bytes.NewReader(raw)); err != nil {
		return nil, damaged("cannot be read")
	}
	return k, nil
}

// lockCache keeps two processes from making the same keys at once.
func lockCache(ctx context.Context, cache string, c circuit.Capacity, progress Progress) (unlock func(),
	err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	return lockFile(ctx, filepath.Join(cache, keyName(c)+".lock"), "waiting for another process, which is making these keys",
		progress)
}

// lockFile waits, in the given words, until no other process holds the lock of a file.
func lockFile(ctx context.Context, path, waiting string, progress Progress) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("key cache: %w", err)
	}
	for first := true; ; first = false {
		held, err := tryLock(f)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("key cache: lock: %w", err)
		}
		if !held {
			return func() { f.Close() }, nil
		}
		if first {
			progress.begin(waiting, 0)
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
