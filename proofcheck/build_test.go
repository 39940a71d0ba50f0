package proofcheck_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"golang.org/x/mod/sumdb/note"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// attested is a build's entry; it is proven once and copied.
func attested(t testing.TB) *entry.Entry {
	t.Helper()
	e := *testlog.Must(attestation())
	claim := *e.Claim.(*entry.Build)
	e.Claim, e.Proof.Parts = &claim, [][]byte{bytes.Clone(e.Proof.Parts[0])}
	return &e
}

var attestation = sync.OnceValues(func() (*entry.Entry, error) {
	keys, err := membership.DevelopmentKeys()
	if err != nil {
		return nil, err
	}
	secret, err := build.ParseSecret([32]byte{31: 5})
	if err != nil {
		return nil, err
	}
	subject, claim := hexyl()
	return membership.Prove(context.Background(), keys, [][32]byte{{}, secret.Public()}, 1, secret, subject, claim)
})

// hexyl is a build without builder.
func hexyl() (entry.Subject, *entry.Build) {
	return entry.Subject{Registry: entry.DefaultRegistry, Name: "hexyl", Version: "0.17.0", SHA256: [32]byte{1}},
		&entry.Build{Binary: "hexyl", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{2}, Toolchain: [32]byte{3},
			Environment: [32]byte{4}, Recipe: entry.Recipe1, Lock: [32]byte{5}, Compiled: [32]byte{6}}
}

// plus adds r, the field's order, to a number: the same element in other bytes.
func plus(b [32]byte) (out [32]byte) {
	x := new(big.Int).SetBytes(b[:])
	x.Add(x, fr.Modulus()).FillBytes(out[:])
	return out
}

func TestABuildsProofShowsTheWholeClaim(t *testing.T) {
	e := attested(t)
	c, err := defaultVerifier(t).Chain(e)
	fatalIf(t, err)
	if c.Objects() != 0 || c.ListBytes() != 0 {
		t.Errorf("%d objects, a list of %d bytes", c.Objects(), c.ListBytes())
	}
	for _, list := range [][]byte{nil, listOf(1)} {
		if err := c.Check(list); err == nil {
			t.Errorf("it shows the list %q", list)
		}
	}
	if _, err := testlog.Must(proofcheck.Load(nil, false)).Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("outside of development mode: %v", err)
	}
}

// TestNoBuildProofHoldsForAnotherStatement changes everything that a proof is bound to.
func TestNoBuildProofHoldsForAnotherStatement(t *testing.T) {
	v := defaultVerifier(t)
	for name, change := range map[string]func(s *entry.Subject, b *entry.Build){
		"registry":            func(s *entry.Subject, b *entry.Build) { s.Registry = "https://registry.example/index" },
		"name":                func(s *entry.Subject, b *entry.Build) { s.Name = "hexyl2" },
		"version":             func(s *entry.Subject, b *entry.Build) { s.Version = "0.17.1" },
		"checksum":            func(s *entry.Subject, b *entry.Build) { s.SHA256[31] ^= 1 },
		"binary":              func(s *entry.Subject, b *entry.Build) { b.Binary = "other" },
		"target":              func(s *entry.Subject, b *entry.Build) { b.Target = "aarch64-unknown-linux-gnu" },
		"artifact":            func(s *entry.Subject, b *entry.Build) { b.Artifact[31] ^= 1 },
		"toolchain":           func(s *entry.Subject, b *entry.Build) { b.Toolchain[0] ^= 1 },
		"environment":         func(s *entry.Subject, b *entry.Build) { b.Environment[0] ^= 1 },
		"lock":                func(s *entry.Subject, b *entry.Build) { b.Lock[0] ^= 1 },
		"compiled":            func(s *entry.Subject, b *entry.Build) { b.Compiled[0] ^= 1 },
		"root":                func(s *entry.Subject, b *entry.Build) { b.Root[31] ^= 1 },
		"root, another set's": func(s *entry.Subject, b *entry.Build) { b.Root = testlog.Must(build.HiddenRoot(nil)) },
		"root + r":            func(s *entry.Subject, b *entry.Build) { b.Root = plus(b.Root) },
		"tag":                 func(s *entry.Subject, b *entry.Build) { b.Tag[31] ^= 1 },
		"tag of zero":         func(s *entry.Subject, b *entry.Build) { b.Tag = [32]byte{} },
		"tag + r":             func(s *entry.Subject, b *entry.Build) { b.Tag = plus(b.Tag) },
	} {
		e := attested(t)
		change(&e.Subject, e.Claim.(*entry.Build))
		if _, err := e.Marshal(); err != nil {
			t.Errorf("%s: the entry is not even well formed, so this shows nothing: %v", name, err)
		}
		if c, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) || c != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := attested(t)
	e.Claim.(*entry.Build).Recipe = 2
	if c, err := v.Chain(e); err == nil || c != nil {
		t.Error("a recipe that is not known")
	}
}

// TestEveryInputOfAMembershipIsBound flips the verifier's inputs themselves.
func TestEveryInputOfAMembershipIsBound(t *testing.T) {
	e := attested(t)
	claim := e.Claim.(*entry.Build)
	share := testlog.Must(build.SharePart(e.Proof.Parts))
	p := shippedProgram(t, proofcheck.ClaimBuild)
	good := proofcheck.Membership{Root: claim.Root, Request: testlog.Must(claim.Request(e.Subject)), Result: claim.Result(),
		Tag: claim.Tag, Share: share}
	fatalIf(t, p.VerifyMembership(good, e.Proof.Parts))
	fields := func(m *proofcheck.Membership) []*[32]byte {
		return []*[32]byte{&m.Root, &m.Request, &m.Result, &m.Tag, &m.Share}
	}
	for i := range fields(&good) {
		for name, change := range map[string]func(b *[32]byte){
			"a bit": func(b *[32]byte) { b[31] ^= 1 }, "zero": func(b *[32]byte) { *b = [32]byte{} },
			"+ r": func(b *[32]byte) { *b = plus(*b) }, "negated": func(b *[32]byte) { *b = negated(*b) },
		} {
			m := good
			x := fields(&m)[i]
			change(x)
			parts := [][]byte{bytes.Clone(e.Proof.Parts[0])}
			if i == 4 {
				copy(parts[0], x[:])
			}
			if err := p.VerifyMembership(m, parts); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("input %d, %s: %v", i, name, err)
			}
		}
		for j := range i { // not the sum of two alone
			m := good
			x, y := fields(&m)[i], fields(&m)[j]
			*x, *y = *y, *x
			parts := [][]byte{bytes.Clone(e.Proof.Parts[0])}
			copy(parts[0], m.Share[:])
			if err := p.VerifyMembership(m, parts); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("inputs %d and %d exchanged: %v", i, j, err)
			}
		}
	}
	if err := p.VerifyMembership(proofcheck.Membership{}, e.Proof.Parts); !errors.Is(err, proofcheck.ErrProof) {
		t.Error(err)
	}
	source := shippedProgram(t, proofcheck.ClaimSource)
	if err := source.VerifyMembership(good, e.Proof.Parts); err == nil || !strings.Contains(err.Error(), "no memberships") {
		t.Errorf("under a program of source claims: %v", err)
	}
}

func negated(b [32]byte) [32]byte {
	var x fr.Element
	x.SetBytes(b[:])
	return x.Neg(&x).Bytes()
}

func shippedProgram(t testing.TB, claim string) proofcheck.Program {
	t.Helper()
	programs := testlog.Must(proofcheck.Embedded())
	return programs[slices.IndexFunc(programs, func(p proofcheck.Program) bool { return p.Claim == claim })]
}

// TestProgramsProveTheirOwnClaimsOnly moves proofs between programs of two claims.
func TestProgramsProveTheirOwnClaimsOnly(t *testing.T) {
	v := defaultVerifier(t)
	source, _ := proven(t, 1, 1)
	e := attested(t)
	for name, c := range map[string]struct {
		claim   entry.Claim
		proof   entry.Proof
		program [32]byte
	}{
		"a build under the program of source claims":              {e.Claim, e.Proof, source.Proof.Program},
		"a build with the proof of a source":                      {e.Claim, source.Proof, source.Proof.Program},
		"a build with the proof of a source under its own":        {e.Claim, source.Proof, e.Proof.Program},
		"a source under the program of build claims":              {source.Claim, source.Proof, e.Proof.Program},
		"a source with the proof of a build":                      {source.Claim, e.Proof, e.Proof.Program},
		"a source with the proof of a build under the source's":   {source.Claim, e.Proof, source.Proof.Program},
		"a source by name":                                        {source.Claim, source.Proof, build.NamedProgram},
		"a hidden member's build under the program of named ones": {e.Claim, e.Proof, build.NamedProgram},
	} {
		x := &entry.Entry{Subject: e.Subject, Claim: c.claim, Proof: entry.Proof{Program: c.program, Parts: c.proof.Parts}}
		if got, err := v.Chain(x); !errors.Is(err, proofcheck.ErrProof) || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.Proof.Program[0] ^= 1
	if _, err := v.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Error(err)
	}
}

// signed is the entry of a named member.
func signed(t testing.TB) *entry.Entry {
	t.Helper()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	vkey := testlog.Must(note.NewEd25519VerifierKey("alice", key.Public().(ed25519.PublicKey)))
	set := &build.Set{Kind: build.Named, Name: "friends",
		Members: []build.Member{{Name: "alice", Contact: "alice@example.org", VKey: vkey}}}
	e := attested(t)
	claim := e.Claim.(*entry.Build)
	claim.Root, claim.Tag = [32]byte{}, [32]byte{}
	return testlog.Must(build.Sign(key, vkey, set, e.Subject, claim))
}

// TestANameNeedsNoProgram: whoever signs with his name is checked by a verifier that accepts no program.
func TestANameNeedsNoProgram(t *testing.T) {
	for name, v := range map[string]*proofcheck.Verifier{
		"none": testlog.Must(proofcheck.New(nil)), "those that ship": defaultVerifier(t),
	} {
		c, err := v.Chain(signed(t))
		fatalIf(t, err)
		if c.Objects() != 0 || c.ListBytes() != 0 || c.Check(nil) == nil {
			t.Errorf("a verifier of %s: %d objects", name, c.Objects())
		}
		e := signed(t)
		e.Claim.(*entry.Build).Artifact[0] ^= 1
		if c, err := v.Chain(e); !errors.Is(err, proofcheck.ErrProof) || c != nil {
			t.Errorf("a verifier of %s: another artifact: %v", name, err)
		}
	}
	if _, known := defaultVerifier(t).Program(build.NamedProgram); known {
		t.Error("signatures have a key to trust")
	}
}

// TestABatchMayHoldBothClaims: each entry gets its own answer, in its place.
func TestABatchMayHoldBothClaims(t *testing.T) {
	v := defaultVerifier(t)
	var entries []*entry.Entry
	var good []bool
	for i := range 9 {
		var e *entry.Entry
		switch {
		case i%2 == 0:
			e, _ = proven(t, i, 1+i%3)
		case i > 4:
			e = signed(t)
		default:
			e = attested(t)
		}
		if good = append(good, i%4 < 2); !good[i] {
			e.Subject.SHA256[3] ^= 1
		}
		entries = append(entries, e)
	}
	together := proofcheck.NewTogether(v, 4)
	chains, errs := v.Chains(entries)
	for i, e := range entries {
		if (errs[i] == nil) != good[i] || (chains[i] == nil) == good[i] || !good[i] && !errors.Is(errs[i], proofcheck.ErrProof) {
			t.Errorf("entry %d: %v", i, errs[i])
		}
		_, isBuild := e.Claim.(*entry.Build)
		if good[i] && (chains[i].Objects() == 0) != isBuild {
			t.Errorf("entry %d: %d objects", i, chains[i].Objects())
		}
		for range 2 { // the second time it is remembered
			if c, err := together.Chain(e); (err == nil) != good[i] || (c == nil) == good[i] {
				t.Errorf("entry %d, together: %v", i, err)
			}
		}
	}
}

func TestBuildProofsAreRefusedInAnyOtherEncoding(t *testing.T) {
	e := attested(t)
	part := e.Proof.Parts[0]
	p := testlog.Must(proofcheck.ParseBuildProof(e.Proof.Parts))
	if again := p.Marshal(); len(again) != 1 || !bytes.Equal(again[0], part) || len(part) != 160 {
		t.Fatal("read and written, it is another proof")
	}
	with := func(at int, b ...byte) [][]byte {
		c := bytes.Clone(part)
		copy(c[at:], b)
		return [][]byte{c}
	}
	share := [32]byte(part)
	more := plus(share)
	infinity := append([]byte{0x40}, make([]byte, 63)...)
	for name, parts := range map[string][][]byte{
		"no part": nil, "two parts": {part[:80], part[80:]}, "an empty part": {{}}, "a part and an empty one": {part, {}},
		"short": {part[:159]}, "long": {append(bytes.Clone(part), 0)}, "with a commitment": {append(bytes.Clone(part), part[32:96]...)},
		"share + r": with(0, more[:]...), "share of all ones": with(0, bytes.Repeat([]byte{0xff}, 32)...),
		"A at infinity": with(32, infinity[:32]...), "B at infinity": with(64, infinity...), "C at infinity": with(128, infinity[:32]...),
		"A not compressed": with(32, part[32]&0x3f), "B not compressed": with(64, part[64]&0x3f), "C not compressed": with(128, part[128]&0x3f),
		"A off the curve": with(32, bytes.Repeat([]byte{0x80 | 0x3f}, 32)...), "zeros": {make([]byte, 160)},
		"B out of its group": with(64, outside(t)...),
	} {
		if _, err := proofcheck.ParseBuildProof(parts); !errors.Is(err, proofcheck.ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		e.Proof.Parts = parts
		if c, err := defaultVerifier(t).Chain(e); !errors.Is(err, proofcheck.ErrProof) || c != nil {
			t.Errorf("%s is believed: %v", name, err)
		}
	}
	// Every bit of it counts.
	for i := range part {
		for _, bit := range []byte{1, 0x40, 0x80} {
			if testing.Short() && i%7 != 0 {
				continue
			}
			e.Proof.Parts = with(i, part[i]^bit)
			if _, err := defaultVerifier(t).Chain(e); !errors.Is(err, proofcheck.ErrProof) {
				t.Errorf("byte %d, bit %x: %v", i, bit, err)
			}
		}
	}
}

// outside is a point of the curve of G2 that is not in the group, compressed.
func outside(t testing.TB) []byte {
	t.Helper()
	for x := uint64(1); x < 1000; x++ {
		b := make([]byte, bn254.SizeOfG2AffineCompressed) // the second half is the real part of x
		binary.BigEndian.PutUint64(b[len(b)-8:], x)
		b[0] |= 0x80
		var p bn254.G2Affine
		d := bn254.NewDecoder(bytes.NewReader(b), bn254.NoSubgroupChecks())
		if d.Decode(&p) == nil && p.IsOnCurve() && !p.IsInSubGroup() {
			return b
		}
	}
	t.Fatal("no point outside of the group")
	return nil
}

// Whoever has a proof can make another one of the same statement: its bytes identify nothing. And
// of no other statement.
func TestABuildProofCanBeRewritten(t *testing.T) {
	e := attested(t)
	p := testlog.Must(proofcheck.ParseBuildProof(e.Proof.Parts))
	var s, inverse fr.Element
	s.SetUint64(12345)
	inverse.Inverse(&s)
	again := &groth16.Proof{Krs: p.Points.Krs}
	again.Ar.ScalarMultiplication(&p.Points.Ar, s.BigInt(new(big.Int)))
	again.Bs.ScalarMultiplication(&p.Points.Bs, inverse.BigInt(new(big.Int)))
	p.Points = again
	e.Proof.Parts = p.Marshal()
	if _, err := defaultVerifier(t).Chain(e); err != nil {
		t.Error(err)
	}
	e.Claim.(*entry.Build).Artifact[0] ^= 1
	if _, err := defaultVerifier(t).Chain(e); !errors.Is(err, proofcheck.ErrProof) {
		t.Error(err)
	}
}

func TestABuildProgramsID(t *testing.T) {
	p := shippedProgram(t, proofcheck.ClaimBuild)
	text := fmt.Sprintf("cratelog/program/v2\ngroth16-bn254\nbuild/1\ndepth 10\n%s", p.Key)
	if p.ID() != sha256.Sum256([]byte(text)) || !p.Development() || p.Parameter() != "sets of depth 10" {
		t.Errorf("%v", p)
	}
}

func FuzzParseBuildProof(f *testing.F) {
	f.Add(builtBy(f, 1).Proof.Parts[0]) // without a setup, which would take each worker a while
	f.Add(make([]byte, 160))
	f.Fuzz(func(t *testing.T, part []byte) {
		p, err := proofcheck.ParseBuildProof([][]byte{part})
		if err != nil {
			if !errors.Is(err, proofcheck.ErrProof) {
				t.Error(err)
			}
			return
		}
		if again := p.Marshal(); len(again) != 1 || !bytes.Equal(again[0], part) {
			t.Error("read and written, it is another proof")
		}
	})
}
