package witness

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func check0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// seed returns a private key that depends on name only.
func seed(name string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte("cratelog witness test key " + name))
	return ed25519.NewKeyFromSeed(s[:])
}

// A testLog is a log whose trees of all sizes up to len are known. Its hashes
// and proofs come from x/mod's tlog, not from the library under test.
type testLog struct {
	origin string
	key    ed25519.PrivateKey
	hashes []tlog.Hash // stored hashes
	size   int64
}

// newTestLog makes a log of n leaves. From leaf fork on, its leaves differ from
// those of a log with another salt.
func newTestLog(t testing.TB, origin string, n, fork int64, salt string) *testLog {
	t.Helper()
	l := &testLog{origin: origin, key: seed(origin), size: n}
	for i := range n {
		data := fmt.Sprintf("leaf %d", i)
		if i >= fork {
			data += salt
		}
		h, err := tlog.StoredHashes(i, []byte(data), l)
		check0(t, err)
		l.hashes = append(l.hashes, h...)
	}
	return l
}

func (l *testLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, l.hashes[i])
	}
	return out, nil
}

func (l *testLog) root(t testing.TB, size int64) tlog.Hash {
	t.Helper()
	if size == 0 {
		return emptyRoot
	}
	h, err := tlog.TreeHash(size, l)
	check0(t, err)
	return h
}

func (l *testLog) proof(t testing.TB, old, size int64) []tlog.Hash {
	t.Helper()
	if old == 0 || old == size {
		return nil
	}
	p, err := tlog.ProveTree(size, old, l)
	check0(t, err)
	return p
}

func (l *testLog) vkey(t testing.TB) string {
	t.Helper()
	v, err := note.NewEd25519VerifierKey(l.origin, l.key.Public().(ed25519.PublicKey))
	check0(t, err)
	return v
}

// text returns the unsigned checkpoint of the given size.
func (l *testLog) text(t testing.TB, size int64) string {
	return torchwood.Checkpoint{Origin: l.origin, Tree: tlog.Tree{N: size, Hash: l.root(t, size)}}.String()
}

// sign signs any text as the log (or whoever has key under that name).
func sign(t testing.TB, text, name string, key ed25519.PrivateKey) string {
	t.Helper()
	return text + "\n" + signatureLine(t, text, name, key)
}

func signatureLine(t testing.TB, text, name string, key ed25519.PrivateKey) string {
	t.Helper()
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	check0(t, err)
	v, err := note.NewVerifier(vkey)
	check0(t, err)
	h := v.KeyHash()
	blob := append([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}, ed25519.Sign(key, []byte(text))...)
	return "— " + name + " " + base64.StdEncoding.EncodeToString(blob) + "\n"
}

func (l *testLog) signed(t testing.TB, size int64) string {
	return sign(t, l.text(t, size), l.origin, l.key)
}

func request(old int64, proof []tlog.Hash, signed string) string {
	return fmt.Sprintf("old %d\n%s\n%s", old, formatProof(proof), signed)
}

// request returns the right request to go from old to size.
func (l *testLog) request(t testing.TB, old, size int64) string {
	return request(old, l.proof(t, old, size), l.signed(t, size))
}

// A clock is set by the test.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

const witnessName = "witness.example/w1"

// config returns the settings of a witness with a new database.
func newConfig(t testing.TB, logs ...*testLog) Config {
	cfg := Config{
		Name:    witnessName,
		Signers: []crypto.Signer{seed("witness")},
		DBPath:  filepath.Join(t.TempDir(), "witness.db"),
		Create:  true,
		Logger:  slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Now:     newClock().now,
	}
	for _, l := range logs {
		cfg.Logs = append(cfg.Logs, Log{Origin: l.origin, VKey: l.vkey(t)})
	}
	return cfg
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func open(t testing.TB, cfg Config) *Witness {
	t.Helper()
	w, err := Open(context.Background(), cfg)
	check0(t, err)
	t.Cleanup(func() { w.Close() })
	return w
}

// A reply is what an HTTP client sees.
type reply struct {
	code        int
	body        string
	contentType string
}

func post(t testing.TB, url, body string) reply {
	t.Helper()
	resp, err := http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	check0(t, err)
	return read(t, resp)
}

func get(t testing.TB, url string) reply {
	t.Helper()
	resp, err := http.Get(url)
	check0(t, err)
	return read(t, resp)
}

func read(t testing.TB, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check0(t, err)
	return reply{resp.StatusCode, string(body), resp.Header.Get("Content-Type")}
}

func serve(t testing.TB, w *Witness) string {
	server := httptest.NewServer(w.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

// mustAdd adds a checkpoint and returns the cosignature lines.
func mustAdd(t testing.TB, w *Witness, body string) string {
	t.Helper()
	lines, err := w.AddCheckpoint(context.Background(), []byte(body))
	check0(t, err)
	return string(lines)
}

// cosigTime verifies the cosignature lines over text with torchwood and returns
// the timestamp.
func cosigTime(t testing.TB, w *Witness, text, lines string) int64 {
	t.Helper()
	v, err := torchwood.NewCosignatureVerifier(w.VKeys()[0])
	check0(t, err)
	n, err := note.Open([]byte(text+"\n"+lines), note.VerifierList(v))
	check0(t, err)
	ts, err := torchwood.CosignatureTimestamp(n.Sigs[0])
	check0(t, err)
	return ts
}
