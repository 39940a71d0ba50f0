package index

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"cratelog/entry"
)

// inherited marks a number that counts in a log before this one.
const inherited = 1 << 63

const (
	versionKind = 0
	buildKind   = 1
)

// Facts are what the map takes of an entry.
type Facts struct {
	Registry, Name, Version string
	SHA256                  [32]byte // of the .crate
	Identity, Program       [32]byte // of the claim, and of its proof
	Build                   *Build   // of a build claim; else nil
}

// Build is what the map takes of a build claim.
type Build struct {
	Binary, Target             string
	Request, Result, Root, Tag [32]byte
}

// FactsOf returns the facts of an entry that entry.ParseLeaf returned.
func FactsOf(e *entry.Entry) (Facts, error) {
	identity, err := e.Identity()
	if err != nil {
		return Facts{}, err
	}
	s := e.Subject
	f := Facts{s.Registry, s.Name, s.Version, s.SHA256, identity, e.Proof.Program, nil}
	if b, ok := e.Claim.(*entry.Build); ok {
		request, err := b.Request(s)
		if err != nil {
			return Facts{}, err
		}
		f.Build = &Build{b.Binary, b.Target, request, b.Result(), b.Root, b.Tag}
	}
	return f, nil
}

// CanonicalName returns the one spelling of a crate's name that stands for all that registries take for
// the same.
func CanonicalName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '-':
			return '_'
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, name)
}

// CanonicalVersion returns a version without its build metadata.
func CanonicalVersion(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return v
}

// VersionKey returns the key of a crate version's checksum.
func VersionKey(registry, name, version string) Key {
	var k Key
	k[0] = versionKind
	put(&k, 0, "cratelog/index/name/v1\n", registry, "\n", CanonicalName(name))
	put(&k, 1, "cratelog/index/version/v1\n", CanonicalVersion(version))
	return k
}

// EntryKey returns the key of an entry.
func (f Facts) EntryKey() Key {
	k := VersionKey(f.Registry, f.Name, f.Version)
	put(&k, 2, "cratelog/index/entry/v1\n", string(f.Identity[:]), string(f.Program[:]))
	return k
}

// buildKey returns the key of what a member says of a build.
func (f Facts) buildKey() Key {
	k := binaryKey(f.SHA256, f.Build.Binary, f.Build.Target)
	copy(k[33:], f.Build.Request[:])
	put(&k, 2, "cratelog/index/member/v1\n", string(f.Build.Tag[:]), string(f.Build.Root[:]))
	return k
}

func binaryKey(crate [32]byte, binary, target string) Key {
	var k Key
	k[0] = buildKind
	put(&k, 0, "cratelog/index/binary/v1\n", string(crate[:]), target, "\n", binary)
	return k
}

// put writes SHA-256 of the joined texts, of which the first is a label, as one of a key's three parts.
func put(k *Key, part int, of ...string) {
	sum := sha256.Sum256([]byte(strings.Join(of, "")))
	copy(k[1+32*part:], sum[:])
}

// NamePrefix covers all of a crate.
func NamePrefix(registry, name string) Prefix { return first(VersionKey(registry, name, ""), 33) }

// VersionPrefix covers all of a crate version.
func VersionPrefix(registry, name, version string) Prefix {
	return first(VersionKey(registry, name, version), 65)
}

// BinaryPrefix covers all that builders say of a binary for a target that is made of a .crate.
func BinaryPrefix(crate [32]byte, binary, target string) Prefix {
	return first(binaryKey(crate, binary, target), 33)
}

func first(k Key, n int) Prefix {
	var p Prefix
	copy(p.key[:n], k[:])
	p.bits = 8 * n
	return p
}

// Rows returns what the entry at an index of the log inserts, where no such key stands yet.
func (f Facts) Rows(i uint64) []Row {
	rows := []Row{
		{VersionKey(f.Registry, f.Name, f.Version), Version{f.SHA256, i, false}.Marshal()},
		{f.EntryKey(), number(i)},
	}
	if b := f.Build; b != nil {
		rows = append(rows, Row{f.buildKey(), slices.Concat(b.Result[:], b.Root[:], number(i))})
	}
	return rows
}

// Add inserts what the entry at an index of the log inserts.
func (m *Map) Add(i uint64, f Facts) {
	for _, r := range f.Rows(i) {
		m.Insert(r.Key, r.Value)
	}
}

// AddLeaf inserts what the leaf at an index inserts: nothing but for an entry. What a start at index 0
// inserts stands in another log.
func (m *Map) AddLeaf(i uint64, leaf entry.Leaf) error {
	e, ok := leaf.(*entry.Entry)
	if !ok {
		return nil
	}
	f, err := FactsOf(e)
	if err == nil {
		m.Add(i, f)
	}
	return err
}

func number(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) }

// Version is the value of a version key.
type Version struct {
	SHA256    [32]byte // the one checksum of the version in this log
	First     uint64   // index of the entry that fixed it, below 2^63
	Inherited bool     // First counts in a log before this one
}

// By names the entry that fixed the checksum.
func (v Version) By() string {
	if v.Inherited {
		return fmt.Sprintf("entry %d of the log before it", v.First)
	}
	return fmt.Sprintf("entry %d", v.First)
}

// Marshal returns the value of a version key.
func (v Version) Marshal() []byte {
	n := v.First
	if v.Inherited {
		n |= inherited
	}
	return append(append(make([]byte, 0, 40), v.SHA256[:]...), number(n)...)
}

// ParseVersion decodes the value of a version key.
func ParseVersion(value []byte) (Version, error) {
	if len(value) != 40 {
		return Version{}, wrong("the value of a version has %d bytes, not 40", len(value))
	}
	n := binary.BigEndian.Uint64(value[32:])
	return Version{[32]byte(value), n &^ inherited, n&inherited != 0}, nil
}

// ParseEntryNumber decodes the value of an entry key: the entry's index, below 2^63.
func ParseEntryNumber(value []byte) (uint64, error) {
	if len(value) != 8 || value[0]&0x80 != 0 {
		return 0, wrong("the value of an entry is no number below 2^63")
	}
	return binary.BigEndian.Uint64(value), nil
}

// Said is the value of a build key.
type Said struct {
	Result, Root [32]byte
	Index        uint64 // of the entry, below 2^63
}

// ParseSaid decodes the value of a build key.
func ParseSaid(value []byte) (Said, error) {
	if len(value) != 72 || value[64]&0x80 != 0 {
		return Said{}, wrong("the value of a build has not the form of one")
	}
	return Said{[32]byte(value), [32]byte(value[32:]), binary.BigEndian.Uint64(value[64:])}, nil
}

// IsVersion says whether a key is a version's, IsBuild whether it is that of what a member says. Every
// other key is an entry's.
func (k Key) IsVersion() bool { return k[0] == versionKind && [32]byte(k[65:]) == [32]byte{} }

// IsBuild says whether a key is that of what a member says of a build.
func (k Key) IsBuild() bool { return k[0] == buildKind }

// Inherit inserts what a start at index 0 inserts, if the log before it has, or had when it ended, a
// snapshot: all of its versions.
func (m *Map) Inherit(before *Snapshot) error {
	p, err := NewPrefix(Key{versionKind}, 8)
	if err != nil {
		return err
	}
	for r := range before.Rows(p) {
		if !r.Key.IsVersion() {
			continue
		}
		v, err := ParseVersion(r.Value)
		if err != nil {
			return err
		}
		v.Inherited = true
		m.Insert(r.Key, v.Marshal())
	}
	return nil
}

// Names returns the index of the entry that a row says to be of, and whether that counts in a log before this one. It
// fails if no map has the value for the key.
func (r Row) Names() (i uint64, inherited bool, err error) {
	switch {
	case r.Key.IsVersion():
		v, err := ParseVersion(r.Value)
		return v.First, v.Inherited, err
	case r.Key.IsBuild():
		s, err := ParseSaid(r.Value)
		return s.Index, false, err
	}
	i, err = ParseEntryNumber(r.Value)
	return i, false, err
}
