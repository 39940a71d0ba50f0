package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// answers is the transport of a log that answers each request as it says.
type answers func(r *http.Request) *http.Response

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := f(r)
	resp.Request = r
	return resp, nil
}

func answer(status int, body io.Reader, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}
}

func TestAProvingKeyGoesOnWhereItWasInterrupted(t *testing.T) {
	content := bytes.Repeat([]byte("key "), 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := "/log/v1/keys/" + strings.Repeat("07", 32); r.URL.Path != want {
			t.Errorf("asked for %s, not %s", r.URL.Path, want)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	defer srv.Close()
	l := &Log{URL: srv.URL + "/log"}
	for _, from := range []int64{0, 1, 2500, 3999} {
		body, at, err := l.ProvingKey(t.Context(), [32]byte(bytes.Repeat([]byte{7}, 32)), from)
		if err != nil || at != from {
			t.Fatalf("from %d: at %d, %v", from, at, err)
		}
		got, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, content[from:]) {
			t.Errorf("from %d: %d bytes, %v", from, len(got), err)
		}
	}
	_, _, err := l.ProvingKey(t.Context(), [32]byte(bytes.Repeat([]byte{7}, 32)), 4000)
	var status *StatusError
	if !errors.As(err, &status) || status.Status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("from the end on: %v", err)
	}
}

func TestAnotherPartOfAKeyThanWasAskedForIsRefused(t *testing.T) {
	for _, c := range []struct {
		from    int64
		status  int
		header  string
		at      int64
		refusal string
	}{
		{7, 200, "", 0, ""},
		{7, 206, "bytes 7-99/100", 7, ""},
		{7, 206, "bytes 8-99/100", 0, "answers with"},
		{7, 206, "bytes 0-99/100", 0, "answers with"},
		{7, 206, "bytes */100", 0, "answers with"},
		{7, 206, "", 0, "answers with"},
		{0, 206, "bytes 0-99/100", 0, "answers with"},
		{7, 204, "", 0, "204"},
		{7, 404, "", 0, "404"},
	} {
		l := &Log{URL: "https://log.example", HTTP: &http.Client{Transport: answers(func(r *http.Request) *http.Response {
			return answer(c.status, strings.NewReader("rest"), "Content-Range", c.header)
		})}}
		body, at, err := l.ProvingKey(t.Context(), [32]byte{}, c.from)
		switch {
		case c.refusal == "" && (err != nil || at != c.at):
			t.Errorf("%+v: at %d, %v", c, at, err)
		case c.refusal != "" && (err == nil || !strings.Contains(err.Error(), c.refusal)):
			t.Errorf("%+v: %v", c, err)
		}
		if body != nil {
			body.Close()
		}
	}
}

func TestAKeyIsNotFetchedFromWhereALogPoints(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusFound)
	}))
	defer srv.Close()
	l := &Log{URL: srv.URL}
	if _, _, err := l.ProvingKey(t.Context(), [32]byte{}, 0); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a redirect to another host: %v", err)
	}
	if _, err := l.ProvingKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("a redirect of the list: %v", err)
	}
}

// silent is a body from which nothing comes until its request is given up.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestALogThatStallsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Log{URL: "https://log.example", HTTP: &http.Client{Transport: answers(func(r *http.Request) *http.Response {
			return answer(200, io.MultiReader(strings.NewReader("some"), silent{r.Context()}))
		})}}
		begin := time.Now()
		body, _, err := l.ProvingKey(t.Context(), [32]byte{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if string(got) != "some" || !errors.Is(err, errIdle) || time.Since(begin) > 2*keyIdle {
			t.Errorf("%q after %v: %v", got, time.Since(begin), err)
		}
		body.Close()
	})
}
