// Package registrytest is a registry for tests: a sparse index, downloads and the
// publish API on a loopback port, as cargo speaks with them, and ways to misbehave.
//
// It accepts any archive that cargo would accept, hostile ones too: what a test
// registry serves is the test's to decide.
package registrytest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"cratelog/cargo/registry"
)

// Registry is a running registry. It is safe for concurrent use.
type Registry struct {
	URL   string // base URL of the server, without a slash at its end
	Index string // base URL of the sparse index, with a slash at its end: "sparse+"+Index is what cargo takes

	t testing.TB

	mu        sync.Mutex // guards all below
	crates    map[string][]*release
	token     string
	auth      bool
	warnings  []string
	refusal   string
	upstream  *registry.Index
	meddle    func(http.ResponseWriter, *http.Request) bool
	requests  []string
	published []Published
	announced any               // "cratelog" of config.json; nil for none
	evidence  map[string][]byte // files by their paths; nil: none is taken
}

// release is one published version; what is served of it can be changed.
type release struct {
	name, version string
	raw           []byte // as served
	line          map[string]any
	hidden        bool
}

// Published is one release that arrived through the publish API.
type Published struct {
	Name, Version string
	Metadata      json.RawMessage // as cargo sent it
	Raw           []byte
}

// New starts a registry, and stops it when the test ends.
func New(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{t: t, crates: make(map[string][]*release)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /index/config.json", r.serveConfig)
	mux.HandleFunc("GET /index/{path...}", r.serveIndex)
	mux.HandleFunc("GET /dl/{crate}/{version}/download", r.serveDownload)
	mux.HandleFunc("PUT /api/v1/crates/new", r.servePublish)
	mux.HandleFunc("GET /evidence/{path...}", r.serveEvidence)
	mux.HandleFunc("PUT /evidence/{path...}", r.takeEvidence)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, q.Method+" "+q.URL.Path)
		meddle := r.meddle
		r.mu.Unlock()
		if meddle != nil && meddle(w, q) {
			return
		}
		mux.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.URL, r.Index = server.URL, server.URL+"/index/"
	return r
}

// AddCrate publishes a .crate: its line in the index is made from the Cargo.toml in
// it, as a registry makes it. The test fails if the archive cannot be read, or if the
// version is there already.
func (r *Registry) AddCrate(raw []byte) {
	r.t.Helper()
	if err := r.add(raw); err != nil {
		r.t.Fatal(err)
	}
}

// Add publishes a crate that MakeCrate makes.
func (r *Registry) Add(name, version string) {
	r.t.Helper()
	r.AddCrate(MakeCrate(name, version, nil))
}

func (r *Registry) add(raw []byte) error {
	line, err := lineOf(raw)
	if err != nil {
		return err
	}
	c := &release{name: line["name"].(string), version: line["vers"].(string), raw: raw, line: line}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.find(c.name, c.version) != nil {
		return fmt.Errorf("%s v%s is already published", c.name, c.version)
	}
	key := strings.ToLower(c.name)
	r.crates[key] = append(r.crates[key], c)
	return nil
}

// find returns a release, nil if there is none. r.mu is held.
func (r *Registry) find(name, version string) *release {
	for _, c := range r.crates[strings.ToLower(name)] {
		if c.version == version {
			return c
		}
	}
	return nil
}

// change hands a release to f. The test fails if there is none.
func (r *Registry) change(name, version string, f func(*release)) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.find(name, version)
	if c == nil {
		r.t.Fatalf("the test registry has no %s v%s", name, version)
	}
	f(c)
}

// Swap serves other bytes for a release. The index goes on listing the checksum of
// the old ones.
func (r *Registry) Swap(name, version string, raw []byte) {
	r.t.Helper()
	r.change(name, version, func(c *release) { c.raw = raw })
}

// Replace serves other bytes for a release, and their checksum in the index, as a
// registry does that lies, or whose publisher's account was taken over.
func (r *Registry) Replace(name, version string, raw []byte) {
	r.t.Helper()
	line, err := lineOf(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	r.change(name, version, func(c *release) { c.raw, c.line = raw, line })
}

// SetChecksum lists another checksum in the index, and serves the same bytes.
func (r *Registry) SetChecksum(name, version string, sum [32]byte) {
	r.t.Helper()
	r.change(name, version, func(c *release) { c.line["cksum"] = fmt.Sprintf("%x", sum) })
}

// Yank marks a release as yanked, or takes the mark away.
func (r *Registry) Yank(name, version string, yanked bool) {
	r.t.Helper()
	r.change(name, version, func(c *release) { c.line["yanked"] = yanked })
}

// Doctor hands the index line of a release to f, which may make it say something else than
// the Cargo.toml of the .crate. "deps" is a []map[string]any, "features2" has all features, as
// a map[string][]string.
func (r *Registry) Doctor(name, version string, f func(line map[string]any)) {
	r.t.Helper()
	r.change(name, version, func(c *release) { f(c.line) })
}

// Hide leaves a release out of index and downloads, or shows it again.
func (r *Registry) Hide(name, version string, hidden bool) {
	r.t.Helper()
	r.change(name, version, func(c *release) { c.hidden = hidden })
}

// SetToken demands a token for publishing, and with auth for everything.
func (r *Registry) SetToken(token string, auth bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token, r.auth = token, auth
}

// Upstream passes on what the registry does not have itself, index files and
// downloads, so that a project may mix crates of a test with a real registry's.
// Names that the registry has hide those of the upstream.
func (r *Registry) Upstream(x *registry.Index) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upstream = x
}

// Meddle hands every request to f first, which answers it and returns true, or
// returns false (or waits, and then does). nil stops it.
func (r *Registry) Meddle(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.meddle = f
}

// Fail answers every request whose path contains part with a status.
func (r *Registry) Fail(part string, status int) {
	r.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.Contains(q.URL.Path, part) {
			return false
		}
		http.Error(w, "the test registry fails on purpose", status)
		return true
	})
}

// Requests returns "METHOD path" of all requests since the last call.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.requests
	r.requests = nil
	return q
}

func (r *Registry) serveConfig(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.allowed(w, q) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	says := map[string]any{"dl": r.URL + "/dl", "api": r.URL, "auth-required": r.auth}
	if r.announced != nil {
		says["cratelog"] = r.announced
	}
	json.NewEncoder(w).Encode(says)
}

// allowed checks the token if everything needs one. r.mu is held.
func (r *Registry) allowed(w http.ResponseWriter, q *http.Request) bool {
	if !r.auth || q.Header.Get("Authorization") == r.token {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Cargo login_url="http://example.com/token"`)
	http.Error(w, "a token is needed", http.StatusUnauthorized)
	return false
}

func (r *Registry) serveIndex(w http.ResponseWriter, q *http.Request) {
	path := q.PathValue("path")
	name := path[strings.LastIndexByte(path, '/')+1:]
	r.mu.Lock()
	ok, upstream := r.allowed(w, q), r.upstream
	body, known := r.file(name)
	r.mu.Unlock()
	switch {
	case !ok:
		return
	case path != registry.Path(name):
		http.NotFound(w, q)
		return
	case !known && upstream != nil:
		f, err := upstream.File(q.Context(), name)
		if err != nil {
			pass(w, err)
			return
		}
		body = f.Body
	case len(body) == 0:
		http.NotFound(w, q)
		return
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(body))
	w.Header().Set("ETag", etag)
	if q.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Write(body)
}

// file returns the index file of a crate, and whether it is one of ours. r.mu is
// held.
func (r *Registry) file(name string) (body []byte, known bool) {
	releases := r.crates[strings.ToLower(name)]
	for _, c := range releases {
		if !c.hidden {
			b, err := json.Marshal(c.line)
			if err != nil {
				r.t.Error(err)
			}
			body = append(append(body, b...), '\n')
		}
	}
	return body, len(releases) > 0
}

func (r *Registry) serveDownload(w http.ResponseWriter, q *http.Request) {
	name, version := q.PathValue("crate"), q.PathValue("version")
	r.mu.Lock()
	ok, upstream := r.allowed(w, q), r.upstream
	c := r.find(name, version)
	var raw []byte
	known := len(r.crates[strings.ToLower(name)]) > 0
	if c != nil && !c.hidden {
		raw = c.raw
	}
	r.mu.Unlock()
	switch {
	case !ok:
		return
	case !known && upstream != nil:
		releases, err := upstream.Releases(q.Context(), name)
		var found registry.Release
		if err == nil {
			found, err = registry.Find(releases, version)
		}
		if err == nil {
			raw, err = upstream.Download(q.Context(), name, version, found.Checksum)
		}
		if err != nil {
			pass(w, err)
			return
		}
	case raw == nil:
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(raw)
}
