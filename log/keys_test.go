package log

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/forge"
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
}

// TestProversLearnWhatALogAccepts: the list names the programs that are not withdrawn.
func TestProversLearnWhatALogAccepts(t *testing.T) {
	t.Parallel()
	key := []byte("a proving key")
	own := testlog.Must(forge.Invent("own", "solo: us", 3)).Program()
	own.ProvingKey = sha256.Sum256(key)
	bare := testlog.Must(forge.Invent("bare", "ceremony:"+strings.Repeat("ab", 32), 2)).Program()
	bare.ProvingKey[0] = 1
	old := testlog.Must(forge.Invent("old", "solo: them", 1)).Program()
	w := newWorld(t)
	w.cfg.Development = false
	w.cfg.Proofs = testlog.Must(proofcheck.New([]proofcheck.Program{old, own, bare}))
	w.cfg.Withdrawn = [][32]byte{old.ID()}
	w.cfg.KeysDir = t.TempDir()
	fatalIf(t, os.WriteFile(filepath.Join(w.cfg.KeysDir, fmt.Sprintf("%x", own.ProvingKey)), key, 0o644))
	srv := httptest.NewServer(w.open().Handler())
	defer srv.Close()

	list := testlog.Must((&client.Log{URL: srv.URL}).ProvingKeys(t.Context()))
	var b keysBody
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	fatalIf(t, d.Decode(&b))
	if len(b.Keys) != 2 {
		t.Fatalf("%s", list)
	}
	for i, want := range []proofcheck.Program{own, bare} {
		k := b.Keys[i]
		got := testlog.Must(proofcheck.ParseProgram(k.File))
		if !reflect.DeepEqual(got, want) || k.Program != fmt.Sprintf("%x", want.ID()) || k.Origin != want.Origin ||
			k.Blocks != want.Blocks || k.SHA256 != fmt.Sprintf("%x", want.ProvingKey) || k.Size != []int64{int64(len(key)), 0}[i] {
			t.Errorf("%+v", k)
		}
	}
	for from, want := range map[int64]string{0: "a proving key", 2: "proving key"} {
		body, at, err := (&client.Log{URL: srv.URL}).ProvingKey(t.Context(), own.ProvingKey, from)
		fatalIf(t, err)
		if got := testlog.Must(io.ReadAll(body)); at != from || string(got) != want {
			t.Errorf("from %d: %q at %d", from, got, at)
		}
		fatalIf(t, body.Close())
	}
	_, _, text := get(t, srv.URL+"/v1/log")
	var about aboutBody
	fatalIf(t, json.Unmarshal(text, &about))
	if len(about.Programs) != 3 || !about.Programs[0].Withdrawn || about.Programs[1].Withdrawn || about.Openings != OpeningsSubmitter {
		t.Errorf("/v1/log says %s", text)
	}
	_, _, page := get(t, srv.URL+"/")
	for _, want := range []string{"solo: us; whoever ran it could forge; nobody else", "nothing new is accepted under it"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestALogDoesNotStartWithAWrongProvingKey(t *testing.T) {
	t.Parallel()
	for want, prepare := range map[string]func(dir string) error{
		"its SHA-256 is": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, strings.Repeat("ab", 32)), []byte("a key"), 0o644)
		},
		"is named for its SHA-256": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "source.pk"), []byte("a key"), 0o644)
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
