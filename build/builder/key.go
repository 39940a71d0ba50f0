// Package builder is what a member of a set of builders works with: his key with its journal, the
// enrollment by which he gets into a set, his attestations, and a service that rebuilds programs
// and attests them.
//
// # Files
//
// A hidden member's key is a file for its owner only, of the two lines
//
//	cratelog-builder-secret/v1
//	<secret, 64 lower-case hex digits>
//
// A named one's is a private key in PEM, as package config reads them. Beside a KEY stand
//
//   - KEY.lock, which the process that uses the key holds locked, and
//   - KEY.journal, which says what was attested, so that it is never contradicted: the lines
//     "cratelog-builder-journal/v1", "key <id>" and, for each request, "<request> <result>".
//
// Whoever says two things about one request unmasks himself. So the journal is on the disk before
// a proof is made; a key without its journal, or with another key's, is not used; and before each
// attestation the log is asked for all that was said about the crate, and searched for what
// the journal does not know. The log is never asked for a tag.
package builder

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"filippo.io/mldsa"

	"cratelog/build"
	"cratelog/config"
	"cratelog/internal/durable"
	"cratelog/internal/flock"
)

const secretHeader = "cratelog-builder-secret/v1\n"

// Names of the files beside a key.
const (
	LockExt    = ".lock"
	JournalExt = ".journal"
)

// A Type says which key Generate makes.
type Type string

// The types of keys.
const (
	Secret  Type = "hidden"    // of a member of a hidden set
	Ed25519 Type = "ed25519"   // of a member of a named set
	MLDSA44 Type = "ml-dsa-44" // the same, post-quantum
)

// Generate makes a key file and its journal. It never overwrites a file.
func Generate(path string, t Type) error {
	if _, err := os.Lstat(path + JournalExt); err == nil {
		return fmt.Errorf("%s is the journal of a key, and is left alone; choose another name for the new key",
			path+JournalExt)
	}
	var err error
	switch t {
	case Secret:
		err = generateSecret(path)
	case Ed25519:
		err = config.GenerateKey(path)
	case MLDSA44:
		err = config.GenerateMLDSAKey(path)
	default:
		return fmt.Errorf("there is no type %q of keys; use %s or %s", t, Ed25519, MLDSA44)
	}
	if err != nil {
		return err
	}
	k, err := read(path)
	if err != nil {
		return err
	}
	return newJournal(path+JournalExt, k.ID())
}

func generateSecret(path string) error {
	s, err := build.NewSecret()
	if err != nil {
		return err
	}
	b := s.Bytes()
	if err := durable.WriteNew(path, fmt.Appendf(nil, "%s%x\n", secretHeader, b), 0o600); err != nil {
		return fmt.Errorf("the key file %s is not written; it may exist already, and is then left alone: %w", path, err)
	}
	return nil
}

// A Key is a builder's key in use: no other process uses it. It is not safe for concurrent use.
type Key struct {
	Kind build.Kind // of the sets that it can be a member of

	path    string
	secret  build.Secret  // of Kind Hidden
	signer  crypto.Signer // of Kind Named
	lock    *os.File      // nil after Peek
	journal *journal
}

// Format prints the key's file, whatever the verb: the fields hold secrets.
func (k *Key) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "(the builder's key %s)", k.path) }

// Open opens a key that Generate made, with its lock and its journal. Close it.
func Open(path string) (*Key, error) {
	k, err := read(path)
	if err != nil {
		return nil, err
	}
	if k.lock, err = flock.Take(path + LockExt); errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("the key %s is in use by another process; two at a time could contradict each other: "+
			"wait for it, or stop it", path)
	} else if err != nil {
		return nil, err
	}
	if k.journal, err = readJournal(path+JournalExt, k.ID()); err != nil {
		k.lock.Close()
		return nil, err
	}
	return k, nil
}

// Peek opens a key to look at what was said with it, while another process may use it: Attest, Enroll and
// Adopt need Open.
func Peek(path string) (*Key, error) {
	k, err := read(path)
	if err != nil {
		return nil, err
	}
	k.journal, err = readJournal(path+JournalExt, k.ID())
	return k, err
}

// Close lets another process use the key.
func (k *Key) Close() error {
	if k.lock == nil {
		return nil
	}
	return k.lock.Close()
}

// locked returns nil if no other process uses the key.
func (k *Key) locked() error {
	if k.lock == nil {
		return errors.New("the key was opened to be looked at only")
	}
	return nil
}

// read reads a key file without its lock.
func read(path string) (*Key, error) {
	text, err := config.ReadKeyFile(path)
	if err != nil {
		return nil, err
	}
	k := &Key{Kind: build.Named, path: path}
	if !bytes.HasPrefix(text, []byte(secretHeader)) {
		k.signer, err = config.ReadKey(path)
		return k, err
	}
	k.Kind = build.Hidden
	digits := bytes.TrimSuffix(text[len(secretHeader):], []byte("\n"))
	raw, err := hex.DecodeString(string(digits))
	if err != nil || len(raw) != 32 || !bytes.Equal(fmt.Appendf(nil, "%s%x\n", secretHeader, raw), text) {
		// What it holds is not quoted: it could be the secret.
		return nil, fmt.Errorf("the key file %s must hold the line %q and one of 64 lower-case hex digits", path,
			secretHeader[:len(secretHeader)-1])
	}
	if k.secret, err = build.ParseSecret([32]byte(raw)); err != nil {
		return nil, fmt.Errorf("the key file %s: %w", path, err)
	}
	return k, nil
}

// ID tells keys apart: the public value of a hidden member, the SHA-256 of a named one's public key.
func (k *Key) ID() [32]byte {
	if k.Kind == build.Hidden {
		return k.secret.Public()
	}
	v, err := build.NewVKey("id", k.signer.Public())
	if err != nil {
		panic(err) // of a key that config.ReadKey does not return
	}
	return sha256.Sum256([]byte(v.String()))
}

// Type returns which key it is.
func (k *Key) Type() Type {
	if k.Kind == build.Hidden {
		return Secret
	}
	if _, ok := k.signer.(*mldsa.PrivateKey); ok {
		return MLDSA44
	}
	return Ed25519
}

// Member returns what stands in a set for this key, under a name.
func (k *Key) Member(name, contact string) (build.Member, error) {
	m := build.Member{Name: name, Contact: contact}
	if err := errors.Join(build.CheckMember(name), build.CheckContact(contact)); err != nil {
		return m, err
	}
	if k.Kind == build.Hidden {
		m.Public = k.secret.Public()
		return m, nil
	}
	v, err := build.NewVKey(name, k.signer.Public())
	if err != nil {
		return m, err
	}
	m.VKey = v.String()
	return m, nil
}

// Find returns the index of this key's member in a set.
func (k *Key) Find(s *build.Set) (int, error) {
	for i, m := range s.Members {
		if mine, err := k.Member(m.Name, m.Contact); err == nil && s.Kind == k.Kind && mine == m {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the set %s (%s) has no member with the key %s (%s): ask who keeps the set to enroll it with "+
		"\"cargo zkp builder enroll\", or use the newest file of the set", s.Name, s.Kind, k.path, k.Kind)
}

// tag returns the key's tag for a request, as a member of a set.
func (k *Key) tag(m build.Member, request [32]byte) [32]byte {
	if k.Kind == build.Hidden {
		return k.secret.Tag(request)
	}
	return build.NamedTag(request, m.VKey)
}
