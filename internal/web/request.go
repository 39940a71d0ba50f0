package web

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// ParseProxies reads addresses and CIDR ranges of proxies that are believed about their clients.
func ParseProxies(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); err != nil && addrErr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%q is no address, and no range of addresses such as 192.0.2.0/24", text)
		}
		if a := p.Addr(); a.Is4In6() {
			return nil, fmt.Errorf("%q is an IPv4 address written as IPv6: write it as IPv4", text)
		}
		out = append(out, p)
	}
	return out, nil
}

// request is what the server knows of a request beside what the client says.
type request struct {
	client string
	id     string
	reason string // of the refusal that was answered
	notes  []slog.Attr
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	x, _ := ctx.Value(requestKey{}).(*request)
	return x
}

// Client returns the key of whoever made a request: an IPv4 address, or an IPv6 network of 64 bits. It
// is the connection's, or, if that is of one of the server's Proxies, the last address in
// X-Forwarded-For that is not one of theirs.
func Client(r *http.Request) string {
	if x := requestOf(r.Context()); x != nil {
		return x.client
	}
	return clientOf(r.RemoteAddr, nil, nil)
}

// Note adds to what is recorded of a request. Only the goroutine that handles it may call this.
func Note(r *http.Request, attrs ...slog.Attr) {
	if x := requestOf(r.Context()); x != nil {
		x.notes = append(x.notes, attrs...)
	}
}

// maxForwarded bounds the addresses of X-Forwarded-For that are looked at, from the last on.
const maxForwarded = 32

func clientOf(remote string, forwarded []string, proxies []netip.Prefix) string {
	at, ok := parseAddr(remote)
	if !ok {
		return "local" // a socket of this machine
	}
	if !within(at, proxies) {
		return clientKey(at)
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for n := 0; n < min(len(hops), maxForwarded); n++ {
		next, ok := parseAddr(strings.TrimSpace(hops[len(hops)-1-n]))
		if !ok {
			break // whoever wrote this is no proxy of ours, and neither is what stands before it
		}
		if at = next; !within(at, proxies) {
			break
		}
	}
	return clientKey(at)
}

// parseAddr reads an address, with or without a port.
func parseAddr(text string) (netip.Addr, bool) {
	if p, err := netip.ParseAddrPort(text); err == nil {
		return p.Addr().Unmap().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap().WithZone(""), err == nil
}

func within(a netip.Addr, ranges []netip.Prefix) bool {
	for _, p := range ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func clientKey(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(64) // fails for IPv4 only
	return p.String()
}

// Access is what is recorded of an answered request.
type Access struct {
	Client   string
	ID       string
	Method   string
	Path     string // at most 256 bytes of it
	Status   int    // 0: the client left before there was an answer
	Reason   string // of a refusal, else ""
	Received int64  // bytes of the request's body that were read
	Sent     int64  // bytes of the answer's body
	Took     time.Duration
	Notes    []slog.Attr // of the handler
}

// Attrs are the fields of a line of an access log.
func (a Access) Attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("client", a.Client), slog.String("method", a.Method), slog.String("path", a.Path),
		slog.Int("status", a.Status)}
	if a.Reason != "" {
		attrs = append(attrs, slog.String("reason", a.Reason))
	}
	attrs = append(attrs, a.Notes...)
	return append(attrs, slog.Int64("received", a.Received), slog.Int64("sent", a.Sent),
		slog.Float64("seconds", a.Took.Seconds()), slog.String("request_id", a.ID))
}

// identify gives a request its client and its id: that of a trusted proxy, or a new one.
func (s *Server) identify(r *http.Request) (*http.Request, *request) {
	x := &request{client: clientOf(r.RemoteAddr, r.Header.Values("X-Forwarded-For"), s.Proxies)}
	if at, ok := parseAddr(r.RemoteAddr); ok && within(at, s.Proxies) {
		if id := r.Header.Get("X-Request-Id"); isRequestID(id) {
			x.id = id
		}
	}
	if x.id == "" {
		x.id = rand.Text()
	}
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, x)), x
}

// isRequestID says whether a proxy's id is one that can stand in a line and a header.
func isRequestID(id string) bool {
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_.:/+=", rune(c)) {
			return false
		}
	}
	return id != "" && len(id) <= 128
}

// record calls Access.
func (s *Server) record(r *http.Request, x *request, w *answer, body *counted, begin time.Time) {
	if s.Access == nil {
		return
	}
	path := r.URL.Path
	s.Access(Access{Client: x.client, ID: x.id, Method: r.Method, Path: path[:min(len(path), 256)], Status: w.status,
		Reason: x.reason, Received: body.n, Sent: w.sent, Took: time.Since(begin), Notes: x.notes})
}

// connOf returns the connection of a request, if Limit's listener accepted it.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}

type connKey struct{}

// Received says that all of a request is there, and that its client waits for us: its connection is not
// taken from it while another could be.
func Received(r *http.Request) {
	if c := connOf(r.Context()); c != nil {
		c.enter(serving)
	}
}

// ConnContext is for http.Server, beside a listener of Limit.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// ConnState is for http.Server, beside a listener of Limit.
func ConnState(c net.Conn, state http.ConnState) {
	if c, ok := c.(*conn); ok {
		switch state {
		case http.StateActive:
			c.enter(receiving)
		case http.StateIdle:
			c.enter(idle)
		}
	}
}
