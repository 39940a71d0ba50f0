package membership

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"

	"cratelog/build"
	"cratelog/circuit/setup"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/unsafekeys"
	"cratelog/proofcheck"
)

// Keys is what it takes to prove with one program. Proving with them changes nothing: they are safe for
// concurrent use.
type Keys struct {
	System  *cs.R1CS
	Proving *groth16.ProvingKey
	Program proofcheck.Program
}

// ErrWrongKey says that a proving key's file is not the key of the program that it was opened
// with, or not one of this circuit. The error says in what they differ.
var ErrWrongKey = errors.New("the proving key is not this program's")

// DevelopmentKeys returns the keys of the development program that ships with cratelog. They
// are made in memory, once a process, in a second or two.
//
// UNSAFE: the keys' secrets are published, so anyone can forge proofs of this program, and name
// any member as one who contradicts himself.
func DevelopmentKeys() (*Keys, error) { return developmentKeys() }

var developmentKeys = sync.OnceValues(func() (*Keys, error) {
	k, _, err := MakeDevelopmentKeys(context.Background())
	if err != nil {
		return nil, err
	}
	shipped, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	for _, p := range shipped {
		if p.ID() == k.Program.ID() {
			k.Program = p
			return k, nil
		}
	}
	return nil, errors.New("the key that was made is not one of a program that ships with cratelog; this is a bug")
})

// MakeDevelopmentKeys runs the development setup, and returns the keys, whose program says the
// proving key's SHA-256, and that key's file. It serves those who add the program to cratelog.
func MakeDevelopmentKeys(ctx context.Context) (*Keys, []byte, error) {
	system, err := Compile()
	if err != nil {
		return nil, nil, err
	}
	made, err := setup.Run(ctx, system, unsafekeys.PublishedBuild(build.Depth), new(setup.Progress))
	if err != nil {
		return nil, nil, err
	}
	var key, file bytes.Buffer
	if _, err := made.Verifying.WriteTo(&key); err != nil {
		return nil, nil, err
	}
	if err := setup.WriteProving(&file, made.Proving, made.Powers.Encode()); err != nil {
		return nil, nil, err
	}
	p := ProgramOf(proofcheck.OriginDevelopment, key.Bytes())
	p.ProvingKey = sha256.Sum256(file.Bytes())
	return &Keys{system, made.Proving, p}, file.Bytes(), nil
}

// ProgramOf describes a verifying key of this circuit.
func ProgramOf(origin string, key []byte) proofcheck.Program {
	return proofcheck.Program{System: proofcheck.SystemGroth16, Claim: proofcheck.ClaimBuild, Depth: build.Depth,
		Origin: origin, Key: key}
}

// ReadKeys returns the keys of a program from two files: the program file, and the proving key
// whose SHA-256 stands in it, as `ceremony export` and `ceremony solo` write them. The key is
// checked against the circuit, which takes a second: with another one a proof could tell who made it.
// The error wraps ErrWrongKey if the key is not the program's, or not one of the circuit.
func ReadKeys(ctx context.Context, programFile, keyFile string) (*Keys, error) {
	p, err := proofcheck.ReadProgram(programFile)
	if err != nil {
		return nil, err
	}
	switch {
	case p.Claim != proofcheck.ClaimBuild:
		return nil, fmt.Errorf("%s is a program for %s; to attest builds takes one for %s, which "+
			"`ceremony solo NAME -claim build` or a ceremony makes", programFile, p.Claim, proofcheck.ClaimBuild)
	case p.ProvingKey == [32]byte{}:
		return nil, fmt.Errorf("%w: %s does not say which it is; use the file that was made with the key",
			ErrWrongKey, programFile)
	}
	system, err := Compile()
	if err != nil {
		return nil, err
	}
	raw, err := durable.Read(keyFile, setup.MaxProving(system))
	if err != nil {
		return nil, fmt.Errorf("the proving key cannot be read: %w", err)
	}
	if sum := sha256.Sum256(raw); sum != p.ProvingKey {
		return nil, fmt.Errorf("%w: %s has the SHA-256 %x, and the program's proving key has %x; "+
			"get the one that was made with the program", ErrWrongKey, keyFile, sum, p.ProvingKey)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	proving, err := checked(system, p, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w; a proof made with it could tell who made it, so use another key, "+
			"and ask whoever made this one", ErrWrongKey, keyFile, err)
	}
	return &Keys{system, proving, p}, nil
}

// checked decodes a proving key and checks it against the circuit and the program's key.
func checked(system *cs.R1CS, p proofcheck.Program, raw []byte) (*groth16.ProvingKey, error) {
	proving, rawPowers, err := setup.ReadProving(raw, system)
	if err != nil {
		return nil, err
	}
	powers, err := rawPowers.Decode()
	if err != nil {
		return nil, err
	}
	vk := new(groth16.VerifyingKey)
	if _, err := vk.ReadFrom(bytes.NewReader(p.Key)); err != nil {
		return nil, fmt.Errorf("the program's key: %w", err)
	}
	return proving, setup.Check(system, proving, vk, powers)
}

// Prove returns the entry in which the member at an index of a hidden set attests a build. Of the
// claim, Root and Tag are filled in; the claim that was passed does not change. The caller knows that
// the member said nothing else about this request before: two results under one tag name him.
//
// Leaves are all of the set's, zero where they are vacant. The proof is verified before it is
// returned.
func Prove(ctx context.Context, keys *Keys, leaves [][32]byte, index int, secret build.Secret, subject entry.Subject,
	claim *entry.Build) (*entry.Entry, error) {
	c := *claim
	request, err := c.Request(subject)
	if err != nil {
		return nil, err
	}
	m, parts, err := ProveMembership(ctx, keys, leaves, index, secret, request, c.Result())
	if err != nil {
		return nil, err
	}
	c.Root, c.Tag = m.Root, m.Tag
	return &entry.Entry{Subject: subject, Claim: &c, Proof: entry.Proof{Program: keys.Program.ID(), Parts: parts}}, nil
}

// ProveMembership is Prove for any request and result below the field's order, such as those by
// which a member shows at enrolment that he has the secret of his leaf. Result must not be zero.
// It returns what is shown, and the parts of the proof, for Program.VerifyMembership.
func ProveMembership(ctx context.Context, keys *Keys, leaves [][32]byte, index int, secret build.Secret,
	request, result [32]byte) (m proofcheck.Membership, parts [][]byte, err error) {
	if new(fr.Element).SetBytesCanonical(request[:]) != nil {
		return m, nil, errors.New("the request is not below the field's order")
	}
	if new(fr.Element).SetBytesCanonical(result[:]) != nil || result == [32]byte{} {
		return m, nil, errors.New("the result is zero or not below the field's order")
	}
	if index < 0 || index >= len(leaves) || leaves[index] != secret.Public() {
		return m, nil, fmt.Errorf("the secret is not that of leaf %d of the set; if the member has moved, "+
			"use the set's newest file", index)
	}
	path, err := build.HiddenPath(leaves, index)
	if err != nil {
		return m, nil, err
	}
	root, err := build.HiddenRoot(leaves)
	if err != nil {
		return m, nil, err
	}
	m = proofcheck.Membership{Root: root, Request: request, Result: result,
		Tag: secret.Tag(request), Share: secret.Share(request, result)}
	proof, err := keys.prove(ctx, assign(m, secret, path, index))
	if err != nil {
		return m, nil, err
	}
	parts = (&proofcheck.BuildProof{Share: m.Share, Points: proof}).Marshal()
	if err := keys.Program.VerifyMembership(m, parts); err != nil {
		return m, nil, fmt.Errorf("the proof that was made does not hold; are program and proving key of one setup? %w", err)
	}
	return m, parts, nil
}

// assign returns the circuit with the values of a witness.
func assign(m proofcheck.Membership, secret build.Secret, path [build.Depth][32]byte, index int) *Circuit {
	s := secret.Bytes()
	c := &Circuit{Root: m.Root[:], Request: m.Request[:], Result: m.Result[:], Tag: m.Tag[:], Share: m.Share[:],
		Secret: s[:]}
	for i := range path {
		c.Right[i], c.Path[i] = index>>i&1, path[i][:]
	}
	return c
}

func (k *Keys) prove(ctx context.Context, c frontend.Circuit) (*groth16.Proof, error) {
	quiet()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w, err := frontend.NewWitness(c, ecc.BN254.ScalarField())
	if err != nil {
		return nil, fmt.Errorf("membership: witness: %w", err)
	}
	proof, err := groth16.Prove(k.System, k.Proving, w)
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	return proof, ctx.Err()
}
