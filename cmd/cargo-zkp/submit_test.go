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
	"cratelog/internal/testlog"
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

// TestTheHintAfterSubmitWorksWhenItIsCopied: it names what the policy here does not say.
func TestTheHintAfterSubmitWorksWhenItIsCopied(t *testing.T) {
	raw, entry := string(helloProof(t)), string(fixture.Read(t, "hello-proof-0.1.0.entry"))
	d := newDepot(t)
	t.Chdir(t.TempDir())
	put(t, "hello-proof-0.1.0.crate", raw)
	put(t, "hello-proof-0.1.0.entry", entry)
	put(t, "other.crate", raw)
	put(t, "other.entry", entry)
	hint := func(want string, args ...string) {
		t.Helper()
		_, said := d.call(outcome.OK, append([]string{"submit", "--log", d.log.URL}, args...)...)
		_, said, _ = strings.Cut(said, "check it with \"cargo zkp ")
		command, more, _ := strings.Cut(said, "\"")
		if command != want || strings.Contains(more, "FILE is the log's trust file") != strings.Contains(want, " FILE") {
			t.Errorf("%q%s\nwanted %q", command, more, want)
		}
		d.call(outcome.OK, strings.Fields(strings.Replace(command, " FILE", " "+d.log.File, 1))...)
	}
	hint("verify hello-proof-0.1.0.crate --trust FILE --development", "hello-proof-0.1.0.crate")
	hint("verify other.crate -p hello-proof@0.1.0 --bundle b --trust FILE --development", "other.crate", "--bundle", "b")
	put(t, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[lib]\npath = \"lib.rs\"\n")
	put(t, "zkp.toml", "version = 1\ntrust = [\""+d.log.File+"\"]\n")
	hint("verify hello-proof-0.1.0.crate --development", "hello-proof-0.1.0.crate")
	put(t, "zkp.toml", "version = 1\ntrust = [\""+d.log.File+"\"]\ndevelopment = true\n")
	hint("verify hello-proof-0.1.0.crate", "hello-proof-0.1.0.crate")
	put(t, "zkp.toml", "version = 1\ntrust = [\"other.policy\"]\ndevelopment = true\n")
	put(t, "other.policy", "log "+testlog.LogKey("log.example/other").VKey+"\nquorum none\n")
	hint("verify hello-proof-0.1.0.crate --trust FILE --development", "hello-proof-0.1.0.crate")
}
