package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/durable"
)

// TestTheLayoutOfEvidenceIsAsWrittenDown pins docs/formats.md, "Evidence beside crates".
func TestTheLayoutOfEvidenceIsAsWrittenDown(t *testing.T) {
	for got, want := range map[string]string{
		BundlePath("default", "serde", "1.0.0+a", "log.example/a"): "default/serde/1.0.0+a/" + hash("log.example/a") + ".tlog-proof",
		BundlePath("https://r.example/i", "Aa", "1.0.0", "x"):      hash("https://r.example/i") + "/Aa/1.0.0/" + hash("x") + ".tlog-proof",
		OpeningPath("default", "a", "1.0.0", [32]byte{1, 0xab}):    "default/a/1.0.0/01ab" + strings.Repeat("0", 60) + ".opening",
		LogPath("x"): "logs/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func TestEvidenceIsReadByTheRulesOfDownloads(t *testing.T) {
	var asked, token string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, token = r.URL.EscapedPath(), r.Header.Get("Authorization")
		switch {
		case r.URL.Path == "/index/config.json":
			json.NewEncoder(w).Encode(map[string]any{"dl": "x", "auth-required": true,
				"cratelog": map[string]any{"evidence": "http://" + r.Host + "/e/", "put": "http://" + r.Host + "/p/", "more": []int{1}}})
		case strings.HasSuffix(r.URL.Path, "/a+b"):
			w.Write([]byte("12345678"))
		case r.Method == http.MethodPut:
			http.Error(w, "no\nroom", http.StatusInsufficientStorage)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	e, err := (&Index{URL: server.URL + "/index/", Token: "secret"}).Evidence(t.Context())
	fatalIf(t, err)
	if !e.Takes() || e.String() != server.URL+"/e/" {
		t.Errorf("%+v", e)
	}
	b, err := e.Get(t.Context(), "x/a+b", 8)
	if err != nil || string(b) != "12345678" || asked != "/e/x/a%2Bb" || token != "secret" {
		t.Errorf("%q, %v, asked %s with %q", b, err, asked, token)
	}
	if _, err := e.Get(t.Context(), "x/a+b", 7); !errors.Is(err, durable.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := e.Get(t.Context(), "x/none", 8); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	var status *StatusError
	if err := e.Put(t.Context(), "x/y+z", []byte("1"), "other"); !errors.As(err, &status) || status.Status != 507 ||
		asked != "/p/x/y%2Bz" || token != "other" || status.Body != "no room" {
		t.Errorf("PUT: %v, asked %s with %q", err, asked, token)
	}
	if url, c := e.Tiles("x"); url != "" || c != nil {
		t.Error("a mirror that wants a token is asked without")
	}
	if _, err := OpenEvidence("http://example.com/", nil, ""); err == nil {
		t.Error("plain http to another machine")
	}
}

func TestADirectoryOfEvidenceIsReadAsFilesOnly(t *testing.T) {
	dir := t.TempDir()
	fatalIf(t, os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(dir, "a", "f"), []byte("123"), 0o644))
	e, err := OpenEvidence(dir, nil, "")
	fatalIf(t, err)
	if b, err := e.Get(t.Context(), "a/f", 3); err != nil || string(b) != "123" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := e.Get(t.Context(), "a/f", 2); !errors.Is(err, durable.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, err := e.Get(t.Context(), "a/none", 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, err := e.Get(t.Context(), "a/b", 2); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a directory: %v", err)
	}
	tile := filepath.Join(dir, filepath.FromSlash(LogPath("x")), "tile", "0")
	fatalIf(t, os.MkdirAll(tile, 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(tile, "000"), []byte("123"), 0o644))
	at, c := e.Tiles("x")
	for path, want := range map[string]int{"/tile/0/000": 200, "/tile/0": 404, "/tile/0/": 404, "/tile/1": 404} {
		resp, err := c.Get(at + path)
		fatalIf(t, err)
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%s: %d, not %d", path, resp.StatusCode, want)
		}
	}
	if e, err := OpenEvidence(filepath.Join(dir, "a", "b"), nil, ""); err != nil {
		t.Error(err)
	} else if _, err := e.Get(t.Context(), "../f", 3); !errors.Is(err, ErrNotFound) {
		t.Errorf("a name that leads out: %v", err)
	}
}

// FuzzEvidenceAnnouncement wants what config.json says about evidence to be refused or usable.
func FuzzEvidenceAnnouncement(f *testing.F) {
	for _, says := range []string{`{"evidence":"https://a.example/e/"}`, `{"evidence":"http://127.0.0.1:1/","put":null}`, `null`, `[]`,
		`{"evidence":""}`, `{"Evidence":"https://a.example/"}`, `{"evidence":"https://a.example/","put":"ftp://x/"}`} {
		f.Add([]byte(`{"dl":"x","cratelog":` + says + `}`))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseConfig(b)
		if err != nil {
			return
		}
		e, err := c.evidence(false)
		if err != nil || e == nil {
			return
		}
		for _, u := range []string{e.base, e.put} {
			if err := CheckURL(u, false); err != nil && (u != "" || u == e.base) {
				t.Errorf("%q: %v", u, err)
			}
		}
		e.index = &Index{}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.Get(ctx, "default/a/1.0.0/x", 1); err == nil {
			t.Error("it is read although nobody waits for it")
		}
	})
}
