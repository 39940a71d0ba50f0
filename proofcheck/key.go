package proofcheck

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
)

const (
	g1Size = bn254.SizeOfG1AffineCompressed
	g2Size = bn254.SizeOfG2AffineCompressed

	// keySize is the size of a program's key: ten points in G1, five in G2, and the
	// counts 5 (of K), 1, 3 (of the committed inputs, which are 1, 2, 3) and 1 (commitment).
	keySize = 3*g1Size + 3*g2Size + 4 + (1+inputs+1)*g1Size + 2*4 + inputs*8 + 4 + 2*g2Size
)

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
		{"commitment's G", keySize - 2*g2Size, g2Size, &vk.CommitmentKeys[0].G},
		{"commitment's sigma", keySize - g2Size, g2Size, &vk.CommitmentKeys[0].GSigmaNeg},
	}
	for i := range vk.G1.K {
		p = append(p, keyPoint{fmt.Sprintf("K%d", i), 292 + i*g1Size, g1Size, &vk.G1.K[i]})
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
func readKey(key []byte) (*groth16.VerifyingKey, error) {
	errLayout := fmt.Errorf("program: the verifying key is not one for %d public inputs and one commitment to them, "+
		"with compressed points, as gnark writes it", inputs)
	if len(key) != keySize {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", errLayout, len(key), keySize)
	}
	vk := &groth16.VerifyingKey{PublicAndCommitmentCommitted: [][]int{{1, 2, 3}},
		CommitmentKeys: make([]pedersen.VerifyingKey, 1)}
	vk.G1.K = make([]bn254.G1Affine, 1+inputs+1)
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
	vk           *groth16.VerifyingKey
	alphaBetaInv bn254.GT // e(-alpha, beta)

	// Lines of gamma, delta, the commitment's -sigma G and, unless it is gamma, its G.
	lines [][2][len(bn254.LoopCounter)]bn254.LineEvaluationAff
}

func newKey(vk *groth16.VerifyingKey) *key {
	k := &key{vk: vk}
	var alpha bn254.G1Affine
	alpha.Neg(&vk.G1.Alpha)
	loop := millerLoop([]bn254.G1Affine{alpha}, []bn254.G2Affine{vk.G2.Beta})
	k.alphaBetaInv = bn254.FinalExponentiation(&loop)
	commitment := vk.CommitmentKeys[0]
	k.lines = append(k.lines, bn254.PrecomputeLines(vk.G2.Gamma), bn254.PrecomputeLines(vk.G2.Delta),
		bn254.PrecomputeLines(commitment.GSigmaNeg))
	if !vk.G2.Gamma.Equal(&commitment.G) { // as in no ceremony
		k.lines = append(k.lines, bn254.PrecomputeLines(commitment.G))
	}
	return k
}

// fixedLoop returns the Miller loop of e(l, gamma) e(c, delta) e(d, -sigma G) e(pok, G).
func (k *key) fixedLoop(l, c, d, pok bn254.G1Affine) bn254.GT {
	p := []bn254.G1Affine{l, c, d, pok}
	if len(k.lines) == 3 {
		p = p[:3]
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
		case (p.into == &vk.G2.Gamma || p.into == &vk.CommitmentKeys[0].G) && bytes.Equal(key[p.at:p.at+p.size], two[:]):
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
	return len(a) == keySize && len(b) == keySize &&
		bytes.Equal(a[:32], b[:32]) && bytes.Equal(a[64:192], b[64:192]) && bytes.Equal(a[224:], b[224:])
}
