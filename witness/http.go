package witness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cratelog/internal/web"
)

// Handler returns the witness's whole HTTP surface. Submission prefix and
// monitoring prefix are the same.
//
//	POST /add-checkpoint                    c2sp.org/tlog-witness
//	POST /sign-subtree                      the same, with an ML-DSA-44 key
//	GET  /<sha256hex(origin)>/checkpoint    the checkpoint cosigned last
//	GET  /<sha256hex(origin)>/forks         proof of forks, JSON: a list of Fork
//	GET  /                                  who we are and what we watch; for browsers a page, else text
//	GET  /healthz                           JSON: 200 while all is well, else 503 and what is not
//	GET  /readyz                            the same of what keeps it from cosigning
//	GET  /livez                             200 while the process answers
//	GET  /metrics                           Prometheus
//
// Every web page may read what GET answers. The server around it must set timeouts.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.answer("add-checkpoint", w.AddCheckpoint))
	mux.HandleFunc("POST /sign-subtree", w.answer("sign-subtree", w.SignSubtree))
	mux.HandleFunc("GET /{hash}/checkpoint", w.serveCheckpoint)
	mux.HandleFunc("GET /{hash}/forks", w.serveForks)
	mux.HandleFunc("GET /{$}", w.serveIndex)
	for _, route := range append(w.probes().Routes(), web.Look()...) {
		mux.HandleFunc(route.Pattern, func(rw http.ResponseWriter, r *http.Request) { route.Handler(rw, r) }) // none fails
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.metrics.registry, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			rw.Header().Set("Access-Control-Allow-Origin", "*")
		}
		mux.ServeHTTP(rw, r)
	})
}

// answer handles a request that asks for cosignatures.
func (w *Witness) answer(call string, do func(ctx context.Context, body []byte) ([]byte, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now() // a duration, so not the witness's clock
		body, err := readBody(rw, r)
		var lines []byte
		if err == nil {
			lines, err = do(r.Context(), body)
		}
		code := StatusCode(err)
		w.metrics.observe(call, code, time.Since(start).Seconds())
		w.log.Debug(call, "code", code, "error", err, "remote", r.RemoteAddr)
		w.reply(rw, call, lines, err)
	}
}

func (w *Witness) reply(rw http.ResponseWriter, call string, lines []byte, err error) {
	var conflict *ConflictError
	switch code := StatusCode(err); {
	case err == nil:
		writeText(rw, "text/plain; charset=utf-8", string(lines))
	case errors.As(err, &conflict):
		// SPEC: The response body MUST consist of the tree size of the latest
		// cosigned checkpoint in decimal, followed by a newline, [with the]
		// Content-Type text/x.tlog.size.
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(code)
		fmt.Fprintf(rw, "%d\n", conflict.Size)
	case code == http.StatusInternalServerError:
		w.log.Error(call+" failed", "error", err)
		http.Error(rw, "internal error; nothing was cosigned", code)
	default:
		if code == http.StatusServiceUnavailable {
			rw.Header().Set("Retry-After", "60")
		}
		http.Error(rw, err.Error(), code)
	}
}

func readBody(rw http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, MaxRequest))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, malformed("the body could not be read to its end")
	}
	return body, nil
}

func writeText(rw http.ResponseWriter, contentType, text string) {
	rw.Header().Set("Content-Type", contentType)
	io.WriteString(rw, text) // the client is gone if this fails
}

// fail answers a request that only reads when the database fails.
func (w *Witness) fail(rw http.ResponseWriter, what string, err error) {
	w.log.Error("reading the database failed", "for", what, "error", err)
	http.Error(rw, "the witness's database does not answer", http.StatusServiceUnavailable)
}

// SPEC: The witness SHOULD serve [...] at
// <monitoring prefix>/<lowercase hex SHA-256 of the origin>/checkpoint the
// latest checkpoint with its cosignatures and the log's verified signatures.
func (w *Witness) serveCheckpoint(rw http.ResponseWriter, r *http.Request) {
	origin, ok := w.origin(r.PathValue("hash"))
	if !ok {
		http.Error(rw, ErrUnknownLog.Error(), http.StatusNotFound)
		return
	}
	signed, err := w.Checkpoint(r.Context(), origin)
	switch {
	case err != nil:
		w.fail(rw, "checkpoint", err)
	case signed == nil:
		http.Error(rw, "this witness has not cosigned a checkpoint of this log yet", http.StatusNotFound)
	default:
		rw.Header().Set("Cache-Control", "no-cache")
		writeText(rw, "text/plain; charset=utf-8", string(signed))
	}
}

func (w *Witness) serveForks(rw http.ResponseWriter, r *http.Request) {
	origin, ok := w.origin(r.PathValue("hash"))
	if !ok {
		http.Error(rw, ErrUnknownLog.Error(), http.StatusNotFound)
		return
	}
	forks, err := w.Forks(r.Context(), origin)
	if err != nil {
		w.fail(rw, "forks", err)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	json.NewEncoder(rw).Encode(forks) // the client is gone if this fails
}

func (w *Witness) serveIndex(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.page(rw, r)
		return
	}
	states, _, err := w.overview(r.Context())
	if err != nil {
		w.fail(rw, "index", err)
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "cratelog witness %s\n\n", w.name)
	for _, vkey := range w.VKeys() {
		fmt.Fprintf(&b, "vkey %s\n", vkey)
	}
	b.WriteString("\nPOST /add-checkpoint\nPOST /sign-subtree\nGET  /<SHA-256 of the origin>/checkpoint, /<SHA-256 of the origin>/forks\n")
	for _, origin := range w.Origins() {
		b.WriteString("\n" + w.describe(origin, states[origin]))
	}
	writeText(rw, "text/plain; charset=utf-8", b.String())
}

func (w *Witness) describe(origin string, st state) string {
	text := fmt.Sprintf("log %s\n", origin)
	if w.watched(origin) == nil {
		text += "disabled\n"
	}
	if st.Text == "" {
		return text + "nothing cosigned yet\n"
	}
	return text + fmt.Sprintf("size %d\ncosigned %s\n/%s/checkpoint\n",
		st.Size, time.Unix(st.Time, 0).UTC().Format(time.RFC3339), originHash(origin))
}
