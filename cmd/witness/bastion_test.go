package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/torchwood"
	reverse "filippo.io/torchwood/bastion"
	"golang.org/x/mod/sumdb/note"

	"cratelog/config"
	"cratelog/internal/testlog"
)

// testBastion is torchwood's, which lets one key in. Clients reach it at url.
type testBastion struct {
	address, roots, url string
	mu                  sync.Mutex
	conns               []net.Conn
}

func startBastion(t *testing.T, allowed ed25519.PublicKey) *testBastion {
	t.Helper()
	cert, root := serverCertificate(t)
	b := testlog.Must(reverse.New(&reverse.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		AllowedBackend: func(hash [sha256.Size]byte) bool { return hash == sha256.Sum256(allowed) },
		Log:            slog.New(slog.NewTextHandler(t.Output(), nil)),
	}))
	l := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	tb := &testBastion{address: l.Addr().String(), roots: root}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tb.mu.Lock()
			tb.conns = append(tb.conns, c)
			tb.mu.Unlock()
			running.Go(func() { b.HandleBackendConnection(c) })
		}
	})
	clients := httptest.NewServer(b)
	tb.url = clients.URL
	t.Cleanup(func() { clients.Close(); l.Close(); tb.cut(); running.Wait() })
	return tb
}

// cut ends all connections to backends.
func (b *testBastion) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		c.Close()
	}
	b.conns = nil
}

// serverCertificate returns one for 127.0.0.1, and a file with the root that vouches for it.
func serverCertificate(t *testing.T) (*tls.Certificate, string) {
	t.Helper()
	key := testlog.Must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der := testlog.Must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	root := filepath.Join(t.TempDir(), "root.pem")
	fatal(t, os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, root
}

// request asks through the bastion until the status is the one that is awaited.
func (b *testBastion) request(t *testing.T, method, path, body string, want int) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		req := testlog.Must(http.NewRequest(method, b.url+path, strings.NewReader(body)))
		resp, err := http.DefaultClient.Do(req)
		fatal(t, err)
		text := testlog.Must(io.ReadAll(resp.Body))
		resp.Body.Close()
		if resp.StatusCode == want {
			return string(text)
		}
		if time.Now().After(end) {
			t.Fatalf("%s %s through the bastion: %s %q, wanted %d", method, path, resp.Status, text, want)
		}
	}
}

func TestAWitnessIsReachedThroughABastion(t *testing.T) {
	l := testlog.Of("log.example", 40)
	settings, vkey := setUp(t, l)
	keyFile := filepath.Join(filepath.Dir(settings), "bastion.pem")
	fatal(t, config.GenerateKey(keyFile))
	key := testlog.Must(config.ReadKey(keyFile)).Public().(ed25519.PublicKey)
	b := startBastion(t, key)
	text := testlog.Must(os.ReadFile(settings))
	text = fmt.Appendf(text, "[[bastion]]\naddress = %q\nkey = \"bastion.pem\"\nroots = %q\n", b.address, b.roots)
	fatal(t, os.WriteFile(settings, text, 0o644))
	p := start(t, build(t), settings)
	prefix := fmt.Sprintf("/%x", sha256.Sum256(key))

	lines := b.request(t, "POST", prefix+"/add-checkpoint", l.Request(0, 5), 200)
	v := testlog.Must(torchwood.NewCosignatureVerifier(vkey))
	if _, err := note.Open([]byte(l.Head(5)+"\n"+lines), note.VerifierList(v)); err != nil {
		t.Errorf("what came through the bastion: %v", err)
	}
	if got := b.request(t, "POST", prefix+"/add-checkpoint", l.Request(0, 5), 409); got != "5\n" {
		t.Errorf("a conflict came as %q", got)
	}
	b.request(t, "GET", prefix+fmt.Sprintf("/%x/checkpoint", sha256.Sum256([]byte("log.example"))), "", 200)
	b.request(t, "GET", prefix+"/metrics", "", 404)

	for range 3 { // it comes back, and says so
		b.cut()
		b.request(t, "POST", prefix+"/add-checkpoint", l.Request(0, 5), 409)
	}
	resp := testlog.Must(http.Get(p.url + "/metrics"))
	defer resp.Body.Close()
	metrics := string(testlog.Must(io.ReadAll(resp.Body)))
	if want := fmt.Sprintf("cratelog_witness_bastion_connected{bastion=%q} 1\n", b.address); !strings.Contains(metrics, want) {
		t.Errorf("metrics should say %q", want)
	}
	fatal(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	if p.err != nil {
		t.Errorf("ended with %v\n%s", p.err, p.stderr)
	}
}

// A bastion that does not let the witness in, or is not the one that the settings mean, is said in /healthz; the
// witness goes on for those who reach it otherwise.
func TestABastionThatRefusesIsNamed(t *testing.T) {
	l := testlog.Of("log.example", 40)
	settings, _ := setUp(t, l)
	fatal(t, config.GenerateKey(filepath.Join(filepath.Dir(settings), "bastion.pem")))
	stranger := startBastion(t, testlog.Ed25519("another").Public().(ed25519.PublicKey))
	other := startBastion(t, testlog.Ed25519("another").Public().(ed25519.PublicKey))
	text := testlog.Must(os.ReadFile(settings))
	text = fmt.Appendf(text, "[[bastion]]\naddress = %q\nkey = \"bastion.pem\"\nroots = %q\n", stranger.address, stranger.roots)
	text = fmt.Appendf(text, "[[bastion]]\naddress = %q\nkey = \"bastion.pem\"\nroots = %q\n", other.address, stranger.roots)
	fatal(t, os.WriteFile(settings, text, 0o644))
	p := start(t, build(t), settings)
	health(t, p, 503, "the bastion "+stranger.address+" is not connected", "the bastion "+other.address+" is not connected",
		"certificate signed by unknown authority")
	if code, text, err := post(p.url, l.Request(0, 5)); err != nil || code != 200 {
		t.Errorf("asked directly: %d %q, %v", code, text, err)
	}
}

// health waits until /healthz answers so.
func health(t *testing.T, p *process, code int, words ...string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		resp := testlog.Must(http.Get(p.url + "/healthz"))
		text := string(testlog.Must(io.ReadAll(resp.Body)))
		resp.Body.Close()
		missing := resp.StatusCode != code
		for _, w := range words {
			missing = missing || !strings.Contains(text, w)
		}
		if !missing {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("health: %s %s\nwanted %d and %q", resp.Status, text, code, words)
		}
	}
}
