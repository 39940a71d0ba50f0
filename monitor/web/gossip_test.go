package web

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cratelog/proofcheck"
)

// told answers gossip as it was told to, and keeps what came.
type told struct {
	verdict, text string
	err           error
	got           []string
}

func (g *told) Gossip(_ context.Context, b []byte) (string, string, error) {
	g.got = append(g.got, string(b))
	return g.verdict, g.text, g.err
}

func (s served) post(from, body string) answer {
	r := httptest.NewRequest(http.MethodPost, "/v1/gossip", strings.NewReader(body))
	r.RemoteAddr = from
	return s.ask(r)
}

func TestGossipIsPassedOnAndAnswered(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	s := w.server() // without a receiver
	s.wants(s.post("192.0.2.1:1", "note"), http.StatusNotFound, "takes no gossip")
	g := &told{verdict: "inconsistent", text: "The log signed another tree of this size."}
	w.cfg.Gossip = g
	s = w.server()
	a := s.post("192.0.2.1:1", "a note")
	if got := decode[gossipJSON](t, a); a.code != http.StatusOK || got.Verdict != "inconsistent" || got.Message != g.text || g.got[0] != "a note" {
		t.Errorf("%d %s", a.code, a.body)
	}
	s.wants(s.post("192.0.2.1:1", ""), http.StatusBadRequest, "empty")
	s.wants(s.post("192.0.2.1:1", strings.Repeat("x", MaxGossip+1)), http.StatusRequestEntityTooLarge, "")
	s.wants(s.post("192.0.2.1:1", strings.Repeat("x", MaxGossip)), http.StatusOK, "")
	g.err = fmt.Errorf("%w: no log that is followed has signed it", ErrGossip)
	g.text = ""
	s.wants(s.post("192.0.2.1:1", "x"), http.StatusUnprocessableEntity, "no log that is followed has signed it.")
	g.err = errors.New("disk full, at /secret")
	if a := s.post("192.0.2.1:1", "x"); a.code != http.StatusInternalServerError || strings.Contains(a.body, "secret") {
		t.Errorf("failed: %d %s", a.code, a.body)
	}
	if len(g.got) != 4 {
		t.Errorf("%d bodies were passed on", len(g.got))
	}
}

func TestASenderOfTooMuchWaitsAndOthersDoNot(t *testing.T) {
	w := newWorld(t, proofcheck.OriginDevelopment)
	now := testNow
	w.cfg.Now = func() time.Time { return now }
	w.cfg.Gossip = &told{verdict: "consistent"}
	s := w.server()
	for i := range gossipBurst {
		if a := s.post(fmt.Sprintf("[2001:db8::%x]:1", i), "x"); a.code != http.StatusOK {
			t.Fatalf("number %d: %d", i, a.code)
		}
	}
	a := s.post("[2001:db8::ffff]:9", "x")
	if a.code != http.StatusTooManyRequests || a.header.Get("Retry-After") != "6" {
		t.Errorf("one too many: %d, Retry-After %q", a.code, a.header.Get("Retry-After"))
	}
	s.wants(s.post("[2001:db8:0:1::1]:1", "x"), http.StatusOK, "") // another sender
	now = now.Add(gossipEvery)
	s.wants(s.post("[2001:db8::1]:1", "x"), http.StatusOK, "")
	// All of them together are bounded, and so is what is remembered of them.
	refused := 0
	for i := range 3 * gossipBurst * limitAll {
		if s.limit.take(fmt.Sprintf("10.%d.%d.1:1", i/256, i%256)) > 0 {
			refused++
		}
	}
	now = now.Add(time.Hour)
	for i := range gossipBurst * limitAll {
		if s.limit.take("[::1]:80") > 0 {
			t.Fatalf("number %d through a proxy on this machine has to wait", i)
		}
	}
	if s.limit.take("127.0.0.1:80") == 0 {
		t.Error("there is no bound for those who come through a proxy")
	}
	if want := 2*gossipBurst*limitAll + 1; refused != want { // one was taken above
		t.Errorf("of many senders, %d were refused and not %d", refused, want)
	}
	for i := range 3 * maxSenders {
		now = now.Add(gossipEvery / limitAll)
		s.limit.take(fmt.Sprintf("[2001:db8:%x:%x::1]:1", i/65536+7, i%65536))
	}
	if s.limit.single.Len() > maxSenders {
		t.Errorf("%d senders are remembered", s.limit.single.Len())
	}
}

// checkFeed reads an Atom feed and checks what RFC 4287 demands.
func checkFeed(t *testing.T, a answer) atomFeed {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/atom+xml; charset=utf-8" {
		t.Error(got)
	}
	var f atomFeed
	fatalIf(t, xml.Unmarshal([]byte(a.body), &f))
	ids := map[string]bool{f.ID: true}
	if f.Title == "" || f.Author.Name == "" || !strings.HasPrefix(f.ID, "urn:uuid:") || len(f.Links) != 2 || f.Links[0].Rel != "self" {
		t.Errorf("%+v", f)
	}
	times := []string{f.Updated}
	for _, e := range f.Entries {
		if ids[e.ID] || !strings.HasPrefix(e.ID, "urn:uuid:") || e.Title == "" || e.Summary == "" || e.Link.Href == "" {
			t.Errorf("%+v", e)
		}
		ids[e.ID] = true
		times = append(times, e.Updated, e.Published)
	}
	for _, s := range times {
		_, err := time.Parse(time.RFC3339, s)
		fatalIf(t, err)
	}
	return f
}

func TestFeedsAreAtomWithLastingIDs(t *testing.T) {
	w := troubled(t)
	w.cfg.URL = "https://monitor.example"
	s := w.server()
	f := checkFeed(t, s.must("/feed.atom"))
	if len(f.Entries) != 3 || f.Entries[0].Title != "operational: witness-unreachable" || f.Links[0].Href != "https://monitor.example/feed.atom" || !strings.Contains(f.Entries[1].Summary, hostile) {
		t.Errorf("%+v", f)
	}
	if f.Entries[2].Link.Href != "https://monitor.example"+read[findingList](s, "/v1/findings?kind=fork-same-size").Findings[0].Evidence {
		t.Error(f.Entries[2].Link.Href)
	}
	if info := checkFeed(t, s.must("/feed.atom?class=info")); len(info.Entries) != 1 || info.Entries[0].Title != "info: new-version" || info.ID == f.ID {
		t.Errorf("%+v", info)
	}
	s.wants(s.get("/feed.atom?class=all"), http.StatusBadRequest, "takes one of")
	c := checkFeed(t, s.must("/c/ember.atom"))
	if len(c.Entries) != 11 || c.Entries[0].Title != "ember 2.4.0: void" || c.Entries[0].Link.Href != "https://monitor.example/e/98" {
		t.Errorf("%+v", c)
	}
	checkFeed(t, s.must("/c/nasty.atom"))
	checkFeed(t, newWorld(t, proofcheck.OriginDevelopment).server().must("/feed.atom"))

	// Moving the monitor, and resolving a finding, change no id.
	w.cfg.URL = "https://moved.example"
	_, err := w.store.ResolveFinding(t.Context(), "witness", testNow.Add(time.Hour), nil)
	fatalIf(t, err)
	g := checkFeed(t, w.server().must("/feed.atom"))
	for i := range g.Entries {
		if g.Entries[i].ID != f.Entries[i].ID {
			t.Error("an id changed")
		}
	}
	if g.ID != f.ID || g.Entries[0].Title != "over: operational: witness-unreachable" || g.Entries[0].Updated <= f.Entries[0].Updated || g.Updated != g.Entries[0].Updated {
		t.Errorf("%+v", g.Entries[0])
	}
}
