package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/proofcheck"
)

// MaxEnrollment is the largest size of an enrollment file, in bytes.
const MaxEnrollment = 16 << 10

const (
	enrollmentHeader = "cratelog-enrollment/v1"
	enrollDomain     = "cratelog/build/enroll/v1\n"
	enrollResult     = "cratelog/build/enroll/result/v1\n"
)

// An Enrollment is what a builder hands to who keeps a set: his member, and the proof that he has the
// key of it. Its file is one text of lines that end with LF:
//
//	cratelog-enrollment/v1
//	kind hidden
//	set rebuilders
//	builder alpha 0f3a...c2 alpha@builders.example
//	program <64 hex digits>
//	proof <base64>
//
// Proved is a text: the line "cratelog/build/enroll/v1", and the lines "set" and "builder" as they stand in the
// file. A named builder signs it with his key; program is build.NamedProgram and proof the
// signature. A hidden one proves under the program, by a build/1 proof, that he has the secret of the only leaf
// of a set: with the request SHA-256(text), and the result SHA-256("cratelog/build/enroll/result/v1\n"),
// the three most significant bits of both cleared. proof is his tag, and the proof's one part. No request of a
// build is one of an enrollment, and each has one result, so an enrollment unmasks nobody.
type Enrollment struct {
	Set     string // name of the set
	Kind    build.Kind
	Member  build.Member
	Program [32]byte // build.NamedProgram, or of the hidden proof
	Proof   []byte
}

// line is the member as it stands in the file and in a set's.
func (e *Enrollment) line() string {
	key := e.Member.VKey
	if e.Kind == build.Hidden {
		key = hex.EncodeToString(e.Member.Public[:])
	}
	return fmt.Sprintf("builder %s %s %s\n", e.Member.Name, key, e.Member.Contact)
}

// text is what is proved.
func (e *Enrollment) text() []byte {
	return fmt.Appendf(nil, "%sset %s\n%s", enrollDomain, e.Set, e.line())
}

func (e *Enrollment) statement() (request, result [32]byte) {
	request, result = sha256.Sum256(e.text()), sha256.Sum256([]byte(enrollResult))
	request[0] &= 0x1f
	result[0] &= 0x1f
	return request, result
}

// Marshal returns the enrollment's file.
func (e *Enrollment) Marshal() []byte {
	return fmt.Appendf(nil, "%s\nkind %s\nset %s\n%sprogram %x\nproof %s\n", enrollmentHeader, e.Kind, e.Set, e.line(),
		e.Program, base64.StdEncoding.EncodeToString(e.Proof))
}

// ParseEnrollment reads an enrollment in its one encoding. It does not check the proof: Verify does.
func ParseEnrollment(text []byte) (*Enrollment, error) {
	if len(text) > MaxEnrollment {
		return nil, fmt.Errorf("the enrollment is %d bytes long, more than %d", len(text), MaxEnrollment)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 7 || lines[0] != enrollmentHeader {
		return nil, fmt.Errorf("this is no enrollment: it must be six lines, of which the first is %q", enrollmentHeader)
	}
	var fields [5]string
	for i, key := range []string{"kind ", "set ", "builder ", "program ", "proof "} {
		value, ok := strings.CutPrefix(lines[1+i], key)
		if !ok {
			return nil, fmt.Errorf("the enrollment, line %d: %.100q must begin with %q", 2+i, lines[1+i], key)
		}
		fields[i] = value
	}
	e := &Enrollment{Kind: build.Kind(fields[0]), Set: fields[1]}
	// A set of this member alone is as strict about him as the one that he gets into.
	one, err := build.ParseSet(fmt.Appendf(nil, "cratelog-builders/v1\n%s\nname %s\n%s\n", lines[1], e.Set, lines[3]))
	if err != nil {
		return nil, fmt.Errorf("the enrollment: %w", err)
	}
	e.Member = one.Members[0]
	program, err := hex.DecodeString(fields[3])
	if err != nil || len(program) != len(e.Program) {
		return nil, errors.New("the enrollment's program is not 64 lower-case hex digits")
	}
	e.Program = [32]byte(program)
	if e.Proof, err = base64.StdEncoding.DecodeString(fields[4]); err != nil || len(e.Proof) == 0 {
		return nil, errors.New("the enrollment's proof is not base64")
	}
	if !bytes.Equal(e.Marshal(), text) {
		return nil, errors.New("the enrollment is not in its one encoding")
	}
	return e, nil
}

// Enroll makes the key's enrollment in a set with a name. A hidden key needs the keys of a program.
func (k *Key) Enroll(ctx context.Context, set, name, contact string, keys *membership.Keys) (*Enrollment, error) {
	if err := k.locked(); err != nil {
		return nil, err
	}
	if err := build.CheckMember(set); err != nil {
		return nil, fmt.Errorf("the set's name: %w", err)
	}
	m, err := k.Member(name, contact)
	if err != nil {
		return nil, err
	}
	e := &Enrollment{Set: set, Kind: k.Kind, Member: m, Program: build.NamedProgram}
	if k.Kind == build.Named {
		v, err := build.ParseVKey(m.VKey)
		if err != nil {
			return nil, err
		}
		e.Proof, err = v.Sign(k.signer, e.text())
		return e, err
	}
	if keys == nil {
		return nil, errors.New("a hidden member needs a program and its proving key")
	}
	e.Program = keys.Program.ID()
	request, result := e.statement()
	shown, parts, err := membership.ProveMembership(ctx, keys, [][32]byte{m.Public}, 0, k.secret, request, result)
	if err != nil {
		return nil, err
	}
	e.Proof = slices.Concat(shown.Tag[:], parts[0])
	return e, nil
}

// Verify returns nil if whoever made the enrollment has the member's key. A hidden one's program must
// be one of those that are given.
func (e *Enrollment) Verify(programs []proofcheck.Program) error {
	if e.Kind == build.Named {
		v, err := build.ParseVKey(e.Member.VKey)
		if err != nil {
			return err
		}
		if e.Program != build.NamedProgram || !v.Verify(e.text(), e.Proof) {
			return fmt.Errorf("the enrollment of %s in the set %s is not signed with the key that it enrolls", e.Member.Name,
				e.Set)
		}
		return nil
	}
	i := slices.IndexFunc(programs, func(p proofcheck.Program) bool { return p.ID() == e.Program })
	if i < 0 {
		return fmt.Errorf("the enrollment of %s in the set %s is proved under the program %x, which is not accepted: name "+
			"its file with --program", e.Member.Name, e.Set, e.Program)
	}
	if len(e.Proof) != 32+build.HiddenPart {
		return fmt.Errorf("the enrollment of %s has a proof of %d bytes, and it must have %d", e.Member.Name, len(e.Proof),
			32+build.HiddenPart)
	}
	parts := [][]byte{e.Proof[32:]}
	share, err := build.SharePart(parts)
	if err != nil {
		return err
	}
	root, err := build.HiddenRoot([][32]byte{e.Member.Public})
	if err != nil {
		return err
	}
	request, result := e.statement()
	m := proofcheck.Membership{Root: root, Request: request, Result: result, Tag: [32]byte(e.Proof), Share: share}
	if err := programs[i].VerifyMembership(m, parts); err != nil {
		return fmt.Errorf("the enrollment of %s in the set %s does not show that he has the key: %w", e.Member.Name, e.Set,
			err)
	}
	return nil
}

// NewSet makes a set of enrollments, in their order, which must all be for a set of this name and of one kind,
// and verifies them. A nil one is a vacant leaf of a hidden set.
func NewSet(name string, all []*Enrollment, programs []proofcheck.Program) (*build.Set, error) {
	s := &build.Set{Name: name}
	for _, e := range all {
		if e == nil {
			s.Members = append(s.Members, build.Member{})
			continue
		}
		if s.Kind == "" {
			s.Kind = e.Kind
		}
		switch {
		case e.Set != name:
			return nil, fmt.Errorf("%s is enrolled in the set %s, not in %s", e.Member.Name, e.Set, name)
		case e.Kind != s.Kind:
			return nil, fmt.Errorf("%s has a key of a %s set, and this one is %s", e.Member.Name, e.Kind, s.Kind)
		}
		if err := e.Verify(programs); err != nil {
			return nil, err
		}
		s.Members = append(s.Members, e.Member)
	}
	if _, err := s.Marshal(); err != nil {
		return nil, err
	}
	return s, nil
}

// Common returns how many members of a set are also members of another one, under whatever names. If a
// member attests one request under both, his tag says that he is one of these.
func Common(s, former *build.Set) (n int) {
	for _, m := range s.Members {
		if m.Name != "" && slices.ContainsFunc(former.Members, func(o build.Member) bool {
			return o.Name != "" && o.Public == m.Public && o.VKey == m.VKey
		}) {
			n++
		}
	}
	return n
}
