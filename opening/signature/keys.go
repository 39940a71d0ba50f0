package signature

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/ssh"
)

// MaxKeys is the largest size of a file of keys in bytes.
const MaxKeys = 1 << 20

// minRSABits is the shortest RSA key that counts, as for OpenPGP keys in the library.
const minRSABits = 2048

// Keys are public keys of people who sign commits. The zero value holds none; nil does, too. Keys do
// not change after they were parsed.
type Keys struct {
	ssh map[string]string // name of a key, by its encoding
	pgp openpgp.EntityList
	sum [sha256.Size]byte // of the file, or of those of several
}

// Digest tells files of keys apart.
func (k *Keys) Digest() [32]byte { return k.sum }

// ParseKeys reads a file of public keys. It holds either ssh keys, one a line as in a .pub file
// ("ssh-ed25519 AAAA... name"), with blank lines and lines that begin with "#" between them; or
// OpenPGP keys, as "gpg --armor --export" prints them, one block after the other.
func ParseKeys(text []byte) (*Keys, error) {
	if len(text) > MaxKeys {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", len(text), MaxKeys)
	}
	if bytes.Contains(text, []byte("PRIVATE KEY")) {
		return nil, errors.New("it holds a private key: keep that to yourself, and name the public one")
	}
	k := &Keys{ssh: map[string]string{}, sum: sha256.Sum256(text)}
	var err error
	if bytes.Contains(text, []byte(pgpBegin)) {
		k.pgp, err = parsePGP(string(text))
	} else {
		err = k.parseSSH(string(text))
	}
	if err == nil && len(k.pgp)+len(k.ssh) == 0 {
		err = errors.New("it holds no key; write ssh public keys, one a line, or an armored OpenPGP key")
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Join returns all keys of several files.
func Join(files ...*Keys) *Keys {
	all := &Keys{ssh: map[string]string{}}
	h := sha256.New()
	for _, f := range files {
		h.Write(f.sum[:])
		all.pgp = append(all.pgp, f.pgp...)
		for key, name := range f.ssh {
			all.ssh[key] = name
		}
	}
	h.Sum(all.sum[:0])
	return all
}

func (k *Keys) parseSSH(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, name, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case err != nil:
			return fmt.Errorf("line %d is no ssh public key: %w", n, err)
		case len(options) > 0:
			return fmt.Errorf("line %d has something in front of its key; write the key as its .pub file has it", n)
		}
		if err := usable(key); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		k.ssh[string(key.Marshal())] = name
	}
	return nil
}

// usable refuses keys that sign nothing that can be believed.
func usable(key ssh.PublicKey) error {
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519,
		ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if c, ok := key.(ssh.CryptoPublicKey); ok {
			if r, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() >= minRSABits {
				return nil
			}
		}
		return fmt.Errorf("an RSA key of less than %d bits signs nothing that can be believed", minRSABits)
	}
	return fmt.Errorf("the type %q of the key is not accepted: use ed25519, ecdsa or rsa, or one of a security key",
		key.Type())
}

const (
	pgpBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	pgpEnd   = "-----END PGP PUBLIC KEY BLOCK-----"
)

func parsePGP(text string) (all openpgp.EntityList, err error) {
	for n := 1; ; n++ {
		before, rest, ok := strings.Cut(text, pgpBegin)
		if strings.TrimSpace(before) != "" {
			return nil, fmt.Errorf("before the OpenPGP key %d stands something else; keep ssh keys in a file of their own", n)
		}
		if !ok {
			return all, nil
		}
		block, after, ok := strings.Cut(rest, pgpEnd)
		if !ok {
			return nil, fmt.Errorf("the OpenPGP key %d does not end in the line %s", n, pgpEnd)
		}
		list, err := openpgp.ReadArmoredKeyRing(strings.NewReader(pgpBegin + block + pgpEnd + "\n"))
		if err != nil {
			return nil, fmt.Errorf("the OpenPGP key %d: %w", n, err)
		}
		all, text = append(all, list...), after
	}
}
