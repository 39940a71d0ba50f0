// Package web is what a monitor shows: pages for people, a JSON API for auditors,
// feeds, and the files that prove what it says. It reads the store and never
// writes; what readers send to POST /v1/gossip goes through Config.Gossip.
//
// docs/monitor-api.md is the API's reference. Every page has its JSON, made of the same
// values, under its address with ".json" behind it.
//
// An attacker may have written anything that is shown: names, paths and notes are
// escaped by html/template, encoding/json and encoding/xml, and the pages
// load nothing but one style sheet of this server and run no script, but for the one on
// which a reader's browser verifies an entry (Config.Checker).
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/web"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// Proofs checks proofs and knows what the programs are. *proofcheck.Verifier is one.
type Proofs interface {
	entry.Verifier
	// Program returns an accepted program.
	Program(id [32]byte) (proofcheck.Program, bool)
}

// Gossip takes what readers send: a signed checkpoint, or a bundle.
type Gossip interface {
	// Gossip compares a note or bundle, of at most MaxGossip bytes, with what the
	// monitor knows, and keeps it if a log has signed it. The verdict is one of
	// store.Consistent, Inconsistent and Pending; text says more, for people. The
	// error is ErrGossip if the bytes are not worth keeping, else the monitor's own.
	Gossip(ctx context.Context, b []byte) (verdict, text string, err error)
}

// ErrGossip marks what a monitor refuses as gossip. The error's text is shown to the
// sender.
var ErrGossip = errors.New("refused")

// MaxGossip is the size of what POST /v1/gossip takes, in bytes.
const MaxGossip = client.MaxBundleSize

// Config is what a Server is made of. Store, Policies and Proofs are required.
type Config struct {
	Store *store.Reader
	// Policies are the trust files of the followed logs, by origin. Bundles are verified
	// under them before they are served; a log without one has no bundles. One that asks
	// for no witness is taken at its word, as the operator's choice.
	Policies map[string]*client.Policy
	Proofs   Proofs

	Name     string // what the pages call this monitor; "cratelog monitor" if empty
	URL      string // public base URL without a slash at its end, for feeds; "" for relative links
	Evidence string // directory of the evidence files; "" if there is none
	Gossip   Gossip // nil: POST /v1/gossip is answered with 404

	// Checker is what browsers load to verify entries themselves; nil for none. Trust are the
	// trust files of Policies, by origin, which its page shows.
	Checker *Checker
	Trust   map[string][]byte

	// StaleAfter is the age from which a newest checkpoint is called stale; 0 for an
	// hour.
	StaleAfter time.Duration
	// Repositories are the addresses of crates' repositories, by name of the crate, as
	// the operator knows them: no log and no proof vouches for them.
	Repositories map[string]string
	// Sets are the sets of builders that the operator knows.
	Sets []*build.Set

	Now func() time.Time // nil for the clock
	Log *slog.Logger     // nil for none
}

// Server is the monitor's web surface, an http.Handler.
type Server struct {
	cfg      Config
	routes   http.Handler
	style    []byte
	stylesrc string
	pages    map[string]*template.Template
	limit    *limiter
	programs programCache
	browser  *servedChecker // nil without a checker
}

var _ http.Handler = (*Server)(nil)

// timeout is for one request.
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
	s := &Server{cfg: cfg, style: style, stylesrc: "/style." + hex.EncodeToString(sum[:6]) + ".css",
		limit: newLimiter(cfg.Now)}
	if cfg.Checker != nil {
		if s.browser, err = newBrowser(cfg.Checker); err != nil {
			return nil, err
		}
	}
	if s.pages, err = parsePages(s); err != nil {
		return nil, err
	}
	s.routes = s.handler()
	return s, nil
}

// handler routes and bounds what is asked.
func (s *Server) handler() http.Handler {
	server := web.Server{Name: "monitor", Nothing: "There is nothing at this address.", Headers: securityHeaders,
		Log: s.cfg.Log, Page: s.errorPage}
	routes := []web.Route{
		{Pattern: "POST /v1/gossip", Handler: s.gossip},
		{Pattern: "GET " + s.stylesrc, Handler: s.styleSheet},
		{Pattern: "GET /favicon.svg", Handler: s.favicon},
	}
	if b := s.browser; b != nil {
		routes = append(routes, web.Route{Pattern: "GET " + b.scriptSrc, Handler: b.page},
			web.Route{Pattern: "GET " + b.workerSrc, Handler: b.work}, web.Route{Pattern: "GET " + b.binary, Handler: b.program})
	}
	for _, route := range []struct {
		pattern string
		handler func(q *request) error
		params  string // that it takes
	}{
		{"GET /v1/entries", s.apiEntries, "order limit cursor " + entryFilters},
		{"GET /v1/entries/{key}", s.apiEntry, "log"},
		{"GET /v1/crates/{name}", s.apiCrate, "log order limit cursor"},
		{"GET /v1/checkpoints", s.apiCheckpoints, "log size verdict order limit cursor"},
		{"GET /v1/findings", s.apiFindings, findingFilters},
		{"GET /v1/statistics", s.apiStatistics, "log"},
		{"GET /v1/logs", s.apiLogs, "log"},
		{"GET /v1/witnesses", s.apiWitnesses, "log"},
		{"GET /v1/export.csv", s.exportCSV, entryFilters},
		{"GET /v1/export.ndjson", s.exportNDJSON, entryFilters},
		{"GET /{$}", s.overview, ""},
		{"GET /index.json", s.overview, ""},
		{"GET /log", s.logPage, "log cursor"},
		{"GET /log.json", s.logPage, "log cursor"},
		{"GET /search", s.search, "q"},
		{"GET /search.json", s.search, "q"},
		{"GET /c/{name}", s.crate, "log order limit cursor"},
		{"GET /c/{name}/{version}", s.version, ""},
		{"GET /c/{name}/{version}/{$}", s.version, ""},
		{"GET /e/{key}", s.entry, "log"},
		{"GET /e/{key}/verify", s.verify, "log"},
		{"GET /cp/{key}", s.checkpoint, "log root"},
		{"GET /evidence", s.findings, findingFilters},
		{"GET /evidence.json", s.findings, findingFilters},
		{"GET /evidence/{key}", s.evidence, ""},
		{"GET /feed.atom", s.feed, "class"},
	} {
		routes = append(routes, web.Route{Pattern: route.pattern,
			Handler: s.ask(route.handler, strings.Fields(route.params))})
	}
	for i, route := range routes {
		routes[i].Handler = inTime(route.Handler)
	}
	return server.Handler(routes)
}

// request is a question with what is needed to answer it.
type request struct {
	w http.ResponseWriter
	r *http.Request
	*params
	*logs // before the answer is read: what lists are complete up to
}

func (q *request) ctx() context.Context { return q.r.Context() }

// ask makes a handler of one that takes the known parameters.
func (s *Server) ask(h func(q *request) error, known []string) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := parseParams(r, known)
		if err != nil {
			return err
		}
		l, err := s.logs(r.Context())
		if err != nil {
			return err
		}
		return h(&request{w, r, p, l})
	}
}

// inTime bounds the work for one request, except exports.
func inTime(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		if !strings.HasPrefix(r.URL.Path, "/v1/export.") {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		err := h(w, r.WithContext(ctx))
		var refused *web.Refusal
		switch {
		case err == nil, errors.As(err, &refused):
		case errors.Is(err, context.DeadlineExceeded), errors.Is(ctx.Err(), context.DeadlineExceeded):
			return refuse(http.StatusServiceUnavailable, "too-slow",
				"This question takes the monitor too long. Narrow it down, or use an export.")
		case ctx.Err() != nil:
			return ctx.Err() // the reader left, whatever the database calls it
		}
		return err
	}
}

// securityHeaders hold for every answer. Nothing here needs a script, a frame, a
// font, or anything of another host.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "cross-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
}

// ServeHTTP implements http.Handler. The server around it must set timeouts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

func (s *Server) styleSheet(w http.ResponseWriter, r *http.Request) error {
	immutable(w)
	return send(w, r, "text/css; charset=utf-8", s.style)
}

const favicon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#2b8a8f"
stroke-width="2" stroke-linecap="round" stroke-linejoin="round">
<path d="M12 2 21 7v10l-9 5-9-5V7z"/><path d="m8 12 3 3 5.5-6"/></svg>
`

func (s *Server) favicon(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "max-age=86400")
	return send(w, r, "image/svg+xml", []byte(favicon))
}

// refuse makes an answer that is not a success, in words for the reader.
func refuse(status int, reason, message string) error {
	return &web.Refusal{Status: status, Reason: reason, Message: message}
}

func notFound(message string) error { return refuse(http.StatusNotFound, "not-found", message) }

func badRequest(message string) error {
	return refuse(http.StatusBadRequest, "malformed-request", message)
}

// wantsPage says whether an error is for a person, who asked for a page.
func wantsPage(r *http.Request) bool {
	for _, prefix := range []string{"/v1/", "/style.", "/favicon", "/verify/"} {
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
		w.Header().Set("Cache-Control", "no-cache") // may be kept, must be revalidated
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
