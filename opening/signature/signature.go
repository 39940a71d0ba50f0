// Package signature says who signed a commit: with an ssh key or an OpenPGP key, as git has them
// in the header gpgsig. A signature covers the whole commit but that header, so with the commit's
// id it says that a person stood for this tree and this history.
//
// Whether a key is to be believed only the reader knows, who names it in a policy: nothing is
// looked up anywhere. An OpenPGP key counts if it, and its user id's and subkeys' signatures,
// were valid at the time that the signature names, which whoever has the key can choose.
package signature

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/ssh"
)

var (
	// ErrUnsigned: the commit has no signature.
	ErrUnsigned = errors.New("the commit is not signed")
	// ErrSignature: the commit has a signature that does not hold, or is of no known form.
	ErrSignature = errors.New("the commit's signature does not hold")
)

// A Signer is who signed a commit.
type Signer struct {
	Key  string // "ssh SHA256:..." as ssh-keygen prints it, "OpenPGP " and a fingerprint or key id in hex
	Name string // what the file of keys calls it: an ssh key's comment, an OpenPGP user id; "" for unknown keys

	// Known: the key is one of those asked for, and the signature holds. Of an OpenPGP key that is
	// not known, only the id that the signature names is known, and nothing was verified.
	Known bool
}

// String names the signer for people.
func (s *Signer) String() string {
	if s.Name == "" {
		return s.Key
	}
	return fmt.Sprintf("%s (%q)", s.Key, s.Name)
}

const (
	maxSignature = 64 << 10 // bytes of the header

	beginSSH = "-----BEGIN SSH SIGNATURE-----\n"
	beginPGP = "-----BEGIN PGP SIGNATURE-----\n"
)

// Check says who signed a commit, given the content of the commit object. keys may be nil. The error
// is ErrUnsigned or ErrSignature.
func Check(commit []byte, keys *Keys) (*Signer, error) {
	if keys == nil {
		keys = new(Keys)
	}
	signed, signature, err := split(commit)
	switch {
	case err != nil:
		return nil, err
	case signature == nil:
		return nil, ErrUnsigned
	case len(signature) > maxSignature:
		return nil, refuse("it has %d bytes, at most %d are read", len(signature), maxSignature)
	case bytes.HasPrefix(signature, []byte(beginSSH)):
		return checkSSH(signed, signature, keys)
	case bytes.HasPrefix(signature, []byte(beginPGP)):
		return checkPGP(signed, signature, keys)
	}
	return nil, refuse("it is neither one of ssh nor one of OpenPGP")
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrSignature, fmt.Errorf(format, args...))
}

// split takes the signature out of a commit, as git does (parse_buffer_signed_by_header in
// commit.c): the header gpgsig with the lines that continue it, each behind a space. git would
// join several, and drop those of another hash; such commits are refused.
func split(commit []byte) (signed, signature []byte, err error) {
	inside := false
	for rest := commit; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		whole := rest[:len(rest)-len(after)]
		if len(line) == 0 { // the message follows
			return append(signed, rest...), signature, nil
		}
		rest = after
		if inside && line[0] == ' ' {
			signature = append(signature, whole[1:]...)
			continue
		}
		inside = false
		name, value, _ := bytes.Cut(line, []byte(" "))
		switch {
		case string(name) == "gpgsig" && signature == nil:
			inside, signature = true, append(bytes.Clone(value), '\n')
		case bytes.HasPrefix(name, []byte("gpgsig")):
			return nil, nil, refuse("the commit has more than one, or one of an unknown kind: %.40q", name)
		default:
			signed = append(signed, whole...)
		}
	}
	return signed, signature, nil
}

// namespace is what git signs for.
const namespace = "git"

// sshsig is the content of an ssh signature, behind "SSHSIG" (PROTOCOL.sshsig of OpenSSH).
type sshsig struct {
	Version   uint32
	Key       string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

const magic = "SSHSIG"

func checkSSH(signed, armored []byte, keys *Keys) (*Signer, error) {
	block, rest := pem.Decode(armored)
	if block == nil || block.Type != "SSH SIGNATURE" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, refuse("it is not armored as ssh does it")
	}
	body, ok := bytes.CutPrefix(block.Bytes, []byte(magic))
	var s sshsig
	if err := ssh.Unmarshal(body, &s); !ok || err != nil || s.Version != 1 {
		return nil, refuse("it is no ssh signature of version 1")
	}
	if s.Namespace != namespace {
		return nil, refuse("it was made for %.40q, not for git", s.Namespace)
	}
	key, err := ssh.ParsePublicKey([]byte(s.Key))
	if err == nil {
		err = usable(key)
	}
	var sig ssh.Signature
	if err == nil {
		err = ssh.Unmarshal([]byte(s.Signature), &sig)
	}
	if err != nil {
		return nil, refuse("%w", err)
	}
	message, err := sshMessage(&s, signed)
	if err != nil {
		return nil, err
	}
	if sig.Format == ssh.KeyAlgoRSA { // SPEC: the signature algorithm must not use SHA-1
		return nil, refuse("it is an RSA signature with SHA-1")
	}
	if err := key.Verify(message, &sig); err != nil {
		return nil, refuse("%w", err)
	}
	name, known := keys.ssh[string(key.Marshal())]
	return &Signer{Key: "ssh " + ssh.FingerprintSHA256(key), Name: name, Known: known}, nil
}

// sshMessage returns what the key has signed.
func sshMessage(s *sshsig, signed []byte) ([]byte, error) {
	var sum []byte
	switch s.Hash {
	case "sha256":
		h := sha256.Sum256(signed)
		sum = h[:]
	case "sha512":
		h := sha512.Sum512(signed)
		sum = h[:]
	default:
		return nil, refuse("it hashes with %.40q", s.Hash)
	}
	return append([]byte(magic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{
		s.Namespace, s.Reserved, s.Hash, string(sum)})...), nil
}

func checkPGP(signed, armored []byte, keys *Keys) (*Signer, error) {
	block, err := armor.Decode(bytes.NewReader(armored))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, refuse("it is not armored as OpenPGP does it")
	}
	raw, err := io.ReadAll(io.LimitReader(block.Body, maxSignature))
	if err != nil {
		return nil, refuse("%w", err)
	}
	s, err := onePacket(raw)
	if err != nil {
		return nil, err
	}
	if len(keys.pgp.EntitiesById(*s.IssuerKeyId)) == 0 {
		return &Signer{Key: fmt.Sprintf("OpenPGP %016X", *s.IssuerKeyId)}, nil
	}
	_, by, err := openpgp.VerifyDetachedSignature(keys.pgp, bytes.NewReader(signed), bytes.NewReader(raw), nil)
	if err != nil {
		return nil, refuse("%w", err)
	}
	name := ""
	if _, id := by.PrimaryIdentity(s.CreationTime, nil); id != nil {
		name = id.Name
	}
	return &Signer{Key: fmt.Sprintf("OpenPGP %X", by.PrimaryKey.Fingerprint), Name: strings.ToValidUTF8(name, "?"),
		Known: true}, nil
}

// onePacket reads a signature that is one packet, over bytes.
func onePacket(raw []byte) (*packet.Signature, error) {
	r := bytes.NewReader(raw)
	p, err := packet.Read(r)
	if err != nil {
		return nil, refuse("%w", err)
	}
	s, ok := p.(*packet.Signature)
	if !ok || r.Len() > 0 || s.SigType != packet.SigTypeBinary || s.IssuerKeyId == nil {
		return nil, refuse("it is not one OpenPGP signature over bytes that names its key")
	}
	return s, nil
}
