package publish

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo/credential"
	"cratelog/cargo/registry"
	"cratelog/internal/outcome"
)

// bundlePath is where the registry has the bundle of a version of hello-publish.
func (s *site) bundlePath(version string) string {
	return registry.BundlePath(strings.TrimSuffix(s.reg.Index, "/"), "hello-publish", version, "publish.example/log")
}

func TestTheRegistryIsHandedTheEvidenceOnce(t *testing.T) {
	s := newSite(t)
	s.reg.TakeEvidence()
	s.release("0.1.0")
	says(t, s.mustRun(), "uploaded what is logged", "Handed the evidence of hello-publish v0.1.0 to the registry")
	kept := s.store()
	want := read(t, kept.File("hello-publish", "0.1.0", credential.ExtBundle))
	all := s.reg.Evidence()
	if got := all[s.bundlePath("0.1.0")]; string(got) != string(want) {
		t.Fatalf("the registry has %q, and the bundle is\n%s", got, want)
	}
	s.reg.Requests()
	says(t, s.mustRun(), "published already, with these bytes", "the registry has the evidence of hello-publish v0.1.0")
	for _, q := range s.reg.Requests() {
		if strings.HasPrefix(q, "PUT ") {
			t.Errorf("again: %s", q)
		}
	}
	s.reg.SetEvidence(s.bundlePath("0.1.0"), []byte("nonsense"))
	says(t, s.mustRun(), "Handed the evidence")
	if got := s.reg.Evidence()[s.bundlePath("0.1.0")]; string(got) != string(want) {
		t.Error("what was tampered with was left")
	}
}

func TestARegistryThatDoesNotTakeTheEvidenceIsAskedAgainNextTime(t *testing.T) {
	s := newSite(t)
	s.reg.TakeEvidence()
	s.release("0.1.0")
	for _, c := range []struct {
		status int
		code   outcome.Code
	}{{http.StatusServiceUnavailable, outcome.Unchecked}, {http.StatusForbidden, outcome.Refused}} {
		s.reg.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
			if q.Method != http.MethodPut || !strings.Contains(q.URL.Path, "/evidence/") {
				return false
			}
			http.Error(w, "not today", c.status)
			return true
		})
		said, err := s.run()
		if outcome.Of(err) != c.code {
			t.Errorf("%d: %v", c.status, err)
		} else {
			says(t, err.Error(), "hello-publish v0.1.0 is logged and published, and its evidence is not at the registry",
				"not today", "run the same command again")
		}
		says(t, said, "hello-publish v0.1.0")
	}
	s.uploads(1)
	s.reg.Meddle(nil)
	says(t, s.mustRun(), "Handed the evidence")
	s.uploads(0)
}

func TestTheTokenGoesNowhereByARedirect(t *testing.T) {
	s := newSite(t)
	s.reg.TakeEvidence()
	s.release("0.1.0")
	stranger := newStranger(t)
	s.reg.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method != http.MethodPut || !strings.Contains(q.URL.Path, "/evidence/") {
			return false
		}
		http.Redirect(w, q, stranger.URL, http.StatusTemporaryRedirect)
		return true
	})
	s.refused(func(*Config) {}, "is not at the registry", "307")
	if n := stranger.asked(); n != 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}

func TestNonsenseAboutEvidenceIsTold(t *testing.T) {
	s := newSite(t)
	s.release("0.1.0")
	for _, says := range []any{"x", map[string]any{"evidence": 1}, map[string]any{"evidence": "ftp://example.com/"},
		map[string]any{"evidence": "http://example.com/"}, map[string]any{"evidence": s.reg.URL + "/e/", "put": "https://u@example.com/"}} {
		s.reg.Announce(says)
		if _, err := s.run(); err == nil || !strings.Contains(err.Error(), "all is logged and published") {
			t.Errorf("%v: %v", says, err)
		}
	}
	s.reg.Announce(map[string]any{"evidence": s.reg.URL + "/evidence/"}) // which it does not take
	s.mustRun()
}

// stranger is a server that counts who asks.
type stranger struct {
	*httptest.Server
	n atomic.Int64
}

func newStranger(t *testing.T) *stranger {
	s := &stranger{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { s.n.Add(1) }))
	t.Cleanup(s.Close)
	return s
}

func (s *stranger) asked() int64 { return s.n.Load() }

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	fatalIf(t, err)
	return b
}

// An index without "sparse+" is a git repository, which announces nothing and lists nothing that is read
// here: what answers at its URL is not asked.
func TestAnIndexInGitIsNotAsked(t *testing.T) {
	settings, err := credential.ReadSettings(t.TempDir(), t.TempDir(), func(string) string { return "" })
	fatalIf(t, err)
	r := &run{target: &target{name: "my", index: "http://127.0.0.1:1/git"}, settings: settings}
	if e, err := r.takes(t.Context()); e != nil || err != nil {
		t.Errorf("it takes evidence: %v, %v", e, err)
	}
	if _, err := r.listed(t.Context(), &job{member: &member{}}, r.target.index); !errors.Is(err, registry.ErrNoIndex) {
		t.Errorf("it was asked: %v", err)
	}
}
