package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"cratelog/build"
	"cratelog/client"
	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/monitor/web"
	"cratelog/proofcheck"
)

// queries are what can be asked: the address that answers, with a place for the key
// that some of them take. The answers are those of docs/monitor-api.md, to the byte.
var queries = map[string]string{
	"entries":     "/v1/entries",
	"entry":       "/v1/entries/%s",
	"raw":         "/e/%s.entry",
	"bundle":      "/e/%s.tlog-proof",
	"crate":       "/v1/crates/%s",
	"checkpoints": "/v1/checkpoints",
	"checkpoint":  "/cp/%s.json",
	"findings":    "/v1/findings",
	"statistics":  "/v1/statistics",
	"logs":        "/v1/logs",
	"witnesses":   "/v1/witnesses",
}

// exports are the formats of monitor export.
var exports = map[string]string{"csv": "/v1/export.csv", "ndjson": "/v1/export.ndjson"}

// query answers out of the database what the API would answer. A monitor may be
// running on it or not.
func query(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return askStore(ctx, "query", queries, args, stdout, stderr)
}

// export writes the history of all entries, or of those that the parameters choose.
func export(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return askStore(ctx, "export", exports, args, stdout, stderr)
}

func askStore(ctx context.Context, verb string, known map[string]string, args []string,
	stdout, stderr io.Writer) error {
	words, params, err := questionOf(args)
	if err != nil {
		return err
	}
	file := params.Get("config")
	params.Del("config")
	if file == "" || len(words) == 0 {
		return outcome.Usagef("%s needs -config, and what is asked for", verb)
	}
	path, err := addressOf(known, words)
	if err != nil {
		return err
	}
	s, err := loadSettings(file)
	if err != nil {
		return err
	}
	r, err := store.OpenReader(ctx, s.database())
	if err != nil {
		return err
	}
	defer r.Close()
	server, err := s.pagesOver(r, slog.New(slog.NewTextHandler(stderr, nil)))
	if err != nil {
		return err
	}
	if len(params) > 0 {
		path += "?" + params.Encode()
	}
	return answer(ctx, server, path, stdout)
}

// questionOf takes apart a command line: words, and parameters with their values,
// which may stand anywhere. The API knows which parameters there are.
func questionOf(args []string) (words []string, params url.Values, err error) {
	params = make(url.Values)
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		name, ok := strings.CutPrefix(arg, "-")
		if daemon.IsHelp(arg) {
			return nil, nil, flag.ErrHelp
		} else if !ok {
			words = append(words, arg)
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if !given {
			if len(args) == 0 {
				return nil, nil, outcome.Usagef("%s needs a value", arg)
			}
			value, args = args[0], args[1:]
		}
		if name == "" || params.Has(name) {
			return nil, nil, outcome.Usagef("%q is no parameter, or is given twice", arg)
		}
		params.Set(name, value)
	}
	return words, params, nil
}

func addressOf(known map[string]string, words []string) (string, error) {
	path, ok := known[words[0]]
	takes := strings.Contains(path, "%s")
	switch {
	case !ok:
		return "", outcome.Usagef("%q cannot be asked for", words[0])
	case takes && len(words) != 2:
		return "", outcome.Usagef("%s needs one key: an index or leaf hash, a size, or a name", words[0])
	case !takes && len(words) != 1:
		return "", outcome.Usagef("%s takes parameters only, and not %q", words[0], words[1])
	case takes:
		return fmt.Sprintf(path, url.PathEscape(words[1])), nil
	}
	return path, nil
}

// pagesOver is the web surface over a database that this process only reads. It takes
// no gossip.
func (s *setup) pagesOver(r *store.Reader, logger *slog.Logger) (*web.Server, error) {
	logs, err := s.logs()
	if err != nil {
		return nil, err
	}
	proofs, err := s.proofs()
	if err != nil {
		return nil, err
	}
	sets, err := s.sets()
	if err != nil {
		return nil, err
	}
	c, err := s.webConfig(r, logs, proofs, sets, logger)
	if err != nil {
		return nil, err
	}
	return web.New(c)
}

// webConfig is what the settings say about the pages.
func (s *setup) webConfig(r *store.Reader, logs []monitor.LogConfig, proofs *proofcheck.Verifier,
	sets []*build.Set, logger *slog.Logger) (web.Config, error) {
	c := web.Config{
		Store: r, Proofs: proofs, Policies: make(map[string]*client.Policy), Name: s.Name,
		URL:      strings.TrimSuffix(s.PublicURL, "/"),
		Evidence: s.evidence(), StaleAfter: s.MaxAge.Duration, Repositories: s.Repositories, Sets: sets, Log: logger,
		Operator: s.Operator, Contact: s.Contact, Since: s.Since,
	}
	for _, l := range logs {
		c.Policies[l.Origin] = l.Policy
	}
	if s.BrowserVerify == "" {
		return c, nil
	}
	checker, err := web.ReadChecker(s.beside(s.BrowserVerify))
	if err != nil {
		return c, fmt.Errorf("%s: browser_verify: %w", s.path, err)
	}
	c.Checker, c.Trust = checker, make(map[string][]byte)
	for _, l := range s.Log {
		text, err := durable.ReadAny(s.beside(l.Trust), client.MaxPolicySize)
		if err != nil {
			return c, err
		}
		policy, err := client.ParsePolicy(text)
		if err != nil {
			return c, fmt.Errorf("%s: %w", l.Trust, err)
		}
		for _, k := range policy.Logs() {
			c.Trust[k.Origin] = text
		}
	}
	return c, nil
}

// answer asks a handler and writes what it says. An answer that is cut off is an
// error, and so is every refusal.
func answer(ctx context.Context, h http.Handler, path string, stdout io.Writer) (err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return outcome.Misuse(err)
	}
	w := &printer{out: stdout, header: make(http.Header), code: http.StatusOK}
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			err = errors.Join(errors.New("the answer was cut off: what was printed is not all of it"), w.err)
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
	var refused struct {
		Message string `json:"message"`
	}
	switch json.Unmarshal(w.refusal.Bytes(), &refused); {
	case w.code == http.StatusOK && w.err != nil:
		return w.err
	case w.code == http.StatusOK:
		return nil
	case w.code == http.StatusBadRequest:
		return outcome.Misuse(errors.New(refused.Message))
	case w.code == http.StatusNotFound:
		return outcome.Refuse(errors.New(refused.Message))
	}
	return errors.New(refused.Message)
}

// printer is an http.ResponseWriter that prints what succeeds and keeps what does not.
type printer struct {
	out     io.Writer
	header  http.Header
	code    int
	refusal bytes.Buffer
	err     error // of out
}

var _ http.ResponseWriter = (*printer)(nil)

// Header implements http.ResponseWriter.
func (p *printer) Header() http.Header { return p.header }

// WriteHeader implements http.ResponseWriter.
func (p *printer) WriteHeader(code int) { p.code = code }

// Write implements http.ResponseWriter.
func (p *printer) Write(b []byte) (int, error) {
	if p.code != http.StatusOK {
		return p.refusal.Write(b)
	}
	n, err := p.out.Write(b)
	if err != nil {
		p.err = err
	}
	return n, err
}
