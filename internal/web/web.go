// Package web is the HTTP plumbing that log, witness and monitor share: routes whose handlers return
// errors, and one place that answers those; answers that are compressed, tagged and cut as readers ask;
// who a client is, ids and records of requests; a listener in which no client keeps others out; and the
// look of pages.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Handler is an http.HandlerFunc whose error is answered by the Server. It returns an
// error only before it has written anything.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Plain is a Handler that answers its errors itself.
func Plain(h http.HandlerFunc) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h(w, r)
		return nil
	}
}

// Route is a pattern of http.ServeMux, with a method, and its handler.
type Route struct {
	Pattern string
	Handler Handler
}

// Refusal is an error that the client is shown.
type Refusal struct {
	Status     int           `json:"-"`
	Reason     string        `json:"reason"`
	Message    string        `json:"message"`
	RetryAfter time.Duration `json:"-"` // 0: the answer has no such header
	Body       any           `json:"-"` // to send instead of reason and message; may be nil
}

func (r *Refusal) Error() string { return r.Message }

// Server says what the answers of one server have in common.
type Server struct {
	Name    string            // in the message about its own failures: "log"
	Nothing string            // the message about an address that it does not have
	Headers map[string]string // of every answer
	Log     *slog.Logger
	Cross   bool // web pages of other hosts may submit too, and OPTIONS is answered

	// Refusal turns an error into a refusal, and is nil where the error is the server's
	// own failure, whose text is for the operator only. A *Refusal needs no turning.
	Refusal func(err error) *Refusal
	// Proxies are believed when they name a client or an id of a request; see Client.
	Proxies []netip.Prefix
	Access  func(Access) // called after each request; may be nil
	// Page answers a reader who wants a page, and says whether it did. May be nil.
	Page func(w http.ResponseWriter, r *http.Request, x *Refusal) bool
}

// Handler serves routes. A panic is a 500, an unknown address and a wrong method are
// refusals, and every web page may read the answers. The server around it must set
// timeouts.
func (s *Server) Handler(routes []Route) http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		r, x := s.identify(r)
		w, body := &answer{ResponseWriter: out}, &counted{ReadCloser: r.Body}
		r.Body = body
		defer func() { s.record(r, x, w, body, begin) }()
		defer func() {
			v := recover()
			if v != nil && v != http.ErrAbortHandler {
				s.Log.Error("panic in a handler", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			}
			switch {
			case v == nil:
			case v == http.ErrAbortHandler, w.begun:
				panic(http.ErrAbortHandler) // an answer was cut off, and must not look whole
			default:
				s.fail(w, r, errors.New("panic"))
			}
		}()
		for k, v := range s.Headers {
			w.Header().Set(k, v)
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Request-Id", x.id)
		if s.open(w, r, mux) {
			return
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			s.fail(w, r, s.noRoute(w, r, mux))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// answer knows whether any of it may be on its way, and how much.
type answer struct {
	http.ResponseWriter
	begun  bool
	status int   // 0: none yet
	sent   int64 // bytes of the body
}

func (a *answer) WriteHeader(code int) {
	a.begun, a.status = true, code
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) begin() {
	a.begun = true
	if a.status == 0 {
		a.status = http.StatusOK
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.begin()
	n, err := a.ResponseWriter.Write(b)
	a.sent += int64(n)
	return n, err
}

// ReadFrom keeps what the server has for files.
func (a *answer) ReadFrom(r io.Reader) (int64, error) {
	a.begin()
	n, err := io.Copy(a.ResponseWriter, r)
	a.sent += n
	return n, err
}

// counted counts what is read of a body.
type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) error {
	if all := allowed(r, mux); len(all) > 0 {
		w.Header().Set("Allow", strings.Join(all, ", "))
		return &Refusal{Status: http.StatusMethodNotAllowed, Reason: "method-not-allowed",
			Message: "This address takes " + strings.Join(all, " and ") + " only."}
	}
	return &Refusal{Status: http.StatusNotFound, Reason: "not-found", Message: s.Nothing}
}

// fail answers with an error.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var x *Refusal
	if !errors.As(err, &x) && s.Refusal != nil {
		x = s.Refusal(err)
	}
	switch {
	case x != nil:
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		return // the client has left
	default:
		s.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		x = &Refusal{Status: http.StatusInternalServerError, Reason: "internal",
			Message: "The " + s.Name + " failed to answer; its operator can see why. Trying again is safe."}
	}
	if q := requestOf(r.Context()); q != nil {
		q.reason = x.Reason
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Del("Content-Disposition")
	if x.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(x.RetryAfter.Seconds()))))
	}
	switch {
	case s.Page != nil && s.Page(w, r, x):
	case x.Body != nil:
		WriteJSON(w, x.Status, x.Body)
	default:
		WriteJSON(w, x.Status, x)
	}
}

// WriteJSON answers with a value that cannot fail to encode.
func WriteJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(v)
}
