// Command verify measures what a proof costs its readers: the check of a proof of one segment, alone and
// in a batch, beside four bare pairings of its points (the least that it can cost), and the whole
// verification of a crate against an entry without its log, each as time on the clock and as CPU time of all cores;
// and how much more CPU time batches take in which all proofs or one are false.
//
// The proofs are made by internal/forge: they verify, at the price of any others.
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/proofcheck"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/verify:", err)
		os.Exit(1)
	}
}

const batchSize = 64

func run() error {
	v, err := proofcheck.Load(nil, true)
	if err != nil {
		return err
	}
	w, err := made()
	if err != nil {
		return err
	}
	each := func(entries []*entry.Entry) func() error {
		return func() (err error) {
			for _, e := range entries {
				_, one := v.Chain(e)
				err = errors.Join(err, one)
			}
			return err
		}
	}
	together := func(entries []*entry.Entry) func() error {
		return func() error {
			_, errs := v.Chains(entries)
			return errors.Join(errs...)
		}
	}
	oneFalse := append([]*entry.Entry{w.lies[batchSize/3]}, w.entries[1:]...)
	proof, err := proofcheck.ParseProof(w.entries[0].Proof.Parts)
	if err != nil {
		return err
	}
	var t [7]cost
	for i, m := range []struct {
		times int
		holds bool
		f     func() error
	}{
		{1, true, each(w.entries)},
		{5, true, together(w.entries)},
		{1, false, each(w.lies)},
		{2, false, together(w.lies)},
		{5, false, together(oneFalse)},
		{200, true, func() error {
			s := proof.Segments[0]
			_, err := bn254.Pair([]bn254.G1Affine{s.Ar, s.Krs, s.Commitments[0], s.CommitmentPok},
				[]bn254.G2Affine{s.Bs, s.Bs, s.Bs, s.Bs})
			return err
		}},
		{200, true, func() error { return w.whole(v) }},
	} {
		if t[i], err = measure(m.times, m.holds, m.f); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		name string
		cost
		of float64
	}{{"pairing", t[5], 1}, {"segment", t[0], batchSize}, {fmt.Sprintf("batch%d", batchSize), t[1], batchSize}, {"crate", t[6], 1}} {
		fmt.Printf("verify_%s %.3f ms\nverify_%s_cpu %.3f ms\n", m.name, m.wall/m.of, m.name, m.cpu/m.of)
	}
	fmt.Printf("false_proof_ratio %.2f\n", t[3].cpu/t[2].cpu)
	fmt.Printf("one_false_in_%d_ratio %.2f\n", batchSize, t[4].cpu/t[1].cpu)
	return nil
}

// world is what is measured.
type world struct {
	entries, lies []*entry.Entry // the lies have true proofs of other statements
	crate, entry  []byte
}

func made() (*world, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	w := &world{}
	for i := range batchSize {
		raw, e, err := f.Crate("bench", fmt.Sprintf("1.0.%d", i), "// nothing\n")
		if err != nil {
			return nil, err
		}
		lie := *e
		lie.Subject.Version = "2.0.0"
		w.entries, w.lies, w.crate = append(w.entries, e), append(w.lies, &lie), raw
	}
	w.entry, err = w.entries[batchSize-1].Marshal()
	return w, err
}

// whole checks a crate against its entry, both as bytes.
func (w *world) whole(v *proofcheck.Verifier) error {
	e, err := entry.Parse(w.entry)
	if err != nil {
		return err
	}
	c, err := crate.Read(w.crate, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
	if err != nil {
		return err
	}
	list, err := c.Check(e.Subject, e.Claim.(*entry.Source))
	if err != nil {
		return err
	}
	return entry.Check(v, e, list.Bytes)
}

// cost is what one call takes, in milliseconds.
type cost struct{ wall, cpu float64 }

// measure returns the mean cost of a call, after one that is not counted. f must succeed if holds is
// true, and fail if not.
func measure(times int, holds bool, f func() error) (cost, error) {
	if err := f(); (err == nil) != holds {
		return cost{}, fmt.Errorf("what is measured does not do what it should: %w", err)
	}
	begin, err := used()
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	for range times {
		f() // as it did before
	}
	wall := time.Since(start)
	end, err := used()
	return cost{wall.Seconds() * 1000 / float64(times), (end - begin) / float64(times)}, err
}

// used returns the CPU time that this process has used, in milliseconds.
func used() (float64, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6, err
}
