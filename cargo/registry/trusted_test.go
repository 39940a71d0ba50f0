package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const trustedCommit = "0123456789abcdef0123456789abcdef01234567"

var trustedSum = [32]byte{0xab}

// about is an answer of the API with some trustpub_data.
func about(data string) string {
	return fmt.Sprintf(`{"version":{"id":1,"crate":"leaf","num":"1.0.0+b","checksum":"%x","yanked":false,"trustpub_data":%s,"published_by":null}}`,
		trustedSum, data)
}

func TestWhatTheAPISaysOfThePublicationIsRead(t *testing.T) {
	github := `{"provider":"github","repository":"octo-org/octo-repo","run_id":"42","sha":"` + trustedCommit + `"}`
	for name, c := range map[string]struct {
		body string
		want *Trusted
	}{
		"github":           {about(github), &Trusted{"github", "octo-org/octo-repo", "42", trustedCommit}},
		"gitlab":           {about(`{"provider":"gitlab","project_path":"a/b/c","job_id":"7","sha":"` + trustedCommit + `"}`), &Trusted{"gitlab", "a/b/c", "7", trustedCommit}},
		"another provider": {about(`{"provider":"forge","sha":"` + trustedCommit + `","more":[1]}`), &Trusted{"forge", "", "", trustedCommit}},
		"none":             {about("null"), nil},
		"no such field":    {`{"version":{"crate":"leaf","num":"1.0.0+b"}}`, nil},
	} {
		got, err := parseTrusted([]byte(c.body), "leaf", "1.0.0+b", trustedSum)
		if err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	change := func(old, with string) string { return strings.Replace(about(github), old, with, 1) }
	for name, c := range map[string]struct{ body, want string }{
		"no JSON":             {"<html>", "not a JSON object"},
		"no version":          {"{}", `"version"`},
		"a list":              {about("[]"), `"trustpub_data": it is not a JSON object`},
		"another crate":       {change(`"leaf"`, `"Leaf"`), `it is about "Leaf"`},
		"another version":     {change("+b", "+c"), `it is about "leaf" "1.0.0+c"`},
		"other bytes":         {change(`"checksum":"ab`, `"checksum":"ac`), "about a .crate with the SHA-256"},
		"no sha":              {about(`{"provider":"github","repository":"a/b","run_id":"1"}`), `it has no "sha"`},
		"no provider":         {about(`{"sha":"` + trustedCommit + `"}`), `it has no "provider"`},
		"sha in capitals":     {change(trustedCommit, strings.ToUpper(trustedCommit)), `"sha" is not the id of a commit`},
		"a short sha":         {change(trustedCommit, trustedCommit[:7]), `"sha" is not the id of a commit`},
		"a sha that is null":  {change(`"`+trustedCommit+`"`, "null"), `it has no "sha"`},
		"github without run":  {change("run_id", "job_id"), `it has no "run_id"`},
		"a long repository":   {change("octo-repo", strings.Repeat("x", 400)), "more than 300 bytes"},
		"a repository number": {change(`"octo-org/octo-repo"`, "7"), `"repository"`},
	} {
		got, err := parseTrusted([]byte(c.body), "leaf", "1.0.0+b", trustedSum)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestTheAPIIsAskedWhereConfigSaysSo(t *testing.T) {
	var asked []string
	api, status, body := "", http.StatusOK, about("null")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.EscapedPath()+" "+r.Header.Get("Authorization"))
		if r.URL.Path == "/index/config.json" {
			fmt.Fprintf(w, `{"dl":"http://localhost/dl","api":%s}`, api)
			return
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer s.Close()
	ask := func(says string) (*Trusted, error) {
		asked, api = nil, says
		x := &Index{URL: s.URL + "/index/", Token: "secret"}
		return x.Trusted(context.Background(), "leaf", "1.0.0+b", trustedSum)
	}
	if got, err := ask(`"` + s.URL + `/base/"`); got != nil || err != nil || len(asked) != 2 || asked[1] != "/base/api/v1/crates/leaf/1.0.0%2Bb " {
		t.Errorf("%+v, %v, asked %q", got, err, asked)
	}
	if got, err := ask("null"); got != nil || err != nil || len(asked) != 1 {
		t.Errorf("without an API: %+v, %v, asked %q", got, err, asked)
	}
	for _, bad := range []string{"http://example.com", "ftp://localhost", "http://user@localhost", "http://localhost/?q=", "not a url\\u0000"} {
		if got, err := ask(`"` + bad + `"`); err == nil {
			t.Errorf("%s: %+v, asked %q", bad, got, asked)
		}
	}
	good := `"` + s.URL + `"`
	status = http.StatusNotFound
	if got, err := ask(good); got != nil || err != nil {
		t.Errorf("404: %+v, %v", got, err)
	}
	status = http.StatusTooManyRequests
	var e *StatusError
	if _, err := ask(good); !errors.As(err, &e) || e.Status != status {
		t.Errorf("429: %v", err)
	}
	status, body = http.StatusOK, strings.Repeat(" ", maxVersionSize+1)
	if _, err := ask(good); err == nil {
		t.Error("an endless answer is read")
	}
}

func FuzzParseTrusted(f *testing.F) {
	f.Add([]byte(about(`{"provider":"github","repository":"a/b","run_id":"1","sha":"` + trustedCommit + `"}`)))
	f.Add([]byte(about("null")))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseTrusted(b, "leaf", "1.0.0+b", trustedSum)
		if err == nil && got != nil && (len(got.Commit) != 40 && len(got.Commit) != 64 || len(got.Repository)+len(got.Run)+len(got.Provider) > 3*maxTrusted) {
			t.Errorf("%+v", got)
		}
	})
}
