package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// offer sends a request that offers HTTP/2, then more, and returns what comes back,
// until there is an answer or the end. If more is not the whole, nothing follows it.
func offer(t *testing.T, base, headers, more string, whole bool) string {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
	c, err := net.Dial("tcp", host)
	fatalIf(t, err)
	defer c.Close()
	fatalIf(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	fmt.Fprintf(c, "GET /%s/index/config.json HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"+
		"HTTP2-Settings: AAMAAABk\r\n%s\r\n", path, headers)
	if more != "" {
		io.WriteString(c, more)
		if !whole {
			fatalIf(t, c.(*net.TCPConn).CloseWrite())
		}
		var got []byte
		for b := make([]byte, 4096); !strings.Contains(string(got), "{version}"); {
			n, err := c.Read(b)
			got = append(got, b[:n]...)
			if err != nil {
				break // the proxy may cut it off: what came is what counts
			}
		}
		return string(got)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	fatalIf(t, err)
	resp.Body.Close()
	return resp.Status
}

func TestAnUpgradedRequestIsAnsweredInHTTP2(t *testing.T) {
	_, _, base := world(t)
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	got := offer(t, base, "X-Long: "+strings.Repeat("x", 500)+"\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+settings, true)
	if !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") || !strings.Contains(got, base+"/d/{crate}/{version}") {
		t.Errorf("got %q", got)
	}
}

func TestABrokenUpgradeEndsTheConnection(t *testing.T) {
	_, _, base := world(t)
	for what, more := range map[string]string{
		"no preface":        strings.Repeat("x", 64),
		"a cut preface":     "PRI * HTTP/2.0\r\n",
		"no settings":       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x01\x05\x00\x00\x00\x01",
		"endless settings":  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00",
		"settings cut":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00",
		"http/1.1 after it": "GET /index/config.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		if got := offer(t, base, "", more, false); strings.Contains(got, "/d/{crate}") {
			t.Errorf("%s: answered %q", what, got)
		}
	}
	answers(t, base+"/index/config.json", http.StatusOK, "")
}

func TestWhatCannotBeUpgradedIsAnsweredAsItCame(t *testing.T) {
	_, _, base := world(t)
	for what, headers := range map[string]string{
		"long headers":         "X-Long: " + strings.Repeat("x", 17000) + "\r\n",
		"settings twice":       "HTTP2-Settings: AAMAAABk\r\n",
		"a body":               "Content-Length: 2\r\n\r\n",
		"a body of any length": "Transfer-Encoding: chunked\r\n\r\n0\r\n",
	} {
		if got := offer(t, base, headers, "", true); got != "200 OK" && got != "431 Request Header Fields Too Large" {
			t.Errorf("%s: %s", what, got)
		}
	}
}
