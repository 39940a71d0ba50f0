package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// TestMoreSocketsThanFiles: whoever opens more connections than the log may open files keeps nobody out, and
// nothing of the log fails for want of a file.
func TestMoreSocketsThanFiles(t *testing.T) {
	fixture.Need(t, "sh")
	s := newSite(t, "")
	s.wrap = []string{"sh", "-c", `ulimit -n 384 && exec "$@"`, "sh"}
	p := s.start("logd-testproofs")
	address := strings.TrimPrefix(p.url, "http://")
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 66)}}
	var sockets []net.Conn
	for i := range 500 {
		c := testlog.Must(d.Dial("tcp", address))
		defer c.Close()
		sockets = append(sockets, c)
		if i%2 == 0 {
			io.WriteString(c, "POST /v1/submit HTTP/1.1\r\nHost: log\r\nContent-Type: multipart/form-data; boundary=x\r\n"+
				"Content-Length: 1000\r\n\r\n--x")
		}
	}
	for i := range 5 {
		testlog.Must(submit(t.Context(), p.url, newItem(fmt.Sprintf("c%d", i))))
	}
	var health struct{ Problems []string }
	p.get("/healthz", &health)
	if len(health.Problems) > 0 {
		t.Errorf("health: %v", health.Problems)
	}
	for _, c := range sockets {
		c.Close()
	}
	p.stop()
	if text := p.out.String(); strings.Contains(text, "too many open files") || strings.Contains(text, "panic") {
		t.Errorf("a file could not be opened:\n%s", text)
	}

	s.wrap[2] = `ulimit -n 256 && exec "$@"`
	_, err := s.tryStart("logd-testproofs")
	if err == nil || !strings.Contains(err.Error(), "raise the limit") {
		t.Errorf("with too few files for anything: %v", err)
	}
}

// TestADiskThatBecomesReadOnly, as one does after an error: submissions are refused with words, reads go on, health says
// why, and nothing panics; a start on such a disk ends with a sentence.
func TestADiskThatBecomesReadOnly(t *testing.T) {
	fixture.Need(t, "sh", "unshare", "mount")
	s := newSite(t, "shutdown_timeout = \"1s\"\n")
	fatalIf(t, os.Mkdir(filepath.Join(s.dir, "tree"), 0o755))
	// The tree is a disk of its own, which becomes read-only when a file appears, and gets well when it is gone.
	s.wrap = []string{"unshare", "-rm", "sh", "-c", `cd "$0" && mount -t tmpfs none tree || exit 1
		(now=rw; while sleep 0.1 && kill -0 $$; do want=rw; if test -e readonly; then want=ro; fi
			if test $want != $now && mount -o remount,$want tree; then now=$want; touch is-$now; fi; done) >/dev/null 2>&1 &
		exec "$@"`, s.dir}
	p := s.start("logd-testproofs")
	testlog.Must(submit(t.Context(), p.url, newItem("before")))

	s.write("readonly", nil)
	s.eventually("the disk is read-only", func() bool { _, err := os.Stat(filepath.Join(s.dir, "is-ro")); return err == nil })
	for i := range 3 {
		_, err := submitOnce(t, p.url, newItem(fmt.Sprintf("while-%d", i)))
		var refused *client.SubmitError
		if !errors.As(err, &refused) || refused.Status != 503 || refused.Reason != "storage-failed" || refused.RetryAfter == 0 {
			t.Errorf("got %v", err)
		}
	}
	resp := testlog.Must(http.Get(p.url + "/healthz"))
	var health struct{ Problems []string }
	fatalIf(t, json.NewDecoder(resp.Body).Decode(&health))
	resp.Body.Close()
	if text := strings.Join(health.Problems, "; "); resp.StatusCode != 503 || !strings.Contains(text, "could not be written to the tree") ||
		!strings.Contains(text, "read-only file system") {
		t.Errorf("health: %d %s", resp.StatusCode, text)
	}
	resp = testlog.Must(http.Get(p.url + "/v1/crates/before/1.0.0"))
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("a read is answered %d", resp.StatusCode)
	}

	fatalIf(t, os.Remove(filepath.Join(s.dir, "readonly")))
	s.eventually("the log accepts again", func() bool { _, err := submitOnce(t, p.url, newItem("after")); return err == nil })
	s.eventually("it is well", func() bool {
		resp := testlog.Must(http.Get(p.url + "/healthz"))
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	p.stop()
	if text := p.out.String(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine") {
		t.Errorf("it panicked:\n%s", text)
	}

	fatalIf(t, os.RemoveAll(filepath.Join(s.dir, "state")))
	s.wrap[4] = `cd "$0" && mount -t tmpfs none tree && mkdir -p tree/.state && mount -o remount,ro tree && exec "$@"`
	p, err := s.tryStart("logd-testproofs")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(p.out.String(), "read-only file system") ||
		strings.Contains(p.out.String(), "goroutine") {
		t.Errorf("a start on a read-only disk: %v", err)
	}
}

// submitOnce does not try again.
func submitOnce(t *testing.T, url string, it item) ([]byte, error) {
	l := &client.Log{URL: url, OnWait: nil, HTTP: &http.Client{Timeout: time.Minute}}
	return l.Submit(t.Context(), it.entry, it.crate, nil)
}

func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	for range 1200 {
		if f() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("still not: %s", what)
}
