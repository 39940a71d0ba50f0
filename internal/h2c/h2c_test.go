package h2c

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// The rest is tested where it is used, in package proxy.

func FuzzUpgradeNeverPanics(f *testing.F) {
	f.Add("GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nA: b\r\n\r\n")
	f.Fuzz(func(t *testing.T, request string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
		if err != nil {
			return
		}
		if frame, ok := upgraded(r); ok && len(frame) != 9+(int(frame[0])<<16|int(frame[1])<<8|int(frame[2])) {
			t.Errorf("a frame of %d bytes says that its block has %x", len(frame), frame[:3])
		}
	})
}
