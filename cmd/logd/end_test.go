package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// TestALogEnds as docs/operating.md says: frozen, served without its key, exported to files; and readers
// get what they got before.
func TestALogEnds(t *testing.T) {
	s := newSite(t, "")
	f := s.program("a", "solo: us")
	next := testlog.LogKey("log.test/2027", "next").VKey
	const programs = "programs = [\"a.program\"]\n"
	s.settings(programs + "\n[[shard]]\norigin = \"log.test/2027\"\nvkey = \"" + next + "\"\nurl = \"https://log.test/2027\"\nfrom = \"2027-01-01\"\n")
	raw, e, err := f.Crate("alpha", "1.0.0", "// alpha")
	fatalIf(t, err)
	p := s.start("logd", "serve")
	bundle := testlog.Must((&client.Log{URL: p.url}).Submit(t.Context(), testlog.Must(e.Marshal()), raw, nil))
	config := filepath.Join(s.dir, "logd.toml")
	freeze := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"freeze", "-config", config}, args...), &out, io.Discard)
		return out.String(), err
	}
	for _, successor := range [][]string{nil, {"-successor", ""}} {
		_, err := freeze(successor...)
		if outcome.Of(err) != outcome.Usage || !strings.Contains(err.Error(), "a frozen log stays frozen") {
			t.Errorf("%q: %v", successor, err)
		}
	}
	if _, err := freeze("-successor", "none"); err == nil || !strings.Contains(err.Error(), "in use by another log server") {
		t.Errorf("frozen while it is served: %v", err)
	}
	p.stop()
	if _, err := freeze("-successor", "none", "-url", "https://x.example"); outcome.Of(err) != outcome.Usage {
		t.Errorf("a successor without a key: %v", err)
	}
	text, err := freeze("-successor", next, "-url", "https://log.test/2027", "-reason", "The year is over.")
	fatalIf(t, err)
	policy := testlog.Must(client.ParsePolicy(testlog.Must(os.ReadFile(filepath.Join(s.dir, "trust.policy")))))
	note := testlog.Must(policy.CheckFrozen([]byte(text)))
	if note.Size != 2 || note.Successor != next {
		t.Errorf("%+v", note)
	}

	fatalIf(t, os.Remove(filepath.Join(s.dir, "key.pem")))
	s.wantNoStart(programs, "key.pem")
	if out, err := logd("check", "-config", config); err == nil || !strings.Contains(out, "key.pem") {
		t.Errorf("check misses no key: %v\n%s", err, out)
	}
	if out, err := logd("check", "-config", config, "-read-only"); err != nil {
		t.Errorf("check -read-only: %v\n%s", err, out)
	}
	if out, err := logd("fsck", "-config", config); err != nil {
		t.Errorf("fsck without the key: %v\n%s", err, out)
	}
	p = s.start("logd", "serve", "-read-only")
	var health struct{ Witnesses []map[string]any }
	if p.get("/healthz", &health); len(health.Witnesses) == 0 || health.Witnesses[0]["last_cosigned"] != nil {
		t.Errorf("nothing was cosigned since the start: %v", health.Witnesses)
	}
	c := &client.Log{URL: p.url}
	if got := testlog.Must(c.Frozen(t.Context())); string(got) != text {
		t.Errorf("%s", got)
	}
	_, err = c.Submit(t.Context(), testlog.Must(e.Marshal()), raw, nil)
	var refused *client.SubmitError
	if !errors.As(err, &refused) || refused.Reason != "frozen" || refused.Status != http.StatusGone {
		t.Errorf("%v", err)
	}
	query := client.Query{Name: "alpha", Version: "1.0.0"}
	if got := testlog.Must(c.Bundle(t.Context(), query)); len(got) != len(bundle) {
		t.Errorf("%s", got)
	}
	p.stop()

	dir := filepath.Join(s.dir, "public")
	fatalIf(t, run(t.Context(), []string{"export", "-config", config, "-out", dir}, io.Discard, io.Discard))
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer srv.Close()
	got := testlog.Must((&client.Log{URL: srv.URL}).Bundle(t.Context(), query))
	if i := s.bundleIndex(got, testlog.Must(e.Marshal())); i != 0 {
		t.Errorf("entry %d", i)
	}
	if entries := s.readLog(srv.URL); len(entries) != 2 {
		t.Errorf("%d entries", len(entries))
	}
}

// TestAShardGoesOnForAnother: two programs, of which the second is told of the first, and keeps what it took over
// when it is killed, when its index is lost, and when the first is gone.
func TestAShardGoesOnForAnother(t *testing.T) {
	one := newSite(t, "")
	f := one.program("a", "solo: us")
	const programs = "programs = [\"a.program\"]\n"
	one.settings(programs)
	raw, e, err := f.Crate("alpha", "1.0.0", "// alpha")
	fatalIf(t, err)
	same := testlog.Must(e.Marshal())
	p := one.start("logd", "serve")
	testlog.Must((&client.Log{URL: p.url}).Submit(t.Context(), same, raw, nil))
	p.stop()

	two := newSiteOf(t, "log.test/2027", "")
	two.write("a.program", testlog.Must(os.ReadFile(filepath.Join(one.dir, "a.program"))))
	table := fmt.Sprintf("\n[[predecessor]]\norigin = %q\ntrust = %q\nfrom = %q\n", origin,
		filepath.Join(one.dir, "trust.policy"), filepath.Join(one.dir, "tree"))
	two.wantNoStart(programs+table, "it has not ended")
	end := []string{"freeze", "-config", filepath.Join(one.dir, "logd.toml"), "-successor", "none"}
	fatalIf(t, run(t.Context(), end, io.Discard, io.Discard))

	raw2, e, err := f.Crate("alpha", "1.0.0", "// another")
	fatalIf(t, err)
	other := testlog.Must(e.Marshal())
	conflict := func(p *server) {
		t.Helper()
		_, err := (&client.Log{URL: p.url}).Submit(t.Context(), other, raw2, nil)
		var refused *client.SubmitError
		if !errors.As(err, &refused) || refused.Reason != "version-conflict" || !strings.Contains(err.Error(), origin) {
			t.Errorf("%v", err)
		}
	}
	two.settings(programs + table)
	p = two.start("logd", "serve")
	conflict(p)
	p.kill()
	p = two.start("logd", "serve")
	conflict(p)
	b := testlog.Must((&client.Log{URL: p.url}).Submit(t.Context(), same, raw, nil))
	if i := two.bundleIndex(b, same); i == 0 {
		t.Error("the entry stands where the start is to be")
	}
	p.stop()

	fatalIf(t, os.RemoveAll(filepath.Join(one.dir, "tree")))
	fatalIf(t, os.Remove(filepath.Join(two.dir, "state", "index.db")))
	two.settings(programs)
	if out, err := logd("fsck", "-config", filepath.Join(two.dir, "logd.toml")); err == nil {
		t.Errorf("fsck misses no index: %s", out)
	}
	p = two.start("logd", "serve")
	conflict(p)
	p.stop()
	if out, err := logd("fsck", "-config", filepath.Join(two.dir, "logd.toml")); err != nil {
		t.Errorf("fsck: %v\n%s", err, out)
	}
	fatalIf(t, os.Remove(filepath.Join(two.dir, "state", "predecessor")))
	two.wantNoStart(programs, "name that log in [[predecessor]]")
}
