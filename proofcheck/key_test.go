package proofcheck

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/hash_to_field"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/constraint"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// changedKey is a shipped key after a change, as gnark writes it.
func changedKey(t testing.TB, change func(vk *groth16.VerifyingKey)) []byte {
	t.Helper()
	vk := testlog.Must(program64(t).verifyingKey())
	change(vk)
	var b bytes.Buffer
	testlog.Must(vk.WriteTo(&b))
	return b.Bytes()
}

// programOf is a program file as a ceremony would write it, but for its key.
func programOf(t testing.TB, key []byte) (Program, []byte) {
	t.Helper()
	p := program64(t)
	p.Origin, p.Key = "ceremony:"+strings.Repeat("ab", 32), key
	return p, testlog.Must(json.Marshal(programFile{p.System, p.Claim, p.Blocks, p.ListBytes, p.Origin, b64(key), ""}))
}

func neg1(p bn254.G1Affine) bn254.G1Affine { return *p.Neg(&p) }
func neg2(p bn254.G2Affine) bn254.G2Affine { return *p.Neg(&p) }
func sum1(p, q bn254.G1Affine) bn254.G1Affine {
	return *p.Add(&p, &q)
}
func sum2(p, q bn254.G2Affine) bn254.G2Affine {
	return *p.Add(&p, &q)
}

// TestNothingCanBeForgedWithAKeyOfRelatedPoints proves a false statement, with no secret,
// under keys in which two of beta, gamma and delta are the same but for a sign. Then it
// shows that no such key is read.
func TestNothingCanBeForgedWithAKeyOfRelatedPoints(t *testing.T) {
	seen := testlog.Must(ParseProof(fixture.Entry(t, "hello-proof-0.1.0").Proof.Parts[0]))
	type forged struct {
		a, c bn254.G1Affine
		b    bn254.G2Affine
	}
	for name, c := range map[string]struct {
		relate func(vk *groth16.VerifyingKey)
		forge  func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged
	}{
		"gamma = delta": {func(vk *groth16.VerifyingKey) { vk.G2.Gamma = vk.G2.Delta },
			func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged {
				return forged{vk.G1.Alpha, neg1(l), vk.G2.Beta}
			}},
		"gamma = -delta": {func(vk *groth16.VerifyingKey) { vk.G2.Gamma = neg2(vk.G2.Delta) },
			func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged { return forged{vk.G1.Alpha, l, vk.G2.Beta} }},
		"delta is the generator, as gamma is": {func(vk *groth16.VerifyingKey) { _, _, vk.G1.Delta, vk.G2.Delta = bn254.Generators() },
			func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged {
				return forged{vk.G1.Alpha, neg1(l), vk.G2.Beta}
			}},
		"gamma = beta": {func(vk *groth16.VerifyingKey) { vk.G2.Gamma = vk.G2.Beta },
			func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged {
				a := sum1(vk.G1.Alpha, l)
				return forged{a, a, sum2(vk.G2.Beta, vk.G2.Delta)}
			}},
		"delta = -beta": {func(vk *groth16.VerifyingKey) { vk.G2.Delta = neg2(vk.G2.Beta) },
			func(vk *groth16.VerifyingKey, l bn254.G1Affine) forged {
				return forged{l, sum1(vk.G1.Alpha, neg1(l)), sum2(vk.G2.Beta, vk.G2.Gamma)}
			}},
	} {
		t.Run(name, func(t *testing.T) {
			p, file := programOf(t, changedKey(t, c.relate))
			vk := new(groth16.VerifyingKey)
			testlog.Must(vk.ReadFrom(bytes.NewReader(p.Key)))
			claim := &entry.Source{Commit: [20]byte{0x66}, Files: [32]byte{31: 7}}
			e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "anything", Version: "1.0.0"}, Claim: claim}
			inputs := testlog.Must(publicInputs(e.Subject, claim, claim.Files))
			proof := &groth16.Proof{Commitments: seen.Commitments, CommitmentPok: seen.CommitmentPok}
			l := sum1(vk.G1.K[0], proof.Commitments[0])
			for i, x := range append(inputs, challenge(vk, proof, inputs)) {
				var term bn254.G1Affine
				l = sum1(l, *term.ScalarMultiplication(&vk.G1.K[1+i], x.BigInt(new(big.Int))))
			}
			f := c.forge(vk, l)
			proof.Ar, proof.Bs, proof.Krs = f.a, f.b, f.c
			e.Proof = entry.Proof{Program: p.ID(), Parts: [][]byte{MarshalProof(proof)}}
			unchecked := &Verifier{programs: []Program{p}, keys: map[[32]byte]*groth16.VerifyingKey{p.ID(): vk}}
			if err := holds(unchecked, e); err != nil {
				t.Fatalf("the attack does not work, so this test shows nothing: %v", err)
			}
			if _, err := ParseProgram(file); err == nil || !strings.Contains(err.Error(), "anybody may make false proofs") {
				t.Errorf("a key that anybody can forge with is read: %v", err)
			}
			if _, err := New([]Program{p}); err == nil {
				t.Error("a verifier takes a key that anybody can forge with")
			}
		})
	}
}

// TestKeysThatBindNothingAreRefused has every point at infinity, and every two points of a
// group related.
func TestKeysThatBindNothingAreRefused(t *testing.T) {
	good := program64(t).Key
	refused := func(name string, key []byte, want string) {
		t.Helper()
		if _, err := readKey(key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word on %q", name, err, want)
		}
	}
	_, _, one, two := bn254.Generators()
	g1, g2 := one.Bytes(), two.Bytes()
	points := keyPoints(testlog.Must(readKey(good)))
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
	good := program64(t).Key
	for _, at := range []int{288, 452, 456, 484} {
		key := bytes.Clone(good)
		binary.BigEndian.PutUint32(key[at:], 1<<32-1)
		if _, err := readKey(key); err == nil {
			t.Errorf("the count at %d is not looked at", at)
		}
		if _, err := readKey(key[:at+4]); err == nil {
			t.Errorf("a key that ends with its count at %d is read", at)
		}
	}
	for _, p := range keyPoints(testlog.Must(readKey(good))) {
		key := bytes.Repeat([]byte{0xff}, keySize)
		copy(key, good[:p.at])
		clear(key[p.at:min(p.at+2*p.size, keySize)])
		if _, err := readKey(key); err == nil {
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

// challenge is the value of the circuit's commitment wire, as gnark's prover and
// verifier compute it.
func challenge(vk *groth16.VerifyingKey, proof *groth16.Proof, inputs fr.Vector) (c fr.Element) {
	h := hash_to_field.New([]byte(constraint.CommitmentDst))
	h.Write(proof.Commitments[0].Marshal())
	for _, j := range vk.PublicAndCommitmentCommitted[0] {
		h.Write(inputs[j-1].Marshal())
	}
	c.SetBytes(h.Sum(nil)[:fr.Bytes])
	return c
}
