// Package entry holds what is written in the log: one statement about one
// crate, with its proof; and what the log itself writes between such entries.
// This comment is the specification of the format.
//
// Each leaf of a log is an entry, or a seal, or, as the first one, a start:
//
//	leaf = entry / seal / start
//
// An entry is one item of deterministically encoded CBOR (RFC 8949, section
// 4.2.1), at most 65,535 bytes long. In CDDL (RFC 8610):
//
//	entry = {
//	  1: 2,                         ; version of the format
//	  2: subject,
//	  3: claim,
//	  4: proof,
//	}
//
//	subject = {
//	  1: name,                      ; the crate's name
//	  2: version,                   ; its exact version
//	  3: bstr .size 32,             ; SHA-256 of the .crate, the registry's cksum
//	  4: registry,                  ; "default", or the index of another registry
//	}
//
//	claim = source / build          ; a closed set
//
//	source = {
//	  1: "source",
//	  2: 2,                         ; version of the kind
//	  3: bstr .size 20,             ; id of the git commit (SHA-1)
//	  4: path / "",                 ; path_in_vcs; "" is the repository's root
//	  5: bstr .size 32,             ; SHA-256 of the file list
//	  ? 6: [1*64 path],             ; files of the crate that are not proven
//	  ? 7: [1*256 link],            ; symbolic links on the way to its files
//	  ? 8: [1*16 path],             ; submodules on the way to its files
//	  ? 9: [1*2 path],              ; files from outside of the package
//	  ? 10: [path / "", bstr .size (1..49152)],  ; directory and Cargo.toml of the workspace's root,
//	                                ; deflated
//	  ? 11: [1*256 path],           ; files executable in the commit, and not in the .crate
//	  ? 12: [1*1024 path],          ; files with CRLF where the commit has LF
//	  ? 13: [1*4 attributes],       ; .gitattributes that say so
//	  ? 14: [path / "", bstr .size 20],  ; directory and blob id of the commit's Cargo.lock
//	}
//
//	build = {
//	  1: "build",
//	  2: 1,                         ; version of the kind
//	  3: binary,                    ; name of the binary target
//	  4: target,                    ; its target triple
//	  5: bstr .size 32,             ; SHA-256 of the binary
//	  6: bstr .size 32,             ; id of the toolchain
//	  7: bstr .size 32,             ; id of the environment
//	  8: 1,                         ; recipe
//	  9: bstr .size 32,             ; SHA-256 of the Cargo.lock in the .crate
//	  10: bstr .size 32,            ; SHA-256 of the list of compiled crates
//	  11: bstr .size 32,            ; root of the set of builders
//	  12: bstr .size 32,            ; tag of the member who says so, for this build
//	}
//
//	link = [path, tstr]             ; where it stands in the repository, its text
//
//	attributes = [path / "", bstr .size (1..8192)]  ; directory in the repository, content
//
//	proof = {
//	  1: bstr .size 32,             ; id of the program that made the proof
//	  2: [1*16 bstr .size (1..4096)],  ; its parts
//	}
//
//	name = tstr                     ; CheckName
//	version = tstr                  ; CheckVersion
//	path = tstr                     ; CheckPath
//	registry = tstr                 ; CheckRegistry
//	binary = tstr                   ; CheckBinary
//	target = tstr                   ; CheckTarget
//
// What CDDL cannot say:
//
//   - There is one encoding only. A parser decodes, encodes again and compares;
//     so integers and lengths are as short as they can be, keys stand in
//     ascending order, and nothing follows the item.
//   - There are no tags, no indefinite lengths, no floats, no null, no unknown
//     and no repeated keys. Text is valid UTF-8.
//   - The Cargo.toml under key 10 is one stream of DEFLATE (RFC 1951) with nothing after
//     it, of 1 to 1,048,576 bytes inflated. Any stream of these bytes will do: it is not
//     part of what the entry is.
//   - The paths under the keys 6 to 9 and 11 to 13 are strictly ascending as byte strings,
//     in a link and in attributes the first one. With none, the key is absent.
//   - Key 14 stands only where key 6 lists Cargo.lock.
//   - A link's text is 1 to 1024 bytes of UTF-8 without control characters.
//
// # Seal and start
//
// They are encoded as strictly as an entry is. Only a log makes them: nobody can submit one.
//
//	seal = {
//	  1: 2,                         ; version of the format
//	  5: {
//	    1: uint,                    ; version of the map's rules: 1
//	    2: uint,                    ; number of leaves before it, below 2^63
//	    3: bstr .size 32,           ; root of their map
//	  },
//	}
//
//	start = {
//	  1: 2,                         ; version of the format
//	  6: {
//	    1: tstr,                    ; origin of the log that this one goes on for
//	    2: uint,                    ; size of its tree at its end, below 2^63
//	    3: bstr .size 32,           ; root hash of that tree
//	    4: uint,                    ; version of the map's rules
//	    5: bstr .size 32,           ; root of the map that is taken over
//	  },
//	}
//
// A seal at any other index than its own number is void, and so is a start at any index but 0.
// What the map holds says package index.
//
// # Identity
//
// A zero-knowledge proof can be altered by anyone without becoming false, so
// what an entry is does not depend on its proof:
//
//	identity = SHA-256("cratelog/identity/v2\n" || CBOR(subject) || CBOR(claim))
//
// where the claim has the workspace's Cargo.toml inflated.
//
// # Context
//
// A proof is made for one subject and one claim. Its challenge hashes
//
//	context = SHA-256("cratelog/context/v2\n" || CBOR(subject) || CBOR(claim))
//
// of the same bytes, with the three most significant bits cleared. Both items end where CBOR says
// they do, so their concatenation has one reading.
//
// # Leaf
//
// The log's leaf hash is that of RFC 6962: SHA-256(0x00 || entry).
package entry

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// MaxSize is the largest size of an encoded entry in bytes, that of C2SP
// tlog-tiles.
const MaxSize = 65535

// MaxManifest is the largest size of a workspace's manifest in bytes, inflated.
const MaxManifest = 1 << 20

const (
	maxParts    = 16
	maxPart     = 4096
	maxUnproven = 64
	maxLinks    = 256
	maxModules  = 16
	maxOutside  = 2
	maxLost     = 256
	maxCRLF     = 1024

	maxAttributes     = 4
	maxAttributesFile = 8 << 10
	maxDeflated       = 48 << 10 // of a workspace's manifest

	formatVersion = 2
	sourceKind    = "source"
	sourceVersion = 2

	identityDomain = "cratelog/identity/v2\n"
	contextDomain  = "cratelog/context/v2\n"
)

// An Entry is one leaf of the log: a claim about a subject, and its proof.
// An Entry that Parse returned is valid; one made by hand is checked by Marshal.
type Entry struct {
	Subject Subject
	Claim   Claim
	Proof   Proof
}

// A Subject names one published .crate file.
type Subject struct {
	Registry string   // DefaultRegistry, or the index of another registry; see Registry
	Name     string   // the crate's name; see CheckName
	Version  string   // its exact version; see CheckVersion
	SHA256   [32]byte // of the .crate file, the cksum of the registry's index
}

// A Claim is what an entry says about its subject. The set of claims is closed: it is a
// *Source or a *Build.
type Claim interface {
	// Kind is the word that names the claim in its encoding.
	Kind() string

	validate() error
	wire() (any, error)
	statement() any // wire, for hashing: independent of how a part is compressed
}

var _ Claim = &Source{}

// Source claims that the files of a .crate are, byte for byte and with their
// executable bits, the files at the same paths of one git commit. Files that
// Unproven names are left out of the claim.
type Source struct {
	Commit   [20]byte // SHA-1 id of the git commit
	Path     string   // path_in_vcs: the package's directory, "" is the repository's root
	Files    [32]byte // SHA-256 of the file list
	Unproven []string // paths below the package's directory, strictly ascending; may be nil

	// What a verifier cannot know without the repository, and the proof shows to be
	// true. Each is strictly ascending by path and may be nil.
	Links      []Link   // symbolic links on the way to the crate's files
	Submodules []string // paths in the repository that are submodules
	Outside    []string // files of the crate that cargo took from outside of the package
	Executable []string // files that are executable in the commit, and lost that on the way into the .crate
	CRLF       []string // files that end their lines with CRLF where the commit has LF, and are the same else

	// Attributes are those .gitattributes of the commit, ascending by their directories, that
	// say that some files of CRLF have it in every checkout; nil if none does.
	Attributes []Attributes

	// Workspace is the manifest at the root of the package's workspace, if Cargo.toml
	// can only be derived with it; else nil.
	Workspace *Workspace

	// Lock is the commit's own Cargo.lock, if that of the .crate, which is then unproven, is
	// said to follow from it; else nil.
	Lock *Lock
}

// Lock is the Cargo.lock of a commit. That it stands there, as an ordinary file, a proof shows;
// that the one in a .crate follows from it, whoever has the bytes of both (package crate).
type Lock struct {
	Path string   // its directory in the repository, "" is the repository's root
	Blob [20]byte // id of its content as a git blob
}

// Workspace is the manifest of a workspace's root.
type Workspace struct {
	Path     string // the root's directory in the repository, "" is the repository's root
	Manifest []byte // content of the Cargo.toml there, 1 to MaxManifest bytes

	deflated []byte // as it was parsed; nil: Marshal makes it
	inflated []byte // what deflated is of: Manifest, unless that was changed
}

// Attributes are a .gitattributes of the commit.
type Attributes struct {
	Path    string // its directory in the repository, "" is the repository's root
	Content []byte // 1 to 8192 bytes
}

// A Link is a symbolic link of the repository.
type Link struct {
	Path   string // where it stands in the repository
	Target string // its text, relative to its directory
}

// Kind returns "source".
func (s *Source) Kind() string { return sourceKind }

// A Proof is what convinces a verifier that knows the program.
type Proof struct {
	Program [32]byte // id of the program (circuit and verifying key)
	Parts   [][]byte // 1 to 16 parts of 1 to 4096 bytes; what they mean is the program's affair
}

// ErrUnknownProgram says that a verifier does not accept the program of an entry's
// proof. It says nothing about the proof.
var ErrUnknownProgram = errors.New("proof of a program that is not accepted")

// A Verifier decides whether an entry's proof holds. *proofcheck.Verifier is one; an
// interface here keeps the proof system out of the packages that ask. It must be safe for
// concurrent use.
type Verifier interface {
	// Chain returns what the proof of an entry shows without the list of files. If the
	// program is not accepted, the error is ErrUnknownProgram; any other says that the proof
	// is false.
	Chain(e *Entry) (Chain, error)
}

// A BatchVerifier is a Verifier of many entries, in less time than one by one.
type BatchVerifier interface {
	// Chains returns one chain and one error for each entry, as Chain does.
	Chains(entries []*Entry) ([]Chain, []error)
}

// A Chain is what a true proof of a source claim shows to whoever has no list of files: that the
// objects of the claim's commit exist, so many, closed under their references. Whether they hold
// the files of the claim only Check says. The proof of a build claim shows the whole claim: its
// Chain has no objects and no list.
type Chain interface {
	Objects() int            // commit and tree objects
	ListBytes() int          // length of the list, in bytes
	Check(list []byte) error // nil: the list is the claim's, and the objects hold what it lists
}

// Check returns nil if an entry's proof holds for its claim and this list, the one that its
// .crate asks for (package crate).
func Check(v Verifier, e *Entry, list []byte) error {
	chain, err := v.Chain(e)
	if err != nil {
		return err
	}
	return chain.Check(list)
}

// Identity returns what the entry is, whatever the bytes of its proof:
// two entries with the same identity say the same.
// It fails if subject or claim are not valid.
func (e *Entry) Identity() ([32]byte, error) {
	return statementHash(identityDomain, e.Subject, e.Claim)
}

// Context returns what binds a proof to its subject and claim: its challenge hashes it. It fails
// if subject or claim are not valid.
func Context(s Subject, c Claim) ([32]byte, error) {
	h, err := statementHash(contextDomain, s, c)
	if err != nil {
		return [32]byte{}, err
	}
	h[0] &= 0x1f
	return h, nil
}

func statementHash(domain string, s Subject, c Claim) ([32]byte, error) {
	if err := validateStatement(s, c); err != nil {
		return [32]byte{}, err
	}
	subject, err := encMode.Marshal(s.wire())
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding the subject: %w", err)
	}
	claim, err := encMode.Marshal(c.statement())
	if err != nil {
		return [32]byte{}, fmt.Errorf("encoding the claim: %w", err)
	}
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(subject)
	h.Write(claim)
	return [32]byte(h.Sum(nil)), nil
}

// LeafHash returns the RFC 6962 leaf hash of an encoded entry.
// It does not parse the bytes.
func LeafHash(entryBytes []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(entryBytes)
	return [32]byte(h.Sum(nil))
}
