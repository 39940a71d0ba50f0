package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/index"
)

// Limits of a file.
const (
	MaxSize     = 16 << 20  // of a file, in bytes
	MaxNote     = 128 << 10 // of a signed note, in bytes
	MaxProgram  = 64 << 10  // of a program file, in bytes
	MaxCrate    = 11 << 20  // of a .crate in a file, in bytes; it must fit as base64
	MaxList     = 1 << 20   // of a list of files, in bytes
	MaxLine     = 512 << 10 // of a line of a registry's index, in bytes
	maxSources  = 8
	maxText     = 1024
	maxPath     = 63
	maxTreeSize = 1 << 62 // entries; x/mod's tlog cannot calculate beyond
	groupWidth  = 256     // leaves under one hash of an entry-root-mismatch
	maxValue    = 72      // of a key in a map, in bytes
	maxProof    = 32 << 10
)

// Kind says what a file is evidence of.
type Kind string

// The kinds of evidence; see the package comment.
const (
	ForkSameSize      Kind = "fork-same-size"
	ForkPrefix        Kind = "fork-prefix"
	CosignerFork      Kind = "cosigner-fork"
	FalseEntry        Kind = "false-entry"
	EntryRootMismatch Kind = "entry-root-mismatch"
	Stale             Kind = "stale"
	RegistryMismatch  Kind = "registry-mismatch"

	OpeningContradiction Kind = "opening-contradiction"
	BuilderContradiction Kind = "builder-contradiction"

	Unsealed      Kind = "unsealed"
	IndexOmission Kind = "index-omission"
	IndexPhantom  Kind = "index-phantom"
)

// Reason says what is false about an entry.
type Reason string

// The reasons of a FalseEntry.
const (
	Malformed      Reason = "malformed"       // its bytes are no entry
	UnknownProgram Reason = "unknown-program" // its program is not accepted; convicts nobody
	ProofInvalid   Reason = "proof-invalid"   // its proof does not hold
	Files          Reason = "files"           // its .crate has other files than it claims
)

// Errors of this package wrap one of these.
var (
	// ErrMalformed: the bytes are no evidence file, or a value cannot be one.
	ErrMalformed = errors.New("malformed evidence")
	// ErrNotProven: the evidence does not show what it says.
	ErrNotProven = errors.New("the evidence does not hold")
	// ErrUnknownKey: no key that the reader gave has made the signatures.
	ErrUnknownKey = errors.New("the evidence is not signed by a known key")
	// ErrUndecided: to decide, the reader must accept the entry's program.
	ErrUndecided = errors.New("the evidence cannot be decided")
)

// Evidence is the content of a file. Which fields a kind has, the package comment
// tells; all others are zero.
type Evidence struct {
	Kind     Kind
	Observed time.Time // whole seconds, UTC; the captor's word
	Sources  []string  // where it was found, for people; the captor's word

	Witness  string // "<name>+<8 hex digits>"; CosignerFork
	Reason   Reason
	Registry Registry
	Program  []byte // program file, may be nil; FalseEntry with ProofInvalid or UnknownProgram, and contradictions
	Crate    []byte // FalseEntry with Files, Registry with Line; nil if it is too large: the verifier must set it
	Opening  []byte // OpeningContradiction: what contradicts List
	List     []byte // OpeningContradiction: the claim's list of files; FalseEntry with ProofInvalid: the claim's list of files, if the proof is false only of it; else nil

	Statements [][]byte // BuilderContradiction: two entries, which need not be in any log
	Sets       [][]byte // BuilderContradiction: the set files of their roots, one if it is the same

	Notes   [][]byte
	Entries []Leaf
	Lookups []Lookup    // of a key in the map of the last entry, a seal, and in that of the first, if it is a start
	Root    *tlog.Hash  // of the larger tree at the smaller note's size
	Hashes  []tlog.Hash // consistency proof, or captured hashes
}

// Leaf is an entry under the first note of an Evidence.
type Leaf struct {
	Index int64
	Bytes []byte
	Path  []tlog.Hash // RFC 6962 inclusion path, the leaf's sibling first
}

// Lookup is what the map of a seal, or of a start, has for a key; see package index.
type Lookup struct {
	Key   index.Key
	Value []byte // nil: the key does not stand there
	Proof []byte // of either
}

// Registry is what a registry served for the crate and version of an entry.
type Registry struct {
	Name   string   // of the registry, or its URL
	Index  bool     // the checksum stood in the index; else it is of the .crate that was served
	SHA256 [32]byte // another one than the entry's, but for a Line
	URL    string   // of the index, as Cargo.lock names it; with Line
	Line   []byte   // the index line, if not its checksum is wrong, but what it says beside
}

// Meta is the captor's own account of the finding.
type Meta struct {
	Observed time.Time // cut to whole seconds
	Sources  []string  // at most 8, each at most 1024 bytes
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
}

func notProven(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrNotProven, fmt.Errorf(format, args...))
}

// Marshal returns the one encoding of e, or ErrMalformed if e is not what Parse could
// return. It verifies nothing.
func (e *Evidence) Marshal() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%skind %s\nobserved %s\n", header, e.Kind, e.Observed.Format(time.RFC3339))
	for _, s := range e.Sources {
		fmt.Fprintf(&b, "source %s\n", s)
	}
	if e.Witness != "" {
		fmt.Fprintf(&b, "witness %s\n", e.Witness)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, "reason %s\n", e.Reason)
	}
	if e.Registry.Name != "" {
		fmt.Fprintf(&b, "registry %s\nserved %s %x\n", e.Registry.Name, e.Registry.what(), e.Registry.SHA256)
	}
	if e.Registry.Line != nil {
		fmt.Fprintf(&b, "line %s %s\n", e.Registry.URL, b64(e.Registry.Line))
	}
	if e.Program != nil {
		fmt.Fprintf(&b, "program %d\n%s", len(e.Program), e.Program)
	}
	for _, set := range e.Sets {
		fmt.Fprintf(&b, "set %d\n%s", len(set), set)
	}
	for _, x := range e.Statements {
		fmt.Fprintf(&b, "statement %s\n", b64(x))
	}
	if len(e.Crate) > MaxCrate {
		return nil, malformed("the .crate has %d bytes, at most %d fit", len(e.Crate), MaxCrate)
	}
	if e.Crate != nil {
		fmt.Fprintf(&b, "crate %s\n", b64(e.Crate))
	}
	if e.List != nil {
		fmt.Fprintf(&b, "list %s\n", b64(e.List))
	}
	if e.Opening != nil {
		fmt.Fprintf(&b, "opening %s\n", b64(e.Opening))
	}
	for _, n := range e.Notes {
		fmt.Fprintf(&b, "note %d\n%s", len(n), n)
	}
	for _, l := range e.Entries {
		fmt.Fprintf(&b, "entry %d %s\n", l.Index, b64(l.Bytes))
		for _, h := range l.Path {
			fmt.Fprintf(&b, "path %s\n", b64(h[:]))
		}
	}
	for _, l := range e.Lookups {
		fmt.Fprintf(&b, "lookup %s %s %s\n", b64(l.Key[:]), b64(l.Value), b64(l.Proof))
	}
	if e.Root != nil {
		fmt.Fprintf(&b, "root %s\n", b64(e.Root[:]))
	}
	for _, h := range e.Hashes {
		fmt.Fprintf(&b, "hash %s\n", b64(h[:]))
	}
	if b.Len() > MaxSize {
		return nil, malformed("it would have %d bytes, at most %d are allowed", b.Len(), MaxSize)
	}
	return b.Bytes(), nil
}

func (r Registry) what() string {
	switch {
	case r.Line != nil:
		return "line"
	case r.Index:
		return "index"
	}
	return "crate"
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// Name is the name of the file with the content b: SHA-256 in hex, and ".evidence".
func Name(b []byte) string { return fmt.Sprintf("%x.evidence", sha256.Sum256(b)) }

// Key names what e is evidence of, whatever its captor, sources, time and signature
// lines: 64 hex digits. It tells a new finding from a known one. e must be well-formed; see Marshal.
func (e *Evidence) Key() (string, error) {
	if e.Kind == BuilderContradiction {
		return e.contradictionKey()
	}
	heads, err := e.heads()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/evidence-key/v1\n%s\n%s\n%s\n%s\n", e.Kind, e.Witness, e.Reason, heads[0].Origin)
	about := e.Entries
	if len(e.Lookups) > 0 {
		about = about[:len(about)-1] // but the seal, which is another one under each checkpoint
	}
	for _, l := range about {
		fmt.Fprintf(h, "%d %x\n", l.Index, entry.LeafHash(l.Bytes))
	}
	for _, l := range e.Lookups {
		fmt.Fprintf(h, "%x %x\n", l.Key, l.Value)
	}
	switch e.Kind {
	case FalseEntry, OpeningContradiction, IndexOmission, IndexPhantom:
		// They stay the same under every checkpoint that includes the entries.
	case RegistryMismatch:
		fmt.Fprintf(h, "%s\n%s %x\n", e.Registry.Name, e.Registry.what(), e.Registry.SHA256)
		if e.Registry.Line != nil {
			fmt.Fprintf(h, "%s %x\n", e.Registry.URL, sha256.Sum256(e.Registry.Line))
		}
	default:
		for _, c := range heads {
			fmt.Fprintf(h, "%d %x\n", c.N, c.Hash)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// contradictionKey is Key of a contradiction: a builder contradicts himself once about a build, in
// whatever sets and with whatever proofs.
func (e *Evidence) contradictionKey() (string, error) {
	two, err := e.statements()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/evidence-key/v1\n%s\n%x %x\n", e.Kind, two[0].request, two[0].claim.Tag)
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// heads reads the texts of the notes. It verifies no signature.
func (e *Evidence) heads() ([]torchwood.Checkpoint, error) {
	if len(e.Notes) == 0 {
		return nil, malformed("it holds no note")
	}
	var all []torchwood.Checkpoint
	for i, n := range e.Notes {
		c, err := parseHead(n)
		if err != nil {
			return nil, malformed("note %d %w", i+1, err)
		}
		if i > 0 && c.Origin != all[0].Origin {
			return nil, malformed("its notes are of two logs, %q and %q", clip(all[0].Origin), clip(c.Origin))
		}
		all = append(all, c)
	}
	return all, nil
}

// parseHead reads the text of a signed note, as note.Open delimits it.
func parseHead(signed []byte) (torchwood.Checkpoint, error) {
	var none torchwood.Checkpoint
	switch {
	case len(signed) > MaxNote:
		return none, fmt.Errorf("has %d bytes, at most %d are allowed", len(signed), MaxNote)
	case !isText(signed):
		return none, errors.New("does not end in a newline, is not UTF-8, or holds control characters")
	}
	end := bytes.LastIndex(signed, []byte("\n\n"))
	if end < 0 {
		return none, errors.New("is not a c2sp.org/signed-note")
	}
	text := string(signed[:end+1])
	c, err := torchwood.ParseCheckpoint(text)
	if err != nil || c.String() != text || c.Origin == "" {
		return none, errors.New("is not a c2sp.org/tlog-checkpoint")
	}
	if c.N > maxTreeSize {
		return none, fmt.Errorf("is of a tree with %d entries, which no log can have", c.N)
	}
	return c, nil
}

// isText says whether b is UTF-8 in lines that end in LF, and nothing else.
func isText(b []byte) bool {
	return bytes.HasSuffix(b, []byte("\n")) && utf8.Valid(b) &&
		!bytes.ContainsFunc(b, func(r rune) bool { return r != '\n' && unicode.IsControl(r) })
}

// printable says whether s is what the package comment calls text.
func printable(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && strings.TrimSpace(s) == s &&
		strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// clip shortens what came from outside, for texts that people read.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
