package proofcheck

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/internal/testlog"
)

var sourceLayout, buildLayout = claims[ClaimSource].layout, claims[ClaimBuild].layout

// shipped is the program of source claims that ships with cratelog, shippedBuild that of build claims.
func shipped(t testing.TB) Program      { return shippedFor(t, ClaimSource) }
func shippedBuild(t testing.TB) Program { return shippedFor(t, ClaimBuild) }

func shippedFor(t testing.TB, claim string) Program {
	t.Helper()
	programs := testlog.Must(Embedded())
	if len(programs) != len(claims) {
		t.Fatalf("%d programs are embedded", len(programs))
	}
	return programs[slices.IndexFunc(programs, func(p Program) bool { return p.Claim == claim })]
}

// changedKey is a shipped key after a change, as gnark writes it.
func changedKey(t testing.TB, change func(vk *groth16.VerifyingKey)) []byte {
	t.Helper()
	vk := testlog.Must(sourceLayout.readKey(shipped(t).Key))
	change(vk)
	var b bytes.Buffer
	testlog.Must(vk.WriteTo(&b))
	return b.Bytes()
}

// programOf is a program file as a ceremony would write it, but for its key.
func programOf(t testing.TB, key []byte) (Program, []byte) {
	t.Helper()
	p := shipped(t)
	p.Origin, p.Key = "ceremony:"+strings.Repeat("ab", 32), key
	return p, testlog.Must(json.Marshal(programFile{p.System, p.Claim, p.Blocks, p.Depth, p.Origin, b64(key), ""}))
}

// TestKeysThatBindNothingAreRefused has every point at infinity, and every two points of a
// group related.
func TestKeysThatBindNothingAreRefused(t *testing.T) {
	for _, p := range testlog.Must(Embedded()) {
		t.Run(p.Claim, func(t *testing.T) { pointsThatBindNothing(t, claims[p.Claim].layout, p.Key) })
	}
}

func pointsThatBindNothing(t *testing.T, l layout, good []byte) {
	refused := func(name string, key []byte, want string) {
		t.Helper()
		if _, err := l.readKey(key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word on %q", name, err, want)
		}
	}
	_, _, one, two := bn254.Generators()
	g1, g2 := one.Bytes(), two.Bytes()
	points := keyPoints(testlog.Must(l.readKey(good)))
	for i, p := range points {
		with := func(b []byte) []byte {
			key := bytes.Clone(good)
			copy(key[p.at:], b)
			return key
		}
		opposite := func(b []byte) []byte { // the other one of the two compressed encodings
			b = bytes.Clone(b)
			b[0] ^= 0x40
			return b
		}
		refused(p.name+" at infinity", with(append([]byte{0x40}, make([]byte, p.size-1)...)), p.name+" is the point at infinity")
		gen := g1[:]
		if p.size == g2Size {
			gen = g2[:]
		}
		refused(p.name+" is the opposite of the generator", with(opposite(gen)), "the generator or its opposite")
		if p.name != "gamma" && p.name != "commitment's G" {
			refused(p.name+" is the generator", with(gen), "the generator or its opposite")
		}
		for _, q := range points[:i] {
			if q.size != p.size || bytes.Equal(good[q.at:q.at+q.size], gen) {
				continue
			}
			b := good[q.at : q.at+q.size]
			refused(p.name+" = "+q.name, with(b), q.name+" or its opposite")
			refused(p.name+" = -"+q.name, with(opposite(b)), q.name+" or its opposite")
		}
	}
}

// TestCountsInAKeyDoNotMakeRoom gives each count, and what gnark would take for one after a
// point that says it is not compressed, the value that a reader who believes it dies of.
func TestCountsInAKeyDoNotMakeRoom(t *testing.T) {
	countsDoNotMakeRoom(t, sourceLayout, shipped(t).Key, 288, 452, 456, 484)
	countsDoNotMakeRoom(t, buildLayout, shippedBuild(t).Key, 288, 484, 488)
}

func countsDoNotMakeRoom(t *testing.T, l layout, good []byte, counts ...int) {
	for _, at := range counts {
		key := bytes.Clone(good)
		binary.BigEndian.PutUint32(key[at:], 1<<32-1)
		if _, err := l.readKey(key); err == nil {
			t.Errorf("the count at %d is not looked at", at)
		}
		if _, err := l.readKey(key[:at+4]); err == nil && at+4 < l.size() {
			t.Errorf("a key that ends with its count at %d is read", at)
		}
	}
	for _, p := range keyPoints(testlog.Must(l.readKey(good))) {
		key := bytes.Repeat([]byte{0xff}, l.size())
		copy(key, good[:p.at])
		clear(key[p.at:min(p.at+2*p.size, l.size())])
		if _, err := l.readKey(key); err == nil {
			t.Errorf("%s: a point that is not compressed is read", p.name)
		}
	}
}

// TestADevelopmentKeyStaysOneWhateverBytesNobodyReads changes the two points that no
// verifier uses.
func TestADevelopmentKeyStaysOneWhateverBytesNobodyReads(t *testing.T) {
	for name, change := range map[string]func(vk *groth16.VerifyingKey){
		"beta":  func(vk *groth16.VerifyingKey) { vk.G1.Beta.Double(&vk.G1.Beta) },
		"delta": func(vk *groth16.VerifyingKey) { vk.G1.Delta.Double(&vk.G1.Delta) },
	} {
		_, file := programOf(t, changedKey(t, change))
		if _, err := ParseProgram(file); err == nil || !strings.Contains(err.Error(), "ships with cratelog") {
			t.Errorf("%s in G1: %v", name, err)
		}
	}
}
