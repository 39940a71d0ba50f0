package proofcheck

import (
	"math/big"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
)

// of returns statements of a program with so many segments each, whose proofs are not looked at.
func of(program byte, segments ...int) (out []*statement) {
	_, _, g1, _ := bn254.Generators()
	for _, n := range segments {
		s := &statement{program: [32]byte{program}}
		for range n {
			s.segments = append(s.segments, segment{proof: &groth16.Proof{Ar: g1}})
		}
		out = append(out, s)
	}
	return out
}

// TestEverySegmentHasACoefficientOfItsOwn: with one for a whole entry, errors of its segments
// would cancel.
func TestEverySegmentHasACoefficientOfItsOwn(t *testing.T) {
	statements := of(1, 3, 20, 1)
	first := true
	seen := map[fr.Element]bool{}
	b := newBatch(statements)
	for range 2 {
		for _, s := range statements {
			for i := range s.segments {
				r := s.segments[i].r
				if bits := r.Bits(); first != r.IsOne() || bits[2] != 0 || bits[3] != 0 || !first && bits[1] == 0 {
					t.Errorf("the coefficient %s", r.String())
				}
				if !first && seen[r] {
					t.Errorf("the coefficient %s twice", r.String())
				}
				seen[r], first = true, false
			}
		}
		again := newBatch(statements)
		if b.t.Cmp(&again.t) == 0 || b.t.BitLen() < 64 || b.t.Cmp(new(big.Int).Lsh(big.NewInt(1), 128)) >= 0 {
			t.Errorf("the other equation's coefficient %s", &b.t)
		}
		first = true
	}
}

func TestBatchesCountSegments(t *testing.T) {
	sizes := func(statements ...*statement) (out [][]int) {
		for _, b := range batches(statements) {
			var size []int
			for _, s := range b {
				if s.program != b[0].program {
					t.Error("a batch of two programs")
				}
				size = append(size, len(s.segments))
			}
			out = append(out, size)
		}
		return out
	}
	for _, c := range []struct {
		in   []*statement
		want [][]int
	}{
		{nil, nil},
		{of(1, 1, 2, 3), [][]int{{1, 2, 3}}},
		{of(1, 32, 32, 1), [][]int{{32, 32}, {1}}},
		{of(1, 32, 33, 31), [][]int{{32}, {33, 31}}},
		{of(1, 288, 1, 288), [][]int{{288}, {1}, {288}}},
		{append(of(1, 60), nil, of(2, 60)[0], of(1, 4)[0], of(2, 5)[0]), [][]int{{60, 4}, {60}, {5}}},
		{of(1, slices.Repeat([]int{1}, 2*maxBatch)...), [][]int{slices.Repeat([]int{1}, maxBatch), slices.Repeat([]int{1}, maxBatch)}},
	} {
		if got := sizes(c.in...); !slices.EqualFunc(got, c.want, slices.Equal) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}
