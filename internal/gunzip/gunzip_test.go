package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// most bounds what a test inflates of a stream.
const most = 4 << 20

// ours inflates a stream, as far as it goes, and returns where it ends. f may have inflated others before.
func ours(f *inflater, stream []byte) (out []byte, used int, err error) {
	f.reset(stream)
	for err == nil && len(out) < most {
		err = f.step()
		out = append(out, f.ready...)
	}
	return out, f.pos, err
}

func library(stream []byte) (out []byte, used int, err error) {
	r := bytes.NewReader(stream)
	out, err = io.ReadAll(io.LimitReader(flate.NewReader(r), most))
	if err == nil {
		err = io.EOF
	}
	return out, len(stream) - r.Len(), err
}

// agree fails unless both take a stream for one, yield the same bytes, and end at the same place, or neither does.
func agree(t *testing.T, f *inflater, stream []byte) (valid bool) {
	t.Helper()
	got, used, err := ours(f, stream)
	want, wantUsed, wantErr := library(stream)
	if len(want) >= most {
		if !bytes.Equal(got[:most], want[:most]) {
			t.Fatalf("the bytes differ: %s", brief(stream))
		}
		return true
	}
	if (err == io.EOF) != (wantErr == io.EOF) {
		t.Fatalf("%v, and of the library %v: %s", err, wantErr, brief(stream))
	}
	if err == io.EOF && (!bytes.Equal(got, want) || used != wantUsed) {
		t.Fatalf("%d bytes of %d, and of the library %d of %d, or they differ: %s", len(got), used, len(want), wantUsed,
			brief(stream))
	}
	if !bytes.HasPrefix(got, want) { // behind the end zeros are read, so that there may be more
		t.Fatalf("the bytes before %v differ: %s", err, brief(stream))
	}
	return err == io.EOF
}

func brief(b []byte) string { return fmt.Sprintf("%d bytes, %x", len(b), b[:min(len(b), 200)]) }

func deflate(t testing.TB, level int, data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// texts are of all sorts, and of sizes around those of the window and of what is inflated at a time.
func texts(random *rand.Rand) [][]byte {
	var out [][]byte
	for _, n := range []int{0, 1, 7, 8, 9, 257, 258, 259, 5000, window - 1, window, window + 1, 2*window - 1, 2 * window, 2*window + 1,
		3*window + 5, 300_000} {
		same, noise, words, far := make([]byte, n), make([]byte, n), make([]byte, 0, n+20), make([]byte, n)
		for i := range n {
			noise[i] = byte(random.Uint32())
			far[i] = byte(random.Uint32N(4)) + 'a'
			if i >= window && random.Uint32N(1000) > 0 {
				far[i] = far[i-window]
			}
		}
		for len(words) < n {
			words = fmt.Appendf(words, "%s(%d)%s", strings.Repeat("ab", random.IntN(9)), random.IntN(1000), "fn let mut;\n"[random.IntN(12):])
		}
		out = append(out, same, noise, words[:n], far)
	}
	return out
}

func TestWhatTheLibraryDeflatesIsInflated(t *testing.T) {
	f, random := new(inflater), rand.New(rand.NewPCG(1, 2))
	for _, text := range texts(random) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 5, 6, 9} {
			stream := deflate(t, level, text)
			got, used, err := ours(f, append(stream, "more"...))
			if err != io.EOF || !bytes.Equal(got, text) || used != len(stream) {
				t.Fatalf("level %d, %d bytes: %d bytes of %d, %v", level, len(text), len(got), used, err)
			}
		}
	}
}

// TestSpoiledStreamsAreRefusedAsByTheLibrary: cut off at any place, with any bit wrong, and many at once.
func TestSpoiledStreamsAreRefusedAsByTheLibrary(t *testing.T) {
	f, random := new(inflater), rand.New(rand.NewPCG(3, 4))
	for _, text := range texts(random) {
		few := 50_000 / (len(text) + 100)
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6} {
			stream := deflate(t, level, text)
			for n := range min(len(stream), 1+few) {
				agree(t, f, stream[:n])
				agree(t, f, stream[:len(stream)-n])
			}
			for i := range 8 * min(len(stream), 1+few/4) {
				spoiled := bytes.Clone(stream)
				spoiled[i/8] ^= 1 << (i % 8)
				agree(t, f, spoiled)
			}
			for range 1 + few/4 {
				spoiled := bytes.Clone(stream)
				for range 1 + random.IntN(4) {
					spoiled[random.IntN(len(spoiled))] = byte(random.Uint32())
				}
				agree(t, f, spoiled)
			}
		}
	}
}

// bitWriter packs as SPEC 3.1.1 says.
type bitWriter struct {
	out  []byte
	bits uint64
	have uint
}

func (w *bitWriter) write(v uint64, n uint) {
	w.bits |= v << w.have
	for w.have += n; w.have >= 8; w.have -= 8 {
		w.out = append(w.out, byte(w.bits))
		w.bits >>= 8
	}
}

func (w *bitWriter) code(lengths []uint8, symbol int) {
	code, n := 0, lengths[symbol]
	for s, l := range lengths { // canonical: how many codes of the same or fewer bits stand before
		if l > 0 && (l < n || l == n && s < symbol) {
			code += 1 << (n - l)
		}
	}
	w.write(uint64(reverse(code, uint(n))), uint(n))
}

func (w *bitWriter) end() []byte {
	w.write(0, 7)
	return w.out
}

// randomLengths are of a complete code of some of n symbols.
func randomLengths(random *rand.Rand, n int) []uint8 {
	leaves := []uint8{1, 1}
	for want := 2 + random.IntN(n-1); len(leaves) < want; {
		i := random.IntN(len(leaves))
		if random.IntN(2) == 0 { // long codes
			i = len(leaves) - 1
		}
		if leaves[i] == maxBits {
			if i = random.IntN(len(leaves)); leaves[i] == maxBits {
				continue
			}
		}
		leaves[i]++
		leaves = append(leaves, leaves[i])
	}
	out := make([]uint8, n)
	for i, at := range random.Perm(n)[:len(leaves)] {
		out[at] = leaves[i]
	}
	return out
}

// randomBlock is a block with codes such as no program makes, and random symbols.
func randomBlock(random *rand.Rand, w *bitWriter, last bool) {
	lit := randomLengths(random, maxLit)
	dist := randomLengths(random, maxDist)
	switch random.IntN(12) {
	case 0:
		clear(dist)
	case 1:
		clear(dist)
		dist[random.IntN(maxDist)] = 1
	case 2:
		lit[random.IntN(maxLit)] = uint8(random.IntN(maxBits + 1)) // mostly too many, or too few
	}
	if lit[endOfBlock] == 0 && random.IntN(8) > 0 {
		for i, n := range lit {
			if n > 0 {
				lit[i], lit[endOfBlock] = 0, n
				break
			}
		}
	}
	final := uint64(0)
	if last {
		final = 1
	}
	w.write(final|2<<1, 3)
	w.write(maxLit-257, 5)
	w.write(maxDist-1, 5)
	w.write(numLengths-4, 4)
	lengths := make([]uint8, numLengths)
	for i := range lengths {
		lengths[i] = 4
		if i >= 13 {
			lengths[i] = 5
		}
	}
	for _, i := range lengthOrder {
		w.write(uint64(lengths[i]), 3)
	}
	for _, n := range append(bytes.Clone(lit), dist...) {
		w.code(lengths, int(n))
	}
	extra := func(n uint8) { w.write(random.Uint64()&(1<<n-1), uint(n)) }
	for range random.IntN(3000) {
		symbol := random.IntN(maxLit)
		if lit[symbol] == 0 || symbol == endOfBlock {
			continue
		}
		w.code(lit, symbol)
		if symbol < endOfBlock {
			continue
		}
		extra(lengthExtra[symbol-endOfBlock-1])
		d := random.IntN(maxDist)
		for try := 0; dist[d] == 0 && try < 20; try++ {
			d = random.IntN(maxDist)
		}
		if random.IntN(50) > 0 { // near, or it is mostly too far
			for near := 0; near < maxDist; near++ {
				if dist[near] > 0 {
					d = near
					break
				}
			}
		}
		if dist[d] > 0 {
			w.code(dist, d)
		}
		extra(uint8(max(d/2-1, 0)))
	}
	if lit[endOfBlock] > 0 {
		w.code(lit, endOfBlock)
	}
}

func TestCodesOfAnyShapeAreReadAsByTheLibrary(t *testing.T) {
	f, random := new(inflater), rand.New(rand.NewPCG(5, 6))
	valid := 0
	for range 1000 {
		w := new(bitWriter)
		blocks := 1 + random.IntN(4)
		for i := range blocks {
			randomBlock(random, w, i == blocks-1)
		}
		if agree(t, f, w.end()) {
			valid++
		}
	}
	if valid < 100 {
		t.Errorf("only %d of the streams are valid", valid)
	}
}

// TestStreamsOfTheSpecsEdges: each is one that some program took for what it is not.
func TestStreamsOfTheSpecsEdges(t *testing.T) {
	f := new(inflater)
	for name, c := range map[string]struct {
		hex   string
		valid bool
	}{
		"nothing":                         {"", false},
		"a reserved kind of block":        {"07", false},
		"an empty fixed block":            {"0300", true},
		"an empty stored block":           {"010000ffff", true},
		"a stored block's wrong size":     {"010100ffff00", false},
		"a stored block that is cut off":  {"010500faff6162", false},
		"length symbol 286":               {"1bf3", false},
		"a distance before the beginning": {"030200", false},
	} {
		stream := unhex(t, c.hex)
		if valid := agree(t, f, stream); valid != c.valid {
			t.Errorf("%s: valid is %v", name, valid)
		}
	}
}

func unhex(t *testing.T, text string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(text+" ", "%x", &b); err != nil && text != "" {
		t.Fatal(err)
	}
	return b
}

func FuzzInflateAgreesWithTheLibrary(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
		f.Add(deflate(f, level, []byte("a text, and a text, and another text; aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")))
	}
	for range 8 {
		w := new(bitWriter)
		randomBlock(random, w, true)
		f.Add(w.end())
	}
	f.Fuzz(func(t *testing.T, stream []byte) { agree(t, new(inflater), stream) })
}

// TestMembersAreReadAsByTheLibrary: header and trailer, whole, spoiled and cut off.
func TestMembersAreReadAsByTheLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	r := new(Reader)
	for _, text := range texts(random) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Name, w.Comment, w.Extra = "a.crate", "words", []byte{1, 2}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		all := [][]byte{whole, append(bytes.Clone(whole), "behind it"...)}
		for n := range min(40, 1+100_000/(len(text)+1)) {
			all = append(all, whole[:max(0, len(whole)-n)], whole[:min(n, len(whole))])
			for _, at := range []int{n, len(whole) - 1 - n} {
				if at >= 0 && at < len(whole) {
					spoiled := bytes.Clone(whole)
					spoiled[at] ^= 1 << random.IntN(8)
					all = append(all, spoiled)
				}
			}
		}
		for _, raw := range all {
			got, left, err := member(r, raw)
			want, wantLeft, wantErr := libraryMember(raw)
			if (err == nil) != (wantErr == nil) || err == nil && (!bytes.Equal(got, want) || left != wantLeft) {
				t.Fatalf("%d bytes, %d left, %v; of the library %d, %d, %v: %s", len(got), left, err, len(want), wantLeft, wantErr,
					brief(raw))
			}
		}
	}
}

func member(r *Reader, raw []byte) (out []byte, left int, err error) {
	if err := r.Reset(raw); err != nil {
		return nil, 0, err
	}
	out, err = io.ReadAll(r)
	return out, r.Left(), err
}

func libraryMember(raw []byte) (out []byte, left int, err error) {
	in := bytes.NewReader(raw)
	r, err := gzip.NewReader(in)
	if err != nil {
		return nil, 0, err
	}
	r.Multistream(false)
	out, err = io.ReadAll(r)
	return out, in.Len(), err
}
