package build

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
)

// What a hidden member computes. All values are elements of BN254's scalar field, as 32 bytes,
// big-endian and below its order r. C is Poseidon2's compression of two elements, of width 2:
// the second element of the permutation's result, plus the second of its input.
//
//	Public = C(0x620001, Secret)
//	Tag    = C(C(0x620002, Secret), Request)
//	Share  = Public + Result C(C(0x620003, Secret), Request)
//	Root   = C(C(0x620004, Depth), tree), tree over 2^Depth leaves with nodes C(left, right),
//	         where a leaf is a Public, or zero if it is vacant
//
// One Secret has one Tag for one Request, whatever the set, and nobody can tell which Public it is
// of. But two Results under one Tag are two points of one line, which meets zero at Public: Unmask.
const (
	Depth = 10 // of the tree of a hidden set: 1,024 members

	// FullRounds and PartialRounds are Poseidon2's, here and in the circuit (build/membership).
	FullRounds, PartialRounds = 8, 56

	// What the first compressions begin with, so that no value of one kind is one of another.
	DomainKey   = 0x62_0001
	DomainTag   = 0x62_0002
	DomainTrace = 0x62_0003
	DomainRoot  = 0x62_0004

	// HiddenPart is the size of a hidden member's proof, which is one part:
	// share (32) | A (32) | B (64) | C (32).
	HiddenPart = 160
)

var permutation = sync.OnceValue(func() *poseidon2.Permutation {
	return poseidon2.NewPermutation(2, FullRounds, PartialRounds)
})

func compress(left, right fr.Element) fr.Element {
	x := [2]fr.Element{left, right}
	if err := permutation().Permutation(x[:]); err != nil {
		panic(err) // of another width only
	}
	return *x[1].Add(&x[1], &right)
}

// hash begins with one of the constants.
func hash(domain uint64, in ...fr.Element) fr.Element {
	state := fr.NewElement(domain)
	for _, x := range in {
		state = compress(state, x)
	}
	return state
}

// Secret is what makes somebody a hidden member. Whoever has it can attest in his name, and can
// tell which attestations of the past are his. It prints as nothing.
type Secret struct{ x fr.Element }

// NewSecret draws a secret from the system's random source.
func NewSecret() (Secret, error) {
	for {
		var b [32]byte
		if _, err := rand.Read(b[:]); err != nil {
			return Secret{}, fmt.Errorf("drawing a builder's secret: %w", err)
		}
		b[0] &= 0x3f // r has 254 bits
		if s, err := ParseSecret(b); err == nil {
			return s, nil
		}
	}
}

// ParseSecret reads what Bytes returns. It refuses zero and what is not below r.
func ParseSecret(b [32]byte) (Secret, error) {
	var s Secret
	if s.x.SetBytesCanonical(b[:]) != nil || s.x.IsZero() {
		return Secret{}, errors.New("the builder's secret is zero or not below the field's order; " +
			"make one with `cargo zkp builder keygen`")
	}
	return s, nil
}

// Bytes returns the secret.
func (s Secret) Bytes() [32]byte { return s.x.Bytes() }

// Format is fmt's, for every verb: with String alone some verbs, such as d, would print the field.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(a builder's secret)") }

// Public returns what stands in the set for this member.
func (s Secret) Public() [32]byte { return s.public().Bytes() }

func (s Secret) public() *fr.Element {
	x := hash(DomainKey, s.x)
	return &x
}

// Tag returns the member's only tag for a request. Request is what entry.Build computes, or another
// value below r: it panics at any other.
func (s Secret) Tag(request [32]byte) [32]byte {
	x := hash(DomainTag, s.x, mustElement("request", request))
	return x.Bytes()
}

// Share returns the point of the member's line for a request. Request and result are what
// entry.Build computes, or other values below r: it panics at any other, and at the result zero, whose
// share is Public.
func (s Secret) Share(request, result [32]byte) [32]byte {
	y := mustElement("result", result)
	if y.IsZero() {
		panic("build: the share of the result 0 is the member's name")
	}
	slope := hash(DomainTrace, s.x, mustElement("request", request))
	y.Mul(&y, &slope).Add(&y, s.public())
	return y.Bytes()
}

func mustElement(name string, b [32]byte) (x fr.Element) {
	if err := x.SetBytesCanonical(b[:]); err != nil {
		panic(fmt.Sprintf("build: the %s is not below the field's order", name))
	}
	return x
}

// Unmask returns the Public of a member who attested two results under one tag, of both. Whoever
// asks has checked both proofs, and that request and tag are the same: of other numbers it returns
// nobody's Public. It refuses values that are not below r, results that are zero, and equal ones.
func Unmask(result1, share1, result2, share2 [32]byte) ([32]byte, error) {
	var x [4]fr.Element
	for i, b := range [][32]byte{result1, share1, result2, share2} {
		if err := x[i].SetBytesCanonical(b[:]); err != nil {
			return [32]byte{}, errors.New("a result or share is not below the field's order")
		}
	}
	switch {
	case x[0].IsZero() || x[2].IsZero():
		return [32]byte{}, errors.New("a result is zero")
	case x[0] == x[2]:
		return [32]byte{}, errors.New("both results are the same: that is no contradiction")
	}
	var dx, dy fr.Element // Public = share1 - result1 (share1 - share2) / (result1 - result2)
	dx.Sub(&x[0], &x[2])
	dy.Sub(&x[1], &x[3]).Div(&dy, &dx).Mul(&dy, &x[0])
	dy.Sub(&x[1], &dy)
	return dy.Bytes(), nil
}

// SharePart returns the share out of the parts of a hidden member's proof. It checks their
// number and size and that the share is below r, not the proof.
func SharePart(parts [][]byte) (share [32]byte, err error) {
	if len(parts) != 1 || len(parts[0]) != HiddenPart {
		return share, fmt.Errorf("the proof of a hidden builder is one part of %d bytes", HiddenPart)
	}
	share = [32]byte(parts[0])
	if new(fr.Element).SetBytesCanonical(share[:]) != nil {
		return share, errors.New("the share of a hidden builder is not below the field's order")
	}
	return share, nil
}

// HiddenRoot returns the root of a hidden set. A leaf is a Public, or zero if it is vacant; leaves
// that are missing at the end are vacant too. It refuses more than 2^Depth leaves, leaves that are
// not below r, and two members with one Public.
func HiddenRoot(leaves [][32]byte) ([32]byte, error) {
	levels, err := tree(leaves)
	if err != nil {
		return [32]byte{}, err
	}
	root := hash(DomainRoot, fr.NewElement(Depth), levels[Depth][0])
	return root.Bytes(), nil
}

// HiddenPath returns what stands beside the way from the i-th leaf to the root, from the leaf
// on. On level l the way is the right child if bit l of i is set.
func HiddenPath(leaves [][32]byte, i int) (path [Depth][32]byte, err error) {
	levels, err := tree(leaves)
	switch {
	case err != nil:
		return path, err
	case i < 0 || i >= len(leaves):
		return path, fmt.Errorf("the set has %d leaves and none with number %d", len(leaves), i)
	case levels[0][i].IsZero():
		return path, fmt.Errorf("leaf %d of the set is vacant", i)
	}
	for l := range path {
		path[l] = levels[l][i^1].Bytes()
		i >>= 1
	}
	return path, nil
}

// tree returns the nodes of each level, from the leaves to the top. Each level but the top is filled
// up to an even number.
func tree(leaves [][32]byte) (levels [Depth + 1][]fr.Element, err error) {
	if len(leaves) > 1<<Depth {
		return levels, fmt.Errorf("the set has %d leaves, and at most %d are possible", len(leaves), 1<<Depth)
	}
	level, number := make([]fr.Element, len(leaves), len(leaves)+1), map[[32]byte]int{}
	for i, b := range leaves {
		if level[i].SetBytesCanonical(b[:]) != nil {
			return levels, fmt.Errorf("leaf %d of the set is not below the field's order", i)
		}
		if level[i].IsZero() {
			continue
		}
		if other, twice := number[b]; twice {
			return levels, fmt.Errorf("leaves %d and %d of the set are the same", other, i)
		}
		number[b] = i
	}
	var vacant fr.Element // of this level
	for l := range levels {
		if len(level) == 0 {
			level = append(level, vacant)
		}
		if len(level)%2 == 1 && l < Depth {
			level = append(level, vacant)
		}
		levels[l] = level
		if l == Depth {
			break
		}
		next := make([]fr.Element, len(level)/2, len(level)/2+1)
		for i := range next {
			next[i] = compress(level[2*i], level[2*i+1])
		}
		level, vacant = next, compress(vacant, vacant)
	}
	return levels, nil
}
