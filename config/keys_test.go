package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"filippo.io/torchwood"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/youmark/pkcs8"
	"golang.org/x/mod/sumdb/note"
)

func newKey(t *testing.T, generate func(string) error) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	fatalIf(t, generate(path))
	return path
}

func TestNewKeyFileIsPrivateAndNeverOverwritten(t *testing.T) {
	for _, generate := range []func(string) error{GenerateKey, GenerateMLDSAKey} {
		path := newKey(t, generate)
		info, err := os.Stat(path)
		fatalIf(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, want 0600", info.Mode())
		}
		before, _ := os.ReadFile(path)
		err = generate(path)
		if err == nil || !strings.Contains(err.Error(), "already exists and is left alone; choose another file name") {
			t.Errorf("second key at the same path: %v", err)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Error("the key file changed")
		}
	}
}

func TestKeyFileReadableByOthersIsRefused(t *testing.T) {
	path := newKey(t, GenerateKey)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644, 0o601, 0o610} {
		fatalIf(t, os.Chmod(path, mode))
		_, _, err := LogSigner(path, "log.example")
		if !errors.Is(err, ErrKeyPermissions) || !strings.Contains(err.Error(), "run: chmod 600 "+path) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		fatalIf(t, os.Chmod(path, mode))
		if _, err := ReadKey(path); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestCorruptedKeyFilesAreRefused(t *testing.T) {
	good, err := os.ReadFile(newKey(t, GenerateKey))
	fatalIf(t, err)
	block, _ := pem.Decode(good)
	encode := func(typ string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatalIf(t, err)
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	fatalIf(t, err)
	ml65, err := mldsa.GenerateKey(mldsa.MLDSA65())
	fatalIf(t, err)
	ml65DER, err := mldsax509.MarshalPKCS8PrivateKey(ml65)
	fatalIf(t, err)
	secret := string(block.Bytes[len(block.Bytes)-32:])
	notOneBlock := `must hold one "PRIVATE KEY" PEM block`
	for name, test := range map[string]struct{ text, want string }{
		"empty file":           {"", notOneBlock},
		"text before":          {"key:\n" + string(good), notOneBlock},
		"text after":           {string(good) + "x", notOneBlock},
		"empty line after":     {string(good) + "\n", notOneBlock},
		"two keys":             {string(good) + string(good), notOneBlock},
		"CRLF":                 {strings.ReplaceAll(string(good), "\n", "\r\n"), notOneBlock + " (PKCS#8), or one of the encrypted kinds, and nothing else: its line endings are CRLF"},
		"no final newline":     {strings.TrimSuffix(string(good), "\n"), notOneBlock},
		"header lines":         {strings.Replace(string(good), "KEY-----\n", "KEY-----\nA: b\n\n", 1), notOneBlock},
		"another type":         {encode("EC PRIVATE KEY", block.Bytes), notOneBlock},
		"a public key":         {encode("PUBLIC KEY", block.Bytes), notOneBlock},
		"an encrypted key":     {encode("ENCRYPTED PRIVATE KEY", block.Bytes), "is encrypted (ENCRYPTED PRIVATE KEY), and no passphrase is given"},
		"truncated DER":        {encode("PRIVATE KEY", block.Bytes[:len(block.Bytes)-1]), "not a PKCS#8 private key"},
		"trailing DER":         {encode("PRIVATE KEY", append(block.Bytes[:len(block.Bytes):len(block.Bytes)], 0)), "not in its one canonical encoding"},
		"empty DER":            {encode("PRIVATE KEY", nil), "not a PKCS#8 private key"},
		"an ECDSA key":         {encode("PRIVATE KEY", ecDER), "an Ed25519 or ML-DSA-44 key is needed"},
		"an ML-DSA-65 key":     {encode("PRIVATE KEY", ml65DER), "an Ed25519 or ML-DSA-44 key is needed"},
		"larger than a key is": {strings.Repeat("x", maxKeyFile+1), "more than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key.pem")
			fatalIf(t, os.WriteFile(path, []byte(test.text), 0o600))
			_, err := ReadKey(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v\nshould name the file and contain %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the error quotes the secret")
			}
		})
	}
}

func TestMissingKeyFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent.pem")
	if _, err := ReadKey(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if _, err := ReadKey(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("directory as key file: %v", err)
	}
}

func TestKeyNamesThatANoteCannotCarryAreRefused(t *testing.T) {
	path := newKey(t, GenerateKey)
	key, err := ReadKey(path)
	fatalIf(t, err)
	for name, want := range map[string]string{
		"":                       "key name is empty",
		"a b":                    "contains a space",
		"a\u00a0b":               "contains a space",
		"a\nb":                   "contains a space",
		"a+b":                    "contains a '+'",
		"a\x01b":                 "contains a control character",
		"a\x7fb":                 "contains a control character",
		"\xff":                   "is not valid UTF-8",
		strings.Repeat("x", 256): "has 256 bytes; at most 255 are possible",
	} {
		if _, _, err := LogSigner(path, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("LogSigner(%q): %v, want %q", name, err, want)
		}
		if _, _, err := NewCosignatureSigner(key, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewCosignatureSigner(%q): %v, want %q", name, err, want)
		}
	}
	for _, name := range []string{"a", "log.example/2026", "é", strings.Repeat("x", 255)} {
		if _, _, err := LogSigner(path, name); err != nil {
			t.Errorf("LogSigner(%q): %v", name, err)
		}
	}
}

const checkpoint = "log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"

func TestLogSignaturesVerifyElsewhere(t *testing.T) {
	signer, vkey, err := LogSigner(newKey(t, GenerateKey), "log.example")
	fatalIf(t, err)
	ours, err := note.NewVerifier(vkey)
	verifyElsewhere(t, signer, vkey, ours, err)
}

// verifyElsewhere has two libraries open what a signer signed: the one that made a
// verifier of the vkey, and another.
func verifyElsewhere(t *testing.T, signer note.Signer, vkey string, ours note.Verifier, err error) {
	t.Helper()
	theirs, err2 := fnote.NewVerifier(vkey)
	signed, err3 := note.Sign(&note.Note{Text: checkpoint}, signer)
	fatalIf(t, errors.Join(err, err2, err3))
	for _, v := range []note.Verifier{ours, theirs} {
		n, err := note.Open(signed, note.VerifierList(v))
		if err != nil || n.Text != checkpoint {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// TestALogSignsWithMLDSAToo: its signature is a cosignature of type 0x06 under the log's own name.
func TestALogSignsWithMLDSAToo(t *testing.T) {
	signer, vkey, err := LogSigner(newKey(t, GenerateMLDSAKey), "log.example")
	fatalIf(t, err)
	ours, err := torchwood.NewCosignatureVerifier(vkey)
	verifyElsewhere(t, signer, vkey, ours, err)
}

// TestAnEncryptedKeyOpensWithItsPassphraseOnly, in each of the formats, and is the key that was encrypted.
func TestAnEncryptedKeyOpensWithItsPassphraseOnly(t *testing.T) {
	der, err := mldsax509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)))
	fatalIf(t, err)
	byPKCS8, err := pkcs8.MarshalPrivateKey(ed25519.NewKeyFromSeed(make([]byte, 32)), []byte("open sesame"), nil)
	fatalIf(t, err)
	byCosign, err := encrypted.Encrypt(der, []byte("open sesame"))
	fatalIf(t, err)
	texts := map[string][]byte{
		"pkcs8":  pem.EncodeToMemory(&pem.Block{Type: pkcs8PEM, Bytes: byPKCS8}),
		"cosign": pem.EncodeToMemory(&pem.Block{Type: cosignPEM, Bytes: byCosign}),
	}
	for name, generate := range map[string]func(string, []byte) error{"ed25519": GenerateEncryptedKey, "ml-dsa": GenerateEncryptedMLDSAKey} {
		path := newKey(t, func(path string) error { return generate(path, []byte("open sesame")) })
		if texts[name], err = os.ReadFile(path); err != nil || !strings.Contains(string(texts[name]), sigstorePEM) {
			t.Fatalf("%s: %v: %.40s", name, err, texts[name])
		}
		if _, err := ReadKey(path); !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), path+" is encrypted") {
			t.Errorf("%s without a passphrase: %v", name, err)
		}
	}
	for name, text := range texts {
		key, err := ParseKey(text, []byte("open sesame"))
		fatalIf(t, err)
		if ed, ok := key.(ed25519.PrivateKey); ok && name != "ed25519" && !bytes.Equal(ed.Seed(), make([]byte, 32)) {
			t.Errorf("%s: another key", name)
		}
		for _, wrong := range []string{"open sesame ", "Open sesame", ""} {
			if _, err := ParseKey(text, []byte(wrong)); !errors.Is(err, ErrPassphrase) || strings.Contains(err.Error(), "sesame") {
				t.Errorf("%s, passphrase %q: %v", name, wrong, err)
			}
		}
		if _, err := ParseKey(text, nil); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s, no passphrase: %v", name, err)
		}
		if name == "pkcs8" {
			continue // is not authenticated: damaged it may open as another key, which the guard of a log refuses
		}
		at := len(text) * 2 / 3
		if _, err := ParseKey(append(append(text[:at:at], 'A'+(text[at]-'A'+1)%26), text[at+1:]...), []byte("open sesame")); err == nil {
			t.Errorf("%s, flipped: opened", name)
		}
	}
	plain, err := os.ReadFile(newKey(t, GenerateKey))
	fatalIf(t, err)
	if _, err := ParseKey(plain, []byte("x")); err == nil || !strings.Contains(err.Error(), "is not encrypted, but") {
		t.Errorf("a passphrase for a plain key: %v", err)
	}
}

func TestCosignaturesVerifyElsewhere(t *testing.T) {
	for _, generate := range []func(string) error{GenerateKey, GenerateMLDSAKey} {
		key, err := ReadKey(newKey(t, generate))
		fatalIf(t, err)
		signer, vkey, err := NewCosignatureSigner(key, "witness.example/w1")
		fatalIf(t, err)
		ours, err := torchwood.NewCosignatureVerifier(vkey)
		verifyElsewhere(t, signer, vkey, ours, err)
	}
}

func TestABadSignatureNeverLeavesTheLogSigner(t *testing.T) {
	signer, _, err := LogSigner(newKey(t, GenerateKey), "log.example")
	fatalIf(t, err)
	other, _, err := LogSigner(newKey(t, GenerateKey), "log.example")
	fatalIf(t, err)
	mixed := &checkedSigner{signer.(*checkedSigner).Verifier, other.(*checkedSigner).sign}
	if _, err := mixed.Sign([]byte(checkpoint)); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("error %v", err)
	}
}
