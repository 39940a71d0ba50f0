package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/logger"
	"golang.org/x/sync/errgroup"

	"cratelog/circuit"
	"cratelog/internal/durable"
)

// maxCompiled bounds the file of a compiled circuit, in bytes; the one that ships takes 10 MB.
const maxCompiled = 1 << 28

// quiet keeps gnark from writing to a program's standard output.
var quiet = sync.OnceFunc(logger.Disable)

// compiled returns the compiled circuit with segments of so many blocks: out of the cache
// directory, or else compiled, which takes several times as long, and put there. Only circuits
// whose hash ships with cratelog are kept: an attacker who writes into the cache cannot make the
// prover prove, and so reveal, something else.
func compiled(cache string, blocks int, progress Progress) (*cs.R1CS, error) {
	hash, known := circuit.CompiledHash(blocks)
	path := filepath.Join(cache, compiledName(blocks, hash))
	if known && cache != "" {
		if system, err := readCompiled(path, hash); err == nil {
			return system, nil
		}
	}
	progress.begin("compiling the circuit, once", time.Duration(blocks)*80*time.Millisecond, nil)
	system, err := circuit.Compile(blocks)
	if err != nil || !known || cache == "" {
		return system, err
	}
	var b bytes.Buffer
	if _, err := system.WriteTo(&b); err == nil && hashOf(b.Bytes()) == hash {
		_ = durable.WriteCache(path, b.Bytes()) // else it is compiled again
	}
	return system, nil
}

func compiledName(blocks int, hash string) string {
	return fmt.Sprintf("segment-%d-%.16s.r1cs", blocks, hash)
}

func readCompiled(path, hash string) (*cs.R1CS, error) {
	raw, err := readLarge(path, maxCompiled)
	if err != nil {
		return nil, err
	}
	if hashOf(raw) != hash {
		return nil, errors.New("not the compiled circuit")
	}
	system := new(cs.R1CS)
	_, err = system.ReadFrom(bytes.NewReader(raw))
	return system, err
}

// compileMeanwhile has the circuit compiled while load runs.
func compileMeanwhile(ctx context.Context, cache string, blocks int, progress Progress,
	load func() error) (*cs.R1CS, error) {
	quiet()
	progress.begin("loading the circuit and the proving key", time.Duration(blocks)*20*time.Millisecond, nil)
	return interruptible(ctx, func() (system *cs.R1CS, err error) {
		var g errgroup.Group
		g.Go(func() (err error) {
			system, err = compiled(cache, blocks, progress)
			return err
		})
		loadErr := load()
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return system, loadErr
	})
}

// readLarge reads a regular file of at most limit bytes into exactly as much memory.
func readLarge(path string, limit int64) ([]byte, error) {
	check := func(info os.FileInfo, err error) (int64, error) {
		if err == nil && (!info.Mode().IsRegular() || info.Size() > limit) {
			err = fmt.Errorf("%s must be a file of at most %d bytes", path, limit)
		}
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	if _, err := check(os.Stat(path)); err != nil { // else Open waits for a pipe's writer
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := check(f.Stat())
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	_, err = io.ReadFull(f, b)
	return b, err
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
