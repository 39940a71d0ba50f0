package log

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// keyedProofs are testProofs whose program says which proving key it has.
type keyedProofs struct {
	*toldProofs
	key [32]byte
}

func (p keyedProofs) Programs() []proofcheck.Program {
	q := testProgram
	q.ProvingKey = p.key
	return []proofcheck.Program{q}
}

func TestProvingKeysAreServedByTheirHash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := []byte("a proving key")
	sum := sha256.Sum256(key)
	name := hex.EncodeToString(sum[:])
	w.cfg.KeysDir = t.TempDir()
	w.cfg.Proofs = keyedProofs{w.proofs, sum}
	fatalIf(t, os.WriteFile(filepath.Join(w.cfg.KeysDir, name), key, 0o644))
	srv := httptest.NewServer(w.open().Handler())
	defer srv.Close()

	code, h, b := get(t, srv.URL+"/v1/keys/"+name)
	if code != 200 || string(b) != string(key) || !strings.Contains(h.Get("Cache-Control"), "immutable") || h.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%d %v %q", code, h, b)
	}
	r := testlog.Must(http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/v1/keys/"+name, nil))
	r.Header.Set("Range", "bytes=2-8")
	resp := testlog.Must(http.DefaultClient.Do(r))
	defer resp.Body.Close()
	part := make([]byte, 7)
	if _, err := resp.Body.Read(part); resp.StatusCode != http.StatusPartialContent || string(part) != "proving" {
		t.Errorf("a part: %d %q %v", resp.StatusCode, part, err)
	}
	for _, other := range []string{strings.Repeat("ab", 32), strings.ToUpper(name), "", "..", "%2e%2e%2fpolicy.txt", name + "/", name[:63]} {
		if code, _, _ := get(t, srv.URL+"/v1/keys/"+other); code != 404 {
			t.Errorf("%q: %d", other, code)
		}
	}
	_, _, b = get(t, srv.URL+"/v1/log")
	var about aboutBody
	fatalIf(t, json.Unmarshal(b, &about))
	if len(about.Programs) != 1 || about.Programs[0].ProvingKey != name {
		t.Errorf("/v1/log says %s", b)
	}
}

func TestALogDoesNotStartWithAWrongProvingKey(t *testing.T) {
	t.Parallel()
	for want, prepare := range map[string]func(dir string) error{
		"its SHA-256 is": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 32)), []byte("a key"), 0o644)
		},
		"is named for its SHA-256": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "source-64.pk"), []byte("a key"), 0o644)
		},
		"not a regular file": func(dir string) error {
			return os.Symlink(os.DevNull, filepath.Join(dir, strings.Repeat("ab", 32)))
		},
		"directory of proving keys": os.Remove,
	} {
		w := newWorld(t)
		w.cfg.KeysDir = t.TempDir()
		fatalIf(t, prepare(w.cfg.KeysDir))
		if l, err := Open(t.Context(), w.cfg); err == nil {
			w.closeLog(l)
			t.Errorf("%s: the log starts", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("want a word on %q: %v", want, err)
		}
	}
}
