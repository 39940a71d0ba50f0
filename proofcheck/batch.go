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
// knowledge P holds for public inputs x if both
//
//	X = e(A, B) e(L, -gamma) e(C, -delta) e(-alpha, beta)
//	Y = e(D, -sigma G) e(P, G)
//
// are 1, where L = K0 + sum x_j K_j + h K4 + D and h is the challenge, the hash of D
// and the inputs. With the proofs fixed, t and an r_i for each segment are drawn, and
//
//	V(S) = prod (X_i Y_i^t)^r_i,
//
// the product over all segments of a set S of entries, is compared with 1. It takes as many pairings
// as there are segments, and three more. r_1 is 1, the others and t are random numbers of 128 bits.
//
// If X_i or Y_i of some segment is not 1, then X_i Y_i^t is 1 for one t at most; and if it is not 1,
// V(S) is 1 for one r_i at most (or, if only i = 1 is false, never): all values lie in a group of
// prime order. So V(S) is 1 with a probability below 2^-126. (Bellare, Garay, Rabin: Fast batch verification,
// small exponents test.)
//
// If V(S) is not 1, S is halved, by entry, and the same numbers r_i and t serve on: V of one half is
// computed, and that of the other is what is missing. An entry lies in at most
// seven of these sets, so a false one is believed with a probability of at most 2^-123.

const (
	// maxBatch is the number of segments that are checked together. Beyond it the cost of
	// each hardly falls, and a false one among them costs more.
	maxBatch = 64

	// coefficientBytes is the size of the random coefficients.
	coefficientBytes = 16
)

// Chains is Chain for many entries at once, at a fraction of the cost of each. It returns a
// chain or an error for each entry, in their order, as Chain would. All segments of an entry are checked
// together. An entry whose proof does not hold is believed with a probability of at most 2^-120.
func (v *Verifier) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	chains, errs := make([]entry.Chain, len(entries)), make([]error, len(entries))
	statements := make([]*statement, len(entries))
	parallel(len(entries), func(i int) { statements[i], errs[i] = v.statement(entries[i]) })
	for _, b := range batches(statements) {
		checkBatch(b)
	}
	for i, s := range statements {
		switch {
		case errs[i] != nil:
		case s.holds:
			chains[i] = s.shown
		default:
			errs[i] = fmt.Errorf("%w: it is not a proof of this subject and claim", ErrProof)
		}
	}
	return chains, errs
}

// batches sorts statements, nil ones left out, by program into batches of at most maxBatch
// segments, or of one statement.
func batches(statements []*statement) (out [][]*statement) {
	open := map[[32]byte]int{} // index in out of the program's last batch
	size := map[int]int{}      // of a batch, in segments
	for _, s := range statements {
		if s == nil {
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
	b.judge(statements, b.value(statements))
}

// batch is what the values of an equation have in common.
type batch struct {
	key *key
	t   big.Int
}

func newBatch(statements []*statement) *batch {
	var all []*segment
	for _, s := range statements {
		for i := range s.segments {
			all = append(all, &s.segments[i])
		}
	}
	random := make([]byte, coefficientBytes*len(all))
	rand.Read(random) // never fails
	b := &batch{key: statements[0].key}
	b.t.SetBytes(random[:coefficientBytes])
	parallel(len(all), func(i int) {
		if i == 0 {
			all[i].weigh(fr.One())
			return
		}
		var r fr.Element
		r.SetBytes(random[i*coefficientBytes : (i+1)*coefficientBytes])
		all[i].weigh(r)
	})
	return b
}

// judge says which statements hold, whose value is that of their equation.
func (b *batch) judge(statements []*statement, value bn254.GT) {
	if value.IsOne() {
		for _, s := range statements {
			s.holds = true
		}
		return
	}
	if len(statements) == 1 {
		return // it is false
	}
	half := len(statements) / 2
	left := b.value(statements[:half])
	var right bn254.GT
	right.Inverse(&left).Mul(&right, &value)
	if left.IsOne() || right.IsOne() {
		b.judge(statements[:half], left)
		b.judge(statements[half:], right)
		return
	}
	parallel(len(statements), func(i int) { checkBatch(statements[i : i+1]) })
}

// value returns the value of the equation of some of the batch's statements.
func (b *batch) value(statements []*statement) bn254.GT {
	var all []*segment
	for _, s := range statements {
		for i := range s.segments {
			all = append(all, &s.segments[i])
		}
	}
	n := len(all)
	r := make([]fr.Element, n)
	var p []bn254.G1Affine
	var q []bn254.G2Affine
	for i, s := range all {
		r[i] = s.r
		p, q = append(p, s.weighted), append(q, s.proof.Bs)
	}
	column := func(f func(p *groth16.Proof) *bn254.G1Affine) bn254.G1Affine {
		points := make([]bn254.G1Affine, n)
		for i, s := range all {
			points[i] = *f(s.proof)
		}
		return multiExp(points, r)
	}
	c := column(func(p *groth16.Proof) *bn254.G1Affine { return &p.Krs })
	d := column(func(p *groth16.Proof) *bn254.G1Affine { return &p.Commitments[0] })
	pok := column(func(p *groth16.Proof) *bn254.G1Affine { return &p.CommitmentPok })
	l := b.key.inputSum(all)
	l.Add(&l, &d).Neg(&l)
	c.Neg(&c)
	d.ScalarMultiplication(&d, &b.t)
	pok.ScalarMultiplication(&pok, &b.t)
	vk := b.key.vk
	commitment := vk.CommitmentKeys[0]
	if vk.G2.Gamma.Equal(&commitment.G) { // as in every ceremony
		l.Add(&l, &pok)
	} else {
		p, q = append(p, pok), append(q, commitment.G)
	}
	value := pairing(append(p, l, c, d), append(q, vk.G2.Gamma, vk.G2.Delta, commitment.GSigmaNeg))

	var total fr.Element
	for i := range r {
		total.Add(&total, &r[i])
	}
	var constant bn254.GT
	constant.CyclotomicExp(b.key.alphaBetaInv, total.BigInt(new(big.Int)))
	return *value.Mul(&value, &constant)
}

// segment is the proof of a segment with its inputs.
type segment struct {
	proof   *groth16.Proof
	scalars [inputs + 1]fr.Element // In, Out, Rho and the challenge

	r        fr.Element     // its coefficient
	weighted bn254.G1Affine // r A
}

func newSegment(p *groth16.Proof, in, out, rho fr.Element) segment {
	s := segment{proof: p, scalars: [inputs + 1]fr.Element{in, out, rho}}
	// The value of the circuit's commitment wire, as gnark's prover and verifier compute it.
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	h.Write(p.Commitments[0].Marshal())
	for i := range inputs {
		h.Write(s.scalars[i].Marshal())
	}
	s.scalars[inputs].SetBytes(h.Sum(nil)[:fr.Bytes])
	return s
}

func (s *segment) weigh(r fr.Element) {
	s.r = r
	s.weighted.ScalarMultiplication(&s.proof.Ar, r.BigInt(new(big.Int)))
}

// inputSum returns sum r_i (K0 + sum_j x_ij K_j), the commitments' points left out.
func (k *key) inputSum(segments []*segment) bn254.G1Affine {
	scalars := make([]fr.Element, len(k.vk.G1.K))
	var product fr.Element
	for _, s := range segments {
		scalars[0].Add(&scalars[0], &s.r)
		for j := range s.scalars {
			product.Mul(&s.r, &s.scalars[j])
			scalars[j+1].Add(&scalars[j+1], &product)
		}
	}
	return multiExp(k.vk.G1.K, scalars)
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

// pairing is bn254.Pair on all cores, where there is work for them.
func pairing(p []bn254.G1Affine, q []bn254.G2Affine) bn254.GT {
	const worth = 8 // pairings of one core
	workers := max(1, min(runtime.GOMAXPROCS(0), len(p)/worth))
	loops := make([]*bn254.GT, workers)
	parallel(workers, func(w int) {
		from, to := w*len(p)/workers, (w+1)*len(p)/workers
		loop, err := bn254.MillerLoop(p[from:to], q[from:to])
		if err != nil {
			panic(err) // it refuses nothing but unequal numbers and none
		}
		loops[w] = &loop
	})
	return bn254.FinalExponentiation(loops[0], loops[1:]...)
}

// parallel calls f for 0 to n-1 on all cores and waits.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers == 1 {
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
