package build

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"cratelog/entry"
)

func testSubject() entry.Subject {
	return entry.Subject{Registry: entry.DefaultRegistry, Name: "hello", Version: "0.1.0", SHA256: fill("crate")}
}

func testClaim() *entry.Build {
	return &entry.Build{Binary: "hello", Target: "x86_64-unknown-linux-gnu", Artifact: fill("artifact"),
		Toolchain: fill("toolchain"), Environment: fill("environment"), Recipe: entry.Recipe1, Lock: fill("lock"), Compiled: fill("compiled")}
}

// signed returns an entry of one of namedSet's members.
func signed(t testing.TB, member string) *entry.Entry {
	t.Helper()
	s := namedSet(t)
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Name == member })
	var key crypto.Signer = edKey(member)
	if member == "beta" {
		key = mldsaKey(t, member)
	}
	e, err := Sign(key, s.Members[i].VKey, s, testSubject(), testClaim())
	fatalIf(t, err)
	return e
}

func clone(e *entry.Entry) *entry.Entry {
	c := *e.Claim.(*entry.Build)
	parts := make([][]byte, len(e.Proof.Parts))
	for i, p := range e.Proof.Parts {
		parts[i] = bytes.Clone(p)
	}
	return &entry.Entry{Subject: e.Subject, Claim: &c, Proof: entry.Proof{Program: e.Proof.Program, Parts: parts}}
}

func TestANamedMemberSpeaks(t *testing.T) {
	for _, member := range []string{"alpha", "beta", "gamma"} {
		e := signed(t, member)
		b, err := e.Marshal()
		fatalIf(t, err)
		back, err := entry.Parse(b)
		fatalIf(t, err)
		if got, err := VerifyNamed(back); err != nil || got != member {
			t.Errorf("%s: %q, %v", member, got, err)
		}
		if c := back.Claim.(*entry.Build); c.Root != namedSet(t).Root() {
			t.Errorf("%s: the root is another", member)
		}
	}
}

// TestNamedStatementsAreAsTheyWere holds program, tag, vkey and signature to golden values.
func TestNamedStatementsAreAsTheyWere(t *testing.T) {
	e := signed(t, "alpha")
	c := e.Claim.(*entry.Build)
	b, err := e.Marshal()
	fatalIf(t, err)
	beta := namedSet(t).Members[1].VKey
	for what, v := range map[string][2]string{
		"program": {hex.EncodeToString(NamedProgram[:]), "16329261496b4193ff75c8bcf31aedc7512ad5fea9009dcc7b6116c43bea4409"},
		"tag":     {hex.EncodeToString(c.Tag[:]), "a9f6333e8c71a06f8ecbc95bebefc26853c0d74d90b843279e07441697682ddc"},
		"vkey":    {string(e.Proof.Parts[0]), "alpha+44e0f60e+Ae11rfknYjASR3Bb+1F2H05m13R8UpzDo4z9DdywVvyc"},
		"signature": {hex.EncodeToString(e.Proof.Parts[1]), "dc7d446944577658b98bf24ea5549d3b002b9527" +
			"2334882f2b69cd230cdfb5519aa223d667e69e6ece64d7eb645d0f0ff826382d9e4da94a299acc7ab53a7108"},
		"entry":         {fmt.Sprintf("%x", fill(string(b))), "4aab377d905d8f2b5da465b9aabf9a42996946f9b8b5979ee6b5453ef9d77e81"},
		"ML-DSA's vkey": {fmt.Sprintf("%x", fill(beta)), "bb5dfcef9a26ef388fa334f536bf9e6893ecbd1005a9eab771a74c2e59fed4fb"},
	} {
		if v[0] != v[1] {
			t.Errorf("%s: %s, want %s", what, v[0], v[1])
		}
	}
	request, err := c.Request(e.Subject)
	fatalIf(t, err)
	text := fmt.Sprintf("cratelog/build/v1\nrequest %x\nresult %x\nroot %x\n", request, c.Result(), c.Root)
	if got := string(Statement(request, c.Result(), c.Root)); got != text {
		t.Errorf("the text is %q, want %q", got, text)
	}
}

// TestAStatementIsASignedNote: the library that knows no builders reads what one signed.
func TestAStatementIsASignedNote(t *testing.T) {
	e := signed(t, "alpha")
	c := e.Claim.(*entry.Build)
	request, err := c.Request(e.Subject)
	fatalIf(t, err)
	v, err := note.NewVerifier(string(e.Proof.Parts[0]))
	fatalIf(t, err)
	sig := binary.BigEndian.AppendUint32(nil, v.KeyHash())
	sig = append(sig, e.Proof.Parts[1]...)
	msg := fmt.Sprintf("%s\n\u2014 alpha %s\n", Statement(request, c.Result(), c.Root),
		base64.StdEncoding.EncodeToString(sig))
	if n, err := note.Open([]byte(msg), note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("%v", err)
	}
}

// TestEveryFieldOfANamedStatementMatters changes subject, claim and proof, field by field and the proof
// bit by bit.
func TestEveryFieldOfANamedStatementMatters(t *testing.T) {
	good := signed(t, "alpha")
	claim := func(change func(c *entry.Build)) func(*entry.Entry) {
		return func(e *entry.Entry) { change(e.Claim.(*entry.Build)) }
	}
	stranger, err := NewVKey("stranger", edKey("stranger").Public())
	fatalIf(t, err)
	renamed, err := NewVKey("omega", edKey("alpha").Public())
	fatalIf(t, err)
	gamma := signed(t, "gamma")
	changes := map[string]func(e *entry.Entry){
		"registry":      func(e *entry.Entry) { e.Subject.Registry = "https://index.example" },
		"name":          func(e *entry.Entry) { e.Subject.Name = "hell" },
		"version":       func(e *entry.Entry) { e.Subject.Version = "0.1.1" },
		"crate":         func(e *entry.Entry) { e.Subject.SHA256[31] ^= 1 },
		"binary":        claim(func(c *entry.Build) { c.Binary = "hello2" }),
		"target":        claim(func(c *entry.Build) { c.Target = "aarch64-unknown-linux-gnu" }),
		"artifact":      claim(func(c *entry.Build) { c.Artifact[0] ^= 1 }),
		"toolchain":     claim(func(c *entry.Build) { c.Toolchain[0] ^= 1 }),
		"environment":   claim(func(c *entry.Build) { c.Environment[0] ^= 1 }),
		"recipe":        claim(func(c *entry.Build) { c.Recipe++ }),
		"lock":          claim(func(c *entry.Build) { c.Lock[0] ^= 1 }),
		"compiled":      claim(func(c *entry.Build) { c.Compiled[0] ^= 1 }),
		"root":          claim(func(c *entry.Build) { c.Root[0] ^= 1 }),
		"tag":           claim(func(c *entry.Build) { c.Tag[0] ^= 1 }),
		"program":       func(e *entry.Entry) { e.Proof.Program[0] ^= 1 },
		"source claim":  func(e *entry.Entry) { e.Claim = &entry.Source{} },
		"no claim":      func(e *entry.Entry) { e.Claim = nil },
		"nil claim":     func(e *entry.Entry) { e.Claim = (*entry.Build)(nil) },
		"no parts":      func(e *entry.Entry) { e.Proof.Parts = nil },
		"two parts":     func(e *entry.Entry) { e.Proof.Parts = e.Proof.Parts[:2] },
		"four parts":    func(e *entry.Entry) { e.Proof.Parts = append(e.Proof.Parts, []byte{0}) },
		"no vkey":       func(e *entry.Entry) { e.Proof.Parts[0] = nil },
		"no signature":  func(e *entry.Entry) { e.Proof.Parts[1] = nil },
		"no path":       func(e *entry.Entry) { e.Proof.Parts[2] = nil },
		"swapped parts": func(e *entry.Entry) { slices.Reverse(e.Proof.Parts) },
		"stranger's vkey": func(e *entry.Entry) {
			c := e.Claim.(*entry.Build)
			request, _ := c.Request(e.Subject)
			c.Tag = NamedTag(request, stranger.String())
			sig, err := stranger.Sign(edKey("stranger"), Statement(request, c.Result(), c.Root))
			fatalIf(t, err)
			e.Proof.Parts[0], e.Proof.Parts[1] = []byte(stranger.String()), sig
		},
		"member's key under another name": func(e *entry.Entry) {
			c := e.Claim.(*entry.Build)
			request, _ := c.Request(e.Subject)
			c.Tag = NamedTag(request, renamed.String())
			e.Proof.Parts[0] = []byte(renamed.String())
		},
		"another member's signature": func(e *entry.Entry) { e.Proof.Parts[1] = gamma.Proof.Parts[1] },
		"another member's path":      func(e *entry.Entry) { e.Proof.Parts[2] = gamma.Proof.Parts[2] },
		"another member's tag":       claim(func(c *entry.Build) { c.Tag = gamma.Claim.(*entry.Build).Tag }),
		"another member's proof":     func(e *entry.Entry) { e.Proof = gamma.Proof },
		"a path too long":            func(e *entry.Entry) { e.Proof.Parts[2] = append(e.Proof.Parts[2], make([]byte, 32)...) },
		"a path too short":           func(e *entry.Entry) { e.Proof.Parts[2] = e.Proof.Parts[2][:len(e.Proof.Parts[2])-32] },
		"a byte more":                func(e *entry.Entry) { e.Proof.Parts[2] = append(e.Proof.Parts[2], 0) },
		"a set of its own": func(e *entry.Entry) { // whose root is not the claim's
			one, err := proveLeaf([]string{string(e.Proof.Parts[0])}, 0)
			fatalIf(t, err)
			e.Proof.Parts[2] = one
		},
	}
	for i, part := range good.Proof.Parts {
		for bit := range 8 * len(part) {
			changes[fmt.Sprintf("part %d, bit %d", i, bit)] = func(e *entry.Entry) { e.Proof.Parts[i][bit/8] ^= 1 << (bit % 8) }
		}
	}
	for name, change := range changes {
		e := clone(good)
		change(e)
		if member, err := VerifyNamed(e); err == nil {
			t.Errorf("%s: believed to be of %s", name, member)
		}
	}
	if _, err := VerifyNamed(good); err != nil {
		t.Errorf("the entry itself: %v", err)
	}
}

// TestASizeIsPartOfTheRoot: RFC 6962 binds no size to its tree hash.
func TestASizeIsPartOfTheRoot(t *testing.T) {
	e := signed(t, "alpha")
	part := bytes.Clone(e.Proof.Parts[2])
	binary.BigEndian.PutUint64(part, 4) // the path of the first leaf is as long in a tree of 4
	if err := checkLeaf(part, e.Claim.(*entry.Build).Root, string(e.Proof.Parts[0])); err == nil {
		t.Error("another size is believed")
	}
	if rootOf(3, [32]byte{}) == rootOf(4, [32]byte{}) {
		t.Error("two sizes have one root")
	}
	for _, size := range []uint64{0, maxMembers + 1, 1 << 63, 1<<64 - 1} {
		binary.BigEndian.PutUint64(part, size)
		binary.BigEndian.PutUint64(part[8:], size-1)
		if err := checkLeaf(part, rootOf(size, [32]byte(part[16:48])), string(e.Proof.Parts[0])); err == nil {
			t.Errorf("a set of %d members is believed", size)
		}
	}
}

func TestOnlyAMembersKeySigns(t *testing.T) {
	s := namedSet(t)
	stranger, err := NewVKey("stranger", edKey("stranger").Public())
	fatalIf(t, err)
	for name, c := range map[string]struct {
		set  *Set
		key  crypto.Signer
		vkey string
		want string
	}{
		"a hidden set":  {hiddenSet(t), edKey("alpha"), s.Members[0].VKey, "do not sign"},
		"a stranger":    {s, edKey("stranger"), stranger.String(), "does not list the vkey of stranger"},
		"another's key": {s, edKey("alpha"), s.Members[2].VKey, "it is another key"},
		"another kind":  {s, mldsaKey(t, "beta"), s.Members[0].VKey, ""},
		"no vkey":       {s, edKey("alpha"), "alpha", "no vkey"},
	} {
		_, err := Sign(c.key, c.vkey, c.set, testSubject(), testClaim())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
	bad := testClaim()
	bad.Recipe = 2
	if _, err := Sign(edKey("alpha"), s.Members[0].VKey, s, testSubject(), bad); err == nil {
		t.Error("an invalid claim is signed")
	}
}

func TestVKeysAreReadStrictly(t *testing.T) {
	ed, ml := namedSet(t).Members[0].VKey, namedSet(t).Members[1].VKey
	with := func(name string, raw []byte) string {
		return fmt.Sprintf("%s+%08x+%s", name, keyHash(name, raw), base64.StdEncoding.EncodeToString(raw))
	}
	k, err := ParseVKey(ed)
	fatalIf(t, err)
	m, err := ParseVKey(ml)
	fatalIf(t, err)
	if _, err := note.NewVerifier(ed); err != nil {
		t.Errorf("the library does not read %s: %v", ed, err)
	}
	for name, text := range map[string]string{
		"empty":              "",
		"a name":             "alpha",
		"no key":             "alpha+00000000+",
		"another id":         strings.Replace(ed, ed[6:14], "00000000", 1),
		"upper case":         strings.Replace(ed, ed[6:14], strings.ToUpper(ed[6:14]), 1),
		"another name":       "omega" + ed[5:],
		"line feed":          ed + "\n",
		"line feed within":   ed[:20] + "\n" + ed[20:],
		"no padding":         strings.TrimRight(ml, "="),
		"a bad name":         with("a b", k.raw),
		"no name":            with("", k.raw),
		"one byte less":      with("alpha", k.raw[:32]),
		"one byte more":      with("alpha", append(slices.Clone(k.raw), 0)),
		"cosignature":        with("alpha", append([]byte{4}, k.raw[1:]...)),
		"ML-DSA cosignature": with("beta", append([]byte{6}, m.raw[1+len(mldsaID):]...)),
		"0xff alone":         with("beta", m.raw[:1]),
		"no key of ML-DSA":   with("beta", m.raw[:1+len(mldsaID)]),
		"short ML-DSA":       with("beta", m.raw[:len(m.raw)-1]),
		"long ML-DSA":        with("beta", append(slices.Clone(m.raw), 0)),
		"another long id":    with("beta", append([]byte{0xff}, bytes.Replace(m.raw[1:], []byte("v1"), []byte("v2"), 1)...)),
		"too long":           with("beta", make([]byte, 2048)),
	} {
		if k, err := ParseVKey(text); err == nil {
			t.Errorf("%s: read as the key of %s", name, k.Name)
		}
	}
	last := strings.TrimRight(ml, "=") // behind whose last character are bits that no byte needs
	if len(last) != len(ml)-1 {
		t.Fatalf("the vkey of ML-DSA ends with %q, so two cases see nothing", ml[len(ml)-4:])
	}
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := strings.IndexByte(digits, last[len(last)-1])
	if _, err := ParseVKey(last[:len(last)-1] + digits[at+1:at+2] + "="); err == nil {
		t.Error("a second base64 of one key is read")
	}
}

func FuzzVKey(f *testing.F) {
	f.Add(namedSet(f).Members[0].VKey)
	f.Add(namedSet(f).Members[1].VKey)
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseVKey(text); err == nil && k.String() != text {
			t.Errorf("%q is read, and written as %q", text, k)
		}
	})
}

// FuzzNamed changes the parts of a proof: what is believed is the proof itself.
func FuzzNamed(f *testing.F) {
	good := signed(f, "alpha")
	f.Add(good.Proof.Parts[0], good.Proof.Parts[1], good.Proof.Parts[2])
	for _, member := range []string{"beta", "gamma"} {
		p := signed(f, member).Proof.Parts
		f.Add(p[0], p[1], p[2])
	}
	f.Fuzz(func(t *testing.T, vkey, sig, path []byte) {
		e := clone(good)
		e.Proof.Parts = [][]byte{vkey, sig, path}
		same := bytes.Equal(vkey, good.Proof.Parts[0]) && bytes.Equal(sig, good.Proof.Parts[1]) &&
			bytes.Equal(path, good.Proof.Parts[2])
		if _, err := VerifyNamed(e); (err == nil) != same {
			t.Errorf("believed: %v", err)
		}
	})
}
