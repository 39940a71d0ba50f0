package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cratelog/config"
	"cratelog/internal/durable"
)

// maxVaultAnswer bounds an answer of the service, in bytes.
const maxVaultAnswer = 256 << 10

// vaultTries is how often a request is made: a signature whose answer was lost is made again, and is
// the same.
const vaultTries = 3

// vaultKey is one version of a key of a transit engine (Vault's, or OpenBao's). A version is pinned,
// because a rotated key is another key, and the log's is what readers have in their trust files.
type vaultKey struct {
	address string // without a slash at its end
	mount   string
	name    string
	version uint64
	token   func() ([]byte, error)
	http    *http.Client
	pause   time.Duration
	public  ed25519.PublicKey
}

var vaultRef = regexp.MustCompile(`^hashivault://([A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?)(\?version=([1-9][0-9]{0,8}))?$`)

var vaultMount = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,8}$`)

func openVault(path, ref string, s Settings) (crypto.Signer, error) {
	m := vaultRef.FindStringSubmatch(ref)
	if m == nil {
		return nil, errors.New("it must be hashivault://NAME?version=N, with the name of a transit key")
	}
	k := &vaultKey{mount: "transit", name: m[1], pause: 100 * time.Millisecond}
	if s.VaultMount != "" {
		k.mount = s.VaultMount
	}
	var err error
	if k.address, err = vaultAddress(s.Vault); err != nil {
		return nil, err
	}
	if !vaultMount.MatchString(k.mount) {
		return nil, fmt.Errorf("vault_mount is %q; it is a path such as transit, without slashes around it", k.mount)
	}
	if s.VaultToken == "" {
		return nil, errors.New("vault_token_file is missing: name a file with the service's token, mode 0600")
	}
	k.token = func() ([]byte, error) { return config.ReadPassphrase(path, s.VaultToken) }
	k.http = &http.Client{Timeout: s.timeout() / vaultTries,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if m[4] != "" {
		if k.version, err = strconv.ParseUint(m[4], 10, 32); err != nil {
			return nil, err
		}
	}
	return k, k.load()
}

// vaultAddress wants TLS but on this machine: the token goes with each request.
func vaultAddress(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(address, "#") ||
		strings.Trim(u.Path, "/") != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("vault_address is %q; it must be like https://vault.example.org:8200", address)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("vault_address is %q: the token would go over the network in the clear; use https", address)
	}
	return u.Scheme + "://" + u.Host, nil
}

// load reads the public key of the pinned version.
func (k *vaultKey) load() error {
	var answer struct {
		Data struct {
			Type    string                     `json:"type"`
			Derived bool                       `json:"derived"`
			Latest  uint64                     `json:"latest_version"`
			Keys    map[string]json.RawMessage `json:"keys"`
		} `json:"data"`
	}
	if err := k.ask(http.MethodGet, "keys", nil, &answer); err != nil {
		return err
	}
	d := answer.Data
	switch {
	case d.Type != "ed25519":
		return fmt.Errorf("the transit key %s is of type %q; it must be ed25519", k.name, d.Type)
	case d.Derived:
		return fmt.Errorf("the transit key %s is derived: it has no public key of its own", k.name)
	case k.version == 0:
		return fmt.Errorf("say which version of the transit key signs, hashivault://%s?version=%d: a rotated key is "+
			"another key", k.name, d.Latest)
	}
	var version struct {
		Public string `json:"public_key"`
	}
	raw, ok := d.Keys[strconv.FormatUint(k.version, 10)]
	if !ok || json.Unmarshal(raw, &version) != nil {
		return fmt.Errorf("the transit key %s has no version %d; its newest is %d", k.name, k.version, d.Latest)
	}
	public, err := base64.StdEncoding.Strict().DecodeString(version.Public)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("the service shows a public key of the transit key %s that is none", k.name)
	}
	k.public = public
	return nil
}

// Public implements crypto.Signer.
func (k *vaultKey) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer.
func (k *vaultKey) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	body, err := json.Marshal(struct {
		Input   string `json:"input"`
		Version uint64 `json:"key_version"`
	}{base64.StdEncoding.EncodeToString(msg), k.version})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Signature string `json:"signature"`
		} `json:"data"`
	}
	if err := k.ask(http.MethodPost, "sign", body, &answer); err != nil {
		return nil, err
	}
	text, ok := strings.CutPrefix(answer.Data.Signature, fmt.Sprintf("vault:v%d:", k.version))
	if !ok {
		return nil, fmt.Errorf("the service signed with another version than %d of the transit key %s", k.version, k.name)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("the service's signature is not base64")
	}
	return sig, nil
}

// ask makes a request again that was not answered, or answered with 429 or 5xx.
func (k *vaultKey) ask(method, verb string, body []byte, into any) (err error) {
	for try := range vaultTries {
		if try > 0 {
			time.Sleep(k.pause << try)
		}
		var again bool
		if again, err = k.once(method, verb, body, into); !again {
			return err
		}
	}
	return err
}

func (k *vaultKey) once(method, verb string, body []byte, into any) (again bool, err error) {
	token, err := k.token()
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(context.Background(), method,
		fmt.Sprintf("%s/v1/%s/%s/%s", k.address, k.mount, verb, k.name), bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("X-Vault-Token", string(token))
	resp, err := k.http.Do(r)
	if err != nil {
		return true, fmt.Errorf("the key service does not answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := durable.ReadAll(resp.Body, maxVaultAnswer)
	switch {
	case err != nil:
		return true, fmt.Errorf("the key service's answer: %w", err)
	case resp.StatusCode == http.StatusForbidden:
		return false, fmt.Errorf("the key service answered %s: the token does not allow to %s with this key", resp.Status,
			verb)
	case resp.StatusCode == http.StatusNotFound:
		return false, fmt.Errorf("the key service answered %s: it has no transit key %s below %s", resp.Status, k.name,
			k.mount)
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500,
			fmt.Errorf("the key service answered %s", resp.Status)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return false, errors.New("the key service's answer is not the JSON of a transit engine")
	}
	return false, nil
}
