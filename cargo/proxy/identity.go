package proxy

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cratelog/internal/durable"
)

// Identity is what a running proxy says of itself.
//
// Every user of a machine can listen on a port. A proxy shows that it is its user's own
// by a key that lies in its directory, readable by that user only: the client
// sends a nonce, and the answer carries HMAC-SHA-256 under that key over
// "cratelog/proxy-identity/v1\n" and a JSON list of nonce, registry, policy and whether
// it is lasting.
type Identity struct {
	Registry string // URL of the registry's index
	Policy   string // Config.Policy
	Lasting  bool   // Config.Lasting
}

type identityAnswer struct {
	Identity
	MAC string // in hex
}

const (
	keyFile  = "identity.key"
	keySize  = 32
	identity = "cratelog/proxy-identity/v1\n"
)

// ErrNotOurs: what listens is not a proxy of this user.
var ErrNotOurs = errors.New("what listens there is not a cratelog proxy of yours")

// identityKey reads the key of a proxy's directory, and makes it the first time.
func identityKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	key := make([]byte, keySize)
	rand.Read(key) // never fails
	// Of two proxies that start at one time, both use the key of the first.
	if err := durable.WriteNew(path, key, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("the proxy's key cannot be made: %w", err)
	}
	return readKey(path)
}

func readKey(path string) ([]byte, error) {
	key, err := durable.Read(path, 1<<10)
	if err != nil {
		return nil, err
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("%s has %d bytes instead of %d: remove it, and a new one is made", path, len(key), keySize)
	}
	return key, nil
}

func (i Identity) mac(key []byte, nonce string) string {
	h := hmac.New(sha256.New, key)
	io.WriteString(h, identity)
	// Strings and a bool, to a hash: neither fails.
	json.NewEncoder(h).Encode([]any{nonce, i.Registry, i.Policy, i.Lasting})
	return hex.EncodeToString(h.Sum(nil))
}

func (p *Proxy) serveIdentity(w http.ResponseWriter, r *http.Request) {
	nonce := r.URL.Query().Get("nonce")
	if b, err := hex.DecodeString(nonce); err != nil || len(b) < 16 || len(b) > 64 {
		refuse(w, http.StatusBadRequest, "cratelog: the nonce must be 16 to 64 bytes in hex")
		return
	}
	i := Identity{p.Upstream.URL, p.Policy, p.Lasting}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(identityAnswer{i, i.mac(p.key, nonce)})
}

// Identify asks what listens at base whether it is a proxy that works in dir, and
// returns what it serves. The error is ErrNotOurs if it is something else.
func Identify(ctx context.Context, base, dir string) (Identity, error) {
	key, err := readKey(filepath.Join(dir, keyFile))
	if errors.Is(err, os.ErrNotExist) {
		return Identity{}, fmt.Errorf("%w: %s has never been used", ErrNotOurs, dir)
	} else if err != nil {
		return Identity{}, err
	}
	random := make([]byte, 32)
	rand.Read(random)
	nonce := hex.EncodeToString(random)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/identity?nonce="+nonce, nil)
	if err != nil {
		return Identity{}, err
	}
	// Never through a proxy of the environment: this is our own machine.
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotOurs, err)
	}
	defer resp.Body.Close()
	b, err := durable.ReadAll(resp.Body, 64<<10)
	var a identityAnswer
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(b, &a) != nil {
		return Identity{}, ErrNotOurs
	}
	if !hmac.Equal([]byte(a.MAC), []byte(a.mac(key, nonce))) {
		return Identity{}, fmt.Errorf("%w: it does not have the key in %s", ErrNotOurs, dir)
	}
	return a.Identity, nil
}
