// Command makekeys repeats the development setup of the circuit that ships, and writes
// proofcheck/programs/source.json, which says the proving key's hash too. Run it at the root of
// the repository after the circuit has changed:
//
//	go run ./internal/makekeys
package main

//go:generate sh -c "cd ../.. && go run ./internal/makekeys"

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/circuit"
	"cratelog/prover"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "makekeys:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	p, err := prover.MakeDevelopmentKeys(ctx, cache, circuit.SegmentBlocks, func(s prover.Step) { fmt.Println(s.What) })
	if err != nil {
		return err
	}
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	name := filepath.Join("proofcheck", "programs", "source.json")
	fmt.Println(name, p)
	return os.WriteFile(name, text, 0o644)
}
