package prover

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/circuit"
	"cratelog/proofcheck"
)

// exported is a program file and a proving key as `ceremony export` writes them; the
// keys are those of the small development program.
type exported struct {
	program, key string // paths
	p            proofcheck.Program
	dump         []byte
	k            *Keys
}

func export(t *testing.T) exported {
	t.Helper()
	k := keys(t)
	var b bytes.Buffer
	fatalIf(t, k.proving.WriteDump(&b))
	x := exported{filepath.Join(t.TempDir(), "p.json"), filepath.Join(t.TempDir(), "p.pk"), k.Program, b.Bytes(), k}
	x.p.Origin = "ceremony:" + strings.Repeat("ab", 32)
	x.write(t, x.p, x.dump)
	return x
}

// write writes both files; the program says that the proving key is the one given.
func (x exported) write(t *testing.T, p proofcheck.Program, dump []byte) {
	t.Helper()
	p.ProvingKey = sha256.Sum256(dump)
	x.writeProgram(t, p)
	fatalIf(t, os.WriteFile(x.key, dump, 0o644))
}

func (x exported) writeProgram(t *testing.T, p proofcheck.Program) {
	t.Helper()
	text, err := p.Marshal()
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(x.program, text, 0o644))
}

func (x exported) refused(t *testing.T, name, want string) {
	t.Helper()
	if _, err := OpenKeys(t.Context(), x.program, x.key, nil); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %v and a word on %q", name, err, ErrWrongKey, want)
	}
}

func TestExportedKeysProve(t *testing.T) {
	x := export(t)
	k, err := OpenKeys(t.Context(), x.program, x.key, nil)
	fatalIf(t, err)
	holds(t, k, x.p, "hello-proof", "0.1.1")
}

func TestAProvingKeyThatIsNotTheProgramsIsRefused(t *testing.T) {
	x := export(t)
	altered := slices.Clone(x.dump)
	altered[len(altered)/2] ^= 1
	x.write(t, x.p, x.dump)
	fatalIf(t, os.WriteFile(x.key, altered, 0o644))
	x.refused(t, "one bit", "has the SHA-256")

	fatalIf(t, os.Truncate(x.key, keyBase+int64(small.Blocks)*keyPerBlock+1))
	x.refused(t, "huge", "at most")
	x.write(t, x.p, x.dump)

	p := x.p
	p.ProvingKey = [32]byte{}
	x.writeProgram(t, p)
	x.refused(t, "no hash", "does not say which it is")

	// From here on the program's hash is the file's: whoever writes both files may say so.
	at := uint64(atFlags)
	wires := binary.BigEndian.Uint64(x.dump[atCounts:])
	for _, c := range []struct {
		name, want string
		change     func(d []byte) []byte
	}{
		{"empty", "too short", func(d []byte) []byte { return nil }},
		{"cut short", "cut off", func(d []byte) []byte { return d[:len(d)-1] }},
		{"cut before the vectors", "too short", func(d []byte) []byte { return d[:atFlags+10] }},
		{"cut between vectors", "cut off before", func(d []byte) []byte { return d[:at+2*wires+4+7] }},
		{"longer", "after its end", func(d []byte) []byte { return append(d, 0) }},
		{"another marker", "byte order", func(d []byte) []byte { d[0] ^= 1; return d }},
		{"another domain", "a domain of", func(d []byte) []byte { d[atDomain+4] ^= 1; return d }},
		{"more wires", "wires", func(d []byte) []byte { d[atCounts+5] ^= 1; return d }},
		{"more points at infinity than wires", "wires", func(d []byte) []byte { d[atCounts+8] = 0xff; return d }},
		{"another number of points at infinity", "flags", func(d []byte) []byte { d[atCounts+15] ^= 1; return d }},
		{"another flag", "flags", func(d []byte) []byte { d[at] ^= 1; return d }},
		{"a flag of two", "flags", func(d []byte) []byte { d[at] = 2; return d }},
		{"two commitments", "commitments", func(d []byte) []byte { d[at+2*wires+3] = 2; return d }},
		{"a vector that claims to be huge", "points of A", func(d []byte) []byte { d[at+2*wires+4+6] = 0xff; return d }},
	} {
		x.untaken(t, c.name, c.want, c.change(slices.Clone(x.dump)))
	}
	x.write(t, x.p, x.dump[:len(x.dump)-1])
	x.refused(t, "cut short, with the hash of that", "cut off")
}

// untaken checks that a dump is refused that has the program's hash; the circuit is
// compiled already.
func (x exported) untaken(t *testing.T, name, want string, dump []byte) {
	t.Helper()
	k := &Keys{Program: x.p, capacity: small, system: x.k.system, proving: new(groth16.ProvingKey)}
	err := k.take(dump)
	refused(t, name, err, want)
}

func TestAProvingKeyOfAnotherSetupIsRefused(t *testing.T) {
	x := export(t)
	change := func(f func(pk *groth16.ProvingKey)) []byte {
		pk := new(groth16.ProvingKey)
		fatalIf(t, pk.ReadDump(bytes.NewReader(x.dump)))
		f(pk)
		var b bytes.Buffer
		fatalIf(t, pk.WriteDump(&b))
		return b.Bytes()
	}
	_, _, g1, g2 := curve.Generators()
	for _, c := range []struct {
		want string
		f    func(pk *groth16.ProvingKey)
	}{
		{"another alpha", func(pk *groth16.ProvingKey) { pk.G1.Alpha.Double(&pk.G1.Alpha) }},
		{"another beta", func(pk *groth16.ProvingKey) { pk.G1.Beta = g1 }},
		{"another beta", func(pk *groth16.ProvingKey) { pk.G2.Beta = g2 }},
		{"another delta", func(pk *groth16.ProvingKey) { pk.G1.Delta = g1 }},
		{"another delta", func(pk *groth16.ProvingKey) { pk.G2.Delta = g2 }},
		{"another commitment", func(pk *groth16.ProvingKey) { pk.CommitmentKeys[0].BasisExpSigma[0] = g1 }},
		{"not on the curve", func(pk *groth16.ProvingKey) { pk.CommitmentKeys[0].Basis[0].X.SetOne() }},
	} {
		x.untaken(t, c.want, c.want, change(c.f))
	}

	// What comparing cannot find, proving does.
	x.write(t, x.p, change(func(pk *groth16.ProvingKey) { pk.G1.K[len(pk.G1.K)/2] = g1 }))
	k, err := OpenKeys(t.Context(), x.program, x.key, nil)
	fatalIf(t, err)
	_, err = k.Prove(t.Context(), plan(t, "hello-proof", "0.1.0"), nil)
	refused(t, "a proof made with another key", err, "the new proof was refused")
}

func TestAProgramFileForNoCircuitIsRefused(t *testing.T) {
	x := export(t)
	for _, c := range []circuit.Capacity{{Blocks: 2, Chunks: 2}, {Blocks: maxBlocks + 1, Chunks: 2}, {Blocks: 22, Chunks: 5 * maxBlocks}} {
		p := x.p
		p.Blocks, p.ListBytes, p.ProvingKey = c.Blocks, c.ListBytes(), [32]byte{1}
		x.writeProgram(t, p)
		_, err := OpenKeys(t.Context(), x.program, x.key, nil)
		refused(t, fmt.Sprintf("%+v", c), err, "no circuit of this version")
	}
	p := x.p
	p.Blocks, p.ListBytes, p.ProvingKey = 22, 20*circuit.ChunkBytes+1, [32]byte{1}
	x.writeProgram(t, p)
	_, err := OpenKeys(t.Context(), x.program, x.key, nil)
	refused(t, "a list of no whole chunks", err, "no circuit of this version")
	// The keys of another capacity.
	p.Blocks, p.ListBytes = 21, 20*circuit.ChunkBytes
	x.write(t, p, x.dump)
	x.refused(t, "another capacity", "is for a circuit of")
	fatalIf(t, os.WriteFile(x.program, []byte("{}"), 0o644))
	_, err = OpenKeys(t.Context(), x.program, x.key, nil)
	refused(t, "no program", err, "p.json: program")
}
