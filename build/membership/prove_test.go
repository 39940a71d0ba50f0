package membership

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	native "github.com/consensys/gnark-crypto/ecc/bn254/fr/poseidon2"
	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/build"
	"cratelog/circuit/setup"
	"cratelog/entry"
	"cratelog/proofcheck"
)

func compress(t testing.TB, l, r fr.Element) (x fr.Element) {
	t.Helper()
	out, err := native.NewPermutation(2, build.FullRounds, build.PartialRounds).Compress(l.Marshal(), r.Marshal())
	fatalIf(t, err)
	fatalIf(t, x.SetBytesCanonical(out))
	return x
}

func hashOf(t testing.TB, system *cs.R1CS) [32]byte {
	t.Helper()
	h := sha256.New()
	_, err := system.WriteTo(h)
	fatalIf(t, err)
	return [32]byte(h.Sum(nil))
}

func keys(t testing.TB) *Keys {
	t.Helper()
	k, err := DevelopmentKeys()
	fatalIf(t, err)
	return k
}

func claimed() (entry.Subject, *entry.Build) {
	return entry.Subject{Registry: entry.DefaultRegistry, Name: "hexyl", Version: "0.17.0", SHA256: [32]byte{1}},
		&entry.Build{Binary: "hexyl", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{2}, Toolchain: [32]byte{3},
			Environment: [32]byte{4}, Recipe: entry.Recipe1, Lock: [32]byte{5}, Compiled: [32]byte{6}}
}

func TestAMemberAttests(t *testing.T) {
	w := example(t)
	subject, claim := claimed()
	e, err := Prove(t.Context(), keys(t), w.leaves, w.index, w.secret, subject, claim)
	fatalIf(t, err)
	b, err := e.Marshal()
	fatalIf(t, err)
	if e, err = entry.Parse(b); err != nil {
		t.Fatal(err)
	}
	v, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	if _, err := v.Chain(e); err != nil {
		t.Error(err)
	}
	got := e.Claim.(*entry.Build)
	request, err := claim.Request(subject)
	fatalIf(t, err)
	if got.Root != w.m.Root || got.Tag != w.secret.Tag(request) || claim.Root != [32]byte{} || claim.Tag != [32]byte{} {
		t.Errorf("root %x, tag %x, and the claim passed is %v", got.Root, got.Tag, claim)
	}
	t.Logf("the entry has %d bytes", len(b))
	// Another member's attestation of the same says so under another tag.
	other, err := Prove(t.Context(), keys(t), w.leaves, 0, secretOf(t, 100), subject, claim)
	fatalIf(t, err)
	if other.Claim.(*entry.Build).Tag == got.Tag {
		t.Error("two members have one tag")
	}
}

func TestWhoAttestsTwoResultsIsNamed(t *testing.T) {
	w := example(t)
	subject, claim := claimed()
	var results, shares [2][32]byte
	var tags [2][32]byte
	for i := range results {
		claim.Artifact[0] = byte(i)
		e, err := Prove(t.Context(), keys(t), w.leaves, w.index, w.secret, subject, claim)
		fatalIf(t, err)
		results[i], tags[i] = claim.Result(), e.Claim.(*entry.Build).Tag
		shares[i], err = build.SharePart(e.Proof.Parts)
		fatalIf(t, err)
	}
	got, err := build.Unmask(results[0], shares[0], results[1], shares[1])
	if err != nil || got != w.leaves[w.index] || tags[0] != tags[1] {
		t.Errorf("%x of tags %x is named, %v", got, tags, err)
	}
}

func TestWhatCannotBeAttested(t *testing.T) {
	w := example(t)
	subject, claim := claimed()
	broken := *claim
	broken.Binary = "../x"
	for name, c := range map[string]struct {
		index  int
		secret build.Secret
		claim  *entry.Build
		leaves [][32]byte
		want   string
	}{
		"another's leaf":     {3, w.secret, claim, w.leaves, "not that of leaf 3"},
		"no leaf":            {6, w.secret, claim, w.leaves, "not that of leaf 6"},
		"a negative leaf":    {-1, w.secret, claim, w.leaves, "not that of leaf -1"},
		"a vacant leaf":      {2, w.secret, claim, w.leaves, "not that of leaf 2"},
		"two equal leaves":   {4, w.secret, claim, append(w.leaves, w.leaves[4]), "are the same"},
		"a claim of nothing": {4, w.secret, &broken, w.leaves, "the binary's name"},
	} {
		if _, err := Prove(t.Context(), keys(t), c.leaves, c.index, c.secret, subject, c.claim); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a word on %q", name, err, c.want)
		}
	}
	for name, in := range map[string][2][32]byte{
		"the request": {{0: 0xff}, {31: 1}}, "the result": {{31: 1}, {0: 0xff}}, "the result is zero": {{31: 1}, {}},
	} {
		if _, _, err := ProveMembership(t.Context(), keys(t), w.leaves, w.index, w.secret, in[0], in[1]); err == nil ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Prove(stopped, keys(t), w.leaves, w.index, w.secret, subject, claim); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A program of other secrets: the proof does not leave.
	other := *keys(t)
	other.Program = made(t, "solo: other").Program
	if _, err := Prove(t.Context(), &other, w.leaves, w.index, w.secret, subject, claim); !errors.Is(err, proofcheck.ErrProof) {
		t.Error(err)
	}
}

// pair is a program with its proving key's file.
type pair struct {
	proofcheck.Program
	file []byte
	keys *setup.Keys
}

// made makes keys from fresh secrets.
func made(t testing.TB, origin string) *pair {
	t.Helper()
	system, err := Compile()
	fatalIf(t, err)
	secrets, err := setup.Fresh()
	fatalIf(t, err)
	k, err := setup.Run(t.Context(), system, secrets, new(setup.Progress))
	fatalIf(t, err)
	var key, file bytes.Buffer
	_, err = k.Verifying.WriteTo(&key)
	fatalIf(t, err)
	fatalIf(t, setup.WriteProving(&file, k.Proving, k.Powers.Encode()))
	p := ProgramOf(origin, key.Bytes())
	p.ProvingKey = sha256.Sum256(file.Bytes())
	return &pair{p, file.Bytes(), k}
}

// write returns the paths of the two files.
func (p *pair) write(t testing.TB) (program, key string) {
	t.Helper()
	dir := t.TempDir()
	program, key = filepath.Join(dir, "a.json"), filepath.Join(dir, "a.pk")
	text, err := p.Marshal()
	fatalIf(t, errors.Join(err, os.WriteFile(program, text, 0o600), os.WriteFile(key, p.file, 0o600)))
	return program, key
}

func TestKeysAreReadFromFiles(t *testing.T) {
	p := made(t, "solo: me")
	program, key := p.write(t)
	k, err := ReadKeys(t.Context(), program, key)
	fatalIf(t, err)
	w := example(t)
	subject, claim := claimed()
	e, err := Prove(t.Context(), k, w.leaves, w.index, w.secret, subject, claim)
	fatalIf(t, err)
	strict, err := proofcheck.Load([]string{program}, false)
	fatalIf(t, err)
	if _, err := strict.Chain(e); err != nil {
		t.Error(err)
	}
	none, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	if _, err := none.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a reader who did not name the program: %v", err)
	}
}

func TestOtherKeysAreRefused(t *testing.T) {
	p := made(t, "solo: me")
	refused := func(name string, c *pair, want string) {
		t.Helper()
		program, key := c.write(t)
		if _, err := ReadKeys(t.Context(), program, key); !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word on %q", name, err, want)
		}
	}
	refused("another program's key", &pair{p.Program, made(t, "solo: me").file, nil}, "has the SHA-256")
	unnamed := p.Program
	unnamed.ProvingKey = [32]byte{}
	refused("a program that names no key", &pair{unnamed, p.file, nil}, "does not say which")
	hashed := func(c *pair) *pair {
		c.Program.ProvingKey = sha256.Sum256(c.file)
		return c
	}
	refused("a key cut short", hashed(&pair{p.Program, p.file[:1000], nil}), "too short")
	// A malicious maker: the path's bits at infinity would show in every proof.
	evil := *p.keys.Proving
	evil.G1.K = append(evil.G1.K[:0:0], evil.G1.K...)
	evil.G1.K[7].Double(&evil.G1.K[7])
	var file bytes.Buffer
	fatalIf(t, setup.WriteProving(&file, &evil, p.keys.Powers.Encode()))
	refused("a key that is not the circuit's", hashed(&pair{p.Program, file.Bytes(), nil}), "K, or the commitment's basis")

	shipped, err := proofcheck.Embedded()
	fatalIf(t, err)
	program, key := (&pair{shipped[0], p.file, nil}).write(t)
	if _, err := ReadKeys(t.Context(), program, key); err == nil || !strings.Contains(err.Error(), "is a program for source/2") {
		t.Errorf("a program of source claims: %v", err)
	}
	program, _ = p.write(t)
	if _, err := ReadKeys(t.Context(), program, "none"); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Error(err)
	}
}
