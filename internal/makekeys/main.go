// Command makekeys makes all that depends on the circuits that ship: it repeats the development
// setups, writes proofcheck/programs/source.json and build.json, which say the proving keys' hashes
// too, and proves the crates of testdata/ again, one of them with its opening. Run it at the root of
// the repository after a circuit, a claim or those crates have changed:
//
//	go run ./internal/makekeys
//	go run ./internal/makekeys -claim build
//
// With -claim it does what one claim's circuit asks for.
package main

//go:generate sh -c "cd ../.. && go run ./internal/makekeys"

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"cratelog/build/membership"
	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/proofcheck"
	"cratelog/prover"
	"cratelog/prover/git"
	"cratelog/testdata"
)

func main() {
	claim := flag.String("claim", "", "source or build; both if it is empty")
	flag.Parse()
	if err := run(context.Background(), *claim); err != nil {
		fmt.Fprintln(os.Stderr, "makekeys:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, claim string) error {
	switch claim {
	case "":
		return errors.Join(makeBuild(ctx), makeSource(ctx))
	case "build":
		return makeBuild(ctx)
	case "source":
		return makeSource(ctx)
	}
	return fmt.Errorf("-claim is source or build, not %q", claim)
}

func makeBuild(ctx context.Context) error {
	k, _, err := membership.MakeDevelopmentKeys(ctx)
	if err != nil {
		return err
	}
	return write("build.json", k.Program)
}

func write(name string, p proofcheck.Program) error {
	text, err := p.Marshal()
	if err != nil {
		return err
	}
	name = filepath.Join("proofcheck", "programs", name)
	fmt.Println(name, p)
	return os.WriteFile(name, text, 0o644)
}

func makeSource(ctx context.Context) error {
	cache, err := prover.DefaultCache()
	if err != nil {
		return err
	}
	say := func(s prover.Step) { fmt.Println(s.What) }
	k, err := prover.MakeDevelopmentKeys(ctx, cache, circuit.SegmentBlocks, say)
	if err != nil {
		return err
	}
	if err := write("source.json", k.Program); err != nil {
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
		{"hello-tool-0.1.0", "hello-tool", "0.1.0"},
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
