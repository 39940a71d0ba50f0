package proofcheck

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/build"
	"cratelog/internal/durable"
)

// The words of a Program.
const (
	SystemGroth16 = "groth16-bn254" // Groth16 over BN254 as gnark makes it, with at most one commitment
	ClaimSource   = "source/2"      // kind and version of the claim: see entry.Source
	ClaimBuild    = "build/1"       // by a hidden member of a set: see entry.Build
)

// Numbers of public inputs.
const (
	inputs      = 3 // of a segment: the commitments to the states before and after it, and the challenge
	buildInputs = 5 // of a hidden build claim: Root, Request, Result, Tag, Share
)

// claims are the kinds of programs.
var claims = map[string]*claimKind{
	ClaimSource: {
		layout:    layout{inputs: inputs, commitments: 1},
		parameter: func(p *Program) (string, int) { return "segment", p.Blocks },
		people:    "segments of %d blocks",
		check: func(p *Program) error {
			if p.Blocks < 1 || p.Depth != 0 {
				return errors.New("program: a segment must have at least one block, and a program of source claims no depth")
			}
			return nil
		},
	},
	ClaimBuild: {
		layout:    layout{inputs: buildInputs},
		parameter: func(p *Program) (string, int) { return "depth", p.Depth },
		people:    "sets of depth %d",
		check: func(p *Program) error {
			if p.Depth != build.Depth || p.Blocks != 0 {
				return fmt.Errorf("program: a program of build claims has the depth %d and no blocks", build.Depth)
			}
			return nil
		},
	},
}

// claimKind is what differs between programs of different claims.
type claimKind struct {
	layout
	parameter func(p *Program) (name string, value int)
	people    string // what the parameter means
	check     func(p *Program) error
}

// Program is one statement with one verifying key: what a proof is a proof of.
type Program struct {
	System string // SystemGroth16
	Claim  string // ClaimSource or ClaimBuild
	Blocks int    // SHA-1 blocks of a segment; ClaimBuild has none
	Depth  int    // of a set of builders, build.Depth; ClaimSource has none
	Origin string // where the key comes from: see OriginDevelopment
	Key    []byte // verifying key, gnark's WriteTo (compressed points)

	// ProvingKey is the SHA-256 of the proving key's file, or zero if the program file does
	// not say it. Verifiers do not need it, and it is not part of the program's id.
	ProvingKey [32]byte
}

// ID is the program's name in an entry:
//
//	SHA-256("cratelog/program/v2\n" || System || "\n" || Claim || "\n" ||
//	        parameter || "\n" || Key)
//
// where the parameter is "segment " || Blocks for source claims and "depth " || Depth for build
// claims, with decimal numbers. The origin is not part of it: it says how far to trust the
// key, not which key it is; nor is the proving key.
func (p Program) ID() [32]byte {
	h := sha256.New()
	name, value := p.kind().parameter(&p)
	fmt.Fprintf(h, "cratelog/program/v2\n%s\n%s\n%s %d\n", p.System, p.Claim, name, value)
	h.Write(p.Key)
	return [32]byte(h.Sum(nil))
}

// kind is that of source claims for a claim that is not known, which key refuses.
func (p Program) kind() *claimKind {
	if k := claims[p.Claim]; k != nil {
		return k
	}
	return claims[ClaimSource]
}

// Parameter says for people what size the circuit is of.
func (p Program) Parameter() string {
	_, value := p.kind().parameter(&p)
	return fmt.Sprintf(p.kind().people, value)
}

func (p Program) String() string {
	return fmt.Sprintf("%s %s, %s, id %x, origin %s", p.System, p.Claim, p.Parameter(), p.ID(), p.Trust())
}

// programFile is a program as a file: JSON, one object.
type programFile struct {
	System string `json:"system"`
	Claim  string `json:"claim"`
	Blocks int    `json:"blocks,omitempty"` // source claims only
	Depth  int    `json:"depth,omitempty"`  // build claims only
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
	if json.Unmarshal(text, &kind) == nil && kind.Claim != "" && claims[kind.Claim] == nil { // an old one has other fields, too
		return Program{}, fmt.Errorf("program file: it is for the claim %q, and this version reads only those for %q and %q; "+
			"ask its maker for a new one", kind.Claim, ClaimSource, ClaimBuild)
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
	p := Program{System: f.System, Claim: f.Claim, Blocks: f.Blocks, Depth: f.Depth, Origin: f.Origin, Key: key}
	if f.ProvingKey != "" {
		sum, err := hex.DecodeString(f.ProvingKey)
		if err != nil || len(sum) != len(p.ProvingKey) ||
			hex.EncodeToString(sum) != f.ProvingKey || [32]byte(sum) == [32]byte{} {
			return Program{}, errors.New("program file: proving_key is not a SHA-256 in lower-case hex")
		}
		p.ProvingKey = [32]byte(sum)
	}
	if _, err := p.check(); err != nil {
		return Program{}, err
	}
	return p, nil
}

// Marshal returns the program file.
func (p Program) Marshal() ([]byte, error) {
	if _, err := p.check(); err != nil {
		return nil, err
	}
	f := programFile{System: p.System, Claim: p.Claim, Blocks: p.Blocks, Depth: p.Depth, Origin: p.Origin,
		Key: base64.StdEncoding.EncodeToString(p.Key)}
	if p.ProvingKey != [32]byte{} {
		f.ProvingKey = hex.EncodeToString(p.ProvingKey[:])
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// key checks the program, and makes its key ready for use.
func (p Program) key() (*key, error) {
	vk, err := p.check()
	if err != nil {
		return nil, err
	}
	return newKey(p.Claim, vk), nil
}

// check checks the program and decodes its key: one encoding only, as many public
// inputs as the claim has, all of them bound by the commitment if it has one, and no points
// that bind nothing.
func (p Program) check() (*groth16.VerifyingKey, error) {
	switch {
	case p.System != SystemGroth16:
		return nil, fmt.Errorf("program: unknown proof system %q", p.System)
	case claims[p.Claim] == nil:
		return nil, fmt.Errorf("program: unknown claim %q", p.Claim)
	}
	if err := p.kind().check(&p); err != nil {
		return nil, err
	}
	if err := checkOrigin(p.Origin); err != nil {
		return nil, err
	}
	return p.kind().readKey(p.Key)
}

//go:embed programs/source.json
var sourceFile []byte

//go:embed programs/build.json
var buildFile []byte

// Embedded returns the programs that ship with cratelog: one of source claims, and then one of
// build claims.
func Embedded() ([]Program, error) {
	source, err := parseProgram(sourceFile)
	if err != nil {
		return nil, fmt.Errorf("source.json: %w", err)
	}
	build, err := parseProgram(buildFile)
	if err != nil {
		return nil, fmt.Errorf("build.json: %w", err)
	}
	return []Program{source, build}, nil
}
