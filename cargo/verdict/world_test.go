package verdict

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/cargo/policy"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

var now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeLog is a log over HTTP, with its trust file.
type fakeLog struct {
	*testlog.Log
	trust  string // text of the trust file
	server *httptest.Server

	joined   bool // it may be asked about builds
	anywhere bool // it may be asked for anything

	mu       sync.Mutex
	requests []string
}

func newLog(t testing.TB, origin string) *fakeLog {
	t.Helper()
	l := &fakeLog{Log: testlog.New(origin, 3, func() time.Time { return now })}
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		l.requests = append(l.requests, r.URL.Path)
		l.mu.Unlock()
		path := r.URL.Path
		tile := strings.HasPrefix(path, "/tile/") && !strings.HasPrefix(path, "/tile/entries/")
		builds := path == "/checkpoint" || path == "/v1/index" || l.joined && (strings.HasPrefix(path, "/tile/entries/") || strings.HasPrefix(path, "/v1/lists/") ||
			strings.HasPrefix(path, "/v1/artifacts/"))
		if !tile && !builds && !strings.HasPrefix(path, "/v1/crates/") && !strings.HasPrefix(path, "/v1/lookup/") && !strings.HasPrefix(path, "/v1/openings/") && !l.anywhere {
			t.Errorf("a log is asked for %s", path)
		}
		l.ServeHTTP(w, r)
	}))
	t.Cleanup(l.server.Close)
	l.trust = string(l.Trust(l.server.URL))
	return l
}

func (l *fakeLog) add(e *entry.Entry) { l.Add(testlog.Must(e.Marshal())) }

// pad adds leaves that are no entries, and a seal, until there are n.
func (l *fakeLog) pad(n int64, what string) { l.become(grown(l.Tree, n, what)) }

// grown adds leaves that are no entries, and a seal, until a tree has n.
func grown(t *testlog.Tree, n int64, what string) *testlog.Tree {
	t.Grow(n-1, what).SealAs(t.Map(n - 1).Root())
	return t
}

// become makes the log show another tree from now on.
func (l *fakeLog) become(t *testlog.Tree) {
	l.Tree = t
	l.Publish()
}

// show makes the log hand out a checkpoint of the first entries.
func (l *fakeLog) show(size int64) {
	l.Serve(l.Tree, l.Tree.Size(), l.Sign(l.Tree, size, l.Witnesses...))
}

// bundle makes the bundle of a leaf of a tree under its first size ones, the last of which is a seal.
func (l *fakeLog) bundle(t *testlog.Tree, index, size int64) []byte {
	return t.Bundle(index, size, l.Sign(t, size, l.Witnesses...))
}

// asked returns how often the log was asked since the last time.
func (l *fakeLog) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.requests)
	l.requests = nil
	return n
}

// wasAsked checks how often the log was asked since the last time.
func (l *fakeLog) wasAsked(t testing.TB, n int) {
	t.Helper()
	if got := l.asked(); got != n {
		t.Errorf("the log was asked %d times, not %d", got, n)
	}
}

// says makes the log answer the same to everything below a path.
func (l *fakeLog) says(path string, code int, b []byte) { l.Intercept(testlog.Answer(path, code, b)) }

// down makes the log answer nothing.
func (l *fakeLog) down() { l.says("/", http.StatusBadGateway, nil) }

func (l *fakeLog) up() { l.Intercept(nil) }

// place is a user's machine.
type place struct {
	t      testing.TB
	dir    string // cache, state, crates and zkp.toml
	policy *policy.Policy
	at     time.Time
}

func newPlace(t testing.TB, settings string, logs ...*fakeLog) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), at: now}
	p.settings(settings, logs...)
	return p
}

func (p *place) settings(settings string, logs ...*fakeLog) {
	p.t.Helper()
	var names []string
	for i, l := range logs {
		name := fmt.Sprintf("log%d.policy", i)
		fatalIf(p.t, os.WriteFile(filepath.Join(p.dir, name), []byte(l.trust), 0o600))
		names = append(names, fmt.Sprintf("%q", name))
	}
	text := "version = 1\n"
	if len(logs) > 0 {
		text += "trust = [" + strings.Join(names, ", ") + "]\n"
	}
	path := filepath.Join(p.dir, policy.FileName)
	fatalIf(p.t, os.WriteFile(path, []byte(text+settings), 0o600))
	var err error
	p.policy, err = policy.Load(path, "")
	fatalIf(p.t, err)
}

func (p *place) checker(offline bool) *Checker {
	p.t.Helper()
	c, err := New(Config{Policy: p.policy, Cache: filepath.Join(p.dir, "cache"), State: filepath.Join(p.dir, "state"),
		Offline: offline, Now: func() time.Time { return p.at }, Log: slog.New(slog.DiscardHandler)})
	fatalIf(p.t, err)
	return c
}

// want stores a .crate and returns a required Want.
func (p *place) want(name, version string, raw []byte) Want {
	p.t.Helper()
	path := filepath.Join(p.dir, name+"-"+version+".crate")
	fatalIf(p.t, os.WriteFile(path, raw, 0o600))
	return Want{Name: name, Version: version, Checksum: sha256.Sum256(raw), Path: path, Demand: required(name, version)}
}

func required(name, version string) policy.Demand {
	return policy.Demand{Package: policy.Package{Name: name, Version: version}, Status: policy.Required, Because: []string{"the test asks for it"}}
}

// forget removes the cache.
func (p *place) forget() {
	p.t.Helper()
	fatalIf(p.t, os.RemoveAll(filepath.Join(p.dir, "cache")))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	fatalIf(t, err)
	return b
}

func unpacked(t testing.TB, w Want) *crate.Crate {
	t.Helper()
	c, err := crate.ReadFile(w.Path, limits)
	fatalIf(t, err)
	return c
}

func (p *place) all(wants ...Want) []Verdict {
	p.t.Helper()
	return p.checker(false).All(p.t.Context(), wants, nil)
}

func (p *place) offline(wants ...Want) []Verdict {
	p.t.Helper()
	return p.checker(true).All(p.t.Context(), wants, nil)
}

// real returns the fixtures' crates with their entries, whose proofs are real.
func real(t testing.TB) (names [][2]string, raws [][]byte, entries []*entry.Entry) {
	t.Helper()
	for _, n := range [][2]string{{"hello-proof", "0.1.0"}, {"hello-proof", "0.1.1"}, {"hello-inner", "0.1.0"}} {
		names, raws, entries = append(names, n), append(raws, fixture.Crate(t, n[0], n[1])), append(entries, fixture.Entry(t, n[0]+"-"+n[1]))
	}
	return names, raws, entries
}

var forger = sync.OnceValues(forge.Default)

// forged returns a crate of one file with an entry whose proof verifies.
func forged(t testing.TB, name, version string) ([]byte, *entry.Entry) {
	t.Helper()
	f, err := forger()
	fatalIf(t, err)
	raw, e, err := f.Crate(name, version, "// "+name+" "+version+"\n")
	fatalIf(t, err)
	return raw, e
}

// verified checks that all verdicts are good.
func verified(t testing.TB, vs []Verdict) {
	t.Helper()
	for _, v := range vs {
		if v.Status != Verified || v.Facts == nil || v.Err != nil {
			t.Errorf("%s %s is %v: %v", v.Name, v.Version, v.Status, v.Err)
		}
	}
}

// refused checks that a verdict is bad for a reason, in words.
func refused(t testing.TB, v Verdict, s Status, slug string, words ...string) {
	t.Helper()
	e := Explain(v.Err)
	if e == nil || v.Status != s || e.Reason != slug || v.Facts != nil {
		t.Errorf("%s %s is %v, %+v: %v\nwant %v, %s", v.Name, v.Version, v.Status, e, v.Err, s, slug)
		return
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%s %s: %v\nwant ... %s ...", v.Name, v.Version, e, w)
		}
	}
}

// files lists files below a directory of the place.
func (p *place) files(below string) []string {
	p.t.Helper()
	var out []string
	fatalIf(p.t, filepath.WalkDir(filepath.Join(p.dir, below), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	}))
	slices.Sort(out)
	return out
}
