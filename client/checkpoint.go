package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxCheckpointSize is the size of a signed checkpoint in bytes: 39 lines of
// ML-DSA-44, the largest signatures that are defined.
const MaxCheckpointSize = 128 << 10

// maxFuture is how far a witness's clock may be ahead of ours. A cosignature of
// a later time says nothing about how fresh a checkpoint is.
const maxFuture = 5 * time.Minute

// Checkpoint is a tree head that a policy has accepted.
type Checkpoint struct {
	Origin string
	Size   int64     // number of entries
	Root   tlog.Hash // RFC 6962, SHA-256
	Signed []byte    // the note as it was checked, signature lines included

	// Cosignatures are those of witnesses of the policy, verified, in the order
	// of the policy, whether or not the quorum needed them.
	Cosignatures []Cosignature

	// Witnessed is the newest time such that cosignatures made at or after it
	// make the quorum. It is zero if the policy asks for no witness, or if the
	// quorum needs a cosignature without a time.
	Witnessed time.Time
}

// Cosignature is a witness's verified statement about a checkpoint
// (c2sp.org/tlog-cosignature).
type Cosignature struct {
	Witness string // name in the policy
	KeyName string // name in the signature line
	KeyID   uint32
	Time    time.Time // whole seconds; zero if the cosigner states none
}

// CheckCheckpoint is CheckCheckpointRules under the zero Rules: the policy must
// ask for witnesses, and a checkpoint does not grow old.
func (p *Policy) CheckCheckpoint(signed []byte) (Checkpoint, error) {
	return p.CheckCheckpointRules(signed, Rules{})
}

// CheckCheckpointRules verifies a signed checkpoint: that it is one, without
// extension lines; that a log of the policy signed it whose key is named as the
// origin line says; that every signature line of a known key verifies; that the
// quorum cosigned it; and, with Rules.MaxAge, that it did so recently.
//
// Errors are ErrPolicy, ErrCheckpoint, ErrLog, ErrLogSignature, ErrCosignature,
// ErrNoWitnesses, ErrQuorum and ErrStale.
func (p *Policy) CheckCheckpointRules(signed []byte, rules Rules) (Checkpoint, error) {
	switch {
	case p == nil || len(p.logs) == 0:
		return Checkpoint{}, refuse(ErrPolicy, "the trust file lists no log")
	case len(signed) > MaxCheckpointSize:
		return Checkpoint{}, refuse(ErrCheckpoint, "it has %d bytes, at most %d are read", len(signed),
			MaxCheckpointSize)
	}
	n, origin, err := p.openOnce(signed)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := parseTreeHead(n.Text, origin)
	if err != nil {
		return Checkpoint{}, err
	}
	c.Signed = bytes.Clone(signed)
	times, err := p.cosignatures(&c, n.Sigs)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := p.checkQuorum(&c, times, rules); err != nil {
		return Checkpoint{}, err
	}
	return c, nil
}

// openOnce is openNote, but verifies the signatures of the same bytes once. What it
// returns must not be changed.
func (p *Policy) openOnce(signed []byte) (*note.Note, string, error) {
	p.mu.Lock()
	o, known := p.opened[string(signed)]
	p.mu.Unlock()
	if known {
		return o.note, o.origin, nil
	}
	n, origin, err := p.openNote(signed)
	if err != nil {
		return nil, "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened == nil || len(p.opened) >= maxOpened {
		p.opened = make(map[string]opened)
	}
	p.opened[string(signed)] = opened{n, origin}
	return n, origin, nil
}

// openNote verifies the signatures of a note whose first line is the origin of a
// log of the policy. That log has signed what it returns.
func (p *Policy) openNote(signed []byte) (*note.Note, string, error) {
	origin := Origin(signed)
	known := make(verifiers, len(p.keys)+1)
	for _, l := range p.logs {
		if l.Origin == origin {
			known[keyRef{l.Origin, l.KeyID}] = l.verifier
		}
	}
	if len(known) == 0 {
		return nil, "", refuse(ErrLog, "the checkpoint names the log %q, the trust file lists %s", clip(origin),
			p.origins())
	}
	logs := len(known)
	for ref, v := range p.keys {
		known[ref] = v
	}
	n, err := note.Open(signed, known)
	var bad *note.InvalidSignatureError
	var none *note.UnverifiedNoteError
	switch {
	case errors.As(err, &bad):
		if _, witness := p.keys[keyRef{bad.Name, bad.Hash}]; witness {
			return nil, "", refuse(ErrCosignature, "the line of the witness key %s+%08x does not verify", bad.Name,
				bad.Hash)
		}
		return nil, "", refuse(ErrLogSignature, "the signature line of the log key %s+%08x does not verify",
			bad.Name, bad.Hash)
	case errors.As(err, &none):
		return nil, "", refuse(ErrLogSignature, "the checkpoint of %q carries no signature of a key "+
			"that the trust file lists", clip(origin))
	case err != nil:
		return nil, "", refuseErr(ErrCheckpoint, err, "it is not a c2sp.org/signed-note")
	}
	if err := checkLines(signed[len(n.Text)+1:], known); err != nil {
		return nil, "", err
	}
	for _, s := range n.Sigs {
		if _, witness := p.keys[keyRef{s.Name, s.Hash}]; !witness {
			return n, origin, nil
		}
	}
	return nil, "", refuse(ErrLogSignature, "witnesses cosigned the checkpoint of %q, but none of the "+
		"%d log keys that the trust file lists for it signed it", clip(origin), logs)
}

// checkLines refuses what note.Open lets pass: signatures in another base64 than
// the one encoding, and a second line of a known key, which it does not verify.
func checkLines(lines []byte, known verifiers) error {
	seen := make(map[keyRef]bool)
	for line := range strings.Lines(string(lines)) {
		name, b64, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "— "), "\n"), " ")
		b, err := decodeBase64(b64)
		if err != nil || len(b) < 4 {
			return refuse(ErrCheckpoint, "the signature line of %q is %v", clip(name), errBase64)
		}
		ref := keyRef{name, binary.BigEndian.Uint32(b)}
		if known[ref] != nil && seen[ref] {
			return refuse(ErrCheckpoint, "the key %s+%08x signed it twice", name, ref.id)
		}
		seen[ref] = true
	}
	return nil
}

// parseTreeHead reads the text of a checkpoint, whose signatures the caller has
// verified.
func parseTreeHead(text, origin string) (Checkpoint, error) {
	c, err := torchwood.ParseCheckpoint(text)
	switch {
	case err != nil:
		return Checkpoint{}, refuse(ErrCheckpoint, "the text of the note is not origin, size and root "+
			"hash (c2sp.org/tlog-checkpoint)")
	case c.Extension != "":
		// Not every kind of signature covers extension lines.
		return Checkpoint{}, refuse(ErrCheckpoint, "it has extension lines, which cratelog's logs do not use")
	case c.Origin != origin || origin == "" || c.String() != text:
		return Checkpoint{}, refuse(ErrCheckpoint, "its text is not in its one encoding")
	case c.N > MaxTreeSize:
		return Checkpoint{}, refuse(ErrCheckpoint, "it is of %d entries, and no tree has more than %d", c.N,
			int64(MaxTreeSize))
	case c.N == 0 && c.Hash != sha256.Sum256(nil):
		return Checkpoint{}, refuse(ErrCheckpoint, "it is of an empty tree, but has another root hash "+
			"than the empty tree's")
	}
	return Checkpoint{Origin: c.Origin, Size: c.N, Root: c.Hash}, nil
}

// cosignatures fills c.Cosignatures from signature lines, which the caller has
// verified, and returns their times by witness, -1 where there is none.
func (p *Policy) cosignatures(c *Checkpoint, verified []note.Signature) ([]int64, error) {
	lines := make(map[keyRef]note.Signature, len(verified))
	for _, s := range verified {
		lines[keyRef{s.Name, s.Hash}] = s
	}
	times := make([]int64, len(p.witnesses))
	for i, w := range p.witnesses {
		times[i] = -1
		s, ok := lines[keyRef{w.KeyName, w.KeyID}]
		if !ok {
			continue
		}
		// Only keys of the types 0x04 and 0x06 are witnesses, so this line does
		// hold a timestamp, and it was signed.
		t, err := torchwood.CosignatureTimestamp(s)
		if err != nil {
			return nil, refuseErr(ErrCosignature, err, "the line of the witness %s", w.Name)
		}
		times[i] = t
		c.Cosignatures = append(c.Cosignatures, Cosignature{w.Name, w.KeyName, w.KeyID, posix(t)})
	}
	return times, nil
}

// checkQuorum decides whether the cosignatures are enough, and recent enough.
func (p *Policy) checkQuorum(c *Checkpoint, times []int64, rules Rules) error {
	if p.quorum == nil {
		if !rules.AllowNoWitnesses {
			return refuse(ErrNoWitnesses, `the trust file says "quorum none"`)
		}
		if rules.MaxAge != 0 {
			return refuse(ErrStale,
				`with "quorum none" nothing tells the age of a checkpoint, but the rules ask for at most %v`, rules.MaxAge)
		}
		return nil
	}
	newest := p.quorum.newest(times)
	if newest < 0 {
		return refuse(ErrQuorum, "the quorum is %s, cosigned by %s", p.words(p.quorum), c.cosigners())
	}
	c.Witnessed = posix(newest)
	if rules.MaxAge == 0 {
		return nil
	}
	return p.checkAge(times, rules)
}

// checkAge measures on the quorum: one fresh cosignature beside a stale quorum
// is no fresh quorum. A time in the future, or none, is not fresh.
func (p *Policy) checkAge(times []int64, rules Rules) error {
	now := rules.now()
	fresh := make([]int64, len(times))
	for i, t := range times {
		fresh[i] = -1
		if t > 0 && !posix(t).After(now.Add(maxFuture)) {
			fresh[i] = t
		}
	}
	newest := p.quorum.newest(fresh)
	if newest < 0 {
		return refuse(ErrStale, "the quorum cosigned it without a time, or more than %v in the future of %s",
			maxFuture, now.UTC().Format(time.RFC3339))
	}
	if age := now.Sub(posix(newest)); age > rules.MaxAge {
		return refuse(ErrStale, "the quorum cosigned it at %s, %v ago; the rules allow %v",
			posix(newest).Format(time.RFC3339), age.Round(time.Second), rules.MaxAge)
	}
	return nil
}

// posix is the time of t seconds since 1970, zero for 0.
func posix(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(t, 0).UTC()
}

func (c *Checkpoint) cosigners() string {
	if len(c.Cosignatures) == 0 {
		return "no witness of the trust file"
	}
	names := make([]string, len(c.Cosignatures))
	for i, s := range c.Cosignatures {
		names[i] = s.Witness
	}
	return strings.Join(names, ", ")
}

func (p *Policy) origins() string {
	names := make([]string, len(p.logs))
	for i, l := range p.logs {
		names[i] = fmt.Sprintf("%q", l.Origin)
	}
	return strings.Join(names, ", ")
}

// verifiers implements note.Verifiers.
type verifiers map[keyRef]note.Verifier

func (v verifiers) Verifier(name string, id uint32) (note.Verifier, error) {
	if k := v[keyRef{name, id}]; k != nil {
		return k, nil
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: id}
}

// MaxTreeSize is the largest tree, in entries, that is believed to exist. The
// arithmetic of golang.org/x/mod/sumdb/tlog does not end beyond it.
const MaxTreeSize = 1 << 62

// CheckConsistency verifies an RFC 6962 consistency proof: that the tree of next
// begins with all entries of the tree of old. Both checkpoints must have been
// verified by the caller. A proof that fails is no evidence against the log:
// whoever handed out the proof may have made it up.
func CheckConsistency(old, next Checkpoint, proof [][sha256.Size]byte) error {
	p := make(tlog.TreeProof, len(proof))
	for i, h := range proof {
		p[i] = h
	}
	switch {
	case old.Origin != next.Origin:
		return refuse(ErrConsistency, "the checkpoints are of two logs, %q and %q", clip(old.Origin), clip(next.Origin))
	case old.Size > next.Size || old.Size < 0:
		return refuse(ErrConsistency, "the older checkpoint has %d entries, the newer one %d", old.Size, next.Size)
	case len(proof) > maxHashes:
		return refuse(ErrConsistency, "the proof has %d hashes, at most %d are needed", len(proof), maxHashes)
	case old.Size == 0 || old.Size == next.Size:
		// RFC 6962 defines no proof here, so it must be empty.
		if len(proof) != 0 || old.Size == next.Size && old.Root != next.Root || old.Size == 0 &&
			old.Root != sha256.Sum256(nil) {
			return refuse(ErrConsistency, "between %d and %d entries there is nothing to prove, but the "+
				"roots differ or the proof is not empty", old.Size, next.Size)
		}
		return nil
	}
	if err := tlog.CheckTree(p, next.Size, next.Root, old.Size, old.Root); err != nil {
		return refuse(ErrConsistency, "the proof does not lead from the tree of %d entries to that of %d", old.Size,
			next.Size)
	}
	return nil
}

// Origin returns what the first line of a checkpoint says, verified or not: the name
// of the log that it claims to be of.
func Origin(checkpoint []byte) string {
	first, _, _ := bytes.Cut(checkpoint, []byte("\n"))
	return string(first)
}
