package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cratelog/proofcheck"
)

// With --log, prove uses what the log offers, and says why it does not.
func TestProveTakesTheProgramOfTheLogThatIsNamed(t *testing.T) {
	list := []byte(`{"keys":[]}`)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/keys" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Write(list)
	}))
	defer srv.Close()
	expect := func(code int, want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		args = append([]string{"prove", "gone.crate"}, args...)
		if got := run(t.Context(), args, &out, &out); got != code || !strings.Contains(out.String(), want) {
			t.Errorf("%q: exit %d\n%s\nwant %d, %s", args, got, &out, code, want)
		}
	}
	expect(2, "name the log with --log URL", "--development")
	expect(2, "not both", "--log", srv.URL, "--program", "p", "--proving-key", "k")
	expect(3, "use https; http is for localhost and loopback addresses only\n", "--log", "http://log.example")
	expect(3, "its list is empty", "--log", srv.URL)
	expect(3, "gone.crate", "--log", srv.URL, "--development") // its keys are made, so the work begins

	p, err := proofcheck.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	p[0].ProvingKey = [32]byte{1}
	file, err := p[0].Marshal()
	if err != nil {
		t.Fatal(err)
	}
	list = fmt.Appendf(nil,
		`{"keys":[{"program":"%x","origin":"development","blocks":%d,"sha256":"%x","size":9,"file":%s}]}`,
		p[0].ID(), p[0].Blocks, p[0].ProvingKey, file)
	expect(3, "is a development key, with which anyone can make false proofs", "--log", srv.URL)
	expect(3, "gone.crate", "--log", srv.URL, "--development")

	// The workspace's own policy says so as well, and does not where the command line says no.
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	put(t, "Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[lib]\npath = \"lib.rs\"\n")
	put(t, "zkp.toml", "version = 1\ndevelopment = true\n")
	expect(3, "gone.crate: no such file", "--log", srv.URL)
	expect(3, "is a development key", "--log", srv.URL, "--development=false")
	put(t, "zkp.toml", "version = 1\n")
	expect(3, "is a development key", "--log", srv.URL)
	expect(3, "gone.crate: no such file", "--log", srv.URL, "--development")
	put(t, "zkp.toml", "version = 1\ndevelopment = 1\n")
	expect(2, "zkp.toml", "--log", srv.URL)
}
