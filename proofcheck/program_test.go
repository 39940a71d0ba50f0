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
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr/pedersen"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/build"
	"cratelog/internal/testlog"
)

func TestProgramIDIsTheHashOfItsDescription(t *testing.T) {
	p := shipped(t)
	text := fmt.Sprintf("cratelog/program/v2\ngroth16-bn254\nsource/2\nsegment 41\n%s", p.Key)
	if p.Blocks != 41 || p.ID() != sha256.Sum256([]byte(text)) {
		t.Error("the id is not what the formats say")
	}
	if !p.Development() || p.Solo() != "" {
		t.Error("the embedded key must say that it is a development key")
	}
	p.Origin, p.ProvingKey = "solo: ACME builds", [32]byte{1}
	if p.ID() != sha256.Sum256([]byte(text)) || p.Solo() != "ACME builds" || p.Development() {
		t.Errorf("a key of one operator: %v", p)
	}
}

func TestLoadDecidesWhichProgramsAreAccepted(t *testing.T) {
	file := func(p Program) string {
		path := filepath.Join(t.TempDir(), "a.program")
		text, err := p.Marshal()
		fatalIf(t, errors.Join(err, os.WriteFile(path, text, 0o600)))
		return path
	}
	ships, own := shipped(t), shipped(t)
	larger := ships
	larger.Blocks++
	vk := testlog.Must(sourceLayout.readKey(own.Key))
	var key bytes.Buffer
	vk.G1.Alpha.Double(&vk.G1.Alpha)
	if _, err := vk.WriteTo(&key); err != nil {
		t.Fatal(err)
	}
	own.Key, own.Origin = key.Bytes(), CeremonyOrigin([32]byte{1}, "")
	ours, large := file(own), filepath.Join(t.TempDir(), "large.program")
	fatalIf(t, os.WriteFile(large, bytes.Repeat([]byte(" "), MaxProgramFile+1), 0o600))
	for name, c := range map[string]struct {
		files       []string
		development bool
		more        int    // programs than ship
		says        string // the error
	}{
		"a ceremony's":                      {[]string{ours}, false, 1, ""},
		"one that ships":                    {[]string{file(ships), ours}, true, 1, ""},
		"a development key":                 {[]string{file(larger)}, true, 1, ""},
		"a development key, not asked for":  {[]string{file(larger)}, false, 0, "has a development key"},
		"one that ships, and not asked for": {[]string{file(ships)}, false, 0, "has a development key"},
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
	program := shipped(t)
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
		b, _ := json.Marshal(programFile{p.System, p.Claim, p.Blocks, p.Depth, p.Origin, b64(k), ""})
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
		{"a file of the first version", "it is for the claim \"source/1\", and this version reads only those for \"source/2\" and \"build/1\"; ask its maker for a new one",
			[]byte(`{"system":"groth16-bn254","claim":"source/1","blocks":64,"list_bytes":3906,"origin":"development","key":""}`)},
		{"a field of the first version", "unknown field", []byte(`{"claim":"source/2","list_bytes":3906}`)},
		{"something behind it", "follows", append(bytes.Clone(good), "{}"...)},
		{"another system", "proof system", edit(func(f *programFile) { f.System = "plonk" })},
		{"another claim", "claim", edit(func(f *programFile) { f.Claim = "build/2" })},
		{"a build program with blocks", "no blocks", edit(func(f *programFile) { f.Claim, f.Depth = "build/1", build.Depth })},
		{"a build program of another depth", "depth 10", edit(func(f *programFile) { f.Claim, f.Blocks, f.Depth = "build/1", 0, 11 })},
		{"a source program with a depth", "no depth", edit(func(f *programFile) { f.Depth = build.Depth })},
		{"a build program with a source key", "not 492", edit(func(f *programFile) { f.Claim, f.Blocks, f.Depth = "build/1", 0, build.Depth })},
		{"no blocks", "at least one block", edit(func(f *programFile) { f.Blocks = 0 })},
		{"no origin", "origin", edit(func(f *programFile) { f.Origin = "" })},
		{"an origin of no kind", "is none of", edit(func(f *programFile) { f.Origin = "ceremony:ab\nall is well" })},
		{"an origin like development", "is none of", edit(func(f *programFile) { f.Origin = "Development" })},
		{"solo in capitals", "is none of", edit(func(f *programFile) { f.Origin = "SOLO: me" })},
		{"solo without a space", "is none of", edit(func(f *programFile) { f.Origin = "solo:me" })},
		{"solo without a name", "is no name", edit(func(f *programFile) { f.Origin = "solo: " })},
		{"a development key under another origin", "ships with cratelog", edit(func(f *programFile) { f.Origin = "solo: me" })},
		{"a proving key's hash cut short", "proving_key", edit(func(f *programFile) { f.ProvingKey = "ab" })},
		{"a proving key's hash in capitals", "proving_key", edit(func(f *programFile) { f.ProvingKey = strings.Repeat("AB", 32) })},
		{"a proving key's hash of zeros", "proving_key", edit(func(f *programFile) { f.ProvingKey = strings.Repeat("00", 32) })},
		{"key that is not base64", "key", edit(func(f *programFile) { f.Key = "*" })},
		{"key cut off", "verifying key", withKey(program.Key[:100])},
		{"bytes after the key", fmt.Sprintf("%d bytes, not %d", sourceLayout.size()+1, sourceLayout.size()), withKey(append(bytes.Clone(program.Key), 0))},
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

func FuzzParseProgram(f *testing.F) {
	good := testlog.Must(shipped(f).Marshal())
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

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
