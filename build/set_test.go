package build

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/mldsa"
)

func testSecret(t testing.TB, name string) Secret {
	t.Helper()
	b := fill(name)
	b[0] &= 0x1f
	s, err := ParseSecret(b)
	fatalIf(t, err)
	return s
}

func edKey(name string) ed25519.PrivateKey {
	seed := fill(name)
	return ed25519.NewKeyFromSeed(seed[:])
}

func mldsaKey(t testing.TB, name string) *mldsa.PrivateKey {
	t.Helper()
	seed := fill(name)
	k, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed[:])
	fatalIf(t, err)
	return k
}

func hiddenSet(t testing.TB) *Set {
	t.Helper()
	s := &Set{Kind: Hidden, Name: "rebuilders"}
	for _, name := range []string{"alpha", "", "beta.example/one", "gamma"} {
		m := Member{Name: name}
		if name != "" {
			m.Contact, m.Public = "builds at "+name, testSecret(t, name).Public()
		}
		s.Members = append(s.Members, m)
	}
	return s
}

// namedSet has members alpha and gamma with Ed25519 keys, and beta with one of ML-DSA-44.
func namedSet(t testing.TB) *Set {
	t.Helper()
	s := &Set{Kind: Named, Name: "rebuilders"}
	for _, name := range []string{"alpha", "beta", "gamma"} {
		k, err := NewVKey(name, edKey(name).Public())
		if name == "beta" {
			k, err = NewVKey(name, mldsaKey(t, name).PublicKey())
		}
		fatalIf(t, err)
		s.Members = append(s.Members, Member{Name: name, Contact: name + "@builders.example", VKey: k.String()})
	}
	return s
}

func marshal(t testing.TB, s *Set) []byte {
	t.Helper()
	b, err := s.Marshal()
	fatalIf(t, err)
	return b
}

// TestSetsHaveOneText: roots and digests are golden values, which policies name.
func TestSetsHaveOneText(t *testing.T) {
	for _, c := range []struct {
		set          *Set
		size         int
		root, digest string
	}{
		{hiddenSet(t), 3, "28e2399984874dcc369af8f87cf31b55ba5d37b507427882f8e8b5e00f3127d6",
			"22a71706b592780541f5485ec1d289799b9d238ca355f311b2fde41b77a38c06"},
		{namedSet(t), 3, "f70a817de3c0b07efeb6a87b1b17b4cbd18e422d613b5856e14ec9d7fb359207",
			"5259b803fc5873774d5d544c3b8380343e9fdbdfceb2d656d3266a4b9afb7b1c"},
	} {
		text := marshal(t, c.set)
		back, err := ParseSet(text)
		fatalIf(t, err)
		if !bytes.Equal(marshal(t, back), text) || back.Root() != c.set.Root() || back.Size() != c.size {
			t.Errorf("%s: read and written again it is another:\n%s", c.set.Kind, text)
		}
		if got := fmt.Sprintf("%x", back.Root()); got != c.root {
			t.Errorf("%s: the root is %s, want %s", c.set.Kind, got, c.root)
		}
		if got := fmt.Sprintf("%x", back.Digest()); got != c.digest || back.Digest() != sha256.Sum256(text) {
			t.Errorf("%s: the digest is %s, want %s", c.set.Kind, got, c.digest)
		}
	}
}

func TestTheRootOfAHiddenSetIsThatOfItsLeaves(t *testing.T) {
	s := hiddenSet(t)
	want, err := HiddenRoot([][32]byte{testSecret(t, "alpha").Public(), {}, testSecret(t, "beta.example/one").Public(),
		testSecret(t, "gamma").Public()})
	fatalIf(t, err)
	if s.Root() != want {
		t.Errorf("the root is %x, want %x", s.Root(), want)
	}
}

func TestASetFileIsReadFromDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "set")
	text := marshal(t, hiddenSet(t))
	fatalIf(t, os.WriteFile(file, text, 0o644))
	s, err := ReadSet(file)
	fatalIf(t, err)
	if s.Digest() != sha256.Sum256(text) {
		t.Error("it is another set")
	}
	fatalIf(t, os.WriteFile(file, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), 0o644))
	if _, err := ReadSet(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v does not name the file", err)
	}
}

func TestSetFilesAreReadStrictly(t *testing.T) {
	hidden, named := string(marshal(t, hiddenSet(t))), string(marshal(t, namedSet(t)))
	alpha := fmt.Sprintf("%x", testSecret(t, "alpha").Public())
	r := "30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001" // the field's order
	replace := func(old, new string) string {
		if !strings.Contains(hidden, old) {
			t.Fatalf("there is no %q in the file", old)
		}
		return strings.Replace(hidden, old, new, 1)
	}
	many := strings.Join(strings.SplitAfter(hidden, "\n")[:3], "") + strings.Repeat("vacant\n", maxMembers+1)
	edVKey := namedSet(t).Members[0].VKey
	other, err := NewVKey("delta", edKey("alpha").Public())
	fatalIf(t, err)
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "no set file"},
		"header":             {replace("cratelog-builders/v1", "cratelog-builders/v2"), "no set file"},
		"head only":          {strings.Join(strings.SplitAfter(hidden, "\n")[:3], ""), "0 members"},
		"no line feed":       {strings.TrimSuffix(hidden, "\n"), "no set file"},
		"CRLF":               {strings.ReplaceAll(hidden, "\n", "\r\n"), "no set file"},
		"empty line":         {hidden + "\n", "neither"},
		"kind":               {replace("kind hidden", "kind secret"), "neither \"hidden\" nor \"named\""},
		"kind key":           {replace("kind hidden", "Kind hidden"), "must begin with \"kind \""},
		"name key":           {replace("name rebuilders", "nam rebuilders"), "must begin with \"name \""},
		"set's name":         {replace("name rebuilders", "name our rebuilders"), "the set's name"},
		"no set's name":      {replace("name rebuilders", "name "), "the set's name"},
		"word":               {replace("vacant", "vacant "), "neither"},
		"member":             {replace("builder alpha", "member alpha"), "neither"},
		"no contact":         {replace(" builds at alpha", ""), "neither"},
		"empty contact":      {replace(" builds at alpha", " "), "contact"},
		"contact's end":      {replace("builds at alpha", "builds at alpha "), "contact"},
		"contact's start":    {replace("builds at alpha", " builds at alpha"), "contact"},
		"contact's tab":      {replace("builds at alpha", "builds\tat alpha"), "contact"},
		"contact turns text": {replace("builds at alpha", "builds \u202eat alpha"), "contact"},
		"contact's bytes":    {replace("builds at alpha", "builds \xff"), "contact"},
		"contact too long":   {replace("builds at alpha", strings.Repeat("x", 201)), "contact"},
		"name":               {replace("builder alpha", "builder -alpha"), "the name"},
		"no name":            {replace("builder alpha", "builder "), "the name"},
		"name twice":         {replace("builder gamma", "builder alpha"), "a member alpha twice"},
		"key twice":          {replace(fmt.Sprintf("%x", testSecret(t, "gamma").Public()), alpha), "one key twice: alpha and gamma"},
		"key upper":          {replace(alpha, strings.ToUpper(alpha)), "hex digits"},
		"key short":          {replace(alpha, alpha[2:]), "hex digits"},
		"key zero":           {replace(alpha, strings.Repeat("0", 64)), "a vacant leaf"},
		"key is r":           {replace(alpha, r), "order"},
		"vacant at the end":  {hidden + "vacant\n", "not at its end"},
		"all vacant":         {strings.Join(strings.SplitAfter(hidden, "\n")[:3], "") + "vacant\n", "not at its end"},
		"vkey":               {replace(alpha, edVKey), "hex digits"},
		"as a named set":     {replace("kind hidden", "kind named"), "vkey"},
		"too many":           {many, "more than 3 and 1024"},
		"named vacant":       {named + "vacant\n", "can stand in a hidden set only"},
		"named, not hidden":  {strings.Replace(named, "kind named", "kind hidden", 1), "hex digits"},
		"named as another":   {strings.Replace(named, "builder alpha", "builder omega", 1), "has the name of his vkey"},
		"named key twice":    {named + "builder delta " + other.String() + " x\n", "one key twice: alpha and delta"},
	} {
		if _, err := ParseSet([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}

func TestASetMadeByHandIsChecked(t *testing.T) {
	for name, change := range map[string]func(s *Set){
		"no members":          func(s *Set) { s.Members = nil },
		"a vacant contact":    func(s *Set) { s.Members[1].Contact = "x" },
		"a vacant key":        func(s *Set) { s.Members[1].Public = s.Members[0].Public },
		"a vkey":              func(s *Set) { s.Members[0].VKey = "x" },
		"contact over a line": func(s *Set) { s.Members[0].Contact = "x\nvacant" },
		"name over a line":    func(s *Set) { s.Members[0].Name = "x\n" },
		"no kind":             func(s *Set) { s.Kind = "" },
		"too large a key":     func(s *Set) { s.Members[0].Public[0] = 0xff },
	} {
		s := hiddenSet(t)
		change(s)
		if _, err := s.Marshal(); err == nil {
			t.Errorf("%s: written", name)
		}
		if s.Root() != [32]byte{} || s.Digest() != [32]byte{} {
			t.Errorf("%s: it has a root or a digest", name)
		}
	}
	s := namedSet(t)
	s.Members[0].Public[0] = 1
	if _, err := s.Marshal(); err == nil {
		t.Error("a public value in a named set: written")
	}
}

// TestAFullSetFits: 1,024 members of either kind are read back.
func TestAFullSetFits(t *testing.T) {
	h := &Set{Kind: Hidden, Name: "all"}
	n := &Set{Kind: Named, Name: "all"}
	pk := mldsaKey(t, "x").PublicKey()
	for i := range maxMembers {
		name := fmt.Sprintf("%064d", i)
		contact, public := strings.Repeat("x", 200), testSecret(t, name).Public()
		h.Members = append(h.Members, Member{Name: name, Contact: contact, Public: public})
		k, err := NewVKey(name, edKey(name).Public())
		fatalIf(t, err)
		n.Members = append(n.Members, Member{Name: name, Contact: contact, VKey: k.String()})
	}
	longest, err := NewVKey(strings.Repeat("x", 64), pk)
	fatalIf(t, err)
	if room := maxMembers*(len("builder   \n")+64+len(longest.String())+200) + 200; room > MaxSet {
		t.Errorf("a full set of ML-DSA keys takes %d bytes", room)
	}
	for _, s := range []*Set{h, n} {
		text := marshal(t, s)
		if back, err := ParseSet(text); err != nil || back.Root() != s.Root() || back.Size() != maxMembers {
			t.Errorf("%s: %v", s.Kind, err)
		}
		s.Members = append(s.Members, Member{Name: "one-more", Contact: "x"})
		if s.Root() != [32]byte{} {
			t.Errorf("%s: one more is taken", s.Kind)
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add(marshal(f, hiddenSet(f)))
	f.Add(marshal(f, namedSet(f)))
	f.Add([]byte("cratelog-builders/v1\nkind named\nname a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSet(text)
		if err != nil {
			return
		}
		if again, err := s.Marshal(); err != nil || !bytes.Equal(again, text) || s.Root() == [32]byte{} {
			t.Errorf("%q is read, and written as %q: %v", text, again, err)
		}
	})
}
