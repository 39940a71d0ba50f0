package evidence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// TestHonestLogsAreNeverConvicted tries to accuse honest logs: with any two of their notes, by
// the constructors and by hand, with every proof that can be had and many that cannot.
func TestHonestLogsAreNeverConvicted(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 4 {
		n := int64(2 + rnd.IntN(30))
		h := newTree(words(int(n), fmt.Sprint("honest ", round))...)
		liar := h.with(rnd.Int64N(n), []byte("lie"))
		notes := make([][]byte, n+1)
		for size := range n + 1 {
			notes[size] = h.note(size, w.log, w.w1)
		}
		for range 60 {
			a, b := rnd.Int64N(n+1), rnd.Int64N(n+1)
			for _, tr := range []tlog.HashReader{h, liar, nil} {
				if e, err := NewFork(notes[a], notes[b], tr, meta); !errors.Is(err, ErrNotProven) {
					t.Fatalf("sizes %d and %d: %v %v", a, b, e, err)
				}
				if e, err := NewCosignerFork(w.w1.VKey, notes[a], notes[b], tr, meta); !errors.Is(err, ErrNotProven) {
					t.Fatalf("sizes %d and %d: %v %v", a, b, e, err)
				}
			}
			a, b = min(a, b), max(a, b)
			for kind, e := range map[Kind]*Evidence{ForkPrefix: {}, ForkSameSize: {}, CosignerFork: {Witness: w.w1.String()}} {
				e.Kind, e.Observed, e.Notes = kind, meta.Observed, [][]byte{notes[a], notes[b]}
				for range 6 {
					e.Root, e.Hashes = invented(rnd, a, b, h, liar)
					if c, err := Verify(e, w.keys, nil); err == nil {
						t.Fatalf("sizes %d and %d: %+v", a, b, c)
					}
				}
			}
		}
		if _, err := NewEntryRootMismatch(notes[n], Compress(leafHashes(h.Leaves)), meta); !errors.Is(err, ErrNotProven) {
			t.Fatal(err)
		}
	}
}

// invented is a root and a proof that an attacker might try.
func invented(rnd *rand.Rand, a, b int64, trees ...tree) (*tlog.Hash, []tlog.Hash) {
	of := func() tree { return trees[rnd.IntN(len(trees))] }
	root := of().Root(a)
	var proof []tlog.Hash = of().Consistency(a, b)
	switch rnd.IntN(6) {
	case 0:
		root = tlog.Hash{byte(rnd.Int())}
	case 1:
		proof = append(proof, tlog.Hash{})
	case 2:
		if len(proof) > 0 {
			proof[rnd.IntN(len(proof))][rnd.IntN(32)] ^= 1
		}
	case 3:
		slices.Reverse(proof)
	}
	return &root, proof
}

// TestForksOfRandomLogsAreConvicted: wherever the lie is, and whatever the sizes.
func TestForksOfRandomLogsAreConvicted(t *testing.T) {
	w := newWorld(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	for round := range 150 {
		n := int64(2 + rnd.IntN(60))
		h := newTree(words(int(n), fmt.Sprint("honest ", round))...)
		at := rnd.Int64N(n)
		liar := h.with(at, []byte("lie"))
		a, b := at+1+rnd.Int64N(n-at), at+1+rnd.Int64N(n-at) // both hold the lie's place
		larger := liar
		if a > b {
			larger = h
		}
		e := testlog.Must(NewFork(h.note(a, w.log), liar.note(b, w.log), larger, meta))
		if c, err := Verify(e, w.keys, nil); err != nil || c.Who != "log "+origin {
			t.Fatalf("sizes %d and %d, lie at %d: %v %v", a, b, at, c, err)
		}
	}
}

// TestRootsAreThoseOfRFC6962 compares with another implementation.
func TestRootsAreThoseOfRFC6962(t *testing.T) {
	leaves := words(1300, "")
	tr := newTree(leaves...)
	hashes := leafHashes(leaves)
	for n := range int64(1300) {
		if n > 300 && n%7 != 0 && n%256 > 2 && n%256 < 254 {
			continue
		}
		if got := rootOf(Compress(hashes[:n]), n); got != tr.Root(n) {
			t.Fatalf("%d leaves", n)
		}
	}
}

func TestAFileIsWrittenOnceAndWhole(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	e := w.evidence()[0].e
	paths := make([]string, 8)
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() {
			p, err := Write(dir, e)
			if err != nil {
				t.Error(err)
			}
			paths[i] = p
		})
	}
	wg.Wait()
	files := testlog.Must(os.ReadDir(dir))
	b := testlog.Must(e.Marshal())
	if len(files) != 1 || files[0].Name() != Name(b) || paths[0] != filepath.Join(dir, Name(b)) {
		t.Errorf("%v in %v", paths, files)
	}
	again := testlog.Must(Read(paths[0]))
	if x, err := again.Marshal(); err != nil || string(x) != string(b) {
		t.Error("what was read is not what was written")
	}
	fatalIf(t, os.WriteFile(paths[0], []byte("x"), 0o644))
	if _, err := Write(dir, e); err == nil {
		t.Error("a damaged file was taken for the evidence")
	}
	if _, err := Read(paths[0]); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, err := Write(filepath.Join(dir, "none"), e); err == nil {
		t.Error("written nowhere")
	}
	if _, err := Write(dir, new(Evidence)); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	e = w.evidence()[1].e
	e.Hashes[0][0] ^= 1
	if _, err := Write(dir, e); !errors.Is(err, ErrNotProven) {
		t.Error("a proof that fails was written down as evidence")
	}
}

func TestSizesAreBoundedBeforeTheyAreBelieved(t *testing.T) {
	for name, text := range map[string]string{
		"a long file":    header + string(make([]byte, MaxSize)),
		"a long note":    header + "note 9000000000\nx",
		"a large number": header + "note 99999999999999999999\n",
		"a signed one":   header + "note +1\n\n",
		"a padded one":   header + "note 01\n\n",
		"a note cut off": header + "note 5\nabc",
		"no last LF":     header + "kind stale",
		"no header":      "",
		"a path alone":   header + "path AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
		"unknown":        header + "extra x\n",
		"three notes":    header + "note 1\n\nnote 1\n\nnote 1\n\n",
		"three entries":  header + "entry 1 \nentry 2 \nentry 3 \n",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnEvidenceFileThatGitAlteredIsToldToBeOne(t *testing.T) {
	_, err := Parse([]byte(strings.ReplaceAll(header+"kind stale\n", "\n", "\r\n")))
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "its line endings are CRLF") {
		t.Error(err)
	}
}

// TestPartsAreCountedWhileTheyAreRead: a file of many parts is refused at the first that is
// too much, not when all are in memory.
func TestPartsAreCountedWhileTheyAreRead(t *testing.T) {
	for _, part := range []string{"entry 0 \n", "note 0\n", "source x\n"} {
		_, err := Parse([]byte(header + strings.Repeat(part, 100) + "no part\n"))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "more than 8 sources, 2 notes or 2 entries") {
			t.Errorf("%q: %v", part, err)
		}
	}
}

// FuzzParse: what is parsed is written again byte by byte, and nothing panics on it.
func FuzzParse(f *testing.F) {
	files := testlog.Must(filepath.Glob("testdata/*.evidence"))
	if len(files) == 0 {
		f.Fatal("there are no golden files to start from")
	}
	for _, name := range files {
		b := testlog.Must(os.ReadFile(name))
		f.Add(b)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := e.Marshal()
		if err != nil || string(again) != string(b) {
			t.Fatalf("parsed, but not written again: %v", err)
		}
		if _, err := e.Key(); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(e, w.keys, nil); err != nil && !isOurs(err) {
			t.Fatal(err)
		}
	})
}
