package backlog

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/testlog"
)

// logged gives the world a log that takes what is submitted, and returns how often it was asked and
// given something.
func (w *world) logged() (log *testlog.Log, asked, given *atomic.Int64) {
	w.t.Helper()
	log, asked, given = testlog.New("log.example/backlog", 1, time.Now), new(atomic.Int64), new(atomic.Int64)
	log.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		asked.Add(1)
		if r.Method != http.MethodPost {
			return false
		}
		given.Add(1)
		part, _, err := r.FormFile("entry")
		if err != nil {
			w.t.Error(err)
			return false
		}
		raw, err := io.ReadAll(part)
		if err != nil {
			w.t.Error(err)
		}
		log.Add(raw)
		log.Publish()
		again := httptest.NewRecorder()
		log.ServeHTTP(again, httptest.NewRequest(http.MethodGet, "/v1/crates/"+w.packages[0].Name+"/"+w.packages[0].Version, nil))
		rw.Write(again.Body.Bytes())
		return true
	})
	s := httptest.NewServer(log)
	w.t.Cleanup(s.Close)
	w.cfg.Log = &client.Log{URL: s.URL}
	w.cfg.MayAsk = func(string) bool { return true }
	return log, asked, given
}

// one is a crate "a" that can be proven.
func (w *world) one() {
	w.t.Helper()
	w.maps("a")
	all := files("a", "1.0.0", "https://git.example/a")
	w.crate("a", "1.0.0", all, info(w.commit("a", map[string]map[string]string{"": all}), ""))
}

func TestWhatIsProvenIsLoggedOnce(t *testing.T) {
	w := newWorld(t)
	w.one()
	_, asked, given := w.logged()
	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Proven, "", "")
	if given.Load() != 0 || asked.Load() == 0 {
		t.Errorf("%d submissions without --submit, of %d requests", given.Load(), asked.Load())
	}
	w.cfg.Submit = true
	r, err = w.run(t.Context()) // hands over what is on the disk
	fatalIf(t, err)
	w.want(r, "a", Proven, "", "")
	bundle, err := os.ReadFile(filepath.Join(w.cfg.Dir, "a-1.0.0"+BundleExt))
	if e, _, bundleErr := bundled(bundle); err != nil || bundleErr != nil || e.Subject.Name != "a" {
		t.Errorf("%v %v", err, bundleErr)
	}
	r, err = w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Logged, "", "the log says so")
	w.cfg.Believed = func(_, bundle []byte) error { return nil }
	r, err = w.run(t.Context())
	fatalIf(t, err)
	if c := said(t, r, "a"); c.Outcome != Logged || c.Detail != "" || c.Commit == "" {
		t.Errorf("%+v", c)
	}
	if given.Load() != 1 || w.proofs.Load() != 1 {
		t.Errorf("%d submissions, %d proofs", given.Load(), w.proofs.Load())
	}
	w.cfg.Believed = func(_, bundle []byte) error { return errors.New("signed by nobody") }
	r, err = w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Refused, Other, "signed by nobody")
}

// TestALogLearnsOnlyWhatItMay: not even the names of crates of a private registry.
func TestALogLearnsOnlyWhatItMay(t *testing.T) {
	w := newWorld(t)
	w.one()
	_, asked, _ := w.logged()
	w.cfg.Submit = true
	w.cfg.MayAsk = func(index string) bool { return index != "https://index.example/" }
	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Proven, "", "may not be told")
	if asked.Load() != 0 || said(t, r, "a").Next == "" {
		t.Errorf("%d requests", asked.Load())
	}
}

// TestARegistryToAllowIsNamedAsThePolicyNamesIt: with "sparse+", as Cargo.lock has it.
func TestARegistryToAllowIsNamedAsThePolicyNamesIt(t *testing.T) {
	w := newWorld(t)
	w.one()
	w.logged()
	w.cfg.Submit = true
	w.cfg.MayAsk = func(string) bool { return false }
	w.packages[0].Source = "sparse+https://index.example/a/"
	r, err := w.run(t.Context())
	fatalIf(t, err)
	if next := said(t, r, "a").Next; !strings.Contains(next, `[registry."sparse+https://index.example/a/"]`) {
		t.Error(next)
	}
}

func TestALogThatLiesOrRefusesIsNamed(t *testing.T) {
	const path = "/v1/crates/"
	refusal := `{"reason":"crate-refused","message":"no"}`
	for what, c := range map[string]struct {
		answer  func(http.ResponseWriter, *http.Request) bool
		outcome Outcome
		word    string
	}{
		"garbage":   {testlog.Answer(path, 200, []byte("x")), Failed, "is no bundle"},
		"an error":  {testlog.Answer(path, 500, nil), Failed, "could not be asked"},
		"a refusal": {testlog.Answer("/v1/submit", 422, []byte(refusal)), Refused, "crate-refused"},
		"registry":  {testlog.Answer("/v1/submit", 422, []byte(`{"reason":"registry-mismatch","message":"no"}`)), Refused, "registry-mismatch"},
		"lag":       {testlog.Answer("/v1/submit", 503, []byte(`{"reason":"not-in-registry","message":"no"}`)), Failed, "not-in-registry"},
		"overload":  {testlog.Answer("/v1/submit", 503, nil), Failed, "it is proven, and could not be logged"},
		"no answer": {testlog.Answer("/v1/submit", 200, []byte("x")), Failed, "it is proven, and could not be logged"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.one()
			log, _, _ := w.logged()
			w.cfg.Submit = true
			log.Intercept(c.answer)
			r, err := w.run(t.Context())
			fatalIf(t, err)
			cause := Cause("")
			if c.outcome == Refused {
				cause = Other
			}
			if what == "registry" {
				cause = NotListed
			}
			w.want(r, "a", c.outcome, cause, c.word)
			if got := said(t, r, "a"); strings.Contains(got.Detail, "\x1b") || got.Next == "" {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("another crate", func(t *testing.T) {
		w := newWorld(t)
		w.one()
		log, _, _ := w.logged()
		w.cfg.Submit = true
		_, err := w.run(t.Context())
		fatalIf(t, err)
		// The same name and version, other bytes.
		all := files("a", "1.0.0", "https://git.example/a")
		all["more.rs"] = "//\n"
		w.packages = nil
		w.crate("a", "1.0.0", all, info(w.commit("a", map[string]map[string]string{"": all}), ""))
		r, err := w.run(t.Context())
		fatalIf(t, err)
		w.want(r, "a", Refused, Other, "another .crate of this version")
		bundle, err := os.ReadFile(filepath.Join(w.cfg.Dir, "a-1.0.0"+BundleExt))
		fatalIf(t, err)
		// A bundle of something else for b.
		w.mapping = ""
		w.packages = nil
		all = files("b", "1.0.0", "https://git.example/b")
		w.crate("b", "1.0.0", all, info(strings.Repeat("12", 20), ""))
		log.Intercept(testlog.Answer(path, 200, bundle))
		r, err = w.run(t.Context())
		fatalIf(t, err)
		if c := said(t, r, "b"); c.Outcome == Logged || c.Outcome == Proven {
			t.Errorf("%+v", c)
		}
	})
}

// TestALoggedCrateIsSaidToBeLogged, though its bundle cannot be kept, and the next run fetches that.
func TestALoggedCrateIsSaidToBeLogged(t *testing.T) {
	w := newWorld(t)
	w.one()
	w.logged()
	w.cfg.Submit = true
	bundle := filepath.Join(w.cfg.Dir, "a-1.0.0"+BundleExt)
	fatalIf(t, os.MkdirAll(bundle, 0o755))
	r, err := w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Failed, "", "it is logged, and its bundle could not be kept: ")
	if c := said(t, r, "a"); c.Next != "run the same command again" {
		t.Errorf("%+v", c)
	}
	fatalIf(t, os.Remove(bundle))
	r, err = w.run(t.Context())
	fatalIf(t, err)
	w.want(r, "a", Logged, "", "")
}
