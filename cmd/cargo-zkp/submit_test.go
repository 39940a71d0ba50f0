package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

// TestAnEntryAboutOtherBytesIsNotSubmitted: the log knows the entry, and would not look at
// the .crate.
func TestAnEntryAboutOtherBytesIsNotSubmitted(t *testing.T) {
	raw, entry := bytes.Clone(helloProof(t)), fixture.Read(t, "hello-proof-0.1.0.entry")
	t.Chdir(t.TempDir())
	log := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the log was asked") }))
	defer log.Close()
	raw[len(raw)-1] ^= 1
	put(t, "hello-proof-0.1.0.crate", string(raw))
	put(t, "hello-proof-0.1.0.entry", string(entry))
	var out bytes.Buffer
	code := run(t.Context(), []string{"submit", "hello-proof-0.1.0.crate", "--log", log.URL}, &out, &out)
	if code != int(outcome.Refused) || !strings.Contains(out.String(), "so nothing was submitted") {
		t.Errorf("exit code %d, %s", code, &out)
	}
	if left, err := filepath.Glob("*"); err != nil || len(left) != 2 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestALogThatIsNotThereIsNamed(t *testing.T) {
	raw, entry := helloProof(t), fixture.Read(t, "hello-proof-0.1.0.entry")
	t.Chdir(t.TempDir())
	put(t, "hello-proof-0.1.0.crate", string(raw))
	put(t, "hello-proof-0.1.0.entry", string(entry))
	log := httptest.NewServer(http.NotFoundHandler())
	log.Close()
	var out bytes.Buffer
	code := run(t.Context(), []string{"submit", "hello-proof-0.1.0.crate", "--log", log.URL}, &out, &out)
	if code != int(outcome.Unchecked) || !strings.Contains(out.String(), "error: the log at "+log.URL+" could not be asked: ") ||
		!strings.Contains(out.String(), "nothing is lost: run the same command again later") {
		t.Errorf("exit code %d, %s", code, &out)
	}
}
