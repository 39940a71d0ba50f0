package proofcheck

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

func defaultVerifier(t testing.TB) *Verifier {
	t.Helper()
	v := testlog.Must(Load(nil, true))
	return v
}

var fixtures = []string{"hello-proof-0.1.0", "hello-proof-0.1.1", "hello-inner-0.1.0"}

func TestTrueProofsAreAccepted(t *testing.T) {
	v := defaultVerifier(t)
	for _, name := range fixtures {
		if err := holds(v, fixture.Entry(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// copyOf returns an entry that shares nothing with e.
func copyOf(t testing.TB, e *entry.Entry) *entry.Entry {
	b := testlog.Must(e.Marshal())
	c := testlog.Must(entry.Parse(b))
	return c
}

// TestNoProofHoldsForAnotherStatement changes everything that a proof is bound to.
func TestNoProofHoldsForAnotherStatement(t *testing.T) {
	v := defaultVerifier(t)
	other := fixture.Entry(t, "hello-proof-0.1.1")
	src := func(e *entry.Entry) *entry.Source { return e.Claim.(*entry.Source) }
	for _, c := range []struct {
		name   string
		change func(e *entry.Entry)
	}{
		{"name", func(e *entry.Entry) { e.Subject.Name = "serde" }},
		{"version", func(e *entry.Entry) { e.Subject.Version = "9.9.9" }},
		{"checksum", func(e *entry.Entry) { e.Subject.SHA256[0] ^= 1 }},
		{"commit", func(e *entry.Entry) { src(e).Commit[19] ^= 1 }},
		{"path", func(e *entry.Entry) { src(e).Path = "elsewhere" }},
		{"files", func(e *entry.Entry) { src(e).Files[31] ^= 1 }},
		{"files not canonical", func(e *entry.Entry) {
			r := fr.Modulus()
			f := src(e).Files
			r.Add(r, r.SetBytes(f[:]))
			r.FillBytes(src(e).Files[:])
		}},
		{"unproven files added", func(e *entry.Entry) { src(e).Unproven = append(src(e).Unproven, "src/lib.rs") }},
		{"a link added", func(e *entry.Entry) { src(e).Links = []entry.Link{{Path: "a", Target: "b"}} }},
		{"a submodule added", func(e *entry.Entry) { src(e).Submodules = []string{"a"} }},
		{"a file from outside added", func(e *entry.Entry) { src(e).Outside = []string{"a"} }},
		{"a workspace added", func(e *entry.Entry) { src(e).Workspace = &entry.Workspace{Manifest: []byte("a")} }},
		{"another crate's whole subject", func(e *entry.Entry) { e.Subject = other.Subject }},
		{"another crate's whole claim", func(e *entry.Entry) { e.Claim = other.Claim }},
		{"another crate's proof", func(e *entry.Entry) { e.Proof = other.Proof }},
		{"proof given twice", func(e *entry.Entry) { e.Proof.Parts = append(e.Proof.Parts, e.Proof.Parts[0]) }},
		{"no proof", func(e *entry.Entry) { e.Proof.Parts = nil }},
		{"empty proof", func(e *entry.Entry) { e.Proof.Parts[0] = nil }},
		{"cut proof", func(e *entry.Entry) { e.Proof.Parts[0] = e.Proof.Parts[0][:ProofSize-1] }},
		{"longer proof", func(e *entry.Entry) { e.Proof.Parts[0] = append(e.Proof.Parts[0], 0) }},
	} {
		e := copyOf(t, fixture.Entry(t, "hello-proof-0.1.0"))
		c.change(e)
		if err := holds(v, e); err == nil {
			t.Errorf("%s: accepted", c.name)
		} else if !errors.Is(err, ErrProof) {
			// An entry that is not even well formed may fail in package entry.
			t.Logf("%s: %v", c.name, err)
		}
	}
}

func TestEveryByteOfAProofMatters(t *testing.T) {
	v := defaultVerifier(t)
	good := fixture.Entry(t, "hello-proof-0.1.0")
	for i := range good.Proof.Parts[0] {
		e := copyOf(t, good)
		e.Proof.Parts[0][i] ^= 1 << (i % 8)
		if err := holds(v, e); !errors.Is(err, ErrProof) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	e := copyOf(t, good)
	e.Proof.Program[0] ^= 1
	if err := holds(v, e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("program: %v", err)
	}
}

// TestPointsAtInfinityAndOtherEncodingsAreRefused feeds every point of a proof with
// what gnark-crypto would read without an error.
func TestPointsAtInfinityAndOtherEncodingsAreRefused(t *testing.T) {
	good := fixture.Entry(t, "hello-proof-0.1.0").Proof.Parts[0]
	offsets := []struct{ at, size int }{{0, 32}, {32, 64}, {96, 32}, {128, 32}, {160, 32}}
	for i, o := range offsets {
		for name, first := range map[string]byte{"compressed infinity": 0x40, "uncompressed infinity": 0, "uncompressed": 0x20} {
			b := bytes.Clone(good)
			clear(b[o.at : o.at+o.size])
			b[o.at] = first
			if _, err := ParseProof(b); !errors.Is(err, ErrProof) {
				t.Errorf("point %d: %s: %v", i+1, name, err)
			}
		}
	}
	// A whole proof at infinity.
	var p groth16.Proof
	p.Commitments = make([]bn254.G1Affine, 1)
	if _, err := ParseProof(MarshalProof(&p)); !errors.Is(err, ErrProof) {
		t.Errorf("all points at infinity: %v", err)
	}
}

// TestAlteredProofsOfTheSameStatementHold documents why proof bytes are no
// identity: anybody can re-randomise a proof.
func TestAlteredProofsOfTheSameStatementHold(t *testing.T) {
	v := defaultVerifier(t)
	e := copyOf(t, fixture.Entry(t, "hello-proof-0.1.0"))
	p := testlog.Must(ParseProof(e.Proof.Parts[0]))
	p.Ar.Neg(&p.Ar)
	p.Bs.Neg(&p.Bs)
	e.Proof.Parts[0] = MarshalProof(p)
	if err := holds(v, e); err != nil {
		t.Error(err)
	}
}

// program64 is the program of the fixtures' proofs.
func program64(t testing.TB) Program {
	t.Helper()
	programs := testlog.Must(Embedded())
	for _, p := range programs {
		if p.Blocks == 64 {
			return p
		}
	}
	t.Fatal("no program of 64 blocks is embedded")
	return Program{}
}

func TestProgramIDIsTheHashOfItsDescription(t *testing.T) {
	programs := testlog.Must(Embedded())
	lists := map[int]int{64: 3906, 128: 8029, 512: 32581}
	if len(programs) != len(lists) {
		t.Errorf("%d programs are embedded", len(programs))
	}
	for _, p := range programs {
		text := fmt.Sprintf("cratelog/program/v1\ngroth16-bn254\nsource/1\nblocks %d list-bytes %d\n%s", p.Blocks, lists[p.Blocks], p.Key)
		if p.ID() != sha256.Sum256([]byte(text)) {
			t.Errorf("%d blocks: the id is not what the formats say", p.Blocks)
		}
		if !p.Development() {
			t.Errorf("%d blocks: the embedded key must say that it is a development key", p.Blocks)
		}
	}
	if program64(t).ID() != fixture.Entry(t, "hello-proof-0.1.0").Proof.Program {
		t.Error("the fixtures are of another program: make their entries again with cargo zkp prove")
	}
}

func TestDevelopmentProgramsAreAcceptedOnlyIfAskedFor(t *testing.T) {
	v := testlog.Must(Load(nil, false))
	if err := holds(v, fixture.Entry(t, "hello-proof-0.1.0")); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a proof with a development key: %v", err)
	}
}

func TestLoadDecidesWhichProgramsAreAccepted(t *testing.T) {
	file := func(p Program) string {
		path := filepath.Join(t.TempDir(), "a.program")
		text, err := p.Marshal()
		fatalIf(t, errors.Join(err, os.WriteFile(path, text, 0o600)))
		return path
	}
	shipped, own := program64(t), program64(t)
	larger := shipped
	larger.Blocks++
	vk := testlog.Must(own.verifyingKey())
	var key bytes.Buffer
	vk.G1.Alpha.Double(&vk.G1.Alpha)
	if _, err := vk.WriteTo(&key); err != nil {
		t.Fatal(err)
	}
	own.Key, own.Origin = key.Bytes(), "ceremony:ab"
	ours, large := file(own), filepath.Join(t.TempDir(), "large.program")
	fatalIf(t, os.WriteFile(large, bytes.Repeat([]byte(" "), MaxProgramFile+1), 0o600))
	for name, c := range map[string]struct {
		files       []string
		development bool
		more        int    // programs than ship
		says        string // the error
	}{
		"a ceremony's":                      {[]string{ours}, false, 1, ""},
		"one that ships":                    {[]string{file(shipped), ours}, true, 1, ""},
		"a development key":                 {[]string{file(larger)}, true, 1, ""},
		"a development key, not asked for":  {[]string{file(larger)}, false, 0, "has a development key"},
		"one that ships, and not asked for": {[]string{file(shipped)}, false, 0, "has a development key"},
		"one twice":                         {[]string{ours, file(own)}, false, 0, "listed twice"},
		"no file, and more":                 {[]string{"none", large}, false, 0, "none"},
		"a large file":                      {[]string{"none", large}, false, 0, fmt.Sprintf("more than %d bytes", MaxProgramFile)},
		"too many":                          {make([]string, maxFiles+1), false, 0, "at most 256"},
	} {
		v, err := Load(c.files, c.development)
		if err != nil || c.says != "" {
			if err == nil || c.says == "" || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		base, err := Load(nil, c.development)
		if err != nil || len(v.Programs()) != len(base.Programs())+c.more {
			t.Errorf("%s: %d programs, %v", name, len(v.Programs()), err)
		}
	}
}

func TestBadProgramFilesAreRefused(t *testing.T) {
	program := program64(t)
	good := testlog.Must(program.Marshal())
	if p, err := ParseProgram(good); err != nil || p.ID() != program.ID() {
		t.Fatal(err)
	}
	told := program
	told.ProvingKey = [32]byte{1, 2, 3}
	if text, err := told.Marshal(); err != nil {
		t.Fatal(err)
	} else if p, err := ParseProgram(text); err != nil || p.ProvingKey != told.ProvingKey || p.ID() != program.ID() {
		t.Fatalf("the proving key's hash is lost, or changes the id: %v", err)
	}
	key := func(change func(vk *groth16.VerifyingKey)) []byte { return changedKey(t, change) }
	edit := func(change func(f *programFile)) []byte {
		var f programFile
		fatalIf(t, json.Unmarshal(good, &f))
		change(&f)
		b, _ := json.Marshal(f)
		return b
	}
	withKey := func(k []byte) []byte {
		p := program
		p.Key = k
		b, _ := json.Marshal(programFile{p.System, p.Claim, p.Blocks, p.ListBytes, p.Origin, b64(k), ""})
		return b
	}
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "program file", nil},
		{"too large", "at most", bytes.Repeat([]byte(" "), MaxProgramFile+1)},
		{"a byte order mark", "byte order mark", append([]byte("\xef\xbb\xbf"), good...)},
		{"unknown field", "unknown field", []byte(`{"colour":"red"}`)},
		{"something behind it", "follows", append(bytes.Clone(good), "{}"...)},
		{"another system", "proof system", edit(func(f *programFile) { f.System = "plonk" })},
		{"another claim", "claim", edit(func(f *programFile) { f.Claim = "build/1" })},
		{"no capacity", "capacity", edit(func(f *programFile) { f.Blocks = 0 })},
		{"no origin", "origin", edit(func(f *programFile) { f.Origin = "" })},
		{"an origin with a line feed", "printable", edit(func(f *programFile) { f.Origin = "ceremony:ab\nall is well" })},
		{"a long origin", "printable", edit(func(f *programFile) { f.Origin = strings.Repeat("a", maxOrigin+1) })},
		{"a development key under another origin", "ships with cratelog", edit(func(f *programFile) { f.Origin = "ceremony:ab" })},
		{"a proving key's hash cut short", "proving_key", edit(func(f *programFile) { f.ProvingKey = "ab" })},
		{"a proving key's hash in capitals", "proving_key", edit(func(f *programFile) { f.ProvingKey = strings.Repeat("AB", 32) })},
		{"a proving key's hash of zeros", "proving_key", edit(func(f *programFile) { f.ProvingKey = strings.Repeat("00", 32) })},
		{"key that is not base64", "key", edit(func(f *programFile) { f.Key = "*" })},
		{"key cut off", "verifying key", withKey(program.Key[:100])},
		{"bytes after the key", "617 bytes, not 616", withKey(append(bytes.Clone(program.Key), 0))},
		{"an input too few", "public inputs", withKey(key(func(vk *groth16.VerifyingKey) { vk.G1.K = vk.G1.K[:4] }))},
		{"no commitment", "commitment", withKey(key(func(vk *groth16.VerifyingKey) {
			vk.CommitmentKeys, vk.PublicAndCommitmentCommitted = []pedersen.VerifyingKey{}, [][]int{}
		}))},
		{"a commitment that leaves inputs out", "public inputs", withKey(key(func(vk *groth16.VerifyingKey) {
			vk.PublicAndCommitmentCommitted = [][]int{{1, 2}}
		}))},
	} {
		if _, err := ParseProgram(c.file); err == nil {
			t.Errorf("%s: accepted", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a word on %q", c.name, err, c.want)
		}
	}
}

func TestCheckIsSafeForConcurrentUse(t *testing.T) {
	v := defaultVerifier(t)
	var wg sync.WaitGroup
	for i := range 8 {
		e := copyOf(t, fixture.Entry(t, fixtures[i%len(fixtures)]))
		if i%2 == 1 {
			e.Subject.SHA256[0] ^= 1
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := holds(v, e); (err == nil) != (i%2 == 0) {
				t.Errorf("check %d: %v", i, err)
			}
		}()
	}
	wg.Wait()
}

func FuzzParseProof(f *testing.F) {
	f.Add(fixture.Entry(f, "hello-proof-0.1.0").Proof.Parts[0])
	f.Add(make([]byte, ProofSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err == nil && !bytes.Equal(MarshalProof(p), b) {
			t.Fatal("a proof has two encodings")
		}
	})
}

func FuzzParseProgram(f *testing.F) {
	good := testlog.Must(program64(f).Marshal())
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProgram(b)
		if err != nil {
			return
		}
		text := testlog.Must(p.Marshal())
		if again, err := ParseProgram(text); err != nil || again.ID() != p.ID() || again.Origin != p.Origin || again.ProvingKey != p.ProvingKey {
			t.Fatal("a program changes when it is written and read")
		}
	})
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestEveryPublicInputIsBound flips the verifier's inputs themselves, one at a time
// and in pairs whose sum stays the same.
func TestEveryPublicInputIsBound(t *testing.T) {
	vk := testlog.Must(program64(t).verifyingKey())
	e := fixture.Entry(t, "hello-proof-0.1.0")
	proof := testlog.Must(ParseProof(e.Proof.Parts[0]))
	inputs := func() fr.Vector {
		in := testlog.Must(publicInputs(e.Subject, e.Claim.(*entry.Source), e.Claim.(*entry.Source).Files))
		return in
	}
	fatalIf(t, groth16.Verify(proof, vk, inputs()))
	var one fr.Element
	one.SetOne()
	for i := range sourceInputs {
		in := inputs()
		in[i].Add(&in[i], &one)
		if groth16.Verify(proof, vk, in) == nil {
			t.Errorf("input %d is not bound", i)
		}
		for j := range sourceInputs {
			in := inputs()
			in[i].Add(&in[i], &one)
			in[j].Sub(&in[j], &one)
			if i != j && groth16.Verify(proof, vk, in) == nil {
				t.Errorf("of inputs %d and %d only the sum is bound", i, j)
			}
		}
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
