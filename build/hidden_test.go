package build

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"unicode"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// number is a field element, or another 256-bit number.
func number(n int64) (b [32]byte) {
	big.NewInt(n).FillBytes(b[:])
	return b
}

// order is r, the field's order, plus n.
func order(n int64) (b [32]byte) {
	x := fr.Modulus()
	x.Add(x, big.NewInt(n)).FillBytes(b[:])
	return b
}

func secretOf(t testing.TB, n int64) Secret {
	t.Helper()
	s, err := ParseSecret(number(n))
	fatalIf(t, err)
	return s
}

// slowTree is the standard's tree: all leaves, all levels, none left out.
func slowTree(t *testing.T, leaves [][32]byte) (nodes [][]fr.Element) {
	level := make([]fr.Element, 1<<Depth)
	for i, b := range leaves {
		fatalIf(t, level[i].SetBytesCanonical(b[:]))
	}
	nodes = append(nodes, level)
	for len(level) > 1 {
		next := make([]fr.Element, len(level)/2)
		for i := range next {
			out, err := permutation().Compress(level[2*i].Marshal(), level[2*i+1].Marshal()) // gnark-crypto's own
			fatalIf(t, err)
			fatalIf(t, next[i].SetBytesCanonical(out))
		}
		level = next
		nodes = append(nodes, level)
	}
	return nodes
}

// The values of a ceremony's program: with others no proof holds any more.
func TestHiddenVectors(t *testing.T) {
	s := secretOf(t, 1)
	root, err := HiddenRoot([][32]byte{s.Public(), {}, secretOf(t, 2).Public()})
	fatalIf(t, err)
	empty, err := HiddenRoot(nil)
	fatalIf(t, err)
	for _, v := range []struct {
		name, want string
		got        [32]byte
	}{
		{"public", "0099f7252c6db2a3956c5e7673ed151dc30b6276c0360bedb2451955623bf483", s.Public()},
		{"tag", "1be36f6ebef3d77e49b8cc9b5831218c7b304dd8605f747fb85b2bb74aec507e", s.Tag(number(3))},
		{"share", "113c11db6d1f5ff74a147e38d0a5612a15ec6a382e6a1d1e0f9d8647256d5807", s.Share(number(3), number(4))},
		{"root", "085d5e326bf88885d6584af2c8c29133f2d04baea892918b36bed80ba5bfb0ff", root},
		{"empty root", "22679577038fba0bea9fa1fb4657883aed7f98568a6ce3066efb039f80bd6af1", empty},
	} {
		if hex.EncodeToString(v.got[:]) != v.want {
			t.Errorf("%s is %x", v.name, v.got)
		}
	}
}

func TestSecretsAreFieldElementsAndNotZero(t *testing.T) {
	for _, b := range [][32]byte{{}, order(0), order(1), {0: 0xff}} {
		if s, err := ParseSecret(b); err == nil || s != (Secret{}) {
			t.Errorf("%x is a secret", b)
		}
	}
	for _, b := range [][32]byte{number(1), order(-1)} {
		if s, err := ParseSecret(b); err != nil || s.Bytes() != b {
			t.Errorf("%x is none, or another (%v)", b, err)
		}
	}
	a, err := NewSecret()
	fatalIf(t, err)
	b, err := NewSecret()
	fatalIf(t, err)
	if a == b || a.Public() == b.Public() {
		t.Error("two secrets are the same")
	}
}

// TestASecretPrintsAsNothing whatever the verb: of d, the field's words are the secret too.
func TestASecretPrintsAsNothing(t *testing.T) {
	s := secretOf(t, 12345)
	const want = "(a builder's secret)"
	for verb := 'A'; verb <= 'z'; verb++ {
		for _, flags := range []string{"%", "%+", "%#", "%020", "%.3"} {
			format := flags + string(verb)
			if verb == 'T' || verb == 'p' || verb == 'w' || !unicode.IsLetter(verb) {
				continue // of the type, of a pointer, and of errors, which vet refuses
			}
			for _, text := range []string{fmt.Sprintf(format, s), fmt.Sprintf(format, &s),
				fmt.Sprintf(format, struct{ S Secret }{s}), fmt.Sprintf(format, []Secret{s})} {
				if !strings.Contains(text, want) || strings.Contains(text, "12345") ||
					strings.Contains(text, fmt.Sprint(s.x[0])) || strings.Contains(text, fmt.Sprintf("%x", s.x[0])) {
					t.Errorf("%s prints a secret as %s", format, text)
				}
			}
		}
	}
	if text := fmt.Sprint(s); text != want {
		t.Errorf("a secret prints as %s", text)
	}
}

func TestTagsTellRequestsAndMembersApart(t *testing.T) {
	seen := map[[32]byte]string{}
	for s := range int64(3) {
		for r := range int64(3) {
			name := fmt.Sprint(s, r)
			for _, v := range [][32]byte{secretOf(t, s+1).Tag(number(r)), secretOf(t, s+1).Share(number(r), number(1)),
				secretOf(t, s+1).Share(number(r), number(2))} {
				if other, twice := seen[v]; twice {
					t.Errorf("%s and %s share a value", other, name)
				}
				seen[v] = name
			}
		}
	}
}

func TestWhoContradictsHimselfIsNamed(t *testing.T) {
	s := secretOf(t, 77)
	x1, x2 := number(5), order(-1)
	got, err := Unmask(x1, s.Share(number(9), x1), x2, s.Share(number(9), x2))
	if err != nil || got != s.Public() {
		t.Fatalf("%x, %v", got, err)
	}
	// Of two requests, or two members, it names nobody.
	for _, other := range [][32]byte{s.Share(number(10), x2), secretOf(t, 78).Share(number(9), x2)} {
		if got, err := Unmask(x1, s.Share(number(9), x1), x2, other); err != nil || got == s.Public() {
			t.Errorf("%x, %v", got, err)
		}
	}
	y := s.Share(number(9), x1)
	for name, in := range map[string][4][32]byte{
		"both results are the same": {x1, y, x1, y},
		"a result is zero":          {{}, y, x1, y},
		"not below":                 {order(5), y, x2, y},
		"a result or share":         {x1, order(0), x2, y},
	} {
		if _, err := Unmask(in[0], in[1], in[2], in[3]); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Unmask(x1, y, number(0), y); err == nil {
		t.Error("the second result may be zero")
	}
}

func TestWhatIsNoFieldElementIsNeverReduced(t *testing.T) {
	s := secretOf(t, 1)
	for name, f := range map[string]func(){
		"tag":          func() { s.Tag(order(1)) },
		"share":        func() { s.Share(order(1), number(1)) },
		"share's own":  func() { s.Share(number(1), order(1)) },
		"result zero":  func() { s.Share(number(1), number(0)) },
		"tag, maximal": func() { s.Tag([32]byte{0: 0xff}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was computed", name)
				}
			}()
			f()
		}()
	}
}

func TestHiddenTreesAreTheStandardsTree(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 5, 64, 1<<Depth - 1, 1 << Depth} {
		leaves := make([][32]byte, n)
		for i := range leaves {
			if i%7 != 3 {
				leaves[i] = number(int64(i) + 1)
			}
		}
		nodes := slowTree(t, leaves)
		want := hash(DomainRoot, fr.NewElement(Depth), nodes[Depth][0])
		if root, err := HiddenRoot(leaves); err != nil || root != want.Bytes() {
			t.Errorf("%d leaves: root %x, %v", n, root, err)
		}
		for _, i := range []int{0, 1, 2, n / 2, n - 1} {
			path, err := HiddenPath(leaves, i)
			if i < 0 || i >= n || i%7 == 3 {
				if err == nil {
					t.Errorf("%d leaves: a path for leaf %d", n, i)
				}
				continue
			}
			fatalIf(t, err)
			at, bit := nodes[0][i], i
			for l := range path {
				side := mustElement("path", path[l])
				if bit&1 == 1 {
					at = compress(side, at)
				} else {
					at = compress(at, side)
				}
				bit >>= 1
			}
			if at != nodes[Depth][0] {
				t.Errorf("%d leaves: the path of leaf %d leads elsewhere", n, i)
			}
		}
	}
}

func TestSetsAreRefused(t *testing.T) {
	for want, leaves := range map[string][][32]byte{
		"leaves 0 and 2 of the set are the same": {number(1), {}, number(1)},
		"leaf 1 of the set is not below":         {number(1), order(0)},
		"1025 leaves, and at most 1024":          make([][32]byte, 1<<Depth+1),
	} {
		if _, err := HiddenRoot(leaves); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if _, err := HiddenPath(leaves, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// A tree of another depth is never the same root: neither by its top, nor as a node of ours.
func TestARootIsOfOneDepth(t *testing.T) {
	leaves := [][32]byte{number(1), number(2)}
	levels, err := tree(leaves)
	fatalIf(t, err)
	root, err := HiddenRoot(leaves)
	fatalIf(t, err)
	top := levels[Depth][0]
	for depth := range uint64(2 * Depth) {
		other := hash(DomainRoot, fr.NewElement(depth), top)
		if (other.Bytes() == root) != (depth == Depth) {
			t.Errorf("depth %d", depth)
		}
	}
	if top.Bytes() == root {
		t.Error("the root is the top of the tree")
	}
	// The leaves of a tree one deeper, whose nodes are our leaves, have another root.
	half := compress(mustElement("leaf", leaves[0]), mustElement("leaf", leaves[1]))
	if folded, err := HiddenRoot([][32]byte{half.Bytes()}); err != nil || folded == root {
		t.Errorf("a node passes for a leaf (%v)", err)
	}
}

func TestSharePart(t *testing.T) {
	part := make([]byte, HiddenPart)
	part[31] = 7
	if share, err := SharePart([][]byte{part}); err != nil || share != number(7) {
		t.Errorf("%x, %v", share, err)
	}
	big := order(0)
	for name, parts := range map[string][][]byte{
		"none": nil, "two": {part, part}, "short": {part[1:]}, "long": {append(part, 0)},
		"not reduced": {append(big[:], part[32:]...)},
	} {
		if _, err := SharePart(parts); err == nil {
			t.Errorf("%s is believed", name)
		}
	}
}
