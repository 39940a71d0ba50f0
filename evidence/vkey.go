package evidence

import (
	"encoding/base64"
	"fmt"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// VKey is a parsed c2sp.org/signed-note verifier key. Its Verifier says its name and id.
type VKey struct {
	note.Verifier
	Cosigns bool   // type 0x04 or 0x06
	Public  string // the bare public key
}

// Signature types of c2sp.org/signed-note.
const (
	typeEd25519     = 0x01
	typeCosignature = 0x04
	typeMLDSA44     = 0x06
)

// ParseVKey reads "<name>+<8 hex digits>+<base64 of type and public key>" in its
// one encoding. The libraries check that the key id follows from name and key.
func ParseVKey(s string) (*VKey, error) {
	name, rest, _ := strings.Cut(s, "+")
	id16, key64, ok := strings.Cut(rest, "+")
	if !ok || name == "" {
		return nil, fmt.Errorf("%q is not a vkey (name+id+key)", clip(s))
	}
	// The standard library ignores line ends and the last bits: a second encoding.
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil || b64(key) != key64 || len(key) < 2 || !isKeyID(id16) {
		return nil, fmt.Errorf("the vkey of %q is not its name, 8 lower-case hex digits and padded base64, joined by +",
			clip(name))
	}
	k := &VKey{Public: string(key[1:])}
	switch key[0] {
	case typeEd25519:
		k.Verifier, err = note.NewVerifier(s)
	case typeCosignature, typeMLDSA44:
		k.Cosigns = true
		k.Verifier, err = torchwood.NewCosignatureVerifier(s)
	default:
		return nil, fmt.Errorf("the vkey of %q is of type 0x%02x; known are 0x01, 0x04 and 0x06", clip(name), key[0])
	}
	if err != nil {
		return nil, fmt.Errorf("the vkey of %q: %w", clip(name), err)
	}
	return k, nil
}
