package config

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"filippo.io/torchwood"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/durable"
)

// maxKeyFile bounds a key file; an Ed25519 key takes 119 bytes, an ML-DSA-44
// seed 130.
const maxKeyFile = 16 << 10

// ErrKeyPermissions is wrapped by the error for a key file that others than
// its owner may read.
var ErrKeyPermissions = errors.New("key file is readable by others")

// GenerateKey writes a new Ed25519 key to path: PKCS#8 in PEM, mode 0600,
// synced to disk. It never overwrites a file.
func GenerateKey(path string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	return writeKey(path, text)
}

// GenerateMLDSAKey writes a new ML-DSA-44 key to path as RFC 9881 says: PKCS#8
// with the 32-byte seed, in PEM, mode 0600. It never overwrites a file.
func GenerateMLDSAKey(path string) error {
	key, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		return err
	}
	der, err := mldsax509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeKey(path, cryptoutils.PEMEncode(cryptoutils.PrivateKeyPEMType, der))
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
	text, err := ReadKeyFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 || block.Type != "PRIVATE KEY" || len(block.Headers) > 0 ||
		!bytes.Equal(pem.EncodeToMemory(block), text) {
		what := "must hold one \"PRIVATE KEY\" PEM block (PKCS#8, not encrypted) and nothing else"
		if why := durable.Altered(text); why != "" {
			what += ": " + why
		}
		return nil, fmt.Errorf("key file %s %s", path, what)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(text, nil)
	if err != nil {
		key, err = mldsax509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		// The parser's own words are left out: they could quote the key.
		return nil, fmt.Errorf("key file %s: the PEM block is not a PKCS#8 private key of a known kind", path)
	}
	signer, ok := supported(key)
	if !ok {
		return nil, fmt.Errorf("key file %s holds a key of type %T; an Ed25519 or ML-DSA-44 key is needed", path, key)
	}
	// The parsers ignore bytes after the key and attributes within it.
	der, err := mldsax509.MarshalPKCS8PrivateKey(key)
	if err != nil || !bytes.Equal(der, block.Bytes) {
		return nil, fmt.Errorf("key file %s: the key is not in its one canonical encoding (PKCS#8 version 1, nothing after it)", path)
	}
	return signer, nil
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
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrKeyPermissions, path, perm, path)
	}
	text, err := durable.ReadAll(f, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return text, nil
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

// LogSigner reads the Ed25519 key file at path and returns the signer of the
// log's checkpoints, a signed-note signature of type 0x01 whose key name is the
// log's origin, together with its vkey.
func LogSigner(path, origin string) (note.Signer, string, error) {
	if err := CheckKeyName(origin); err != nil {
		return nil, "", err
	}
	key, err := ReadKey(path)
	if err != nil {
		return nil, "", err
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, "", fmt.Errorf("key file %s holds a key of type %T; a log's key must be Ed25519", path, key)
	}
	vkey, err := note.NewEd25519VerifierKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, "", err
	}
	signer, err := signature.LoadED25519Signer(private)
	if err != nil {
		return nil, "", err
	}
	return &logSigner{verifier: verifier, signer: signer}, vkey, nil
}

// logSigner is a sigstore signer in the clothes of a note.Signer.
type logSigner struct {
	verifier note.Verifier
	signer   signature.Signer
}

var _ note.Signer = (*logSigner)(nil)

func (s *logSigner) Name() string    { return s.verifier.Name() }
func (s *logSigner) KeyHash() uint32 { return s.verifier.KeyHash() }

// Sign signs msg and checks the signature before it leaves: a signer that is a
// device or a service may answer nonsense.
func (s *logSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := s.signer.SignMessage(bytes.NewReader(msg))
	if err != nil {
		return nil, fmt.Errorf("signing as %s: %w", s.Name(), err)
	}
	if !s.verifier.Verify(msg, sig) {
		return nil, fmt.Errorf("signing as %s: the signer returned a signature that does not verify", s.Name())
	}
	return sig, nil
}

// CosignatureSigner reads the key file at path and returns a signer of
// timestamped cosignatures (c2sp.org/tlog-cosignature) under the given name,
// together with its vkey: type 0x04 for an Ed25519 key, 0x06 for ML-DSA-44.
func CosignatureSigner(path, name string) (*torchwood.CosignatureSigner, string, error) {
	if err := CheckKeyName(name); err != nil {
		return nil, "", err
	}
	key, err := ReadKey(path)
	if err != nil {
		return nil, "", err
	}
	signer, err := torchwood.NewCosignatureSigner(name, key)
	if err != nil {
		return nil, "", fmt.Errorf("key file %s: %w", path, err)
	}
	return signer, signer.Verifier().String(), nil
}
