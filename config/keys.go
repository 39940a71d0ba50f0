package config

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"filippo.io/torchwood"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/durable"
)

// maxKeyFile bounds a key file; an Ed25519 key takes 119 bytes, an ML-DSA-44
// seed 130.
const maxKeyFile = 16 << 10

// ErrKeyPermissions is wrapped by the error for a key file that others than
// its owner may read.
var ErrKeyPermissions = errors.New("secret file is readable by others")

// GenerateKey writes a new Ed25519 key to path: PKCS#8 in PEM, mode 0600,
// synced to disk. It never overwrites a file.
func GenerateKey(path string) error { return GenerateEncryptedKey(path, nil) }

// GenerateMLDSAKey writes a new ML-DSA-44 key to path as RFC 9881 says: PKCS#8
// with the 32-byte seed, in PEM, mode 0600. It never overwrites a file.
func GenerateMLDSAKey(path string) error { return GenerateEncryptedMLDSAKey(path, nil) }

// GenerateEncryptedKey is GenerateKey, but encrypts the key as sigstore does, unless passphrase is nil.
func GenerateEncryptedKey(path string, passphrase []byte) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	return writeNewKey(path, key, passphrase)
}

// GenerateEncryptedMLDSAKey is GenerateMLDSAKey, but encrypts the key as sigstore does, unless
// passphrase is nil.
func GenerateEncryptedMLDSAKey(path string, passphrase []byte) error {
	key, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return err
	}
	return writeNewKey(path, key, passphrase)
}

func writeNewKey(path string, key crypto.PrivateKey, passphrase []byte) error {
	der, err := mldsax509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	kind := cryptoutils.PrivateKeyPEMType
	if passphrase != nil {
		kind = cryptoutils.EncryptedSigstorePrivateKeyPEMType
		if der, err = encrypted.Encrypt(der, passphrase); err != nil {
			return err
		}
	}
	return writeKey(path, cryptoutils.PEMEncode(kind, der))
}

func writeKey(path string, text []byte) error {
	err := durable.WriteNew(path, text, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s already exists and is left alone; choose another file name for the new key: %w", path, err)
	}
	if err != nil {
		return fmt.Errorf("writing key file %s: %w", path, err)
	}
	return nil
}

// ReadKey reads the private key in the PEM file at path: an
// [ed25519.PrivateKey] or an [*mldsa.PrivateKey] of ML-DSA-44.
//
// The file must be regular, readable by its owner only, and hold exactly one
// unencrypted PKCS#8 block and nothing else.
func ReadKey(path string) (crypto.Signer, error) {
	return ReadEncryptedKey(path, nil)
}

// ReadEncryptedKey is ReadKey for a file that is encrypted, unless passphrase is nil; see [ParseKey].
func ReadEncryptedKey(path string, passphrase []byte) (crypto.Signer, error) {
	text, err := ReadKeyFile(path)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file %s %w", path, err)
	}
	return key, nil
}

// ErrPassphrase is wrapped by the error for an encrypted key without a passphrase, or with a wrong one.
var ErrPassphrase = errors.New("passphrase")

// PEM types of encrypted keys: of sigstore (scrypt and NaCl's secretbox), and of PKCS#8.
const (
	sigstorePEM = string(cryptoutils.EncryptedSigstorePrivateKeyPEMType)
	cosignPEM   = "ENCRYPTED COSIGN PRIVATE KEY"
	pkcs8PEM    = "ENCRYPTED PRIVATE KEY"
)

// ParseKey reads a private key from the text of a PEM file, which must hold one block and nothing else:
// PKCS#8 ("PRIVATE KEY"); or, with a passphrase, the same encrypted as sigstore and cosign do
// ("ENCRYPTED SIGSTORE PRIVATE KEY"), or as PKCS#8 says ("ENCRYPTED PRIVATE KEY", Ed25519 only). A
// passphrase for a key that is not encrypted is refused. Errors begin with what the file does.
func ParseKey(text, passphrase []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	plain := block != nil && block.Type == "PRIVATE KEY"
	if block == nil || len(rest) > 0 || len(block.Headers) > 0 || !bytes.Equal(pem.EncodeToMemory(block), text) ||
		!plain && block.Type != sigstorePEM && block.Type != cosignPEM && block.Type != pkcs8PEM {
		what := "must hold one \"PRIVATE KEY\" PEM block (PKCS#8), or one of the encrypted kinds, and nothing else"
		if why := durable.Altered(text); why != "" {
			what += ": " + why
		}
		return nil, errors.New(what)
	}
	if plain && passphrase != nil {
		return nil, errors.New("is not encrypted, but a passphrase is given for it: encrypt the key, or take the " +
			"passphrase away")
	}
	if !plain && passphrase == nil {
		return nil, fmt.Errorf("is encrypted (%s), and no %w is given", block.Type, ErrPassphrase)
	}
	// Of what follows the libraries' own words are left out: they could quote the key.
	key, der, err := decodeKey(block, passphrase)
	switch {
	case err != nil && !plain:
		return nil, fmt.Errorf("cannot be decrypted: the %w is wrong, or the file is damaged", ErrPassphrase)
	case err != nil:
		return nil, errors.New("holds a PEM block that is not a PKCS#8 private key of a known kind")
	}
	signer, ok := supported(key)
	if !ok {
		return nil, fmt.Errorf("holds a key of type %T; an Ed25519 or ML-DSA-44 key is needed", key)
	}
	// The parsers ignore bytes after the key and attributes within it.
	again, err := mldsax509.MarshalPKCS8PrivateKey(key)
	if err != nil || der != nil && !bytes.Equal(again, der) {
		return nil, errors.New("holds a key that is not in its one canonical encoding (PKCS#8 version 1, nothing after it)")
	}
	return signer, nil
}

// decodeKey returns the key of a PEM block, and its PKCS#8 encoding, which is nil where a library
// keeps it to itself.
func decodeKey(block *pem.Block, passphrase []byte) (crypto.PrivateKey, []byte, error) {
	der := block.Bytes
	var err error
	switch block.Type {
	case pkcs8PEM:
		pass := func(bool) ([]byte, error) { return passphrase, nil }
		key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), pass)
		return key, nil, err
	case sigstorePEM, cosignPEM:
		if der, err = encrypted.Decrypt(der, passphrase); err != nil {
			return nil, nil, err
		}
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return parseMLDSA(der)
	}
	return key, der, nil
}

func parseMLDSA(der []byte) (crypto.PrivateKey, []byte, error) {
	key, err := mldsax509.ParsePKCS8PrivateKey(der)
	return key, der, err
}

func supported(key crypto.PrivateKey) (crypto.Signer, bool) {
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return key, true
	case *mldsa.PrivateKey:
		return key, key.PublicKey().Parameters() == mldsa.MLDSA44()
	}
	return nil, false
}

// ReadKeyFile reads a file with a secret, of at most 16 KiB. It must be regular and readable by its
// owner only; checked are the permissions of the very file that is then read.
func ReadKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("secret file %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrKeyPermissions, path, perm, path)
	}
	text, err := durable.ReadAll(f, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("secret file %s: %w", path, err)
	}
	return text, nil
}

// maxPassphrase bounds the file with a passphrase or a token, in bytes.
const maxPassphrase = 4 << 10

// ReadPassphrase reads the passphrase, or the token, in a file that a setting of the file at path names: one
// line. See [ReadSecret].
func ReadPassphrase(path, ref string) ([]byte, error) {
	name, text, err := ReadSecret(path, ref)
	if err != nil {
		return nil, err
	}
	line := strings.TrimSuffix(string(text), "\n")
	switch {
	case line == "":
		return nil, fmt.Errorf("%s is empty; it must hold one line", name)
	case len(text) > maxPassphrase || strings.ContainsAny(line, "\r\n"):
		return nil, fmt.Errorf("%s must hold one line of at most %d bytes", name, maxPassphrase)
	}
	return []byte(line), nil
}

// ReadSecret reads the file with a secret that a setting of the file at path names: one that only its owner
// may read, or "credential:NAME", in systemd's credentials directory, whose access lists look like a wider
// mode. It also returns what to call it in a message.
func ReadSecret(path, ref string) (name string, text []byte, err error) {
	credential, ok := strings.CutPrefix(ref, "credential:")
	if !ok {
		name = Beside(path, ref)
		text, err = ReadKeyFile(name)
		return name, text, err
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	switch {
	case dir == "":
		return ref, nil, fmt.Errorf("%s: there is no CREDENTIALS_DIRECTORY: the program must be started by systemd, with "+
			"LoadCredential= or LoadCredentialEncrypted=", ref)
	case credential == "" || strings.ContainsAny(credential, `/\`) || !filepath.IsLocal(credential):
		return ref, nil, fmt.Errorf("%s: a credential is named without slashes", ref)
	}
	text, err = durable.Read(filepath.Join(dir, credential), maxKeyFile)
	if err != nil {
		err = fmt.Errorf("%s: %w", ref, err)
	}
	return ref, text, err
}

// CheckKeyName checks a key name of c2sp.org/signed-note: 1 to 255 bytes of
// UTF-8 without spaces, control characters and '+'. (255 is the most that an
// ML-DSA cosignature can carry.)
func CheckKeyName(name string) error {
	switch {
	case name == "":
		return errors.New("key name is empty; use a schema-less URL such as witness.example.org/w1")
	case len(name) > 255:
		return fmt.Errorf("key name has %d bytes; at most 255 are possible", len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("key name %q is not valid UTF-8", name)
	case strings.Contains(name, "+"):
		return fmt.Errorf("key name %q contains a '+', which separates the fields of a vkey", name)
	case strings.ContainsFunc(name, unicode.IsSpace):
		return fmt.Errorf("key name %q contains a space", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("key name %q contains a control character", name)
	}
	return nil
}

// LogSigner reads the key file at path and returns the signer of the log's checkpoints, whose key
// name is the log's origin, together with its vkey; see [NewLogSigner].
func LogSigner(path, origin string) (note.Signer, string, error) {
	key, err := ReadKey(path)
	if err != nil {
		return nil, "", err
	}
	return NewLogSigner(key, origin)
}

// NewLogSigner returns a signer of the checkpoints of the log with an origin, and its vkey: with an
// Ed25519 key a signed-note signature of type 0x01, with an ML-DSA-44 key one of type 0x06, which
// states the time (c2sp.org/tlog-checkpoint). It checks each signature before it gives it away: a
// key may be in a device or a service that answers nonsense.
func NewLogSigner(key crypto.Signer, origin string) (note.Signer, string, error) {
	if err := CheckKeyName(origin); err != nil {
		return nil, "", err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		signer, err := torchwood.NewCosignatureSigner(origin, key)
		if err != nil {
			return nil, "", fmt.Errorf("a key of type %T cannot sign for a log; an Ed25519 or ML-DSA-44 key is needed",
				key.Public())
		}
		return &checkedSigner{signer.Verifier(), signer.Sign}, signer.Verifier().String(), nil
	}
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, "", err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", err
	}
	sign := func(msg []byte) ([]byte, error) { return key.Sign(rand.Reader, msg, crypto.Hash(0)) }
	return &checkedSigner{verifier, sign}, vkey, nil
}

// checkedSigner gives no signature away that does not verify.
type checkedSigner struct {
	note.Verifier
	sign func(msg []byte) ([]byte, error)
}

var _ note.Signer = (*checkedSigner)(nil)

// Sign implements note.Signer.
func (s *checkedSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.sign(msg)
	if err != nil {
		return nil, fmt.Errorf("signing as %s: %w", s.Name(), err)
	}
	if !s.Verify(msg, sig) {
		return nil, fmt.Errorf("signing as %s: the signer returned a signature that does not verify", s.Name())
	}
	return sig, nil
}

// NewCosignatureSigner returns a signer of timestamped cosignatures (c2sp.org/tlog-cosignature) under the
// given name, together with its vkey: type 0x04 for an Ed25519 key, 0x06 for ML-DSA-44.
func NewCosignatureSigner(key crypto.Signer, name string) (*torchwood.CosignatureSigner, string, error) {
	if err := CheckKeyName(name); err != nil {
		return nil, "", err
	}
	signer, err := torchwood.NewCosignatureSigner(name, key)
	if err != nil {
		return nil, "", fmt.Errorf("the key of %s: %w", name, err)
	}
	return signer, signer.Verifier().String(), nil
}
