package circuit

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
)

//go:generate go test -run ^TestConstraintCounts$ -update .

// Compile returns the constraints of a segment of so many blocks, oriented (see orient.go).
// It is deterministic. Keys are made for, and proofs made with, what it returns: another
// compilation of the circuit has other keys.
func Compile(blocks int) (*cs.R1CS, error) {
	if blocks < 1 {
		return nil, fmt.Errorf("circuit: a segment of %d blocks", blocks)
	}
	return compile(newSegment(blocks))
}

// maxTerms is the length from which a linear form is named by a wire of its own. The forms of
// schedule words are made of earlier ones, and would grow; with more names a segment of
// SegmentBlocks would not fit its domain, with fewer it takes longer to solve.
const maxTerms = 200

func compile(c frontend.Circuit) (*cs.R1CS, error) {
	compiled, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c,
		frontend.WithCompressThreshold(maxTerms))
	if err != nil {
		return nil, fmt.Errorf("circuit: compile: %w", err)
	}
	system, ok := compiled.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("circuit: compiled to %T", compiled)
	}
	return system, orient(system)
}

//go:embed compiled.json
var compiledFile []byte

var compiledHashes = sync.OnceValues(func() (m map[string]string, err error) {
	if err := json.Unmarshal(compiledFile, &m); err != nil {
		return nil, fmt.Errorf("compiled.json: %w", err)
	}
	return m, nil
})

// CompiledHash returns the SHA-256, in hex, of what Compile returns (as WriteTo writes it),
// if it is known for that number of blocks. So a compiled circuit that was kept can be told
// from any other file.
func CompiledHash(blocks int) (hash string, ok bool) {
	m, err := compiledHashes()
	if err != nil {
		return "", false
	}
	hash, ok = m[compiledName(blocks)]
	return hash, ok
}

func compiledName(blocks int) string { return fmt.Sprintf("segment %d", blocks) }

// Constraints returns the number of constraints of a segment of so many blocks.
func Constraints(blocks int) (int, error) {
	system, err := Compile(blocks)
	if err != nil {
		return 0, err
	}
	return system.GetNbConstraints(), nil
}

// SHA1Constraints returns the number of constraints of a circuit that does nothing
// but SHA-1 over the given number of blocks, with the check that its input is bytes.
func SHA1Constraints(blocks int) (int, error) {
	system, err := compile(&sha1Circuit{Bytes: make([]frontend.Variable, blocks*blockBytes)})
	if err != nil {
		return 0, err
	}
	return system.GetNbConstraints(), nil
}
