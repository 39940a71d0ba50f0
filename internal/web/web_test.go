package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestEveryErrorHasItsAnswer and only refusals show their words.
func TestEveryErrorHasItsAnswer(t *testing.T) {
	known := errors.New("known")
	s := Server{Name: "test", Nothing: "Nothing.", Headers: map[string]string{"X-Test": "yes"}, Log: slog.New(slog.DiscardHandler),
		Refusal: func(err error) *Refusal {
			if !errors.Is(err, known) {
				return nil
			}
			return &Refusal{Status: 422, Body: map[string]int{"more": 7}}
		}}
	answers := func(err error) Handler { return func(http.ResponseWriter, *http.Request) error { return err } }
	h := s.Handler([]Route{
		{"GET /secret", answers(errors.New("secret"))},
		{"GET /known", answers(known)},
		{"GET /later", answers(&Refusal{Status: 503, Reason: "later", Message: "Wait.", RetryAfter: 1500 * time.Millisecond})},
		{"GET /panic", Plain(func(http.ResponseWriter, *http.Request) { panic("secret") })},
		{"GET /cut", Plain(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
		{"GET /half", Plain(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("half")); panic("secret") })},
		{"GET /left", answers(context.Canceled)},
		{"POST /post", answers(nil)},
	})
	const failed = `{"reason":"internal","message":"The test failed to answer; its operator can see why. Trying again is safe."}` + "\n"
	for path, want := range map[string]struct {
		code       int
		body       string
		key, value string // of a header
	}{
		"/secret":  {500, failed, "Cache-Control", "no-store"},
		"/panic":   {500, failed, "X-Test", "yes"},
		"/known":   {422, `{"more":7}` + "\n", "Content-Type", "application/json"},
		"/later":   {503, `{"reason":"later","message":"Wait."}` + "\n", "Retry-After", "2"},
		"/post":    {405, `{"reason":"method-not-allowed","message":"This address takes POST only."}` + "\n", "Allow", "POST"},
		"/nothing": {404, `{"reason":"not-found","message":"Nothing."}` + "\n", "X-Content-Type-Options", "nosniff"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want.code || w.Body.String() != want.body || w.Header().Get(want.key) != want.value || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %q %v", path, w.Code, w.Body, w.Header())
		}
	}
	left, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/left", nil).WithContext(left))
	if w.Body.Len() > 0 {
		t.Errorf("a client that left is answered %q", w.Body)
	}
	for path, want := range map[string]string{"/cut": "", "/half": "half"} {
		func() {
			w := httptest.NewRecorder()
			defer func() {
				if v := recover(); v != http.ErrAbortHandler || w.Body.String() != want {
					t.Errorf("%s: an answer that was cut off looks whole: %q, %v", path, w.Body, v)
				}
			}()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		}()
	}
}
