package proofcheck

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"cratelog/internal/durable"
)

// The words of a Program.
const (
	SystemGroth16 = "groth16-bn254" // Groth16 over BN254 with one commitment, as gnark makes it
	ClaimSource   = "source/2"      // kind and version of the claim
)

// inputs is the number of public inputs of a segment: the commitments to the states before and
// after it, and the challenge.
const inputs = 3

// Program is one statement with one verifying key: what a proof is a proof of.
type Program struct {
	System string // SystemGroth16
	Claim  string // ClaimSource
	Blocks int    // SHA-1 blocks of a segment
	Origin string // where the key comes from: see OriginDevelopment
	Key    []byte // verifying key, gnark's WriteTo (compressed points)

	// ProvingKey is the SHA-256 of the proving key's file, or zero if the program file does
	// not say it. Verifiers do not need it, and it is not part of the program's id.
	ProvingKey [32]byte
}

// ID is the program's name in an entry:
//
//	SHA-256("cratelog/program/v2\n" || System || "\n" || Claim || "\n" ||
//	        "segment " || Blocks || "\n" || Key)
//
// with a decimal number. The origin is not part of it: it says how far to trust the
// key, not which key it is; nor is the proving key.
func (p Program) ID() [32]byte {
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/program/v2\n%s\n%s\nsegment %d\n", p.System, p.Claim, p.Blocks)
	h.Write(p.Key)
	return [32]byte(h.Sum(nil))
}

func (p Program) String() string {
	return fmt.Sprintf("%s %s, segments of %d blocks, id %x, origin %s", p.System, p.Claim, p.Blocks, p.ID(), p.Trust())
}

// programFile is a program as a file: JSON, one object.
type programFile struct {
	System string `json:"system"`
	Claim  string `json:"claim"`
	Blocks int    `json:"blocks"`
	Origin string `json:"origin"`
	Key    string `json:"key"` // base64

	ProvingKey string `json:"proving_key,omitempty"` // lower-case hex
}

// MaxProgramFile bounds a program file, in bytes.
const MaxProgramFile = 32 << 10

// ParseProgram reads a program file. It refuses unknown fields, bad keys, and a key that
// ships with cratelog under another origin than its own: a development key stays one,
// whatever a file says.
func ParseProgram(text []byte) (Program, error) {
	p, err := parseProgram(text)
	if err != nil {
		return Program{}, err
	}
	shipped, err := Embedded()
	if err != nil {
		return Program{}, err
	}
	for _, s := range shipped {
		if sameSetup(s.Key, p.Key) && s.Origin != p.Origin {
			return Program{}, fmt.Errorf("program file: its key ships with cratelog, and has the origin %q, not %q",
				s.Origin, p.Origin)
		}
	}
	return p, nil
}

func parseProgram(text []byte) (Program, error) {
	if len(text) > MaxProgramFile {
		return Program{}, fmt.Errorf("program file: %d bytes, at most %d are read", len(text), MaxProgramFile)
	}
	var kind struct{ Claim string }
	if json.Unmarshal(text, &kind) == nil && kind.Claim != "" && kind.Claim != ClaimSource { // an old one has other fields, too
		return Program{}, fmt.Errorf("program file: it is for the claim %q, and this version reads only those for %q; "+
			"ask its maker for a new one", kind.Claim, ClaimSource)
	}
	var f programFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		if why := durable.NotText(text); why != "" {
			return Program{}, fmt.Errorf("program file: %s", why)
		}
		return Program{}, fmt.Errorf("program file: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Program{}, errors.New("program file: something follows the JSON object")
	}
	key, err := base64.StdEncoding.Strict().DecodeString(f.Key)
	if err != nil {
		return Program{}, fmt.Errorf("program file: key: %w", err)
	}
	p := Program{System: f.System, Claim: f.Claim, Blocks: f.Blocks, Origin: f.Origin, Key: key}
	if f.ProvingKey != "" {
		sum, err := hex.DecodeString(f.ProvingKey)
		if err != nil || len(sum) != len(p.ProvingKey) ||
			hex.EncodeToString(sum) != f.ProvingKey || [32]byte(sum) == [32]byte{} {
			return Program{}, errors.New("program file: proving_key is not a SHA-256 in lower-case hex")
		}
		p.ProvingKey = [32]byte(sum)
	}
	if _, err := p.key(); err != nil {
		return Program{}, err
	}
	return p, nil
}

// Marshal returns the program file.
func (p Program) Marshal() ([]byte, error) {
	if _, err := p.key(); err != nil {
		return nil, err
	}
	f := programFile{System: p.System, Claim: p.Claim, Blocks: p.Blocks, Origin: p.Origin,
		Key: base64.StdEncoding.EncodeToString(p.Key)}
	if p.ProvingKey != [32]byte{} {
		f.ProvingKey = hex.EncodeToString(p.ProvingKey[:])
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// key checks the program and decodes its key: one encoding only, as many public
// inputs as the claim has, all of them bound by the one commitment, and no points that
// bind nothing.
func (p Program) key() (*key, error) {
	switch {
	case p.System != SystemGroth16:
		return nil, fmt.Errorf("program: unknown proof system %q", p.System)
	case p.Claim != ClaimSource:
		return nil, fmt.Errorf("program: unknown claim %q", p.Claim)
	case p.Blocks < 1:
		return nil, errors.New("program: a segment must have at least one block")
	}
	if err := checkOrigin(p.Origin); err != nil {
		return nil, err
	}
	vk, err := readKey(p.Key)
	if err != nil {
		return nil, err
	}
	return newKey(vk), nil
}

//go:embed programs/*.json
var embedded embed.FS

// Embedded returns the programs that ship with cratelog.
func Embedded() ([]Program, error) {
	files, err := fs.Glob(embedded, "programs/*.json")
	if err != nil {
		return nil, err
	}
	var out []Program
	for _, name := range files {
		text, err := embedded.ReadFile(name)
		if err != nil {
			return nil, err
		}
		p, err := parseProgram(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.TrimPrefix(name, "programs/"), err)
		}
		out = append(out, p)
	}
	return out, nil
}
