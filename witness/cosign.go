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
	if !s.verifier.Verify([]byte(c.String()), blob) {
		return note.Signature{}, fmt.Errorf("witness: cosigning as %s: the signer returned a signature that does not verify",
			s.verifier.Name())
	}
	hash := s.verifier.KeyHash()
	blob = append(binary.BigEndian.AppendUint32(nil, hash), blob...)
	return note.Signature{Name: s.verifier.Name(), Hash: hash, Base64: base64.StdEncoding.EncodeToString(blob)}, nil
}

// message returns the bytes that a cosignature signs.
func (s *cosigner) message(c torchwood.Checkpoint, t int64) ([]byte, error) {
	// SPEC: The timestamp MUST NOT be zero [in an add-checkpoint response].
	if t <= 0 {
		return nil, fmt.Errorf("%w: it says %d", ErrClock, t)
	}
	if c.Extension != "" {
		return nil, ErrExtension
	}
	switch s.verifier.PublicKey().(type) {
	case ed25519.PublicKey:
		return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", t, c), nil
	case *mldsa.PublicKey:
		return subtreeMessage(s.verifier.Name(), t, c)
	}
	return nil, errors.New("witness: key type is not supported")
}

// subtreeMessage returns the cosigned_message structure of tlog-cosignature for
// the whole tree: a label, then name, timestamp, origin, start, end and hash.
func subtreeMessage(name string, t int64, c torchwood.Checkpoint) ([]byte, error) {
	if len(name) > 255 || len(c.Origin) > 255 {
		return nil, errors.New("witness: an ML-DSA cosignature carries names of at most 255 bytes")
	}
	b := []byte("subtree/v1\n\x00")
	b = append(append(b, byte(len(name))), name...)
	b = binary.BigEndian.AppendUint64(b, uint64(t))
	b = append(append(b, byte(len(c.Origin))), c.Origin...)
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(c.N))
	return append(b, c.Hash[:]...), nil
}
