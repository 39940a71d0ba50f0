// Command makekeys repeats the development setup of the classes that ship, or of
// those whose blocks are named, and writes proofcheck/programs and
// prover/provingkeys.json. Run it at the root of the repository after a circuit has
// changed:
//
//	go run ./internal/makekeys [BLOCKS ...]
package main

//go:generate sh -c "cd ../.. && go run ./internal/makekeys"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"cratelog/proofcheck"
	"cratelog/prover"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "makekeys:", err)
		os.Exit(1)
	}
}

const hashFile = "prover/provingkeys.json"

func run(ctx context.Context) error {
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	again := func(blocks int) bool { return len(os.Args) < 2 || slices.Contains(os.Args[1:], strconv.Itoa(blocks)) }
	var old map[string]string
	text, err := os.ReadFile(hashFile)
	if err == nil {
		err = json.Unmarshal(text, &old)
	}
	shipped, err2 := proofcheck.Embedded()
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	hashes := kept(old, shipped, again)
	for _, c := range prover.Classes {
		if !again(c.Blocks) {
			continue
		}
		p, h, err := prover.MakeDevelopmentKeys(ctx, cache, c, func(s prover.Step) { fmt.Println(s.What) })
		if err != nil {
			return err
		}
		hashes[id(p)] = fmt.Sprintf("%x", h)
		text, err := p.Marshal()
		if err != nil {
			return err
		}
		name := filepath.Join("proofcheck", "programs", fmt.Sprintf("source-%d.json", c.Blocks))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return err
		}
		fmt.Println(name, p)
	}
	if text, err = json.MarshalIndent(hashes, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(hashFile, append(text, '\n'), 0o644)
}

func id(p proofcheck.Program) string { return fmt.Sprintf("%x", p.ID()) }

// kept returns the hashes of the programs that ship and are not made again: one that is
// gets another id.
func kept(old map[string]string, shipped []proofcheck.Program, again func(blocks int) bool) map[string]string {
	hashes := map[string]string{}
	for _, p := range shipped {
		if h, ok := old[id(p)]; ok && !again(p.Blocks) {
			hashes[id(p)] = h
		}
	}
	return hashes
}
