// Package web is what a monitor shows: pages for people, a JSON API for auditors,
// feeds, and the files that prove what it says. It reads the store and never
// writes; what a stranger sends to POST /v1/gossip goes through Config.Gossip.
//
// docs/monitor-api.md is the API's reference. Whatever stands under a page's
// address is there as JSON with ".json" behind it, made of the same values.
//
// Everything shown can have been written by somebody hostile: names, paths and
// notes are escaped by html/template, encoding/json and encoding/xml, and the pages
// load nothing but one style sheet of this server and run no script.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// Proofs checks proofs and knows what the programs are. *proofcheck.Verifier is one.
type Proofs interface {
	entry.Verifier
	// Program returns an accepted program.
	Program(id [32]byte) (proofcheck.Program, bool)
}

// Gossip takes what strangers send: a signed checkpoint, or a bundle.
type Gossip interface {
	// Gossip compares a note or bundle, of at most MaxGossip bytes, with what the
	// monitor knows, and keeps it if a log has signed it. The verdict is one of
	// store.Consistent, Inconsistent and Pending; text says more, for people. The
	// error is ErrGossip if the bytes are not worth keeping, else the monitor's own
	// trouble.
	Gossip(ctx context.Context, b []byte) (verdict, text string, err error)
}

// ErrGossip marks what a monitor refuses as gossip. The error's text is shown to
// whoever sent it.
var ErrGossip = errors.New("refused")

// MaxGossip is the size of what POST /v1/gossip takes, in bytes.
const MaxGossip = client.MaxBundleSize

// Config is what a Server is made of. Store, Policies and Proofs are required.
type Config struct {
	Store *store.Reader
	// Policies are those of the followed logs, by origin. Bundles are verified under them
	// before they are handed out; a log without one has no bundles. A policy that asks for
	// no witness is taken at its word, as the operator's choice.
	Policies map[string]*client.Policy
	Proofs   Proofs

	Name     string // what the pages call this monitor; "cratelog monitor" if empty
	URL      string // public base URL without a slash at its end, for feeds; "" for relative links
	Evidence string // directory of the evidence files; "" if there is none
	Gossip   Gossip // nil: POST /v1/gossip is answered with 404

	// StaleAfter is the age from which a newest checkpoint is called stale; 0 for an
	// hour.
	StaleAfter time.Duration
	// Repositories are the addresses of crates' repositories, by name of the crate, as
	// the operator knows them: no log and no proof vouches for them.
	Repositories map[string]string

	Now func() time.Time // nil for the clock
	Log *slog.Logger     // nil for none
}

// Server is the monitor's web surface, an http.Handler.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	style    []byte
	stylesrc string
	pages    map[string]*template.Template
	limit    *limiter
	programs programCache
}

var _ http.Handler = (*Server)(nil)

// timeout bounds the work for one request but exports.
const timeout = 20 * time.Second

//go:embed style.css templates
var files embed.FS

// New returns a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Policies == nil || cfg.Proofs == nil {
		return nil, errors.New("web: Store, Policies and Proofs are required")
	}
	if cfg.Name == "" {
		cfg.Name = "cratelog monitor"
	}
	if cfg.StaleAfter == 0 {
		cfg.StaleAfter = time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	style, err := files.ReadFile("style.css")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(style)
	s := &Server{cfg: cfg, style: style, stylesrc: "/style." + hex.EncodeToString(sum[:6]) + ".css", limit: newLimiter(cfg.Now)}
	if s.pages, err = parsePages(s); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

func (s *Server) routes() {
	s.mux = http.NewServeMux()
	for _, r := range []struct {
		pattern string
		handler func(w http.ResponseWriter, r *http.Request) error
	}{
		{"GET /v1/entries", s.apiEntries},
		{"GET /v1/entries/{key}", s.apiEntry},
		{"GET /v1/crates/{name}", s.apiCrate},
		{"GET /v1/checkpoints", s.apiCheckpoints},
		{"GET /v1/findings", s.apiFindings},
		{"GET /v1/statistics", s.apiStatistics},
		{"GET /v1/logs", s.apiLogs},
		{"GET /v1/witnesses", s.apiWitnesses},
		{"GET /v1/export.csv", s.exportCSV},
		{"GET /v1/export.ndjson", s.exportNDJSON},
		{"POST /v1/gossip", s.gossip},

		{"GET /{$}", s.overview},
		{"GET /index.json", s.overview},
		{"GET /log", s.logPage},
		{"GET /log.json", s.logPage},
		{"GET /search", s.search},
		{"GET /search.json", s.search},
		{"GET /c/{name}", s.crate},
		{"GET /c/{name}/{version}", s.version},
		{"GET /c/{name}/{version}/{$}", s.version},
		{"GET /e/{key}", s.entry},
		{"GET /cp/{key}", s.checkpoint},
		{"GET /evidence", s.findings},
		{"GET /evidence.json", s.findings},
		{"GET /evidence/{key}", s.evidence},
		{"GET /feed.atom", s.feed},
		{"GET " + s.stylesrc, s.styleSheet},
		{"GET /favicon.svg", s.favicon},
	} {
		s.mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			if err := r.handler(w, req); err != nil {
				s.fail(w, req, err)
			}
		})
	}
}

// securityHeaders hold for every answer. Nothing here needs a script, a frame, a
// font, or anything of another host.
var securityHeaders = map[string]string{
	"Content-Security-Policy":      "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "cross-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
}

// ServeHTTP implements http.Handler. The server around it must set timeouts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			panic(v) // an export was cut off, and must not look whole
		default:
			s.cfg.Log.Error("panic in a handler", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			s.fail(w, r, errors.New("panic"))
		}
	}()
	for k, v := range securityHeaders {
		w.Header().Set(k, v)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		w.Header().Set("Access-Control-Allow-Origin", "*")
	}
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.fail(w, r, s.noRoute(w, r))
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/v1/export.") {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	s.mux.ServeHTTP(w, r)
}

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) error {
	probe := *r
	for _, probe.Method = range []string{http.MethodGet, http.MethodPost} {
		if _, pattern := s.mux.Handler(&probe); pattern != "" {
			w.Header().Set("Allow", probe.Method)
			return &refusal{http.StatusMethodNotAllowed, "method-not-allowed", "This address takes " + probe.Method + " only."}
		}
	}
	return notFound("There is nothing at this address.")
}

func (s *Server) styleSheet(w http.ResponseWriter, r *http.Request) error {
	immutable(w)
	return send(w, r, "text/css; charset=utf-8", s.style)
}

const favicon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2b8a8f" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"><path d="M12 2 21 7v10l-9 5-9-5V7z"/><path d="m8 12 3 3 5.5-6"/></svg>
`

func (s *Server) favicon(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "max-age=86400")
	return send(w, r, "image/svg+xml", []byte(favicon))
}

// refusal is an answer that is not a success, in words for whoever asked.
type refusal struct {
	Status  int    `json:"-"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func (e *refusal) Error() string { return e.Message }

func notFound(message string) error { return &refusal{http.StatusNotFound, "not-found", message} }

func badRequest(message string) error {
	return &refusal{http.StatusBadRequest, "malformed-request", message}
}

// fail answers with an error. What is not a refusal is this server's fault, and its
// text is for the operator only.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var ref *refusal
	switch {
	case errors.As(err, &ref):
	case errors.Is(err, context.DeadlineExceeded), errors.Is(r.Context().Err(), context.DeadlineExceeded):
		ref = &refusal{http.StatusServiceUnavailable, "too-slow", "This question takes the monitor too long. Narrow it down, or use an export."}
	case r.Context().Err() != nil:
		return // nobody is listening
	default:
		s.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		ref = &refusal{http.StatusInternalServerError, "internal", "The monitor failed to answer; its operator can see why. Trying again is safe."}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Del("Content-Disposition")
	if wantsPage(r) {
		s.errorPage(w, r, ref)
		return
	}
	writeJSON(w, ref.Status, ref)
}

// wantsPage says whether an error is for a person: whether what was asked for is a
// page.
func wantsPage(r *http.Request) bool {
	for _, prefix := range []string{"/v1/", "/style.", "/favicon"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return false
		}
	}
	for _, suffix := range []string{".json", ".atom", rawSuffix, bundleSuffix, noteSuffix, evidenceSuffix} {
		if strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// immutable says that what stands under this address never changes.
func immutable(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
}

// send answers a GET with bytes, or with 304 if the reader has them already.
func send(w http.ResponseWriter, r *http.Request, contentType string, b []byte) error {
	sum := sha256.Sum256(b)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-cache") // may be kept, must be asked about
	}
	for have := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	w.Header().Set("Content-Type", contentType)
	if r.Method != http.MethodHead {
		w.Write(b)
	}
	return nil
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	return b, err
}

var errTooLarge = errors.New("too large")
