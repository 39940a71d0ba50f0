package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cratelog/entry"
)

func fill(seed string) [32]byte { return sha256.Sum256([]byte(seed)) }

func sampleList() List {
	return List{
		{entry.DefaultRegistry, "serde", "1.0.228", fill("serde")},
		{"https://index.example/ours", "alpha", "0.1.0-rc.1+build", fill("alpha")},
		{entry.DefaultRegistry, "serde", "1.0.99", fill("older")},
		{entry.DefaultRegistry, "serde_core", "1.0.228", fill("core")},
	}
}

// TestAListHasOneText: the order in which a list is made does not show. The digest is a golden value:
// were it to change, honest builders would contradict what they said before.
func TestAListHasOneText(t *testing.T) {
	l := sampleList()
	text := l.Marshal()
	slices.Reverse(l)
	if !bytes.Equal(l.Marshal(), text) {
		t.Error("the order of the crates changes the text")
	}
	back, err := ParseList(text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.Marshal(), text) || len(back) != len(l) {
		t.Errorf("parsed and written again it is another:\n%s", back.Marshal())
	}
	const golden = "8cdcf053950b9e4bff75ff8fa95ddf563746499324788cccbe6ea5e836e64308"
	if got := fmt.Sprintf("%x", back.Digest()); got != golden {
		t.Errorf("the digest is %s, want %s, of\n%s", got, golden, text)
	}
	empty, err := ParseList(nil)
	if err != nil || len(empty) != 0 || empty.Digest() != sha256.Sum256(nil) {
		t.Errorf("the empty list: %v, %v", empty, err)
	}
}

func TestListsAreReadStrictly(t *testing.T) {
	good := string(sampleList().Marshal())
	lines := slices.Collect(strings.Lines(good))
	sum := strings.Repeat("0a", 32)
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "default a %04d.0.0 %s\n", i, sum)
		}
		return b.String()
	}
	long := "https://index.example/" + strings.Repeat("x", 900)
	var large strings.Builder
	for i := range 600 {
		fmt.Fprintf(&large, "%s a %d.0.0 %s\n", long, 100+i, sum)
	}
	for name, c := range map[string]struct{ text, want string }{
		"no line feed":      {strings.TrimSuffix(good, "\n"), "is not \"registry name version checksum\""},
		"CRLF":              {strings.ReplaceAll(good, "\n", "\r\n"), "is not 64 lower-case hex digits"},
		"empty line":        {"\n" + good, "line 1"},
		"swapped":           {lines[1] + lines[0] + lines[2] + lines[3], "sort its lines"},
		"twice":             {lines[0] + good, "twice"},
		"another checksum":  {"default a 1.0.0 " + strings.Repeat("00", 32) + "\ndefault a 1.0.0 " + sum + "\n", "twice"},
		"upper case":        {"default a 1.0.0 " + strings.ToUpper(sum) + "\n", "hex digits"},
		"short checksum":    {"default a 1.0.0 " + sum[:62] + "\n", "hex digits"},
		"long checksum":     {"default a 1.0.0 " + sum + "00\n", "hex digits"},
		"two spaces":        {"default  a 1.0.0 " + sum + "\n", "is not"},
		"space at the end":  {"default a 1.0.0 " + sum + " \n", "is not"},
		"a name":            {"default a/b 1.0.0 " + sum + "\n", "crate name"},
		"a version":         {"default a 1.0 " + sum + "\n", "version"},
		"a registry":        {"https://index.example/ a 1.0.0 " + sum + "\n", "must be written"},
		"registry as cargo": {"registry+https://index.example a 1.0.0 " + sum + "\n", "must be written"},
		"too many lines":    {many(maxCrates + 1), "more than 4096"},
		"too many bytes":    {large.String(), "more than 524288"},
		"NUL":               {"default a 1.0.0 " + sum + "\n\x00", "line 2"},
	} {
		if _, err := ParseList([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.want)
		}
	}
}

// TestAListMadeByHandIsChecked: what Check takes is what ParseList reads.
func TestAListMadeByHandIsChecked(t *testing.T) {
	bad := sampleList()
	bad[0].Name = "no name"
	for name, l := range map[string]List{"name": bad, "twice": append(sampleList(), sampleList()[0])} {
		if l.Check() == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := ParseList(l.Marshal()); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add(sampleList().Marshal())
	f.Add([]byte{})
	f.Add([]byte("default a 1.0.0 " + hex.EncodeToString(make([]byte, 32)) + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := ParseList(text)
		if err != nil {
			return
		}
		if !bytes.Equal(l.Marshal(), text) || l.Digest() != sha256.Sum256(text) || l.Check() != nil {
			t.Errorf("%q is read, and written as %q", text, l.Marshal())
		}
	})
}
