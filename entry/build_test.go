package entry

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

type vectorBuild struct {
	Registry    string   `json:"registry"`
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	SHA256      string   `json:"sha256"`
	Binary      string   `json:"binary"`
	Target      string   `json:"target"`
	Artifact    string   `json:"artifact"`
	Toolchain   string   `json:"toolchain"`
	Environment string   `json:"environment"`
	Recipe      uint64   `json:"recipe"`
	Lock        string   `json:"lock"`
	Compiled    string   `json:"compiled"`
	Root        string   `json:"root"`
	Tag         string   `json:"tag"`
	Request     string   `json:"request"` // computed
	Result      string   `json:"result"`  // computed
	Program     string   `json:"program"`
	Parts       []string `json:"parts"`
}

func sampleBuild() *Entry {
	e := sample()
	b := &Build{Binary: "hello", Target: "x86_64-unknown-linux-gnu", Recipe: Recipe1}
	for _, f := range hashesOf(b) {
		*f.of = [32]byte(fill(f.name, 32))
	}
	e.Claim = b
	e.Proof.Parts = [][]byte{fill("proof", 160)}
	return e
}

// hashOf is one field of a build claim that has 32 bytes.
type hashOf struct {
	key  int
	name string
	of   *[32]byte
}

func hashesOf(b *Build) []hashOf {
	return []hashOf{{5, "artifact", &b.Artifact}, {6, "toolchain", &b.Toolchain}, {7, "environment", &b.Environment},
		{9, "lock", &b.Lock}, {10, "compiled", &b.Compiled}, {11, "root", &b.Root}, {12, "tag", &b.Tag}}
}

// buildClaim is a change of an entry's build claim.
func buildClaim(change func(b *Build)) func(*Entry) {
	return func(e *Entry) { change(e.Claim.(*Build)) }
}

func vectorOfBuild(t *testing.T, e *Entry, b *Build) *vectorBuild {
	t.Helper()
	request, err := b.Request(e.Subject)
	fatalIf(t, err)
	text := func(h [32]byte) string { return hex.EncodeToString(h[:]) }
	v := &vectorBuild{
		e.Subject.Registry, e.Subject.Name, e.Subject.Version, text(e.Subject.SHA256), b.Binary, b.Target, text(b.Artifact),
		text(b.Toolchain), text(b.Environment), b.Recipe, text(b.Lock), text(b.Compiled), text(b.Root), text(b.Tag),
		text(request), text(b.Result()), text(e.Proof.Program), nil,
	}
	for _, p := range e.Proof.Parts {
		v.Parts = append(v.Parts, hex.EncodeToString(p))
	}
	return v
}

// invalidBuilds are the named corruptions of build claims.
func invalidBuilds(withClaim func(...any) []byte, notCanonical string) map[string]invalid {
	b := sampleBuild().Claim.(*Build)
	values := []any{"build", 1, b.Binary, b.Target, b.Artifact[:], b.Toolchain[:], b.Environment[:], 1, b.Lock[:], b.Compiled[:],
		b.Root[:], b.Tag[:]}
	pairs := func(values []any) (all []any) {
		for i, v := range values {
			all = append(all, i+1, v)
		}
		return all
	}
	with := func(key int, v any) []byte {
		changed := slices.Clone(values)
		changed[key-1] = v
		return withClaim(pairs(changed)...)
	}
	without := func(key int) []byte { return withClaim(slices.Delete(pairs(values), 2*key-2, 2*key)...) }
	all := map[string]invalid{
		"build-version-0":      {"version 0 of the kind", with(2, 0), "claim: version 0 of kind \"build\" is not known; only version 1 is"},
		"build-version-2":      {"version 2 of the kind", with(2, 2), "claim: version 2 of kind \"build\" is not known; only version 1 is"},
		"build-no-version":     {"a build without a version", without(2), "claim: version 0 of kind \"build\" is not known"},
		"build-no-binary":      {"a build of no binary", without(3), "claim: the binary's name \"\" is not 1 to 64 letters"},
		"build-binary-path":    {"the binary's name has a slash", with(3, "../a"), "claim: the binary's name \"../a\" is not 1 to 64 letters"},
		"build-binary-bytes":   {"the binary's name as a byte string", with(3, []byte("a")), "claim: is not the CBOR"},
		"build-no-target":      {"a build for no target", without(4), "claim: the target \"\" is no target triple"},
		"build-target-word":    {"the target is one word", with(4, "wasm"), "claim: the target \"wasm\" is no target triple"},
		"build-target-path":    {"the target is a file", with(4, "x86_64-custom.json/a"), "claim: the target \"x86_64-custom.json/a\" is no target triple"},
		"build-recipe-0":       {"recipe 0", with(8, 0), "claim: recipe 0 is not known; only recipe 1 is"},
		"build-recipe-2":       {"recipe 2", with(8, 2), "claim: recipe 2 is not known; only recipe 1 is"},
		"build-no-recipe":      {"a build without a recipe", without(8), "claim: recipe 0 is not known"},
		"build-recipe-long":    {"the recipe in two bytes", with(8, rawHex("1801")), notCanonical},
		"build-recipe-text":    {"the recipe as text", with(8, "1"), "claim: is not the CBOR"},
		"build-thirteenth":     {"an unknown key in a build", withClaim(append(pairs(values), 13, 1)...), "claim: is not the CBOR"},
		"build-twice":          {"the tag stands twice", withClaim(append(pairs(values), 12, b.Tag[:])...), "claim: is not the CBOR"},
		"build-unsorted":       {"the tag before the root", withClaim(append(pairs(values[:10]), 12, b.Tag[:], 11, b.Root[:])...), notCanonical},
		"build-is-a-source":    {"the fields of a source under the kind of a build", withClaim(1, "build", 2, 1, 3, b.Tag[:20], 4, "", 5, b.Tag[:]), "claim: is not the CBOR"},
		"build-under-a-source": {"the fields of a build under the kind of a source", with(1, "source"), "claim: is not the CBOR"},
	}
	for _, f := range hashesOf(b) {
		all["build-no-"+f.name] = invalid{"a build without " + f.name, without(f.key), "claim: " + f.name + ": is 0 bytes long, must be 32"}
		all["build-"+f.name+"-short"] = invalid{f.name + " has 31 bytes", with(f.key, f.of[:31]), "claim: " + f.name + ": is 31 bytes long, must be 32"}
		all["build-"+f.name+"-long"] = invalid{f.name + " has 33 bytes", with(f.key, fill("x", 33)), "claim: " + f.name + ": is 33 bytes long, must be 32"}
	}
	return all
}

// fieldsOfBuild are changes of every field of a build's subject and claim, and whether the request
// and the result have that field.
func fieldsOfBuild() map[string]struct {
	edit            func(*Entry)
	request, result bool
} {
	type change = struct {
		edit            func(*Entry)
		request, result bool
	}
	all := map[string]change{
		"registry": {func(e *Entry) { e.Subject.Registry = "https://index.example" }, true, false},
		"name":     {func(e *Entry) { e.Subject.Name += "x" }, true, false},
		"version":  {func(e *Entry) { e.Subject.Version = "0.1.1" }, true, false},
		"sha256":   {func(e *Entry) { e.Subject.SHA256[31] ^= 1 }, true, false},
		"binary":   {buildClaim(func(b *Build) { b.Binary += "x" }), true, false},
		"target":   {buildClaim(func(b *Build) { b.Target = "aarch64-unknown-linux-gnu" }), true, false},
	}
	for i, f := range hashesOf(&Build{}) {
		asked := f.name == "toolchain" || f.name == "environment" || f.name == "lock"
		came := f.name == "artifact" || f.name == "compiled"
		all[f.name] = change{buildClaim(func(b *Build) { hashesOf(b)[i].of[31] ^= 1 }), asked, came}
	}
	return all
}

// TestEveryFieldOfABuildIsInWhatItIs: identity and context have every field; the request what was
// asked for, the result what came out, and nothing of a build but the set and the member is in neither.
func TestEveryFieldOfABuildIsInWhatItIs(t *testing.T) {
	of := func(e *Entry) (identity, context, request, result [32]byte) {
		t.Helper()
		identity, err := e.Identity()
		fatalIf(t, err)
		context, err = Context(e.Subject, e.Claim)
		fatalIf(t, err)
		b := e.Claim.(*Build)
		request, err = b.Request(e.Subject)
		fatalIf(t, err)
		return identity, context, request, b.Result()
	}
	identity, context, request, result := of(sampleBuild())
	other := sampleBuild()
	other.Proof = Proof{[32]byte{1}, [][]byte{{1}}}
	if i, c, q, s := of(other); i != identity || c != context || q != request || s != result {
		t.Error("another proof makes another statement")
	}
	for _, h := range [][32]byte{context, request, result} {
		if h[0] > 0x1f {
			t.Errorf("%x is not below 2^253", h)
		}
	}
	for name, field := range fieldsOfBuild() {
		e := sampleBuild()
		field.edit(e)
		i, c, q, s := of(e)
		if i == identity || c == context {
			t.Errorf("another %s gives the same identity or context", name)
		}
		if (q != request) != field.request {
			t.Errorf("another %s: the request changes: %v", name, q != request)
		}
		if (s != result) != field.result {
			t.Errorf("another %s: the result changes: %v", name, s != result)
		}
	}
}

// TestRequestAndResultAreAsTheSpecificationSays writes their bytes by hand.
func TestRequestAndResultAreAsTheSpecificationSays(t *testing.T) {
	e := sampleBuild()
	b := e.Claim.(*Build)
	_, subject, _ := slowEntry(e, nil)
	asked := slices.Concat([]byte{0x86}, []byte{0x65}, []byte("hello"), []byte{0x78, 24}, []byte("x86_64-unknown-linux-gnu"),
		[]byte{0x58, 32}, b.Toolchain[:], []byte{0x58, 32}, b.Environment[:], []byte{1}, []byte{0x58, 32}, b.Lock[:])
	want := sha256.Sum256(slices.Concat([]byte("cratelog/build/request/v1\n"), subject, asked))
	want[0] &= 0x1f
	if got, err := b.Request(e.Subject); err != nil || got != want {
		t.Errorf("the request is %x (%v), want %x", got, err, want)
	}
	want = sha256.Sum256(slices.Concat([]byte("cratelog/build/result/v1\n"), b.Artifact[:], b.Compiled[:]))
	want[0] &= 0x1f
	if got := b.Result(); got != want {
		t.Errorf("the result is %x, want %x", got, want)
	}
}

func TestAnInvalidBuildHasNoRequest(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Entry)
		want string
	}{
		"no recipe":  {buildClaim(func(b *Build) { b.Recipe = 0 }), "claim: recipe 0 is not known; only recipe 1 is"},
		"no binary":  {buildClaim(func(b *Build) { b.Binary = "" }), "claim: the binary's name \"\" is not"},
		"no target":  {buildClaim(func(b *Build) { b.Target = "" }), "claim: the target \"\" is no target triple"},
		"no subject": {func(e *Entry) { e.Subject = Subject{} }, "subject: the registry is 0 bytes long"},
		"no build":   {func(e *Entry) { e.Claim = (*Build)(nil) }, "claim: there is none"},
	} {
		e := sampleBuild()
		c.edit(e)
		_, marshal := e.Marshal()
		_, identity := e.Identity()
		_, request := e.Claim.(*Build).Request(e.Subject)
		for what, err := range map[string]error{"Marshal": marshal, "Identity": identity, "Request": request} {
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: %s says %v, want %s", name, what, err, c.want)
			}
		}
	}
}

// TestWhatANewerBuildMayBeIsNotCalledWrong: such a claim convicts nobody.
func TestWhatANewerBuildMayBeIsNotCalledWrong(t *testing.T) {
	for name, c := range invalidEntries() {
		newer := name == "claim-kind-unknown" || name == "claim-kind-case" || name == "format-version-3" ||
			strings.HasPrefix(name, "claim-version-") || strings.HasPrefix(name, "build-version-") || name == "build-no-version" ||
			strings.HasPrefix(name, "build-recipe-") && len(name) == len("build-recipe-0") || name == "build-no-recipe"
		if _, err := Parse(c.bytes); errors.Is(err, ErrUnknownClaim) != newer {
			t.Errorf("%s: %v, newer: %v", name, err, newer)
		}
	}
}

func TestCheckBinary(t *testing.T) {
	for _, s := range []string{"a", "_", "0", "rg", "cargo-zkp", "a.b+c", strings.Repeat("a", 64)} {
		if err := CheckBinary(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", ".", "..", "-a", "+a", ".a", "a/b", `a\b`, "a b", "a\n", "\na", "a\x00", "é", strings.Repeat("a", 65)} {
		if CheckBinary(s) == nil {
			t.Errorf("binary %q is believed", s)
		}
	}
}

func TestCheckTarget(t *testing.T) {
	for _, s := range []string{"x86_64-unknown-linux-gnu", "wasm32-wasip1", "x86_64-fortanix-unknown-sgx",
		"armv7-unknown-linux-gnueabihf", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"} {
		if err := CheckTarget(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "a", "-a", "a-", "a--b", "A-b", "a-b-c-d-e-f", "a b-c", "../a-b", "a-b/c", "a-b\n", "\na-b", "a-é",
		"a-" + strings.Repeat("b", 63)} {
		if CheckTarget(s) == nil {
			t.Errorf("target %q is believed", s)
		}
	}
}

// FuzzParseBuild: whatever is a build claim has one encoding, one request and one result below 2^253.
func FuzzParseBuild(f *testing.F) {
	for _, e := range []*Entry{sampleBuild(), validEntries()["valid-build-smallest"]} {
		b, err := e.Marshal()
		fatalIf(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Parse(raw)
		if err != nil {
			return
		}
		b, ok := e.Claim.(*Build)
		if !ok {
			return
		}
		again, err := e.Marshal()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%x parses, but encodes as %x (%v)", raw, again, err)
		}
		request, err := b.Request(e.Subject)
		fatalIf(t, err)
		result := b.Result()
		for _, h := range [][32]byte{request, result} {
			if binary.BigEndian.Uint16(h[:])>>13 != 0 {
				t.Errorf("%x is not below 2^253", h)
			}
		}
	})
}
