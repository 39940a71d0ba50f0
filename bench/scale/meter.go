package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// asked is what a client asked for.
type asked struct {
	tiles, bundles, lookups, others float64 // requests
	received                        float64 // bytes, with the headers of HTTP/1.1
}

func (a asked) requests() float64 { return a.tiles + a.bundles + a.lookups + a.others }

func (a *asked) add(b asked) {
	a.tiles += b.tiles
	a.bundles += b.bundles
	a.lookups += b.lookups
	a.others += b.others
	a.received += b.received
}

// meter makes the requests of a client, and counts those to one server.
type meter struct {
	next   *http.Transport
	server string

	mu   sync.Mutex
	all  asked // but for received; owned by mu
	read atomic.Int64
}

func newMeter(url string) *meter {
	m := &meter{next: http.DefaultTransport.(*http.Transport).Clone(), server: strings.TrimPrefix(url, "http://")}
	m.next.MaxIdleConnsPerHost = 16
	m.next.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil && address == m.server {
			c = &conn{c, m}
		}
		return c, err
	}
	return m
}

// RoundTrip implements http.RoundTripper.
func (m *meter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == m.server {
		m.count(r.URL.Path)
	}
	return m.next.RoundTrip(r)
}

func (m *meter) count(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case strings.HasPrefix(path, "/tile/"):
		m.all.tiles++
	case strings.HasPrefix(path, "/v1/crates/"):
		m.all.bundles++
	case strings.HasPrefix(path, "/v1/lookup/"):
		m.all.lookups++
	default:
		m.all.others++
	}
}

// reset returns what was asked for since the last time.
func (m *meter) reset() asked {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.all
	a.received = float64(m.read.Swap(0))
	m.all = asked{}
	return a
}

type conn struct {
	net.Conn
	meter *meter
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.read.Add(int64(n))
	return n, err
}
