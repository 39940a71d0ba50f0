package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
)

// about is an entry about a version, whose .crate holds what content says, with the claim of commit n, proven under
// program n. It went through its encoding, as one of a log does.
func about(t testing.TB, name, version, content string, n byte) *entry.Entry {
	t.Helper()
	return parsed(t, &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: version, SHA256: sha256.Sum256([]byte(content))},
		Claim:   &entry.Source{Commit: [20]byte{n}}, Proof: entry.Proof{Program: [32]byte{n}, Parts: [][]byte{{1}}},
	})
}

// built is the word of a member of a set, both given by numbers, about a binary of a .crate.
func built(t testing.TB, content string, root, tag, artifact byte) *entry.Entry {
	t.Helper()
	e := about(t, "hello", "1.0.0", content, 0)
	e.Claim = &entry.Build{Binary: "hi", Target: "x86_64-unknown-linux-gnu", Recipe: entry.Recipe1, Root: [32]byte{root}, Tag: [32]byte{tag},
		Artifact: [32]byte{artifact}}
	return parsed(t, e)
}

func parsed(t testing.TB, e *entry.Entry) *entry.Entry {
	t.Helper()
	b, err := e.Marshal()
	fatalIf(t, err)
	leaf, err := entry.ParseLeaf(b)
	fatalIf(t, err)
	return leaf.(*entry.Entry)
}

// log is the map of some leaves.
func log(t testing.TB, leaves ...entry.Leaf) *Map {
	t.Helper()
	m := &Map{}
	for i, l := range leaves {
		fatalIf(t, m.AddLeaf(uint64(i), l))
	}
	return m
}

func versionOf(t testing.TB, m *Map, name, version string) Version {
	t.Helper()
	value, ok := m.Get(VersionKey(entry.DefaultRegistry, name, version))
	if !ok {
		t.Fatalf("%s %s is not in the map", name, version)
	}
	v, err := ParseVersion(value)
	fatalIf(t, err)
	return v
}

func keyOf(t testing.TB, e *entry.Entry) Key {
	t.Helper()
	f, err := FactsOf(e)
	fatalIf(t, err)
	return f.EntryKey()
}

func TestTheFirstEntryOfAVersionFixesItsChecksum(t *testing.T) {
	first, void, again := about(t, "hello", "1.0.0", "a", 1), about(t, "hello", "1.0.0", "b", 1), about(t, "hello", "1.0.0", "a", 2)
	m := log(t, about(t, "other", "1.0.0", "x", 1), first, void, again, first)
	if got, want := versionOf(t, m, "hello", "1.0.0"), (Version{sha256.Sum256([]byte("a")), 1, false}); got != want {
		t.Errorf("the version is %+v, want %+v", got, want)
	}
	for e, want := range map[*entry.Entry]uint64{first: 1, void: 2, again: 3} { // the exact repeat, 4, counts for nothing
		value, _ := m.Get(keyOf(t, e))
		if n, err := ParseEntryNumber(value); err != nil || n != want {
			t.Errorf("an entry stands at %d (%v), want %d", n, err, want)
		}
	}
	if m.Len() != 6 { // two versions, four entries
		t.Errorf("the map has %d keys", m.Len())
	}
}

func TestOneVersionHasOneKeyHoweverItIsSpelled(t *testing.T) {
	m := log(t, about(t, "Foo-Bar", "1.0.0-rc.1+x", "a", 1), about(t, "foo_bar", "1.0.0-rc.1+y", "b", 1), about(t, "FOO_BAR", "1.0.0-rc.1", "c", 1),
		about(t, "foo_bar", "1.0.0", "d", 1))
	if got := versionOf(t, m, "fOo-bAr", "1.0.0-rc.1+z"); got.First != 0 || got.SHA256 != sha256.Sum256([]byte("a")) {
		t.Errorf("the version is %+v", got)
	}
	if got := versionOf(t, m, "foo-bar", "1.0.0"); got.First != 3 {
		t.Errorf("another version is %+v", got)
	}
	keys := map[Key]string{}
	for _, s := range [][3]string{{"default", "a", "1.0.0"}, {"default", "a", "1.0.0-a"}, {"default", "a_", "1.0.0"}, {"default", "ab", "1.0.0"},
		{"https://index.example", "a", "1.0.0"}, {"https://index.example/a", "a", "1.0.0"}} {
		k := VersionKey(s[0], s[1], s[2])
		if other, ok := keys[k]; ok {
			t.Errorf("%q has the key of %s", s, other)
		}
		keys[k] = fmt.Sprint(s)
	}
	// Only ASCII has cases: this is no other spelling of k.
	if VersionKey("default", "\u212a", "1.0.0") == VersionKey("default", "k", "1.0.0") {
		t.Error("the sign for kelvin is a k")
	}
}

// TestManyClaimsOfOneVersion: there may be any number, and all of them stand under the version.
func TestManyClaimsOfOneVersion(t *testing.T) {
	var leaves []entry.Leaf
	for n := range byte(129) {
		leaves = append(leaves, about(t, "hello", "1.0.0", "a", n))
	}
	leaves = append(leaves, about(t, "hello", "1.0.1", "b", 0), about(t, "hellp", "1.0.0", "c", 0))
	s := log(t, leaves...).Snapshot()
	for p, want := range map[Prefix]int{
		VersionPrefix("default", "hello", "1.0.0"): 130, VersionPrefix("default", "Hello", "1.0.0+b"): 130,
		NamePrefix("default", "hello"): 132, NamePrefix("default", "absent"): 0, VersionPrefix("default", "hello", "2.0.0"): 0,
	} {
		rows := slices.Collect(s.Rows(p))
		_, proof := s.Prefix(p)
		if err := VerifyPrefix(s.Root(), p, rows, proof); err != nil || len(rows) != want {
			t.Errorf("%d rows, want %d: %v", len(rows), want, err)
		}
		if versions := slices.DeleteFunc(rows, func(r Row) bool { return !r.Key.IsVersion() }); want == 130 && len(versions) != 1 {
			t.Errorf("%d of them are the version", len(versions))
		}
	}
	_, proof := s.Lookup(VersionKey("default", "hello", "1.0.0"))
	if len(proof) > 1024 {
		t.Errorf("the proof of a version has %d bytes", len(proof))
	}
}

func TestOneMemberSaysOneThingOfABuild(t *testing.T) {
	said, otherwise := built(t, "a", 1, 1, 1), built(t, "a", 1, 1, 2)
	m := log(t, said, otherwise, built(t, "a", 1, 2, 1), built(t, "a", 2, 1, 3), built(t, "b", 1, 1, 1))
	s := m.Snapshot()
	crate := sha256.Sum256([]byte("a"))
	rows := slices.Collect(s.Rows(BinaryPrefix(crate, "hi", "x86_64-unknown-linux-gnu")))
	var at []uint64
	for _, r := range rows {
		w, err := ParseSaid(r.Value)
		fatalIf(t, err)
		if !r.Key.IsBuild() || r.Key.IsVersion() {
			t.Errorf("%x is not the key of a build", r.Key)
		}
		at = append(at, w.Index)
		if w.Index == 0 && (w.Result != said.Claim.(*entry.Build).Result() || w.Root != [32]byte{1}) {
			t.Errorf("the first is %+v", w)
		}
	}
	if slices.Sort(at); !slices.Equal(at, []uint64{0, 2, 3}) {
		t.Errorf("the entries %d say something of the binary", at)
	}
	for _, p := range []Prefix{BinaryPrefix(crate, "hi2", "x86_64-unknown-linux-gnu"), BinaryPrefix(crate, "hi", "x86_64-unknown-linux-musl"),
		BinaryPrefix([32]byte{}, "hi", "x86_64-unknown-linux-gnu")} {
		if n := len(slices.Collect(s.Rows(p))); n > 0 {
			t.Errorf("%d entries say something of another binary", n)
		}
	}
}

func TestSealsAndStartsInsertNothing(t *testing.T) {
	e := about(t, "hello", "1.0.0", "a", 1)
	m := log(t, &entry.Start{Origin: "log.example/1"}, e, &entry.Seal{Rules: entry.Rules, Size: 2}, &entry.Seal{Size: 99}, &entry.Start{Origin: "x"})
	if v := versionOf(t, m, "hello", "1.0.0"); v.First != 1 || m.Len() != 2 {
		t.Errorf("%+v, of %d keys", v, m.Len())
	}
}

func TestAShardKeepsTheChecksumsOfTheLogBeforeIt(t *testing.T) {
	m := log(t, about(t, "hello", "1.0.0", "a", 1), about(t, "hello", "1.0.0", "a", 2), built(t, "a", 1, 1, 1), about(t, "other", "2.0.0", "b", 1))
	var second Map
	fatalIf(t, second.Inherit(m.Snapshot()))
	if second.Len() != 2 {
		t.Errorf("%d keys are inherited, and there are 2 versions", second.Len())
	}
	fatalIf(t, second.AddLeaf(1, about(t, "hello", "1.0.0", "z", 1)))
	fatalIf(t, second.AddLeaf(2, about(t, "new", "1.0.0", "c", 1)))
	if got, want := versionOf(t, &second, "hello", "1.0.0"), (Version{sha256.Sum256([]byte("a")), 0, true}); got != want {
		t.Errorf("the version is %+v, want %+v", got, want)
	}
	// The log after that inherits both: what was logged, and what was inherited.
	var third Map
	fatalIf(t, third.Inherit(second.Snapshot()))
	for name, want := range map[string]Version{"other": {sha256.Sum256([]byte("b")), 3, true}, "new": {sha256.Sum256([]byte("c")), 2, true}} {
		version := map[string]string{"other": "2.0.0", "new": "1.0.0"}[name]
		if got := versionOf(t, &third, name, version); got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
	if third.Len() != 3 {
		t.Errorf("%d keys are inherited, and there are 3 versions", third.Len())
	}
}

func TestValuesOfAnotherFormAreRefused(t *testing.T) {
	for n := range 80 {
		value := make([]byte, n)
		_, version := ParseVersion(value)
		_, number := ParseEntryNumber(value)
		_, said := ParseSaid(value)
		if (version == nil) != (n == 40) || (number == nil) != (n == 8) || (said == nil) != (n == 72) {
			t.Errorf("%d bytes: %v, %v, %v", n, version, number, said)
		}
		for _, err := range []error{version, number, said} {
			if err != nil && !errors.Is(err, ErrProof) {
				t.Error(err)
			}
		}
	}
	high := bytes.Repeat([]byte{0xff}, 72)
	if v, err := ParseVersion(high[:40]); err != nil || !v.Inherited || v.First != 1<<63-1 || !bytes.Equal(v.Marshal(), high[:40]) {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := ParseEntryNumber(high[:8]); err == nil {
		t.Error("an entry stands above 2^63")
	}
	if _, err := ParseSaid(high); err == nil {
		t.Error("a build stands above 2^63")
	}
}

// TestKeysAndValuesAreAsTheSpecificationSays writes them by hand.
func TestKeysAndValuesAreAsTheSpecificationSays(t *testing.T) {
	sum := func(parts ...string) []byte {
		h := sha256.Sum256([]byte(strings.Join(parts, "")))
		return h[:]
	}
	e := built(t, "a", 1, 2, 3)
	e.Subject.Name, e.Subject.Version = "Foo-Bar", "1.0.0+b"
	e = parsed(t, e)
	b, s := e.Claim.(*entry.Build), e.Subject
	identity, err := e.Identity()
	fatalIf(t, err)
	request, err := b.Request(s)
	fatalIf(t, err)
	result := b.Result()
	name, version := sum("cratelog/index/name/v1\ndefault\nfoo_bar"), sum("cratelog/index/version/v1\n1.0.0")
	number := binary.BigEndian.AppendUint64(nil, 7)
	want := [][2][]byte{
		{slices.Concat([]byte{0}, name, version, make([]byte, 32)), slices.Concat(s.SHA256[:], number)},
		{slices.Concat([]byte{0}, name, version, sum("cratelog/index/entry/v1\n", string(identity[:]), string(e.Proof.Program[:]))), number},
		{slices.Concat([]byte{1}, sum("cratelog/index/binary/v1\n", string(s.SHA256[:]), "x86_64-unknown-linux-gnu\nhi"), request[:],
			sum("cratelog/index/member/v1\n", string(b.Tag[:]), string(b.Root[:]))), slices.Concat(result[:], b.Root[:], number)},
	}
	f, err := FactsOf(e)
	fatalIf(t, err)
	rows := f.Rows(7)
	if len(rows) != len(want) {
		t.Fatalf("%d rows", len(rows))
	}
	for i, r := range rows {
		if !bytes.Equal(r.Key[:], want[i][0]) || !bytes.Equal(r.Value, want[i][1]) {
			t.Errorf("row %d is %x, %x; want %x", i, r.Key, r.Value, want[i])
		}
	}
	for p, n := range map[Prefix]int{NamePrefix("default", "foo_bar"): 33, VersionPrefix("default", "foo_bar", "1.0.0"): 65} {
		if p.Bits() != 8*n || hex.EncodeToString(p.Bytes()) != hex.EncodeToString(want[0][0][:n]) {
			t.Errorf("a prefix is %x", p.Bytes())
		}
	}
	if p := BinaryPrefix(s.SHA256, b.Binary, b.Target); p.Bits() != 8*33 || !bytes.Equal(p.Bytes(), want[2][0][:33]) {
		t.Errorf("a binary's prefix is %x", p.Bytes())
	}
}
