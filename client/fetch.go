package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/opening"
)

// NotInRegistry is the reason of a log that takes only what a registry lists, and would take the
// entry if that listed its version. Waiting for that is the caller's affair.
const NotInRegistry = "not-in-registry"

const (
	maxErrorBody = 512 << 10 // a refusal may carry a bundle, as a JSON string
	maxRedirects = 3
	httpTimeout  = 2 * time.Minute // one request; a submission waits for a checkpoint
)

// patience bounds the requests for one answer of a busy log, and the wait between two.
type patience struct {
	tries int
	wait  time.Duration
}

var (
	silently = patience{3, 30 * time.Second}
	visibly  = patience{6, 10 * time.Minute}
)

// ErrNotLogged: the log has no entry for this crate and version.
var ErrNotLogged = errors.New("not logged")

// Log is an HTTP client for one log. What it returns is bounded in size and
// nothing more: it must be verified with a Policy. It is safe for concurrent
// use.
type Log struct {
	URL string // base URL; https, or http on a loopback address

	// HTTP makes the requests; nil for a client with timeouts. Its CheckRedirect
	// is not used: redirects are followed on the same host only.
	HTTP *http.Client

	UserAgent string // "cratelog-client" if empty

	// AllowHTTP permits plain http to any host. Everything that a log says is
	// verified, so this gives away privacy and availability, not correctness.
	AllowHTTP bool

	// OnWait is called before each wait for a busy log: one that answers 429 or 503
	// and says when to come back. It may print that; waits may then be long. Concurrent
	// requests call it concurrently.
	OnWait func(wait time.Duration)

	impatient bool // never ask twice

	testingOnlyWait func(context.Context, time.Duration) error
}

// StatusError is an answer of a log that is not a success.
type StatusError struct {
	Status     int    // HTTP status code
	Reason     string // machine-readable, "" if the answer was not the log's JSON
	Message    string // a sentence for people, "" likewise; written by the log, not to be believed
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("the log answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Reason != "" {
		s += fmt.Sprintf(" (%s): %q", e.Reason, e.Message[:min(len(e.Message), 1000)])
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf("; try again in %v", e.RetryAfter)
	}
	return s
}

// Is makes ErrNotLogged of a 404 that the log itself answered. A 404 of another server,
// as at a wrong URL, is not. It makes ErrManyRows likewise.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotLogged && e.Status == http.StatusNotFound && e.Reason != "" ||
		target == ErrManyRows && e.Status == http.StatusRequestEntityTooLarge && e.Reason == TooManyRows
}

// SubmitError is a submission that the log refused. errors.As finds the
// *StatusError in it as well.
type SubmitError struct {
	StatusError
	Index  uint64 // with status 409: of the entry that stands for this version
	Bundle []byte // with status 409: of that entry; verify it before believing it
}

func (e *SubmitError) Unwrap() error { return &e.StatusError }

// Bundle fetches the bundle of the fullest claim that a query names. The error is ErrNotLogged if the log
// says that it has none, which Missing has it show, else *StatusError or one of the network.
func (l *Log) Bundle(ctx context.Context, q Query) ([]byte, error) {
	text, err := q.Encode() // which holds the parts of the URL to their rules
	if err != nil {
		return nil, err
	}
	return l.get(ctx, MaxBundleSize, text, "v1", "crates", q.Name, q.Version)
}

// Opening fetches the opening of the claim with an identity, which is to be checked with
// package opening. The error is ErrNotLogged if the log has none.
func (l *Log) Opening(ctx context.Context, identity [32]byte) ([]byte, error) {
	return l.get(ctx, opening.MaxSize, "", "v1", "openings", hex.EncodeToString(identity[:]))
}

// Checkpoint fetches the latest signed checkpoint.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) {
	return l.get(ctx, MaxCheckpointSize, "", "checkpoint")
}

// TrustFile fetches the trust file that the log hands out. It is what the log says, and nothing more: see
// [Trust.CheckUpdate].
func (l *Log) TrustFile(ctx context.Context) ([]byte, error) {
	return l.get(ctx, MaxPolicySize, "", "trust.policy")
}

// Submit hands an entry and its .crate to the log and returns the bundle, which
// the caller must verify. openingBytes is the claim's, if everybody may see it, or nil. A
// submission that the log already holds is answered with its old bundle, so that it is
// safe to try again; an opening that comes with it then is not kept. The error is
// *SubmitError if the log refused.
func (l *Log) Submit(ctx context.Context, entryBytes, crateBytes, openingBytes []byte) ([]byte, error) {
	if len(entryBytes) > entry.MaxSize {
		return nil, fmt.Errorf("the entry has %d bytes, a log takes %d at most", len(entryBytes), entry.MaxSize)
	}
	parts := []part{{"entry", entryBytes}, {"crate", crateBytes}}
	if openingBytes != nil {
		parts = append(parts, part{"opening", openingBytes})
	}
	return l.post(ctx, entryBytes, parts)
}

// part is a part of a submission.
type part struct {
	name string
	data []byte
}

// post submits parts, and returns the bundle. Once the log has accepted the entry, it is asked for that, and not
// given all the parts again.
func (l *Log) post(ctx context.Context, entryBytes []byte, parts []part) ([]byte, error) {
	u, err := l.address("v1", "submit")
	if err != nil {
		return nil, err
	}
	pieces, contentType, err := form(parts)
	if err != nil {
		return nil, err
	}
	size := int64(0)
	for _, p := range pieces {
		size += int64(len(p))
	}
	body := func() (io.ReadCloser, error) {
		readers := make([]io.Reader, len(pieces))
		for i, p := range pieces {
			readers[i] = bytes.NewReader(p)
		}
		return io.NopCloser(io.MultiReader(readers...)), nil
	}
	var accepted func() ([]byte, bool)
	if e, err := entry.Parse(entryBytes); err == nil {
		accepted = func() ([]byte, bool) { return l.published(ctx, e) }
	}
	return l.doOr(ctx, MaxBundleSize, accepted, func() (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, u, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", contentType)
		r.ContentLength, r.GetBody = size, body
		r.Body, err = body()
		return r, err
	})
}

// form returns multipart/form-data with the parts, in pieces, so that their data need not be copied.
func form(parts []part) (pieces [][]byte, contentType string, err error) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	cut := func() { // what stands between two parts
		pieces = append(pieces, bytes.Clone(b.Bytes()))
		b.Reset()
	}
	for _, p := range parts {
		if _, err := w.CreateFormFile(p.name, p.name); err != nil {
			return nil, "", err
		}
		cut()
		pieces = append(pieces, p.data)
	}
	err = w.Close()
	cut()
	return pieces, w.FormDataContentType(), err
}

// get fetches a path with a query, which may be empty.
func (l *Log) get(ctx context.Context, limit int64, query string, path ...string) ([]byte, error) {
	u, err := l.address(path...)
	if err != nil {
		return nil, err
	}
	if query != "" {
		u += "?" + query
	}
	return l.do(ctx, limit, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	})
}

// address checks the base URL and appends a path.
func (l *Log) address(path ...string) (string, error) {
	u := plainURL(l.URL)
	if u == nil {
		return "", fmt.Errorf("the log's URL %q is not an absolute http or https URL without user, query and fragment", l.URL)
	}
	if u.Scheme == "http" && !l.AllowHTTP && !loopback(u.Hostname()) {
		return "", fmt.Errorf("the log's URL %q is plain http to another machine: use https; http is for localhost and loopback "+
			"addresses only", l.URL)
	}
	return u.JoinPath(path...).String(), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// reasonNotPublished is what a log says that has accepted an entry, and cannot give its bundle yet.
const reasonNotPublished = "not-yet-published"

// do is doOr without anything that could be asked instead.
func (l *Log) do(ctx context.Context, limit int64, request func() (*http.Request, error)) ([]byte, error) {
	return l.doOr(ctx, limit, nil, request)
}

// doOr makes a request, and again if the log is busy and says when, within its patience
// and the time that ctx allows. Where it said that the entry is accepted, accepted is asked before the request is
// made again, unless it is nil: for the body, or whether there is anything to wait for.
func (l *Log) doOr(ctx context.Context, limit int64, accepted func() ([]byte, bool),
	request func() (*http.Request, error)) ([]byte, error) {
	most := silently
	if l.OnWait != nil {
		most = visibly
	}
	if l.impatient {
		most.tries = 1
	}
	var last error // of the try before, which said that the entry is accepted
	for try := 1; ; try++ {
		var body []byte
		err, known := last, false
		if last != nil && accepted != nil {
			if body, known = accepted(); body != nil {
				return body, nil
			}
		}
		if !known {
			r, requestErr := request()
			if requestErr != nil {
				return nil, requestErr
			}
			body, err = l.once(r, limit)
		}
		var status *StatusError
		busy := errors.As(err, &status) && status.Reason != NotInRegistry &&
			(status.Status == http.StatusTooManyRequests || status.Status == http.StatusServiceUnavailable)
		if !busy || status.RetryAfter == 0 || status.RetryAfter > most.wait || try == most.tries {
			return body, err
		}
		if last = nil; status.Reason == reasonNotPublished {
			last = err
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < status.RetryAfter {
			return nil, err
		}
		if l.OnWait != nil {
			l.OnWait(status.RetryAfter)
		}
		wait := l.testingOnlyWait
		if wait == nil {
			wait = sleep
		}
		if err := wait(ctx, status.RetryAfter); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (l *Log) send(c *http.Client, r *http.Request) (*http.Response, error) {
	r.Header.Set("User-Agent", cmp.Or(l.UserAgent, "cratelog-client"))
	return c.Do(r)
}

func (l *Log) once(r *http.Request, limit int64) ([]byte, error) {
	resp, err := l.send(l.client(), r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		body, err := durable.ReadAll(resp.Body, limit)
		if err != nil {
			return nil, fmt.Errorf("the log's answer at %s: %w", r.URL.Redacted(), err)
		}
		return body, nil
	}
	body, err := durable.ReadAll(resp.Body, maxErrorBody)
	if err != nil {
		body = nil // the status is what matters
	}
	e := parseStatus(resp, body)
	if r.Method == http.MethodPost {
		return nil, e
	}
	return nil, &e.StatusError
}

// client returns the HTTP client with our rule for redirects.
func (l *Log) client() *http.Client {
	c := http.Client{Timeout: httpTimeout}
	if l.HTTP != nil {
		c = *l.HTTP
	}
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		first := via[0]
		if first.Method != http.MethodGet || r.URL.Scheme != first.URL.Scheme || r.URL.Host != first.URL.Host ||
			len(via) > maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &c
}

// parseStatus makes an error of an answer. The body is JSON if the log itself
// answered, and anything if it was a proxy.
func parseStatus(resp *http.Response, body []byte) *SubmitError {
	var j struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
		Index   uint64 `json:"index"`
		Bundle  string `json:"bundle"`
	}
	e := &SubmitError{StatusError: StatusError{Status: resp.StatusCode,
		RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}}
	if json.Unmarshal(body, &j) != nil || !isReason(j.Reason) {
		return e
	}
	e.Reason, e.Message, e.Index = j.Reason, j.Message, j.Index
	if j.Bundle != "" && len(j.Bundle) <= MaxBundleSize {
		e.Bundle = []byte(j.Bundle)
	}
	return e
}

// isReason says whether a log may give a text as its reason: words that do nothing to a terminal.
func isReason(s string) bool {
	return len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz-") == ""
}

// retryAfter reads a Retry-After header, seconds or a date. It returns 0 if
// there is none, else at least a second.
func retryAfter(h string, now time.Time) time.Duration {
	h = strings.TrimSpace(h)
	if h == "" {
		return 0
	}
	if n, err := strconv.ParseUint(h, 10, 31); err == nil {
		return max(time.Duration(n)*time.Second, time.Second)
	}
	if t, err := http.ParseTime(h); err == nil {
		return max(t.Sub(now), time.Second)
	}
	return 0
}
