// Package web is what a monitor shows: pages for people, a JSON API for auditors,
// feeds, and the files that prove what it says. It reads the store and never
// writes; what readers send goes through Config.Gossip and Config.Subscriptions.
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
	"embed"
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
	// Programs are all accepted programs.
	Programs() []proofcheck.Program
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
	// Sealed returns the maps of a log that bundles are made of, as store.Reader.Sealed does, by a monitor that has
	// them in memory. nil: they are made out of the store for each bundle.
	Sealed func(origin string) []store.Sealed

	Name     string // what the pages call this monitor; "cratelog monitor" if empty
	URL      string // public base URL without a slash at its end, for feeds; "" for relative links
	Evidence string // directory of the evidence files; "" if there is none
	Gossip   Gossip // nil: POST /v1/gossip is answered with 404
	// Subscriptions takes endpoints of readers who want to be told; nil: none.
	Subscriptions Subscriptions

	// Who runs this, for the page about it: each may be "".
	Operator string
	Contact  string // a mail address, an https URL, or words
	Since    string // when it began, in words

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
	cfg         Config
	routes      http.Handler
	pages       map[string]*template.Template
	limit       *limiter // of gossip
	subscribers *limiter
	programs    programCache
	browser     *servedChecker // nil without a checker
}

var _ http.Handler = (*Server)(nil)

// timeout is for one request.
const timeout = 20 * time.Second

//go:embed templates
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
	s := &Server{cfg: cfg, limit: newLimiter(cfg.Now, gossipEvery, gossipBurst),
		subscribers: newLimiter(cfg.Now, subscribeEvery, subscribeBurst)}
	var err error
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
	server := web.Server{Name: "monitor", Nothing: "There is nothing at this address.", Headers: web.PageHeaders,
		Log: s.cfg.Log, Page: s.errorPage}
	routes := append(web.Look(), s.posts()...)
	if b := s.browser; b != nil {
		routes = append(routes, web.Route{Pattern: "GET " + b.scriptSrc, Handler: b.page},
			web.Route{Pattern: "GET " + b.workerSrc, Handler: b.work}, web.Route{Pattern: "GET " + b.binary, Handler: b.program})
	}
	for _, route := range s.routeTable() {
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

// ServeHTTP implements http.Handler. The server around it must set timeouts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

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
	for _, prefix := range []string{"/v1/", "/style.", "/favicon", "/verify/", "/badge/", "/robots."} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			return false
		}
	}
	for _, suffix := range []string{".json", ".atom", rawSuffix, bundleSuffix, noteSuffix, evidenceSuffix} {
		if strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodPost
}
