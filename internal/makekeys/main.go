// Command makekeys repeats the development setup of the classes that ship, and writes
// proofcheck/programs and prover/provingkeys.json. Run it at the root of the repository
// after a circuit has changed:
//
//	go run ./internal/makekeys
package main

//go:generate sh -c "cd ../.. && go run ./internal/makekeys"

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	stale, err := filepath.Glob("proofcheck/programs/source-*.json")
	if err != nil {
		return err
	}
	hashes := map[string]string{} // of all that ship: no id of an earlier circuit stays
	for _, c := range prover.Classes {
		p, h, err := prover.MakeDevelopmentKeys(ctx, cache, c, func(s prover.Step) { fmt.Println(s.What) })
		if err != nil {
			return err
		}
		hashes[fmt.Sprintf("%x", p.ID())] = fmt.Sprintf("%x", h)
		text, err := p.Marshal()
		if err != nil {
			return err
		}
		name := filepath.Join("proofcheck", "programs", fmt.Sprintf("source-%d.json", c.Blocks))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
		fmt.Println(name, p)
		stale = slices.DeleteFunc(stale, func(s string) bool { return s == name })
	}
	for _, name := range stale { // of classes that are no more
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(hashes, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile("prover/provingkeys.json", append(text, '\n'), 0o644)
}
