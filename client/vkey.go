package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// vkey is a parsed c2sp.org/signed-note verifier key.
type vkey struct {
	name     string
	id       uint32
	cosigns  bool   // type 0x04 or 0x06
	public   string // the bare public key
	verifier note.Verifier
}

// Signature types of c2sp.org/signed-note.
const (
	typeEd25519     = 0x01
	typeCosignature = 0x04
	typeMLDSA44     = 0x06
)

// parseVKey reads "<name>+<8 hex digits>+<base64 of type and public key>" in its
// one encoding. The libraries check that the key id follows from name and key.
func parseVKey(s string) (*vkey, error) {
	name, rest, _ := strings.Cut(s, "+")
	id16, key64, ok := strings.Cut(rest, "+")
	if !ok || name == "" {
		return nil, fmt.Errorf("%q is not a vkey (name+id+key)", clip(s))
	}
	key, err := decodeBase64(key64)
	if err != nil || len(key) < 2 || len(id16) != 8 || strings.Trim(id16, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("the vkey of %q is not its name, 8 lower-case hex digits and padded base64, joined by +", clip(name))
	}
	k := &vkey{name: name, public: string(key[1:])}
	switch key[0] {
	case typeEd25519:
		k.verifier, err = note.NewVerifier(s)
	case typeCosignature, typeMLDSA44:
		k.cosigns = true
		k.verifier, err = newCosignatureVerifier(s)
	default:
		return nil, fmt.Errorf("the vkey of %q is of type 0x%02x; known are 0x01, 0x04 and 0x06", clip(name), key[0])
	}
	if err != nil {
		return nil, fmt.Errorf("the vkey of %q: %w", clip(name), err)
	}
	k.id = k.verifier.KeyHash()
	return k, nil
}

// newCosignatureVerifier keeps a nil pointer from becoming a verifier.
func newCosignatureVerifier(s string) (note.Verifier, error) {
	v, err := torchwood.NewCosignatureVerifier(s)
	if err != nil {
		return nil, err
	}
	return v, nil
}

var errBase64 = errors.New("not padded standard base64 in its one encoding")

// decodeBase64 decodes standard, padded base64. The standard library ignores
// line ends and, without Strict, the last bits; both would be a second encoding.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errBase64
	}
	return b, nil
}

// clip shortens what came from outside, for error texts.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
