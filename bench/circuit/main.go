// Command circuit prints the sizes of the circuits, in constraints (R1CS), beside
// those of SHA-1 written byte by byte with gnark's std/math/uints.
package main

import (
	"fmt"
	"os"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"

	"cratelog/circuit"
)

func main() {
	logger.Disable()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/circuit:", err)
		os.Exit(1)
	}
}

func run() error {
	ours, err := marginal(circuit.SHA1Constraints)
	if err != nil {
		return err
	}
	bytewise, err := marginal(baseline)
	if err != nil {
		return err
	}
	block, err := marginal(func(n int) (int, error) { return circuit.Constraints(1 + n) })
	if err != nil {
		return err
	}
	fmt.Println("sha1_block_constraints", ours, "constraints")
	fmt.Println("sha1_block_constraints_bytewise", bytewise, "constraints")
	fmt.Printf("sha1_block_ratio %.2f times\n", float64(bytewise)/float64(ours))
	fmt.Println("segment_block_constraints", block, "constraints")
	for _, blocks := range []int{circuit.SegmentBlocks, 64, 76} {
		n, err := circuit.Constraints(blocks)
		if err != nil {
			return err
		}
		name := "segment_constraints"
		if blocks != circuit.SegmentBlocks {
			name += fmt.Sprint("_", blocks)
		}
		fmt.Println(name, n, "constraints")
	}
	return nil
}

// marginal is what one more block costs.
func marginal(count func(blocks int) (int, error)) (int, error) {
	one, err := count(1)
	if err != nil {
		return 0, err
	}
	two, err := count(2)
	return two - one, err
}

func baseline(blocks int) (int, error) {
	c, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder,
		&bytewise{Words: make([][16]frontend.Variable, blocks)})
	if err != nil {
		return 0, err
	}
	return c.GetNbConstraints(), nil
}
