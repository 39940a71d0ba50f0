// Package build knows what builders say: that a binary is what the standard compiler makes of a
// crate. It holds sets of builders, the list of crates that a build compiles, and the statements of
// single members, by name or hidden. The claim itself is entry.Build; the proof of a hidden member
// is made and checked elsewhere (build/membership, proofcheck).
//
// # Set file
//
// A set is a text of lines that end with LF, of at most 4 MiB, in one encoding:
//
//	cratelog-builders/v1
//	kind hidden
//	name rebuilders
//	builder alpha 0f3a...c2 alpha@builders.example
//	vacant
//	builder beta 21b0...9e https://beta.example
//
// The kind is "hidden" or "named". Each following line is a leaf of the set's tree, in order, at most
// 1,024 of them. A builder has a name, a key and a contact, which is the rest of the line. The key of
// a hidden builder is his public value (Secret.Public) in lower-case hex, that of a named one his
// vkey (VKey), whose name is the builder's. "vacant" is a leaf of a hidden set that nobody has (any
// longer); the last leaf is not vacant. Names and keys are each there once. The root is not
// in the file: whoever reads it computes it (Set.Root).
//
// # Named statement
//
// A named member signs the text
//
//	cratelog/build/v1
//	request <64 hex digits>
//	result <64 hex digits>
//	root <64 hex digits>
//
// where each line ends with LF, and request, result and root are those of the claim: so it can stand in
// a signed note. The entry's program is NamedProgram, and its proof has three parts: the vkey; the
// signature; and uint64 size || uint64 index || tree hash || inclusion hashes, big-endian, which show
// by RFC 6962 that the vkey is a leaf of the tree. The set's root and the member's tag are
//
//	root = SHA-256("cratelog/build/set/named/v1\n" || uint64 size || tree hash)
//	tag  = SHA-256("cratelog/build/tag/v1\n" || request || vkey)
package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"cratelog/internal/durable"
)

const (
	// MaxSet is the largest size of a set file, in bytes.
	MaxSet = 4 << 20

	setHeader  = "cratelog-builders/v1"
	maxMembers = 1 << Depth
	maxContact = 200
)

// A Kind says whether a set's members say who they are.
type Kind string

// The kinds of sets.
const (
	Hidden Kind = "hidden" // nobody learns which member speaks
	Named  Kind = "named"  // members sign with their names
)

// A Member is one leaf of a set.
type Member struct {
	Name    string   // CheckMember; "" in a hidden set is a vacant leaf, which has nothing else either
	Contact string   // CheckContact
	Public  [32]byte // of a member of a hidden set
	VKey    string   // of a member of a named set, whose name is Name
}

// A Set is a set of builders. One that ParseSet returned is valid; one made by hand is checked by
// Marshal.
type Set struct {
	Kind    Kind
	Name    string // CheckMember
	Members []Member
}

// ReadSet reads a set file.
func ReadSet(path string) (*Set, error) {
	text, err := durable.ReadAny(path, MaxSet)
	if err != nil {
		return nil, fmt.Errorf("set of builders: %w", err)
	}
	s, err := ParseSet(text)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
		if why := durable.Altered(text); why != "" {
			err = fmt.Errorf("%w (%s)", err, why)
		}
	}
	return s, err
}

// ParseSet reads a set in its one encoding.
func ParseSet(text []byte) (*Set, error) {
	if len(text) > MaxSet {
		return nil, fmt.Errorf("the set file is %d bytes long, more than %d", len(text), MaxSet)
	}
	if n := bytes.Count(text, []byte("\n")); n > 3+maxMembers {
		return nil, fmt.Errorf("the set file has %d lines, more than 3 and %d members", n, maxMembers)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if len(lines) < 4 || lines[0] != setHeader+"\n" || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("this is no set file: it must begin with the line %q, go on with kind and name, and end "+
			"with a line feed", setHeader)
	}
	var s Set
	for i, key := range []string{"kind ", "name "} {
		value, ok := strings.CutPrefix(strings.TrimSuffix(lines[1+i], "\n"), key)
		if !ok {
			return nil, fmt.Errorf("the set file, line %d: %.100q must begin with %q", 2+i, lines[1+i], key)
		}
		if i == 0 {
			s.Kind = Kind(value)
		} else {
			s.Name = value
		}
	}
	if err := s.checkHead(); err != nil {
		return nil, err
	}
	for i, line := range lines[3 : len(lines)-1] {
		m, err := s.parseMember(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("the set file, line %d: %w", 4+i, err)
		}
		s.Members = append(s.Members, m)
	}
	again, err := s.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("the set file is not in its one encoding")
	}
	return &s, nil
}

func (s *Set) parseMember(line string) (m Member, err error) {
	if line == "vacant" {
		return m, nil
	}
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 || fields[0] != "builder" {
		return m, fmt.Errorf("%.100q is neither \"builder NAME KEY CONTACT\" nor \"vacant\"", line)
	}
	m.Name, m.Contact = fields[1], fields[3]
	if err := CheckMember(m.Name); err != nil { // so that it is not taken for a vacant one
		return m, err
	}
	if s.Kind == Named {
		m.VKey = fields[2]
	} else {
		m.Public, err = parseHex("public value", fields[2])
	}
	return m, err
}

// Marshal checks the set and returns the bytes of its file.
func (s *Set) Marshal() ([]byte, error) {
	if _, err := s.check(); err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "%s\nkind %s\nname %s\n", setHeader, s.Kind, s.Name)
	for _, m := range s.Members {
		key := m.VKey
		if s.Kind == Hidden {
			key = hex.EncodeToString(m.Public[:])
		}
		if m.Name == "" {
			b = append(b, "vacant\n"...)
		} else {
			b = fmt.Appendf(b, "builder %s %s %s\n", m.Name, key, m.Contact)
		}
	}
	if len(b) > MaxSet {
		return nil, fmt.Errorf("the set file is %d bytes long, more than %d", len(b), MaxSet)
	}
	return b, nil
}

func (s *Set) checkHead() error {
	if s.Kind != Hidden && s.Kind != Named {
		return fmt.Errorf("the set's kind %.100q is neither %q nor %q", s.Kind, Hidden, Named)
	}
	if err := CheckMember(s.Name); err != nil {
		return fmt.Errorf("the set's name: %w", err)
	}
	return nil
}

// check checks the set and returns its root.
func (s *Set) check() (root [32]byte, err error) {
	if err := s.checkHead(); err != nil {
		return root, err
	}
	if n := len(s.Members); n < 1 || n > maxMembers {
		return root, fmt.Errorf("the set %s has %d members; it must have 1 to %d", s.Name, n, maxMembers)
	}
	names, keys := map[string]bool{}, map[string]string{}
	for i, m := range s.Members {
		if m == (Member{}) && s.Kind == Hidden && i < len(s.Members)-1 {
			continue
		}
		key, err := s.checkMember(m)
		if err != nil {
			return root, fmt.Errorf("the set %s, member %d: %w", s.Name, i+1, err)
		}
		if names[m.Name] {
			return root, fmt.Errorf("the set %s has a member %s twice", s.Name, m.Name)
		}
		if other, ok := keys[key]; ok {
			return root, fmt.Errorf("the set %s has one key twice: %s and %s", s.Name, other, m.Name)
		}
		names[m.Name], keys[key] = true, m.Name
	}
	if s.Kind == Named {
		return namedRoot(s.vkeys())
	}
	if root, err = HiddenRoot(s.Leaves()); err != nil {
		err = fmt.Errorf("the set %s: %w", s.Name, err)
	}
	return root, err
}

// checkMember checks a member that is not vacant, and returns what his key is, under whatever name.
func (s *Set) checkMember(m Member) (key string, err error) {
	if m == (Member{}) {
		return "", errors.New("a vacant leaf can stand in a hidden set only, and not at its end: leave it out")
	}
	if err := errors.Join(CheckMember(m.Name), CheckContact(m.Contact)); err != nil {
		return "", err
	}
	if s.Kind == Hidden {
		switch {
		case m.VKey != "":
			return "", fmt.Errorf("%s has a vkey, and the set is a hidden one", m.Name)
		case m.Public == [32]byte{}:
			return "", fmt.Errorf("the public value of %s is zero, which is a vacant leaf: make a key with "+
				"\"cargo zkp builder keygen\"", m.Name)
		}
		return string(m.Public[:]), nil
	}
	if m.Public != [32]byte{} {
		return "", fmt.Errorf("%s has a public value, and the set is a named one", m.Name)
	}
	k, err := ParseVKey(m.VKey)
	if err != nil {
		return "", err
	}
	if k.Name != m.Name {
		return "", fmt.Errorf("the vkey of %s is that of %s: a named builder has the name of his vkey", m.Name, k.Name)
	}
	return string(k.raw), nil
}

// Root returns what a claim's Root is for this set: HiddenRoot of the public values, or the root
// of a named set. It is zero, which is no set's, if the set is not valid.
func (s *Set) Root() [32]byte {
	root, err := s.check()
	if err != nil {
		return [32]byte{}
	}
	return root
}

// Leaves returns the public values of a hidden set's members, in order; of a vacant one zero.
func (s *Set) Leaves() [][32]byte {
	leaves := make([][32]byte, len(s.Members))
	for i, m := range s.Members {
		leaves[i] = m.Public
	}
	return leaves
}

func (s *Set) vkeys() []string {
	vkeys := make([]string, len(s.Members))
	for i, m := range s.Members {
		vkeys[i] = m.VKey
	}
	return vkeys
}

// Size returns how many members the set has, without vacant leaves.
func (s *Set) Size() (n int) {
	for _, m := range s.Members {
		if m.Name != "" {
			n++
		}
	}
	return n
}

// Digest returns the SHA-256 of the set's file; zero if the set is not valid.
func (s *Set) Digest() [32]byte {
	b, err := s.Marshal()
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(b)
}

var memberName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$`)

// CheckMember checks the name of a builder or of a set: 1 to 64 letters, digits and ". _ / -", the
// first one a letter or a digit.
func CheckMember(name string) error {
	if !memberName.MatchString(name) {
		return fmt.Errorf("the name %.100q is not 1 to 64 letters, digits, '.', '_', '/' and '-' that begin with a "+
			"letter or a digit", name)
	}
	return nil
}

// CheckContact checks what a set file says of how to reach a member: 1 to 200 bytes of printable
// UTF-8 without a space at either end.
func CheckContact(s string) error {
	printable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	if len(s) < 1 || len(s) > maxContact || !printable || strings.TrimSpace(s) != s {
		return fmt.Errorf("the contact %.200q is not 1 to %d bytes of printable text without a space at either end", s,
			maxContact)
	}
	return nil
}
