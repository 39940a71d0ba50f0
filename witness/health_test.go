package witness

import (
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

// switchSigner can be broken.
type switchSigner struct {
	crypto.Signer
	broken bool
}

func (s *switchSigner) Sign(r io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.broken {
		return nil, errors.New("token removed")
	}
	return s.Signer.Sign(r, msg, opts)
}

// healthy wants that /healthz and /readyz say so, or else that they name the one problem.
func healthy(t *testing.T, w *Witness, problem string) {
	t.Helper()
	w.health.mu.Lock()
	w.health.probed = time.Time{} // what the last probe found is not believed any more
	w.health.mu.Unlock()
	url := serve(t, w)
	paths := []string{"/healthz", "/readyz"}
	if strings.Contains(problem, "bastion") {
		paths = paths[:1] // it cosigns for those who reach it otherwise
	}
	for _, path := range paths {
		got := get(t, url+path)
		var b healthBody
		check0(t, json.Unmarshal([]byte(got.body), &b))
		if problem == "" && (got.code != 200 || !b.OK || len(b.Problems) != 0) ||
			problem != "" && (got.code != 503 || b.OK || len(b.Problems) != 1 || !strings.Contains(b.Problems[0], problem)) {
			t.Errorf("%s: %d %q, wanted %q", path, got.code, got.body, problem)
		}
	}
	if got := get(t, url+"/livez"); got.code != 200 {
		t.Errorf("/livez: %d", got.code)
	}
}

func TestHealthNamesWhatKeepsTheWitnessFromCosigning(t *testing.T) {
	l, idle := newLog(), newTestLog("idle.example", 5)
	cfg := newConfig(t, l, idle)
	c, signer, check := newClock(), &switchSigner{Signer: cfg.Signers[0]}, []string(nil)
	cfg.Now, cfg.Signers = c.now, []crypto.Signer{signer}
	cfg.Check = func() []string { return check }
	w := openAt(t, cfg, l, 5)
	healthy(t, w, "")

	c.add(-MaxClockStep - time.Second)
	healthy(t, w, "the clock is 301 seconds behind the last timestamp of a cosignature, so nothing is cosigned for 1 logs, log.example")
	wantStatus(t, w, l.Request(5, 9), 503)
	c.add(MaxClockStep + 2*time.Second)
	healthy(t, w, "")

	signer.broken = true
	wantStatus(t, w, l.Request(5, 9), 500)
	healthy(t, w, "does not sign, so nothing is cosigned")
	signer.broken = false
	mustAdd(t, w, l.Request(5, 9))
	healthy(t, w, "")

	check = []string{"the key file is gone"}
	healthy(t, w, "the key file is gone")
	check = nil
	healthy(t, w, "")

	// The last write failed, and the probe can write: it works again.
	w.store.testingOnlyCommit = func(func() error) error { return errors.New("disk full") }
	wantStatus(t, w, l.Request(9, 12), 500)
	if p := w.Problems(t.Context()); len(p) != 1 || !strings.Contains(p[0], "the database cannot be written (disk full)") {
		t.Errorf("right after a failed write: %q", p)
	}
	w.store.testingOnlyCommit = nil
	healthy(t, w, "")

	w.health.away("bastion.example:443", "connection refused")
	healthy(t, w, "the bastion bastion.example:443 is not connected: connection refused")
	w.health.away("bastion.example:443", "")
	healthy(t, w, "")

	check0(t, w.store.db.Close())
	healthy(t, w, "the database cannot be read")
}

func TestAProblemOfADisabledLogIsNone(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	c := newClock()
	cfg.Now = c.now
	w := openAt(t, cfg, l, 5)
	c.add(-time.Hour)
	healthy(t, w, "the clock is 3600 seconds behind")
	check0(t, w.Reload(t.Context(), nil, nil))
	healthy(t, w, "")
}

func TestAnyPageMayReadWhatAWitnessShows(t *testing.T) {
	l := newLog()
	url := serve(t, openAt(t, newConfig(t, l), l, 5))
	for _, path := range []string{"/" + originHash(l.KeyName) + "/checkpoint", "/" + originHash(l.KeyName) + "/forks", "/", "/healthz", "/nothing"} {
		resp := testlog.Must(http.Get(url + path))
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "*" {
			t.Errorf("%s allows %q", path, got)
		}
	}
	resp := testlog.Must(http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader("")))
	resp.Body.Close()
	if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("add-checkpoint allows %q", got)
	}
}
