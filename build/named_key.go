package build

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"filippo.io/mldsa"
)

// Signature types of c2sp.org/signed-note. Type 0xff is for algorithms without a number of their
// own, which are told apart by the longer id that follows it.
const (
	typeEd25519 = 0x01
	typeOther   = 0xff

	mldsaID = "cratelog/build/ml-dsa-44/v1" // behind typeOther, before the public key

	// mldsaContext is the context string of FIPS 204 of every ML-DSA signature of a builder.
	mldsaContext = "cratelog/build/v1"

	maxVKey = 2048 // bytes; one of ML-DSA-44 takes some 1,860
)

// A VKey is a named builder's public key, in the words of c2sp.org/signed-note:
//
//	<name>+<8 hex digits: first 4 bytes of SHA-256(name || LF || type || key)>+<base64(type || key)>
//
// The type is 0x01 and the key an Ed25519 one, or it is 0xff || "cratelog/build/ml-dsa-44/v1" and
// the key one of ML-DSA-44, which signs with the context "cratelog/build/v1".
type VKey struct {
	Name string // CheckMember
	text string
	key  crypto.PublicKey // ed25519.PublicKey or *mldsa.PublicKey
	raw  []byte           // type and key
}

// NewVKey returns the vkey of a public key under a name: of an ed25519.PublicKey, or an
// *mldsa.PublicKey of ML-DSA-44.
func NewVKey(name string, key crypto.PublicKey) (*VKey, error) {
	if err := CheckMember(name); err != nil {
		return nil, err
	}
	var raw []byte
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key has %d bytes, and this one %d", ed25519.PublicKeySize, len(k))
		}
		raw = append([]byte{typeEd25519}, k...)
	case *mldsa.PublicKey:
		if k.Parameters() != mldsa.MLDSA44() {
			return nil, fmt.Errorf("a builder's key must be Ed25519 or ML-DSA-44, and this one is %v", k.Parameters())
		}
		raw = append(append([]byte{typeOther}, mldsaID...), k.Bytes()...)
	default:
		return nil, fmt.Errorf("a builder's key must be Ed25519 or ML-DSA-44, and this one is a %T", key)
	}
	text := fmt.Sprintf("%s+%08x+%s", name, keyHash(name, raw), base64.StdEncoding.EncodeToString(raw))
	return &VKey{name, text, key, raw}, nil
}

// ParseVKey reads a vkey in its one encoding.
func ParseVKey(text string) (*VKey, error) {
	if len(text) > maxVKey {
		return nil, fmt.Errorf("the vkey is %d bytes long, more than %d", len(text), maxVKey)
	}
	name, rest, _ := strings.Cut(text, "+")
	_, key64, ok := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(key64)
	if !ok || err != nil || len(raw) == 0 {
		return nil, fmt.Errorf("%.100q is no vkey: a name, 8 hex digits and base64, joined by '+'", text)
	}
	var key crypto.PublicKey
	switch other := append([]byte{typeOther}, mldsaID...); {
	case raw[0] == typeEd25519 && len(raw) == 1+ed25519.PublicKeySize:
		key = ed25519.PublicKey(raw[1:])
	case strings.HasPrefix(string(raw), string(other)):
		if key, err = mldsa.NewPublicKey(mldsa.MLDSA44(), raw[len(other):]); err != nil {
			return nil, fmt.Errorf("the vkey of %.100q: %w", name, err)
		}
	default:
		return nil, fmt.Errorf("the vkey of %.100q is neither of an Ed25519 key (type 0x01) nor of an ML-DSA-44 key "+
			"of a builder (type 0xff, %s); make one with \"cargo zkp builder keygen --named\"", name, mldsaID)
	}
	k, err := NewVKey(name, key)
	if err == nil && k.text != text {
		err = errors.New("it is not in its one encoding, or its id is not that of name and key")
	}
	if err != nil {
		return nil, fmt.Errorf("the vkey of %.100q: %w", name, err)
	}
	return k, nil
}

func keyHash(name string, raw []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte("\n"))
	h.Write(raw)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// String returns the vkey's text.
func (k *VKey) String() string { return k.text }

// Verify says whether sig is the key's signature of a text.
func (k *VKey) Verify(text, sig []byte) bool {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, text, sig)
	case *mldsa.PublicKey:
		return mldsa.Verify(key, text, sig, &mldsa.Options{Context: mldsaContext}) == nil
	}
	return false
}

// Sign signs a text with the private key of k, and checks what it gets: a signer may be a device.
func (k *VKey) Sign(signer crypto.Signer, text []byte) ([]byte, error) {
	var opts crypto.SignerOpts = crypto.Hash(0)
	if _, ok := k.key.(*mldsa.PublicKey); ok {
		opts = &mldsa.Options{Context: mldsaContext}
	}
	sig, err := signer.Sign(nil, text, opts)
	if err != nil {
		return nil, fmt.Errorf("signing as %s: %w", k.Name, err)
	}
	if !k.Verify(text, sig) {
		return nil, fmt.Errorf("the key does not sign for the vkey of %s: it is another key", k.Name)
	}
	return sig, nil
}
