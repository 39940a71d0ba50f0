package client

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"cratelog/index"
	"cratelog/internal/testlog"
)

// TestPagesOfFilesShowWhatAllOfTheMapDoes: whatever prefix is asked for, rows and proof are those of the whole map,
// or several pages have them.
func TestPagesOfFilesShowWhatAllOfTheMapDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	key := func() (k index.Key) {
		for i := range k {
			k[i] = byte(random.IntN(2)) * 0x81 // long shared prefixes
		}
		return k
	}
	for _, n := range []int{0, 1, 2, 3, 17, 300} {
		var m index.Map
		for range n {
			m.Insert(key(), []byte{1})
		}
		s := m.Snapshot()
		var all []index.Prefix
		pages := map[index.Prefix]*Page{}
		var walk func(index.Prefix)
		walk = func(p index.Prefix) {
			rows := slices.Collect(s.Rows(p))
			if len(rows) > 3 {
				zero, one, _ := p.Halves()
				walk(zero)
				walk(one)
			} else if len(rows) > 0 || n == 0 {
				_, proof := s.Prefix(p)
				all, pages[p] = append(all, p), &Page{Rows: rows, Proof: proof}
			}
		}
		walk(index.Prefix{})
		several := 0
		for range 500 {
			k := key()
			under, err := index.NewPrefix(k, random.IntN(8*index.KeySize+1))
			if random.IntN(2) == 0 {
				under, err = index.NewPrefix(k, random.IntN(12))
			}
			if err != nil {
				t.Fatal(err)
			}
			rows := slices.Collect(s.Rows(under))
			of, err := pageFor(all, under)
			if errors.Is(err, ErrManyRows) && len(rows) > 1 {
				several++
				continue
			}
			if err != nil {
				t.Fatalf("%d keys: %d bits with %d rows: %v", n, under.Bits(), len(rows), err)
			}
			p := &Page{Rows: slices.Clone(pages[of].Rows), Proof: slices.Clone(pages[of].Proof)}
			p.Narrow(under)
			_, proof := s.Prefix(under)
			if len(p.Rows) != len(rows) || !bytes.Equal(p.Proof, proof) {
				t.Fatalf("%d keys: %d bits: %d rows of %d, another proof: %t", n, under.Bits(), len(p.Rows), len(rows),
					!bytes.Equal(p.Proof, proof))
			}
			if err := index.VerifyPrefix(s.Root(), under, p.Rows, p.Proof); err != nil {
				t.Fatal(err)
			}
		}
		if n == 300 && several == 0 {
			t.Error("nothing takes several pages")
		}
	}
	for _, list := range []string{"", PagesLabel, PagesLabel + "8/0", PagesLabel + "x\n", "x\n8/00\n", PagesLabel + "8/00\n\n"} {
		if all, err := listedPages([]byte(list)); !errors.Is(err, errNoPages) {
			t.Errorf("%q is the list %v", list, all)
		}
	}
	twice, _ := index.NewPrefix(index.Key{0x80}, 8)
	for _, all := range [][]index.Prefix{{twice, twice}, {twice, twice, {}}} {
		if p, err := pageFor(all, index.NamePrefix("default", "a")); err == nil && p.Bits() != 0 {
			t.Errorf("of a list that names a page twice %v is taken", p.Bits())
		}
	}
}

// TestAListOfPagesThatRepeatsOneIsRefused: no two pages are of one prefix, be it a whole key.
func TestAListOfPagesThatRepeatsOneIsRefused(t *testing.T) {
	for _, bits := range []int{0, 1, 8, 9, 264, 775, 776} {
		p := testlog.Must(index.NewPrefix(index.Key{1, 2, 3}, bits))
		all := []index.Prefix{p, p}
		beside := testlog.Must(index.NewPrefix(index.Key{1, 2, 3, 96: 1}, 776))
		for _, under := range []index.Prefix{index.NamePrefix("default", "a"), beside} {
			if got, err := pageFor(all, under); err == nil {
				t.Errorf("of %d bits: %d bits", bits, got.Bits())
			}
		}
	}
}
