package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bn254"
	"golang.org/x/sync/errgroup"

	"cratelog/circuit"
	"cratelog/proofcheck"
)

// ErrWrongKey says that a proving key's file is not the key of the program that it was
// opened with. The error says in what they differ.
var ErrWrongKey = errors.New("the proving key is not this program's")

// maxBlocks bounds the circuits that are compiled for a program file, and keyPerBlock
// the proving keys that are read for them, in bytes.
const (
	maxBlocks   = 4096
	keyBase     = 64 << 20
	keyPerBlock = 4 << 20
)

// OpenKeys returns the keys of a program from two files: the program file, and the
// proving key whose SHA-256 stands in it, as `ceremony export` writes them. The
// circuit is compiled from this source. It refuses, with ErrWrongKey, a proving key
// that has not that hash, or other sizes than the circuit, or other points than the
// program's verifying key.
//
// Whoever made the keys can forge proofs if they kept the secrets, and a malicious
// proving key can make proofs that reveal private git objects: take both files from a
// ceremony whose transcript was verified. A false entry it cannot make: Prove verifies
// what it returns.
func OpenKeys(ctx context.Context, programFile, keyFile string, progress Progress) (*Keys, error) {
	p, err := proofcheck.ReadProgram(programFile)
	if err != nil {
		return nil, err
	}
	c := circuit.Capacity{Blocks: p.Blocks, Chunks: p.ListBytes / circuit.ChunkBytes}
	switch {
	case p.ProvingKey == [32]byte{}:
		return nil, fmt.Errorf("%w: %s does not say which it is; use the file that `ceremony "+
			"export` wrote with the key", ErrWrongKey, programFile)
	case p.Blocks < 3 || p.Blocks > maxBlocks || c.ListBytes() != p.ListBytes || c.Chunks > 4*maxBlocks:
		return nil, fmt.Errorf("%s: no circuit of this version has %d blocks and lists of %d bytes",
			programFile, p.Blocks, p.ListBytes)
	}
	cache, err := DefaultCache()
	if err != nil {
		cache = "" // then it is compiled every time
	}
	return interruptible(ctx, func() (*Keys, error) { return openKeys(ctx, p, c, cache, keyFile, progress) })
}

func openKeys(ctx context.Context, p proofcheck.Program, c circuit.Capacity, cache, keyFile string,
	progress Progress) (k *Keys, err error) {
	k = &Keys{Program: p, capacity: c, proving: new(groth16.ProvingKey)}
	var raw []byte
	if k.system, err = compileMeanwhile(cache, c, progress, func() error {
		raw, err = readKey(ctx, keyFile, c, p.ProvingKey)
		return err
	}); err != nil {
		return nil, err
	}
	if err := k.take(raw); err != nil {
		return nil, fmt.Errorf("%w: %s %w; get both files again, from one ceremony and for this "+
			"version of cratelog", ErrWrongKey, keyFile, err)
	}
	return k, nil
}

// compileMeanwhile has the circuit compiled while load runs.
func compileMeanwhile(cache string, c circuit.Capacity, progress Progress, load func() error) (*cs.R1CS, error) {
	quiet()
	progress.begin("compiling the circuit and loading the proving key", time.Duration(c.Blocks)*20*time.Millisecond)
	var g errgroup.Group
	var system *cs.R1CS
	g.Go(func() (err error) {
		system, err = compiled(cache, c)
		return err
	})
	loadErr := load()
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return system, loadErr
}

// readKey reads a proving key's file, which must have the hash that is wanted.
func readKey(ctx context.Context, path string, c circuit.Capacity, want [32]byte) ([]byte, error) {
	raw, err := readLarge(path, keyBase+int64(c.Blocks)*keyPerBlock)
	if errors.As(err, new(*fs.PathError)) {
		return nil, fmt.Errorf("proving key: %w", err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("proving key: %w", err)
	}
	if sum := sha256.Sum256(raw); sum != want {
		return nil, fmt.Errorf("%w: %s has the SHA-256 %x, and the program's proving key has %x; "+
			"get the one that was exported with the program", ErrWrongKey, path, sum, want)
	}
	return raw, nil
}

// take decodes a proving key that has the right hash, and compares it with circuit and
// verifying key.
func (k *Keys) take(raw []byte) error {
	want, err := keyShapeOf(k.system)
	if err != nil {
		return err
	}
	if err := want.check(raw); err != nil {
		return err
	}
	if err := k.proving.ReadDump(bytes.NewReader(raw)); err != nil {
		return fmt.Errorf("cannot be read (%w)", err)
	}
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(k.Program.Key)); err != nil {
		return fmt.Errorf("cannot be compared: %w", err)
	}
	return samePoints(k.proving, vk)
}

// samePoints checks what proving and verifying key share: alpha, beta and delta, and
// the secret of the commitment.
func samePoints(pk *groth16.ProvingKey, vk *groth16.VerifyingKey) error {
	for _, p := range []struct {
		name string
		same bool
	}{
		{"alpha", pk.G1.Alpha.Equal(&vk.G1.Alpha)},
		{"beta", pk.G1.Beta.Equal(&vk.G1.Beta) && pk.G2.Beta.Equal(&vk.G2.Beta)},
		{"delta", pk.G1.Delta.Equal(&vk.G1.Delta) && pk.G2.Delta.Equal(&vk.G2.Delta)},
	} {
		if !p.same {
			return fmt.Errorf("has another %s than the verifying key", p.name)
		}
	}
	if len(pk.CommitmentKeys) != 1 || len(vk.CommitmentKeys) != 1 {
		return errors.New("has no commitment, or several")
	}
	ck, cv := pk.CommitmentKeys[0], vk.CommitmentKeys[0]
	for _, i := range []int{0, len(ck.Basis) - 1} {
		if !ck.Basis[i].IsOnCurve() || !ck.BasisExpSigma[i].IsOnCurve() {
			return errors.New("has points that are not on the curve")
		}
		// basis * sigma on the one side, -sigma on the other.
		ok, err := curve.PairingCheck([]curve.G1Affine{ck.BasisExpSigma[i], ck.Basis[i]},
			[]curve.G2Affine{cv.G, cv.GSigmaNeg})
		if err != nil || !ok {
			return errors.New("has another commitment than the verifying key")
		}
	}
	return nil
}

// keyShape is what a circuit says about the size of its proving key.
type keyShape struct {
	domain, wires, private, committed uint64
}

func keyShapeOf(system *cs.R1CS) (keyShape, error) {
	commitments, ok := system.CommitmentInfo.(constraint.Groth16Commitments)
	if !ok || len(commitments) != 1 {
		return keyShape{}, errors.New("cannot be checked: the circuit has not one commitment")
	}
	internal, secret, public := system.GetNbVariables()
	committed := len(commitments[0].PrivateCommitted)
	return keyShape{
		domain: ecc.NextPowerOfTwo(uint64(system.GetNbConstraints())),
		wires:  uint64(internal + secret + public), private: uint64(internal + secret - committed - 1),
		committed: uint64(committed),
	}, nil
}

// The layout of gnark's dump: a marker in the machine's byte order; the domain, whose
// cardinality comes first; three points of G1 and two of G2; three counts; two flags a
// wire; the number of commitments; then vectors, each with its length before it.
const (
	atDomain  = 8
	atCounts  = atDomain + 8 + 5*32 + 1 + 3*g1Raw + 2*g2Raw
	atFlags   = atCounts + 3*8
	g1Raw     = 64
	g2Raw     = 128
	marker    = 0xdeadbeef
	countSize = 8
)

// check compares every count in a dump, and so its size, with the circuit's: gnark
// makes room for as many points as a file claims to hold.
func (s keyShape) check(raw []byte) error {
	if uint64(len(raw)) < atFlags+2*s.wires+4 {
		return fmt.Errorf("is too short, with %d bytes", len(raw))
	}
	if binary.NativeEndian.Uint64(raw) != marker {
		return errors.New("is not a proving key, or of a machine with another byte order")
	}
	count := func(at uint64) uint64 { return binary.BigEndian.Uint64(raw[at:]) }
	a, b := s.wires-count(atCounts+8), s.wires-count(atCounts+16)
	if count(atDomain) != s.domain || count(atCounts) != s.wires || a > s.wires || b > s.wires {
		return fmt.Errorf("is for a circuit of %d wires and a domain of %d, this one has %d and %d",
			count(atCounts), count(atDomain), s.wires, s.domain)
	}
	at := atFlags + 2*s.wires
	for i, want := range []uint64{s.wires - a, s.wires - b} {
		flags := raw[atFlags+uint64(i)*s.wires:][:s.wires]
		if uint64(bytes.Count(flags, []byte{1})) != want || uint64(bytes.Count(flags, []byte{0})) != s.wires-want {
			return errors.New("has flags that do not agree with its counts")
		}
	}
	if n := binary.BigEndian.Uint32(raw[at:]); n != 1 {
		return fmt.Errorf("has %d commitments, the circuit has one", n)
	}
	at += 4
	for _, v := range []struct {
		name    string
		n, size uint64
	}{
		{"A", a, g1Raw}, {"B", b, g1Raw}, {"Z", s.domain - 1, g1Raw}, {"K", s.private, g1Raw}, {"B in G2", b,
			g2Raw},
		{"the commitment's basis", s.committed, g1Raw}, {"the commitment's proofs", s.committed, g1Raw},
	} {
		if uint64(len(raw)) < at+countSize {
			return fmt.Errorf("is cut off before %s", v.name)
		}
		if n := binary.LittleEndian.Uint64(raw[at:]); n != v.n {
			return fmt.Errorf("has %d points of %s, this circuit has %d", n, v.name, v.n)
		}
		if at += countSize; uint64(len(raw))-at < v.n*v.size {
			return fmt.Errorf("is cut off in %s", v.name)
		}
		at += v.n * v.size
	}
	if at != uint64(len(raw)) {
		return fmt.Errorf("has %d bytes after its end", uint64(len(raw))-at)
	}
	return nil
}
