package entry

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func sampleSeal() *Seal { return &Seal{Rules: Rules, Size: 1000, Root: [32]byte(fill("map", 32))} }

func sampleStart() *Start {
	return &Start{"log.example/2026", 1001, [32]byte(fill("tree", 32)), Rules, [32]byte(fill("map", 32))}
}

// validOwn are the golden vectors of what a log itself writes, by name.
func validOwn() map[string]ownLeaf {
	later := sampleSeal()
	later.Rules = 2
	return map[string]ownLeaf{
		"valid-seal":          sampleSeal(),
		"valid-seal-first":    &Seal{},
		"valid-seal-last":     &Seal{Rules: math.MaxUint64, Size: math.MaxInt64},
		"valid-seal-rules-2":  later,
		"valid-start":         sampleStart(),
		"valid-start-longest": &Start{strings.Repeat("o", maxOrigin), math.MaxInt64, [32]byte{}, 0, [32]byte{}},
	}
}

// invalidOwn are the named corruptions of seals and starts, one failure each.
func invalidOwn() map[string]invalid {
	root := fill("map", 32)
	seal := func(pairs ...any) []byte { return item(1, 2, 5, item(pairs...)) }
	start := func(pairs ...any) []byte { return item(1, 2, 6, item(pairs...)) }
	notCBOR := "the leaf is not the CBOR that the format asks for: "
	notCanonical := "the leaf is not in its canonical encoding"
	entryCBOR := "the entry is not the CBOR that the format asks for: "
	return map[string]invalid{
		"seal-root-short":     {"the root has 31 bytes", seal(1, 1, 2, 7, 3, root[:31]), "seal: root: is 31 bytes long, must be 32"},
		"seal-root-long":      {"the root has 33 bytes", seal(1, 1, 2, 7, 3, append(root, 0)), "seal: root: is 33 bytes long, must be 32"},
		"seal-no-root":        {"a seal without a root", seal(1, 1, 2, 7), "seal: root: is 0 bytes long, must be 32"},
		"seal-no-size":        {"a seal without a size", seal(1, 1, 3, root), notCanonical},
		"seal-no-rules":       {"a seal without rules", seal(2, 7, 3, root), notCanonical},
		"seal-size-2-63":      {"the size is 2^63", seal(1, 1, 2, uint64(1)<<63, 3, root), "seal: the size 9223372036854775808 is not below 2^63"},
		"seal-size-negative":  {"the size is -1", seal(1, 1, 2, -1, 3, root), notCBOR},
		"seal-size-text":      {"the size as text", seal(1, 1, 2, "7", 3, root), notCBOR},
		"seal-size-long":      {"the size in two bytes", seal(1, 1, 2, rawHex("1807"), 3, root), notCanonical},
		"seal-size-float":     {"the size as a float", seal(1, 1, 2, rawHex("f94700"), 3, root), notCBOR},
		"seal-fourth":         {"an unknown key in a seal", seal(1, 1, 2, 7, 3, root, 4, 1), notCBOR},
		"seal-twice":          {"the size stands twice", seal(1, 1, 2, 7, 2, 7, 3, root), notCBOR},
		"seal-unsorted":       {"the root before the size", seal(1, 1, 3, root, 2, 7), notCanonical},
		"seal-null":           {"null in place of what it says", item(1, 2, 5, nil), "the leaf has null for what it says"},
		"seal-undefined":      {"undefined in place of what it says", item(1, 2, 5, rawHex("f7")), "the leaf has null for what it says"},
		"seal-array":          {"an array in place of what it says", item(1, 2, 5, []any{1, 7, root}), notCBOR},
		"seal-empty":          {"a seal that says nothing", seal(), "seal: root: is 0 bytes long, must be 32"},
		"seal-trailing-byte":  {"one byte after the seal", append(seal(1, 1, 2, 7, 3, root), 0), notCBOR},
		"seal-cut-off":        {"the last byte is missing", seal(1, 1, 2, 7, 3, root)[:40], notCBOR},
		"seal-tagged":         {"the seal behind the tag for CBOR", append(rawHex("d9d9f7"), seal(1, 1, 2, 7, 3, root)...), entryCBOR},
		"seal-root-tagged":    {"the root behind a tag", seal(1, 1, 2, 7, 3, append(rawHex("c2 5820"), root...)), notCBOR},
		"seal-indefinite":     {"a seal of indefinite length", slices.Concat(rawHex("bf 01 02 05"), item(1, 1, 2, 7, 3, root), rawHex("ff")), entryCBOR},
		"seal-version-1":      {"a seal of format 1", item(1, 1, 5, item(1, 1, 2, 7, 3, root)), entryCBOR},
		"seal-version-3":      {"a seal of format 3", item(1, 3, 5, item(1, 1, 2, 7, 3, root)), "the entry's format version is 3; only version 2 is known"},
		"seal-version-long":   {"the format version in two bytes", item(1, rawHex("1802"), 5, item(1, 1, 2, 7, 3, root)), entryCBOR},
		"seal-first":          {"the seal before the version", item(5, item(1, 1, 2, 7, 3, root), 1, 2), entryCBOR},
		"seal-and-start":      {"a seal that is a start, too", item(1, 2, 5, item(1, 1, 2, 7, 3, root), 6, item()), entryCBOR},
		"seal-and-proof":      {"a seal with the proof of an entry", item(1, 2, 4, item(), 5, item(1, 1, 2, 7, 3, root)), entryCBOR},
		"start-no-origin":     {"a start for no log", start(2, 7, 3, root, 4, 1, 5, root), "start: the origin is 0 bytes long, must be 1 to 255"},
		"start-origin-long":   {"an origin of 256 bytes", start(1, strings.Repeat("o", 256), 2, 7, 3, root, 4, 1, 5, root), "start: the origin is 256 bytes long, must be 1 to 255"},
		"start-origin-space":  {"an origin with a space", start(1, "log example", 2, 7, 3, root, 4, 1, 5, root), "start: the origin \"log example\" is not printable ASCII"},
		"start-origin-line":   {"an origin of two lines", start(1, "log\nexample", 2, 7, 3, root, 4, 1, 5, root), "start: the origin \"log\\nexample\" is not printable ASCII"},
		"start-origin-utf8":   {"an origin that is not ASCII", start(1, "lög", 2, 7, 3, root, 4, 1, 5, root), "start: the origin \"lög\" is not printable ASCII"},
		"start-origin-bytes":  {"an origin as a byte string", start(1, []byte("log"), 2, 7, 3, root, 4, 1, 5, root), notCBOR},
		"start-size-2-63":     {"the size is 2^63", start(1, "log", 2, uint64(1)<<63, 3, root, 4, 1, 5, root), "start: the size 9223372036854775808 is not below 2^63"},
		"start-tree-short":    {"the tree's root has 31 bytes", start(1, "log", 2, 7, 3, root[:31], 4, 1, 5, root), "start: tree: is 31 bytes long, must be 32"},
		"start-root-long":     {"the map's root has 33 bytes", start(1, "log", 2, 7, 3, root, 4, 1, 5, append(root, 0)), "start: root: is 33 bytes long, must be 32"},
		"start-no-rules":      {"a start without rules", start(1, "log", 2, 7, 3, root, 5, root), notCanonical},
		"start-sixth":         {"an unknown key in a start", start(1, "log", 2, 7, 3, root, 4, 1, 5, root, 6, 1), notCBOR},
		"start-null":          {"null in place of what it says", item(1, 2, 6, nil), "the leaf has null for what it says"},
		"start-under-a-seal":  {"the fields of a start under the key of a seal", seal(1, "log", 2, 7, 3, root, 4, 1, 5, root), notCBOR},
		"seal-under-a-start":  {"the fields of a seal under the key of a start", start(1, 1, 2, 7, 3, root), notCBOR},
		"leaf-of-key-7":       {"an unknown kind of leaf", item(1, 2, 7, item(1, 1)), entryCBOR},
		"leaf-of-the-version": {"nothing but the version", item(1, 2), "subject: is missing"},
	}
}

func vectorOfOwn(t *testing.T, name string, l ownLeaf) (vector, []byte) {
	t.Helper()
	b, err := l.Marshal()
	fatalIf(t, err)
	v := vector{About: "valid: " + strings.TrimPrefix(name, "valid-"), Leaf: fmt.Sprintf("%x", LeafHash(b))}
	switch l := l.(type) {
	case *Seal:
		v.Seal = &vectorSeal{l.Rules, l.Size, fmt.Sprintf("%x", l.Root)}
	case *Start:
		v.Start = &vectorStart{l.Origin, l.Size, fmt.Sprintf("%x", l.Tree), l.Rules, fmt.Sprintf("%x", l.Root)}
	}
	return v, b
}

func TestGoldenEntriesOfTheLogItselfKeepTheirBytes(t *testing.T) {
	for name, l := range validOwn() {
		v, b := vectorOfOwn(t, name, l)
		goldenPair(t, name, b, v)
		again, err := ParseLeaf(b)
		fatalIf(t, err)
		if got, _ := vectorOfOwn(t, name, again.(ownLeaf)); !sameJSON(t, got, v) {
			t.Errorf("%s: parsed as %+v, want %+v", name, got, v)
		}
	}
}

func TestNamedCorruptionOfWhatTheLogWrites(t *testing.T) {
	for name, c := range invalidOwn() {
		goldenPair(t, "invalid-"+name, c.bytes, vector{About: c.about, Error: c.want})
		leaf, err := ParseLeaf(c.bytes)
		if err == nil {
			t.Errorf("%s: believed", name)
		} else if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
		if leaf != nil {
			t.Errorf("%s: an error comes with the leaf %v", name, leaf)
		}
	}
}

// TestSealsAreEncodedAsTheSpecificationSays writes them by hand.
func TestSealsAreEncodedAsTheSpecificationSays(t *testing.T) {
	seal, start := sampleSeal(), sampleStart()
	for name, c := range map[string]struct {
		leaf ownLeaf
		want []byte
	}{
		"seal": {seal, slices.Concat(rawHex("a2 01 02 05 a3 01 01 02 1903e8 03 5820"), seal.Root[:])},
		"start": {start, slices.Concat(rawHex("a2 01 02 06 a5 01 70"), []byte(start.Origin), rawHex("02 1903e9 03 5820"), start.Tree[:],
			rawHex("04 01 05 5820"), start.Root[:])},
	} {
		if b, err := c.leaf.Marshal(); err != nil || !bytes.Equal(b, c.want) {
			t.Errorf("a %s is %x (%v), want %x", name, b, err, c.want)
		}
	}
}

// TestNobodySubmitsWhatTheLogWrites: Parse, through which submissions come, knows entries only.
func TestNobodySubmitsWhatTheLogWrites(t *testing.T) {
	for name, l := range validOwn() {
		b, err := l.Marshal()
		fatalIf(t, err)
		if e, err := Parse(b); err == nil {
			t.Errorf("%s is submitted as %+v", name, e)
		}
	}
}

func TestALeafIsAnEntryToo(t *testing.T) {
	for name, e := range validEntries() {
		b, err := e.Marshal()
		fatalIf(t, err)
		leaf, err := ParseLeaf(b)
		fatalIf(t, err)
		got, ok := leaf.(*Entry)
		if !ok {
			t.Fatalf("%s is a %T", name, leaf)
		}
		if again, err := got.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s is another entry (%v)", name, err)
		}
	}
	for name, c := range invalidEntries() {
		if leaf, err := ParseLeaf(c.bytes); err == nil || leaf != nil {
			t.Errorf("%s is the leaf %v (%v)", name, leaf, err)
		}
	}
}

// TestAFormatToComeIsUnknownAndNotWrong: what a later version may write convicts nobody.
func TestAFormatToComeIsUnknownAndNotWrong(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []byte
		want  bool
	}{
		"a seal":               {item(1, 3, 5, item(1, 1)), true},
		"an entry":             {item(1, 3, 2, item(), 3, item(), 4, item(), 5, item(), 6, 1), true},
		"another kind":         {item(1, 3, 17, 1), true},
		"a kind of today's":    {item(1, 2, 17, 1), false},
		"of the format before": {item(1, 1, 17, 1), false},
		"not CBOR":             {append(item(1, 3, 17, 1), 0), false},
	} {
		if _, err := ParseLeaf(c.bytes); err == nil || errors.Is(err, ErrUnknownClaim) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryFlippedBitChangesWhatTheLogWritesOrIsRefused(t *testing.T) {
	for name, l := range validOwn() {
		b, err := l.Marshal()
		fatalIf(t, err)
		for i := range 8 * len(b) {
			other := bytes.Clone(b)
			other[i/8] ^= 1 << (i % 8)
			leaf, err := ParseLeaf(other)
			if err != nil {
				continue
			}
			if again, err := leaf.(ownLeaf).Marshal(); err != nil || !bytes.Equal(again, other) {
				t.Errorf("%s: bit %d: parses, but encodes differently (%v)", name, i, err)
			}
		}
		for n := range b {
			if _, err := ParseLeaf(b[:n]); err == nil {
				t.Errorf("%s: the first %d bytes are believed", name, n)
			}
		}
	}
}

func TestMarshalRefusesSealsThatParseWould(t *testing.T) {
	for want, l := range map[string]ownLeaf{
		"seal: the size 9223372036854775808 is not below 2^63":                         &Seal{Size: 1 << 63},
		"start: the size 9223372036854775808 is not below 2^63":                        &Start{Origin: "o", Size: 1 << 63},
		"start: the origin is 0 bytes long, must be 1 to 255":                          &Start{},
		"start: the origin is 256 bytes long, must be 1 to 255":                        &Start{Origin: strings.Repeat("o", 256)},
		"start: the origin \"o\\x7f\" is not printable ASCII without spaces":           &Start{Origin: "o\x7f"},
		"start: the origin \"log.example \" is not printable ASCII without spaces":     &Start{Origin: "log.example "},
		"start: the origin \"log.example\\xff\" is not printable ASCII without spaces": &Start{Origin: "log.example\xff"},
	} {
		if _, err := l.Marshal(); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestOnlyTheSealOfAllThatIsBeforeItSeals(t *testing.T) {
	of := func(l ownLeaf) []byte {
		b, err := l.Marshal()
		fatalIf(t, err)
		return b
	}
	good := of(sampleSeal())
	if s, err := SealOf(1001, good); err != nil || *s != *sampleSeal() {
		t.Errorf("%+v, %v", s, err)
	}
	text, err := sample().Marshal()
	fatalIf(t, err)
	for name, c := range map[string]struct {
		size int64
		leaf []byte
		want error
	}{
		"a size less":      {1000, good, ErrUnsealed},
		"a size more":      {1002, good, ErrUnsealed},
		"no size":          {0, good, ErrUnsealed},
		"a negative size":  {-5, good, ErrUnsealed},
		"an entry":         {1001, text, ErrUnsealed},
		"a start":          {1001, of(sampleStart()), ErrUnsealed},
		"no leaf":          {1001, []byte("leaf"), ErrUnsealed},
		"nothing":          {1001, nil, ErrUnsealed},
		"rules to come":    {1001, of(&Seal{Rules: 2, Size: 1000}), ErrUnknownClaim},
		"a format to come": {1001, item(1, 3, 5, item(1, 1)), ErrUnknownClaim},
	} {
		if s, err := SealOf(c.size, c.leaf); !errors.Is(err, c.want) || s != nil {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	// What nobody has made yet is no accusation.
	if _, err := SealOf(1001, of(&Seal{Rules: 2, Size: 1000})); errors.Is(err, ErrUnsealed) {
		t.Error("rules to come are called no seal")
	}
}

func FuzzParseLeaf(f *testing.F) {
	for _, l := range validOwn() {
		b, err := l.Marshal()
		fatalIf(f, err)
		f.Add(b)
	}
	for _, c := range invalidOwn() {
		f.Add(c.bytes)
	}
	b, err := sample().Marshal()
	fatalIf(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		leaf, err := ParseLeaf(b)
		if err != nil {
			if leaf != nil {
				t.Errorf("an error comes with the leaf %v", leaf)
			}
			return
		}
		again, err := leaf.(ownLeaf).Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x parses, but encodes as %x (%v)", b, again, err)
		}
		if _, entry := leaf.(*Entry); !entry {
			if _, err := Parse(b); err == nil {
				t.Errorf("%x can be submitted", b)
			}
		}
	})
}
