package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

// publishedFrom has the registry say that hello-proof was published from a commit; "" for not so.
func (d *depot) publishedFrom(commit string) {
	d.registry.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if q.URL.Path != "/api/v1/crates/hello-proof/0.1.0" {
			return false
		}
		data := "null"
		if commit != "" {
			data = fmt.Sprintf(`{"provider":"github","repository":"octo/hello","run_id":"42","sha":%q}`, commit)
		}
		fmt.Fprintf(w, `{"version":{"crate":"hello-proof","num":"0.1.0","trustpub_data":%s}}`, data)
		return true
	})
	fatalIf(d.t, os.RemoveAll(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "cratelog", "trusted")))
}

func (d *depot) askedAPI() (n int) {
	for _, r := range d.registry.Requests() {
		if strings.Contains(r, "/api/v1/crates/hello-proof") {
			n++
		}
	}
	return n
}

func TestTrustedPublishingIsComparedWithTheProvenCommit(t *testing.T) {
	commit, other := fmt.Sprintf("%x", fixture.Commit(t, "0.1.0")), strings.Repeat("0", 40)
	d := proven(t)
	dir := d.project(asked)
	d.settings(dir, "")
	d.tells(outcome.OK, []string{"1 crate proven"})
	if n := d.askedAPI(); n != 0 {
		t.Fatalf("the API was asked %d times, and nobody wanted that", n)
	}
	for _, c := range []struct {
		from     string
		standing string
		agree    outcome.Code
	}{{commit, "agrees", outcome.OK}, {other, "differs", outcome.Refused}, {"", "none", outcome.OK}} {
		d.settings(dir, "")
		d.publishedFrom(c.from)
		d.tells(outcome.OK, []string{`"trusted_publishing":{"standing":"` + c.standing + `"`}, "--trusted-publishing", "--message-format", "json")
		d.tells(outcome.OK, []string{"trusted publishing " + map[string]string{"differs": "DIFFERS"}[c.standing]}, "--trusted-publishing", "--offline", "-v")
		out, _ := d.call(outcome.OK, "show", "hello-proof", "--trusted-publishing")
		tells(t, strings.ToLower(out), "published:  "+c.standing)
		out, _ = d.call(outcome.OK, "show", "hello-proof", "--trusted-publishing", "--message-format", "json")
		tells(t, out, `"standing": "`+c.standing+`"`)
		if n := d.askedAPI(); n != 1 {
			t.Errorf("%s: the API was asked %d times; it does not change its mind", c.standing, n)
		}
		d.settings(dir, "trusted-publishing = \"agree\"\n")
		words := []string{"1 crate proven"}
		if c.agree != outcome.OK {
			words = []string{"the registry says that it was published from the commit " + other + `, by "github" for "octo/hello", run "42"`,
				"proven to stand in the commit " + commit}
		}
		d.tells(c.agree, words)
		d.wants(map[bool]int{true: 0, false: int(outcome.Refused)}[c.agree == outcome.OK], nil, "check")
	}
}

// Who demands it does not get less because the registry is silent, or lies in form.
func TestTrustedPublishingThatCannotBeAskedIsUnchecked(t *testing.T) {
	d := proven(t)
	dir := d.project(asked)
	d.settings(dir, "")
	d.tells(outcome.OK, []string{"1 crate proven"})
	d.settings(dir, "trusted-publishing = \"agree\"\n")
	d.tells(outcome.Unchecked, []string{"is not in the cache, and nothing is fetched offline"}, "--offline")
	d.publishedFrom("not a commit")
	d.tells(outcome.Unchecked, []string{"did not say how hello-proof 0.1.0 was published", "not the id of a commit"})
	d.registry.Meddle(nil)
	d.registry.Fail("/api/v1/crates/hello-proof", http.StatusTooManyRequests)
	d.tells(outcome.Unchecked, []string{"429"})
	d.settings(dir, "")
	d.tells(outcome.OK, []string{"did not say how", "1 crate proven"}, "--trusted-publishing")
	d.settings(dir, "trusted-publishing = \"maybe\"\n")
	d.tells(outcome.Usage, []string{`key "trusted-publishing"`, `must be "ignore", or "agree"`})
}
