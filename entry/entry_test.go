package entry

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

var update = flag.Bool("update", false, "write the vectors in testdata again")

// A vector is what testdata/NAME.json says about the bytes in NAME.hex.
// A valid one has what it says and its hashes, an invalid one has Error.
type vector struct {
	About    string       `json:"about"`
	Entry    *vectorEntry `json:"entry,omitempty"`
	Build    *vectorBuild `json:"build,omitempty"` // in place of Entry
	Seal     *vectorSeal  `json:"seal,omitempty"`  // likewise, without identity and context
	Start    *vectorStart `json:"start,omitempty"` // likewise
	Identity string       `json:"identity,omitempty"`
	Context  string       `json:"context,omitempty"`
	Leaf     string       `json:"leaf,omitempty"`
	Error    string       `json:"error,omitempty"` // the beginning of the sentence
}

// vectorRoot says of a workspace's manifest what it is inflated.
type vectorRoot struct {
	Path   string `json:"path"`
	Size   int    `json:"size"`
	SHA256 string `json:"sha256"`
}

// vectorAt is a file of the commit: its directory there, and its content or the id of its blob in hex.
type vectorAt struct {
	Path string `json:"path"`
	Hex  string `json:"hex"`
}

type vectorSeal struct {
	Rules uint64 `json:"rules"`
	Size  uint64 `json:"size"`
	Root  string `json:"root"`
}

type vectorStart struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Tree   string `json:"tree"`
	Rules  uint64 `json:"rules"`
	Root   string `json:"root"`
}

type vectorEntry struct {
	Registry string   `json:"registry"`
	Name     string   `json:"name"`
	Version  string   `json:"version"`
	SHA256   string   `json:"sha256"`
	Commit   string   `json:"commit"`
	Path     string   `json:"path"`
	Files    string   `json:"files"`
	Unproven []string `json:"unproven"`
	Links    []Link   `json:"links,omitempty"`
	Modules  []string `json:"submodules,omitempty"`
	Outside  []string `json:"outside,omitempty"`

	Workspace  *vectorRoot `json:"workspace,omitempty"`
	Executable []string    `json:"executable,omitempty"`
	CRLF       []string    `json:"crlf,omitempty"`
	Attributes []vectorAt  `json:"attributes,omitempty"`
	Lock       *vectorAt   `json:"lock,omitempty"`
	Program    string      `json:"program"`
	Parts      []string    `json:"parts"`
}

// fill returns n bytes that look different in every field.
func fill(seed string, n int) []byte {
	var b []byte
	for at := 0; len(b) < n; at++ {
		sum := sha256.Sum256([]byte(seed + string(rune('a'+at%26))))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// noise returns n bytes that do not deflate.
func noise(n int) (b []byte) {
	for sum := sha256.Sum256(nil); len(b) < n; sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b[:n]
}

func sample() *Entry {
	files := [32]byte(fill("files", 32))
	return &Entry{
		Subject: Subject{DefaultRegistry, "hello-proof", "0.1.0", [32]byte(fill("subject", 32))},
		Claim:   &Source{Commit: [20]byte(fill("commit", 20)), Files: files, Unproven: []string{"Cargo.toml"}},
		Proof:   Proof{[32]byte(fill("program", 32)), [][]byte{fill("proof", 128)}},
	}
}

// claim is a change of an entry's claim.
func claim(change func(s *Source)) func(*Entry) {
	return func(e *Entry) { change(e.Claim.(*Source)) }
}

// validEntries are the golden vectors, by name.
func validEntries() map[string]*Entry {
	plain := sample()
	member := sample()
	member.Subject.Name = "hello-inner"
	member.Claim.(*Source).Path = "crates/inner"
	bare := sample()
	bare.Claim.(*Source).Unproven = nil
	lock := sample()
	lock.Claim.(*Source).Unproven = []string{"Cargo.lock", "Cargo.toml"}
	unicode := sample()
	unicode.Subject.Version = "1.0.0-rc.1+build.7"
	unicode.Claim.(*Source).Path = `crates/naïve "файл"`
	small := sample()
	small.Subject = Subject{DefaultRegistry, "a", "0.0.0", [32]byte{}}
	small.Claim = &Source{}
	small.Proof = Proof{Parts: [][]byte{{0}}}
	parts := sample()
	parts.Proof.Parts = nil
	for i := range maxParts {
		parts.Proof.Parts = append(parts.Proof.Parts, fill("part", 20+i))
	}
	registry := sample()
	registry.Subject.Registry = "https://index.example/Our%20crates"
	crlf := sample()
	crlf.Claim.(*Source).CRLF = []string{"README.md", "src/lib.rs"}
	linked := sample()
	src := linked.Claim.(*Source)
	src.Links = []Link{{"LICENSE", "../LICENSE"}, {"src/core", "../../core/src"}}
	src.Submodules, src.Outside = []string{"vendor/zlib"}, []string{"LICENSE-MIT", "README.md"}
	inherits := sample()
	inherits.Claim.(*Source).Path = "crates/inner"
	inherits.Claim.(*Source).Unproven = nil
	inherits.Claim.(*Source).Workspace = &Workspace{"", []byte("[workspace]\n"), nil, nil}
	large := sample()
	large.Claim.(*Source).Workspace = &Workspace{"", bytes.Repeat([]byte("# a comment of thirty-two bytes\n"), MaxManifest/32), nil, nil}
	attributes := sample()
	attributes.Claim.(*Source).CRLF = []string{"run.bat"}
	attributes.Claim.(*Source).Attributes = []Attributes{{"", []byte("*.bat eol=crlf\n")}, {"win", []byte("* text\n")}}
	derived := sample()
	derived.Claim.(*Source).Unproven = []string{"Cargo.lock"}
	derived.Claim.(*Source).Lock = &Lock{"crates", [20]byte(fill("lock", 20))}
	atRoot := sample()
	atRoot.Claim.(*Source).Unproven = []string{"Cargo.lock"}
	atRoot.Claim.(*Source).Lock = &Lock{}
	lost := sample()
	lost.Claim.(*Source).Executable = []string{"configure", "scripts/greet.sh"}
	return map[string]*Entry{
		"valid-attributes":   attributes,
		"valid-derived-lock": derived,
		"valid-lock-at-root": atRoot,
		"valid-build":        sampleBuild(),
		"valid-build-smallest": {
			Subject: Subject{DefaultRegistry, "a", "0.0.0", [32]byte{}},
			Claim:   &Build{Binary: "a", Target: "a-b", Recipe: Recipe1}, Proof: Proof{Parts: [][]byte{{0}}},
		},
		"valid-lost-bits":     lost,
		"valid-linked":        linked,
		"valid-inherits":      inherits,
		"valid-root":          plain,
		"valid-member":        member,
		"valid-all-proven":    bare,
		"valid-lockfile":      lock,
		"valid-utf8-path":     unicode,
		"valid-smallest":      small,
		"valid-sixteen-parts": parts,
		"valid-crlf":          crlf,
		"valid-registry":      registry,
		"valid-large-root":    large,
	}
}

// item encodes a map in the order that is given, unlike any map of Go.
func item(pairs ...any) cbor.RawMessage {
	b := []byte{0xa0 | byte(len(pairs)/2)}
	for _, v := range pairs {
		if raw, ok := v.(cbor.RawMessage); ok {
			b = append(b, raw...)
			continue
		}
		e, err := cbor.Marshal(v)
		if err != nil {
			panic(err)
		}
		b = append(b, e...)
	}
	return b
}

func rawHex(s string) cbor.RawMessage {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// parts of a valid entry, to build invalid ones from.
func wires() (subject, claim, proof cbor.RawMessage) {
	e := sample()
	s, _ := encMode.Marshal(e.Subject.wire())
	w, _ := e.Claim.wire()
	c, _ := encMode.Marshal(w)
	p, _ := encMode.Marshal(e.Proof.wire())
	return s, c, p
}

type invalid struct {
	about string
	bytes []byte
	want  string // how the error starts
}

// invalidEntries are the named corruptions, one failure each.
func invalidEntries() map[string]invalid {
	subject, claim, proof := wires()
	src := sample().Claim.(*Source)
	sha, commit, files := sample().Subject.SHA256[:], src.Commit[:], src.Files[:]
	program, part := sample().Proof.Program[:], sample().Proof.Parts[0]
	good := func(s, c, p cbor.RawMessage) []byte { return item(1, 2, 2, s, 3, c, 4, p) }
	withSubject := func(pairs ...any) []byte { return good(item(pairs...), claim, proof) }
	withClaim := func(pairs ...any) []byte { return good(subject, item(pairs...), proof) }
	withProof := func(pairs ...any) []byte { return good(subject, claim, item(pairs...)) }
	// changed is a map with one field changed or added; its keys count from 1.
	changed := func(with func(...any) []byte, values ...any) func(key int, v any) []byte {
		return func(key int, v any) []byte {
			var pairs []any
			all := append(slices.Clone(values), nil)[:max(key, len(values))]
			all[key-1] = v
			for i, v := range all {
				pairs = append(pairs, i+1, v)
			}
			return with(pairs...)
		}
	}
	subjectWith := changed(withSubject, "hello", "0.1.0", sha, "default")
	claimWith := changed(withClaim, "source", 2, commit, "", files)
	lockWith := func(lock any) []byte {
		return withClaim(1, "source", 2, 2, 3, commit, 4, "", 5, files, 6, []string{"Cargo.lock"}, 14, lock)
	}
	proofWith := changed(withProof, program, [][]byte{part})
	notCBOR := "the entry is not the CBOR that the format asks for: "
	notCanonical := "the entry is not in its canonical encoding"
	whole := good(subject, claim, proof)
	replace := func(old, new string) []byte {
		if !bytes.Contains(whole, rawHex(old)) {
			panic("no " + old)
		}
		return bytes.Replace(whole, rawHex(old), rawHex(new), 1)
	}
	all := map[string]invalid{
		"empty":               {"no bytes at all", nil, notCBOR},
		"null":                {"null in place of the entry", rawHex("f6"), "the entry's format version is 0"},
		"array":               {"an array in place of the map", rawHex("80"), notCBOR},
		"trailing-byte":       {"one byte after the entry", append(bytes.Clone(whole), 0), notCBOR},
		"cut-off":             {"the last byte is missing", whole[:len(whole)-1], notCBOR},
		"format-version-0":    {"format version 0", item(1, 0, 2, subject, 3, claim, 4, proof), "the entry's format version is 0"},
		"format-version-1":    {"format version 1", item(1, 1, 2, subject, 3, claim, 4, proof), "the entry's format version is 1; only version 2 is known"},
		"format-version-3":    {"format version 3", item(1, 3, 2, subject, 3, claim, 4, proof), "the entry's format version is 3; only version 2 is known"},
		"format-version-text": {"the format version as text", item(1, "2", 2, subject, 3, claim, 4, proof), notCBOR},
		"no-format-version":   {"key 1 is missing", item(2, subject, 3, claim, 4, proof), "the entry's format version is 0"},
		"no-subject":          {"key 2 is missing", item(1, 2, 3, claim, 4, proof), "subject: is missing"},
		"no-claim":            {"key 3 is missing", item(1, 2, 2, subject, 4, proof), "claim: is missing"},
		"no-proof":            {"key 4 is missing", item(1, 2, 2, subject, 3, claim), "proof: is missing"},
		"unknown-key":         {"an unknown key 5", item(1, 2, 2, subject, 3, claim, 4, proof, 5, 1), notCBOR},
		"text-key":            {"the key 1 as text", item("1", 2, 2, subject, 3, claim, 4, proof), notCBOR},
		"duplicate-key":       {"key 1 stands twice", item(1, 2, 1, 2, 2, subject, 3, claim, 4, proof), notCBOR},
		"unsorted-keys":       {"keys in another order", item(2, subject, 1, 2, 3, claim, 4, proof), notCanonical},
		"long-integer":        {"the format version in two bytes", item(1, rawHex("1802"), 2, subject, 3, claim, 4, proof), notCanonical},
		"long-key":            {"the key 1 in two bytes", item(rawHex("1801"), 2, 2, subject, 3, claim, 4, proof), notCanonical},
		"float-version":       {"the format version as a float", item(1, rawHex("f94000"), 2, subject, 3, claim, 4, proof), notCBOR},
		"indefinite-map":      {"a map of indefinite length", append(append([]byte{0xbf}, whole[1:]...), 0xff), notCBOR},
		"indefinite-text":     {"the name as text of indefinite length", subjectWith(1, rawHex("7f 61 61 ff")), notCBOR},
		"tagged-entry":        {"the entry behind the tag for CBOR", append(rawHex("d9d9f7"), whole...), notCBOR},
		"tagged-name":         {"the name behind a tag", subjectWith(1, rawHex("c0 61 61")), notCBOR},

		"name-bytes":      {"the name as a byte string", subjectWith(1, []byte("hello")), "subject: is not the CBOR"},
		"name-not-utf8":   {"the name is not UTF-8", subjectWith(1, rawHex("61ff")), "subject: is not the CBOR"},
		"name-missing":    {"the subject has no name", withSubject(2, "0.1.0", 3, sha, 4, "default"), "subject: the crate name is 0 bytes long"},
		"name-null":       {"the name is null", subjectWith(1, nil), "subject: the crate name is 0 bytes long"},
		"name-slash":      {"the name contains a slash", subjectWith(1, "a/b"), "subject: the crate name \"a/b\" must be"},
		"version-range":   {"the version is a range", subjectWith(2, "^0.1.0"), "subject: the version \"^0.1.0\" is not an exact version"},
		"sha256-short":    {"the SHA-256 has 31 bytes", subjectWith(3, sha[:31]), "subject: sha256: is 31 bytes long, must be 32"},
		"sha256-long":     {"the SHA-256 has 33 bytes", subjectWith(3, fill("x", 33)), "subject: sha256: is 33 bytes long, must be 32"},
		"sha256-text":     {"the SHA-256 as text", subjectWith(3, strings.Repeat("a", 32)), "subject: is not the CBOR"},
		"sha256-array":    {"the SHA-256 as an array of numbers", subjectWith(3, []int{1}), "subject: sha256: is 1 bytes long, must be 32"},
		"subject-unknown": {"an unknown key in the subject", subjectWith(5, 1), "subject: is not the CBOR"},
		"subject-null":    {"null in place of the subject", good(rawHex("f6"), claim, proof), "subject: sha256: is 0 bytes long"},

		"claim-null":         {"null in place of the claim", good(subject, rawHex("f6"), proof), "claim: kind: is missing"},
		"claim-empty":        {"an empty claim", withClaim(), "claim: kind: is missing"},
		"claim-text-key":     {"a text key in the claim", withClaim("kind", "source"), "claim: is not the CBOR"},
		"claim-kind-unknown": {"a kind that is not known", withClaim(1, "zkvm", 2, 2), "claim: kind \"zkvm\" is not known; only \"source\" and \"build\" are"},
		"claim-kind-case":    {"the kind in upper case", claimWith(1, "Source"), "claim: kind \"Source\" is not known"},
		"claim-kind-number":  {"the kind is a number", withClaim(1, 1, 2, 2), "claim: kind: is not the CBOR"},
		"claim-version-0":    {"version 0 of the kind", claimWith(2, 0), "claim: version 0 of kind \"source\" is not known"},
		"claim-version-1":    {"version 1 of the kind", claimWith(2, 1), "claim: version 1 of kind \"source\" is not known"},
		"claim-version-3":    {"version 3 of the kind", claimWith(2, 3), "claim: version 3 of kind \"source\" is not known"},
		"claim-unknown":      {"an unknown key in the claim", withClaim(1, "source", 2, 2, 3, commit, 4, "", 5, files, 7, 1), "claim: is not the CBOR"},
		"claim-duplicate":    {"the path stands twice", withClaim(1, "source", 2, 2, 3, commit, 4, "", 4, "a", 5, files), "claim: is not the CBOR"},
		"commit-short":       {"the commit has 19 bytes", claimWith(3, commit[:19]), "claim: commit: is 19 bytes long, must be 20"},
		"commit-sha256":      {"the commit has 32 bytes", claimWith(3, sha), "claim: commit: is 32 bytes long, must be 20"},
		"path-missing":       {"the path is missing", withClaim(1, "source", 2, 2, 3, commit, 5, files), notCanonical},
		"path-null":          {"the path is null", claimWith(4, nil), notCanonical},
		"path-upwards":       {"the path leaves the repository", claimWith(4, "a/../.."), "claim: path: the path \"a/../..\" has the component \"..\""},
		"path-absolute":      {"the path is absolute", claimWith(4, "/a"), "claim: path: the path \"/a\" has an empty component"},
		"path-slash-at-end":  {"the path ends with a slash", claimWith(4, "a/"), "claim: path: the path \"a/\" has an empty component"},
		"path-dot":           {"the root spelt as a dot", claimWith(4, "."), "claim: path: the path \".\" has the component \".\""},
		"files-short":        {"the files' digest has 31 bytes", claimWith(5, files[:31]), "claim: files: is 31 bytes long, must be 32"},
		"unproven-empty":     {"no unproven files, but the key is there", claimWith(6, []string{}), notCanonical},
		"unproven-null":      {"null in place of the unproven files", claimWith(6, nil), notCanonical},
		"unproven-text":      {"text in place of the list", claimWith(6, "Cargo.lock"), "claim: is not the CBOR"},
		"unproven-unsorted":  {"unproven files out of order", claimWith(6, []string{"b", "a"}), "claim: unproven: \"a\" does not come after \"b\""},
		"unproven-twice":     {"one unproven file twice", claimWith(6, []string{"a", "a"}), "claim: unproven: \"a\" does not come after \"a\""},
		"unproven-bad-path":  {"an unproven file that is no path", claimWith(6, []string{""}), "claim: unproven: a path is 0 bytes long"},

		"lock-null":           {"null in place of the commit's lock file", lockWith(nil), notCanonical},
		"lock-empty":          {"the commit's lock file as an empty array", lockWith([]any{}), "claim: is not the CBOR"},
		"lock-no-blob":        {"the commit's lock file without its blob", lockWith([]any{"a"}), "claim: is not the CBOR"},
		"lock-third":          {"the commit's lock file with one more element", lockWith([]any{"a", commit, 1}), "claim: is not the CBOR"},
		"lock-map":            {"the commit's lock file as a map", lockWith(item(0, "a", 1, commit)), "claim: is not the CBOR"},
		"lock-blob-text":      {"the blob of the lock file as text", lockWith([]any{"a", strings.Repeat("a", 20)}), "claim: is not the CBOR"},
		"lock-blob-short":     {"the blob of the lock file has 19 bytes", lockWith([]any{"a", commit[:19]}), "claim: lock: is 19 bytes long, must be 20"},
		"lock-blob-sha256":    {"the blob of the lock file has 32 bytes", lockWith([]any{"a", sha}), "claim: lock: is 32 bytes long, must be 20"},
		"lock-path-dot":       {"the lock file's directory is a dot", lockWith([]any{".", commit}), "claim: lock: the path \".\" has the component"},
		"lock-path-upwards":   {"the lock file's directory leaves the repository", lockWith([]any{"../a", commit}), "claim: lock: the path \"../a\" has the component"},
		"lock-of-a-proven":    {"the commit's lock file beside a proven one", withClaim(1, "source", 2, 2, 3, commit, 4, "", 5, files, 14, []any{"", commit}), "claim: lock: the commit's Cargo.lock is named, but the .crate's is not listed as unproven"},
		"lock-of-a-manifest":  {"the commit's lock file where only the manifest is unproven", withClaim(1, "source", 2, 2, 3, commit, 4, "", 5, files, 6, []string{"Cargo.toml"}, 14, []any{"", commit}), "claim: lock: the commit's Cargo.lock is named"},
		"lock-before-modules": {"the commit's lock file before another field", withClaim(1, "source", 2, 2, 3, commit, 4, "", 5, files, 6, []string{"Cargo.lock"}, 14, []any{"", commit}, 8, []string{"m"}), notCanonical},

		"program-short":   {"the program id has 31 bytes", proofWith(1, program[:31]), "proof: program: is 31 bytes long, must be 32"},
		"no-parts":        {"a proof without parts", withProof(1, program), "proof: has 0 parts, must have 1 to 16"},
		"empty-parts":     {"a proof with an empty list of parts", proofWith(2, [][]byte{}), "proof: has 0 parts, must have 1 to 16"},
		"empty-part":      {"a part without bytes", proofWith(2, [][]byte{{}}), "proof: part 0 is 0 bytes long, must be 1 to 4096"},
		"null-part":       {"null in place of a part", proofWith(2, [][]byte{part, nil}), "proof: part 1 is 0 bytes long, must be 1 to 4096"},
		"seventeen-parts": {"one part too many", proofWith(2, bytes.Split(bytes.Repeat([]byte{1}, 17), nil)), "proof: has 17 parts, must have 1 to 16"},
		"large-part":      {"a part of 4097 bytes", proofWith(2, [][]byte{fill("large", 4097)}), "proof: part 0 is 4097 bytes long, must be 1 to 4096"},
		"part-text":       {"a part as text", proofWith(2, []string{"a"}), "proof: is not the CBOR"},
		"part-tagged":     {"a part behind the tag of big numbers", proofWith(2, rawHex("81 c2 41 01")), notCBOR},
		"proof-unknown":   {"an unknown key in the proof", proofWith(3, 1), "proof: is not the CBOR"},
		"part-long-head":  {"the length of a part in more bytes than it needs", replace("5880", "590080"), notCanonical},
	}
	maps.Copy(all, invalidBuilds(withClaim, notCanonical))
	return all
}

func vectorOf(t *testing.T, name string, e *Entry) vector {
	t.Helper()
	b, err := e.Marshal()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	id, err := e.Identity()
	fatalIf(t, err)
	ctx, err := Context(e.Subject, e.Claim)
	fatalIf(t, err)
	leaf := LeafHash(b)
	if build, ok := e.Claim.(*Build); ok {
		return vector{About: "valid: " + strings.TrimPrefix(name, "valid-"), Build: vectorOfBuild(t, e, build),
			Identity: hex.EncodeToString(id[:]), Context: hex.EncodeToString(ctx[:]), Leaf: hex.EncodeToString(leaf[:])}
	}
	src := e.Claim.(*Source)
	v := vectorEntry{
		Registry: e.Subject.Registry, Name: e.Subject.Name, Version: e.Subject.Version, SHA256: hex.EncodeToString(e.Subject.SHA256[:]),
		Commit: hex.EncodeToString(src.Commit[:]), Path: src.Path, Files: hex.EncodeToString(src.Files[:]),
		Unproven: append([]string{}, src.Unproven...), Links: src.Links, Modules: src.Submodules, Outside: src.Outside, Executable: src.Executable, CRLF: src.CRLF,
		Program: hex.EncodeToString(e.Proof.Program[:]),
	}
	if w := src.Workspace; w != nil {
		v.Workspace = &vectorRoot{w.Path, len(w.Manifest), fmt.Sprintf("%x", sha256.Sum256(w.Manifest))}
	}
	for _, a := range src.Attributes {
		v.Attributes = append(v.Attributes, vectorAt{a.Path, hex.EncodeToString(a.Content)})
	}
	if l := src.Lock; l != nil {
		v.Lock = &vectorAt{l.Path, hex.EncodeToString(l.Blob[:])}
	}
	for _, p := range e.Proof.Parts {
		v.Parts = append(v.Parts, hex.EncodeToString(p))
	}
	return vector{About: "valid: " + strings.TrimPrefix(name, "valid-"), Entry: &v,
		Identity: hex.EncodeToString(id[:]), Context: hex.EncodeToString(ctx[:]), Leaf: hex.EncodeToString(leaf[:])}
}

//go:generate go test -run "^Test(GoldenEntries|NamedCorruption)" -update .

// golden compares a file of testdata with what it should be, or writes it.
func golden(t *testing.T, name string, want []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		fatalIf(t, os.WriteFile(path, want, 0o644))
	}
	got, err := os.ReadFile(path)
	fatalIf(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, run go test ./entry -update. It is\n%s\nwant\n%s", path, got, want)
	}
}

func goldenPair(t *testing.T, name string, b []byte, v vector) {
	t.Helper()
	var lines bytes.Buffer
	for s := hex.EncodeToString(b); s != ""; {
		n := min(len(s), 96)
		lines.WriteString(s[:n] + "\n")
		s = s[n:]
	}
	golden(t, name+".hex", lines.Bytes())
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	fatalIf(t, enc.Encode(v))
	golden(t, name+".json", text.Bytes())
}

func TestGoldenEntriesKeepTheirBytes(t *testing.T) {
	for name, e := range validEntries() {
		b, err := e.Marshal()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		goldenPair(t, name, b, vectorOf(t, name, e))
		again, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := vectorOf(t, name, again), vectorOf(t, name, e); !sameJSON(t, got, want) {
			t.Errorf("%s: parsed as %+v, want %+v", name, got, want)
		}
	}
}

// slowEntry writes the CBOR of an entry by hand, with these bytes for the workspace's manifest.
func slowEntry(e *Entry, root []byte) (entry, subject, claim []byte) {
	head := func(major byte, n int) []byte {
		switch major <<= 5; {
		case n < 24:
			return []byte{major | byte(n)}
		case n < 256:
			return []byte{major | 24, byte(n)}
		case n < 65536:
			return []byte{major | 25, byte(n >> 8), byte(n)}
		}
		return []byte{major | 26, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	text := func(s string) []byte { return append(head(3, len(s)), s...) }
	octets := func(b []byte) []byte { return append(head(2, len(b)), b...) }
	cat := func(all ...[]byte) []byte { return bytes.Join(all, nil) }

	subject = cat(head(5, 4), head(0, 1), text(e.Subject.Name), head(0, 2), text(e.Subject.Version), head(0, 3), octets(e.Subject.SHA256[:]),
		head(0, 4), text(e.Subject.Registry))
	if b, ok := e.Claim.(*Build); ok {
		claim = cat(head(5, 12), head(0, 1), text("build"), head(0, 2), head(0, 1), head(0, 3), text(b.Binary), head(0, 4), text(b.Target),
			head(0, 5), octets(b.Artifact[:]), head(0, 6), octets(b.Toolchain[:]), head(0, 7), octets(b.Environment[:]), head(0, 8), head(0, 1),
			head(0, 9), octets(b.Lock[:]), head(0, 10), octets(b.Compiled[:]), head(0, 11), octets(b.Root[:]), head(0, 12), octets(b.Tag[:]))
		return whole(e, head, subject, claim), subject, claim
	}
	c := e.Claim.(*Source)
	size := 5
	var rest []byte
	list := func(key, n int, item func(i int) []byte) {
		if n == 0 {
			return
		}
		size++
		rest = cat(rest, head(0, key), head(4, n))
		for i := range n {
			rest = append(rest, item(i)...)
		}
	}
	list(6, len(c.Unproven), func(i int) []byte { return text(c.Unproven[i]) })
	list(7, len(c.Links), func(i int) []byte { return cat(head(4, 2), text(c.Links[i].Path), text(c.Links[i].Target)) })
	list(8, len(c.Submodules), func(i int) []byte { return text(c.Submodules[i]) })
	list(9, len(c.Outside), func(i int) []byte { return text(c.Outside[i]) })
	if w := c.Workspace; w != nil {
		size++
		rest = cat(rest, head(0, 10), head(4, 2), text(w.Path), octets(root))
	}
	list(11, len(c.Executable), func(i int) []byte { return text(c.Executable[i]) })
	list(12, len(c.CRLF), func(i int) []byte { return text(c.CRLF[i]) })
	list(13, len(c.Attributes), func(i int) []byte {
		return cat(head(4, 2), text(c.Attributes[i].Path), octets(c.Attributes[i].Content))
	})
	if l := c.Lock; l != nil {
		size++
		rest = cat(rest, head(0, 14), head(4, 2), text(l.Path), octets(l.Blob[:]))
	}
	claim = cat(head(5, size), head(0, 1), text("source"), head(0, 2), head(0, 2), head(0, 3), octets(c.Commit[:]),
		head(0, 4), text(c.Path), head(0, 5), octets(c.Files[:]), rest)
	return whole(e, head, subject, claim), subject, claim
}

// whole puts an entry together.
func whole(e *Entry, head func(major byte, n int) []byte, subject, claim []byte) []byte {
	proof := slices.Concat(head(5, 2), head(0, 1), head(2, 32), e.Proof.Program[:], head(0, 2), head(4, len(e.Proof.Parts)))
	for _, p := range e.Proof.Parts {
		proof = slices.Concat(proof, head(2, len(p)), p)
	}
	return slices.Concat(head(5, 4), head(0, 1), head(0, 2), head(0, 2), subject, head(0, 3), claim, head(0, 4), proof)
}

func TestEntriesAreEncodedAsTheSpecificationSays(t *testing.T) {
	for name, e := range validEntries() {
		var deflated, inflated []byte
		if s, _ := e.Claim.(*Source); s != nil && s.Workspace != nil {
			w := s.Workspace
			inflated = w.Manifest
			deflated = must(w.deflate())
			if again, err := io.ReadAll(flate.NewReader(bytes.NewReader(deflated))); err != nil || !bytes.Equal(again, inflated) {
				t.Errorf("%s: the manifest is not deflated (%v)", name, err)
			}
		}
		entry, subject, _ := slowEntry(e, deflated)
		_, _, claim := slowEntry(e, inflated)
		if b, err := e.Marshal(); err != nil || !bytes.Equal(b, entry) {
			t.Errorf("%s: is %x (%v), want %x", name, b, err, entry)
		}
		statement := string(subject) + string(claim)
		want := sha256.Sum256([]byte("cratelog/identity/v2\n" + statement))
		if got, err := e.Identity(); err != nil || got != want {
			t.Errorf("%s: identity is %x (%v), want %x", name, got, err, want)
		}
		want = sha256.Sum256([]byte("cratelog/context/v2\n" + statement))
		want[0] &= 0b00011111
		if got, err := Context(e.Subject, e.Claim); err != nil || got != want {
			t.Errorf("%s: context is %x (%v), want %x", name, got, err, want)
		}
		if got := LeafHash(entry); got != sha256.Sum256(append([]byte{0}, entry...)) {
			t.Errorf("%s: leaf hash is %x", name, got)
		}
	}
}

func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	fatalIf(t, err)
	y, err := json.Marshal(b)
	fatalIf(t, err)
	return bytes.Equal(x, y)
}

func TestNamedCorruptionIsRefusedWithItsSentence(t *testing.T) {
	for name, c := range invalidEntries() {
		goldenPair(t, "invalid-"+name, c.bytes, vector{About: c.about, Error: c.want})
		_, err := Parse(c.bytes)
		if err == nil {
			t.Errorf("%s: believed", name)
		} else if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
	}
}

func TestNoVectorIsLeftOver(t *testing.T) {
	files, err := filepath.Glob("testdata/*valid-*")
	fatalIf(t, err)
	if want := 2 * (len(validEntries()) + len(invalidEntries()) + len(validOwn()) + len(invalidOwn())); len(files) != want {
		t.Errorf("testdata holds %d files, the tests make %d", len(files), want)
	}
}

func TestEveryFlippedBitChangesTheEntryOrIsRefused(t *testing.T) {
	for _, name := range []string{"valid-root", "valid-derived-lock", "valid-build"} {
		flipEveryBit(t, name, validEntries()[name])
	}
}

func flipEveryBit(t *testing.T, name string, whole *Entry) {
	t.Helper()
	b, err := whole.Marshal()
	fatalIf(t, err)
	for i := range b {
		for bit := range 8 {
			other := bytes.Clone(b)
			other[i] ^= 1 << bit
			e, err := Parse(other)
			if err != nil {
				continue
			}
			if again, err := e.Marshal(); err != nil || !bytes.Equal(again, other) {
				t.Errorf("%s: byte %d, bit %d: parses, but encodes differently (%v)", name, i, bit, err)
			}
		}
	}
	for n := range b {
		if _, err := Parse(b[:n]); err == nil {
			t.Errorf("%s: the first %d bytes are believed", name, n)
		}
	}
}

func TestSizeIsHeldAtTheLimitAndOneAbove(t *testing.T) {
	e := sample()
	e.Proof.Parts = nil
	for range 15 {
		e.Proof.Parts = append(e.Proof.Parts, fill("part", maxPart))
	}
	e.Proof.Parts = append(e.Proof.Parts, []byte{1})
	b, err := e.Marshal()
	fatalIf(t, err)
	// A part above 255 bytes has two more bytes in its head than one of 1 byte.
	e.Proof.Parts[15] = fill("part", 1+MaxSize-len(b)-2)
	b, err = e.Marshal()
	if err != nil || len(b) != MaxSize {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err := Parse(b); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	e.Proof.Parts[15] = append(e.Proof.Parts[15], 1)
	want := "the entry is 65536 bytes long, more than the 65535 that a log accepts"
	if _, err := e.Marshal(); err == nil || err.Error() != want {
		t.Errorf("Marshal one above: %v", err)
	}
	if _, err := Parse(append(b, 0)); err == nil || err.Error() != want {
		t.Errorf("Parse one above: %v", err)
	}
}

func TestMarshalRefusesWhatParseWould(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Entry)
		want string
	}{
		"no claim":    {func(e *Entry) { e.Claim = nil }, "claim: there is none"},
		"nil source":  {func(e *Entry) { e.Claim = (*Source)(nil) }, "claim: there is none"},
		"name":        {func(e *Entry) { e.Subject.Name = "" }, "subject: the crate name is 0 bytes long, must be 1 to 64"},
		"65 unproven": {claim(func(s *Source) { s.Unproven = make([]string, 65) }), "claim: unproven: lists 65 files, more than 64"},
		"257 links":   {claim(func(s *Source) { s.Links = manyLinks(257) }), "claim: links: lists 257 files, more than 256"},
		"links in disorder": {claim(func(s *Source) { s.Links = []Link{{"b", "c"}, {"a", "c"}} }),
			`claim: links: "a" does not come after "b"; sort the paths as bytes and list each once`},
		"a link twice": {claim(func(s *Source) { s.Links = []Link{{"a", "c"}, {"a", "d"}} }),
			`claim: links: "a" does not come after "a"; sort the paths as bytes and list each once`},
		"a link to nothing":   {claim(func(s *Source) { s.Links = []Link{{"a", ""}} }), `claim: links: the text of "a" is 0 bytes long, must be 1 to 1024`},
		"a link with a NUL":   {claim(func(s *Source) { s.Links = []Link{{"a", "b\x00"}} }), `claim: links: the text of "a" is not UTF-8 without control characters`},
		"a link out of place": {claim(func(s *Source) { s.Links = []Link{{"../a", "b"}} }), `claim: links: the path "../a" has the component ".."`},
		"17 submodules":       {claim(func(s *Source) { s.Submodules = make([]string, 17) }), "claim: submodules: lists 17 files, more than 16"},
		"an empty workspace":  {claim(func(s *Source) { s.Workspace = &Workspace{} }), "claim: workspace: the manifest is 0 bytes long, must be 1 to 1048576"},
		"a huge workspace":    {claim(func(s *Source) { s.Workspace = &Workspace{"", make([]byte, MaxManifest+1), nil, nil} }), "claim: workspace: the manifest is 1048577 bytes long, must be 1 to 1048576"},
		"a workspace above":   {claim(func(s *Source) { s.Workspace = &Workspace{"..", []byte("x"), nil, nil} }), `claim: workspace: the path ".." has the component ".."`},
		"3 from outside":      {claim(func(s *Source) { s.Outside = make([]string, 3) }), "claim: outside: lists 3 files, more than 2"},
		"257 executable":      {claim(func(s *Source) { s.Executable = make([]string, 257) }), "claim: executable: lists 257 files, more than 256"},
		"an executable twice": {claim(func(s *Source) { s.Executable = []string{"a", "a"} }), `claim: executable: "a" does not come after "a"; sort the paths as bytes and list each once`},
		"1025 with CRLF":      {claim(func(s *Source) { s.CRLF = make([]string, 1025) }), "claim: crlf: lists 1025 files, more than 1024"},
		"a lock file of a proven one": {claim(func(s *Source) { s.Unproven, s.Lock = nil, &Lock{} }),
			"claim: lock: the commit's Cargo.lock is named, but the .crate's is not listed as unproven"},
		"a lock file out of place": {claim(func(s *Source) { s.Unproven, s.Lock = []string{"Cargo.lock"}, &Lock{Path: "a/"} }),
			`claim: lock: the path "a/" has an empty component: no slash may start, end or follow another`},
		"no registry": {func(e *Entry) { e.Subject.Registry = "" }, "subject: the registry is 0 bytes long, must be 1 to 1024"},
		"a workspace that does not deflate": {claim(func(s *Source) { s.Workspace = &Workspace{"", noise(49152), nil, nil} }),
			"claim: workspace: the manifest has 49172 bytes deflated, more than the 49152 that an entry can carry"},
		"path not UTF-8":  {claim(func(s *Source) { s.Path = "a\xff" }), `claim: path: the path "a\xff" is not valid UTF-8`},
		"no parts":        {func(e *Entry) { e.Proof.Parts = nil }, "proof: has 0 parts, must have 1 to 16"},
		"seventeen parts": {func(e *Entry) { e.Proof.Parts = make([][]byte, 17) }, "proof: has 17 parts, must have 1 to 16"},
		"an empty part":   {func(e *Entry) { e.Proof.Parts = [][]byte{{1}, nil} }, "proof: part 1 is 0 bytes long, must be 1 to 4096"},
	} {
		e := sample()
		c.edit(e)
		if _, err := e.Marshal(); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	bad := sample()
	bad.Subject.Version = "1"
	if _, err := bad.Identity(); err == nil {
		t.Error("an invalid entry has an identity")
	}
	if _, err := Context(bad.Subject, bad.Claim); err == nil {
		t.Error("an invalid subject has a context")
	}
}

func manyLinks(n int) (links []Link) {
	for i := range n {
		links = append(links, Link{fmt.Sprintf("%04d", i), "x"})
	}
	return links
}

func TestSixtyFourUnprovenFilesFit(t *testing.T) {
	e := sample()
	var all []string
	for i := range maxUnproven {
		all = append(all, string(rune('0'+i/10))+string(rune('0'+i%10)))
	}
	e.Claim.(*Source).Unproven = all
	b, err := e.Marshal()
	fatalIf(t, err)
	if _, err := Parse(b); err != nil {
		t.Error(err)
	}
}

func TestIdentityAndContextAreOfSubjectAndClaimOnly(t *testing.T) {
	// locked is an entry whose claim names the commit's lock file.
	locked := func() *Entry {
		e := sample()
		e.Claim.(*Source).Unproven = []string{"Cargo.lock"}
		e.Claim.(*Source).Lock = &Lock{Path: "a"}
		return e
	}
	base := locked()
	id, err := base.Identity()
	fatalIf(t, err)
	ctx, err := Context(base.Subject, base.Claim)
	fatalIf(t, err)
	if ctx[0] > 0x1f {
		t.Errorf("context %x is not below 2^253", ctx)
	}
	if id == ctx {
		t.Error("identity and context share a domain")
	}
	other := locked()
	other.Proof = Proof{[32]byte{1}, [][]byte{{1}}}
	if got, _ := other.Identity(); got != id {
		t.Error("another proof gives another identity")
	}
	for name, edit := range map[string]func(*Entry){
		"name":     func(e *Entry) { e.Subject.Name += "x" },
		"version":  func(e *Entry) { e.Subject.Version = "0.1.1" },
		"sha256":   func(e *Entry) { e.Subject.SHA256[0] ^= 1 },
		"commit":   claim(func(s *Source) { s.Commit[19] ^= 1 }),
		"path":     claim(func(s *Source) { s.Path = "a" }),
		"files":    claim(func(s *Source) { s.Files[31] ^= 1 }),
		"unproven": claim(func(s *Source) { s.Unproven = []string{"Cargo.lock", "Cargo.toml"} }),
		"links":    claim(func(s *Source) { s.Links = []Link{{"a", "b"}} }),
		"modules":  claim(func(s *Source) { s.Submodules = []string{"a"} }),
		"outside":  claim(func(s *Source) { s.Outside = []string{"a"} }),
		"lost":     claim(func(s *Source) { s.Executable = []string{"a"} }),
		"root":     claim(func(s *Source) { s.Workspace = &Workspace{"", []byte("a"), nil, nil} }),
		"crlf":     claim(func(s *Source) { s.CRLF = []string{"a"} }),
		"rules":    claim(func(s *Source) { s.Attributes = []Attributes{{"", []byte("a")}} }),
		"lock":     claim(func(s *Source) { s.Lock = nil }),
		"lockpath": claim(func(s *Source) { s.Lock.Path = "b" }),
		"lockblob": claim(func(s *Source) { s.Lock.Blob[19] ^= 1 }),
	} {
		e := locked()
		edit(e)
		if got, err := e.Identity(); err != nil || got == id {
			t.Errorf("another %s gives the same identity (%v)", name, err)
		}
		if got, err := Context(e.Subject, e.Claim); err != nil || got == ctx {
			t.Errorf("another %s gives the same context (%v)", name, err)
		}
	}
}

func TestParsedEntryDoesNotShareMemory(t *testing.T) {
	b, err := sample().Marshal()
	fatalIf(t, err)
	e, err := Parse(b)
	fatalIf(t, err)
	whole := bytes.Clone(b)
	clear(b)
	if again, err := e.Marshal(); err != nil || !bytes.Equal(again, whole) {
		t.Errorf("the entry changed with the bytes it was parsed from (%v)", err)
	}
}

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a", "_", "serde_json", "A-1", strings.Repeat("a", 64)} {
		if err := CheckName(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "1a", "-a", "a.b", "a/b", "a b", "é", "a\x00", strings.Repeat("a", 65)} {
		if CheckName(s) == nil {
			t.Errorf("name %q is believed", s)
		}
	}
}

func TestCheckVersion(t *testing.T) {
	for _, s := range []string{
		"0.0.0", "1.2.3", "10.20.30", "18446744073709551615.0.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-0.3.7", "1.0.0-x.7.z.92",
		"1.0.0-x-y-z.--", "1.0.0-0A.is.legal", "1.0.0+20130313144700", "1.0.0-beta+exp.sha.5114f85", "1.0.0+21AF26D3----117B344092BD",
		"1.0.0+001", "1.0.0--", "2.0.16+zstd.1.5.7", "1.0.0-" + strings.Repeat("9", 58),
	} {
		if err := CheckVersion(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{
		"", "1", "1.2", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3+", "1.2.3-+b", "1.2.3-a..b", "1.2.3-01", "1.2.3-a.01", "1.2.3+a+b",
		"1.2.3+a..b", "v1.2.3", "=1.2.3", "1.2.x", "1.2.*", "-1.2.3", "+1.2.3", "1.2.3 ", " 1.2.3", "1.2.3-é", "1.2.3-a_b", "1.2.-3", "1.+2.3",
		"18446744073709551616.0.0", "1.2.3-" + strings.Repeat("9", 59), "1..3", "1.2.3\n", "0x1.2.3", "1_0.2.3",
	} {
		if CheckVersion(s) == nil {
			t.Errorf("version %q is believed", s)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, s := range []string{"a", "a/b", "...", ".a", "a..b", "src/naïve-файл.rs", "a b", `"`, "C:", strings.Repeat("a", 1024)} {
		if err := CheckPath(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/..", "../a", "a/../b", `a\b`, "a\x00", "a\n", "a\x7f", "a\u0085",
		"a\xff", "\xc0\xaf", strings.Repeat("a", 1025)} {
		if CheckPath(s) == nil {
			t.Errorf("path %q is believed", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range validEntries() {
		b, err := e.Marshal()
		fatalIf(f, err)
		f.Add(b)
	}
	for _, c := range invalidEntries() {
		f.Add(c.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		again, err := e.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x parses, but encodes as %x (%v)", b, again, err)
		}
		if _, err := e.Identity(); err != nil {
			t.Error(err)
		}
	})
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
