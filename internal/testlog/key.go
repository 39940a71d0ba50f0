package testlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// Must returns v, where an error can only be the test's own mistake.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Seed returns 32 bytes that follow from a name.
func Seed(name string) []byte {
	h := sha256.Sum256([]byte("test seed " + name))
	return h[:]
}

// Ed25519 returns the private key that follows from a name.
func Ed25519(name string) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(Seed(name)) }

// A Key signs notes. A test lies with a copy in which it changed a field.
type Key struct {
	KeyName string // in signature lines
	ID      uint32
	VKey    string
	Time    func() time.Time // of cosignatures
	Blob    func(text []byte, at time.Time) ([]byte, error)
}

var _ note.Signer = &Key{}

// Name implements note.Signer.
func (k *Key) Name() string { return k.KeyName }

// KeyHash implements note.Signer.
func (k *Key) KeyHash() uint32 { return k.ID }

// Sign implements note.Signer.
func (k *Key) Sign(text []byte) ([]byte, error) { return k.Blob(text, k.Time()) }

// String returns the name and ID.
func (k *Key) String() string { return fmt.Sprintf("%s+%08x", k.KeyName, k.ID) }

// At returns a copy that cosigns at another time.
func (k *Key) At(at time.Time) *Key {
	c := *k
	c.Time = func() time.Time { return at }
	return &c
}

// LogKey returns a key of type 0x01. Its secret follows from the name, or from
// another one, if that is given.
func LogKey(name string, secret ...string) *Key {
	priv := Ed25519(append(secret, name)[0])
	return newKey(name, 0x01, priv[32:], time.Time{}, func(text []byte, _ time.Time) ([]byte, error) {
		return ed25519.Sign(priv, text), nil
	})
}

// WitnessKey returns a key of type 0x04 that signs at a time.
func WitnessKey(name string, at time.Time) *Key {
	priv := Ed25519(name)
	return newKey(name, 0x04, priv[32:], at, func(text []byte, at time.Time) ([]byte, error) {
		msg := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at.Unix(), text)
		return append(timestamp(at), ed25519.Sign(priv, []byte(msg))...), nil
	})
}

// MLDSAKey returns a key of type 0x06 that signs at a time. The zero time is timestamp 0.
func MLDSAKey(name string, at time.Time) *Key {
	priv := Must(mldsa.NewPrivateKey(mldsa.MLDSA44(), Seed(name)))
	return newKey(name, 0x06, priv.PublicKey().Bytes(), at, func(text []byte, at time.Time) ([]byte, error) {
		c, err := torchwood.ParseCheckpoint(string(text))
		if err != nil {
			return nil, err
		}
		m := append([]byte("subtree/v1\n\x00"), byte(len(name)))
		m = append(append(m, name...), timestamp(at)...)
		m = append(append(m, byte(len(c.Origin))), c.Origin...)
		m = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(m, 0), uint64(c.N))
		sig, err := priv.Sign(nil, append(m, c.Hash[:]...), nil)
		return append(timestamp(at), sig...), err
	})
}

func newKey(name string, kind byte, public []byte, at time.Time, blob func([]byte, time.Time) ([]byte, error)) *Key {
	vkey, id := VKey(name, append([]byte{kind}, public...))
	return &Key{KeyName: name, ID: id, VKey: vkey, Time: func() time.Time { return at }, Blob: blob}
}

// VKey writes a verifier key: its name, ID and typed public key. The ID is
// SHA-256(name || 0x0A || type || public key)[:4], big-endian.
func VKey(name string, typed []byte) (vkey string, id uint32) {
	h := sha256.Sum256(append([]byte(name+"\n"), typed...))
	id = binary.BigEndian.Uint32(h[:])
	return fmt.Sprintf("%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(typed)), id
}

func timestamp(at time.Time) []byte {
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	return binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
}

// Sign signs a text.
func Sign[S note.Signer](text string, signers ...S) []byte {
	all := make([]note.Signer, len(signers))
	for i, s := range signers {
		all[i] = s
	}
	return Must(note.Sign(&note.Note{Text: text}, all...))
}
