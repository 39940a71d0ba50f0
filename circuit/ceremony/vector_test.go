package ceremony

import (
	"math/big"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// edgeScalars are random scalars after those with which mistakes are made.
func edgeScalars(t testing.TB, n int) []fr.Element {
	t.Helper()
	var out []fr.Element
	add := func(b *big.Int) {
		var e fr.Element
		out = append(out, *e.SetBigInt(b))
	}
	for _, b := range []*big.Int{glvMu, psiMu, bnX, new(big.Int).Sub(fr.Modulus(), glvMu), new(big.Int).Rsh(fr.Modulus(), 1)} {
		add(b)
		add(new(big.Int).Add(b, big.NewInt(1)))
	}
	for i := range int64(40) {
		add(big.NewInt(i))
		add(big.NewInt(-i))
		add(new(big.Int).Lsh(big.NewInt(1), uint(6*i)))
		add(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(6*i)), big.NewInt(1)))
	}
	for len(out) < n {
		var e fr.Element
		_, err := e.SetRandom()
		fatalIf(t, err)
		out = append(out, e)
	}
	return out
}

func TestVectorsOfPointsAreMultipliedAsOneByOne(t *testing.T) {
	scalars := edgeScalars(t, 3*chunk/2)
	_, _, gen1, gen2 := curve.Generators()
	p1, p2 := make([]curve.G1Affine, len(scalars)), make([]curve.G2Affine, len(scalars))
	want1, want2 := make([]curve.G1Affine, len(scalars)), make([]curve.G2Affine, len(scalars))
	for i := range scalars {
		switch i % 7 {
		case 0: // infinity
		case 1:
			p1[i], p2[i] = gen1, gen2
		default:
			var b big.Int
			s := scalars[len(scalars)-1-i]
			p1[i].ScalarMultiplicationBase(s.BigInt(&b))
			p2[i].ScalarMultiplicationBase(&b)
		}
		var b big.Int
		want1[i].ScalarMultiplication(&p1[i], scalars[i].BigInt(&b))
		want2[i].ScalarMultiplication(&p2[i], &b)
	}
	scaleG1(p1, func(i int) *fr.Element { return &scalars[i] })
	scaleG2(p2, func(i int) *fr.Element { return &scalars[i] })
	for i := range scalars {
		if !p1[i].Equal(&want1[i]) || !p2[i].Equal(&want2[i]) {
			t.Fatalf("point %d times %s is wrong", i, scalars[i].String())
		}
	}
}

func TestScalarsAreSplit(t *testing.T) {
	r := fr.Modulus()
	for _, s := range edgeScalars(t, 400) {
		var k, sum, term big.Int
		s.BigInt(&k)
		for i, part := range onG2().split(&k) {
			if part.BitLen() > 68 {
				t.Fatalf("a part of %d bits", part.BitLen())
			}
			term.Set([]*big.Int{big.NewInt(1), glvMu, psiMu, new(big.Int).Mul(glvMu, psiMu)}[i])
			sum.Add(&sum, term.Mul(&term, &part))
		}
		if sum.Mod(&sum, r).Cmp(&k) != 0 {
			t.Fatalf("%v is split wrongly for G2", &k)
		}
		sum.SetInt64(0)
		for i, part := range onG1().split(&k) {
			if part.BitLen() > 130 {
				t.Fatalf("a part of %d bits", part.BitLen())
			}
			term.Set([]*big.Int{big.NewInt(1), glvMu}[i])
			sum.Add(&sum, term.Mul(&term, &part))
		}
		if sum.Mod(&sum, r).Cmp(&k) != 0 {
			t.Fatalf("%v is split wrongly for G1", &k)
		}
	}
	// The maps multiply by what the splitting takes them to.
	_, _, gen1, gen2 := curve.Generators()
	var want1 curve.G1Affine
	var image1 g1
	onG1().maps[0].apply(&image1, asG1(&gen1))
	if want1.ScalarMultiplication(&gen1, glvMu); image1 != *asG1(&want1) {
		t.Error("phi on G1 is another map")
	}
	images := []g2{*asG2(&gen2)}
	for i, mu := range []*big.Int{glvMu, psiMu, new(big.Int).Mul(glvMu, psiMu)} {
		var image g2
		onG2().maps[i].apply(&image, &images[onG2().maps[i].from])
		images = append(images, image)
		var want curve.G2Affine
		if want.ScalarMultiplication(&gen2, mu); image != *asG2(&want) {
			t.Errorf("map %d on G2 is another map", i)
		}
	}
}

// Points that meet their like or their opposite have no slope of their own.
func TestVectorsAddEqualAndOppositePoints(t *testing.T) {
	_, _, g, _ := curve.Generators()
	var minus, two curve.G1Affine
	minus.Neg(&g)
	two.Double(&g)
	var a adder[fp.Element, *fp.Element]
	got := []g1{*asG1(&g), *asG1(&g), {}, *asG1(&g), {}}
	by := []g1{*asG1(&g), *asG1(&minus), *asG1(&g), {}, {}}
	want := []g1{*asG1(&two), {}, *asG1(&g), *asG1(&g), {}}
	for i := range got {
		a.add(&got[i], &by[i])
	}
	a.flush()
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("sum %d is wrong", i)
		}
	}
}

func BenchmarkScale(b *testing.B) {
	scalars := edgeScalars(b, 4096)
	_, _, gen1, gen2 := curve.Generators()
	p1, p2 := make([]curve.G1Affine, len(scalars)), make([]curve.G2Affine, len(scalars))
	for i := range scalars {
		p1[i], p2[i] = gen1, gen2
	}
	last := func(int) *fr.Element { return &scalars[len(scalars)-1] }
	b.Run("G1", func(b *testing.B) {
		for b.Loop() {
			scaleG1(p1, last)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(p1)), "us/point")
	})
	b.Run("G2", func(b *testing.B) {
		for b.Loop() {
			scaleG2(p2, last)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(p2)), "us/point")
	})
}
