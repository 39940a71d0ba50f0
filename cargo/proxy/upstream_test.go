package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestARegistryThatFallsSilentIsGivenUp(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "nine byte")
		http.NewResponseController(w).Flush()
		<-r.Context().Done() // which is over when the client has gone
	}))
	defer s.Close()
	c := http.Client{Transport: &waiting{&http.Transport{DisableKeepAlives: true}, time.Millisecond}}
	resp, err := c.Get(s.URL)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if !errors.Is(err, errSlow) && t.Context().Err() == nil {
		t.Errorf("%v", err)
	}
}

func TestTheFirstHalfOfWhatArrivedIsShown(t *testing.T) {
	var e early
	if b := e.from(0); len(b) != 0 {
		t.Errorf("nothing arrived, and it shows %q", b)
	}
	for range 1000 {
		fmt.Fprint(&e, "0123456789")
	}
	sent := 0
	for b := e.from(sent); len(b) > 0; b = e.from(sent) {
		if len(b) > earlyStep || string(b) != string(e.b[sent:sent+len(b)]) {
			t.Fatalf("%d bytes at %d: %q", len(b), sent, b)
		}
		sent += len(b)
	}
	if sent != maxEarly/2 || len(e.b) != maxEarly {
		t.Errorf("%d bytes of %d are shown", sent, len(e.b))
	}
	if !e.begins([]byte("0123456789"), 10) || e.begins([]byte("0123456780"), 10) {
		t.Error("it does not know what it has shown")
	}
}
