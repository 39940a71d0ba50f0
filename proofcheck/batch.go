package proofcheck

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"runtime"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"

	"cratelog/entry"
)

// The equation. A segment's Groth16 proof (A, B, C) with its commitment D and the proof of
// knowledge P holds for its n public inputs x if both
//
//	X = e(A, B) e(L, -gamma) e(C, -delta) e(-alpha, beta)
//	Y = e(D, -sigma G) e(P, G)
//
// are 1, where L = K0 + sum x_j K_j + h K(n+1) + D and h is the challenge, the hash of D
// and the inputs. A proof of a build claim is one segment without a commitment: L is K0 + sum x_j K_j,
// and Y is 1, of no pairings. All segments of a batch are of one key, so of one kind.
// With the proofs fixed, t and an r_i for each segment are drawn, and
//
//	V(S) = prod Z_i^r_i, Z_i = X_i Y_i^t,
//
// the product over all segments of a set S of entries, is compared with 1. It takes as many pairings
// as there are segments, and two or three more, of points of the key. The first segment's r is 1, the others and t are
// random numbers of 128 bits. All values lie in a group of prime order, so of a value other than 1 no two
// of the powers that can be drawn are the same.
//
// Let S have a false segment i, one for which X_i or Y_i is not 1. Then Z_i is 1 for one t at most. If Z_i is not 1,
// and r_i is random, V(S) is 1 for one r_i at most, whatever the other factors are. If the batch's
// first segment is the only false one of S, the other factors are 1, and V(S) = Z_1. So V(S) is 1 with a
// probability of at most 2^-127. (Bellare, Garay, Rabin: Fast batch verification, small exponents test.)
//
// If V(S) is not 1, S is halved, by entry, and the same numbers r_i and t serve on: V of one half is
// computed, and that of the other is what is missing. Which sets may be asked for is known before the numbers are
// drawn, and an entry lies in at most seven of them (of 64, 32, .. 1 entries). If both halves
// are false, each entry is checked alone, with new numbers. So a false entry is believed with a
// probability of at most eight times 2^-127, which is 2^-124.

const (
	// maxBatch is the number of segments that are checked together. Beyond it the cost of
	// each hardly falls, and a false one among them costs more.
	maxBatch = 64

	// coefficientBytes is the size of the random coefficients.
	coefficientBytes = 16
)

// Chains is Chain for many entries at once, at a fraction of the cost of each; signatures of named
// builders are checked one by one. It returns a chain or an error for each entry, in their order, as
// Chain would. All segments of an entry are checked
// together. An entry whose proof does not hold is believed with a probability of at most 2^-124.
func (v *Verifier) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	chains, errs := make([]entry.Chain, len(entries)), make([]error, len(entries))
	statements := make([]*statement, len(entries))
	parallel(len(entries), func(i int) {
		statements[i], errs[i] = v.statement(entries[i])
	})
	for _, b := range batches(statements) {
		checkBatch(b)
	}
	for i, s := range statements {
		switch {
		case s == nil: // it is not well formed
		case s.holds:
			chains[i] = s.shown
		default:
			errs[i] = errFalse
		}
	}
	return chains, errs
}

var errFalse = fmt.Errorf("%w: it is not a proof of this subject and claim", ErrProof)

// batches sorts statements, without nil ones and those that hold, by program into batches of at most maxBatch
// segments, or of one statement.
func batches(statements []*statement) (out [][]*statement) {
	open := map[[32]byte]int{} // index in out of the program's last batch
	size := map[int]int{}      // of a batch, in segments
	for _, s := range statements {
		if s == nil || s.holds {
			continue
		}
		i, ok := open[s.program]
		if !ok || size[i]+len(s.segments) > maxBatch {
			i = len(out)
			out, open[s.program] = append(out, nil), i
		}
		out[i], size[i] = append(out[i], s), size[i]+len(s.segments)
	}
	return out
}

// checkBatch finds out which statements of one program hold. They must not change any more: the
// coefficients are drawn here.
func checkBatch(statements []*statement) {
	b := newBatch(statements)
	half := len(statements) / 2
	left, all := b.loop(statements[:half]), b.loop(statements[half:])
	value := b.value(statements, all.Mul(&all, &left))
	for !value.IsOne() {
		if half == 0 {
			return // the only one is false
		}
		valueLeft := b.value(statements[:half], &left)
		var valueRight bn254.GT
		valueRight.Inverse(&valueLeft).Mul(&valueRight, &value)
		switch {
		case valueLeft.IsOne():
			accept(statements[:half])
			statements, value = statements[half:], valueRight
		case valueRight.IsOne():
			accept(statements[half:])
			statements, value = statements[:half], valueLeft
		default:
			parallel(len(statements), func(i int) { checkBatch(statements[i : i+1]) })
			return
		}
		half = len(statements) / 2
		left = b.loop(statements[:half])
	}
	accept(statements)
}

func accept(statements []*statement) {
	for _, s := range statements {
		s.holds = true
	}
}

// batch is what the values of an equation have in common.
type batch struct {
	key *key
	t   big.Int
}

func newBatch(statements []*statement) *batch {
	all := segmentsOf(statements)
	random := make([]byte, coefficientBytes*len(all))
	rand.Read(random) // never fails
	b := &batch{key: statements[0].key}
	b.t.SetBytes(random[:coefficientBytes])
	all[0].r, all[0].weighted = fr.One(), all[0].proof.Ar
	parallel(len(all)-1, func(i int) {
		i++
		all[i].weigh(random[i*coefficientBytes : (i+1)*coefficientBytes])
	})
	return b
}

// loop returns the Miller loop of e(A_i, B_i)^r_i, for the segments of some of the batch's statements: most of
// what their value costs.
func (b *batch) loop(statements []*statement) bn254.GT {
	var p []bn254.G1Affine
	var q []bn254.G2Affine
	for _, s := range segmentsOf(statements) {
		p, q = append(p, s.weighted), append(q, s.proof.Bs)
	}
	return millerLoop(p, q)
}

// value returns the value of the equation of some of the batch's statements, of which loop is the
// Miller loop.
func (b *batch) value(statements []*statement, loop *bn254.GT) bn254.GT {
	all := segmentsOf(statements)
	r := make([]fr.Element, len(all))
	var total fr.Element
	for i, s := range all {
		r[i] = s.r
		total.Add(&total, &s.r)
	}
	column := func(f func(p *groth16.Proof) *bn254.G1Affine) bn254.G1Affine {
		points := make([]bn254.G1Affine, len(all))
		for i, s := range all {
			points[i] = *f(s.proof)
		}
		return multiExp(points, r)
	}
	c := column(func(p *groth16.Proof) *bn254.G1Affine { return &p.Krs })
	l := b.key.inputSum(all)
	var d, pok bn254.G1Affine // at infinity without commitments
	if b.key.commits() {
		d = column(func(p *groth16.Proof) *bn254.G1Affine { return &p.Commitments[0] })
		pok = column(func(p *groth16.Proof) *bn254.G1Affine { return &p.CommitmentPok })
		l.Add(&l, &d)
		d.ScalarMultiplication(&d, &b.t)
		pok.ScalarMultiplication(&pok, &b.t)
	}
	l.Neg(&l)
	c.Neg(&c)
	fixed := b.key.fixedLoop(l, c, d, pok)
	value := bn254.FinalExponentiation(loop, &fixed)

	var constant bn254.GT
	constant.CyclotomicExp(b.key.alphaBetaInv, total.BigInt(new(big.Int)))
	return *value.Mul(&value, &constant)
}

func segmentsOf(statements []*statement) (all []*segment) {
	for _, s := range statements {
		for i := range s.segments {
			all = append(all, &s.segments[i])
		}
	}
	return all
}

// segment is a Groth16 proof with its inputs: of one segment of a source claim, or a build claim's.
type segment struct {
	proof   *groth16.Proof
	scalars fr.Vector // public inputs, and the challenge if there is a commitment

	r        fr.Element     // its coefficient
	weighted bn254.G1Affine // r A
}

// newSegment takes as many inputs as the key has, and a proof with as many commitments.
func newSegment(p *groth16.Proof, inputs ...fr.Element) segment {
	s := segment{proof: p, scalars: inputs}
	for i := range p.Commitments { // one or none
		// The value of the circuit's commitment wire, as gnark's prover and verifier compute it.
		h := hash_to_field.New([]byte(constraint.CommitmentDst))
		h.Write(p.Commitments[i].Marshal())
		for j := range inputs {
			h.Write(inputs[j].Marshal())
		}
		var challenge fr.Element
		challenge.SetBytes(h.Sum(nil)[:fr.Bytes])
		s.scalars = append(s.scalars, challenge)
	}
	return s
}

func (s *segment) weigh(r []byte) {
	s.r.SetBytes(r)
	s.weighted.ScalarMultiplication(&s.proof.Ar, new(big.Int).SetBytes(r))
}

// inputSum returns sum r_i (K0 + sum_j x_ij K_j), the commitments' points left out.
func (k *key) inputSum(segments []*segment) bn254.G1Affine {
	scalars := make(fr.Vector, len(k.vk.G1.K))
	var product fr.Element
	for _, s := range segments {
		scalars[0].Add(&scalars[0], &s.r)
		for j := range s.scalars {
			product.Mul(&s.r, &s.scalars[j])
			scalars[j+1].Add(&scalars[j+1], &product)
		}
	}
	return k.sums().sum(scalars)
}

func multiExp(points []bn254.G1Affine, scalars []fr.Element) (sum bn254.G1Affine) {
	const few = 6 // for which gnark-crypto's buckets cost more than they save
	if len(points) <= few {
		for i := range points {
			var term bn254.G1Affine
			sum.Add(&sum, term.ScalarMultiplication(&points[i], scalars[i].BigInt(new(big.Int))))
		}
		return sum
	}
	if _, err := sum.MultiExp(points, scalars, ecc.MultiExpConfig{}); err != nil {
		panic(err) // it refuses nothing but unequal numbers
	}
	return sum
}

// millerLoop is bn254.MillerLoop on all cores, where there is work for them. That of no points is 1.
func millerLoop(p []bn254.G1Affine, q []bn254.G2Affine) (product bn254.GT) {
	product.SetOne()
	const worth = 8 // pairs of one core
	workers := min(runtime.GOMAXPROCS(0), (len(p)+worth-1)/worth)
	loops := make([]bn254.GT, workers)
	parallel(workers, func(w int) {
		from, to := w*len(p)/workers, (w+1)*len(p)/workers
		var err error
		if loops[w], err = bn254.MillerLoop(p[from:to], q[from:to]); err != nil {
			panic(err) // it refuses nothing but unequal numbers and none
		}
	})
	for i := range loops {
		product.Mul(&product, &loops[i])
	}
	return product
}

// parallel calls f for 0 to n-1 on all cores and waits.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				f(i)
			}
		})
	}
	wg.Wait()
}
