package ceremony

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	gcmpc "github.com/consensys/gnark-crypto/ecc/bn254/mpcsetup"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
)

// phase1 is a state of phase 1. It is gnark's mpcsetup.Phase1, in the same encoding, with
// the same proofs and the same checks out of gnark-crypto's mpcsetup; but what is done
// to every point is done on all processors. Tests hold the two to each other.
type phase1 struct {
	proofs    [3]gcmpc.UpdateProof // of tau, alpha and beta: mpcsetup.DST_TAU ..
	srs       mpcsetup.SrsCommons
	challenge []byte
}

// proofNames are those of phase1.proofs.
var proofNames = [3]string{"tau", "alpha", "beta"}

// newPhase1 is the start of phase 1 for a domain of n points: all secrets are one.
func newPhase1(n uint64) *phase1 {
	p := &phase1{srs: emptySRS(n)}
	_, _, gen1, gen2 := curve.Generators()
	for _, v := range [][]curve.G1Affine{p.srs.G1.Tau, p.srs.G1.AlphaTau, p.srs.G1.BetaTau} {
		for i := range v {
			v[i] = gen1
		}
	}
	for i := range p.srs.G2.Tau {
		p.srs.G2.Tau[i] = gen2
	}
	p.srs.G2.Beta = gen2
	return p
}

// emptySRS has room for a domain of n points; the powers of tau begin with the generators.
func emptySRS(n uint64) (s mpcsetup.SrsCommons) {
	s.G1.Tau = make([]curve.G1Affine, 2*n-1)
	s.G1.AlphaTau, s.G1.BetaTau = make([]curve.G1Affine, n), make([]curve.G1Affine, n)
	s.G2.Tau = make([]curve.G2Affine, n)
	_, _, s.G1.Tau[0], s.G2.Tau[0] = curve.Generators()
	return s
}

// contribute multiplies in secrets of its own. They are forgotten when it returns. prev
// is the hash of what it works on.
func (p *phase1) contribute(prev [32]byte) {
	p.challenge = prev[:]
	var secrets [3]fr.Element
	for i := range secrets {
		p.proofs[i] = gcmpc.UpdateValues(&secrets[i], p.challenge, byte(i))
	}
	update(&p.srs, &secrets[0], &secrets[1], &secrets[2])
	clear(secrets[:])
}

// seal returns the parameters after the beacon's contribution, which everybody can repeat.
func (p *phase1) seal(beacon []byte) (mpcsetup.SrsCommons, error) {
	h, err := hashLink(p)
	if err != nil {
		return mpcsetup.SrsCommons{}, err
	}
	c := gcmpc.BeaconContributions(h[:], []byte("Groth16 MPC Setup - Phase 1"), beacon, 3)
	srs := cloneSRS(&p.srs)
	update(&srs, &c[0], &c[1], &c[2])
	return srs, nil
}

// update multiplies tau, alpha and beta by three scalars.
func update(s *mpcsetup.SrsCommons, tau, alpha, beta *fr.Element) {
	powers := make([]fr.Element, len(s.G1.Tau))
	none := func() struct{} { return struct{}{} }
	inParallel(len(powers), 1<<12, none, func(_ struct{}, from, to int) {
		powers[from] = power(tau, uint64(from))
		for i := from + 1; i < to; i++ {
			powers[i].Mul(&powers[i-1], tau)
		}
	})
	times := func(factor *fr.Element) []fr.Element {
		out := make([]fr.Element, len(s.G1.AlphaTau))
		for i := range out {
			out[i].Mul(&powers[i], factor)
		}
		return out
	}
	a, b := times(alpha), times(beta)
	scaleG1(s.G1.Tau[1:], func(i int) *fr.Element { return &powers[i+1] })
	scaleG1(s.G1.AlphaTau, func(i int) *fr.Element { return &a[i] })
	scaleG1(s.G1.BetaTau, func(i int) *fr.Element { return &b[i] })
	scaleG2(s.G2.Tau[1:], func(i int) *fr.Element { return &powers[i+1] })
	var b2 big.Int
	s.G2.Beta.ScalarMultiplication(&s.G2.Beta, beta.BigInt(&b2))
	clear(powers)
	clear(a)
	clear(b)
}

// follows checks that next is p with a contribution whose maker knew it. Both were
// decoded, so their points are of their groups and they are of one size.
func (p *phase1) follows(next *phase1) error {
	old, now, c := &p.srs, &next.srs, next.challenge
	updates := [3][]gcmpc.ValueUpdate{
		{{Previous: &old.G1.Tau[1], Next: &now.G1.Tau[1]}},
		{{Previous: &old.G1.AlphaTau[0], Next: &now.G1.AlphaTau[0]}},
		{{Previous: &old.G1.BetaTau[0], Next: &now.G1.BetaTau[0]}, {Previous: &old.G2.Beta, Next: &now.G2.Beta}},
	}
	for i, u := range updates {
		if err := next.proofs[i].Verify(c, byte(i), u...); err != nil {
			return fmt.Errorf("its %s: %w", proofNames[i], err)
		}
	}
	return consistent(now)
}

// consistent checks that the vectors are powers of one tau, times one alpha and one
// beta, and that none of the three is zero. Which they are it leaves open but for beta in G2.
func consistent(s *mpcsetup.SrsCommons) error {
	if s.G1.Tau[1].IsInfinity() || s.G1.AlphaTau[0].IsInfinity() || s.G1.BetaTau[0].IsInfinity() {
		return errors.New("a secret is zero")
	}
	if err := gcmpc.SameRatioMany(s.G1.Tau, s.G2.Tau, s.G1.AlphaTau, s.G1.BetaTau); err != nil {
		return fmt.Errorf("its powers: %w", err)
	}
	return nil
}

// vectors are the points of a state in the order of the file.
func (p *phase1) vectors() (beta *curve.G2Affine, tau1 []curve.G1Affine, tau2 []curve.G2Affine, more [2][]curve.G1Affine) {
	s := &p.srs
	return &s.G2.Beta, s.G1.Tau[1:], s.G2.Tau[1:], [2][]curve.G1Affine{s.G1.BetaTau, s.G1.AlphaTau}
}

func (p *phase1) WriteTo(w io.Writer) (int64, error) {
	head := new(bytes.Buffer)
	for i := range p.proofs {
		if _, err := p.proofs[i].WriteTo(head); err != nil {
			return 0, err
		}
	}
	beta, tau1, tau2, more := p.vectors()
	binary.Write(head, binary.BigEndian, uint64(len(p.srs.G2.Tau)))
	b := beta.Bytes()
	head.Write(b[:])
	var written int64
	for _, part := range [][]byte{head.Bytes(), encodeG1(tau1), encodeG2(tau2), encodeG1(more[0]), encodeG1(more[1]),
		{byte(len(p.challenge))}, p.challenge} {
		n, err := w.Write(part)
		if written += int64(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// ReadFrom reads a state whose count of points was looked at before. It reads to the
// end, and takes no other encoding than WriteTo's.
func (p *phase1) ReadFrom(r io.Reader) (int64, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return 0, err
	}
	rest := raw
	next := func(n int) []byte {
		n = min(n, len(rest))
		out := rest[:n]
		rest = rest[n:]
		return out
	}
	for i := range p.proofs {
		if _, err := p.proofs[i].ReadFrom(bytes.NewReader(next(proofSize))); err != nil {
			return 0, err
		}
	}
	count := next(8)
	if len(count) < 8 {
		return 0, io.ErrUnexpectedEOF
	}
	n := binary.BigEndian.Uint64(count)
	if n < 2 || n > 1<<28 || uint64(len(rest)) < 4*g1Size*n {
		return 0, errors.New("its number of points is not that of its bytes")
	}
	p.srs = emptySRS(n)
	beta, tau1, tau2, more := p.vectors()
	if _, err := beta.SetBytes(next(g2Size)); err != nil {
		return 0, fmt.Errorf("beta: %w", err)
	}
	for _, v := range []struct {
		name string
		err  error
	}{
		{"powers of tau", decodeG1(tau1, next(g1Size*len(tau1)))},
		{"powers of tau in G2", decodeG2(tau2, next(g2Size*len(tau2)))},
		{"powers times beta", decodeG1(more[0], next(g1Size*len(more[0])))},
		{"powers times alpha", decodeG1(more[1], next(g1Size*len(more[1])))},
	} {
		if v.err != nil {
			return 0, fmt.Errorf("%s: %w", v.name, v.err)
		}
	}
	if len(rest) == 0 || len(rest) != 1+int(rest[0]) || (rest[0] != 0 && rest[0] != sha256.Size) {
		return 0, errors.New("it does not end in the hash of the file before")
	}
	p.challenge = rest[1:]
	return int64(len(raw)), nil
}

func encodeG1(points []curve.G1Affine) []byte {
	out := make([]byte, g1Size*len(points))
	eachPoint(len(points), func(i int) {
		b := points[i].Bytes()
		copy(out[i*g1Size:], b[:])
	})
	return out
}

func encodeG2(points []curve.G2Affine) []byte {
	out := make([]byte, g2Size*len(points))
	eachPoint(len(points), func(i int) {
		b := points[i].Bytes()
		copy(out[i*g2Size:], b[:])
	})
	return out
}

func eachPoint(n int, f func(i int)) {
	none := func() struct{} { return struct{}{} }
	inParallel(n, chunk, none, func(_ struct{}, from, to int) {
		for i := from; i < to; i++ {
			f(i)
		}
	})
}

func decodeG1(points []curve.G1Affine, raw []byte) error {
	return decodeEach(len(points), g1Size, raw, func(i int, b []byte) (int, error) { return points[i].SetBytes(b) })
}

// decodeG2 checks that every point is of the subgroup.
func decodeG2(points []curve.G2Affine, raw []byte) error {
	err := decodeEach(len(points), g2Size, raw, func(i int, b []byte) (int, error) {
		d := curve.NewDecoder(bytes.NewReader(b), curve.NoSubgroupChecks())
		err := d.Decode(&points[i])
		return int(d.BytesRead()), err
	})
	if err != nil {
		return err
	}
	return inSubgroup(points)
}

// inSubgroup checks points of the curve of G2, all together. That curve's order is r times
// 10069 times larger primes. A sum with random factors of points of which one is not
// of the subgroup is of the subgroup with a probability of at most 7/2^16 for factors of
// 16 bits, however the points were chosen; ten such sums leave less than 2^-131.
func inSubgroup(points []curve.G2Affine) error {
	const rounds = 10
	if len(points) < 16*rounds {
		for i := range points {
			if !points[i].IsInSubGroup() {
				return fmt.Errorf("point %d is not of the subgroup", i)
			}
		}
		return nil
	}
	scalars := make(fr.Vector, len(points))
	random := make([]byte, 2*len(points))
	for range rounds {
		if _, err := rand.Read(random); err != nil {
			return err
		}
		for i := range scalars {
			scalars[i].SetUint64(uint64(binary.LittleEndian.Uint16(random[2*i:])))
		}
		var sum curve.G2Affine
		if _, err := sum.MultiExp(points, scalars, ecc.MultiExpConfig{}); err != nil {
			return err
		}
		if !sum.IsInSubGroup() {
			return errors.New("a point is not of the subgroup")
		}
	}
	return nil
}

func decodeEach(n, size int, raw []byte, set func(i int, b []byte) (int, error)) error {
	if len(raw) != n*size {
		return io.ErrUnexpectedEOF
	}
	errs := make([]error, n)
	eachPoint(n, func(i int) {
		m, err := set(i, raw[i*size:(i+1)*size])
		if err == nil && m != size {
			err = errors.New("it is not compressed")
		}
		if err != nil {
			errs[i] = fmt.Errorf("point %d: %w", i, err)
		}
	})
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
