package proofcheck

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
)

const (
	g1Size = bn254.SizeOfG1AffineCompressed
	g2Size = bn254.SizeOfG2AffineCompressed
)

// layout is that of a verifying key: three points in G1 and three in G2; the number of points K and
// these; the number of commitments and, for each, how many inputs it commits to, which are all,
// and their numbers; and the number of commitments again, each with two points in G2.
type layout struct {
	inputs      int // public ones
	commitments int // one or none
}

const atK = 3*g1Size + 3*g2Size + 4

// points is the number of points K.
func (l layout) points() int { return 1 + l.inputs + l.commitments }

// size is the size of a key in bytes.
func (l layout) size() int {
	return atK + l.points()*g1Size + 2*4 + l.commitments*(4+l.inputs*8+2*g2Size)
}

// empty returns a key of this layout with room for its points.
func (l layout) empty() *groth16.VerifyingKey {
	vk := &groth16.VerifyingKey{PublicAndCommitmentCommitted: make([][]int, l.commitments),
		CommitmentKeys: make([]pedersen.VerifyingKey, l.commitments)}
	vk.G1.K = make([]bn254.G1Affine, l.points())
	for i := range vk.PublicAndCommitmentCommitted {
		for input := range l.inputs {
			vk.PublicAndCommitmentCommitted[i] = append(vk.PublicAndCommitmentCommitted[i], input+1)
		}
	}
	return vk
}

// keyPoint is a point of a key, and where in the key it stands.
type keyPoint struct {
	name     string
	at, size int
	into     interface {
		SetBytes([]byte) (int, error)
		IsInfinity() bool
	}
}

func keyPoints(vk *groth16.VerifyingKey) []keyPoint {
	p := []keyPoint{
		{"alpha", 0, g1Size, &vk.G1.Alpha}, {"beta in G1", 32, g1Size, &vk.G1.Beta},
		{"beta", 64, g2Size, &vk.G2.Beta}, {"gamma", 128, g2Size, &vk.G2.Gamma},
		{"delta in G1", 192, g1Size, &vk.G1.Delta}, {"delta", 224, g2Size, &vk.G2.Delta},
	}
	for i := range vk.G1.K {
		p = append(p, keyPoint{fmt.Sprintf("K%d", i), atK + i*g1Size, g1Size, &vk.G1.K[i]})
	}
	for i := range vk.CommitmentKeys { // one or none: they end the key
		end := layout{len(vk.G1.K) - 2, 1}.size()
		p = append(p, keyPoint{"commitment's G", end - 2*g2Size, g2Size, &vk.CommitmentKeys[i].G},
			keyPoint{"commitment's sigma", end - g2Size, g2Size, &vk.CommitmentKeys[i].GSigmaNeg})
	}
	return p
}

// x is what a point and its opposite have in common in their encodings.
func (p keyPoint) x(key []byte) string {
	b := bytes.Clone(key[p.at : p.at+p.size])
	b[0] &= 0x3f
	return string(b)
}

// readKey reads the key of a program, which has one layout and one encoding. The
// points are read where they must stand: gnark's own reader believes what the key says of
// their numbers, and makes room for them.
func (l layout) readKey(key []byte) (*groth16.VerifyingKey, error) {
	errLayout := fmt.Errorf("program: the verifying key is not one for %d public inputs and %d commitments to them, "+
		"with compressed points, as gnark writes it", l.inputs, l.commitments)
	if len(key) != l.size() {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", errLayout, len(key), l.size())
	}
	vk := l.empty()
	for _, p := range keyPoints(vk) {
		if _, err := p.into.SetBytes(key[p.at : p.at+p.size]); err != nil {
			return nil, fmt.Errorf("%w: its %s is no point: %w", errLayout, p.name, err)
		}
	}
	var again bytes.Buffer
	if _, err := vk.WriteTo(&again); err != nil {
		return nil, fmt.Errorf("program: verifying key: %w", err)
	}
	if !bytes.Equal(again.Bytes(), key) {
		return nil, errLayout
	}
	return vk, checkPoints(vk, key)
}

// key is a verifying key, ready for use.
type key struct {
	claim        string
	vk           *groth16.VerifyingKey
	alphaBetaInv bn254.GT // e(-alpha, beta)

	// Lines of gamma, delta and, if there is a commitment, its -sigma G and, unless it is gamma, its G.
	lines [][2][len(bn254.LoopCounter)]bn254.LineEvaluationAff

	sums func() *comb // of the points K, made when it is first needed
}

func newKey(claim string, vk *groth16.VerifyingKey) *key {
	k := &key{claim: claim, vk: vk, sums: sync.OnceValue(func() *comb { return newComb(vk.G1.K) })}
	var alpha bn254.G1Affine
	alpha.Neg(&vk.G1.Alpha)
	loop := millerLoop([]bn254.G1Affine{alpha}, []bn254.G2Affine{vk.G2.Beta})
	k.alphaBetaInv = bn254.FinalExponentiation(&loop)
	k.lines = append(k.lines, bn254.PrecomputeLines(vk.G2.Gamma), bn254.PrecomputeLines(vk.G2.Delta))
	for _, commitment := range vk.CommitmentKeys { // one or none
		k.lines = append(k.lines, bn254.PrecomputeLines(commitment.GSigmaNeg))
		if !vk.G2.Gamma.Equal(&commitment.G) { // as in no ceremony
			k.lines = append(k.lines, bn254.PrecomputeLines(commitment.G))
		}
	}
	return k
}

// commits says that proofs have a commitment.
func (k *key) commits() bool { return len(k.vk.CommitmentKeys) > 0 }

// fixedLoop returns the Miller loop of e(l, gamma) e(c, delta) e(d, -sigma G) e(pok, G). Of a key without
// commitments d and pok are not looked at.
func (k *key) fixedLoop(l, c, d, pok bn254.G1Affine) bn254.GT {
	p := []bn254.G1Affine{l, c, d, pok}[:len(k.lines)]
	if len(p) == 3 {
		p[0].Add(&l, &pok)
	}
	loop, err := bn254.MillerLoopFixedQ(p, slices.Clone(k.lines)) // it works in the lines that it is given
	if err != nil {
		panic(err) // it refuses nothing but unequal numbers
	}
	return loop
}

// checkPoints refuses keys that do not bind what is proven, as a setup leaves them that was
// not brought to its end. Of an honest key all points differ, also up to their sign, and none
// is at infinity or the generator. But gamma and the commitment's G may be the generator, as
// in every ceremony: Bowe, Gabizon and Miers (2017) have gamma = 1.
//
// It does not find a key whose maker kept its secrets. For that there are transcripts.
func checkPoints(vk *groth16.VerifyingKey, key []byte) error {
	_, _, g1, g2 := bn254.Generators()
	one, two := g1.Bytes(), g2.Bytes()
	seen := map[string]string{
		keyPoint{size: g1Size}.x(one[:]): "the generator", keyPoint{size: g2Size}.x(two[:]): "the generator"}
	for _, p := range keyPoints(vk) {
		switch other := seen[p.x(key)]; {
		case p.into.IsInfinity():
			return fmt.Errorf("program: the verifying key's %s is the point at infinity, %s", p.name, forgeable)
		case (p.name == "gamma" || p.name == "commitment's G") && bytes.Equal(key[p.at:p.at+p.size], two[:]):
			continue
		case other != "":
			return fmt.Errorf("program: the verifying key's %s is %s or its opposite, %s", p.name, other, forgeable)
		}
		seen[p.x(key)] = "its " + p.name
	}
	return nil
}

const forgeable = "so it does not bind what is proven, and anybody may make false proofs: " +
	"do not use it; ask its maker for the program file of a finished ceremony"

// sameSetup says that two keys judge every proof alike: they differ at most in beta and
// delta in G1, which no verifier uses.
func sameSetup(a, b []byte) bool {
	return len(a) == len(b) && len(a) > atK &&
		bytes.Equal(a[:32], b[:32]) && bytes.Equal(a[64:192], b[64:192]) && bytes.Equal(a[224:], b[224:])
}
