package witness

import (
	"context"
	"crypto"
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

	"cratelog/internal/testlog"
)

func check0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A testLog is a log whose trees of all sizes up to its own are known. Its hashes
// and proofs come from x/mod's tlog, not from the library under test.
type testLog struct{ *testlog.Log }

func newTestLog(origin string, n int64) testLog { return testLog{testlog.Of(origin, n)} }

func newLog() testLog { return newTestLog("log.example", 40) }

// fork is a log with the same key whose leaves are others from one on.
func (l testLog) fork(from int64, salt string) testLog {
	o := testlog.Of(l.KeyName, 0)
	o.Tree = l.Tree.Fork(from).Grow(l.Tree.Size(), salt)
	return testLog{o}
}

func (l testLog) root(size int64) tlog.Hash { return l.Tree.Root(size) }

func (l testLog) proof(old, size int64) []tlog.Hash { return l.Tree.Consistency(old, size) }

// sign signs any text as the log.
func (l testLog) sign(text string) string { return string(l.SignText(text)) }

func (l testLog) signed(size int64) string { return l.sign(l.Head(size)) }

// line is the log's signature line of a size.
func (l testLog) line(size int64) string {
	return strings.TrimPrefix(l.signed(size), l.Head(size)+"\n")
}

// sign signs any text as whoever has the secret under that name.
func sign(text, name, secret string) string {
	return string(testlog.Sign(text, testlog.LogKey(name, secret)))
}

var request = testlog.Request

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
func newConfig(t testing.TB, logs ...testLog) Config {
	cfg := Config{
		Name:    witnessName,
		Signers: []crypto.Signer{testlog.Ed25519("witness")},
		DBPath:  filepath.Join(t.TempDir(), "witness.db"),
		Create:  true,
		Logger:  slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Now:     newClock().now,
	}
	for _, l := range logs {
		cfg.Logs = append(cfg.Logs, Log{Origin: l.KeyName, VKey: l.VKey})
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Witness {
	t.Helper()
	w := testlog.Must(Open(context.Background(), cfg))
	t.Cleanup(func() { w.Close() })
	return w
}

// openAt opens a witness that has cosigned one checkpoint of the log.
func openAt(t testing.TB, cfg Config, l testLog, size int64) *Witness {
	t.Helper()
	w := open(t, cfg)
	mustAdd(t, w, l.Request(0, size))
	return w
}

// reopen is a restart of a witness.
func reopen(t testing.TB, w *Witness, cfg Config) *Witness {
	t.Helper()
	check0(t, w.Close())
	cfg.Create = false
	return open(t, cfg)
}

// A reply is what an HTTP client sees.
type reply struct {
	code        int
	body        string
	contentType string
}

func post(t testing.TB, url, body string) reply {
	t.Helper()
	resp := testlog.Must(http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body)))
	return read(t, resp)
}

func get(t testing.TB, url string) reply {
	t.Helper()
	resp := testlog.Must(http.Get(url))
	return read(t, resp)
}

func read(t testing.TB, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	body := testlog.Must(io.ReadAll(resp.Body))
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
	lines := testlog.Must(w.AddCheckpoint(context.Background(), []byte(body)))
	return string(lines)
}

// wantStatus adds a checkpoint that must be refused.
func wantStatus(t testing.TB, w *Witness, body string, code int) {
	t.Helper()
	if _, err := w.AddCheckpoint(t.Context(), []byte(body)); StatusCode(err) != code {
		t.Fatalf("got %v, want status %d", err, code)
	}
}

// cosigTime verifies the cosignature lines over text with torchwood and returns
// the timestamp.
func cosigTime(t testing.TB, w *Witness, text, lines string) int64 {
	t.Helper()
	v := testlog.Must(torchwood.NewCosignatureVerifier(w.VKeys()[0]))
	n := testlog.Must(note.Open([]byte(text+"\n"+lines), note.VerifierList(v)))
	ts := testlog.Must(torchwood.CosignatureTimestamp(n.Sigs[0]))
	return ts
}
