package signer

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/config"
	"cratelog/internal/fixture"
)

func fatalIf(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	fatalIf(t, os.WriteFile(path, []byte(text), mode))
}

// wantSigns wants a key to sign what verifies under its own public key, for the log and in general.
func wantSigns(t *testing.T, key crypto.Signer) {
	t.Helper()
	for _, msg := range []string{"", "hello", strings.Repeat("x", 5000)} {
		sig, err := key.Sign(nil, []byte(msg), crypto.Hash(0))
		fatalIf(t, err)
		if !ed25519.Verify(key.Public().(ed25519.PublicKey), []byte(msg), sig) {
			t.Errorf("the signature of %d bytes does not verify", len(msg))
		}
	}
	signer, _, err := config.NewLogSigner(key, "log.example")
	fatalIf(t, err)
	if _, err := signer.Sign([]byte("log.example\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")); err != nil {
		t.Error(err)
	}
}

// wantNoKey wants Open to refuse with the words.
func wantNoKey(t *testing.T, path, ref string, s Settings, words ...string) {
	t.Helper()
	_, err := Open(path, ref, s)
	if err == nil {
		t.Errorf("%s opened", ref)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v\nshould contain %q", ref, err, w)
		}
	}
}

func TestAFileOpensPlainAndEncryptedAndAsACredential(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "logd.toml")
	fatalIf(t, config.GenerateKey(filepath.Join(dir, "plain.pem")))
	fatalIf(t, config.GenerateEncryptedKey(filepath.Join(dir, "locked.pem"), []byte("a pass phrase")))
	write(t, filepath.Join(dir, "pass"), "a pass phrase\n", 0o600)
	for _, ref := range []string{"plain.pem", "locked.pem", filepath.Join(dir, "locked.pem")} {
		key, err := Open(settings, ref, Settings{Passphrase: "pass"})
		fatalIf(t, err)
		wantSigns(t, key)
	}
	wantNoKey(t, settings, "locked.pem", Settings{}, "locked.pem is encrypted", "name a file that holds it with key_passphrase_file")
	wantNoKey(t, settings, "absent.pem", Settings{}, "absent.pem")
	for name, c := range map[string]struct{ text, want string }{
		"wrong": {"another\n", "locked.pem cannot be decrypted"}, "empty": {"\n", "is empty"}, "two": {"a\nb\n", "one line"},
	} {
		write(t, filepath.Join(dir, name), c.text, 0o600)
		wantNoKey(t, settings, "locked.pem", Settings{Passphrase: name}, c.want)
	}
	write(t, filepath.Join(dir, "open"), "a pass phrase\n", 0o644)
	wantNoKey(t, settings, "locked.pem", Settings{Passphrase: "open"}, "chmod 600")

	wantNoKey(t, settings, "credential:locked.pem", Settings{}, "CREDENTIALS_DIRECTORY", "LoadCredential=")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	key, err := Open(settings, "credential:locked.pem", Settings{Passphrase: "credential:pass"})
	fatalIf(t, err)
	wantSigns(t, key)
	for _, ref := range []string{"credential:", "credential:../x", "credential:.."} {
		wantNoKey(t, settings, ref, Settings{}, "credential")
	}
}

func TestKeyServicesWithoutEd25519AreRefusedInWords(t *testing.T) {
	for _, ref := range []string{"awskms:///alias/x", "gcpkms://projects/x", "azurekms://v/k"} {
		wantNoKey(t, "logd.toml", ref, Settings{}, ref, "make no Ed25519 signatures through sigstore 1.10", "hashivault://")
	}
}

// TestAKeyInAnSSHAgentSigns, also after the agent was started again.
func TestAKeyInAnSSHAgentSigns(t *testing.T) {
	fixture.Need(t, "ssh-agent", "ssh-add", "ssh-keygen")
	dir, err := os.MkdirTemp("", "a") // a socket's name is short
	fatalIf(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	sock, file := filepath.Join(dir, "s"), filepath.Join(dir, "k")
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+sock)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return string(out)
	}
	start := func() *exec.Cmd {
		t.Helper()
		os.Remove(sock)
		cmd := exec.Command("ssh-agent", "-D", "-a", sock)
		fatalIf(t, cmd.Start())
		for range 600 {
			if _, err := os.Stat(sock); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return cmd
	}
	stop := func(cmd *exec.Cmd) {
		cmd.Process.Kill()
		cmd.Wait()
	}
	cmd := start()
	t.Cleanup(func() { stop(cmd) })
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file)
	run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", file+"rsa")
	run("ssh-add", "-q", file)
	run("ssh-add", "-q", file+"rsa")
	print := strings.Fields(run("ssh-keygen", "-lf", file+".pub"))[1]
	s := Settings{Agent: sock}
	key, err := Open("logd.toml", "ssh-agent:"+print, s)
	fatalIf(t, err)
	wantSigns(t, key)
	t.Setenv("SSH_AUTH_SOCK", sock)
	key2, err := Open("logd.toml", "ssh-agent:"+print, Settings{})
	fatalIf(t, err)
	wantSigns(t, key2)

	wantNoKey(t, "logd.toml", "ssh-agent:"+strings.Fields(run("ssh-keygen", "-lf", file+"rsa.pub"))[1], s, "an Ed25519 key")
	wantNoKey(t, "logd.toml", "ssh-agent:SHA256:AAAA", s, "none has this fingerprint", "ssh-add")
	wantNoKey(t, "logd.toml", "ssh-agent:", s, "ssh-add -l")

	stop(cmd)
	if _, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("without an agent: %v", err)
	}
	cmd = start()
	if _, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); err == nil || !strings.Contains(err.Error(), "does not sign") {
		t.Errorf("an agent without the key: %v", err)
	}
	run("ssh-add", "-q", file)
	wantSigns(t, key)
}

// elsewhere is a signer that does what a test tells it.
type elsewhere struct {
	ed25519.PrivateKey
	sign func(msg []byte) ([]byte, error)
}

func (e elsewhere) Sign(_ io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	return e.sign(msg)
}

// TestASignerThatHangsHangsNobody: every call ends after its time, one call at most is left behind, and
// the signer is used again as soon as it answers.
func TestASignerThatHangsHangsNobody(t *testing.T) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	gate, calls := make(chan struct{}), make(chan struct{}, 100)
	b, err := newBounded("x:y", elsewhere{private, func(msg []byte) ([]byte, error) {
		calls <- struct{}{}
		<-gate
		return ed25519.Sign(private, msg), nil
	}}, 20*time.Millisecond)
	fatalIf(t, err)
	for range 5 {
		if _, err := b.Sign(nil, []byte("m"), crypto.Hash(0)); !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), "within 20ms") {
			t.Fatalf("%v", err)
		}
	}
	if len(calls) != 1 {
		t.Errorf("%d calls are under way, want 1", len(calls))
	}
	close(gate)
	b.timeout = time.Minute
	wantSigns(t, b)
}

func TestASignatureThatDoesNotVerifyNeverLeaves(t *testing.T) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, sign := range map[string]func(msg []byte) ([]byte, error){
		"another message": func(msg []byte) ([]byte, error) { return ed25519.Sign(private, append(msg, 'x')), nil },
		"nothing":         func([]byte) ([]byte, error) { return nil, nil },
		"another key": func(msg []byte) ([]byte, error) {
			return ed25519.Sign(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)), msg), nil
		},
	} {
		b, err := newBounded("x:y", elsewhere{private, sign}, time.Minute)
		fatalIf(t, err)
		if sig, err := b.Sign(nil, []byte("m"), crypto.Hash(0)); sig != nil || err == nil || !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("%s: %x, %v", name, sig, err)
		}
	}
	if _, err := (&bounded{timeout: time.Minute}).Sign(nil, make([]byte, 64), crypto.SHA512); err == nil {
		t.Error("signed a hash")
	}
}

// transit is a double of the endpoints keys and sign of a transit engine, with true Ed25519 keys.
type transit struct {
	*httptest.Server
	mu       sync.Mutex
	versions []ed25519.PrivateKey
	lose     int  // answers that get lost after the work is done
	signed   int  // signatures made
	newest   bool // signs with the newest version, whatever is asked for
	fail     int  // status to answer with; 0: none
}

func newTransit(t *testing.T) *transit {
	s := &transit{}
	s.rotate(t)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *transit) rotate(t *testing.T) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	fatalIf(t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions = append(s.versions, key)
}

// do changes the double between requests.
func (s *transit) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("X-Vault-Token") != "the token" {
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	}
	if s.fail != 0 {
		w.WriteHeader(s.fail)
		return
	}
	var data any
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/transit/keys/log":
		keys := map[string]any{}
		for i, k := range s.versions {
			keys[fmt.Sprint(i+1)] = map[string]any{"name": "ed25519", "creation_time": "2026-01-01T00:00:00Z",
				"public_key": base64.StdEncoding.EncodeToString(k[32:])}
		}
		data = map[string]any{"type": "ed25519", "derived": false, "latest_version": len(s.versions), "keys": keys}
	case "GET /v1/transit/keys/rsa":
		data = map[string]any{"type": "rsa-2048", "latest_version": 1, "keys": map[string]any{"1": map[string]any{"public_key": "x"}}}
	case "POST /v1/transit/sign/log":
		var q struct {
			Input   []byte `json:"input"`
			Version int    `json:"key_version"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Version < 0 || q.Version > len(s.versions) {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		if q.Version == 0 || s.newest {
			q.Version = len(s.versions)
		}
		s.signed++
		data = map[string]any{"signature": fmt.Sprintf("vault:v%d:%s", q.Version,
			base64.StdEncoding.EncodeToString(ed25519.Sign(s.versions[q.Version-1], q.Input)))}
	default:
		http.Error(w, `{"errors":[]}`, http.StatusNotFound)
		return
	}
	if s.lose > 0 {
		s.lose--
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(map[string]any{"data": data})
}

func TestAKeyInATransitEngineSigns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logd.toml")
	write(t, filepath.Join(dir, "token"), "the token\n", 0o600)
	s := newTransit(t)
	set := Settings{Vault: s.URL, VaultToken: "token"}
	key, err := Open(path, "hashivault://log?version=1", set)
	fatalIf(t, err)
	wantSigns(t, key)

	t.Run("answers that get lost", func(t *testing.T) {
		s.do(func() { s.lose = 2 })
		var before, after int
		s.do(func() { before = s.signed })
		wantSigns(t, key)
		if s.do(func() { after = s.signed }); after < before+5 {
			t.Errorf("%d signatures: the double lost nothing", after-before)
		}
		s.do(func() { s.lose = 100 })
		if _, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Errorf("%v", err)
		}
		s.do(func() { s.lose = 0 })
	})
	t.Run("a rotated key", func(t *testing.T) {
		first := key.Public().(ed25519.PublicKey)
		s.rotate(t)
		wantSigns(t, key)
		again, err := Open(path, "hashivault://log?version=1", set)
		fatalIf(t, err)
		if !first.Equal(again.Public()) {
			t.Error("version 1 has another key after the rotation")
		}
		second, err := Open(path, "hashivault://log?version=2", set)
		fatalIf(t, err)
		if first.Equal(second.Public()) {
			t.Error("version 2 has the key of version 1")
		}
		wantSigns(t, second)
		s.do(func() { s.newest = true })
		if sig, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); sig != nil || err == nil || !strings.Contains(err.Error(), "another version than 1") {
			t.Errorf("%x, %v", sig, err)
		}
		s.do(func() { s.newest = false })
	})
	t.Run("a service in trouble", func(t *testing.T) {
		for status, want := range map[int]string{503: "503", 429: "429", 400: "400", 204: "204"} {
			s.do(func() { s.fail = status })
			if sig, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); sig != nil || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d: %x, %v", status, sig, err)
			}
		}
		s.do(func() { s.fail = 0 })
		write(t, filepath.Join(dir, "token"), "an old token\n", 0o600)
		if _, err := key.Sign(nil, []byte("x"), crypto.Hash(0)); err == nil || !strings.Contains(err.Error(), "the token does not allow") {
			t.Errorf("%v", err)
		}
		write(t, filepath.Join(dir, "token"), "the token\n", 0o600)
		wantSigns(t, key)
	})
	for ref, want := range map[string]string{
		"hashivault://log":             "hashivault://log?version=2: a rotated key is another key",
		"hashivault://log?version=3":   "has no version 3; its newest is 2",
		"hashivault://log?version=0":   "hashivault://NAME?version=N",
		"hashivault://log/../x":        "hashivault://NAME?version=N",
		"hashivault://rsa?version=1":   `is of type "rsa-2048"`,
		"hashivault://other?version=1": "no transit key other",
	} {
		wantNoKey(t, path, ref, set, want)
	}
	for address, want := range map[string]string{
		"": "vault_address", "http://vault.example:8200": "in the clear", "https://u@vault.example": "vault_address", "vault.example": "vault_address",
	} {
		wantNoKey(t, path, "hashivault://log?version=1", Settings{Vault: address, VaultToken: "token"}, want)
	}
	wantNoKey(t, path, "hashivault://log?version=1", Settings{Vault: s.URL}, "vault_token_file is missing")
}

func TestWithoutItsBuildTagADeviceIsRefusedInWords(t *testing.T) {
	if _, err := openToken("logd.toml", "token=x;object=y"); err == nil {
		t.Error("opened")
	}
}
