// Command build prints what attestations by hidden builders cost: the size of the circuit, the
// medians of the times of proving and of making the tree of a full set, and the least times, on the clock, of
// verifying an entry, alone and as one of 64 that come together, beside gnark's own check of the same proof
// and inputs, which reads no entry: these three are measured in turn. With -crates
// it rebuilds programs instead, and says how many came out the same twice.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/entry"
	"cratelog/proofcheck"
)

const batchSize = 64

func main() {
	crates := flag.Bool("crates", false, "rebuild programs of cargo's default registry, each twice")
	list := flag.String("list", programs, "which, as NAME@VERSION,...; what else stands on the command "+
		"line is for cargo zkp rebuild")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	work := circuit
	if flag.NArg() > 0 && (!*crates || flag.Arg(0)[:min(1, len(flag.Arg(0)))] != "-") {
		fmt.Fprintf(os.Stderr, "bench/build: %q is no option: programs are named with -list\n", flag.Arg(0))
		os.Exit(2)
	}
	if *crates {
		work = func(ctx context.Context) error { return rebuildCrates(ctx, os.Stdout, *list, flag.Args()...) }
	}
	if err := work(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench/build:", err)
		os.Exit(1)
	}
}

// circuit measures a member of a full set, with the development key.
func circuit(ctx context.Context) error {
	keys, err := membership.DevelopmentKeys()
	if err != nil {
		return err
	}
	verifier, err := proofcheck.New([]proofcheck.Program{keys.Program})
	if err != nil {
		return err
	}
	secret, err := build.NewSecret()
	if err != nil {
		return err
	}
	leaves, err := fullSet(secret)
	if err != nil {
		return err
	}
	subject := entry.Subject{Registry: entry.DefaultRegistry, Name: "hexyl", Version: "0.17.0", SHA256: [32]byte{1}}
	claim := &entry.Build{Binary: "hexyl", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{2},
		Toolchain: [32]byte{3}, Environment: [32]byte{4}, Recipe: entry.Recipe1, Lock: [32]byte{5}, Compiled: [32]byte{6}}

	var e *entry.Entry
	prove, err := median(9, func() error {
		e, err = membership.Prove(ctx, keys, leaves, len(leaves)/2, secret, subject, claim)
		return err
	})
	if err != nil {
		return err
	}
	gnark, err := gnarkCheck(keys.Program, e)
	if err != nil {
		return err
	}
	entries := slices.Repeat([]*entry.Entry{e}, batchSize)
	checks, err := least(30, func() error {
		_, err := verifier.Chain(e)
		return err
	}, gnark, func() error {
		_, errs := verifier.Chains(entries)
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	set, err := median(9, func() error {
		_, err := build.HiddenRoot(leaves)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Println("build_constraints", keys.System.GetNbConstraints())
	fmt.Printf("build_prove %.3f s\n", prove.Seconds())
	fmt.Printf("build_verify %.3f ms\n", milliseconds(checks[0]))
	fmt.Printf("build_verify_gnark %.3f ms\n", milliseconds(checks[1]))
	fmt.Printf("build_batch%d %.3f ms\n", batchSize, milliseconds(checks[2])/batchSize)
	fmt.Printf("set_1024 %.1f ms\n", milliseconds(set))
	return nil
}

// gnarkCheck is gnark's check of an entry's proof.
func gnarkCheck(p proofcheck.Program, e *entry.Entry) (func() error, error) {
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(p.Key)); err != nil {
		return nil, err
	}
	proof, err := proofcheck.ParseBuildProof(e.Proof.Parts)
	if err != nil {
		return nil, err
	}
	claim, ok := e.Claim.(*entry.Build)
	if !ok {
		return nil, fmt.Errorf("the entry's claim is a %T", e.Claim)
	}
	request, err := claim.Request(e.Subject)
	if err != nil {
		return nil, err
	}
	inputs := make(fr.Vector, 0, 5)
	for _, b := range [][32]byte{claim.Root, request, claim.Result(), claim.Tag, proof.Share} {
		var x fr.Element
		if err := x.SetBytesCanonical(b[:]); err != nil {
			return nil, err
		}
		inputs = append(inputs, x)
	}
	return func() error { return groth16.Verify(proof.Points, vk, inputs) }, nil
}

// fullSet returns the leaves of as many members as there is room for; one of them has this secret.
func fullSet(secret build.Secret) ([][32]byte, error) {
	leaves := make([][32]byte, 1<<build.Depth)
	for i := range leaves {
		s, err := build.NewSecret()
		if err != nil {
			return nil, err
		}
		leaves[i] = s.Public()
	}
	leaves[len(leaves)/2] = secret.Public()
	return leaves, nil
}

// median is how long f takes.
func median(times int, f func() error) (time.Duration, error) {
	took := make([]time.Duration, times)
	for i := range took {
		begin := time.Now()
		if err := f(); err != nil {
			return 0, err
		}
		took[i] = time.Since(begin)
	}
	slices.Sort(took)
	return took[times/2], nil
}

// least is the shortest time that each of some functions takes, which are called in turn.
func least(times int, fs ...func() error) ([]time.Duration, error) {
	took := slices.Repeat([]time.Duration{math.MaxInt64}, len(fs))
	for range times {
		for i, f := range fs {
			begin := time.Now()
			if err := f(); err != nil {
				return nil, err
			}
			took[i] = min(took[i], time.Since(begin))
		}
	}
	return took, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
