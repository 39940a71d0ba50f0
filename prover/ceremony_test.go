package prover

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/circuit"
	"cratelog/circuit/setup"
	"cratelog/proofcheck"
)

// exported is a program file and a proving key's file as a setup exports them; the keys are
// those of the small development program, said to be of another origin.
type exported struct {
	program, key string // paths
	p            proofcheck.Program
	file         []byte // of the proving key
	k            *Keys
}

func export(t *testing.T) exported {
	t.Helper()
	k := keys(t)
	var b bytes.Buffer
	fatalIf(t, setup.WriteProving(&b, k.proving, k.powers))
	x := exported{filepath.Join(t.TempDir(), "p.json"), filepath.Join(t.TempDir(), "p.pk"), k.Program, b.Bytes(), k}
	x.p.Origin = "ceremony:" + strings.Repeat("ab", 32)
	x.write(t, x.p, x.file)
	return x
}

// write writes both files; the program says that the proving key is the one given.
func (x exported) write(t *testing.T, p proofcheck.Program, file []byte) {
	t.Helper()
	p.ProvingKey = sha256.Sum256(file)
	x.writeProgram(t, p)
	fatalIf(t, os.WriteFile(x.key, file, 0o644))
}

func (x exported) writeProgram(t *testing.T, p proofcheck.Program) {
	t.Helper()
	text, err := p.Marshal()
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(x.program, text, 0o644))
}

func (x exported) open(t *testing.T) (*Keys, error) {
	t.Helper()
	return OpenKeys(t.Context(), x.program, x.key, nil)
}

func (x exported) refused(t *testing.T, name, want string) {
	t.Helper()
	if _, err := x.open(t); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %v and a word on %q", name, err, ErrWrongKey, want)
	}
}

func TestExportedKeysProve(t *testing.T) {
	x := export(t)
	k, err := x.open(t)
	fatalIf(t, err)
	fatalIf(t, k.CheckOnce(t.Context(), t.TempDir(), nil))
	holds(t, k, "hello-proof", "0.1.1")
}

func TestAProvingKeyThatIsNotTheProgramsIsRefused(t *testing.T) {
	x := export(t)
	altered := slices.Clone(x.file)
	altered[len(altered)/2] ^= 1
	x.write(t, x.p, x.file)
	fatalIf(t, os.WriteFile(x.key, altered, 0o644))
	x.refused(t, "one bit", "has the SHA-256")

	fatalIf(t, os.Truncate(x.key, maxKey(small)+1))
	x.refused(t, "huge", "at most")
	x.write(t, x.p, x.file)

	p := x.p
	p.ProvingKey = [32]byte{}
	x.writeProgram(t, p)
	x.refused(t, "no hash", "does not say which it is")

	// The program's hash is the file's: whoever writes both files may say so.
	x.write(t, x.p, x.file[:len(x.file)-1])
	x.refused(t, "cut short, with the hash of that", "powers of tau")
	p = x.p
	p.Blocks++
	x.write(t, p, x.file)
	x.refused(t, "another circuit", "is for a circuit of")
	x.write(t, x.p, nil)
	x.refused(t, "empty", "too short")
}

// A key that is another than the circuit's, in one point, could make proofs that tell what they
// should hide: it is found before the first one.
func TestAProvingKeyIsCheckedBeforeItProvesASecret(t *testing.T) {
	x := export(t)
	_, _, g1, _ := curve.Generators()
	pk := new(groth16.ProvingKey)
	fatalIf(t, pk.ReadDump(bytes.NewReader(x.file)))
	pk.G1.Z[len(pk.G1.Z)/2] = g1 // of a coefficient that is not zero, as a wire may be
	var b bytes.Buffer
	fatalIf(t, setup.WriteProving(&b, pk, x.k.powers))
	x.write(t, x.p, b.Bytes())

	p := plan(t, "hello-proof", "0.1.0")
	private := &Keyring{Cache: t.TempDir(), ProgramFile: x.program, KeyFile: x.key}
	for range 2 { // nothing was remembered of the first time
		if _, err := private.Prove(t.Context(), p, nil); !errors.Is(err, setup.ErrKey) {
			t.Errorf("a secret was proven with a key that is not the circuit's: %v", err)
		}
	}
	// What needs no check of the key still needs one of the proof, whatever the key's bytes are.
	noPoint := fp.Element{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	pk.G2.B[len(pk.G2.B)/2].X.A1 = noPoint
	for i := range pk.CommitmentKeys[0].Basis {
		pk.CommitmentKeys[0].Basis[i] = curve.G1Affine{X: noPoint, Y: noPoint}
	}
	var worse bytes.Buffer
	fatalIf(t, setup.WriteProving(&worse, pk, x.k.powers))
	for name, file := range map[string][]byte{"a wrong point": b.Bytes(), "no points": worse.Bytes()} {
		x.write(t, x.p, file)
		public := &Keyring{Cache: t.TempDir(), ProgramFile: x.program, KeyFile: x.key, PublicSource: true}
		_, err := public.Prove(t.Context(), p, nil)
		refused(t, name, err, "the new proof was refused")
	}
}

// What is remembered of a check is of this circuit, this program and this key.
func TestAKeyIsCheckedOnce(t *testing.T) {
	cache := t.TempDir()
	k := &Keys{Program: proofcheck.Program{Blocks: circuit.SegmentBlocks}, sum: [32]byte{1}}
	mark := k.checkedMark(cache)
	if other := (&Keys{Program: k.Program, sum: [32]byte{2}}).checkedMark(cache); mark == "" || other == mark {
		t.Error("the mark is that of another key")
	}
	other := &Keys{Program: k.Program, sum: k.sum}
	if other.Program.Key = []byte{1}; other.checkedMark(cache) == mark {
		t.Error("the mark is that of another program")
	}
	if (&Keys{Program: proofcheck.Program{Blocks: small}}).checkedMark(cache) != "" {
		t.Error("a circuit that does not ship is remembered")
	}

	// Said to be of the circuit that ships, so that there is a mark.
	k = new(*keys(t))
	k.Program.Blocks = circuit.SegmentBlocks
	good := k.powers
	k.powers = good[:len(good)-1]
	for range 2 {
		if err := k.CheckOnce(t.Context(), cache, nil); !errors.Is(err, setup.ErrKey) ||
			!strings.Contains(err.Error(), "none was made") {
			t.Errorf("without the last byte: %v", err)
		}
	}
	k.powers = good
	steps := 0
	for range 2 {
		fatalIf(t, k.CheckOnce(t.Context(), cache, func(Step) { steps++ }))
	}
	if steps != 1 {
		t.Errorf("it was checked %d times", steps)
	}
}

func TestAProgramFileForNoCircuitIsRefused(t *testing.T) {
	x := export(t)
	p := x.p
	p.Blocks, p.ProvingKey = maxBlocks+1, [32]byte{1}
	x.writeProgram(t, p)
	_, err := x.open(t)
	refused(t, "too many blocks", err, "no circuit with segments of")
	fatalIf(t, os.WriteFile(x.program, []byte("{}"), 0o644))
	_, err = x.open(t)
	refused(t, "no program", err, "p.json: program")
}
