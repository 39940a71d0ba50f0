package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/proofcheck"
)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails the test if err does not say so.
func wants(t testing.TB, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want an error with %q", what, err, text)
	}
}

func fill(seed string) [32]byte { return sha256.Sum256([]byte(seed)) }

func newKey(t testing.TB, typ Type) *Key {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	fatalIf(t, Generate(path, typ))
	k, err := Open(path)
	fatalIf(t, err)
	t.Cleanup(func() { k.Close() })
	return k
}

// reopen closes a key and opens it again.
func reopen(t testing.TB, k *Key) *Key {
	t.Helper()
	fatalIf(t, k.Close())
	again, err := Open(k.path)
	fatalIf(t, err)
	t.Cleanup(func() { again.Close() })
	return again
}

// setOf makes a set of keys of one kind, with the names a, b, c and so on.
func setOf(t testing.TB, keys ...*Key) *build.Set {
	t.Helper()
	s := &build.Set{Kind: keys[0].Kind, Name: "rebuilders"}
	for i, k := range keys {
		m, err := k.Member(string(rune('a'+i)), "a contact")
		fatalIf(t, err)
		s.Members = append(s.Members, m)
	}
	_, err := s.Marshal()
	fatalIf(t, err)
	return s
}

func list() build.List {
	return build.List{{Registry: entry.DefaultRegistry, Name: "dep", Version: "1.0.0", SHA256: fill("dep")}}
}

// attestation is what a key is asked to say of a binary with some content, with all that a log has.
func attestation(set *build.Set, artifact string, rows ...client.BuildRow) Attestation {
	return Attestation{
		Set:     set,
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "hello", Version: "0.1.0", SHA256: fill("crate")},
		Claim: entry.Build{Binary: "hello", Target: "x86_64-unknown-linux-gnu", Artifact: fill(artifact), Toolchain: fill("t"),
			Environment: fill("e"), Recipe: entry.Recipe1, Lock: fill("l"), Compiled: list().Digest()},
		List: list(), Rows: append([]client.BuildRow{}, rows...),
	}
}

// row is what the log says of an entry.
func row(t testing.TB, e *entry.Entry, index uint64) client.BuildRow {
	t.Helper()
	c := e.Claim.(*entry.Build)
	request, err := c.Request(e.Subject)
	fatalIf(t, err)
	return client.BuildRow{Index: index, Program: e.Proof.Program, Binary: c.Binary, Target: c.Target, Artifact: c.Artifact,
		Compiled: c.Compiled, Request: request, Result: c.Result(), Root: c.Root, Tag: c.Tag}
}

func attest(t testing.TB, k *Key, a Attestation) *entry.Entry {
	t.Helper()
	e, err := k.Attest(t.Context(), a)
	fatalIf(t, err)
	return e
}

func TestKeysAreKeptAndReadBack(t *testing.T) {
	for _, typ := range []Type{Secret, Ed25519, MLDSA44} {
		k := newKey(t, typ)
		if again := reopen(t, k); again.ID() != k.ID() || again.Type() != typ || again.Kind != k.Kind {
			t.Errorf("%s: another key is read back: %s", typ, again.Type())
		}
		for _, ext := range []string{"", LockExt, JournalExt} {
			info, err := os.Stat(k.path + ext)
			fatalIf(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s: KEY%s has mode %v", typ, ext, info.Mode())
			}
		}
		if err := Generate(k.path, typ); err == nil {
			t.Errorf("%s: a key is overwritten", typ)
		}
		if err := os.Remove(k.path); err != nil {
			t.Fatal(err)
		}
		wants(t, "the key is lost and the journal is not", Generate(k.path, typ), "is the journal of a key")
	}
	wants(t, "type", Generate(filepath.Join(t.TempDir(), "k"), "rsa"), "no type")
}

func TestSecretFilesAreReadStrictly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	digits := strings.Repeat("0a", 32)
	for name, c := range map[string]struct{ text, want string }{
		"short":      {secretHeader + digits[2:] + "\n", "64 lower-case"},
		"long":       {secretHeader + digits + "00\n", "64 lower-case"},
		"upper case": {secretHeader + strings.ToUpper(digits) + "\n", "64 lower-case"},
		"no end":     {secretHeader + digits, "64 lower-case"},
		"more":       {secretHeader + digits + "\n\n", "64 lower-case"},
		"zero":       {secretHeader + strings.Repeat("0", 64) + "\n", "is zero"},
		"too large":  {secretHeader + strings.Repeat("f", 64) + "\n", "below the field's order"},
		"header":     {"cratelog-builder-secret/v2\n" + digits + "\n", "PEM"},
	} {
		fatalIf(t, os.WriteFile(path, []byte(c.text), 0o600))
		_, err := read(path)
		wants(t, name, err, c.want)
		if err != nil && strings.Contains(err.Error(), digits[:20]) {
			t.Errorf("%s: the error tells the secret: %v", name, err)
		}
	}
	fatalIf(t, os.WriteFile(path, []byte(secretHeader+digits+"\n"), 0o600))
	k, err := read(path)
	fatalIf(t, err)
	if b := k.secret.Bytes(); hex.EncodeToString(b[:]) != digits {
		t.Errorf("the secret read is another")
	}
	fatalIf(t, os.Chmod(path, 0o640))
	if _, err := Open(path); !errors.Is(err, config.ErrKeyPermissions) {
		t.Errorf("readable by others: %v", err)
	}
}

func TestAKeyIsUsedByOneProcess(t *testing.T) {
	k := newKey(t, Ed25519)
	_, err := Open(k.path)
	wants(t, "opened twice", err, "in use by another process")
	reopen(t, k)
}

func TestAKeyWithoutItsJournalIsNotUsed(t *testing.T) {
	k, other := newKey(t, Ed25519), newKey(t, Ed25519)
	fatalIf(t, k.Close())
	fatalIf(t, os.Rename(k.path+JournalExt, k.path+".old"))
	_, err := Open(k.path)
	wants(t, "no journal", err, "has no journal")
	text, err := os.ReadFile(other.path + JournalExt)
	fatalIf(t, err)
	fatalIf(t, os.WriteFile(k.path+JournalExt, text, 0o600))
	_, err = Open(k.path)
	wants(t, "another's journal", err, "of another key")
	fatalIf(t, os.Rename(k.path+".old", k.path+JournalExt))
	k, err = Open(k.path)
	fatalIf(t, err)
	fatalIf(t, k.Close())
}

func TestJournalsAreReadStrictly(t *testing.T) {
	key := fill("key")
	head := fmt.Sprintf("%skey %x\n", journalHeader, key)
	a, b := fmt.Sprintf("%x", fill("a")), fmt.Sprintf("%x", fill("b"))
	good := head + a + " " + b + "\n" + b + " " + b + "\n"
	j, err := parseJournal([]byte(good), key)
	fatalIf(t, err)
	if len(j.results) != 2 || j.results[fill("a")] != fill("b") {
		t.Errorf("read as %x", j.results)
	}
	for name, text := range map[string]string{
		"empty":      "",
		"header":     strings.Replace(good, "v1", "v2", 1),
		"no key":     journalHeader,
		"cut off":    good[:len(good)-1],
		"torn":       good[:len(good)-10],
		"twice":      good + a + " " + b + "\n",
		"two":        good + a + " " + b + "\n" + a + " " + a + "\n",
		"empty line": good + "\n",
		"upper case": head + strings.ToUpper(a) + " " + b + "\n",
		"no space":   head + a + b + "\n",
		"other gap":  head + a[:62] + " " + a[62:] + b + "\n",
		"CRLF":       strings.ReplaceAll(good, "\n", "\r\n"),
		"three":      head + a + " " + b + " " + b + "\n",
	} {
		if _, err := parseJournal([]byte(text), key); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzJournal(f *testing.F) {
	key := fill("key")
	head := fmt.Sprintf("%skey %x\n", journalHeader, key)
	f.Add([]byte(head))
	f.Add([]byte(head + journalLine(fill("a"), fill("b"))))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := parseJournal(text, key)
		if err == nil && len(text) != len(head)+len(j.results)*len(journalLine(key, key)) {
			t.Errorf("%q is read as %d results", text, len(j.results))
		}
	})
}

// TestAResultIsInTheJournalBeforeItIsSaid: the entry cannot be made, and the journal knows all the
// same; with another result it is not made.
func TestAResultIsInTheJournalBeforeItIsSaid(t *testing.T) {
	k := newKey(t, Secret)
	set := setOf(t, k)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the proof cannot be made
	a := attestation(set, "one")
	a.Keys = &membership.Keys{}
	if _, err := k.Attest(ctx, a); err == nil {
		t.Fatal("a proof is made")
	}
	k = reopen(t, k)
	if k.Attested() != 1 {
		t.Fatalf("the journal has %d requests", k.Attested())
	}
	two := attestation(set, "two")
	two.Keys = a.Keys
	var contradiction *ContradictionError
	if _, err := k.Attest(t.Context(), two); !errors.As(err, &contradiction) || contradiction.Index != nil {
		t.Errorf("another result: %v", err)
	}
}

func TestNobodyContradictsHimself(t *testing.T) {
	k := newKey(t, Ed25519)
	set := setOf(t, k, newKey(t, Ed25519))
	one := attest(t, k, attestation(set, "one"))
	if member, err := build.VerifyNamed(one); err != nil || member != "a" {
		t.Fatalf("%q, %v", member, err)
	}
	for _, k := range []*Key{k, reopen(t, k)} {
		_, err := k.Attest(t.Context(), attestation(set, "two"))
		var contradiction *ContradictionError
		if !errors.As(err, &contradiction) {
			t.Errorf("another result: %v", err)
		}
		wants(t, "another result", err, "nothing was attested: two results under one tag unmask")
	}
}

// TestARestoredJournalStopsTheKey: the journal is from before an attestation, and the log is not.
func TestARestoredJournalStopsTheKey(t *testing.T) {
	k := newKey(t, Ed25519)
	set := setOf(t, k)
	before, err := os.ReadFile(k.path + JournalExt)
	fatalIf(t, err)
	logged := row(t, attest(t, k, attestation(set, "one")), 7)
	fatalIf(t, k.Close())
	fatalIf(t, os.WriteFile(k.path+JournalExt, before, 0o600))
	k, err = Open(k.path)
	fatalIf(t, err)
	defer k.Close()

	_, err = k.Attest(t.Context(), attestation(set, "two", logged))
	var contradiction *ContradictionError
	if !errors.As(err, &contradiction) || contradiction.Index == nil || *contradiction.Index != 7 {
		t.Errorf("another result: %v", err)
	}
	wants(t, "another result", err, "as entry 7, that this key attested")
	_, err = k.Attest(t.Context(), attestation(set, "one", logged))
	var unknown *UnknownError
	if !errors.As(err, &unknown) {
		t.Errorf("the same result: %v", err)
	}
	if k.Attested() != 0 {
		t.Error("the journal has what was not attested")
	}
	s, err := k.Status([]client.BuildRow{logged}, []*build.Set{set})
	fatalIf(t, err)
	if len(s.Unknown) != 1 || len(s.Known)+len(s.Against) != 0 {
		t.Errorf("the status is %+v", s)
	}
	fatalIf(t, k.Adopt(s.Unknown))
	if s, err = k.Status([]client.BuildRow{logged}, []*build.Set{set}); err != nil || len(s.Known) != 1 {
		t.Errorf("adopted, the status is %+v, %v", s, err)
	}
	var stands *StandsError
	if _, err = k.Attest(t.Context(), attestation(set, "one", logged)); !errors.As(err, &stands) || stands.Other {
		t.Errorf("adopted, and attested again: %v", err)
	}
}

// TestAStolenKeyIsSeen: what others attest with the key is screamed at, in all sets and for all builds.
func TestAStolenKeyIsSeen(t *testing.T) {
	for _, typ := range []Type{Secret, Ed25519} {
		k, other := newKey(t, typ), newKey(t, typ)
		set := setOf(t, other, k)
		a := attestation(set, "one")
		request, err := a.Claim.Request(a.Subject)
		fatalIf(t, err)
		mine := client.BuildRow{Index: 3, Request: request, Result: fill("x"), Tag: k.tag(set.Members[1], request)}
		theirs := client.BuildRow{Index: 4, Request: request, Result: fill("x"), Tag: other.tag(set.Members[0], request)}
		odd := client.BuildRow{Index: 5, Request: [32]byte{0xff}, Tag: mine.Tag} // a log can say anything
		s, err := k.Status([]client.BuildRow{theirs, mine, odd}, []*build.Set{set})
		fatalIf(t, err)
		if len(s.Unknown) != 1 || s.Unknown[0].Index != 3 {
			t.Errorf("%s: the status is %+v", typ, s)
		}
		fatalIf(t, k.journal.record(request, a.Claim.Result()))
		if s, err = k.Status([]client.BuildRow{mine}, []*build.Set{set}); err != nil || len(s.Against) != 1 {
			t.Errorf("%s: against the journal, the status is %+v, %v", typ, s, err)
		}
	}
}

func TestAgreementIsSaidByItselfAndDissentIsNot(t *testing.T) {
	first, second := newKey(t, Ed25519), newKey(t, MLDSA44)
	set := setOf(t, first, second)
	logged := row(t, attest(t, first, attestation(set, "one")), 3)
	attest(t, second, attestation(set, "one", logged))

	third := newKey(t, Ed25519)
	set3 := setOf(t, first, second, third)
	_, err := third.Attest(t.Context(), attestation(set3, "two", logged))
	var dissent *DissentError
	if !errors.As(err, &dissent) || len(dissent.Others) != 1 {
		t.Fatalf("a dissent: %v", err)
	}
	for _, text := range []string{fmt.Sprintf("%x", fill("one")), fmt.Sprintf("%x", fill("two")), "entry 3", "--dissent"} {
		wants(t, "a dissent", err, text)
	}
	if third.Attested() != 0 {
		t.Error("the journal has what was not attested")
	}
	a := attestation(set3, "two", logged)
	a.Dissent = true
	if _, err := build.VerifyNamed(attest(t, third, a)); err != nil {
		t.Error(err)
	}
	other := logged // of another build
	other.Request = fill("other")
	fourth := newKey(t, Ed25519)
	attest(t, fourth, attestation(setOf(t, fourth), "two", other))
}

func TestOneBuildIsSaidOnceWhateverTheSet(t *testing.T) {
	k := newKey(t, Ed25519)
	old := setOf(t, k)
	logged := row(t, attest(t, k, attestation(old, "one")), 3)
	next := setOf(t, k, newKey(t, Ed25519))
	_, err := k.Attest(t.Context(), attestation(next, "one", logged))
	var stands *StandsError
	if !errors.As(err, &stands) || !stands.Other {
		t.Fatalf("in another set: %v", err)
	}
	a := attestation(next, "one", logged)
	a.Again = true
	if e := attest(t, k, a); e.Claim.(*entry.Build).Root != next.Root() {
		t.Error("it is of the old set")
	}
}

func TestWhatIsNotAsItIsToBeIsNotAttested(t *testing.T) {
	k, hidden := newKey(t, Ed25519), newKey(t, Secret)
	set := setOf(t, k)
	for name, c := range map[string]struct {
		key    *Key
		change func(a *Attestation)
		want   string
	}{
		"a stranger":      {newKey(t, Ed25519), func(*Attestation) {}, "has no member with the key"},
		"another kind":    {hidden, func(*Attestation) {}, "has no member with the key"},
		"another list":    {k, func(a *Attestation) { a.List = nil }, "is not that of the claim"},
		"a bad list":      {k, func(a *Attestation) { a.List[0].Name = "" }, "crate name"},
		"log not asked":   {k, func(a *Attestation) { a.Rows = nil }, "was not asked"},
		"a bad claim":     {k, func(a *Attestation) { a.Claim.Recipe = 9 }, "recipe 9"},
		"no proving keys": {hidden, func(a *Attestation) { a.Set = setOf(t, hidden) }, "needs a program"},
	} {
		a := attestation(set, "one")
		c.change(&a)
		_, err := c.key.Attest(t.Context(), a)
		wants(t, name, err, c.want)
		if c.key.Attested() != 0 {
			t.Errorf("%s: it stands in the journal", name)
		}
	}
	a := attestation(set, "one")
	a.Rows, a.Offline = nil, true
	attest(t, k, a)
}

func enrolled(t testing.TB, k *Key, set, name string, keys *membership.Keys) *Enrollment {
	t.Helper()
	e, err := k.Enroll(t.Context(), set, name, "a contact", keys)
	fatalIf(t, err)
	return e
}

func TestNamedBuildersEnroll(t *testing.T) {
	var all []*Enrollment
	keys := []*Key{newKey(t, Ed25519), newKey(t, MLDSA44)}
	for i, k := range keys {
		e := enrolled(t, k, "rebuilders", string(rune('a'+i)), nil)
		back, err := ParseEnrollment(e.Marshal())
		fatalIf(t, err)
		all = append(all, back)
		for name, change := range map[string]func(e *Enrollment){
			"set":     func(e *Enrollment) { e.Set = "others" },
			"name":    func(e *Enrollment) { m, _ := k.Member("z", "a contact"); e.Member = m },
			"contact": func(e *Enrollment) { e.Member.Contact = "another" },
			"key":     func(e *Enrollment) { m, _ := newKey(t, Ed25519).Member(e.Member.Name, "a contact"); e.Member = m },
			"program": func(e *Enrollment) { e.Program[0] ^= 1 },
			"proof": func(e *Enrollment) {
				e.Proof = append(bytes.Clone(e.Proof[:len(e.Proof)-1]), e.Proof[len(e.Proof)-1]^1)
			},
		} {
			bad := *e
			change(&bad)
			if err := bad.Verify(nil); err == nil {
				t.Errorf("%s: %s: believed", k.Type(), name)
			}
		}
	}
	s, err := NewSet("rebuilders", all, nil)
	fatalIf(t, err)
	if s.Root() != setOf(t, keys...).Root() {
		t.Error("the set is another")
	}
	_, err = NewSet("others", all, nil)
	wants(t, "another set", err, "is enrolled in the set rebuilders")
	_, err = NewSet("rebuilders", append(all, all[0]), nil)
	wants(t, "twice", err, "twice")
	_, err = NewSet("rebuilders", append([]*Enrollment{nil}, all...), nil)
	wants(t, "vacant", err, "vacant")
	bad := *all[1]
	bad.Proof = all[0].Proof
	_, err = NewSet("rebuilders", []*Enrollment{all[0], &bad}, nil)
	wants(t, "another's proof", err, "is not signed with the key")
	if n := Common(s, setOf(t, keys[1], newKey(t, Ed25519))); n != 0 {
		t.Errorf("%d common members: the vkeys have other names", n)
	}
	if n := Common(s, setOf(t, keys[0], newKey(t, Ed25519))); n != 1 {
		t.Errorf("%d common members, want 1", n)
	}
}

// TestAHiddenBuilderEnrollsAndAttests proves, with development keys.
func TestAHiddenBuilderEnrollsAndAttests(t *testing.T) {
	if testing.Short() {
		t.Skip("makes keys, and proves")
	}
	keys, err := membership.DevelopmentKeys()
	fatalIf(t, err)
	programs := []proofcheck.Program{keys.Program}
	first, second := newKey(t, Secret), newKey(t, Secret)
	e := enrolled(t, first, "rebuilders", "a", keys)
	back, err := ParseEnrollment(e.Marshal())
	fatalIf(t, err)
	for name, change := range map[string]func(e *Enrollment){
		"set":     func(e *Enrollment) { e.Set = "others" },
		"name":    func(e *Enrollment) { e.Member.Name = "z" },
		"contact": func(e *Enrollment) { e.Member.Contact = "another" },
		"key":     func(e *Enrollment) { e.Member.Public = second.secret.Public() },
		"program": func(e *Enrollment) { e.Program[0] ^= 1 },
		"tag":     func(e *Enrollment) { e.Proof = bytes.Clone(e.Proof); e.Proof[31] ^= 1 },
		"share":   func(e *Enrollment) { e.Proof = bytes.Clone(e.Proof); e.Proof[63] ^= 1 },
		"proof":   func(e *Enrollment) { e.Proof = bytes.Clone(e.Proof); e.Proof[100] ^= 1 },
		"short":   func(e *Enrollment) { e.Proof = e.Proof[:191] },
		"as a signature": func(e *Enrollment) {
			e.Kind, e.Member.VKey, e.Member.Public = build.Named, "", [32]byte{}
		},
	} {
		bad := *back
		change(&bad)
		if err := bad.Verify(programs); err == nil {
			t.Errorf("%s: believed", name)
		}
	}
	wants(t, "no program", back.Verify(nil), "is not accepted")
	s, err := NewSet("rebuilders", []*Enrollment{back, nil, enrolled(t, second, "rebuilders", "b", keys)}, programs)
	fatalIf(t, err)
	if s.Size() != 2 || len(s.Members) != 3 {
		t.Errorf("the set has %d members", s.Size())
	}
	_, err = NewSet("rebuilders", []*Enrollment{back, enrolled(t, newKey(t, Ed25519), "rebuilders", "b", nil)}, programs)
	wants(t, "two kinds", err, "and this one is hidden")

	a := attestation(s, "one")
	a.Keys = keys
	said := attest(t, second, a)
	logged := row(t, said, 5)
	v, err := proofcheck.New(programs)
	fatalIf(t, err)
	if _, err := v.Chain(said); err != nil {
		t.Errorf("the attestation: %v", err)
	}
	if st, err := second.Status([]client.BuildRow{logged}, nil); err != nil || len(st.Known) != 1 {
		t.Errorf("the status is %+v, %v", st, err)
	}
	a.Rows = []client.BuildRow{logged}
	if agreed := attest(t, first, a); agreed.Claim.(*entry.Build).Tag == said.Claim.(*entry.Build).Tag {
		t.Error("two members have one tag")
	}
}

func TestEnrollmentsAreReadStrictly(t *testing.T) {
	good := string(enrolled(t, newKey(t, Ed25519), "rebuilders", "a", nil).Marshal())
	for name, text := range map[string]string{
		"empty":       "",
		"header":      strings.Replace(good, "v1", "v2", 1),
		"no end":      good[:len(good)-1],
		"more":        good + "\n",
		"kind":        strings.Replace(good, "kind named", "kind hidden", 1),
		"odd kind":    strings.Replace(good, "kind named", "kind x", 1),
		"set":         strings.Replace(good, "set rebuilders", "set re builders", 1),
		"name":        strings.Replace(good, "builder a ", "builder b ", 1),
		"vacant":      strings.Replace(good, "builder a", "vacant", 1),
		"program":     strings.Replace(good, "program ", "program 0", 1),
		"proof":       strings.Replace(good, "proof ", "proof !", 1),
		"no proof":    good[:strings.Index(good, "proof ")] + "proof \n",
		"two members": strings.Replace(good, "set rebuilders", "set rebuilders\nvacant", 1),
		"CRLF":        strings.ReplaceAll(good, "\n", "\r\n"),
		"too long":    good + strings.Repeat("x", MaxEnrollment),
	} {
		if _, err := ParseEnrollment([]byte(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzEnrollment(f *testing.F) {
	f.Add(enrolled(f, newKey(f, Ed25519), "rebuilders", "a", nil).Marshal())
	h := &Enrollment{Set: "s", Kind: build.Hidden, Member: build.Member{Name: "a", Contact: "b", Public: [32]byte{1}}, Proof: []byte{1}}
	f.Add(h.Marshal())
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseEnrollment(text)
		if err == nil && !bytes.Equal(e.Marshal(), text) {
			t.Errorf("%q is read, and written as %q", text, e.Marshal())
		}
		if err == nil {
			_ = e.Verify(nil)
		}
	})
}
