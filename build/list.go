package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cratelog/entry"
)

const (
	// MaxList is the largest size of a list of compiled crates, in bytes.
	MaxList = 512 << 10

	maxCrates = 4096
)

// A Crate names one published .crate file; the fields are those of entry.Subject.
type Crate struct {
	Registry, Name, Version string
	SHA256                  [32]byte // of the .crate file
}

// A List holds the crates that cargo compiles for a binary, build dependencies and procedural macros
// too, but for the crate itself that has the binary. It may be empty. As text it is, for each crate,
//
//	registry SP name SP version SP SHA-256 in lower-case hex LF
//
// with the lines strictly ascending as byte strings, at most 4096 lines and 524,288 bytes. A
// registry's version of a crate stands there once. The registry is written as in entry.Subject.
type List []Crate

// ParseList reads a list in its one encoding. A text without a line is the empty list.
func ParseList(text []byte) (List, error) {
	if len(text) > MaxList {
		return nil, fmt.Errorf("the list of compiled crates is %d bytes long, more than %d", len(text), MaxList)
	}
	if n := bytes.Count(text, []byte("\n")); n > maxCrates {
		return nil, fmt.Errorf("the list of compiled crates has %d lines, more than %d", n, maxCrates)
	}
	var l List
	for line := range strings.Lines(string(text)) {
		c, err := parseCrate(line)
		if err != nil {
			return nil, fmt.Errorf("the list of compiled crates, line %d: %w", len(l)+1, err)
		}
		l = append(l, c)
	}
	if err := l.Check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(l.Marshal(), text) {
		return nil, errors.New("the list of compiled crates is not in its one encoding: sort its lines as bytes")
	}
	return l, nil
}

func parseCrate(line string) (Crate, error) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
	if len(fields) != 4 || !strings.HasSuffix(line, "\n") {
		return Crate{}, fmt.Errorf("%.100q is not \"registry name version checksum\" and a line feed", line)
	}
	sum, err := parseHex("checksum", fields[3])
	return Crate{fields[0], fields[1], fields[2], sum}, err
}

// parseHex reads 32 bytes of lower-case hex.
func parseHex(what, s string) (sum [32]byte, err error) {
	if len(s) == 2*len(sum) {
		b, err := hex.DecodeString(s)
		if err == nil && hex.EncodeToString(b) == s {
			return [32]byte(b), nil
		}
	}
	return sum, fmt.Errorf("the %s %.100q is not 64 lower-case hex digits", what, s)
}

// Check returns nil if the list is one that ParseList reads, once it is sorted.
func (l List) Check() error {
	if len(l) > maxCrates {
		return fmt.Errorf("the list of compiled crates has %d lines, more than %d", len(l), maxCrates)
	}
	type version struct{ registry, name, version string }
	seen := make(map[version]bool, len(l))
	for _, c := range l {
		err := errors.Join(entry.CheckRegistry(c.Registry), entry.CheckName(c.Name), entry.CheckVersion(c.Version))
		if err != nil {
			return fmt.Errorf("the list of compiled crates, %.64q %.64q: %w", c.Name, c.Version, err)
		}
		v := version{c.Registry, c.Name, c.Version}
		if seen[v] {
			return fmt.Errorf("the list of compiled crates has %s %s twice", c.Name, c.Version)
		}
		seen[v] = true
	}
	if n := len(l.Marshal()); n > MaxList {
		return fmt.Errorf("the list of compiled crates is %d bytes long, more than %d", n, MaxList)
	}
	return nil
}

// Marshal returns the list's text, sorted. The list is one that Check takes.
func (l List) Marshal() []byte {
	lines := make([]string, len(l))
	for i, c := range l {
		lines[i] = fmt.Sprintf("%s %s %s %x\n", c.Registry, c.Name, c.Version, c.SHA256)
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// Digest returns the SHA-256 of the list's text: entry.Build.Compiled.
func (l List) Digest() [32]byte { return sha256.Sum256(l.Marshal()) }
