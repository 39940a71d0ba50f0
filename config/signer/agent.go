package signer

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// agentKey is a key that an ssh-agent holds. Each signature has a connection of its own, so that an
// agent may be started again.
type agentKey struct {
	socket  string
	blob    ssh.PublicKey // as the agent knows it
	public  ed25519.PublicKey
	timeout time.Duration
}

// openAgent finds the key with a fingerprint, as ssh-keygen -l prints it.
func openAgent(fingerprint, socket string, timeout time.Duration) (crypto.Signer, error) {
	if !strings.HasPrefix(fingerprint, "SHA256:") {
		return nil, errors.New("it must be ssh-agent:SHA256:..., with the fingerprint that ssh-add -l prints")
	}
	if socket == "" {
		return nil, errors.New("there is no ssh-agent: name its socket with ssh_agent, or set SSH_AUTH_SOCK")
	}
	k := &agentKey{socket: socket, timeout: timeout}
	err := k.with(func(a agent.ExtendedAgent) error {
		keys, err := a.List()
		if err != nil {
			return err
		}
		for _, have := range keys {
			if ssh.FingerprintSHA256(have) == fingerprint {
				return k.take(have)
			}
		}
		return fmt.Errorf("the ssh-agent at %s holds %d keys, and none has this fingerprint: add it with ssh-add", socket,
			len(keys))
	})
	return k, err
}

func (k *agentKey) take(have *agent.Key) error {
	parsed, err := ssh.ParsePublicKey(have.Blob)
	if err != nil {
		return errors.New("the ssh-agent shows a public key that cannot be read")
	}
	crypt, ok := parsed.(ssh.CryptoPublicKey)
	if !ok || parsed.Type() != ssh.KeyAlgoED25519 {
		return fmt.Errorf("it is of type %s; an Ed25519 key (ssh-keygen -t ed25519) is needed", parsed.Type())
	}
	k.blob = parsed
	k.public, _ = crypt.CryptoPublicKey().(ed25519.PublicKey)
	return nil
}

// with connects to the agent. A connection lasts for the time of one signature.
func (k *agentKey) with(f func(agent.ExtendedAgent) error) error {
	conn, err := net.DialTimeout("unix", k.socket, k.timeout)
	if err != nil {
		return fmt.Errorf("the ssh-agent cannot be reached: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(k.timeout)); err != nil {
		return err
	}
	return f(agent.NewClient(conn))
}

// Public implements crypto.Signer.
func (k *agentKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer.
func (k *agentKey) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) (sig []byte, err error) {
	err = k.with(func(a agent.ExtendedAgent) error {
		s, err := a.Sign(k.blob, msg)
		if err != nil {
			return fmt.Errorf("the ssh-agent does not sign: %w", err)
		}
		if s.Format != ssh.KeyAlgoED25519 {
			return fmt.Errorf("the ssh-agent signed with %q", s.Format)
		}
		sig = s.Blob
		return nil
	})
	return sig, err
}
