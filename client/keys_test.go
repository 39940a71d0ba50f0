package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cratelog/internal/testlog"
)

func TestAProvingKeyIsOpenedWhereItsRestBegins(t *testing.T) {
	sum := [32]byte{0xab}
	l, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/keys/ab"+strings.Repeat("00", 31) || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("a proving key"))
	})
	for from, want := range map[int64]string{0: "a proving key", 2: "proving key", 12: "y"} {
		body, at, err := l.ProvingKey(t.Context(), sum, from)
		fatalIfErr(t, err)
		if b := testlog.Must(io.ReadAll(body)); string(b) != want || at != from {
			t.Errorf("from %d: %q at %d", from, b, at)
		}
		fatalIfErr(t, body.Close())
	}
	var status *StatusError
	if _, _, err := l.ProvingKey(t.Context(), sum, 13); !errors.As(err, &status) || status.Status != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("behind its end: %v", err)
	}
}

// TestAServerThatSendsOtherPartsIsNotBelieved: where a body begins is what the answer says,
// and must be what was asked for, or all.
func TestAServerThatSendsOtherPartsIsNotBelieved(t *testing.T) {
	for name, tt := range map[string]struct {
		from   int64
		answer http.HandlerFunc
		at     int64
		err    string
	}{
		"no parts": {2, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "all") }, 0, ""},
		"another part": {2, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 3-8/9")
			w.WriteHeader(http.StatusPartialContent)
		}, 0, "bytes 3-8/9"},
		"no range": {2, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusPartialContent) }, 0, "with the range"},
		"a part nobody asked for": {0, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-1/9")
			w.WriteHeader(http.StatusPartialContent)
		}, 0, "asked for a part from byte 0"},
		"elsewhere": {0, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/key", http.StatusFound)
		}, 0, "302"},
		"none": {0, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"reason":"not-found","message":"no key"}`)
		}, 0, "not-found"},
	} {
		l, _ := serve(t, tt.answer)
		body, at, err := l.ProvingKey(t.Context(), [32]byte{}, tt.from)
		switch {
		case tt.err == "" && (err != nil || at != tt.at):
			t.Errorf("%s: %d %v", name, at, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: %v, want a word on %q", name, err, tt.err)
		}
		if body != nil {
			fatalIfErr(t, body.Close())
		}
	}
}

// TestAProvingKeyThatStopsIsGivenUp: by who waits for it, or because nothing comes.
func TestAProvingKeyThatStopsIsGivenUp(t *testing.T) {
	for _, why := range []error{context.Canceled, errIdle} {
		gone := make(chan struct{})
		l, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "some of it")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			close(gone)
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		body, _, err := l.ProvingKey(ctx, [32]byte{}, 0)
		fatalIfErr(t, err)
		testlog.Must(io.ReadFull(body, make([]byte, len("some of it"))))
		if why == errIdle {
			body.(*keyBody).idle.Reset(0)
		} else {
			cancel()
		}
		_, err = body.Read(make([]byte, 1))
		if !errors.Is(err, why) {
			t.Errorf("got %v, want %v", err, why)
		}
		<-gone
		fatalIfErr(t, body.Close())
	}
}
