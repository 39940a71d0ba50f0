// Command makekeys makes all that depends on the circuit that ships: it repeats the development
// setup, writes proofcheck/programs/source.json, which says the proving key's hash too, and proves
// the crates of testdata/ again, one of them with its opening. Run it at the root of the repository after the circuit, the claim
// or those crates have changed:
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
	"cratelog/crate"
	"cratelog/prover"
	"cratelog/prover/git"
	"cratelog/testdata"
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
	say := func(s prover.Step) { fmt.Println(s.What) }
	k, err := prover.MakeDevelopmentKeys(ctx, cache, circuit.SegmentBlocks, say)
	if err != nil {
		return err
	}
	text, err := k.Program.Marshal()
	if err != nil {
		return err
	}
	name := filepath.Join("proofcheck", "programs", "source.json")
	fmt.Println(name, k.Program)
	if err := os.WriteFile(name, text, 0o644); err != nil {
		return err
	}
	return prove(ctx, k, say)
}

// prove writes the entries of testdata/.
func prove(ctx context.Context, keys *prover.Keys, say prover.Progress) error {
	dir, err := os.MkdirTemp("", "cratelog-makekeys-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bare, err := testdata.Repo(dir)
	if err != nil {
		return err
	}
	repo, err := git.Open(ctx, bare)
	if err != nil {
		return err
	}
	defer repo.Close()
	for _, x := range []struct{ file, name, version string }{
		{"hello-proof-0.1.0", "hello-proof", "0.1.0"}, {"hello-proof-0.1.1", "hello-proof", "0.1.1"},
		{"hello-inner-0.1.0", "hello-inner", "0.1.0"}, {"hello-proof-0.1.0-repacked", "hello-proof", "0.1.0"},
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", x.file+".crate"))
		if err != nil {
			return err
		}
		c, err := crate.Read(raw, x.name, x.version, crate.DefaultLimits)
		if err != nil {
			return err
		}
		plan, err := prover.NewPlan(ctx, c, repo, prover.Source{})
		if err != nil {
			return err
		}
		e, err := keys.Prove(ctx, plan, say)
		if err != nil {
			return err
		}
		b, err := e.Marshal()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join("testdata", x.file+".entry"), b, 0o644); err != nil {
			return err
		}
		if x.file != "hello-proof-0.1.0" {
			continue
		}
		opened, err := plan.Opening()
		if err == nil {
			err = os.WriteFile(filepath.Join("testdata", x.file+".opening"), opened, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
