//go:build pkcs11

package signer

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/pkcs11"

	"cratelog/config"
)

// Of PKCS #11 version 3.0.
const (
	ckkECEdwards = 0x40
	ckmEdDSA     = 0x1057
)

// token is a key in a device. A session that fails is thrown away, and the next signature opens another.
type token struct {
	uri    tokenURI
	pin    func() ([]byte, error)
	public ed25519.PublicKey

	mu      sync.Mutex
	ctx     *pkcs11.Ctx // owned by mu; loaded once
	session pkcs11.SessionHandle
	private pkcs11.ObjectHandle
	open    bool // owned by mu; whether session and private are good
}

// tokenURI is what is used of a pkcs11 URI (RFC 7512).
type tokenURI struct{ token, object, id, module, pin string }

func parseTokenURI(text string) (u tokenURI, err error) {
	path, query, _ := strings.Cut(text, "?")
	fields := map[string]*string{"token": &u.token, "object": &u.object, "id": &u.id}
	more := map[string]*string{"module-path": &u.module, "pin-source": &u.pin}
	for _, part := range []struct {
		text, sep string
		fields    map[string]*string
	}{{path, ";", fields}, {query, "&", more}} {
		for attribute := range strings.SplitSeq(part.text, part.sep) {
			name, value, _ := strings.Cut(attribute, "=")
			field := part.fields[name]
			if attribute == "" && part.sep == "&" {
				continue
			}
			if field == nil || *field != "" {
				return u, fmt.Errorf("the attribute %q is not known or stands twice; known are token, object, id, module-path and "+
					"pin-source (a PIN never stands in a setting)", name)
			}
			if *field, err = url.PathUnescape(value); err != nil || *field == "" {
				return u, fmt.Errorf("the value of %q is empty or not percent-encoded", name)
			}
		}
	}
	switch {
	case u.token == "" || u.object == "" && u.id == "":
		return u, errors.New("it must name a token, and an object or an id")
	case !filepath.IsAbs(u.module):
		return u, errors.New("module-path must be the absolute path of the device's PKCS#11 library")
	case u.pin == "":
		return u, errors.New("pin-source is missing: name a file with the PIN, mode 0600, or a credential")
	}
	return u, nil
}

func openToken(path, text string) (crypto.Signer, error) {
	u, err := parseTokenURI(text)
	if err != nil {
		return nil, err
	}
	ctx := pkcs11.New(u.module)
	if ctx == nil {
		return nil, fmt.Errorf("%s is no PKCS#11 library that can be loaded", u.module)
	}
	if err := ctx.Initialize(); err != nil && !isToken(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return nil, fmt.Errorf("%s: %w", u.module, err)
	}
	pin := func() ([]byte, error) { return config.ReadPassphrase(path, strings.TrimPrefix(u.pin, "file:")) }
	t := &token{uri: u, ctx: ctx, pin: pin}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.connect(); err != nil {
		return nil, err
	}
	return t, t.load()
}

func isToken(err error, codes ...pkcs11.Error) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && slices.Contains(codes, e)
}

// connect opens a session and finds the private key. It is called with mu held.
func (t *token) connect() error {
	slot, err := t.slot()
	if err != nil {
		return err
	}
	if t.session, err = t.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
		return fmt.Errorf("the token %q opens no session: %w", t.uri.token, err)
	}
	pin, err := t.pin()
	if err == nil {
		err = t.ctx.Login(t.session, pkcs11.CKU_USER, string(pin))
		if isToken(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
			err = nil
		}
	}
	if err == nil {
		t.private, err = t.find(pkcs11.CKO_PRIVATE_KEY)
	}
	if err != nil {
		t.ctx.CloseSession(t.session)
		return fmt.Errorf("the token %q: %w", t.uri.token, err)
	}
	t.open = true
	return nil
}

func (t *token) slot() (uint, error) {
	slots, err := t.ctx.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var found []uint
	for _, slot := range slots {
		if info, err := t.ctx.GetTokenInfo(slot); err == nil && strings.TrimRight(info.Label, " \x00") == t.uri.token {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("there are %d tokens with the label %q among %d; one is needed", len(found), t.uri.token,
			len(slots))
	}
	return found[0], nil
}

// find finds the one Ed25519 object of a class.
func (t *token) find(class uint) (pkcs11.ObjectHandle, error) {
	want := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, ckkECEdwards)}
	if t.uri.object != "" {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_LABEL, t.uri.object))
	}
	if t.uri.id != "" {
		want = append(want, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(t.uri.id)))
	}
	if err := t.ctx.FindObjectsInit(t.session, want); err != nil {
		return 0, err
	}
	found, _, err := t.ctx.FindObjects(t.session, 2)
	if err := errors.Join(err, t.ctx.FindObjectsFinal(t.session)); err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("it has not exactly one Ed25519 key with this label and id, public and private")
	}
	return found[0], nil
}

// load reads the public key, whose point is a DER octet string, or as some devices do it, bare.
func (t *token) load() error {
	object, err := t.find(pkcs11.CKO_PUBLIC_KEY)
	if err != nil {
		return fmt.Errorf("the token %q: %w", t.uri.token, err)
	}
	attributes, err := t.ctx.GetAttributeValue(t.session, object,
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil || len(attributes) != 1 {
		return fmt.Errorf("the token %q does not show the public key: %w", t.uri.token, err)
	}
	point := attributes[0].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	if len(point) != ed25519.PublicKeySize {
		return fmt.Errorf("the token %q shows a public key of %d bytes; an Ed25519 key has 32", t.uri.token, len(point))
	}
	t.public = bytes.Clone(point)
	return nil
}

// Public implements crypto.Signer.
func (t *token) Public() crypto.PublicKey { return t.public }

// Sign implements crypto.Signer.
func (t *token) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sig, err := t.sign(msg)
	if err != nil {
		// The device may have been away for a moment: once more, in a session of its own.
		t.ctx.CloseSession(t.session)
		t.open = false
		sig, err = t.sign(msg)
	}
	return sig, err
}

func (t *token) sign(msg []byte) ([]byte, error) {
	if !t.open {
		if err := t.connect(); err != nil {
			return nil, err
		}
	}
	if err := t.ctx.SignInit(t.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmEdDSA, nil)}, t.private); err != nil {
		return nil, fmt.Errorf("the token %q: %w", t.uri.token, err)
	}
	sig, err := t.ctx.Sign(t.session, msg)
	if err != nil {
		return nil, fmt.Errorf("the token %q: %w", t.uri.token, err)
	}
	return sig, nil
}
