// Package signer opens the private key that a setting names: a file, plain or encrypted, a credential
// of systemd, a key in an ssh-agent, in a device (PKCS#11), or in a transit service.
//
// A setting is one of
//
//	NAME.pem                                    file, mode 0600: PKCS#8, or encrypted (see config.ParseKey)
//	credential:NAME                             the same, in systemd's credentials directory
//	ssh-agent:SHA256:FINGERPRINT                Ed25519 key that an ssh-agent holds
//	pkcs11:token=T;object=O?module-path=FILE&pin-source=file:FILE
//	                                            Ed25519 key of a device (RFC 7512); needs the build tag pkcs11
//	hashivault://NAME?version=N                 Ed25519 key of a transit engine, pinned to one version
//
// awskms://, gcpkms:// and azurekms:// are refused: see [Open].
//
// What signs elsewhere is bounded: one signature at a time, each within a time, and each is verified with
// the public key that Open has seen before it is given away.
package signer

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cratelog/config"
)

// defaultTimeout is how long a device or a service may take for one signature.
const defaultTimeout = 10 * time.Second

// ErrSilent is wrapped by the error for a device or service that does not answer in time.
var ErrSilent = errors.New("the signer does not answer")

// Settings are what keys need beside their names. They are part of a program's settings file.
type Settings struct {
	// Passphrase names the file with the passphrase of encrypted keys, mode 0600, or a credential.
	// One newline at its end is not part of it.
	Passphrase string `toml:"key_passphrase_file"`
	// Timeout is for one signature of a device or a service; 0: 10 s.
	Timeout config.Duration `toml:"signer_timeout"`
	// Agent is the socket of the ssh-agent; "": that of SSH_AUTH_SOCK.
	Agent string `toml:"ssh_agent"`
	// Vault is the address of the transit service, VaultToken a file with its token, mode 0600, or a
	// credential, read for each signature; VaultMount is where the engine is mounted, "": transit.
	Vault      string `toml:"vault_address"`
	VaultToken string `toml:"vault_token_file"`
	VaultMount string `toml:"vault_mount"`
}

// Open opens the key that ref names. File names are relative to the directory of the settings file at
// path. The public key of what it returns does not change.
//
// Errors say what is wrong with the setting, and are for the operator only.
func Open(path, ref string, s Settings) (crypto.Signer, error) {
	scheme, rest, _ := strings.Cut(ref, ":")
	var key crypto.Signer
	var err error
	switch scheme {
	case "ssh-agent":
		key, err = openAgent(rest, cmp.Or(s.Agent, os.Getenv("SSH_AUTH_SOCK")), s.timeout())
	case "pkcs11":
		key, err = openToken(path, rest)
	case "hashivault":
		key, err = openVault(path, ref, s)
	case "awskms", "gcpkms", "azurekms":
		err = errors.New("the key services of AWS, Google and Azure make no Ed25519 signatures through sigstore 1.10, and " +
			"checkpoints need those: use an encrypted file, ssh-agent:, pkcs11: or hashivault://")
	default:
		return s.openFile(path, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", ref, err)
	}
	return newBounded(ref, key, s.timeout())
}

func (s Settings) timeout() time.Duration { return cmp.Or(s.Timeout.Duration, defaultTimeout) }

// openFile opens a PEM file. A passphrase is for those that are encrypted: with several keys not all
// need be.
func (s Settings) openFile(path, ref string) (crypto.Signer, error) {
	name, text, err := config.ReadSecret(path, ref)
	if err != nil {
		return nil, err
	}
	key, err := config.ParseKey(text, nil)
	if errors.Is(err, config.ErrPassphrase) && s.Passphrase != "" {
		var pass []byte
		if pass, err = config.ReadPassphrase(path, s.Passphrase); err != nil {
			return nil, err
		}
		key, err = config.ParseKey(text, pass)
	} else if errors.Is(err, config.ErrPassphrase) {
		err = fmt.Errorf("%w: name a file that holds it with key_passphrase_file (-passphrase-file on a command line)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s %w", name, err)
	}
	return key, nil
}

// bounded is a signer elsewhere. It implements crypto.Signer for messages, as Ed25519 does.
type bounded struct {
	ref     string
	public  ed25519.PublicKey
	inner   crypto.Signer
	timeout time.Duration
	turn    chan struct{} // holds one token while a signature is made, also after its time is over
}

var _ crypto.Signer = (*bounded)(nil)

func newBounded(ref string, inner crypto.Signer, timeout time.Duration) (*bounded, error) {
	public, ok := inner.Public().(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("key %q is of type %T; an Ed25519 key is needed", ref, inner.Public())
	}
	return &bounded{ref, public, inner, timeout, make(chan struct{}, 1)}, nil
}

// Public implements crypto.Signer.
func (b *bounded) Public() crypto.PublicKey { return b.public }

// Sign implements crypto.Signer. One call that hangs holds up the next ones for their time, and no
// more than one is ever left behind.
func (b *bounded) Sign(rand io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != 0 {
		return nil, fmt.Errorf("key %q signs messages, not their hashes", b.ref)
	}
	over := time.NewTimer(b.timeout)
	defer over.Stop()
	silent := fmt.Errorf("%w within %v: key %q", ErrSilent, b.timeout, b.ref)
	select {
	case b.turn <- struct{}{}:
	case <-over.C:
		return nil, silent
	}
	type result struct {
		sig []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-b.turn }()
		sig, err := b.inner.Sign(rand, msg, opts)
		done <- result{sig, err}
	}()
	select {
	case <-over.C:
		return nil, silent
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("key %q: %w", b.ref, r.err)
		}
		if !ed25519.Verify(b.public, msg, r.sig) {
			return nil, fmt.Errorf("key %q: the signer returned a signature that does not verify", b.ref)
		}
		return r.sig, nil
	}
}
