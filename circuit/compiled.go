package circuit

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:generate go test -run ^TestConstraintCounts$ -update .

//go:embed compiled.json
var compiledFile []byte

var compiledHashes = sync.OnceValues(func() (m map[string]string, err error) {
	if err := json.Unmarshal(compiledFile, &m); err != nil {
		return nil, fmt.Errorf("compiled.json: %w", err)
	}
	return m, nil
})

// CompiledHash returns the SHA-256, in hex, of the compiled source circuit of a capacity
// (gnark's R1CS, as WriteTo writes it), if it is one of those that ship. Compiling is
// deterministic, so a compiled circuit that was kept can be told from any other file.
func CompiledHash(c Capacity) (hash string, ok bool) {
	m, err := compiledHashes()
	if err != nil {
		return "", false
	}
	hash, ok = m[c.name()]
	return hash, ok
}

func (c Capacity) name() string { return fmt.Sprintf("source %d %d", c.Blocks, c.Chunks) }
