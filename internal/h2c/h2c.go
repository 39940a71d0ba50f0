// Package h2c lets a server of plain http accept the offer with which cargo's first
// request comes: to go on in HTTP/2 on the same connection.
package h2c

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Upgrader accepts offers of HTTP/2, and hands all requests to a handler.
//
// cargo opens two connections to a host. Over http/1.1 that is two crates at one
// time, however many it wants, and a proxy would be slow. But cargo's first request
// over plain http offers to go on in HTTP/2 on the same connection ("Upgrade: h2c",
// RFC 7540 section 3.2), which carries any number at one time. net/http speaks
// HTTP/2 over plain connections, but only with those who begin with it; so the
// upgrader accepts the offer, and shows to net/http's server a connection that began
// with HTTP/2: the client's preface and settings, then the upgraded request as the
// frame that it would have been, then what the client sends.
type Upgrader struct {
	next  http.Handler
	inner *http.Server
	conns chan net.Conn // upgraded, for inner to accept

	once sync.Once
	done chan struct{}
}

const (
	preface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // RFC 9113 section 3.4
	maxFrame     = 16384                              // RFC 9113 section 4.2
	frameHead    = 9
	settingsType = 0x4
	headersType  = 0x1
	endStream    = 0x1
	endHeaders   = 0x4
)

// New returns an Upgrader before a handler. It is the handler of a server of http/1.1,
// beside which Serve runs; a response may take as long as writeTimeout.
func New(next http.Handler, writeTimeout time.Duration) *Upgrader {
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	u := &Upgrader{next: next, conns: make(chan net.Conn), done: make(chan struct{})}
	u.inner = &http.Server{
		Handler:           next,
		Protocols:         &only,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return u
}

// An Upgrader is the listener of its inner server.
var _ net.Listener = &Upgrader{}

// Accept implements net.Listener, for the server inside.
func (u *Upgrader) Accept() (net.Conn, error) {
	select {
	case c := <-u.conns:
		return c, nil
	case <-u.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It does not end connections; see Shutdown.
func (u *Upgrader) Close() error {
	u.once.Do(func() { close(u.done) })
	return nil
}

// Addr implements net.Listener.
func (u *Upgrader) Addr() net.Addr { return &net.TCPAddr{} }

// Serve serves upgraded connections until Shutdown, and then returns
// http.ErrServerClosed.
func (u *Upgrader) Serve() error {
	if err := u.inner.Serve(u); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	<-u.done
	return http.ErrServerClosed
}

// Shutdown lets requests under way finish until ctx ends.
func (u *Upgrader) Shutdown(ctx context.Context) error {
	u.Close()
	err := u.inner.Shutdown(ctx)
	if err != nil {
		u.inner.Close()
	}
	return err
}

// ServeHTTP accepts the offer of a request, or hands the request on as it came.
func (u *Upgrader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	first, ok := upgraded(r)
	if !ok {
		u.next.ServeHTTP(w, r)
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		u.next.ServeHTTP(w, r) // a connection that is HTTP/2 already
		return
	}
	c, err := begin(conn, buf, first)
	if err != nil {
		conn.Close()
		return
	}
	select {
	case u.conns <- c:
	case <-u.done:
		conn.Close()
	}
}

// begin accepts an upgrade, and reads the client's preface and settings.
func begin(conn net.Conn, buf *bufio.ReadWriter, first []byte) (net.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	_, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	if err != nil {
		return nil, err
	}
	head := make([]byte, len(preface)+frameHead)
	if _, err := io.ReadFull(buf, head); err != nil {
		return nil, err
	}
	frame := head[len(preface):]
	size := int(frame[0])<<16 | int(frame[1])<<8 | int(frame[2])
	if string(head[:len(preface)]) != preface || frame[3] != settingsType || size > maxFrame {
		return nil, errors.New("the client did not go on in HTTP/2")
	}
	settings := make([]byte, size)
	if _, err := io.ReadFull(buf, settings); err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	read := bytes.NewReader(slices.Concat(head, settings, first))
	return &replayed{conn, io.MultiReader(read, buf.Reader)}, nil
}

// replayed is a connection of which some bytes were read before.
type replayed struct {
	net.Conn
	r io.Reader
}

func (c *replayed) Read(b []byte) (int, error) { return c.r.Read(b) }

// upgraded returns a request that offers HTTP/2 as the HTTP/2 frame that it stands
// for: HEADERS of stream 1, which ends there. It is not ok for any other request,
// or for one that has a body or long headers; those are answered in http/1.1.
func upgraded(r *http.Request) ([]byte, bool) {
	offers := r.ProtoMajor == 1 && r.Method == http.MethodGet && r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		strings.EqualFold(r.Header.Get("Upgrade"), "h2c") && len(r.Header.Values("HTTP2-Settings")) == 1
	if !offers {
		return nil, false
	}
	block := field(nil, ":method", r.Method)
	block = field(block, ":scheme", "http")
	block = field(block, ":authority", r.Host)
	block = field(block, ":path", r.URL.RequestURI())
	for name, values := range r.Header {
		switch name {
		// Of the connection, RFC 9113 section 8.2.2.
		case "Connection", "Upgrade", "Http2-Settings", "Te", "Keep-Alive", "Proxy-Connection":
			continue
		}
		for _, v := range values {
			block = field(block, strings.ToLower(name), v)
		}
	}
	if len(block) > maxFrame {
		return nil, false
	}
	n := len(block)
	head := []byte{byte(n >> 16), byte(n >> 8), byte(n), headersType, endStream | endHeaders}
	return append(binary.BigEndian.AppendUint32(head, 1), block...), true
}

// field appends a header field to a block: a literal without indexing and with a
// new name (RFC 7541 section 6.2.2), which leaves the client's table as it is.
func field(block []byte, name, value string) []byte {
	block = append(block, 0)
	for _, s := range []string{name, value} {
		n := len(s)
		if n < 127 {
			block = append(block, byte(n)) // RFC 7541 section 5.1, with a prefix of 7 bits
		} else {
			block = binary.AppendUvarint(append(block, 127), uint64(n-127))
		}
		block = append(block, s...)
	}
	return block
}
