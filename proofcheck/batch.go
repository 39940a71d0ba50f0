package proofcheck

import (
	"crypto/rand"
	"errors"
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

// Batch verification. A Groth16 proof (A, B, C) with one commitment D and its proof
// of knowledge P holds for inputs x if both
//
//	X = e(A, B) e(L, -gamma) e(C, -delta) e(-alpha, beta)
//	Y = e(D, -sigma G) e(P, G)
//
// are 1, where L = K0 + sum x_j K_j + h K4 + D and h is the challenge, the hash of D
// and the inputs. With the proofs fixed, random r_i and t of 128 bits are drawn, and
//
//	prod (X_i Y_i^t)^r_i = 1
//
// is checked as one product of N + 5 pairings. If some X_i or Y_i is not 1, it holds
// with a probability of at most 2^-127: all values lie in a group of prime order.
// (Bellare, Garay, Rabin: Fast batch verification, small exponents test.)

// coefficientBytes is the size of the random coefficients.
const coefficientBytes = 16

// CheckBatch is Check for many entries at once, at a fraction of the cost of each.
// It returns one error per entry, in their order, as Check would; a batch that fails
// is halved until the bad entries are found. An entry that Check refuses is accepted
// with a probability of at most 2^-127.
func (v *Verifier) CheckBatch(entries []*entry.Entry) []error {
	errs := make([]error, len(entries))
	items := make([]*batchItem, len(entries))
	parallel(len(entries), func(i int) {
		items[i], errs[i] = v.prepare(i, entries[i])
	})
	groups := map[[32]byte][]*batchItem{}
	var order [][32]byte
	for i, it := range items {
		if errs[i] != nil {
			continue
		}
		if groups[it.program] == nil {
			order = append(order, it.program)
		}
		groups[it.program] = append(groups[it.program], it)
	}
	for _, id := range order {
		v.bisect(v.keys[id], groups[id], entries, errs)
	}
	return errs
}

// batchItem is a decoded proof with everything that it is checked against.
type batchItem struct {
	index   int // of its entry
	program [32]byte
	proof   *groth16.Proof
	scalars [sourceInputs + 1]fr.Element // the inputs, and the challenge
}

// prepare does all of Check but the pairings.
func (v *Verifier) prepare(i int, e *entry.Entry) (*batchItem, error) {
	proof, inputs, err := v.decode(e)
	if err != nil {
		return nil, err
	}
	it := &batchItem{index: i, program: e.Proof.Program, proof: proof}
	copy(it.scalars[:], inputs)
	it.scalars[sourceInputs] = challenge(v.keys[e.Proof.Program], proof, inputs)
	return it, nil
}

// challenge is the value of the circuit's commitment wire, as gnark's prover and
// verifier compute it.
func challenge(vk *groth16.VerifyingKey, proof *groth16.Proof, inputs fr.Vector) (c fr.Element) {
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	h.Write(proof.Commitments[0].Marshal())
	for _, j := range vk.PublicAndCommitmentCommitted[0] {
		h.Write(inputs[j-1].Marshal())
	}
	c.SetBytes(h.Sum(nil)[:fr.Bytes])
	return c
}

// bisect checks items of one program, and on failure each half.
func (v *Verifier) bisect(vk *groth16.VerifyingKey, items []*batchItem, entries []*entry.Entry, errs []error) {
	if len(items) == 1 {
		errs[items[0].index] = v.Check(entries[items[0].index])
		return
	}
	if ok, err := checkTogether(vk, items); err == nil && ok {
		return
	}
	// On an error, which is not about the proofs, the single checks decide.
	half := len(items) / 2
	v.bisect(vk, items[:half], entries, errs)
	v.bisect(vk, items[half:], entries, errs)
}

// checkTogether is the batch equation. The items must not change any more: the
// coefficients are drawn here.
func checkTogether(vk *groth16.VerifyingKey, items []*batchItem) (bool, error) {
	n := len(items)
	r, err := coefficients(n + 1)
	if err != nil {
		return false, err
	}
	r, t := r[:n], r[n]

	scaled := make([]bn254.G1Affine, n) // r_i A_i
	b := make([]bn254.G2Affine, n)
	parallel(n, func(i int) {
		var k big.Int
		scaled[i].ScalarMultiplication(&items[i].proof.Ar, r[i].BigInt(&k))
		b[i] = items[i].proof.Bs
	})
	column := func(f func(p *groth16.Proof) bn254.G1Affine) (sum bn254.G1Affine, err error) {
		points := make([]bn254.G1Affine, n)
		for i, it := range items {
			points[i] = f(it.proof)
		}
		_, err = sum.MultiExp(points, r, ecc.MultiExpConfig{})
		return sum, err
	}
	c, err1 := column(func(p *groth16.Proof) bn254.G1Affine { return p.Krs })
	d, err2 := column(func(p *groth16.Proof) bn254.G1Affine { return p.Commitments[0] })
	pok, err3 := column(func(p *groth16.Proof) bn254.G1Affine { return p.CommitmentPok })
	l, err4 := inputSum(vk, items, r)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return false, fmt.Errorf("batch: %w", err)
	}
	var total, k big.Int
	var rSum fr.Element
	for i := range r {
		rSum.Add(&rSum, &r[i])
	}
	rSum.BigInt(&total)
	t.BigInt(&k)
	var alpha, tD, tPok bn254.G1Affine
	alpha.ScalarMultiplication(&vk.G1.Alpha, &total)
	tD.ScalarMultiplication(&d, &k)
	tPok.ScalarMultiplication(&pok, &k)
	l.Add(&l, &d)
	for _, p := range []*bn254.G1Affine{&l, &c, &alpha} {
		p.Neg(p)
	}
	key := vk.CommitmentKeys[0]
	return pairingProductIsOne(
		append(scaled, l, c, alpha, tD, tPok),
		append(b, vk.G2.Gamma, vk.G2.Delta, vk.G2.Beta, key.GSigmaNeg, key.G))
}

// inputSum returns sum r_i (K0 + sum_j x_ij K_j), the commitments' points left out.
func inputSum(vk *groth16.VerifyingKey, items []*batchItem, r []fr.Element) (sum bn254.G1Affine, err error) {
	scalars := make([]fr.Element, len(vk.G1.K))
	var product fr.Element
	for i, it := range items {
		scalars[0].Add(&scalars[0], &r[i])
		for j := range it.scalars {
			product.Mul(&r[i], &it.scalars[j])
			scalars[j+1].Add(&scalars[j+1], &product)
		}
	}
	_, err = sum.MultiExp(vk.G1.K, scalars, ecc.MultiExpConfig{})
	return sum, err
}

func coefficients(n int) ([]fr.Element, error) {
	buf := make([]byte, n*coefficientBytes)
	if _, err := rand.Read(buf); err != nil {
		return nil, fmt.Errorf("batch: randomness: %w", err)
	}
	out := make([]fr.Element, n)
	for i := range out {
		out[i].SetBytes(buf[i*coefficientBytes : (i+1)*coefficientBytes])
	}
	return out, nil
}

// pairingProductIsOne is bn254.PairingCheck on all cores.
func pairingProductIsOne(p []bn254.G1Affine, q []bn254.G2Affine) (bool, error) {
	workers := min(runtime.GOMAXPROCS(0), len(p))
	loops, errs := make([]bn254.GT, workers), make([]error, workers)
	parallel(workers, func(w int) {
		from, to := w*len(p)/workers, (w+1)*len(p)/workers
		loops[w], errs[w] = bn254.MillerLoop(p[from:to], q[from:to])
	})
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	rest := make([]*bn254.GT, 0, workers)
	for i := range loops[1:] {
		rest = append(rest, &loops[1+i])
	}
	product := bn254.FinalExponentiation(&loops[0], rest...)
	return product.IsOne(), nil
}

// parallel calls f for 0 to n-1 on all cores and waits.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
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
