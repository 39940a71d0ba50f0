package log

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
	"cratelog/internal/web"
)

func post(t *testing.T, url, contentType string, body []byte) (*http.Response, []byte) {
	t.Helper()
	resp := testlog.Must(http.Post(url, contentType, bytes.NewReader(body)))
	defer resp.Body.Close()
	b := testlog.Must(io.ReadAll(resp.Body))
	return resp, b
}

func TestSubmitOverHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Crate.Compressed = 1 << 16
	w.cfg.Limits.Crate.Inflated = 1 << 20
	w.cfg.Limits.Crate.Files = 100
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, c := w.good("alpha", "1.0.0")
	es, cs := string(e), string(c)
	e2, c2 := w.good("beta", "1.0.0")

	for _, tt := range []struct {
		name   string
		parts  [][2]string
		cut    int
		ctype  string
		code   int
		reason Reason
		words  string
	}{
		{"no form", nil, 0, "application/octet-stream", 400, MalformedRequest, "must be multipart/form-data"},
		{"no parts", nil, 0, "", 400, MalformedRequest, "part entry is missing"},
		{"crate first", [][2]string{{"crate", cs}, {"entry", es}}, 0, "", 400, MalformedRequest, "in this order"},
		{"entry twice", [][2]string{{"entry", es}, {"entry", es}}, 0, "", 400, MalformedRequest, "where crate belongs"},
		{"no crate", [][2]string{{"entry", es}}, 0, "", 400, MalformedRequest, "part crate is missing"},
		{"a third part", [][2]string{{"entry", es}, {"crate", cs}, {"more", "x"}}, 0, "", 400, MalformedRequest, "where opening belongs"},
		{"cut in the entry", [][2]string{{"entry", es}, {"crate", cs}}, len(cs) + 400, "", 400, MalformedRequest, "part entry"},
		{"cut in the crate", [][2]string{{"entry", es}, {"crate", cs}}, 100, "", 400, MalformedRequest, "could not be read"},
		{"cut before the end", [][2]string{{"entry", es}, {"crate", cs}}, 6, "", 400, MalformedRequest, "could not be read"},
		{"bad entry", [][2]string{{"entry", es[1:]}, {"crate", cs}}, 0, "", 400, MalformedEntry, "not a canonical"},
		{"large entry", [][2]string{{"entry", strings.Repeat("x", entry.MaxSize+1)}, {"crate", cs}}, 0, "", 413, EntryTooLarge, "more than 65535"},
		{"large crate", [][2]string{{"entry", es}, {"crate", strings.Repeat("x", 1<<16+1)}}, 0, "", 413, CrateTooLarge, "more than 65536 bytes"},
		{"large request", [][2]string{{"entry", es}, {"crate", strings.Repeat("x", 1<<20)}}, 0, "", 413, CrateTooLarge, "limit of this log"},
		{"wrong crate", [][2]string{{"entry", es}, {"crate", string(c2)}}, 0, "", 422, CrateMismatch, "but the entry is about"},
		{"good", [][2]string{{"entry", es}, {"crate", cs}}, 0, "", 200, "", ""},
		{"again", [][2]string{{"entry", es}, {"crate", cs}}, 0, "", 200, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctype, body := encodeForm(t, tt.parts...)
			if tt.ctype != "" {
				ctype = tt.ctype
			}
			resp, b := post(t, srv.URL+"/v1/submit", ctype, body[:len(body)-tt.cut])
			if resp.StatusCode != tt.code {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, tt.code, b)
			}
			if tt.code == 200 {
				if got := resp.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
					t.Errorf("Content-Type %q", got)
				}
				w.checkBundle(b, e)
				return
			}
			r := decodeRefusal(t, b)
			if r.Reason != tt.reason || !strings.Contains(r.Message, tt.words) {
				t.Errorf("got %s: %s\nwant %s: ... %s ...", r.Reason, r.Message, tt.reason, tt.words)
			}
			if resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", resp.Header)
			}
		})
	}
	wantSize(t, l, 1)

	t.Run("conflict", func(t *testing.T) {
		other := testCrate(t, "alpha", "1.0.0", "fn other() {}")
		o := testEntry(t, other, "alpha", "1.0.0", 1)
		ctype, body := encodeForm(t, [2]string{"entry", string(marshal(o))}, [2]string{"crate", string(other)})
		resp, b := post(t, srv.URL+"/v1/submit", ctype, body)
		r := decodeRefusal(t, b)
		if resp.StatusCode != 409 || r.Reason != VersionConflict || r.Index == nil || *r.Index != 0 {
			t.Errorf("%d %s", resp.StatusCode, b)
		}
		w.checkBundle([]byte(r.Bundle), e)
	})
	t.Run("without witnesses", func(t *testing.T) {
		for _, c := range w.witnesses[:2] {
			c.setDown(true)
		}
		l.cfg.PublishWait.Duration = 100 * time.Millisecond
		ctype, body := encodeForm(t, [2]string{"entry", string(e2)}, [2]string{"crate", string(c2)})
		resp, b := post(t, srv.URL+"/v1/submit", ctype, body)
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if r := decodeRefusal(t, b); resp.StatusCode != 503 || r.Reason != NotPublished || err != nil || after < 1 {
			t.Errorf("%d %s Retry-After %q", resp.StatusCode, b, resp.Header.Get("Retry-After"))
		}
		for _, c := range w.witnesses {
			c.setDown(false)
		}
		l.cfg.PublishWait.Duration = time.Minute
		if resp, b = post(t, srv.URL+"/v1/submit", ctype, body); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, b)
		}
		w.checkBundle(b, e2)
	})
}

// TestTheLogSeesThatAClientLeftThatSentAll has it wait for a place in which the .crate
// would be unpacked, until the client is gone.
func TestTheLogSeesThatAClientLeftThatSentAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Limits.Cores = 1
	l := w.open()
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, c := w.good("alpha", "1.0.0")
	ctype, body := encodeForm(t, [2]string{"entry", string(e)}, [2]string{"crate", string(c)})
	body = append(body, bytes.Repeat([]byte(" "), 1<<15)...) // what may follow a form, and no reader of forms reads
	other := testlog.Must(l.door.cores.begin(t.Context(), "other", 0, false))
	conn := testlog.Must(net.Dial("tcp", srv.Listener.Addr().String()))
	testlog.Must(fmt.Fprintf(conn, "POST /v1/submit HTTP/1.1\r\nHost: log\r\nContent-Type: %s\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", ctype, len(body), body))
	fatalIf(t, conn.Close())
	eventually(t, "the submission ends", func() bool {
		_, _, b := get(t, srv.URL+"/metrics")
		return strings.Contains(string(b), `cratelog_submissions_total{result="canceled"} 1`)
	})
	other.end()
	w.submit(l, e, c)
}

func TestReadingOverHTTP(t *testing.T) {
	t.Parallel()
	w, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	e, c := w.good("alpha", "1.0.0+build.5")
	w.submit(l, e, c)

	code, _, b := get(t, srv.URL+"/v1/crates/alpha/1.0.0+build.5")
	if code != 200 {
		t.Fatalf("%d %s", code, b)
	}
	w.checkBundle(b, e)

	code, _, b = get(t, srv.URL+"/v1/log")
	var about aboutBody
	fatalIf(t, json.Unmarshal(b, &about))
	if code != 200 || about.Origin != testOrigin || about.VKey != w.cfg.VKey || about.Size != 2 || !about.Development ||
		len(about.Programs) != 1 || about.Programs[0].ID != fmt.Sprintf("%x", testProgram.ID()) || len(about.Witnesses) != 3 {
		t.Errorf("%d %s", code, b)
	}
	code, _, b = get(t, srv.URL+"/healthz")
	var health healthBody
	fatalIf(t, json.Unmarshal(b, &health))
	if code != 200 || !health.OK || health.Published != 2 || health.Signed != 2 || len(health.Witnesses) != 3 {
		t.Errorf("%d %s", code, b)
	}
	code, _, b = get(t, srv.URL+"/metrics")
	for _, want := range []string{`cratelog_submissions_total{result="accepted"} 1`, "cratelog_published_size 2", "cratelog_indexed_size 2",
		"cratelog_halted 0", `cratelog_witness_requests_total{result="200",witness="w`} {
		if code != 200 || !strings.Contains(string(b), want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	code, header, b := get(t, srv.URL+"/")
	for _, want := range []string{testOrigin, "this is a development log", "2<small>entries and seals", "c2sp.org/tlog-proof",
		`href="/trust.policy"`, fmt.Sprintf("%x", [32]byte(l.published.head().root))} {
		if code != 200 || !strings.Contains(string(b), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("the page has no policy for what it may load")
	}
	if style, _ := web.Style(); !strings.Contains(string(b), style) {
		t.Error("the page has another look")
	} else if code, header, _ := get(t, srv.URL+style); code != 200 || header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("the style sheet: %d %v", code, header)
	}
	if code, _, b := get(t, srv.URL+"/trust.policy"); code != 200 || string(b) != string(l.cfg.Policy) {
		t.Errorf("the trust file: %d %s", code, b)
	}
	l.cfg.Monitor = "https://monitor.example/x"
	_, header, b = get(t, srv.URL+"/")
	if !strings.Contains(string(b), `action="https://monitor.example/x/search"`) ||
		!strings.Contains(header.Get("Content-Security-Policy"), "form-action 'self' https://monitor.example;") {
		t.Errorf("the page does not lead to the monitor: %v\n%s", header, b)
	}
}

func TestWhatIsNotThereIsRefusedInJSON(t *testing.T) {
	t.Parallel()
	_, l := openWorld(t)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	for _, tt := range []struct {
		method, path string
		code         int
		reason       Reason
	}{
		{"GET", "/v1/crates/alpha/1.0.0", 404, NotFound},
		{"GET", "/v1/crates/alpha", 404, NotFound},
		{"GET", "/v1/crates/a%2Fb/..", 404, NotFound},
		{"GET", "/nothing", 404, NotFound},
		{"GET", "/v1/submit", 405, MethodNotAllowed},
		{"PUT", "/v1/submit", 405, MethodNotAllowed},
		{"DELETE", "/checkpoint", 405, MethodNotAllowed},
		{"POST", "/v1/log", 405, MethodNotAllowed},
	} {
		req := testlog.Must(http.NewRequest(tt.method, srv.URL+tt.path, nil))
		resp := testlog.Must(http.DefaultClient.Do(req))
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		fatalIf(t, err)
		if r := decodeRefusal(t, b); resp.StatusCode != tt.code || r.Reason != tt.reason {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, resp.StatusCode, b)
		}
	}
}

func TestEveryReasonHasAStatus(t *testing.T) {
	t.Parallel()
	for _, r := range []Reason{MalformedRequest, MalformedEntry, EntryTooLarge, CrateTooLarge, UnknownProgram, UnknownClaim, VersionConflict,
		CrateMismatch, CrateRefused, ProofInvalid, Overloaded, NotPublished, Halted, ShuttingDown, NotFound, MethodNotAllowed,
		RegistryRefused, RegistryMismatch, NotInRegistry, RegistryUnavailable} {
		if status(r) == http.StatusInternalServerError {
			t.Errorf("%s is answered as our fault", r)
		}
	}
	if status(Internal) != 500 || status("new") != 500 {
		t.Error("an unknown reason must be our fault")
	}
}
