package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"cratelog/config"
	"cratelog/internal/durable"
	"cratelog/witness"
)

// A bastion (c2sp.org/https-bastion) is a server of others through which clients reach this witness: the
// witness connects to it, and serves HTTP/2 on that connection. It can refuse and read requests, and
// cannot forge cosignatures.
type bastion struct {
	address string
	tls     *tls.Config // but for the certificate
	key     ed25519.PrivateKey
	w       *witness.Witness
	log     *slog.Logger
}

func newBastion(path string, s bastionSettings, w *witness.Witness, logger *slog.Logger) (*bastion, error) {
	key, err := bastionKey(path, s)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(s.Address) // which settings.check has looked at
	b := &bastion{address: s.Address, key: key, w: w, log: logger,
		// SPEC: A backend connects to the bastion's backend endpoint with TLS 1.3, specifying the ALPN
		// protocol bastion/0.
		tls: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS13, NextProtos: []string{"bastion/0"}}}
	if s.Roots != "" {
		pem, err := durable.Read(config.Beside(path, s.Roots), 1<<20)
		if err != nil {
			return nil, err
		}
		b.tls.RootCAs = x509.NewCertPool()
		if !b.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: bastion: %s holds no certificate in PEM", path, s.Roots)
		}
	}
	return b, nil
}

// throughBastion leaves out what is for the operator.
func throughBastion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/metrics") {
			http.NotFound(rw, r)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// path is where clients find the witness at the bastion.
func (b *bastion) path() string {
	return fmt.Sprintf("/%x/", sha256.Sum256(b.key.Public().(ed25519.PublicKey)))
}

const (
	dialTime     = 10 * time.Second
	firstRetry   = time.Second
	slowestRetry = time.Minute
	steady       = 5 * time.Minute // a connection that lasted so long was a good one
)

// run keeps the connection up until ctx ends, and then lets requests under way finish.
func (b *bastion) run(ctx context.Context) {
	for wait := firstRetry; ; wait = min(2*wait, slowestRetry) {
		begun := time.Now()
		err := b.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		b.w.Away(b.address, err.Error())
		b.log.Warn("the bastion is not connected; it is tried again", "bastion", b.address, "err", err, "in", wait)
		if time.Since(begun) > steady {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// serve connects, and serves until the connection ends.
func (b *bastion) serve(ctx context.Context) error {
	cert, err := selfSigned(b.key)
	if err != nil {
		return err
	}
	cfg := b.tls.Clone()
	cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: b.key}}
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(dialing, "tcp", b.address)
	if err != nil {
		return err
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "bastion/0" {
		return errors.Join(fmt.Errorf("what answers is no bastion: it speaks %q", got), conn.Close())
	}
	b.w.Away(b.address, "")
	b.log.Info("connected to the bastion", "bastion", b.address, "path", b.path())
	return b.serveOn(ctx, conn)
}

// serveOn serves HTTP/2 on one connection. To net/http it is a plain connection of a client that begins with
// HTTP/2: the TLS below it is our own affair, and has the roles of client and server exchanged.
func (b *bastion) serveOn(ctx context.Context, conn net.Conn) error {
	server := newServer(throughBastion(b.w.Handler()))
	server.Protocols = new(http.Protocols)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.IdleTimeout = 365 * 24 * time.Hour // the connection stays, with or without requests
	server.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	server.ErrorLog = slog.NewLogLogger(b.log.Handler(), slog.LevelDebug)
	l := newOneConn(conn)
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownDeadline)
		defer cancel()
		_ = server.Shutdown(end) // what is left is cut off below
	})
	_ = server.Serve(l) // it ends when the connection does, or begins to
	if !stop() {
		<-finished
	}
	server.Close()
	return errors.New("the connection ended")
}

// oneConn is a listener that accepts one connection, and ends with it.
type oneConn struct {
	conns chan net.Conn
	ended chan struct{}
	addr  net.Addr
	gone  func()
}

// watched is a connection that tells its end.
type watched struct {
	net.Conn
	closed func()
}

func (c watched) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

func newOneConn(conn net.Conn) *oneConn {
	ended := make(chan struct{})
	l := &oneConn{conns: make(chan net.Conn, 1), ended: ended, addr: conn.LocalAddr(),
		gone: sync.OnceFunc(func() { close(ended) })}
	l.conns <- watched{conn, l.gone}
	return l
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

// Close is called when the server stops, and leaves the connection to it.
func (l *oneConn) Close() error   { l.gone(); return nil }
func (l *oneConn) Addr() net.Addr { return l.addr }

// selfSigned returns a certificate for the key, of which the bastion looks at the key only.
func selfSigned(key ed25519.PrivateKey) ([]byte, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "witness"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}
