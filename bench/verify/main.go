// Command verify measures what a proof costs its readers: the check of a proof of one segment, alone and
// in a batch, beside four bare pairings of its points (the least that it can cost), and the whole
// verification of a crate against an entry without its log, each as time on the clock and as CPU time of all cores;
// and how much more CPU time batches take in which all proofs or one are false: 64 false ones in a batch beside 64 false
// ones each alone, and a batch with one false proof beside one without. These ratios are measured on one core, because two
// threads that share a core take more CPU time for the same work than one that has it for itself.
//
// All is measured in turn, several times, and the least of each counts: what else the machine does only adds.
//
// The proofs are made by internal/forge: they verify, at the price of any others.
package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
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
	t, err := measure([]work{
		{1, true, each(w.entries)},
		{5, true, together(w.entries)},
		{50, true, func() error {
			s := proof.Segments[0]
			_, err := bn254.Pair([]bn254.G1Affine{s.Ar, s.Krs, s.Commitments[0], s.CommitmentPok},
				[]bn254.G2Affine{s.Bs, s.Bs, s.Bs, s.Bs})
			return err
		}},
		{50, true, func() error { return w.whole(v) }},
	})
	if err != nil {
		return err
	}
	for i, m := range []struct {
		name string
		of   float64
	}{{"segment", batchSize}, {fmt.Sprintf("batch%d", batchSize), batchSize}, {"pairing", 1}, {"crate", 1}} {
		fmt.Printf("verify_%s %.3f ms\nverify_%s_cpu %.3f ms\n", m.name, t[i].wall/m.of, m.name, t[i].cpu/m.of)
	}
	runtime.GOMAXPROCS(1)
	if t, err = measure([]work{
		{1, false, each(w.lies)},
		{1, false, together(w.lies)},
		{2, true, together(w.entries)},
		{2, false, together(oneFalse)},
	}); err != nil {
		return err
	}
	fmt.Printf("false_proof_ratio %.2f\n", t[1].cpu/t[0].cpu)
	fmt.Printf("one_false_in_%d_ratio %.2f\n", batchSize, t[3].cpu/t[2].cpu)
	return nil
}

// world is what the work is done on.
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

// work is what is measured.
type work struct {
	times int  // a round
	holds bool // f succeeds; otherwise it fails
	f     func() error
}

// cost is what one call takes, in milliseconds.
type cost struct{ wall, cpu float64 }

// measure returns the least cost of a call in any of some rounds, after one call that is not counted.
func measure(all []work) ([]cost, error) {
	const rounds = 9
	least := make([]cost, len(all))
	for i, w := range all {
		if err := w.f(); (err == nil) != w.holds {
			return nil, fmt.Errorf("what is measured does not do what it should: %w", err)
		}
		least[i] = cost{math.Inf(1), math.Inf(1)}
	}
	for range rounds {
		for i, w := range all {
			begin, start := used(), time.Now()
			for range w.times {
				w.f() // as it did before
			}
			n := float64(w.times)
			least[i].wall = min(least[i].wall, time.Since(start).Seconds()*1000/n)
			least[i].cpu = min(least[i].cpu, (used()-begin)/n)
		}
	}
	return least, nil
}

// used returns the CPU time that this process has used, in milliseconds.
func used() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it refuses nothing but unknown numbers
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e6
}
