// Command verify measures what a proof costs its readers: the check of an entry's
// proof, beside four bare pairings of its points (the least that it can cost), and the whole
// verification of a crate against an entry without its log.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/proofcheck"
	"cratelog/testdata"
)

const rounds = 200

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/verify:", err)
		os.Exit(1)
	}
}

func run() error {
	rawEntry, err := testdata.Files.ReadFile("hello-proof-0.1.0.entry")
	if err != nil {
		return err
	}
	rawCrate, err := testdata.Files.ReadFile("hello-proof-0.1.0.crate")
	if err != nil {
		return err
	}
	v, err := proofcheck.Default()
	if err != nil {
		return err
	}
	e, err := entry.Parse(rawEntry)
	if err != nil {
		return err
	}
	if err := measure("verify_source", func() error { return v.Check(e) }); err != nil {
		return err
	}
	if err := measure("verify_source_pairing", pairing(e)); err != nil {
		return err
	}
	return measure("verify_source_and_crate", func() error {
		e, err := entry.Parse(rawEntry)
		if err != nil {
			return err
		}
		c, err := crate.Read(rawCrate, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
		if err != nil {
			return err
		}
		if err := c.Check(e.Subject, e.Claim.(*entry.Source)); err != nil {
			return err
		}
		return v.Check(e)
	})
}

// pairing is the least that a check can cost: four pairings in one product, with
// nothing decoded and nothing checked.
func pairing(e *entry.Entry) func() error {
	return func() error {
		p, err := proofcheck.ParseProof(e.Proof.Parts[0])
		if err != nil {
			return err
		}
		_, err = bn254.Pair([]bn254.G1Affine{p.Ar, p.Krs, p.Commitments[0], p.CommitmentPok},
			[]bn254.G2Affine{p.Bs, p.Bs, p.Bs, p.Bs})
		return err
	}
}

// measure prints the mean time of one call, after one that is not counted.
func measure(name string, f func() error) error {
	if err := f(); err != nil {
		return err
	}
	begin := time.Now()
	for range rounds {
		if err := f(); err != nil {
			return err
		}
	}
	fmt.Printf("%s %.3f ms\n", name, float64(time.Since(begin).Microseconds())/1000/rounds)
	return nil
}
