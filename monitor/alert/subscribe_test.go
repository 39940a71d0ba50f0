package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// endpoint is a reader's server. It confirms, and then answers with a code.
type endpoint struct {
	mu       sync.Mutex
	confirms bool
	code     int
	got      []NewsMessage
	signed   []string // signature and body
	ids      []string
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, _ := io.ReadAll(r.Body)
	var c Challenge
	if json.Unmarshal(b, &c) == nil && c.Event == "challenge" {
		if e.confirms {
			fmt.Fprintln(w, c.Challenge)
		} else {
			fmt.Fprintln(w, "ok")
		}
		return
	}
	var m NewsMessage
	if json.Unmarshal(b, &m) == nil {
		e.got = append(e.got, m)
		e.signed = append(e.signed, r.Header.Get(HeaderSignature)+"\n"+string(b))
		e.ids = append(e.ids, r.Header.Get(HeaderID))
	}
	w.WriteHeader(e.code)
}

// subscribed is a store of one log with a subscriber.
type subscribed struct {
	*Subscriber
	t   *testing.T
	db  *store.Store
	log store.Log
	now time.Time
}

func newSubscribed(t *testing.T, private bool) *subscribed {
	t.Helper()
	x := &subscribed{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	x.db = testlog.Must(store.Create(t.Context(), filepath.Join(t.TempDir(), "m.db")))
	t.Cleanup(func() { x.db.Close() })
	x.log = testlog.Must(x.db.AddLog(t.Context(), "log.example", []string{"k"}, "", x.now))
	x.Subscriber = testlog.Must(NewSubscriber(SubscriberConfig{Store: x.db, Name: "m", URL: "https://monitor.example", AllowPrivate: private,
		Now: func() time.Time { return x.now }}))
	return x
}

// logs appends verified entries about crates.
func (x *subscribed) logs(names ...string) {
	x.t.Helper()
	p := testlog.Must(x.db.Position(x.t.Context(), x.log.ID))
	var rows []store.Entry
	for i, name := range names {
		rows = append(rows, store.Entry{Log: x.log.ID, Index: p.Downloaded + int64(i), LeafHash: tlog.RecordHash([]byte(name)), Name: name,
			Version: "1.0.0", Kind: "source", Commit: [20]byte{7}, Verdict: store.OK, FirstSeen: x.now})
	}
	fatalIf(x.t, x.db.AppendEntries(x.t.Context(), x.log.ID, rows))
	fatalIf(x.t, x.db.SetVerified(x.t.Context(), x.log.ID, p.Downloaded+int64(len(rows)), tlog.Hash{}, nil))
}

func (x *subscribed) later(d time.Duration) {
	x.t.Helper()
	x.now = x.now.Add(d)
	fatalIf(x.t, x.Tell(x.t.Context()))
}

func TestAnEndpointIsToldOnlyAfterItHasConfirmed(t *testing.T) {
	x := newSubscribed(t, true)
	e := &endpoint{code: 200}
	at := hook(t, e.ServeHTTP)
	if _, _, err := x.Subscribe(t.Context(), "acme-", false, at); !errors.Is(err, ErrEndpoint) {
		t.Errorf("it did not confirm: %v", err)
	}
	if _, _, err := x.Subscribe(t.Context(), "acme-", false, at); err == nil || !strings.Contains(err.Error(), "a moment ago") {
		t.Errorf("it was asked twice: %v", err)
	}
	x.logs("acme-x")
	x.later(time.Minute)
	if len(e.got) != 0 {
		t.Error("it was told and has not confirmed")
	}
	e.confirms = true
	secret, token, err := x.Subscribe(t.Context(), "acme-", false, at)
	fatalIf(t, err)
	x.logs("Acme_One", "other")
	_, _, err = x.db.RecordFinding(t.Context(), store.Finding{Key: "k", Kind: "k", Class: store.Security, Index: -1, FirstSeen: x.now,
		Name: "acme-one", Summary: "bad\u202e"}, nil)
	fatalIf(t, err)
	x.later(0)
	x.later(time.Minute)
	if len(e.got) != 1 || len(e.got[0].Entries) != 1 || e.got[0].Entries[0].Crate != "Acme_One" || len(e.got[0].Findings) != 1 ||
		strings.Contains(e.got[0].Findings[0].Summary, "\u202e") || e.got[0].Unsubscribe != "https://monitor.example/unsubscribe/"+token {
		t.Errorf("it was told %+v", e.got)
	}
	signature, body, _ := strings.Cut(e.signed[0], "\n")
	if signature != Sign([]byte(secret), []byte(body), x.now.Add(-time.Minute)) {
		t.Errorf("the signature is %s", signature)
	}
	if found := testlog.Must(x.Unsubscribe(t.Context(), token)); !found {
		t.Error("it does not end")
	}
	x.logs("acme-two")
	x.later(time.Hour)
	if len(e.got) != 1 {
		t.Error("it was told after the end")
	}
}

func TestAnEndpointThatTakesNothingWaitsAndIsForgotten(t *testing.T) {
	for name, code := range map[string]int{"fails": 500, "is gone": 410} {
		x := newSubscribed(t, true)
		e := &endpoint{code: code, confirms: true}
		at := hook(t, e.ServeHTTP)
		_, _, err := x.Subscribe(t.Context(), "acme", true, at)
		fatalIf(t, err)
		x.logs("acme")
		for range 12 {
			x.later(time.Second)
		}
		if len(e.got) != 1 {
			t.Errorf("%s: it was sent %d messages in a few seconds", name, len(e.got))
		}
		for range 40 {
			x.later(6 * time.Hour)
		}
		if n := testlog.Must(x.db.CountSubscriptions(t.Context())); n != 0 {
			t.Errorf("%s: it is not forgotten", name)
		}
		if code == 500 && (len(e.got) < 20 || len(slices.Compact(slices.Clone(e.ids))) != 1) {
			t.Errorf("%s: %d messages of the ids %q", name, len(e.got), slices.Compact(e.ids))
		}
	}
}

// TestAStrangerCannotMakeTheMonitorConnectInside: addresses of its own network, and what is no address of a hook.
func TestAStrangerCannotMakeTheMonitorConnectInside(t *testing.T) {
	x := newSubscribed(t, false)
	e := &endpoint{code: 200, confirms: true}
	local := hook(t, e.ServeHTTP)
	for _, at := range []string{
		local, strings.Replace(local, "http:", "https:", 1), "https://127.0.0.1/", "https://[::1]/", "https://localhost:44300/", "https://10.0.0.1/", "https://169.254.169.254/x",
		"https://[fd00::1]/", "https://192.168.1.1:8443/", "https://[64:ff9b::a00:1]/", "https://user:pass@hook.example/", "https://hook.example/#x", "ftp://hook.example/",
		"https://hook.example:22/", "https:hook.example", "//hook.example", "", "https:///x", "https://hook.example/\r\nX: y", "https://hook.example/" + strings.Repeat("x", maxEndpoint),
	} {
		if _, _, err := x.Subscribe(t.Context(), "acme", true, at); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q: %v", at, err)
		} else if strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "dial") {
			t.Errorf("%q: the answer tells about this network: %v", at, err)
		}
	}
	if len(e.got) != 0 || testlog.Must(x.db.CountSubscriptions(t.Context())) != 0 {
		t.Error("something was taken")
	}
}

func TestSubscriptionsAreBounded(t *testing.T) {
	x := newSubscribed(t, true)
	x.cfg.Max = 3
	e := &endpoint{code: 200, confirms: true}
	at := hook(t, e.ServeHTTP)
	var last error
	for i := range 5 {
		x.now = x.now.Add(time.Hour)
		_, _, last = x.Subscribe(t.Context(), fmt.Sprintf("acme%d", i), true, at)
		if (last == nil) != (i < 3) {
			t.Errorf("number %d: %v", i, last)
		}
	}
	x.cfg.Max = 1000
	for i := range maxPerHost {
		x.now = x.now.Add(time.Hour)
		_, _, last = x.Subscribe(t.Context(), fmt.Sprintf("other%d", i), true, at)
	}
	if !errors.Is(last, ErrEndpoint) || !strings.Contains(last.Error(), "as many subscriptions as one may have") {
		t.Errorf("of one host: %v", last)
	}
	if n := testlog.Must(x.db.CountSubscriptions(t.Context())); n != maxPerHost {
		t.Errorf("%d subscriptions", n)
	}
}

// TestAHostIsOneHostHoweverItIsSpelled: the wait between two challenges cannot be spelled away.
func TestAHostIsOneHostHoweverItIsSpelled(t *testing.T) {
	x := newSubscribed(t, true)
	for i, at := range []string{"http://localhost:1/", "http://LOCALHOST:1/", "http://localhost.:1/"} {
		_, _, err := x.Subscribe(t.Context(), "acme", true, at)
		if early := err != nil && strings.Contains(err.Error(), "a moment ago"); early != (i > 0) {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// TestNewsWithMoreInThemHaveAnotherID: an endpoint that took a message and whose answer was lost leaves out what has an id
// that it knows, and would never hear of what came meanwhile.
func TestNewsWithMoreInThemHaveAnotherID(t *testing.T) {
	x := newSubscribed(t, true)
	e := &endpoint{code: 500, confirms: true}
	_, _, err := x.Subscribe(t.Context(), "acme", false, hook(t, e.ServeHTTP))
	fatalIf(t, err)
	x.logs("acme-one")
	x.later(0)
	x.later(time.Hour)
	x.logs("acme-two")
	x.later(3 * time.Hour)
	_, _, err = x.db.RecordFinding(t.Context(), store.Finding{Key: "k", Kind: "k", Class: store.Security, Index: -1, FirstSeen: x.now,
		Name: "acme-one", Summary: "bad"}, nil)
	fatalIf(t, err)
	x.later(6 * time.Hour)
	if len(e.ids) != 4 || e.ids[0] != e.ids[1] || e.ids[1] == e.ids[2] || e.ids[2] == e.ids[3] {
		t.Errorf("the ids are %q", e.ids)
	}
}
