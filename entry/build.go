package entry

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
)

const (
	buildKind    = "build"
	buildVersion = 1

	// Recipe1 is the only recipe so far; package build says what it is.
	Recipe1 = 1

	requestDomain = "cratelog/build/request/v1\n"
	resultDomain  = "cratelog/build/result/v1\n"
)

// Build claims that one member of a set of builders made a binary of the subject's crate, and
// what it is. Which member the proof says, or hides: that is its program's affair. One
// member has one Tag for one Request, so whoever counts Tags counts members.
type Build struct {
	Binary string // name of the binary target; see CheckBinary
	Target string // target triple of the binary and of the compiler's host; see CheckTarget

	Artifact [32]byte // SHA-256 of the binary

	Toolchain   [32]byte // id of the compiler's files
	Environment [32]byte // id of the files of the sandbox
	Recipe      uint64   // how it was built; Recipe1

	Lock     [32]byte // SHA-256 of the Cargo.lock in the .crate
	Compiled [32]byte // SHA-256 of the list of the crates that were compiled

	Root [32]byte // of the set of builders
	Tag  [32]byte // of the member, for this Request
}

var _ Claim = &Build{}

// Kind returns "build".
func (b *Build) Kind() string { return buildKind }

// Request says what was asked for: everything that determines the build. It is
//
//	SHA-256("cratelog/build/request/v1\n" || CBOR(subject) || CBOR(asked))
//	asked = [binary, target, toolchain, environment, recipe, lock]
//
// with the three most significant bits cleared. It fails if subject or claim are not valid.
func (b *Build) Request(s Subject) ([32]byte, error) {
	if err := validateStatement(s, b); err != nil {
		return [32]byte{}, err
	}
	subject, err := encMode.Marshal(s.wire())
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding the subject: %w", err)
	}
	asked, err := encMode.Marshal([]any{b.Binary, b.Target, b.Toolchain[:], b.Environment[:], b.Recipe, b.Lock[:]})
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding the request: %w", err)
	}
	h := sha256.New()
	h.Write([]byte(requestDomain))
	h.Write(subject)
	h.Write(asked)
	return field(h.Sum(nil)), nil
}

// Result says what came out: SHA-256("cratelog/build/result/v1\n" || Artifact || Compiled), with
// the three most significant bits cleared.
func (b *Build) Result() [32]byte {
	h := sha256.New()
	h.Write([]byte(resultDomain))
	h.Write(b.Artifact[:])
	h.Write(b.Compiled[:])
	return field(h.Sum(nil))
}

// field clears the bits that do not fit into an element of the proof system's field.
func field(sum []byte) [32]byte {
	sum[0] &= 0x1f
	return [32]byte(sum)
}

func (b *Build) validate() error {
	if b == nil {
		return errors.New("claim: there is none")
	}
	if err := CheckBinary(b.Binary); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	if err := CheckTarget(b.Target); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	if b.Recipe != Recipe1 {
		return &unknownClaim{fmt.Sprintf("claim: recipe %d is not known; only recipe %d is", b.Recipe, Recipe1)}
	}
	return nil
}

var (
	binaryName   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$`)
	targetTriple = regexp.MustCompile(`^[a-z0-9_]+(-[a-z0-9_.]+){1,4}$`)
)

// CheckBinary checks the name of a binary target: 1 to 64 of A-Z a-z 0-9 _ . + -, the first one
// a letter, a digit or '_'.
func CheckBinary(s string) error {
	if !binaryName.MatchString(s) {
		return fmt.Errorf("the binary's name %.100q is not 1 to 64 letters, digits, '_', '.', '+' and '-' "+
			"that begin with a letter, a digit or '_'", s)
	}
	return nil
}

// CheckTarget checks a target triple as rustc prints them: at most 64 bytes, such as
// x86_64-unknown-linux-gnu.
func CheckTarget(s string) error {
	if len(s) > 64 || !targetTriple.MatchString(s) {
		return fmt.Errorf("the target %.100q is no target triple such as x86_64-unknown-linux-gnu", s)
	}
	return nil
}

type wireBuild struct {
	Kind        string `cbor:"1,keyasint"`
	Version     uint64 `cbor:"2,keyasint"`
	Binary      string `cbor:"3,keyasint"`
	Target      string `cbor:"4,keyasint"`
	Artifact    []byte `cbor:"5,keyasint"`
	Toolchain   []byte `cbor:"6,keyasint"`
	Environment []byte `cbor:"7,keyasint"`
	Recipe      uint64 `cbor:"8,keyasint"`
	Lock        []byte `cbor:"9,keyasint"`
	Compiled    []byte `cbor:"10,keyasint"`
	Root        []byte `cbor:"11,keyasint"`
	Tag         []byte `cbor:"12,keyasint"`
}

func (b *Build) statement() any {
	return wireBuild{buildKind, buildVersion, b.Binary, b.Target, b.Artifact[:], b.Toolchain[:], b.Environment[:],
		b.Recipe, b.Lock[:], b.Compiled[:], b.Root[:], b.Tag[:]}
}

func (b *Build) wire() (any, error) { return b.statement(), nil }

func decodeBuild(raw []byte) (Claim, error) {
	var w wireBuild
	if err := decodePart("claim", raw, &w); err != nil {
		return nil, err
	}
	if w.Version != buildVersion {
		return nil, &unknownClaim{fmt.Sprintf("claim: version %d of kind %q is not known; only version %d is",
			w.Version, buildKind, buildVersion)}
	}
	b := &Build{Binary: w.Binary, Target: w.Target, Recipe: w.Recipe}
	for _, f := range []struct {
		name string
		to   *[32]byte
		from []byte
	}{
		{"artifact", &b.Artifact, w.Artifact}, {"toolchain", &b.Toolchain, w.Toolchain},
		{"environment", &b.Environment, w.Environment}, {"lock", &b.Lock, w.Lock},
		{"compiled", &b.Compiled, w.Compiled}, {"root", &b.Root, w.Root}, {"tag", &b.Tag, w.Tag},
	} {
		if err := fixed("claim: "+f.name, f.to[:], f.from); err != nil {
			return nil, err
		}
	}
	return b, nil
}
