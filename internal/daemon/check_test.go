package daemon

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/outcome"
)

func TestAFailedCheckIsTheAnswer(t *testing.T) {
	var c Checks
	c.Add("settings", nil)
	c.Note("listen", "served now by this log")
	var out strings.Builder
	if err := c.Report(&out, false); err != nil || out.String() != "ok    settings\nok    listen: served now by this log\n" {
		t.Errorf("%v %q", err, out.String())
	}
	c.Add("key", errors.New("line one\nline two"))
	out.Reset()
	if err := c.Report(&out, false); outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(), "1 of 3") ||
		!strings.HasSuffix(out.String(), "FAIL  key: line one\n      line two\n") {
		t.Errorf("%v %q", err, out.String())
	}
	out.Reset()
	err := c.Report(&out, true)
	var body struct {
		OK     bool
		Checks []struct {
			Name, Text string
			OK         bool
		}
	}
	if jerr := json.Unmarshal([]byte(out.String()), &body); jerr != nil || outcome.Of(err) != outcome.Refused || body.OK ||
		len(body.Checks) != 3 || body.Checks[2].OK || body.Checks[2].Text != "line one\nline two" || !body.Checks[1].OK {
		t.Errorf("%v %v %s", err, jerr, out.String())
	}
}

func TestACheckWritesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string]string{
		dir: "", filepath.Join(dir, "a", "b"): "", filepath.Join(dir, "file"): "is not a directory",
		filepath.Join(dir, "file", "x"): "not a directory",
	} {
		err := Writable(path)
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", path, err, words)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("something was made: %v", left)
	}
}

func TestAnAddressIsFreeOrTakenByTheProgramItself(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "me at "+r.URL.Path) }))
	defer server.Close()
	address := server.Listener.Addr().String()
	for _, tt := range []struct {
		address, want string
		fails         bool
	}{
		{"127.0.0.1:0", "ok    listen\n", false}, {address, "ok    listen: it is running there\n", false}, {address, "FAIL  listen: ", true},
		{"nowhere", "FAIL  listen: ", true},
	} {
		var c Checks
		var out strings.Builder
		c.Listen(t.Context(), "listen", tt.address, "/who", func(body []byte) bool { return !tt.fails && string(body) == "me at /who" })
		if err := c.Report(&out, false); (err != nil) != tt.fails || !strings.HasPrefix(out.String(), tt.want) {
			t.Errorf("%+v: %v %q", tt, err, out.String())
		}
	}
}
