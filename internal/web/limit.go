package web

import (
	"io"
	"net"
	"sync"
	"time"
)

// Limiter is a listener with at most so many connections. When there are as many, a new one takes the
// place of one of the client that has most of them, if that has more than the new one's would: of the
// one that has been idle longest, else of the one that has been sending its request for longest, else of
// the one that has been waiting for its answer for longest. So no client can keep others out, however
// many connections it opens.
type Limiter struct {
	net.Listener
	most int
	now  func() time.Time

	mu      sync.Mutex
	clients map[string]map[*conn]bool // owned by mu
	total   int                       // owned by mu
	cut     uint64                    // owned by mu
}

// Limit returns a listener with at most so many connections, one at least.
func Limit(l net.Listener, most int) *Limiter {
	return &Limiter{Listener: l, most: max(most, 1), now: time.Now, clients: make(map[string]map[*conn]bool)}
}

// Connections returns how many connections are open, and how many were closed for another's sake.
func (l *Limiter) Connections() (open int, cut uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, l.cut
}

// phase is what a connection does. Those that do less are taken first.
type phase int

const (
	idle      phase = iota // no byte of a request is there
	receiving              // of a request, or its answer is on its way
	serving                // all of the request is there: see Received
)

// conn is a connection that counts.
type conn struct {
	net.Conn
	limiter *Limiter
	client  string

	phase  phase     // owned by limiter.mu
	since  time.Time // owned by limiter.mu; when it entered the phase
	closed bool      // owned by limiter.mu
}

// Accept waits for a connection that may stay.
func (l *Limiter) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, limiter: l, client: clientOf(raw.RemoteAddr().String(), nil, nil), since: l.now()}
		victim, ok := l.admit(c)
		if victim != nil {
			victim.Conn.Close()
		}
		if ok {
			return c, nil
		}
		raw.Close()
	}
}

// admit counts a connection, and takes a place from another where it must.
func (l *Limiter) admit(c *conn) (victim *conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most {
		if victim = l.victim(c.client); victim == nil {
			l.cut++
			return nil, false
		}
		l.remove(victim)
		l.cut++
	}
	if l.clients[c.client] == nil {
		l.clients[c.client] = make(map[*conn]bool)
	}
	l.clients[c.client][c] = true
	l.total++
	return victim, true
}

// victim returns the connection that makes room for one of client, or nil. The caller holds mu.
func (l *Limiter) victim(client string) *conn {
	own := len(l.clients[client])
	richest := client
	for name, conns := range l.clients {
		if len(conns) > len(l.clients[richest]) {
			richest = name
		}
	}
	var stalest *conn
	for c := range l.clients[richest] {
		if stalest == nil || c.phase < stalest.phase || c.phase == stalest.phase && c.since.Before(stalest.since) {
			stalest = c
		}
	}
	if stalest == nil || stalest.phase == serving && len(l.clients[richest]) <= own+1 {
		return nil // all have their share, and what this client has is at work
	}
	return stalest
}

// remove uncounts a connection. The caller holds mu.
func (l *Limiter) remove(c *conn) {
	if c.closed {
		return
	}
	c.closed = true
	l.total--
	if delete(l.clients[c.client], c); len(l.clients[c.client]) == 0 {
		delete(l.clients, c.client)
	}
}

func (c *conn) enter(p phase) {
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	if c.phase != p {
		c.phase, c.since = p, c.limiter.now()
	}
}

func (c *conn) Close() error {
	c.limiter.mu.Lock()
	c.limiter.remove(c)
	c.limiter.mu.Unlock()
	return c.Conn.Close()
}

// ReadFrom keeps what the connection has for files.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }
