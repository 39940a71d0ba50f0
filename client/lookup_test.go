package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

// anEntry is one that a log could be given.
func anEntry(t *testing.T) []byte {
	t.Helper()
	e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "a", Version: "1.0.0",
		SHA256: [32]byte{1}},
		Claim: &entry.Source{Commit: [20]byte{1}}, Proof: entry.Proof{Program: [32]byte{7}, Parts: [][]byte{{1}}}}
	return testlog.Must(e.Marshal())
}

// TestASubmissionThatIsAcceptedIsNotSentAgain: the log is asked for it, until it is published; and it is sent again
// to a log that does not know it, or cannot be asked.
func TestASubmissionThatIsAcceptedIsNotSentAgain(t *testing.T) {
	raw := anEntry(t)
	id := testlog.Must(testlog.Must(entry.Parse(raw)).Identity())
	for name, c := range map[string]struct {
		states []string // by request for it
		posts  int
		fails  bool
	}{
		"published": {[]string{`{"state":"published","index":5,"bundle":"/v1/entries/5"}`}, 1, false},
		"published later": {[]string{`{"state":"accepted"}`, `{"state":"sequenced","index":5}`,
			`{"state":"published","index":5}`}, 1, false},
		"never published":          {[]string{`{"state":"sequenced","index":5}`}, 1, true},
		"lost":                     {[]string{`{"state":"unknown"}`}, 2, false},
		"of a log that cannot say": {[]string{`404`}, 2, false},
		"of one that lies":         {[]string{`{"state":"published","index":6}`}, 2, false},
		"of one that raves":        {[]string{`{"state":"x"}`}, 2, false},
	} {
		posts, asked := 0, 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/submit":
				if posts++; posts > 1 {
					fmt.Fprint(w, "the bundle")
					return
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprint(w, `{"reason":"not-yet-published","message":"Later."}`)
			case fmt.Sprintf("/v1/submissions/%x", id):
				if r.URL.RawQuery != fmt.Sprintf("program=%x", [32]byte{7}) {
					t.Errorf("asked with %q", r.URL.RawQuery)
				}
				state := c.states[min(asked, len(c.states)-1)]
				if asked++; state == "404" {
					http.NotFound(w, r)
					return
				}
				fmt.Fprint(w, state)
			case "/v1/entries/5":
				fmt.Fprint(w, "the bundle")
			default:
				http.NotFound(w, r)
			}
		}))
		l := &Log{URL: srv.URL, OnWait: func(time.Duration) {}, testingOnlyWait: func(context.Context,
			time.Duration) error {
			return nil
		}}
		b, err := l.Submit(t.Context(), raw, []byte("crate"), nil)
		srv.Close()
		var refused *SubmitError
		if c.fails != (err != nil) || !c.fails && string(b) != "the bundle" || c.fails && (!errors.As(err, &refused) ||
			refused.Reason != reasonNotPublished) {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if posts != c.posts {
			t.Errorf("%s: sent %d times", name, posts)
		}
	}
}

func TestAListOfVersionsIsWholeOrAnError(t *testing.T) {
	row := func(name, version string) string {
		return fmt.Sprintf(`{"name":%q,"version":%q,"sha256":"%064d","index":3}`, name, version, 1)
	}
	list := func(rows, next string) string {
		return `{"registry":"default","versions":[` + rows + `],"next":"` + next + `","size":9}`
	}
	for name, c := range map[string]struct {
		pages []string
		want  string
	}{
		"one page":         {[]string{list(row("a", "1.0.0")+","+row("a", "1.0.1"), "")}, ""},
		"two pages":        {[]string{list(row("a", "1.0.0"), "a@1.0.0"), list(row("a", "1.0.1"), "")}, ""},
		"the same again":   {[]string{list(row("a", "1.0.0"), "a@1.0.0")}, "not in order"},
		"in another order": {[]string{list(row("a", "1.0.1")+","+row("a", "1.0.0"), "")}, "not in order"},
		"without rows":     {[]string{list("", "a@1.0.0")}, "does not go on"},
		"no version":       {[]string{list(row("a", "x"), "")}, "not an exact version"},
		"no name":          {[]string{list(row("é", "1.0.0"), "")}, "crate name"},
		"a short hash": {[]string{strings.Replace(list(row("a", "1.0.0"), ""), `"sha256":"0`, `"sha256":"`, 1)},
			"no SHA-256"},
		"of another index": {[]string{strings.Replace(list(row("a", "1.0.0"), ""), "default", "https://x.example", 1)},
			"another registry"},
		"no JSON":          {[]string{"<html>"}, "not the JSON"},
		"too large a page": {[]string{list(strings.Repeat(" ", maxBuildsBody), "")}, "bytes"},
	} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if want := map[bool]string{true: "", false: "after=a%401.0.0"}[asked == 0]; r.URL.RawQuery != want {
				t.Errorf("%s: asked with %q", name, r.URL.RawQuery)
			}
			fmt.Fprint(w, c.pages[min(asked, len(c.pages)-1)])
			asked++
		}))
		rows, err := (&Log{URL: srv.URL}).Versions(t.Context(), "", "a")
		srv.Close()
		if c.want == "" && (err != nil || len(rows) != 2 || rows[1].Version != "1.0.1" || rows[1].SHA256 == [32]byte{}) ||
			c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %+v, %v", name, rows, err)
		}
	}
}
