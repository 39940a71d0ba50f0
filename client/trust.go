package client

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"cratelog/evidence"
)

const (
	maxMaintainers  = 16
	maxTrustSigners = 32      // signature lines of a trust file
	maxSequence     = 1 << 53 // what a JSON number holds exactly
	trustHeader     = "# cratelog trust/"
	trustVersion    = "v1"
	trustSigned     = "# signed\n"
	trustLine       = "# — "
	trustSignature  = ed25519.SignatureSize
)

// Trust is a trust file with what it says of who may change it.
//
// A trust file with maintainers is a c2sp.org/tlog-policy that begins with comments of its own and ends with
// signatures in comments, so that every parser of policies reads it:
//
//	# cratelog trust/v1 <name>
//	# sequence <number>
//	# threshold <number>
//	# maintainer <vkey>
//	...
//	<lines of the policy>
//	# signed
//	# — <key name> <signature>
//	...
//
// What is before the line "# signed" is the text of a c2sp.org/signed-note, and each line after it is, without
// "# ", one of its signature lines. Maintainers' keys are Ed25519 keys of type 0x01, 1 to 16 of them. A file
// that begins otherwise has no maintainers, and may be replaced by hand only.
//
// The next file of the same name is taken in its place if it has a higher sequence number, and if as many
// maintainers have signed it as the threshold of the one at hand says, of those that are listed there, and as
// its own threshold says, of its own; see [Trust.CheckUpdate].
type Trust struct {
	Policy *Policy
	File   []byte // all of it

	// Of a file with maintainers; else zero.
	Name        string // of the trust file, over all its versions
	Sequence    uint64
	Threshold   int
	Maintainers []string // vkeys, in the order of the file
	Text        []byte   // what is signed

	keys  []note.Verifier
	lines []string // signature lines, as of a note
}

// ParseTrust reads a trust file strictly: ParsePolicy must read it too, and a file with maintainers has one
// encoding. It verifies no signature. Errors are *PolicyError.
func ParseTrust(file []byte) (*Trust, error) {
	policy, err := ParsePolicy(file)
	if err != nil {
		return nil, err
	}
	t := &Trust{Policy: policy, File: bytes.Clone(file)}
	if !bytes.HasPrefix(file, []byte(trustHeader)) {
		return t, nil
	}
	text, after, ok := bytes.Cut(t.File, []byte("\n"+trustSigned))
	if !ok {
		text, after = t.File, nil // signatures are still to come
	} else {
		text = t.File[:len(text)+1]
	}
	t.Text = text
	for i, c := range string(text) {
		if c == utf8.RuneError && !utf8.Valid(text) || c < 0x20 && c != '\n' {
			return nil, &PolicyError{1 + bytes.Count(text[:i], []byte("\n")),
				"a trust file with maintainers is UTF-8 text without tabs and other control characters"}
		}
	}
	if err := t.header(); err != nil {
		return nil, err
	}
	return t, t.signatures(string(after), bytes.Count(text, []byte("\n"))+1)
}

// header reads the comments at the beginning.
func (t *Trust) header() error {
	lines := strings.Split(string(t.Text), "\n")
	line := 0
	wrong := func(format string, args ...any) error { return &PolicyError{line, fmt.Sprintf(format, args...)} }
	next := func(key string) (string, error) {
		line++
		value, ok := strings.CutPrefix(lines[line-1], "# "+key+" ")
		if !ok {
			return "", wrong("a trust file with maintainers has \"# %s\" here", key)
		}
		return value, nil
	}
	var err error
	if t.Name, err = next("cratelog trust/" + trustVersion); err != nil {
		return err
	}
	if t.Name == "" || len(t.Name) > 255 || strings.ContainsFunc(t.Name, inNoName) {
		return wrong("the name %q of the trust file is empty, too long, or has a space or a +", clip(t.Name))
	}
	for _, field := range []struct {
		name string
		max  uint64
		to   func(uint64)
	}{
		{"sequence", maxSequence, func(n uint64) { t.Sequence = n }},
		{"threshold", maxMaintainers, func(n uint64) { t.Threshold = int(n) }},
	} {
		text, err := next(field.name)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != text || n < 1 || n > field.max {
			return wrong("the %s %q is not a number from 1 to %d", field.name, clip(text), field.max)
		}
		field.to(n)
	}
	publics := t.Policy.publics()
	for line < len(lines) && strings.HasPrefix(lines[line], "# maintainer ") {
		vkey, _ := next("maintainer")
		k, err := evidence.ParseVKey(vkey)
		switch {
		case err != nil:
			return wrong("the maintainer's key: %v", err)
		case k.Cosigns:
			return wrong("the maintainer's key is of a type that signs checkpoints only; type 0x01 is needed")
		case publics[k.Public]:
			return wrong("the maintainer's public key stands in the file already; one key is for one thing")
		case len(t.keys) == maxMaintainers:
			return wrong("there are more than %d maintainers", maxMaintainers)
		case slices.ContainsFunc(t.keys, func(o note.Verifier) bool { return sameRef(o, k) }):
			return wrong("the maintainer's key has the same name and key id as another")
		}
		publics[k.Public] = true
		t.keys, t.Maintainers = append(t.keys, k.Verifier), append(t.Maintainers, vkey)
	}
	if len(t.keys) < t.Threshold {
		line++
		return wrong("the threshold is %d, and there are %d maintainers", t.Threshold, len(t.keys))
	}
	for _, l := range lines[line:] {
		line++
		if strings.HasPrefix(l, trustHeader) || strings.HasPrefix(l, "# maintainer ") || l == "# signed" {
			return wrong("%q stands here, and belongs to the beginning or the end of the file", clip(l))
		}
	}
	return nil
}

func inNoName(r rune) bool { return r == '+' || unicode.IsSpace(r) || unicode.IsControl(r) }

// named is a key as a signature line names it.
type named interface {
	Name() string
	KeyHash() uint32
}

func sameRef(a, b named) bool { return a.Name() == b.Name() && a.KeyHash() == b.KeyHash() }

// publics are the public keys of logs and witnesses.
func (p *Policy) publics() map[string]bool {
	all := make(map[string]bool)
	for _, l := range p.logs {
		if k, err := evidence.ParseVKey(l.VKey); err == nil {
			all[k.Public] = true
		}
	}
	for _, w := range p.witnesses {
		if k, err := evidence.ParseVKey(w.VKey); err == nil {
			all[k.Public] = true
		}
	}
	return all
}

// signatures reads the lines after "# signed", of which the first has a number.
func (t *Trust) signatures(after string, line int) error {
	seen := make(map[keyRef]bool)
	for text := range strings.Lines(after) {
		line++
		rest, ok := strings.CutPrefix(strings.TrimSuffix(text, "\n"), trustLine)
		name, b64, two := strings.Cut(rest, " ")
		blob, err := decodeBase64(b64)
		if !ok || !two || name == "" || strings.Contains(name, "+") || err != nil || len(blob) != 4+trustSignature {
			return &PolicyError{line, "after \"# signed\" there are only lines \"# — <key name> <signature>\", of " +
				"Ed25519 signatures in base64"}
		}
		ref := keyRef{name, binary.BigEndian.Uint32(blob)}
		if seen[ref] {
			return &PolicyError{line, fmt.Sprintf("the key %s+%08x signed the trust file twice", clip(name), ref.id)}
		}
		if seen[ref] = true; len(seen) > maxTrustSigners {
			return &PolicyError{line, fmt.Sprintf("the trust file has more than %d signatures", maxTrustSigners)}
		}
		t.lines = append(t.lines, "— "+rest+"\n")
	}
	return nil
}

// Maintained says whether the file names maintainers.
func (t *Trust) Maintained() bool { return len(t.keys) > 0 }

// SignedBy returns the names of those maintainers of another trust file, or of this one, whose signatures of
// t verify.
func (t *Trust) SignedBy(of *Trust) []string {
	var names []string
	for _, key := range of.keys {
		if slices.ContainsFunc(t.lines, func(line string) bool { return t.verifies(line, key) }) {
			names = append(names, key.Name())
		}
	}
	return names
}

func (t *Trust) verifies(line string, key note.Verifier) bool {
	n, err := note.Open([]byte(string(t.Text)+"\n"+line), note.VerifierList(key))
	return err == nil && len(n.Sigs) == 1 && bytes.Equal([]byte(n.Text), t.Text)
}

// CheckUpdate checks that next may take the place of t: it is of the same name, of a higher sequence
// number, and signed by as many maintainers as both files ask for, each of its own. Errors are ErrTrust; of a
// t without maintainers nothing can be checked, which is an error too.
func (t *Trust) CheckUpdate(next *Trust) error {
	switch {
	case !t.Maintained():
		return refuse(ErrTrust, "the trust file at hand names no maintainers, so nothing shows that another one comes "+
			"from them")
	case !next.Maintained():
		return refuse(ErrTrust, "the new trust file names no maintainers and has no signatures, and the one at hand "+
			"has %d", len(t.keys))
	case next.Name != t.Name:
		return refuse(ErrTrust, "the new trust file is %q, the one at hand is %q", clip(next.Name), clip(t.Name))
	case next.Sequence < t.Sequence:
		return refuse(ErrTrust, "the new trust file has the number %d, the one at hand is newer, number %d",
			next.Sequence, t.Sequence)
	}
	for _, by := range []struct {
		*Trust
		what string
	}{{t, "the trust file at hand"}, {next, "the new trust file"}} {
		if names := next.SignedBy(by.Trust); len(names) < by.Threshold {
			return refuse(ErrTrust, "%d of the maintainers that %s names have signed the new one (%s), and it asks for %d of %d",
				len(names), by.what, strings.Join(names, ", "), by.Threshold, len(by.keys))
		}
	}
	if next.Sequence == t.Sequence && !bytes.Equal(next.Text, t.Text) {
		return refuse(ErrTrust, "there are two trust files with the number %d: the maintainers signed another one "+
			"than that at hand",
			t.Sequence)
	}
	return nil
}

// Sign adds the signature of a maintainer of t, or of the trust file before it, which may be nil. Signatures of
// both files' maintainers that do not verify, and those of strangers, are left out: they are of an earlier text.
func (t *Trust) Sign(signer note.Signer, before *Trust) ([]byte, error) {
	if !t.Maintained() {
		return nil, refuse(ErrTrust, "the trust file does not begin with %q and its maintainers", trustHeader+trustVersion)
	}
	known := slices.Clone(t.keys)
	if before != nil {
		known = append(known, before.keys...)
	}
	var lines []string
	for _, line := range t.lines {
		if slices.ContainsFunc(known, func(k note.Verifier) bool { return t.verifies(line, k) }) {
			lines = append(lines, line)
		}
	}
	i := slices.IndexFunc(known, func(k note.Verifier) bool { return sameRef(k, signer) })
	if i < 0 {
		return nil, refuse(ErrTrust, "the key %s is of no maintainer of this trust file or of the one before it",
			signer.Name())
	}
	sig, err := signer.Sign(t.Text)
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("— %s %s\n", signer.Name(),
		base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, signer.KeyHash()), sig...)))
	if !t.verifies(line, known[i]) {
		return nil, refuse(ErrTrust, "the signature of the key %s does not verify", signer.Name())
	}
	if !slices.Contains(lines, line) {
		lines = append(lines, line)
	}
	out := append(bytes.Clone(t.Text), trustSigned...)
	for _, l := range lines {
		out = append(out, "# "+l...)
	}
	if _, err := ParseTrust(out); err != nil {
		return nil, err
	}
	return out, nil
}
