package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/internal/testlog"
	"cratelog/proofcheck"
)

// openLive opens the world's log, and serves it.
func (w *world) openLive() (*Live, *httptest.Server) {
	w.t.Helper()
	v, err := OpenLive(w.t.Context(), w.cfg)
	fatalIf(w.t, err)
	srv := httptest.NewServer(v.Handler())
	w.t.Cleanup(func() {
		srv.Close()
		if err := v.Close(w.t.Context()); err != nil && w.t.Context().Err() == nil {
			w.t.Errorf("Close: %v", err)
		}
	})
	return v, srv
}

// of adds a witness, whose cosignature the quorum then needs.
func (w *world) withFourth() Config {
	w.t.Helper()
	c := newCosigner(w.t, "witness.test/fourth", w.cfg.VKey)
	cfg := w.cfg
	cfg.Policy = bytes.Replace(bytes.Replace(w.cfg.Policy, []byte("group g 2 w0 w1 w2\nquorum g"),
		[]byte("group g 2 w0 w1 w2\ngroup h all g w3\nquorum h"), 1), []byte("group g"),
		fmt.Appendf(nil, "witness w3 %s %s\ngroup g", c.signer.VKey, c.server.URL), 1)
	return cfg
}

func TestAReloadIsSeenByNobodyButInWhatItChanges(t *testing.T) {
	w := newWorld(t)
	v, srv := w.openLive()
	next := w.withFourth()
	eventually(t, "a checkpoint", func() bool { return v.current.Load().log.published.head().raw != nil })
	var stop atomic.Bool
	var submitted atomic.Int32
	var clients sync.WaitGroup
	items := make([][2][]byte, 200)
	for i := range items {
		items[i][0], items[i][1] = w.good(fmt.Sprintf("c%d", i), "1.0.0")
	}
	for c := range 4 {
		clients.Go(func() {
			for i := c; i < len(items) && !stop.Load(); i += 4 {
				ctype, body := encodeForm(t, [2]string{"entry", string(items[i][0])}, [2]string{"crate", string(items[i][1])})
				resp, b := post(t, srv.URL+"/v1/submit", ctype, body)
				if resp.StatusCode != 200 {
					t.Errorf("a submission got %d %s", resp.StatusCode, b)
				}
				submitted.Add(1)
			}
		})
	}
	for range 2 {
		clients.Go(func() {
			for !stop.Load() {
				for _, path := range []string{"/v1/log", "/checkpoint", "/livez"} {
					resp, err := http.Get(srv.URL + path)
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
					if resp.StatusCode != 200 {
						t.Errorf("GET %s: %d", path, resp.StatusCode)
					}
				}
			}
		})
	}
	for i := range 4 {
		before := submitted.Load()
		eventually(t, "submissions", func() bool { return submitted.Load() > before })
		cfg := next
		if i%2 == 1 {
			cfg = w.cfg
		}
		fatalIf(t, v.Reload(t.Context(), cfg))
	}
	fatalIf(t, v.Reload(t.Context(), next))
	stop.Store(true)
	clients.Wait()
	e, c := w.good("last", "1.0.0")
	l := v.current.Load().log
	b := w.submit(l, e, c)
	if !bytes.Contains(b, []byte("witness.test/fourth ")) {
		t.Errorf("the new witness was not asked:\n%s", b)
	}
	if got, want := len(entriesOf(t, l)), int(submitted.Load())+1; got != want {
		t.Errorf("the log has %d entries of %d submissions", got, want)
	}
}

func TestAReloadIsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	v, srv := w.openLive()
	e, c := w.good("alpha", "1.0.0")
	w.submit(v.current.Load().log, e, c)
	for _, tt := range []struct {
		name, words string
		change      func(*Config)
	}{
		{"trust file", "trust file", func(c *Config) { c.Policy = []byte("quorum none\n") }},
		{"a limit", "negative", func(c *Config) { c.Limits.Waiting = -1 }},
		{"directory", "needs a restart", func(c *Config) { c.TreeDir += "2" }},
		{"another key", "does not name this log", func(c *Config) { c.VKey += "x" }},
		{"a mirror", "is no verifier key of cosignatures", func(c *Config) {
			c.Mirrors = []Mirror{{"https://mirror.example", "nonsense"}}
		}},
		{"a program that entries name", "entries of this log name the program", func(c *Config) {
			// found only when the index is open
			c.Proofs = &toldProofs{believed: make(map[proven][]byte), programs: []proofcheck.Program{otherProgram}}
		}},
	} {
		cfg := w.cfg
		tt.change(&cfg)
		if err := v.Reload(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tt.words) || errors.Is(err, ErrDead) {
			t.Errorf("%s: %v", tt.name, err)
		}
		name := fmt.Sprintf("after-%d", len(tt.name))
		e, c := w.good(name, "1.0.0")
		w.submit(v.current.Load().log, e, c)
		resp := testlog.Must(http.Get(srv.URL + "/healthz"))
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: afterwards /healthz says %d", tt.name, resp.StatusCode)
		}
	}
	fatalIf(t, os.Rename(w.cfg.TreeDir, w.cfg.TreeDir+".away"))
	impatient, cancel := context.WithTimeout(t.Context(), time.Second) // Tessera waits for its tree
	defer cancel()
	if err := v.Reload(impatient, w.cfg); !errors.Is(err, ErrDead) {
		t.Errorf("without its tree: %v", err)
	}
	if err := v.Reload(t.Context(), w.cfg); !errors.Is(err, ErrDead) {
		t.Errorf("once more: %v", err)
	}
}

func TestCheckWritesNothingAndSaysWhoseTheStateIs(t *testing.T) {
	w := newWorld(t)
	look := func(cfg Config) map[string]error {
		all := make(map[string]error)
		Check(t.Context(), cfg, func(name string, err error) { all[name] = err })
		return all
	}
	for name, err := range look(w.cfg) {
		if err != nil {
			t.Errorf("a good configuration: %s: %v", name, err)
		}
	}
	if _, err := os.Stat(w.cfg.TreeDir); err == nil {
		t.Error("the tree was made")
	}
	l := w.open()
	e, c := w.good("alpha", "1.0.0")
	w.submit(l, e, c)
	for name, err := range look(w.cfg) {
		if err != nil {
			t.Errorf("beside the running log: %s: %v", name, err)
		}
	}
	w.closeLog(l)
	files := func() string {
		return strings.Join(append(testlog.Must(filepath.Glob(w.cfg.StateDir+"/*")), testlog.Must(filepath.Glob(w.cfg.TreeDir+"/.state/*"))...), "\n")
	}
	before := files()
	other := newWorld(t)
	cfg := w.cfg
	cfg.Signer, cfg.VKey, cfg.Policy = other.cfg.Signer, other.cfg.VKey, other.cfg.Policy
	if err := look(cfg)["tree and guard"]; err == nil || !strings.Contains(err.Error(), "belongs to the log") {
		t.Errorf("another key: %v", err)
	}
	cfg = w.cfg
	cfg.Policy = other.cfg.Policy
	if err := look(cfg)["trust file"]; err == nil || !strings.Contains(err.Error(), "does not name this log") {
		t.Errorf("another trust file: %v", err)
	}
	cfg = w.cfg
	cfg.TreeDir += "2"
	if err := look(cfg)["tree and guard"]; !errors.Is(err, ErrRollback) {
		t.Errorf("another tree: %v", err)
	}
	cfg = w.cfg
	cfg.StateDir += "2"
	if err := look(cfg)["tree and guard"]; err == nil || !strings.Contains(err.Error(), "nothing remembers what was signed") {
		t.Errorf("another state: %v", err)
	}
	cfg = w.cfg
	cfg.Registries = []Registry{{Index: "https://a.example/"}, {Index: "https://a.example/"}}
	if err := look(cfg)["registries"]; err == nil || !strings.Contains(err.Error(), "is named twice") {
		t.Errorf("a registry that is named twice: %v", err)
	}
	cfg = w.cfg
	cfg.Mirrors = []Mirror{{"https://mirror.example", "nonsense"}}
	if err := look(cfg)["mirrors"]; err == nil || !strings.Contains(err.Error(), "is no verifier key of cosignatures") {
		t.Errorf("a mirror without a key: %v", err)
	}
	cfg = w.cfg
	cfg.Development = false
	if err := look(cfg)["programs and limits"]; err == nil {
		t.Error("development keys are taken")
	}
	if after := files(); after != before {
		t.Errorf("files before:\n%s\nafter:\n%s", before, after)
	}
}
