package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"cratelog/entry"
)

// serve starts a log on a loopback port and returns a client for it. It waits for
// nothing: asked to wait, it writes down how long.
func serve(t *testing.T, h http.HandlerFunc) (*Log, *[]time.Duration) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	waits := new([]time.Duration)
	return &Log{URL: s.URL, testingOnlyWait: func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}}, waits
}

func TestBundleIsFetchedFromItsAddress(t *testing.T) {
	w := newWorld(t)
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.EscapedPath() != "/base/v1/crates/hello-proof/0.1.0-rc.1+b.2" || r.UserAgent() != "test/1" {
			t.Errorf("%s %s by %q", r.Method, r.URL.EscapedPath(), r.UserAgent())
		}
		rw.Write(w.bundle)
	})
	l.URL, l.UserAgent = l.URL+"/base/", "test/1"
	b, err := l.Bundle(t.Context(), Query{Name: "hello-proof", Version: "0.1.0-rc.1+b.2"})
	fatalIfErr(t, err)
	if !bytes.Equal(b, w.bundle) {
		t.Error("other bytes")
	}
}

func TestCheckpointIsFetchedFromItsAddress(t *testing.T) {
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/checkpoint" || r.UserAgent() != "cratelog-client" {
			t.Errorf("%s by %q", r.URL.Path, r.UserAgent())
		}
		io.WriteString(rw, "checkpoint\n")
	})
	b, err := l.Checkpoint(t.Context())
	if err != nil || string(b) != "checkpoint\n" {
		t.Errorf("%q %v", b, err)
	}
}

func TestNamesThatAreNoNamesReachNoServer(t *testing.T) {
	l, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, nv := range [][2]string{{"", "1.0.0"}, {"../x", "1.0.0"}, {"a/b", "1.0.0"}, {"a", ""}, {"a", "1.0.0/.."}, {"a", "../../submit"}, {"a?b", "1.0.0"}, {"a", "1.0.0#x"}, {"a\r\nb", "1.0.0"}} {
		if _, err := l.Bundle(t.Context(), Query{Name: nv[0], Version: nv[1]}); err == nil {
			t.Errorf("%q %q was asked for", nv[0], nv[1])
		}
	}
}

func TestAbsenceIsTheLogsToSay(t *testing.T) {
	for _, probe := range []struct {
		body string
		want bool
	}{
		{`{"reason":"not-found","message":"This log has no entry."}`, true},
		{`<html>404 Not Found</html>`, false},
		{``, false},
		{`{}`, false},
	} {
		l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
			rw.WriteHeader(http.StatusNotFound)
			io.WriteString(rw, probe.body)
		})
		_, err := l.Bundle(t.Context(), Query{Name: "a", Version: "1.0.0"})
		var status *StatusError
		if errors.Is(err, ErrNotLogged) != probe.want || !errors.As(err, &status) || status.Status != 404 {
			t.Errorf("%q: %v", probe.body, err)
		}
	}
}

// TestSubmissionIsWhatTheLogExpects reads the form part by part, as a log does.
func TestSubmissionIsWhatTheLogExpects(t *testing.T) {
	w := newWorld(t)
	e := w.tree.Leaves[helloIndex]
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/submit" || r.ContentLength <= int64(len(e)+len(w.raw)) {
			t.Errorf("%s %s, %d bytes", r.Method, r.URL.Path, r.ContentLength)
		}
		form, err := r.MultipartReader()
		if err != nil {
			t.Error(err)
			return
		}
		for i, want := range [][]byte{e, w.raw} {
			part, err := form.NextPart()
			if err != nil {
				t.Error(err)
				return
			}
			b, err := io.ReadAll(part)
			if name := []string{"entry", "crate"}[i]; err != nil || part.FormName() != name || !bytes.Equal(b, want) {
				t.Errorf("part %d: name %q, %d bytes, %v", i, part.FormName(), len(b), err)
			}
		}
		if _, err := form.NextPart(); err != io.EOF {
			t.Errorf("after the parts: %v", err)
		}
		rw.Write(w.bundle)
	})
	b, err := l.Submit(t.Context(), e, w.raw, nil)
	if err != nil || !bytes.Equal(b, w.bundle) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := l.Submit(t.Context(), make([]byte, entry.MaxSize+1), w.raw, nil); err == nil {
		t.Error("an entry above the limit was sent")
	}
}

func TestARefusedSubmissionSaysWhy(t *testing.T) {
	w := newWorld(t)
	answer := func(status int, body any) *Log {
		l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			rw.WriteHeader(status)
			json.NewEncoder(rw).Encode(body)
		})
		return l
	}
	_, err := answer(409, map[string]any{"reason": "version-conflict", "message": "Another crate stands.", "index": 2, "bundle": string(w.bundle)}).Submit(t.Context(), []byte("e"), []byte("c"), nil)
	var se *SubmitError
	if !errors.As(err, &se) || se.Status != 409 || se.Reason != "version-conflict" || se.Message != "Another crate stands." || se.Index != 2 || !bytes.Equal(se.Bundle, w.bundle) {
		t.Fatalf("409: %+v", err)
	}
	if want := `the log answered 409 Conflict (version-conflict): "Another crate stands."`; err.Error() != want {
		t.Errorf("got %s\nwant %s", err, want)
	}
	var status *StatusError
	if !errors.As(err, &status) || status.Status != 409 {
		t.Error("the *StatusError in it is not found")
	}
	_, err = answer(422, map[string]any{"reason": "proof-invalid", "message": "\x1b[2Jall is well"}).Submit(t.Context(), nil, nil, nil)
	if want := `the log answered 422 Unprocessable Entity (proof-invalid): "\x1b[2Jall is well"`; err == nil || err.Error() != want {
		t.Errorf("got %s\nwant %s", err, want)
	}
	_, err = answer(500, []int{1}).Submit(t.Context(), nil, nil, nil)
	if want := "the log answered 500 Internal Server Error"; err == nil || err.Error() != want {
		t.Errorf("got %s\nwant %s", err, want)
	}
	_, err = answer(409, map[string]any{"reason": "x", "bundle": strings.Repeat("x", MaxBundleSize+1)}).Submit(t.Context(), nil, nil, nil)
	if !errors.As(err, &se) || se.Bundle != nil {
		t.Errorf("a bundle above the limit was kept: %.80v", err)
	}
}

// TestAnOverloadedLogIsAskedThriceAtMost, waiting as long as it says, and sent
// the whole submission again each time.
func TestAnOverloadedLogIsAskedThriceAtMost(t *testing.T) {
	for _, probe := range []struct {
		name       string
		retryAfter string
		overloaded int32 // number of answers 503 before a 200
		requests   int32
		ok         bool
	}{
		{"well at once", "2", 0, 1, true},
		{"well at the second try", "2", 1, 2, true},
		{"well at the third try", "2", 2, 3, true},
		{"overloaded", "2", 9, 3, false},
		{"no time named", "", 9, 1, false},
		{"not a time", "soon", 9, 1, false},
		{"negative", "-1", 9, 1, false},
		{"too long", "3600", 9, 1, false},
		{"at once", "0", 1, 2, true},
	} {
		var n atomic.Int32
		l, waits := serve(t, func(rw http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Contains(b, []byte("the entry")) || !bytes.Contains(b, []byte("the crate")) {
				t.Errorf("%s: try %d sent %q, %v", probe.name, n.Load()+1, b, err)
			}
			if n.Add(1) <= probe.overloaded {
				rw.Header().Set("Retry-After", probe.retryAfter)
				rw.WriteHeader(http.StatusServiceUnavailable)
				io.WriteString(rw, `{"reason":"overloaded","message":"Try again."}`)
			}
		})
		_, err := l.Submit(t.Context(), []byte("the entry"), []byte("the crate"), nil)
		if (err == nil) != probe.ok || n.Load() != probe.requests || len(*waits) != int(probe.requests)-1 {
			t.Errorf("%s: %d requests, waited %v, %v", probe.name, n.Load(), *waits, err)
		}
		for _, d := range *waits {
			if d != 2*time.Second && !(probe.retryAfter == "0" && d == time.Second) {
				t.Errorf("%s: waited %v", probe.name, d)
			}
		}
		if probe.name == "too long" {
			if want := `the log answered 503 Service Unavailable (overloaded): "Try again."; try again in 1h0m0s`; err == nil || err.Error() != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
		}
	}
}

// TestALogIsAskedSixTimesIfThePersonSeesTheWaits, by one loop and no other.
func TestALogIsAskedSixTimesIfThePersonSeesTheWaits(t *testing.T) {
	for _, code := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		var n atomic.Int32
		l, waits := serve(t, func(rw http.ResponseWriter, r *http.Request) {
			n.Add(1)
			rw.Header().Set("Retry-After", "600")
			rw.WriteHeader(code)
		})
		var seen []time.Duration
		l.OnWait = func(d time.Duration) { seen = append(seen, d) }
		var status *StatusError
		_, err := l.Submit(t.Context(), nil, nil, nil)
		if !errors.As(err, &status) || status.Status != code || n.Load() != 6 || len(seen) != 5 || !slices.Equal(seen, *waits) {
			t.Errorf("%d: %d requests, waited %v, saw %v, %v", code, n.Load(), *waits, seen, err)
		}
	}
}

// TestWaitingForARegistryIsTheCallers: the log has checked all else, and may say so for minutes.
func TestWaitingForARegistryIsTheCallers(t *testing.T) {
	l, waits := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Retry-After", "7")
		rw.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(rw, `{"reason":"not-in-registry","message":"later"}`)
	})
	var refused *SubmitError
	_, err := l.Submit(t.Context(), nil, nil, nil)
	if !errors.As(err, &refused) || refused.Reason != NotInRegistry || refused.RetryAfter != 7*time.Second || len(*waits) != 0 {
		t.Errorf("%v, waited %v", err, *waits)
	}
}

func TestWhatALogSaysOfItsRegistriesIsReadStrictly(t *testing.T) {
	for body, want := range map[string]string{
		`{"registries":[]}`: "[] true <nil>",
		`{"registries":["default","https://a.example/i"],"x":1}`: "[default https://a.example/i] true <nil>",
		`{"origin":"x"}`:               "[] false <nil>",
		`{"registries":null}`:          "[] false <nil>",
		`{"registries":["\u001b[1m"]}`: "not printable ASCII",
		`{"registries":"default"}`:     "not the JSON that was expected",
		`nonsense`:                     "not the JSON that was expected",
	} {
		l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, body) })
		list, known, err := l.UnverifiedRegistries(t.Context())
		if got := fmt.Sprint(list, known, err); !strings.Contains(got, want) {
			t.Errorf("%s: %s", body, got)
		}
	}
}

// TestWaitingEndsWithTheContext: a cancelled caller does not wait, and one whose
// time will not suffice is told at once.
func TestWaitingEndsWithTheContext(t *testing.T) {
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Retry-After", "30")
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithCancel(t.Context())
	l.testingOnlyWait = func(ctx context.Context, d time.Duration) error {
		cancel()
		return sleep(ctx, d)
	}
	if _, err := l.Checkpoint(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	l.testingOnlyWait = func(context.Context, time.Duration) error {
		t.Error("waited")
		return nil
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var status *StatusError
	if _, err := l.Checkpoint(ctx); !errors.As(err, &status) || status.Status != 503 {
		t.Errorf("deadline too near: %v", err)
	}
}

func TestAnswersAboveTheLimitAreNotRead(t *testing.T) {
	var written atomic.Int64
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/error") {
			rw.WriteHeader(http.StatusTeapot)
		}
		block := bytes.Repeat([]byte("x"), 64<<10)
		for range 1 << 10 { // 64 MiB, if the client takes it
			n, err := rw.Write(block)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	for name, f := range map[string]func() error{
		"bundle":     func() error { _, err := l.Bundle(t.Context(), Query{Name: "a", Version: "1.0.0"}); return err },
		"checkpoint": func() error { _, err := l.Checkpoint(t.Context()); return err },
		"submit":     func() error { _, err := l.Submit(t.Context(), nil, nil, nil); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), "the most that is read") {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := *l
	bad.URL += "/error"
	var status *StatusError
	if _, err := bad.Checkpoint(t.Context()); !errors.As(err, &status) || status.Status != http.StatusTeapot {
		t.Errorf("error page: %v", err)
	}
}

func TestRedirectsStayOnTheHost(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other host was asked for %s", r.URL)
	}))
	defer elsewhere.Close()
	var posts atomic.Int32
	l, _ := serve(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away/checkpoint":
			http.Redirect(rw, r, elsewhere.URL+"/checkpoint", http.StatusFound)
		case "/here/checkpoint":
			http.Redirect(rw, r, "/checkpoint", http.StatusFound)
		case "/loop/checkpoint":
			http.Redirect(rw, r, "/loop/checkpoint", http.StatusFound)
		case "/v1/submit":
			posts.Add(1)
			http.Redirect(rw, r, "/v1/submit", http.StatusTemporaryRedirect)
		default:
			io.WriteString(rw, "here")
		}
	})
	at := func(path string) *Log { m := *l; m.URL += path; return &m }
	if b, err := at("/here").Checkpoint(t.Context()); err != nil || string(b) != "here" {
		t.Errorf("same host: %q %v", b, err)
	}
	var status *StatusError
	for _, path := range []string{"/away", "/loop"} {
		if _, err := at(path).Checkpoint(t.Context()); !errors.As(err, &status) || status.Status != http.StatusFound {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := l.Submit(t.Context(), nil, nil, nil); !errors.As(err, &status) || status.Status != 307 || posts.Load() != 1 {
		t.Errorf("submission: %d requests, %v", posts.Load(), err)
	}
}

func TestPlainHTTPStaysOnThisMachine(t *testing.T) {
	for _, probe := range []struct {
		url       string
		allowHTTP bool
		ok        bool
	}{
		{"https://log.example", false, true},
		{"https://log.example/x/", false, true},
		{"http://localhost:1", false, true},
		{"http://127.0.0.1:1", false, true},
		{"http://127.9.9.9", false, true},
		{"http://[::1]:1", false, true},
		{"http://log.example", false, false},
		{"http://log.example", true, true},
		{"http://localhost.log.example", false, false},
		{"http://127.0.0.1.log.example", false, false},
		{"http://192.168.0.1", false, false},
		{"http://0.0.0.0", false, false},
		{"", false, false},
		{"log.example", true, false},
		{"ftp://log.example", true, false},
		{"https://", true, false},
		{"https://u@log.example", true, false},
		{"https://log.example/?x", true, false},
		{"https://log.example/#x", true, false},
		{"https:log.example", true, false},
		{"https://log.example\x00", true, false},
	} {
		l := &Log{URL: probe.url, AllowHTTP: probe.allowHTTP}
		if u, err := l.address("v1"); (err == nil) != probe.ok {
			t.Errorf("%q: %q %v", probe.url, u, err)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	at := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for h, want := range map[string]time.Duration{
		"": 0, "0": time.Second, "1": time.Second, "120": 2 * time.Minute, " 7 ": 7 * time.Second,
		"1.5": 0, "-3": 0, "99999999999": 0, "x": 0,
		at.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		at.Add(-time.Minute).Format(http.TimeFormat): time.Second,
	} {
		if got := retryAfter(h, at); got != want {
			t.Errorf("%q: %v, want %v", h, got, want)
		}
	}
}

func ExampleLog_Bundle() {
	l := &Log{URL: "http://log.example"}
	_, err := l.Bundle(context.Background(), Query{Name: "serde", Version: "1.0.228"})
	fmt.Println(err)
	// Output: the log's URL "http://log.example" is plain http to another machine: use https; http is for localhost and loopback addresses only
}

// TestAnAnswerDoesNothingToATerminal: what a log says is printed.
func TestAnAnswerDoesNothingToATerminal(t *testing.T) {
	l, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"reason": "\u001b[2Jaccepted", "message": "\u001b[2Jaccepted"}`)
	})
	for _, err := range []error{
		second(l.Bundle(t.Context(), Query{Name: "a", Version: "1.0.0"})),
		second(l.Submit(t.Context(), []byte("e"), []byte("c"), nil)),
	} {
		if err == nil || strings.ContainsFunc(err.Error(), unicode.IsControl) || !strings.Contains(err.Error(), "422") {
			t.Errorf("%q", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
