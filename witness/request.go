package witness

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// MaxRequest is the largest add-checkpoint body, in bytes. It leaves room
	// for some ten post-quantum signatures.
	MaxRequest = 64 << 10
	// MaxProof is the largest number of consistency proof hashes.
	MaxProof = 63
	// MaxSignatures is the largest number of signature lines of a note; every
	// verifier accepts at least 16, and the common Go library at most 100.
	MaxSignatures = 100
)

// A Request is a parsed add-checkpoint body. Nothing in it is verified yet.
//
//	old 20852014
//	KgsAqrlkCNGeHqMpkyMFL2hNMmVYWsjJhg4J9LFXc3Q=
//	...                                             0 to 63 hashes
//
//	log.example
//	20852163
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
//	— log.example Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
type Request struct {
	Old        int64       // the size that the client believes the witness has seen
	Proof      []tlog.Hash // consistency proof from Old to Checkpoint.N
	Checkpoint torchwood.Checkpoint
	Signatures []note.Signature // one or more, of keys known or unknown
}

// malformed is the error of a body that breaks the grammar.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// ParseRequest parses an add-checkpoint body of c2sp.org/tlog-witness.
//
// There is exactly one encoding of a request: what ParseRequest accepts,
// [Request.Marshal] returns byte for byte. Lines end in LF, numbers are
// canonical decimals below 2^63, hashes are 32 bytes in padded base64. Errors
// wrap [ErrTooLarge] or [ErrMalformed].
func ParseRequest(body []byte) (*Request, error) {
	head, signed, err := splitBody(body)
	if err != nil {
		return nil, err
	}
	var r Request
	if r.Old, r.Proof, err = parseProof(head); err != nil {
		return nil, err
	}
	if r.Checkpoint, r.Signatures, err = parseNote(signed); err != nil {
		return nil, err
	}
	if r.Marshal() != string(body) {
		return nil, malformed("it is not in canonical form")
	}
	return &r, nil
}

// splitBody returns what stands before the checkpoint, and the checkpoint: the first empty line ends the proof,
// the last one begins the signatures.
func splitBody(body []byte) (head, signed string, err error) {
	if len(body) > MaxRequest {
		return "", "", fmt.Errorf("%w: it has %d bytes", ErrTooLarge, len(body))
	}
	if err := checkText(body); err != nil {
		return "", "", err
	}
	head, signed, ok := strings.Cut(string(body), "\n\n")
	if !ok {
		return "", "", malformed("there is no empty line between the proof and the checkpoint")
	}
	return head, signed, nil
}

// checkText applies the rules of c2sp.org/signed-note to the bytes.
func checkText(body []byte) error {
	if !utf8.Valid(body) {
		return malformed("it is not valid UTF-8")
	}
	for _, c := range body {
		// SPEC: The note text MUST NOT contain any ASCII control characters
		// (those below U+0020) other than newline (U+000A).
		if c < 0x20 && c != '\n' {
			return malformed("it contains the control character 0x%02x; lines end in a single LF", c)
		}
	}
	return nil
}

func parseProof(head string) (old int64, proof []tlog.Hash, err error) {
	lines := strings.Split(head, "\n")
	text, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return 0, nil, malformed("the first line is not \"old <size>\"")
	}
	if old, ok = parseSize(text); !ok {
		return 0, nil, malformed("the old size is not a canonical decimal number")
	}
	proof, err = parseHashes(lines[1:])
	return old, proof, err
}

// parseHashes parses the lines of a proof.
func parseHashes(lines []string) (proof []tlog.Hash, err error) {
	// SPEC: The client MUST NOT send more than 63 consistency proof lines.
	if len(lines) > MaxProof {
		return nil, malformed("there are more than %d proof lines", MaxProof)
	}
	for i, line := range lines {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return nil, malformed("proof line %d is not the base64 of 32 bytes", i+1)
		}
		proof = append(proof, h)
	}
	return proof, nil
}

func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// parseNote parses a signed checkpoint. It verifies nothing.
func parseNote(signed string) (c torchwood.Checkpoint, sigs []note.Signature, err error) {
	i := strings.LastIndex(signed, "\n\n")
	if i < 0 {
		return c, nil, malformed("the checkpoint has no signatures")
	}
	text, lines := signed[:i+1], signed[i+2:]
	if c, err = parseCheckpoint(text); err != nil {
		return c, nil, err
	}
	sigs, err = parseSignatures(lines)
	return c, sigs, err
}

// parseCheckpoint parses the text of a c2sp.org/tlog-checkpoint.
func parseCheckpoint(text string) (torchwood.Checkpoint, error) {
	c, err := torchwood.ParseCheckpoint(text)
	if err != nil || c.Origin == "" || c.String() != text {
		return torchwood.Checkpoint{}, malformed("the checkpoint is not origin, size and 32-byte root hash, " +
			"each on a line of its own, in canonical form")
	}
	return c, nil
}

// parseSignatures parses one or more signature lines of c2sp.org/signed-note.
func parseSignatures(text string) ([]note.Signature, error) {
	body, ok := strings.CutSuffix(text, "\n")
	if !ok {
		return nil, malformed("the last signature line does not end in LF")
	}
	lines := strings.Split(body, "\n")
	if len(lines) > MaxSignatures {
		return nil, malformed("there are more than %d signature lines", MaxSignatures)
	}
	var sigs []note.Signature
	for i, line := range lines {
		sig, ok := parseSignature(line)
		if !ok {
			return nil, malformed("signature line %d is not an em dash, a key name and a base64 signature", i+1)
		}
		sigs = append(sigs, sig)
	}
	return sigs, nil
}

func parseSignature(line string) (note.Signature, bool) {
	rest, ok := strings.CutPrefix(line, "— ")
	name, b64, ok2 := strings.Cut(rest, " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(b64)
	// SPEC: the key name MUST be non-empty and not have any Unicode spaces or
	// plus characters.
	if !ok || !ok2 || err != nil || len(blob) <= 4 || name == "" ||
		strings.Contains(name, "+") || strings.ContainsFunc(name, unicode.IsSpace) {
		return note.Signature{}, false
	}
	return note.Signature{Name: name, Hash: binary.BigEndian.Uint32(blob), Base64: b64}, true
}

// signatureBytes returns the signature of s without its key ID.
func signatureBytes(s note.Signature) []byte {
	blob, err := base64.StdEncoding.DecodeString(s.Base64)
	if err != nil || len(blob) < 4 {
		return nil // parseSignature lets none of these through
	}
	return blob[4:]
}

// Marshal returns the one encoding of r.
func (r *Request) Marshal() string {
	return fmt.Sprintf("old %d\n%s\n%s", r.Old, formatProof(r.Proof), formatNote(r.Checkpoint, r.Signatures))
}

// formatNote is the inverse of parseNote.
func formatNote(c torchwood.Checkpoint, sigs []note.Signature) string {
	return c.String() + "\n" + formatSignatures(sigs)
}

func formatSignatures(sigs []note.Signature) string {
	var b strings.Builder
	for _, s := range sigs {
		b.WriteString("— " + s.Name + " " + s.Base64 + "\n")
	}
	return b.String()
}
