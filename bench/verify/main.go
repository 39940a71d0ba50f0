// Command verify measures what a proof costs its readers: the check of an entry's
// proof, alone and in a batch, beside four bare pairings of its points (the least that it can cost), and the whole
// verification of a crate against an entry without its log.
package main

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

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
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	e, err := entry.Parse(rawEntry)
	if err != nil {
		return err
	}
	if err := measure("verify_source_pairing", pairing(e)); err != nil {
		return err
	}
	if err := measureBatch(v); err != nil {
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
		list, err := c.Check(e.Subject, e.Claim.(*entry.Source))
		if err != nil {
			return err
		}
		return entry.Check(v, e, list.Bytes)
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

const batchSize = 64

// measureBatch checks many different proofs one at a time and together, and prints
// the mean time of each and the ratio.
func measureBatch(v *proofcheck.Verifier) error {
	names := []string{"hello-proof-0.1.0", "hello-proof-0.1.1", "hello-inner-0.1.0", "hello-proof-0.1.0-repacked"}
	var entries []*entry.Entry
	for i := range batchSize {
		raw, err := testdata.Files.ReadFile(names[i%len(names)] + ".entry")
		if err != nil {
			return err
		}
		e, err := entry.Parse(raw)
		if err != nil {
			return err
		}
		if err := rerandomize(e, int64(i+2)); err != nil {
			return err
		}
		entries = append(entries, e)
	}
	const times = 5
	single, err := mean(times, func() error {
		for _, e := range entries {
			if _, err := v.Chain(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	together, err := mean(times, func() error {
		_, errs := v.Chains(entries)
		return errors.Join(errs...)
	})
	if err != nil {
		return err
	}
	fmt.Printf("verify_source %.3f ms\n", single/batchSize)
	fmt.Printf("verify_source_batch%d %.3f ms\n", batchSize, together/batchSize)
	fmt.Printf("verify_source_batch%d_ratio %.2f times\n", batchSize, single/together)
	return nil
}

// rerandomize replaces an entry's proof by another one of the same statement.
func rerandomize(e *entry.Entry, factor int64) error {
	p, err := proofcheck.ParseProof(e.Proof.Parts[0])
	if err != nil {
		return err
	}
	k := big.NewInt(factor)
	p.Ar.ScalarMultiplication(&p.Ar, k)
	p.Bs.ScalarMultiplication(&p.Bs, k.ModInverse(k, fr.Modulus()))
	e.Proof.Parts[0] = proofcheck.MarshalProof(p)
	return nil
}

// measure prints the mean time of one call, after one that is not counted.
func measure(name string, f func() error) error {
	t, err := mean(rounds, f)
	if err == nil {
		fmt.Printf("%s %.3f ms\n", name, t)
	}
	return err
}

// mean returns the mean time of one call in milliseconds.
func mean(times int, f func() error) (float64, error) {
	if err := f(); err != nil {
		return 0, err
	}
	begin := time.Now()
	for range times {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(begin).Microseconds()) / 1000 / float64(times), nil
}
