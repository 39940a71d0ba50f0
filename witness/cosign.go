package witness

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A cosigner makes timestamped cosignatures of c2sp.org/tlog-cosignature with
// one key: type 0x04 with Ed25519, type 0x06 with ML-DSA-44.
//
// torchwood's own signer reads the wall clock and cannot be told a time, but a
// witness must never let its timestamps go back. So the message is written
// here, the key signs it, and torchwood's verifier must then accept it.
type cosigner struct {
	key      crypto.Signer
	verifier *torchwood.CosignatureVerifier
}

func newCosigner(name string, key crypto.Signer) (*cosigner, error) {
	if key == nil {
		return nil, errors.New("witness: a signer is nil")
	}
	v, err := torchwood.NewCosignatureVerifierFromKey(name, key.Public())
	if err != nil {
		return nil, fmt.Errorf("witness: making a cosigner named %q from a %T: %w", name, key, err)
	}
	return &cosigner{key, v}, nil
}

// cosign returns the cosignature of c at the POSIX time t. The caller has
// verified that c is consistent with all that was cosigned before. The
// signature must not leave the witness before c is stored.
func (s *cosigner) cosign(c torchwood.Checkpoint, t int64) (note.Signature, error) {
	msg, err := s.message(c, t)
	if err != nil {
		return note.Signature{}, err
	}
	sig, err := s.key.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return note.Signature{}, fmt.Errorf("witness: cosigning as %s: %w", s.verifier.Name(), err)
	}
	// timestamped_signature { u64 timestamp; opaque signature[...]; }
	blob := append(binary.BigEndian.AppendUint64(nil, uint64(t)), sig...)
	if !s.verifier.Verify(s.covered(c), blob) {
		return note.Signature{}, fmt.Errorf("witness: cosigning as %s: the signer returned a signature that does not verify",
			s.verifier.Name())
	}
	return s.line(blob), nil
}

// message returns the bytes that a cosignature signs.
func (s *cosigner) message(c torchwood.Checkpoint, t int64) ([]byte, error) {
	// SPEC: The timestamp MUST NOT be zero [in an add-checkpoint response].
	if t <= 0 {
		return nil, fmt.Errorf("%w: it says %d", ErrClock, t)
	}
	switch s.verifier.PublicKey().(type) {
	case ed25519.PublicKey:
		return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", t, c), nil
	case *mldsa.PublicKey:
		return subtreeMessage(s.verifier.Name(), t, c.Origin, 0, c.N, c.Hash)
	}
	return nil, errors.New("witness: key type is not supported")
}

// covered returns what of a checkpoint's text a cosignature speaks of.
func (s *cosigner) covered(c torchwood.Checkpoint) []byte { return coveredBy(s.verifier, c) }

// coveredBy returns what of a checkpoint's text a signature of v speaks of: ML-DSA-44 does not know
// extension lines, and torchwood's verifier refuses them.
//
// SPEC: Note that checkpoint extension lines are not included in the signed
// message for ML-DSA-44 cosignatures, and no statement is made about them.
func coveredBy(v note.Verifier, c torchwood.Checkpoint) []byte {
	if cosig, ok := v.(*torchwood.CosignatureVerifier); ok {
		if _, ok := cosig.PublicKey().(*mldsa.PublicKey); ok {
			c.Extension = ""
		}
	}
	return []byte(c.String())
}

// subtreeMessage returns the cosigned_message structure of tlog-cosignature for
// the entries from start to end: a label, then name, timestamp, origin, start, end and hash.
func subtreeMessage(name string, t int64, origin string, start, end int64, hash tlog.Hash) ([]byte, error) {
	if len(name) > 255 || len(origin) > 255 {
		return nil, errors.New("witness: an ML-DSA cosignature carries names of at most 255 bytes")
	}
	b := []byte("subtree/v1\n\x00")
	b = append(append(b, byte(len(name))), name...)
	b = binary.BigEndian.AppendUint64(b, uint64(t))
	b = append(append(b, byte(len(origin))), origin...)
	b = binary.BigEndian.AppendUint64(b, uint64(start))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	return append(b, hash[:]...), nil
}

// line writes what follows a key ID as the signature line of a note.
func (s *cosigner) line(timestamped []byte) note.Signature {
	hash := s.verifier.KeyHash()
	blob := append(binary.BigEndian.AppendUint32(nil, hash), timestamped...)
	return note.Signature{Name: s.verifier.Name(), Hash: hash, Base64: base64.StdEncoding.EncodeToString(blob)}
}

// signSubtree returns the cosignature of the entries from start to end, with the timestamp 0. The
// caller has verified that they are part of a tree that this witness cosigned.
func (s *cosigner) signSubtree(origin string, start, end int64, hash tlog.Hash) (note.Signature, error) {
	msg, err := subtreeMessage(s.verifier.Name(), 0, origin, start, end, hash)
	if err != nil {
		return note.Signature{}, err
	}
	sig, err := s.key.Sign(rand.Reader, msg, crypto.Hash(0))
	if err != nil {
		return note.Signature{}, fmt.Errorf("witness: signing a subtree as %s: %w", s.verifier.Name(), err)
	}
	line := s.line(append(binary.BigEndian.AppendUint64(nil, 0), sig...))
	if !s.verifier.VerifySubtree(origin, start, end, hash, []byte(formatSignatures([]note.Signature{line}))) {
		return note.Signature{}, fmt.Errorf("witness: signing a subtree as %s: the signer returned a signature that does not verify",
			s.verifier.Name())
	}
	return line, nil
}
