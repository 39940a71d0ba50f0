package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

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
