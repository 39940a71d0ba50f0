package proofcheck_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

// TestEveryByteOfAProofMatters flips each byte, and each of the entry's program.
func TestEveryByteOfAProofMatters(t *testing.T) {
	v := defaultVerifier(t)
	good, _ := proven(t, 1, 2)
	for i := range good.Proof.Parts[0] {
		e := copyOf(good)
		e.Proof.Parts[0][i] ^= 1 << (i % 8)
		if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for i := range good.Proof.Program {
		e := copyOf(good)
		e.Proof.Program[i] ^= 1 << (i % 8)
		if _, err := v.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
			t.Errorf("byte %d of the program: %v", i, err)
		}
	}
}

// TestAProofHasOneEncoding cuts the bytes of true proofs into other parts, and adds and takes away.
func TestAProofHasOneEncoding(t *testing.T) {
	v := defaultVerifier(t)
	for _, segments := range []int{1, 17, 18, 19, 36} {
		good, _ := proven(t, 1, segments)
		parts := func() [][]byte { return copyOf(good).Proof.Parts }
		all := bytes.Join(parts(), nil)
		if n := len(parts()); n != (segments+17)/18 || len(all) != segments*proofcheck.Step-32+proofcheck.EndSize {
			t.Errorf("%d segments: %d parts, %d bytes", segments, n, len(all))
		}
		p := testlog.Must(proofcheck.ParseProof(parts()))
		if len(p.Segments) != segments || !slices.EqualFunc(p.Marshal(), parts(), bytes.Equal) {
			t.Errorf("%d segments: read and written it is another proof", segments)
		}
		last := len(parts()) - 1
		edit := func(f func(p [][]byte)) [][]byte { p := parts(); f(p); return p }
		for name, bad := range map[string][][]byte{
			"no part":                nil,
			"an empty part":          {{}},
			"an empty part before":   append([][]byte{{}}, parts()...),
			"an empty part behind":   append(parts(), []byte{}),
			"the last part twice":    append(parts(), parts()[last]),
			"the first part twice":   append([][]byte{parts()[0]}, parts()...),
			"a byte behind":          edit(func(p [][]byte) { p[last] = append(p[last], 0) }),
			"a byte less":            edit(func(p [][]byte) { p[last] = p[last][:len(p[last])-1] }),
			"no end":                 edit(func(p [][]byte) { p[last] = p[last][:len(p[last])-proofcheck.EndSize] }),
			"a cut before the end":   {slices.Insert(slices.Clone(all), len(all)-proofcheck.EndSize, make([]byte, 32)...)},
			"the end twice":          edit(func(p [][]byte) { p[last] = append(p[last], p[last][len(p[last])-proofcheck.EndSize:]...) }),
			"the end alone":          {all[len(all)-proofcheck.EndSize:]},
			"a segment before":       {slices.Concat(all[:proofcheck.Step], all)},
			"cut within the segment": {all[:100], all[100:]},
			"17 parts":               slices.Concat(slices.Repeat([][]byte{make([]byte, proofcheck.PartSize)}, 16), parts()[last:]),
			"a part of each segment": slices.Collect(slices.Chunk(all, proofcheck.Step)),
			"all in one part":        {append(slices.Clone(all), make([]byte, proofcheck.PartSize)...)},
		} {
			e := copyOf(good)
			e.Proof.Parts = bad
			if slices.EqualFunc(bad, parts(), bytes.Equal) {
				continue
			}
			if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("%d segments, %s: %v", segments, name, err)
			}
		}
		if segments > 18 {
			e := copyOf(good)
			e.Proof.Parts = [][]byte{all}
			if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("%d segments in one part: %v", segments, err)
			}
			e.Proof.Parts = [][]byte{all[:proofcheck.Step], all[proofcheck.Step:]}
			if _, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("%d segments with a short first part: %v", segments, err)
			}
		}
	}
}

// TestPointsAtInfinityAndOtherEncodingsAreRefused feeds every point of a proof with
// what gnark-crypto would read without an error, and every field element with a second encoding.
func TestPointsAtInfinityAndOtherEncodingsAreRefused(t *testing.T) {
	e, _ := proven(t, 1, 2)
	good := e.Proof.Parts[0]
	for segment := range 2 {
		for i, o := range []struct{ at, size int }{{0, 32}, {32, 64}, {96, 32}, {128, 32}, {160, 32}} {
			o.at += segment * proofcheck.Step
			for name, first := range map[string]byte{"compressed infinity": 0x40, "uncompressed infinity": 0, "uncompressed": 0x20} {
				b := bytes.Clone(good)
				clear(b[o.at : o.at+o.size])
				b[o.at] = first
				if _, err := proofcheck.ParseProof([][]byte{b}); !errors.Is(err, proofcheck.ErrProof) {
					t.Errorf("segment %d, point %d: %s: %v", segment, i, name, err)
				}
			}
			b := bytes.Clone(good) // not on the curve, or not below the modulus
			copy(b[o.at:o.at+o.size], bytes.Repeat([]byte{0xff}, o.size))
			if _, err := proofcheck.ParseProof([][]byte{b}); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("segment %d, point %d: out of range: %v", segment, i, err)
			}
		}
	}
	for name, at := range map[string]int{"cut": proofcheck.SegmentSize, "sum": len(good) - 32} {
		b := bytes.Clone(good)
		plusOrder(b[at : at+32])
		if _, err := proofcheck.ParseProof([][]byte{b}); !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("a %s that is not below the field's order: %v", name, err)
		}
	}
}

// TestEndsThatNoListHasAreRefused has proofs that hold, but for their end.
func TestEndsThatNoListHasAreRefused(t *testing.T) {
	v := defaultVerifier(t)
	for _, c := range []struct {
		objects, bytes uint32
		holds          bool
	}{
		{2, 2, true}, {2, chain.MaxList, true}, {5, 5, true},
		{0, 2, false}, {1, 2, false}, {3, 2, false}, {2, chain.MaxList + 1, false}, {0, 0, false},
		{2, 1<<32 - 1, false}, {1<<32 - 1, 1<<32 - 1, false},
	} {
		e, _ := statement(1)
		fatalIf(t, defaultForger().ProveChain(e, nil, func(fr.Element) (chain.End, error) {
			return chain.End{Objects: c.objects, ListBytes: c.bytes}, nil
		}))
		if _, err := v.Chain(e); (err == nil) != c.holds || err != nil && !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("%d objects, %d bytes: %v", c.objects, c.bytes, err)
		}
	}
}

func TestParseProofSaysWhereAProofIsWrong(t *testing.T) {
	e, _ := proven(t, 1, 19)
	for want, change := range map[string]func(p [][]byte){
		"proof does not hold: part 1 has 4031 bytes instead of 4032":                            func(p [][]byte) { p[0] = p[0][1:] },
		"proof does not hold: part 2 has 233 bytes, which is no number of segments":             func(p [][]byte) { p[1] = append(p[1], 0) },
		"proof does not hold: segment 2: point 2 is malformed":                                  func(p [][]byte) { p[0][proofcheck.Step+40] ^= 1 },
		"proof does not hold: segment 18: the cut behind it is not a field element":             func(p [][]byte) { p[0][17*proofcheck.Step+192] = 0xff },
		"proof does not hold: the sum of the list is not a field element":                       func(p [][]byte) { p[1][200] = 0xff },
		fmt.Sprintf("proof does not hold: no list of %d bytes tells 1 objects", len(listOf(1))): func(p [][]byte) { binary.BigEndian.PutUint32(p[1][192:], 1) },
	} {
		c := copyOf(e)
		change(c.Proof.Parts)
		if _, err := proofcheck.ParseProof(c.Proof.Parts); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := proofcheck.ParseProof(nil); err == nil || err.Error() != "proof does not hold: it has 0 parts, and must have 1 to 16" {
		t.Error(err)
	}
}

// FuzzParseProof splits its input into parts of a size.
func FuzzParseProof(f *testing.F) {
	for _, segments := range []int{1, 2, 18, 19} {
		e, _ := proven(f, 1, segments)
		f.Add(bytes.Join(e.Proof.Parts, nil), uint16(proofcheck.PartSize))
		f.Add(bytes.Join(e.Proof.Parts, nil), uint16(5000))
	}
	f.Add(make([]byte, 232), uint16(232))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		parts := slices.Collect(slices.Chunk(b, max(1, int(size))))
		p, err := proofcheck.ParseProof(parts)
		switch {
		case err != nil && !errors.Is(err, proofcheck.ErrProof):
			t.Fatalf("another error: %v", err)
		case err == nil && !slices.EqualFunc(p.Marshal(), parts, bytes.Equal):
			t.Fatal("a proof has two encodings")
		case err == nil && (len(p.Segments) < 1 || len(p.Segments) > proofcheck.MaxSegments || len(p.Cuts) != len(p.Segments)-1):
			t.Fatalf("%d segments, %d cuts", len(p.Segments), len(p.Cuts))
		}
	})
}
