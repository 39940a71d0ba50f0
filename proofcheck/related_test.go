package proofcheck_test

import (
	"bytes"
	"crypto/sha256"
	"math/big"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/proofcheck/chain"
)

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
	honest, list := proven(t, 1, 1)
	seen := testlog.Must(proofcheck.ParseProof(honest.Proof.Parts)).Segments[0]
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
			p, file := proofcheck.ProgramWith(t, c.relate)
			vk := new(groth16.VerifyingKey)
			testlog.Must(vk.ReadFrom(bytes.NewReader(p.Key)))
			unchecked := proofcheck.Unchecked(p, vk)
			claim := &entry.Source{Commit: [20]byte{0x66}, Files: sha256.Sum256(list)}
			e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "anything", Version: "1.0.0"}, Claim: claim}
			context := testlog.Must(entry.Context(e.Subject, claim))
			segment := &groth16.Proof{Ar: seen.Ar, Bs: seen.Bs, Krs: seen.Krs, Commitments: seen.Commitments, CommitmentPok: seen.CommitmentPok}
			rho := chain.Rho(p.ID(), claim.Commit, context, seen.Commitments)
			proof := &proofcheck.Proof{Segments: []*groth16.Proof{segment}, End: testlog.Must(chain.EndOf(list, rho))}
			e.Proof = entry.Proof{Program: p.ID(), Parts: proof.Marshal()}
			l := sum1(vk.G1.K[0], seen.Commitments[0])
			for i, x := range testlog.Must(unchecked.Inputs(e))[0] {
				var term bn254.G1Affine
				l = sum1(l, *term.ScalarMultiplication(&vk.G1.K[1+i], x.BigInt(new(big.Int))))
			}
			f := c.forge(vk, l)
			segment.Ar, segment.Bs, segment.Krs = f.a, f.b, f.c
			e.Proof.Parts = proof.Marshal()
			if err := entry.Check(unchecked, e, list); err != nil {
				t.Fatalf("the attack does not work, so this test shows nothing: %v", err)
			}
			if _, err := proofcheck.ParseProgram(file); err == nil || !strings.Contains(err.Error(), "anybody may make false proofs") {
				t.Errorf("a key that anybody can forge with is read: %v", err)
			}
			if _, err := proofcheck.New([]proofcheck.Program{p}); err == nil {
				t.Error("a verifier takes a key that anybody can forge with")
			}
		})
	}
}
